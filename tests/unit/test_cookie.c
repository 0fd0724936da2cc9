/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "proxy/cookie.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define NOW ((wall_t)1795332000 * USEC_PER_SEC) /* 2026-11-22T07:20:00Z */
#define TWIN "; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"

static const struct cookie_rule share[] = {
	{.name = {"csrf_*", 6}, .secure = COOKIE_FLAG_ON},
	{.name = {"session", 7},
	 .secure = COOKIE_FLAG_ON,
	 .http_only = COOKIE_FLAG_ON,
	 .same_site = COOKIE_SAME_SITE_LAX},
	{.name = {"plain", 5}},
	{.name = {"strict", 6}, .same_site = COOKIE_SAME_SITE_STRICT},
	{.name = {"none", 4}, .secure = COOKIE_FLAG_ON, .same_site = COOKIE_SAME_SITE_NONE},
	{.name = {"__*", 3}},
};

static const struct cookie_rules rules = {{"example.com", 11}, share, COUNT(share), false};
static const struct cookie_rules retiring = {{"example.com", 11}, share, COUNT(share), true};

/* All lines, each ended by '|', from input in an allocation of its exact size; "" is: forward as it is. */
static const char *rewrite(const struct cookie_rules *r, const char *host, struct str in)
{
	static char text[65536];
	struct cookie_out out[COOKIE_OUT_MAX];
	char *exact = malloc(in.n ? in.n : 1);
	size_t n = 0;

	if (in.n)
		memcpy(exact, in.p, in.n);
	unsigned lines = cookie_rewrite(r, str_of(host), (struct str){exact, in.n}, NOW, out);
	assert_true(lines <= COOKIE_OUT_MAX);
	for (unsigned i = 0; i < lines; i++) {
		size_t before = n;
		assert_true(out[i].parts <= COOKIE_PARTS);
		for (unsigned k = 0; k < out[i].parts; k++) {
			memcpy(text + n, out[i].part[k].p, out[i].part[k].n);
			n += out[i].part[k].n;
		}
		assert_int_equal(n - before, out[i].n);
		text[n++] = '|';
	}
	text[n] = '\0';
	free(exact);
	return text;
}

struct row {
	const char *in, *want;
};

static void check_rows(const struct cookie_rules *r, const struct row *row, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_string_equal(rewrite(r, "api.example.com", str_of(row[i].in)), row[i].want);
}

static void a_shared_cookie_gets_its_domain(void **state)
{
	static const struct row rows[] = {
		{"plain=1", "plain=1; Domain=example.com|"},
		{"plain=", "plain=; Domain=example.com|"},
		{"plain=1; Path=/; Max-Age=60", "plain=1; Path=/; Max-Age=60; Domain=example.com|"},
		{" plain\t=1;Path=/", " plain\t=1;Path=/; Domain=example.com|"},
		{"plain=a=b==", "plain=a=b==; Domain=example.com|"},
		{"plain=\"quoted; Path=/x\"", "plain=\"quoted; Path=/x\"; Domain=example.com|"},
		{"plain=1;", "plain=1; Domain=example.com|"},
		{"plain=1; ; ;\t", "plain=1; Domain=example.com|"},
		{"plain=1;; Path=/", "plain=1;; Path=/; Domain=example.com|"},
		{"plain=\xc3\xa9\tx", "plain=\xc3\xa9\tx; Domain=example.com|"},
		{"plain=1; Expires=Wed, 22 Nov 2028 07:20:00 GMT; Path=/",
		 "plain=1; Expires=Wed, 22 Nov 2028 07:20:00 GMT; Path=/; Domain=example.com|"},
		{"__Secure-id=1; Secure", "__Secure-id=1; Secure; Domain=example.com|"},
		{"plain=1, other=2", "plain=1, other=2; Domain=example.com|"}, /* never split at commas */
	};
	(void)state;
	check_rows(&rules, rows, COUNT(rows));
}

