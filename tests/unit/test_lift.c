/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/child.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "acl/addr.h"
#include "ratelimit/lift.h"

#define HOUR (3600 * USEC_PER_SEC)

static usec_t now;

static int setup(void **state)
{
	struct lifts *ls =
		mmap(NULL, lifts_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (ls == MAP_FAILED)
		return -1;
	*state = ls;
	now = clock_mono();
	return 0;
}

static int teardown(void **state)
{
	return munmap(*state, lifts_bytes());
}

static struct lift make(unsigned id, usec_t until)
{
	struct lift l = {.until = until, .effect = LIFT_FULL, .reason = "test"};
	snprintf(l.id, sizeof(l.id), "%08x", id);
	return l;
}

static void add_client(struct lift *l, const char *cidr)
{
	struct cidr c;
	const char *why;
	assert_true(cidr_parse(str_of(cidr), &c, &why));
	memcpy(l->client[l->clients].addr, c.addr.b, 16);
	l->client[l->clients++].bits = c.bits;
}

static void add_site(struct lift *l, const char *site)
{
	snprintf(l->site[l->sites++], LIFT_SITE, "%s", site);
}

static enum lift_effect match(const struct lifts *ls, usec_t at, const char *ip, const char *site,
			      char id[LIFT_ID])
{
	struct addr a;
	assert_true(addr_parse(str_of(ip), &a));
	return lifts_match(ls, at, a.b, str_of(site), id);
}

static void nothing_is_lifted_at_first(void **state)
{
	char id[LIFT_ID] = "kept";
	struct lift out[LIFTS_MAX];
	assert_int_equal(match(*state, now, "192.0.2.1", "a.example", id), LIFT_NONE);
	assert_string_equal(id, "kept");
	assert_int_equal(lifts_list(*state, now, out), 0);
	assert_false(lifts_remove(*state, "00000001"));
}

static void it_ends_at_its_moment(void **state)
{
	char id[LIFT_ID];
	struct lift out[LIFTS_MAX], l = make(7, now + HOUR);
	assert_true(lifts_put(*state, &l));
	assert_int_equal(match(*state, now, "192.0.2.1", "a.example", id), LIFT_FULL);
	assert_string_equal(id, "00000007");
	assert_int_equal(match(*state, now + HOUR - 1, "192.0.2.1", "a.example", id), LIFT_FULL);
	assert_int_equal(match(*state, now + HOUR, "192.0.2.1", "a.example", id), LIFT_NONE);
	assert_int_equal(lifts_list(*state, now + HOUR - 1, out), 1);
	assert_int_equal(lifts_list(*state, now + HOUR, out), 0);
}

static void clients_are_held_by_bits(void **state)
{
	static const struct {
		const char *cidr, *ip;
		bool held;
	} rows[] = {
		{"203.0.113.0/24", "203.0.113.255", true},
		{"203.0.113.0/24", "203.0.114.0", false},
		{"203.0.113.128/25", "203.0.113.127", false},
		{"203.0.113.128/25", "203.0.113.128", true},
		{"203.0.113.9", "203.0.113.9", true},
		{"203.0.113.9", "203.0.113.8", false},
		{"0.0.0.0/0", "255.255.255.255", true},
		{"0.0.0.0/0", "2001:db8::1", false},
		{"::/0", "2001:db8::1", true},
		{"::/0", "192.0.2.1", false},
		{"2001:db8::/33", "2001:db8:7fff::1", true},
		{"2001:db8::/33", "2001:db8:8000::1", false},
		{"10.0.0.0/31", "10.0.0.1", true},
		{"10.0.0.0/31", "10.0.0.2", false},
		{"2001:db8::1", "2001:db8::1", true},
	};
	char id[LIFT_ID];
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct lift l = make(1, now + HOUR);
		add_client(&l, rows[i].cidr);
		assert_true(lifts_put(*state, &l));
		bool held = match(*state, now, rows[i].ip, "a.example", id) == LIFT_FULL;
		if (held != rows[i].held)
			fail_msg("%s holds %s: %d", rows[i].cidr, rows[i].ip, held);
	}
}

