/* SPDX-License-Identifier: MIT */
#include "ratelimit/table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ratelimit/slots.h"

#define FILL 10u		  /* entries that are planned for in a bucket of SLOTS_WAYS */
#define MAGIC 0x77656972746c6231u /* "weirtlb1": changes with the layout */

#define RELAXED __ATOMIC_RELAXED
#define INLINE inline __attribute__((always_inline))

/* Layout */

static uint64_t buckets_for(const struct table_size *size)
{
	return ((uint64_t)size->clients + FILL - 1) / FILL;
}

size_t table_bytes(const struct table_size *size)
{
	uint64_t buckets = buckets_for(size), chunks = size->log_bytes / sizeof(struct window_chunk);

	if (!buckets || buckets > INT32_MAX / SLOTS_WAYS || chunks >= INT32_MAX)
		return 0;
	return sizeof(struct shared) + buckets * (sizeof(struct bucket) + SLOTS_WAYS * sizeof(struct entry)) +
	       (chunks + 1) * sizeof(struct window_chunk);
}

int table_format(void *mem, size_t bytes, const struct table_size *size, const uint8_t hash_key[16])
{
	struct shared *s = mem;
	size_t need = table_bytes(size);

	if (!need || bytes < need || (uintptr_t)mem % 64)
		return -1;
	s->buckets = (uint32_t)buckets_for(size);
	s->chunks = s->pool.chunks = (uint32_t)(size->log_bytes / sizeof(struct window_chunk));
	memcpy(s->hash_key, hash_key, sizeof(s->hash_key));
	__atomic_store_n(&s->magic, MAGIC, __ATOMIC_RELEASE);
	return 0;
}

static void view(struct table *t, void *mem, uint16_t owner)
{
	struct shared *s = mem;

	t->shared = s;
	t->bucket = (struct bucket *)(void *)(s + 1);
	t->entry = (struct entry *)(void *)(t->bucket + s->buckets);
	t->store.pool = &s->pool;
	t->store.chunk = (struct window_chunk *)(void *)(t->entry + (size_t)s->buckets * SLOTS_WAYS);
	t->hash_key = siphash_key(s->hash_key);
	t->buckets = s->buckets;
	t->owner = owner;
	t->decided_at = 0;
	/* Nobody in particular, but his place must be right. Key 1: it is looked up. */
	t->expected = (struct expected){.key = 1};
	slots_expect(t, 0, &(struct client_id){{0}});
}

struct table *table_attach(void *mem, size_t bytes, uint16_t owner)
{
	const struct shared *s = mem;

	if (!owner || bytes < sizeof(*s) || __atomic_load_n(&s->magic, __ATOMIC_ACQUIRE) != MAGIC)
		return NULL;
	struct table_size size = {s->buckets * FILL, (size_t)s->chunks * sizeof(struct window_chunk)};
	if (bytes < table_bytes(&size))
		return NULL;
	struct table *t = malloc(sizeof(*t));
	if (t)
		view(t, mem, owner);
	return t;
}

void table_detach(struct table *t)
{
	free(t);
}

/* Decisions */

/* A log of just its limit loses nothing before the moment that was worked out when it last refused. */
static inline usec_t full_until(const struct entry *e, uint32_t limit)
{
	return !e->heard && e->log.used == limit && e->limit == limit ? e->free_at : 0;
}

/* How many of n requests all enforcing policies admit. */
static INLINE unsigned measure(const struct table *t, const struct table_ask *ask, unsigned asks,
			       struct place *place, unsigned n, usec_t now)
{
	for (unsigned i = 0; i < asks; i++) {
		struct place *p = &place[i];
		p->rule = window_rule(ask[i].policy->window_us, ask[i].limit);
		p->remaining = ask[i].limit;
		if (p->e && full_until(p->e, ask[i].limit) > now) {
			p->remaining = 0;
		} else if (p->e) {
			window_expire(&t->store, &p->e->log, &p->rule, now);
			p->remaining = window_remaining(&p->e->log, ask[i].limit);
		}
		if (!ask[i].policy->shadow && p->remaining < n)
			n = p->remaining;
	}
	return n;
}

