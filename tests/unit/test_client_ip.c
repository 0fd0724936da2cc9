/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <stdio.h>

#include "acl/client_ip.h"

#define COUNT(a) (sizeof(a) / sizeof(*(a)))

static struct netset *nets; /* list 0: another network; list 1: the trusted proxies */

static struct addr addr(const char *text)
{
	struct addr a;
	if (!addr_parse(str_of(text), &a))
		fail_msg("%s", text);
	return a;
}

static int setup(void **state)
{
	(void)state;
	static const char *const trusted[] = {"10.0.0.0/24", "10.0.1.0/24", "2001:db8:a1b::/48"};
	struct netset_builder *b = netset_builder_new();
	struct cidr c;
	const char *why;
	netset_list(b);
	netset_list(b);
	assert_true(cidr_parse(STR("203.0.113.0/24"), &c, &why));
	assert_int_equal(netset_add(b, 0, &c), 0);
	for (unsigned i = 0; i < COUNT(trusted); i++) {
		assert_true(cidr_parse(str_of(trusted[i]), &c, &why));
		assert_int_equal(netset_add(b, 1, &c), 0);
	}
	nets = netset_compile(b);
	return nets ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	netset_free(nets);
	return 0;
}

/* What was found, as one text: "kind address | X-Forwarded-For to the origin". */
static const char *found(const struct client_source *src, const char *peer, const struct client_heard *heard)
{
	static char text[CLIENT_IP_XFF_MAX + 100];
	static const char *const kinds[] = {"peer", "forwarded", "nobody"};
	struct client_ip c;
	struct addr p = peer ? addr(peer) : (struct addr){{0}};
	char ip[ADDR_TEXT], *xff = malloc(CLIENT_IP_XFF_MAX);

	memset(&c, 0xaa, sizeof(c));
	client_ip_find(src, peer ? &p : NULL, netset_lookup(nets, &p), heard, &c);
	assert_ptr_equal(c.nets, c.kind == CLIENT_NOBODY ? NULL : netset_lookup(nets, &c.addr));
	addr_format(ip, &c.addr);
	size_t n = client_ip_xff(xff, &c, peer ? &p : NULL);
	assert_true(n < CLIENT_IP_XFF_MAX);
	snprintf(text, sizeof(text), "%s %s | %.*s", kinds[c.kind], ip, (int)n, xff);
	free(xff);
	return text;
}

/* Values in memory of exactly their size. */
static struct client_values values_of(const char *const *lines, size_t n, struct str *out)
{
	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(lines[i]);
		char *copy = malloc(len ? len : 1);
		memcpy(copy, lines[i], len);
		out[i] = (struct str){copy, len};
	}
	return (struct client_values){out, n};
}

static void free_values(struct str *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free((void *)(uintptr_t)v[i].p);
}

struct row {
	const char *peer;
	const char *lines[4];
	const char *wanted;
};

static void run(enum client_header header, const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct client_source src = {.nets = nets, .trusted = 1, .header = header};
		struct client_heard heard = {.only_with = {NULL, 0}};
		struct str v[4];
		size_t lines = 0;
		while (lines < 4 && rows[i].lines[lines])
			lines++;
		struct client_values values = values_of(rows[i].lines, lines, v);
		if (header == CLIENT_HEADER_FORWARDED)
			heard.forwarded = values;
		else
			heard.xff = values;
		const char *got = found(&src, rows[i].peer, &heard);
		if (strcmp(got, rows[i].wanted) != 0)
			fail_msg("row %zu, %s:\n got    %s\n wanted %s", i,
				 lines ? rows[i].lines[0] : "no header", got, rows[i].wanted);
		free_values(v, lines);
	}
}

