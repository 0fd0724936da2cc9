/* SPDX-License-Identifier: MIT */
/*
 * The journal: what this weir admits by itself and what it carries afterwards. In the table alone, against
 * what is worked out by hand or by a slow model; and through the limiter with a real redis-server that goes
 * away, comes back, and forgets.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "ratelimit/journal.h"
#include "ratelimit/mark.h"
#include "ratelimit/redis_slots.h"
#include "ratelimit/slots.h"
#include "tests/unit/limiter_rig.h"

#define SECOND USEC_PER_SEC
#define TICK (MINUTE / 64)

struct region {
	void *mem;
	size_t bytes;
	struct table *t;
};

static struct region open_region(void)
{
	struct region r;
	r.mem = new_region(&r.bytes);
	r.t = table_attach(r.mem, r.bytes, 1);
	assert_non_null(r.t);
	return r;
}

static void close_region(struct region *r)
{
	assert_int_equal(table_check(r->t), 0);
	table_detach(r->t);
	munmap(r->mem, r->bytes);
}

static struct client_id client(unsigned n)
{
	return (struct client_id){
		{[10] = 0xff, [11] = 0xff, [12] = 10, [14] = (uint8_t)(n >> 8), [15] = (uint8_t)n}};
}

static bool admit(struct region *r, unsigned c, const struct policy *p, unsigned weirs, usec_t now,
		  struct window_state *out)
{
	struct window_state mine[POLICY_MAX_APPLIED];
	struct client_id id = client(c);
	struct table_ask ask = {p, p->requests};
	unsigned refused, shadow;
	assert_int_equal(
		journal_admit(r->t, &id, &ask, 1, weirs, now, 0, out ? out : mine, &refused, &shadow),
		TABLE_OK);
	return !refused;
}

/* Redis granted n and said so. */
static void granted(struct region *r, unsigned c, const struct policy *p, unsigned n, uint32_t used,
		    usec_t now)
{
	struct client_id id = client(c);
	struct table_ask ask = {p, p->requests};
	struct window_state said = {.limit = p->requests, .used = used, .reset_us = p->window_us};
	assert_int_equal(table_refusal_set(r->t, &id, &ask, now, 0, n, 0, 0, &said, now), TABLE_OK);
}

/* How many are to be carried. */
static unsigned collect(struct region *r, unsigned c, const struct policy *p, usec_t now,
			struct journal_carry *out)
{
	static struct journal_carry mine;
	struct client_id id = client(c);
	unsigned n = 0;
	out = out ? out : &mine;
	assert_int_equal(journal_collect(r->t, &id, p, now, out), TABLE_OK);
	for (unsigned i = 0; i < out->records; i++) {
		n += out->record[i].count;
		assert_true(!i || out->record[i].age_us <= out->record[i - 1].age_us);
	}
	return n;
}

static void carried(struct region *r, unsigned c, const struct policy *p, const struct journal_carry *carry,
		    usec_t now)
{
	struct client_id id = client(c);
	assert_int_equal(journal_carried(r->t, &id, p, carry->upto, now), TABLE_OK);
}

/* --- the share --- */

static void a_share_of_what_redis_said(void **state)
{
	(void)state;
	struct region r = open_region();
	struct policy p = policy_of("share", 10, MINUTE);
	struct window_state out;
	usec_t now = 1000 * SECOND;
	granted(&r, 1, &p, 5, 5, now);
	assert_true(admit(&r, 1, &p, 4, now + 1, &out)); /* 3, the share of 10, less 2, the share of 5 */
	assert_int_equal(out.limit, 10);
	assert_int_equal(out.used, 3);
	assert_int_equal(out.remaining, 0);
	assert_false(admit(&r, 1, &p, 4, now + 2, &out));
	/* When what Redis knew of is over, the two slots free; what was made here holds one for its time. */
	assert_int_equal(out.retry_after_us, MINUTE - 2);
	assert_false(admit(&r, 1, &p, 4, now + MINUTE - 1, &out));
	assert_int_equal(out.retry_after_us, 1);
	assert_true(admit(&r, 1, &p, 4, now + MINUTE, &out));
	for (unsigned i = 0; i < 3; i++) /* one who was never heard of */
		assert_true(admit(&r, 2, &p, 4, now, &out));
	assert_false(admit(&r, 2, &p, 4, now, &out));
	assert_in_range(out.retry_after_us, MINUTE, MINUTE + TICK);
	assert_false(admit(&r, 2, &p, 4, now + out.retry_after_us - 1, NULL));
	assert_true(admit(&r, 2, &p, 4, now + out.retry_after_us, NULL));
	close_region(&r);
}

