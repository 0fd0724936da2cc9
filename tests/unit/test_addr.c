/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <sys/un.h>

#include "acl/addr.h"

#define COUNT(a) (sizeof(a) / sizeof(*(a)))

static uint64_t seed = 0x243f6a8885a308d3;

static uint64_t draw(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* The text in memory of exactly its size, so that a sanitizer sees a read beyond it. */
static bool parse(const char *text, struct addr *a)
{
	size_t n = strlen(text);
	char *copy = malloc(n ? n : 1);
	memcpy(copy, text, n);
	bool ok = addr_parse((struct str){copy, n}, a);
	free(copy);
	return ok;
}

static bool parse_hop(const char *text, struct addr *a, uint16_t *port)
{
	size_t n = strlen(text);
	char *copy = malloc(n ? n : 1);
	memcpy(copy, text, n);
	bool ok = addr_parse_hop((struct str){copy, n}, a, port);
	free(copy);
	return ok;
}

static struct addr addr(const char *text)
{
	struct addr a;
	if (!parse(text, &a))
		fail_msg("%s was not read", text);
	return a;
}

static bool system_parse(const char *text, struct addr *a)
{
	struct in_addr in;
	if (inet_pton(AF_INET, text, &in) == 1) {
		*a = addr_v4(0, 0, 0, 0);
		memcpy(a->b + 12, &in, 4);
		return true;
	}
	return inet_pton(AF_INET6, text, a->b) == 1;
}

static void test_parse_good(void **state)
{
	(void)state;
	static const char *const good[] = {
		"0.0.0.0",
		"255.255.255.255",
		"203.0.113.9",
		"::",
		"::1",
		"1::",
		"2001:db8::1",
		"2001:DB8::aBcD",
		"1:2:3:4:5:6:7:8",
		"1:2:3:4:5:6:7::",
		"::2:3:4:5:6:7:8",
		"1::3:4:5:6:7:8",
		"::ffff:1.2.3.4",
		"64:ff9b::192.0.2.33",
		"1:2:3:4:5:6:1.2.3.4",
		"::1.2.3.4",
		"0001:0000:0000:0000:0000:0000:0000:0000",
		"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255",
	};
	for (size_t i = 0; i < COUNT(good); i++) {
		struct addr a, b;
		if (!parse(good[i], &a) || !system_parse(good[i], &b) || !addr_eq(&a, &b))
			fail_msg("%s", good[i]);
	}
}

static void test_parse_bad(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"",
		" ",
		".",
		":",
		":::",
		"1",
		"1.2",
		"1.2.3",
		"1.2.3.",
		".1.2.3",
		"1.2.3.4.",
		"1.2.3.4.5",
		"01.2.3.4",
		"1.2.3.04",
		"1.2.3.00",
		"0x1.2.3.4",
		"1.2.3.256",
		"1.2.3.1000",
		"1..2.3",
		"1.2.3.4 ",
		" 1.2.3.4",
		"1.2.3.-4",
		"+1.2.3.4",
		"16909060",
		"0x01020304",
		"1.2.3.4/32",
		"1.2.3.4:80",
		"127.1",
		"1.2.3.a",
		"1:2:3:4:5:6:7",
		"1:2:3:4:5:6:7:8:9",
		"1:2:3:4::5:6:7:8",
		"::1::",
		"1::2::3",
		"12345::",
		"g::",
		"::1%eth0",
		"fe80::1%25eth0",
		"[::1]",
		"::1]",
		"1:",
		":1",
		"1:2:3:4:5:6:7:",
		":2:3:4:5:6:7:8",
		"::1.2.3",
		"::1.2.3.4:5",
		"::1.2.3.4.5",
		"::01.2.3.4",
		"1:2:3:4:5:6:7:1.2.3.4",
		"::256.1.1.1",
		"1.2.3.4::",
		"::.1.2.3",
		"::1.2.3.4 ",
		"::/0",
		"localhost",
		"1.2.3.4,5.6.7.8",
		"١.2.3.4",
		"00000::1",
		"::00001",
		"::ffff:1.2.3.4%1",
		"1:2:3:4:5:6:7:8::",
		"::1:2:3:4:5:6:7:8",
	};
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct addr a = addr_v4(9, 9, 9, 9), before = a;
		if (parse(bad[i], &a))
			fail_msg("%s was read", bad[i]);
		assert_true(addr_eq(&a, &before));
	}
	struct addr a;
	assert_false(addr_parse((struct str){"1.2.3.4\0", 8}, &a));
	assert_false(addr_parse((struct str){"::1\0", 4}, &a));
	assert_false(addr_parse(STR_NONE, &a));
}

