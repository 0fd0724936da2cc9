/* SPDX-License-Identifier: MIT */
/*
 * Decisions that this weir makes by itself, from the client table: those of the memory store, and those of
 * the Redis store's tickets while Redis cannot say, by the journal (on_failure: local). What is admitted
 * then, on_failure: allow included, is journalled, and carried to Redis when it is back; what the spare
 * counters below admit is not.
 *
 * When the table's bucket is locked nothing was decided and false is returned; the caller tries again for a
 * while. A bucket stays locked for long only where its holder was stopped. Then local_spare decides: from a
 * few counters of this process in fixed windows, each of which grants a worker's share of the share. So
 * nobody hangs, and while a bucket is stuck each client in it gets at most one limit a window besides what he
 * had, over all workers together.
 *
 * Both write ticket->verdict and count the decision. Nothing calls back; nothing is allocated.
 */
#ifndef WEIR_RATELIMIT_LOCAL_H
#define WEIR_RATELIMIT_LOCAL_H

#include "base/metric.h"
#include "ratelimit/limiter.h"

#define LOCAL_SPARES 64

struct local_spare {
	uint64_t who; /* hash of client and policy; 0: free */
	usec_t since;
	uint32_t used;
};

struct local {
	struct table *table;
	bool store; /* stands in for Redis; else it is the memory store */
	enum limiter_on_failure on_failure;
	unsigned fleet; /* when the board has none */
	uint64_t seed;
	struct local_spare spare[LOCAL_SPARES];
	series_t decided, spared;
};

void local_init(struct local *, const struct limiter_setup *, uint64_t seed);
bool local_decide(struct local *, struct ticket *, usec_t now);
void local_spare(struct local *, struct ticket *, usec_t now);

/* A keyed hash of the client, for tables in one process. */
static inline uint64_t local_hash(uint64_t seed, const struct client_id *c, uint64_t also)
{
	uint64_t part[2];
	__builtin_memcpy(part, c->b, sizeof(part));
	unsigned __int128 m =
		(unsigned __int128)(part[0] ^ seed) * (part[1] ^ (seed >> 32 | seed << 32) ^ also);
	return (uint64_t)m ^ (uint64_t)(m >> 64);
}

#endif