/* Retry-After is the moment, whatever has to go first. */
static void refused_until_the_moment(void **state)
{
	(void)state;
	struct policy p = policy_of("moment", 16, SECOND);
	for (unsigned said = 0; said <= 20; said++)
		for (unsigned pace = 0; pace < 60; pace += 7) {
			struct region r = open_region();
			struct window_state out;
			usec_t now = 1000 * SECOND;
			unsigned n = 0;
			if (said)
				granted(&r, 1, &p, 1, said, now);
			while (admit(&r, 1, &p, 2, now, &out))
				now += pace * USEC_PER_MSEC, n++;
			assert_true(n || said > 14 || pace > 100);
			assert_true(out.retry_after_us > 0);
			assert_false(admit(&r, 1, &p, 2, now + out.retry_after_us - 1, NULL));
			assert_true(admit(&r, 1, &p, 2, now + out.retry_after_us, NULL));
			close_region(&r);
		}
}

static void all_policies_or_none(void **state)
{
	(void)state;
	struct region r = open_region();
	struct policy a = policy_of("a", 3, MINUTE), b = policy_of("b", 2, MINUTE),
		      c = policy_of("c", 1, MINUTE);
	c.shadow = true;
	struct client_id id = client(1);
	struct table_ask ask[] = {{&a, 3}, {&b, 2}, {&c, 1}};
	struct window_state out[POLICY_MAX_APPLIED];
	unsigned refused, shadow;
	for (unsigned i = 0; i < 4; i++) {
		journal_admit(r.t, &id, ask, 3, 1, SECOND, 0, out, &refused, &shadow);
		assert_int_equal(refused, i < 2 ? 0 : 2);
		assert_int_equal(shadow, i ? 4 : 0);
	}
	assert_int_equal(out[0].used, 2);
	assert_int_equal(collect(&r, 1, &a, SECOND, NULL), 2);
	assert_int_equal(collect(&r, 1, &b, SECOND, NULL), 2);
	assert_int_equal(collect(&r, 1, &c, SECOND, NULL), 1);
	/* A new generation voids what Redis said, and not what was admitted here. */
	granted(&r, 2, &a, 2, 3, SECOND);
	id = client(2);
	journal_admit(r.t, &id, ask, 1, 1, SECOND, 1, out, &refused, &shadow);
	assert_int_equal(refused, 0);
	journal_admit(r.t, &id, ask, 1, 1, SECOND, 1, out, &refused, &shadow);
	assert_int_equal(refused, 1);
	close_region(&r);
}

/* --- carries --- */

static void only_what_redis_does_not_know_is_carried(void **state)
{
	(void)state;
	struct region r = open_region();
	struct policy p = policy_of("carry", 100, MINUTE);
	struct journal_carry one, two;
	usec_t now = 1000 * SECOND;
	granted(&r, 1, &p, 7, 7, now);
	assert_false(journal_uncarried(r.t));
	assert_int_equal(collect(&r, 1, &p, now, NULL), 0);
	for (unsigned i = 0; i < 5; i++)
		assert_true(admit(&r, 1, &p, 1, now + i * 2 * TICK, NULL));
	now += 8 * TICK;
	assert_true(journal_uncarried(r.t));
	assert_int_equal(collect(&r, 1, &p, now, &one), 5);
	assert_int_equal(one.records, 5);
	for (unsigned i = 0; i < 5; i++) /* never older than it is, and by less than a tick younger */
		assert_in_range(one.record[i].age_us, (4 - i) * 2 * TICK - (i < 4 ? TICK : 0),
				(4 - i) * 2 * TICK);
	/* The answer is late; more was admitted meanwhile. What is answered first does not matter. */
	assert_true(admit(&r, 1, &p, 1, now, NULL));
	assert_int_equal(collect(&r, 1, &p, now, &two), 6);
	assert_int_equal(two.upto - one.upto, 1);
	carried(&r, 1, &p, &two, now);
	carried(&r, 1, &p, &one, now);
	assert_int_equal(collect(&r, 1, &p, now, NULL), 0);
	/* What has expired need not be carried. */
	assert_true(admit(&r, 1, &p, 1, now, NULL));
	assert_int_equal(collect(&r, 1, &p, now + MINUTE + TICK, NULL), 0);
	/* A late answer of the store settles what it stands for. */
	now += 2 * MINUTE;
	for (unsigned i = 0; i < 4; i++)
		assert_true(admit(&r, 1, &p, 1, now, NULL));
	struct client_id id = client(1);
	struct table_ask ask = {&p, 100};
	journal_settle(r.t, &id, &ask, 3, now);
	assert_int_equal(collect(&r, 1, &p, now, NULL), 1);
	journal_settle(r.t, &id, &ask, 3, now);
	assert_int_equal(collect(&r, 1, &p, now, NULL), 0);
	close_region(&r);
}

