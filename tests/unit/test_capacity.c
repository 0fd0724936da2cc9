/* SPDX-License-Identifier: MIT */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proxy/capacity.h"

static void what_is_wanted_has_room(void **state)
{
	static const unsigned connections[] = {1, 10, 100, 999, 20000, 1000000},
			      workers[] = {1, 2, 3, 16, 64};
	(void)state;
	for (unsigned c = 0; c < 6; c++)
		for (unsigned w = 0; w < 5; w++) {
			rlim_t files = capacity_files(connections[c], workers[w]);
			uint64_t room = (uint64_t)capacity_of_files(files) * workers[w];
			assert_true(room >= connections[c]);
		}
}

static void one_worker_needs_all_and_many_need_their_share_with_some_to_spare(void **state)
{
	(void)state;
	assert_in_range(capacity_files(20000, 1), 40000, 40200);
	assert_in_range(capacity_files(20000, 2), 25000, 25400);
	assert_in_range(capacity_files(20000, 16), 3125, 3500);
}

static void few_files_hold_some_and_no_limit_holds_all(void **state)
{
	(void)state;
	assert_int_equal(capacity_of_files(1024), 480);
	assert_int_equal(capacity_of_files(200), 68);
	for (rlim_t files = 0; files < 200; files++)
		assert_in_range(capacity_of_files(files), 32, 68);
	assert_true(capacity_of_files(RLIM_INFINITY) == UINT_MAX);
	assert_true(capacity_of_files(UINT64_MAX - 1) == UINT_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_wanted_has_room),
		cmocka_unit_test(one_worker_needs_all_and_many_need_their_share_with_some_to_spare),
		cmocka_unit_test(few_files_hold_some_and_no_limit_holds_all),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
