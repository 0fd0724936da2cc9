/* SPDX-License-Identifier: MIT */
#include "master/line.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/tls_cert.h"

static bool failed(struct line *l, const char *why)
{
	if (!l->wrong[0])
		snprintf(l->wrong, sizeof(l->wrong), "%s", why);
	return false;
}

static bool failed_errno(struct line *l)
{
	return failed(l, strerror(errno));
}

static bool ready(struct line *l, short events)
{
	struct pollfd p = {.fd = l->fd, .events = events};
	usec_t left;
	int r;
	do {
		left = l->until - clock_mono();
		r = poll(&p, 1, left > 0 ? (int)(left / USEC_PER_MSEC) : 0);
	} while (r < 0 && errno == EINTR);
	if (r > 0)
		return true;
	if (r == 0) {
		l->timed_out = true;
		errno = ETIMEDOUT;
	}
	return failed_errno(l);
}

bool line_connect(struct line *l, const struct sockaddr *sa, socklen_t len, usec_t until)
{
	int err = 0;
	socklen_t err_len = sizeof(err);
	*l = (struct line){.until = until};
	l->fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd < 0)
		return failed_errno(l);
	if (connect(l->fd, sa, len) == 0)
		return true;
	if (errno != EINPROGRESS)
		return failed_errno(l);
	if (!ready(l, POLLOUT))
		return false;
	if (getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &err, &err_len) < 0)
		err = errno;
	return err == 0 || failed(l, strerror(err));
}

/* Whether to try again: what OpenSSL waits for has come. */
static bool ready_for(struct line *l, int r)
{
	const char *distrust = tls_client_distrust(l->ssl);
	switch (SSL_get_error(l->ssl, r)) {
	case SSL_ERROR_WANT_READ:
		return ready(l, POLLIN);
	case SSL_ERROR_WANT_WRITE:
		return ready(l, POLLOUT);
	case SSL_ERROR_ZERO_RETURN:
		return failed(l, "the connection was closed");
	case SSL_ERROR_SYSCALL:
		return errno ? failed_errno(l) : failed(l, "the connection was closed");
	default:
		return failed(l, distrust ? distrust : tls_error_text());
	}
}

bool line_secure(struct line *l, struct tls_client *c, const char *name)
{
	int r;
	l->ssl = tls_client_session(c, name, NULL);
	if (!l->ssl || SSL_set_fd(l->ssl, l->fd) != 1)
		return failed(l, "out of memory");
	do {
		ERR_clear_error();
		errno = 0;
		r = SSL_connect(l->ssl);
	} while (r <= 0 && ready_for(l, r));
	return r == 1;
}

static ssize_t write_once(struct line *l, const char *p, size_t n)
{
	ssize_t w;
	if (!l->ssl) {
		do
			w = send(l->fd, p, n, MSG_NOSIGNAL);
		while (w < 0 && (errno == EINTR || (errno == EAGAIN && ready(l, POLLOUT))));
		return w < 0 ? failed_errno(l), -1 : w;
	}
	do {
		ERR_clear_error();
		errno = 0;
		w = SSL_write(l->ssl, p, (int)n);
	} while (w <= 0 && ready_for(l, (int)w));
	return w;
}

bool line_say(struct line *l, const void *bytes, size_t n)
{
	const char *p = bytes;
	while (n && !l->wrong[0]) {
		ssize_t w = write_once(l, p, n);
		if (w <= 0)
			return false;
		p += w;
		n -= (size_t)w;
	}
	return !l->wrong[0];
}

size_t line_hear(struct line *l, void *to, size_t n)
{
	ssize_t r;
	if (l->wrong[0])
		return 0;
	if (!l->ssl) {
		do
			r = recv(l->fd, to, n, 0);
		while (r < 0 && (errno == EINTR || (errno == EAGAIN && ready(l, POLLIN))));
		if (r <= 0)
			r < 0 ? failed_errno(l) : failed(l, "the connection was closed");
		return r > 0 ? (size_t)r : 0;
	}
	do {
		ERR_clear_error();
		errno = 0;
		r = SSL_read(l->ssl, to, (int)n);
	} while (r <= 0 && ready_for(l, (int)r));
	return r > 0 ? (size_t)r : 0;
}

void line_close(struct line *l)
{
	SSL_free(l->ssl);
	l->ssl = NULL;
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
}
