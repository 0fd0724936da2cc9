/* SPDX-License-Identifier: MIT */
#include "ratelimit/redis_conn.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/dice.h"
#include "base/fmt.h"
#include "base/log.h"
#include "base/stream.h"
#include "ratelimit/redis_lookup.h"
#include "ratelimit/redis_resp.h"
#include "ratelimit/redis_trouble.h"

#define MAGIC 0x72646973u
#define BACKOFF_MIN (50 * USEC_PER_MSEC)
#define BACKOFF_MAX (600 * USEC_PER_MSEC) /* a server that is back is exact again within a second */
#define CONNECT_WITHIN (2 * USEC_PER_SEC) /* each address, greeting included; and a name */
#define OUT_MAX (8u << 20)		  /* bytes that may wait to be written */
#define READ_PIECE 16384
#define READS_A_TURN 16

/* The own commands of the greeting; `done` must find its connection. */
struct greeting {
	struct redis_call call;
	struct redis_conn *conn;
};

struct redis_conn {
	uint32_t magic;
	struct loop *loop;
	struct redis_target target; /* its strings are copies */
	void *owner;
	void (*changed)(struct redis_conn *, void *);
	void (*pushed)(struct redis_conn *, void *, const struct redis_reply *);

	enum redis_conn_state state;
	struct redis_trouble trouble;
	uint32_t session; /* counts connections: a change under a callback is seen by it */
	bool freed;

	struct stream stream;
	struct tls_memory tls_session;
	struct buf out;
	struct redis_parser *parser;
	struct redis_call *first, **last;
	unsigned waiting;
	struct greeting auth, select, name, ping;

	struct redis_lookup *lookup;
	struct redis_address address[REDIS_ADDRESSES];
	unsigned addresses, trying;

	struct timeout_class wait; /* of the one timer: connect deadline, or backoff */
	struct timeout timer;
	usec_t backoff;
	struct dice dice;
	struct task read_on;
	struct hook hook;
	struct grave grave;
};

static void connect_next(struct redis_conn *c, const char *because);
static void read_on(struct redis_conn *c);

/* States */

const char *redis_conn_state_name(enum redis_conn_state s)
{
	static const char *const names[] = {"idle",	"resolving", "connecting", "securing",
					    "greeting", "ready",     "closed"};
	return s <= REDIS_CONN_CLOSED ? names[s] : "unknown";
}

enum redis_conn_state redis_conn_state(const struct redis_conn *c)
{
	return c->state;
}

enum redis_failure redis_conn_last_failure(const struct redis_conn *c)
{
	return c->trouble.last;
}

unsigned redis_conn_waiting(const struct redis_conn *c)
{
	return c->waiting;
}

static void set_state(struct redis_conn *c, enum redis_conn_state to)
{
	static const uint8_t from[] = {
		[REDIS_CONN_IDLE] = 0,
		[REDIS_CONN_RESOLVING] = 1 << REDIS_CONN_IDLE | 1 << REDIS_CONN_CLOSED,
		[REDIS_CONN_CONNECTING] = 1 << REDIS_CONN_RESOLVING | 1 << REDIS_CONN_CONNECTING,
		[REDIS_CONN_SECURING] = 1 << REDIS_CONN_CONNECTING,
		[REDIS_CONN_GREETING] = 1 << REDIS_CONN_CONNECTING | 1 << REDIS_CONN_SECURING,
		[REDIS_CONN_READY] = 1 << REDIS_CONN_GREETING,
		[REDIS_CONN_CLOSED] = 0xff & ~(1 << REDIS_CONN_CLOSED),
	};
	assert(from[to] >> c->state & 1);
	log_debug("redis: %s -> %s", redis_conn_state_name(c->state), redis_conn_state_name(to));
	c->state = to;
	if (to != REDIS_CONN_READY && to != REDIS_CONN_CLOSED)
		return;
	if (to == REDIS_CONN_READY) {
		c->backoff = 0;
		redis_trouble_over(&c->trouble);
	}
	if (c->changed && !c->freed)
		c->changed(c, c->owner);
}

/* Failures */

static void answer(struct redis_conn *c, const struct redis_reply *r)
{
	struct redis_call *call = c->first;
	c->first = call->next;
	if (!c->first)
		c->last = &c->first;
	c->waiting--;
	call->next = NULL;
	call->done(call, r);
}

