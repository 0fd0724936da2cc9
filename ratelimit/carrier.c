/* SPDX-License-Identifier: MIT */
#include "ratelimit/carrier.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/board.h"
#include "ratelimit/store_redis.h"

#define FLIGHTS 64u /* questions of its own at once */
#define STEPS 512u  /* buckets in a walk's tick */
#define WALK_TICK (5 * USEC_PER_MSEC)
#define IDLE_TICK (200 * USEC_PER_MSEC)
#define PAUSE_MAX USEC_PER_SEC /* between walks that leave something behind; doubled up to it */
#define PATIENCE USEC_PER_SEC  /* with an answer */

struct flight {
	struct store_question question;
	struct flight *next; /* free */
	struct carrier *carrier;
	struct client_id client;
	struct table_ask ask;
	struct journal_carry load;
	uint32_t generation; /* of the limits, at sending */
};

struct carrier {
	struct loop *loop;
	struct table *table;
	struct store_redis *store;
	const struct policy **policy;
	unsigned policies;

	bool walking; /* it is this worker's turn */
	bool walked;  /* all of the table */
	bool missed;  /* something was left behind */
	usec_t pause; /* after such a walk */
	uint32_t cursor, round;
	unsigned flying;
	struct flight *flights, *free; /* NULL until the first walk */
	struct timeout_class walk_class, idle_class;
	struct timeout timer;
	struct grave grave;
};

/* --- with a client's question --- */

struct journal_carry *carrier_load(struct carrier *c, const struct client_id *client,
				   const struct table_ask *ask, unsigned asks)
{
	struct journal_carry found[POLICY_MAX_APPLIED], *load = NULL;
	unsigned any = 0;

	if (!journal_uncarried(c->table))
		return NULL;
	for (unsigned i = 0; i < asks; i++) {
		journal_collect(c->table, client, ask[i].policy, c->loop->now, &found[i]);
		any |= found[i].records;
	}
	if (any)
		load = malloc(asks * sizeof(*load));
	if (load)
		memcpy(load, found, asks * sizeof(*load));
	return load;
}

void carrier_unload(struct carrier *c, const struct client_id *client, const struct table_ask *ask,
		    unsigned asks, struct journal_carry *load, bool answered)
{
	/* One that is busy now is carried once more, and counts once. */
	for (unsigned i = 0; load && answered && i < asks; i++)
		if (load[i].records)
			journal_carried(c->table, client, ask[i].policy, load[i].upto, c->loop->now);
	free(load);
}

/* --- for those who ask nothing --- */

/* What Redis says now has the carried in it: the next outage starts from that. */
static void keep(struct carrier *c, const struct flight *f, const struct redis_answer *a)
{
	if (f->generation == board_limits_generation())
		table_refusal_set(c->table, &f->client, &f->ask, c->loop->now, f->generation, 0, 0, 0,
				  &a->state[0], store_question_sent_at(&f->question));
}

static void on_answered(struct store_question *q, const struct redis_answer *a)
{
	struct flight *f = list_entry(q, struct flight, question);
	struct carrier *c = f->carrier;

	if (a) {
		keep(c, f, a);
		journal_carried(c->table, &f->client, f->ask.policy, f->load.upto, c->loop->now);
	}
	c->missed |= !a || f->load.more;
	c->flying--;
	f->next = c->free;
	c->free = f;
}

static bool have_flights(struct carrier *c)
{
	if (c->flights)
		return true;
	c->flights = calloc(FLIGHTS, sizeof(*c->flights));
	for (unsigned i = 0; c->flights && i < FLIGHTS; i++) {
		c->flights[i].next = c->free;
		c->free = &c->flights[i];
	}
	return c->flights;
}

static const struct policy *find_policy(const struct carrier *c, uint64_t key)
{
	for (unsigned i = 0; i < c->policies; i++)
		if (c->policy[i]->key == key)
			return c->policy[i];
	return NULL;
}

