/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "acl/proxy_protocol.h"

#define COUNT(a) (sizeof(a) / sizeof(*(a)))
#define V2 "\r\n\r\n\0\r\nQUIT\n"

static struct addr addr(const char *text)
{
	struct addr a;
	if (!addr_parse(str_of(text), &a))
		fail_msg("%s", text);
	return a;
}

struct answer {
	enum proxy_protocol result;
	struct proxy_info info;
	size_t consumed;
	const char *why;
};

/* From a copy of exactly its size, so that a sanitizer sees a read beyond it. */
static struct answer parse(struct str s)
{
	struct answer a = {.consumed = 12345, .why = NULL};
	char *copy = malloc(s.n ? s.n : 1);
	if (s.n)
		memcpy(copy, s.p, s.n);
	a.result = proxy_protocol_parse(copy, s.n, &a.info, &a.consumed, &a.why);
	free(copy);
	return a;
}

/* A whole header: each shorter piece of it asks for more, and what follows is left alone. */
static struct proxy_info done(struct str s)
{
	char longer[PROXY_PROTOCOL_MAX + 8];
	for (size_t n = 0; n < s.n; n++)
		if (parse((struct str){s.p, n}).result != PP_MORE)
			fail_msg("%zu bytes of %zu", n, s.n);
	struct answer a = parse(s);
	if (a.result != PP_DONE)
		fail_msg("%.*s: %s", (int)s.n, s.p, a.why ? a.why : "more?");
	assert_int_equal(a.consumed, s.n);
	memcpy(longer, s.p, s.n);
	memcpy(longer + s.n, "GET / HT", 8);
	struct answer b = parse((struct str){longer, s.n + 8});
	assert_int_equal(b.result, PP_DONE);
	assert_int_equal(b.consumed, s.n);
	assert_int_equal(b.info.named, a.info.named);
	return a.info;
}

static void named(struct str s, const char *src, unsigned src_port, const char *dst, unsigned dst_port)
{
	struct proxy_info p = done(s);
	struct addr a = addr(src), b = addr(dst);
	assert_true(p.named);
	assert_true(addr_eq(&p.src, &a));
	assert_true(addr_eq(&p.dst, &b));
	assert_int_equal(p.src_port, src_port);
	assert_int_equal(p.dst_port, dst_port);
}

static void nobody(struct str s)
{
	assert_false(done(s).named);
}

static void test_v1(void **state)
{
	(void)state;
	named(STR("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"), "192.0.2.1", 56324, "198.51.100.2",
	      443);
	named(STR("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"), "255.255.255.255", 65535,
	      "255.255.255.255", 65535);
	named(STR("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n"), "0.0.0.0", 0, "0.0.0.0", 0);
	named(STR("PROXY TCP6 2001:db8::1 ::1 1 2\r\n"), "2001:db8::1", 1, "::1", 2);
	named(STR("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n"), "192.0.2.1", 1, "::1", 2);
	named(STR("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
		  "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 "
		  "65535\r\n"),
	      "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
	      65535);
	nobody(STR("PROXY UNKNOWN\r\n"));
	nobody(STR("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
		   "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 "
		   "65535\r\n")); /* the longest line of all: 107 bytes */
	nobody(STR("PROXY UNKNOWN whatever else\r\n"));
}

static void test_v1_bad(void **state)
{
	(void)state;
	static const struct str bad[] = {
		STR("G"),
		STR("GET / HTTP/1.1\r\n"),
		STR("proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n"),
		STR("PROXY\r\n"),
		STR("PROXY \r\n"),
		STR("PROXY  TCP4 1.1.1.1 2.2.2.2 1 2\r\n"),
		STR("PROXY TCP4\r\n"),
		STR("PROXY TCP4 \r\n"),
		STR("PROXY tcp4 1.1.1.1 2.2.2.2 1 2\r\n"),
		STR("PROXY TCP5 1.1.1.1 2.2.2.2 1 2\r\n"),
		STR("PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n"),
		STR("PROXY UNKNOWNX\r\n"),
		STR("PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n"),
		STR("PROXY TCP4 1.1.1.1 2.2.2.2 1 \r\n"),
		STR("PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n"),
		STR("PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n"),
		STR("PROXY TCP4 1.1.1.1  2.2.2.2 1 2\r\n"),
		STR("PROXY TCP4\t1.1.1.1 2.2.2.2 1 2\r\n"),
		STR("PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n"),
		STR("PROXY TCP4 1.1.1.1 2.2.2.2 +1 2\r\n"),
		STR("PROXY TCP4 1.1.1.1 2.2.2.2 65536 2\r\n"),
		STR("PROXY TCP4 1.1.1.1 2.2.2.2 1 655350\r\n"),
		STR("PROXY TCP4 01.1.1.1 2.2.2.2 1 2\r\n"),
		STR("PROXY TCP4 1.1.1.1:80 2.2.2.2 1 2\r\n"),
		STR("PROXY TCP4 ::1 ::2 1 2\r\n"),
		STR("PROXY TCP4 1.1.1.1 ::2 1 2\r\n"),
		STR("PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n"),
		STR("PROXY TCP6 [::1] ::2 1 2\r\n"),
		STR("PROXY TCP6 ::1%lo ::2 1 2\r\n"),
		STR("PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n"),
		STR("PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\r\n"),
		STR("PROXY TCP4 1.1.1.1 2.2.2.2 1\r2\r\n"),
		STR("PROXY UNKNOWN\n"),
		STR("PROXY UNKNOWN a\rb\r\n"),
		STR("PROXY TCP4 1.1.1.1\0 2.2.2.2 1 2\r\n"),
		STR("PROXY \n"),
	};
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct answer a = parse(bad[i]);
		if (a.result != PP_BAD || !a.why || a.consumed != 12345)
			fail_msg("%.*s: %d", (int)bad[i].n, bad[i].p, a.result);
	}
}

