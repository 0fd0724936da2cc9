/* SPDX-License-Identifier: MIT */
#include "master/healthcheck.h"

#include <errno.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/tls_client.h"
#include "conf/conf.h"

#define ANSWER 64 /* of which the status is read */

/* PROXY protocol v2 in its LOCAL form: the connection is the proxy's own, there is nobody behind it. */
static const unsigned char proxy_local[16] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51,
					      0x55, 0x49, 0x54, 0x0a, 0x20, 0x00, 0x00, 0x00};

struct question {
	const struct sockaddr_storage *sa;
	socklen_t sa_len;
	struct str where; /* for messages */
	struct str path;
	bool proxy_header, tls;
	usec_t until;
};

struct line { /* to whom is asked */
	int fd;
	SSL *ssl; /* NULL: plain */
};

/* --- whom to ask --- */

static struct question of_listener(const struct conf *c, const struct conf_listen *l)
{
	return (struct question){.sa = &l->sa,
				 .sa_len = l->sa_len,
				 .where = l->text,
				 .path = c->health_path,
				 .proxy_header = l->proxy_protocol,
				 .tls = l->certificates > 0};
}

static struct question choose(const struct conf *c)
{
	for (unsigned i = 0; i < c->listens; i++)
		if (!c->listen[i].proxy_protocol && !c->listen[i].certificates)
			return of_listener(c, &c->listen[i]);
	for (unsigned i = 0; i < c->listens; i++)
		if (!c->listen[i].proxy_protocol)
			return of_listener(c, &c->listen[i]);
	if (c->admin.http)
		return (struct question){.sa = &c->admin.http_sa,
					 .sa_len = c->admin.http_len,
					 .where = c->admin.http_text,
					 .path = STR("/healthz")};
	return of_listener(c, &c->listen[0]);
}

/* What listens everywhere is asked on the loopback. The second try is for machines whose loopback has no
 * IPv6. */
static bool to_loopback(struct sockaddr_storage *sa, bool second)
{
	static const unsigned char any[16], mapped[16] = {[10] = 0xff, 0xff, 127, 0, 0, 1};
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	memcpy(&v4, sa, sizeof(v4));
	memcpy(&v6, sa, sizeof(v6));
	if (sa->ss_family == AF_INET && v4.sin_addr.s_addr == htonl(INADDR_ANY)) {
		v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		memcpy(sa, &v4, sizeof(v4));
		return !second;
	}
	if (sa->ss_family != AF_INET6 || memcmp(&v6.sin6_addr, any, sizeof(any)) != 0)
		return !second;
	v6.sin6_addr = in6addr_loopback;
	if (second)
		memcpy(&v6.sin6_addr, mapped, sizeof(mapped));
	memcpy(sa, &v6, sizeof(v6));
	return true;
}

/* --- asking --- */

static int left_ms(const struct question *q)
{
	usec_t left = q->until - clock_mono();
	return left > 0 ? (int)(left / USEC_PER_MSEC) : 0;
}

static bool ready(const struct question *q, int fd, short events)
{
	struct pollfd p = {.fd = fd, .events = events};
	int r;
	do
		r = poll(&p, 1, left_ms(q));
	while (r < 0 && errno == EINTR);
	if (r == 0)
		errno = ETIMEDOUT;
	return r > 0;
}

static int connected(const struct question *q, bool second)
{
	struct sockaddr_storage sa = *q->sa;
	int err = 0, fd;
	socklen_t len = sizeof(err);
	if (!to_loopback(&sa, second)) {
		errno = EADDRNOTAVAIL;
		return -1;
	}
	fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	if (connect(fd, (const struct sockaddr *)&sa, q->sa_len) == 0)
		return fd;
	if (errno == EINPROGRESS && ready(q, fd, POLLOUT) &&
	    getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) == 0) {
		if (err == 0)
			return fd;
		errno = err;
	}
	err = errno;
	close(fd);
	errno = err;
	return -1;
}

static bool send_all(const struct question *q, int fd, const void *bytes, size_t n)
{
	const char *p = bytes;
	while (n) {
		ssize_t w = send(fd, p, n, MSG_NOSIGNAL);
		if (w < 0 && errno == EAGAIN && ready(q, fd, POLLOUT))
			continue;
		if (w < 0)
			return false;
		p += w;
		n -= (size_t)w;
	}
	return true;
}

/* Whether to try again: what OpenSSL waits for has come. */
static bool ready_for(const struct question *q, const struct line *l, int r)
{
	switch (SSL_get_error(l->ssl, r)) {
	case SSL_ERROR_WANT_READ:
		return ready(q, l->fd, POLLIN);
	case SSL_ERROR_WANT_WRITE:
		return ready(q, l->fd, POLLOUT);
	case SSL_ERROR_SYSCALL:
		return false;
	default:
		errno = EPROTO;
		return false;
	}
}

