/* SPDX-License-Identifier: MIT */
/*
 * The inside of the client table, for ratelimit/table.c and journal.c: buckets, their locks, the entries in
 * them, and what is done when they are full, when the chunk pool is dry, and when a process died. See table.h
 * for the contract. Every function that takes a bucket or an entry expects the caller to hold the bucket's
 * lock, unless it says otherwise. Pointers into the region stay inside struct table, which belongs to one
 * process.
 */
#ifndef WEIR_RATELIMIT_SLOTS_H
#define WEIR_RATELIMIT_SLOTS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/clock.h"
#include "base/siphash.h"
#include "ratelimit/policy.h"
#include "ratelimit/table.h"
#include "ratelimit/window.h"

#define SLOTS_WAYS 16u /* entries of a bucket; the words of its tags hold 4 each */
#define SLOTS_LOSSES 8u
#define SLOTS_MARKS 64u
#define SLOTS_CLUSTER 16384u /* hash slots of a Redis Cluster */
#define SLOTS_TICKS 64u	     /* of the journal, a window */
#define SLOTS_TAG_ONES 0x0001000100010001u
#define SLOTS_TAG_TOPS 0x8000800080008000u

/*
 * The log is the window of the memory store (`heard` 0), or else the journal: the admissions of this weir,
 * by Redis or by itself, in ticks of a 64th of the window. `made` counts those that Redis was not told of
 * when they were made, or has lost since, and `carried` how far it has been told; the difference (modulo
 * 2^32) is what is still to be carried, and these are taken to be the newest of the log.
 */
struct entry {
	uint64_t key; /* the policy's */
	struct client_id client;
	struct window_log log;
	usec_t window_us;

	union {
		usec_t free_at; /* window: when it falls below `limit`; 0: not worked out since it changed */
		struct {
			uint32_t made, carried; /* journal */
		};
	};
	usec_t refuse_until; /* this and what follows, down to generation: what the store said */
	usec_t said_at;
	usec_t said_empty_at;
	uint32_t said_used, said_limit;
	uint32_t generation;
	uint32_t limit; /* of the last admission */
	uint32_t refused;
	uint32_t touched;    /* slots_when */
	uint32_t heard;	     /* journal: losses heard of, and one */
	uint32_t carried_at; /* journal: slots_when */
};

struct bucket {
	uint32_t lock; /* the owner, 0: free; atomic */
	uint32_t spare;
	usec_t clock; /* the latest moment seen here */
	uint64_t tags[SLOTS_WAYS /
		      4]; /* 16 bits of each entry's hash, 0: free; read without the lock by walks */
	uint64_t pad[2];
};

/* The store has lost what it was told after `since`: all of it, or what lies in these slots of a cluster. */
struct loss {
	usec_t since;
	uint64_t all;
	uint64_t slots[SLOTS_CLUSTER / 64];
};

/* The mark that a server has confirmed last (mark.h); atomic. */
struct confirmed {
	uint64_t who;	/* 0: free */
	usec_t birth;	/* the mark that its data began with */
	usec_t value;	/* 0: none */
	usec_t lost_by; /* the first mark after it last went back */
	usec_t next;	/* when it is due */
	uint64_t pad[3];
};

/* What goes for all journals. */
struct journal {
	uint32_t lock; /* of the losses: the owner, 0: free; atomic, like what follows */
	uint32_t losses;
	uint32_t wanted;     /* rounds of carrying that were called for */
	uint32_t done;	     /* the last of them that was walked and left nothing behind */
	usec_t walked_until; /* somebody walks it until then, or until he says so again */
	uint64_t carried, replayed, pad[3];
	struct confirmed confirmed[SLOTS_MARKS];
	struct loss loss[SLOTS_LOSSES]; /* number n stands at n modulo SLOTS_LOSSES */
};

/* The head of the region. Buckets, entries and chunks follow. Its parts are on cache lines of their own. */
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
	struct journal journal;
};