static void test_v1_length(void **state)
{
	(void)state;
	char line[200] = "PROXY UNKNOWN ";
	memset(line + 14, 'x', sizeof(line) - 14);
	memcpy(line + 105, "\r\n", 2);
	assert_int_equal(parse((struct str){line, 107}).result, PP_DONE);
	memcpy(line + 105, "x\r\n", 3);
	assert_int_equal(parse((struct str){line, 106}).result, PP_MORE);
	assert_int_equal(parse((struct str){line, 107}).result, PP_BAD);
	assert_int_equal(parse((struct str){line, 108}).result, PP_BAD);
	assert_int_equal(parse((struct str){line, 200}).result, PP_BAD);
}

static void test_v2(void **state)
{
	(void)state;
	named(STR(V2 "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x02\xdc\x04\x01\xbb"), "192.0.2.1", 56324,
	      "198.51.100.2", 443);
	named(STR(V2 "\x21\x21\x00\x24\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
		     "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\x00\x00\x09\xff\xff\x00\x50"),
	      "2001:db8::1", 65535, "10.0.0.9", 80);
	named(STR(V2 "\x21\x11\x00\x13\x01\x02\x03\x04\x05\x06\x07\x08\x00\x01\x00\x02\x03\x00\x04"
		     "abcd"),
	      "1.2.3.4", 1, "5.6.7.8", 2); /* an additional field */
	nobody(STR(V2 "\x20\x00\x00\x00"));
	nobody(STR(V2 "\x20\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x02\xdc\x04\x01\xbb"));
	nobody(STR(V2 "\x20\xff\x00\x03xyz")); /* LOCAL: the family is ignored */
	nobody(STR(V2 "\x20\x11\x00\x00"));
	nobody(STR(V2 "\x21\x00\x00\x00"));
	nobody(STR(V2 "\x21\x00\x00\x05hello"));
	nobody(STR(V2 "\x21\x12\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x02\xdc\x04\x01\xbb")); /* a datagram's */
	char local[16 + 216] = V2 "\x21\x31\x00\xd8/run/weir.sock";
	nobody((struct str){local, sizeof(local)});
}

static void test_v2_bad(void **state)
{
	(void)state;
	static const struct str bad[] = {
		STR("\r\r"),
		STR("\r\n\r\n\0\r\nQUIT\r"),
		STR(V2 "\x11"), /* version 1 in binary */
		STR(V2 "\x31"), /* version 3 */
		STR(V2 "\x22"), /* an unknown command */
		STR(V2 "\x2f\x11\x00\x0c"),
		STR(V2 "\x21\x11\x00\x0b\xc0\x00\x02\x01\xc6\x33\x64\x02\xdc\x04\x01"),
		STR(V2 "\x21\x21\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x02\xdc\x04\x01\xbb"),
		STR(V2 "\x21\x31\x00\x02xx"),
		STR(V2 "\x21\x41\x00\x00"), /* unknown family */
		STR(V2 "\x21\xf1\x00\x00"),
		STR(V2 "\x21\x13\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x02\xdc\x04\x01\xbb"),
		STR(V2 "\x21\x11\xff\xff"), /* longer than is taken */
		STR(V2 "\x21\x11\x0f\xf1"),
		STR(V2 "\x20\x00\x0f\xf1"),
	};
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct answer a = parse(bad[i]);
		if (a.result != PP_BAD || !a.why || a.consumed != 12345)
			fail_msg("row %zu: %d", i, a.result);
	}
}

static void test_v2_length(void **state)
{
	(void)state;
	char header[PROXY_PROTOCOL_MAX] =
		V2 "\x21\x11\x0f\xf0\x01\x02\x03\x04\x05\x06\x07\x08\x00\x01\x00\x02";
	named((struct str){header, sizeof(header)}, "1.2.3.4", 1, "5.6.7.8", 2);
}

/* Random changes never lead outside of the bytes given, and nothing is named by what was not all there. */
static void test_mutations(void **state)
{
	(void)state;
	static const struct str from[] = {
		STR("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"),
		STR("PROXY TCP6 2001:db8::1 ::1 1 2\r\n"),
		STR(V2 "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x02\xdc\x04\x01\xbb"),
		STR(V2 "\x21\x21\x00\x24\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
		       "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\x00\x00\x09\xff\xff\x00\x50"),
	};
	uint64_t r = 0x2545f4914f6cdd1d;
	unsigned seen[3] = {0};
	for (unsigned i = 0; i < 200000; i++) {
		char copy[64];
		struct str s = from[i % COUNT(from)];
		memcpy(copy, s.p, s.n);
		r = r * 6364136223846793005 + 1442695040888963407;
		copy[(r >> 33) % s.n] = (char)(r >> 20);
		size_t n = r >> 60 < 4 ? (r >> 45) % (s.n + 1) : s.n;
		struct answer a = parse((struct str){copy, n});
		seen[a.result]++;
		if (a.result == PP_DONE)
			assert_in_range(a.consumed, 1, n);
	}
	assert_true(seen[PP_DONE] > 1000 && seen[PP_MORE] > 1000 && seen[PP_BAD] > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_v1),	  cmocka_unit_test(test_v1_bad),
		cmocka_unit_test(test_v1_length), cmocka_unit_test(test_v2),
		cmocka_unit_test(test_v2_bad),	  cmocka_unit_test(test_v2_length),
		cmocka_unit_test(test_mutations),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
