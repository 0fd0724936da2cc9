/* SPDX-License-Identifier: MIT */
/*
 * The client table: decisions against a naive model, eviction, the dry pool, what the store said, and then
 * several processes at once: exactness, kill -9 and SIGSTOP at random moments.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <signal.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "tests/unit/child.h"

#include "ratelimit/table.h"
#include "ratelimit/window.h"

#define SECOND USEC_PER_SEC
#define MINUTE (60 * SECOND)

static uint64_t seed;

static uint64_t rnd(uint64_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 11) % below;
}

struct region {
	void *mem;
	size_t bytes;
	struct table *t;
};

static const uint8_t hash_key[16] = "0123456789abcdef";

static void *share(size_t bytes)
{
	void *mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(mem != MAP_FAILED);
	return mem;
}

static struct region make_region(uint32_t clients, size_t log_bytes)
{
	struct table_size size = {clients, log_bytes};
	struct region r = {.bytes = table_bytes(&size)};

	assert_true(r.bytes > 0);
	r.mem = share(r.bytes);
	assert_int_equal(table_format(r.mem, r.bytes, &size, hash_key), 0);
	r.t = table_attach(r.mem, r.bytes, 1);
	assert_non_null(r.t);
	return r;
}

static void free_region(struct region *r)
{
	table_detach(r->t);
	munmap(r->mem, r->bytes);
}

static struct table_stats stats(const struct region *r)
{
	struct table_stats s;

	table_stats_read(r->t, &s);
	return s;
}

static struct client_id client(uint32_t n)
{
	struct client_id c = {{0x20, 1}};

	memcpy(c.b + 8, &n, sizeof(n));
	return c;
}

static struct policy make_policy(uint64_t key, usec_t window_us, bool shadow)
{
	return (struct policy){
		.name = "p", .key = key, .requests = 1, .window_us = window_us, .shadow = shadow};
}

/* Admits n requests under one policy; how many were. */
static unsigned admit(struct table *t, const struct policy *p, uint32_t limit, struct client_id c, unsigned n,
		      usec_t now, struct window_state *out)
{
	struct table_ask ask = {p, limit};
	struct window_state states[POLICY_MAX_APPLIED];
	unsigned granted, refused, shadow;

	assert_int_equal(table_admit(t, &c, &ask, 1, n, now, &granted, states, &refused, &shadow), TABLE_OK);
	assert_int_equal(shadow, 0);
	assert_int_equal(refused, granted < n);
	if (out)
		*out = states[0];
	return granted;
}

static unsigned used(struct table *t, const struct policy *p, struct client_id c, usec_t now)
{
	struct table_ask ask = {p, 1000000};
	struct window_state states[POLICY_MAX_APPLIED];
	unsigned granted, refused, shadow;

	assert_int_equal(table_peek(t, &c, &ask, 1, 1, now, &granted, states, &refused, &shadow), TABLE_OK);
	return states[0].used;
}

/* Shape */

static void test_format(void **state)
{
	struct table_size none = {0, 1 << 20}, huge = {UINT32_MAX, 0}, million = {1000000, 0},
			  small = {100, 6400};
	size_t bytes = table_bytes(&small);
	char *mem = share(bytes + 64);

	(void)state;
	assert_int_equal(table_bytes(&none), 0);
	assert_int_equal(table_bytes(&huge), 0);
	assert_in_range(table_bytes(&million), 211000000, 211300000); /* as table.h says */
	assert_null(table_attach(mem, bytes, 1));		      /* not formatted */
	assert_int_equal(table_format(mem, bytes - 1, &small, hash_key), -1);
	assert_int_equal(table_format(mem + 8, bytes, &small, hash_key), -1);
	assert_int_equal(table_format(mem, bytes, &none, hash_key), -1);
	assert_null(table_attach(mem, bytes, 1));
	assert_int_equal(table_format(mem, bytes, &small, hash_key), 0);
	assert_null(table_attach(mem, bytes, 0));
	assert_null(table_attach(mem, bytes - 1, 1));
	struct table *t = table_attach(mem, bytes, 1);
	assert_non_null(t);
	assert_int_equal(table_check(t), 0);
	table_detach(t);
	munmap(mem, bytes + 64);
}

/* The model: for each policy and client the times of its admissions, newest last. */

#define MODEL_CLIENTS 12u
#define MODEL_POLICIES 7u
#define MODEL_TIMES 4096u

struct model {
	usec_t t[MODEL_TIMES];
	uint64_t head, tail;
};

static struct model model[MODEL_POLICIES][MODEL_CLIENTS];

static usec_t model_at(const struct model *m, uint64_t i)
{
	return m->t[(m->head + i) % MODEL_TIMES];
}

static uint32_t model_used(struct model *m, usec_t window, usec_t now)
{
	while (m->head < m->tail && model_at(m, 0) + window <= now)
		m->head++;
	return (uint32_t)(m->tail - m->head);
}

struct answer {
	unsigned granted, refused_by, shadow_over;
	struct window_state out[POLICY_MAX_APPLIED];
};

