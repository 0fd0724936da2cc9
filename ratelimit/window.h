/* SPDX-License-Identifier: MIT */
/*
 * The exact sliding window of one client under one policy: a log of (time, count) records, oldest first. The
 * newest record stands in struct window_log itself; older ones stand in chunks of 64 bytes from a pool that
 * is capped. Log, pool and chunks live in memory shared by processes that map it at different addresses:
 * there are indices and no pointers in them. A log is used by one process at a time (the caller holds its
 * lock); the pool by all at once. Nothing calls back, nothing is allocated, and nothing fails: see "Pool
 * exhausted".
 *
 * Time: `now` is CLOCK_MONOTONIC in microseconds and must never be less than an earlier `now` of the same
 * log. Records keep 32 bits of it, in units of the rule: exactly 1 us while the window is at most 70 minutes
 * (21 us at 24 hours). For limits above 10,000 an admission is noted at the end of its tick, of which there
 * are 8192 a window, so that such a log has at most 8193 records. All rounding is against the client: nothing
 * ever expires early.
 *
 * Pool exhausted: first the log's own neighbouring records are merged (the later time takes both counts);
 * when that frees nothing, the newest record takes what could not be stored. The gate may hold somebody
 * longer, never opens.
 *
 * Size: 5.8 bytes an admission (11 records a chunk of 64 bytes), nothing beyond the log's own 32 for the
 * newest.
 */
#ifndef WEIR_RATELIMIT_WINDOW_H
#define WEIR_RATELIMIT_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "ratelimit/policy.h"

#define WINDOW_CHUNK_RECORDS 11
#define WINDOW_RECORD_MAX 256	  /* admissions in one record of a chunk */
#define WINDOW_EXACT_LIMIT 10000u /* limits above it use ticks */
#define WINDOW_TICKS 8192u	  /* a window */
#define WINDOW_SPAN 4200000000u	  /* units in the longest window: leaves room for a tick below 2^32 */

struct window_chunk {
	uint32_t next;			     /* index; of the chain or of the free list; atomic */
	uint32_t owner;			     /* who holds it, 0: free; atomic; for the sweep after a crash */
	uint32_t t[WINDOW_CHUNK_RECORDS];    /* low bits of the time in units */
	uint8_t extra[WINDOW_CHUNK_RECORDS]; /* admissions in the record, less one */
	uint8_t spare;
};

/* All fields are atomic but `chunks`. Memory of zeros with `chunks` set is a full pool. */
struct window_pool {
	uint64_t free;	 /* tag << 32 | index of the first free chunk; the tag counts changes (ABA) */
	uint32_t fresh;	 /* chunks taken for the first time so far: 1 to fresh were in use once */
	uint32_t chunks; /* there are so many, 1 to chunks; chunk 0 is not used */
	uint32_t used;
	uint32_t spare;
	uint64_t merges; /* records that took a later time than their own */
};

/* A process's view of the pool. */
struct window_store {
	struct window_pool *pool;
	struct window_chunk *chunk;
};

/* Zeros: an empty log. */
struct window_log {
	uint64_t tail;	     /* units; time of the newest record */
	uint32_t used;	     /* admissions in all records */
	uint32_t tail_count; /* in the newest */
	uint32_t head, last; /* chunks, 0: none */
	uint8_t head_pos;    /* the oldest record in head */
	uint8_t last_pos;    /* the first free place in last */
};

struct window_rule {
	usec_t window_us;
	uint32_t unit_us;
	uint32_t tick; /* units; 1: none */
};

static inline struct window_rule window_rule(usec_t window_us, uint32_t limit)
{
	struct window_rule r = {window_us, 1, 1};

	if (window_us > (usec_t)WINDOW_SPAN)
		r.unit_us = (uint32_t)(window_us / WINDOW_SPAN) + 1;
	if (limit > WINDOW_EXACT_LIMIT)
		r.tick = (uint32_t)(window_us / r.unit_us / WINDOW_TICKS);
	if (!r.tick)
		r.tick = 1;
	return r;
}

/* A walk over the records, oldest first; it ends before the log is changed. */
struct window_cursor {
	uint32_t chunk;
	unsigned pos;
	bool ended;
};

static inline struct window_cursor window_begin(const struct window_log *l)
{
	return (struct window_cursor){l->head, l->head_pos, false};
}

/* The next record: the moment of its admissions, and how many they are. False: that was all. */
bool window_next(const struct window_store *s, const struct window_log *l, const struct window_rule *r,
		 struct window_cursor *at, usec_t *when, uint32_t *count);

/* Drops what does not count at `now` any more. Every other function expects this to have been done for its
 * `now`. */
void window_expire(const struct window_store *s, struct window_log *l, const struct window_rule *r,
		   usec_t now);

/* Notes n admissions at `now`, whatever the limit. `owner` is put on the chunks. */
void window_note(const struct window_store *s, struct window_log *l, const struct window_rule *r,
		 uint32_t owner, usec_t now, uint32_t n);

/* Forgets everything and gives the chunks back. */
void window_clear(const struct window_store *s, struct window_log *l);

/* Halves the log by merging neighbours. True when a chunk came free. */
bool window_merge(const struct window_store *s, struct window_log *l);

/* The moment when the log falls below `limit`, which it has reached (or, with limit 0, now + window). */
usec_t window_free_at(const struct window_store *s, const struct window_log *l, const struct window_rule *r,
		      uint32_t limit, usec_t now);

/* The moment when the log is empty. */
static inline usec_t window_empty_at(const struct window_log *l, const struct window_rule *r)
{
	return (usec_t)(l->tail * r->unit_us) + r->window_us;
}

static inline uint32_t window_remaining(const struct window_log *l, uint32_t limit)
{
	return limit > l->used ? limit - l->used : 0;
}

/* Whether the next note will ask the pool for a chunk. */
static inline bool window_wants_chunk(const struct window_log *l)
{
	return l->tail_count && (!l->last || l->last_pos == WINDOW_CHUNK_RECORDS);
}

bool window_pool_dry(const struct window_store *s);

/* Returns one chunk to the pool: for the sweep after a crash, which has no log to go by. */
void window_chunk_free(const struct window_store *s, uint32_t index);

/* What the log of one client that is at its limit takes from the pool, in bytes. */
size_t window_log_bytes(uint32_t limit);

/*
 * For tests: that the chain holds together, belongs to owner and adds up to `used`. The number of chunks, or
 * -1. Marks each chunk in `seen` (an array of pool->chunks + 1); one that was marked before is an error.
 */
long window_check(const struct window_store *s, const struct window_log *l, uint32_t owner, uint8_t *seen);

#endif
