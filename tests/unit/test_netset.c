/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <stdio.h>

#include "acl/netset.h"

#define COUNT(a) (sizeof(a) / sizeof(*(a)))

static uint64_t seed = 0x13198a2e03707344;

static uint64_t draw(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static struct cidr cidr(const char *text)
{
	struct cidr c;
	const char *why = NULL;
	if (!cidr_parse(str_of(text), &c, &why))
		fail_msg("%s: %s", text, why);
	return c;
}

static struct addr addr(const char *text)
{
	struct addr a;
	if (!addr_parse(str_of(text), &a))
		fail_msg("%s", text);
	return a;
}

struct entry {
	struct cidr net;
	int list;
};

static struct netset *compile(const struct entry *v, size_t n, int lists)
{
	struct netset_builder *b = netset_builder_new();
	for (int i = 0; i < lists; i++)
		assert_int_equal(netset_list(b), i);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(netset_add(b, v[i].list, &v[i].net), 0);
	struct netset *set = netset_compile(b);
	assert_non_null(set);
	return set;
}

static void check(const struct netset *set, const struct entry *v, size_t n, const struct addr *a)
{
	struct netmask wanted = {{0}};
	for (size_t i = 0; i < n; i++)
		if (cidr_has(&v[i].net, a))
			netmask_set(&wanted, v[i].list);
	const struct netmask *got = netset_lookup(set, a);
	if (memcmp(got, &wanted, sizeof(wanted)) != 0) {
		char text[ADDR_TEXT];
		addr_format(text, a);
		fail_msg("%s: %016lx.. instead of %016lx..", text, (unsigned long)got->w[0],
			 (unsigned long)wanted.w[0]);
	}
}

/* The first and last address of each network and their neighbours outside: where mistakes would be. */
static void check_edges(const struct netset *set, const struct entry *v, size_t n, size_t at)
{
	struct addr first = v[at].net.addr, last = first, before = first, after;
	for (unsigned i = v[at].net.bits; i < 128; i++)
		last.b[i / 8] |= (uint8_t)(0x80 >> (i % 8));
	after = last;
	for (int i = 15; i >= 0 && before.b[i]-- == 0; i--)
		;
	for (int i = 15; i >= 0 && ++after.b[i] == 0; i--)
		;
	check(set, v, n, &first);
	check(set, v, n, &last);
	check(set, v, n, &before);
	check(set, v, n, &after);
}

static struct addr random_addr(bool v4)
{
	struct addr a;
	uint64_t hi = draw(), lo = draw();
	memcpy(a.b, &hi, 8);
	memcpy(a.b + 8, &lo, 8);
	if (v4)
		a = addr_v4(a.b[0], a.b[1], a.b[2], a.b[3]);
	return a;
}

/* Crowded: most addresses share their first bits, so that networks nest and neighbour each other at every
 * depth. */
static struct addr crowded_addr(bool v4)
{
	struct addr a = random_addr(v4);
	uint64_t r = draw();
	unsigned fixed = (unsigned)(r % (v4 ? 30 : 126)) + (v4 ? 96 : 0);
	struct addr base = v4 ? addr_v4(10, 20, 30, 40) : addr("2001:db8:aaaa:5555:f0f0:1234:5678:9abc");
	for (unsigned i = 0; i < fixed; i++) {
		uint8_t bit = (uint8_t)(0x80 >> (i % 8));
		a.b[i / 8] = (uint8_t)((a.b[i / 8] & ~bit) | (base.b[i / 8] & bit));
	}
	return a;
}

static struct entry random_entry(struct addr (*pick)(bool), int lists)
{
	bool v4 = draw() % 2;
	struct entry e = {.list = (int)(draw() % (unsigned)lists)};
	unsigned r = (unsigned)(draw() % 64), width = v4 ? 32 : 128;
	unsigned bits = r == 0 ? 0 : r < 12 ? width : (unsigned)(draw() % (width + 1));
	e.net.addr = pick(v4);
	e.net.bits = (uint8_t)(bits + 128 - width);
	if (!v4 && addr_is_v4(&e.net.addr))
		e.net.addr.b[0] = 0x20;
	addr_mask(&e.net.addr, e.net.bits);
	return e;
}

static void compare(struct addr (*pick)(bool), size_t n, int lists, unsigned lookups)
{
	struct entry *v = malloc(n * sizeof(*v));
	for (size_t i = 0; i < n; i++)
		v[i] = i && draw() % 16 == 0 ? v[draw() % i] : random_entry(pick, lists); /* duplicates too */
	for (size_t i = 0; i < n; i++)
		if (draw() % 16 == 0)
			v[i].list = (int)(draw() % (unsigned)lists); /* the same network in another list */
	struct netset *set = compile(v, n, lists);
	for (unsigned i = 0; i < lookups; i++) {
		struct addr a = i % 4 == 0 ? random_addr(draw() % 2) : pick(draw() % 2);
		check(set, v, n, &a);
		check_edges(set, v, n, draw() % n);
	}
	netset_free(set);
	free(v);
}

static void test_many_small_sets(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 400; i++) {
		compare(random_addr, 1 + draw() % 12, 3, 20);
		compare(crowded_addr, 1 + draw() % 40, 1 + (int)(draw() % 256), 20);
	}
}

