/* SPDX-License-Identifier: MIT */
#include "ratelimit/journal.h"

#include <assert.h>

#include "ratelimit/slots.h"

#define RELAXED __ATOMIC_RELAXED

/* Where a client stands with this weir's share. */
struct standing {
	struct window_rule rule;
	uint32_t share;
	uint32_t alone; /* admitted here, and not known to the store */
	uint32_t begun; /* this weir's share of what the store knows */
	usec_t begun_until;
};

/* --- decisions --- */

static void read_journal(const struct table *t, struct entry *e, const struct window_rule *rule, usec_t now)
{
	slots_journal(t, e, now);
	window_expire(&t->store, &e->log, rule, now);
}

/* What the store said is void under a new generation; what it was known to have admitted here is not. */
static void begin_share(const struct entry *e, unsigned weirs, usec_t now, uint32_t generation,
			struct standing *s)
{
	if (e->said_at && !slots_older(e->generation, generation)) {
		s->begun = slots_said_holds(e, now) ? policy_share(e->said_used, weirs) : 0;
		s->begun_until = e->said_at + e->window_us;
	} else {
		s->begun = policy_share(e->log.used - s->alone, weirs);
		s->begun_until = window_empty_at(&e->log, &s->rule);
	}
}

static void stand(const struct table *t, const struct place *p, const struct table_ask *ask, unsigned weirs,
		  usec_t now, uint32_t generation, struct standing *s)
{
	*s = (struct standing){.rule = slots_journal_rule(ask->policy->window_us),
			       .share = policy_share(ask->limit, weirs)};
	if (!p->e)
		return;
	read_journal(t, p->e, &s->rule, now);
	s->alone = slots_uncarried(p->e);
	begin_share(p->e, weirs, now, generation, s);
}

static uint32_t used(const struct standing *s)
{
	return s->alone + s->begun;
}

static uint32_t room(const struct standing *s)
{
	return s->share > used(s) ? s->share - used(s) : 0;
}

/* When n of the admissions made here are left of those that count now. */
static usec_t left_at(const struct table *t, const struct entry *e, const struct standing *s, uint32_t n,
		      usec_t now)
{
	return window_free_at(&t->store, &e->log, &s->rule, n + 1, now);
}

/* No room: either enough of what was made here expires first, or all that the store knew of. */
static usec_t frees_at(const struct table *t, const struct entry *e, const struct standing *s, usec_t now)
{
	usec_t by_own = INT64_MAX, by_begun = INT64_MAX;

	if (!s->share)
		return now + s->rule.window_us;
	if (s->begun < s->share)
		by_own = left_at(t, e, s, s->share - s->begun - 1, now);
	if (s->begun)
		by_begun = s->begun_until;
	if (s->begun && s->alone >= s->share && left_at(t, e, s, s->share - 1, now) > by_begun)
		by_begun = left_at(t, e, s, s->share - 1, now);
	return by_own < by_begun ? by_own : by_begun;
}

static void report(const struct table *t, const struct place *p, const struct standing *s, uint32_t limit,
		   usec_t now, usec_t asked, struct window_state *out)
{
	*out = (struct window_state){.limit = limit, .used = used(s), .remaining = room(s)};
	if (used(s)) {
		usec_t own = s->alone ? window_empty_at(&p->e->log, &s->rule) : 0;
		out->reset_us = (own > s->begun_until || !s->begun ? own : s->begun_until) - asked;
	}
	if (!out->remaining)
		out->retry_after_us = (p->e ? frees_at(t, p->e, s, now) : now + s->rule.window_us) - asked;
}

static void note(const struct table *t, struct place *p, const struct table_ask *ask, usec_t now)
{
	p->e->limit = ask->limit;
	p->e->touched = slots_when(now);
	slots_journal_note(t, p->e, 1, now);
	slots_made(t, p->e, 1);
}

enum table_result journal_admit(struct table *t, const struct client_id *client, const struct table_ask *ask,
				unsigned asks, unsigned weirs, usec_t now, uint32_t generation,
				struct window_state out[POLICY_MAX_APPLIED], unsigned *refused_by,
				unsigned *shadow_over)
{
	struct place place[POLICY_MAX_APPLIED];
	struct standing s[POLICY_MAX_APPLIED];
	usec_t asked = now;

	assert(asks <= POLICY_MAX_APPLIED && weirs);
	if (!slots_enter(t, client, ask, asks, place))
		return TABLE_BUSY;
	now = slots_settle_now(t, place, asks, asked);
	*refused_by = *shadow_over = 0;
	for (unsigned i = 0; i < asks; i++) {
		stand(t, &place[i], &ask[i], weirs, now, generation, &s[i]);
		if (!room(&s[i]))
			*(ask[i].policy->shadow ? shadow_over : refused_by) |= 1u << i;
	}
	for (unsigned i = 0; i < asks; i++) {
		struct place *p = &place[i];
		if (!room(&s[i]) && p->e) {
			p->e->refused++;
			p->e->touched = slots_when(now);
		} else if (!*refused_by && room(&s[i])) {
			if (!p->e)
				slots_claim(t, ask[i].policy, client, slots_pins(t, place, asks, p), now, p);
			note(t, p, &ask[i], now);
			s[i].alone++;
		}
		report(t, p, &s[i], ask[i].limit, now, asked, &out[i]);
	}
	slots_leave(t, place, asks);
	return TABLE_OK;
}