/* on_failure: allow lets everybody in; the limit is what he has to answer for. */
static void what_was_allowed_counts_up_to_the_limit(void **state)
{
	(void)state;
	struct region r = open_region();
	struct policy p = policy_of("allow", 10, MINUTE);
	struct client_id id = client(1);
	struct table_ask ask = {&p, 10};
	granted(&r, 1, &p, 3, 3, SECOND);
	for (unsigned i = 0; i < 50; i++)
		assert_int_equal(journal_allow(r.t, &id, &ask, 1, 2 * SECOND + i), TABLE_OK);
	assert_int_equal(collect(&r, 1, &p, 3 * SECOND, NULL), 7);
	close_region(&r);
}

static void many_at_once_go_in_parts(void **state)
{
	(void)state;
	struct region r = open_region();
	struct policy p = policy_of("large", 100000, MINUTE);
	struct journal_carry c;
	unsigned total = 0;
	usec_t now = 1000 * SECOND;
	for (unsigned i = 0; i < 10000; i++)
		assert_true(admit(&r, 1, &p, 1, now + i * 5000, NULL));
	now += 10000 * 5000;
	for (unsigned parts = 1;; parts++) {
		unsigned n = collect(&r, 1, &p, now, &c);
		total += n;
		assert_in_range(n, 1, JOURNAL_CARRY_MAX);
		carried(&r, 1, &p, &c, now);
		assert_int_equal(c.more, total < 10000);
		if (!c.more) {
			assert_int_equal(parts, 3);
			break;
		}
	}
	assert_int_equal(total, 10000);
	close_region(&r);
}

/* --- losses --- */

static void what_was_lost_is_carried_again(void **state)
{
	(void)state;
	struct region r = open_region();
	struct policy p = policy_of("loss", 1000, MINUTE);
	usec_t now = 1000 * SECOND;
	struct journal_carry c;
	for (unsigned i = 0; i < 30; i++)
		granted(&r, 1, &p, 1, i + 1, now + i * SECOND);
	now += 30 * SECOND;
	granted(&r, 2, &p, 4, 4, now - SECOND);
	/* It knows what it was told 10 s ago: those of the last 10 s are lost, and of the tick before. */
	assert_true(journal_lost(r.t, now - 10 * SECOND, NULL));
	assert_true(journal_uncarried(r.t));
	assert_in_range(collect(&r, 1, &p, now, &c), 9, 11);
	assert_true(c.record[0].age_us <= 10 * SECOND);
	assert_int_equal(collect(&r, 1, &p, now, NULL), collect(&r, 1, &p, now, NULL)); /* once */
	carried(&r, 1, &p, &c, now);
	assert_int_equal(collect(&r, 2, &p, now, &c), 4);
	carried(&r, 2, &p, &c, now);
	/* What is admitted after that is no part of it. */
	granted(&r, 1, &p, 5, 35, now + SECOND);
	assert_int_equal(collect(&r, 1, &p, now + SECOND, NULL), 0);
	/* A carry that was lost takes all with it, for it held admissions of any age. */
	assert_true(journal_lost(r.t, now - USEC_PER_MSEC * 10, NULL));
	assert_int_equal(collect(&r, 1, &p, now + SECOND, NULL), 35);
	/* Everything. Twice is not more. */
	assert_true(journal_lost(r.t, 0, NULL));
	assert_true(journal_lost(r.t, 0, NULL));
	assert_int_equal(collect(&r, 1, &p, now + SECOND, &c), 35);
	assert_int_equal(collect(&r, 2, &p, now + SECOND, NULL), 4);
	carried(&r, 1, &p, &c, now + SECOND);
	/* More of them than are remembered: all. */
	for (unsigned i = 0; i < 20; i++)
		assert_true(journal_lost(r.t, now + 2 * SECOND, NULL));
	assert_int_equal(collect(&r, 1, &p, now + 3 * SECOND, NULL), 35);
	close_region(&r);
}

/* In a cluster one server loses what lies in its slots. */
static void a_loss_of_some_slots(void **state)
{
	(void)state;
	static uint64_t slots[256];
	struct region r = open_region();
	struct policy p = policy_of("slots", 1000, MINUTE);
	usec_t now = 1000 * SECOND;
	memset(slots, 0, sizeof(slots));
	for (unsigned i = 0; i < 64; i++) {
		char text[REDIS_CLIENT_ROOM];
		struct client_id id = client(i);
		unsigned slot = redis_slot((struct str){text, redis_script_client(text, &id)});
		granted(&r, i, &p, 3, 3, now);
		if (i % 2)
			slots[slot / 64] |= 1ull << slot % 64;
	}
	assert_true(journal_lost(r.t, 0, slots));
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(collect(&r, i, &p, now, NULL), i % 2 ? 3 : 0);
	close_region(&r);
}

