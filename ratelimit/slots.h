/* SPDX-License-Identifier: MIT */
/*
 * The inside of the client table, for ratelimit/table.c alone: buckets, their locks, the entries in them, and
 * what is done when they are full, when the chunk pool is dry, and when a process died. See table.h for the
 * contract. Every function that takes a bucket or an entry expects the caller to hold the bucket's lock,
 * unless it says otherwise. Pointers into the region stay inside struct table, which belongs to one process.
 */
#ifndef WEIR_RATELIMIT_SLOTS_H
#define WEIR_RATELIMIT_SLOTS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/clock.h"
#include "base/siphash.h"
#include "ratelimit/policy.h"
#include "ratelimit/window.h"

#define SLOTS_WAYS 16u /* entries of a bucket; the words of its tags hold 4 each */
#define SLOTS_TAG_ONES 0x0001000100010001u
#define SLOTS_TAG_TOPS 0x8000800080008000u

struct entry {
	uint64_t key; /* the policy's */
	struct client_id client;
	struct window_log log;
	usec_t window_us;

	usec_t touched;
	usec_t free_at; /* when the log falls below `limit`; 0: not worked out since the log last changed */
	usec_t refuse_until; /* this and what follows, down to generation: what the store said */
	usec_t said_at;
	usec_t said_empty_at;
	uint32_t said_used, said_limit;
	uint32_t generation;
	uint32_t outage; /* seeded in */
	uint32_t limit;	 /* of the last admission */
	uint32_t refused;
};

struct bucket {
	uint32_t lock; /* the owner, 0: free; atomic */
	uint32_t spare;
	usec_t clock; /* the latest moment seen here */
	uint64_t tags[SLOTS_WAYS /
		      4]; /* 16 bits of each entry's hash, 0: free; read without the lock by walks */
	uint64_t pad[2];
};

/* The head of the region. Buckets, entries and chunks follow. The three parts are on cache lines of their
 * own. */
struct shared {
	uint64_t magic;
	uint32_t buckets, chunks;
	uint8_t hash_key[16];
	uint64_t pad[4];
	struct window_pool pool;
	uint64_t pad2[4];
	uint32_t hand; /* the bucket to sweep next; atomic, like what follows */
	uint32_t entries;
	uint64_t evictions, busy, recovered;
	uint64_t pad3[4];
};

struct table {
	struct shared *shared;
	struct bucket *bucket;
	struct entry *entry;
	struct window_store store;
	struct siphash_key hash_key;
	uint32_t buckets;
	uint16_t owner;
	usec_t decided_at;
};

/* Where a (policy, client) has its entry, or would have it. */
struct place {
	uint32_t bucket;
	uint16_t tag;
	bool locks;	 /* for a decision: it was this place that took the lock; two may share a bucket */
	struct entry *e; /* NULL: it has none */
	struct window_rule rule;
	uint32_t remaining;
};

/*
 * Needs no lock. The policy goes into the hash's key, which is as good as hashing it (policy keys are not the
 * client's to choose) and a round shorter.
 */
static inline __attribute__((always_inline)) void
slots_locate(const struct table *t, uint64_t key, const struct client_id *client, struct place *p)
{
	uint64_t h = siphash13_16((struct siphash_key){t->hash_key.k0 ^ key, t->hash_key.k1}, client->b);

	p->bucket = (uint32_t)((h & UINT32_MAX) * t->buckets >> 32);
	p->tag = (uint16_t)(h >> 48 | 1); /* 0 is a free way */
	p->e = NULL;
}

static inline struct entry *slots_entry(const struct table *t, uint32_t bucket, unsigned way)
{
	return &t->entry[(size_t)bucket * SLOTS_WAYS + way];
}

static inline unsigned slots_way(const struct table *t, uint32_t bucket, const struct entry *e)
{
	return (unsigned)(e - slots_entry(t, bucket, 0));
}

static inline uint16_t slots_tag(const struct bucket *b, unsigned way)
{
	return (uint16_t)(b->tags[way / 4] >> way % 4 * 16);
}

