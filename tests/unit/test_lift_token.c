/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "ratelimit/lift_token.h"

#define UNTIL INT64_C(1795720000)

static const struct str keys[] = {STR("the newest key of all"), STR("an older key, 16+"),
				  STR("0123456789abcdef")};

static struct lift sample(unsigned clients, unsigned sites)
{
	struct lift l = {.id = "7f3a9c01", .effect = LIFT_FULL, .clients = clients, .sites = sites};
	for (unsigned i = 0; i < clients; i++) {
		for (unsigned k = 0; k < sizeof(l.client[i].addr); k++)
			l.client[i].addr[k] = (uint8_t)(17 * i + k);
		l.client[i].bits = (uint8_t)(128 - i);
	}
	for (unsigned i = 0; i < sites; i++)
		snprintf(l.site[i], LIFT_SITE, "%0*u.example", i == 0 ? LIFT_SITE - 9 : 3, i);
	return l;
}

static size_t write_sample(char out[LIFT_TOKEN_MAX], struct str key, unsigned clients, unsigned sites)
{
	struct lift l = sample(clients, sites);
	size_t n = lift_token_write(out, key, &l, UNTIL);
	assert_in_range(n, 50, LIFT_TOKEN_MAX);
	for (size_t i = 0; i < n; i++) /* it fits a header, a shell and a URL */
		assert_non_null(
			strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.", out[i]));
	return n;
}

static bool reads(const char *p, size_t n, unsigned count, const struct str *key, struct lift *l)
{
	int64_t until;
	bool good = lift_token_read((struct str){p, n}, count, key, l, &until);
	if (good)
		assert_int_equal(until, UNTIL);
	return good;
}

static void what_is_written_is_read(void **state)
{
	static const unsigned sizes[] = {0, 1, 2, LIFT_CLIENTS};
	static char text[LIFT_TOKEN_MAX];
	static struct lift want, got;
	(void)state;
	for (unsigned c = 0; c < 4; c++)
		for (unsigned s = 0; s < 4; s++) {
			size_t n = write_sample(text, keys[0], sizes[c], sizes[s]);
			want = sample(sizes[c], sizes[s]);
			assert_true(reads(text, n, 1, keys, &got));
			assert_memory_equal(&got, &want, sizeof(want));
		}
}

static void the_longest_fits(void **state)
{
	static char text[LIFT_TOKEN_MAX];
	static struct lift l;
	(void)state;
	l = sample(LIFT_CLIENTS, LIFT_SITES);
	for (unsigned i = 0; i < LIFT_SITES; i++)
		memset(l.site[i], 'a' + (int)i, LIFT_SITE - 1);
	size_t n = lift_token_write(text, keys[0], &l, INT64_C(99999999999));
	int64_t until;
	static struct lift got;
	assert_in_range(n, 6000, LIFT_TOKEN_MAX);
	assert_true(lift_token_read((struct str){text, n}, 1, keys, &got, &until));
	assert_memory_equal(&got, &l, sizeof(l));
}

static void every_key_verifies_and_no_other(void **state)
{
	static char text[LIFT_TOKEN_MAX];
	static struct lift l;
	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		size_t n = write_sample(text, keys[i], 1, 1);
		assert_true(reads(text, n, 3, keys, &l));
		assert_int_equal(reads(text, n, 2, keys, &l), i < 2);
		assert_int_equal(reads(text, n, 1, keys, &l), i == 0);
		assert_false(reads(text, n, 0, NULL, &l));
	}
}

static void every_changed_byte_is_seen(void **state)
{
	static char text[LIFT_TOKEN_MAX], bad[LIFT_TOKEN_MAX + 1];
	static struct lift l;
	(void)state;
	size_t n = write_sample(text, keys[0], 1, 1);
	for (size_t i = 0; i < n; i++)
		for (unsigned c = 0; c < 256; c += 5) {
			memcpy(bad, text, n);
			bad[i] = (char)(bad[i] + 1 + (int)(c % 255));
			if (bad[i] != text[i])
				assert_false(reads(bad, n, 1, keys, &l));
		}
	for (size_t i = 0; i < n; i++)
		assert_false(reads(text, i, 1, keys, &l));
	memcpy(bad, text, n);
	bad[n] = 'A';
	assert_false(reads(bad, n + 1, 1, keys, &l));
}

static void the_format_stays(void **state)
{
	static const char known[] = "weir1.N2YzYTljMDEgMTc5NTcyMDAwMA.";
	static char text[LIFT_TOKEN_MAX];
	(void)state;
	size_t n = write_sample(text, keys[2], 0, 0);
	assert_int_equal(n, sizeof(known) - 1 + 43);
	assert_memory_equal(text, known, sizeof(known) - 1);
}

/* What is signed by the right key and says something else is refused too. */
static void odd_payloads(void **state)
{
	static struct lift l;
	static char text[LIFT_TOKEN_MAX];
	(void)state;
	static struct lift got;
	static const char *const ids[] = {"7F3A9C01", "7f3a9c0g", "7f3a 901"};
	for (unsigned i = 0; i < 3; i++) {
		l = (struct lift){.effect = LIFT_FULL};
		snprintf(l.id, sizeof(l.id), "%s", ids[i]);
		assert_false(reads(text, lift_token_write(text, keys[0], &l, UNTIL), 1, keys, &got));
	}
	static const char *const sites[] = {"", "a b", "a c", "a cx/1", "a s"};
	for (unsigned i = 0; i < 5; i++) {
		l = sample(0, 1);
		snprintf(l.site[0], LIFT_SITE, "%s", sites[i]);
		assert_false(reads(text, lift_token_write(text, keys[0], &l, UNTIL), 1, keys, &got));
	}
	l = sample(1, 0);
	l.client[0].bits = 129;
	assert_false(reads(text, lift_token_write(text, keys[0], &l, UNTIL), 1, keys, &got));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(the_longest_fits),
		cmocka_unit_test(every_key_verifies_and_no_other),
		cmocka_unit_test(every_changed_byte_is_seen),
		cmocka_unit_test(the_format_stays),
		cmocka_unit_test(odd_payloads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