static INLINE void spend(const struct table *t, const struct client_id *client, const struct table_ask *ask,
			 unsigned asks, struct place *place, unsigned n, unsigned granted, usec_t now)
{
	for (unsigned i = 0; i < asks; i++) {
		struct place *p = &place[i];
		unsigned take = granted < p->remaining ? granted : p->remaining;
		if (!p->e && !take)
			continue;
		if (!p->e)
			slots_claim(t, ask[i].policy, client, slots_pins(t, place, asks, p), now, p);
		p->e->touched = slots_when(now);
		if (p->e->heard)
			slots_window(p->e, now);
		else if (p->e->limit != ask[i].limit)
			p->e->free_at = 0;
		p->e->limit = ask[i].limit;
		if (take)
			slots_note(t, p->e, &p->rule, take, now);
		if (p->remaining <= granted)
			p->e->refused += n - take;
	}
}

/* Where the client stands. Lengths of time count from the caller's own time, `asked`. */
static INLINE void report(const struct table *t, const struct place *p, uint32_t limit, usec_t now,
			  usec_t asked, struct window_state *out)
{
	struct entry *e = p->e;
	uint32_t used = e ? e->log.used : 0;

	*out = (struct window_state){
		.limit = limit, .used = used, .remaining = limit > used ? limit - used : 0};
	if (used)
		out->reset_us = window_empty_at(&e->log, &p->rule) - asked;
	if (out->remaining)
		return;
	usec_t free_at = used && e->limit == limit && !e->heard ? e->free_at : 0;
	if (!limit)
		free_at = now + p->rule.window_us;
	else if (!free_at)
		free_at = window_free_at(&t->store, &e->log, &p->rule, limit, now);
	if (limit && e->limit == limit && !e->heard)
		e->free_at = free_at;
	out->retry_after_us = free_at - asked;
}

/* The way of a client that goes on while it is refused under one policy: nothing has changed but the time. */
static INLINE bool flooded(const struct place *p, const struct table_ask *ask, usec_t now)
{
	return p->e && full_until(p->e, ask->limit) > now && !ask->policy->shadow;
}

static INLINE void refuse_again(const struct place *p, const struct table_ask *ask, unsigned n, usec_t now,
				usec_t asked, struct window_state *out)
{
	struct window_rule rule = window_rule(ask->policy->window_us, ask->limit);

	p->e->touched = slots_when(now);
	p->e->refused += n;
	*out = (struct window_state){.limit = ask->limit,
				     .used = ask->limit,
				     .retry_after_us = p->e->free_at - asked,
				     .reset_us = window_empty_at(&p->e->log, &rule) - asked};
}

static INLINE enum table_result decide(struct table *t, const struct client_id *client,
				       const struct table_ask *ask, unsigned asks, unsigned n, usec_t asked,
				       bool spending, unsigned *granted, struct window_state *out,
				       unsigned *refused_by, unsigned *shadow_over)
{
	struct place place[POLICY_MAX_APPLIED];

	assert(asks <= POLICY_MAX_APPLIED && n >= 1 && n <= TABLE_MAX_N);
	if (!slots_enter(t, client, ask, asks, place))
		return TABLE_BUSY;
	usec_t now = slots_settle_now(t, place, asks, asked);
	if (asks == 1 && spending && flooded(&place[0], ask, now)) {
		refuse_again(&place[0], ask, n, now, asked, out);
		slots_unlock(t, place[0].bucket);
		*granted = *shadow_over = 0;
		*refused_by = 1;
		t->decided_at = now;
		return TABLE_OK;
	}
	unsigned g = measure(t, ask, asks, place, n, now);
	*refused_by = *shadow_over = 0;
	for (unsigned i = 0; i < asks; i++)
		if (place[i].remaining <= g && place[i].remaining < n)
			*(ask[i].policy->shadow ? shadow_over : refused_by) |= 1u << i;
	if (spending)
		spend(t, client, ask, asks, place, n, g, now);
	for (unsigned i = 0; i < asks; i++)
		report(t, &place[i], ask[i].limit, now, asked, &out[i]);
	slots_leave(t, place, asks);
	*granted = g;
	t->decided_at = now;
	return TABLE_OK;
}

