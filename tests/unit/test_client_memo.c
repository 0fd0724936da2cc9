/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "acl/client_memo.h"

static const struct netmask nets[2];

static struct client_ip named(uint32_t i)
{
	return (struct client_ip){.kind = CLIENT_FORWARDED,
				  .addr = addr_v4(10, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i),
				  .nets = &nets[i & 1]};
}

/* A value in memory of exactly its size. */
static struct str exactly(const char *text, size_t n)
{
	char *copy = malloc(n ? n : 1);
	assert_non_null(copy);
	memcpy(copy, text, n);
	return (struct str){copy, n};
}

/* Whatever is found is what was kept for that very text, however many texts share the places. */
static void a_text_finds_what_was_kept_for_it(void **state)
{
	struct client_memo *m = calloc(1, sizeof(*m));
	char text[32];
	(void)state;
	assert_non_null(m);
	unsigned found = 0;
	for (unsigned round = 0; round < 2; round++)
		for (uint32_t i = 0; i < 20000; i++) {
			struct client_ip want = named(i), got = {.kind = CLIENT_NOBODY, .hops_n = 7};
			struct str s = exactly(text, addr_format(text, &want.addr));
			if (client_memo_find(m, s, &got)) {
				assert_int_equal(got.kind, CLIENT_FORWARDED);
				assert_int_equal(got.hops_n, 0);
				assert_true(addr_eq(&got.addr, &want.addr));
				assert_ptr_equal(got.nets, want.nets);
				found++;
			}
			client_memo_keep(m, s, &want);
			assert_int_equal(client_memo_find(m, s, &got), s.n >= TEXT_KEY_SHORTEST);
			free((void *)(uintptr_t)s.p);
		}
	assert_true(found < 1000);
	free(m);
}

/* Neighbours, which differ in the last bytes alone, do not fall on each other more than chance wants it. */
static void neighbours_keep_their_places(void **state)
{
	struct client_memo *m = calloc(1, sizeof(*m));
	char text[32];
	unsigned found = 0;
	(void)state;
	assert_non_null(m);
	for (unsigned round = 0; round < 2; round++)
		for (uint32_t i = 0; i < 256; i++) {
			struct client_ip c = named(i), got;
			struct str s = {text, addr_format(text, &c.addr)};
			found += client_memo_find(m, s, &got);
			client_memo_keep(m, s, &c);
		}
	assert_in_range(found, 150, 256);
	free(m);
}

/* One byte more, less or other, at any place of any length, is another text. */
static void other_texts_find_nothing(void **state)
{
	struct client_memo *m = calloc(1, sizeof(*m));
	struct client_ip c = named(1), got;
	(void)state;
	assert_non_null(m);
	for (size_t n = TEXT_KEY_SHORTEST; n <= TEXT_KEY_LONGEST; n++) {
		char text[TEXT_KEY_LONGEST + 1];
		memset(text, '1', sizeof(text));
		client_memo_keep(m, (struct str){text, n}, &c);
		assert_true(client_memo_find(m, (struct str){text, n}, &got));
		for (size_t i = 0; i < n; i++) {
			text[i] = '2';
			assert_false(client_memo_find(m, (struct str){text, n}, &got));
			text[i] = '1';
		}
		assert_false(client_memo_find(m, (struct str){text, n + 1}, &got));
	}
	free(m);
}

static void long_short_and_many_sided_answers_are_not_kept(void **state)
{
	struct client_memo *m = calloc(1, sizeof(*m));
	struct client_ip c = named(1), got;
	(void)state;
	assert_non_null(m);
	client_memo_keep(m, STR("1.2.3.4"), &c);
	assert_false(client_memo_find(m, STR("1.2.3.4"), &got));
	client_memo_keep(m, STR("1111:2222:3333:4444:5555::"), &c);
	assert_false(client_memo_find(m, STR("1111:2222:3333:4444:5555::"), &got));
	assert_false(client_memo_find(m, STR_NONE, &got));
	c.hops_n = 1;
	client_memo_keep(m, STR("1.2.3.4, 10.0.0.1"), &c);
	assert_false(client_memo_find(m, STR("1.2.3.4, 10.0.0.1"), &got));
	c = (struct client_ip){.kind = CLIENT_NOBODY};
	client_memo_keep(m, STR("unreadable"), &c);
	assert_false(client_memo_find(m, STR("unreadable"), &got));
	free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_text_finds_what_was_kept_for_it),
		cmocka_unit_test(neighbours_keep_their_places),
		cmocka_unit_test(other_texts_find_nothing),
		cmocka_unit_test(long_short_and_many_sided_answers_are_not_kept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
