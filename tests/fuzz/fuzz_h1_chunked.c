/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a chunked body: the same content however they are dealt out; the same as a naive decoder
 * finds; and what was decoded, chunked again by h1_chunk_header, decodes to itself.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/unit/h1_check.h"

static const struct h1_limits limits = {.line = 200, .head = 600, .fields = 8};

/* The content of a sound body, by its line ends alone. Returns the bytes it took, without trailers. */
static size_t naive(const char *p, size_t n, char *content, size_t *content_n)
{
	size_t at = 0;

	for (*content_n = 0;;) {
		size_t size = 0, end = at;
		for (; end < n && p[end] != ';' && p[end] != '\r'; end++)
			size = size * 16 +
			       (size_t)(p[end] <= '9' ? p[end] - '0' : (p[end] | 0x20) - 'a' + 10);
		while (p[end] != '\r')
			end++;
		promise(end + 2 <= n && p[end + 1] == '\n');
		at = end + 2;
		if (size == 0)
			return at;
		promise(size <= n && at + size + 2 <= n);
		memcpy(content + *content_n, p + at, size);
		*content_n += size;
		at += size;
		promise(p[at] == '\r' && p[at + 1] == '\n');
		at += 2;
	}
}

static void again(const char *content, size_t n)
{
	static char coded[8192];
	static struct unchunked u;
	size_t at = 0;

	for (size_t from = 0, piece = 1; from < n;
	     from += piece, piece = piece * 2 < n - from ? piece * 2 : n - from) {
		at += h1_chunk_header(coded + at, piece);
		memcpy(coded + at, content + from, piece);
		memcpy(coded + at + piece, "\r\n", 2);
		at += piece + 2;
		if (from + piece == n)
			break;
	}
	at += h1_chunk_header(coded + at, 0);
	memcpy(coded + at, "\r\n", 2);
	promise(unchunk(&limits, coded, at + 2, at + 2, &u) == NULL);
	promise(u.end == BODY_END && u.n == n && memcmp(u.text, content, n) == 0);
}

/* 2^63 and above, in whatever number of digits, is no size. */
static bool too_large(const char *p, size_t n)
{
	uint64_t size = 0;
	size_t i = 0;

	for (; i < n && ((p[i] >= '0' && p[i] <= '9') || ((p[i] | 0x20) >= 'a' && (p[i] | 0x20) <= 'f'));
	     i++) {
		if (size >> 59)
			return true;
		size = size << 4 | (unsigned)(p[i] <= '9' ? p[i] - '0' : (p[i] | 0x20) - 'a' + 10);
	}
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct unchunked u;
	static char content[4096];
	const char *bytes = (const char *)data;
	size_t n;

	if (size > 600)
		return 0;
	promise(unchunk_splits(&limits, bytes, size, &u) == NULL);
	promise(!too_large(bytes, size) || u.end == BODY_BAD);
	if (u.end != BODY_END)
		return 0;
	promise(naive(bytes, size, content, &n) < u.used);
	promise(n <= u.n && memcmp(content, u.text, n) == 0 && (n == u.n || u.text[n] == '|'));
	again(content, n);
	return 0;
}