/* Nearly every question is about one policy: that case is compiled on its own, without the loops. */
enum table_result table_admit(struct table *t, const struct client_id *client, const struct table_ask *ask,
			      unsigned asks, unsigned n, usec_t now, unsigned *granted,
			      struct window_state out[POLICY_MAX_APPLIED], unsigned *refused_by,
			      unsigned *shadow_over)
{
	if (asks == 1)
		return decide(t, client, ask, 1, n, now, true, granted, out, refused_by, shadow_over);
	return decide(t, client, ask, asks, n, now, true, granted, out, refused_by, shadow_over);
}

enum table_result table_peek(struct table *t, const struct client_id *client, const struct table_ask *ask,
			     unsigned asks, unsigned n, usec_t now, unsigned *granted,
			     struct window_state out[POLICY_MAX_APPLIED], unsigned *refused_by,
			     unsigned *shadow_over)
{
	return decide(t, client, ask, asks, n, now, false, granted, out, refused_by, shadow_over);
}

void table_expect(struct table *t, const struct client_id *client, uint64_t policy_key)
{
	slots_expect(t, policy_key, client);
}

usec_t table_decided_at(const struct table *t)
{
	return t->decided_at;
}

/* What the store said */

static INLINE void recall(const struct entry *e, usec_t now, usec_t refuse_until, struct window_state *last)
{
	*last = (struct window_state){.limit = e->said_limit, .used = e->said_used};
	last->remaining = e->said_limit > e->said_used ? e->said_limit - e->said_used : 0;
	last->retry_after_us = refuse_until ? refuse_until - now : 0;
	last->reset_us = e->said_empty_at > now ? e->said_empty_at - now : 0;
}

enum table_result table_refusal_get(struct table *t, const struct client_id *client,
				    const struct table_ask *ask, usec_t now, uint32_t generation,
				    usec_t *refuse_until, struct window_state *last)
{
	struct place p;

	*refuse_until = 0;
	if (!slots_reach(t, client, ask->policy->key, &p)) {
		*last = (struct window_state){0};
		return TABLE_BUSY;
	}
	struct entry *e = p.e;
	if (e && !slots_older(e->generation, generation) && slots_said_holds(e, now)) {
		usec_t until = e->refuse_until > now && e->said_limit == ask->limit ? e->refuse_until : 0;
		if (until) {
			e->refused++;
			e->touched = slots_when(now);
		}
		recall(e, now, until, last);
		*refuse_until = until;
	} else {
		*last = (struct window_state){0};
	}
	slots_unlock(t, p.bucket);
	return TABLE_OK;
}

/* Under the same limit a slot never frees sooner than any answer said, so the longest refusal stands. */
static void keep_said(struct entry *e, uint32_t limit, uint32_t generation, usec_t refuse_until,
		      const struct window_state *state, usec_t said_at)
{
	if (slots_older(e->generation, generation) || e->said_limit != limit)
		e->refuse_until = e->said_at = 0;
	e->generation = generation;
	if (refuse_until > e->refuse_until)
		e->refuse_until = refuse_until;
	if (said_at < e->said_at)
		return;
	e->said_at = said_at;
	e->said_used = state->used;
	e->said_limit = limit;
	e->said_empty_at = said_at + state->reset_us;
}

enum table_result table_refusal_set(struct table *t, const struct client_id *client,
				    const struct table_ask *ask, usec_t now, uint32_t generation,
				    unsigned admitted, unsigned refused, usec_t refuse_until,
				    const struct window_state *state, usec_t said_at)
{
	usec_t longest = said_at + ask->policy->window_us; /* no slot takes longer to free */
	struct place p;

	if (!slots_reach(t, client, ask->policy->key, &p))
		return TABLE_BUSY;
	now = slots_now(t, p.bucket, now);
	if (!p.e) {
		slots_claim(t, ask->policy, client, 0, now, &p);
		p.e->generation = generation;
	}
	if (!slots_older(generation, p.e->generation)) {
		keep_said(p.e, ask->limit, generation, refuse_until < longest ? refuse_until : longest, state,
			  said_at);
		p.e->touched = slots_when(now);
	}
	p.e->refused += refused;
	if (admitted) {
		p.e->limit = ask->limit;
		slots_journal_note(t, p.e, admitted, now);
	}
	slots_unlock(t, p.bucket);
	return TABLE_OK;
}