static void what_is_not_shared_is_left_alone(void **state)
{
	static const struct row rows[] = {
		{"", ""},
		{"other=1", ""},
		{"Plain=1", ""}, /* names are case-sensitive */
		{"plain2=1", ""},
		{"plai=1", ""},
		{"xplain=1", ""},
		{"plain", ""}, /* no name */
		{"=plain=1", ""},
		{"=__Host-x=1", ""},
		{"; plain=1", ""},
		{"x; plain=1", ""},
		{" =1; plain=1", ""},
		{"__Host-id=1; Secure; Path=/", ""}, /* though a rule names __* */
		{"__host-id=1; Secure; Path=/", ""},
		{"\t__HOST-=1", ""},
		{"plain=1\x01", ""},
		{"plain=1; Path=/\x7f", ""},
		{"plain=1; Domain=elsewhere.org", ""},
		{"plain=1; Domain=com", ""},
		{"plain=1; Domain=.com", ""},
		{"plain=1; Domain=notexample.com", ""},
		{"plain=1; Domain=example.com.org", ""},
		{"plain=1; Domain=example.com.", ""}, /* browsers refuse these four */
		{"plain=1; Domain=..example.com", ""},
		{"plain=1; Domain=\"example.com\"", ""},
		{"plain=1; Domain=. example.com", ""},
		{"plain=1; Domain=example.com; Domain=elsewhere.org", ""},
		{"plain=1; Domain=elsewhere.org; Domain=", ""},
		{"plain=; Max-Age=0; Domain=elsewhere.org", ""},
	};
	(void)state;
	check_rows(&rules, rows, COUNT(rows));
	check_rows(&retiring, rows, COUNT(rows));
	assert_string_equal(rewrite(&rules, "api.example.com", STR("plain=a\0b")), "");
	assert_string_equal(rewrite(&rules, "api.example.com", STR_NONE), "");
}

/* Browsers take one dot off, and drop a cookie whose Domain starts with another: shared it would come to
 * life. */
static void fuzz_empty_label_in_domain(void **state)
{
	static const struct row rows[] = {
		{"plain=1; Domain=..example.com", ""},
		{"plain=1; Domain=..api.example.com", ""},
		{"plain=1; Domain=a..example.com", ""},
		{"plain=1; Domain=a..b.example.com", ""},
		{"plain=; Max-Age=0; Domain=..a.example.com", ""},
		{"plain=1; Domain=.example.com", "plain=1; Domain=example.com|"},
	};
	(void)state;
	check_rows(&rules, rows, COUNT(rows));
	assert_string_equal(rewrite(&rules, ".example.com", STR("plain=1")), "");
}

/* Behind the dot blanks are not trimmed; written anew they would be, and the twin's line name another domain.
 */
static void fuzz_blank_in_domain(void **state)
{
	static const struct row rows[] = {
		{"plain=1; Domain=.\ta.example.com", ""},
		{"plain=1; Domain=. a.example.com", ""},
		{"plain=1; Domain=a b.example.com", ""},
		{"plain=; Max-Age=0; Domain=.\t\t.example.com", ""},
	};
	(void)state;
	check_rows(&rules, rows, COUNT(rows));
	check_rows(&retiring, rows, COUNT(rows));
}

static void the_domain_replaces_all_that_it_carries(void **state)
{
	static const struct row rows[] = {
		{"plain=1; Domain=api.example.com; Path=/", "plain=1; Path=/; Domain=example.com|"},
		{"plain=1; domain = .Example.COM ", "plain=1; Domain=example.com|"},
		{"plain=1;DOMAIN=a.b.example.com;Path=/", "plain=1;Path=/; Domain=example.com|"},
		{"plain=1; Domain=", "plain=1; Domain=example.com|"},
		{"plain=1; Domain", "plain=1; Domain=example.com|"},
		{"plain=1; Domain=.", "plain=1; Domain=example.com|"},
		{"plain=1; Domain=elsewhere.org; Path=/; Domain=example.com; Secure",
		 "plain=1; Path=/; Secure; Domain=example.com|"},
		{"plain=1; Domain=example.com; Domain=; Path=/", "plain=1; Path=/; Domain=example.com|"},
		{"plain=Domain=x; XDomain=elsewhere.org; Domain2=y",
		 "plain=Domain=x; XDomain=elsewhere.org; Domain2=y; Domain=example.com|"},
		{"plain=1; Path=/;Domain=example.com;;", "plain=1; Path=/; Domain=example.com|"},
	};
	(void)state;
	check_rows(&rules, rows, COUNT(rows));
}

