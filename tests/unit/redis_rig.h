/* SPDX-License-Identifier: MIT */
/*
 * For tests against Redis: a real redis-server on a free port, ended by its pid; a scripted one that says
 * what the test wants; and a loop that turns until a condition holds.
 */
#ifndef WEIR_TESTS_REDIS_RIG_H
#define WEIR_TESTS_REDIS_RIG_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/child.h"

#include "base/loop.h"
#include "base/metric.h"
#include "ratelimit/redis_conn.h"

#define RIG_PATIENCE (20 * USEC_PER_SEC) /* only a failing test waits so long */

static inline void rig_die(const char *what)
{
	fprintf(stderr, "test rig: %s: %s\n", what, strerror(errno));
	abort();
}

/* --- a real server --- */

struct rig_redis {
	pid_t pid; /* 0: not running */
	int port;
	char dir[64];
	char path[96];	  /* its unix socket */
	const char *bind; /* NULL: 127.0.0.1 */
	redisContext *admin;
};

static inline int rig_bind(int *port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	sa.sin_port = htons((uint16_t)*port);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
	    getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
		rig_die("bind");
	*port = ntohs(sa.sin_port);
	return fd;
}

static inline void rig_exec(const struct rig_redis *r)
{
	char port[16];
	int null = open("/dev/null", O_RDWR);
	snprintf(port, sizeof(port), "%d", r->port);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(null, 0);
	dup2(null, 1);
	dup2(null, 2);
	execlp("redis-server", "redis-server", "--port", port, "--bind", r->bind ? r->bind : "127.0.0.1",
	       "--save", "", "--appendonly", "no", "--dir", r->dir, "--unixsocket", r->path, "--loglevel",
	       "warning", (char *)NULL);
	_exit(127);
}

static inline void rig_connect(struct rig_redis *r)
{
	usec_t until = clock_mono() + RIG_PATIENCE;
	for (;;) {
		r->admin = redisConnectUnix(r->path);
		redisReply *pong = r->admin && !r->admin->err ? redisCommand(r->admin, "PING") : NULL;
		bool up = pong && pong->type == REDIS_REPLY_STATUS;
		if (pong)
			freeReplyObject(pong);
		if (up)
			return;
		redisFree(r->admin);
		if (clock_mono() > until)
			rig_die("redis-server does not answer");
		poll(NULL, 0, 5);
	}
}

/* On the port that it had before, if it had one. */
static inline void rig_start(struct rig_redis *r)
{
	if (!r->dir[0]) {
		if (!r->port)
			close(rig_bind(&r->port));
		snprintf(r->dir, sizeof(r->dir), "/tmp/weir-test-XXXXXX");
		if (!mkdtemp(r->dir))
			rig_die("mkdtemp");
		snprintf(r->path, sizeof(r->path), "%s/redis.sock", r->dir);
	}
	unlink(r->path);
	r->pid = child_fork();
	if (r->pid < 0)
		rig_die("fork");
	if (r->pid == 0)
		rig_exec(r);
	rig_connect(r);
}

static inline void rig_kill(struct rig_redis *r)
{
	if (!r->pid)
		return;
	kill(r->pid, SIGKILL);
	waitpid(r->pid, NULL, 0);
	r->pid = 0;
	redisFree(r->admin);
	r->admin = NULL;
}

static inline void rig_end(struct rig_redis *r)
{
	rig_kill(r);
	unlink(r->path);
	rmdir(r->dir);
}

static inline redisReply *rig_command(struct rig_redis *r, const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	redisReply *reply = redisvCommand(r->admin, format, ap);
	va_end(ap);
	if (!reply)
		rig_die("redis-server is gone");
	return reply;
}

#define rig_do(r, ...) freeReplyObject(rig_command(r, __VA_ARGS__))

static inline long long rig_integer(struct rig_redis *r, const char *format, const char *arg)
{
	redisReply *reply = rig_command(r, format, arg);
	long long v = reply->integer;
	freeReplyObject(reply);
	return v;
}

/* How often the command ran; nested calls by scripts included. Before 7.0 subcommands are not told apart. */
static inline long rig_calls(struct rig_redis *r, const char *command)
{
	char key[64];
	redisReply *reply = rig_command(r, "INFO commandstats");
	snprintf(key, sizeof(key), "cmdstat_%s:calls=", command);
	if (!strstr(reply->str, key) && strchr(command, '|'))
		snprintf(key, sizeof(key), "cmdstat_%.*s:calls=", (int)strcspn(command, "|"), command);
	const char *at = strstr(reply->str, key);
	long n = at ? strtol(at + strlen(key), NULL, 10) : 0;
	freeReplyObject(reply);
	return n;
}

/* --- a scripted server: one connection at a time, in the test's own thread --- */

struct rig_fake {
	int listener, fd, port;
	char in[65536]; /* what came and was not looked at */
	size_t n;
	unsigned reads; /* so many pieces it came in */
};

