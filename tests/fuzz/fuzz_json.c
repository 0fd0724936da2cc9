/* SPDX-License-Identifier: MIT */
/*
 * Any bytes into JSON strings, whole and cut off, and as a query with secrets in it: what comes out is read
 * back by a strict reader of JSON strings written apart from the writer, and never leaves its buffer.
 */
#include <stdlib.h>

#include "base/json.h"
#include "proxy/query_redact.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
	if (!ok)
		abort();
}

static bool is_hex(unsigned char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* The length of one character inside a JSON string (RFC 8259, 7; RFC 3629, 4), 0 if it is none. */
static size_t character(const unsigned char *p, size_t n)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	if (p[0] < 0x20 || p[0] == '"')
		return 0;
	if (p[0] == '\\') {
		if (n >= 2 && memchr("\"\\/bfnrt", p[1], 8))
			return 2;
		return n >= 6 && p[1] == 'u' && is_hex(p[2]) && is_hex(p[3]) && is_hex(p[4]) && is_hex(p[5])
			       ? 6
			       : 0;
	}
	if (p[0] < 0x80)
		return 1;
	size_t len = p[0] >= 0xf8 ? 0 : p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : p[0] >= 0xc0 ? 2 : 0;
	if (!len || n < len)
		return 0;
	uint32_t code = p[0] & (0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (p[i] & 0x3f);
	}
	return code < least[len] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? 0 : len;
}

static void check_inside(const char *p, size_t n)
{
	while (n) {
		size_t len = character((const unsigned char *)p, n);
		check(len > 0);
		p += len;
		n -= len;
	}
}

static void check_string(struct str in, size_t cap, size_t max)
{
	struct json j;
	char *buf = malloc(cap + 1);

	json_init(&j, buf, cap);
	json_str_max(&j, in, max);
	size_t n = json_finish(&j);
	check(n <= cap && (n == 0 || n <= max + 2));
	if (n) {
		check(n >= 2 && buf[0] == '"' && buf[n - 1] == '"');
		check_inside(buf + 1, n - 2);
	}
	check(n > 0 || cap < in.n * 6 + 2);
	free(buf);
}

static void check_query(struct str in, size_t cap)
{
	static const struct str words[] = {{"token", 5}, {"api-key", 7}};
	char *buf = malloc(cap);
	char *end = query_redact(buf, buf + cap, in, words, 2);

	check(end >= buf && end <= buf + cap);
	check_inside(buf, (size_t)(end - buf));
	free(buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	struct str in = {(const char *)data + 2, size - 2};
	check_string(in, in.n * 6 + 2, in.n * 6);
	check_string(in, data[0], (size_t)-3);
	check_string(in, data[0], data[1]);
	check_query(in, 3 + data[0]);
	check_query(in, 3 + 6 * size);
	return 0;
}
