/* SPDX-License-Identifier: MIT */
#include "control/admin.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/stream.h"
#include "control/commands.h"
#include "control/request.h"

#define ACCEPTS_A_TURN 16

struct admin {
	struct control *control;
	int fd;
	struct event event;
	bool deaf; /* descriptors ran out: the next tick tries again */
	struct list clients;
	unsigned count;
	struct timeout_class idle;
	struct log_limit trouble;
};

/*
 *   READING --- the line is complete ---> WAITING --- its handler answers ---> ANSWERING --- all sent --->
 * closed any: the peer is gone, or ADMIN_IDLE_US are over (not while WAITING) ---> closed
 */
enum admin_state { ADMIN_READING, ADMIN_WAITING, ADMIN_ANSWERING };

struct admin_client {
	struct grave grave;
	struct list link;
	struct admin *admin;
	struct stream stream;
	struct timeout timeout;
	enum admin_state state;
	struct request *request; /* READING: its bytes are filled; WAITING: its handler has it */
	struct text out;
	size_t sent;
};

static void free_client(struct grave *g)
{
	struct admin_client *k = list_entry(g, struct admin_client, grave);
	text_free(&k->out);
	free(k);
}

static void close_client(struct admin_client *k)
{
	if (!stream_is_open(&k->stream))
		return;
	if (k->state == ADMIN_READING)
		free(k->request);
	else if (k->state == ADMIN_WAITING)
		k->request->client = NULL;
	k->request = NULL;
	timeout_disarm(&k->timeout);
	list_del(&k->link);
	k->admin->count--;
	stream_close(&k->stream);
	loop_bury(&k->admin->control->loop, &k->grave, free_client);
}

static void on_idle(struct timeout *t)
{
	close_client(list_entry(t, struct admin_client, timeout));
}

/* Bytes after the line are of no use, but a close with some unread would turn the answer's end into a reset.
 */
static void drop_input(struct admin_client *k)
{
	char junk[4096];
	while (k->stream.can_read && stream_read(&k->stream, junk, sizeof(junk)) > 0)
		;
}

static void send_answer(struct admin_client *k)
{
	drop_input(k);
	while (k->sent < k->out.n) {
		ssize_t n = stream_write(&k->stream, k->out.p + k->sent, k->out.n - k->sent);
		if (n == STREAM_AGAIN)
			return;
		if (n == STREAM_ERROR) {
			close_client(k);
			return;
		}
		k->sent += (size_t)n;
	}
	close_client(k);
}

void admin_answer(struct admin_client *k, const char *verdict, struct text *body)
{
	k->state = ADMIN_ANSWERING;
	k->request = NULL;
	text_add(&k->out, "%s\n", verdict);
	text_bytes(&k->out, body->p, body->n);
	timeout_arm(&k->admin->idle, &k->timeout);
	send_answer(k);
}

static void answer_early(struct admin_client *k, const char *verdict, const char *text)
{
	struct text t = {0};
	free(k->request);
	text_add(&t, "%s\n", text);
	admin_answer(k, verdict, &t);
	text_free(&t);
}

static void run_line(struct admin_client *k, size_t n)
{
	struct request *r = k->request;
	if (n && r->bytes[n - 1] == '\r')
		n--;
	if (memchr(r->bytes, 0, n)) {
		answer_early(k, ADMIN_USAGE, "the line holds a NUL byte");
		return;
	}
	r->bytes[n] = 0;
	r->n = n;
	k->state = ADMIN_WAITING;
	timeout_disarm(&k->timeout);
	commands_run(r);
}

static void read_line(struct admin_client *k)
{
	struct request *r = k->request;
	while (k->stream.can_read) {
		ssize_t n = stream_read(&k->stream, r->bytes + r->n, ADMIN_LINE - r->n);
		if (n == STREAM_AGAIN)
			return;
		if (n == STREAM_ERROR || (n == 0 && r->n == 0)) {
			close_client(k);
			return;
		}
		const char *end = n ? memchr(r->bytes + r->n, '\n', (size_t)n) : r->bytes + r->n;
		r->n += (size_t)n;
		if (end) {
			run_line(k, (size_t)(end - r->bytes));
			return;
		}
		if (r->n == ADMIN_LINE) {
			answer_early(k, ADMIN_USAGE, "the line is longer than 16 KB");
			return;
		}
	}
}