/* Random changes to good text: never another answer than the system's parser gives. */
static void test_parse_as_the_system_does(void **state)
{
	(void)state;
	static const char *const from[] = {"203.0.113.9",	 "2001:db8::1", "1:2:3:4:5:6:7:8",
					   "::ffff:10.20.30.40", "::",		"fe80::1:0:0:a"};
	static const char alphabet[] = "0123456789abcdefF:::...g% ";
	unsigned read = 0;
	for (unsigned i = 0; i < 400000; i++) {
		char text[64];
		strcpy(text, from[draw() % COUNT(from)]);
		for (unsigned k = (unsigned)(draw() % 4); k-- > 0;) {
			size_t n = strlen(text), at = draw() % (n + 1);
			char c = alphabet[draw() % (sizeof(alphabet) - 1)];
			if (draw() % 2 && n < 50) {
				memmove(text + at + 1, text + at, n + 1 - at);
				text[at] = c;
			} else if (at < n) {
				text[at] = c;
			}
		}
		struct addr a, b;
		bool ours = parse(text, &a), system = system_parse(text, &b);
		if (ours != system || (ours && !addr_eq(&a, &b)))
			fail_msg("%s: %d, the system says %d", text, ours, system);
		read += ours;
	}
	assert_in_range(read, 50000, 390000);
}

static void test_mapped_is_v4(void **state)
{
	(void)state;
	struct addr a = addr("::ffff:192.0.2.1"), b = addr("192.0.2.1"), c = addr("0:0:0:0:0:ffff:c000:201");
	assert_true(addr_eq(&a, &b));
	assert_true(addr_eq(&a, &c));
	assert_true(addr_is_v4(&a));
	struct addr compat = addr("::192.0.2.1");
	assert_false(addr_is_v4(&compat));
	assert_false(addr_eq(&a, &compat));
}

static void test_hop_good(void **state)
{
	(void)state;
	static const struct {
		const char *text, *ip;
		uint16_t port;
	} rows[] = {
		{"192.0.2.1", "192.0.2.1", 0},
		{"192.0.2.1:8080", "192.0.2.1", 8080},
		{"192.0.2.1:0", "192.0.2.1", 0},
		{"192.0.2.1:65535", "192.0.2.1", 65535},
		{"[2001:db8::1]", "2001:db8::1", 0},
		{"[2001:db8::1]:443", "2001:db8::1", 443},
		{"2001:db8::1", "2001:db8::1", 0},
		{"2001:db8::1:443", "2001:db8::1:443", 0},
		{"::", "::", 0},
		{"[::ffff:1.2.3.4]:5", "1.2.3.4", 5},
		{"::ffff:1.2.3.4", "1.2.3.4", 0},
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct addr a, wanted = addr(rows[i].ip);
		uint16_t port = 7;
		if (!parse_hop(rows[i].text, &a, &port) || !addr_eq(&a, &wanted) || port != rows[i].port)
			fail_msg("%s", rows[i].text);
		assert_true(parse_hop(rows[i].text, &a, NULL));
	}
}

static void test_hop_bad(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"",
		":",
		":80",
		"[",
		"]",
		"[]",
		"[]:80",
		"[::1",
		"::1]",
		"[::1]80",
		"[::1]:",
		"[::1]:x",
		"[::1]:65536",
		"[::1]:123456",
		"[::1] :80",
		"[1.2.3.4]",
		"[1.2.3.4]:80",
		"1.2.3.4:",
		"1.2.3.4:65536",
		"1.2.3.4:-1",
		"1.2.3.4:+1",
		"1.2.3.4:80x",
		"1.2.3.4: 80",
		"1.2.3.4:80:90",
		"unknown",
		"_hidden",
		"\"1.2.3.4\"",
		"[::1%eth0]:80",
		"[[::1]]",
		"1.2.3.4]",
		"a:80",
		"example.com:80",
		"1.2.3.4 ",
		"12:80",
		"[::1]]:80",
	};
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct addr a = addr_v4(9, 9, 9, 9), before = a;
		uint16_t port = 7;
		if (parse_hop(bad[i], &a, &port))
			fail_msg("%s was read", bad[i]);
		assert_true(addr_eq(&a, &before));
		assert_int_equal(port, 7);
	}
}

