/* SPDX-License-Identifier: MIT */
#include "ratelimit/local.h"

#include "base/board.h"
#include "ratelimit/journal.h"

#define DENY_FOR USEC_PER_SEC /* on_failure: deny */
#define SPARE_WAYS 8u

void local_init(struct local *l, const struct limiter_setup *s, uint64_t seed)
{
	*l = (struct local){
		.table = s->table,
		.store = s->redis != NULL,
		.on_failure = s->on_failure,
		.fleet = s->fleet,
		.seed = seed,
	};
	l->decided =
		metric_series(METRIC_STORE_DECISIONS, l->store ? "source=\"local\"" : "source=\"memory\"");
	l->spared = metric_series(METRIC_TABLE_BUSY, "");
}

static unsigned live_weirs(const struct local *l)
{
	unsigned live = l->store ? atomic_load_explicit(&board()->fleet_most, memory_order_relaxed) : 1;
	if (!live)
		live = l->fleet;
	return live ? live : 1;
}

/* on_failure: allow and deny */

static void decree(struct ticket *t, bool granted)
{
	struct verdict *v = &t->verdict;
	v->refused_by = v->shadow_over = 0;
	for (unsigned i = 0; i < t->asks; i++) {
		bool refuses = !granted && !t->ask[i].policy->shadow;
		v->state[i] = (struct window_state){.limit = t->ask[i].limit};
		if (refuses) {
			v->refused_by |= 1u << i;
			v->state[i].retry_after_us = v->state[i].reset_us = DENY_FOR;
		} else {
			v->state[i].remaining = t->ask[i].limit;
		}
	}
	v->granted = !v->refused_by;
}

/* The window */

static bool admit(struct local *l, struct ticket *t, usec_t now)
{
	struct verdict *v = &t->verdict;
	unsigned granted;
	if (table_admit(l->table, &t->client, t->ask, t->asks, 1, now, &granted, v->state, &v->refused_by,
			&v->shadow_over) == TABLE_BUSY)
		return false;
	v->granted = granted;
	return true;
}

static bool admit_share(struct local *l, struct ticket *t, usec_t now)
{
	struct verdict *v = &t->verdict;
	uint32_t generation = board_limits_generation();
	if (journal_admit(l->table, &t->client, t->ask, t->asks, live_weirs(l), now, generation, v->state,
			  &v->refused_by, &v->shadow_over) == TABLE_BUSY)
		return false;
	v->granted = !v->refused_by;
	return true;
}

bool local_decide(struct local *l, struct ticket *t, usec_t now)
{
	t->verdict.source = l->store ? SOURCE_LOCAL : SOURCE_MEMORY;
	if (!l->store) {
		if (!admit(l, t, now))
			return false;
	} else if (l->on_failure != LIMITER_LOCAL) {
		decree(t, l->on_failure == LIMITER_ALLOW);
		if (l->on_failure == LIMITER_ALLOW) /* a busy bucket: it goes without the note */
			journal_allow(l->table, &t->client, t->ask, t->asks, now);
	} else if (!admit_share(l, t, now)) {
		return false;
	}
	metric_add(l->decided, 1);
	return true;
}

/* The spare counters */

static struct local_spare *find_spare(struct local *l, uint64_t who, usec_t window, usec_t now)
{
	struct local_spare *oldest = NULL;
	who += !who;
	for (unsigned i = 0; i < SPARE_WAYS; i++) {
		struct local_spare *s = &l->spare[(who + i) % LOCAL_SPARES];
		if (s->who == who) {
			oldest = s;
			break;
		}
		if (!oldest || s->since < oldest->since)
			oldest = s;
	}
	if (oldest->who != who || oldest->since + window <= now)
		*oldest = (struct local_spare){.who = who, .since = now};
	return oldest;
}

void local_spare(struct local *l, struct ticket *t, usec_t now)
{
	struct local_spare *spare[POLICY_MAX_APPLIED];
	struct verdict *v = &t->verdict;
	unsigned workers = atomic_load_explicit(&board()->workers, memory_order_relaxed);
	unsigned live = live_weirs(l);
	v->source = l->store ? SOURCE_LOCAL : SOURCE_MEMORY;
	v->refused_by = v->shadow_over = 0;
	for (unsigned i = 0; i < t->asks; i++) {
		const struct policy *p = t->ask[i].policy;
		uint32_t part = policy_share(policy_share(t->ask[i].limit, live), workers ? workers : 1);
		spare[i] = find_spare(l, local_hash(l->seed, &t->client, p->key), p->window_us, now);
		usec_t left = spare[i]->since + p->window_us - now;
		uint32_t room = part > spare[i]->used ? part - spare[i]->used : 0;
		v->state[i] =
			(struct window_state){t->ask[i].limit, spare[i]->used, room, room ? 0 : left, left};
		if (!room)
			*(p->shadow ? &v->shadow_over : &v->refused_by) |= 1u << i;
	}
	v->granted = !v->refused_by;
	for (unsigned i = 0; v->granted && i < t->asks; i++)
		if (v->state[i].remaining) {
			v->state[i].used = ++spare[i]->used;
			v->state[i].remaining--;
		}
	metric_add(l->decided, 1);
	metric_add(l->spared, 1);
}
