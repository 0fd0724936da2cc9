/* SPDX-License-Identifier: MIT */
/*
 * How a weir notices that a server has lost data, whatever the reason: a restart without it or with an old
 * part of it, FLUSHALL, a replica made master that had not everything. Each weir keeps a mark on each server,
 * keys of its own with a number that rises with time, written by one script that answers what stood there.
 * Less than what a server has confirmed: it has lost what it was told after that moment (nothing there: all),
 * and the journal is told (journal_lost). The number is CLOCK_MONOTONIC of this weir.
 *
 * A worker looks when it has connected, before it asks anything, and then one of a weir's workers in turn.
 * What was confirmed stands in the client table, for all of them. Marks that were confirmed for another tag
 * (the slots of a cluster have moved) say nothing of this one: nothing is taken for lost.
 *
 * The mark stands under two keys, written as one, PREFIX{TAG}:mark:WEIR and PREFIX{TAG}:twin:WEIR: what loses
 * data loses both, while a server that evicts at maxmemory takes keys one by one, and one that is left says
 * all. They end MARK_TTL_MS after the weir. Nothing is allocated or called back.
 */
#ifndef WEIR_RATELIMIT_MARK_H
#define WEIR_RATELIMIT_MARK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/str.h"
#include "ratelimit/redis_reply.h"
#include "ratelimit/table.h"

#define MARK_EVERY (200 * USEC_PER_MSEC)
#define MARK_TTL_MS 100000000 /* above the longest window, of 24 h */
#define MARK_ARGS 7

/* One server as seen by one worker. */
struct mark {
	struct table *table; /* NULL: no marks are kept */
	uint64_t store;	     /* a hash of which it is */
	/* Of the mark under way, or the last. */
	uint64_t who; /* store and key */
	usec_t value, confirmed, birth;
	bool single;
	uint64_t slots[256];
	/* A loss that could not be noted yet. */
	bool owes;
	usec_t lost_since;
};

struct mark_text {
	char key[320], twin[320], value[24], ttl[16];
};

/*
 * `store` is a text that tells stores apart, as around a reload old workers mark one and new ones another:
 * the same for all nodes of a cluster, which their tags tell apart.
 */
void mark_init(struct mark *, struct table *, struct str store);

/*
 * The command for a mark at `now`: argv has MARK_ARGS places. 0: none this time: another worker's turn, or
 * the tag is empty. `first`: whatever the turn. `slots` NULL: all.
 */
unsigned mark_write(struct mark *, struct str prefix, const char *tag, const uint64_t *slots, bool first,
		    usec_t now, struct mark_text *text, struct str argv[MARK_ARGS]);

/* What the server said. True: it has lost data, which is noted. */
bool mark_answered(struct mark *, const struct redis_reply *);

#endif
