/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/child.h"

#include "base/events.h"
#include "base/log.h"

#define GIVE_UP_S 120

static void *section;
static struct event_row rows[EVENTS_KEPT + 10];

static int set_up(void **state)
{
	(void)state;
	section = mmap(NULL, events_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(section, MAP_FAILED);
	alarm(GIVE_UP_S);
	events_attach(section);
	log_set_level(LOG_ERROR); /* each event is logged too */
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	munmap(section, events_bytes());
	return 0;
}

static void the_last_ones_come_oldest_first(void **state)
{
	(void)state;
	assert_int_equal(events_last(rows, 10), 0);
	wall_t before = clock_wall();
	for (int i = 1; i <= 5; i++)
		events_add(i == 3 ? EVENT_LIFT : EVENT_STORE, "number %d", i);
	assert_int_equal(events_last(rows, 0), 0);
	assert_int_equal(events_last(rows, 3), 3);
	for (unsigned i = 0; i < 3; i++) {
		char want[20];
		snprintf(want, sizeof(want), "number %u", i + 3);
		assert_string_equal(rows[i].text, want);
		assert_int_equal(rows[i].seq, i + 3);
		assert_int_equal(rows[i].kind, i ? EVENT_STORE : EVENT_LIFT);
		assert_int_equal(rows[i].pid, getpid());
		assert_true(rows[i].at >= before && rows[i].at <= clock_wall());
	}
	assert_int_equal(events_last(rows, 10), 5);
	assert_string_equal(rows[0].text, "number 1");
}

static void old_ones_give_way_and_no_more_than_are_kept_are_told(void **state)
{
	(void)state;
	for (unsigned i = 1; i <= 3 * EVENTS_KEPT + 7; i++)
		events_add(EVENT_PROCESS, "%u", i);
	assert_int_equal(events_last(rows, EVENTS_KEPT + 10), EVENTS_KEPT);
	for (unsigned i = 0; i < EVENTS_KEPT; i++) {
		assert_int_equal(rows[i].seq, 2 * EVENTS_KEPT + 8 + i);
		assert_int_equal(strtoul(rows[i].text, NULL, 10), rows[i].seq);
	}
}

static void a_long_text_is_cut(void **state)
{
	static char text[1000];
	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	events_add(EVENT_ADMIN, "%s", text);
	assert_int_equal(events_last(rows, 1), 1);
	assert_int_equal(strlen(rows[0].text), EVENT_TEXT - 1);
}

static void every_kind_has_a_name_of_its_own(void **state)
{
	(void)state;
	for (int i = 0; i <= EVENT_ADMIN; i++)
		for (int k = 0; k < i; k++)
			assert_string_not_equal(event_kind_name((enum event_kind)i),
						event_kind_name((enum event_kind)k));
	assert_string_equal(event_kind_name(EVENT_LIFT), "lift");
	assert_string_equal(event_kind_name((enum event_kind)99), "unknown");
}

/* A text that tells whether it is of one piece: a number, and that many of one letter. */
static void add_checked(unsigned i)
{
	char body[301];
	unsigned n = i % 300;
	memset(body, 'a' + (int)(i % 26), n);
	body[n] = 0;
	events_add(EVENT_CLIENT, "%u %d %s", i, (int)getpid(), body);
}

/* Returns the number. */
static unsigned check_text(const struct event_row *r)
{
	unsigned i;
	int pid, at;
	assert_int_equal(sscanf(r->text, "%u %d %n", &i, &pid, &at), 2);
	assert_int_equal(pid, r->pid);
	assert_int_equal(strlen(r->text + at), i % 300);
	for (const char *p = r->text + at; *p; p++)
		assert_int_equal(*p, 'a' + (int)(i % 26));
	return i;
}

static pid_t adder(unsigned count)
{
	pid_t pid = child_fork();
	if (pid)
		return pid;
	for (unsigned i = 0; i < count; i++)
		add_checked(i);
	_exit(0);
}

static void what_is_overwritten_while_it_is_read_is_left_out(void **state)
{
	enum { MANY = 100000 };
	int status;
	(void)state;
	pid_t pid = adder(MANY);
	bool over = false;
	for (unsigned look = 0; !over; look++) {
		over = waitpid(pid, &status, WNOHANG) == pid;
		unsigned n = events_last(rows, EVENTS_KEPT);
		if (look % 128 && n > 3)
			n = 3; /* the oldest are overwritten next */
		for (unsigned i = 0; i < n; i++)
			assert_int_equal(check_text(&rows[i]), rows[i].seq - 1);
	}
	assert_int_equal(status, 0);
	assert_int_equal(events_last(rows, EVENTS_KEPT), EVENTS_KEPT);
	assert_int_equal(rows[EVENTS_KEPT - 1].seq, MANY);
}

/* Fewer than are kept, so that nobody overtakes one who is held up while he writes. */
static void several_processes_add_while_one_reads(void **state)
{
	enum { CHILDREN = 3, EACH = (EVENTS_KEPT - 10) / CHILDREN };
	(void)state;
	for (unsigned round = 0; round < 30; round++) {
		pid_t pid[CHILDREN];
		unsigned left = CHILDREN, seen[CHILDREN] = {0};
		memset(section, 0, events_bytes());
		for (int c = 0; c < CHILDREN; c++)
			pid[c] = adder(EACH);
		while (left) {
			int status;
			if (waitpid(pid[left - 1], &status, WNOHANG) == pid[left - 1]) {
				assert_int_equal(status, 0);
				left--;
			}
			unsigned n = events_last(rows, EVENTS_KEPT);
			for (unsigned i = 0; i < n; i++) {
				assert_true(i == 0 || rows[i].seq > rows[i - 1].seq);
				check_text(&rows[i]);
			}
		}
		assert_int_equal(events_last(rows, EVENTS_KEPT), CHILDREN * EACH);
		for (unsigned i = 0; i < CHILDREN * EACH; i++)
			for (int c = 0; c < CHILDREN; c++)
				if (rows[i].pid == pid[c])
					assert_int_equal(check_text(&rows[i]), seen[c]++);
		for (int c = 0; c < CHILDREN; c++)
			assert_int_equal(seen[c], EACH);
	}
}

static void a_process_killed_while_it_adds_leaves_no_half_event(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 30; round++) {
		int status;
		pid_t pid = child_fork();
		if (pid == 0)
			for (unsigned i = 0;; i++)
				add_checked(i);
		while (events_last(rows, EVENTS_KEPT) < 100)
			;
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		unsigned n = events_last(rows, EVENTS_KEPT);
		assert_true(n >= EVENTS_KEPT - round - 1 || n >= 100);
		for (unsigned i = 0; i < n; i++)
			check_text(&rows[i]);
		add_checked(round); /* others go on */
		assert_int_equal(events_last(rows, 1), 1);
		assert_int_equal(rows[0].pid, getpid());
	}
}

#define SHARED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SHARED(the_last_ones_come_oldest_first),
		SHARED(old_ones_give_way_and_no_more_than_are_kept_are_told),
		SHARED(a_long_text_is_cut),
		SHARED(every_kind_has_a_name_of_its_own),
		SHARED(what_is_overwritten_while_it_is_read_is_left_out),
		SHARED(several_processes_add_while_one_reads),
		SHARED(a_process_killed_while_it_adds_leaves_no_half_event),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