/* A walk finds each client that has something to carry, and no other. */
static void a_walk_finds_them(void **state)
{
	(void)state;
	struct region r = open_region();
	struct policy p = policy_of("walk", 1000, MINUTE);
	struct journal_found found[64];
	static bool seen[700];
	uint32_t cursor = 0;
	unsigned total = 0;
	bool missed = false;
	usec_t now = 1000 * SECOND;
	memset(seen, 0, sizeof(seen));
	for (unsigned i = 0; i < 700; i++)
		if (i % 3)
			granted(&r, i, &p, 1, 1, now);
		else
			assert_true(admit(&r, i, &p, 1, now, NULL));
	uint32_t round = journal_round(r.t);
	do {
		unsigned n = journal_walk(r.t, &cursor, 7, now, found, 64, &missed);
		for (unsigned i = 0; i < n; i++) {
			unsigned who = (unsigned)(found[i].client.b[14] << 8 | found[i].client.b[15]);
			struct journal_carry c;
			assert_int_equal(found[i].policy_key, p.key);
			assert_true(who % 3 == 0 && !seen[who]);
			seen[who] = true;
			assert_int_equal(collect(&r, who, &p, now, &c), 1);
			carried(&r, who, &p, &c, now);
			total++;
		}
	} while (cursor);
	assert_false(missed);
	assert_int_equal(total, 234);
	journal_round_done(r.t, round);
	assert_false(journal_uncarried(r.t));
	/* One walks at a time; who does not go on loses his turn after a second. */
	assert_true(journal_take_turn(r.t, now, false));
	assert_false(journal_take_turn(r.t, now + SECOND - 1, false));
	assert_true(journal_take_turn(r.t, now + SECOND - 1, true));
	assert_true(journal_take_turn(r.t, now + 2 * SECOND - 1, false));
	journal_end_turn(r.t, now + 5);
	assert_false(journal_take_turn(r.t, now + 4, false));
	assert_true(journal_take_turn(r.t, now + 5, false));
	close_region(&r);
}

/* What is admitted while a carry is under way is not forgotten when that one is answered. */
static void more_while_it_is_carried(void **state)
{
	(void)state;
	struct region r = open_region();
	struct policy p = policy_of("more", 100, MINUTE);
	struct journal_carry c;
	usec_t now = 1000 * SECOND;
	assert_true(admit(&r, 1, &p, 1, now, NULL));
	uint32_t round = journal_round(r.t);
	assert_int_equal(collect(&r, 1, &p, now, &c), 1);
	assert_true(admit(&r, 1, &p, 1, now + 1, NULL));
	carried(&r, 1, &p, &c, now + 2);
	journal_round_done(r.t, round);
	assert_true(journal_uncarried(r.t));
	assert_int_equal(collect(&r, 1, &p, now + 3, &c), 1);
	close_region(&r);
}

/* A reload to another store keeps what was admitted: none of it was told to the new one. */
static void a_window_becomes_a_journal(void **state)
{
	(void)state;
	struct region r = open_region();
	struct policy p = policy_of("reload", 10, MINUTE);
	struct client_id id = client(1);
	struct table_ask ask = {&p, 10};
	struct window_state out[POLICY_MAX_APPLIED];
	unsigned n, refused, shadow;
	usec_t now = 1000 * SECOND;
	table_admit(r.t, &id, &ask, 1, 6, now, &n, out, &refused, &shadow);
	granted(&r, 1, &p, 1, 1, now + 1);
	assert_int_equal(collect(&r, 1, &p, now + 1, NULL), 6);
	table_admit(r.t, &id, &ask, 1, 6, now + 2, &n, out, &refused, &shadow);
	assert_int_equal(n, 3);
	close_region(&r);
}

/* Around a reload that changes the store both kinds of workers decide of a client: each admission is carried
 * once. */
