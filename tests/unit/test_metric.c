/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/child.h"

#include "base/board.h"
#include "base/metric.h"

#define GIVE_UP_S 120

static void *section;
static struct gate {
	_Atomic uint32_t n;
} * gate; /* shared: children wait here until all are there */

static void *share(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

static int set_up(void **state)
{
	(void)state;
	section = share(metric_bytes());
	gate = share(4096);
	alarm(GIVE_UP_S);
	metric_attach(section);
	metric_join(0);
	for (int i = 0; i < PROC_MAX; i++)
		atomic_store(&board()->proc[i].kind, i > 0 && i < 8 ? PROC_WORKER : PROC_NONE);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	munmap(section, metric_bytes());
	munmap(gate, 4096);
	return 0;
}

static pid_t child_of(int (*body)(unsigned), unsigned slot)
{
	pid_t pid = child_fork();
	assert_true(pid >= 0);
	if (pid)
		return pid;
	metric_join(slot);
	_exit(body(slot));
}

static void wait_well(pid_t pid)
{
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void wait_for_all(unsigned n)
{
	atomic_fetch_add(&gate->n, 1);
	while (atomic_load(&gate->n) < n)
		;
}

/* --- before anything is shared --- */

static void without_a_section_values_are_counted_alone(void **state)
{
	(void)state;
	series_t s = metric_series(METRIC_REQUESTS, "a=\"1\"");
	assert_int_not_equal(s, 0);
	metric_add(s, 3);
	assert_int_equal(metric_sum(s), 3);
	assert_int_equal(metric_series(METRIC_REQUESTS, "a=\"1\""), s);
}

/* --- series --- */

static void a_series_is_its_family_and_its_labels(void **state)
{
	(void)state;
	series_t a = metric_series(METRIC_REQUESTS, "x=\"1\""), b = metric_series(METRIC_REQUESTS, "x=\"2\"");
	series_t c = metric_series(METRIC_RESPONSES, "x=\"1\""), d = metric_series(METRIC_REQUESTS, "");
	assert_true(a && b && c && d);
	assert_true(a != b && a != c && a != d && b != c && b != d && c != d);
	assert_int_equal(metric_series(METRIC_REQUESTS, "x=\"1\""), a);
	assert_int_equal(metric_series(METRIC_RESPONSES, "x=\"1\""), c);
	assert_int_equal(metric_series(METRIC_REQUESTS, ""), d);
}

static void labels_that_are_too_long_are_never_cut(void **state)
{
	char text[METRIC_LABELS + 1];
	(void)state;
	memset(text, 'x', sizeof(text));
	text[METRIC_LABELS] = 0;
	assert_int_equal(metric_series(METRIC_REQUESTS, text), 0);
	text[METRIC_LABELS - 1] = 0;
	series_t a = metric_series(METRIC_REQUESTS, text);
	assert_int_not_equal(a, 0);
	text[METRIC_LABELS - 2] = 'y';
	assert_int_not_equal(metric_series(METRIC_REQUESTS, text), a);
}

static unsigned rows, order_broken;
static enum metric last_family;

static void count_row(void *ctx, enum metric m, const char *labels, uint64_t value)
{
	(void)ctx, (void)labels, (void)value;
	rows++;
	order_broken += m < last_family;
	last_family = m;
}

static unsigned walk(void)
{
	rows = order_broken = 0;
	last_family = 0;
	metric_walk(count_row, NULL);
	assert_int_equal(order_broken, 0);
	return rows;
}

static void a_full_registry_gives_out_series_0_and_keeps_what_it_has(void **state)
{
	char text[40];
	series_t first = 0, last = 0;
	static bool seen[METRIC_SERIES];
	(void)state;
	memset(seen, 0, sizeof(seen));
	for (int i = 1; i < METRIC_SERIES; i++) {
		snprintf(text, sizeof(text), "n=\"%d\"", i / METRIC_MAX); /* the same ones for all families */
		last = metric_series((enum metric)(i % METRIC_MAX), text);
		assert_true(last > 0 && last < METRIC_SERIES);
		assert_false(seen[last]);
		seen[last] = true;
		if (i == 1)
			first = last;
	}
	assert_int_equal(metric_series(METRIC_REQUESTS, "one=\"more\""), 0);
	assert_int_equal(metric_series((enum metric)1, "n=\"0\""), first);
	assert_int_equal(metric_series((enum metric)((METRIC_SERIES - 1) % METRIC_MAX), text), last);
	metric_add(0, 5); /* counted nowhere, and harmless */
	assert_int_equal(walk(), METRIC_SERIES - 1);
}

#define TOGETHER 600
static int register_all(unsigned slot)
{
	char text[40];
	wait_for_all(4);
	for (unsigned i = 0; i < TOGETHER; i++) {
		unsigned n = slot & 1 ? i : TOGETHER - 1 - i;
		snprintf(text, sizeof(text), "n=\"%u\"", n);
		series_t s = metric_series(METRIC_REQUESTS, text);
		if (!s)
			return 1;
		metric_add(s, n + 1);
	}
	return 0;
}

static void processes_that_register_the_same_at_once_get_the_same_series(void **state)
{
	pid_t pid[4];
	char text[40];
	(void)state;
	for (unsigned round = 0; round < 10; round++) {
		memset(section, 0, metric_bytes());
		atomic_store(&gate->n, 0);
		for (unsigned i = 0; i < 4; i++)
			pid[i] = child_of(register_all, i + 1);
		for (unsigned i = 0; i < 4; i++)
			wait_well(pid[i]);
		assert_int_equal(walk(), TOGETHER);
		for (unsigned i = 0; i < TOGETHER; i++) {
			snprintf(text, sizeof(text), "n=\"%u\"", i);
			assert_int_equal(metric_sum(metric_series(METRIC_REQUESTS, text)), 4 * (i + 1));
		}
	}
}

static int register_for_ever(unsigned slot)
{
	char text[40];
	atomic_store(&gate->n, 1);
	for (unsigned i = 0; i < UINT32_MAX; i++) {
		snprintf(text, sizeof(text), "s=\"%u\",n=\"%u\"", slot, i % 2000);
		metric_add(metric_series(METRIC_REQUESTS, text), 1);
	}
	return 1;
}

static void a_process_killed_while_it_registers_blocks_nobody(void **state)
{
	char text[40];
	(void)state;
	for (unsigned round = 0; round < 20; round++) {
		int status;
		memset(section, 0, metric_bytes());
		atomic_store(&gate->n, 0);
		pid_t pid = child_of(register_for_ever, 1);
		while (!atomic_load(&gate->n))
			;
		for (volatile unsigned spin = 0; spin < round * 20000; spin++)
			;
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		for (unsigned i = 0; i < 2000; i++) {
			snprintf(text, sizeof(text), "s=\"1\",n=\"%u\"", i);
			series_t s = metric_series(METRIC_REQUESTS, text);
			assert_int_not_equal(s, 0);
			assert_int_equal(metric_series(METRIC_REQUESTS, text), s);
		}
		assert_int_equal(walk(), 2000);
	}
}

/* A slot that stays claimed for ever: its claimer died in between. The first word of a series is its state.
 */
static void a_series_whose_claimer_died_is_passed_over(void **state)
{
	(void)state;
	series_t s = metric_series(METRIC_REQUESTS, "who=\"dead\"");
	size_t stride = metric_bytes() / METRIC_SERIES - PROC_MAX * sizeof(uint64_t);
	_Atomic uint32_t *claimed = (_Atomic uint32_t *)(void *)((char *)section + s * stride);
	assert_int_equal(*claimed, 2);
	*claimed = 1;
	series_t other = metric_series(METRIC_REQUESTS, "who=\"dead\"");
	assert_true(other != 0 && other != s);
	assert_int_equal(metric_series(METRIC_REQUESTS, "who=\"dead\""), other);
	assert_int_equal(walk(), 1);
}

/* --- values --- */

static int add_many(unsigned slot)
{
	series_t all = metric_series(METRIC_REQUESTS, "site=\"x\"");
	series_t gauge = metric_series(METRIC_CONNECTIONS, "");
	wait_for_all(4);
	for (int i = 0; i < 200000; i++)
		metric_add(all, 1);
	metric_set(gauge, 10);
	metric_add(gauge, slot);
	metric_sub(gauge, 3);
	return 0;
}

static void processes_add_side_by_side_and_nothing_is_lost(void **state)
{
	pid_t pid[4];
	(void)state;
	series_t all = metric_series(METRIC_REQUESTS, "site=\"x\""),
		 gauge = metric_series(METRIC_CONNECTIONS, "");
	for (unsigned i = 0; i < 4; i++)
		pid[i] = child_of(add_many, i + 1);
	for (unsigned i = 0; i < 4; i++)
		wait_well(pid[i]);
	metric_add(all, 7);
	assert_int_equal(metric_sum(all), 4 * 200000 + 7);
	assert_int_equal(metric_sum(gauge), 4 * 7 + 1 + 2 + 3 + 4);

	metric_fold(2); /* leaves: what it counted stays, what it held does not */
	assert_int_equal(metric_sum(all), 4 * 200000 + 7);
	assert_int_equal(metric_sum(gauge), 3 * 7 + 1 + 3 + 4);
	atomic_store(&board()->proc[2].kind, PROC_NONE);
	assert_int_equal(metric_sum(all), 4 * 200000 + 7);
	metric_fold(2);
	metric_fold(0);
	assert_int_equal(metric_sum(all), 4 * 200000 + 7);

	atomic_store(&board()->proc[2].kind, PROC_WORKER); /* another moves in */
	wait_well(child_of(add_many, 2));
	assert_int_equal(metric_sum(all), 5 * 200000 + 7);
	assert_int_equal(metric_sum(gauge), 4 * 7 + 1 + 2 + 3 + 4);
}

static void a_family_is_summed_by_a_part_of_its_labels(void **state)
{
	(void)state;
	metric_add(metric_series(METRIC_REQUESTS, "site=\"a\",verdict=\"ok\""), 1);
	metric_add(metric_series(METRIC_REQUESTS, "site=\"b\",verdict=\"ok\""), 10);
	metric_add(metric_series(METRIC_REQUESTS, "site=\"b\",verdict=\"limited\""), 100);
	metric_add(metric_series(METRIC_RESPONSES, "site=\"b\",verdict=\"ok\""), 1000);
	assert_int_equal(metric_family_sum(METRIC_REQUESTS, NULL), 111);
	assert_int_equal(metric_family_sum(METRIC_REQUESTS, "verdict=\"ok\""), 11);
	assert_int_equal(metric_family_sum(METRIC_REQUESTS, "site=\"b\""), 110);
	assert_int_equal(metric_family_sum(METRIC_REQUESTS, "site=\"c\""), 0);
	assert_int_equal(metric_family_sum(METRIC_SHADOW, NULL), 0);
	assert_int_equal(metric_family_of(0, METRIC_REQUESTS, "site=\"b\""), 110);
	assert_int_equal(metric_family_of(0, METRIC_REQUESTS, NULL), 111);
	assert_int_equal(metric_family_of(1, METRIC_REQUESTS, NULL), 0);
}

/* --- labels --- */

static void label_values_are_escaped_and_cut_to_fit(void **state)
{
	static const struct {
		size_t cap;
		const char *value, *want;
	} table[] = {
		{40, "plain", "n=\"plain\""},
		{40, "", "n=\"\""},
		{40, "a\"b\\c", "n=\"a\\\"b\\\\c\""},
		{40, "two\nlines", "n=\"two lines\""},
		{10, "abcdefghij", "n=\"abc\""},
		{10, "ab\"\"\"", "n=\"ab\\\"\""},
		{10, "abc\\", "n=\"abc\""},
		{6, "abc", ""},
		{1, "abc", ""},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		char out[48];
		memset(out, '~', sizeof(out));
		size_t n = metric_label(out, table[i].cap, "n", table[i].value);
		assert_true(n < table[i].cap);
		assert_int_equal(out[table[i].cap], '~');
		assert_string_equal(out, table[i].want);
		assert_int_equal(n, strlen(table[i].want));
	}
	for (size_t cap = 1; cap < 40; cap++) { /* whatever the room: whole, or nothing */
		char out[41];
		memset(out, '~', sizeof(out));
		size_t n = metric_label(out, cap, "name", "\\\\a\"\"b\nccc");
		assert_int_equal(out[cap], '~');
		assert_int_equal(n, strlen(out));
		assert_true(n == 0 || (n < cap && out[n - 1] == '"'));
	}
}

/* --- histograms --- */

static void an_observation_falls_into_the_bucket_that_holds_it(void **state)
{
	struct histogram h;
	(void)state;
	histogram_open(&h, METRIC_UP_SECONDS, "upstream=\"api\"");
	for (int i = 0; i <= HISTOGRAM_BUCKETS; i++)
		assert_int_not_equal(h.bucket[i], 0);
	for (int i = 0; i < HISTOGRAM_BUCKETS; i++) {
		assert_true(i == 0 || histogram_bounds[i] > histogram_bounds[i - 1]);
		histogram_observe(&h, histogram_bounds[i]);	/* le: the bound itself is within */
		histogram_observe(&h, histogram_bounds[i] + 1); /* and this in the next */
	}
	for (int i = 0; i <= HISTOGRAM_BUCKETS; i++)
		assert_int_equal(metric_sum(h.bucket[i]), i == 0 || i == HISTOGRAM_BUCKETS ? 1 : 2);
	uint64_t sum = metric_sum(h.sum_us);
	histogram_observe(&h, 0);
	histogram_observe(&h, -5); /* never below nothing */
	assert_int_equal(metric_sum(h.sum_us), sum);
	assert_int_equal(metric_sum(h.bucket[0]), 3);
	histogram_observe(&h, 3600 * USEC_PER_SEC);
	assert_int_equal(metric_sum(h.bucket[HISTOGRAM_BUCKETS]), 2);
	assert_int_equal(metric_sum(h.sum_us), sum + 3600 * USEC_PER_SEC);
	assert_int_equal(metric_family_sum(METRIC_UP_SECONDS, "le=\"0.0001\""), 3);
	assert_int_equal(metric_family_sum(METRIC_UP_SECONDS, "le=\"+Inf\""), 2);
	assert_int_equal(metric_series(METRIC_UP_SECONDS, "upstream=\"api\",le=\"10\""),
			 h.bucket[HISTOGRAM_BUCKETS - 1]);
}

/* --- the table of families --- */

static void every_family_has_a_name_of_its_own_and_a_help(void **state)
{
	(void)state;
	for (int i = 0; i < METRIC_MAX; i++) {
		const struct metric_row *r = &metric_rows[i];
		size_t n = strlen(r->name);
		bool total = n > 6 && strcmp(r->name + n - 6, "_total") == 0;
		assert_memory_equal(r->name, "weir_", 5);
		assert_int_equal(total, r->type == METRIC_COUNTER); /* as promtool asks */
		assert_true(strlen(r->help) > 10);
		assert_null(strpbrk(r->help, "\n\\"));
		for (int k = 0; k < i; k++)
			assert_string_not_equal(r->name, metric_rows[k].name);
	}
}

#define SHARED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			without_a_section_values_are_counted_alone), /* first: nothing is attached yet */
		SHARED(a_series_is_its_family_and_its_labels),
		SHARED(labels_that_are_too_long_are_never_cut),
		SHARED(a_full_registry_gives_out_series_0_and_keeps_what_it_has),
		SHARED(processes_that_register_the_same_at_once_get_the_same_series),
		SHARED(a_process_killed_while_it_registers_blocks_nobody),
		SHARED(a_series_whose_claimer_died_is_passed_over),
		SHARED(processes_add_side_by_side_and_nothing_is_lost),
		SHARED(a_family_is_summed_by_a_part_of_its_labels),
		SHARED(label_values_are_escaped_and_cut_to_fit),
		SHARED(an_observation_falls_into_the_bucket_that_holds_it),
		cmocka_unit_test(every_family_has_a_name_of_its_own_and_a_help),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
