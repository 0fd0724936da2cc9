/* SPDX-License-Identifier: MIT */
#include "ratelimit/slots.h"

#include "ratelimit/redis_script.h"
#include "ratelimit/redis_slots.h"

#include <assert.h>
#include <sched.h>
#include <stdlib.h>

#define SPINS 100u	/* tries for a lock before and after giving the CPU away once */
#define ROOM_BUCKETS 8u /* searched when the pool is dry */
#define ROOM_STEPS 64u	/* and so many looked at to find them */

#define RELAXED __ATOMIC_RELAXED

static_assert(sizeof(struct entry) == 128, "two cache lines, and the sizes in table.h");
static_assert(sizeof(struct bucket) == 64, "a cache line");
static_assert(sizeof(struct shared) % 64 == 0, "what follows stays aligned");

/* Locks */

static inline void pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ __volatile__("yield");
#endif
}

bool slots_spin(const struct table *t, uint32_t *word)
{
	for (unsigned spins = 0; spins < 2 * SPINS; spins++) {
		if (spins == SPINS)
			sched_yield(); /* the holder may be waiting for this very CPU */
		pause_cpu();
		if (slots_try_word(t, word))
			return true;
	}
	return false;
}

bool slots_spin_lock(const struct table *t, uint32_t bucket)
{
	if (slots_spin(t, &t->bucket[bucket].lock))
		return true;
	__atomic_fetch_add(&t->shared->busy, 1, RELAXED);
	return false;
}

/* Entries */

static void set_tag(struct bucket *b, unsigned way, uint16_t tag)
{
	uint64_t word = b->tags[way / 4] & ~((uint64_t)0xffff << way % 4 * 16);

	__atomic_store_n(&b->tags[way / 4], word | (uint64_t)tag << way % 4 * 16, RELAXED);
}

bool slots_bucket_empty(const struct table *t, uint32_t bucket)
{
	uint64_t any = 0;

	for (unsigned w = 0; w < SLOTS_WAYS / 4; w++)
		any |= __atomic_load_n(&t->bucket[bucket].tags[w], RELAXED);
	return !any;
}

void slots_drop(const struct table *t, uint32_t bucket, unsigned way)
{
	window_clear(&t->store, &slots_entry(t, bucket, way)->log);
	set_tag(&t->bucket[bucket], way, 0);
	__atomic_fetch_sub(&t->shared->entries, 1, RELAXED);
}

/* Expires the log, and says whether the entry still counts for anything. */
static bool refresh(const struct table *t, struct entry *e, usec_t now)
{
	struct window_rule rule =
		e->heard ? slots_journal_rule(e->window_us) : window_rule(e->window_us, e->limit);

	window_expire(&t->store, &e->log, &rule, now);
	return e->log.used || e->refuse_until > now || slots_said_holds(e, now);
}

void slots_expire(const struct table *t, uint32_t bucket, usec_t now)
{
	now = slots_now(t, bucket, now);
	for (unsigned way = 0; way < SLOTS_WAYS; way++)
		if (slots_tag(&t->bucket[bucket], way) && !refresh(t, slots_entry(t, bucket, way), now))
			slots_drop(t, bucket, way);
}

/* Thousandths of the limit that are used, by log or store, whichever says more; to be at the limit beats all.
 */
static uint64_t fullness(const struct entry *e, usec_t now)
{
	uint64_t here = e->limit ? (uint64_t)e->log.used * 1000 / e->limit : 0;
	uint64_t there = 0;

	if (e->refuse_until > now)
		return UINT64_MAX;
	if (slots_said_holds(e, now) && e->said_limit)
		there = (uint64_t)e->said_used * 1000 / e->said_limit;
	here = here > there ? here : there;
	return here >= 1000 ? UINT64_MAX : here;
}

/* Frees a way of a full bucket. Those that the decision under way has in hand (`pins`) stay: 3 of 16 at most.
 */
static unsigned evict(const struct table *t, uint32_t bucket, uint32_t pins, usec_t now)
{
	uint64_t least = 0;
	struct entry *victim = NULL;

	for (unsigned way = 0; way < SLOTS_WAYS; way++) {
		struct entry *e = slots_entry(t, bucket, way);
		if (pins >> way & 1)
			continue;
		if (!refresh(t, e, now)) {
			slots_drop(t, bucket, way);
			return way;
		}
		uint64_t full = fullness(e, now);
		if (!victim || full < least || (full == least && slots_older(e->touched, victim->touched))) {
			victim = e;
			least = full;
		}
	}
	slots_drop(t, bucket, slots_way(t, bucket, victim));
	__atomic_fetch_add(&t->shared->evictions, 1, RELAXED);
	return slots_way(t, bucket, victim);
}