static void attributes_are_added_where_missing(void **state)
{
	static const struct row rows[] = {
		{"session=1", "session=1; Domain=example.com; Secure; HttpOnly; SameSite=Lax|"},
		{"session=1; secure; HTTPONLY; samesite=strict",
		 "session=1; secure; HTTPONLY; samesite=strict; Domain=example.com|"},
		{"session=1; Secure=no; HttpOnly=false; SameSite = None",
		 "session=1; Secure=no; HttpOnly=false; SameSite = None; Domain=example.com|"},
		{"session=1; Secured; XHttpOnly",
		 "session=1; Secured; XHttpOnly; Domain=example.com; Secure; HttpOnly; SameSite=Lax|"},
		{"session=secure; Path=/;Secure",
		 "session=secure; Path=/;Secure; Domain=example.com; HttpOnly; SameSite=Lax|"},
		/* a SameSite that browsers take for none set; the last one counts for them */
		{"session=1; Secure; HttpOnly; SameSite=Strictly",
		 "session=1; Secure; HttpOnly; SameSite=Strictly; Domain=example.com; SameSite=Lax|"},
		{"session=1; Secure; HttpOnly; SameSite",
		 "session=1; Secure; HttpOnly; SameSite; Domain=example.com; SameSite=Lax|"},
		{"session=1; Secure; HttpOnly; SameSite=Strict; SameSite=?",
		 "session=1; Secure; HttpOnly; SameSite=Strict; SameSite=?; Domain=example.com|"},
		{"csrf_a=1", "csrf_a=1; Domain=example.com; Secure|"},
		{"csrf_=1; Secure", "csrf_=1; Secure; Domain=example.com|"},
		{"strict=1", "strict=1; Domain=example.com; SameSite=Strict|"},
		{"none=1", "none=1; Domain=example.com; Secure; SameSite=None|"},
	};
	(void)state;
	check_rows(&rules, rows, COUNT(rows));
}

static void deletions_go_out_host_only_and_shared(void **state)
{
	static const struct row rows[] = {
		{"plain=; Max-Age=0", "plain=; Max-Age=0|plain=; Max-Age=0; Domain=example.com|"},
		{"plain=x; max-age=-1; Path=/a",
		 "plain=x; max-age=-1; Path=/a|plain=x; max-age=-1; Path=/a; Domain=example.com|"},
		{"plain=; Max-Age=-0", "plain=; Max-Age=-0|plain=; Max-Age=-0; Domain=example.com|"},
		{"plain=; Max-Age=000", "plain=; Max-Age=000|plain=; Max-Age=000; Domain=example.com|"},
		{"plain=; Max-Age=-99999999999999999999999",
		 "plain=; Max-Age=-99999999999999999999999|plain=; "
		 "Max-Age=-99999999999999999999999; Domain=example.com|"},
		{"plain=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/",
		 "plain=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/|"
		 "plain=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/; Domain=example.com|"},
		{"plain=; Expires=Sun, 22 Nov 2026 07:20:00 GMT",
		 "plain=; Expires=Sun, 22 Nov 2026 07:20:00 GMT|"
		 "plain=; Expires=Sun, 22 Nov 2026 07:20:00 GMT; Domain=example.com|"},
		{"plain=; Domain=example.com; Max-Age=0",
		 "plain=; Max-Age=0|plain=; Max-Age=0; Domain=example.com|"},
		/* one that was set below the domain before it was shared */
		{"plain=; Domain=.api.example.com; Max-Age=0",
		 "plain=; Max-Age=0|plain=; Max-Age=0; Domain=api.example.com|plain=; Max-Age=0; "
		 "Domain=example.com|"},
		{"session=; Max-Age=0; HttpOnly",
		 "session=; Max-Age=0; HttpOnly; Secure; SameSite=Lax|"
		 "session=; Max-Age=0; HttpOnly; Domain=example.com; Secure; SameSite=Lax|"},
		/* Max-Age beats Expires, one that can't be read beats nothing, the last one counts */
		{"plain=; Max-Age=0; Expires=Wed, 22 Nov 2028 07:20:00 GMT",
		 "plain=; Max-Age=0; Expires=Wed, 22 Nov 2028 07:20:00 GMT|"
		 "plain=; Max-Age=0; Expires=Wed, 22 Nov 2028 07:20:00 GMT; Domain=example.com|"},
		{"plain=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=1",
		 "plain=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=1; Domain=example.com|"},
		{"plain=; Max-Age=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
		 "plain=; Max-Age=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT|"
		 "plain=; Max-Age=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Domain=example.com|"},
		{"plain=; Max-Age=60; Max-Age=0",
		 "plain=; Max-Age=60; Max-Age=0|plain=; Max-Age=60; Max-Age=0; Domain=example.com|"},
		{"plain=1; Max-Age=0; Max-Age=60", "plain=1; Max-Age=0; Max-Age=60; Domain=example.com|"},
		{"plain=; Max-Age=0; Max-Age=1e9",
		 "plain=; Max-Age=0; Max-Age=1e9|plain=; Max-Age=0; Max-Age=1e9; Domain=example.com|"},
	};
	(void)state;
	check_rows(&rules, rows, COUNT(rows));
	check_rows(&retiring, rows, 10); /* a deletion is one already: no twin of its own */
}

