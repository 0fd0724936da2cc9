/* SPDX-License-Identifier: MIT */
/* What configs are read with: scalars, suggestions, URLs of Redis, hosts, CPUs, YAML trees, the arena. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "conf/arena.h"
#include "conf/cpus.h"
#include "conf/hosts.h"
#include "conf/redis_url.h"
#include "conf/scalar.h"
#include "conf/suggest.h"
#include "conf/yaml.h"
#include "tests/unit/conf_case.h"

static void test_durations(void **state)
{
	static const struct {
		const char *text;
		int64_t us; /* -1: refused */
		const char *shown;
	} rows[] = {
		{"0s", 0, "0s"},
		{"1ms", 1000, "1ms"},
		{"1500ms", 1500000, "1500ms"},
		{"60s", 60000000, "60s"},
		{"1m", 60000000, "60s"},
		{"2m", 120000000, "2m"},
		{"90s", 90000000, "90s"},
		{"3600s", 3600000000, "1h"},
		{"1H", 3600000000, "1h"},
		{"4h", 14400000000, "4h"},
		{"121s", 121000000, "121s"},
		{"5MS", 5000, "5ms"},
		{"", -1, ""},
		{"s", -1, ""},
		{"60", -1, ""},
		{"1.5s", -1, ""},
		{"-1s", -1, ""},
		{"+1s", -1, ""},
		{"1 s", -1, ""},
		{" 1s", -1, ""},
		{"1d", -1, ""},
		{"1us", -1, ""},
		{"1h30m", -1, ""},
		{"9223372036854775807h", -1, ""},
		{"0x1s", -1, ""},
		{"18446744073709551616s", -1, ""},
	};
	char shown[SCALAR_TEXT];
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		usec_t v = -1;
		const char *why = scalar_duration(str_of(rows[i].text), &v);
		assert_int_equal(why != NULL, rows[i].us < 0);
		assert_true(v == rows[i].us);
		if (!why)
			assert_string_equal(scalar_show_duration(shown, v), rows[i].shown);
	}
}

static void test_sizes_and_rates(void **state)
{
	uint64_t v = 7;
	uint32_t n = 7;
	usec_t us = 7;
	char shown[SCALAR_TEXT];
	(void)state;
	assert_null(scalar_size(STR("16k"), &v));
	assert_int_equal(v, 16384);
	assert_string_equal(scalar_show_size(shown, v), "16k");
	assert_null(scalar_size(STR("3G"), &v));
	assert_true(v == 3221225472u);
	assert_string_equal(scalar_show_size(shown, v), "3g");
	assert_null(scalar_size(STR("1025"), &v));
	assert_string_equal(scalar_show_size(shown, v), "1025");
	assert_string_equal(scalar_show_size(shown, 0), "0");
	assert_non_null(scalar_size(STR("1kb"), &v));
	assert_non_null(scalar_size(STR("k"), &v));
	assert_non_null(scalar_size(STR("99999999999g"), &v));
	assert_null(scalar_rate(STR("10/s"), &n, &us));
	assert_int_equal(n, 10);
	assert_int_equal(us, USEC_PER_SEC);
	assert_null(scalar_rate(STR("100/m"), &n, &us));
	assert_int_equal(us, 60 * USEC_PER_SEC);
	assert_non_null(scalar_rate(STR("10/"), &n, &us));
	assert_non_null(scalar_rate(STR("/s"), &n, &us));
	assert_non_null(scalar_rate(STR("10/ms"), &n, &us));
	assert_non_null(scalar_rate(STR("0/s"), &n, &us));
	assert_int_equal(n, 100);
}

static void test_modes(void **state)
{
	unsigned mode = 1;
	(void)state;
	assert_null(scalar_mode(STR("0660"), &mode));
	assert_int_equal(mode, 0660);
	assert_null(scalar_mode(STR("700"), &mode));
	assert_int_equal(mode, 0700);
	assert_non_null(scalar_mode(STR("1777"), &mode));
	assert_non_null(scalar_mode(STR("68"), &mode));
	assert_non_null(scalar_mode(STR("0868"), &mode));
	assert_non_null(scalar_mode(STR(""), &mode));
}

