/* SPDX-License-Identifier: MIT */
/*
 * The Redis store of one worker: asks the script for decisions, many at once over one connection, and knows
 * whether it is worth asking. It decides nothing itself and knows no tickets: that is limiter.c.
 *
 *                connected, script loaded
 *   CONNECTING -------------------------------> READY <------------+ a second without a timeout
 *    ^ ^ ^ ^                                   ^  |  |             |
 *    | | | |               probe (and trial)   |  |  +--------> DEGRADED
 *    | | | |                       succeeded   |  |   a timeout    |
 *    | | | |                                   |  |                |  failures in a row,
 *    | | | +------------------ lost -----------|--+                |  and no answer for a while
 *    | | +-------------------- lost -----------|-------------------+-----+
 *    | +------- lost ------ PROBING -----------+                         v
 *    |                       |   ^                      (READY too)    OPEN
 *    |                       |   +-------- after a pause with jitter ---+ |
 *    |                       +------------ failed ----------------------^ |
 *    +---------------------------- lost, or silent for too long ----------+
 *
 * CONNECTING and OPEN: nothing is asked, the caller decides at once. PROBING: a PING is under way; where the
 * failures were answers (out of memory, loading, ...) rather than silence, one question at a time is let
 * through after it as a trial, for only a write shows whether writes work. A server that stays silent for a
 * second loses its connection.
 *
 * A struct store_question is the caller's and stays in place until `answered` was called, exactly once for
 * each question that was taken: with an answer, or with NULL when there will be none. When the caller's
 * patience ends first it says so with store_redis_late and decides otherwise; `answered` comes all the same,
 * later. It comes from the loop or from store_redis_flush and _free, never from _ask.
 *
 * Deadlines: each question carries the moment when its caller gives up, on the server's clock, so that a
 * server that wakes up late spends nothing. Of the difference between the clocks the largest that is possible
 * is used: an error makes the server spend in vain rather than refuse.
 */
#ifndef WEIR_RATELIMIT_STORE_REDIS_H
#define WEIR_RATELIMIT_STORE_REDIS_H

#include <stdbool.h>

#include "base/loop.h"
#include "ratelimit/redis_conn.h"
#include "ratelimit/redis_script.h"

enum store_state { STORE_CONNECTING, STORE_READY, STORE_DEGRADED, STORE_OPEN, STORE_PROBING, STORE_STATES };
const char *store_state_name(enum store_state);

struct store_question {
	struct redis_call call;
	struct store_redis *store;
	/* The caller's, filled in before asking; client and ask stay readable until answered. */
	const struct client_id *client;
	const struct table_ask *ask;
	unsigned asks, n;
	usec_t give_up_at;
	void (*answered)(struct store_question *, const struct redis_answer *);
	/* The store's. */
	usec_t sent_at; /* not after the bytes left */
	bool late;
	bool again; /* it was refused unheard (the script was missing, the deadline misjudged) and sent once
		       more */
};

struct store_redis;

struct store_redis_setup {
	struct loop *loop;
	const struct redis_target *target; /* copied */
	usec_t timeout_us;
};

struct store_redis *store_redis_new(const struct store_redis_setup *); /* NULL: out of memory */
void store_redis_free(struct store_redis *);

enum store_state store_redis_state(const struct store_redis *);
/* Whether a question would be taken now. */
bool store_redis_open(const struct store_redis *);
/* False: not now; decide otherwise. The bytes leave with store_redis_flush, or at the end of the turn. */
bool store_redis_ask(struct store_redis *, struct store_question *);
void store_redis_late(struct store_redis *, struct store_question *);
void store_redis_flush(struct store_redis *);

/* The longest that an answer took lately (the last 10 to 20 s). */
usec_t store_redis_slowest(const struct store_redis *);

#endif
