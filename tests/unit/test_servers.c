/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/child.h"

#include "proxy/servers.h"

#define S USEC_PER_SEC
#define GIVE_UP_S 120

static void *section;
static struct conf_server servers[SERVERS_MAX + 1];
static struct conf_upstream upstreams[2];
static struct conf conf;
static char names[SERVERS_MAX + 1][24];

static int set_up(void **state)
{
	(void)state;
	section = mmap(NULL, servers_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(section, MAP_FAILED);
	alarm(GIVE_UP_S);
	servers_attach(section);
	board_join(0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	munmap(section, servers_bytes());
	return 0;
}

/* A conf with one upstream of servers first .. first + n - 1, and another with the first of them only. */
static const struct conf *conf_of(unsigned first, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		snprintf(names[i], sizeof(names[i]), "10.0.%u.%u:8080", (first + i) / 256, (first + i) % 256);
		servers[i].text = str_of(names[i]);
	}
	upstreams[0] = (struct conf_upstream){.name = STR("api"), .servers = n, .server = servers};
	upstreams[1] = (struct conf_upstream){.name = STR("web"), .servers = n ? 1 : 0, .server = servers};
	conf = (struct conf){.upstreams = 2, .upstream = upstreams};
	return &conf;
}

static struct server_row *one(void)
{
	assert_true(servers_claim(conf_of(1, 1), 1, 1));
	struct server_row *r = servers_find(STR("api"), STR("10.0.0.1:8080"));
	assert_non_null(r);
	return r;
}

static unsigned rows_used(void)
{
	unsigned n = 0;
	for (unsigned i = 0; i < SERVERS_MAX; i++)
		n += servers_row(i) != NULL;
	return n;
}

/* --- claim --- */

static void a_server_is_a_row_for_each_upstream_that_names_it(void **state)
{
	(void)state;
	assert_int_equal(rows_used(), 0);
	assert_true(servers_claim(conf_of(1, 3), 1, 1));
	assert_int_equal(rows_used(), 4);
	struct server_row *a = servers_find(STR("api"), STR("10.0.0.1:8080"));
	struct server_row *b = servers_find(STR("web"), STR("10.0.0.1:8080"));
	assert_true(a && b && a != b);
	assert_string_equal(a->upstream, "api");
	assert_string_equal(a->server, "10.0.0.1:8080");
	assert_null(servers_find(STR("web"), STR("10.0.0.2:8080")));
	assert_null(servers_find(STR("ap"), STR("10.0.0.1:8080")));
	assert_null(servers_find(STR("api"), STR("10.0.0.1:808")));
}

static void a_reload_keeps_rows_and_what_they_know(void **state)
{
	(void)state;
	assert_true(servers_claim(conf_of(1, 2), 1, 1));
	struct server_row *kept = servers_find(STR("api"), STR("10.0.0.2:8080"));
	for (int i = 0; i < SERVERS_FAILURES; i++)
		server_failed(kept, 1000);
	server_begin(kept);
	assert_true(servers_claim(conf_of(2, 2), 2, 1)); /* .1 goes, .3 comes, both generations live */
	assert_ptr_equal(servers_find(STR("api"), STR("10.0.0.2:8080")), kept);
	assert_true(server_ejected(kept, 1000));
	assert_int_equal(kept->in_flight, 1);
	assert_non_null(servers_find(STR("api"), STR("10.0.0.1:8080"))); /* the old workers need it still */
	assert_int_equal(kept->generation, 2);
	assert_int_equal(rows_used(), 3 + 2);
}

static void a_row_that_no_living_generation_names_is_taken_over_clean(void **state)
{
	(void)state;
	struct server_row *r = one();
	for (int i = 0; i < SERVERS_FAILURES; i++)
		server_failed(r, 1000);
	server_begin(r);
	server_succeeded(r, 77);
	for (int i = 0; i < SERVERS_FAILURES; i++)
		server_failed(r, 1000);
	assert_true(servers_claim(conf_of(9, 1), 2, 2)); /* generation 1 is gone */
	struct server_row *fresh = servers_find(STR("api"), STR("10.0.0.9:8080"));
	assert_ptr_equal(fresh, r);
	assert_false(server_ejected(fresh, 1000));
	assert_int_equal(fresh->in_flight, 0);
	assert_int_equal(fresh->requests, 0);
	assert_int_equal(fresh->failed, 0);
	assert_int_equal(fresh->latency_us, 0);
	assert_int_equal(fresh->own[0], 0);
	assert_null(servers_find(STR("api"), STR("10.0.0.1:8080")));
}

static void a_full_table_is_told_and_old_rows_make_room(void **state)
{
	(void)state;
	assert_true(servers_claim(conf_of(0, SERVERS_MAX - 1), 1, 1)); /* and one for the other upstream */
	assert_int_equal(rows_used(), SERVERS_MAX);
	assert_true(servers_claim(conf_of(0, SERVERS_MAX - 1), 2, 1)); /* the same again takes none */
	assert_false(servers_claim(conf_of(2000, 1), 3, 2));
	assert_true(servers_claim(conf_of(2000, 1), 4, 3));
	assert_non_null(servers_find(STR("api"), STR("10.0.7.208:8080")));
	assert_int_equal(rows_used(), SERVERS_MAX);
}

/* --- in flight --- */

static void requests_in_flight_are_counted_by_process(void **state)
{
	(void)state;
	struct server_row *r = one();
	for (unsigned slot = 1; slot <= 3; slot++) {
		board_join(slot);
		for (unsigned i = 0; i < slot * 10; i++)
			server_begin(r);
		for (unsigned i = 0; i < slot; i++)
			server_end(r);
	}
	assert_int_equal(r->in_flight, 54);
	assert_int_equal(r->requests, 60);
	assert_int_equal(r->own[2], 18);
	servers_recover(2); /* crashed with 18 */
	assert_int_equal(r->in_flight, 36);
	assert_int_equal(r->own[2], 0);
	servers_recover(2);
	servers_recover(7);
	assert_int_equal(r->in_flight, 36);
	assert_int_equal(r->requests, 60);
}

/*
 * in_flight is compared with a cap, so it must never fall below zero, which is more than any cap. A process
 * that is killed between two steps may leave one too many.
 */
static void a_process_killed_at_any_moment_never_makes_in_flight_negative(void **state)
{
	(void)state;
	struct server_row *r = one();
	uint32_t before = 0;
	for (unsigned round = 0; round < 300; round++) {
		int status;
		uint64_t served = r->requests;
		pid_t pid = child_fork();
		if (pid == 0) {
			board_join(5);
			for (;;) {
				server_begin(r);
				server_begin(r);
				server_end(r);
				server_end(r);
			}
		}
		while (atomic_load(&r->requests) < served + 50 + round)
			;
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		servers_recover(5);
		uint32_t left = atomic_load(&r->in_flight);
		assert_true(left >= before && left <= before + 1);
		before = left;
	}
}

/* --- ejection --- */

static void some_failures_in_a_row_eject_and_the_time_ends(void **state)
{
	(void)state;
	struct server_row *r = one();
	for (int i = 1; i < SERVERS_FAILURES; i++) {
		assert_false(server_failed(r, 10 * S));
		assert_false(server_ejected(r, 10 * S));
	}
	assert_true(server_failed(r, 10 * S));
	assert_true(server_ejected(r, 10 * S));
	assert_true(server_ejected(r, 15 * S - 1));
	assert_false(server_ejected(r, 15 * S));
	assert_false(server_failed(r, 12 * S)); /* one in flight when it was ejected makes it no worse */
	assert_int_equal(r->ejected_until, 15 * S);
	assert_int_equal(r->failed, SERVERS_FAILURES + 1);
}

static void each_failure_after_an_ejection_doubles_it_up_to_the_most(void **state)
{
	static const int away_s[] = {5, 10, 20, 40};
	usec_t now = 100 * S;
	(void)state;
	struct server_row *r = one();
	for (int i = 1; i < SERVERS_FAILURES; i++)
		server_failed(r, now);
	for (size_t i = 0; i < 200; i++) {
		assert_true(server_failed(r, now)); /* one suffices */
		assert_int_equal(r->ejected_until, now + (i < 4 ? away_s[i] : 60) * S);
		now = r->ejected_until;
		assert_false(server_ejected(r, now));
	}
}

static void one_success_makes_it_well_again(void **state)
{
	(void)state;
	struct server_row *r = one();
	for (int i = 0; i < SERVERS_FAILURES; i++)
		server_failed(r, 10 * S);
	assert_true(server_failed(r, 20 * S));
	assert_int_equal(r->ejected_until, 30 * S);
	server_succeeded(r, 500); /* from before it was ejected, or all were tried */
	assert_false(server_ejected(r, 20 * S));
	for (int i = 1; i < SERVERS_FAILURES; i++) {
		assert_false(server_failed(r, 21 * S));
		server_succeeded(r, 500); /* not in a row */
	}
	for (int i = 1; i < SERVERS_FAILURES; i++)
		assert_false(server_failed(r, 22 * S));
	assert_true(server_failed(r, 22 * S));
	assert_int_equal(r->ejected_until, 27 * S); /* the first time again */
}

static void latency_is_smoothed_and_follows(void **state)
{
	(void)state;
	struct server_row *r = one();
	server_succeeded(r, 8000);
	assert_int_equal(r->latency_us, 8000);
	server_succeeded(r, 16000);
	assert_int_equal(r->latency_us, 9000);
	for (int i = 0; i < 100; i++)
		server_succeeded(r, 80000);
	assert_true(r->latency_us > 79000 && r->latency_us <= 80000);
	server_succeeded(r, 1000000 * S); /* more than the field holds */
	assert_true(r->latency_us > 80000);
	for (int i = 0; i < 1000; i++)
		server_succeeded(r, USEC_NEVER);
	assert_true(r->latency_us > UINT32_MAX / 2);
	for (int i = 0; i < 1000; i++)
		server_succeeded(r, 0);
	assert_true(r->latency_us < 100);
}

#define SHARED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SHARED(a_server_is_a_row_for_each_upstream_that_names_it),
		SHARED(a_reload_keeps_rows_and_what_they_know),
		SHARED(a_row_that_no_living_generation_names_is_taken_over_clean),
		SHARED(a_full_table_is_told_and_old_rows_make_room),
		SHARED(requests_in_flight_are_counted_by_process),
		SHARED(a_process_killed_at_any_moment_never_makes_in_flight_negative),
		SHARED(some_failures_in_a_row_eject_and_the_time_ends),
		SHARED(each_failure_after_an_ejection_doubles_it_up_to_the_most),
		SHARED(one_success_makes_it_well_again),
		SHARED(latency_is_smoothed_and_follows),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
