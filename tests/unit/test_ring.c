/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/child.h"

#include "base/board.h"
#include "base/clock.h"
#include "base/ring.h"

#define GIVE_UP_S 120

static void *section;
static struct shared {
	_Atomic uint32_t go;
} * shared;

static void *share(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

static int set_up(void **state)
{
	(void)state;
	section = share(ring_bytes());
	shared = share(sizeof(*shared));
	ring_attach(section);
	for (int i = 0; i < 4; i++)
		atomic_store(&board()->proc[i].kind, PROC_WORKER);
	alarm(GIVE_UP_S);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	alarm(0);
	munmap(section, ring_bytes());
	munmap(shared, sizeof(*shared));
	return 0;
}

/* --- lines that tell whether they are whole: a number, a length, and bytes that follow from both --- */

static char byte_of(uint32_t number, size_t i)
{
	return (char)('!' + (number * 131 + i * 7) % 90);
}

static bool put(uint32_t number, size_t n)
{
	char *p = ring_reserve(RING_ACCESS);
	if (!p)
		return false;
	memcpy(p, &number, 4);
	for (size_t i = 4; i < n; i++)
		p[i] = byte_of(number, i);
	ring_commit(RING_ACCESS, n);
	return true;
}

static size_t length_of(uint32_t number)
{
	uint32_t x = number * 2654435761u;
	x ^= x >> 15;
	return 4 + (number % 50 == 0 ? x % (RING_LINE - 3) : x % 400);
}

/* Takes one line of that slot; false when there is none. */
static bool take(unsigned slot, uint32_t *number)
{
	size_t n;
	const char *line = ring_peek(RING_ACCESS, slot, &n);
	if (!line)
		return false;
	memcpy(number, line, 4);
	assert_int_equal(n, length_of(*number));
	for (size_t i = 4; i < n; i++)
		if (line[i] != byte_of(*number, i))
			fail_msg("line %u is torn at %zu", *number, i);
	ring_release(RING_ACCESS, slot, n);
	return true;
}

/* --- one producer, one reader --- */

static void lines_come_out_as_they_went_in(void **state)
{
	uint32_t in = 0, out = 0, got;
	(void)state;
	ring_join(1);
	assert_true(ring_joined());
	while (in < 60000) {
		unsigned batch = 1 + in * 7 % 200;
		for (unsigned i = 0; i < batch && put(in, length_of(in)); i++)
			in++;
		for (unsigned i = 1 + in * 11 % 150; i && take(1, &got); i--)
			assert_int_equal(got, out++);
	}
	while (take(1, &got))
		assert_int_equal(got, out++);
	assert_int_equal(out, in);
}

static void a_line_is_seen_again_until_it_is_released(void **state)
{
	size_t n;
	(void)state;
	ring_join(1);
	assert_null(ring_peek(RING_ACCESS, 1, &n));
	strcpy(ring_reserve(RING_ACCESS), "once");
	assert_null(ring_peek(RING_ACCESS, 1, &n)); /* not before it is committed */
	ring_commit(RING_ACCESS, 4);
	for (int i = 0; i < 2; i++) {
		const char *p = ring_peek(RING_ACCESS, 1, &n);
		assert_int_equal(n, 4);
		assert_memory_equal(p, "once", 4);
	}
	assert_null(ring_peek(RING_ACCESS, 2, &n)); /* of that slot alone */
	ring_release(RING_ACCESS, 1, n);
	assert_null(ring_peek(RING_ACCESS, 1, &n));
}

static void a_reservation_that_is_not_committed_is_nothing(void **state)
{
	uint32_t got;
	(void)state;
	ring_join(1);
	for (uint32_t i = 0; i < 2000; i++) {
		char *a = ring_reserve(RING_ACCESS), *b = ring_reserve(RING_ACCESS);
		assert_ptr_equal(a, b);
		memset(a, 'x', RING_LINE);
		assert_true(put(i, length_of(i)));
		assert_true(take(1, &got));
		assert_int_equal(got, i);
	}
	assert_false(take(1, &got));
}

static void what_finds_no_room_is_dropped_and_what_is_there_stays(void **state)
{
	uint32_t in = 0, out = 0, got, dropped = 0;
	(void)state;
	ring_join(1);
	for (int round = 0; round < 5; round++) {
		while (put(in, length_of(in)))
			in++;
		for (int i = 0; i < 10; i++)
			dropped += ring_reserve(RING_ACCESS) == NULL;
		assert_int_equal(dropped, 10 * (round + 1));
		for (unsigned i = 0; i < 300; i++) {
			assert_true(take(1, &got));
			assert_int_equal(got, out++);
		}
	}
	while (take(1, &got))
		assert_int_equal(got, out++);
	assert_int_equal(out, in);
	assert_non_null(ring_reserve(RING_ACCESS));
}

static void the_longest_lines_fit_many_times(void **state)
{
	size_t n;
	(void)state;
	ring_join(1);
	for (int round = 0; round < 100; round++) {
		unsigned k = 0;
		for (char *p; (p = ring_reserve(RING_ACCESS)) != NULL; k++) {
			memset(p, 'a' + round % 26, RING_LINE);
			ring_commit(RING_ACCESS, RING_LINE);
		}
		assert_true(k >= RING_BYTES / (RING_LINE + 8) - 2);
		for (const char *p; (p = ring_peek(RING_ACCESS, 1, &n)) != NULL; k--) {
			assert_int_equal(n, RING_LINE);
			assert_int_equal(p[0], 'a' + round % 26);
			assert_int_equal(p[n - 1], 'a' + round % 26);
			ring_release(RING_ACCESS, 1, n);
		}
		assert_int_equal(k, 0);
	}
}

/* A log that nobody takes is none of the other's business. */
static void kinds_do_not_stand_in_each_others_way(void **state)
{
	uint32_t in = 0, got;
	size_t n;
	(void)state;
	ring_join(1);
	for (char *p; (p = ring_reserve(RING_OWN)) != NULL; ring_commit(RING_OWN, RING_LINE))
		memset(p, 'o', RING_LINE);
	for (; in < 5000; in++) {
		assert_true(put(in, length_of(in)));
		assert_true(take(1, &got));
		assert_int_equal(got, in);
	}
	assert_null(ring_peek(RING_ACCESS, 1, &n));
	ring_sleep(RING_ACCESS, 1); /* nothing there is for its reader */
	assert_non_null(ring_peek(RING_OWN, 1, &n));
	assert_int_equal(n, RING_LINE);
}

/* --- several processes --- */

static void produce(unsigned slot, uint32_t first, uint32_t count)
{
	ring_join(slot);
	for (uint32_t i = first; i < first + count;)
		if (put(i, length_of(i)))
			i++;
}

static void processes_write_side_by_side(void **state)
{
	enum { EACH = 20000 };
	pid_t pid[3];
	uint32_t next[3] = {0, 0, 0}, got;
	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		pid[i] = child_fork();
		if (pid[i] == 0) {
			produce(i + 1, 0, EACH);
			_exit(0);
		}
	}
	while (next[0] + next[1] + next[2] < 3 * EACH)
		for (unsigned i = 0; i < 3; i++)
			while (take(i + 1, &got))
				assert_int_equal(got, next[i]++);
	for (unsigned i = 0; i < 3; i++) {
		int status;
		assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
		assert_int_equal(status, 0);
		assert_int_equal(next[i], EACH);
	}
}