static void what_only_looks_like_a_deletion_is_none(void **state)
{
	static const char *const rows[] = {
		"plain=",
		"plain=; Max-Age=",
		"plain=; Max-Age",
		"plain=; Max-Age=-",
		"plain=; Max-Age=+0",
		"plain=; Max-Age=0.0",
		"plain=; Max-Age=\"0\"",
		"plain=; Max-Age=0 0",
		"plain=; Max-Age=01",
		"plain=; Expires=0",
		"plain=; Expires=-1",
		"plain=; Expires=",
		"plain=; Expires=Sun, 22 Nov 2026 07:20:01 GMT",
		"plain=; Expires=Thu, 30 Feb 1970 00:00:00 GMT",
		"plain=Max-Age=0",
		"plain=; XMax-Age=0",
	};
	char want[200];
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		snprintf(want, sizeof(want), "%s; Domain=example.com|", rows[i]);
		assert_string_equal(rewrite(&rules, "example.com", str_of(rows[i])), want);
	}
}

static void retire_host_only_expires_the_twin_first(void **state)
{
	static const struct row rows[] = {
		{"plain=1", "plain=" TWIN "|plain=1; Domain=example.com|"},
		{" plain = 1 ;Path=/a/;Max-Age=60",
		 "plain=;Path=/a/" TWIN "| plain = 1 ;Path=/a/;Max-Age=60; Domain=example.com|"},
		{"session=abc; Path=/; Expires=Wed, 22 Nov 2028 07:20:00 GMT; Secure; Partitioned",
		 "session=; Path=/; Secure; Partitioned; HttpOnly; SameSite=Lax" TWIN
		 "|session=abc; Path=/; Expires=Wed, 22 Nov 2028 07:20:00 GMT; Secure; Partitioned; "
		 "Domain=example.com; HttpOnly; SameSite=Lax|"},
		{"plain=1; Domain=example.com; SameSite=None; Secure",
		 "plain=; SameSite=None; Secure" TWIN "|plain=1; SameSite=None; Secure; Domain=example.com|"},
		{"plain=1; Domain=api.example.com",
		 "plain=" TWIN "|plain=; Domain=api.example.com" TWIN "|plain=1; Domain=example.com|"},
		{"plain=1; ;", "plain=" TWIN "|plain=1; Domain=example.com|"},
		{"plain=1 ", "plain=" TWIN "|plain=1 ; Domain=example.com|"},
	};
	(void)state;
	check_rows(&retiring, rows, COUNT(rows));
}

