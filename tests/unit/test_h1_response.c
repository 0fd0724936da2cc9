/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "tests/unit/h1_check.h"

static const struct h1_limits limits = {.line = 400, .head = 4000, .fields = 100};

/* A head in one line: status `reason` framing [words]. */
static void describe(const struct h1_head *h, const char *buf, char *out, size_t room)
{
	char framing[40] = "", timeout[40] = "";

	switch (h->framing) {
	case H1_FRAMING_NONE:
		snprintf(framing, sizeof(framing), "none");
		break;
	case H1_FRAMING_LENGTH:
		snprintf(framing, sizeof(framing), "%llu", (unsigned long long)h->content_length);
		break;
	case H1_FRAMING_CHUNKED:
		snprintf(framing, sizeof(framing), "chunked");
		break;
	case H1_FRAMING_UNTIL_CLOSE:
		snprintf(framing, sizeof(framing), "until-close");
	}
	if (h->keep_alive_s)
		snprintf(timeout, sizeof(timeout), " timeout=%u", (unsigned)h->keep_alive_s);
	snprintf(out, room, "%u `%.*s` %s%s%s%s%s", h->status, (int)h->reason.n, buf + h->reason.at, framing,
		 h->keep_alive ? " keep" : "", h->version_minor ? "" : " 1.0",
		 h->connection_upgrade ? " upgrade" : "", timeout);
}

struct row {
	const char *bytes;
	size_t n;
	enum http_method asked;
	bool bad;
	const char *expected; /* the description, or why it is refused */
};

#define GOOD(text, expected)                                                                                 \
	{                                                                                                    \
		text, sizeof(text) - 1, METHOD_GET, false, expected                                          \
	}
#define HEAD(text, expected)                                                                                 \
	{                                                                                                    \
		text, sizeof(text) - 1, METHOD_HEAD, false, expected                                         \
	}
#define BAD(text, why)                                                                                       \
	{                                                                                                    \
		text, sizeof(text) - 1, METHOD_GET, true, why                                                \
	}
#define LINE(line) line "\r\nContent-Length: 0\r\n\r\n"
#define OK(lines) "HTTP/1.1 200 OK\r\n" lines "\r\n\r\n"
#define EMPTY(lines) "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" lines "\r\n\r\n"

static void check_rows(const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct row *row = &rows[i];
		struct check_kind kind = {.response = true, .asked = row->asked, .limits = &limits};
		struct checked c;
		char said[600] = "";
		const char *why = check_splits(&kind, row->bytes, row->n, &c);
		if (c.result == H1_DONE)
			describe(&c.head, row->bytes, said, sizeof(said));
		else if (c.result == H1_BAD)
			snprintf(said, sizeof(said), "%s", c.head.why ? c.head.why : "");
		if (why)
			fail_msg("%s for %.*s", why, (int)row->n, row->bytes);
		if (c.result != (row->bad ? H1_BAD : H1_DONE) || strcmp(said, row->expected) != 0)
			fail_msg("%.*s\ngave %d `%s` instead of `%s`", (int)row->n, row->bytes, c.result,
				 said, row->expected);
		if (row->bad)
			assert_int_equal(c.head.error, 502);
	}
}

#define CHECK(rows) check_rows(rows, sizeof(rows) / sizeof((rows)[0]))