static void test_xff(void **state)
{
	(void)state;
	static const struct row rows[] = {
		/* not trusted: what it says of others is nothing */
		{"198.51.100.1", {"1.2.3.4"}, "peer 198.51.100.1 | 198.51.100.1"},
		{"198.51.100.1", {"10.0.0.1, 10.0.0.2"}, "peer 198.51.100.1 | 198.51.100.1"},
		{"198.51.100.1", {NULL}, "peer 198.51.100.1 | 198.51.100.1"},
		{"203.0.113.1", {"1.2.3.4"}, "peer 203.0.113.1 | 203.0.113.1"}, /* in another list */
		{"10.0.2.1", {"1.2.3.4"}, "peer 10.0.2.1 | 10.0.2.1"},
		/* one hop */
		{"10.0.0.5", {"1.2.3.4"}, "forwarded 1.2.3.4 | 1.2.3.4, 10.0.0.5"},
		{"::ffff:10.0.0.5", {"1.2.3.4"}, "forwarded 1.2.3.4 | 1.2.3.4, 10.0.0.5"},
		{"10.0.0.5", {" 1.2.3.4\t"}, "forwarded 1.2.3.4 | 1.2.3.4, 10.0.0.5"},
		{"10.0.0.5", {"::ffff:1.2.3.4"}, "forwarded 1.2.3.4 | 1.2.3.4, 10.0.0.5"},
		{"2001:db8:a1b::1", {"2001:DB8::7"}, "forwarded 2001:db8::7 | 2001:db8::7, 2001:db8:a1b::1"},
		/* ports and brackets */
		{"10.0.0.5", {"1.2.3.4:5678"}, "forwarded 1.2.3.4 | 1.2.3.4, 10.0.0.5"},
		{"10.0.0.5", {"[2001:db8::7]:5678"}, "forwarded 2001:db8::7 | 2001:db8::7, 10.0.0.5"},
		{"10.0.0.5", {"[2001:db8::7]"}, "forwarded 2001:db8::7 | 2001:db8::7, 10.0.0.5"},
		{"10.0.0.5", {"1.2.3.4:1, 10.0.1.9:2"}, "forwarded 1.2.3.4 | 1.2.3.4, 10.0.1.9, 10.0.0.5"},
		/* what the client wrote itself stands on the left and is dropped */
		{"10.0.0.5", {"6.6.6.6, 1.2.3.4"}, "forwarded 1.2.3.4 | 1.2.3.4, 10.0.0.5"},
		{"10.0.0.5", {"10.0.0.1, 1.2.3.4"}, "forwarded 1.2.3.4 | 1.2.3.4, 10.0.0.5"},
		{"10.0.0.5", {"<script>, 1.2.3.4"}, "forwarded 1.2.3.4 | 1.2.3.4, 10.0.0.5"},
		{"10.0.0.5",
		 {"6.6.6.6,1.2.3.4,10.0.1.1,10.0.1.2"},
		 "forwarded 1.2.3.4 | 1.2.3.4, 10.0.1.1, 10.0.1.2, 10.0.0.5"},
		/* several lines are one list */
		{"10.0.0.5",
		 {"6.6.6.6", "1.2.3.4", "10.0.1.1"},
		 "forwarded 1.2.3.4 | 1.2.3.4, 10.0.1.1, 10.0.0.5"},
		{"10.0.0.5", {"1.2.3.4", "", " , "}, "forwarded 1.2.3.4 | 1.2.3.4, 10.0.0.5"},
		{"10.0.0.5", {"1.2.3.4", "6.6.6.6"}, "forwarded 6.6.6.6 | 6.6.6.6, 10.0.0.5"},
		/* all are trusted: the leftmost */
		{"10.0.0.5", {"10.0.0.9"}, "forwarded 10.0.0.9 | 10.0.0.9, 10.0.0.5"},
		{"10.0.0.5", {"10.0.0.9, 10.0.1.9"}, "forwarded 10.0.0.9 | 10.0.0.9, 10.0.1.9, 10.0.0.5"},
		{"10.0.0.5", {"10.0.0.5"}, "forwarded 10.0.0.5 | 10.0.0.5, 10.0.0.5"},
		/* unreadable: the nearest readable hop to its right */
		{"10.0.0.5", {"1.2.3.4, unknown, 10.0.1.9"}, "forwarded 10.0.1.9 | 10.0.1.9, 10.0.0.5"},
		{"10.0.0.5",
		 {"1.2.3.4, x, 10.0.1.8, 10.0.1.9"},
		 "forwarded 10.0.1.8 | 10.0.1.8, 10.0.1.9, 10.0.0.5"},
		/* ... and none stands there: the proxy is not the client */
		{"10.0.0.5", {"1.2.3.4, unknown"}, "nobody 10.0.0.5 | 10.0.0.5"},
		{"10.0.0.5", {"unknown"}, "nobody 10.0.0.5 | 10.0.0.5"},
		{"10.0.0.5", {"1.2.3.04"}, "nobody 10.0.0.5 | 10.0.0.5"},
		{"10.0.0.5", {"1.2.3.4 6.6.6.6"}, "nobody 10.0.0.5 | 10.0.0.5"},
		{"10.0.0.5", {"1.2.3.4;6.6.6.6"}, "nobody 10.0.0.5 | 10.0.0.5"},
		{"10.0.0.5", {"\"1.2.3.4\""}, "nobody 10.0.0.5 | 10.0.0.5"},
		{"10.0.0.5", {"1.2.3.4:99999"}, "nobody 10.0.0.5 | 10.0.0.5"},
		{"10.0.0.5", {"fe80::1%eth0"}, "nobody 10.0.0.5 | 10.0.0.5"},
		/* nothing said */
		{"10.0.0.5", {NULL}, "nobody 10.0.0.5 | 10.0.0.5"},
		{"10.0.0.5", {""}, "nobody 10.0.0.5 | 10.0.0.5"},
		{"10.0.0.5", {" ,\t, ,"}, "nobody 10.0.0.5 | 10.0.0.5"},
		{"10.0.0.5", {"", "", ""}, "nobody 10.0.0.5 | 10.0.0.5"},
		/* empty elements are no hops */
		{"10.0.0.5", {", 1.2.3.4, ,"}, "forwarded 1.2.3.4 | 1.2.3.4, 10.0.0.5"},
		{"10.0.0.5",
		 {"6.6.6.6,,1.2.3.4,,10.0.1.1"},
		 "forwarded 1.2.3.4 | 1.2.3.4, 10.0.1.1, 10.0.0.5"},
		/* a unix socket */
		{NULL, {"1.2.3.4"}, "forwarded 1.2.3.4 | 1.2.3.4"},
		{NULL, {"1.2.3.4, 10.0.0.7"}, "forwarded 1.2.3.4 | 1.2.3.4, 10.0.0.7"},
		{NULL, {NULL}, "nobody :: | "},
	};
	run(CLIENT_HEADER_XFF, rows, COUNT(rows));
}