static void test_large_sets_as_a_plain_list(void **state)
{
	(void)state;
	compare(random_addr, 3000, 256, 1500);
	compare(crowded_addr, 3000, 256, 1500);
	compare(crowded_addr, 3000, 2, 1500);
}

/* 100,000 networks; a plain list of both families answers for a sample of the 100,000 addresses. */
static void test_hundred_thousand(void **state)
{
	(void)state;
	size_t n = 100000;
	struct entry *v = malloc(n * sizeof(*v));
	for (size_t i = 0; i < n; i++) {
		v[i] = random_entry(random_addr, 100);
		unsigned width = addr_is_v4(&v[i].net.addr) && v[i].net.bits >= 96 ? 32 : 128;
		if (v[i].net.bits < 128u - width + 12) { /* without the few that hold half of the world */
			v[i].net.bits = 128;
			v[i].net.addr = random_addr(width == 32);
		}
	}
	struct netset *set = compile(v, n, 100);
	for (unsigned i = 0; i < 300; i++) {
		struct addr a = random_addr(draw() % 2);
		check(set, v, n, &a);
		check_edges(set, v, n, draw() % n);
	}
	for (unsigned i = 0; i < 100000; i++) { /* every network's own address is in its list */
		assert_true(netmask_has(netset_lookup(set, &v[i].net.addr), v[i].list));
	}
	assert_true(netset_bytes(set) < 8 << 20);
	netset_free(set);
	free(v);
}

static void test_empty(void **state)
{
	(void)state;
	struct netset *set = compile(NULL, 0, 0);
	struct addr a = addr("192.0.2.1"), b = addr("2001:db8::1"), c = addr("::");
	assert_true(netmask_empty(netset_lookup(set, &a)));
	assert_true(netmask_empty(netset_lookup(set, &b)));
	assert_true(netmask_empty(netset_lookup(set, &c)));
	assert_true(netset_bytes(set) < 1024);
	netset_free(set);
	netset_free(NULL);
	netset_builder_free(NULL);
	netset_builder_free(netset_builder_new());
}

static void test_by_hand(void **state)
{
	(void)state;
	const struct entry v[] = {
		{cidr("0.0.0.0/0"), 0},
		{cidr("10.0.0.0/8"), 1},
		{cidr("10.0.0.0/9"), 2},
		{cidr("10.0.0.1"), 3},
		{cidr("::/0"), 4},
		{cidr("2001:db8::/32"), 5},
		{cidr("2001:db8::1"), 255},
		{cidr("10.0.0.1"), 3},
		{cidr("255.255.255.255"), 64},
		{cidr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), 128},
		{cidr("::"), 200},
	};
	static const struct {
		const char *ip;
		int lists[5]; /* ended by -1 */
	} rows[] = {
		{"10.0.0.1", {0, 1, 2, 3, -1}},
		{"10.127.0.0", {0, 1, 2, -1}},
		{"10.128.0.0", {0, 1, -1}},
		{"11.0.0.0", {0, -1}},
		{"::ffff:10.0.0.1", {0, 1, 2, 3, -1}},
		{"2001:db8::1", {4, 5, 255, -1}},
		{"2001:db8::2", {4, 5, -1}},
		{"2001:db9::", {4, -1}},
		{"255.255.255.255", {0, 64, -1}},
		{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", {4, 128, -1}},
		{"::", {4, 200, -1}},
		{"::ffff:0:0", {0, -1}},
		{"::fffe:ffff:ffff", {4, -1}},
		{"::1:0:0:0", {4, -1}},
	};
	struct netset *set = compile(v, COUNT(v), 256);
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct netmask wanted = {{0}};
		for (unsigned k = 0; rows[i].lists[k] >= 0; k++)
			netmask_set(&wanted, rows[i].lists[k]);
		struct addr a = addr(rows[i].ip);
		if (memcmp(netset_lookup(set, &a), &wanted, sizeof(wanted)) != 0)
			fail_msg("%s", rows[i].ip);
	}
	netset_free(set);
}

