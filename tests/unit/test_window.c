/* SPDX-License-Identifier: MIT */
/*
 * The window against a naive model: a queue with one time for each admission. At the resolution of 1 us they
 * must agree in everything; with ticks and coarse units the model rounds as window.h promises, and the true
 * times are kept beside it to see that rounding is against the client and by no more than stated.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>
#include <cmocka.h>

#include "ratelimit/window.h"

#define OWNER 7u
#define SECOND USEC_PER_SEC
#define HOUR (3600 * SECOND)
#define QUEUE (1u << 18)

struct queue {
	usec_t t[QUEUE];
	uint64_t head, tail;
};

static uint64_t seed;

static uint64_t rnd(uint64_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 11) % below;
}

static struct window_store make_store(uint32_t chunks)
{
	struct window_store s = {calloc(1, sizeof(*s.pool)), calloc(chunks + 1, sizeof(*s.chunk))};

	assert_true(s.pool && s.chunk);
	s.pool->chunks = chunks;
	return s;
}

static void free_store(struct window_store *s)
{
	free(s->pool);
	free(s->chunk);
}

static void check(const struct window_store *s, const struct window_log *l)
{
	uint8_t *seen = calloc(s->pool->chunks + 1, 1);
	long chunks = window_check(s, l, OWNER, seen);

	assert_int_equal(chunks, s->pool->used);
	for (uint32_t i = (uint32_t)s->pool->free; i; i = s->chunk[i].next) {
		assert_int_equal(s->chunk[i].owner, 0);
		assert_int_equal(seen[i]++, 0);
		chunks++;
	}
	assert_int_equal(chunks, s->pool->fresh);
	free(seen);
}

static usec_t at(const struct queue *q, uint64_t i)
{
	return q->t[(q->head + i) % QUEUE];
}

static uint64_t length(const struct queue *q)
{
	return q->tail - q->head;
}

static void push(struct queue *q, usec_t t, unsigned n)
{
	while (n--) {
		assert_true(length(q) < QUEUE);
		q->t[q->tail++ % QUEUE] = t;
	}
}

static void expire(struct queue *q, usec_t window, usec_t now)
{
	while (length(q) && at(q, 0) + window <= now)
		q->head++;
}

struct run {
	usec_t window;
	uint32_t limit;
	unsigned ops;
	bool fickle; /* the limit changes */
};

static usec_t round_up(usec_t a, usec_t to)
{
	return (a + to - 1) / to * to;
}

/* When the model says this is noted: at the end of its unit and of its tick. */
static usec_t noted_at(const struct queue *q, usec_t window, uint32_t limit, usec_t now)
{
	usec_t unit = window > (usec_t)WINDOW_SPAN ? window / (usec_t)WINDOW_SPAN + 1 : 1;
	usec_t tick = limit > 10000 ? window / unit / 8192 : 1;
	usec_t t = round_up(now, unit);

	if (tick > 1)
		t = round_up(t, unit * tick);
	return length(q) && at(q, length(q) - 1) > t ? at(q, length(q) - 1) : t;
}

/*
 * Moments that matter: bursts, a steady pace at about the limit, a hair before, at and after the moment when
 * something expires (mostly when the window is full, so that it is full most of the time), and now and then a
 * long silence.
 */
static usec_t step(const struct queue *q, const struct run *r, usec_t now)
{
	usec_t pace = r->window / r->limit + 1;
	bool full = length(q) >= r->limit;

	if (rnd(4000 + r->limit) == 0) /* the low 32 bits look as if no time had passed */
		return now + ((usec_t)rnd(3) << 32) + (usec_t)rnd(1000);
	if (rnd(1000 + r->limit) == 0)
		return now + (usec_t)rnd((uint64_t)r->window * 2);
	if (length(q) && rnd(full ? 2 : 300) == 0) {
		uint64_t i = rnd(50) ? rnd(4) : rnd(length(q));
		usec_t to = at(q, i < length(q) ? i : 0) + r->window - 1 + (usec_t)rnd(3);
		return to > now ? to : now;
	}
	switch (rnd(8)) {
	case 0:
	case 1:
	case 2:
		return now;
	case 3:
	case 4:
		return now + (usec_t)rnd(3);
	default:
		return now + (usec_t)rnd((uint64_t)pace * 2);
	}
}