static void answer_all(struct redis_call *call, enum redis_failure f)
{
	static const char text[] = "the connection was lost";
	struct redis_reply r = {.kind = REDIS_ERROR, .failure = f, .text = {text, sizeof(text) - 1}};
	while (call) {
		struct redis_call *next = call->next;
		call->next = NULL;
		call->done(call, &r);
		call = next;
	}
}

static struct redis_call *take_all(struct redis_conn *c)
{
	struct redis_call *all = c->first;
	c->first = NULL;
	c->last = &c->first;
	c->waiting = 0;
	return all;
}

static void arm(struct redis_conn *c, usec_t after)
{
	timeout_disarm(&c->timer);
	timeout_class_init(&c->wait, c->loop, after);
	timeout_arm(&c->wait, &c->timer);
}

static void hang_up(struct redis_conn *c)
{
	c->session++;
	stream_close(&c->stream);
	buf_drop(&c->out);
	task_cancel(&c->read_on);
	timeout_disarm(&c->timer);
}

/* The one way down: from any state to CLOSED. */
static void fail(struct redis_conn *c, enum redis_failure f, const char *detail)
{
	if (c->state == REDIS_CONN_CLOSED)
		return;
	struct redis_call *orphans = take_all(c);
	hang_up(c);
	redis_trouble_failed(&c->trouble, f, detail, c->loop->now);
	c->backoff = c->backoff ? c->backoff * 2 : BACKOFF_MIN;
	if (c->backoff > BACKOFF_MAX)
		c->backoff = BACKOFF_MAX;
	arm(c, dice_jitter(&c->dice, c->backoff));
	set_state(c, REDIS_CONN_CLOSED);
	answer_all(orphans, f);
}

void redis_conn_drop(struct redis_conn *c, enum redis_failure why, const char *detail)
{
	if (c->state != REDIS_CONN_IDLE)
		fail(c, why, detail);
}

/* Sending */

/* Beyond the pools' blocks it grows to powers of two: else all that waits would move with every few commands.
 */
static size_t ahead_of(size_t have, size_t want)
{
	size_t all = BLOCK_LARGE;
	if (have + want + sizeof(struct block) <= BLOCK_LARGE)
		return want;
	while (all < have + want)
		all *= 2;
	return all - have;
}

char *redis_conn_room(struct redis_conn *c, size_t want)
{
	size_t room, have = buf_len(&c->out);
	if (c->state != REDIS_CONN_READY && c->state != REDIS_CONN_GREETING)
		return NULL;
	if (have + want > OUT_MAX)
		return NULL;
	return buf_room(&c->out, ahead_of(have, want), &room);
}

void redis_conn_sent(struct redis_conn *c, struct redis_call *call, size_t n)
{
	buf_commit(&c->out, n);
	call->next = NULL;
	*c->last = call;
	c->last = &call->next;
	c->waiting++;
}

static bool put(struct redis_conn *c, struct redis_call *call, unsigned argc, const struct str *argv)
{
	char *out = redis_conn_room(c, redis_resp_room(argc, argv));
	if (!out)
		return false;
	redis_conn_sent(c, call, (size_t)(redis_resp_write(out, argc, argv) - out));
	return true;
}

bool redis_conn_send(struct redis_conn *c, struct redis_call *call, unsigned argc, const struct str *argv)
{
	return c->state == REDIS_CONN_READY && put(c, call, argc, argv);
}

/* Answers that came before the connection broke are still answers, so they are read first. */
static void write_failed(struct redis_conn *c)
{
	uint32_t session = c->session;
	const char *why = stream_error_text(&c->stream);
	buf_drop(&c->out);
	read_on(c);
	if (c->session == session)
		fail(c, REDIS_CLOSED, why);
}

void redis_conn_flush(struct redis_conn *c)
{
	while (buf_len(&c->out) && c->stream.can_write) {
		ssize_t n = stream_write(&c->stream, buf_head(&c->out), buf_len(&c->out));
		if (n == STREAM_AGAIN)
			return;
		if (n == STREAM_ERROR) {
			write_failed(c);
			return;
		}
		buf_consume(&c->out, (size_t)n);
	}
}

static void on_turn(struct hook *h)
{
	struct redis_conn *c = list_entry(h, struct redis_conn, hook);
	if (buf_len(&c->out))
		redis_conn_flush(c);
}