static void test_lists_end_at_256(void **state)
{
	(void)state;
	struct netset_builder *b = netset_builder_new();
	struct cidr c = cidr("10.0.0.0/8");
	assert_int_equal(netset_add(b, 0, &c), -1);
	for (int i = 0; i < NETSET_LISTS; i++)
		assert_int_equal(netset_list(b), i);
	assert_int_equal(netset_list(b), -1);
	assert_int_equal(netset_add(b, 255, &c), 0);
	assert_int_equal(netset_add(b, 256, &c), -1);
	assert_int_equal(netset_add(b, -1, &c), -1);
	netset_builder_free(b);
}

static void test_masks(void **state)
{
	(void)state;
	for (int i = 0; i < NETSET_LISTS; i++) {
		struct netmask m = {{0}}, other = {{0}};
		assert_true(netmask_empty(&m));
		netmask_set(&m, i);
		assert_false(netmask_empty(&m));
		for (int k = 0; k < NETSET_LISTS; k++)
			assert_int_equal(netmask_has(&m, k), i == k);
		netmask_set(&other, (i + 1) % NETSET_LISTS);
		assert_false(netmask_any(&m, &other));
		netmask_set(&other, i);
		assert_true(netmask_any(&m, &other));
	}
}

struct sink {
	struct cidr v[16];
	int n, room;
};

static int take(void *ctx, const struct cidr *c)
{
	struct sink *s = ctx;
	if (s->n == s->room)
		return -1;
	s->v[s->n++] = *c;
	return 0;
}

static void test_file(void **state)
{
	(void)state;
	static const char text[] = "\xef\xbb\xbf# the office\n"
				   "203.0.113.0/24\n"
				   "\n"
				   "   \t\r\n"
				   "  2001:db8:1::/48\t# and its IPv6\r\n"
				   "198.51.100.7#alone\n"
				   "0.0.0.0/0";
	static const char *const wanted[] = {"203.0.113.0/24", "2001:db8:1::/48", "198.51.100.7",
					     "0.0.0.0/0"};
	struct sink s = {.room = 16};
	struct netfile_error err;
	assert_int_equal(netfile_parse((struct str){text, sizeof(text) - 1}, take, &s, &err), 4);
	assert_int_equal(s.n, 4);
	for (unsigned i = 0; i < COUNT(wanted); i++) {
		char form[CIDR_TEXT];
		cidr_format(form, &s.v[i]);
		assert_string_equal(form, wanted[i]);
	}
	s.n = 0;
	assert_int_equal(netfile_parse(STR_NONE, take, &s, &err), 0);
	assert_int_equal(netfile_parse(STR("\n\n# none\n#"), take, &s, &err), 0);
	assert_int_equal(s.n, 0);
}

static void test_file_errors(void **state)
{
	(void)state;
	static const struct {
		struct str text;
		unsigned line, column;
		const char *says;
	} rows[] = {
		{STR("10.0.0.0/8\n\n  10.1.2.3/8 # x\n"), 3, 3,
		 "10.1.2.3/8: has bits set below its prefix (did you mean 10.0.0.0/8?)"},
		{STR("10.0.0.0/8\r\n10.0.0.0/40\r\n"), 2, 1, "10.0.0.0/40: the prefix length of an IPv4"},
		{STR("office\n"), 1, 1, "office: not a network"},
		{STR("10.0.0.0/8 11.0.0.0/8\n"), 1, 11, "one network a line"},
		{STR("10.0.0.0/8,\n"), 1, 11, "one network a line"},
		{STR("10.0.0.0/8\r11.0.0.0/8\n"), 1, 1, "?11.0.0.0/8: the prefix length"},
		{STR("\n1.1.1.1\0\n"), 2, 1, "1.1.1.1"},
		{STR("; no comment\n"), 1, 2, "one network a line"},
		{STR("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
		 1, 1, "xxx...: not a network"},
		{STR("1.1.1.1\n1.1.1.2\n1.1.1.3\n"), 3, 1, "1.1.1.3: there is no room"},
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct sink s = {.room = 2};
		struct netfile_error err = {0};
		assert_int_equal(netfile_parse(rows[i].text, take, &s, &err), -1);
		if (err.line != rows[i].line || err.column != rows[i].column ||
		    !strstr(err.message, rows[i].says))
			fail_msg("row %zu: %u:%u: %s", i, err.line, err.column, err.message);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_by_hand),
		cmocka_unit_test(test_many_small_sets),
		cmocka_unit_test(test_large_sets_as_a_plain_list),
		cmocka_unit_test(test_hundred_thousand),
		cmocka_unit_test(test_lists_end_at_256),
		cmocka_unit_test(test_masks),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_file_errors),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
