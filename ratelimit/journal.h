/* SPDX-License-Identifier: MIT */
/*
 * The journal of one weir, in the client table (table.h), for the Redis store: for each (policy, client) the
 * admissions of this weir in the last window, by Redis or by itself, in 64 ticks, and how many of them Redis
 * does not know. All workers of a weir share it, it survives any of them, and goes with the weir. Ownership,
 * locks and time are the table's; nothing calls back.
 *
 * While the store is away journal_admit decides: this weir holds a client to its share of the limit, limit
 * over live weirs, rounded up, and starts from its share of what Redis last said of the client.
 *
 * Redis learns of it by carries: "of this weir's admissions number UPTO is the newest of these (age, count)".
 * Beside the client's list Redis keeps a tally of the last number it has heard from each weir, so that a
 * carry may be written again when its answer was lost, by any worker, and counts once. Ages, not moments,
 * travel.
 *
 * When Redis has lost data (journal_lost), what it was told after a certain moment is to be carried once
 * more.
 *
 * Errors are chosen against the client, and are small: an admission counts from the end of its tick (at most
 * a 64th of a window late) and, if it is carried, from when the carry is executed less its age; after a loss
 * of which the moment is known, those of the tick that it fell into count twice.
 */
#ifndef WEIR_RATELIMIT_JOURNAL_H
#define WEIR_RATELIMIT_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "ratelimit/table.h"

#define JOURNAL_RECORDS 72	/* in a carry: the ticks of a window, and some */
#define JOURNAL_CARRY_MAX 4096u /* admissions in a carry */

struct journal_record {
	usec_t age_us;
	uint32_t count;
};

struct journal_carry {
	uint64_t weir;				       /* who carries */
	uint32_t upto;				       /* number of the newest */
	unsigned records;			       /* 0: nothing is to be carried */
	bool more;				       /* there is more than goes into one */
	struct journal_record record[JOURNAL_RECORDS]; /* oldest first */
};

/*
 * Decides one request under up to 4 policies, as table_admit does, with the share of one of `weirs`. Granted
 * when *refused_by is 0. out[i] has the ask's full limit, and `used` and `remaining` of the share.
 */
enum table_result journal_admit(struct table *t, const struct client_id *client, const struct table_ask *ask,
				unsigned asks, unsigned weirs, usec_t now, uint32_t generation,
				struct window_state out[POLICY_MAX_APPLIED], unsigned *refused_by,
				unsigned *shadow_over);

/* Notes a request that was admitted whatever the limit: it will count on return, up to the limit. */
enum table_result journal_allow(struct table *t, const struct client_id *client, const struct table_ask *ask,
				unsigned asks, usec_t now);

/* Where the client stands with the fleet, as far as this weir knows. */
enum table_result journal_peek(struct table *t, const struct client_id *client, const struct table_ask *ask,
			       usec_t now, uint32_t generation, struct window_state *out);

/* n that the store has admitted, by an answer whose state is void under a new generation. */
enum table_result journal_granted(struct table *t, const struct client_id *client,
				  const struct table_ask *ask, unsigned n, usec_t now);

/* n that were admitted here were granted by the store too, as a late answer tells. */
enum table_result journal_settle(struct table *t, const struct client_id *client, const struct table_ask *ask,
				 unsigned n, usec_t now);

/* --- carrying --- */

/* Somebody has something to carry, as far as is known. */
bool journal_uncarried(const struct table *t);

enum table_result journal_collect(struct table *t, const struct client_id *client,
				  const struct policy *policy, usec_t now, struct journal_carry *out);

/* A carry up to there was answered. */
enum table_result journal_carried(struct table *t, const struct client_id *client,
				  const struct policy *policy, uint32_t upto, usec_t now);

/* One process at a time walks the table for what is to be carried. True: this one, for a second from now. */
bool journal_take_turn(struct table *t, usec_t now, bool mine);
/* Nobody needs to walk before `until`. */
void journal_end_turn(struct table *t, usec_t until);

struct journal_found {
	struct client_id client;
	uint64_t policy_key;
	uint32_t limit; /* that held him last */
};

/*
 * Looks at up to `steps` buckets from *cursor on, which it moves, and finds at most `room` (16 or more)
 * clients with something to carry. *missed: a bucket was busy. The end of the table is reached when the
 * cursor is 0 again.
 */
unsigned journal_walk(struct table *t, uint32_t *cursor, unsigned steps, usec_t now,
		      struct journal_found *found, unsigned room, bool *missed);

/* A round that begins now, and whose walk found nothing that could not be carried. */
uint32_t journal_round(const struct table *t);
void journal_round_done(struct table *t, uint32_t round);

/* --- loss --- */

/*
 * The store has lost what it was told after `since` (0: all) of the clients in these 16384 slots of a
 * cluster, a bit each (NULL: of all). False: busy, say it again soon.
 */
bool journal_lost(struct table *t, usec_t since, const uint64_t *slots);

/* Who this weir is to the store: the same in all its processes, and another after a restart. */
uint64_t journal_weir(const struct table *t);

#endif
