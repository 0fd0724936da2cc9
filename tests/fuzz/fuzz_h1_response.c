/* SPDX-License-Identifier: MIT */
/* Any bytes as a response head: the same verdict however they are dealt out, and a body of one reading. */
#include "tests/unit/h1_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void promise(bool kept)
{
	if (!kept)
		abort();
}

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
	for (size_t i = 0; i < h->length; i++) {
		unsigned char c = (unsigned char)bytes[i];
		promise(c != 0x7f && (c >= 0x20 || c == '\t' || c == '\r' || c == '\n'));
		promise(c != '\r' || bytes[i + 1] == '\n');
		promise(c != '\n' || bytes[i - 1] == '\r');
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct h1_limits limits[] = {{.line = 16384, .head = 65536, .fields = 100},
						  {.line = 40, .head = 150, .fields = 4}};
	static const enum http_method asked[] = {METHOD_GET, METHOD_HEAD};
	const char *bytes = (const char *)data;

	if (size > 2048)
		return 0;
	for (size_t i = 0; i < 4; i++) {
		struct check_kind kind = {.response = true, .asked = asked[i / 2], .limits = &limits[i % 2]};
		struct checked c;
		promise(check_splits(&kind, bytes, size, &c) == NULL);
		if (c.result == H1_DONE)
			check_head(&c.head, bytes, kind.asked);
		else
			promise(c.result == H1_MORE || c.head.error == 502);
	}
	return 0;
}