/* One request after the other, exactly as the contract has it. */
static void model_admit(unsigned c, const unsigned *which, const struct table_ask *ask, unsigned asks,
			unsigned n, usec_t now, bool spend, struct answer *a)
{
	uint64_t tails[POLICY_MAX_APPLIED];

	memset(a, 0, sizeof(*a));
	for (unsigned i = 0; i < asks; i++)
		tails[i] = model[which[i]][c].tail;
	for (unsigned k = 0; k < n; k++) {
		unsigned full = 0;
		bool admitted = true;
		for (unsigned i = 0; i < asks; i++) {
			struct model *m = &model[which[i]][c];
			if (model_used(m, ask[i].policy->window_us, now) < ask[i].limit)
				continue;
			full |= 1u << i;
			*(ask[i].policy->shadow ? &a->shadow_over : &a->refused_by) |= 1u << i;
			admitted &= ask[i].policy->shadow;
		}
		if (!admitted)
			continue;
		a->granted++;
		for (unsigned i = 0; i < asks; i++)
			if (!(full >> i & 1)) {
				struct model *m = &model[which[i]][c];
				m->t[m->tail++ % MODEL_TIMES] = now;
			}
	}
	for (unsigned i = 0; i < asks; i++) {
		struct model *m = &model[which[i]][c];
		struct window_state *s = &a->out[i];
		if (!spend)
			m->tail = tails[i];
		usec_t window = ask[i].policy->window_us;
		uint32_t count = model_used(m, window, now);
		*s = (struct window_state){.limit = ask[i].limit, .used = count};
		s->remaining = count < ask[i].limit ? ask[i].limit - count : 0;
		if (!s->remaining)
			s->retry_after_us = model_at(m, count - ask[i].limit) + window - now;
		if (count)
			s->reset_us = model_at(m, count - 1) + window - now;
	}
}

static void compare(const struct answer *a, const struct answer *b, unsigned asks)
{
	assert_int_equal(a->granted, b->granted);
	assert_int_equal(a->refused_by, b->refused_by);
	assert_int_equal(a->shadow_over, b->shadow_over);
	for (unsigned i = 0; i < asks; i++) {
		assert_int_equal(a->out[i].limit, b->out[i].limit);
		assert_int_equal(a->out[i].used, b->out[i].used);
		assert_int_equal(a->out[i].remaining, b->out[i].remaining);
		assert_int_equal(a->out[i].retry_after_us, b->out[i].retry_after_us);
		assert_int_equal(a->out[i].reset_us, b->out[i].reset_us);
	}
}

static usec_t next_moment(usec_t now, const struct answer *last)
{
	switch (rnd(16)) {
	case 0: /* just before, at, or just after a slot frees or the window empties */
		return now + last->out[0].retry_after_us +
		       (last->out[0].retry_after_us ? (usec_t)rnd(3) - 1 : 0);
	case 1:
		if (rnd(200) == 0)
			return now + last->out[0].reset_us + (last->out[0].reset_us ? (usec_t)rnd(3) - 1 : 0);
		return now + (usec_t)rnd(5000);
	case 2:
		return now + (usec_t)rnd(rnd(100) ? 3000 : 3000000);
	case 3:
		if (rnd(20000) == 0)
			return now + ((usec_t)1 << 32);
		return now;
	case 4:
	case 5:
	case 6:
		return now + (usec_t)rnd(3);
	default:
		return now;
	}
}

static unsigned pick_asks(const struct policy *policy, unsigned *which, struct table_ask *ask,
			  uint32_t *limits)
{
	unsigned asks = rnd(3) ? 1 + (unsigned)rnd(2) : 1 + (unsigned)rnd(POLICY_MAX_APPLIED);
	unsigned from = (unsigned)rnd(MODEL_POLICIES);

	if (rnd(500) == 0) { /* a reload gives a policy another limit */
		unsigned i = (unsigned)rnd(MODEL_POLICIES);
		limits[i] = 1 + (uint32_t)rnd(i == 6 ? 1000 : 60);
	}
	for (unsigned i = 0; i < asks; i++) {
		which[i] = (from + i) % MODEL_POLICIES;
		ask[i] = (struct table_ask){&policy[which[i]], limits[which[i]]};
	}
	return asks;
}

/* A table of one bucket (so that policies of one client meet in it) has room for 16 of them: two clients
 * then. */
static void run_model(unsigned clients, unsigned max_clients, unsigned ops)
{
	const struct policy policy[MODEL_POLICIES] = {
		make_policy(1, 1000, false),	    make_policy(2, 2 * SECOND, false),
		make_policy(3, MINUTE, true),	    make_policy(4, 5000, true),
		make_policy(5, 10 * SECOND, false), make_policy(6, 300, false),
		make_policy(7, 60 * MINUTE, false)};
	uint32_t limits[MODEL_POLICIES] = {5, 50, 20, 3, 30, 2, 1000};
	struct region r = make_region(clients, 1 << 20);
	struct answer want, got = {0};
	usec_t now = ((usec_t)1 << 33) - 30 * SECOND;
	uint64_t refused = 0, shadowed = 0, partly = 0;

	memset(model, 0, sizeof(model));
	for (unsigned op = 0; op < ops; op++) {
		unsigned which[POLICY_MAX_APPLIED], c = (unsigned)rnd(max_clients);
		struct table_ask ask[POLICY_MAX_APPLIED];
		unsigned asks = pick_asks(policy, which, ask, limits);
		unsigned n = rnd(10) ? 1 : 1 + (unsigned)rnd(rnd(10) ? 8 : 256);
		struct client_id id = client(c);
		now = next_moment(now, &got);
		if (rnd(4)) { /* rightly or wrongly */
			struct client_id expected = client(rnd(4) ? c : (uint32_t)rnd(max_clients));
			table_expect(r.t, &expected, ask[0].policy->key);
		}
		if (rnd(8) == 0) {
			model_admit(c, which, ask, asks, n, now, false, &want);
			assert_int_equal(table_peek(r.t, &id, ask, asks, n, now, &got.granted, got.out,
						    &got.refused_by, &got.shadow_over),
					 TABLE_OK);
			compare(&got, &want, asks);
		}
		model_admit(c, which, ask, asks, n, now, true, &want);
		assert_int_equal(table_admit(r.t, &id, ask, asks, n, now, &got.granted, got.out,
					     &got.refused_by, &got.shadow_over),
				 TABLE_OK);
		compare(&got, &want, asks);
		assert_int_equal(table_decided_at(r.t), now);
		refused += got.refused_by != 0;
		shadowed += got.shadow_over != 0;
		partly += got.granted && got.granted < n;
		if (op % 10000 == 0)
			assert_int_equal(table_check(r.t), 0);
	}
	assert_int_equal(table_check(r.t), 0);
	assert_int_equal(stats(&r).evictions, 0);
	assert_true(refused > ops / 20 && shadowed > ops / 20 && partly > ops / 100 &&
		    ops - refused > ops / 20);
	free_region(&r);
}