/* Mostly one; and, so that large limits are reached too, now and then a good part of the limit. */
static unsigned how_many(uint32_t limit)
{
	uint64_t k = rnd(40);
	return k < 34 ? 1 : k < 39 ? 1 + (unsigned)rnd(8) : 1 + (unsigned)rnd(limit / 4 + 250);
}

static void compare(const struct window_store *s, const struct window_log *l, const struct window_rule *rule,
		    const struct queue *q, uint32_t limit, usec_t now)
{
	uint64_t n = length(q);

	assert_int_equal(l->used, n);
	assert_int_equal(window_remaining(l, limit), n < limit ? limit - n : 0);
	if (n)
		assert_int_equal(window_empty_at(l, rule), at(q, n - 1) + rule->window_us);
	if (n >= limit)
		assert_int_equal(window_free_at(s, l, rule, limit, now), at(q, n - limit) + rule->window_us);
}

/* Over-admission by true times, and a refusal that the stated rounding does not explain. */
static void compare_true(struct queue *real, const struct run *r, const struct window_rule *rule,
			 uint32_t limit, unsigned asked, unsigned granted, usec_t now)
{
	usec_t slack = (usec_t)rule->unit_us * rule->tick + rule->unit_us;

	expire(real, r->window + slack, now);
	push(real, now, granted);
	if (granted && !r->fickle) {
		uint64_t over = length(real) > limit ? length(real) - limit : 0;
		/* The entry that would be one too many has left the true window. */
		if (over)
			assert_true(at(real, over - 1) + r->window <= now);
	}
	if (granted < asked && !r->fickle)
		assert_true(length(real) >= limit);
}

static void run_against_model(const struct run *r)
{
	static struct queue q, real;
	struct window_store s = make_store(60000);
	struct window_log l = {0};
	usec_t now = (usec_t)rnd((uint64_t)1 << 50);

	q.head = q.tail = real.head = real.tail = 0;
	unsigned refusals = 0, full = 0;
	for (unsigned op = 0; op < r->ops; op++) {
		uint32_t limit = r->fickle && rnd(4) == 0 ? 1 + (uint32_t)rnd(r->limit * 2) : r->limit;
		struct window_rule rule = window_rule(r->window, limit);
		unsigned n = how_many(limit);
		now = step(&q, r, now);
		window_expire(&s, &l, &rule, now);
		expire(&q, r->window, now);
		compare(&s, &l, &rule, &q, limit, now);
		unsigned take = window_remaining(&l, limit) < n ? window_remaining(&l, limit) : n;
		if (take) {
			window_note(&s, &l, &rule, OWNER, now, take);
			push(&q, noted_at(&q, r->window, limit, now), take);
		}
		compare(&s, &l, &rule, &q, limit, now);
		compare_true(&real, r, &rule, limit, n, take, now);
		refusals += take < n;
		full += l.used >= limit;
		if (op % 5000 == 0)
			check(&s, &l);
	}
	check(&s, &l);
	assert_int_equal(s.pool->merges, 0);
	assert_true(refusals > r->ops / 40 && full > r->ops / 40 && r->ops - refusals > r->ops / 40);
	window_clear(&s, &l);
	assert_int_equal(s.pool->used, 0);
	check(&s, &l);
	free_store(&s);
}

static void test_model(void **state)
{
	static const struct run runs[] = {
		{10, 3, 60000, false},
		{1000, 1, 60000, false},
		{1000, 7, 100000, true},
		{2 * SECOND, 50, 300000, false},
		{2 * SECOND, 50, 200000, true},
		{60 * SECOND, 1000, 500000, false},
		{60 * SECOND, 1000, 300000, true},
		{60 * SECOND, 10000, 200000, false},
		{1800 * SECOND, 20, 100000, false},
		{1800 * SECOND, 300, 100000, true},
		{HOUR, 100, 100000, false},
		{70 * 60 * SECOND, 30, 100000, false},
		{24 * HOUR, 100, 100000, false},
		{24 * HOUR, 10000, 100000, true},
		{60 * SECOND, 10001, 200000, false},
		{60 * SECOND, 100000, 300000, false},
		{24 * HOUR, 100000, 200000, false},
		{2 * SECOND, 50000, 200000, true},
		{1000, 20000, 100000, false},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(runs) / sizeof(runs[0]); i++) {
		seed = 0x9e3779b97f4a7c15u * (i + 1);
		run_against_model(&runs[i]);
	}
}

