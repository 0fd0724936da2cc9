/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "tests/unit/h1_check.h"

static const struct h1_limits limits = {.line = 400, .head = 4000, .fields = 100};
static const struct check_kind kind = {.limits = &limits};

/*
 * A head in one line: method form path [?query] @host[:port] framing [words], where form is O(rigin),
 * A(bsolute), U (authority) or *.
 */
static void describe(const struct h1_head *h, const char *buf, char *out, size_t room)
{
	static const char form[] = {[H1_TARGET_ORIGIN] = 'O',
				    [H1_TARGET_ABSOLUTE] = 'A',
				    [H1_TARGET_AUTHORITY] = 'U',
				    [H1_TARGET_ASTERISK] = '*'};
	char port[16] = "", framing[40] = "none";

	if (h->host_port >= 0)
		snprintf(port, sizeof(port), ":%d", (int)h->host_port);
	if (h->framing == H1_FRAMING_LENGTH)
		snprintf(framing, sizeof(framing), "%llu", (unsigned long long)h->content_length);
	else if (h->framing == H1_FRAMING_CHUNKED)
		snprintf(framing, sizeof(framing), "chunked");
	snprintf(out, room, "%.*s %c %.*s%s%.*s @%.*s%s %s%s%s%s%s", (int)h->method_text.n,
		 buf + h->method_text.at, form[h->form], (int)h->path.n, buf + h->path.at,
		 h->has_query ? "?" : "", (int)h->query.n, buf + h->query.at, (int)h->host.n,
		 buf + h->host.at, port, framing, h->keep_alive ? " keep" : "",
		 h->version_minor ? "" : " 1.0", h->connection_upgrade ? " upgrade" : "",
		 h->expect_continue ? " expect" : "");
}

struct row {
	const char *bytes;
	size_t n;
	unsigned error;
	const char *expected; /* the description, or why it is refused */
};

#define GOOD(text, expected)                                                                                 \
	{                                                                                                    \
		text, sizeof(text) - 1, 0, expected                                                          \
	}
#define BAD(text, ...)                                                                                       \
	{                                                                                                    \
		text, sizeof(text) - 1, __VA_ARGS__                                                          \
	}
/* A request line with sound fields; fields with a sound request line. */
#define LINE(line) line "\r\nHost: a\r\n\r\n"
#define FIELDS(lines) "GET / HTTP/1.1\r\nHost: a\r\n" lines "\r\n\r\n"
#define POST(lines) "POST / HTTP/1.1\r\nHost: a\r\n" lines "\r\n\r\n"
#define HOST(value) "GET / HTTP/1.1\r\nHost:" value "\r\n\r\n"

static void check_row(const struct row *row, struct checked *c)
{
	char said[600] = "";
	const char *why = check_splits(&kind, row->bytes, row->n, c);

	if (c->result == H1_DONE)
		describe(&c->head, row->bytes, said, sizeof(said));
	else if (c->result == H1_BAD)
		snprintf(said, sizeof(said), "%s", c->head.why);
	if (why)
		fail_msg("%s for %.*s", why, (int)row->n, row->bytes);
	if (c->result != (row->error ? H1_BAD : H1_DONE) || strcmp(said, row->expected) != 0)
		fail_msg("%.*s\ngave %d `%s` instead of `%s`", (int)row->n, row->bytes, c->result, said,
			 row->expected);
	if (row->error)
		assert_int_equal(c->head.error, row->error);
	else
		assert_int_equal(c->head.length, row->n);
}

static void check_rows(const struct row *rows, size_t n)
{
	struct checked c;

	for (size_t i = 0; i < n; i++)
		check_row(&rows[i], &c);
}

#define CHECK(rows) check_rows(rows, sizeof(rows) / sizeof((rows)[0]))

