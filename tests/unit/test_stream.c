/* SPDX-License-Identifier: MIT */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/stream.h"

#define GIVE_UP_S 60

/* One stream, and the other end as a plain descriptor. */
struct end {
	struct stream s;
	int peer; /* -1: closed */
	unsigned readies;
	void (*on_ready)(struct end *);
};

static struct loop loop;
static struct task turn_task;
static struct hook turn_hook;
static bool (*until)(void);
static int turns_left;
static struct end e, f;

static void on_ready(struct stream *s)
{
	struct end *x = (struct end *)(void *)((char *)s - offsetof(struct end, s));
	assert_false(loop.stale);
	x->readies++;
	if (x->on_ready)
		x->on_ready(x);
}

static void at_turn(struct hook *h)
{
	(void)h;
	if (until ? until() : --turns_left <= 0)
		loop_stop(&loop);
	else if (!until)
		loop_soon(&loop, &turn_task);
}

static void nothing(struct task *t)
{
	(void)t;
}

/* Some turns that do not wait: what is there is told. */
static void turns(void)
{
	until = NULL;
	turns_left = 3;
	loop_soon(&loop, &turn_task);
	loop_run(&loop);
}

static void run_until(bool (*cond)(void))
{
	until = cond;
	if (!cond())
		loop_run(&loop);
}

static bool e_is_ready(void)
{
	return e.readies > 0;
}

static int set_up(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	assert_true(loop_init(&loop));
	task_init(&turn_task, nothing);
	hook_add(&loop, &turn_hook, at_turn);
	memset(&e, 0, sizeof(e));
	memset(&f, 0, sizeof(f));
	e.s.fd = f.s.fd = e.peer = f.peer = -1;
	alarm(GIVE_UP_S);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	alarm(0);
	stream_close(&e.s);
	stream_close(&f.s);
	if (e.peer >= 0)
		close(e.peer);
	if (f.peer >= 0)
		close(f.peer);
	loop_free(&loop);
	return 0;
}