/* The greeting */

static bool greeting_failed(struct redis_conn *c, const struct redis_reply *r, bool login)
{
	if (r->kind != REDIS_ERROR)
		return false;
	if (c->state != REDIS_CONN_GREETING) /* already told */
		return true;
	enum redis_failure f = login && r->failure == REDIS_OTHER ? REDIS_WRONGPASS : r->failure;
	redis_trouble_loudly(&c->trouble, redis_trouble_remedy(&c->trouble, f, r->text));
	fail(c, f,
	     redis_failure_is_login(f) ? "the server refuses the login"
				       : "the greeting was answered with an error");
	return true;
}

static void on_auth(struct redis_call *call, const struct redis_reply *r)
{
	greeting_failed(list_entry(call, struct greeting, call)->conn, r, true);
}

static void on_select(struct redis_call *call, const struct redis_reply *r)
{
	struct redis_conn *c = list_entry(call, struct greeting, call)->conn;
	if (r->kind == REDIS_ERROR && r->failure == REDIS_OTHER)
		redis_trouble_loudly(&c->trouble,
				     "the server has no database of the number in rate_limit.redis.url");
	greeting_failed(c, r, false);
}

static void on_name(struct redis_call *call, const struct redis_reply *r)
{
	(void)call, (void)r; /* a name is a courtesy: an ACL may deny it, and PING tells the rest */
}

static void on_ping(struct redis_call *call, const struct redis_reply *r)
{
	struct redis_conn *c = list_entry(call, struct greeting, call)->conn;
	bool denied = r->kind == REDIS_ERROR && r->failure == REDIS_NOPERM;
	if (!denied && greeting_failed(c, r, false))
		return;
	if (r->kind != REDIS_STATUS && !denied) {
		fail(c, REDIS_GARBAGE, "PING was not answered with PONG");
		return;
	}
	timeout_disarm(&c->timer);
	set_state(c, REDIS_CONN_READY);
}

static void greet(struct redis_conn *c)
{
	char db[FMT_U64_MAX];
	struct str auth[3] = {STR("AUTH")};
	unsigned n = 1;
	struct str select[] = {STR("SELECT"), {db, (size_t)(fmt_u64(db, c->target.db) - db)}};
	struct str name[] = {STR("CLIENT"), STR("SETNAME"), STR("weir")};
	bool ok = true;

	set_state(c, REDIS_CONN_GREETING);
	if (c->target.username.n)
		auth[n++] = c->target.username;
	auth[n++] = c->target.password;
	if (c->target.password.n)
		ok = put(c, &c->auth.call, n, auth);
	if (c->target.db)
		ok = ok && put(c, &c->select.call, 2, select);
	ok = ok && put(c, &c->name.call, 3, name) && put(c, &c->ping.call, 1, (struct str[]){STR("PING")});
	if (ok)
		redis_conn_flush(c);
	else
		fail(c, REDIS_OTHER, "out of memory");
}

/* Receiving */

static bool is_push(const struct redis_conn *c, const struct redis_reply *r)
{
	if (!c->pushed || r->kind != REDIS_ARRAY || r->count < 3 || r->element[0].kind != REDIS_STRING)
		return false;
	struct str kind = r->element[0].text;
	return str_eq(kind, STR("message")) || str_eq(kind, STR("pmessage")) || str_eq(kind, STR("smessage"));
}

/* False: the connection is no longer the one that was read from. */
static bool take_replies(struct redis_conn *c)
{
	uint32_t session = c->session;
	const struct redis_reply *r;
	bool garbage;
	while ((r = redis_parser_next(c->parser, &garbage))) {
		if (is_push(c, r)) {
			c->pushed(c, c->owner, r);
		} else if (!c->first) { /* such as "-ERR max number of clients reached" */
			fail(c, r->kind == REDIS_ERROR ? r->failure : REDIS_GARBAGE,
			     "an answer to no question came");
		} else {
			bool readonly = r->kind == REDIS_ERROR && redis_failure_is_replica(r->failure);
			if (r->kind == REDIS_ERROR && c->state == REDIS_CONN_READY)
				redis_trouble_answer(&c->trouble, r);
			answer(c, r);
			if (readonly && c->session == session)
				fail(c, REDIS_READONLY, "it is a replica; looking for the master again");
		}
		if (c->session != session)
			return false;
	}
	if (garbage)
		fail(c, REDIS_GARBAGE, "what came is not the Redis protocol");
	return !garbage;
}

