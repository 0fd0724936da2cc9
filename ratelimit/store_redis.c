/* SPDX-License-Identifier: MIT */
#include "ratelimit/store_redis.h"

#include <assert.h>
#include <stdlib.h>

#include "base/events.h"
#include "base/metric.h"

#define MAGIC 0x73746f72u
#define BREAKER 5		       /* failures in a row that open it ... */
#define BREAKER_QUIET 2		       /* ... and so many timeouts' length without an answer */
#define PROBE_MIN (50 * USEC_PER_MSEC) /* between probes; doubled a failure, with jitter */
#define PROBE_MAX (800 * USEC_PER_MSEC)
#define TICK USEC_PER_SEC
#define SILENCE USEC_PER_SEC /* unanswered for so long: the connection is given up */
#define EPOCH (10 * TICK)    /* the clocks' difference and the slowest answer are of this one and the last */
#define DRIFT 5000	     /* clocks may part by a 5000th */
#define QUESTIONS_MAX 65536u /* under way at once */
#define SERVER_SANE 1000000000000 /* a server's clock shows at least so many microseconds since 1970 */

/* A value of which the extreme of lately is wanted: over the epoch under way and the one before. */
struct lately {
	int64_t now, before;
};

struct store_redis {
	uint32_t magic;
	struct loop *loop;
	struct redis_conn *conn;
	char *prefix;
	size_t prefix_n;
	usec_t timeout_us;
	enum store_state state;

	char sha[REDIS_SHA];
	bool has_sha, loading;
	struct redis_call load, time, probe;
	usec_t time_sent_at, probe_sent_at;
	bool timing, probing, probed;

	unsigned asked;		      /* questions without an answer */
	struct store_question *trial; /* the one under way while PROBING */
	unsigned failures;	      /* in a row */
	bool spoke;		      /* the last failure was an answer */
	usec_t last_good;	      /* answer in time */
	usec_t last_timeout;
	usec_t oldest; /* since when the server owes an answer; 0: it owes none */

	bool knows_clock;
	struct lately ahead; /* the server's clock less ours, at most */
	struct lately slowest;
	usec_t epoch_at, clock_at;
	bool used; /* asked since the last tick */

	struct timeout_class tick_class, probe_class;
	struct timeout tick, probe_timer;
	usec_t pause;
	uint64_t dice;
	struct grave grave;

	series_t states[STORE_STATES];
	series_t failed_timeout, failed_full, failed_garbage;
	struct histogram took;
};

static void load_script(struct store_redis *s);

/* States */

const char *store_state_name(enum store_state s)
{
	static const char *const names[] = {"connecting", "ready", "degraded", "open", "probing"};
	return s < STORE_STATES ? names[s] : "unknown";
}

enum store_state store_redis_state(const struct store_redis *s)
{
	return s->state;
}

static void set_state(struct store_redis *s, enum store_state to, const char *why)
{
	static const uint8_t from[STORE_STATES] = {
		[STORE_CONNECTING] =
			1 << STORE_READY | 1 << STORE_DEGRADED | 1 << STORE_OPEN | 1 << STORE_PROBING,
		[STORE_READY] = 1 << STORE_CONNECTING | 1 << STORE_DEGRADED | 1 << STORE_PROBING,
		[STORE_DEGRADED] = 1 << STORE_READY,
		[STORE_OPEN] = 1 << STORE_READY | 1 << STORE_DEGRADED | 1 << STORE_PROBING,
		[STORE_PROBING] = 1 << STORE_OPEN,
	};
	assert(from[to] >> s->state & 1);
	if (to == STORE_PROBING || s->state == STORE_PROBING) { /* every pause anew: not worth a line each */
		if (to == STORE_READY)
			events_add(EVENT_STORE, "store open -> ready: %s", why);
		else if (to == STORE_CONNECTING)
			events_add(EVENT_STORE, "store open -> connecting: %s", why);
	} else {
		events_add(EVENT_STORE, "store %s -> %s: %s", store_state_name(s->state),
			   store_state_name(to), why);
	}
	metric_sub(s->states[s->state], 1);
	metric_add(s->states[to], 1);
	s->state = to;
	s->trial = NULL;
	s->probed = false;
	if (to == STORE_READY) {
		s->failures = 0;
		s->pause = 0;
	}
}