static void scopes_meet(void **state)
{
	char id[LIFT_ID];
	struct lift l = make(1, now + HOUR);
	add_client(&l, "10.0.0.0/8");
	add_client(&l, "2001:db8::/32");
	add_site(&l, "a.example");
	add_site(&l, "b.example");
	assert_true(lifts_put(*state, &l));
	assert_int_equal(match(*state, now, "10.9.9.9", "a.example", id), LIFT_FULL);
	assert_int_equal(match(*state, now, "2001:db8::1", "b.example", id), LIFT_FULL);
	assert_int_equal(match(*state, now, "10.9.9.9", "c.example", id), LIFT_NONE);
	assert_int_equal(match(*state, now, "11.9.9.9", "a.example", id), LIFT_NONE);
	assert_int_equal(match(*state, now, "10.9.9.9", "a.exampl", id), LIFT_NONE);
	assert_int_equal(match(*state, now, "10.9.9.9", "a.example2", id), LIFT_NONE);
	assert_int_equal(match(*state, now, "10.9.9.9", "", id), LIFT_NONE);
}

static void a_full_lift_beats_a_shadow(void **state)
{
	char id[LIFT_ID];
	struct lift shadow = make(1, now + HOUR), full = make(2, now + HOUR / 2);
	shadow.effect = LIFT_SHADOW;
	assert_true(lifts_put(*state, &shadow));
	assert_int_equal(match(*state, now, "10.0.0.1", "a", id), LIFT_SHADOW);
	assert_string_equal(id, "00000001");
	assert_true(lifts_put(*state, &full));
	assert_int_equal(match(*state, now, "10.0.0.1", "a", id), LIFT_FULL);
	assert_string_equal(id, "00000002");
	assert_int_equal(match(*state, now + HOUR / 2, "10.0.0.1", "a", id), LIFT_SHADOW);
	assert_string_equal(id, "00000001");
	assert_true(lifts_remove(*state, "00000001"));
	assert_int_equal(match(*state, now, "10.0.0.1", "a", id), LIFT_FULL);
	assert_int_equal(match(*state, now + HOUR / 2, "10.0.0.1", "a", id), LIFT_NONE);
}

static void an_id_is_replaced_in_its_place(void **state)
{
	struct lift out[LIFTS_MAX], l = make(1, now + HOUR);
	assert_true(lifts_put(*state, &l));
	l.until = now + 2 * HOUR;
	snprintf(l.reason, sizeof(l.reason), "longer");
	assert_true(lifts_put(*state, &l));
	assert_int_equal(lifts_list(*state, now + HOUR, out), 1);
	assert_string_equal(out[0].reason, "longer");
}

static void only_so_many_fit_and_those_over_make_room(void **state)
{
	struct lift out[LIFTS_MAX], l;
	for (unsigned i = 0; i < LIFTS_FREEING; i++) {
		l = make(i, i == 5 ? now - 1 : now + HOUR);
		assert_true(lifts_put(*state, &l));
	}
	assert_int_equal(lifts_list(*state, now, out), LIFTS_FREEING - 1);
	l = make(1000, now + HOUR);
	assert_true(lifts_put(*state, &l));
	l = make(1001, now + HOUR);
	assert_false(lifts_put(*state, &l));
	assert_int_equal(lifts_list(*state, now, out), LIFTS_FREEING);
	assert_true(lifts_remove(*state, "00000000"));
	assert_false(lifts_remove(*state, "00000000"));
	assert_true(lifts_put(*state, &l));
	l = make(3, now + 2 * HOUR); /* there already: no room is needed */
	assert_true(lifts_put(*state, &l));
	assert_int_equal(lifts_list(*state, now + HOUR, out), 1);
}

static struct lift make_block(unsigned id, usec_t until, const char *cidr)
{
	struct lift l = make(id, until);
	l.effect = LIFT_BLOCK;
	add_client(&l, cidr);
	return l;
}

static bool is_blocked(const struct lifts *ls, usec_t at, const char *ip, char id[LIFT_ID])
{
	struct addr a;
	assert_true(addr_parse(str_of(ip), &a));
	return lifts_block(ls, at, a.b, id);
}