static void test_no_trusted_list(void **state)
{
	(void)state;
	const struct client_source src = {.nets = nets, .trusted = -1, .header = CLIENT_HEADER_XFF};
	struct str v = STR("1.2.3.4");
	struct client_heard heard = {.xff = {&v, 1}};
	assert_string_equal(found(&src, "10.0.0.5", &heard), "peer 10.0.0.5 | 10.0.0.5");
}

/* n entries, all trusted but the leftmost. */
static size_t long_list(char *out, unsigned n)
{
	char *p = out + sprintf(out, "1.2.3.4");
	for (unsigned i = 1; i < n; i++)
		p += sprintf(p, ", 10.0.1.%u", i);
	return (size_t)(p - out);
}

static void test_only_the_last_31_entries(void **state)
{
	(void)state;
	const struct client_source src = {.nets = nets, .trusted = 1, .header = CLIENT_HEADER_XFF};
	char text[4096];
	struct addr peer = addr("10.0.0.5");
	for (unsigned n = 1; n <= 200; n++) {
		struct str v = {text, long_list(text, n)};
		struct client_heard heard = {.xff = {&v, 1}};
		struct client_ip c;
		client_ip_find(&src, &peer, netset_lookup(nets, &peer), &heard, &c);
		struct addr wanted = n <= 31 ? addr("1.2.3.4") : addr_v4(10, 0, 1, (uint8_t)(n - 31));
		assert_int_equal(c.kind, CLIENT_FORWARDED);
		assert_true(addr_eq(&c.addr, &wanted));
		assert_int_equal(c.hops_n, n <= 31 ? n - 1 : 30);
		for (unsigned i = 0; i < c.hops_n; i++) {
			struct addr hop = addr_v4(10, 0, 1, (uint8_t)(n - 1 - i));
			assert_true(addr_eq(&c.hops[i], &hop));
		}
	}
}

