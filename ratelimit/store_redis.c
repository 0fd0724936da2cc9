/* SPDX-License-Identifier: MIT */
#include "ratelimit/store_redis.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/events.h"
#include "base/metric.h"
#include "ratelimit/redis_clock.h"
#include "ratelimit/redis_servers.h"

#define MAGIC 0x73746f72u
#define EPOCH (10 * USEC_PER_SEC) /* the slowest answer is of this one and the last */
#define QUESTIONS_MAX 65536u	  /* under way at once */
#define SERVER_SANE 1000000000000 /* a server's clock shows at least so many microseconds since 1970 */

struct store_redis {
	uint32_t magic;
	struct loop *loop;
	struct redis_servers *servers;
	char *prefix;
	size_t prefix_n;

	unsigned asked; /* questions without an answer */
	struct lately slowest;
	struct timeout_class epoch_class;
	struct timeout epoch;
	struct grave grave;

	series_t states[STORE_STATES];
	series_t failed_full;
	struct histogram took;
};

/* States */

/* PROBING comes and goes with every pause: not worth a line each. */
static void tell(const char *whose, const char *place, enum store_state from, enum store_state to,
		 const char *why)
{
	bool probing = from == STORE_PROBING || to == STORE_PROBING;
	if (from == STORE_PROBING)
		from = STORE_OPEN;
	if (!probing || to == STORE_READY || to == STORE_CONNECTING)
		events_add(EVENT_STORE, "%s%s %s -> %s: %s", whose, place, store_state_name(from),
			   store_state_name(to), why);
}

static void on_changed(void *owner, enum store_state from, enum store_state to, const char *why)
{
	struct store_redis *s = owner;
	tell("store", "", from, to, why);
	metric_sub(s->states[from], 1);
	metric_add(s->states[to], 1);
}

static void on_node_changed(void *owner, const char *place, enum store_state from, enum store_state to,
			    const char *why)
{
	(void)owner;
	tell("store node ", place, from, to, why);
}

enum store_state store_redis_state(const struct store_redis *s)
{
	return redis_servers_state(s->servers);
}

bool store_redis_ready(const struct store_redis *s)
{
	enum store_state state = redis_servers_state(s->servers);
	return state == STORE_READY || (state == STORE_DEGRADED && !redis_servers_is_cluster(s->servers));
}

static unsigned slot_of(const struct store_redis *s, const struct client_id *client)
{
	char text[REDIS_CLIENT_ROOM];
	if (!redis_servers_is_cluster(s->servers))
		return 0;
	size_t n = redis_script_client(text, client);
	return redis_slot((struct str){text, n});
}

bool store_redis_open(const struct store_redis *s, const struct client_id *client)
{
	return redis_servers_open(s->servers, slot_of(s, client));
}

/* Questions */

static void end(struct store_question *q, const struct redis_answer *a)
{
	q->store->asked--;
	q->answered(q, a);
}

static struct redis_question bytes_of(const struct store_question *q)
{
	return (struct redis_question){
		.prefix = {q->store->prefix, q->store->prefix_n},
		.client = q->client,
		.ask = q->ask,
		.asks = q->asks,
		.n = q->n,
		.carry = q->carry,
	};
}

static size_t write_question(struct node_call *c, const struct redis_node *node, char *out)
{
	struct store_question *q = list_entry(c, struct store_question, call);
	struct redis_question bytes = bytes_of(q);
	bytes.sha = redis_node_sha(node, REDIS_SCRIPT_ASK);
	bytes.deadline = redis_node_clock(node, q->give_up_at);
	return redis_script_question(out, &bytes);
}

/* Several clients at once */

static bool together(struct node_call *a, struct node_call *b)
{
	const struct table_ask *x = list_entry(a, struct store_question, call)->ask;
	const struct table_ask *y = list_entry(b, struct store_question, call)->ask;
	return x->policy == y->policy && x->limit == y->limit;
}

static size_t write_questions(struct node_call *const *calls, unsigned n, const struct redis_node *node,
			      char *out)
{
	char *at = redis_script_many_head(out, n, redis_node_sha(node, REDIS_SCRIPT_ASK_MANY));
	const struct table_ask *ask = list_entry(calls[0], struct store_question, call)->ask;
	usec_t give_up_at = INT64_MAX; /* the first of them to do so */
	for (unsigned i = 0; i < n; i++) {
		const struct store_question *q = list_entry(calls[i], struct store_question, call);
		const struct redis_question bytes = bytes_of(q);
		at = redis_script_many_client(at, &bytes);
		if (q->give_up_at < give_up_at)
			give_up_at = q->give_up_at;
	}
	return (size_t)(redis_script_many_end(at, ask, redis_node_clock(node, give_up_at)) - out);
}