static void a_journal_among_memory_workers(void **state)
{
	(void)state;
	struct region r = open_region();
	struct policy p = policy_of("reload", 10, MINUTE);
	struct client_id id = client(1);
	struct table_ask ask = {&p, 10};
	struct window_state out[POLICY_MAX_APPLIED];
	struct journal_carry c;
	unsigned n, refused, shadow;
	usec_t now = 1000 * SECOND;
	table_admit(r.t, &id, &ask, 1, 2, now, &n, out, &refused, &shadow);
	granted(&r, 1, &p, 1, 1, now + 1);
	assert_int_equal(collect(&r, 1, &p, now + 1, &c), 2);
	carried(&r, 1, &p, &c, now + 2);
	table_admit(r.t, &id, &ask, 1, 3, now + 3, &n, out, &refused, &shadow);
	granted(&r, 1, &p, 1, 4, now + 4);
	assert_int_equal(collect(&r, 1, &p, now + 4, &c), 3);
	carried(&r, 1, &p, &c, now + 5);
	table_admit(r.t, &id, &ask, 1, 5, now + 6, &n, out, &refused, &shadow);
	assert_int_equal(n, 3);
	assert_int_equal(collect(&r, 1, &p, now + 7, &c), 3);
	/* A minute after the store's last word the memory store has a window again. */
	now += MINUTE + 5;
	for (unsigned i = 0; i < 3; i++)
		table_admit(r.t, &id, &ask, 1, 10, now + SECOND + i, &n, out, &refused, &shadow);
	assert_int_equal(n, 0);
	assert_int_equal(out[0].used, 10);
	assert_int_equal(collect(&r, 1, &p, now + 2 * SECOND, &c), 0);
	close_region(&r);
}

/* --- marks --- */

#define MARKERS 3

/* What the script of mark.c does, on a server that is this. */
struct kept {
	usec_t last, before, birth;
};

struct marker {
	struct mark mark;
	bool out, ran; /* written; the server has it */
	struct kept stood;
	char text[64];
};

static uint64_t dice = 88172645463325252u;

static unsigned rnd(unsigned below)
{
	dice ^= dice << 13;
	dice ^= dice >> 7;
	dice ^= dice << 17;
	return (unsigned)((dice >> 11) % below);
}

static void run_mark(struct marker *w, struct kept *server)
{
	w->ran = true;
	w->stood = *server;
	if (server->last < w->mark.value)
		*server = (struct kept){w->mark.value, server->last,
					server->last ? server->birth : w->mark.value};
}

static void hear(struct marker *w, bool lost)
{
	struct redis_reply r = {.kind = REDIS_NIL};
	w->out = w->ran = false;
	if (lost) {
		r.kind = REDIS_ERROR;
	} else if (w->stood.last) {
		int n = snprintf(w->text, sizeof(w->text), "%lld %lld %lld", (long long)w->stood.last,
				 (long long)w->stood.before, (long long)w->stood.birth);
		r = (struct redis_reply){.kind = REDIS_STRING, .text = {w->text, (size_t)n}};
	}
	mark_answered(&w->mark, &r);
}

/*
 * Workers mark one server, which runs what it is sent in any order, forgets now and then, and whose answers
 * come late or not at all (but never two in a row). Each loss is noted once, and none that was not.
 */
static void each_loss_is_noted_once(void **state)
{
	(void)state;
	struct region r = open_region();
	struct marker w[MARKERS];
	struct kept server = {0, 0, 0};
	unsigned losses = 1, dropped = 0; /* the first look at an empty server counts as one */
	bool forgot = false, may_drop = false;
	struct policy p = policy_of("loss", 10, MINUTE);
	usec_t now = 1000 * SECOND;
	granted(&r, 1, &p, 1, 1, now); /* somebody has something to lose */
	memset(w, 0, sizeof(w));
	for (unsigned i = 0; i < MARKERS; i++)
		mark_init(&w[i].mark, r.t, STR("somewhere"));
	for (unsigned step = 0; step < 200000; step++) {
		struct marker *m = &w[rnd(MARKERS)];
		struct mark_text text;
		struct str argv[MARK_ARGS];
		now += 1 + rnd(1000);
		if (!m->out) {
			assert_int_equal(
				mark_write(&m->mark, STR("weir:"), "fleet", NULL, true, now, &text, argv),
				MARK_ARGS);
			m->out = true;
		} else if (!m->ran) {
			losses += forgot;
			may_drop = step > 10 && !forgot ? may_drop : true;
			forgot = false;
			run_mark(m, &server);
		} else {
			bool drop = may_drop && step > 100 && rnd(20) == 0;
			may_drop = may_drop && !drop;
			dropped += drop;
			hear(m, drop);
		}
		if (step > 100 && rnd(200) == 0 && !forgot) {
			for (unsigned i = 0; i < MARKERS; i++) /* so that what was noted so far is known */
				if (w[i].out && w[i].ran)
					hear(&w[i], false);
			server = (struct kept){0, 0, 0};
			forgot = true;
		}
	}
	for (unsigned i = 0; i < MARKERS; i++)
		if (w[i].out) {
			losses += forgot && !w[i].ran;
			forgot = forgot && w[i].ran;
			if (!w[i].ran)
				run_mark(&w[i], &server);
			hear(&w[i], false);
		}
	assert_true(losses > 500 && dropped > 500);
	assert_int_equal(journal_round(r.t), losses);
	close_region(&r);
}