static void a_block_holds_its_clients_and_frees_nobody(void **state)
{
	char id[LIFT_ID] = "kept";
	struct lift l = make_block(1, now + HOUR, "10.0.0.0/8");
	assert_false(is_blocked(*state, now, "10.1.2.3", id));
	assert_true(lifts_put(*state, &l));
	assert_false(is_blocked(*state, now, "11.1.2.3", id));
	assert_string_equal(id, "kept");
	assert_true(is_blocked(*state, now, "10.1.2.3", id));
	assert_string_equal(id, "00000001");
	assert_int_equal(match(*state, now, "10.1.2.3", "a", id), LIFT_NONE);
	assert_false(is_blocked(*state, now + HOUR, "10.1.2.3", id));
	l = make(2, now + HOUR); /* a lift does not open what a block closes, and is not hidden by it */
	assert_true(lifts_put(*state, &l));
	assert_true(is_blocked(*state, now, "10.1.2.3", id));
	assert_int_equal(match(*state, now, "10.1.2.3", "a", id), LIFT_FULL);
	assert_true(lifts_remove(*state, "00000001"));
	assert_false(is_blocked(*state, now, "10.1.2.3", id));
}

static void blocks_leave_room_for_lifts(void **state)
{
	struct lift l;
	for (unsigned i = 0; i < LIFTS_BLOCKING; i++) {
		l = make_block(i, now + HOUR, "192.0.2.1");
		assert_true(lifts_put(*state, &l));
	}
	l = make_block(1000, now + HOUR, "192.0.2.1");
	assert_false(lifts_put(*state, &l));
	for (unsigned i = 0; i < LIFTS_FREEING; i++) {
		l = make(2000 + i, now + HOUR);
		assert_true(lifts_put(*state, &l));
	}
	l = make(3000, now + HOUR);
	assert_false(lifts_put(*state, &l));
}

static bool bury(struct lifts *ls, const char *id, usec_t until, bool token, bool own)
{
	struct lift_ended l = {.token = token, .until = until};
	memcpy(l.id, id, LIFT_ID);
	return lifts_bury(ls, &l, own, now);
}

static void tombstones_last_until_the_end(void **state)
{
	struct lift_ended out[LIFTS_ENDED_MAX];
	assert_true(bury(*state, "00000001", now + HOUR, false, true));
	assert_true(bury(*state, "00000002", now + HOUR / 2, true, false));
	assert_false(bury(*state, "00000001", now + HOUR / 4, false, true)); /* never shortened */
	assert_true(lifts_is_buried(*state, "00000001", now + HOUR - 1));
	assert_false(lifts_is_buried(*state, "00000001", now + HOUR));
	assert_false(lifts_is_buried(*state, "00000003", now));
	assert_int_equal(lifts_buried(*state, now, out), 2);
	assert_false(out[0].token);
	assert_true(out[1].token);
	assert_int_equal(lifts_buried(*state, now + HOUR / 2, out), 1);
	assert_string_equal(out[0].id, "00000001");
	assert_int_equal(out[0].until, now + HOUR);
}

static void fill_graves(struct lifts *ls)
{
	char id[LIFT_ID];
	for (unsigned i = 0; i < LIFTS_ENDED_MAX; i++) {
		snprintf(id, sizeof(id), "%08x", i);
		bury(ls, id, now + HOUR + (i == 77 ? -1 : (usec_t)i), false, true);
	}
	assert_true(lifts_is_buried(ls, "0000004d", now));
}

static void when_all_are_taken_the_soonest_goes(void **state)
{
	fill_graves(*state);
	assert_true(bury(*state, "ffffffff", now + 2 * HOUR, false, true));
	assert_false(lifts_is_buried(*state, "0000004d", now));
	assert_true(lifts_is_buried(*state, "ffffffff", now));
	assert_true(lifts_is_buried(*state, "00000000", now));
}