static void only_hosts_of_the_domain_are_rewritten(void **state)
{
	static const struct {
		const char *host;
		bool rewritten;
	} rows[] = {
		{"example.com", true},
		{"EXAMPLE.com", true},
		{"example.com.", true},
		{"api.example.com", true},
		{"a.b.Example.COM.", true},
		{"notexample.com", false},
		{"example.com.org", false},
		{"com", false},
		{"example.co", false},
		{".example.com", false},
		{"", false},
		{".", false},
		{"example.com..", false},
		{"api-example.com", false},
		{"xample.com", false},
		{"192.0.2.1", false},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		assert_string_equal(rewrite(&rules, rows[i].host, STR("plain=1")),
				    rows[i].rewritten ? "plain=1; Domain=example.com|" : "");
}

static void too_many_or_too_long_attributes(void **state)
{
	char in[2048] = "plain=1", want[4096];
	(void)state;
	for (int i = 0; i < COOKIE_CUTS; i++)
		strcat(in, i % 2 ? "; Domain=example.com; a" : "; Max-Age=9; b");
	assert_string_equal(rewrite(&retiring, "example.com", str_of(in)),
			    "plain=; b; a; b; a; b; a; b; a" TWIN
			    "|plain=1; Max-Age=9; b; a; Max-Age=9; b; a; Max-Age=9; b; a; Max-Age=9; b; a; "
			    "Domain=example.com|");
	strcat(in, "; Domain=");
	assert_string_equal(rewrite(&rules, "example.com", str_of(in)), "");

	/* browsers pass over an attribute whose value has more than 1,024 bytes, and so does this */
	strcpy(in, "plain=1; Domain=");
	memset(in + strlen(in), 'x', 1025);
	snprintf(want, sizeof(want), "%s; Domain=example.com|", in);
	assert_string_equal(rewrite(&rules, "example.com", str_of(in)), want);
	in[strlen(in) - 1] = '\0';
	assert_string_equal(rewrite(&rules, "example.com", str_of(in)), ""); /* 1,024: elsewhere */
}

static void names_match_exactly_or_by_wildcard(void **state)
{
	static const struct {
		const char *pattern, *name;
		bool match;
	} rows[] = {
		{"a", "a", true},	  {"a", "A", false},	       {"a", "ab", false},
		{"a*", "a", true},	  {"a*", "abc", true},	       {"a*", "ba", false},
		{"*a", "a", true},	  {"*a", "bca", true},	       {"*a", "ab", false},
		{"*", "x", true},	  {"**", "x", true},	       {"a*b", "ab", true},
		{"a*b", "axxb", true},	  {"a*b", "a", false},	       {"ab*ba", "aba", false},
		{"ab*ba", "abba", true},  {"*a*b*", "xxaxxbxx", true}, {"*a*b*", "ba", false},
		{"a*bc*c", "abcc", true}, {"a*bc*c", "abc", false},    {"*aab", "aaab", true},
		{"*ab*ab", "abab", true}, {"*ab*ab", "aab", false},    {"a**b", "ab", true},
		{"a*a", "a", false},	  {"*x*", "abc", false},       {"*abc", "bc", false},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct cookie_rule r = {.name = str_of(rows[i].pattern)};
		assert_int_equal(cookie_name_matches(&r, str_of(rows[i].name)), rows[i].match);
	}
}

/* What backtracking matchers take years for, and searches byte by byte many seconds. */
static void wildcards_are_linear(void **state)
{
	static char pattern[40000], name[1000000];
	struct cookie_rule r = {.name = {pattern, sizeof(pattern)}};
	(void)state;
	memset(name, 'a', sizeof(name));
	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = i % 2 ? '*' : 'a';
	usec_t start = clock_mono();
	assert_true(cookie_name_matches(&r, (struct str){name, sizeof(name)}));
	pattern[sizeof(pattern) - 1] = 'b';
	assert_false(cookie_name_matches(&r, (struct str){name, sizeof(name)}));

	memset(pattern, 'a', sizeof(pattern));
	pattern[0] = pattern[sizeof(pattern) - 1] = '*';
	assert_true(cookie_name_matches(&r, (struct str){name, sizeof(name)}));
	pattern[1] = 'b';
	assert_false(cookie_name_matches(&r, (struct str){name, sizeof(name)}));
	assert_true(clock_mono() - start < 5 * USEC_PER_SEC);
}

static void the_exact_rule_wins_then_the_longest_pattern(void **state)
{
	static const struct cookie_rule overlapping[] = {
		{.name = {"*", 1}, .same_site = COOKIE_SAME_SITE_NONE},
		{.name = {"app_*", 5}, .same_site = COOKIE_SAME_SITE_LAX},
		{.name = {"app*d", 5}, .secure = COOKIE_FLAG_ON},
		{.name = {"*_sid", 5}, .secure = COOKIE_FLAG_ON},
		{.name = {"app_very_*", 10}, .same_site = COOKIE_SAME_SITE_STRICT},
		{.name = {"app_very_sid", 12}, .http_only = COOKIE_FLAG_ON},
		{.name = {"app_very_*s", 11}},
		{.name = {"app_very_s", 10}, .http_only = COOKIE_FLAG_ON},
	};
	const struct cookie_rules r = {{"example.com", 11}, overlapping, COUNT(overlapping), false};
	(void)state;
	assert_string_equal(rewrite(&r, "example.com", STR("x=1")),
			    "x=1; Domain=example.com; SameSite=None|");
	assert_string_equal(
		rewrite(&r, "example.com", STR("app_sid=1")),
		"app_sid=1; Domain=example.com; SameSite=Lax|"); /* as long as others: the first */
	assert_string_equal(rewrite(&r, "example.com", STR("app_very_x=1")),
			    "app_very_x=1; Domain=example.com; SameSite=Strict|");
	assert_string_equal(rewrite(&r, "example.com", STR("app_very_sid=1")),
			    "app_very_sid=1; Domain=example.com; HttpOnly|");
	assert_string_equal(
		rewrite(&r, "example.com", STR("app_very_s=1")),
		"app_very_s=1; Domain=example.com; HttpOnly|"); /* though shorter than a pattern */
	assert_string_equal(rewrite(&r, "example.com", STR("=__Host-x")),
			    ""); /* no name for the star either */
	assert_string_equal(rewrite(&r, "example.com", STR(" =x")), "");
}

static void dates_are_read_as_browsers_do(void **state)
{
	static const struct {
		const char *text;
		int64_t seconds;
	} rows[] = {
		{"Thu, 01 Jan 1970 00:00:00 GMT", 0},
		{"Sun, 22 Nov 2026 07:20:00 GMT", 1795332000},
		{"Sunday, 22-Nov-26 07:20:00 GMT", 1795332000},
		{"Sun Nov 22 07:20:00 2026", 1795332000},
		{"22 nov 2026 7:20:0", 1795332000},
		{"2026 07:20:00 22 November", 1795332000},
		{"07:20:00x 22nd NOVx 2026y", 1795332000},
		{"22/Nov/2026 07:20:00", 1795332000},
		{"22\tNov\t2026\t07:20:00", 1795332000},
		{"Sun,22-Nov-2026,07:20:00", 1795332000},
		{"Thu, 01 Jan 1970 00:00:01 PST", 1},
		{"1 Jan 69 0:0:0", 3124224000}, /* 2069 */
		{"1 Jan 70 0:0:0", 0},
		{"31 Dec 99 23:59:59", 946684799}, /* 1999 */
		{"1 Jan 00 0:0:0", 946684800},
		{"29 Feb 2000 12:00:00", 951825600},
		{"29 Feb 2024 12:00:00", 1709208000},
		{"31 Dec 1969 23:59:59", -1},
		{"1 Jan 1601 00:00:00", -11644473600},
		{"31 Dec 9999 23:59:59", 253402300799},
		{"1 Jan 2037 00:00:00 10 Feb 2040 01:01:01", 2114380800}, /* the first of each */
	};
	static const char *const bad[] = {
		"",
		"0",
		"-1",
		"Thu, 01 Jan 1970",
		"Thu, 01 Jan 00:00:00",
		"01 1970 00:00:00",
		"Jan 1970 00:00:00",
		"0 Jan 1970 00:00:00",
		"32 Jan 1970 00:00:00",
		"31 Apr 2026 00:00:00",
		"29 Feb 2023 00:00:00",
		"29 Feb 1900 00:00:00",
		"1 Jan 1600 00:00:00",
		"1 Jan 123 00:00:00",
		"1 Jan 12345 00:00:00",
		"1 Jan 5 00:00:00",
		"1 Jan 1970 24:00:00",
		"1 Jan 1970 00:60:00",
		"1 Jan 1970 00:00:60",
		"1 Jan 1970 00:00",
		"1 Jan 1970 000:00:00",
		"1 Jan 1970 00:00:000",
		"1 Jan 1970 00.00.00",
		"001 Jan 1970 00:00:00",
		"1 Ja 1970 00:00:00",
	};
	int64_t s;
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		s = INT64_MIN;
		if (!cookie_date(str_of(rows[i].text), &s) || s != rows[i].seconds)
			fail_msg("%s: %lld", rows[i].text, (long long)s);
	}
	for (size_t i = 0; i < COUNT(bad); i++)
		if (cookie_date(str_of(bad[i]), &s))
			fail_msg("%s was read", bad[i]);
	assert_false(cookie_date(STR_NONE, &s));
	assert_false(cookie_date((struct str){"1 1970 00:00:00 Jan", 18},
				 &s)); /* what stands behind is not read */
}