static void test_longest_value_fits(void **state)
{
	(void)state;
	struct client_ip c = {.kind = CLIENT_FORWARDED, .hops_n = CLIENT_IP_HOPS};
	struct addr longest = addr("aaaa:bbbb:cccc:dddd:eeee:ffff:aaaa:bbbb");
	c.addr = longest;
	for (unsigned i = 0; i < CLIENT_IP_HOPS; i++)
		c.hops[i] = longest;
	char *out = malloc(CLIENT_IP_XFF_MAX);
	assert_int_equal(client_ip_xff(out, &c, &longest), (CLIENT_IP_HOPS + 2) * 41 - 2);
	free(out);
}

static void test_forwarded(void **state)
{
	(void)state;
#define NOBODY "nobody 10.0.0.5 | 10.0.0.5"
#define CLIENT "forwarded 1.2.3.4 | 1.2.3.4, 10.0.0.5"
#define CLIENT6 "forwarded 2001:db8::7 | 2001:db8::7, 10.0.0.5"
	static const struct row rows[] = {
		{"198.51.100.1", {"for=1.2.3.4"}, "peer 198.51.100.1 | 198.51.100.1"},
		{"10.0.0.5", {"for=1.2.3.4"}, CLIENT},
		{"10.0.0.5", {"FOR=1.2.3.4"}, CLIENT},
		{"10.0.0.5", {"For=\"1.2.3.4\""}, CLIENT},
		{"10.0.0.5", {"for=\"1.2.3.4:80\""}, CLIENT},
		{"10.0.0.5", {"for=\"1.2.3.4:_hidden\""}, CLIENT},
		{"10.0.0.5", {"for=\"1.\\2.3.4\""}, CLIENT}, /* a quoted pair */
		{"10.0.0.5", {"for=\"[2001:db8::7]\""}, CLIENT6},
		{"10.0.0.5", {"for=\"[2001:DB8::7]:4711\""}, CLIENT6},
		{"10.0.0.5", {"for=\"[::ffff:1.2.3.4]:4711\""}, CLIENT},
		{"10.0.0.5", {"proto=https;for=1.2.3.4;by=10.0.0.5;host=example.com"}, CLIENT},
		{"10.0.0.5", {"for=1.2.3.4;secret=\"a,b;for=6.6.6.6\\\"\""}, CLIENT},
		{"10.0.0.5", {"for=1.2.3.4; proto=https ;"}, CLIENT},
		{"10.0.0.5", {";;for=1.2.3.4"}, CLIENT},
		{"10.0.0.5", {"host=\"x, y\";for=1.2.3.4"}, CLIENT},
		{"10.0.0.5", {"for=6.6.6.6, for=1.2.3.4"}, CLIENT},
		{"10.0.0.5",
		 {"for=1.2.3.4, for=10.0.1.1;host=\"a,b\", for=\"10.0.1.2:80\""},
		 "forwarded 1.2.3.4 | 1.2.3.4, 10.0.1.1, 10.0.1.2, 10.0.0.5"},
		{"10.0.0.5",
		 {"for=6.6.6.6", "for=1.2.3.4", "for=10.0.1.1"},
		 "forwarded 1.2.3.4 | 1.2.3.4, 10.0.1.1, 10.0.0.5"},
		{"10.0.0.5", {"for=10.0.0.9"}, "forwarded 10.0.0.9 | 10.0.0.9, 10.0.0.5"},
		/* an open quote of the client does not swallow what the proxy appends */
		{"10.0.0.5", {"for=\"6.6.6.6, for=1.2.3.4"}, CLIENT},
		{"10.0.0.5", {"for=\", for=\"[2001:db8::7]:80\""}, CLIENT6},
		{"10.0.0.5", {"for=\"\\, for=\"[2001:db8::7]:80\""}, CLIENT6},
		{"10.0.0.5", {"for=6.6.6.6;x=\"", "for=1.2.3.4"}, CLIENT},
		{"10.0.0.5",
		 {"for=\"a, for=10.0.1.1;x=\"y\\\\\""},
		 "forwarded 10.0.1.1 | 10.0.1.1, 10.0.0.5"},
		/* unreadable */
		{"10.0.0.5", {"for=unknown"}, NOBODY},
		{"10.0.0.5", {"for=_hidden"}, NOBODY},
		{"10.0.0.5", {"for=1.2.3.4, for=_hidden"}, NOBODY},
		{"10.0.0.5",
		 {"for=1.2.3.4, for=unknown, for=10.0.1.1"},
		 "forwarded 10.0.1.1 | 10.0.1.1, 10.0.0.5"},
		{"10.0.0.5", {"proto=https"}, NOBODY},
		{"10.0.0.5", {"for="}, NOBODY},
		{"10.0.0.5", {"for=\"\""}, NOBODY},
		{"10.0.0.5", {"for"}, NOBODY},
		{"10.0.0.5", {"=1.2.3.4"}, NOBODY},
		{"10.0.0.5", {"for =1.2.3.4"}, NOBODY},
		{"10.0.0.5", {"for= 1.2.3.4"}, NOBODY},
		{"10.0.0.5", {"for=1.2.3.4 proto=https"}, NOBODY},
		{"10.0.0.5", {"for=1.2.3.4;for=6.6.6.6"}, NOBODY},
		{"10.0.0.5", {"for=1.2.3.4;For=6.6.6.6"}, NOBODY},
		{"10.0.0.5", {"for=1.2.3.4;proto=a;proto=b"}, NOBODY},
		{"10.0.0.5", {"for=1.2.3.4:80"}, NOBODY}, /* a colon has to be quoted */
		{"10.0.0.5", {"for=[2001:db8::7]"}, NOBODY},
		{"10.0.0.5", {"for=\"2001:db8::7\""}, NOBODY},
		{"10.0.0.5", {"for=\"[1.2.3.4]\""}, NOBODY},
		{"10.0.0.5", {"for=\"[2001:db8::7\""}, NOBODY},
		{"10.0.0.5", {"for=\"[2001:db8::7]x\""}, NOBODY},
		{"10.0.0.5", {"for=\"[2001:db8::7]:\""}, NOBODY},
		{"10.0.0.5", {"for=\"1.2.3.4:_\""}, NOBODY},
		{"10.0.0.5", {"for=\"1.2.3.4:_a b\""}, NOBODY},
		{"10.0.0.5", {"for=\"1.2.3.4:_a!\""}, NOBODY},
		{"10.0.0.5", {"for=\"1.2.3.4:123456\""}, NOBODY},
		{"10.0.0.5", {"for=\"1.2.3.4"}, NOBODY},
		{"10.0.0.5", {"for=\"1.2.3.4\\\""}, NOBODY},
		{"10.0.0.5", {"for=\"1.2.3.4\"x"}, NOBODY},
		{"10.0.0.5", {"for=\"1.2.3.4\001\""}, NOBODY},
		{"10.0.0.5", {"for=1.2.3.4\xc3\xa4"}, NOBODY},
		{"10.0.0.5", {"1.2.3.4"}, NOBODY},
		{"10.0.0.5",
		 {"for="
		  "111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111"
		  "111.2.3.4"},
		 NOBODY},
		{"10.0.0.5", {NULL}, NOBODY},
		{"10.0.0.5", {" , ,"}, NOBODY},
	};
	run(CLIENT_HEADER_FORWARDED, rows, COUNT(rows));
}