static void status_lines(void **state)
{
	(void)state;
#define NO_STATUS "a response that does not begin with HTTP/1.x and a status"
#define NOT_THREE "a status that is not three digits"
	static const struct row rows[] = {
		GOOD(LINE("HTTP/1.1 200 OK"), "200 `OK` 0 keep"),
		GOOD(LINE("HTTP/1.1 200 "), "200 `` 0 keep"),
		GOOD(LINE("HTTP/1.1 200"), "200 `` 0 keep"),
		GOOD(LINE("HTTP/1.1 404 Not Found"), "404 `Not Found` 0 keep"),
		GOOD(LINE("HTTP/1.1 200  two  spaces "), "200 ` two  spaces ` 0 keep"),
		GOOD(LINE("HTTP/1.1 200 a\tb"), "200 `a\tb` 0 keep"),
		GOOD(LINE("HTTP/1.1 200 \xc3\xa9"), "200 `\xc3\xa9` 0 keep"),
		GOOD(LINE("HTTP/1.1 100 Continue"), "100 `Continue` none keep"),
		GOOD(LINE("HTTP/1.1 999 x"), "999 `x` 0 keep"),
		GOOD(LINE("HTTP/1.0 200 OK"), "200 `OK` 0 1.0"),
		GOOD(LINE("HTTP/1.2 200 OK"), "200 `OK` 0 keep"),
		GOOD(LINE("HTTP/1.9 200 OK"), "200 `OK` 0 keep"),

		BAD(LINE("HTTP/2.0 200 OK"), NO_STATUS),
		BAD(LINE("HTTP/0.9 200 OK"), NO_STATUS),
		BAD(LINE("HTTP/1.10 200 OK"), NO_STATUS),
		BAD(LINE("HTTP/1 200 OK"), NO_STATUS),
		BAD(LINE("HTTP/1. 200 OK"), NO_STATUS),
		BAD(LINE("HTTP/11.1 200 OK"), NO_STATUS),
		BAD(LINE("http/1.1 200 OK"), NO_STATUS),
		BAD(LINE("HTTP 200 OK"), NO_STATUS),
		BAD(LINE("ICY 200 OK"), NO_STATUS),
		BAD(LINE("HTTP/1.1  200 OK"), NO_STATUS),
		BAD(LINE("HTTP/1.1\t200 OK"), NO_STATUS),
		BAD(LINE(" HTTP/1.1 200 OK"), NO_STATUS),
		BAD(LINE("HTTP/1.1 20 OK"), NO_STATUS),
		BAD(LINE("HTTP/1.1 2 OK"), NO_STATUS),
		BAD(LINE("HTTP/1.1 2x0 OK"), NO_STATUS),
		BAD(LINE("HTTP/1.1 +20 OK"), NO_STATUS),
		BAD(LINE("HTTP/1.1 -200 OK"), NO_STATUS),
		BAD(LINE("HTTP/1.1 OK"), NO_STATUS),
		BAD(LINE("GET / HTTP/1.1"), NO_STATUS),
		BAD(LINE("<html><body>"), NO_STATUS),
		BAD("\r\nHTTP/1.1 200 OK\r\n\r\n", "a status line that is too short"),
		BAD("\r\n\r\n", "a status line that is too short"),
		BAD(LINE("HTTP/1.1 20"), "a status line that is too short"),
		BAD(LINE("HTTP/1.1 "), "a status line that is too short"),
		BAD(LINE("HTTP/1.1"), "a status line that is too short"),
		BAD(LINE("HTTP"), "a status line that is too short"),
		BAD(LINE("HTTP/1.1 2000 OK"), NOT_THREE),
		BAD(LINE("HTTP/1.1 200OK"), NOT_THREE),
		BAD(LINE("HTTP/1.1 200\tOK"), NOT_THREE),
		BAD(LINE("HTTP/1.1 200.1 OK"), NOT_THREE),
		BAD(LINE("HTTP/1.1 099 x"), "a status below 100"),
		BAD(LINE("HTTP/1.1 000 x"), "a status below 100"),
		BAD(LINE("HTTP/1.1 00 x"), "a status below 100"), /* once two reasons, by how it came */
		BAD(LINE("HTTP/1.1 200 a\0b"), "a NUL byte"),
		BAD(LINE("HTTP/1.1 200 a\x7f"), "a control byte"),
		BAD(LINE("HTTP/1.1 200 a\x1b"), "a control byte"),
		BAD("HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", "a line that ends in LF without CR"),
		BAD("HTTP/1.1 200 OK\rContent-Length: 0\r\n\r\n", "a CR without LF"),
		BAD("HTTP/1.1 200 OK\r\r\nContent-Length: 0\r\n\r\n", "a CR without LF"),
		BAD("\x15\x03\x01\x00\x02\x02\x28", "a control byte"), /* an alert of TLS */
		BAD("H\0", "a NUL byte"),
	};
	CHECK(rows);
}