/* Whom a decision will most likely be about, and where he is. */
struct expected {
	struct client_id client;
	uint64_t key;
	uint32_t bucket;
	uint16_t tag;
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
	struct expected expected;
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

static inline struct entry *slots_entry(const struct table *t, uint32_t bucket, unsigned way)
{
	return &t->entry[(size_t)bucket * SLOTS_WAYS + way];
}

/* Where an entry stands if it found that way free. */
static inline unsigned slots_first_way(uint16_t tag)
{
	return tag / 2 % SLOTS_WAYS;
}

/* The bucket and most likely the entry come from memory at the same time, rather than one after the other. */
static inline __attribute__((always_inline)) void slots_fetch(const struct table *t, const struct place *p)
{
	const char *e = (const char *)slots_entry(t, p->bucket, slots_first_way(p->tag));

	__builtin_prefetch(&t->bucket[p->bucket], 1);
	__builtin_prefetch(e, 1);
	__builtin_prefetch(e + 64, 1);
}

/*
 * Needs no lock. The policy goes into the hash's key, which is as good as hashing it (policy keys are not the
 * client's to choose) and a round shorter.
 */
static inline __attribute__((always_inline)) void slots_hash(const struct table *t, uint64_t key,
							     const struct client_id *client, struct place *p)
{
	uint64_t h = siphash13_16((struct siphash_key){t->hash_key.k0 ^ key, t->hash_key.k1}, client->b);

	p->bucket = (uint32_t)((h & UINT32_MAX) * t->buckets >> 32);
	p->tag = (uint16_t)(h >> 48 | 1); /* 0 is a free way */
}

static inline bool slots_expected(const struct table *t, uint64_t key, const struct client_id *client)
{
	return t->expected.key == key && !memcmp(&t->expected.client, client, sizeof(*client));
}

/* Needs no lock either. Who was expected is hashed and fetched already. */
static inline __attribute__((always_inline)) void
slots_locate(const struct table *t, uint64_t key, const struct client_id *client, struct place *p)
{
	p->e = NULL;
	if (slots_expected(t, key, client)) {
		p->bucket = t->expected.bucket;
		p->tag = t->expected.tag;
	} else {
		slots_hash(t, key, client, p);
		slots_fetch(t, p);
	}
}

/* Needs no lock. */
static inline void slots_expect(struct table *t, uint64_t key, const struct client_id *client)
{
	struct place p;

	if (slots_expected(t, key, client))
		return;
	slots_hash(t, key, client, &p);
	slots_fetch(t, &p);
	t->expected = (struct expected){*client, key, p.bucket, p.tag};
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

static inline bool slots_try_word(const struct table *t, uint32_t *word)
{
	uint32_t nobody = 0;

	return !__atomic_load_n(word, __ATOMIC_RELAXED) &&
	       __atomic_compare_exchange_n(word, &nobody, t->owner, false, __ATOMIC_ACQUIRE,
					   __ATOMIC_RELAXED);
}

static inline bool slots_try_lock(const struct table *t, uint32_t bucket)
{
	return slots_try_word(t, &t->bucket[bucket].lock);
}

/* A bounded number of tries; false for a bucket is counted as busy. */
bool slots_spin(const struct table *t, uint32_t *word);
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

/* The entry's clock: 1024 us, and round in 50 days. */
static inline uint32_t slots_when(usec_t now)
{
	return (uint32_t)((uint64_t)now >> 10);
}

static inline bool slots_older(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) < 0;
}

/* The place of each ask, under lock. False: one is busy, and nothing is locked. */
static inline __attribute__((always_inline)) void slots_leave(const struct table *t,
							      const struct place *place, unsigned places)
{
	for (unsigned i = 0; i < places; i++)
		if (place[i].locks)
			slots_unlock(t, place[i].bucket);
}

static inline __attribute__((always_inline)) bool slots_enter(const struct table *t,
							      const struct client_id *client,
							      const struct table_ask *ask, unsigned asks,
							      struct place *place)
{
	for (unsigned i = 0; i < asks; i++) {
		struct place *p = &place[i];
		slots_locate(t, ask[i].policy->key, client, p);
		p->locks = true;
		for (unsigned j = 0; j < i; j++)
			if (place[j].bucket == p->bucket)
				p->locks = false;
		if (p->locks && !slots_lock(t, p->bucket)) {
			slots_leave(t, place, i);
			return false;
		}
		slots_find(t, ask[i].policy->key, client, p);
	}
	return true;
}

static inline __attribute__((always_inline)) bool
slots_reach(const struct table *t, const struct client_id *client, uint64_t key, struct place *p)
{
	slots_locate(t, key, client, p);
	if (!slots_lock(t, p->bucket))
		return false;
	slots_find(t, key, client, p);
	return true;
}

/* One moment for the whole decision, not before any that its buckets have seen. */
static inline __attribute__((always_inline)) usec_t
slots_settle_now(const struct table *t, const struct place *place, unsigned asks, usec_t now)
{
	for (unsigned i = 0; i < asks; i++)
		now = slots_now(t, place[i].bucket, now);
	for (unsigned i = 0; asks > 1 && i < asks; i++)
		slots_now(t, place[i].bucket, now);
	return now;
}

/* Ways of the place's bucket that other places of the decision have in hand. */
uint32_t slots_pins(const struct table *t, const struct place *place, unsigned asks, const struct place *p);

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

static inline void slots_put(const struct table *t, struct entry *e, const struct window_rule *rule,
			     uint32_t n, usec_t now)
{
	if (window_wants_chunk(&e->log) && window_pool_dry(&t->store))
		slots_make_room(t, &e->log, now);
	window_note(&t->store, &e->log, rule, slots_chunk_owner(t, e), now, n);
}

/* The journal's resolution: what is older than its tick's end counts, so that nothing expires early. */
static inline struct window_rule slots_journal_rule(usec_t window_us)
{
	struct window_rule r = window_rule(window_us, 0);

	r.tick = (uint32_t)(window_us / r.unit_us / SLOTS_TICKS);
	if (!r.tick)
		r.tick = 1;
	return r;
}

/* How many admissions are to be carried; the log has been expired. */
uint32_t slots_uncarried(struct entry *e);
/* n more are. */
void slots_made(const struct table *t, struct entry *e, uint32_t n);

/* By the memory store: in its window; of a journal it is one more that no store has heard of. */
static inline void slots_note(const struct table *t, struct entry *e, const struct window_rule *rule,
			      uint32_t n, usec_t now)
{
	slots_put(t, e, rule, n, now);
	if (__builtin_expect(e->heard != 0, 0))
		slots_made(t, e, n);
	else
		e->free_at = 0;
}

/* The entry was a window, or has not heard of the last loss: makes it a journal that has. */
void slots_hear(const struct table *t, struct entry *e, usec_t now);

static inline uint32_t slots_losses(const struct table *t)
{
	return __atomic_load_n(&t->shared->journal.losses, __ATOMIC_ACQUIRE);
}

/* Before anything is read from a journal or written to it. */
static inline void slots_journal(const struct table *t, struct entry *e, usec_t now)
{
	if (__builtin_expect(e->heard != slots_losses(t) + 1, 0))
		slots_hear(t, e, now);
}

/* In the journal; n admissions that the store knows of. */
static inline void slots_journal_note(const struct table *t, struct entry *e, uint32_t n, usec_t now)
{
	struct window_rule rule = slots_journal_rule(e->window_us);

	slots_journal(t, e, now);
	if (e->log.tail < (uint64_t)now) /* the newest tick is over: once in 64 */
		window_expire(&t->store, &e->log, &rule, now);
	slots_put(t, e, &rule, n, now);
}

/*
 * The other way, after a change of the store by reload: what the journal holds counts. It stays one while a
 * store speaks of the client, for around the reload workers of both decide, and each admission is to be
 * carried once.
 */
static inline void slots_window(struct entry *e, usec_t now)
{
	if (e->log.used && slots_said_holds(e, now))
		return;
	e->heard = 0;
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
