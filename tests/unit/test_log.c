/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/board.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/ring.h"

static char got[100000];
static int err_copy, pipe_fd[2];

static int set_up(void **state)
{
	(void)state;
	assert_int_equal(pipe2(pipe_fd, O_NONBLOCK), 0);
	fcntl(pipe_fd[1], F_SETPIPE_SZ, 1 << 20);
	err_copy = dup(STDERR_FILENO);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	close(pipe_fd[0]);
	close(pipe_fd[1]);
	close(err_copy);
	return 0;
}

static void begin(bool json, enum log_level level)
{
	log_setup(&(struct log_setup){level, json, "worker 3"});
	dup2(pipe_fd[1], STDERR_FILENO);
}

static const char *end(void)
{
	dup2(err_copy, STDERR_FILENO);
	ssize_t n = read(pipe_fd[0], got, sizeof(got) - 1);
	got[n > 0 ? n : 0] = 0;
	return got;
}

#define LOGGED(json, ...) (begin(json, LOG_INFO), log_warn(__VA_ARGS__), end())

/* What stands behind the time, the level and the process. */
static const char *text_of(const char *line)
{
	const char *p = strstr(line, "worker 3: ");
	assert_non_null(p);
	return p + 10;
}

static const char *message_of(const char *line)
{
	const char *p = strstr(line, "\"message\":\"");
	assert_non_null(p);
	return p + 11;
}

static void a_line_of_text_says_when_how_bad_who_and_what(void **state)
{
	int year, ms, used = 0;
	(void)state;
	const char *line = LOGGED(false, "the answer is %d", 42);
	assert_int_equal(
		sscanf(line, "%4d-%*2d-%*2dT%*2d:%*2d:%*2d.%3dZ warn  worker 3: %n", &year, &ms, &used), 2);
	assert_true(year >= 2024 && used > 0);
	assert_string_equal(line + used, "the answer is 42\n");
}

static void a_line_of_json_says_the_same(void **state)
{
	int pid, used = 0;
	(void)state;
	const char *line = LOGGED(true, "the answer is %d", 42);
	assert_int_equal(sscanf(line,
				"{\"time\":\"%*4d-%*2d-%*2dT%*2d:%*2d:%*2d.%*3dZ\",\"level\":\"warn\","
				"\"process\":\"worker 3\",\"pid\":%d,\"message\":%n",
				&pid, &used),
			 1);
	assert_int_equal(pid, getpid());
	assert_string_equal(line + used, "\"the answer is 42\"}\n");
}

static void what_is_below_the_level_is_not_said(void **state)
{
	(void)state;
	for (int level = LOG_DEBUG; level <= LOG_ERROR; level++) {
		unsigned lines = 0;
		begin(false, (enum log_level)level);
		log_debug("d");
		log_info("i");
		log_warn("w");
		log_error("e");
		for (const char *p = end(); *p; p++)
			lines += *p == '\n';
		assert_int_equal(lines, LOG_ERROR - level + 1);
	}
	log_setup(&(struct log_setup){LOG_ERROR, false, "x"});
	log_set_level(LOG_DEBUG);
	dup2(pipe_fd[1], STDERR_FILENO);
	log_debug("now");
	assert_non_null(strstr(end(), "now"));
}

/* A stranger's bytes in a message can neither end the line nor command a terminal. */
static void control_bytes_never_leave_a_message(void **state)
{
	(void)state;
	assert_string_equal(text_of(LOGGED(false, "a\nb\r\tc\033[2Jd\177e\302\2332Jf")),
			    "a b  c [2Jd e  2Jf\n");
	assert_string_equal(text_of(LOGGED(false, "gr\303\274\303\237e \342\202\254 \302")),
			    "gr\303\274\303\237e \342\202\254 \302\n");
	assert_string_equal(message_of(LOGGED(true, "a\nb\"c\\d\033e\177")),
			    "a\\nb\\\"c\\\\d\\u001be\\u007f\"}\n");
}

static void json_keeps_utf8_and_replaces_what_is_none(void **state)
{
	(void)state;
	assert_string_equal(message_of(LOGGED(true, "gr\303\274\303\237e \342\202\254")),
			    "gr\303\274\303\237e \342\202\254\"}\n");
	const char *m = message_of(LOGGED(true, "x\377y\303"));
	assert_null(memchr(m, 0xff, strlen(m)));
	assert_null(strstr(m, "\303\""));
	assert_int_equal(m[0], 'x');
}

