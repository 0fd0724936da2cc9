/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "tests/unit/h1_check.h"

static const struct h1_limits limits = {.line = 60, .head = 200, .fields = 5};

struct row {
	const char *bytes;
	size_t n;
	unsigned error;
	const char *expected; /* content and |trailers, or why it is refused */
};

#define GOOD(text, expected)                                                                                 \
	{                                                                                                    \
		text, sizeof(text) - 1, 0, expected                                                          \
	}
#define BAD(text, ...)                                                                                       \
	{                                                                                                    \
		text, sizeof(text) - 1, __VA_ARGS__                                                          \
	}
#define EXT(extension) "5" extension "\r\nhello\r\n0\r\n\r\n"
#define TRAILERS(lines) "2\r\nhi\r\n0\r\n" lines "\r\n\r\n"

static void check_rows(const struct row *rows, size_t n)
{
	static struct unchunked u;

	for (size_t i = 0; i < n; i++) {
		const struct row *row = &rows[i];
		const char *why = unchunk_splits(&limits, row->bytes, row->n, &u);
		if (why)
			fail_msg("%s for %.*s", why, (int)row->n, row->bytes);
		if (u.end != (row->error ? BODY_BAD : BODY_END) || u.error != row->error ||
		    strcmp(row->error ? u.why : u.text, row->expected) != 0)
			fail_msg("%.*s\ngave %d %u `%s` `%s` instead of `%s`", (int)row->n, row->bytes, u.end,
				 u.error, u.text, u.why ? u.why : "", row->expected);
		if (!row->error)
			assert_int_equal(u.used, row->n);
	}
}

#define CHECK(rows) check_rows(rows, sizeof(rows) / sizeof((rows)[0]))

