/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a response head: the same verdict however they are dealt out, a body of one reading, and what
 * was taken in, written anew, is read as the same response.
 */
#include "tests/fuzz/h1_head.h"

static void check_head(const struct h1_head *h, const char *bytes, enum http_method asked)
{
	const struct h1_field *length = h1_find(h, FIELD_CONTENT_LENGTH);
	const struct h1_field *coding = h1_find(h, FIELD_TRANSFER_ENCODING);
	bool bodiless = h->status < 200 || h->status == 204 || h->status == 304 || asked == METHOD_HEAD;

	promise(h->status >= 100 && h->status <= 999);
	promise(!length || (!coding && !h1_find_next(h, length) && h->has_length));
	promise(!coding || (!h1_find_next(h, coding) && str_ieq(h1_value(bytes, coding), STR("chunked"))));
	promise(bodiless == (h->framing == H1_FRAMING_NONE));
	promise(h->framing != H1_FRAMING_UNTIL_CLOSE || (!length && !coding && !h->keep_alive));
	check_bytes(bytes, h->length);
}

static void write_head(struct sheet *s, const struct h1_head *h, const char *bytes)
{
	char line[32];
	int n = snprintf(line, sizeof(line), "HTTP/1.%u %u ", h->version_minor, h->status);

	sheet_bytes(s, line, (size_t)n);
	sheet_str(s, h1_text(bytes, h->reason));
	sheet_bytes(s, "\r\n", 2);
	write_fields(s, h, bytes);
}

static void check_again(const struct h1_head *h, const char *bytes, enum http_method asked)
{
	static char text[8192];
	struct sheet s = {text, 0, sizeof(text)};
	struct check_kind kind = {.response = true, .asked = asked, .limits = &any_head};
	struct checked c;

	write_head(&s, h, bytes);
	check_init(&c);
	check_feed(&c, &kind, text, s.n);
	promise(c.result == H1_DONE && c.head.length == s.n && c.head.status == h->status);
	promise(c.head.framing == h->framing && c.head.content_length == h->content_length);
	promise(c.head.keep_alive == h->keep_alive && c.head.keep_alive_s == h->keep_alive_s);
	promise(c.head.connection_upgrade == h->connection_upgrade);
	check_fields_again(h, bytes, &c.head, text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum http_method asked[] = {METHOD_GET, METHOD_HEAD};
	const char *bytes = (const char *)data;

	if (size > 1024)
		return 0;
	for (size_t i = 0; i < 4; i++) {
		struct check_kind kind = {
			.response = true,
			.asked = asked[i / 2],
			.limits = &tried_limits[i % 2],
			.stride = (unsigned)size / 16,
		};
		struct checked c;
		promise(check_splits(&kind, bytes, size, &c) == NULL);
		promise(c.result == H1_MORE || c.result == H1_DONE || c.head.error == 502);
		if (c.result != H1_DONE)
			continue;
		check_head(&c.head, bytes, kind.asked);
		check_again(&c.head, bytes, kind.asked);
	}
	return 0;
}