/* Numbers */

static void lately_turn(struct lately *l, int64_t fresh)
{
	l->before = l->now;
	l->now = fresh;
}

static int64_t ahead(const struct store_redis *s)
{
	return s->ahead.now < s->ahead.before ? s->ahead.now : s->ahead.before;
}

usec_t store_redis_slowest(const struct store_redis *s)
{
	return s->slowest.now > s->slowest.before ? s->slowest.now : s->slowest.before;
}

/*
 * The server showed server_us at some moment between sent_at and now, so that its clock is ahead of ours by
 * server_us less sent_at at most, and by server_us less now at least. The least of the upper bounds lately is
 * the best; one that is below a lower bound was refuted: the server's clock was set.
 */
static void learn_clock(struct store_redis *s, usec_t server_us, usec_t sent_at)
{
	int64_t most = server_us - sent_at, least = server_us - s->loop->now;
	s->clock_at = s->loop->now;
	if (!s->knows_clock || ahead(s) < least) {
		s->ahead = (struct lately){most, most};
		s->knows_clock = true;
		return;
	}
	if (most < s->ahead.now)
		s->ahead.now = most;
}

static usec_t deadline(const struct store_redis *s, usec_t give_up_at)
{
	if (!s->knows_clock)
		return 0;
	return give_up_at + ahead(s) + (s->loop->now - s->clock_at) / DRIFT;
}

static usec_t jitter(struct store_redis *s, usec_t length) /* half to all of it */
{
	s->dice ^= s->dice << 13;
	s->dice ^= s->dice >> 7;
	s->dice ^= s->dice << 17;
	return length / 2 + (usec_t)(s->dice % (uint64_t)(length / 2 + 1));
}

static void owe(struct store_redis *s)
{
	if (!s->oldest)
		s->oldest = s->loop->now;
}

/* Answers come in order: what is owed now is owed since this moment at the earliest, as far as patience goes.
 */
static void heard(struct store_redis *s)
{
	s->oldest = redis_conn_waiting(s->conn) ? s->loop->now : 0;
}

static bool overdue(const struct store_redis *s, usec_t by)
{
	return s->oldest && s->loop->now - s->oldest >= by;
}

/* The breaker */

static void pause_then_probe(struct store_redis *s)
{
	s->pause = s->pause ? s->pause * 2 : PROBE_MIN;
	if (s->pause > PROBE_MAX)
		s->pause = PROBE_MAX;
	timeout_disarm(&s->probe_timer);
	timeout_class_init(&s->probe_class, s->loop, jitter(s, s->pause));
	timeout_arm(&s->probe_class, &s->probe_timer);
}

static void open_breaker(struct store_redis *s, const char *why)
{
	set_state(s, STORE_OPEN, why);
	pause_then_probe(s);
}

static void failed(struct store_redis *s, bool spoke, const char *why)
{
	s->failures++;
	s->spoke = spoke;
	if (s->state == STORE_PROBING) {
		open_breaker(s, why);
		return;
	}
	bool quiet = s->loop->now - s->last_good >= BREAKER_QUIET * s->timeout_us;
	if ((s->state == STORE_READY || s->state == STORE_DEGRADED) && s->failures >= BREAKER && quiet)
		open_breaker(s, why);
}

static void succeeded(struct store_redis *s, const struct store_question *q)
{
	s->failures = 0;
	s->last_good = s->loop->now;
	if (s->state == STORE_PROBING && q == s->trial)
		set_state(s, STORE_READY, "a question was answered");
}