static void chunks(void **state)
{
	(void)state;
#define NO_HEX 400, "a chunk size that is not hexadecimal"
#define TOO_BIG 400, "a chunk size above 2^63-1, or of more than 16 digits"
#define TOO_LONG 400, "a chunk that is longer than its size"
	static const struct row rows[] = {
		GOOD("0\r\n\r\n", ""),
		GOOD("00\r\n\r\n", ""),
		GOOD("0000000000000000\r\n\r\n", ""),
		GOOD("5\r\nhello\r\n0\r\n\r\n", "hello"),
		GOOD("0005\r\nhello\r\n0\r\n\r\n", "hello"),
		GOOD("0000000000000005\r\nhello\r\n0\r\n\r\n", "hello"),
		GOOD("1\r\na\r\n2\r\nbc\r\n3\r\ndef\r\n0\r\n\r\n", "abcdef"),
		GOOD("a\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
		GOOD("A\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
		GOOD("1f\r\n0123456789012345678901234567890\r\n0\r\n\r\n", "0123456789012345678901234567890"),
		GOOD("1F\r\n0123456789012345678901234567890\r\n0\r\n\r\n", "0123456789012345678901234567890"),
		GOOD("7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n", "\r\n0\r\n\r\n"),

		BAD("\r\n", NO_HEX),
		BAD("\r\n0\r\n\r\n", NO_HEX),
		BAD("\n", NO_HEX),
		BAD(";x\r\n", NO_HEX),
		BAD("g\r\n", NO_HEX),
		BAD("0x5\r\nhello\r\n", NO_HEX),
		BAD("5h\r\nhello\r\n", NO_HEX),
		BAD("+5\r\nhello\r\n", NO_HEX),
		BAD("-5\r\nhello\r\n", NO_HEX),
		BAD("-0\r\n\r\n", NO_HEX),
		BAD(" 5\r\nhello\r\n", NO_HEX),
		BAD("5 \r\nhello\r\n", NO_HEX),
		BAD("5\t\r\nhello\r\n", NO_HEX),
		BAD("5 5\r\nhello\r\n", NO_HEX),
		BAD("5,5\r\nhello\r\n", NO_HEX),
		BAD("5.0\r\nhello\r\n", NO_HEX),
		BAD("5_\r\nhello\r\n", NO_HEX),
		BAD("\"5\"\r\nhello\r\n", NO_HEX),
		BAD("5\0\r\nhello\r\n", NO_HEX),
		BAD("5\xb2\r\nhello\r\n", NO_HEX),
		BAD("5\nhello\r\n", NO_HEX),
		BAD("5\rhello\r\n", 400, "a CR without LF behind a chunk size"),
		BAD("5\r\r\nhello\r\n", 400, "a CR without LF behind a chunk size"),
		BAD("0\r0\r\n", 400, "a CR without LF behind a chunk size"),
		BAD("5\r\nhello!\r\n0\r\n\r\n", TOO_LONG),
		BAD("5\r\nhello0\r\n\r\n", TOO_LONG),
		BAD("5\r\nhello\n0\r\n\r\n", TOO_LONG),
		BAD("5\r\nhello \r\n0\r\n\r\n", TOO_LONG),
		BAD("5\r\nhello\r0\r\n\r\n", 400, "a CR without LF behind a chunk"),
		BAD("5\r\nhello\r\r\n0\r\n\r\n", 400, "a CR without LF behind a chunk"),
		BAD("5\r\nhello\r\n\r\n0\r\n\r\n", NO_HEX),
		BAD("4\r\nhello\r\n0\r\n\r\n", TOO_LONG),
		BAD("6\r\nhello\r\n0\r\n\r\n", TOO_LONG),
		BAD("8000000000000000\r\n", TOO_BIG),
		BAD("ffffffffffffffff\r\n", TOO_BIG),
		BAD("10000000000000000\r\n", TOO_BIG),
		BAD("10000000000000005\r\nhello\r\n", TOO_BIG), /* 5 modulo 2^64 */
		BAD("00000000000000005\r\nhello\r\n", TOO_BIG), /* 17 digits */
		BAD("fffffffffffffffffffffffffffffff\r\n", TOO_BIG),
	};
	CHECK(rows);
}

static void extensions(void **state)
{
	(void)state;
#define NO_EXT 400, "a chunk extension that is no name, or no name and value"
	static const struct row rows[] = {
		GOOD(EXT(";a"), "hello"),
		GOOD(EXT(";a=b"), "hello"),
		GOOD(EXT(";a;b;c=d"), "hello"),
		GOOD(EXT(";a=\"b\""), "hello"),
		GOOD(EXT(";a=\"\""), "hello"),
		GOOD(EXT(";a=\" ;\t=\\\"\\\\\xc3\xa9,\";b"), "hello"),
		GOOD(EXT(";!#$%&'*+-.^_`|~=1"), "hello"),
		GOOD("5\r\nhello\r\n0;last=yes\r\n\r\n", "hello"),

		BAD(EXT(";"), NO_EXT),
		BAD(EXT(";;a"), NO_EXT),
		BAD(EXT(";a;"), NO_EXT),
		BAD(EXT(";=b"), NO_EXT),
		BAD(EXT(";a="), NO_EXT),
		BAD(EXT(";a=;b"), NO_EXT),
		BAD(EXT(";a=b=c"), NO_EXT),
		BAD(EXT("; a"), NO_EXT),
		BAD(EXT(";a "), NO_EXT),
		BAD(EXT(";a =b"), NO_EXT),
		BAD(EXT(";a= b"), NO_EXT),
		BAD(EXT(";a=b "), NO_EXT),
		BAD(EXT(";\ta"), NO_EXT),
		BAD(EXT(";a,b"), NO_EXT),
		BAD(EXT(";\"a\""), NO_EXT),
		BAD(EXT(";a=b\"c\""), NO_EXT),
		BAD(EXT(";a=\"b\"c"), NO_EXT),
		BAD(EXT(";a=\"b\"\"c\""), NO_EXT),
		BAD(EXT(";a=\"b\"=c"), NO_EXT),
		BAD(EXT(";a=\"b"), NO_EXT),
		BAD(EXT(";a=\"b\\"), NO_EXT),
		BAD(EXT(";a=\"\0\""), NO_EXT),
		BAD(EXT(";a=\"\\\x01\""), NO_EXT),
		BAD(EXT(";a=\"\x7f\""), NO_EXT),
		BAD(EXT(";a\0"), NO_EXT),
		BAD(EXT(";a\x80"), NO_EXT),
		BAD(EXT(";a=\x80"), NO_EXT),
		BAD(EXT(";a\n"), NO_EXT),
		BAD(EXT(";a=\"\n\""), NO_EXT),
		BAD(EXT(";a\r"), 400, "a CR without LF behind a chunk size"),
		BAD(EXT(" ;a"), NO_HEX),
	};
	CHECK(rows);
}

static void trailers(void **state)
{
	(void)state;
#define T60 "X: 34567890123456789012345678901234567890123456789012345678"
	static const struct row rows[] = {
		GOOD(TRAILERS("X: y"), "hi|X: y"),
		GOOD(TRAILERS("X:\ty \r\nZ:"), "hi|X: y|Z: "),
		GOOD(TRAILERS("Digest: sha-256=x\r\nServer-Timing: a"),
		     "hi|Digest: sha-256=x|Server-Timing: a"),
		GOOD(TRAILERS("X: \x80\t\xff"), "hi|X: \x80\t\xff"),
		GOOD(TRAILERS("1:1\r\n2:2\r\n3:3\r\n4:4\r\n5:5"), "hi|1: 1|2: 2|3: 3|4: 4|5: 5"),
		GOOD(TRAILERS(T60 "0"), "hi|" T60 "0"),
		/* RFC 9110, 6.5.1: not passed on. */
		GOOD(TRAILERS("Content-Length: 5"), "hi"),
		GOOD(TRAILERS("Transfer-Encoding: chunked\r\nX: y"), "hi|X: y"),
		GOOD(TRAILERS("X: y\r\nHost: b\r\nZ: z"), "hi|X: y|Z: z"),
		GOOD(TRAILERS("Connection: close\r\nTE: x\r\nUpgrade: h2c"), "hi"),
		GOOD(TRAILERS("X-Forwarded-For: 1.2.3.4\r\nX-Weir-Lift: t\r\nCookie: a\r\nSet-Cookie: a"),
		     "hi"),
		GOOD(TRAILERS("Content_Length: 5\r\nX_Real_IP: 1\r\nx_y: z"), "hi|x_y: z"),

		BAD(TRAILERS("X : y"), 400, "a space before the colon of a field"),
		BAD(TRAILERS("Content-Length : 5"), 400, "a space before the colon of a field"),
		BAD(TRAILERS(" X: y"), 400, "a folded field line"),
		BAD(TRAILERS("X: y\r\n z"), 400, "a folded field line"),
		BAD(TRAILERS("X"), 400, "a field line without a colon"),
		BAD(TRAILERS(": y"), 400, "a field without a name"),
		BAD(TRAILERS("X Y: z"), 400, "a byte that no field name may have"),
		BAD(TRAILERS("GET / HTTP/1.1"), 400, "a field line without a colon"),
		BAD(TRAILERS("X: \0"), 400, "a NUL byte"),
		BAD(TRAILERS("X: \x7f"), 400, "a control byte"),
		BAD(TRAILERS("X: y\nZ: z"), 400, "a line that ends in LF without CR"),
		BAD(TRAILERS("X: y\rZ: z"), 400, "a CR without LF"),
		BAD("0\r\n\n", 400, "a line that ends in LF without CR"),
		BAD("0\r\n\rX", 400, "a CR without LF"),
		BAD(TRAILERS(T60 "01"), 431, "trailers that are too long"),
		BAD(TRAILERS("Cookie: 0123456789012345678901234567890123456789012345678901234567890"), 431,
		    "trailers that are too long"),
		BAD(TRAILERS("1:1\r\n2:2\r\n3:3\r\n4:4\r\n5:5\r\n6:6"), 431, "too many trailers"),
		BAD(TRAILERS("Te:1\r\nTe:2\r\nTe:3\r\nTe:4\r\nTe:5\r\nTe:6"), 431, "too many trailers"),
		BAD(TRAILERS(T60 "\r\n" T60 "\r\n" T60 "\r\n" T60), 431, "trailers that are too long"),
	};
	CHECK(rows);
}

static void what_follows_is_left(void **state)
{
	(void)state;
	static struct unchunked u;
	static const char text[] = "2\r\nhi\r\n0\r\nX: y\r\n\r\nGET / HTTP/1.1\r\n";

	assert_null(unchunk_splits(&limits, text, sizeof(text) - 1, &u));
	assert_int_equal(u.end, BODY_END);
	assert_string_equal(text + u.used, "GET / HTTP/1.1\r\n");
}

/* Cut anywhere, a body is neither at its end nor bad. */
static void cut_short(void **state)
{
	(void)state;
	static struct unchunked u;
	static const char text[] = "5;a=\"b\\\"\";c\r\nhello\r\n0;d\r\nX: y\r\n\r\n";

	for (size_t n = 0; n < sizeof(text) - 1; n++) {
		assert_null(unchunk_splits(&limits, text, n, &u));
		assert_int_equal(u.end, BODY_MORE);
	}
}

static void extensions_are_bounded(void **state)
{
	(void)state;
	static struct unchunked u;
	static char text[20000];
	size_t n = 0;

	/* `;x` and the CR are three bytes a chunk: 1365 of them, and 1 byte more, fit. */
	for (unsigned i = 0; i < 1365; i++)
		n += (size_t)sprintf(text + n, "1;x\r\na\r\n");
	size_t before = n;
	n += (size_t)sprintf(text + n, "0\r\n\r\n");
	assert_null(unchunk(&limits, text, n, n, &u));
	assert_int_equal(u.end, BODY_END);
	n = before + (size_t)sprintf(text + before, "1;x\r\na\r\n0\r\n\r\n");
	assert_null(unchunk(&limits, text, n, n, &u));
	assert_int_equal(u.end, BODY_BAD);
	assert_string_equal(u.why, "too many bytes of chunk extensions");
	assert_null(unchunk(&limits, text, n, 7, &u));
	assert_int_equal(u.end, BODY_BAD);
	/* One long one. */
	memset(text, 'x', sizeof(text));
	memcpy(text, "1;", 2);
	assert_null(unchunk(&limits, text, 1 + 4096, 1 + 4096, &u));
	assert_int_equal(u.end, BODY_MORE);
	assert_null(unchunk(&limits, text, 1 + 4097, 1 + 4097, &u));
	assert_int_equal(u.end, BODY_BAD);
}

/* A chunk larger than memory: only what is there is handed out, and counted. */
static void large_chunk(void **state)
{
	(void)state;
	struct h1_chunked c;
	struct str out;
	size_t used;
	char data[1000];

	memset(data, 'd', sizeof(data));
	h1_chunked_init(&c, &limits);
	assert_int_equal(h1_chunked_step(&c, "7fffffffffffffff\r\n", 18, &used, &out), BODY_MORE);
	assert_int_equal(used, 18);
	for (int i = 1; i <= 5; i++) {
		assert_int_equal(h1_chunked_step(&c, data, sizeof(data), &used, &out), BODY_DATA);
		assert_int_equal(used, sizeof(data));
		assert_ptr_equal(out.p, data);
		assert_int_equal(out.n, sizeof(data));
		assert_int_equal(c.total, 1000 * i);
	}
	assert_int_equal(c.left, INT64_MAX - 5000);
}

static void the_end_stays(void **state)
{
	(void)state;
	struct h1_chunked c;
	struct str out;
	size_t used;

	h1_chunked_init(&c, &limits);
	assert_int_equal(h1_chunked_step(&c, "0\r\n\r\nmore", 9, &used, &out), BODY_END);
	assert_int_equal(used, 5);
	assert_int_equal(h1_chunked_step(&c, "more", 4, &used, &out), BODY_END);
	assert_int_equal(used, 0);
	h1_chunked_init(&c, &limits);
	assert_int_equal(h1_chunked_step(&c, "x", 1, &used, &out), BODY_BAD);
	assert_int_equal(h1_chunked_step(&c, "0\r\n\r\n", 5, &used, &out), BODY_BAD);
}

/* A trailer line that drips in is looked at once. */
static void drip_is_not_read_again(void **state)
{
	(void)state;
	static const struct h1_limits wide = {.line = 2000, .head = 4000, .fields = 5};
	static char line[1502];
	struct h1_chunked c;
	struct str out;
	size_t used;

	memset(line, 'v', sizeof(line));
	memcpy(line, "X:", 2);
	memcpy(line + 1500, "\r\n", 2);
	h1_chunked_init(&c, &wide);
	assert_int_equal(h1_chunked_step(&c, "0\r\n", 3, &used, &out), BODY_MORE);
	for (size_t n = 1; n < sizeof(line); n++) {
		assert_int_equal(h1_chunked_step(&c, line, n, &used, &out), BODY_MORE);
		assert_int_equal(used, 0);
		assert_true(c.clean + 1 >= n);
	}
	assert_int_equal(h1_chunked_step(&c, line, sizeof(line), &used, &out), BODY_TRAILER);
	assert_int_equal(used, sizeof(line));
	assert_int_equal(c.value.n, 1498);
}

static void headers_are_written(void **state)
{
	(void)state;
	static const uint64_t sizes[] = {0,
					 1,
					 9,
					 10,
					 15,
					 16,
					 255,
					 256,
					 4095,
					 4096,
					 65535,
					 0xdeadbeef,
					 1ULL << 32,
					 INT64_MAX,
					 1ULL << 63,
					 UINT64_MAX,
					 0x0123456789abcdefULL};
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		char expected[40], out[H1_CHUNK_HEADER_MAX];
		int n = snprintf(expected, sizeof(expected), "%" PRIx64 "\r\n", sizes[i]);
		assert_int_equal(h1_chunk_header(out, sizes[i]), n);
		assert_memory_equal(out, expected, (size_t)n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chunks),
		cmocka_unit_test(extensions),
		cmocka_unit_test(trailers),
		cmocka_unit_test(what_follows_is_left),
		cmocka_unit_test(cut_short),
		cmocka_unit_test(extensions_are_bounded),
		cmocka_unit_test(large_chunk),
		cmocka_unit_test(the_end_stays),
		cmocka_unit_test(drip_is_not_read_again),
		cmocka_unit_test(headers_are_written),
	};
	return cmocka_run_group_tests_name("h1_body", tests, NULL, NULL);
}