/* Of a node longer than any address and port the bytes in the midst were not looked at, and it was read. */
static void fuzz_long_node_is_unreadable(void **state)
{
	(void)state;
#define SIXTY "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
	static const struct row rows[] = {
		{"10.0.0.5", {"for=\"1.2.3.4:_" SIXTY "\""}, CLIENT},
		{"10.0.0.5", {"for=\"1.2.3.4:_" SIXTY "yyyyyyyyyyy\""}, CLIENT}, /* 80 bytes */
		{"10.0.0.5", {"for=\"1.2.3.4:_" SIXTY "yyyyyyyyyyyy\""}, NOBODY},
		{"10.0.0.5", {"for=\"1.2.3.4:_" SIXTY SIXTY "\x81_\""}, NOBODY},
		{"10.0.0.5", {"for=\"1.2.3.4\";host=\"" SIXTY SIXTY "\""}, CLIENT},
		{"10.0.0.5", {"host=\"" SIXTY SIXTY "\";for=1.2.3.4"}, CLIENT},
	};
	run(CLIENT_HEADER_FORWARDED, rows, COUNT(rows));
}

/* With Forwarded configured, X-Forwarded-For is anybody's word. */
static void test_forwarded_ignores_xff(void **state)
{
	(void)state;
	const struct client_source src = {.nets = nets, .trusted = 1, .header = CLIENT_HEADER_FORWARDED};
	struct str v = STR("1.2.3.4");
	struct client_heard heard = {.xff = {&v, 1}};
	assert_string_equal(found(&src, "10.0.0.5", &heard), NOBODY);
}