/* What one worker writes to a store of his own, again and again. */
static void mark_store(struct marker *w, struct kept *server, const char *prefix, const uint64_t *slots,
		       usec_t now)
{
	struct mark_text text;
	struct str argv[MARK_ARGS];
	assert_int_equal(mark_write(&w->mark, str_of(prefix), "0", slots, true, now, &text, argv), MARK_ARGS);
	run_mark(w, server);
	hear(w, false);
}

/* Around a reload old workers mark the store of the old config, and new ones another: nothing is lost. */
static void two_stores_around_a_reload(void **state)
{
	(void)state;
	static const uint64_t all_slots[256] = {1};
	static const struct {
		const char *store[2], *prefix[2];
		const uint64_t *slots; /* of a cluster */
	} rows[] = {
		{{"one:6379/0", "two:6379/0"}, {"weir:", "weir:"}, NULL},
		{{"one:6379/0", "one:6379/0"}, {"weir:", "prod:"}, NULL},
		{{"one:6379/0", "two:6379/0"}, {"weir:", "weir:"}, all_slots},
		{{"one:6379/0", "one:6379/0"}, {"weir:", "prod:"}, all_slots},
	};
	struct policy p = policy_of("loss", 10, MINUTE);
	for (unsigned row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
		struct region r = open_region();
		struct marker w[2] = {0};
		struct kept server[2] = {0};
		usec_t now = 1000 * SECOND;
		granted(&r, 1, &p, 1, 1, now);
		for (unsigned i = 0; i < 2; i++)
			mark_init(&w[i].mark, r.t, str_of(rows[row].store[i]));
		for (unsigned k = 0; k < 10; k++)
			for (unsigned i = 0; i < 2; i++)
				mark_store(&w[i], &server[i], rows[row].prefix[i], rows[row].slots,
					   now += SECOND);
		/* A single server's first look tells it all that is known. */
		assert_int_equal(journal_round(r.t), rows[row].slots ? 0 : 2);
		close_region(&r);
	}
}

/* --- with a Redis --- */

static void forget_dump(void)
{
	char path[96];
	snprintf(path, sizeof(path), "%s/dump.rdb", redis.dir);
	unlink(path);
}

static bool all_carried(void *table)
{
	return !journal_uncarried(table);
}

/* A Redis that kept its data is told what was admitted without it, and nothing twice. */
static void an_outage_is_no_amnesty(void **state)
{
	(void)state;
	struct shop s;
	struct request r;
	struct policy p = policy_of("default", 10, MINUTE), q = policy_of("other", 10, MINUTE);
	shop_open_for(&s, &p, &q);
	for (unsigned i = 0; i < 2; i++)
		assert_true(ask_one(&s, &r, 1, &p)->granted);
	rig_do(&redis, "SAVE"); /* it comes back with its data */
	rig_kill(&redis);
	rig_until(&loop, is_state, CONNECTING);
	for (unsigned i = 0; i < 3; i++)
		for (unsigned c = 1; c < 40; c++)
			assert_true(ask_one(&s, &r, (uint8_t)c, &p)->granted);
	assert_true(ask_one(&s, &r, 1, &q)->granted);
	rig_start(&redis);
	rig_until(&loop, is_state, READY);
	/* One who asks at once is told at once; the others follow by themselves. */
	assert_in_range(ask_one(&s, &r, 1, &p)->state[0].used, 6, 8);
	rig_until(&loop, all_carried, s.table);
	for (unsigned c = 2; c < 40; c++)
		assert_int_equal(llen(&p, (uint8_t)c), 3);
	assert_int_equal(llen(&q, 1), 1);
	forget_dump();
	shop_close(&s);
}

/* Redis goes away again before the client comes back: what was carried for him meanwhile counts here too. */
static void a_second_outage_is_none_either(void **state)
{
	(void)state;
	struct shop s;
	struct request r;
	struct policy p = policy_of("again", 10, MINUTE);
	shop_open_for(&s, &p, NULL);
	assert_true(ask_one(&s, &r, 1, &p)->granted);
	rig_kill(&redis);
	rig_until(&loop, is_state, CONNECTING);
	for (unsigned i = 0; i < 5; i++)
		assert_true(ask_one(&s, &r, 1, &p)->granted);
	rig_start(&redis);
	rig_until(&loop, all_carried, s.table);
	long there = llen(&p, 1);
	assert_in_range(there, 5, 6); /* without its data, which it is told again */
	rig_kill(&redis);
	rig_until(&loop, is_state, CONNECTING);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(ask_one(&s, &r, 1, &p)->granted, i < 10 - there);
	rig_start(&redis);
	shop_close(&s);
}

