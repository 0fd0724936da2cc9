/* SPDX-License-Identifier: MIT */
/*
 * Carries to Redis what it does not know of this weir's admissions (journal.h). A client that asks carries
 * his own: what carrier_load gives goes with his question, and counts before it is decided. For those who ask
 * nothing one worker at a time walks the client table, some hundred buckets in 5 ms and few questions at
 * once, so that Redis hardly feels it.
 *
 * A worker's limiter owns its carrier. Nothing is called back; questions of its own are ended by
 * store_redis_free, which must come before carrier_free.
 */
#ifndef WEIR_RATELIMIT_CARRIER_H
#define WEIR_RATELIMIT_CARRIER_H

#include "base/loop.h"
#include "ratelimit/journal.h"

struct carrier;
struct store_redis;

struct carrier_setup {
	struct loop *loop;
	struct table *table;
	struct store_redis *store;
	const struct policy *const *policy; /* those that may be carried for; copied, the policies stay */
	unsigned policies;
};

struct carrier *carrier_new(const struct carrier_setup *); /* NULL: out of memory */
void carrier_free(struct carrier *);			   /* NULL is harmless */

/* What goes with the client's question: asks of them, or NULL for nothing. Until carrier_unload. */
struct journal_carry *carrier_load(struct carrier *, const struct client_id *, const struct table_ask *,
				   unsigned asks);
/* The question was answered, or was not. NULL is harmless. */
void carrier_unload(struct carrier *, const struct client_id *, const struct table_ask *, unsigned asks,
		    struct journal_carry *, bool answered);

#endif