static void test_addresses(void **state)
{
	static const char *const good[] = {"127.0.0.1:80", "0.0.0.0:65535", "[::1]:1", "[2001:db8::1]:8080"};
	static const char *const bad[] = {"127.0.0.1", "127.0.0.1:", "127.0.0.1:0",    "127.0.0.1:65536",
					  "[::1]",     "::1:80",     "localhost:80",   ":80",
					  "",	       "127.1:80",   "[127.0.0.1]:80", "1.2.3.4:80 "};
	struct sockaddr_storage sa;
	socklen_t n;
	struct addr a;
	uint16_t port;
	char path[128];
	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct addr back;
		uint16_t back_port;
		assert_null(scalar_address(str_of(good[i]), &a, &port));
		scalar_sockaddr(&a, port, &sa, &n);
		assert_true(addr_of_sockaddr((struct sockaddr *)&sa, &back, &back_port));
		assert_true(addr_eq(&a, &back) && port == back_port);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_non_null(scalar_address(str_of(bad[i]), &a, &port));
	memset(path, 'a', sizeof(path));
	assert_true(scalar_unix((struct str){path, 107}, &sa, &n));
	assert_false(scalar_unix((struct str){path, 108}, &sa, &n));
}

static void test_characters(void **state)
{
	static const char *const text[] = {"",	 "abc", "caf\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80",
					   "a b"};
	static const char *const none[] = {"\n",
					   "\x7f",
					   "\xc3",
					   "\xc0\x80",
					   "\xe0\x80\x80",
					   "\xed\xa0\x80",
					   "\xc2\x85",
					   "\xf4\x90\x80\x80",
					   "\xff",
					   "\x80",
					   "\xf0\x80\x80\x80",
					   "a\tb"};
	(void)state;
	for (size_t i = 0; i < sizeof(text) / sizeof(text[0]); i++)
		assert_true(scalar_is_text(str_of(text[i])));
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		assert_false(scalar_is_text(str_of(none[i])));
	assert_true(scalar_is_token(STR("X-A_b!#$%&'*+.^`|~9")));
	assert_false(scalar_is_token(STR("a b")) || scalar_is_token(STR("")) || scalar_is_token(STR("a:")));
	assert_false(scalar_is_token((struct str){"a\0b", 3}));
	assert_true(scalar_is_name(STR("a-b_c.9"), 7));
	assert_false(scalar_is_name(STR("a-b_c.9"), 6) || scalar_is_name(STR("9a"), 9) ||
		     scalar_is_name(STR(""), 9));
}

static void expect_url(const char *url, const char *host, unsigned port, unsigned db, const char *user,
		       const char *password)
{
	struct arena arena = {0};
	struct redis_url u;
	const char *why = redis_url_parse(&arena, str_of(url), &u);
	if (why)
		fail_msg("%s: %s", url, why);
	assert_true(is(u.host, host) && is(u.username, user) && is(u.password, password));
	assert_int_equal(u.port, port);
	assert_int_equal(u.db, db);
	arena_free(&arena);
}

static void test_redis_urls(void **state)
{
	static const char *const bad[] = {"",
					  "redis:",
					  "redis://",
					  "redis:///0",
					  "redis://h:0",
					  "redis://h:65536",
					  "redis://h:",
					  "redis://h/x",
					  "redis://h/1024",
					  "redis://h/-1",
					  "redis://u%4@h",
					  "redis://u%zz@h",
					  "redis://u:%00@h",
					  "redis://a b",
					  "redis://h?db=1",
					  "redis://::1",
					  "redis://[::1",
					  "redis://[1.2.3.4]",
					  "unix://",
					  "unix://p?x=1",
					  "unix://p?db=",
					  "unix://p?db=1&x",
					  "http://h",
					  "h:6379",
					  "redis://u:p@"};
	struct arena arena = {0};
	struct redis_url u;
	(void)state;
	expect_url("redis://h", "h", 6379, 0, "", "");
	expect_url("REDIS://limits.example.internal:7000/15", "limits.example.internal", 7000, 15, "", "");
	expect_url("redis://h/", "h", 6379, 0, "", "");
	expect_url("redis://127.0.0.1:1", "127.0.0.1", 1, 0, "", "");
	expect_url("redis://[2001:db8::1]:6390/2", "2001:db8::1", 6390, 2, "", "");
	expect_url("redis://joe:s@h", "h", 6379, 0, "joe", "s");
	expect_url("redis://:s@h", "h", 6379, 0, "", "s");
	expect_url("redis://joe@h", "h", 6379, 0, "joe", "");
	expect_url("redis://j%40e:p%3A%2F%25%c3%a9@h", "h", 6379, 0, "j@e", "p:/%\xc3\xa9");
	expect_url("redis://a:b:c@d@h", "h", 6379, 0, "a",
		   "b:c@d"); /* the last @ ends it, the first : parts it */
	expect_url("redis://u:/p@h/3", "h", 6379, 3, "u", "/p");
	expect_url("unix:///run/redis.sock", "/run/redis.sock", 0, 0, "", "");
	expect_url("unix://run/redis.sock?db=7", "run/redis.sock", 0, 7, "", "");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (!redis_url_parse(&arena, str_of(bad[i]), &u))
			fail_msg("%s was taken", bad[i]);
	arena_free(&arena);
}