static void on_probe(struct redis_call *call, const struct redis_reply *r)
{
	struct store_redis *s = list_entry(call, struct store_redis, probe);
	s->probing = false;
	heard(s);
	if (s->state != STORE_PROBING)
		return;
	if (r->kind == REDIS_ERROR && r->failure != REDIS_AUTH) { /* an ACL may deny PING */
		failed(s, true, redis_failure_name(r->failure));
		return;
	}
	s->probed = true;
	if (!s->spoke)
		set_state(s, STORE_READY, "it answers again");
}

static void send_probe(struct timeout *t)
{
	struct store_redis *s = list_entry(t, struct store_redis, probe_timer);
	if (s->state != STORE_OPEN)
		return;
	if (s->probing) { /* the last one is not answered yet: it will do, or silence ends it */
		set_state(s, STORE_PROBING, "");
		return;
	}
	if (!redis_conn_send(s->conn, &s->probe, 1, (struct str[]){STR("PING")})) {
		pause_then_probe(s);
		return;
	}
	owe(s);
	s->probing = true;
	s->probe_sent_at = s->loop->now;
	set_state(s, STORE_PROBING, "");
}

/* The script and the clock */

static void on_time(struct redis_call *call, const struct redis_reply *r)
{
	struct store_redis *s = list_entry(call, struct store_redis, time);
	int64_t part[2];
	s->timing = false;
	heard(s);
	if (r->kind != REDIS_ARRAY || r->count != 2)
		return; /* an ACL may deny it: without it the questions carry no deadline */
	for (unsigned i = 0; i < 2; i++)
		part[i] = r->element[i].kind == REDIS_STRING ? strtoll(r->element[i].text.p, NULL, 10) : -1;
	if (part[0] > 0 && part[1] >= 0 && part[0] < INT64_MAX / USEC_PER_SEC - 1)
		learn_clock(s, part[0] * USEC_PER_SEC + part[1], s->time_sent_at);
}

static void ask_time(struct store_redis *s)
{
	if (s->timing || !redis_conn_send(s->conn, &s->time, 1, (struct str[]){STR("TIME")}))
		return;
	owe(s);
	s->timing = true;
	s->time_sent_at = s->loop->now;
}

static bool take_sha(struct store_redis *s, const struct redis_reply *r)
{
	if (r->kind != REDIS_STRING || r->text.n != REDIS_SHA)
		return false;
	for (unsigned i = 0; i < REDIS_SHA; i++)
		if (!strchr("0123456789abcdef", r->text.p[i]))
			return false;
	memcpy(s->sha, r->text.p, REDIS_SHA);
	return s->has_sha = true;
}

static void on_loaded(struct redis_call *call, const struct redis_reply *r)
{
	struct store_redis *s = list_entry(call, struct store_redis, load);
	s->loading = false;
	heard(s);
	if (!redis_conn_ready(s->conn))
		return;
	if (take_sha(s, r)) {
		if (s->state == STORE_CONNECTING)
			set_state(s, STORE_READY, "connected");
		return;
	}
	enum redis_failure f = r->kind == REDIS_ERROR ? r->failure : REDIS_GARBAGE;
	redis_conn_drop(s->conn, f, "SCRIPT LOAD failed");
}

static void load_script(struct store_redis *s)
{
	struct str argv[] = {STR("SCRIPT"), STR("LOAD"), str_of(redis_script_text)};
	s->loading = s->loading || redis_conn_send(s->conn, &s->load, 3, argv);
	owe(s);
}

static void on_changed(struct redis_conn *conn, void *owner)
{
	struct store_redis *s = owner;
	s->oldest = 0;
	if (redis_conn_ready(conn)) {
		s->has_sha = s->knows_clock = false;
		ask_time(s);
		load_script(s);
		return;
	}
	timeout_disarm(&s->probe_timer);
	if (s->state != STORE_CONNECTING)
		set_state(s, STORE_CONNECTING, redis_failure_name(redis_conn_last_failure(conn)));
}