static void a_long_message_is_cut_and_stays_one_line(void **state)
{
	static char big[30000];
	(void)state;
	for (int json = 0; json < 2; json++)
		for (int k = 0; k < 4; k++) {
			static const char *const bytes[] = {"x", "\"", "\001", "\342\202\254"};
			for (size_t i = 0; i + 1 < sizeof(big); i++)
				big[i] = bytes[k][i % strlen(bytes[k])];
			const char *line = LOGGED(json, "%s", big);
			size_t n = strlen(line);
			assert_true(n > 1000 && n <= RING_LINE);
			assert_ptr_equal(strchr(line, '\n'), line + n - 1);
			if (json)
				assert_string_equal(line + n - 3, "\"}\n");
			if (json && k == 1) /* the cut is not in an escape */
				assert_int_equal((n - 3 - (size_t)(message_of(line) - line)) % 2, 0);
		}
}

static void levels_have_names(void **state)
{
	enum log_level l = LOG_ERROR;
	(void)state;
	for (int i = LOG_DEBUG; i <= LOG_ERROR; i++) {
		assert_true(log_level_parse(log_level_name((enum log_level)i), &l));
		assert_int_equal(l, i);
	}
	assert_false(log_level_parse("loud", &l));
	assert_false(log_level_parse("", &l));
	assert_false(log_level_parse("INFO", &l));
}

static void a_flood_passes_once_in_a_while_and_is_counted(void **state)
{
	struct log_limit l = {0, 0};
	unsigned missed = 99;
	(void)state;
	assert_true(log_limit_pass(&l, 1000, 500, &missed));
	assert_int_equal(missed, 0);
	for (int i = 0; i < 7; i++)
		assert_false(log_limit_pass(&l, 1001 + i, 500, &missed));
	assert_false(log_limit_pass(&l, 1499, 500, &missed));
	assert_true(log_limit_pass(&l, 1500, 500, &missed));
	assert_int_equal(missed, 8);
	assert_true(log_limit_pass(&l, 3000, 500, &missed));
	assert_int_equal(missed, 0);
}

/* Last: a process that has joined a ring does not leave it. */
static void in_a_ring_lines_go_through_it_and_never_wait(void **state)
{
	size_t n;
	const char *p;
	unsigned lines = 0;
	(void)state;
	void *section = mmap(NULL, ring_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(section, MAP_FAILED);
	ring_attach(section);
	ring_join(1);
	assert_string_equal(LOGGED(false, "through the ring"), "");
	p = ring_peek(RING_OWN, 1, &n);
	assert_non_null(p);
	assert_int_equal(p[n - 1], '\n');
	assert_non_null(memmem(p, n, "worker 3: through the ring", 26));
	ring_release(RING_OWN, 1, n);
	begin(true, LOG_INFO);
	for (int i = 0; i < 20000; i++)
		log_info("nobody reads this, and it is number %d", i);
	assert_string_equal(end(), "");
	for (; (p = ring_peek(RING_OWN, 1, &n)) != NULL; lines++) {
		char want[20];
		int len = snprintf(want, sizeof(want), "number %u\"}\n", lines);
		assert_memory_equal(p + n - len, want, len);
		ring_release(RING_OWN, 1, n);
	}
	assert_true(lines > 1000 && lines < 20000);
	series_t dropped = metric_series(METRIC_LOG_DROPPED, ring_label(RING_OWN));
	assert_int_equal(atomic_load(&metric_own[dropped]), 20000 - lines);
	munmap(section, ring_bytes());
}

#define ON_PIPE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_PIPE(a_line_of_text_says_when_how_bad_who_and_what),
		ON_PIPE(a_line_of_json_says_the_same),
		ON_PIPE(what_is_below_the_level_is_not_said),
		ON_PIPE(control_bytes_never_leave_a_message),
		ON_PIPE(json_keeps_utf8_and_replaces_what_is_none),
		ON_PIPE(a_long_message_is_cut_and_stays_one_line),
		ON_PIPE(levels_have_names),
		ON_PIPE(a_flood_passes_once_in_a_while_and_is_counted),
		ON_PIPE(in_a_ring_lines_go_through_it_and_never_wait),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