/* One admission at t counts until t + window, exclusive, to the microsecond. */
static void test_edge_of_the_window(void **state)
{
	struct window_store s = make_store(10);
	struct window_rule rule = window_rule(60 * SECOND, 2);
	struct window_log l = {0};

	(void)state;
	window_note(&s, &l, &rule, OWNER, 1000, 1);
	window_note(&s, &l, &rule, OWNER, 1001, 1);
	assert_int_equal(window_free_at(&s, &l, &rule, 2, 1001), 60 * SECOND + 1000);
	window_expire(&s, &l, &rule, 60 * SECOND + 999);
	assert_int_equal(l.used, 2);
	window_expire(&s, &l, &rule, 60 * SECOND + 1000);
	assert_int_equal(l.used, 1);
	window_expire(&s, &l, &rule, 60 * SECOND + 1001);
	assert_int_equal(l.used, 0);
	assert_int_equal(s.pool->used, 0);
	free_store(&s);
}

/* Soon after boot CLOCK_MONOTONIC is less than a window. */
static void test_time_before_the_first_window(void **state)
{
	struct window_store s = make_store(10);
	struct window_rule rule = window_rule(24 * HOUR, 5);
	struct window_log l = {0};

	(void)state;
	for (usec_t now = 0; now < 5; now++) {
		window_expire(&s, &l, &rule, now);
		window_note(&s, &l, &rule, OWNER, now, 1);
	}
	assert_int_equal(l.used, 5);
	window_expire(&s, &l, &rule, 24 * HOUR - 1);
	assert_int_equal(l.used, 5);
	window_expire(&s, &l, &rule, 24 * HOUR + 21);
	assert_int_equal(l.used, 0);
	free_store(&s);
}

/* 32 bits of microseconds wrap every 71.6 minutes: a full window of an hour across each wrap. */
static void test_wrap(void **state)
{
	struct window_store s = make_store(100);
	struct window_rule rule = window_rule(HOUR, 100);

	(void)state;
	for (usec_t wrap = 1; wrap < 50; wrap++) {
		struct window_log l = {0};
		usec_t start = (wrap << 32) - HOUR / 2;
		for (usec_t i = 0; i < 100; i++)
			window_note(&s, &l, &rule, OWNER, start + i * HOUR / 100, 1);
		for (usec_t i = 0; i < 100; i++) {
			window_expire(&s, &l, &rule, start + HOUR + i * HOUR / 100 - 1);
			assert_int_equal(l.used, 100 - i);
			window_expire(&s, &l, &rule, start + HOUR + i * HOUR / 100);
			assert_int_equal(l.used, 99 - i);
		}
		check(&s, &l);
	}
	free_store(&s);
}

static void test_large_limit_is_small(void **state)
{
	struct window_store s = make_store(100000);
	struct window_rule rule = window_rule(60 * SECOND, 1000000);
	struct window_log l = {0};
	uint32_t most = 0;

	(void)state;
	for (usec_t now = 1; now < 200 * SECOND; now += 100) {
		window_expire(&s, &l, &rule, now);
		if (window_remaining(&l, 1000000))
			window_note(&s, &l, &rule, OWNER, now, 1);
		most = s.pool->used > most ? s.pool->used : most;
	}
	assert_true(l.used > 599000 &&
		    l.used <= 600200); /* 10,000 a second, and up to two ticks more counted */
	assert_true(most * sizeof(struct window_chunk) <= window_log_bytes(1000000));
	assert_true(window_log_bytes(1000000) < 80000);
	assert_true(window_log_bytes(1000) < 6000);
	free_store(&s);
}

static void test_log_bytes_bound(void **state)
{
	static const uint32_t limits[] = {1, 2, 11, 12, 13, 100, 1000, 10000, 10001, 100000};

	(void)state;
	for (unsigned i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		struct window_store s = make_store(50000);
		struct window_rule rule = window_rule(60 * SECOND, limits[i]);
		struct window_log l = {0};
		seed = 42;
		for (usec_t now = 1, op = 0; op < 100000; op++) {
			now += (usec_t)rnd((uint64_t)(120 * SECOND / limits[i]) + 2);
			window_expire(&s, &l, &rule, now);
			if (window_remaining(&l, limits[i]))
				window_note(&s, &l, &rule, OWNER, now, 1);
			assert_true(s.pool->used * sizeof(struct window_chunk) <=
				    window_log_bytes(limits[i]));
		}
		free_store(&s);
	}
}