/* Questions */

bool store_redis_open(const struct store_redis *s)
{
	if (s->state == STORE_READY || s->state == STORE_DEGRADED)
		return true;
	return s->state == STORE_PROBING && s->probed && !s->trial;
}

static void end(struct store_question *q, const struct redis_answer *a)
{
	q->store->asked--;
	q->answered(q, a);
}

static bool put_question(struct store_redis *s, struct store_question *q)
{
	struct str prefix = {s->prefix, s->prefix_n};
	char *out = redis_conn_room(s->conn, redis_script_room(prefix, q->asks));
	if (!out)
		return false;
	const struct redis_question bytes = {
		.sha = s->sha,
		.prefix = prefix,
		.client = q->client,
		.ask = q->ask,
		.asks = q->asks,
		.n = q->n,
		.deadline = deadline(s, q->give_up_at),
	};
	q->sent_at = s->loop->now;
	redis_conn_sent(s->conn, &q->call, redis_script_question(out, &bytes));
	owe(s);
	return true;
}

/* It was not heard, so that asking once more spends nothing twice. */
static bool ask_again(struct store_redis *s, struct store_question *q)
{
	if (q->again || q->late || q->give_up_at <= s->loop->now || !redis_conn_ready(s->conn))
		return false;
	q->again = true;
	return put_question(s, q);
}

static void answer(struct store_redis *s, struct store_question *q, const struct redis_reply *r)
{
	struct redis_answer a;
	if (!redis_script_answer(r, q->ask, q->asks, q->n, &a) ||
	    (a.server_us && a.server_us < SERVER_SANE)) {
		metric_add(s->failed_garbage, 1);
		failed(s, true, "its answers make no sense");
		end(q, NULL);
		return;
	}
	usec_t took = s->loop->now - q->sent_at;
	histogram_observe(&s->took, took);
	if (took > s->slowest.now)
		s->slowest.now = took;
	if (a.server_us)
		learn_clock(s, a.server_us, q->sent_at);
	if (!q->late)
		succeeded(s, q);
	if (q == s->trial)
		s->trial = NULL;
	if (!a.late)
		end(q, &a);
	else if (!ask_again(s, q))
		end(q, NULL);
}

static void on_answer(struct redis_call *call, const struct redis_reply *r)
{
	struct store_question *q = list_entry(call, struct store_question, call);
	struct store_redis *s = q->store;
	assert(s->magic == MAGIC);
	heard(s);
	if (r->kind != REDIS_ERROR) {
		answer(s, q, r);
		return;
	}
	if (r->failure == REDIS_NOSCRIPT && redis_conn_ready(s->conn)) {
		load_script(s);
		if (ask_again(s, q))
			return;
	}
	if (redis_conn_ready(s->conn))
		failed(s, true, redis_failure_name(r->failure));
	end(q, NULL);
}

bool store_redis_ask(struct store_redis *s, struct store_question *q)
{
	if (!store_redis_open(s))
		return false;
	if (s->asked >= QUESTIONS_MAX) {
		metric_add(s->failed_full, 1);
		return false;
	}
	q->store = s;
	q->late = q->again = false;
	q->call.done = on_answer;
	if (!s->used)
		ask_time(s); /* the first in a while */
	if (!put_question(s, q)) {
		metric_add(s->failed_full, 1);
		return false;
	}
	s->used = true;
	s->asked++;
	if (s->state == STORE_PROBING)
		s->trial = q;
	return true;
}

void store_redis_late(struct store_redis *s, struct store_question *q)
{
	q->late = true;
	s->last_timeout = s->loop->now;
	metric_add(s->failed_timeout, 1);
	failed(s, false, "no answer in time");
	if (s->state == STORE_READY)
		set_state(s, STORE_DEGRADED, "an answer did not come in time");
}

void store_redis_flush(struct store_redis *s)
{
	redis_conn_flush(s->conn);
}

/* Once a second */