static const struct node_joint joint = {
	.together = together,
	.write = write_questions,
	.sound = redis_script_sound,
	.part = redis_script_part,
};

/* Clients lie in slots of their own in a cluster, and no command may go across them. */
static const struct node_joint *joint_of(const struct store_redis *s, const struct store_question *q)
{
	const struct redis_question bytes = {.ask = q->ask, .asks = q->asks, .n = q->n, .carry = q->carry};
	return redis_script_usual(&bytes) && !redis_servers_is_cluster(s->servers) ? &joint : NULL;
}

/* Answers */

static void answer(struct store_redis *s, struct store_question *q, const struct redis_reply *r)
{
	struct redis_answer a;
	struct redis_node *node = q->call.node;
	if (!redis_script_answer(r, q->ask, q->asks, q->n, &a) ||
	    (a.server_us && a.server_us < SERVER_SANE)) {
		redis_node_bad(node, "its answers make no sense");
		end(q, NULL);
		return;
	}
	usec_t took = s->loop->now - q->call.sent_at;
	histogram_observe(&s->took, took);
	if (took > s->slowest.now)
		s->slowest.now = took;
	redis_node_good(node, &q->call, a.server_us);
	if (!a.late)
		end(q, &a);
	else if (!redis_node_once_more(node, &q->call)) /* its deadline was misjudged */
		end(q, NULL);
}

static void on_answer(struct node_call *c, const struct redis_reply *r)
{
	struct store_question *q = list_entry(c, struct store_question, call);
	assert(q->store->magic == MAGIC);
	if (r->kind == REDIS_ERROR)
		end(q, NULL);
	else
		answer(q->store, q, r);
}

/* Asking */

bool store_redis_ask(struct store_redis *s, struct store_question *q)
{
	if (s->asked >= QUESTIONS_MAX) {
		metric_add(s->failed_full, 1);
		return false;
	}
	q->store = s;
	q->call.joint = joint_of(s, q);
	q->call.room = redis_script_room((struct str){s->prefix, s->prefix_n}, q->asks, q->carry);
	q->call.until = q->give_up_at;
	q->call.write = write_question;
	q->call.done = on_answer;
	q->call.slot = (uint16_t)slot_of(s, q->client);
	if (!redis_servers_send(s->servers, &q->call))
		return false;
	s->asked++;
	return true;
}

void store_redis_late(struct store_redis *s, struct store_question *q)
{
	redis_servers_late(s->servers, &q->call);
}

void store_redis_flush(struct store_redis *s)
{
	redis_servers_flush(s->servers);
}

/* Numbers */

usec_t store_redis_slowest(const struct store_redis *s)
{
	return s->slowest.now > s->slowest.before ? s->slowest.now : s->slowest.before;
}

static void on_epoch(struct timeout *t)
{
	struct store_redis *s = list_entry(t, struct store_redis, epoch);
	lately_turn(&s->slowest, 0);
	timeout_arm(&s->epoch_class, t);
}

static void open_series(struct store_redis *s)
{
	char labels[METRIC_LABELS];
	for (unsigned i = 0; i < STORE_STATES; i++) {
		metric_label(labels, sizeof(labels), "state", store_state_name((enum store_state)i));
		s->states[i] = metric_series(METRIC_STORE_STATE, labels);
	}
	metric_label(labels, sizeof(labels), "kind", redis_failure_name(REDIS_FULL));
	s->failed_full = metric_series(METRIC_STORE_FAILURES, labels);
	histogram_open(&s->took, METRIC_STORE_SECONDS, "");
	metric_add(s->states[STORE_CONNECTING], 1);
}

/* Life */

static void destroy(struct store_redis *s)
{
	timeout_class_drop(&s->epoch_class);
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
	const struct redis_servers_setup servers = {
		.loop = setup->loop,
		.target = setup->target,
		.timeout_us = setup->timeout_us,
		.table = setup->table,
		.owner = s,
		.changed = on_changed,
		.node_changed = on_node_changed,
	};
	s->magic = MAGIC;
	s->loop = setup->loop;
	timeout_init(&s->epoch, on_epoch);
	timeout_class_init(&s->epoch_class, s->loop, EPOCH);
	s->servers = copy_prefix(s, setup->target->prefix) ? redis_servers_new(&servers) : NULL;
	if (!s->servers) {
		destroy(s);
		return NULL;
	}
	open_series(s);
	timeout_arm(&s->epoch_class, &s->epoch);
	return s;
}

void store_redis_free(struct store_redis *s)
{
	if (!s)
		return;
	metric_sub(s->states[redis_servers_state(s->servers)], 1);
	redis_servers_free(s->servers);
	timeout_disarm(&s->epoch);
	loop_bury(s->loop, &s->grave, on_buried);
}