static void test_model(void **state)
{
	(void)state;
	seed = 20240607;
	run_model(1000, MODEL_CLIENTS, 800000);
	run_model(10, 2, 400000);
	run_model(30, 3, 300000);
}

/* Decisions */

static void test_refused_uses_nothing(void **state)
{
	struct region r = make_region(100, 64000);
	struct policy site = make_policy(1, MINUTE, false), login = make_policy(2, MINUTE, false),
		      watch = make_policy(3, MINUTE, true);
	struct table_ask ask[3] = {{&site, 100}, {&login, 5}, {&watch, 3}};
	struct window_state out[POLICY_MAX_APPLIED];
	unsigned granted, refused, shadow;
	struct client_id c = client(1);

	(void)state;
	assert_int_equal(table_admit(r.t, &c, ask, 3, 8, 1000, &granted, out, &refused, &shadow), TABLE_OK);
	assert_int_equal(granted, 5);
	assert_int_equal(refused, 1u << 1);
	assert_int_equal(shadow, 1u << 2);
	assert_int_equal(out[0].used, 5);
	assert_int_equal(out[0].retry_after_us, 0);
	assert_int_equal(out[1].remaining, 0);
	assert_int_equal(out[1].retry_after_us, MINUTE);
	assert_int_equal(out[2].used, 3);
	assert_int_equal(table_admit(r.t, &c, ask, 3, 1, 2000, &granted, out, &refused, &shadow), TABLE_OK);
	assert_int_equal(granted, 0);
	assert_int_equal(out[0].used, 5);
	assert_int_equal(out[1].retry_after_us, MINUTE - 1000);
	free_region(&r);
}

static void test_no_policy_and_no_limit(void **state)
{
	struct region r = make_region(100, 64000);
	struct policy p = make_policy(1, MINUTE, false);
	struct window_state out[POLICY_MAX_APPLIED];
	unsigned granted, refused, shadow;
	struct client_id c = client(1);

	(void)state;
	assert_int_equal(table_admit(r.t, &c, NULL, 0, 3, 5, &granted, out, &refused, &shadow), TABLE_OK);
	assert_int_equal(granted, 3);
	assert_int_equal(refused | shadow, 0);
	assert_int_equal(admit(r.t, &p, 0, c, 1, 5, out), 0);
	assert_int_equal(out[0].retry_after_us, MINUTE);
	assert_int_equal(stats(&r).entries, 0);
	assert_int_equal(admit(r.t, &p, 3, c, 1, 5, out), 1);
	assert_int_equal(admit(r.t, &p, 0, c, 1, 6, out), 0);
	assert_int_equal(out[0].retry_after_us, MINUTE);
	free_region(&r);
}

/* Another process has read the clock later and decided first: time in the bucket stays where it is. */
static void test_time_never_goes_back(void **state)
{
	struct region r = make_region(10, 64000);
	struct policy p = make_policy(1, 1000, false);
	struct window_state out;

	(void)state;
	assert_int_equal(admit(r.t, &p, 1, client(1), 1, 5000, NULL), 1);
	assert_int_equal(admit(r.t, &p, 1, client(1), 1, 6000, NULL), 1);
	assert_int_equal(admit(r.t, &p, 1, client(1), 1, 5990, &out), 0);
	assert_int_equal(table_decided_at(r.t), 6000);
	assert_int_equal(out.retry_after_us, 1010); /* from the caller's own time to 7000 */
	/* A client that was forgotten as expired is not admitted as of a moment before that. */
	assert_int_equal(admit(r.t, &p, 1, client(2), 1, 9000, NULL), 1);
	table_sweep(r.t, 9500, 10);
	assert_int_equal(stats(&r).entries, 1);
	assert_int_equal(admit(r.t, &p, 1, client(1), 1, 6999, NULL), 1);
	assert_int_equal(table_decided_at(r.t), 9500);
	free_region(&r);
}

static void test_lowered_limit(void **state)
{
	struct region r = make_region(10, 64000);
	struct policy p = make_policy(1, MINUTE, false);
	struct window_state out;

	(void)state;
	for (usec_t now = 1; now <= 100; now++)
		assert_int_equal(admit(r.t, &p, 100, client(1), 1, now, NULL), 1);
	assert_int_equal(admit(r.t, &p, 10, client(1), 1, 200, &out), 0);
	assert_int_equal(out.used, 100);
	assert_int_equal(out.retry_after_us, MINUTE + 91 - 200);
	assert_int_equal(admit(r.t, &p, 10, client(1), 1, MINUTE + 90, &out), 0);
	assert_int_equal(out.retry_after_us, 1);
	assert_int_equal(admit(r.t, &p, 10, client(1), 1, MINUTE + 91, &out), 1);
	assert_int_equal(out.retry_after_us, 1);
	free_region(&r);
}