static void test_single_address(void **state)
{
	(void)state;
#define FALLBACK "forwarded 7.7.7.7 | 7.7.7.7, 10.0.1.1, 10.0.0.5"
#define VIEWER "forwarded 1.2.3.4 | 1.2.3.4, 10.0.1.1, 10.0.0.5"
#define VIEWER6 "forwarded 2001:db8::1 | 2001:db8::1, 10.0.1.1, 10.0.0.5"
	static const enum client_header PLAIN = CLIENT_HEADER_ADDRESS, PORT = CLIENT_HEADER_ADDRESS_PORT;
	const struct {
		enum client_header header;
		const char *peer, *address, *secret, *wanted;
	} rows[] = {
		{PORT, "10.0.0.5", "1.2.3.4:443", "hunter2", VIEWER},
		{PORT, "10.0.0.5", "2001:db8::1:443", "hunter2", VIEWER6},
		{PORT, "10.0.0.5", "2001:0db8:0000:0000:0000:0000:0000:0001:443", "hunter2", VIEWER6},
		{PORT, "10.0.0.5", "[2001:db8::1]:443", "hunter2", VIEWER6},
		{PORT, "10.0.0.5", " 1.2.3.4:443 ", "hunter2", VIEWER},
		{PORT, "10.0.0.5", "1.2.3.4", "hunter2", FALLBACK},
		{PORT, "10.0.0.5", "1.2.3.4:", "hunter2", FALLBACK},
		{PORT, "10.0.0.5", "1.2.3.4:x", "hunter2", FALLBACK},
		{PORT, "10.0.0.5", "2001:db8:0:0:0:0:0:1", "hunter2",
		 FALLBACK}, /* no port: one group short */
		{PORT, "10.0.0.5", "2001:db8::1:ffff", "hunter2", FALLBACK},
		{PORT, "10.0.0.5", "2001:db8::1:70000", "hunter2", FALLBACK},
		{PORT, "10.0.0.5", "::443", "hunter2", FALLBACK},
		{PORT, "10.0.0.5", ":443", "hunter2", FALLBACK},
		{PORT, "10.0.0.5", "", "hunter2", FALLBACK},
		{PORT, "10.0.0.5", "1.2.3.4:443", "hunter3", FALLBACK},
		{PORT, "10.0.0.5", "1.2.3.4:443", "hunter", FALLBACK},
		{PORT, "10.0.0.5", "1.2.3.4:443", "hunter22", FALLBACK},
		{PORT, "10.0.0.5", "1.2.3.4:443", "hunter2hunter2", FALLBACK},
		{PORT, "10.0.0.5", "1.2.3.4:443", "", FALLBACK},
		{PORT, "10.0.0.5", "1.2.3.4:443", NULL, FALLBACK},
		{PORT, "198.51.100.1", "1.2.3.4:443", "hunter2", "peer 198.51.100.1 | 198.51.100.1"},
		{PORT, "10.0.0.5", "7.7.7.7:1", "hunter2", FALLBACK},
		{PORT, "10.0.0.5", "10.0.1.1:1", "hunter2", "forwarded 10.0.1.1 | 10.0.1.1, 10.0.0.5"},
		{PLAIN, "10.0.0.5", "1.2.3.4", "hunter2", VIEWER},
		{PLAIN, "10.0.0.5", "1.2.3.4:443", "hunter2", VIEWER},
		{PLAIN, "10.0.0.5", "2001:db8::1", "hunter2", VIEWER6},
		{PLAIN, "10.0.0.5", "[2001:db8::1]:7", "hunter2", VIEWER6},
		{PLAIN, "10.0.0.5", "1.2.3.4, 6.6.6.6", "hunter2", FALLBACK},
		{PLAIN, "10.0.0.5", "1.2.3.4", "nonsense", FALLBACK},
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct client_source src = {
			.nets = nets, .trusted = 1, .header = rows[i].header, .only_with = STR("hunter2")};
		struct str xff = STR("6.6.6.6, 7.7.7.7, 10.0.1.1"), address = str_of(rows[i].address),
			   secret = str_of(rows[i].secret);
		struct client_heard heard = {.xff = {&xff, 1},
					     .address = {&address, 1},
					     .only_with = {&secret, rows[i].secret ? 1 : 0}};
		const char *got = found(&src, rows[i].peer, &heard);
		if (strcmp(got, rows[i].wanted) != 0)
			fail_msg("row %zu, %s: %s", i, rows[i].address, got);
	}
}