/* What the pool could not hold is held against the client: the log never counts less than the truth. */
static void dry_run(uint32_t chunks, uint32_t limit)
{
	static struct queue real;
	struct run r = {2 * SECOND, limit, 100000, false};
	struct window_store s = make_store(chunks);
	struct window_log l = {0};
	usec_t now = 5;
	uint64_t granted = 0;

	real.head = real.tail = 0;
	for (unsigned op = 0; op < r.ops; op++) {
		struct window_rule rule = window_rule(r.window, limit);
		unsigned n = rnd(10) ? 1 : how_many(limit);
		now = step(&real, &r, now);
		window_expire(&s, &l, &rule, now);
		expire(&real, r.window, now);
		assert_true(l.used >= length(&real));
		n = window_remaining(&l, limit) < n ? window_remaining(&l, limit) : n;
		if (n)
			window_note(&s, &l, &rule, OWNER, now, n);
		push(&real, now, n);
		granted += n;
		assert_true(l.used <= limit && length(&real) <= limit);
		assert_true(s.pool->used <= chunks);
		if (op % 100 == 0)
			check(&s, &l);
	}
	assert_true(s.pool->merges > 0);
	assert_true(granted > limit); /* nobody is shut out for ever either */
	free_store(&s);
}

static void test_dry_pool(void **state)
{
	(void)state;
	seed = 99;
	dry_run(0, 50);
	dry_run(1, 50);
	dry_run(2, 50);
	dry_run(3, 1000);
	dry_run(7, 1000);
	dry_run(15, 1000);
}

/* A seed of thousands is one record that needs several places, of which the pool may have too few. */
static void test_heavy_record(void **state)
{
	struct window_rule rule = window_rule(60 * SECOND, 10000);

	(void)state;
	for (uint32_t chunks = 0; chunks < 6; chunks++) {
		struct window_store s = make_store(chunks);
		struct window_log l = {0};
		window_note(&s, &l, &rule, OWNER, 1, 9000);
		window_note(&s, &l, &rule, OWNER, 2, 1);
		window_note(&s, &l, &rule, OWNER, 3, 999);
		assert_int_equal(l.used, 10000);
		check(&s, &l);
		window_expire(&s, &l, &rule, 60 * SECOND + 1);
		/* 11 records of 256 a chunk leave at their own time; the rest as late as its later
		 * neighbours. */
		uint32_t held = chunks * 11 * 256 < 9000 ? chunks * 11 * 256 : 9000;
		assert_int_equal(l.used, 10000 - held);
		check(&s, &l);
		window_expire(&s, &l, &rule, 60 * SECOND + 3);
		assert_int_equal(l.used, 0);
		free_store(&s);
	}
}

static void test_merge_halves(void **state)
{
	struct window_store s = make_store(100);
	struct window_rule rule = window_rule(60 * SECOND, 1000);
	struct window_log l = {0};

	(void)state;
	for (usec_t now = 1; now <= 881; now++)
		window_note(&s, &l, &rule, OWNER, now, 1);
	assert_int_equal(s.pool->used, 80);
	assert_true(window_merge(&s, &l));
	assert_int_equal(s.pool->used, 40);
	assert_int_equal(l.used, 881);
	check(&s, &l);
	window_expire(&s, &l, &rule, 60 * SECOND + 1); /* the first record took the second one's time */
	assert_int_equal(l.used, 881);
	window_expire(&s, &l, &rule, 60 * SECOND + 2);
	assert_int_equal(l.used, 879);
	while (window_merge(&s, &l))
		check(&s, &l);
	assert_int_equal(s.pool->used, 1);
	free_store(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_edge_of_the_window),
		cmocka_unit_test(test_time_before_the_first_window),
		cmocka_unit_test(test_wrap),
		cmocka_unit_test(test_large_limit_is_small),
		cmocka_unit_test(test_log_bytes_bound),
		cmocka_unit_test(test_dry_pool),
		cmocka_unit_test(test_heavy_record),
		cmocka_unit_test(test_merge_halves),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