static void read_on(struct redis_conn *c)
{
	char bytes[READ_PIECE];
	for (int i = 0; c->stream.can_read; i++) {
		if (i == READS_A_TURN) {
			loop_soon(c->loop, &c->read_on);
			return;
		}
		ssize_t n = stream_read(&c->stream, bytes, sizeof(bytes));
		if (n == STREAM_AGAIN)
			return;
		if (n <= 0) {
			fail(c, REDIS_CLOSED,
			     n == 0 ? "the server closed the connection" : stream_error_text(&c->stream));
			return;
		}
		if (!redis_parser_feed(c->parser, bytes, (size_t)n)) {
			fail(c, REDIS_GARBAGE, "a reply beyond all bounds came");
			return;
		}
		if (!take_replies(c))
			return;
	}
}

static void on_read_on(struct task *t)
{
	read_on(list_entry(t, struct redis_conn, read_on));
}

static void secure(struct redis_conn *c)
{
	set_state(c, REDIS_CONN_SECURING);
	if (!stream_connect_tls(&c->stream, c->target.tls, c->target.host.p, &c->tls_session))
		fail(c, REDIS_OTHER, "out of memory");
}

/* False: not yet, or never. */
static bool shake_hands(struct redis_conn *c)
{
	switch (stream_handshake(&c->stream)) {
	case STREAM_HANDSHAKE_MORE:
		return false;
	case STREAM_HANDSHAKE_DONE:
		greet(c);
		return true;
	case STREAM_HANDSHAKE_FAILED:
		break;
	}
	bool distrust = stream_tls_fault(&c->stream) == STREAM_TLS_UNTRUSTED;
	enum redis_failure f = distrust ? REDIS_UNTRUSTED : REDIS_TLS;
	tls_memory_forget(&c->tls_session);
	redis_trouble_loudly(&c->trouble, redis_trouble_remedy(&c->trouble, f, STR_NONE));
	fail(c, f, stream_error_text(&c->stream));
	return false;
}

static void on_ready(struct stream *s)
{
	struct redis_conn *c = list_entry(s, struct redis_conn, stream);
	assert(c->magic == MAGIC);
	if (c->state == REDIS_CONN_CONNECTING) {
		int err = stream_connected(s);
		if (err) {
			connect_next(c, strerror(err));
			return;
		}
		if (c->target.tls)
			secure(c);
		else
			greet(c);
	}
	if (c->state == REDIS_CONN_SECURING && !shake_hands(c))
		return;
	uint32_t session = c->session;
	if (buf_len(&c->out))
		redis_conn_flush(c);
	if (c->session == session)
		read_on(c);
}

/* Connecting */