static void test_single_address_oddities(void **state)
{
	(void)state;
	struct client_source src = {
		.nets = nets, .trusted = 1, .header = CLIENT_HEADER_ADDRESS, .only_with = STR("hunter2")};
	struct str two[2] = {STR("1.2.3.4"), STR("6.6.6.6")}, secrets[2] = {STR("guess"), STR("hunter2")};
	struct client_heard heard = {.address = {two, 2}, .only_with = {secrets, 2}};

	/* two lines: which one is believed would be anybody's guess; and there is no X-Forwarded-For */
	assert_string_equal(found(&src, "10.0.0.5", &heard), NOBODY);
	heard.address.n = 1;
	assert_string_equal(found(&src, "10.0.0.5", &heard), CLIENT);
	heard.only_with.n = 1;
	assert_string_equal(found(&src, "10.0.0.5", &heard), NOBODY);
	/* without a secret nothing is believed, not even an empty one */
	src.only_with = STR_NONE;
	secrets[0] = STR_NONE;
	assert_string_equal(found(&src, "10.0.0.5", &heard), NOBODY);
}

static void test_header_names(void **state)
{
	(void)state;
	assert_int_equal(client_header_of(STR("x-forwarded-for")), CLIENT_HEADER_XFF);
	assert_int_equal(client_header_of(STR("FORWARDED")), CLIENT_HEADER_FORWARDED);
	assert_int_equal(client_header_of(STR("cloudfront-viewer-address")), CLIENT_HEADER_ADDRESS_PORT);
	assert_int_equal(client_header_of(STR("X-Real-IP")), CLIENT_HEADER_ADDRESS);
	assert_int_equal(client_header_of(STR("True-Client-IP")), CLIENT_HEADER_ADDRESS);
}

/* Whatever stands left of ", 1.2.3.4" and its like, the answer stays what the proxy wrote. */
static void test_nothing_on_the_left_matters(void **state)
{
	(void)state;
	static const char alphabet[] = "\",;=\\ for[]:.1a_%\t";
	uint64_t r = 88172645463325252;
	for (unsigned i = 0; i < 100000; i++) {
		char text[128];
		size_t n = i % 40;
		for (size_t k = 0; k < n; k++) {
			r = r * 6364136223846793005 + 1442695040888963407;
			text[k] = alphabet[(r >> 33) % (sizeof(alphabet) - 1)];
		}
		const bool forwarded = i & 1;
		n += (size_t)sprintf(text + n, "%s",
				     forwarded ? ", for=\"1.2.3.4:80\";by=\"a\\\"b,c\", for=10.0.1.1"
					       : ", 1.2.3.4:80, 10.0.1.1");
		struct str v = {text, n};
		const struct client_source src = {
			.nets = nets,
			.trusted = 1,
			.header = forwarded ? CLIENT_HEADER_FORWARDED : CLIENT_HEADER_XFF,
		};
		const struct client_heard heard = {.xff = {&v, 1}, .forwarded = {&v, 1}};
		assert_string_equal(found(&src, "10.0.0.5", &heard), VIEWER);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_xff),
		cmocka_unit_test(test_no_trusted_list),
		cmocka_unit_test(test_only_the_last_31_entries),
		cmocka_unit_test(test_longest_value_fits),
		cmocka_unit_test(test_forwarded),
		cmocka_unit_test(fuzz_long_node_is_unreadable),
		cmocka_unit_test(test_forwarded_ignores_xff),
		cmocka_unit_test(test_single_address),
		cmocka_unit_test(test_single_address_oddities),
		cmocka_unit_test(test_header_names),
		cmocka_unit_test(test_nothing_on_the_left_matters),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