static inline __attribute__((always_inline)) void slots_find(const struct table *t, uint64_t key,
							     const struct client_id *client, struct place *p)
{
	const struct bucket *b = &t->bucket[p->bucket];
	struct entry *first = slots_entry(t, p->bucket, 0);
	uint64_t wanted = p->tag * SLOTS_TAG_ONES;

	for (unsigned w = 0; w < SLOTS_WAYS / 4; w++, first += 4) {
		uint64_t x = b->tags[w] ^ wanted;
		/* A zero lane sets its top bit; one above it may do so falsely, and fails the comparison. */
		for (x = (x - SLOTS_TAG_ONES) & ~x & SLOTS_TAG_TOPS; x; x &= x - 1) {
			struct entry *e = first + (unsigned)__builtin_ctzll(x) / 16;
			if (e->key == key && !memcmp(&e->client, client, sizeof(*client))) {
				p->e = e;
				return;
			}
		}
	}
}

static inline bool slots_try_lock(const struct table *t, uint32_t bucket)
{
	uint32_t *word = &t->bucket[bucket].lock, nobody = 0;

	return !__atomic_load_n(word, __ATOMIC_RELAXED) &&
	       __atomic_compare_exchange_n(word, &nobody, t->owner, false, __ATOMIC_ACQUIRE,
					   __ATOMIC_RELAXED);
}

/* A bounded number of tries; false is counted as busy. */
bool slots_spin_lock(const struct table *t, uint32_t bucket);

static inline bool slots_lock(const struct table *t, uint32_t bucket)
{
	return __builtin_expect(slots_try_lock(t, bucket), 1) || slots_spin_lock(t, bucket);
}

static inline void slots_unlock(const struct table *t, uint32_t bucket)
{
	__atomic_store_n(&t->bucket[bucket].lock, 0, __ATOMIC_RELEASE);
}

/* Time in a bucket never goes back. */
static inline usec_t slots_now(const struct table *t, uint32_t bucket, usec_t now)
{
	struct bucket *b = &t->bucket[bucket];

	if (now > b->clock)
		b->clock = now;
	return b->clock;
}

/* Without the lock, so that walks leave the pages of empty buckets alone. */
bool slots_bucket_empty(const struct table *t, uint32_t bucket);

/* Whether what the store said is less than a window old. */
static inline bool slots_said_holds(const struct entry *e, usec_t now)
{
	return e->said_at && e->said_at + e->window_us > now;
}

/* Makes an entry for the place, evicting another if need be, but none of `pins` (a bit a way). */
void slots_claim(const struct table *t, const struct policy *policy, const struct client_id *client,
		 uint32_t pins, usec_t now, struct place *p);

void slots_drop(const struct table *t, uint32_t bucket, unsigned way);

/* Drops the entries of the bucket that count for nothing any more. */
void slots_expire(const struct table *t, uint32_t bucket, usec_t now);

/* For a log that is about to ask a dry pool for a chunk: takes and leaves locks of other buckets. */
void slots_make_room(const struct table *t, const struct window_log *l, usec_t now);

static inline uint32_t slots_chunk_owner(const struct table *t, const struct entry *e)
{
	return (uint32_t)(e - t->entry) + 1;
}

static inline void slots_note(const struct table *t, struct entry *e, const struct window_rule *rule,
			      uint32_t n, usec_t now)
{
	if (window_wants_chunk(&e->log) && window_pool_dry(&t->store))
		slots_make_room(t, &e->log, now);
	window_note(&t->store, &e->log, rule, slots_chunk_owner(t, e), now, n);
	e->free_at = 0;
}

/* Expires up to `buckets` that are in use and free to lock, out of the next `steps`. Needs no lock. */
void slots_sweep(const struct table *t, uint32_t steps, uint32_t buckets, usec_t now);

/* t->owner is dead. Needs no lock. How many buckets it held. */
unsigned slots_locked(const struct table *t);
unsigned slots_recover(const struct table *t);

/* As table_check. */
long slots_check(const struct table *t);

#endif