/* Whoever it is that listens here is asked: its certificate is for others, who know it by its names. */
static bool begin_tls(const struct question *q, struct line *l)
{
	struct tls_client_setup setup = {.http = true};
	struct tls_wrong wrong;
	struct tls_client *c = tls_client_new(&setup, &wrong);
	int r = 0;
	l->ssl = c ? tls_client_session(c, "localhost", NULL) : NULL;
	tls_client_drop(c);
	if (!l->ssl || SSL_set_fd(l->ssl, l->fd) != 1) {
		errno = ENOMEM;
		return false;
	}
	do
		r = SSL_connect(l->ssl);
	while (r <= 0 && ready_for(q, l, r));
	return r == 1;
}

static bool say(const struct question *q, const struct line *l, const void *bytes, size_t n)
{
	int r;
	if (!l->ssl)
		return send_all(q, l->fd, bytes, n);
	do
		r = SSL_write(l->ssl, bytes, (int)n);
	while (r <= 0 && ready_for(q, l, r));
	return r > 0;
}

static ssize_t hear(const struct question *q, const struct line *l, char *to, size_t n)
{
	ssize_t r;
	if (!l->ssl) {
		do
			r = recv(l->fd, to, n, 0);
		while (r < 0 && errno == EAGAIN && ready(q, l->fd, POLLIN));
		return r;
	}
	do
		r = SSL_read(l->ssl, to, (int)n);
	while (r <= 0 && ready_for(q, l, (int)r));
	return r;
}

static bool send_question(const struct question *q, struct line *l)
{
	char head[4096 + 256];
	int n = snprintf(head, sizeof(head),
			 "GET %.*s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: weir-healthcheck/" WEIR_VERSION
			 "\r\nConnection: close\r\n\r\n",
			 (int)q->path.n, q->path.p);
	if (n < 0 || (size_t)n >= sizeof(head)) {
		errno = EMSGSIZE;
		return false;
	}
	return (!q->proxy_header || send_all(q, l->fd, proxy_local, sizeof(proxy_local))) &&
	       (!q->tls || begin_tls(q, l)) && say(q, l, head, (size_t)n);
}

/* As much of the answer as has its status; 0: none came, errno says why (0: it was cut off). */
static int read_status(const struct question *q, const struct line *l)
{
	char line[ANSWER + 1];
	size_t n = 0;
	int status;
	while (n < 12) {
		ssize_t r = hear(q, l, line + n, ANSWER - n);
		if (r == 0)
			errno = 0;
		if (r <= 0)
			return 0;
		n += (size_t)r;
	}
	line[n] = 0;
	if (sscanf(line, "HTTP/1.%*1[01] %3d", &status) == 1)
		return status;
	errno = EPROTO;
	return 0;
}

static int ask(struct question *q)
{
	int fd, status = 0, saved;
	q->until = clock_mono() + HEALTHCHECK_MS * USEC_PER_MSEC;
	fd = connected(q, false);
	if (fd < 0 && errno != ETIMEDOUT) {
		saved = errno;
		fd = connected(q, true);
		if (fd < 0)
			errno = saved;
	}
	if (fd < 0)
		return 0;
	struct line l = {fd, NULL};
	if (send_question(q, &l))
		status = read_status(q, &l);
	saved = errno;
	SSL_free(l.ssl);
	close(fd);
	errno = saved;
	return status;
}

static int check(const struct conf *c)
{
	struct question q = choose(c);
	int status = ask(&q);
	if (status == 200)
		return 0;
	if (status)
		fprintf(stderr, "weir at %.*s is not well: it answers %d%s\n", (int)q.where.n, q.where.p,
			status, status == 503 ? ", it drains" : "");
	else
		fprintf(stderr, "weir at %.*s does not answer: %s\n", (int)q.where.n, q.where.p,
			errno ? strerror(errno) : "the connection was closed");
	return 1;
}

int healthcheck_run(const char *config_path)
{
	struct conf_notes notes = {0};
	struct conf_bundle *bundle = conf_bundle_new(config_path);
	struct conf *conf = bundle ? conf_load(bundle, &notes) : NULL;
	int status = 1;
	signal(SIGPIPE, SIG_IGN);
	if (conf) {
		status = check(conf);
		conf_free(conf);
	} else {
		const struct conf_note *first = NULL;
		for (unsigned i = 0; i < notes.rows && !first; i++)
			first = notes.row[i].warning ? NULL : &notes.row[i];
		fprintf(stderr, "%s: %s\n", first ? first->file : config_path,
			first ? first->text : "out of memory");
	}
	conf_notes_free(&notes);
	conf_bundle_free(bundle);
	return status;
}
