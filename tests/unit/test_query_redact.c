/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/clock.h"
#include "proxy/query_redact.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const struct str words[] = {
	{"token", 5}, {"code", 4}, {"password", 8}, {"secret", 6}, {"key", 3}, {"signature", 9},
};

static const char *redact(struct str in, size_t room)
{
	static char text[65536];
	char *exact = malloc(room), *copy = malloc(in.n ? in.n : 1);
	if (in.n)
		memcpy(copy, in.p, in.n);
	char *end = query_redact(exact, exact + room, (struct str){copy, in.n}, words, COUNT(words));
	assert_true(end >= exact && end <= exact + room);
	memcpy(text, exact, (size_t)(end - exact));
	text[end - exact] = '\0';
	free(exact);
	free(copy);
	return text;
}

struct row {
	const char *in, *want;
};

static void check_rows(const struct row *row, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_string_equal(redact(str_of(row[i].in), 1000), row[i].want);
}

static void secrets_are_starred(void **state)
{
	static const struct row rows[] = {
		{"token=abc", "token=***"},
		{"a=1&token=abc&b=2", "a=1&token=***&b=2"},
		{"TOKEN=abc&ToKeN=x", "TOKEN=***&ToKeN=***"},
		{"token=a=b=c&x=1", "token=***&x=1"},
		{"token=", "token=***"},
		{"token=1&token=2&token=3", "token=***&token=***&token=***"},
		{"access_token=x&api-key=y&X-Amz-Signature=z",
		 "access_token=***&api-key=***&X-Amz-Signature=***"},
		{"user[password]=x&user.password=y&key[]=z",
		 "user[password]=***&user.password=***&key[]=***"},
		{"code_verifier=x&key1=y&2code=z", "code_verifier=***&key1=***&2code=***"},
		{"accessToken=x&apiKey=y&APIKey=z&tokenValue=w",
		 "accessToken=***&apiKey=***&APIKey=***&tokenValue=***"},
		{"accessTOKEN=x&TOKENId=y", "accessTOKEN=***&TOKENId=***"},
		{" token =x&+token=y&$token=z", " token =***&+token=***&$token=***"},
	};
	(void)state;
	check_rows(rows, COUNT(rows));
}

static void encoded_names_are_read_as_origins_read_them(void **state)
{
	static const struct row rows[] = {
		{"tok%65n=abc", "tok%65n=***"},
		{"%74%6f%6B%45%4e=abc", "%74%6f%6B%45%4e=***"},
		{"tok%2565n=abc", "tok%2565n=***"},
		{"%2574oken=abc", "%2574oken=***"},
		{"tok%25%36%35n=abc", "tok%25%36%35n=***"}, /* %25 36 35: the second time %65 */
		{"user%5Bpassword%5D=x", "user%5Bpassword%5D=***"},
		{"a%26token=x", "a%26token=***"},
		{"%00token=x", "%00token=***"},
		{"access%5Ftoken=x&%zz_token=y&%token=z", "access%5Ftoken=***&%zz_token=***&%token=***"},
		{"token%3Dabc", "***"}, /* no '=' as written: nothing of it can be shown */
		{"a=1&token%253Dabc&b=2", "a=1&***&b=2"},
		{"t%=1&%6=2&%=3", "t%=1&%6=2&%=3"},
		{"to%25256ben=three_times", "to%25256ben=three_times"},
	};
	(void)state;
	check_rows(rows, COUNT(rows));
}

static void secrets_inside_of_values_are_starred(void **state)
{
	static const struct row rows[] = {
		{"next=/login?token=abc", "next=***"},
		{"next=%2Flogin%3Fa%3D1%26token%3Dabc&b=1", "next=***&b=1"},
		{"next=https%253A%252F%252Fx%252Fcb%253Fcode%253Dabc", "next=***"},
		{"variables={\"password\":\"x\"}", "variables=***"},
		{"variables=%7B%22user%22:%22u%22,%22password%22%20:%20%22x%22%7D", "variables=***"},
		{"next=/login?token", "next=/login?token"},
		{"q=token&lang=code+token", "q=token&lang=code+token"},
		{"scope=token:read", "scope=token:read"},
		{"v={\"a\":\"token\",\"b\":\"c\"}", "v={\\\"a\\\":\\\"token\\\",\\\"b\\\":\\\"c\\\"}"},
		{"u=/token/x?a=b", "u=/token/x?a=b"},
	};
	(void)state;
	check_rows(rows, COUNT(rows));
}

