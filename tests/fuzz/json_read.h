/* SPDX-License-Identifier: MIT */
/*
 * A strict reader of JSON (RFC 8259) for the fuzz targets, written apart from weir's writer. It says whether
 * a text is sound, and keeps nothing.
 */
#ifndef WEIR_TESTS_FUZZ_JSON_READ_H
#define WEIR_TESTS_FUZZ_JSON_READ_H

#include "tests/fuzz/fuzz.h"

static inline bool json_hex(const unsigned char *p)
{
	for (unsigned i = 0; i < 4; i++)
		if (!(p[i] >= '0' && p[i] <= '9') && !(p[i] >= 'a' && p[i] <= 'f') &&
		    !(p[i] >= 'A' && p[i] <= 'F'))
			return false;
	return true;
}

/* The length of one character inside a string (RFC 8259, 7; RFC 3629, 4), 0 if it is none. */
static inline size_t json_character(const unsigned char *p, size_t n)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};

	if (p[0] < 0x20 || p[0] == '"')
		return 0;
	if (p[0] == '\\') {
		if (n >= 2 && p[1] && memchr("\"\\/bfnrt", p[1], 8))
			return 2;
		return n >= 6 && p[1] == 'u' && json_hex(p + 2) ? 6 : 0;
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

/* What may stand between two quotes. */
static inline bool json_inside(struct str s)
{
	while (s.n) {
		size_t len = json_character((const unsigned char *)s.p, s.n);
		if (!len)
			return false;
		s.p += len;
		s.n -= len;
	}
	return true;
}

static inline bool json_read_value(struct str *s, unsigned depth);

static inline bool json_read_char(struct str *s, char c)
{
	if (!s->n || s->p[0] != c)
		return false;
	s->p++, s->n--;
	return true;
}

static inline bool json_read_string(struct str *s)
{
	if (!json_read_char(s, '"'))
		return false;
	while (s->n && s->p[0] != '"') {
		size_t len = json_character((const unsigned char *)s->p, s->n);
		if (!len)
			return false;
		s->p += len;
		s->n -= len;
	}
	return json_read_char(s, '"');
}

static inline size_t json_read_digits(struct str *s)
{
	size_t n = 0;

	while (s->n && s->p[0] >= '0' && s->p[0] <= '9')
		s->p++, s->n--, n++;
	return n;
}

static inline bool json_read_number(struct str *s)
{
	json_read_char(s, '-');
	if (!json_read_char(s, '0') && !json_read_digits(s))
		return false;
	if (json_read_char(s, '.') && !json_read_digits(s))
		return false;
	if (json_read_char(s, 'e') || json_read_char(s, 'E')) {
		if (!json_read_char(s, '+'))
			json_read_char(s, '-');
		return json_read_digits(s) > 0;
	}
	return true;
}

static inline bool json_read_members(struct str *s, char close, unsigned depth)
{
	if (json_read_char(s, close))
		return true;
	do {
		if (close == '}' && !(json_read_string(s) && json_read_char(s, ':')))
			return false;
		if (!json_read_value(s, depth + 1))
			return false;
	} while (json_read_char(s, ','));
	return json_read_char(s, close);
}

static inline bool json_read_word(struct str *s, struct str word)
{
	if (s->n < word.n || memcmp(s->p, word.p, word.n) != 0)
		return false;
	s->p += word.n;
	s->n -= word.n;
	return true;
}

/* Without white space, as weir writes it. */
static inline bool json_read_value(struct str *s, unsigned depth)
{
	if (!s->n || depth > 64)
		return false;
	switch (s->p[0]) {
	case '"':
		return json_read_string(s);
	case '{':
		return json_read_char(s, '{') && json_read_members(s, '}', depth);
	case '[':
		return json_read_char(s, '[') && json_read_members(s, ']', depth);
	case 't':
		return json_read_word(s, STR("true"));
	case 'f':
		return json_read_word(s, STR("false"));
	case 'n':
		return json_read_word(s, STR("null"));
	default:
		return json_read_number(s);
	}
}

static inline bool json_is_sound(struct str s)
{
	return json_read_value(&s, 0) && s.n == 0;
}

#endif