/* A password goes on as a text that ends at its first NUL. */
static void fuzz_raw_nul_in_a_redis_url(void **state)
{
	struct arena arena = {0};
	struct redis_url u;
	(void)state;
	assert_non_null(redis_url_parse(&arena, STR("redis://u:a\0b@h"), &u));
	assert_non_null(redis_url_parse(&arena, STR("redis://u\0:a@h"), &u));
	assert_non_null(redis_url_parse(&arena, STR("redis://h\0"), &u));
	arena_free(&arena);
}

static void test_suggestions(void **state)
{
	struct suggestion s;
	(void)state;
	assert_int_equal(suggest_distance(STR("requests"), STR("reqests")), 1);
	assert_int_equal(suggest_distance(STR("timeout"), STR("tiemout")), 1);
	assert_int_equal(suggest_distance(STR("kitten"), STR("sitting")), 3);
	assert_int_equal(suggest_distance(STR(""), STR("abc")), 3);
	assert_int_equal(suggest_distance(STR("ABC"), STR("abc")), 0);
	assert_int_equal(suggest_distance(STR("ab"), STR("ba")), 1);
	suggest_start(&s, STR("reqests"));
	suggest_word(&s, STR("window"));
	suggest_word(&s, STR("requests"));
	suggest_word(&s, STR("request"));
	assert_true(is(s.best, "requests"));
	suggest_start(&s, STR("zz"));
	suggest_word(&s, STR("ab"));
	assert_int_equal(s.best.n, 0);
	char longest[100];
	memset(longest, 'a', sizeof(longest));
	suggest_start(&s, (struct str){longest, sizeof(longest)});
	suggest_word(&s, (struct str){longest, sizeof(longest) - 1});
	assert_int_equal(s.best.n, 0);
}

static void test_host_patterns(void **state)
{
	static const char *const rows[][2] = {
		{"Example.COM", "example.com"},
		{"example.com.", "example.com"},
		{"localhost", "localhost"},
		{"*", "*"},
		{"*.Example.com", "*.example.com"},
		{"*.com.", "*.com"},
		{"10.0.0.1", "10.0.0.1"},
		{"[2001:DB8:0::1]", "[2001:db8::1]"},
		{"a_b.c", "a_b.c"},
		{"xn--bro-hoa.de", "xn--bro-hoa.de"},
		{"", NULL},
		{".", NULL},
		{"..", NULL},
		{"a..b", NULL},
		{".a", NULL},
		{"*.", NULL},
		{"**", NULL},
		{"*a", NULL},
		{"a.*", NULL},
		{"*.*.a", NULL},
		{"*.10.0.0.1", NULL},
		{"*.[::1]", NULL},
		{"::1", NULL},
		{"[::1", NULL},
		{"[10.0.0.1]", NULL},
		{"a:80", NULL},
		{"a b", NULL},
		{"a/b", NULL},
		{"b\xc3\xbc", NULL},
	};
	struct arena arena = {0};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct str out;
		const char *why = host_pattern(&arena, str_of(rows[i][0]), &out);
		if ((why == NULL) != (rows[i][1] != NULL) || (!why && !is(out, rows[i][1])))
			fail_msg("%s", rows[i][0]);
	}
	assert_true(host_below(STR("a.b.c"), STR("b.c")) && host_below(STR("b.c"), STR("b.c")));
	assert_false(host_below(STR("ab.c"), STR("b.c")) || host_below(STR("c"), STR("b.c")));
	assert_true(host_below(STR("*.b.c"), STR("b.c")) && host_below(STR("*.c"), STR("b.c")) &&
		    host_below(STR("*"), STR("b.c")));
	assert_false(host_below(STR("*.d"), STR("b.c")));
	arena_free(&arena);
}

static void make_folders(const char *path)
{
	char part[128];
	for (size_t i = 1; i <= strlen(path); i++) {
		snprintf(part, sizeof(part), "%.*s", (int)i, path);
		if (path[i] == '/' || path[i] == '\0')
			mkdir(part, 0700);
	}
}