/* Full */

static void test_eviction_order(void **state)
{
	struct region r = make_region(10, 64000); /* one bucket of 16 */
	struct policy p = make_policy(1, MINUTE, false);
	usec_t now = SECOND;

	(void)state;
	assert_int_equal(stats(&r).slots, 16);
	for (unsigned i = 0; i < 16; i++) /* client 0 used 1 of 10, 1 used 2, ... from 9 on all 10 */
		assert_int_equal(admit(r.t, &p, 10, client(i), 10 < i + 1 ? 10 : i + 1, now + 2000 * i, NULL),
				 10 < i + 1 ? 10 : i + 1);
	now += 100000;
	for (unsigned i = 0; i < 9; i++) { /* each newcomer is full at once, and the least used goes */
		assert_int_equal(admit(r.t, &p, 10, client(100 + i), 10, now + i, NULL), 10);
		assert_int_equal(used(r.t, &p, client(i), now + i), 0);
		assert_int_equal(stats(&r).evictions, i + 1);
	}
	for (unsigned i = 9; i < 16; i++) /* none at its limit was forgotten */
		assert_int_equal(used(r.t, &p, client(i), now + 20), 10);
	/* Now all are at their limit: the one untouched longest goes. A refused client counts as touched. */
	assert_int_equal(admit(r.t, &p, 10, client(9), 1, now + 3000, NULL), 0);
	assert_int_equal(admit(r.t, &p, 10, client(200), 1, now + 6000, NULL), 1);
	assert_int_equal(used(r.t, &p, client(9), now + 6000), 10);
	assert_int_equal(used(r.t, &p, client(10), now + 6000), 0);
	/* And once something has expired, nothing that counts is evicted. */
	assert_int_equal(stats(&r).evictions, 10);
	assert_int_equal(admit(r.t, &p, 10, client(300), 1, SECOND + MINUTE + 32000, NULL), 1);
	assert_int_equal(stats(&r).evictions, 10);
	assert_int_equal(table_check(r.t), 0);
	free_region(&r);
}

/* What Redis refused counts as at its limit too; what it said counts as used. */
static void test_eviction_of_said(void **state)
{
	struct region r = make_region(10, 0);
	struct policy p = make_policy(1, MINUTE, false);
	struct table_ask ask = {&p, 100};
	usec_t until, now = SECOND;
	struct window_state last;

	(void)state;
	for (unsigned i = 0; i < 16; i++) {
		struct window_state said = {.limit = 100, .used = i == 3 ? 5 : 50, .reset_us = MINUTE};
		struct client_id c = client(i);
		assert_int_equal(
			table_refusal_set(r.t, &c, &ask, now, 1, 0, 0, i == 2 ? now + 1000 : 0, &said, now),
			TABLE_OK);
	}
	struct client_id c = client(50);
	struct window_state said = {.limit = 100, .used = 7};
	assert_int_equal(table_refusal_set(r.t, &c, &ask, now, 1, 0, 0, 0, &said, now), TABLE_OK);
	c = client(3);
	assert_int_equal(table_refusal_get(r.t, &c, &ask, now, 1, &until, &last), TABLE_OK);
	assert_int_equal(last.limit, 0);
	c = client(2);
	assert_int_equal(table_refusal_get(r.t, &c, &ask, now, 1, &until, &last), TABLE_OK);
	assert_int_equal(until, now + 1000);
	free_region(&r);
}

/* Four policies of a client in a bucket that is full of others: none may push out another. */
static void test_eviction_spares_own(void **state)
{
	struct region r = make_region(10, 64000);
	struct policy p[4], other = make_policy(9, MINUTE, false);
	struct table_ask ask[4];
	struct window_state out[POLICY_MAX_APPLIED];
	unsigned granted, refused, shadow;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		p[i] = make_policy(i + 1, MINUTE, false);
		ask[i] = (struct table_ask){&p[i], 1000};
	}
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(admit(r.t, &other, 10, client(i), 10, SECOND, NULL), 10);
	for (unsigned i = 0; i < 50; i++) {
		struct client_id c = client(1000);
		assert_int_equal(
			table_admit(r.t, &c, ask, 4, 1, SECOND + i, &granted, out, &refused, &shadow),
			TABLE_OK);
		for (unsigned k = 0; k < 4; k++)
			assert_int_equal(out[k].used, i + 1);
	}
	assert_int_equal(stats(&r).evictions, 4);
	assert_int_equal(table_check(r.t), 0);
	free_region(&r);
}

static void test_planned_clients_fit(void **state)
{
	const unsigned n = 200000;
	struct region r = make_region(n, 0);
	struct policy p = make_policy(77, MINUTE, false);

	(void)state;
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(admit(r.t, &p, 1000, client(i), 1, SECOND + i, NULL), 1);
	assert_true(stats(&r).evictions < n / 100);
	assert_int_equal(stats(&r).entries + stats(&r).evictions, n);
	assert_int_equal(stats(&r).chunks_used, 0);
	table_sweep(r.t, 3 * MINUTE, UINT32_MAX);
	assert_int_equal(stats(&r).entries, 0);
	free_region(&r);
}

/* A pool far too small: nobody gets more than the limit, everybody gets something, and expired logs make
 * room. */
