/* SPDX-License-Identifier: MIT */
#include "ratelimit/window.h"

#include <assert.h>

static_assert(sizeof(struct window_chunk) == 64, "a chunk is a cache line");
static_assert(sizeof(struct window_log) == 32, "the table counts on it");

#define RELAXED __ATOMIC_RELAXED

struct record {
	uint32_t t;
	unsigned count;
};

/* Chunks: a lock-free stack of those returned, and a counter for those never used, whose pages stay
 * untouched. */

static uint32_t take_fresh(const struct window_store *s)
{
	uint32_t fresh = __atomic_load_n(&s->pool->fresh, RELAXED);

	while (fresh < s->pool->chunks)
		if (__atomic_compare_exchange_n(&s->pool->fresh, &fresh, fresh + 1, true, RELAXED, RELAXED))
			return fresh + 1;
	return 0;
}

/* A process killed between the exchange and the store of the owner loses this one chunk and no more. */
static uint32_t take_chunk(const struct window_store *s, uint32_t owner)
{
	uint64_t top = __atomic_load_n(&s->pool->free, __ATOMIC_ACQUIRE);
	uint32_t i;

	while ((i = (uint32_t)top)) {
		/* Another process may have taken chunk i by now: then `next` is nonsense, and the tag has
		 * changed. */
		uint64_t next = __atomic_load_n(&s->chunk[i].next, RELAXED);
		uint64_t tag = (top >> 32) + 1;
		if (__atomic_compare_exchange_n(&s->pool->free, &top, tag << 32 | next, true,
						__ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE))
			break;
	}
	if (!i)
		i = take_fresh(s);
	if (!i)
		return 0;
	__atomic_fetch_add(&s->pool->used, 1, RELAXED); /* first: what the sweep frees was counted */
	__atomic_store_n(&s->chunk[i].owner, owner, RELAXED);
	return i;
}

void window_chunk_free(const struct window_store *s, uint32_t index)
{
	uint64_t top = __atomic_load_n(&s->pool->free, RELAXED), with;

	/* Without an owner first: a crash from here on loses the chunk, where the sweep would free it twice.
	 */
	__atomic_store_n(&s->chunk[index].owner, 0, __ATOMIC_SEQ_CST);
	do {
		__atomic_store_n(&s->chunk[index].next, (uint32_t)top, RELAXED);
		with = ((top >> 32) + 1) << 32 | index;
	} while (!__atomic_compare_exchange_n(&s->pool->free, &top, with, true, __ATOMIC_RELEASE, RELAXED));
	__atomic_fetch_sub(&s->pool->used, 1, RELAXED);
}

bool window_pool_dry(const struct window_store *s)
{
	return !(uint32_t)__atomic_load_n(&s->pool->free, RELAXED) &&
	       __atomic_load_n(&s->pool->fresh, RELAXED) >= s->pool->chunks;
}

static uint32_t next_chunk(const struct window_store *s, uint32_t i)
{
	return __atomic_load_n(&s->chunk[i].next, RELAXED);
}

/* Frees the chain from chunk i up to and with the chunk `last`. */
static void free_chain(const struct window_store *s, uint32_t i, uint32_t last)
{
	while (i) {
		uint32_t next = i == last ? 0 : next_chunk(s, i);
		window_chunk_free(s, i);
		i = next;
	}
}

/* Records */

static bool next_record(const struct window_store *s, const struct window_log *l, struct window_cursor *at,
			struct record *r)
{
	if (!at->chunk || (at->chunk == l->last && at->pos == l->last_pos))
		return false;
	if (at->pos == WINDOW_CHUNK_RECORDS)
		*at = (struct window_cursor){.chunk = next_chunk(s, at->chunk)};
	const struct window_chunk *c = &s->chunk[at->chunk];
	*r = (struct record){c->t[at->pos], c->extra[at->pos] + 1u};
	at->pos++;
	return true;
}