static inline void fake_open(struct rig_fake *f)
{
	*f = (struct rig_fake){.fd = -1};
	f->listener = rig_bind(&f->port);
	if (listen(f->listener, 16) < 0 || fcntl(f->listener, F_SETFL, O_NONBLOCK) < 0)
		rig_die("listen");
}

static inline void fake_hang_up(struct rig_fake *f)
{
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
	f->n = 0;
}

static inline void fake_close(struct rig_fake *f)
{
	fake_hang_up(f);
	close(f->listener);
}

/* Takes in what is there. True: a connection is open. */
static inline bool fake_poll(struct rig_fake *f)
{
	if (f->fd < 0) {
		f->fd = accept4(f->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		setsockopt(f->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)); /* as Redis does */
		f->n = 0;
	}
	if (f->fd < 0)
		return false;
	ssize_t got;
	while (f->n < sizeof(f->in) && (got = read(f->fd, f->in + f->n, sizeof(f->in) - f->n)) >= 0) {
		if (got == 0) {
			fake_hang_up(f);
			return false;
		}
		f->n += (size_t)got;
		f->reads++;
	}
	return true;
}

static inline void fake_say(struct rig_fake *f, const char *bytes)
{
	if (write(f->fd, bytes, strlen(bytes)) != (ssize_t)strlen(bytes))
		rig_die("the scripted server's write");
}

/* The end of the first command that came whole, or 0. */
static inline size_t fake_command(const struct rig_fake *f)
{
	const char *p = f->in, *end = f->in + f->n;
	long args = f->n > 2 && *p == '*' ? strtol(p + 1, NULL, 10) : 0;
	for (p = args ? memchr(p, '\n', f->n) : NULL; p && args > 0; args--) {
		const char *head = ++p;
		p = head < end ? memchr(head, '\n', (size_t)(end - head)) : NULL;
		if (!p)
			return 0;
		p += strtol(head + 1, NULL, 10) + 2;
		if (p >= end)
			return 0;
	}
	return p ? (size_t)(p + 1 - f->in) : 0;
}

/*
 * Answers the commands that came: `say` gives the bytes for each by its text in RESP, NULL: no answer.
 */
static inline void fake_serve(struct rig_fake *f, const char *(*say)(void *ctx, const char *command),
			      void *ctx)
{
	size_t n;
	char command[8192];
	while (fake_poll(f) && (n = fake_command(f))) {
		size_t keep = n < sizeof(command) ? n : sizeof(command) - 1;
		memcpy(command, f->in, keep);
		command[keep] = 0;
		memmove(f->in, f->in + n, f->n - n);
		f->n -= n;
		const char *bytes = say(ctx, command);
		if (bytes && f->fd >= 0)
			fake_say(f, bytes);
	}
}

/* --- the loop --- */

struct rig_wait {
	struct hook hook;
	struct loop *loop;
	struct timeout_class tick;
	struct timeout timer;
	bool (*held)(void *ctx);
	void *ctx;
	usec_t until;
	bool met;
};

static inline void rig_look(struct hook *h)
{
	struct rig_wait *w = list_entry(h, struct rig_wait, hook);
	w->met = w->held && w->held(w->ctx);
	if (w->met || clock_mono() >= w->until)
		loop_stop(w->loop);
}

static inline void rig_tick(struct timeout *t)
{
	struct rig_wait *w = list_entry(t, struct rig_wait, timer);
	timeout_arm(&w->tick, t);
}

/* Turns the loop until held(ctx) at the end of a turn, or for `most`. False: it did not hold in time. */
static inline bool rig_turn(struct loop *l, bool (*held)(void *), void *ctx, usec_t most)
{
	struct rig_wait w = {.loop = l, .held = held, .ctx = ctx, .until = clock_mono() + most};
	l->now = clock_mono();
	timeout_class_init(&w.tick, l, USEC_PER_MSEC);
	timeout_init(&w.timer, rig_tick);
	timeout_arm(&w.tick, &w.timer);
	hook_add(l, &w.hook, rig_look);
	loop_run(l);
	hook_del(&w.hook);
	timeout_class_drop(&w.tick);
	return w.met;
}

struct rig_stop {
	struct task task;
	struct loop *loop;
};

static inline void rig_stop(struct task *t)
{
	loop_stop(list_entry(t, struct rig_stop, task)->loop);
}

/* One turn, with what is there. */
static inline void rig_once(struct loop *l)
{
	struct rig_stop s = {.loop = l};
	task_init(&s.task, rig_stop);
	l->now = clock_mono();
	loop_soon(l, &s.task);
	loop_run(l);
}

#define rig_until(l, held, ctx) assert_true(rig_turn(l, held, ctx, RIG_PATIENCE))

static inline bool rig_conn_ready(void *conn)
{
	return redis_conn_ready(conn);
}

static inline uint64_t rig_failures(const char *kind)
{
	char label[64];
	snprintf(label, sizeof(label), "kind=\"%s\"", kind);
	return metric_family_sum(METRIC_STORE_FAILURES, label);
}

static inline struct redis_target rig_target(int port)
{
	return (struct redis_target){.host = STR("127.0.0.1"), .port = (uint16_t)port};
}

#endif
