/* SPDX-License-Identifier: MIT */
/*
 * The Redis store of one worker: asks the script for decisions, many at once, of the one server or of the
 * node of a Redis Cluster that has the client's slot. The states of a server stand in ratelimit/redis_node.h,
 * those of all together in ratelimit/redis_servers.h; while the client's server takes no calls the caller
 * decides at once. It decides nothing itself and knows no tickets: that is limiter.c.
 *
 * A struct store_question is the caller's and stays in place until `answered` was called, exactly once for
 * each question that was taken: with an answer, or with NULL when there will be none. When the caller's
 * patience ends first it says so with store_redis_late and decides otherwise; `answered` comes all the same,
 * later. It comes from the loop or from store_redis_flush and _free, never from _ask.
 *
 * Deadlines: each question carries the moment when its caller gives up, on the server's clock, so that a
 * server that wakes up late spends nothing.
 */
#ifndef WEIR_RATELIMIT_STORE_REDIS_H
#define WEIR_RATELIMIT_STORE_REDIS_H

#include <stdbool.h>

#include "base/loop.h"
#include "ratelimit/redis_node.h"
#include "ratelimit/redis_script.h"

struct store_question {
	struct node_call call;
	struct store_redis *store;
	/* The caller's, filled in before asking; client and ask stay readable until answered. */
	const struct client_id *client;
	const struct table_ask *ask;
	unsigned asks, n;
	const struct journal_carry *carry; /* asks of them; NULL: nothing */
	usec_t give_up_at;
	void (*answered)(struct store_question *, const struct redis_answer *);
};

static inline usec_t store_question_sent_at(const struct store_question *q) /* not after the bytes left */
{
	return q->call.sent_at;
}

struct store_redis;

struct store_redis_setup {
	struct loop *loop;
	const struct redis_target *target; /* copied */
	usec_t timeout_us;
	struct table *table; /* its journal hears of losses; NULL: they are not looked for */
};

struct store_redis *store_redis_new(const struct store_redis_setup *); /* NULL: out of memory */
void store_redis_free(struct store_redis *);

/* Of all servers together. */
enum store_state store_redis_state(const struct store_redis *);
/* Whether everybody's questions would be taken now. */
bool store_redis_ready(const struct store_redis *);
/* Whether this client's would. */
bool store_redis_open(const struct store_redis *, const struct client_id *);
/* False: not now; decide otherwise. The bytes leave with store_redis_flush, or at the end of the turn. */
bool store_redis_ask(struct store_redis *, struct store_question *);
void store_redis_late(struct store_redis *, struct store_question *);
void store_redis_flush(struct store_redis *);

/* The longest that an answer took lately (the last 10 to 20 s). */
usec_t store_redis_slowest(const struct store_redis *);

#endif