/* Only over records already read: the chunk it moves on to exists. */
static void rewrite_record(const struct window_store *s, struct window_cursor *at, struct record r)
{
	if (at->pos == WINDOW_CHUNK_RECORDS)
		*at = (struct window_cursor){.chunk = next_chunk(s, at->chunk)};
	s->chunk[at->chunk].t[at->pos] = r.t;
	s->chunk[at->chunk].extra[at->pos] = (uint8_t)(r.count - 1);
	at->pos++;
}

bool window_merge(const struct window_store *s, struct window_log *l)
{
	struct window_cursor from = window_begin(l), to = from;
	struct record a, b;
	uint32_t end = l->last;
	uint64_t merges = 0;

	if (l->head == l->last)
		return false;
	bool have = next_record(s, l, &from, &a);
	while (have) {
		bool more = next_record(s, l, &from, &b);
		if (more && a.count + b.count <= WINDOW_RECORD_MAX) {
			b.count += a.count;
			rewrite_record(s, &to, b);
			merges++;
			have = next_record(s, l, &from, &a);
		} else {
			rewrite_record(s, &to, a);
			a = b;
			have = more;
		}
	}
	l->last = to.chunk;
	l->last_pos = (uint8_t)to.pos;
	if (merges)
		__atomic_fetch_add(&s->pool->merges, merges, RELAXED);
	if (l->last == end)
		return false;
	free_chain(s, next_chunk(s, l->last), end);
	return true;
}

static inline void put_record(const struct window_store *s, struct window_log *l, struct record r)
{
	struct window_chunk *c = &s->chunk[l->last];

	c->t[l->last_pos] = r.t;
	c->extra[l->last_pos] = (uint8_t)(r.count - 1);
	l->last_pos++;
}

static bool append_record(const struct window_store *s, struct window_log *l, uint32_t owner, struct record r)
{
	if (!l->last || l->last_pos == WINDOW_CHUNK_RECORDS) {
		uint32_t i = take_chunk(s, owner);
		if (!i)
			return false;
		if (l->last)
			__atomic_store_n(&s->chunk[l->last].next, i, RELAXED);
		else
			l->head = i, l->head_pos = 0;
		l->last = i;
		l->last_pos = 0;
	}
	put_record(s, l, r);
	return true;
}

/* Moves the newest record into the chunks. What finds no place there stays, and will take the next record's
 * time. */
static void store_tail(const struct window_store *s, struct window_log *l, uint32_t owner)
{
	while (l->tail_count) {
		uint32_t n = l->tail_count < WINDOW_RECORD_MAX ? l->tail_count : WINDOW_RECORD_MAX;
		struct record r = {(uint32_t)l->tail, n};
		if (!append_record(s, l, owner, r) &&
		    !(window_merge(s, l) && append_record(s, l, owner, r))) {
			__atomic_fetch_add(&s->pool->merges, 1, RELAXED);
			return;
		}
		l->tail_count -= n;
	}
}

/* The window */

static uint64_t div_up(uint64_t a, uint32_t b)
{
	return (a + b - 1) / b;
}

/* The first moment in the log's resolution that is not before `now`. */
static uint64_t stamp(const struct window_rule *r, usec_t now)
{
	if (r->unit_us == 1 && r->tick == 1)
		return (uint64_t)now;
	return div_up(div_up((uint64_t)now, r->unit_us), r->tick) * r->tick;
}

/* Ages are counted back from the tail, whose time is known in full, so that 32 bits say it all. */
static void drop_head(const struct window_store *s, struct window_log *l, uint64_t gone_age)
{
	while (l->head) {
		const struct window_chunk *c = &s->chunk[l->head];
		unsigned end = l->head == l->last ? l->last_pos : WINDOW_CHUNK_RECORDS;
		for (; l->head_pos < end; l->head_pos++) {
			if ((uint32_t)l->tail - c->t[l->head_pos] < gone_age)
				return;
			l->used -= c->extra[l->head_pos] + 1u;
		}
		uint32_t spent = l->head;
		if (spent == l->last)
			l->head = l->last = 0;
		else
			l->head = next_chunk(s, spent);
		l->head_pos = 0;
		window_chunk_free(s, spent);
	}
}

