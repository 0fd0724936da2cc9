/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "proxy/cors.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static bool allows(const char *rule, struct str origin)
{
	struct cors_origin o;
	assert_null(cors_origin_check(str_of(rule), &o));
	return cors_allows(&o, 1, origin);
}

static void origins_match_their_rule(void **state)
{
	static const struct {
		const char *rule, *origin;
		bool allowed;
	} rows[] = {
		{"https://example.com", "https://example.com", true},
		{"https://example.com", "HTTPS://Example.COM", true},
		{"HTTPS://EXAMPLE.com", "https://example.com", true},
		{"https://example.com", "https://example.com:443", true},
		{"https://example.com:443", "https://example.com", true},
		{"http://example.com", "http://example.com:80", true},
		{"http://localhost:3000", "http://localhost:3000", true},
		{"http://[::1]:3000", "http://[::1]:3000", true},
		{"http://[2001:DB8::1]", "http://[2001:db8::1]", true},
		{"http://127.0.0.1:8080", "http://127.0.0.1:8080", true},
		{"https://*.example.com", "https://a.example.com", true},
		{"https://*.example.com", "https://a.b.c.EXAMPLE.com", true},
		{"https://*.example.com:8443", "https://a.example.com:8443", true},
		{"http://*.localhost:3000", "http://app.localhost:3000", true},

		{"https://example.com", "http://example.com", false},
		{"http://example.com", "https://example.com", false},
		{"https://example.com", "https://example.com:80", false},
		{"https://example.com:80", "http://example.com", false},
		{"http://example.com:443", "https://example.com", false},
		{"http://example.com", "http://example.com:443", false},
		{"https://example.com", "https://example.com:8443", false},
		{"https://example.com:8443", "https://example.com", false},
		{"https://example.com", "https://a.example.com", false},
		{"https://example.com", "https://example.com.", false},
		{"https://example.com", "https://example.com/", false},
		{"https://example.com", "https://example.com/path", false},
		{"https://example.com", "https://example.com?", false},
		{"https://example.com", "https://example.com#", false},
		{"https://example.com", "https://example.com ", false},
		{"https://example.com", " https://example.com", false},
		{"https://example.com", "https:// example.com", false},
		{"https://example.com", "https://example.com:", false},
		{"https://example.com", "https://example.com:0443", false},
		{"https://example.com", "https://example.com:+443", false},
		{"https://example.com", "https://example.com:65979", false}, /* 443 above 2^16 */
		{"https://example.com", "https://example.com:443:443", false},
		{"https://example.com", "https://user@example.com", false},
		{"https://example.com", "https://user:443@example.com", false},
		{"https://example.com", "https://example.com.evil.org", false},
		{"https://example.com", "https://example.com, https://evil.org", false},
		{"https://example.com", "https://example.com https://evil.org", false},
		{"https://example.com", "//example.com", false},
		{"https://example.com", "example.com", false},
		{"https://example.com", "https:example.com", false},
		{"https://example.com", "https://", false},
		{"https://example.com", "ftp://example.com", false},
		{"https://example.com", "https//example.com", false},
		{"https://example.com", "null", false},
		{"https://example.com", "*", false},
		{"https://example.com", "", false},
		{"https://example.com", "https://example.com\xc2\xa0", false},

		{"https://*.example.com", "https://example.com", false},
		{"https://*.example.com", "https://.example.com", false},
		{"https://*.example.com", "https://a..example.com", false},
		{"https://*.example.com", "https://evilexample.com", false},
		{"https://*.example.com", "https://a-example.com", false},
		{"https://*.example.com", "https://a.example.com.evil.org", false},
		{"https://*.example.com", "https://evil.org/.example.com", false},
		{"https://*.example.com", "https://evil.org?.example.com", false},
		{"https://*.example.com", "https://evil.org#.example.com", false},
		{"https://*.example.com", "https://evil.org\\.example.com", false},
		{"https://*.example.com", "https://evil.org:80.example.com", false},
		{"https://*.example.com", "https://evil.org@a.example.com", false},
		{"https://*.example.com", "https://evil.org%2f.example.com", false},
		{"https://*.example.com", "https://[::1].example.com", false},
		{"https://*.example.com", "https://*.example.com", false},
		{"https://*.example.com", "http://a.example.com", false},
		{"https://*.example.com", "https://a.example.com:8443", false},
		{"http://[::1]:3000", "http://[::1:3000", false},
		{"http://[::1]:3000", "http://[::1]x:3000", false},
		{"http://[::1]:3000", "http://::1:3000", false},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		if (allows(rows[i].rule, str_of(rows[i].origin)) != rows[i].allowed)
			fail_msg("%s: %s", rows[i].rule, rows[i].origin);
	assert_false(allows("https://example.com", STR("https://example.com\0")));
	assert_false(allows("https://*.example.com", STR("https://evil\0.example.com")));
	assert_false(allows("https://example.com", STR_NONE));
}

static void long_hosts_are_no_hosts(void **state)
{
	char origin[600] = "https://";
	(void)state;
	memset(origin + 8, 'a', 63);
	strcpy(origin + 8 + 63, ".example.com");
	assert_true(allows("https://*.example.com", str_of(origin)));
	memset(origin + 8, 'a', 64);
	strcpy(origin + 8 + 64, ".example.com");
	assert_false(allows("https://*.example.com", str_of(origin)));
	strcpy(origin, "https://");
	for (int i = 0; i < 121; i++)
		strcat(origin, "a.");
	strcat(origin, "example.com"); /* 253 bytes of host */
	assert_true(allows("https://*.example.com", str_of(origin)));
	memmove(origin + 9, origin + 8, strlen(origin) - 7);
	assert_false(allows("https://*.example.com", str_of(origin)));
}

static void any_rule_of_the_list_will_do(void **state)
{
	static const char *const texts[] = {"https://a.example", "http://b.example:81",
					    "https://*.c.example"};
	struct cors_origin rule[3];
	(void)state;
	for (size_t i = 0; i < 3; i++)
		assert_null(cors_origin_check(str_of(texts[i]), &rule[i]));
	assert_true(cors_allows(rule, 3, STR("https://a.example")));
	assert_true(cors_allows(rule, 3, STR("http://b.example:81")));
	assert_true(cors_allows(rule, 3, STR("https://x.c.example")));
	assert_false(cors_allows(rule, 2, STR("https://x.c.example")));
	assert_false(cors_allows(rule, 0, STR("https://a.example")));
	assert_false(cors_allows(NULL, 0, STR("https://a.example")));
}

static void bad_config_is_told(void **state)
{
	static const struct {
		const char *text, *why;
	} rows[] = {
		{"*", "named origin"},
		{"null", "null"},
		{"NULL", "null"},
		{"", "http://"},
		{"example.com", "http://"},
		{"*.example.com", "http://"},
		{"htps://example.com", "http://"},
		{"https://example.com/", "no slash"},
		{"https://", "scheme://host"},
		{"https://example.com/app", "scheme://host"},
		{"https://example.com:0", "port"},
		{"https://example.com:65536", "port"},
		{"https://example.com:", "port"},
		{"https://example.com:http", "port"},
		{"https://user:pw@example.com", "port"},
		{"https://user@example.com", "scheme://host"},
		{"https://example.com.", "scheme://host"},
		{"https://exa mple.com", "scheme://host"},
		{"https://b\xc3\xbc"
		 "cher.example",
		 "scheme://host"},
		{"https://*", "scheme://host"},
		{"https://a.*.example.com", "scheme://host"},
		{"https://*example.com", "scheme://host"},
		{"https://*.*.example.com", "plain name"},
		{"https://*.", "plain name"},
		{"https://*.com", "domain of its own"},
		{"https://[::1", "port"},
		{"https://[]", "scheme://host"},
		{"https://[::1]x", "scheme://host"},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct cors_origin o;
		const char *why = cors_origin_check(str_of(rows[i].text), &o);
		if (!why || !strstr(why, rows[i].why))
			fail_msg("%s: %s", rows[i].text, why ? why : "accepted");
	}
}

/* In an allocation of the exact size; one byte less is refused. */
static void check_headers(struct str origin, bool preflight, struct str asked, const char *want)
{
	size_t n = strlen(want);
	char *exact = malloc(n);
	assert_int_equal(cors_headers(exact, n, origin, preflight, asked), n);
	assert_memory_equal(exact, want, n);
	assert_int_equal(cors_headers(exact, n - 1, origin, preflight, asked), 0);
	assert_int_equal(cors_headers(exact, 0, origin, preflight, asked), 0);
	free(exact);
	assert_true(n <= CORS_HEADERS_MAX);
}

#define ALLOWED                                                                                              \
	"Access-Control-Allow-Origin: https://a.example.com\r\nAccess-Control-Allow-Credentials: true\r\n"
#define METHODS                                                                                              \
	"Access-Control-Allow-Methods: GET, HEAD, POST, PUT, PATCH, DELETE\r\nAccess-Control-Max-Age: 5\r\n"
#define VARY "Vary: Origin\r\n"

static void own_answers_carry_what_browsers_need(void **state)
{
	const struct str origin = STR("https://a.example.com");
	(void)state;
	check_headers(
		origin, false, STR_NONE,
		ALLOWED
		"Access-Control-Expose-Headers: Retry-After, RateLimit, RateLimit-Policy, X-Request-Id, "
		"X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset\r\n" VARY);
	check_headers(STR_NONE, false, STR_NONE, VARY);
	check_headers(STR_NONE, true, STR("x-a"), VARY);
	check_headers(origin, true, STR_NONE, ALLOWED METHODS VARY);
	check_headers(origin, true, STR("content-type,x-csrf-token"),
		      ALLOWED METHODS "Access-Control-Allow-Headers: content-type,x-csrf-token\r\n" VARY);
	check_headers(origin, true, STR(" content-type , x_a!#$%&'*+-.^`|~9\t"),
		      ALLOWED METHODS
		      "Access-Control-Allow-Headers: content-type , x_a!#$%&'*+-.^`|~9\r\n" VARY);
}

static void what_is_no_list_of_names_is_not_repeated(void **state)
{
	static char names[CORS_ALLOW_HEADERS_MAX + 1];
	static const struct str rows[] = {
		STR(""),	  STR("  \t"), STR("a b"),	STR("a;b"),   STR("a:b"), STR("\"a\""),
		STR("a\r\nX: y"), STR("a\0"),  STR("\xc3\xa9"), STR("a,b=c"), STR("(a)"), STR("a\x7f"),
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		check_headers(STR("https://a.example.com"), true, rows[i], ALLOWED METHODS VARY);
	memset(names, 'x', sizeof(names));
	check_headers(STR("https://a.example.com"), true, (struct str){names, sizeof(names)},
		      ALLOWED METHODS VARY);
	char want[CORS_HEADERS_MAX];
	snprintf(want, sizeof(want), ALLOWED METHODS "Access-Control-Allow-Headers: %.*s\r\n" VARY,
		 CORS_ALLOW_HEADERS_MAX, names);
	check_headers(STR("https://a.example.com"), true, (struct str){names, CORS_ALLOW_HEADERS_MAX}, want);
}

/* The longest origin that is let through, and the longest list. */
static void the_maximum_is_enough(void **state)
{
	static char out[CORS_HEADERS_MAX], names[CORS_ALLOW_HEADERS_MAX];
	char origin[300] = "https://";
	(void)state;
	for (int i = 0; i < 121; i++)
		strcat(origin, "a.");
	strcat(origin, "example.com:65535");
	assert_true(allows("https://*.example.com:65535", str_of(origin)));
	memset(names, 'x', sizeof(names));
	assert_true(cors_headers(out, sizeof(out), str_of(origin), true, (struct str){names, sizeof(names)}) >
		    0);
	assert_true(cors_headers(out, sizeof(out), str_of(origin), false, STR_NONE) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(origins_match_their_rule),
		cmocka_unit_test(long_hosts_are_no_hosts),
		cmocka_unit_test(any_rule_of_the_list_will_do),
		cmocka_unit_test(bad_config_is_told),
		cmocka_unit_test(own_answers_carry_what_browsers_need),
		cmocka_unit_test(what_is_no_list_of_names_is_not_repeated),
		cmocka_unit_test(the_maximum_is_enough),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
