/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>

#include "base/board.h"
#include "proxy/tally.h"

static const uint8_t key[16] = {7, 1, 4, 2, 250, 3, 99, 180, 5, 32, 17, 8, 201, 64, 77, 13};

static void *section;

static void become(unsigned slot)
{
	board_join(slot);
	tally_attach(section);
}

static int set_up(void **state)
{
	section = mmap(NULL, tally_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(section, MAP_FAILED);
	tally_format(section, key);
	become(1);
	(void)state;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	munmap(section, tally_bytes());
	return 0;
}

static struct addr v4(uint32_t n)
{
	struct addr a = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, (uint8_t)(n >> 24), (uint8_t)(n >> 16),
			  (uint8_t)(n >> 8), (uint8_t)n}};
	return a;
}

static void an_address_holds_its_cap_and_no_more(void **state)
{
	struct addr a = v4(0x0a000001), b = v4(0x0a000002);
	uint32_t place[5];
	(void)state;
	for (int i = 0; i < 5; i++) {
		assert_int_equal(tally_held(TALLY_REQUESTS, &a), i);
		place[i] = tally_enter(TALLY_REQUESTS, &a, 5);
		assert_int_not_equal(place[i], 0);
	}
	for (int i = 0; i < 3; i++)
		assert_int_equal(tally_enter(TALLY_REQUESTS, &a, 5), 0);
	assert_int_equal(tally_held(TALLY_REQUESTS, &a), 5); /* what was refused was not counted */
	assert_int_equal(tally_held(TALLY_REQUESTS, &b), 0);
	assert_int_not_equal(tally_enter(TALLY_CONNECTIONS, &a, 1), 0); /* another kind, another count */
	tally_leave(TALLY_REQUESTS, place[0]);
	assert_int_not_equal(tally_enter(TALLY_REQUESTS, &a, 5), 0);
	assert_int_equal(tally_enter(TALLY_REQUESTS, &a, 5), 0);
}

static void workers_count_together(void **state)
{
	struct addr a = v4(0x0a000001);
	(void)state;
	for (unsigned slot = 1; slot <= 4; slot++) {
		become(slot);
		for (int i = 0; i < 10; i++)
			assert_int_not_equal(tally_enter(TALLY_CONNECTIONS, &a, 40), 0);
	}
	assert_int_equal(tally_enter(TALLY_CONNECTIONS, &a, 40), 0);
	assert_int_equal(tally_held(TALLY_CONNECTIONS, &a), 40);
}

static void what_a_process_held_goes_with_it(void **state)
{
	struct addr a = v4(0x0a000001), b = v4(0x0b000001);
	(void)state;
	for (unsigned slot = 1; slot <= 2; slot++) {
		become(slot);
		for (unsigned i = 0; i < 10 * slot; i++) {
			assert_int_not_equal(tally_enter(TALLY_CONNECTIONS, &a, 100), 0);
			assert_int_not_equal(tally_enter(TALLY_REQUESTS, &b, 100), 0);
		}
	}
	tally_recover(1);
	assert_int_equal(tally_held(TALLY_CONNECTIONS, &a), 20);
	assert_int_equal(tally_held(TALLY_REQUESTS, &b), 20);
	tally_recover(1);
	tally_recover(2);
	assert_int_equal(tally_held(TALLY_CONNECTIONS, &a), 0);
	assert_int_equal(tally_held(TALLY_REQUESTS, &b), 0);
}

/* As many connections as weir takes, each of another address: none seems to hold much, and all are given
 * back. */
static void many_addresses_hardly_meet(void **state)
{
	enum { MANY = 20000, HARDLY = 16 };
	uint32_t *place = calloc(MANY, sizeof(*place)), worst = 0;
	(void)state;
	assert_non_null(place);
	for (uint32_t i = 0; i < MANY; i++) {
		struct addr a = v4(0x0a000000 + i * 7);
		place[i] = tally_enter(TALLY_CONNECTIONS, &a, 1000000);
		assert_int_not_equal(place[i], 0);
	}
	for (uint32_t i = 0; i < MANY; i++) {
		struct addr a = v4(0x0a000000 + i * 7);
		uint32_t held = tally_held(TALLY_CONNECTIONS, &a);
		assert_true(held >= 1);
		if (held > worst)
			worst = held;
	}
	assert_in_range(worst, 1, HARDLY);
	for (uint32_t i = 0; i < MANY; i++)
		tally_leave(TALLY_CONNECTIONS, place[i]);
	for (uint32_t i = 0; i < MANY; i++) {
		struct addr a = v4(0x0a000000 + i * 7);
		assert_int_equal(tally_held(TALLY_CONNECTIONS, &a), 0);
	}
	free(place);
}

static void networks_of_ipv6_are_told_apart(void **state)
{
	(void)state;
	for (uint8_t i = 0; i < 200; i++) {
		struct addr a = {{0x20, 1, 0xd, 0xb8, 0, 0, 0, i}};
		assert_int_not_equal(tally_enter(TALLY_REQUESTS, &a, 3), 0);
	}
}

#define FRESH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		FRESH(an_address_holds_its_cap_and_no_more), FRESH(workers_count_together),
		FRESH(what_a_process_held_goes_with_it),     FRESH(many_addresses_hardly_meet),
		FRESH(networks_of_ipv6_are_told_apart),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
