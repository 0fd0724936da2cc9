/* SPDX-License-Identifier: MIT */
#include "master/leftover.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <unistd.h>

#include "base/board.h"
#include "base/ring.h"

/* A descriptor that poll finds writable takes PIPE_BUF bytes without blocking. */
static bool write_patiently(int fd, const char *p, size_t n, usec_t until)
{
	while (n) {
		usec_t left = until - clock_mono();
		struct pollfd wait = {.fd = fd, .events = POLLOUT};
		if (left < 0 || poll(&wait, 1, (int)(left / USEC_PER_MSEC)) <= 0 || !(wait.revents & POLLOUT))
			return false;
		ssize_t w = write(fd, p, n < PIPE_BUF ? n : PIPE_BUF);
		if (w < 0 && errno != EINTR && errno != EAGAIN)
			return true; /* nobody will ever take it: gone */
		if (w > 0) {
			p += w;
			n -= (size_t)w;
		}
	}
	return true;
}

/* fd -1: what is there goes nowhere. */
static bool write_ring(enum ring_kind kind, unsigned slot, int fd, usec_t until)
{
	const char *line;
	size_t n;
	while ((line = ring_peek(kind, slot, &n)) != NULL) {
		if (fd >= 0 && !write_patiently(fd, line, n, until))
			return false;
		ring_release(kind, slot, n);
	}
	return true;
}

void leftover_own(unsigned slot)
{
	write_ring(RING_OWN, slot, STDERR_FILENO, clock_mono() + LEFTOVER_US);
}

static void write_rings(enum ring_kind kind, int fd)
{
	usec_t until = clock_mono() + LEFTOVER_US;
	for (unsigned i = 1; i < PROC_MAX; i++)
		if (!write_ring(kind, i, fd, until))
			break;
}

void leftover_all(int access_fd)
{
	write_rings(RING_ACCESS, access_fd);
	write_rings(RING_OWN, STDERR_FILENO);
	leftover_own(0);
}