void slots_claim(const struct table *t, const struct policy *policy, const struct client_id *client,
		 uint32_t pins, usec_t now, struct place *p)
{
	struct bucket *b = &t->bucket[p->bucket];
	unsigned way = slots_first_way(p->tag), tried = 0;

	while (tried < SLOTS_WAYS && slots_tag(b, way)) {
		way = (way + 1) % SLOTS_WAYS;
		tried++;
	}
	if (tried == SLOTS_WAYS)
		way = evict(t, p->bucket, pins, now);
	p->e = slots_entry(t, p->bucket, way);
	*p->e = (struct entry){.key = policy->key,
			       .client = *client,
			       .window_us = policy->window_us,
			       .touched = slots_when(now)};
	/* Counted first, and in drop last: a crash in between makes the count too high by one, never
	 * negative. */
	__atomic_fetch_add(&t->shared->entries, 1, RELAXED);
	set_tag(b, way, p->tag);
}

uint32_t slots_pins(const struct table *t, const struct place *place, unsigned asks, const struct place *p)
{
	uint32_t pins = 0;

	for (unsigned i = 0; i < asks; i++)
		if (place[i].e && place[i].bucket == p->bucket)
			pins |= 1u << slots_way(t, p->bucket, place[i].e);
	return pins;
}

/* Journals */

uint32_t slots_uncarried(struct entry *e)
{
	if (e->made - e->carried > e->log.used)
		e->carried = e->made - e->log.used; /* what has expired need not be carried */
	return e->made - e->carried;
}

void slots_made(const struct table *t, struct entry *e, uint32_t n)
{
	bool first = e->made == e->carried;

	e->made += n;
	if (first && n)
		__atomic_fetch_add(&t->shared->journal.wanted, 1, RELAXED);
}

/*
 * Numbers begin at one that rises with time, so that what the store's tally holds of an entry that was here
 * before is behind all of this one's: a million a window.
 */
static void begin_journal(const struct table *t, struct entry *e, usec_t now)
{
	usec_t step = e->window_us >> 20;

	e->made = e->carried = (uint32_t)(now / (step ? step : 1));
	e->carried_at = slots_when(now);
	slots_made(t, e, e->log.used); /* of a window of the memory store: no store has heard of these */
}

static bool concerns(const struct loss *l, const struct client_id *client)
{
	char text[REDIS_CLIENT_ROOM];

	if (l->all)
		return true;
	unsigned slot = redis_slot((struct str){text, redis_script_client(text, client)});
	return l->slots[slot / 64] >> slot % 64 & 1;
}

/* The earliest moment after which the losses number `from` and up took away what the store was told. */
static usec_t lost_since(const struct table *t, const struct client_id *client, uint32_t from, uint32_t to)
{
	const struct journal *j = &t->shared->journal;
	usec_t since = to - from > SLOTS_LOSSES ? 0 : INT64_MAX;

	for (; from != to && since; from++) {
		const struct loss *l = &j->loss[from % SLOTS_LOSSES];
		if (l->since < since && concerns(l, client))
			since = l->since;
	}
	return since;
}

/* A carry that was lost may hold admissions of any age. */
static bool carried_after(const struct entry *e, usec_t since, usec_t now)
{
	return slots_when(now) - e->carried_at <= slots_when(e->window_us) &&
	       !slots_older(e->carried_at, slots_when(since));
}

static void lose(const struct table *t, struct entry *e, const struct window_rule *rule, usec_t since,
		 usec_t now)
{
	struct window_cursor at = window_begin(&e->log);
	uint32_t lost = 0, uncarried = slots_uncarried(e), n;
	usec_t when;

	while (window_next(&t->store, &e->log, rule, &at, &when, &n))
		lost += when > since ? n : 0;
	if (since != INT64_MAX && carried_after(e, since, now))
		lost = e->log.used;
	if (lost <= uncarried)
		return;
	slots_made(t, e, lost - uncarried);
	__atomic_fetch_add(&t->shared->journal.replayed, lost - uncarried, RELAXED);
}

void slots_hear(const struct table *t, struct entry *e, usec_t now)
{
	struct window_rule rule = slots_journal_rule(e->window_us);
	uint32_t losses = slots_losses(t);

	window_expire(&t->store, &e->log, &rule, now);
	if (!e->heard)
		begin_journal(t, e, now);
	else
		lose(t, e, &rule, lost_since(t, &e->client, e->heard - 1, losses), now);
	e->heard = losses + 1;
}

/* Room in the pool */

static void merge_bucket(const struct table *t, uint32_t bucket)
{
	for (unsigned way = 0; way < SLOTS_WAYS && window_pool_dry(&t->store); way++) {
		struct entry *e = slots_entry(t, bucket, way);
		if (slots_tag(&t->bucket[bucket], way) && window_merge(&t->store, &e->log) && !e->heard)
			e->free_at = 0;
	}
}