static void what_is_no_secret_is_kept(void **state)
{
	static const struct row rows[] = {
		{"", ""},
		{"a=1", "a=1"},
		{"monkey=1&keyboard=2&encoded=3&decode=4&Tokens=5&tokenize=6",
		 "monkey=1&keyboard=2&encoded=3&decode=4&Tokens=5&tokenize=6"},
		{"toke=1&n=2&tok-en=3", "toke=1&n=2&tok-en=3"},
		{"=abc&=&&x", "=abc&=&&x"},
		{"=token", "=token"},
		{"token&key", "token&key"}, /* names without a value */
		{"&;&;", "&;&;"},
		{"a=\"\\\n", "a=\\\"\\\\\\n"},
		{"a=\xff\xc3\xa9", "a=\xef\xbf\xbd\xc3\xa9"},
	};
	(void)state;
	check_rows(rows, COUNT(rows));
	assert_string_equal(redact(STR("a=\0b"), 100), "a=\\u0000b");
}

static void semicolons_part_and_never_leak(void **state)
{
	static const struct row rows[] = {
		{"a=1;b=2", "a=1;b=2"},
		{"a=1;token=x&b=2", "a=1;token=***&b=2"},
		{"a=1&amp;token=x", "a=1&amp;token=***"},
		/* an origin that parts at '&' only has one token here: abc;d;e=f */
		{"token=abc;d;e=f&g=1", "token=***&g=1"},
		{"a=1;token=x;b=2", "a=1;token=***"},
	};
	(void)state;
	check_rows(rows, COUNT(rows));
}

static void long_queries_end_in_a_mark(void **state)
{
	(void)state;
	assert_string_equal(redact(STR("abcdef"), 9), "abcdef");
	assert_string_equal(redact(STR("abcdef"), 8), "abcde...");
	assert_string_equal(redact(STR("abcdef"), 3), "...");
	assert_string_equal(redact(STR(""), 3), "");
	assert_string_equal(redact(STR("ab€d"), 8), "ab€...");
	assert_string_equal(redact(STR("ab€d"), 7), "ab...");
	assert_string_equal(redact(STR("ab\x01"), 10), "ab...");
	assert_string_equal(redact(STR("ab&cd"), 6), "ab&...");
	assert_string_equal(redact(STR("ab&cd"), 5), "ab...");
	assert_string_equal(redact(STR("key=secret"), 10), "key=***");
	assert_string_equal(redact(STR("key=secret"), 9), "key=...");
	assert_string_equal(redact(STR("key=secret&a"), 10), "key=***...");
	assert_string_equal(redact(STR("key=secret"), 5), "ke...");
	/* wherever it is cut off, it is the same text as far as it goes, and no secret */
	struct str in = STR("a=1&access_token=SECRET&next=%3Fcode%3DSECRET&b=2");
	const char *whole = "a=1&access_token=***&next=***&b=2";
	for (size_t room = 3; room < 60; room++) {
		const char *got = redact(in, room);
		assert_null(strstr(got, "SE"));
		if (room >= strlen(whole) + 3)
			assert_string_equal(got, whole);
		else
			assert_memory_equal(got, whole, strlen(got) - 3);
	}
}

static void no_words_redact_nothing(void **state)
{
	char out[64];
	(void)state;
	char *end = query_redact(out, out + sizeof(out), STR("token=1"), NULL, 0);
	assert_int_equal(end - out, 7);
	assert_memory_equal(out, "token=1", 7);
}

/* The longest line there is, full of what makes most work, many times over. */
static void the_worst_query_is_quick(void **state)
{
	static char in[16384];
	static const struct str patterns[] = {STR("secre-"), STR("%2573"), STR("passwor%2564;"),
					      STR(";"),	     STR("kE"),	   STR("%25")};
	(void)state;
	for (size_t i = 0; i < COUNT(patterns); i++) {
		for (size_t at = 0; at < sizeof(in); at++)
			in[at] = patterns[i].p[at % patterns[i].n];
		usec_t start = clock_mono();
		for (int round = 0; round < 20; round++)
			redact((struct str){in, sizeof(in)}, 65000);
		assert_true(clock_mono() - start < 5 * USEC_PER_SEC);
	}
}

static void words_are_checked(void **state)
{
	static const char *const bad[] = {"", "a b", "a=b", "a&b", "a;b", "%41", "k\xc3\xa9", "a\n", "a,b"};
	(void)state;
	for (size_t i = 0; i < COUNT(words); i++)
		assert_null(query_redact_word_check(words[i]));
	assert_null(query_redact_word_check(STR("api-key")));
	assert_null(query_redact_word_check(STR("oauth2_token")));
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_non_null(query_redact_word_check(str_of(bad[i])));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(secrets_are_starred),
		cmocka_unit_test(encoded_names_are_read_as_origins_read_them),
		cmocka_unit_test(secrets_inside_of_values_are_starred),
		cmocka_unit_test(what_is_no_secret_is_kept),
		cmocka_unit_test(semicolons_part_and_never_leak),
		cmocka_unit_test(long_queries_end_in_a_mark),
		cmocka_unit_test(no_words_redact_nothing),
		cmocka_unit_test(the_worst_query_is_quick),
		cmocka_unit_test(words_are_checked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