static void test_dry_pool(void **state)
{
	const unsigned clients = 60, limit = 50;
	struct region r = make_region(200, 20 * sizeof(struct window_chunk));
	struct policy p = make_policy(5, SECOND, false);
	static struct model m[60];
	uint64_t refusals = 0;
	usec_t now = SECOND;

	(void)state;
	seed = 4711;
	memset(m, 0, sizeof(m));
	for (unsigned op = 0; op < 300000; op++) {
		unsigned c = (unsigned)rnd(clients);
		struct window_state out;
		now += (usec_t)rnd(700);
		unsigned before = model_used(&m[c], SECOND, now);
		unsigned granted = admit(r.t, &p, limit, client(c), 1, now, &out);
		assert_true(before + granted <= limit);
		assert_true(out.used >= before + granted && out.used <= limit);
		if (granted)
			m[c].t[m[c].tail++ % MODEL_TIMES] = now;
		refusals += !granted;
		if (op % 1000 == 0)
			assert_int_equal(table_check(r.t), 0);
	}
	assert_true(stats(&r).merges > 0 && refusals > 1000);
	assert_true(stats(&r).chunks_used <= 20);
	for (unsigned c = 0; c < clients; c++)
		assert_true(m[c].tail > 10 * limit);
	/* Long after, one client alone has the pool to itself and is exact again. */
	now += MINUTE;
	uint64_t merges = stats(&r).merges;
	for (unsigned i = 0; i < limit; i++)
		assert_int_equal(admit(r.t, &p, limit, client(1), 1, now + i, NULL), 1);
	for (unsigned i = 0; i < limit; i++)
		assert_int_equal(admit(r.t, &p, limit, client(1), 2, now + SECOND + i, NULL), 1);
	assert_int_equal(stats(&r).merges, merges);
	free_region(&r);
}

/* One client holds the whole pool: it gives up some of its sharpness, so that a newcomer can have any at all.
 */
static void test_dry_pool_is_shared(void **state)
{
	struct region r = make_region(100, 20 * sizeof(struct window_chunk));
	struct policy p = make_policy(5, MINUTE, false);
	struct window_state out;

	(void)state;
	for (unsigned i = 0; i <= 220; i++)
		assert_int_equal(admit(r.t, &p, 221, client(1), 1, SECOND + i, NULL), 1);
	assert_int_equal(stats(&r).chunks_used, 20);
	assert_int_equal(admit(r.t, &p, 221, client(1), 1, 2 * SECOND, &out), 0);
	assert_int_equal(out.retry_after_us, MINUTE - SECOND);
	assert_int_equal(stats(&r).merges, 0);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(admit(r.t, &p, 221, client(2), 1, 2 * SECOND + i, NULL), 1);
	assert_true(stats(&r).merges > 0);
	/* The first record took the second one's time, and so does what the client is told. */
	assert_int_equal(admit(r.t, &p, 221, client(1), 1, 3 * SECOND, &out), 0);
	assert_int_equal(out.retry_after_us, MINUTE - 2 * SECOND + 1);
	/* The newcomer's own are exact. */
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(used(r.t, &p, client(2), MINUTE + 2 * SECOND + i - 1), 5 - i);
		assert_int_equal(used(r.t, &p, client(2), MINUTE + 2 * SECOND + i), 4 - i);
	}
	assert_int_equal(table_check(r.t), 0);
	free_region(&r);
}

/* What the store said */

static void test_refusals(void **state)
{
	struct region r = make_region(100, 0);
	struct policy p = make_policy(1, MINUTE, false);
	struct table_ask ask = {&p, 100}, raised = {&p, 200};
	struct window_state said = {.limit = 100, .used = 100, .reset_us = 50 * SECOND}, last;
	struct client_id c = client(1);
	usec_t until;

	(void)state;
	assert_int_equal(table_refusal_get(r.t, &c, &ask, 1000, 5, &until, &last), TABLE_OK);
	assert_int_equal(until, 0);
	assert_int_equal(last.limit, 0);
	assert_int_equal(table_refusal_set(r.t, &c, &ask, 1000, 5, 0, 0, 9000, &said, 900), TABLE_OK);
	assert_int_equal(table_refusal_get(r.t, &c, &ask, 8999, 5, &until, &last), TABLE_OK);
	assert_int_equal(until, 9000);
	assert_int_equal(last.retry_after_us, 1);
	assert_int_equal(last.used, 100);
	assert_int_equal(last.remaining, 0);
	assert_int_equal(last.reset_us, 50 * SECOND + 900 - 8999);
	assert_int_equal(table_refusal_get(r.t, &c, &ask, 9000, 5, &until, &last), TABLE_OK);
	assert_int_equal(until, 0);
	assert_int_equal(last.limit, 100);
	/* Under another limit or a newer generation it is void; under an older one it holds. */
	assert_int_equal(table_refusal_get(r.t, &c, &raised, 8000, 5, &until, &last), TABLE_OK);
	assert_int_equal(until, 0);
	assert_int_equal(table_refusal_get(r.t, &c, &ask, 8000, 6, &until, &last), TABLE_OK);
	assert_int_equal(until, 0);
	assert_int_equal(last.limit, 0);
	assert_int_equal(table_refusal_get(r.t, &c, &ask, 8000, 4, &until, &last), TABLE_OK);
	assert_int_equal(until, 9000);
	/* The gets that refused counted. */
	struct table_top_row row;
	unsigned rows;
	table_top(r.t, 1, 8000, &row, &rows);
	assert_int_equal(rows, 1);
	assert_int_equal(row.refused, 2);
	assert_int_equal(row.used, 100);
	/* After a window it is forgotten. */
	assert_int_equal(table_refusal_get(r.t, &c, &ask, 900 + MINUTE - 1, 5, &until, &last), TABLE_OK);
	assert_int_equal(last.used, 100);
	assert_int_equal(table_refusal_get(r.t, &c, &ask, 900 + MINUTE, 5, &until, &last), TABLE_OK);
	assert_int_equal(last.used, 0);
	free_region(&r);
}

