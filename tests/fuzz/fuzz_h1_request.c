/* SPDX-License-Identifier: MIT */
/* Any bytes as a request head: the same verdict however they are dealt out, and never a lax one. */
#include <ctype.h>

#include "tests/unit/h1_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void promise(bool kept)
{
	if (!kept)
		abort();
}

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
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct h1_limits limits[] = {{.line = 16384, .head = 65536, .fields = 100},
						  {.line = 40, .head = 150, .fields = 4}};
	const char *bytes = (const char *)data;

	if (size > 2048)
		return 0;
	for (size_t i = 0; i < 2; i++) {
		struct check_kind kind = {.limits = &limits[i]};
		struct checked c;
		promise(check_splits(&kind, bytes, size, &c) == NULL);
		if (c.result != H1_DONE)
			continue;
		size_t start = bytes[0] == '\r' ? 2 : 0;
		check_bytes(bytes + start, c.head.length - start);
		check_names(&c.head, bytes);
		check_target(&c.head, bytes);
		promise(c.head.length <= limits[i].head && c.head.fields <= limits[i].fields);
	}
	return 0;
}
