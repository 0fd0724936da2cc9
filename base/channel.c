/* SPDX-License-Identifier: MIT */
#include "base/channel.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

struct head {
	uint32_t type, arg;
};

union control {
	char bytes[CMSG_SPACE(sizeof(int) * CHANNEL_FDS)];
	struct cmsghdr align;
};

int channel_pair(int fd[2])
{
	int big = 1 << 20;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd) < 0)
		return -1;
	for (int i = 0; i < 2; i++)
		setsockopt(fd[i], SOL_SOCKET, SO_SNDBUF, &big, sizeof(big));
	return 0;
}

int channel_send(int fd, const struct channel_msg *m)
{
	struct head h = {m->type, m->arg};
	struct iovec v[2] = {{&h, sizeof(h)}, {(void *)(uintptr_t)m->bytes, m->len}};
	union control c;
	struct msghdr msg = {.msg_iov = v, .msg_iovlen = 2};
	if (m->fds > CHANNEL_FDS || m->len > sizeof(m->bytes)) {
		errno = EMSGSIZE;
		return -1;
	}
	if (m->fds) {
		memset(&c, 0, sizeof(c));
		msg.msg_control = c.bytes;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * m->fds);
		struct cmsghdr *cm = CMSG_FIRSTHDR(&msg);
		assert(cm); /* there is room for one */
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(sizeof(int) * m->fds);
		memcpy(CMSG_DATA(cm), m->fd, sizeof(int) * m->fds);
	}
	ssize_t n;
	do
		n = sendmsg(fd, &msg, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -1 : 0;
}

static void take_fds(struct channel_msg *m, struct msghdr *msg)
{
	for (struct cmsghdr *cm = CMSG_FIRSTHDR(msg); cm; cm = CMSG_NXTHDR(msg, cm)) {
		if (cm->cmsg_level != SOL_SOCKET || cm->cmsg_type != SCM_RIGHTS)
			continue;
		unsigned n = (unsigned)((cm->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(m->fd, CMSG_DATA(cm), sizeof(int) * n);
		m->fds = n;
	}
}

int channel_recv(int fd, struct channel_msg *m)
{
	struct head h = {0, 0};
	struct iovec v[2] = {{&h, sizeof(h)}, {m->bytes, sizeof(m->bytes)}};
	union control c;
	struct msghdr msg = {
		.msg_iov = v, .msg_iovlen = 2, .msg_control = c.bytes, .msg_controllen = sizeof(c)};
	ssize_t n;
	do
		n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n == 0 || errno == ECONNRESET ? 0 : -1;
	m->fds = 0;
	take_fds(m, &msg);
	if ((size_t)n < sizeof(h) || msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
		while (m->fds)
			close(m->fd[--m->fds]);
		errno = EPROTO;
		return -1;
	}
	m->type = h.type;
	m->arg = h.arg;
	m->len = (size_t)n - sizeof(h);
	return 1;
}