enum table_result journal_allow(struct table *t, const struct client_id *client, const struct table_ask *ask,
				unsigned asks, usec_t now)
{
	struct place place[POLICY_MAX_APPLIED];

	if (!slots_enter(t, client, ask, asks, place))
		return TABLE_BUSY;
	now = slots_settle_now(t, place, asks, now);
	for (unsigned i = 0; i < asks; i++) {
		struct window_rule rule = slots_journal_rule(ask[i].policy->window_us);
		if (!place[i].e)
			slots_claim(t, ask[i].policy, client, slots_pins(t, place, asks, &place[i]), now,
				    &place[i]);
		read_journal(t, place[i].e, &rule, now);
		if (place[i].e->log.used < ask[i].limit)
			note(t, &place[i], &ask[i], now);
	}
	slots_leave(t, place, asks);
	return TABLE_OK;
}

enum table_result journal_granted(struct table *t, const struct client_id *client,
				  const struct table_ask *ask, unsigned n, usec_t now)
{
	struct place p;

	if (!slots_reach(t, client, ask->policy->key, &p))
		return TABLE_BUSY;
	now = slots_now(t, p.bucket, now);
	if (!p.e)
		slots_claim(t, ask->policy, client, 0, now, &p);
	p.e->limit = ask->limit;
	p.e->touched = slots_when(now);
	slots_journal_note(t, p.e, n, now);
	slots_unlock(t, p.bucket);
	return TABLE_OK;
}

/* --- one client --- */

/* The client's journal under lock, expired; NULL with *result: there is none, or it is busy. */
static struct entry *open_journal(const struct table *t, const struct client_id *client, uint64_t key,
				  usec_t *now, struct place *p, enum table_result *result)
{
	*result = TABLE_BUSY;
	if (!slots_reach(t, client, key, p))
		return NULL;
	*result = TABLE_OK;
	*now = slots_now(t, p->bucket, *now);
	if (p->e && p->e->heard) {
		struct window_rule rule = slots_journal_rule(p->e->window_us);
		read_journal(t, p->e, &rule, *now);
		return p->e;
	}
	slots_unlock(t, p->bucket);
	return NULL;
}

enum table_result journal_peek(struct table *t, const struct client_id *client, const struct table_ask *ask,
			       usec_t now, uint32_t generation, struct window_state *out)
{
	struct place p;
	usec_t asked = now;
	struct standing s = {.rule = slots_journal_rule(ask->policy->window_us), .share = ask->limit};

	*out = (struct window_state){.limit = ask->limit, .remaining = ask->limit};
	if (!slots_reach(t, client, ask->policy->key, &p))
		return TABLE_BUSY;
	if (p.e) {
		now = slots_now(t, p.bucket, now);
		stand(t, &p, ask, 1, now, generation, &s);
		report(t, &p, &s, ask->limit, now, asked, out);
	}
	slots_unlock(t, p.bucket);
	return TABLE_OK;
}

static void set_carried(const struct table *t, struct entry *e, uint32_t upto, usec_t now)
{
	if (!slots_older(e->carried, upto) || slots_older(e->made, upto))
		return;
	__atomic_fetch_add(&t->shared->journal.carried, upto - e->carried, RELAXED);
	e->carried = upto;
	e->carried_at = slots_when(now);
	if (slots_uncarried(e)) /* more has come since it was collected: the walk may be past it */
		__atomic_fetch_add(&t->shared->journal.wanted, 1, RELAXED);
}

enum table_result journal_settle(struct table *t, const struct client_id *client, const struct table_ask *ask,
				 unsigned n, usec_t now)
{
	struct place p;
	enum table_result result;
	struct entry *e = open_journal(t, client, ask->policy->key, &now, &p, &result);

	if (!e)
		return result;
	uint32_t alone = slots_uncarried(e);
	e->carried += n < alone ? n : alone;
	slots_unlock(t, p.bucket);
	return TABLE_OK;
}

/* --- carrying --- */

bool journal_uncarried(const struct table *t)
{
	const struct journal *j = &t->shared->journal;

	return __atomic_load_n(&j->wanted, RELAXED) != __atomic_load_n(&j->done, RELAXED);
}

static void add_record(struct journal_carry *out, usec_t age, uint32_t n)
{
	struct journal_record *last = out->records ? &out->record[out->records - 1] : NULL;

	if (last && (last->age_us == age || out->records == JOURNAL_RECORDS)) {
		last->count +=
			n; /* too many at once only where the clock of ticks was changed: they count later */
		last->age_us = age;
	} else {
		out->record[out->records++] = (struct journal_record){age, n};
	}
}

