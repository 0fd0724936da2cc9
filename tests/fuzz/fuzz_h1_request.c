/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a request head: the same verdict however they are dealt out, never a lax one, and what was
 * taken in, written anew, is read as the same request.
 */
#include <ctype.h>

#include "tests/fuzz/fuzz.h"
#include "tests/unit/h1_check.h"

/* No matter what the parser says of it: these bytes are in no head that is let through. */
static void check_bytes(const char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)bytes[i];
		promise(c != 0x7f && (c >= 0x20 || c == '\t' || c == '\r' || c == '\n'));
		promise(c != '\r' || (i + 1 < n && bytes[i + 1] == '\n'));
		promise(c != '\n' || (i > 0 && bytes[i - 1] == '\r'));
		promise(c != '\n' || i + 1 == n || (bytes[i + 1] != ' ' && bytes[i + 1] != '\t'));
	}
}

static void check_names(const struct h1_head *h, const char *bytes)
{
	unsigned hosts = 0, lengths = 0, codings = 0;

	for (unsigned i = 0; i < h->fields; i++) {
		struct str name = h1_name(bytes, &h->field[i]), value = h1_value(bytes, &h->field[i]);
		for (size_t k = 0; k < name.n; k++)
			promise(isalnum((unsigned char)name.p[k]) || strchr("!#$%&'*+-.^_`|~", name.p[k]));
		promise(value.n == 0 || (!is_ows(value.p[0]) && !is_ows(value.p[value.n - 1])));
		hosts += str_ieq(name, STR("host"));
		lengths += str_ieq(name, STR("content-length"));
		codings += str_ieq(name, STR("transfer-encoding"));
		promise(!str_ieq(name, STR("content_length")) && !str_ieq(name, STR("transfer_encoding")));
	}
	promise(lengths + codings <= 1 && hosts <= 1 && (hosts == 1 || h->version_minor == 0));
	promise(h->framing == (codings ? H1_FRAMING_CHUNKED : lengths ? H1_FRAMING_LENGTH : H1_FRAMING_NONE));
	promise(h->content_length <= INT64_MAX);
	promise(h->version_minor || !codings);
}

static void check_target(const struct h1_head *h, const char *bytes)
{
	struct str path = h1_text(bytes, h->path), query = h1_text(bytes, h->query),
		   host = h1_text(bytes, h->host);

	promise(path.n || h->form == H1_TARGET_ASTERISK || h->form == H1_TARGET_AUTHORITY);
	promise(!path.n || path.p[0] == '/');
	for (size_t i = 0; i < path.n; i++)
		promise(path.p[i] > ' ' && path.p[i] < 0x7f && path.p[i] != '#' && path.p[i] != '?');
	for (size_t i = 0; i < query.n; i++)
		promise(query.p[i] > ' ' && query.p[i] < 0x7f && query.p[i] != '#');
	for (size_t i = 0; i < host.n; i++)
		promise(isalnum((unsigned char)host.p[i]) || strchr("-._:[]", host.p[i]));
	promise(host.n || h->version_minor == 0);
	promise(h->host_port >= -1 && h->host_port <= 65535);
	promise(h->method == METHOD_CONNECT || h->form != H1_TARGET_AUTHORITY);
}

/* Written anew from what was parsed alone, as towards an origin. */
static void write_head(struct sheet *s, const struct h1_head *h, const char *bytes)
{
	sheet_str(s, h1_text(bytes, h->method_text));
	sheet_bytes(s, " ", 1);
	sheet_str(s, h1_text(bytes, h->target));
	sheet_str(s, h->version_minor ? STR(" HTTP/1.1\r\n") : STR(" HTTP/1.0\r\n"));
	for (unsigned i = 0; i < h->fields; i++) {
		sheet_str(s, h1_name(bytes, &h->field[i]));
		sheet_bytes(s, ": ", 2);
		sheet_str(s, h1_value(bytes, &h->field[i]));
		sheet_bytes(s, "\r\n", 2);
	}
	sheet_bytes(s, "\r\n", 2);
}

static void check_fields_again(const struct h1_head *a, const char *in_a, const struct h1_head *b,
			       const char *in_b)
{
	promise(a->fields == b->fields);
	for (unsigned i = 0; i < a->fields; i++) {
		promise(str_eq(h1_name(in_a, &a->field[i]), h1_name(in_b, &b->field[i])));
		promise(str_eq(h1_value(in_a, &a->field[i]), h1_value(in_b, &b->field[i])));
		promise(a->field[i].id == b->field[i].id);
		promise((a->field[i].flags | H1_FIELD_AS_WRITTEN) ==
			(b->field[i].flags | H1_FIELD_AS_WRITTEN));
		promise(!(a->field[i].flags & H1_FIELD_AS_WRITTEN) ||
			h1_stands_as_written(in_a, &a->field[i]));
	}
}

static void check_again(const struct h1_head *h, const char *bytes)
{
	static const struct h1_limits wide = {.line = 65000, .head = 1 << 20, .fields = CHECK_FIELDS};
	static char text[8192];
	struct sheet s = {text, 0, sizeof(text)};
	struct check_kind kind = {.limits = &wide};
	struct checked c;

	write_head(&s, h, bytes);
	check_init(&c);
	check_feed(&c, &kind, text, s.n);
	promise(c.result == H1_DONE && c.head.length == s.n);
	promise(c.head.method == h->method && c.head.form == h->form && c.head.framing == h->framing);
	promise(c.head.content_length == h->content_length && c.head.keep_alive == h->keep_alive);
	promise(c.head.connection_upgrade == h->connection_upgrade);
	promise(c.head.expect_continue == h->expect_continue && c.head.host_port == h->host_port);
	promise(str_eq(h1_text(text, c.head.path), h1_text(bytes, h->path)));
	promise(str_eq(h1_text(text, c.head.query), h1_text(bytes, h->query)));
	promise(str_eq(h1_text(text, c.head.host), h1_text(bytes, h->host)));
	check_fields_again(h, bytes, &c.head, text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct h1_limits limits[] = {{.line = 16384, .head = 65536, .fields = 100},
						  {.line = 40, .head = 150, .fields = 4}};
	const char *bytes = (const char *)data;

	if (size > 1024)
		return 0;
	for (size_t i = 0; i < 2; i++) {
		struct check_kind kind = {.limits = &limits[i], .stride = (unsigned)size / 16};
		struct checked c;
		promise(check_splits(&kind, bytes, size, &c) == NULL);
		if (c.result != H1_DONE)
			continue;
		size_t start = bytes[0] == '\r' ? 2 : 0;
		check_bytes(bytes + start, c.head.length - start);
		check_names(&c.head, bytes);
		check_target(&c.head, bytes);
		check_again(&c.head, bytes);
		promise(c.head.length <= limits[i].head && c.head.fields <= limits[i].fields);
	}
	return 0;
}