/* Every day of 1601 to 2400, against the C library. */
static void the_calendar_agrees_with_gmtime(void **state)
{
	static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
					   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
	(void)state;
	for (time_t t = -11644473600; t < 13569465600; t += 86400 + 1) {
		struct tm tm;
		char text[64];
		int64_t s;
		gmtime_r(&t, &tm);
		snprintf(text, sizeof(text), "%d %s %d %d:%d:%d", tm.tm_mday, months[tm.tm_mon],
			 tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
		if (!cookie_date(str_of(text), &s) || s != t)
			fail_msg("%s: %lld, not %lld", text, (long long)s, (long long)t);
	}
}

static void the_config_is_checked(void **state)
{
	static const char *const domains[] = {"example.com", "a.b.Example.CO.UK", "demo.localhost", "x_y.z1",
					      "xn--p1ai.de"};
	static const struct row bad_domains[] = {
		{"", "empty"},
		{".example.com", "start with a dot"},
		{"example.com.", "end with a dot"},
		{"com", "two labels"},
		{"10.0.0.1", "address"},
		{"a..b", "plain name"},
		{"*.example.com", "plain name"},
		{"https://example.com", "plain name"},
		{"example.com:80", "plain name"},
		{"ex ample.com", "plain name"},
		{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.com", "63"},
	};
	static const struct row bad_names[] = {
		{"", "empty"},
		{"a b", "blanks"},
		{"a=b", "'='"},
		{"a;b", "';'"},
		{"\xc3\xa9", "cookie's name"},
		{"__Host-x", "__Host-"},
		{"__hOST-*", "__Host-"},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(domains); i++)
		assert_null(cookie_domain_check(str_of(domains[i])));
	for (size_t i = 0; i < COUNT(bad_domains); i++) {
		const char *why = cookie_domain_check(str_of(bad_domains[i].in));
		assert_non_null(why);
		assert_non_null(strstr(why, bad_domains[i].want));
	}
	for (size_t i = 0; i < COUNT(share); i++)
		assert_null(cookie_rule_check(&share[i]));
	for (size_t i = 0; i < COUNT(bad_names); i++) {
		struct cookie_rule r = {.name = str_of(bad_names[i].in)};
		const char *why = cookie_rule_check(&r);
		assert_non_null(why);
		assert_non_null(strstr(why, bad_names[i].want));
	}
	struct cookie_rule bare = {.name = {"a", 1}, .same_site = COOKIE_SAME_SITE_NONE};
	assert_non_null(strstr(cookie_rule_check(&bare), "secure: on"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_shared_cookie_gets_its_domain),
		cmocka_unit_test(what_is_not_shared_is_left_alone),
		cmocka_unit_test(fuzz_empty_label_in_domain),
		cmocka_unit_test(fuzz_blank_in_domain),
		cmocka_unit_test(the_domain_replaces_all_that_it_carries),
		cmocka_unit_test(attributes_are_added_where_missing),
		cmocka_unit_test(deletions_go_out_host_only_and_shared),
		cmocka_unit_test(what_only_looks_like_a_deletion_is_none),
		cmocka_unit_test(retire_host_only_expires_the_twin_first),
		cmocka_unit_test(only_hosts_of_the_domain_are_rewritten),
		cmocka_unit_test(too_many_or_too_long_attributes),
		cmocka_unit_test(names_match_exactly_or_by_wildcard),
		cmocka_unit_test(wildcards_are_linear),
		cmocka_unit_test(the_exact_rule_wins_then_the_longest_pattern),
		cmocka_unit_test(dates_are_read_as_browsers_do),
		cmocka_unit_test(the_calendar_agrees_with_gmtime),
		cmocka_unit_test(the_config_is_checked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