/* The newest `alone` of the log, the oldest of them first, as far as they go. */
static uint32_t collect(const struct table *t, const struct entry *e, uint32_t alone, usec_t now,
			struct journal_carry *out)
{
	struct window_rule rule = slots_journal_rule(e->window_us);
	struct window_cursor at = window_begin(&e->log);
	uint32_t skip = e->log.used - alone, total = 0, n;
	usec_t when;

	while (total < JOURNAL_CARRY_MAX && window_next(&t->store, &e->log, &rule, &at, &when, &n)) {
		uint32_t over = n < skip ? n : skip;
		skip -= over;
		n -= over;
		if (n > JOURNAL_CARRY_MAX - total)
			n = JOURNAL_CARRY_MAX - total;
		if (n)
			add_record(out, when < now ? now - when : 0, n);
		total += n;
	}
	return total;
}

enum table_result journal_collect(struct table *t, const struct client_id *client,
				  const struct policy *policy, usec_t now, struct journal_carry *out)
{
	struct place p;
	enum table_result result;
	struct entry *e = open_journal(t, client, policy->key, &now, &p, &result);

	out->records = 0;
	out->more = false;
	if (!e)
		return result;
	uint32_t alone = slots_uncarried(e);
	if (alone) {
		uint32_t total = collect(t, e, alone, now, out);
		out->weir = journal_weir(t);
		out->upto = e->made - (alone - total);
		out->more = total < alone;
	}
	slots_unlock(t, p.bucket);
	return TABLE_OK;
}

enum table_result journal_carried(struct table *t, const struct client_id *client,
				  const struct policy *policy, uint32_t upto, usec_t now)
{
	struct place p;
	enum table_result result;
	struct entry *e = open_journal(t, client, policy->key, &now, &p, &result);

	if (!e)
		return result;
	set_carried(t, e, upto, now);
	slots_unlock(t, p.bucket);
	return TABLE_OK;
}

/* A walker that died leaves its turn after a second. */
bool journal_take_turn(struct table *t, usec_t now, bool mine)
{
	usec_t *word = &t->shared->journal.walked_until, until = __atomic_load_n(word, RELAXED);

	if (!mine && until > now)
		return false;
	return __atomic_compare_exchange_n(word, &until, now + USEC_PER_SEC, false, RELAXED, RELAXED) || mine;
}

void journal_end_turn(struct table *t, usec_t until)
{
	__atomic_store_n(&t->shared->journal.walked_until, until, RELAXED);
}

static unsigned walk_bucket(const struct table *t, uint32_t bucket, usec_t now, struct journal_found *found)
{
	unsigned n = 0;

	now = slots_now(t, bucket, now);
	for (unsigned way = 0; way < SLOTS_WAYS; way++) {
		struct entry *e = slots_entry(t, bucket, way);
		if (!slots_tag(&t->bucket[bucket], way) || !e->heard)
			continue;
		struct window_rule rule = slots_journal_rule(e->window_us);
		read_journal(t, e, &rule, now);
		if (slots_uncarried(e))
			found[n++] = (struct journal_found){e->client, e->key, e->limit};
	}
	return n;
}

unsigned journal_walk(struct table *t, uint32_t *cursor, unsigned steps, usec_t now,
		      struct journal_found *found, unsigned room_left, bool *missed)
{
	unsigned n = 0;

	for (; steps && n + SLOTS_WAYS <= room_left; steps--) {
		uint32_t b = *cursor;
		*cursor = b + 1 == t->buckets ? 0 : b + 1;
		if (!slots_bucket_empty(t, b)) {
			if (slots_lock(t, b)) {
				n += walk_bucket(t, b, now, found + n);
				slots_unlock(t, b);
			} else {
				*missed = true;
			}
		}
		if (!*cursor)
			break;
	}
	return n;
}

uint32_t journal_round(const struct table *t)
{
	return __atomic_load_n(&t->shared->journal.wanted, __ATOMIC_ACQUIRE);
}

void journal_round_done(struct table *t, uint32_t round)
{
	__atomic_store_n(&t->shared->journal.done, round, RELAXED);
}

/* --- loss --- */

bool journal_lost(struct table *t, usec_t since, const uint64_t *slots)
{
	struct journal *j = &t->shared->journal;

	if (!__atomic_load_n(&t->shared->entries, RELAXED)) /* a weir that has just started */
		return true;
	if (!slots_try_word(t, &j->lock) && !slots_spin(t, &j->lock))
		return false;
	uint32_t n = __atomic_load_n(&j->losses, RELAXED);
	struct loss *l = &j->loss[n % SLOTS_LOSSES];
	l->since = since;
	l->all = !slots;
	if (slots)
		memcpy(l->slots, slots, sizeof(l->slots));
	__atomic_store_n(&j->losses, n + 1, __ATOMIC_RELEASE);
	__atomic_fetch_add(&j->wanted, 1, RELAXED);
	__atomic_store_n(&j->lock, 0, __ATOMIC_RELEASE);
	return true;
}

uint64_t journal_weir(const struct table *t)
{
	static const uint8_t name[16] = "this weir's name";

	return siphash13_16(t->hash_key, name);
}
