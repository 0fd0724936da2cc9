/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a request head: the same verdict however they are dealt out, never a lax one, and what was
 * taken in, written anew, is read as the same request.
 */
#include <ctype.h>

#include "tests/fuzz/h1_head.h"

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
	write_fields(s, h, bytes);
}

static void check_again(const struct h1_head *h, const char *bytes)
{
	static char text[8192];
	struct sheet s = {text, 0, sizeof(text)};
	struct check_kind kind = {.limits = &any_head};
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
	const char *bytes = (const char *)data;

	if (size > 1024)
		return 0;
	for (size_t i = 0; i < 2; i++) {
		struct check_kind kind = {.limits = &tried_limits[i], .stride = (unsigned)size / 16};
		struct checked c;
		promise(check_splits(&kind, bytes, size, &c) == NULL);
		if (c.result != H1_DONE)
			continue;
		size_t start = bytes[0] == '\r' ? 2 : 0;
		check_bytes(bytes + start, c.head.length - start);
		check_names(&c.head, bytes);
		check_target(&c.head, bytes);
		check_again(&c.head, bytes);
		promise(c.head.length <= tried_limits[i].head && c.head.fields <= tried_limits[i].fields);
	}
	return 0;
}