static void on_tick(struct timeout *t)
{
	struct store_redis *s = list_entry(t, struct store_redis, tick);
	usec_t now = s->loop->now;
	timeout_arm(&s->tick_class, t);
	if (now - s->epoch_at >= EPOCH) {
		s->epoch_at = now;
		lately_turn(&s->slowest, 0);
		if (s->knows_clock && s->used)
			lately_turn(&s->ahead, ahead(s) + EPOCH / DRIFT);
	}
	if (s->state == STORE_DEGRADED && now - s->last_timeout >= TICK && !overdue(s, s->timeout_us))
		set_state(s, STORE_READY, "a second without a timeout");
	if (redis_conn_ready(s->conn) && overdue(s, SILENCE))
		redis_conn_drop(s->conn, REDIS_TIMEOUT, "no answer for a second");
	else if (s->used && redis_conn_ready(s->conn) && s->state != STORE_OPEN)
		ask_time(s);
	s->used = false;
}

/* Life */

static series_t failure_series(enum redis_failure f)
{
	char labels[METRIC_LABELS];
	metric_label(labels, sizeof(labels), "kind", redis_failure_name(f));
	return metric_series(METRIC_STORE_FAILURES, labels);
}

static void open_series(struct store_redis *s)
{
	char labels[METRIC_LABELS];
	for (unsigned i = 0; i < STORE_STATES; i++) {
		metric_label(labels, sizeof(labels), "state", store_state_name((enum store_state)i));
		s->states[i] = metric_series(METRIC_STORE_STATE, labels);
	}
	s->failed_timeout = failure_series(REDIS_TIMEOUT);
	s->failed_full = failure_series(REDIS_FULL);
	s->failed_garbage = failure_series(REDIS_GARBAGE);
	histogram_open(&s->took, METRIC_STORE_SECONDS, "");
	metric_add(s->states[STORE_CONNECTING], 1);
}

static void destroy(struct store_redis *s)
{
	timeout_class_drop(&s->tick_class);
	timeout_class_drop(&s->probe_class);
	s->magic = 0;
	free(s->prefix);
	free(s);
}

static void on_buried(struct grave *g)
{
	destroy(list_entry(g, struct store_redis, grave));
}

static bool copy_prefix(struct store_redis *s, struct str prefix)
{
	if (!prefix.p)
		prefix = STR(REDIS_PREFIX);
	s->prefix = malloc(prefix.n + 1);
	if (!s->prefix)
		return false;
	memcpy(s->prefix, prefix.p, prefix.n);
	s->prefix_n = prefix.n;
	return true;
}

struct store_redis *store_redis_new(const struct store_redis_setup *setup)
{
	struct store_redis *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	const struct redis_conn_setup conn = {
		.loop = setup->loop, .target = setup->target, .owner = s, .changed = on_changed};
	s->magic = MAGIC;
	s->loop = setup->loop;
	s->timeout_us = setup->timeout_us;
	s->dice = ((uint64_t)clock_mono() ^ (uint64_t)(uintptr_t)s) | 1;
	s->load.done = on_loaded;
	s->time.done = on_time;
	s->probe.done = on_probe;
	timeout_init(&s->tick, on_tick);
	timeout_init(&s->probe_timer, send_probe);
	s->conn = copy_prefix(s, setup->target->prefix) ? redis_conn_new(&conn) : NULL;
	if (!s->conn) {
		destroy(s);
		return NULL;
	}
	open_series(s);
	timeout_class_init(&s->tick_class, s->loop, TICK);
	timeout_arm(&s->tick_class, &s->tick);
	redis_conn_start(s->conn);
	return s;
}

void store_redis_free(struct store_redis *s)
{
	if (!s)
		return;
	metric_sub(s->states[s->state], 1);
	redis_conn_free(s->conn);
	timeout_disarm(&s->tick);
	timeout_disarm(&s->probe_timer);
	loop_bury(s->loop, &s->grave, on_buried);
}