static void request_lines(void **state)
{
	(void)state;
	static const struct row rows[] = {
		GOOD(LINE("GET / HTTP/1.1"), "GET O / @a none keep"),
		GOOD(LINE("GET /index.html HTTP/1.1"), "GET O /index.html @a none keep"),
		GOOD(LINE("HEAD / HTTP/1.1"), "HEAD O / @a none keep"),
		GOOD(LINE("POST / HTTP/1.1"), "POST O / @a none keep"),
		GOOD(LINE("PUT / HTTP/1.1"), "PUT O / @a none keep"),
		GOOD(LINE("DELETE / HTTP/1.1"), "DELETE O / @a none keep"),
		GOOD(LINE("PATCH / HTTP/1.1"), "PATCH O / @a none keep"),
		GOOD(LINE("OPTIONS / HTTP/1.1"), "OPTIONS O / @a none keep"),
		GOOD(LINE("TRACE / HTTP/1.1"), "TRACE O / @a none keep"),
		GOOD(LINE("X / HTTP/1.1"), "X O / @a none keep"),
		GOOD(LINE("get / HTTP/1.1"), "get O / @a none keep"),
		GOOD(LINE("GETS / HTTP/1.1"), "GETS O / @a none keep"),
		GOOD(LINE("M-SEARCH / HTTP/1.1"), "M-SEARCH O / @a none keep"),
		GOOD(LINE("!#$%&'*+-.^_`|~09azAZ / HTTP/1.1"), "!#$%&'*+-.^_`|~09azAZ O / @a none keep"),
		GOOD(LINE("ABCDEFGHIJKLMNOPQRSTUVWXYZ012345 / HTTP/1.1"),
		     "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345 O / @a none keep"),
		GOOD("\r\n" LINE("GET / HTTP/1.1"), "GET O / @a none keep"),
		GOOD(LINE("GET /?q HTTP/1.1"), "GET O /?q @a none keep"),
		GOOD(LINE("GET /? HTTP/1.1"), "GET O /? @a none keep"),
		GOOD(LINE("GET /a?b?c=d/e HTTP/1.1"), "GET O /a?b?c=d/e @a none keep"),
		GOOD(LINE("GET //double//slashes/ HTTP/1.1"), "GET O //double//slashes/ @a none keep"),
		GOOD(LINE("GET /..;/a\\b%2e%00%zz HTTP/1.1"), "GET O /..;/a\\b%2e%00%zz @a none keep"),
		GOOD(LINE("GET /a[0]={\"x\"|y^z`<>} HTTP/1.1"), "GET O /a[0]={\"x\"|y^z`<>} @a none keep"),
		GOOD(LINE("GET /http://b/ HTTP/1.1"), "GET O /http://b/ @a none keep"),
		GOOD(LINE("GET /HTTP/1.1 HTTP/1.1"), "GET O /HTTP/1.1 @a none keep"),
		GOOD(LINE("GET /0123456789/0123456789/0123456789/0123456789?0123456789012345678901234567890 "
			  "HTTP/1.1"),
		     "GET O /0123456789/0123456789/0123456789/0123456789?0123456789012345678901234567890 @a "
		     "none keep"),
		GOOD(LINE("GET / HTTP/1.2"), "GET O / @a none keep"),
		GOOD(LINE("GET / HTTP/1.9"), "GET O / @a none keep"),
		GOOD(LINE("GET / HTTP/1.0"), "GET O / @a none 1.0"),

		BAD(LINE("GET / HTTP/2.0"), 505, "a version of HTTP other than 1.x"),
		BAD(LINE("GET / HTTP/0.9"), 505, "a version of HTTP other than 1.x"),
		BAD(LINE("GET / HTTP/3.1"), 505, "a version of HTTP other than 1.x"),
		BAD("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "a version of HTTP other than 1.x"),
#define NO_VERSION 400, "a request line without a valid version at its end"
		BAD(LINE("GET /"), NO_VERSION),
		BAD(LINE("GET / "), NO_VERSION),
		BAD(LINE("GET"), NO_VERSION),
		BAD(LINE("G"), NO_VERSION),
		BAD(LINE("GET / HTTP/1.10"), NO_VERSION),
		BAD(LINE("GET / HTTP/1.32"), NO_VERSION),
		BAD(LINE("GET / HTTP/11.1"), NO_VERSION),
		BAD(LINE("GET / HTTP/01.1"), NO_VERSION),
		BAD(LINE("GET / HTTP/1.01"), NO_VERSION),
		BAD(LINE("GET / HTTP/1."), NO_VERSION),
		BAD(LINE("GET / HTTP/1"), NO_VERSION),
		BAD(LINE("GET / HTTP/.1"), NO_VERSION),
		BAD(LINE("GET / HTTP/1.1 "), NO_VERSION),
		BAD(LINE("GET / HTTP/1,1"), NO_VERSION),
		BAD(LINE("GET / HTTP/1.x"), NO_VERSION),
		BAD(LINE("GET / HTTP/x.1"), NO_VERSION),
		BAD(LINE("GET / HTTP/+1.1"), NO_VERSION),
		BAD(LINE("GET / HTTP-1.1"), NO_VERSION),
		BAD(LINE("GET / http/1.1"), NO_VERSION),
		BAD(LINE("GET / Http/1.1"), NO_VERSION),
		BAD(LINE("GET / HTTPS/1.1"), NO_VERSION),
		BAD(LINE("GET / XHTTP/1.1"), NO_VERSION),
		BAD(LINE("GET /HTTP/1.1"), NO_VERSION),
		BAD(LINE("GET/ HTTP/1.1"), 400, "a byte that no method may have"),
		BAD(LINE("SSH-2.0-OpenSSH_9.2"), NO_VERSION),
		BAD(LINE("GET HTTP/1.1"), NO_VERSION),
		BAD(LINE("GET  HTTP/1.1"), 400, "a request line without a target"),
		BAD(LINE("GET  / HTTP/1.1"), 400, "a target that is neither a path nor an http or https URI"),
		BAD(LINE("GET /  HTTP/1.1"), 400, "a space in the target"),
		BAD(LINE("GET /a b HTTP/1.1"), 400, "a space in the target"),
		BAD(LINE("GET /a?b c HTTP/1.1"), 400, "a space in the target"),
		BAD(LINE("GET / HTTP/1.1 HTTP/1.1"), 400, "a space in the target"),
		BAD(LINE("GET /#x HTTP/1.1"), 400, "a fragment in the target"),
		BAD(LINE("GET /?a#x HTTP/1.1"), 400, "a fragment in the target"),
		BAD(LINE("GET http://b/#x HTTP/1.1"), 400, "a fragment in the target"),
		BAD(LINE(" GET / HTTP/1.1"), 400, "a request line that does not begin with a method"),
		BAD(LINE("(GET) / HTTP/1.1"), 400, "a request line that does not begin with a method"),
		BAD(LINE("GE(T / HTTP/1.1"), 400, "a byte that no method may have"),
		BAD(LINE("GET:/ HTTP/1.1"), 400, "a byte that no method may have"),
		BAD(LINE("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456 / HTTP/1.1"), 501, "a method that is too long"),
		BAD(LINE("GET\t/ HTTP/1.1"), 400, "a control byte"),
		BAD(LINE("GET /\tHTTP/1.1"), 400, "a control byte"),
		BAD(LINE("GET /\v HTTP/1.1"), 400, "a control byte"),
		BAD(LINE("GET /\x7f HTTP/1.1"), 400, "a control byte"),
		BAD(LINE("GET /\0 HTTP/1.1"), 400, "a NUL byte"),
		BAD(LINE("GET /\xc3\xa9 HTTP/1.1"), 400, "a byte above 0x7f in the start line"),
		BAD(LINE("\xff / HTTP/1.1"), 400, "a byte above 0x7f in the start line"),
		BAD("GET / HTTP/1.1\nHost: a\r\n\r\n", 400, "a line that ends in LF without CR"),
		BAD("GET / HTTP/1.1\rHost: a\r\n\r\n", 400, "a CR without LF"),
		BAD("GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", 400, "a CR without LF"),
		BAD("GET /\r / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "a CR without LF"),
		BAD("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "a line that ends in LF without CR"),
		BAD("\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "a CR without LF"),
		BAD("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400,
		    "more than one empty line before the request line"),
		BAD("\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "a line that ends in LF without CR"),
		BAD("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400,
		    "a control byte"), /* a TLS ClientHello */
		BAD("\x80\x9e\x01\x03\x01", 400, "a byte above 0x7f in the start line"), /* of SSL 2 */
		BAD("\x05\x01\x00", 400, "a control byte"),				 /* SOCKS */
	};
	CHECK(rows);
}

static void targets(void **state)
{
	(void)state;
#define NO_URI 400, "a target that is neither a path nor an http or https URI"
#define NO_NAME 400, "a host that is empty, too long or not a name or address"
#define NO_HOST_BYTE 400, "a byte that no host may have"
#define NO_PORT 400, "a port that is not a number up to 65535"
	static const struct row rows[] = {
		GOOD(LINE("GET http://b/ HTTP/1.1"), "GET A / @b none keep"),
		GOOD(LINE("GET https://b/c?d HTTP/1.1"), "GET A /c?d @b none keep"),
		GOOD(LINE("GET HTTP://B:81/ HTTP/1.1"), "GET A / @B:81 none keep"),
		GOOD(LINE("GET hTtPs://b:/ HTTP/1.1"), "GET A / @b none keep"),
		GOOD(LINE("GET http://b HTTP/1.1"), "GET A / @b none keep"),
		GOOD(LINE("GET http://b:80 HTTP/1.1"), "GET A / @b:80 none keep"),
		GOOD(LINE("GET http://b?x HTTP/1.1"), "GET A /?x @b none keep"),
		GOOD(LINE("GET http://b? HTTP/1.1"), "GET A /? @b none keep"),
		GOOD(LINE("GET http://[::1]:81/ HTTP/1.1"), "GET A / @[::1]:81 none keep"),
		GOOD(LINE("GET http://b//c/@d:e HTTP/1.1"), "GET A //c/@d:e @b none keep"),
		GOOD(LINE("OPTIONS * HTTP/1.1"), "OPTIONS *  @a none keep"),
		GOOD(LINE("OPTIONS http://b:81 HTTP/1.1"), "OPTIONS *  @b:81 none keep"),
		GOOD(LINE("OPTIONS http://b/ HTTP/1.1"), "OPTIONS A / @b none keep"),
		GOOD(LINE("OPTIONS http://b?x HTTP/1.1"), "OPTIONS A /?x @b none keep"),
		GOOD(LINE("CONNECT b:443 HTTP/1.1"), "CONNECT U  @b:443 none keep"),
		GOOD(LINE("CONNECT [2001:db8::1]:443 HTTP/1.1"), "CONNECT U  @[2001:db8::1]:443 none keep"),
		GOOD("GET http://b/ HTTP/1.0\r\n\r\n", "GET A / @b none 1.0"),

		BAD(LINE("GET * HTTP/1.1"), 400, "a target `*` of another method than OPTIONS"),
		BAD(LINE("OPTIONS ** HTTP/1.1"), NO_URI),
		BAD(LINE("OPTIONS */ HTTP/1.1"), NO_URI),
		BAD(LINE("OPTIONS *?x HTTP/1.1"), NO_URI),
		BAD(LINE("GET b HTTP/1.1"), NO_URI),
		BAD(LINE("GET b:80 HTTP/1.1"), NO_URI),
		BAD(LINE("GET ?x HTTP/1.1"), NO_URI),
		BAD(LINE("GET .. HTTP/1.1"), NO_URI),
		BAD(LINE("GET \\\\b\\ HTTP/1.1"), NO_URI),
		BAD(LINE("GET ftp://b/ HTTP/1.1"), NO_URI),
		BAD(LINE("GET httpx://b/ HTTP/1.1"), NO_URI),
		BAD(LINE("GET ws://b/ HTTP/1.1"), NO_URI),
		BAD(LINE("GET javascript:alert(1) HTTP/1.1"), NO_URI),
		BAD(LINE("GET http:/b/ HTTP/1.1"), NO_URI),
		BAD(LINE("GET http:b HTTP/1.1"), NO_URI),
		BAD(LINE("GET http:// HTTP/1.1"), NO_URI),
		BAD(LINE("GET https:// HTTP/1.1"), NO_URI),
		BAD(LINE("GET http:/// HTTP/1.1"), NO_NAME),
		BAD(LINE("GET http:///b HTTP/1.1"), NO_NAME),
		BAD(LINE("GET http://?x HTTP/1.1"), NO_NAME),
		BAD(LINE("GET http://:80/ HTTP/1.1"), NO_NAME),
		BAD(LINE("GET http://u@b/ HTTP/1.1"), NO_HOST_BYTE),
		BAD(LINE("GET http://u:p@b/ HTTP/1.1"), NO_PORT),
		BAD(LINE("GET http://@b/ HTTP/1.1"), NO_NAME),
		BAD(LINE("GET http://b:80@c/ HTTP/1.1"), NO_PORT),
		BAD(LINE("GET http://b\\c/ HTTP/1.1"), NO_HOST_BYTE),
		BAD(LINE("GET http://b,c/ HTTP/1.1"), NO_HOST_BYTE),
		BAD(LINE("GET http://b%20/ HTTP/1.1"), NO_HOST_BYTE),
		BAD(LINE("GET http://b c/ HTTP/1.1"), NO_HOST_BYTE),
		BAD(LINE("GET http://b#c/ HTTP/1.1"), NO_HOST_BYTE),
		BAD(LINE("GET http://b:65536/ HTTP/1.1"), NO_PORT),
		BAD(LINE("GET http://[::1/ HTTP/1.1"), 400, "a host in brackets that is no IPv6 address"),
		BAD(LINE("CONNECT b HTTP/1.1"), 400, "a CONNECT without a port"),
		BAD(LINE("CONNECT b: HTTP/1.1"), 400, "a CONNECT without a port"),
		BAD(LINE("CONNECT / HTTP/1.1"), NO_NAME),
		BAD(LINE("CONNECT * HTTP/1.1"), NO_NAME),
		BAD(LINE("CONNECT http://b:80/ HTTP/1.1"), NO_PORT),
		BAD(LINE("CONNECT b:80/ HTTP/1.1"), NO_PORT),
		BAD(LINE("CONNECT u@b:80 HTTP/1.1"), NO_HOST_BYTE),
		BAD(LINE("CONNECT :80 HTTP/1.1"), NO_NAME),
		BAD("GET http://b/ HTTP/1.1\r\n\r\n", 400, "no Host"),
		BAD("GET http://b/ HTTP/1.1\r\nHost: a b\r\n\r\n", NO_HOST_BYTE),
		BAD("GET http://b/ HTTP/1.1\r\nHost:\r\n\r\n", NO_NAME),
	};
	CHECK(rows);
}

static void hosts(void **state)
{
	(void)state;
#define NO_IPV6 400, "a host in brackets that is no IPv6 address"
#define L63 "abcdefghijklmnopqrstuvwxyz-abcdefghijklmnopqrstuvwxyz-012345678"
	static const struct row rows[] = {
		GOOD(HOST(" example.com"), "GET O / @example.com none keep"),
		GOOD(HOST("example.com"), "GET O / @example.com none keep"),
		GOOD(HOST("\texample.com\t "), "GET O / @example.com none keep"),
		GOOD(HOST(" Example.COM:8080"), "GET O / @Example.COM:8080 none keep"),
		GOOD(HOST(" example.com."), "GET O / @example.com. none keep"),
		GOOD(HOST(" example.com.:80"), "GET O / @example.com.:80 none keep"),
		GOOD(HOST(" a_b-c.d"), "GET O / @a_b-c.d none keep"),
		GOOD(HOST(" -"), "GET O / @- none keep"),
		GOOD(HOST(" 127.0.0.1:8080"), "GET O / @127.0.0.1:8080 none keep"),
		GOOD(HOST(" a:"), "GET O / @a none keep"),
		GOOD(HOST(" a:0"), "GET O / @a:0 none keep"),
		GOOD(HOST(" a:00080"), "GET O / @a:80 none keep"),
		GOOD(HOST(" a:65535"), "GET O / @a:65535 none keep"),
		GOOD(HOST(" [::1]"), "GET O / @[::1] none keep"),
		GOOD(HOST(" [::]:1"), "GET O / @[::]:1 none keep"),
		GOOD(HOST(" [2001:DB8:0:1:2:3:4:5]:80"), "GET O / @[2001:DB8:0:1:2:3:4:5]:80 none keep"),
		GOOD(HOST(" [::ffff:192.0.2.1]"), "GET O / @[::ffff:192.0.2.1] none keep"),
		GOOD(HOST(" [2001:0db8:0000:0000:0000:0000:192.168.100.100]"),
		     "GET O / @[2001:0db8:0000:0000:0000:0000:192.168.100.100] none keep"),
		GOOD(HOST(" " L63 "." L63 "." L63 "." L63),
		     "GET O / @" L63 "." L63 "." L63 "." L63 " none keep"),
		GOOD("GET / HTTP/1.0\r\n\r\n", "GET O / @ none 1.0"),
		GOOD("GET / HTTP/1.0\r\nHost: a:1\r\n\r\n", "GET O / @a:1 none 1.0"),
		GOOD("GET / HTTP/1.1\r\nhOST: a\r\n\r\n", "GET O / @a none keep"),

		BAD("GET / HTTP/1.1\r\n\r\n", 400, "no Host"),
		BAD("GET / HTTP/1.9\r\n\r\n", 400, "no Host"),
		BAD("GET / HTTP/1.1\r\nHosts: a\r\n\r\n", 400, "no Host"),
		BAD(HOST(""), NO_NAME),
		BAD(HOST(" "), NO_NAME),
		BAD(HOST(" \t "), NO_NAME),
		BAD("GET / HTTP/1.0\r\nHost:\r\n\r\n", NO_NAME),
		BAD(HOST(" :80"), NO_NAME),
		BAD(HOST(" ."), NO_NAME),
		BAD(HOST(" .a"), NO_NAME),
		BAD(HOST(" a..b"), NO_HOST_BYTE),
		BAD(HOST(" a.."), NO_HOST_BYTE),
		BAD(HOST(" a b"), NO_HOST_BYTE),
		BAD(HOST(" a\tb"), NO_HOST_BYTE),
		BAD(HOST(" a,b"), NO_HOST_BYTE),
		BAD(HOST(" a, a"), NO_HOST_BYTE),
		BAD(HOST(" a/b"), NO_HOST_BYTE),
		BAD(HOST(" http://a"), NO_PORT),
		BAD(HOST(" a?b"), NO_HOST_BYTE),
		BAD(HOST(" a#b"), NO_HOST_BYTE),
		BAD(HOST(" a@b"), NO_HOST_BYTE),
		BAD(HOST(" a:b@c"), NO_PORT),
		BAD(HOST(" @a"), NO_NAME),
		BAD(HOST(" a\\b"), NO_HOST_BYTE),
		BAD(HOST(" a%00b"), NO_HOST_BYTE),
		BAD(HOST(" a\xc3\xa9"), NO_HOST_BYTE),
		BAD(HOST(" *"), NO_NAME),
		BAD(HOST(" a:65536"), NO_PORT),
		BAD(HOST(" a:99999"), NO_PORT),
		BAD(HOST(" a:000080"), NO_PORT),
		BAD(HOST(" a:8 0"), NO_PORT),
		BAD(HOST(" a:-1"), NO_PORT),
		BAD(HOST(" a:+1"), NO_PORT),
		BAD(HOST(" a:80:80"), NO_PORT),
		BAD(HOST(" a:0x50"), NO_PORT),
		BAD(HOST(" a:18446744073709551696"), NO_PORT),
		BAD(HOST(" ::1"), NO_NAME),
		BAD(HOST(" []"), NO_IPV6),
		BAD(HOST(" [::1"), NO_IPV6),
		BAD(HOST(" [:::1]"), NO_IPV6),
		BAD(HOST(" [1::2::3]"), NO_IPV6),
		BAD(HOST(" [12345::]"), NO_IPV6),
		BAD(HOST(" [1:2:3:4:5:6:7]"), NO_IPV6),
		BAD(HOST(" [1:2:3:4:5:6:7:8:9]"), NO_IPV6),
		BAD(HOST(" [::1%25eth0]"), NO_IPV6),
		BAD(HOST(" [::1%eth0]"), NO_IPV6),
		BAD(HOST(" [v1.a]"), NO_IPV6),
		BAD(HOST(" [127.0.0.1]"), NO_IPV6),
		BAD(HOST(" [example.com]"), NO_IPV6),
		BAD(HOST(" [ ::1]"), NO_IPV6),
		BAD(HOST(" [[::1]]"), NO_IPV6),
		BAD(HOST(" [0000:0000:0000:0000:0000:0000:0000:0000:0000:0000]"), NO_IPV6),
		BAD(HOST(" [::1]x"), NO_HOST_BYTE),
		BAD(HOST(" [::1]80"), NO_HOST_BYTE),
		BAD(HOST(" a[::1]"), NO_HOST_BYTE),
		BAD(HOST(" " L63 "." L63 "." L63 "." L63 "a"), NO_NAME),
#define TWICE 400, "a field that may come only once came twice"
		BAD(HOST(" a\r\nHost: a"), TWICE),
		BAD(HOST(" a\r\nhost: b"), TWICE),
		BAD(HOST(" a\r\nX: y\r\nHOST:"), TWICE),
		BAD("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", TWICE),
	};
	CHECK(rows);
}

static void fields(void **state)
{
	(void)state;
#define FOLDED 400, "a folded field line"
#define BEFORE_COLON 400, "a space before the colon of a field"
#define BAD_NAME 400, "a byte that no field name may have"
#define LOOKS_LIKE 400, "a field name that looks like another one to the origin"
#define PLAIN_GET "GET O / @a none keep"
	static const struct row rows[] = {
		GOOD(FIELDS("X:y"), PLAIN_GET),
		GOOD(FIELDS("X:"), PLAIN_GET),
		GOOD(FIELDS("X: \t "), PLAIN_GET),
		GOOD(FIELDS("X:\ty\t"), PLAIN_GET),
		GOOD(FIELDS("X: a\tb  c"), PLAIN_GET),
		GOOD(FIELDS("X: \x80\xff\xc3\xa9"), PLAIN_GET),
		GOOD(FIELDS("X: a:b::c"), PLAIN_GET),
		GOOD(FIELDS("X::"), PLAIN_GET),
		GOOD(FIELDS("X: \"(),/:;<=>?@[\\]{}"), PLAIN_GET),
		GOOD(FIELDS("!#$%&'*+-.^_`|~: x"), PLAIN_GET),
		GOOD(FIELDS("User_Agent: x"), PLAIN_GET),
		GOOD(FIELDS("my_field.name: x"), PLAIN_GET),
		GOOD(FIELDS("X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8"), PLAIN_GET),
		GOOD(FIELDS("A-name-of-more-than-thirty-two-bytes-that-nobody-knows: x"), PLAIN_GET),

		BAD(FIELDS(" X: y"), FOLDED),
		BAD(FIELDS("\tX: y"), FOLDED),
		BAD(FIELDS("X: y\r\n z"), FOLDED),
		BAD(FIELDS("X: y\r\n\tz: a"), FOLDED),
		BAD(FIELDS("X: y\r\n "), FOLDED),
		BAD("GET / HTTP/1.1\r\n Host: a\r\n\r\n", FOLDED),
		BAD("GET / HTTP/1.1\r\n \r\nHost: a\r\n\r\n", FOLDED),
		BAD(FIELDS("X : y"), BEFORE_COLON),
		BAD(FIELDS("X\t: y"), BEFORE_COLON),
		BAD(FIELDS("Content-Length : 5"), BEFORE_COLON),
		BAD(FIELDS("Transfer-Encoding : chunked"), BEFORE_COLON),
		BAD(FIELDS("Transfer-Encoding\t: chunked"), BEFORE_COLON),
		BAD("GET / HTTP/1.1\r\nHost : a\r\n\r\n", BEFORE_COLON),
		BAD(FIELDS("X"), 400, "a field line without a colon"),
		BAD(FIELDS("GET / HTTP/1.1"), 400, "a field line without a colon"),
		BAD(FIELDS(": y"), 400, "a field without a name"),
		BAD(FIELDS(":"), 400, "a field without a name"),
		BAD(FIELDS("X Y: z"), BAD_NAME),
		BAD(FIELDS("X\tY: z"), BAD_NAME),
		BAD(FIELDS("X(Y): z"), BAD_NAME),
		BAD(FIELDS("X/Y: z"), BAD_NAME),
		BAD(FIELDS("\"X\": z"), BAD_NAME),
		BAD(FIELDS("X\x80: z"), BAD_NAME),
		BAD(FIELDS("\xc3\xa9: z"), BAD_NAME),
		BAD(FIELDS("X\x7f: z"), 400, "a control byte"),
		BAD(FIELDS("X\0: z"), 400, "a NUL byte"),
		BAD(FIELDS("\0X: z"), 400, "a NUL byte"),
		BAD(FIELDS("X: \0"), 400, "a NUL byte"),
		BAD(FIELDS("X: a\0b"), 400, "a NUL byte"),
		BAD(FIELDS("X: a\vb"), 400, "a control byte"),
		BAD(FIELDS("X: a\fb"), 400, "a control byte"),
		BAD(FIELDS("X: a\x1b[31mb"), 400, "a control byte"),
		BAD(FIELDS("X: a\x7f"), 400, "a control byte"),
		BAD(FIELDS("X: a\nY: b"), 400, "a line that ends in LF without CR"),
		BAD(FIELDS("X: a\rY: b"), 400, "a CR without LF"),
		BAD(FIELDS("X: a\r"), 400, "a CR without LF"),
		BAD(FIELDS("X: a\r\r"), 400, "a CR without LF"),
		BAD("GET / HTTP/1.1\r\nHost: a\n\n", 400, "a line that ends in LF without CR"),
		BAD("GET / HTTP/1.1\r\nHost: a\r\n\n", 400, "a line that ends in LF without CR"),
		BAD("GET / HTTP/1.1\r\nHost: a\r\n\rX", 400, "a CR without LF"),
		BAD(FIELDS("Content_Length: 5"), LOOKS_LIKE),
		BAD(FIELDS("Transfer_Encoding: chunked"), LOOKS_LIKE),
		BAD(FIELDS("transfer.encoding: chunked"), LOOKS_LIKE),
		BAD(FIELDS("X_Forwarded_For: 1.2.3.4"), LOOKS_LIKE),
		BAD(FIELDS("X-Forwarded_Proto: https"), LOOKS_LIKE),
		BAD(FIELDS("X_Real_IP: 1.2.3.4"), LOOKS_LIKE),
		BAD(FIELDS("X_Weir_Lift: t"), LOOKS_LIKE),
		BAD(FIELDS("HTTP2_Settings: t"), LOOKS_LIKE),
	};
	CHECK(rows);
}

static void framing(void **state)
{
	(void)state;
#define NO_LENGTH 400, "a Content-Length that is not one number up to 2^63-1"
#define NO_CHUNKED 400, "a Transfer-Encoding that does not end in one chunked"
#define UNKNOWN_CODING 501, "a transfer coding other than chunked"
#define BOTH 400, "both Content-Length and Transfer-Encoding"
	static const struct row rows[] = {
		GOOD(POST("Content-Length: 0"), "POST O / @a 0 keep"),
		GOOD(POST("Content-Length: 5"), "POST O / @a 5 keep"),
		GOOD(POST("content-length:5"), "POST O / @a 5 keep"),
		GOOD(POST("CONTENT-LENGTH:\t5\t"), "POST O / @a 5 keep"),
		GOOD(POST("Content-Length:   5  "), "POST O / @a 5 keep"),
		GOOD(POST("Content-Length: 0005"), "POST O / @a 5 keep"),
		GOOD(POST("Content-Length: 9223372036854775807"), "POST O / @a 9223372036854775807 keep"),
		GOOD(FIELDS("Content-Length: 5"), "GET O / @a 5 keep"),
		GOOD(POST("Transfer-Encoding: chunked"), "POST O / @a chunked keep"),
		GOOD(POST("transfer-encoding:CHUNKED"), "POST O / @a chunked keep"),
		GOOD(POST("TRANSFER-ENCODING:\tcHuNkEd\t"), "POST O / @a chunked keep"),
		GOOD("POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\n", "POST O / @ 5 1.0"),

		BAD(POST("Content-Length:"), NO_LENGTH),
		BAD(POST("Content-Length: "), NO_LENGTH),
		BAD(POST("Content-Length: +5"), NO_LENGTH),
		BAD(POST("Content-Length: -5"), NO_LENGTH),
		BAD(POST("Content-Length: -0"), NO_LENGTH),
		BAD(POST("Content-Length: 5,5"), NO_LENGTH),
		BAD(POST("Content-Length: 5, 5"), NO_LENGTH),
		BAD(POST("Content-Length: 5,"), NO_LENGTH),
		BAD(POST("Content-Length: ,5"), NO_LENGTH),
		BAD(POST("Content-Length: 5 5"), NO_LENGTH),
		BAD(POST("Content-Length: 5\t5"), NO_LENGTH),
		BAD(POST("Content-Length: 5;"), NO_LENGTH),
		BAD(POST("Content-Length: 5.0"), NO_LENGTH),
		BAD(POST("Content-Length: 5e0"), NO_LENGTH),
		BAD(POST("Content-Length: 0x5"), NO_LENGTH),
		BAD(POST("Content-Length: 5a"), NO_LENGTH),
		BAD(POST("Content-Length: a"), NO_LENGTH),
		BAD(POST("Content-Length: \"5\""), NO_LENGTH),
		BAD(POST("Content-Length: 1_0"), NO_LENGTH),
		BAD(POST("Content-Length: \xd9\xa5"), NO_LENGTH), /* a digit, in Arabic */
		BAD(POST("Content-Length: 9223372036854775808"), NO_LENGTH),
		BAD(POST("Content-Length: 18446744073709551615"), NO_LENGTH),
		BAD(POST("Content-Length: 18446744073709551621"), NO_LENGTH), /* 5 modulo 2^64 */
		BAD(POST("Content-Length: 36893488147419103237"), NO_LENGTH), /* likewise */
		BAD(POST("Content-Length: 00000000000000000005"), NO_LENGTH), /* 20 digits */
		BAD(POST("Content-Length: 99999999999999999999999999"), NO_LENGTH),
		BAD(POST("Content-Length: 5\r\nContent-Length: 5"), TWICE),
		BAD(POST("Content-Length: 5\r\nContent-Length: 6"), TWICE),
		BAD(POST("Content-Length: 5\r\nX: y\r\ncontent-length: 5"), TWICE),
		BAD("POST / HTTP/1.1\r\nContent-Length: 5\r\nHost: a\r\nContent-Length: 0\r\n\r\n", TWICE),

		BAD(POST("Content-Length: 5\r\nTransfer-Encoding: chunked"), BOTH),
		BAD(POST("Transfer-Encoding: chunked\r\nContent-Length: 5"), BOTH),
		BAD(POST("Transfer-Encoding: chunked\r\nContent-Length: 0"), BOTH),
		BAD(POST("Transfer-Encoding: identity\r\nContent-Length: 5"), BOTH),
		BAD(POST("Transfer-Encoding: x\r\nContent-Length: 5"), BOTH),
		BAD(POST("Transfer-Encoding:\r\nContent-Length: 5"), BOTH),
		BAD("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400,
		    "a Transfer-Encoding in HTTP/1.0"),
		BAD("POST / HTTP/1.0\r\nTransfer-Encoding: identity\r\n\r\n", 400,
		    "a Transfer-Encoding in HTTP/1.0"),
		BAD(POST("Transfer-Encoding: gzip, chunked"), UNKNOWN_CODING),
		BAD(POST("Transfer-Encoding: gzip,chunked"), UNKNOWN_CODING),
		BAD(POST("Transfer-Encoding: x;q=\"1\", Chunked"), UNKNOWN_CODING),
		BAD(POST("Transfer-Encoding: identity, chunked"), UNKNOWN_CODING),
		BAD(POST("Transfer-Encoding: gzip"), NO_CHUNKED),
		BAD(POST("Transfer-Encoding: identity"), NO_CHUNKED),
		BAD(POST("Transfer-Encoding: xchunked"), NO_CHUNKED),
		BAD(POST("Transfer-Encoding: chunkedx"), NO_CHUNKED),
		BAD(POST("Transfer-Encoding: chunke"), NO_CHUNKED),
		BAD(POST("Transfer-Encoding: chunked, gzip"), NO_CHUNKED),
		BAD(POST("Transfer-Encoding: chunked, identity"), NO_CHUNKED),
		BAD(POST("Transfer-Encoding: chunked, chunked"), NO_CHUNKED),
		BAD(POST("Transfer-Encoding: chunked;q=1"), NO_CHUNKED),
		BAD(POST("Transfer-Encoding: chunked;q=1, chunked"), NO_CHUNKED),
		BAD(POST("Transfer-Encoding: chunked chunked"), NO_CHUNKED),
		BAD(POST("Transfer-Encoding:"), NO_CHUNKED),
		BAD(POST("Transfer-Encoding: ,"), NO_CHUNKED),
		BAD(POST("Transfer-Encoding: \"chunked\""), 400, "a Transfer-Encoding that cannot be read"),
		BAD(POST("Transfer-Encoding: (chunked)"), 400, "a Transfer-Encoding that cannot be read"),
		BAD(POST("Transfer-Encoding: \x80"), 400, "a Transfer-Encoding that cannot be read"),
		BAD(POST("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), TWICE),
		BAD(POST("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked"), TWICE),
		BAD(POST("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"), TWICE),
		BAD(POST("Transfer-Encoding: chun\r\n ked"), FOLDED),
		BAD(POST("Transfer-Encoding: \vchunked"), 400, "a control byte"),
		BAD(POST("Transfer-Encoding: chunked\0"), 400, "a NUL byte"),
	};
	CHECK(rows);
	/* One coding and an empty element: chunked is the last, but was not alone. */
	static const struct row odd[] = {
		BAD(POST("Transfer-Encoding: ,chunked"), UNKNOWN_CODING),
		BAD(POST("Transfer-Encoding: chunked,"), UNKNOWN_CODING),
	};
	CHECK(odd);
}

static void connections(void **state)
{
	(void)state;
	static const struct row rows[] = {
		GOOD(FIELDS("Connection: keep-alive"), "GET O / @a none keep"),
		GOOD(FIELDS("Connection: close"), "GET O / @a none"),
		GOOD(FIELDS("Connection: Close"), "GET O / @a none"),
		GOOD(FIELDS("Connection: x, CLOSE ,y"), "GET O / @a none"),
		GOOD(FIELDS("Connection: keep-alive, close"), "GET O / @a none"),
		GOOD(FIELDS("Connection: close\r\nConnection: keep-alive"), "GET O / @a none"),
		GOOD(FIELDS("Connection: keep-alive\r\nConnection: close"), "GET O / @a none"),
		GOOD(FIELDS("Connection: closed"), "GET O / @a none keep"),
		GOOD(FIELDS("Connection:"), "GET O / @a none keep"),
		GOOD(FIELDS("Connection: ,, ,"), "GET O / @a none keep"),
		GOOD(FIELDS("Connection: upgrade\r\nUpgrade: websocket"), "GET O / @a none keep upgrade"),
		GOOD(FIELDS("Connection: Keep-Alive, Upgrade"), "GET O / @a none keep upgrade"),
		GOOD(FIELDS("Connection: close, upgrade"), "GET O / @a none upgrade"),
		GOOD("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "GET O / @ none keep 1.0"),
		GOOD("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "GET O / @ none keep 1.0"),
		GOOD("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", "GET O / @ none 1.0"),
		GOOD("GET / HTTP/1.0\r\nConnection: x\r\n\r\n", "GET O / @ none 1.0"),
		GOOD("GET / HTTP/1.0\r\nConnection: keep-alive, upgrade\r\n\r\n", "GET O / @ none keep 1.0"),
		GOOD("GET / HTTP/1.0\r\nKeep-Alive: timeout=5\r\n\r\n", "GET O / @ none 1.0"),
		GOOD("GET / HTTP/1.0\r\nProxy-Connection: keep-alive\r\n\r\n", "GET O / @ none 1.0"),

		GOOD(POST("Expect: 100-continue\r\nContent-Length: 5"), "POST O / @a 5 keep expect"),
		GOOD(POST("Expect: 100-Continue\r\nTransfer-Encoding: chunked"),
		     "POST O / @a chunked keep expect"),
		GOOD(POST("Expect: 100-continue"), "POST O / @a none keep"),
		GOOD(POST("Expect: 100-continue\r\nContent-Length: 0"), "POST O / @a 0 keep"),
		GOOD("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
		     "POST O / @ 5 1.0"),
#define OTHER_EXPECTATION 417, "an expectation other than 100-continue"
		BAD(POST("Expect:"), OTHER_EXPECTATION),
		BAD(POST("Expect: 100"), OTHER_EXPECTATION),
		BAD(POST("Expect: 100-continue, 100-continue"), OTHER_EXPECTATION),
		BAD(POST("Expect: 100-continue;x"), OTHER_EXPECTATION),
		BAD(POST("Expect: 200-ok"), OTHER_EXPECTATION),
		BAD(POST("Expect: 100-continue\r\nExpect: 100-continue"), TWICE),

#define NO_TOKEN 400, "an option of Connection that is no token"
		BAD(FIELDS("Connection: keep alive"), NO_TOKEN),
		BAD(FIELDS("Connection: close;x"), NO_TOKEN),
		BAD(FIELDS("Connection: \"close\""), NO_TOKEN),
		BAD(FIELDS("Connection: x, y=z"), NO_TOKEN),
		BAD(FIELDS("Connection: \x80"), NO_TOKEN),
	};
	CHECK(rows);
}

static bool named(const struct h1_head *h, const char *buf, const char *name)
{
	const struct h1_field *f = h1_find_name(h, buf, str_of(name), NULL);

	assert_non_null(f);
	return f->flags & H1_FIELD_STOPS;
}

static void names_in_connection(void **state)
{
	(void)state;
	static const char text[] =
		"GET / HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nConnection: x-one, Host, close, Content-Length\r\n"
		"X-Two: 2\r\nx-ONE: 3\r\nContent-Length: 0\r\nX-Forwarded-For: 1.2.3.4\r\nCookie: c\r\n"
		"Connection: cookie, x-forwarded-for, X-TWO, connection, content-type, x-absent, vary\r\n"
		"X-Three: 3\r\nContent-Type: t\r\nX-Onee: 4\r\n\r\n";
	struct checked c;

	assert_null(check_splits(&kind, text, sizeof(text) - 1, &c));
	assert_int_equal(c.result, H1_DONE);
	assert_true(named(&c.head, text, "X-One"));
	assert_true(named(&c.head, text, "X-Two"));
	assert_true(named(&c.head, text, "Cookie"));
	static const char *const kept[] = {"Host",	   "Content-Length", "X-Forwarded-For", "Connection",
					   "Content-Type", "X-Three",	     "X-Onee"};
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		assert_false(named(&c.head, text, kept[i]));
	const struct h1_field *again =
		h1_find_name(&c.head, text, STR("x-one"), h1_find_name(&c.head, text, STR("x-one"), NULL));
	assert_non_null(again);
	assert_true(again->flags & H1_FIELD_STOPS);
	assert_false(c.head.keep_alive);
}

/* Only names that may be those of trailers count. */
static void fields_named_in_connection_are_told(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		bool fields;
	} rows[] = {
		{FIELDS("X-A: 1"), false},
		{FIELDS("Connection: close"), false},
		{FIELDS("Connection: Keep-Alive, Upgrade, TE, HTTP2-Settings"), false},
		{FIELDS("Connection: x-absent"), true},
		{FIELDS("Connection: TE\r\nConnection: close, X-A\r\nX-A: 1"), true},
		{FIELDS("Connection: etag"), true},
	};
	struct checked c;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_null(check_splits(&kind, rows[i].text, strlen(rows[i].text), &c));
		assert_int_equal(c.result, H1_DONE);
		assert_int_equal(c.head.connection_fields, rows[i].fields);
	}
}

/* RFC 9110, 10.1.1: it goes on only where it may be answered. */
static void ignored_expectations_stop(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		bool stops;
	} rows[] = {
		{POST("Expect: 100-continue\r\nContent-Length: 1"), false},
		{POST("Transfer-Encoding: chunked\r\nExpect: 100-continue"), false},
		{POST("Content-Length: 0\r\nExpect: 100-continue"), true},
		{POST("Expect: 100-continue"), true},
		{"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", true},
	};
	struct checked c;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_null(check_splits(&kind, rows[i].text, strlen(rows[i].text), &c));
		assert_int_equal(c.result, H1_DONE);
		assert_int_equal(h1_find(&c.head, FIELD_EXPECT)->flags & H1_FIELD_STOPS ? 1 : 0,
				 rows[i].stops);
	}
}

static void options_are_limited(void **state)
{
	(void)state;
	char text[400] = "GET / HTTP/1.1\r\nHost: a\r\nConnection: a";
	struct checked c;
	size_t n = strlen(text);

	for (int i = 1; i < 64; i++, n += 2)
		memcpy(text + n, ",a", 2);
	memcpy(text + n, "\r\n\r\n", 5);
	check_init(&c);
	check_feed(&c, &kind, text, n + 4);
	assert_int_equal(c.result, H1_DONE);
	memcpy(text + n, ",a\r\n\r\n", 7);
	check_init(&c);
	check_feed(&c, &kind, text, n + 6);
	assert_int_equal(c.result, H1_BAD);
	assert_string_equal(c.head.why, "too many options in Connection");
}

static void fields_are_found(void **state)
{
	(void)state;
	static const char text[] =
		"\r\nGET /p HTTP/1.1\r\nX-Forwarded-For: 1\r\nHost:\ta:80 \r\nx-custom: "
		"A\r\nX-FORWARDED-FOR:2\r\n"
		"Empty:\r\nX-Custom:  B\t\r\nx-forwarded-for: 3\r\n\r\nGET /next HTTP/1.1\r\n";
	struct checked c;
	const struct h1_field *f;

	assert_null(check_splits(&kind, text, sizeof(text) - 1, &c));
	assert_int_equal(c.result, H1_DONE);
	assert_int_equal(c.head.length, strstr(text, "GET /next") - text);
	assert_int_equal(c.head.fields, 7);
	const struct h1_head *h = &c.head;
	f = h1_find(h, FIELD_X_FORWARDED_FOR);
	for (int i = 1; i <= 3; i++, f = h1_find_next(h, f)) {
		assert_non_null(f);
		assert_int_equal(h1_value(text, f).n, 1);
		assert_int_equal(h1_value(text, f).p[0], '0' + i);
	}
	assert_null(f);
	assert_null(h1_find_next(h, h1_find(h, FIELD_HOST)));
	assert_null(h1_find(h, FIELD_COOKIE));
	assert_true(str_eq(h1_value(text, h1_find(h, FIELD_HOST)), STR("a:80")));
	assert_true(str_eq(h1_name(text, h1_find(h, FIELD_HOST)), STR("Host")));
	f = h1_find_name(h, text, STR("X-CUSTOM"), NULL);
	assert_true(f && str_eq(h1_value(text, f), STR("A")));
	f = h1_find_name(h, text, STR("X-CUSTOM"), f);
	assert_true(f && str_eq(h1_value(text, f), STR("B")));
	assert_null(h1_find_name(h, text, STR("X-CUSTOM"), f));
	f = h1_find_name(h, text, STR("empty"), NULL);
	assert_true(f && f->value_len == 0);
	assert_null(h1_find_name(h, text, STR("nothing"), NULL));
	assert_null(h1_find_name(h, text, STR("cookie"), NULL));
	f = h1_find_name(h, text, STR("X-Forwarded-For"), h1_find(h, FIELD_X_FORWARDED_FOR));
	assert_true(f && str_eq(h1_value(text, f), STR("2")));
	assert_true(str_eq(h1_text(text, h->path), STR("/p")));
	assert_true(str_eq(h1_text(text, h->target), STR("/p")));
}

static void absolute_spans(void **state)
{
	(void)state;
	static const char text[] = "GET HTTPS://b.c:81/d?e HTTP/1.1\r\nHost: a:1\r\n\r\n";
	struct checked c;

	assert_null(check_splits(&kind, text, sizeof(text) - 1, &c));
	assert_int_equal(c.head.method, METHOD_GET);
	assert_true(str_eq(h1_text(text, c.head.target), STR("HTTPS://b.c:81/d?e")));
	assert_true(str_eq(h1_text(text, c.head.scheme), STR("HTTPS")));
	assert_true(str_eq(h1_text(text, c.head.authority), STR("b.c:81")));
	assert_true(str_eq(h1_text(text, c.head.host), STR("b.c")));
	assert_int_equal(c.head.host_port, 81);
}

static void methods_are_known(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		enum http_method method;
		bool idempotent;
	} rows[] = {
		{"GET", METHOD_GET, true},	   {"HEAD", METHOD_HEAD, true},
		{"POST", METHOD_POST, false},	   {"PUT", METHOD_PUT, true},
		{"DELETE", METHOD_DELETE, true},   {"PATCH", METHOD_PATCH, false},
		{"OPTIONS", METHOD_OPTIONS, true}, {"TRACE", METHOD_TRACE, true},
		{"CONNEC", METHOD_OTHER, false},   {"CONNECTS", METHOD_OTHER, false},
		{"PUTT", METHOD_OTHER, false},	   {"Get", METHOD_OTHER, false},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[100];
		struct checked c;
		int n = snprintf(text, sizeof(text), "%s / HTTP/1.1\r\nHost: a\r\n\r\n", rows[i].text);
		assert_null(check_splits(&kind, text, (size_t)n, &c));
		assert_int_equal(c.result, H1_DONE);
		assert_int_equal(c.head.method, rows[i].method);
		assert_int_equal(http_method_idempotent(c.head.method), rows[i].idempotent);
		assert_true(str_eq(h1_text(text, c.head.method_text), str_of(rows[i].text)));
	}
}

/* Each byte in each place of a request: the verdict is what the RFC says of that place. */
/* Node refuses it in every form; an origin that speaks HTTP/2 too might take it for its preface. */
static void fuzz_pri_is_no_method(void **state)
{
	static const struct row rows[] = {
#define PRI 400, "the method PRI, which begins HTTP/2 and nothing else"
		BAD(LINE("PRI / HTTP/1.1"), PRI),
		BAD(LINE("PRI * HTTP/1.1"), PRI),
		BAD(LINE("PRI http://b/ HTTP/1.0"), PRI),
		GOOD(LINE("PRIX / HTTP/1.1"), "PRIX O / @a none keep"),
		GOOD(LINE("pri / HTTP/1.1"), "pri O / @a none keep"),
	};
	(void)state;
	check_rows(rows, sizeof(rows) / sizeof(rows[0]));
}

static void every_byte(void **state)
{
	(void)state;
	enum place { METHOD, PATH, QUERY, NAME, VALUE, IN_HOST };
	static const struct {
		const char *before, *after;
		enum place place;
	} rows[] = {
		{"G", "T / HTTP/1.1\r\nHost: a\r\n\r\n", METHOD},
		{"GET /some/long/path/so/that/it/is/over/a/block/", "/x HTTP/1.1\r\nHost: a\r\n\r\n", PATH},
		{"GET /a", " HTTP/1.1\r\nHost: a\r\n\r\n", PATH},
		{"GET /a?b", "c HTTP/1.1\r\nHost: a\r\n\r\n", QUERY},
		{"GET / HTTP/1.1\r\nHost: a\r\nX", "Y: z\r\n\r\n", NAME},
		{"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For", "Y-and-some-more: z\r\n\r\n", NAME},
		{"GET / HTTP/1.1\r\nHost: a\r\nX: y", "z\r\n\r\n", VALUE},
		{"GET / HTTP/1.1\r\nHost: a\r\nX: y0123456789abcdef0123456789abcdef", "z\r\n\r\n", VALUE},
		{"GET / HTTP/1.1\r\nHost: a\r\nX: ", "z\r\n\r\n", VALUE},
		{"GET / HTTP/1.1\r\nHost: a\r\nX: y", "\r\n\r\n", VALUE},
		{"GET / HTTP/1.1\r\nHost: a", "b\r\n\r\n", IN_HOST},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (int b = 0; b < 256; b++) {
			char text[200];
			struct checked c;
			bool alnum =
				(b >= '0' && b <= '9') || (b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z');
			bool tchar = alnum || (b && memchr("!#$%&'*+-.^_`|~", b, 15));
			bool visible = b > ' ' && b < 0x7f;
			const bool good[] = {[METHOD] = tchar,
					     [PATH] = visible && b != '#',
					     [QUERY] = visible && b != '#',
					     [NAME] = tchar || b == ':',
					     [VALUE] = (b >= ' ' && b != 0x7f) || b == '\t',
					     [IN_HOST] = alnum || (b && memchr("-._", b, 3))};
			size_t n = strlen(rows[i].before), m = strlen(rows[i].after);
			memcpy(text, rows[i].before, n);
			text[n] = (char)b;
			memcpy(text + n + 1, rows[i].after, m);
			const char *why = check_splits(&kind, text, n + 1 + m, &c);
			if (why || (c.result == H1_DONE) != good[rows[i].place])
				fail_msg("byte 0x%02x in %s...: %d %s", (unsigned)b, rows[i].before, c.result,
					 why ? why : "");
		}
}

/* What can only be refused is refused with the byte that shows it: the line's end may never come. */
static void refused_at_once(void **state)
{
	(void)state;
	static const struct {
		const char *bytes;
		size_t n; /* the first so many bytes are enough */
	} rows[] = {
		{"\x16\x03\x01", 1},
		{" GET", 1},
		{"\nGET", 1},
		{"GET\t", 4},
		{"GET /\x80", 6},
		{"\r\n\r\n", 4},
		{"\rX", 2},
		{"G(", 2},
		{"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 33},
		{"GET / HTTP/1.1\r\nHost: a\rb", 25},
		{"GET / HTTP/1.1\r\nHost: \v", 23},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct checked c;
		check_init(&c);
		for (size_t n = 0; n < rows[i].n; n++) {
			check_feed(&c, &kind, rows[i].bytes, n);
			assert_int_equal(c.result, H1_MORE);
		}
		check_feed(&c, &kind, rows[i].bytes, rows[i].n);
		assert_int_equal(c.result, H1_BAD);
	}
}

/* A head of that many bytes in its request line, one field's line and further fields of 4 bytes a line. */
static size_t build(char *text, size_t line, size_t field, unsigned more)
{
	size_t n = (size_t)sprintf(text, "GET /%*s HTTP/1.1\r\nHost: a\r\n", (int)(line - 14), "");

	for (size_t i = 5; i < line - 9; i++)
		text[i] = 'p';
	text[n++] = 'F';
	text[n++] = ':';
	memset(text + n, 'v', field - 2);
	n += field - 2;
	for (unsigned i = 0; i < more; i++)
		n += (size_t)sprintf(text + n, "\r\nX:y");
	return n + (size_t)sprintf(text + n, "\r\n\r\n");
}

static void limits_hold(void **state)
{
	(void)state;
	static char text[8000];
	static const struct {
		size_t line, field;
		unsigned more, error;
		const char *why;
	} rows[] = {
		{64, 64, 0, 0, NULL},
		{65, 64, 0, 414, "a line that is too long"},
		{300, 64, 0, 414, "a line that is too long"},
		{64, 65, 0, 431, "a line that is too long"},
		{64, 300, 0, 431, "a line that is too long"},
		{64, 64, 6, 0, NULL},
		{64, 64, 7, 431, "too many fields"},
		{40, 63, 6, 0, NULL},
	};
	static const struct h1_limits small = {.line = 64, .head = 500, .fields = 8};
	static const struct check_kind kind_small = {.limits = &small};
	struct checked c;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t n = build(text, rows[i].line, rows[i].field, rows[i].more);
		assert_null(check_splits(&kind_small, text, n, &c));
		assert_int_equal(c.result, rows[i].error ? H1_BAD : H1_DONE);
		if (rows[i].error) {
			assert_int_equal(c.head.error, rows[i].error);
			assert_string_equal(c.head.why, rows[i].why);
		}
	}
	/* The whole head: to the byte. */
	size_t n = build(text, 30, 30, 3);
	struct h1_limits exact = {.line = 64, .head = (uint32_t)n, .fields = 8};
	struct check_kind kind_exact = {.limits = &exact};
	memcpy(text + n, "body", 4);
	assert_null(check_splits(&kind_exact, text, n + 4, &c));
	assert_int_equal(c.result, H1_DONE);
	for (exact.head = (uint32_t)n - 1; exact.head > 32; exact.head--) {
		assert_null(check_splits(&kind_exact, text, n + 4, &c));
		assert_int_equal(c.result, H1_BAD);
		assert_int_equal(c.head.error, 431);
	}
	exact.head = 20;
	assert_null(check_splits(&kind_exact, text, n, &c));
	assert_int_equal(c.head.error, 414);
}

/* The caller's array bounds the fields too. */
static void array_bounds_fields(void **state)
{
	(void)state;
	struct h1_field two[3] = {{.name_at = 77}, {.name_at = 77}, {.name_at = 77}};
	struct h1_head h;
	static const char text[] = "GET / HTTP/1.1\r\nHost: a\r\nB: c\r\nD: e\r\n\r\n";

	h1_head_init(&h, two, 2);
	assert_int_equal(h1_request_parse(&h, &limits, text, sizeof(text) - 1), H1_BAD);
	assert_int_equal(h.error, 431);
	assert_int_equal(two[2].name_at, 77);
	/* A verdict stays. */
	assert_int_equal(h1_request_parse(&h, &limits, text, sizeof(text) - 1), H1_BAD);
	h1_head_init(&h, two, 3);
	assert_int_equal(h1_request_parse(&h, &limits, text, sizeof(text) - 1), H1_DONE);
	assert_int_equal(h1_request_parse(&h, &limits, text, sizeof(text) - 1), H1_DONE);
}

/* A slow drip: each call leaves behind it all but the last bytes it saw. */
static void drip_is_not_read_again(void **state)
{
	(void)state;
	static char text[8000];
	static const struct h1_limits wide = {.line = 3000, .head = 8000, .fields = 100};
	size_t n = build(text, 2500, 2500, 3);
	struct h1_field field[10];
	struct h1_head h;

	h1_head_init(&h, field, 10);
	for (size_t i = 1; i < n; i++) {
		assert_int_equal(h1_request_parse(&h, &wide, text, i), H1_MORE);
		assert_true((h.clean > h.line_at ? h.clean : h.line_at) + 1 >= i);
	}
	assert_int_equal(h1_request_parse(&h, &wide, text, n), H1_DONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(request_lines),
		cmocka_unit_test(targets),
		cmocka_unit_test(hosts),
		cmocka_unit_test(fields),
		cmocka_unit_test(framing),
		cmocka_unit_test(connections),
		cmocka_unit_test(names_in_connection),
		cmocka_unit_test(options_are_limited),
		cmocka_unit_test(fields_named_in_connection_are_told),
		cmocka_unit_test(ignored_expectations_stop),
		cmocka_unit_test(fields_are_found),
		cmocka_unit_test(absolute_spans),
		cmocka_unit_test(methods_are_known),
		cmocka_unit_test(fuzz_pri_is_no_method),
		cmocka_unit_test(every_byte),
		cmocka_unit_test(refused_at_once),
		cmocka_unit_test(limits_hold),
		cmocka_unit_test(array_bounds_fields),
		cmocka_unit_test(drip_is_not_read_again),
	};
	return cmocka_run_group_tests_name("h1_request", tests, NULL, NULL);
}
