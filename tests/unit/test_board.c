/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/child.h"

#include "base/board.h"

static void without_a_section_there_is_a_private_board(void **state)
{
	(void)state;
	assert_non_null(board());
	assert_int_equal(board_slot(), 0);
	assert_ptr_equal(board_self(), &board()->proc[0]);
	assert_int_equal(board()->generation, 0);
}

static void a_process_finds_itself_in_the_slot_it_joined(void **state)
{
	(void)state;
	struct board *shared =
		mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(shared, MAP_FAILED);
	board_attach(shared);
	assert_ptr_equal(board(), shared);
	for (int slot = 1; slot <= 3; slot++) {
		pid_t pid = child_fork();
		if (pid == 0) {
			board_join((unsigned)slot);
			atomic_store(&board_self()->pid, getpid());
			atomic_store(&board_self()->state, PROC_SERVING);
			_exit(board_slot() == (unsigned)slot ? 0 : 1);
		}
		int status;
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
		assert_int_equal(shared->proc[slot].pid, pid);
		assert_int_equal(shared->proc[slot].state, PROC_SERVING);
	}
	assert_int_equal(shared->proc[0].pid, 0);
	assert_int_equal(shared->proc[4].pid, 0);
	board_join(PROC_MAX - 1);
	assert_ptr_equal(board_self(), &shared->proc[PROC_MAX - 1]);
	munmap(shared, sizeof(*shared));
}

static void every_kind_and_state_has_a_name_of_its_own(void **state)
{
	(void)state;
	for (int a = 0; a < 4; a++)
		for (int b = 0; b < a; b++) {
			assert_string_not_equal(proc_kind_name((enum proc_kind)a),
						proc_kind_name((enum proc_kind)b));
			assert_string_not_equal(proc_state_name((enum proc_state)a),
						proc_state_name((enum proc_state)b));
		}
	assert_string_equal(proc_kind_name(PROC_WORKER), "worker");
	assert_string_equal(proc_state_name(PROC_LEAVING), "leaving");
	assert_string_equal(proc_kind_name((enum proc_kind)77), "unknown");
	assert_string_equal(proc_state_name((enum proc_state)77), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_section_there_is_a_private_board),
		cmocka_unit_test(a_process_finds_itself_in_the_slot_it_joined),
		cmocka_unit_test(every_kind_and_state_has_a_name_of_its_own),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