void window_expire(const struct window_store *s, struct window_log *l, const struct window_rule *r,
		   usec_t now)
{
	if (!l->used || now < r->window_us)
		return;
	uint64_t gone = (uint64_t)(now - r->window_us);
	if (r->unit_us != 1)
		gone /= r->unit_us;
	if (l->tail <= gone)
		window_clear(s, l);
	else if (l->head)
		drop_head(s, l, l->tail - gone);
}

void window_note(const struct window_store *s, struct window_log *l, const struct window_rule *r,
		 uint32_t owner, usec_t now, uint32_t n)
{
	uint64_t t = stamp(r, now);

	if (t > l->tail) { /* else it joins the newest record, which may stand at the end of a tick */
		if (l->last && l->last_pos < WINDOW_CHUNK_RECORDS && l->tail_count <= WINDOW_RECORD_MAX) {
			put_record(s, l,
				   (struct record){(uint32_t)l->tail, l->tail_count}); /* nearly always */
			l->tail_count = 0;
		} else {
			store_tail(s, l, owner);
		}
		l->tail = t;
	}
	l->tail_count += n;
	l->used += n;
}

void window_clear(const struct window_store *s, struct window_log *l)
{
	uint32_t head = l->head, last = l->last;

	*l = (struct window_log){0};
	free_chain(s, head, last);
}

usec_t window_free_at(const struct window_store *s, const struct window_log *l, const struct window_rule *r,
		      uint32_t limit, usec_t now)
{
	struct window_cursor at = window_begin(l);
	struct record rec;
	uint64_t t = l->tail;

	if (!limit)
		return now + r->window_us;
	/* A log longer than the limit frees its next slot when its entry number (length - limit) goes. */
	uint64_t skip = l->used - limit;
	while (next_record(s, l, &at, &rec)) {
		if (skip < rec.count) {
			t = l->tail - (uint32_t)((uint32_t)l->tail - rec.t);
			break;
		}
		skip -= rec.count;
	}
	return (usec_t)(t * r->unit_us) + r->window_us;
}

bool window_next(const struct window_store *s, const struct window_log *l, const struct window_rule *r,
		 struct window_cursor *at, usec_t *when, uint32_t *count)
{
	struct record rec;

	if (at->ended || !l->tail_count)
		return false;
	if (next_record(s, l, at, &rec)) {
		*when = (usec_t)((l->tail - (uint32_t)((uint32_t)l->tail - rec.t)) * r->unit_us);
		*count = rec.count;
		return true;
	}
	*when = (usec_t)(l->tail * r->unit_us);
	*count = l->tail_count;
	return at->ended = true;
}

size_t window_log_bytes(uint32_t limit)
{
	/* With ticks, a record for each of them, and one more for each 256 admissions that crowd in one. */
	uint64_t records =
		limit <= WINDOW_EXACT_LIMIT ? limit : WINDOW_TICKS + 1 + (uint64_t)limit / WINDOW_RECORD_MAX;

	/* The oldest chunk may be all but used up, and the newest just begun. */
	return (size_t)(records / WINDOW_CHUNK_RECORDS + 2) * sizeof(struct window_chunk);
}

long window_check(const struct window_store *s, const struct window_log *l, uint32_t owner, uint8_t *seen)
{
	struct window_cursor at = window_begin(l);
	struct record rec;
	uint64_t sum = l->tail_count;
	uint32_t age = UINT32_MAX, before = 0;
	long chunks = 0;

	if (!l->head != !l->last || l->head_pos >= WINDOW_CHUNK_RECORDS || l->last_pos > WINDOW_CHUNK_RECORDS)
		return -1;
	while (next_record(s, l, &at, &rec)) {
		if (at.chunk != before) {
			if (!at.chunk || at.chunk > s->pool->chunks || seen[at.chunk]++ ||
			    __atomic_load_n(&s->chunk[at.chunk].owner, RELAXED) != owner)
				return -1;
			before = at.chunk;
			chunks++;
		}
		if ((uint32_t)l->tail - rec.t > age)
			return -1;
		age = (uint32_t)l->tail - rec.t;
		sum += rec.count;
	}
	return before == l->last && sum == l->used && (sum == 0) == (l->tail_count == 0) ? chunks : -1;
}
