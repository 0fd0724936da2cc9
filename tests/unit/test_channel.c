/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/child.h"

#include "base/channel.h"

static struct channel_msg out, in;
static int ends[2];

static int set_up(void **state)
{
	(void)state;
	assert_int_equal(channel_pair(ends), 0);
	memset(&out, 0, sizeof(out));
	memset(&in, 0xee, sizeof(in));
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	close(ends[0]);
	close(ends[1]);
	return 0;
}

static int lowest_free(void)
{
	int fd = dup(0);
	close(fd);
	return fd;
}

static void send_text(uint32_t type, const char *text)
{
	out.type = type;
	out.arg = type * 3;
	out.len = strlen(text);
	memcpy(out.bytes, text, out.len);
	assert_int_equal(channel_send(ends[0], &out), 0);
}

static void messages_keep_their_bounds_and_order(void **state)
{
	(void)state;
	send_text(7, "first");
	send_text(8, "");
	send_text(9, "third one");
	assert_int_equal(channel_recv(ends[1], &in), 1);
	assert_int_equal(in.type, 7);
	assert_int_equal(in.arg, 21);
	assert_int_equal(in.len, 5);
	assert_int_equal(in.fds, 0);
	assert_memory_equal(in.bytes, "first", 5);
	assert_int_equal(channel_recv(ends[1], &in), 1);
	assert_int_equal(in.type, 8);
	assert_int_equal(in.len, 0);
	assert_int_equal(channel_recv(ends[1], &in), 1);
	assert_int_equal(in.len, 9);
	assert_memory_equal(in.bytes, "third one", 9);
	assert_int_equal(channel_recv(ends[1], &in), -1);
	assert_int_equal(errno, EAGAIN);
}

static void the_longest_message_arrives_whole_and_a_longer_one_is_not_sent(void **state)
{
	(void)state;
	out.len = sizeof(out.bytes);
	for (size_t i = 0; i < out.len; i++)
		out.bytes[i] = (char)(i * 31);
	assert_int_equal(channel_send(ends[0], &out), 0);
	assert_int_equal(channel_recv(ends[1], &in), 1);
	assert_int_equal(in.len, out.len);
	assert_memory_equal(in.bytes, out.bytes, out.len);
	out.len++;
	assert_int_equal(channel_send(ends[0], &out), -1);
	assert_int_equal(errno, EMSGSIZE);
	out.len = 0;
	out.fds = CHANNEL_FDS + 1;
	assert_int_equal(channel_send(ends[0], &out), -1);
	assert_int_equal(errno, EMSGSIZE);
	assert_int_equal(channel_recv(ends[1], &in), -1);
	assert_int_equal(errno, EAGAIN);
}

static void descriptors_come_along_and_close_on_exec(void **state)
{
	int pipes[CHANNEL_FDS][2];
	(void)state;
	for (int i = 0; i < CHANNEL_FDS; i++) {
		assert_int_equal(pipe(pipes[i]), 0);
		out.fd[i] = pipes[i][1];
	}
	out.fds = CHANNEL_FDS;
	send_text(1, "all of them");
	assert_int_equal(channel_recv(ends[1], &in), 1);
	assert_int_equal(in.fds, CHANNEL_FDS);
	assert_int_equal(in.len, 11);
	for (int i = 0; i < CHANNEL_FDS; i++) {
		unsigned char got = 0, sent = (unsigned char)(i + 1);
		assert_true(in.fd[i] != pipes[i][1]);
		assert_true(fcntl(in.fd[i], F_GETFD) & FD_CLOEXEC);
		assert_int_equal(write(in.fd[i], &sent, 1), 1);
		assert_int_equal(read(pipes[i][0], &got, 1), 1);
		assert_int_equal(got, sent); /* and in order */
		close(in.fd[i]);
		close(pipes[i][0]);
		close(pipes[i][1]);
	}
	out.fds = 0;
	send_text(2, "none");
	assert_int_equal(channel_recv(ends[1], &in), 1);
	assert_int_equal(in.fds, 0);
}

/* A receiver that is out of descriptors gets all of them or an error, never a message with fewer; and leaks
 * none. */