static void test_refusals_out_of_order(void **state)
{
	struct region r = make_region(100, 0);
	struct policy p = make_policy(1, MINUTE, false);
	struct table_ask ask = {&p, 100}, raised = {&p, 200};
	struct window_state full = {.limit = 100, .used = 100}, part = {.limit = 100, .used = 40};
	struct client_id c = client(1);
	struct window_state last;
	usec_t until;

	(void)state;
	/* The newer answer came first: its state stays, and the longer refusal stays. */
	table_refusal_set(r.t, &c, &ask, 1000, UINT32_MAX, 0, 0, 5000, &full, 900);
	table_refusal_set(r.t, &c, &ask, 1100, UINT32_MAX, 0, 0, 4000, &part, 800);
	table_refusal_get(r.t, &c, &ask, 1200, UINT32_MAX, &until, &last);
	assert_int_equal(until, 5000);
	assert_int_equal(last.used, 100);
	/* Generation 0 follows UINT32_MAX: what was said before is gone, and answers of before are not taken.
	 */
	table_refusal_set(r.t, &c, &ask, 1300, 0, 0, 0, 0, &part, 1250);
	table_refusal_set(r.t, &c, &ask, 1400, UINT32_MAX, 0, 0, 9000, &full, 1390);
	table_refusal_get(r.t, &c, &ask, 1500, 0, &until, &last);
	assert_int_equal(until, 0);
	assert_int_equal(last.used, 40);
	/* A refusal under the old limit is void once the store spoke under the new one. */
	table_refusal_set(r.t, &c, &ask, 1600, 0, 0, 0, 9000, &full, 1600);
	table_refusal_set(r.t, &c, &raised, 1700, 0, 0, 0, 0, &part, 1700);
	table_refusal_get(r.t, &c, &raised, 1800, 0, &until, &last);
	assert_int_equal(until, 0);
	assert_int_equal(last.limit, 200);
	/* No refusal outlasts the window. */
	table_refusal_set(r.t, &c, &raised, 2000, 0, 0, 0, USEC_NEVER, &full, 1900);
	table_refusal_get(r.t, &c, &raised, 2000, 0, &until, &last);
	assert_int_equal(until, 1900 + MINUTE);
	free_region(&r);
}

/* Commands */

static void test_forget(void **state)
{
	struct region r = make_region(1000, 1 << 20);
	struct policy a = make_policy(1, MINUTE, false), b = make_policy(2, MINUTE, false);
	struct table_ask ask = {&b, 10};
	struct window_state said = {.limit = 10, .used = 10}, last;
	struct client_id one = client(1), two = client(2);
	usec_t until;

	(void)state;
	for (usec_t now = 1; now < 50; now++) {
		admit(r.t, &a, 100, one, 1, now, NULL);
		admit(r.t, &a, 100, two, 1, now, NULL);
		admit(r.t, &b, 100, one, 1, now, NULL);
	}
	table_refusal_set(r.t, &one, &ask, 60, 1, 0, 0, 5000, &said, 60);
	assert_int_equal(table_forget(r.t, &one, &a), TABLE_OK);
	assert_int_equal(used(r.t, &a, one, 60), 0);
	assert_int_equal(used(r.t, &b, one, 60), 49);
	assert_int_equal(table_forget(r.t, &one, NULL), TABLE_OK);
	assert_int_equal(used(r.t, &b, one, 60), 0);
	table_refusal_get(r.t, &one, &ask, 70, 1, &until, &last);
	assert_int_equal(until, 0);
	assert_int_equal(used(r.t, &a, two, 60), 49);
	assert_int_equal(table_forget(r.t, &two, NULL), TABLE_OK);
	assert_int_equal(table_forget(r.t, &two, &a), TABLE_OK); /* nothing there: nothing to do */
	assert_int_equal(stats(&r).entries, 0);
	assert_int_equal(stats(&r).chunks_used, 0);
	assert_int_equal(table_check(r.t), 0);
	free_region(&r);
}

static void test_top(void **state)
{
	struct region r = make_region(1000, 1 << 20);
	struct policy p = make_policy(31, MINUTE, false);
	struct table_top_row rows[10];
	unsigned count;

	(void)state;
	for (unsigned i = 1; i <= 200; i++)
		admit(r.t, &p, 180, client(i), i, SECOND, NULL);
	table_top(r.t, 10, 2 * SECOND, rows, &count);
	assert_int_equal(count, 10);
	for (unsigned i = 0; i < 10; i++) { /* 180 to 200 have all used 180; the most refused stand first */
		struct client_id c = client(200 - i);
		assert_memory_equal(&rows[i].client, &c, sizeof(c));
		assert_int_equal(rows[i].used, 180);
		assert_int_equal(rows[i].limit, 180);
		assert_int_equal(rows[i].refused, 20 - i);
		assert_int_equal(rows[i].policy_key, 31);
		assert_int_equal(rows[i].window_us, MINUTE);
	}
	table_top(r.t, 0, 2 * SECOND, rows, &count);
	assert_int_equal(count, 0);
	admit(r.t, &p, 180, client(1), 1, 2 * SECOND, NULL);
	table_top(r.t, 10, SECOND + MINUTE, rows, &count); /* all others have expired */
	assert_int_equal(count, 1);
	assert_int_equal(rows[0].used, 1);
	free_region(&r);
}

