/* SPDX-License-Identifier: MIT */
/* For tests of the limiter: a weir's table and limiter on a server of redis_rig.h, and requests that ask it.
 */
#ifndef WEIR_TESTS_LIMITER_RIG_H
#define WEIR_TESTS_LIMITER_RIG_H

#include <sys/mman.h>

#include "base/board.h"
#include "base/buf.h"
#include "ratelimit/limiter.h"
#include "ratelimit/redis_script.h"
#include "tests/unit/redis_rig.h"

#define TIMEOUT (50 * USEC_PER_MSEC)
#define MINUTE (60 * USEC_PER_SEC)
#define GRACE (5 * USEC_PER_MSEC)

static struct rig_redis redis;
static struct loop loop;
/* Of the shops that are opened: those that may be carried for without a question. */
static const struct policy *shop_policy[4];
static unsigned shop_policies;

static const struct table_size few_clients = {2000, 1 << 20};

static inline void *region_of(const struct table_size *size, size_t *bytes)
{
	*bytes = table_bytes(size);
	void *mem = mmap(NULL, *bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED || table_format(mem, *bytes, size, (const uint8_t *)"0123456789abcdef") < 0)
		rig_die("table");
	return mem;
}

static inline void *new_region(size_t *bytes)
{
	return region_of(&few_clients, bytes);
}

struct shop {
	usec_t timeout; /* 0: TIMEOUT */
	void *mem;
	size_t bytes;
	struct table *table;
	struct limiter *limiter;
	struct redis_target target;
};

static inline void shop_table(struct shop *s, const struct table_size *size)
{
	s->mem = region_of(size, &s->bytes);
	s->table = table_attach(s->mem, s->bytes, 1);
}

/* On a table that is there. */
static inline void shop_limit(struct shop *s, int port, enum limiter_on_failure on_failure)
{
	if (port)
		s->target = rig_target(port);
	struct limiter_setup setup = {
		.loop = &loop,
		.table = s->table,
		.redis = s->target.host.n ? &s->target : NULL,
		.timeout_us = s->timeout ? s->timeout : TIMEOUT,
		.on_failure = on_failure,
		.policy = shop_policy,
		.policies = shop_policies,
		.fleet = 1,
	};
	s->limiter = limiter_new(&setup);
	assert_non_null(s->limiter);
}

static inline void shop_open_with(struct shop *s, int port, enum limiter_on_failure on_failure)
{
	shop_table(s, &few_clients);
	shop_limit(s, port, on_failure);
}

static inline uint64_t in_state(const char *state)
{
	char label[64];
	snprintf(label, sizeof(label), "state=\"%s\"", state);
	return metric_family_sum(METRIC_STORE_STATE, label);
}

static inline bool is_state(void *state)
{
	return in_state(state) == 1;
}

/* For is_state. */
#define READY ((void *)(uintptr_t) "ready")
#define CONNECTING ((void *)(uintptr_t) "connecting")
#define DEGRADED ((void *)(uintptr_t) "degraded")
#define OPEN ((void *)(uintptr_t) "open")
#define PROBING ((void *)(uintptr_t) "probing")

static inline bool never(void *ctx)
{
	(void)ctx;
	return false;
}

static inline void turn_for(usec_t length)
{
	rig_turn(&loop, never, NULL, length);
}

static inline void shop_open(struct shop *s)
{
	*s = (struct shop){0};
	rig_do(&redis, "FLUSHALL");
	shop_open_with(s, redis.port, LIMITER_LOCAL);
	rig_until(&loop, is_state, READY);
}

/* With those that may be carried for; the second may be NULL. */
static inline void shop_carries(const struct policy *p, const struct policy *q)
{
	shop_policy[0] = p;
	shop_policy[1] = q;
	shop_policies = q ? 2 : 1;
}

static inline void shop_open_for(struct shop *s, const struct policy *p, const struct policy *q)
{
	shop_carries(p, q);
	shop_open(s);
}

static inline void shop_close(struct shop *s)
{
	shop_policies = 0;
	limiter_free(s->limiter);
	turn_for(3 * USEC_PER_MSEC);
	assert_int_equal(metric_family_sum(METRIC_STORE_STATE, NULL), 0);
	table_detach(s->table);
	munmap(s->mem, s->bytes);
}

static inline struct policy policy_of(const char *name, uint32_t requests, usec_t window)
{
	struct policy p = {.requests = requests, .window_us = window};
	snprintf(p.name, sizeof(p.name), "%s", name);
	p.key = (uint64_t)window * 31;
	for (const char *c = name; *c; c++)
		p.key = (p.key ^ (uint8_t)*c) * 0x100000001b3u;
	return p;
}

struct request {
	struct ticket t;
	usec_t asked, answered;
	unsigned calls; /* of answered */
	unsigned place; /* among the answered */
	struct limiter *limiter;
	struct request *cancel, *ask; /* when this one is answered */
};

static unsigned places;

static inline enum limiter_answer put(struct limiter *l, struct request *r);

static inline void on_answer(struct ticket *t)
{
	struct request *r = list_entry(t, struct request, t);
	r->answered = clock_mono();
	r->calls++;
	r->place = places++;
	if (r->cancel)
		limiter_cancel(r->limiter, &r->cancel->t);
	if (r->ask)
		put(r->limiter, r->ask);
}

static inline enum limiter_answer put(struct limiter *l, struct request *r)
{
	r->limiter = l;
	r->asked = clock_mono();
	r->calls = 0;
	r->t.answered = on_answer;
	enum limiter_answer a = limiter_ask(l, &r->t);
	if (a == LIMITER_NOW)
		r->answered = clock_mono();
	return a;
}

static inline void prepare(struct request *r, uint8_t client, const struct policy *p)
{
	*r = (struct request){0};
	r->t.client = (struct client_id){{[10] = 0xff, [11] = 0xff, [12] = 192, [14] = 2, [15] = client}};
	r->t.asks = 1;
	r->t.ask[0] = (struct table_ask){p, p->requests};
}

static inline bool is_answered(void *request)
{
	return ((struct request *)request)->calls > 0;
}

/* Asks, and waits for the answer. */
static inline const struct verdict *decided(struct shop *s, struct request *r)
{
	loop.now = clock_mono();
	if (put(s->limiter, r) == LIMITER_WAIT) {
		rig_until(&loop, is_answered, r);
		assert_int_equal(r->calls, 1);
	} else {
		assert_int_equal(r->calls, 0);
	}
	return &r->t.verdict;
}

static inline const struct verdict *ask_one(struct shop *s, struct request *r, uint8_t client,
					    const struct policy *p)
{
	prepare(r, client, p);
	return decided(s, r);
}

static inline uint64_t decisions(const char *source)
{
	char label[64];
	snprintf(label, sizeof(label), "source=\"%s\"", source);
	return metric_family_sum(METRIC_STORE_DECISIONS, label);
}

static inline long llen(const struct policy *p, uint8_t client)
{
	char key[128];
	struct request r;
	prepare(&r, client, p);
	key[redis_script_key(key, STR(REDIS_PREFIX), p, &r.t.client)] = 0;
	return (long)rig_integer(&redis, "LLEN %s", key);
}

static inline int set_up(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	rig_start(&redis);
	return loop_init(&loop) ? 0 : -1;
}

static inline int tear_down(void **state)
{
	(void)state;
	loop_free(&loop);
	block_pools_free();
	rig_end(&redis);
	return 0;
}

#endif