static void keep_alive(int fd)
{
	static const struct {
		int level, name, value;
	} rows[] = {
		{SOL_SOCKET, SO_KEEPALIVE, 1},		{IPPROTO_TCP, TCP_KEEPIDLE, 10},
		{IPPROTO_TCP, TCP_KEEPINTVL, 3},	{IPPROTO_TCP, TCP_KEEPCNT, 3},
		{IPPROTO_TCP, TCP_USER_TIMEOUT, 10000},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		setsockopt(fd, rows[i].level, rows[i].name, &rows[i].value, sizeof(int));
}

/* Tries the next address of those found; `because` says what became of the one before. */
static void connect_next(struct redis_conn *c, const char *because)
{
	if (c->trying)
		hang_up(c);
	while (c->trying < c->addresses) {
		struct redis_address *a = &c->address[c->trying++];
		if (!redis_parser_reset(c->parser)) {
			because = "out of memory";
			break;
		}
		if (stream_connect(&c->stream, c->loop, (struct sockaddr *)&a->sa, a->len, on_ready)) {
			if (!c->target.is_unix)
				keep_alive(c->stream.fd);
			set_state(c, REDIS_CONN_CONNECTING);
			arm(c, CONNECT_WITHIN);
			return;
		}
		because = strerror(errno);
	}
	fail(c, REDIS_REFUSED, because);
}

static void on_found(void *owner, const struct redis_address *address, unsigned n, const char *error)
{
	struct redis_conn *c = owner;
	if (c->state != REDIS_CONN_RESOLVING) /* it was given up already */
		return;
	if (!n) {
		fail(c, c->target.is_unix ? REDIS_REFUSED : REDIS_RESOLVE, error);
		return;
	}
	memcpy(c->address, address, n * sizeof(*address));
	c->addresses = n;
	connect_next(c, "no address");
}

static void resolve(struct redis_conn *c)
{
	c->addresses = c->trying = 0;
	set_state(c, REDIS_CONN_RESOLVING);
	arm(c, CONNECT_WITHIN);
	redis_lookup_start(c->lookup);
}

static void on_timer(struct timeout *t)
{
	struct redis_conn *c = list_entry(t, struct redis_conn, timer);
	switch (c->state) {
	case REDIS_CONN_IDLE:
	case REDIS_CONN_CLOSED:
		resolve(c);
		break;
	case REDIS_CONN_RESOLVING:
		fail(c, REDIS_RESOLVE, "the name servers did not answer in time");
		break;
	case REDIS_CONN_CONNECTING:
		if (c->trying < c->addresses)
			connect_next(c, "no connection in time");
		else
			fail(c, REDIS_TIMEOUT, "no connection in time");
		break;
	case REDIS_CONN_SECURING:
		fail(c, REDIS_TIMEOUT, "no TLS handshake in time");
		break;
	case REDIS_CONN_GREETING:
		fail(c, REDIS_TIMEOUT, "the greeting was not answered in time");
		break;
	case REDIS_CONN_READY:
		break;
	}
}

/* Life */

static void destroy(struct redis_conn *c)
{
	timeout_class_drop(&c->wait);
	hook_del(&c->hook);
	redis_lookup_free(c->lookup);
	redis_parser_free(c->parser);
	tls_memory_forget(&c->tls_session);
	redis_target_free(&c->target);
	c->magic = 0;
	free(c);
}

static void on_buried(struct grave *g)
{
	destroy(list_entry(g, struct redis_conn, grave));
}

static bool open_lookup(struct redis_conn *c)
{
	const struct redis_lookup_setup setup = {
		.loop = c->loop,
		.host = c->target.host.p,
		.port = c->target.port,
		.is_unix = c->target.is_unix,
		.hosts_file = c->target.hosts_file,
		.resolv_file = c->target.resolv_file,
		.owner = c,
		.found = on_found,
	};
	c->lookup = redis_lookup_new(&setup);
	return c->lookup != NULL;
}

static void init_call(struct redis_conn *c, struct greeting *g,
		      void (*done)(struct redis_call *, const struct redis_reply *))
{
	g->conn = c;
	g->call.done = done;
}

struct redis_conn *redis_conn_new(const struct redis_conn_setup *s)
{
	struct redis_conn *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->magic = MAGIC;
	c->loop = s->loop;
	c->owner = s->owner;
	c->changed = s->changed;
	c->pushed = s->pushed;
	c->stream.fd = -1;
	c->last = &c->first;
	dice_init(&c->dice);
	init_call(c, &c->auth, on_auth);
	init_call(c, &c->select, on_select);
	init_call(c, &c->name, on_name);
	init_call(c, &c->ping, on_ping);
	list_init(&c->hook.link);
	task_init(&c->read_on, on_read_on);
	timeout_init(&c->timer, on_timer);
	c->parser = redis_parser_new();
	if (!c->parser || !redis_target_copy(&c->target, s->target) || !open_lookup(c)) {
		destroy(c);
		return NULL;
	}
	redis_trouble_init(&c->trouble, &c->target);
	hook_add(c->loop, &c->hook, on_turn);
	return c;
}

void redis_conn_start(struct redis_conn *c)
{
	assert(c->state == REDIS_CONN_IDLE);
	arm(c, 1); /* not at once: nobody expects a callback from here */
}

void redis_conn_free(struct redis_conn *c)
{
	if (!c || c->freed)
		return;
	struct redis_call *orphans = take_all(c);
	c->freed = true;
	hang_up(c);
	if (c->state != REDIS_CONN_CLOSED)
		set_state(c, REDIS_CONN_CLOSED);
	loop_bury(c->loop, &c->grave, on_buried);
	answer_all(orphans, REDIS_CLOSED);
}