/* Several processes */

#define PROCESSES 4u
#define LOGGED 150000u

struct event {
	usec_t at;
	uint16_t client;
	uint8_t granted, asked;
};

struct shared_log {
	uint64_t ops[PROCESSES]; /* how far each has come; atomic */
	uint32_t bad[PROCESSES];
	struct event event[PROCESSES][LOGGED];
};

static void hammer(const struct region *r, struct shared_log *log, unsigned me, const struct policy *p,
		   uint32_t limit, unsigned clients)
{
	struct table *t = table_attach(r->mem, r->bytes, (uint16_t)(me + 2));
	struct table_ask ask = {p, limit};

	seed = 77777u * (me + 1);
	for (unsigned i = 0; i < LOGGED; i++) {
		struct window_state out[POLICY_MAX_APPLIED];
		unsigned n = rnd(10) ? 1 : 1 + (unsigned)rnd(4), which = (unsigned)rnd(clients), granted, by,
			 shadow;
		struct client_id c = client(which);
		usec_t now = clock_mono();
		while (table_admit(t, &c, &ask, 1, n, now, &granted, out, &by, &shadow) == TABLE_BUSY)
			now = clock_mono();
		usec_t at = table_decided_at(t);
		log->bad[me] += at < now || at > clock_mono();
		log->event[me][i] = (struct event){at, (uint16_t)which, (uint8_t)granted, (uint8_t)n};
	}
	_exit(0);
}

static int by_time(const void *a, const void *b)
{
	const struct event *x = a, *y = b;
	return x->at < y->at ? -1 : x->at > y->at;
}

/* No window holds more than the limit, and none is refused in a window that holds less: some order explains
 * it. */
static void judge(const struct event *event, unsigned events, unsigned which, uint32_t limit, usec_t window)
{
	unsigned from = 0, i = 0, refused = 0;
	uint32_t in_window = 0;

	while (i < events) {
		usec_t now = event[i].at;
		bool refusal = false;
		for (; i < events && event[i].at == now;
		     i++) { /* those of one moment may have come in any order */
			if (event[i].client != which)
				continue;
			in_window += event[i].granted;
			refusal |= event[i].granted < event[i].asked;
		}
		for (; event[from].at + window <= now; from++)
			in_window -= event[from].client == which ? event[from].granted : 0;
		assert_true(in_window <= limit);
		assert_true(!refusal || in_window == limit);
		refused += refusal;
	}
	assert_true(refused > 100);
}

static void test_processes_are_exact(void **state)
{
	const unsigned clients = 5, limit = 50;
	struct policy p = make_policy(1, 3000, false);
	struct region r = make_region(10, 1 << 20); /* one bucket: they all meet in it */
	struct shared_log *log = share(sizeof(*log));
	pid_t pid[PROCESSES];

	(void)state;
	for (unsigned i = 0; i < PROCESSES; i++) {
		pid[i] = child_fork();
		assert_true(pid[i] >= 0);
		if (pid[i] == 0)
			hammer(&r, log, i, &p, limit, clients);
	}
	for (unsigned i = 0; i < PROCESSES; i++) {
		int status;
		assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
		assert_int_equal(status, 0);
		assert_int_equal(log->bad[i], 0);
	}
	struct event *all = &log->event[0][0];
	qsort(all, (size_t)PROCESSES * LOGGED, sizeof(*all), by_time);
	for (unsigned c = 0; c < clients; c++)
		judge(all, PROCESSES * LOGGED, c, limit, p.window_us);
	assert_int_equal(table_check(r.t), 0);
	assert_int_equal(stats(&r).evictions, 0);
	munmap(log, sizeof(*log));
	free_region(&r);
}

/* Runs for ever: several policies, few chunks, many clients, so that every path is walked under fire. */
static void churn(const struct region *r, struct shared_log *log, unsigned me, uint64_t salt)
{
	struct table *t = table_attach(r->mem, r->bytes, (uint16_t)(me + 2));
	struct policy p[3] = {make_policy(1, 2000, false), make_policy(2, 500, true),
			      make_policy(3, 20000, false)};
	struct table_ask ask[3] = {{&p[0], 40}, {&p[1], 5}, {&p[2], 300}};

	seed = salt;
	for (;;) {
		struct window_state out[POLICY_MAX_APPLIED];
		unsigned granted, by, shadow;
		struct client_id c = client((uint32_t)rnd(rnd(4) ? 40 : 400));
		unsigned first = (unsigned)rnd(3);
		if (rnd(100) == 0)
			(void)table_forget(t, &c, &p[first]);
		else
			(void)table_admit(t, &c, ask + first, 1 + (unsigned)rnd(3 - first),
					  1 + (unsigned)rnd(5), clock_mono(), &granted, out, &by, &shadow);
		__atomic_fetch_add(&log->ops[me], 1, __ATOMIC_RELAXED);
	}
}

static pid_t start_churn(const struct region *r, struct shared_log *log, unsigned me, uint64_t salt)
{
	pid_t pid = child_fork();

	assert_true(pid >= 0);
	if (pid == 0)
		churn(r, log, me, salt);
	return pid;
}

static void await_progress(struct shared_log *log, unsigned me, uint64_t by)
{
	uint64_t from = __atomic_load_n(&log->ops[me], __ATOMIC_RELAXED);

	while (__atomic_load_n(&log->ops[me], __ATOMIC_RELAXED) < from + by)
		;
}