static void test_format(void **state)
{
	(void)state;
	static const char *const same[] = {
		"0.0.0.0",
		"1.10.100.255",
		"99.9.200.0",
		"::",
		"::1",
		"1::",
		"2001:db8::1",
		"1:2:3:4:5:6:7:8",
		"2001:db8:0:1:1:1:1:1",
		"2001:0:0:1::1",
		"2001:db8::1:0:0:1",
		"1:0:0:2::3",
		"fe80::a:bc:def:1234",
		"0:1:2:3:4:5:6:7",
		"1:2:3:4:5:6:7:0",
		"::2:0:0:3:4:5",
		"1:0:2:0:3:0:4:0",
		"64:ff9b::c000:221",
	};
	for (size_t i = 0; i < COUNT(same); i++) {
		char text[ADDR_TEXT];
		struct addr a = addr(same[i]);
		assert_int_equal(addr_format(text, &a), strlen(same[i]));
		assert_string_equal(text, same[i]);
	}
}

static void test_format_as_the_system_does(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 200000; i++) {
		struct addr a;
		uint64_t zeros = draw(), narrow = draw();
		for (unsigned g = 0; g < 8; g++) {
			uint64_t v = zeros >> g & 1 ? 0 : draw() & (narrow >> g & 1 ? 0xff : 0xffff);
			a.b[2 * g] = (uint8_t)(v >> 8);
			a.b[2 * g + 1] = (uint8_t)v;
		}
		if (i % 4 == 0)
			a = addr_v4(a.b[0], a.b[1], a.b[2], a.b[3]);
		char ours[ADDR_TEXT], systems[INET6_ADDRSTRLEN];
		memset(ours, 'x', sizeof(ours));
		size_t n = addr_format(ours, &a);
		assert_int_equal(n, strlen(ours));
		if (addr_is_v4(&a))
			inet_ntop(AF_INET, a.b + 12, systems, sizeof(systems));
		else
			inet_ntop(AF_INET6, a.b, systems, sizeof(systems));
		if (!strchr(systems, '.') ||
		    addr_is_v4(&a)) /* ::a.b.c.d, which RFC 4291 deprecates, is no quad here */
			assert_string_equal(ours, systems);
		struct addr back = addr(ours);
		assert_true(addr_eq(&a, &back));
	}
}

static void test_of_sockaddr(void **state)
{
	(void)state;
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(8080)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(443)};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct addr a, wanted = addr("198.51.100.7");
	uint16_t port;

	inet_pton(AF_INET, "198.51.100.7", &in.sin_addr);
	assert_true(addr_of_sockaddr((struct sockaddr *)&in, &a, &port));
	assert_true(addr_eq(&a, &wanted));
	assert_int_equal(port, 8080);

	inet_pton(AF_INET6, "::ffff:198.51.100.7", &in6.sin6_addr);
	assert_true(addr_of_sockaddr((struct sockaddr *)&in6, &a, &port));
	assert_true(addr_eq(&a, &wanted)); /* a [::] listener sees IPv4 peers as IPv4 */
	assert_int_equal(port, 443);
	assert_true(addr_of_sockaddr((struct sockaddr *)&in6, &a, NULL));
	assert_false(addr_of_sockaddr((struct sockaddr *)&un, &a, &port));
}

static void test_mask(void **state)
{
	(void)state;
	struct addr ones;
	memset(ones.b, 0xff, 16);
	for (unsigned bits = 0; bits <= 130; bits++) {
		struct addr a = ones;
		addr_mask(&a, bits);
		for (unsigned i = 0; i < 128; i++)
			assert_int_equal(a.b[i / 8] >> (7 - i % 8) & 1, i < bits);
	}
}

static struct cidr cidr(const char *text)
{
	struct cidr c;
	const char *why = NULL;
	if (!cidr_parse(str_of(text), &c, &why))
		fail_msg("%s: %s", text, why);
	return c;
}

static void test_cidr_round_trip(void **state)
{
	(void)state;
	static const struct {
		const char *text, *form;
		unsigned bits;
	} rows[] = {
		{"10.0.0.0/8", "10.0.0.0/8", 104},
		{"0.0.0.0/0", "0.0.0.0/0", 96},
		{"1.2.3.4", "1.2.3.4", 128},
		{"1.2.3.4/32", "1.2.3.4", 128},
		{"1.2.3.4/31", "1.2.3.4/31", 127},
		{"::/0", "::/0", 0},
		{"2001:db8::/32", "2001:db8::/32", 32},
		{"2001:db8::1", "2001:db8::1", 128},
		{"2001:db8::/128", "2001:db8::", 128},
		{"::ffff:10.0.0.0/104", "10.0.0.0/8", 104},
		{"::ffff:0:0/96", "0.0.0.0/0", 96},
		{"2001:DB8:1::/048", NULL, 0},
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		char text[CIDR_TEXT];
		struct cidr c;
		const char *why;
		if (!rows[i].form) {
			assert_false(cidr_parse(str_of(rows[i].text), &c, &why));
			continue;
		}
		c = cidr(rows[i].text);
		assert_int_equal(c.bits, rows[i].bits);
		assert_int_equal(cidr_format(text, &c), strlen(rows[i].form));
		assert_string_equal(text, rows[i].form);
	}
}