static void a_message_whose_descriptors_find_no_room_is_thrown_away(void **state)
{
	struct rlimit was, few;
	(void)state;
	out.fds = 8; /* all of them standard input */
	send_text(1, "with eight");
	out.fds = 0;
	send_text(2, "plain");
	int free_fd = lowest_free();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
	few = (struct rlimit){(rlim_t)free_fd + 3, was.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	int r = channel_recv(ends[1], &in), err = errno;
	setrlimit(RLIMIT_NOFILE, &was);
	if (r == 1) { /* under a tool that only plays the limit */
		assert_int_equal(in.fds, 8);
		while (in.fds)
			close(in.fd[--in.fds]);
	} else {
		assert_int_equal(r, -1);
		assert_int_equal(err, EPROTO);
	}
	assert_int_equal(channel_recv(ends[1], &in), 1);
	assert_int_equal(in.type, 2);
	assert_int_equal(lowest_free(), free_fd);
}

#define RAW_FDS (CHANNEL_FDS + 8)

/* Sends bytes as they are with so many descriptors beside them. */
static void send_raw(size_t len, unsigned fds)
{
	static char bytes[CHANNEL_BYTES + 100];
	union {
		char bytes[CMSG_SPACE(sizeof(int) * RAW_FDS)];
		struct cmsghdr align;
	} c;
	struct iovec v = {bytes, len};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c.bytes};
	memset(&c, 0, sizeof(c));
	m.msg_controllen = CMSG_SPACE(sizeof(int) * fds);
	struct cmsghdr *cm = CMSG_FIRSTHDR(&m);
	*cm = (struct cmsghdr){
		.cmsg_len = CMSG_LEN(sizeof(int) * fds), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
	assert_int_equal(sendmsg(ends[0], &m, 0), len);
}

static void what_is_no_message_is_thrown_away_with_its_descriptors(void **state)
{
	int free_fd = lowest_free();
	(void)state;
	send_raw(3, 1);			  /* shorter than any */
	send_raw(CHANNEL_BYTES + 100, 1); /* longer than any */
	send_raw(100, RAW_FDS);		  /* with too many descriptors */
	send_raw(CHANNEL_BYTES + 100, RAW_FDS);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(channel_recv(ends[1], &in), -1);
		assert_int_equal(errno, EPROTO);
		assert_int_equal(lowest_free(), free_fd);
	}
	send_text(2, "and on");
	assert_int_equal(channel_recv(ends[1], &in), 1);
	assert_int_equal(in.type, 2);
}

static void a_peer_that_does_not_read_is_again_and_loses_nothing(void **state)
{
	uint32_t sent = 0, got = 0;
	(void)state;
	out.len = 1000;
	for (;;) {
		out.arg = sent;
		if (channel_send(ends[0], &out) < 0)
			break;
		sent++;
	}
	assert_int_equal(errno, EAGAIN);
	assert_true(sent > 0);
	while (channel_recv(ends[1], &in) == 1)
		assert_int_equal(in.arg, got++);
	assert_int_equal(got, sent);
	assert_int_equal(channel_send(ends[0], &out), 0);
}

static void a_peer_that_is_gone_is_told_behind_its_last_message(void **state)
{
	int status;
	(void)state;
	pid_t pid = child_fork();
	if (pid == 0) {
		send_text(5, "last words");
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(ends[0]);
	ends[0] = -1;
	assert_int_equal(channel_recv(ends[1], &in), 1);
	assert_int_equal(in.type, 5);
	assert_int_equal(channel_recv(ends[1], &in), 0);
	assert_int_equal(channel_recv(ends[1], &in), 0);
	assert_int_equal(channel_send(ends[1], &out), -1); /* and no SIGPIPE */
	assert_true(errno == EPIPE || errno == ECONNRESET);
}

static void a_peer_that_went_with_our_message_unread_is_gone_too(void **state)
{
	(void)state;
	assert_int_equal(channel_send(ends[1], &out), 0);
	close(ends[0]);
	ends[0] = -1;
	assert_int_equal(channel_recv(ends[1], &in), 0);
}

static void both_ends_are_closed_on_exec_and_do_not_block(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		assert_true(fcntl(ends[i], F_GETFD) & FD_CLOEXEC);
		assert_true(fcntl(ends[i], F_GETFL) & O_NONBLOCK);
	}
}

#define ON_PAIR(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_PAIR(messages_keep_their_bounds_and_order),
		ON_PAIR(the_longest_message_arrives_whole_and_a_longer_one_is_not_sent),
		ON_PAIR(descriptors_come_along_and_close_on_exec),
		ON_PAIR(a_message_whose_descriptors_find_no_room_is_thrown_away),
		ON_PAIR(what_is_no_message_is_thrown_away_with_its_descriptors),
		ON_PAIR(a_peer_that_does_not_read_is_again_and_loses_nothing),
		ON_PAIR(a_peer_that_is_gone_is_told_behind_its_last_message),
		ON_PAIR(a_peer_that_went_with_our_message_unread_is_gone_too),
		ON_PAIR(both_ends_are_closed_on_exec_and_do_not_block),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