/* Answers that are under way when a lift begins or ends are of admissions that Redis may lose like others. */
static void admissions_around_a_lift(void **state)
{
	(void)state;
	struct shop s;
	struct request r, other;
	struct journal_carry c;
	struct policy p = policy_of("lift", 10, MINUTE);
	shop_open(&s);
	assert_true(ask_one(&s, &other, 2, &p)->granted);
	prepare(&r, 1, &p);
	loop.now = clock_mono();
	assert_int_equal(put(s.limiter, &r), LIMITER_WAIT);
	rig_once(&loop); /* it is sent, and not answered before the next turn */
	assert_int_equal(r.calls, 0);
	board()->limits_generation++;
	rig_until(&loop, is_answered, &r);
	assert_true(r.t.verdict.granted);
	assert_int_equal(r.t.verdict.source, SOURCE_REDIS);
	assert_int_equal(journal_collect(s.table, &r.t.client, &p, loop.now, &c), TABLE_OK);
	assert_int_equal(c.records, 0);
	assert_true(journal_lost(s.table, 0, NULL));
	assert_int_equal(journal_collect(s.table, &r.t.client, &p, loop.now, &c), TABLE_OK);
	assert_int_equal(c.records, 1);
	assert_int_equal(c.record[0].count, 1);
	shop_close(&s);
}

static void emptied(struct shop *s, const struct policy *p, const char *how)
{
	struct request r;
	struct table_stats stats;
	shop_open_for(s, p, NULL);
	for (unsigned i = 0; i < 7; i++)
		for (unsigned c = 1; c < 20; c++)
			assert_true(ask_one(s, &r, (uint8_t)c, p)->granted);
	if (how) {
		rig_do(&redis, how);
	} else {
		rig_kill(&redis);
		rig_until(&loop, is_state, CONNECTING);
		rig_start(&redis);
		rig_until(&loop, is_state, READY);
	}
	bool (*const replayed)(void *) = all_carried;
	usec_t until = clock_mono() + 10 * USEC_PER_SEC;
	do {
		turn_for(20 * USEC_PER_MSEC);
		rig_until(&loop, replayed, s->table);
		table_stats_read(s->table, &stats);
	} while (stats.carried < 7 * 19 && clock_mono() < until);
	for (unsigned c = 1; c < 20; c++) {
		assert_int_equal(llen(p, (uint8_t)c), 7);
		for (unsigned i = 0; i < 4; i++)
			assert_int_equal(ask_one(s, &r, (uint8_t)c, p)->granted, i < 3);
	}
	shop_close(s);
}

static void a_redis_that_forgot(void **state)
{
	(void)state;
	struct shop s;
	struct policy p = policy_of("default", 10, MINUTE);
	emptied(&s, &p, "FLUSHALL");
	emptied(&s, &p, "FLUSHDB");
	emptied(&s, &p, NULL);
}

/* After a reload: debts of a policy that is gone keep nobody walking, nor does a worker of the old config. */
static void a_policy_that_is_gone(void **state)
{
	(void)state;
	struct shop s;
	struct policy p = policy_of("stays", 10, MINUTE), q = policy_of("gone", 10, MINUTE);
	shop_open_for(&s, &p, NULL);
	struct region r = {s.mem, s.bytes, s.table};
	board()->generation++;
	assert_true(admit(&r, 1, &p, 1, clock_mono(), NULL));
	assert_true(admit(&r, 1, &q, 1, clock_mono(), NULL));
	turn_for(500 * USEC_PER_MSEC);
	assert_int_equal(collect(&r, 1, &p, clock_mono(), NULL), 1);
	board()->generation--;
	rig_until(&loop, all_carried, s.table);
	assert_int_equal(collect(&r, 1, &p, clock_mono(), NULL), 0);
	shop_close(&s);
}