static void launch(struct carrier *c, const struct journal_found *found)
{
	struct flight *f = c->free;
	const struct policy *p = find_policy(c, found->policy_key);

	if (!p) /* the config in force has it no more: nobody would carry it, nor does anybody ask for it */
		return;
	if (journal_collect(c->table, &found->client, p, c->loop->now, &f->load) == TABLE_BUSY)
		c->missed = true;
	if (!f->load.records)
		return;
	f->carrier = c;
	f->client = found->client;
	f->ask = (struct table_ask){p, found->limit};
	f->generation = board_limits_generation();
	f->question = (struct store_question){
		.client = &f->client,
		.ask = &f->ask,
		.asks = 1,
		.carry = &f->load,
		.give_up_at = c->loop->now + PATIENCE,
		.answered = on_answered,
	};
	if (!store_redis_ask(c->store, &f->question)) {
		c->missed = true;
		return;
	}
	c->free = f->next;
	c->flying++;
}

/* Some server does. */
static bool store_answers(const struct carrier *c)
{
	return store_takes_calls(store_redis_state(c->store));
}

static void walk(struct carrier *c)
{
	struct journal_found found[FLIGHTS];
	unsigned n = 0, room = FLIGHTS - c->flying;

	if (room >= FLIGHTS / 2)
		n = journal_walk(c->table, &c->cursor, STEPS, c->loop->now, found, room, &c->missed);
	c->walked = room >= FLIGHTS / 2 && !c->cursor;
	for (unsigned i = 0; i < n; i++)
		launch(c, &found[i]);
}

/* What could not be carried, for a node of the store is lost, is tried again with the next round. */
static void end_walk(struct carrier *c)
{
	if (c->missed) {
		c->pause = c->pause * 2 < PAUSE_MAX ? c->pause * 2 : PAUSE_MAX;
	} else {
		journal_round_done(c->table, c->round);
		c->pause = IDLE_TICK / 2;
	}
	journal_end_turn(c->table, c->missed ? c->loop->now + c->pause : 0);
	c->walking = false;
}

static void break_off(struct carrier *c)
{
	journal_end_turn(c->table, 0);
	c->walking = false;
}

/* Around a reload those of the other config know other policies. */
static bool is_of_config_in_force(void)
{
	return atomic_load(&board_self()->generation) == atomic_load(&board()->generation);
}

static bool wants_to_walk(struct carrier *c)
{
	return c->policies && journal_uncarried(c->table) && store_answers(c) && is_of_config_in_force() &&
	       have_flights(c);
}

static void on_tick(struct timeout *t)
{
	struct carrier *c = list_entry(t, struct carrier, timer);
	bool wanted = wants_to_walk(c);

	if (c->walking && wanted)
		journal_take_turn(c->table, c->loop->now, true);
	if (!c->walking && wanted && !c->flying && journal_take_turn(c->table, c->loop->now, false)) {
		c->walking = true;
		c->walked = c->missed = false;
		c->cursor = 0;
		c->round = journal_round(c->table);
	}
	if (c->walking && !wanted)
		break_off(c);
	if (c->walking && !c->walked)
		walk(c);
	if (c->walking && c->walked && !c->flying)
		end_walk(c);
	timeout_arm(c->walking ? &c->walk_class : &c->idle_class, t);
}

/* --- life --- */

struct carrier *carrier_new(const struct carrier_setup *s)
{
	struct carrier *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->loop = s->loop;
	c->table = s->table;
	c->store = s->store;
	c->pause = IDLE_TICK / 2;
	c->policy = calloc(s->policies + 1, sizeof(const struct policy *));
	if (!c->policy) {
		free(c);
		return NULL;
	}
	for (; c->policies < s->policies; c->policies++)
		c->policy[c->policies] = s->policy[c->policies];
	timeout_init(&c->timer, on_tick);
	timeout_class_init(&c->walk_class, c->loop, WALK_TICK);
	timeout_class_init(&c->idle_class, c->loop, IDLE_TICK);
	timeout_arm(&c->idle_class, &c->timer);
	return c;
}

static void on_buried(struct grave *g)
{
	struct carrier *c = list_entry(g, struct carrier, grave);

	timeout_class_drop(&c->walk_class);
	timeout_class_drop(&c->idle_class);
	free(c->flights);
	free(c->policy);
	free(c);
}

void carrier_free(struct carrier *c)
{
	if (!c)
		return;
	assert(!c->flying);
	if (c->walking)
		break_off(c);
	timeout_disarm(&c->timer);
	loop_bury(c->loop, &c->grave, on_buried);
}