/* Commands and upkeep */

static void forget_in_bucket(const struct table *t, uint32_t bucket, const struct client_id *client)
{
	for (unsigned way = 0; way < SLOTS_WAYS; way++)
		if (slots_tag(&t->bucket[bucket], way) &&
		    !memcmp(&slots_entry(t, bucket, way)->client, client, sizeof(*client)))
			slots_drop(t, bucket, way);
}

enum table_result table_forget(struct table *t, const struct client_id *client, const struct policy *policy)
{
	enum table_result result = TABLE_OK;
	struct place p;

	if (policy) {
		if (!slots_reach(t, client, policy->key, &p))
			return TABLE_BUSY;
		if (p.e)
			slots_drop(t, p.bucket, slots_way(t, p.bucket, p.e));
		slots_unlock(t, p.bucket);
		return TABLE_OK;
	}
	for (uint32_t b = 0; b < t->buckets; b++) {
		if (slots_bucket_empty(t, b))
			continue;
		if (!slots_lock(t, b)) {
			result = TABLE_BUSY;
			continue;
		}
		forget_in_bucket(t, b, client);
		slots_unlock(t, b);
	}
	return result;
}

static bool busier(const struct table_top_row *a, const struct table_top_row *b)
{
	return a->used != b->used ? a->used > b->used : a->refused > b->refused;
}

/* Rows stay sorted; most entries of a large table stop at the first comparison. */
static void rank(struct table_top_row *rows, unsigned n, unsigned *count, const struct table_top_row *row)
{
	unsigned at = *count;

	if (at == n) {
		if (!n || !busier(row, &rows[n - 1]))
			return;
		at--;
	} else {
		++*count;
	}
	for (; at && busier(row, &rows[at - 1]); at--)
		rows[at] = rows[at - 1];
	rows[at] = *row;
}

void table_top(struct table *t, unsigned n, usec_t now, struct table_top_row *rows, unsigned *count)
{
	*count = 0;
	for (uint32_t b = 0; b < t->buckets; b++) {
		if (slots_bucket_empty(t, b) || !slots_try_lock(t, b))
			continue;
		slots_expire(t, b, now);
		for (unsigned way = 0; way < SLOTS_WAYS; way++) {
			const struct entry *e = slots_entry(t, b, way);
			if (!slots_tag(&t->bucket[b], way))
				continue;
			struct table_top_row row = {.client = e->client,
						    .policy_key = e->key,
						    .window_us = e->window_us,
						    .limit = e->limit,
						    .used = e->log.used,
						    .refused = e->refused};
			if (slots_said_holds(e, now) && e->said_used >= row.used) {
				row.used = e->said_used;
				row.limit = e->said_limit;
			}
			rank(rows, n, count, &row);
		}
		slots_unlock(t, b);
	}
}

void table_stats_read(const struct table *t, struct table_stats *out)
{
	const struct shared *s = t->shared;

	*out = (struct table_stats){
		.slots = (uint64_t)t->buckets * SLOTS_WAYS,
		.entries = __atomic_load_n(&s->entries, RELAXED),
		.chunks = s->chunks,
		.chunks_used = __atomic_load_n(&s->pool.used, RELAXED),
		.evictions = __atomic_load_n(&s->evictions, RELAXED),
		.merges = __atomic_load_n(&s->pool.merges, RELAXED),
		.busy = __atomic_load_n(&s->busy, RELAXED),
		.recovered = __atomic_load_n(&s->recovered, RELAXED),
		.carried = __atomic_load_n(&s->journal.carried, RELAXED),
		.replayed = __atomic_load_n(&s->journal.replayed, RELAXED),
	};
}

void table_sweep(struct table *t, usec_t now, unsigned buckets)
{
	uint32_t steps = buckets < t->buckets ? buckets : t->buckets;

	slots_sweep(t, steps, steps, now);
}

unsigned table_recover(void *mem, uint16_t owner)
{
	struct table t;

	view(&t, mem, owner);
	return owner ? slots_recover(&t) : 0;
}

unsigned table_locked_by(void *mem, uint16_t owner)
{
	struct table t;

	view(&t, mem, owner);
	return slots_locked(&t);
}

long table_check(struct table *t)
{
	return slots_check(t);
}