/* What cannot be carried, as to a node that is lost, is tried ever less often, but each second. */
static void a_walk_that_always_misses(void **state)
{
	(void)state;
	struct shop s;
	struct place at;
	struct table_stats before, after;
	struct client_id id = client(1);
	struct policy p = policy_of("stays", 10, MINUTE);
	shop_open_for(&s, &p, NULL);
	struct region r = {s.mem, s.bytes, s.table};
	assert_true(admit(&r, 1, &p, 1, clock_mono(), NULL));
	slots_locate(s.table, p.key, &id, &at);
	assert_true(slots_lock(s.table, at.bucket));
	table_stats_read(s.table, &before);
	turn_for(2500 * USEC_PER_MSEC);
	table_stats_read(s.table, &after);
	assert_in_range(after.busy - before.busy, 1, 6); /* at 0.2, 0.4, 0.8, 1.6 s and so on */
	slots_unlock(s.table, at.bucket);
	rig_until(&loop, all_carried, s.table);
	shop_close(&s);
}

static void drop_keys(const char *pattern)
{
	redisReply *keys = rig_command(&redis, "KEYS %s", pattern);
	assert_true(keys->elements > 0);
	for (size_t i = 0; i < keys->elements; i++)
		rig_do(&redis, "DEL %s", keys->element[i]->str);
	freeReplyObject(keys);
}

static bool has_keys(void *pattern)
{
	redisReply *keys = rig_command(&redis, "KEYS %s", (const char *)pattern);
	bool has = keys->elements > 0;
	freeReplyObject(keys);
	return has;
}

/* A server that evicts may take a key of the mark, and nothing is replayed. */
static void an_evicted_mark_is_no_loss(void **state)
{
	(void)state;
	static char mark[] = "*:mark:*", twin[] = "*:twin:*";
	char *const keys[] = {mark, twin};
	struct shop s;
	struct request r;
	struct policy p = policy_of("evicted", 10, MINUTE);
	shop_open(&s);
	assert_true(ask_one(&s, &r, 1, &p)->granted);
	uint32_t rounds = journal_round(s.table);
	for (unsigned i = 0; i < 4; i++) {
		drop_keys(keys[i % 2]);
		rig_until(&loop, has_keys, keys[i % 2]); /* it is written anew */
		turn_for(2 * USEC_PER_MSEC);
	}
	assert_int_equal(journal_round(s.table), rounds);
	shop_close(&s);
}

/* Ten thousand come back at once, and Redis hardly feels it. */
static void ten_thousand_clients(void **state)
{
	(void)state;
	enum { N = 10000 };
	const struct table_size size = {2 * N, 4 << 20};
	struct shop s = {0};
	struct policy p = policy_of("many", 10, MINUTE);
	rig_do(&redis, "FLUSHALL");
	shop_carries(&p, NULL);
	shop_table(&s, &size);
	struct region r = {s.mem, s.bytes, s.table};
	usec_t now = clock_mono();
	for (unsigned c = 0; c < N; c++)
		for (unsigned i = 0; i < 3; i++)
			assert_true(admit(&r, c, &p, 1, now, NULL));
	shop_limit(&s, redis.port, LIMITER_LOCAL);
	rig_do(&redis, "CONFIG RESETSTAT");
	rig_until(&loop, all_carried, s.table);
	usec_t took = clock_mono() - now;
	assert_int_equal(rig_integer(&redis, "%s", "DBSIZE"), 2 * N + 2); /* lists, tallies and a mark */
	struct table_stats stats;
	table_stats_read(s.table, &stats);
	assert_in_range(stats.carried, 3 * N, 3 * N);
	print_message("carried 3 each of %d clients in %lld ms\n", N, (long long)(took / 1000));
	shop_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_share_of_what_redis_said),
		cmocka_unit_test(refused_until_the_moment),
		cmocka_unit_test(all_policies_or_none),
		cmocka_unit_test(only_what_redis_does_not_know_is_carried),
		cmocka_unit_test(what_was_allowed_counts_up_to_the_limit),
		cmocka_unit_test(many_at_once_go_in_parts),
		cmocka_unit_test(what_was_lost_is_carried_again),
		cmocka_unit_test(a_loss_of_some_slots),
		cmocka_unit_test(a_walk_finds_them),
		cmocka_unit_test(more_while_it_is_carried),
		cmocka_unit_test(a_window_becomes_a_journal),
		cmocka_unit_test(a_journal_among_memory_workers),
		cmocka_unit_test(each_loss_is_noted_once),
		cmocka_unit_test(two_stores_around_a_reload),
		cmocka_unit_test(an_outage_is_no_amnesty),
		cmocka_unit_test(a_second_outage_is_none_either),
		cmocka_unit_test(admissions_around_a_lift),
		cmocka_unit_test(a_redis_that_forgot),
		cmocka_unit_test(a_policy_that_is_gone),
		cmocka_unit_test(a_walk_that_always_misses),
		cmocka_unit_test(an_evicted_mark_is_no_loss),
		cmocka_unit_test(ten_thousand_clients),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