static void kill_and_wait(pid_t pid)
{
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void test_kill_at_random_moments(void **state)
{
	struct region r = make_region(40, 100 * sizeof(struct window_chunk));
	struct shared_log *log = share(sizeof(*log));
	unsigned kills = 0, wiped = 0;
	pid_t pid[3];

	(void)state;
	seed = 31337;
	for (unsigned i = 0; i < 3; i++)
		pid[i] = start_churn(&r, log, i, i + 1);
	for (; kills < 300 || (wiped < 20 && kills < 5000); kills++) {
		unsigned i = (unsigned)rnd(3);
		uint64_t next = rnd(1u << 30) + 1;
		await_progress(log, i, 1 + rnd(300));
		kill_and_wait(pid[i]);
		unsigned held = table_locked_by(r.mem, (uint16_t)(i + 2));
		assert_int_equal(table_recover(r.mem, (uint16_t)(i + 2)), held);
		assert_int_equal(table_recover(r.mem, (uint16_t)(i + 2)), 0);
		wiped += held;
		pid[i] = start_churn(&r, log, i, next);
	}
	for (unsigned i = 0; i < 3; i++) {
		await_progress(log, i, 100); /* nobody is stuck */
		kill_and_wait(pid[i]);
		kills++;
		wiped += table_recover(r.mem, (uint16_t)(i + 2));
	}
	assert_true(wiped >= 20);
	assert_int_equal(stats(&r).recovered, wiped);
	long lost = table_check(r.t);
	assert_true(lost >= 0);
	/* At most one a crash, and only when it falls between two instructions. */
	assert_true((unsigned long)lost <= kills / 20);
	/* What is left works, and every chunk that was not lost can be had. */
	table_sweep(r.t, clock_mono() + MINUTE, 100);
	assert_int_equal(table_check(r.t), lost);
	print_message("%u kills, %u buckets wiped, %ld chunks lost\n", kills, wiped, lost);
	munmap(log, sizeof(*log));
	free_region(&r);
}

/* Stops the process until it is caught with a lock in its hands. */
static void stop_in_the_lock(const struct region *r, pid_t pid)
{
	int status;

	for (;;) {
		assert_int_equal(kill(pid, SIGSTOP), 0);
		assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
		assert_true(WIFSTOPPED(status));
		if (table_locked_by(r->mem, 2))
			return;
		assert_int_equal(kill(pid, SIGCONT), 0);
	}
}

static void test_stopped_holder(void **state)
{
	struct region r = make_region(1000, 1 << 20);
	struct shared_log *log = share(sizeof(*log));
	struct policy p = make_policy(50, MINUTE, false); /* not one of those that the other churns */
	struct table_ask ask = {&p, 1000};
	unsigned granted, by, shadow, busy = 0;
	struct window_state out[POLICY_MAX_APPLIED], last;
	struct client_id stuck = client(0);
	usec_t until;
	pid_t pid = start_churn(&r, log, 0, 5);

	(void)state;
	await_progress(log, 0, 20000); /* no bucket is empty any more */
	stop_in_the_lock(&r, pid);
	unsigned held = table_locked_by(r.mem, 2);
	usec_t started = clock_mono();
	for (unsigned i = 0; i < 10000; i++) {
		struct client_id c = client(i);
		if (table_admit(r.t, &c, &ask, 1, 1, clock_mono(), &granted, out, &by, &shadow) == TABLE_OK) {
			assert_int_equal(granted, 1);
			continue;
		}
		stuck = c;
		busy++;
	}
	assert_true(clock_mono() - started < 5 * SECOND); /* bounded: not one of them waited for the lock */
	assert_true(busy > 0 && busy <= held * 10000 / 25);
	assert_int_equal(stats(&r).busy, busy);
	assert_int_equal(table_refusal_get(r.t, &stuck, &ask, 5, 1, &until, &last), TABLE_BUSY);
	assert_int_equal(table_refusal_set(r.t, &stuck, &ask, 5, 1, 0, 0, 9, &last, 5), TABLE_BUSY);
	assert_int_equal(table_forget(r.t, &stuck, &p), TABLE_BUSY);
	struct client_id nobody = client(UINT32_MAX);
	assert_int_equal(table_forget(r.t, &nobody, NULL), TABLE_BUSY);
	assert_int_equal(kill(pid, SIGCONT), 0);
	await_progress(log, 0, 100);
	while (table_admit(r.t, &stuck, &ask, 1, 1, clock_mono(), &granted, out, &by, &shadow) == TABLE_BUSY)
		;
	assert_int_equal(granted, 1);
	kill_and_wait(pid);
	table_recover(r.mem, 2);
	assert_true(table_check(r.t) >= 0);
	munmap(log, sizeof(*log));
	free_region(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_format),
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_refused_uses_nothing),
		cmocka_unit_test(test_no_policy_and_no_limit),
		cmocka_unit_test(test_time_never_goes_back),
		cmocka_unit_test(test_lowered_limit),
		cmocka_unit_test(test_eviction_order),
		cmocka_unit_test(test_eviction_of_said),
		cmocka_unit_test(test_eviction_spares_own),
		cmocka_unit_test(test_planned_clients_fit),
		cmocka_unit_test(test_dry_pool),
		cmocka_unit_test(test_dry_pool_is_shared),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_refusals_out_of_order),
		cmocka_unit_test(test_forget),
		cmocka_unit_test(test_top),
		cmocka_unit_test(test_processes_are_exact),
		cmocka_unit_test(test_kill_at_random_moments),
		cmocka_unit_test(test_stopped_holder),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