static void open_unix(struct end *x)
{
	int fd[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
	x->peer = fd[1];
	assert_true(stream_open(&x->s, &loop, fd[0], on_ready));
}

static int tcp_listener(struct sockaddr_in *sa)
{
	socklen_t len = sizeof(*sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	*sa = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	assert_int_equal(bind(fd, (struct sockaddr *)sa, sizeof(*sa)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)sa, &len), 0);
	return fd;
}

/* Connected, and its first ready is over. */
static void open_tcp(struct end *x)
{
	struct sockaddr_in sa;
	int l = tcp_listener(&sa);
	assert_int_equal(listen(l, 1), 0);
	assert_true(stream_connect(&x->s, &loop, (struct sockaddr *)&sa, sizeof(sa), on_ready));
	x->peer = accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(x->peer >= 0);
	close(l);
	while (!x->readies)
		turns();
	assert_int_equal(stream_connected(&x->s), 0);
	x->readies = 0;
}

static void peer_sends(struct end *x, const char *text)
{
	assert_int_equal(send(x->peer, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void peer_resets(struct end *x)
{
	struct linger l = {1, 0};
	assert_int_equal(setsockopt(x->peer, SOL_SOCKET, SO_LINGER, &l, sizeof(l)), 0);
	close(x->peer);
	x->peer = -1;
}

static void peer_closes(struct end *x)
{
	close(x->peer);
	x->peer = -1;
}

/* Until the kernel has seen that much of what the peer did. */
static void arrived(struct end *x, short what)
{
	struct pollfd p = {.fd = x->s.fd, .events = what};
	assert_int_equal(poll(&p, 1, 10000), 1);
	assert_true(p.revents & what);
}

static void reads(struct end *x, const char *want)
{
	char got[64] = "";
	assert_int_equal(stream_read(&x->s, got, sizeof(got) - 1), strlen(want));
	assert_string_equal(got, want);
}

/* --- reading --- */

static void nothing_to_read_is_again_and_is_remembered(void **state)
{
	char byte;
	(void)state;
	open_unix(&e);
	assert_true(e.s.can_read); /* not known better yet */
	assert_int_equal(stream_read(&e.s, &byte, 1), STREAM_AGAIN);
	assert_false(e.s.can_read);
	assert_true(e.s.can_write);
	peer_sends(&e, "x");
	run_until(e_is_ready);
	assert_true(e.s.can_read);
	assert_false(e.s.peer_closed);
}

static void an_edge_is_told_once_but_not_forgotten(void **state)
{
	(void)state;
	open_tcp(&e);
	peer_sends(&e, "hello");
	run_until(e_is_ready);
	unsigned told = e.readies;
	turns();
	turns();
	assert_int_equal(e.readies, told);
	assert_true(e.s.can_read);
	reads(&e, "hello");
	assert_false(e.s.can_read); /* the read was short: no call more to learn that */
	peer_sends(&e, "again");
	while (e.readies == told)
		turns();
	reads(&e, "again");
}

static void a_full_read_leaves_can_read_set(void **state)
{
	char got[4];
	(void)state;
	open_unix(&e);
	peer_sends(&e, "abcdef");
	run_until(e_is_ready);
	assert_int_equal(stream_read(&e.s, got, 4), 4);
	assert_true(e.s.can_read);
	assert_int_equal(stream_read(&e.s, got, 4), 2);
	assert_false(e.s.can_read);
}

static void data_and_fin_in_one_edge_are_both_read(void **state)
{
	char byte;
	(void)state;
	for (int tcp = 0; tcp < 2; tcp++) {
		tear_down(NULL);
		set_up(NULL);
		tcp ? open_tcp(&e) : open_unix(&e);
		peer_sends(&e, "last");
		peer_closes(&e);
		arrived(&e, POLLRDHUP);
		run_until(e_is_ready);
		unsigned told = e.readies;
		assert_true(e.s.peer_closed);
		assert_false(e.s.eof);
		reads(&e, "last");
		assert_true(
			e.s.can_read); /* short, but there is a FIN behind it, for which no edge will come */
		assert_int_equal(stream_read(&e.s, &byte, 1), 0);
		assert_true(e.s.eof);
		assert_false(stream_may_read(&e.s));
		turns();
		assert_int_equal(e.readies, told);
	}
}

static void a_fin_that_comes_later_is_an_edge_of_its_own(void **state)
{
	char byte;
	(void)state;
	open_tcp(&e);
	peer_sends(&e, "first");
	run_until(e_is_ready);
	reads(&e, "first");
	assert_false(e.s.can_read);
	e.readies = 0;
	peer_closes(&e);
	run_until(e_is_ready);
	assert_true(e.s.peer_closed && e.s.can_read);
	assert_int_equal(stream_read(&e.s, &byte, 1), 0);
}

static void after_a_half_close_the_other_way_stays_open(void **state)
{
	char got[8] = "";
	(void)state;
	open_tcp(&e);
	peer_sends(&e, "ask");
	shutdown(e.peer, SHUT_WR);
	arrived(&e, POLLRDHUP);
	run_until(e_is_ready);
	reads(&e, "ask");
	assert_int_equal(stream_read(&e.s, got, 1), 0);
	assert_true(e.s.can_write);
	assert_int_equal(stream_write(&e.s, "answer", 6), 6);
	stream_shutdown(&e.s);
	struct pollfd p = {.fd = e.peer, .events = POLLRDHUP};
	assert_int_equal(poll(&p, 1, 10000), 1);
	assert_int_equal(read(e.peer, got, sizeof(got)), 6);
	assert_memory_equal(got, "answer", 6);
	assert_int_equal(read(e.peer, got, sizeof(got)), 0);
}

static void after_our_own_half_close_reading_goes_on(void **state)
{
	char got[8];
	(void)state;
	open_unix(&e);
	assert_int_equal(stream_write(&e.s, "q", 1), 1);
	stream_shutdown(&e.s);
	assert_int_equal(read(e.peer, got, sizeof(got)), 1);
	assert_int_equal(read(e.peer, got, sizeof(got)), 0);
	turns();
	e.readies = 0;
	peer_sends(&e, "reply");
	run_until(e_is_ready);
	reads(&e, "reply");
	assert_false(e.s.eof);
}

/* --- writing --- */

#define PUMP (4u << 20)
static size_t pumped, drained, partial;
static unsigned char pattern_of(size_t i)
{
	return (unsigned char)(i * 7 + (i >> 8) * 13 + (i >> 16));
}

static void pump(struct end *x)
{
	static unsigned char part[3][90000];
	while (pumped < PUMP && x->s.can_write) {
		struct iovec v[3];
		size_t n = 0, most = pumped % 2 ? sizeof(part[0]) : 700; /* sent as they are, or joined */
		int count = 1 + (int)(pumped % 3);
		for (int i = 0; i < count; i++) {
			size_t len = 1 + (pumped + (size_t)i * 977) % most;
			for (size_t k = 0; k < len; k++)
				part[i][k] = pattern_of(pumped + n + k);
			v[i] = (struct iovec){part[i], len};
			n += len;
		}
		ssize_t sent = stream_writev(&x->s, v, count);
		if (sent == STREAM_AGAIN) {
			assert_false(x->s.can_write);
			return;
		}
		assert_true(sent > 0 && (size_t)sent <= n);
		partial += (size_t)sent < n;
		assert_int_equal(x->s.can_write, (size_t)sent == n);
		pumped += (size_t)sent;
	}
}

/* The peer reads only when the stream is full, so that every way of being full is met. */
static bool all_drained(void)
{
	unsigned char got[50000];
	while (!e.s.can_write || pumped >= PUMP) {
		ssize_t n = read(e.peer, got, sizeof(got));
		if (n <= 0)
			break;
		for (ssize_t i = 0; i < n; i++, drained++)
			assert_int_equal(got[i], pattern_of(drained));
	}
	return drained == pumped && pumped >= PUMP;
}

static void all_bytes_arrive_in_order_through_a_stream_that_is_full_again_and_again(void **state)
{
	(void)state;
	for (int tcp = 0; tcp < 2; tcp++) {
		tear_down(NULL);
		set_up(NULL);
		pumped = drained = partial = 0;
		tcp ? open_tcp(&e) : open_unix(&e);
		setsockopt(e.s.fd, SOL_SOCKET, SO_SNDBUF, &(int){5000}, sizeof(int));
		e.on_ready = pump;
		pump(&e);
		assert_false(e.s.can_write);
		while (!all_drained())
			turns();
		assert_int_equal(drained, pumped);
		assert_true(partial > 10); /* and not only between two writes */
	}
}

/* --- connections that are lost --- */

static void a_reset_is_an_error_once_and_then_nothing_is_ready(void **state)
{
	char byte;
	(void)state;
	open_tcp(&e);
	assert_int_equal(stream_read(&e.s, &byte, 1), STREAM_AGAIN);
	peer_resets(&e);
	run_until(e_is_ready);
	assert_true(e.s.can_read);
	assert_int_equal(stream_read(&e.s, &byte, 1), STREAM_ERROR);
	assert_int_equal(e.s.err, ECONNRESET);
	assert_false(e.s.can_read);
	assert_false(e.s.can_write);
	assert_false(e.s.eof);
}

static void a_reset_behind_data_that_was_read_is_told(void **state)
{
	char byte;
	(void)state;
	open_tcp(&e);
	peer_sends(&e, "part");
	run_until(e_is_ready);
	reads(&e, "part");
	e.readies = 0;
	peer_resets(&e);
	run_until(e_is_ready);
	assert_int_equal(stream_read(&e.s, &byte, 1), STREAM_ERROR);
}

/* libevent tells of a reset in one edge with data as mere readiness: who needs more tries once an edge. */
static void a_reset_in_one_edge_with_data_is_found_by_trying_once_more(void **state)
{
	char byte;
	(void)state;
	open_tcp(&e);
	assert_int_equal(stream_write(&e.s, "unread", 6), 6);
	assert_int_equal(poll(&(struct pollfd){.fd = e.peer, .events = POLLIN}, 1, 10000), 1);
	peer_sends(&e, "part");
	peer_closes(&e);
	arrived(&e, POLLHUP);
	run_until(e_is_ready);
	reads(&e, "part");
	assert_true(stream_may_read(&e.s));
	assert_int_equal(stream_read(&e.s, &byte, 1), STREAM_ERROR);
	assert_int_equal(e.s.err, ECONNRESET);
	assert_false(stream_may_read(&e.s));
}

static void one_more_read_is_tried_once_an_edge(void **state)
{
	char byte;
	(void)state;
	open_tcp(&e);
	assert_int_equal(stream_read(&e.s, &byte, 1), STREAM_AGAIN);
	assert_false(stream_may_read(&e.s)); /* nothing came */
	for (int i = 0; i < 3; i++) {
		e.readies = 0;
		peer_sends(&e, "part");
		run_until(e_is_ready);
		assert_true(stream_may_read(&e.s));
		reads(&e, "part");
		assert_true(stream_may_read(&e.s));
		assert_int_equal(stream_read(&e.s, &byte, 1), STREAM_AGAIN);
		assert_false(stream_may_read(&e.s));
	}
}

static void a_write_that_fails_leaves_the_last_words_to_be_read(void **state)
{
	(void)state;
	for (int tcp = 0; tcp < 2; tcp++) {
		char byte;
		ssize_t n;
		tear_down(NULL);
		set_up(NULL);
		tcp ? open_tcp(&e) : open_unix(&e);
		assert_int_equal(stream_write(&e.s, "unread", 6), 6);
		assert_int_equal(stream_read(&e.s, &byte, 1), STREAM_AGAIN);
		if (tcp)
			assert_int_equal(poll(&(struct pollfd){.fd = e.peer, .events = POLLIN}, 1, 10000), 1);
		peer_sends(&e, "413 too large");
		peer_closes(&e); /* with bytes unread: a reset follows the words */
		arrived(&e, POLLHUP);
		do
			n = stream_write(&e.s, "more", 4);
		while (n > 0);
		assert_int_equal(n, STREAM_ERROR);
		assert_true(e.s.err == EPIPE || e.s.err == ECONNRESET);
		assert_true(e.s.can_read);
		assert_false(e.s.can_write);
		reads(&e, "413 too large");
		assert_true(e.s.can_read); /* nobody will tell of the end */
		n = stream_read(&e.s, &byte, 1);
		assert_true(n == 0 || n == STREAM_ERROR);
		assert_false(e.s.can_read);
	}
}

/* --- connecting --- */

static void a_connection_that_is_refused_is_told_by_ready(void **state)
{
	struct sockaddr_in sa;
	(void)state;
	int l = tcp_listener(&sa); /* bound, and nobody listens */
	if (!stream_connect(&e.s, &loop, (struct sockaddr *)&sa, sizeof(sa), on_ready)) {
		assert_int_equal(errno, ECONNREFUSED);
		assert_false(stream_is_open(&e.s));
	} else {
		assert_true(e.s.connecting);
		assert_false(e.s.can_write || e.s.can_read);
		run_until(e_is_ready);
		assert_int_equal(stream_connected(&e.s), ECONNREFUSED);
		assert_int_equal(e.s.err, ECONNREFUSED);
		assert_false(e.s.connecting);
	}
	close(l);
}

static void a_connection_that_fails_at_once_leaves_nothing_open(void **state)
{
	struct sockaddr_un su = {.sun_family = AF_UNIX, .sun_path = "/nowhere/at/all.sock"};
	struct sockaddr none = {.sa_family = 177};
	(void)state;
	errno = 0;
	assert_false(stream_connect(&e.s, &loop, (struct sockaddr *)&su, sizeof(su), on_ready));
	assert_int_equal(errno, ENOENT);
	assert_false(stream_is_open(&e.s));
	assert_false(stream_connect(&e.s, &loop, &none, sizeof(none), on_ready));
	assert_int_equal(errno, EAFNOSUPPORT);
	int fd = dup(0), again;
	close(fd);
	again = dup(0);
	assert_int_equal(fd, again); /* no descriptor went missing meanwhile */
	close(again);
}

static void a_connection_that_is_made_can_be_written_and_then_read(void **state)
{
	struct sockaddr_in sa;
	int l = tcp_listener(&sa);
	(void)state;
	listen(l, 1);
	assert_true(stream_connect(&e.s, &loop, (struct sockaddr *)&sa, sizeof(sa), on_ready));
	assert_int_equal(e.readies, 0); /* never from inside the call */
	assert_true(e.s.connecting);
	run_until(e_is_ready);
	assert_int_equal(stream_connected(&e.s), 0);
	assert_true(e.s.can_write);
	assert_false(e.s.connecting);
	e.peer = accept(l, NULL, NULL);
	close(l);
	assert_int_equal(stream_write(&e.s, "hi", 2), 2);
	e.readies = 0;
	peer_sends(&e, "ho");
	run_until(e_is_ready);
	reads(&e, "ho");
}

static void silent(int severity, const char *text)
{
	(void)severity, (void)text;
}

static void an_unknown_descriptor_is_refused(void **state)
{
	(void)state;
	int fd = dup(0);
	close(fd);
	event_set_log_callback(silent);
	assert_false(stream_open(&e.s, &loop, fd, on_ready));
	event_set_log_callback(NULL);
	assert_false(stream_is_open(&e.s));
}

/* --- closing --- */

static void close_self(struct end *x)
{
	stream_close(&x->s);
}

static void a_stream_may_close_itself_in_ready(void **state)
{
	char byte;
	(void)state;
	open_unix(&e);
	turns();
	e.on_ready = close_self;
	e.readies = 0;
	peer_sends(&e, "x");
	run_until(e_is_ready);
	assert_false(stream_is_open(&e.s));
	assert_false(e.s.can_read || e.s.can_write);
	assert_int_equal(recv(e.peer, &byte, 1, 0) <= 0, 1);
	stream_close(&e.s);
	stream_reset(&e.s);
	stream_shutdown(&e.s);
	turns();
	assert_int_equal(e.readies, 1);
}

static void close_other(struct end *x)
{
	stream_close(x == &e ? &f.s : &e.s);
}

static void a_stream_closed_by_another_is_not_told_of_its_event(void **state)
{
	(void)state;
	open_unix(&e);
	open_unix(&f);
	turns();
	e.readies = f.readies = 0;
	e.on_ready = f.on_ready = close_other;
	peer_sends(&e, "x");
	peer_sends(&f, "x"); /* both in one turn */
	turns();
	assert_int_equal(e.readies + f.readies, 1);
	assert_int_equal(stream_is_open(&e.s) + stream_is_open(&f.s), 1);
}

static void a_reset_of_ours_is_seen_by_the_peer(void **state)
{
	char got[8];
	(void)state;
	open_tcp(&e);
	assert_int_equal(stream_write(&e.s, "part", 4), 4);
	stream_reset(&e.s);
	assert_int_equal(poll(&(struct pollfd){.fd = e.peer, .events = POLLRDHUP}, 1, 10000), 1);
	ssize_t n = read(e.peer, got, sizeof(got));
	if (n == 4)
		n = read(e.peer, got, sizeof(got));
	assert_int_equal(n, -1);
	assert_int_equal(errno, ECONNRESET);
}

static void what_was_written_before_a_close_arrives(void **state)
{
	char got[8];
	(void)state;
	open_tcp(&e);
	assert_int_equal(stream_write(&e.s, "whole", 5), 5);
	stream_close(&e.s);
	assert_int_equal(poll(&(struct pollfd){.fd = e.peer, .events = POLLRDHUP}, 1, 10000), 1);
	assert_int_equal(read(e.peer, got, sizeof(got)), 5);
	assert_int_equal(read(e.peer, got, sizeof(got)), 0);
}

#define IN_LOOP(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_LOOP(nothing_to_read_is_again_and_is_remembered),
		IN_LOOP(an_edge_is_told_once_but_not_forgotten),
		IN_LOOP(a_full_read_leaves_can_read_set),
		IN_LOOP(data_and_fin_in_one_edge_are_both_read),
		IN_LOOP(a_fin_that_comes_later_is_an_edge_of_its_own),
		IN_LOOP(after_a_half_close_the_other_way_stays_open),
		IN_LOOP(after_our_own_half_close_reading_goes_on),
		IN_LOOP(all_bytes_arrive_in_order_through_a_stream_that_is_full_again_and_again),
		IN_LOOP(a_reset_is_an_error_once_and_then_nothing_is_ready),
		IN_LOOP(a_reset_behind_data_that_was_read_is_told),
		IN_LOOP(a_reset_in_one_edge_with_data_is_found_by_trying_once_more),
		IN_LOOP(one_more_read_is_tried_once_an_edge),
		IN_LOOP(a_write_that_fails_leaves_the_last_words_to_be_read),
		IN_LOOP(a_connection_that_is_refused_is_told_by_ready),
		IN_LOOP(a_connection_that_fails_at_once_leaves_nothing_open),
		IN_LOOP(a_connection_that_is_made_can_be_written_and_then_read),
		IN_LOOP(an_unknown_descriptor_is_refused),
		IN_LOOP(a_stream_may_close_itself_in_ready),
		IN_LOOP(a_stream_closed_by_another_is_not_told_of_its_event),
		IN_LOOP(a_reset_of_ours_is_seen_by_the_peer),
		IN_LOOP(what_was_written_before_a_close_arrives),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
