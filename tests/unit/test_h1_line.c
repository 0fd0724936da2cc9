/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "proxy/h1_line.h"

static const struct scan {
	size_t (*scan)(const char *buf, size_t at, size_t len);
	enum h1_class stop;
} scans[] = {
	{h1_scan_value, H1_STOP_VALUE}, {h1_scan_start, H1_STOP_START}, {h1_scan_target, H1_STOP_TARGET},
	{h1_scan_query, H1_STOP_QUERY}, {h1_scan_colon, H1_COLON},
};

/* One byte of each value at each place of buffers of 1 to 50 bytes, scanned from each place. */
static void scans_agree_with_classes(void **state)
{
	(void)state;
	for (size_t s = 0; s < sizeof(scans) / sizeof(scans[0]); s++)
		for (size_t len = 1; len <= 50; len++) {
			char *buf = malloc(len);
			assert_non_null(buf);
			memset(buf, 'a', len);
			for (unsigned c = 0; c < 256; c++)
				for (size_t place = 0; place < len; place++) {
					buf[place] = (char)c;
					for (size_t at = 0; at <= len; at += c % 3 + 1)
						assert_int_equal(scans[s].scan(buf, at, len),
								 h1_scan_plain(buf, at, len, scans[s].stop));
					buf[place] = 'a';
				}
			free(buf);
		}
}

/* With several stops in a block the first counts, and one in front of `at` does not. */
static void scans_find_the_first(void **state)
{
	(void)state;
	char buf[64];
	memset(buf, 'a', sizeof(buf));
	for (size_t i = 0; i < sizeof(buf); i += 5)
		buf[i] = '\r';
	for (size_t at = 0; at < 60; at++)
		assert_int_equal(h1_scan_value(buf, at, sizeof(buf)), (at + 4) / 5 * 5);
}

static void same_host_end(const char *buf, size_t len)
{
	for (size_t at = 0; at <= len; at++)
		assert_int_equal(h1_scan_host(buf, at, len), h1_scan_host_plain(buf, at, len, true));
}

/* One byte of each value, and two dots, at each place of buffers of 1 to 50 bytes, scanned from each place.
 */
static void hosts_end_where_byte_by_byte(void **state)
{
	(void)state;
	for (size_t len = 1; len <= 50; len++) {
		char *buf = malloc(len);
		assert_non_null(buf);
		memset(buf, 'a', len);
		for (size_t place = 0; place < len; place++) {
			for (unsigned c = 0; c < 256; c++) {
				buf[place] = (char)c;
				same_host_end(buf, len);
			}
			buf[place] = '.';
			for (size_t second = 0; second < place; second++) {
				buf[second] = '.';
				same_host_end(buf, len);
				buf[second] = 'a';
			}
			buf[place] = 'a';
		}
		free(buf);
	}
}

static void hosts_have_no_empty_label(void **state)
{
	static const struct {
		const char *text;
		size_t n;
	} rows[] = {
		{"a:80", 1},
		{"a.b:80", 3},
		{"a.:80", 2},
		{"a..b", 2},
		{".a", 0},
		{"..", 0},
		{"", 0},
		{"a_b-C.9/", 7},
		{"[::1]", 0},
		{"a.example.com.\r\n", 14},
		{"a.example.com..\r\n", 14},
		{"aaaaaaaaaaaaaaa.:", 16},
		{"aaaaaaaaaaaaaaa..b", 16},
		{"aaaaaaaaaaaaaaaa.b:", 18},
		{"aaaaaaaaaaaaaaaa..", 17},
		{"a\xc3\xa9", 1},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[64] = "";
		size_t n = strlen(rows[i].text);
		memcpy(text, rows[i].text, n);
		assert_int_equal(h1_scan_host_plain(text, 0, n, true), rows[i].n);
		assert_int_equal(h1_scan_host(text, 0, n), rows[i].n);
		assert_int_equal(h1_scan_host(text, 0, sizeof(text)), rows[i].n);
	}
}

static void classes_are_those_of_the_rfc(void **state)
{
	(void)state;
	for (int c = 0; c < 256; c++) {
		bool digit = c >= '0' && c <= '9';
		bool alnum = digit || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
		bool tchar = alnum || (c && memchr("!#$%&'*+-.^_`|~", c, 15));
		assert_int_equal(h1_is((char)c, H1_TCHAR), tchar);
		assert_int_equal(h1_is((char)c, H1_PLAIN), alnum || c == '-');
		assert_int_equal(h1_is((char)c, H1_LABEL), alnum || c == '-' || c == '_');
		assert_int_equal(h1_is((char)c, H1_STOP_VALUE), (c < 0x20 && c != '\t') || c == 0x7f);
		assert_int_equal(h1_is((char)c, H1_STOP_START), c < 0x20 || c >= 0x7f);
		assert_int_equal(h1_is((char)c, H1_STOP_TARGET), c == ' ' || c == '?' || c == '#');
		assert_int_equal(h1_is((char)c, H1_STOP_QUERY), c == ' ' || c == '#');
		assert_int_equal(h1_is((char)c, H1_COLON), c == ':');
	}
}

/* White space around the value is cut off, and a line is as weir writes it with one SP before a value alone.
 */
static void fields_are_trimmed_and_known_as_written(void **state)
{
	static const struct {
		const char *line, *value;
		bool as_written;
	} rows[] = {
		{"Name: value", "value", true},
		{"Name: a b\tc", "a b\tc", true},
		{"Name: \xc3\xa9", "\xc3\xa9", true},
		{"Name:value", "value", false},
		{"Name:  value", "value", false},
		{"Name:\tvalue", "value", false},
		{"Name: value ", "value", false},
		{"Name: value\t", "value", false},
		{"Name: \tvalue", "value", false},
		{"Name:", "", false},
		{"Name: ", "", false},
		{"Name: \t ", "", false},
		{"Name: v", "v", true},
		{"Name:v", "v", false},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct h1_field f = {0};
		char *line = malloc(strlen(rows[i].line) + 2);
		size_t n = strlen(rows[i].line);
		assert_non_null(line);
		memcpy(mempcpy(line, rows[i].line, n), "\r\n", 2);
		assert_int_equal(h1_usual_field(&f, line, 0, n + 2), n);
		assert_int_equal(f.name_len, 4);
		assert_int_equal(f.value_len, strlen(rows[i].value));
		assert_memory_equal(line + f.value_at, rows[i].value, f.value_len);
		assert_int_equal(f.flags, rows[i].as_written ? H1_FIELD_AS_WRITTEN : 0);
		free(line);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(scans_agree_with_classes),
		cmocka_unit_test(scans_find_the_first),
		cmocka_unit_test(fields_are_trimmed_and_known_as_written),
		cmocka_unit_test(hosts_end_where_byte_by_byte),
		cmocka_unit_test(hosts_have_no_empty_label),
		cmocka_unit_test(classes_are_those_of_the_rfc),
	};
	return cmocka_run_group_tests_name("h1_line", tests, NULL, NULL);
}
