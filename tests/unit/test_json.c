/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/json.h"

#define FFFD "\xef\xbf\xbd"

static char buf[4096];
static const char filler[] = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

/* Into an allocation of exactly the size that is allowed, so that the sanitizers see one byte too many. */
static void check_escape(struct str in, size_t room, const char *want, size_t left)
{
	char *exact = malloc(room ? room : 1), *copy = malloc(in.n ? in.n : 1);
	memcpy(copy, in.p, in.n);
	struct str rest = {copy, in.n};
	char *end = json_escape_some(exact, exact + room, &rest);
	assert_int_equal(end - exact, strlen(want));
	assert_memory_equal(exact, want, strlen(want));
	assert_int_equal(rest.n, left);
	assert_ptr_equal(rest.p, copy + (in.n - left));
	free(copy);
	free(exact);
}

static void every_byte_is_escaped_as_it_should_be(void **state)
{
	static const struct {
		struct str in;
		const char *want;
	} rows[] = {
		{STR(""), ""},
		{STR("plain /path?x=1&y=<>'"), "plain /path?x=1&y=<>'"},
		{STR("\"\\"), "\\\"\\\\"},
		{STR("\b\t\n\f\r"), "\\b\\t\\n\\f\\r"},
		{STR("\0\1\x1f\x7f"), "\\u0000\\u0001\\u001f\\u007f"},
		{STR("0123456789abcdef\"0123456789abcdef\n"), "0123456789abcdef\\\"0123456789abcdef\\n"},
		{STR("0123456789abcdé0123456789abcdef"), "0123456789abcdé0123456789abcdef"},
		{STR("é€😀"), "é€😀"},
		{STR("\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"),
		 "\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"},
		{STR("\x80"), FFFD},
		{STR("a\xff"
		     "b\xfe"),
		 "a" FFFD "b" FFFD},
		{STR("\xc0\xaf"), FFFD FFFD}, /* overlong '/' */
		{STR("\xc1\xbf"), FFFD FFFD},
		{STR("\xe0\x80\xaf"), FFFD FFFD FFFD},		/* overlong in three */
		{STR("\xf0\x8f\xbf\xbf"), FFFD FFFD FFFD FFFD}, /* overlong in four */
		{STR("\xed\xa0\x80"), FFFD FFFD FFFD},		/* a surrogate */
		{STR("\xed\x9f\xbf\xee\x80\x80"), "\xed\x9f\xbf\xee\x80\x80"},
		{STR("\xf4\x90\x80\x80"), FFFD FFFD FFFD FFFD}, /* above U+10FFFF */
		{STR("\xf5\x80\x80\x80"), FFFD FFFD FFFD FFFD},
		{STR("\xe2\x82"), FFFD}, /* cut off: one for its start */
		{STR("\xf0\x9f\x98"), FFFD},
		{STR("\xe2\x82\""), FFFD "\\\""}, /* the quote is not swallowed */
		{STR("\xc3\"\xe2\\\xf0\x9f\n"), FFFD "\\\"" FFFD "\\\\" FFFD "\\n"},
		{STR("\xe2\xe2\x82\xac"), FFFD "€"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		check_escape(rows[i].in, strlen(rows[i].want), rows[i].want, 0);
		check_escape(rows[i].in, strlen(rows[i].want) + 20, rows[i].want, 0);
	}
}

/* The vector path and the table agree on each kind of byte, wherever it stands. */
static void an_odd_byte_is_found_at_every_offset(void **state)
{
	static const char *const odd[][2] = {
		{"\x01", "\\u0001"}, {"\x1f", "\\u001f"}, {"\x7f", "\\u007f"}, {"\"", "\\\""}, {"\\", "\\\\"},
		{"\x80", FFFD},	     {"\xff", FFFD},	  {" ", " "},	       {"~", "~"},
	};
	(void)state;
	for (size_t k = 0; k < sizeof(odd) / sizeof(odd[0]); k++) {
		for (size_t n = 1; n < 70; n++) {
			for (size_t at = 0; at < n; at++) {
				char in[160], want[160];
				snprintf(in, sizeof(in), "%.*s%s%.*s", (int)at, filler, odd[k][0],
					 (int)(n - at - 1), filler);
				snprintf(want, sizeof(want), "%.*s%s%.*s", (int)at, filler, odd[k][1],
					 (int)(n - at - 1), filler);
				check_escape((struct str){in, n}, strlen(want), want, 0);
			}
		}
	}
}

static void escape_stops_on_a_boundary(void **state)
{
	(void)state;
	check_escape(STR("abc"), 2, "ab", 1);
	check_escape(STR("abc"), 0, "", 3);
	check_escape(STR("ab\n"), 3, "ab", 1);
	check_escape(STR("a\x01"), 6, "a", 1);
	check_escape(STR("a€"), 3, "a", 3);
	check_escape(STR("a€"), 4, "a€", 0);
	check_escape(STR("\xff"), 2, "", 1);
	check_escape(STR("0123456789abcdef0123456789abcdef"), 17, "0123456789abcdef0", 15);
	char *end = json_escape(buf, buf + 4, STR("a\"bcd"));
	assert_int_equal(end - buf, 4);
	assert_memory_equal(buf, "a\\\"b", 4);
}

static void a_document_has_its_commas_where_they_belong(void **state)
{
	struct json j;
	(void)state;
	json_init(&j, buf, sizeof(buf));
	json_obj_open(&j);
	json_key(&j, "s");
	json_str(&j, STR("x\"y"));
	json_key(&j, "none");
	json_str(&j, STR_NONE);
	json_key(&j, "empty");
	json_str(&j, STR(""));
	json_key(&j, "a");
	json_arr_open(&j);
	json_u64(&j, UINT64_MAX);
	json_i64(&j, INT64_MIN);
	json_arr_open(&j);
	json_arr_close(&j);
	json_obj_open(&j);
	json_obj_close(&j);
	json_obj_open(&j);
	json_key_str(&j, STR("k\n"));
	json_bool(&j, true);
	json_obj_close(&j);
	json_arr_close(&j);
	json_key(&j, "f");
	json_bool(&j, false);
	json_key(&j, "raw");
	json_raw(&j, STR("[1,2]"));
	json_key(&j, "n");
	json_null(&j);
	json_obj_close(&j);
	size_t n = json_finish(&j);
	const char *want =
		"{\"s\":\"x\\\"y\",\"none\":null,\"empty\":\"\",\"a\":[18446744073709551615,"
		"-9223372036854775808,[],{},{\"k\\n\":true}],\"f\":false,\"raw\":[1,2],\"n\":null}";
	assert_int_equal(n, strlen(want));
	assert_memory_equal(buf, want, n);
}

static void doubles_have_fixed_decimals(void **state)
{
	static const struct {
		double v;
		unsigned decimals;
		const char *want;
	} rows[] = {
		{0, 0, "0"},
		{0, 3, "0.000"},
		{-0.0, 2, "0.00"},
		{1.5, 0, "2"},
		{0.05, 1, "0.1"},
		{12.345, 2, "12.35"},
		{-12.3, 1, "-12.3"},
		{0.999, 2, "1.00"},
		{-0.001, 2, "0.00"},
		{9.9999, 3, "10.000"},
		{1e15, 1, "1000000000000000.0"},
		{0.000000001, 9, "0.000000001"},
		{18446744073709549568.0, 1, "18446744073709549568.0"},
		{1e300, 2, "1.0000000000000001e+300"},
		{(double)NAN, 2, "null"},
		{-(double)INFINITY, 2, "null"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct json j;
		json_init(&j, buf, sizeof(buf));
		json_double(&j, rows[i].v, rows[i].decimals);
		size_t n = json_finish(&j);
		assert_int_equal(n, strlen(rows[i].want));
		assert_memory_equal(buf, rows[i].want, n);
	}
}

static void a_string_is_cut_at_its_maximum(void **state)
{
	static const struct {
		struct str in;
		size_t max;
		const char *want;
	} rows[] = {
		{STR("abcdef"), 6, "\"abcdef\""},
		{STR("abcdef"), 3, "\"abc\""},
		{STR("a€b"), 3, "\"a\""},
		{STR("a€b"), 4, "\"a€\""},
		{STR("a\nb"), 2, "\"a\""},
		{STR("a\x02"
		     "b"),
		 6, "\"a\""},
		{STR("ab\xff"), 4, "\"ab\""},
		{STR("abc"), 0, "\"\""},
		{STR("😀😀"), 7, "\"😀\""},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct json j;
		json_init(&j, buf, rows[i].max + 2);
		json_str_max(&j, rows[i].in, rows[i].max);
		assert_int_equal(json_finish(&j), strlen(rows[i].want));
		assert_memory_equal(buf, rows[i].want, strlen(rows[i].want));
	}
	struct json j;
	json_init(&j, buf, 64);
	json_str_max(&j, STR("abcdef"), 3);
	assert_int_equal(json_finish(&j), 5);
}

static size_t write_sample(struct json *j, char *to, size_t cap)
{
	json_init(j, to, cap);
	json_obj_open(j);
	json_key(j, "key");
	json_arr_open(j);
	json_str(j, STR("va\"lue"));
	json_str_max(j, STR("long text"), 4);
	json_u64(j, 12345);
	json_double(j, 1.25, 2);
	json_null(j);
	json_raw(j, STR("{}"));
	json_arr_close(j);
	json_key(j, "b");
	json_bool(j, true);
	json_obj_close(j);
	return json_finish(j);
}

/* Every size too small is told, none is written over, and the exact size is enough. */
static void overflow_is_told_at_every_size(void **state)
{
	struct json j;
	(void)state;
	size_t whole = write_sample(&j, buf, sizeof(buf));
	assert_true(whole > 40);
	for (size_t cap = 0; cap <= whole; cap++) {
		char *exact = malloc(cap ? cap : 1);
		size_t n = write_sample(&j, exact, cap);
		assert_int_equal(n, cap == whole ? whole : 0);
		assert_int_equal(j.overflow, cap < whole);
		if (n)
			assert_memory_equal(exact, buf, n);
		free(exact);
	}
}

static void nesting_goes_to_the_limit(void **state)
{
	struct json j;
	(void)state;
	json_init(&j, buf, sizeof(buf));
	for (unsigned i = 0; i < JSON_DEPTH_MAX; i++)
		json_arr_open(&j);
	for (unsigned i = 0; i < JSON_DEPTH_MAX; i++)
		json_arr_close(&j);
	assert_int_equal(json_finish(&j), 2 * JSON_DEPTH_MAX);
	for (unsigned i = 0; i < 2 * JSON_DEPTH_MAX; i++)
		assert_int_equal(buf[i], i < JSON_DEPTH_MAX ? '[' : ']');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_byte_is_escaped_as_it_should_be),
		cmocka_unit_test(an_odd_byte_is_found_at_every_offset),
		cmocka_unit_test(escape_stops_on_a_boundary),
		cmocka_unit_test(a_document_has_its_commas_where_they_belong),
		cmocka_unit_test(doubles_have_fixed_decimals),
		cmocka_unit_test(a_string_is_cut_at_its_maximum),
		cmocka_unit_test(overflow_is_told_at_every_size),
		cmocka_unit_test(nesting_goes_to_the_limit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