static void on_ready(struct stream *s)
{
	struct admin_client *k = list_entry(s, struct admin_client, stream);
	switch (k->state) {
	case ADMIN_READING:
		read_line(k);
		return;
	case ADMIN_WAITING:
		return;
	case ADMIN_ANSWERING:
		send_answer(k);
		return;
	}
}

static uint32_t peer_uid(int fd)
{
	struct ucred c = {0, (uid_t)-1, 0};
	socklen_t len = sizeof(c);
	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &len);
	return (uint32_t)c.uid;
}

static void welcome(struct admin *a, int fd)
{
	struct admin_client *k = calloc(1, sizeof(*k));
	struct request *r = malloc(sizeof(*r));
	if (!k || !r || !stream_open(&k->stream, &a->control->loop, fd, on_ready)) {
		log_error("admin: out of memory for a connection");
		if (!k || !r)
			close(fd);
		free(k);
		free(r);
		return;
	}
	r->control = a->control;
	r->client = k;
	r->uid = peer_uid(fd);
	r->n = 0;
	r->ref = NULL;
	r->out = (struct text){0};
	k->admin = a;
	k->request = r;
	timeout_init(&k->timeout, on_idle);
	timeout_arm(&a->idle, &k->timeout);
	list_push(&a->clients, &k->link);
	a->count++;
	if (a->count > ADMIN_CLIENTS)
		answer_early(k, ADMIN_REFUSED, "too many admin connections; try again");
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
	(void)what;
	struct admin *a = arg;
	unsigned missed;
	loop_wake(&a->control->loop);
	for (int i = 0; i < ACCEPTS_A_TURN; i++) {
		int got = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (got >= 0) {
			welcome(a, got);
			continue;
		}
		if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
			return;
		if (log_limit_pass(&a->trouble, a->control->loop.now, 10 * USEC_PER_SEC, &missed))
			log_error("admin: cannot accept: %s", strerror(errno));
		event_del(&a->event); /* or it would fire for ever */
		a->deaf = true;
		return;
	}
}

static bool listen_on(struct admin *a, int fd)
{
	evutil_make_socket_nonblocking(fd);
	a->fd = fd;
	a->deaf = false;
	event_assign(&a->event, a->control->loop.base, fd, EV_READ | EV_PERSIST, on_accept, a);
	return event_add(&a->event, NULL) == 0;
}

struct admin *admin_open(struct control *c, int fd)
{
	struct admin *a = calloc(1, sizeof(*a));
	if (!a) {
		close(fd);
		return NULL;
	}
	a->control = c;
	list_init(&a->clients);
	timeout_class_init(&a->idle, &c->loop, ADMIN_IDLE_US);
	if (listen_on(a, fd))
		return a;
	admin_close(a);
	return NULL;
}

void admin_close(struct admin *a)
{
	struct list *first;
	event_del(&a->event);
	close(a->fd);
	while ((first = list_first(&a->clients)))
		close_client(list_entry(first, struct admin_client, link));
	timeout_class_drop(&a->idle);
	free(a);
}

static bool same_socket(int a, int b)
{
	struct stat sa, sb;
	return fstat(a, &sa) == 0 && fstat(b, &sb) == 0 && sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

void admin_move(struct admin *a, int fd)
{
	if (same_socket(a->fd, fd)) {
		close(fd);
		return;
	}
	event_del(&a->event);
	close(a->fd);
	if (!listen_on(a, fd))
		log_error("admin: out of memory for the socket");
}

void admin_tick(struct admin *a)
{
	if (a->deaf && event_add(&a->event, NULL) == 0)
		a->deaf = false;
}

unsigned admin_clients(const struct admin *a)
{
	return a->count;
}
