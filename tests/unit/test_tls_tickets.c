/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/tls_tickets.h"

#define S USEC_PER_SEC
#define H (3600 * S)

static const uint8_t secret[TICKET_SECRET] = "a secret for tests and no more";

static struct tickets opened(const struct ticket_chain *c, usec_t masters, usec_t workers)
{
	struct ticket_seed seed;
	struct tickets t;
	ticket_chain_seed(c, masters, &seed);
	tickets_open(&t, &seed, workers);
	return t;
}

static bool same(const struct ticket_key *a, const struct ticket_key *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

static void test_keys_rotate(void **state)
{
	struct ticket_chain c;
	(void)state;
	ticket_chain_begin(&c, H, secret, 100 * S);
	struct tickets t = opened(&c, 100 * S, 100 * S);
	struct ticket_key first = t.now;
	assert_false(same(&t.now, &t.before));
	assert_ptr_equal(tickets_find(&t, first.name), &t.now);
	tickets_advance(&t, 100 * S + H - 1);
	assert_true(same(&t.now, &first));
	tickets_advance(&t, 100 * S + H);
	assert_ptr_equal(tickets_find(&t, first.name), &t.before);
	tickets_advance(&t, 100 * S + 2 * H);
	assert_null(tickets_find(&t, first.name));
}

/* Whenever it was started, a worker has the keys of its fellows. */
static void test_workers_agree(void **state)
{
	struct ticket_chain c;
	(void)state;
	ticket_chain_begin(&c, 10 * S, secret, 0);
	struct tickets old = opened(&c, 0, 0);
	for (usec_t now = 0; now < 300 * S; now += 3 * S) {
		ticket_chain_advance(&c, now);
		tickets_advance(&old, now);
		struct tickets fresh = opened(&c, now, now);
		assert_true(same(&fresh.now, &old.now));
		assert_true(now < 10 * S || same(&fresh.before, &old.before));
	}
}

/* The master's clock is the master's: a worker's may be any other, forwards or back. */
static void test_clocks_of_others(void **state)
{
	static const usec_t clocks[] = {0, 1, 7 * 60 * S, -7 * 60 * S, 50LL * 365 * 86400 * S, INT64_MAX / 2};
	struct ticket_chain c;
	(void)state;
	ticket_chain_begin(&c, 10 * S, secret, 1000 * S);
	ticket_chain_advance(&c, 1014 * S);
	struct tickets want = opened(&c, 1014 * S, 1014 * S);
	for (size_t i = 0; i < sizeof(clocks) / sizeof(clocks[0]); i++) {
		struct tickets t = opened(&c, 1014 * S, clocks[i]);
		tickets_advance(&t, clocks[i]);
		assert_true(same(&t.now, &want.now));
		tickets_advance(&t, clocks[i] + 6 * S - 1);
		assert_true(same(&t.now, &want.now));
		tickets_advance(&t, clocks[i] + 6 * S);
		assert_true(same(&t.before, &want.now));
	}
}

/* A clock that leaps, either way, costs neither time nor the rotation. */
static void test_leaps(void **state)
{
	struct ticket_chain c;
	(void)state;
	ticket_chain_begin(&c, S, secret, 1000 * S);
	struct tickets t = opened(&c, 1000 * S, 1000 * S);
	tickets_advance(&t, INT64_MAX - S);
	ticket_chain_advance(&c, INT64_MAX - S);
	struct ticket_key key = t.now;
	tickets_advance(&t, 5 * S);
	ticket_chain_advance(&c, 5 * S);
	assert_true(same(&t.now, &key));
	tickets_advance(&t, 6 * S);
	assert_true(same(&t.before, &key));
}

static void test_none(void **state)
{
	struct ticket_chain c;
	static const uint8_t name[16];
	(void)state;
	ticket_chain_begin(&c, 0, secret, 5);
	ticket_chain_advance(&c, 1000 * S);
	struct tickets t = opened(&c, 1000 * S, 3);
	tickets_advance(&t, 2000 * S);
	assert_null(tickets_find(&t, name));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys_rotate),
		cmocka_unit_test(test_workers_agree),
		cmocka_unit_test(test_clocks_of_others),
		cmocka_unit_test(test_leaps),
		cmocka_unit_test(test_none),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