static void framing(void **state)
{
	(void)state;
#define NO_LENGTH "a Content-Length that is not one number up to 2^63-1"
#define TWICE "a field that may come only once came twice"
#define BOTH "both Content-Length and Transfer-Encoding"
#define OTHER_CODING "a transfer coding other than chunked"
#define NO_BODY "a body announced by a status that has none"
	static const struct row rows[] = {
		GOOD(OK("Content-Length: 5"), "200 `OK` 5 keep"),
		GOOD(OK("Content-Length:\t5\t"), "200 `OK` 5 keep"),
		GOOD(OK("Content-Length: 9223372036854775807"), "200 `OK` 9223372036854775807 keep"),
		GOOD(OK("Transfer-Encoding: chunked"), "200 `OK` chunked keep"),
		GOOD(OK("transfer-encoding:\tChunked "), "200 `OK` chunked keep"),
		GOOD(OK("X: y"), "200 `OK` until-close"),
		GOOD("HTTP/1.1 200 OK\r\n\r\n", "200 `OK` until-close"),
		GOOD(OK("Connection: keep-alive"), "200 `OK` until-close"),
		GOOD("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", "200 `OK` until-close 1.0"),
		GOOD("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", "200 `OK` 5 1.0"),
		GOOD("HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n",
		     "200 `OK` 5 keep 1.0"),

		GOOD("HTTP/1.1 204 No Content\r\n\r\n", "204 `No Content` none keep"),
		GOOD("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", "204 `No Content` none keep"),
		GOOD("HTTP/1.1 304 Not Modified\r\n\r\n", "304 `Not Modified` none keep"),
		GOOD("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
		     "304 `Not Modified` none keep"),
		GOOD("HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
		     "304 `Not Modified` none keep"),
		GOOD("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", "103 `Early Hints` none keep"),
		GOOD("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
		     "101 `Switching Protocols` none keep upgrade"),
		GOOD("HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n", "205 `Reset Content` 0 keep"),
		HEAD(OK("Content-Length: 5"), "200 `OK` none keep"),
		HEAD(OK("Transfer-Encoding: chunked"), "200 `OK` none keep"),
		HEAD(OK("X: y"), "200 `OK` none keep"),

		BAD("HTTP/1.1 204 x\r\nContent-Length: 5\r\n\r\n", NO_BODY),
		BAD("HTTP/1.1 204 x\r\nTransfer-Encoding: chunked\r\n\r\n", NO_BODY),
		BAD("HTTP/1.1 100 x\r\nContent-Length: 5\r\n\r\n", NO_BODY),
		BAD("HTTP/1.1 101 x\r\nTransfer-Encoding: chunked\r\n\r\n", NO_BODY),
		BAD(OK("Content-Length: 5\r\nContent-Length: 5"), TWICE),
		BAD(OK("Content-Length: 5\r\nContent-Length: 6"), TWICE),
		BAD(OK("Content-Length: 5, 5"), NO_LENGTH),
		BAD(OK("Content-Length: +5"), NO_LENGTH),
		BAD(OK("Content-Length: -5"), NO_LENGTH),
		BAD(OK("Content-Length:"), NO_LENGTH),
		BAD(OK("Content-Length: 5 "
		       "6"),
		    NO_LENGTH),
		BAD(OK("Content-Length: 9223372036854775808"), NO_LENGTH),
		BAD(OK("Content-Length: 18446744073709551617"), NO_LENGTH),
		BAD(OK("Content-Length: 5\r\nTransfer-Encoding: chunked"), BOTH),
		BAD(OK("Transfer-Encoding: chunked\r\nContent-Length: 5"), BOTH),
		BAD("HTTP/1.1 304 x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", BOTH),
		BAD("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
		    "a Transfer-Encoding in HTTP/1.0"),
		BAD(OK("Transfer-Encoding: gzip"), OTHER_CODING),
		BAD(OK("Transfer-Encoding: gzip, chunked"), OTHER_CODING),
		BAD(OK("Transfer-Encoding: chunked, chunked"), OTHER_CODING),
		BAD(OK("Transfer-Encoding: identity"), OTHER_CODING),
		BAD(OK("Transfer-Encoding: chunked,"), OTHER_CODING),
		BAD(OK("Transfer-Encoding:"), OTHER_CODING),
		BAD(OK("Transfer-Encoding: xchunked"), OTHER_CODING),
		BAD(OK("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), TWICE),
		BAD(OK("Transfer-Encoding : chunked"), "a space before the colon of a field"),
		BAD(OK("Content-Length : 5"), "a space before the colon of a field"),
	};
	CHECK(rows);
	struct row head_bad = BAD(OK("Content-Length: x"), NO_LENGTH);
	head_bad.asked = METHOD_HEAD;
	check_rows(&head_bad, 1);
}

static void fields(void **state)
{
	(void)state;
	static const struct row rows[] = {
		GOOD(EMPTY("Set-Cookie: a=b\r\nSet-Cookie: c=d"), "200 `OK` 0 keep"),
		GOOD(EMPTY("X_Forwarded_For: x"), "200 `OK` 0 keep"), /* no CGI reads a response */
		GOOD(EMPTY("X: \x80\xff\t"), "200 `OK` 0 keep"),
		GOOD(EMPTY("Host: a\r\nX:"), "200 `OK` 0 keep"),
		BAD(EMPTY("X: y\r\n z"), "a folded field line"),
		BAD(EMPTY(" X: y"), "a folded field line"),
		BAD(EMPTY("X"), "a field line without a colon"),
		BAD(EMPTY(": x"), "a field without a name"),
		BAD(EMPTY("X Y: z"), "a byte that no field name may have"),
		BAD(EMPTY("X: a\0b"), "a NUL byte"),
		BAD(EMPTY("X: a\rb"), "a CR without LF"),
		BAD(EMPTY("X: a\nY: b"), "a line that ends in LF without CR"),
		BAD(EMPTY("X: a\x01"), "a control byte"),
		BAD("HTTP/1.1 200 OK\r\nX: y\n\n", "a line that ends in LF without CR"),
	};
	CHECK(rows);
}

static void connections(void **state)
{
	(void)state;
	static const struct row rows[] = {
		GOOD(EMPTY("Connection: close"), "200 `OK` 0"),
		GOOD(EMPTY("Connection: Keep-Alive"), "200 `OK` 0 keep"),
		GOOD(EMPTY("Connection: keep-alive, close"), "200 `OK` 0"),
		GOOD(EMPTY("Connection: keep-alive\r\nConnection: CLOSE"), "200 `OK` 0"),
		GOOD(EMPTY("Connection: upgrade"), "200 `OK` 0 keep upgrade"),
		/* Not to be understood: served, and not used again. */
		GOOD(EMPTY("Connection: keep-alive;timeout=5"), "200 `OK` 0"),
		GOOD(EMPTY("Connection: \"close\""), "200 `OK` 0"),
		GOOD(EMPTY("Keep-Alive: timeout=5"), "200 `OK` 0 keep timeout=5"),
		GOOD(EMPTY("Keep-Alive: timeout=5, max=100"), "200 `OK` 0 keep timeout=5"),
		GOOD(EMPTY("Keep-Alive: max=100,Timeout=5"), "200 `OK` 0 keep timeout=5"),
		GOOD(EMPTY("Keep-Alive: timeout=4294967295"), "200 `OK` 0 keep timeout=4294967295"),
		GOOD(EMPTY("Keep-Alive: timeout=4294967296"), "200 `OK` 0 keep"),
		GOOD(EMPTY("Keep-Alive: timeout=99999999999999999999"), "200 `OK` 0 keep"),
		GOOD(EMPTY("Keep-Alive: timeout=0"), "200 `OK` 0"),
		GOOD(EMPTY("Keep-Alive: timeout="), "200 `OK` 0 keep"),
		GOOD(EMPTY("Keep-Alive: timeout"), "200 `OK` 0 keep"),
		GOOD(EMPTY("Keep-Alive: timeout=5x"), "200 `OK` 0 keep"),
		GOOD(EMPTY("Keep-Alive: timeout=-5"), "200 `OK` 0 keep"),
		GOOD(EMPTY("Keep-Alive: 5"), "200 `OK` 0 keep"),
		GOOD(EMPTY("Keep-Alive:"), "200 `OK` 0 keep"),
		GOOD(EMPTY("Keep-Alive: t,timeout=7"), "200 `OK` 0 keep timeout=7"),
		GOOD(EMPTY("Connection: close\r\nKeep-Alive: timeout=7"), "200 `OK` 0 timeout=7"),
	};
	CHECK(rows);
}

static void long_ones(void **state)
{
	(void)state;
	static char text[6000];
	struct check_kind kind = {.response = true, .limits = &limits};
	static const struct {
		size_t reason, value;
		unsigned fields;
		const char *why;
	} rows[] = {
		{387, 398, 1, NULL},
		{388, 398, 1, "a line that is too long"},
		{387, 399, 1, "a line that is too long"},
		{2, 1, 100, NULL},
		{2, 1, 101, "too many fields"},
		{2, 390, 11, "a head that is too long"},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct checked c;
		size_t n = (size_t)sprintf(text, "HTTP/1.1 200 ");
		memset(text + n, 'r', rows[i].reason);
		n += rows[i].reason;
		for (unsigned f = 0; f < rows[i].fields; f++) {
			n += (size_t)sprintf(text + n, "\r\nX:");
			memset(text + n, 'v', rows[i].value);
			n += rows[i].value;
		}
		n += (size_t)sprintf(text + n, "\r\n\r\n");
		assert_null(check_splits(&kind, text, n, &c));
		assert_int_equal(c.result, rows[i].why ? H1_BAD : H1_DONE);
		if (rows[i].why)
			assert_string_equal(c.head.why, rows[i].why);
	}
}

/* An interim head ends where the next one begins; nothing of the next is read. */
static void interim(void **state)
{
	(void)state;
	static const char text[] =
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
	struct check_kind kind = {.response = true, .limits = &limits};
	struct checked c;

	assert_null(check_splits(&kind, text, sizeof(text) - 1, &c));
	assert_int_equal(c.result, H1_DONE);
	assert_int_equal(c.head.status, 100);
	assert_int_equal(c.head.length, 25);
	size_t at = c.head.length;
	assert_null(check_splits(&kind, text + at, sizeof(text) - 1 - at, &c));
	assert_int_equal(c.head.status, 200);
	assert_int_equal(c.head.content_length, 2);
	assert_true(str_eq(h1_text(text + at, c.head.reason), STR("OK")));
	assert_string_equal(text + at + c.head.length, "ok");
}

/* What is no response is refused by its first bytes, not at a timeout. */
static void refused_at_once(void **state)
{
	(void)state;
	static const struct {
		const char *bytes;
		size_t n;
	} rows[] = {{"<", 1},		{"HTTP/2", 6}, {"SSH-", 1}, {"HTTP/1.1 2x", 11},
		    {"HTTP/1.1 0", 10}, {"\x15", 1},   {"\n", 1}};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct check_kind kind = {.response = true, .limits = &limits};
		struct checked c;
		check_init(&c);
		check_feed(&c, &kind, rows[i].bytes, rows[i].n - 1);
		assert_int_equal(c.result, H1_MORE);
		check_feed(&c, &kind, rows[i].bytes, rows[i].n);
		assert_int_equal(c.result, H1_BAD);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(status_lines),	   cmocka_unit_test(framing),	cmocka_unit_test(fields),
		cmocka_unit_test(connections),	   cmocka_unit_test(long_ones), cmocka_unit_test(interim),
		cmocka_unit_test(refused_at_once),
	};
	return cmocka_run_group_tests_name("h1_response", tests, NULL, NULL);
}
