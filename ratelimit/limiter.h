/* SPDX-License-Identifier: MIT */
/*
 * The limiter of one worker: says of a request whether its client's windows admit it, from the shared client
 * table (store: memory), or from Redis with the table's refusals before it and the local window behind it.
 *
 * A ticket is one request's question. The caller embeds it, fills in client, asks and answered, and keeps it
 * in place until it is answered or cancelled. limiter_ask either answers at once (LIMITER_NOW; answered is
 * not called) or later through answered (LIMITER_WAIT), from the loop, never from inside limiter_ask, and
 * always within the store's timeout. No verdict is ever an error: what the store cannot say, the local window
 * decides.
 *
 * With Redis at most one question of a client is in flight from a worker; requests that arrive meanwhile join
 * the next. Questions of one turn of the loop leave in one write (a loop hook).
 */
#ifndef WEIR_RATELIMIT_LIMITER_H
#define WEIR_RATELIMIT_LIMITER_H

#include <stdbool.h>

#include "base/list.h"
#include "base/loop.h"
#include "ratelimit/policy.h"
#include "ratelimit/table.h"

enum verdict_source { SOURCE_REDIS, SOURCE_MEMORY, SOURCE_LOCAL };

struct verdict {
	bool granted;
	enum verdict_source source;
	unsigned refused_by;  /* bit i: ask i refused it (enforcing policies only) */
	unsigned shadow_over; /* bit i: ask i is in shadow and would have refused it */
	struct window_state state[POLICY_MAX_APPLIED]; /* by ask */
};

struct ticket {
	struct list link; /* the limiter's; self-linked while it is not waiting */
	struct client_id client;
	unsigned asks; /* 1..POLICY_MAX_APPLIED */
	struct table_ask ask[POLICY_MAX_APPLIED];
	void (*answered)(struct ticket *);
	struct verdict verdict;
	void *question; /* the limiter's */
	bool looked;	/* likewise: limiter_refuses has answered false; the caller clears it at first */
};

enum limiter_answer { LIMITER_NOW, LIMITER_WAIT };
enum limiter_on_failure { LIMITER_LOCAL, LIMITER_ALLOW, LIMITER_DENY };

struct redis_target; /* ratelimit/redis_conn.h */

struct limiter_setup {
	struct loop *loop;
	struct table *table;
	const struct redis_target *redis; /* NULL: store: memory */
	usec_t timeout_us;		  /* the longest a decision may hold a request up */
	enum limiter_on_failure on_failure;
	const struct policy *const *policy; /* those of the config, which outlive the limiter */
	unsigned policies;
	unsigned fleet; /* weirs to share the limit with while the board has never learned how many */
};

struct limiter;
struct limiter *limiter_new(const struct limiter_setup *); /* NULL: out of memory. The setup is copied. */
void limiter_free(struct limiter *);			   /* no ticket may be waiting */

/* The store answers: what is asked now is decided by it. With memory always. */
bool limiter_ready(const struct limiter *);

/*
 * This client will most likely be asked about: what the table holds of him comes from memory while other work
 * is done. Nothing depends on it.
 */
void limiter_expect(const struct limiter *, const struct client_id *);

/*
 * The store has said until when it refuses this client, and that moment has not come: the verdict stands in
 * the ticket, and nothing is to be asked, counted or held for it. Where the answer is false, limiter_ask goes
 * on from there; who has not called this before asks all the same.
 */
bool limiter_refuses(struct limiter *, struct ticket *);

enum limiter_answer limiter_ask(struct limiter *, struct ticket *);
/* The ticket is forgotten; what its question spends is spent. Harmless on a ticket that waits for nothing. */
void limiter_cancel(struct limiter *, struct ticket *);

#endif