static void test_cidr_errors(void **state)
{
	(void)state;
	static const struct {
		const char *text, *says;
	} rows[] = {
		{"", "not a network"},
		{"/8", "not a network"},
		{"office", "not a network"},
		{"10.0.0/8", "not a network"},
		{"[2001:db8::]/32", "not a network"},
		{"fe80::1%eth0/64", "not a network"},
		{"10.0.0.0/", "from 0 to 32"},
		{"10.0.0.0/33", "from 0 to 32"},
		{"10.0.0.0/08", "from 0 to 32"},
		{"10.0.0.0/+8", "from 0 to 32"},
		{"10.0.0.0/8/8", "from 0 to 32"},
		{"10.0.0.0/255.0.0.0", "from 0 to 32"},
		{"10.0.0.0/4294967304", "from 0 to 32"},
		{"2001:db8::/129", "from 0 to 128"},
		{"10.1.2.3/8", "did you mean 10.0.0.0/8?"},
		{"203.0.113.9/24", "did you mean 203.0.113.0/24?"},
		{"1.2.3.4/0", "did you mean 0.0.0.0/0?"},
		{"2001:db8::1/32", "did you mean 2001:db8::/32?"},
		{"::ffff:10.0.0.1/104", "did you mean 10.0.0.0/8?"},
		{"1111:2222:3333:4444:5555:6666:7777:8888/127", NULL},
		{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/127",
		 "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127?"},
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct cidr c;
		const char *why = "";
		bool ok = cidr_parse(str_of(rows[i].text), &c, &why);
		if (ok != !rows[i].says || (!ok && !strstr(why, rows[i].says)))
			fail_msg("%s: %s", rows[i].text, ok ? "was read" : why);
	}
}

static bool has(const char *network, const char *ip)
{
	struct cidr c = cidr(network);
	struct addr a = addr(ip);
	return cidr_has(&c, &a);
}

static void test_cidr_has(void **state)
{
	(void)state;
	assert_true(has("10.0.0.0/8", "10.255.255.255"));
	assert_false(has("10.0.0.0/8", "11.0.0.0"));
	assert_false(has("10.0.0.0/8", "9.255.255.255"));
	assert_true(has("10.0.0.0/8", "::ffff:10.1.1.1"));
	assert_true(has("0.0.0.0/0", "255.1.2.3"));
	assert_false(has("0.0.0.0/0", "2001:db8::1"));
	assert_true(has("::/0", "2001:db8::1"));
	assert_false(has("::/0", "192.0.2.1"));
	assert_false(has("::/1", "0.0.0.1"));
	assert_true(has("::/1", "::1"));
	assert_true(has("1.2.3.4", "1.2.3.4"));
	assert_false(has("1.2.3.4", "1.2.3.5"));
	assert_true(has("198.51.100.128/25", "198.51.100.128"));
	assert_false(has("198.51.100.128/25", "198.51.100.127"));
	assert_true(has("2001:db8:1::/48", "2001:db8:1:ffff::1"));
	assert_false(has("2001:db8:1::/48", "2001:db8:2::"));
}

static void test_client_key(void **state)
{
	(void)state;
	static const struct {
		const char *ip, *key;
		unsigned prefix;
	} rows[] = {
		{"203.0.113.9", "203.0.113.9", 64},
		{"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::", 64},
		{"203.0.113.9", "203.0.113.9", 0},
		{"2001:db8:1:2:3:4:5:6", "2001:db8:1:2:3:4:5:6", 128},
		{"2001:db8:1:2ff:3::", "2001:db8:1:200::", 56},
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct addr key = client_key(addr(rows[i].ip), rows[i].prefix), wanted = addr(rows[i].key);
		assert_true(addr_eq(&key, &wanted));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse_good),
		cmocka_unit_test(test_parse_bad),
		cmocka_unit_test(test_parse_as_the_system_does),
		cmocka_unit_test(test_mapped_is_v4),
		cmocka_unit_test(test_hop_good),
		cmocka_unit_test(test_hop_bad),
		cmocka_unit_test(test_format),
		cmocka_unit_test(test_format_as_the_system_does),
		cmocka_unit_test(test_of_sockaddr),
		cmocka_unit_test(test_mask),
		cmocka_unit_test(test_cidr_round_trip),
		cmocka_unit_test(test_cidr_errors),
		cmocka_unit_test(test_cidr_has),
		cmocka_unit_test(test_client_key),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