static void test_cpus(void **state)
{
	(void)state;
	make_folders("v2/a/b");
	write_file("proc2", "0::/a/b\n");
	assert_int_equal(cpus_of("proc2", "v2", 8), 8); /* no quota at all */
	write_file("v2/a/b/cpu.max", "max 100000\n");
	assert_int_equal(cpus_of("proc2", "v2", 8), 8);
	write_file("v2/a/b/cpu.max", "250000 100000\n");
	assert_int_equal(cpus_of("proc2", "v2", 8), 3); /* rounded up */
	assert_int_equal(cpus_of("proc2", "v2", 2), 2);
	write_file("v2/a/cpu.max", "100000 100000\n"); /* the group above counts too */
	assert_int_equal(cpus_of("proc2", "v2", 8), 1);
	write_file("v2/a/b/cpu.max", "10000 100000\n");
	assert_int_equal(cpus_of("proc2", "v2", 8), 1);
	make_folders("v1/cpu,cpuacct/x");
	write_file("proc1", "5:memory:/y\n4:cpu,cpuacct:/x\n1:name=systemd:/z\n");
	write_file("v1/cpu,cpuacct/x/cpu.cfs_quota_us", "-1\n");
	write_file("v1/cpu,cpuacct/x/cpu.cfs_period_us", "100000\n");
	assert_int_equal(cpus_of("proc1", "v1", 6), 6);
	write_file("v1/cpu,cpuacct/x/cpu.cfs_quota_us", "150000\n");
	assert_int_equal(cpus_of("proc1", "v1", 6), 2);
	make_folders("container"); /* the group's path is not below a container's own mount */
	write_file("container/cpu.max", "400000 100000\n");
	assert_int_equal(cpus_of("proc2", "container", 8), 4);
	write_file("odd", "no colons\n0:\n::\n0::\n");
	assert_int_equal(cpus_of("odd", "nowhere", 5), 5);
	assert_int_equal(cpus_of("nowhere", "nowhere", 5), 5);
	assert_int_equal(cpus_of("nowhere", "nowhere", 0), 1);
	assert_true(cpus_granted() >= 1);
}

static void no_complaint(void *ctx, unsigned line, unsigned column, const char *fmt, ...)
{
	(void)ctx;
	fail_msg("%u:%u: %s", line, column, fmt);
}

static void test_yaml_places(void **state)
{
	struct arena arena = {0};
	struct yaml_sink sink = {NULL, no_complaint};
	const struct node *root =
		yaml_tree(&arena, STR("a: 1\n\xc3\xa9: [x, \"y\"]\nb:\n  c: |\n    two\n    lines\n"), &sink);
	(void)state;
	assert_non_null(root);
	assert_int_equal(root->n, 3);
	const struct node *list = yaml_member(root, STR("\xc3\xa9"));
	assert_int_equal(list->kind, NODE_LIST);
	assert_int_equal(list->line, 2);
	assert_int_equal(list->column, 4); /* characters, not bytes */
	assert_true(is(list->first->text, "x") && !list->first->quoted);
	assert_true(is(list->last->text, "y") && list->last->quoted);
	const struct node *c = yaml_member(yaml_member(root, STR("b")), STR("c"));
	assert_true(is(c->text, "two\nlines\n") && c->quoted);
	assert_int_equal(c->key_line, 4);
	assert_int_equal(c->key_column, 3);
	assert_null(yaml_member(root, STR("c")));
	arena_free(&arena);
}

static void test_arena(void **state)
{
	struct arena arena = {0};
	(void)state;
	for (size_t i = 0; i < 2000; i++) {
		unsigned char *p = arena_alloc(&arena, i * 7 % 40000);
		assert_non_null(p);
		assert_int_equal((uintptr_t)p % sizeof(long double), 0);
		for (size_t j = 0; j < i * 7 % 40000; j++)
			assert_true(p[j] == 0);
		memset(p, 0xa5, i * 7 % 40000);
	}
	assert_true(is(arena_str(&arena, STR_NONE), ""));
	assert_true(is(arena_fmt(&arena, "%d-%s", 5, "x"), "5-x"));
	assert_false(arena.failed);
	assert_null(arena_alloc(&arena, SIZE_MAX - 5));
	assert_true(arena.failed);
	arena_free(&arena);
	assert_null(arena.blocks);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_durations),   cmocka_unit_test(test_sizes_and_rates),
		cmocka_unit_test(test_modes),	    cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_characters),  cmocka_unit_test(test_redis_urls),
		cmocka_unit_test(test_suggestions), cmocka_unit_test(test_host_patterns),
		cmocka_unit_test(test_cpus),	    cmocka_unit_test(test_yaml_places),
		cmocka_unit_test(test_arena),	    cmocka_unit_test(fuzz_raw_nul_in_a_redis_url),
	};
	return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