/* What others tell again and again puts nothing in motion, and no revoked token is forgotten for it. */
static void tombstones_of_others_come_to_rest(void **state)
{
	fill_graves(*state);
	assert_false(bury(*state, "eeeeeeee", now + HOUR + USEC_PER_SEC - 1, false, false));
	assert_true(bury(*state, "eeeeeeee", now + HOUR + USEC_PER_SEC, false, false));
	assert_false(bury(*state, "0000004d", now + HOUR - 1, false, false));
	assert_true(bury(*state, "aaaaaaaa", now + HOUR / 4, true, true));
	assert_true(bury(*state, "bbbbbbbb", now + HOUR / 4, true, false));
	assert_true(bury(*state, "cccccccc", now + 2 * HOUR, false, false));
	assert_true(lifts_is_buried(*state, "aaaaaaaa", now));
	assert_true(lifts_is_buried(*state, "bbbbbbbb", now));
	assert_true(lifts_is_buried(*state, "cccccccc", now));
}

/* --- readers while control writes --- */

static atomic_bool stop;

/* Two lifts that swap places with others, one of which always frees this client: a reader must never see
 * none. */
static void *write_on(void *arg)
{
	struct lifts *ls = arg;
	struct lift one = make(1, now + HOUR), two = make(2, now + HOUR), noise = make(3, now + HOUR);
	add_client(&one, "10.0.0.0/8");
	add_client(&two, "10.0.0.0/8");
	add_site(&one, "a.example");
	add_client(&noise, "192.0.2.0/24");
	for (unsigned i = 0; !atomic_load(&stop); i++) {
		lifts_put(ls, i & 1 ? &one : &two);
		lifts_put(ls, &noise);
		lifts_remove(ls, i & 1 ? two.id : one.id);
		lifts_remove(ls, noise.id);
		usleep(20);
	}
	return NULL;
}

static void readers_see_whole_lists(void **state)
{
	struct lifts *ls = *state;
	struct lift first = make(1, now + HOUR), out[LIFTS_MAX];
	pthread_t thread;
	char id[LIFT_ID];
	unsigned seen[3] = {0};
	add_client(&first, "10.0.0.0/8");
	add_site(&first, "a.example");
	assert_true(lifts_put(ls, &first));
	atomic_store(&stop, false);
	assert_int_equal(pthread_create(&thread, NULL, write_on, ls), 0);
	for (unsigned i = 0; i < 200000 || !(seen[1] && seen[2]); i++) {
		assert_int_equal(match(ls, now, "10.1.2.3", "a.example", id), LIFT_FULL);
		unsigned n = (unsigned)strtoul(id, NULL, 16);
		assert_in_range(n, 1, 2);
		seen[n]++;
		if (i % 64 == 0) {
			unsigned count = lifts_list(ls, now, out);
			assert_in_range(count, 1, 3);
		}
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
}

/* A control that is killed in the middle of a write leaves a list that can be read and written. */
static void a_killed_writer_harms_nobody(void **state)
{
	struct lifts *ls = *state;
	struct lift keep = make(1, now + HOUR), l;
	char id[LIFT_ID];
	assert_true(lifts_put(ls, &keep));
	for (int round = 0; round < 20; round++) {
		pid_t pid = child_fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			for (unsigned i = 0;; i++) {
				l = make(2 + i % 40, now + HOUR);
				add_client(&l, "192.0.2.0/24");
				if (i % 3)
					lifts_put(ls, &l);
				else
					lifts_remove(ls, l.id);
			}
		}
		usleep((useconds_t)(500 + round * 137));
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		assert_int_equal(match(ls, now, "10.0.0.1", "a", id), LIFT_FULL);
		assert_string_equal(id, "00000001");
		l = make(100, now + HOUR);
		assert_true(lifts_put(ls, &l));
		assert_true(lifts_remove(ls, l.id));
	}
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(nothing_is_lifted_at_first),
		CASE(it_ends_at_its_moment),
		CASE(clients_are_held_by_bits),
		CASE(scopes_meet),
		CASE(a_full_lift_beats_a_shadow),
		CASE(an_id_is_replaced_in_its_place),
		CASE(only_so_many_fit_and_those_over_make_room),
		CASE(a_block_holds_its_clients_and_frees_nobody),
		CASE(blocks_leave_room_for_lifts),
		CASE(tombstones_last_until_the_end),
		CASE(when_all_are_taken_the_soonest_goes),
		CASE(tombstones_of_others_come_to_rest),
		CASE(readers_see_whole_lists),
		CASE(a_killed_writer_harms_nobody),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