static void a_producer_killed_at_any_moment_leaves_whole_lines(void **state)
{
	uint32_t next = 0, got;
	(void)state;
	for (unsigned round = 0; round < 60; round++) {
		int status;
		uint32_t stop_at = next + 1 + round * 37;
		pid_t pid = child_fork();
		if (pid == 0) {
			produce(1, next, UINT32_MAX / 2);
			_exit(1);
		}
		while (next < stop_at)
			if (take(1, &got))
				assert_int_equal(got, next++);
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		while (take(1, &got)) /* what it said before is still there */
			assert_int_equal(got, next++);
	}
	produce(1, next, 1); /* and the slot serves the next one */
	assert_true(take(1, &got));
	assert_int_equal(got, next);
}

static void half_a_line_of_a_killed_producer_is_never_seen(void **state)
{
	uint32_t got;
	int status;
	(void)state;
	pid_t pid = child_fork();
	if (pid == 0) {
		produce(1, 0, 3);
		memset(ring_reserve(RING_ACCESS), 'h', 5000);
		kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	produce(1, 3, 3);
	for (uint32_t i = 0; i < 6; i++) {
		assert_true(take(1, &got));
		assert_int_equal(got, i);
	}
	assert_false(take(1, &got));
}

static uint32_t *length_field(const char *line)
{
	return (uint32_t *)(uintptr_t)(line - 8);
}

/* A producer whose memory was overwritten must not lead the reader out of the ring, nor into an endless walk.
 */
static void a_length_out_of_its_mind_loses_lines_and_nothing_else(void **state)
{
	static const uint32_t lengths[] = {UINT32_MAX,	   UINT32_MAX - 7, RING_BYTES,
					   RING_BYTES - 8, RING_BYTES / 2, 4000};
	size_t n;
	uint32_t got;
	(void)state;
	ring_join(3);
	for (size_t k = 0; k < sizeof(lengths) / sizeof(lengths[0]); k++) {
		for (uint32_t i = 1; i < 4; i++)
			assert_true(put(i, length_of(i)));
		const char *p = ring_peek(RING_ACCESS, 3, &n);
		assert_int_equal(*length_field(p), n);
		*length_field(p) = lengths[k];
		assert_null(ring_peek(RING_ACCESS, 3, &n));
		assert_true(put(9, length_of(9)));
		assert_true(take(3, &got));
		assert_int_equal(got, 9);
	}
}

/* The same between the look and the release, which goes by what was checked. */
static void a_length_that_changes_before_the_release_changes_nothing(void **state)
{
	static const uint32_t lengths[] = {UINT32_MAX, RING_BYTES, 4000, 1, 0};
	size_t n;
	uint32_t got, next = 1;
	(void)state;
	ring_join(3);
	for (size_t k = 0; k < sizeof(lengths) / sizeof(lengths[0]); k++) {
		for (uint32_t i = 0; i < 3; i++)
			assert_true(put(next + i, length_of(next + i)));
		const char *p = ring_peek(RING_ACCESS, 3, &n);
		assert_non_null(p);
		*length_field(p) = lengths[k];
		ring_release(RING_ACCESS, 3, n);
		for (next++; take(3, &got); next++)
			assert_int_equal(got, next);
		assert_int_equal(next, 3 * (k + 1) + 1);
	}
}

/* --- sleep --- */

static void a_sleep_ends_by_itself(void **state)
{
	(void)state;
	usec_t before = clock_mono();
	ring_sleep(RING_ACCESS, 20);
	assert_true(clock_mono() - before >= 15 * USEC_PER_MSEC);
}

static void a_line_that_is_there_lets_nobody_sleep(void **state)
{
	uint32_t got;
	(void)state;
	ring_join(2);
	assert_true(put(1, length_of(1)));
	usec_t before = clock_mono();
	ring_sleep(RING_ACCESS, 60000);
	assert_true(clock_mono() - before < 30 * USEC_PER_SEC);
	assert_true(take(2, &got));
}

/* Each line is sent when the last one was read, at a moment when the reader may be about to sleep: none may
 * be missed. */
static void a_line_wakes_the_reader_every_time(void **state)
{
	enum { LINES = 3000 };
	uint32_t got;
	int status;
	(void)state;
	pid_t pid = child_fork();
	if (pid == 0) {
		ring_join(2);
		for (uint32_t i = 0; i < LINES; i++) {
			while (atomic_load(&shared->go) < i)
				;
			for (volatile unsigned spin = 0; spin < i % 500 * 20; spin++)
				;
			put(i, length_of(i));
		}
		_exit(0);
	}
	usec_t before = clock_mono();
	for (uint32_t next = 0; next < LINES; atomic_store(&shared->go, next)) {
		while (!take(2, &got))
			ring_sleep(RING_ACCESS, 60000);
		assert_int_equal(got, next++);
	}
	assert_true(clock_mono() - before < 50 * USEC_PER_SEC); /* one wake-up lost is a minute */
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

#define SHARED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SHARED(lines_come_out_as_they_went_in),
		SHARED(a_line_is_seen_again_until_it_is_released),
		SHARED(a_reservation_that_is_not_committed_is_nothing),
		SHARED(what_finds_no_room_is_dropped_and_what_is_there_stays),
		SHARED(the_longest_lines_fit_many_times),
		SHARED(kinds_do_not_stand_in_each_others_way),
		SHARED(processes_write_side_by_side),
		SHARED(a_producer_killed_at_any_moment_leaves_whole_lines),
		SHARED(half_a_line_of_a_killed_producer_is_never_seen),
		SHARED(a_length_out_of_its_mind_loses_lines_and_nothing_else),
		SHARED(a_length_that_changes_before_the_release_changes_nothing),
		SHARED(a_sleep_ends_by_itself),
		SHARED(a_line_that_is_there_lets_nobody_sleep),
		SHARED(a_line_wakes_the_reader_every_time),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