static void work_round(const struct table *t, uint32_t from, uint32_t steps, uint32_t buckets, bool merge,
		       usec_t now)
{
	for (uint32_t i = 0; i < steps && buckets; i++) {
		uint32_t b = (uint32_t)(((uint64_t)from + i) % t->buckets);
		if (slots_bucket_empty(t, b) || !slots_try_lock(t, b))
			continue;
		if (merge)
			merge_bucket(t, b);
		else
			slots_expire(t, b, now);
		slots_unlock(t, b);
		buckets--;
	}
}

/* A log of two chunks or more merges its own records first, in window.c; one that has less asks its
 * neighbours to. */
void slots_make_room(const struct table *t, const struct window_log *l, usec_t now)
{
	uint32_t from = __atomic_fetch_add(&t->shared->hand, ROOM_STEPS, RELAXED);

	work_round(t, from, ROOM_STEPS, ROOM_BUCKETS, false, now);
	if (l->head == l->last && window_pool_dry(&t->store))
		work_round(t, from, ROOM_STEPS, ROOM_BUCKETS, true, now);
}

void slots_sweep(const struct table *t, uint32_t steps, uint32_t buckets, usec_t now)
{
	work_round(t, __atomic_fetch_add(&t->shared->hand, steps, RELAXED), steps, buckets, false, now);
}

/* After a crash */

static bool held(const struct table *t, uint32_t bucket)
{
	return __atomic_load_n(&t->bucket[bucket].lock, __ATOMIC_ACQUIRE) == t->owner;
}

unsigned slots_locked(const struct table *t)
{
	unsigned n = 0;

	for (uint32_t b = 0; b < t->buckets; b++)
		n += held(t, b);
	return n;
}

/* The chains of a bucket left in the middle of a change cannot be trusted; the owner written on each chunk
 * can. */
static void free_orphans(const struct table *t)
{
	uint32_t fresh = __atomic_load_n(&t->store.pool->fresh, RELAXED);

	for (uint32_t i = 1; i <= fresh; i++) {
		uint32_t entry = __atomic_load_n(&t->store.chunk[i].owner, RELAXED);
		if (entry && held(t, (entry - 1) / SLOTS_WAYS))
			window_chunk_free(&t->store, i);
	}
}

static void wipe(const struct table *t, uint32_t bucket)
{
	unsigned entries = 0;

	for (unsigned way = 0; way < SLOTS_WAYS; way++) {
		entries += slots_tag(&t->bucket[bucket], way) != 0;
		set_tag(&t->bucket[bucket], way, 0);
	}
	memset(slots_entry(t, bucket, 0), 0, SLOTS_WAYS * sizeof(struct entry));
	__atomic_fetch_sub(&t->shared->entries, entries, RELAXED);
	__atomic_fetch_add(&t->shared->recovered, 1, RELAXED);
}

unsigned slots_recover(const struct table *t)
{
	unsigned n = slots_locked(t);
	uint32_t owner = t->owner;

	__atomic_compare_exchange_n(&t->shared->journal.lock, &owner, 0, false, __ATOMIC_RELEASE, RELAXED);
	if (!n)
		return 0;
	free_orphans(t);
	for (uint32_t b = 0; b < t->buckets; b++) {
		if (held(t, b)) {
			wipe(t, b);
			slots_unlock(t, b);
		}
	}
	return n;
}

/* The number of free chunks, or -1. */
static long check_free(const struct table *t, uint8_t *seen)
{
	const struct window_pool *pool = t->store.pool;
	long n = 0;

	for (uint32_t i = (uint32_t)pool->free; i; i = t->store.chunk[i].next, n++)
		if (i > pool->fresh || seen[i]++ || t->store.chunk[i].owner)
			return -1;
	return n;
}

/* The number of chunks in the bucket's logs, or -1. */
static long check_bucket(const struct table *t, uint32_t b, uint8_t *seen)
{
	long chunks = 0;

	if (t->bucket[b].lock)
		return -1;
	for (unsigned way = 0; way < SLOTS_WAYS; way++) {
		const struct entry *e = slots_entry(t, b, way);
		struct place p = {.e = NULL};
		if (!slots_tag(&t->bucket[b], way))
			continue;
		slots_hash(t, e->key, &e->client, &p); /* and not what is remembered of it */
		slots_find(t, e->key, &e->client, &p);
		long here = window_check(&t->store, &e->log, slots_chunk_owner(t, e), seen);
		if (p.bucket != b || p.e != e || here < 0)
			return -1;
		chunks += here;
	}
	return chunks;
}

long slots_check(const struct table *t)
{
	uint8_t *seen = calloc((size_t)t->shared->chunks + 1, 1);
	long known = seen ? check_free(t, seen) : -1;

	for (uint32_t b = 0; known >= 0 && b < t->buckets; b++) {
		long here = check_bucket(t, b, seen);
		known = here < 0 ? -1 : known + here;
	}
	free(seen);
	return known < 0 ? -1 : (long)t->store.pool->fresh - known;
}
