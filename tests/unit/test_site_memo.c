/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "proxy/site_memo.h"

static struct site_memo memo;
static const struct conf_site sites[3];

static int setup(void **state)
{
	(void)state;
	memset(&memo, 0, sizeof(memo));
	return 0;
}

/* In memory of exactly its size. */
static const struct conf_site *find(struct str came, char host[TEXT_KEY_LONGEST], size_t *n)
{
	char *copy = malloc(came.n ? came.n : 1);
	assert_non_null(copy);
	if (came.n)
		memcpy(copy, came.p, came.n);
	const struct conf_site *site = site_memo_find(&memo, (struct str){copy, came.n}, host, n);
	free(copy);
	return site;
}

/* Whatever is found is what was kept for that very host, however many share the places. */
static void a_host_finds_what_was_kept_for_it(void **state)
{
	unsigned found = 0;
	(void)state;
	for (unsigned round = 0; round < 2; round++)
		for (unsigned i = 0; i < 5000; i++) {
			char came[40], lower[40], got[TEXT_KEY_LONGEST];
			struct str text = {came, (size_t)snprintf(came, sizeof(came), "A%u.Example.com", i)};
			struct str host = {lower, text.n};
			size_t n = 0;
			ascii_lower_copy(lower, came, text.n);
			const struct conf_site *site = find(text, got, &n);
			if (site) {
				assert_ptr_equal(site, &sites[i % 3]);
				assert_true(str_eq((struct str){got, n}, host));
				found++;
			}
			site_memo_keep(&memo, text, host, &sites[i % 3]);
			assert_ptr_equal(find(text, got, &n), &sites[i % 3]);
			assert_true(str_eq((struct str){got, n}, host));
		}
	assert_true(found < 500);
}

static void hosts_that_differ_anywhere_are_others(void **state)
{
	(void)state;
	for (size_t n = TEXT_KEY_SHORTEST; n <= TEXT_KEY_LONGEST; n++) {
		char came[TEXT_KEY_LONGEST + 1], got[TEXT_KEY_LONGEST];
		size_t got_n;
		memset(came, 'a', sizeof(came));
		setup(NULL);
		site_memo_keep(&memo, (struct str){came, n}, (struct str){came, n}, &sites[0]);
		assert_ptr_equal(find((struct str){came, n}, got, &got_n), &sites[0]);
		for (size_t i = 0; i < n; i++) {
			came[i] = 'A';
			assert_null(find((struct str){came, n}, got, &got_n));
			came[i] = 'a';
		}
		assert_null(find((struct str){came, n - 1}, got, &got_n));
		assert_null(find((struct str){came, n + 1}, got, &got_n));
	}
}

static void a_dot_at_the_end_is_kept_off(void **state)
{
	char got[TEXT_KEY_LONGEST];
	size_t n;
	(void)state;
	site_memo_keep(&memo, STR("Example.com."), STR("example.com"), &sites[1]);
	assert_ptr_equal(find(STR("Example.com."), got, &n), &sites[1]);
	assert_true(str_eq((struct str){got, n}, STR("example.com")));
	assert_null(find(STR("Example.com"), got, &n));
}

static void short_long_and_unserved_hosts_are_not_kept(void **state)
{
	static const char text[] = "a.host.that.is.longer.than.it.may.be";
	char got[TEXT_KEY_LONGEST];
	size_t n;
	(void)state;
	for (size_t len = 0; len < sizeof(text); len++) {
		struct str s = {text, len};
		site_memo_keep(&memo, s, s, &sites[0]);
		assert_ptr_equal(find(s, got, &n), text_key_fits(s) ? &sites[0] : NULL);
		site_memo_keep(&memo, s, s, NULL);
	}
	setup(NULL);
	site_memo_keep(&memo, STR("example.com"), STR("example.com"), NULL);
	assert_null(find(STR("example.com"), got, &n));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_host_finds_what_was_kept_for_it, setup),
		cmocka_unit_test_setup(hosts_that_differ_anywhere_are_others, setup),
		cmocka_unit_test_setup(a_dot_at_the_end_is_kept_off, setup),
		cmocka_unit_test_setup(short_long_and_unserved_hosts_are_not_kept, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
