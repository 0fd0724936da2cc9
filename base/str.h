/* SPDX-License-Identifier: MIT */
/*
 * Byte strings by pointer and length. A struct str owns nothing: it points into somebody's buffer and is
 * valid as long as that buffer is. None of the functions here allocates.
 */
#ifndef WEIR_BASE_STR_H
#define WEIR_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
	const char *p;
	size_t n;
};

#define STR(lit) ((struct str){"" lit, sizeof(lit) - 1})
#define STR_NONE ((struct str){NULL, 0})

static inline struct str str_of(const char *z)
{
	return (struct str){z, z ? strlen(z) : 0};
}

static inline bool str_eq(struct str a, struct str b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* ASCII only: no locale ever changes what a header name equals. */
static inline unsigned char ascii_lower(unsigned char c)
{
	return (unsigned char)(c - 'A') < 26 ? (unsigned char)(c | 0x20) : c;
}

/* ascii_lower of eight bytes at once: of those below 0x80, which are from 'A' to 'Z' gets the bit of the
 * case. */
static inline uint64_t ascii_lower8(uint64_t v)
{
	const uint64_t each = 0x0101010101010101, top = 0x80 * each, low = v & ~top;
	uint64_t upper = (low + (0x80 - 'A') * each) & ~(low + (0x7f - 'Z') * each) & ~v & top;
	return v | upper >> 2;
}

/*
 * The same of n bytes, to `out`; the last word overlaps the one before. A host of 9 bytes costs 40
 * instructions with it, 120 byte by byte (callgrind).
 */
static inline void ascii_lower_copy(char *out, const char *in, size_t n)
{
	uint64_t v;
	if (n < 8) {
		for (size_t i = 0; i < n; i++)
			out[i] = (char)ascii_lower((unsigned char)in[i]);
		return;
	}
	for (size_t i = 0;; i = i + 16 <= n ? i + 8 : n - 8) {
		memcpy(&v, in + i, 8);
		v = ascii_lower8(v);
		memcpy(out + i, &v, 8);
		if (i == n - 8)
			return;
	}
}

static inline bool str_ieq(struct str a, struct str b)
{
	if (a.n != b.n)
		return false;
	for (size_t i = 0; i < a.n; i++)
		if (ascii_lower((unsigned char)a.p[i]) != ascii_lower((unsigned char)b.p[i]))
			return false;
	return true;
}

/* Optional white space (RFC 9110, 5.6.3) is SP and HTAB. */
static inline bool is_ows(char c)
{
	return c == ' ' || c == '\t';
}

static inline struct str str_trim(struct str s)
{
	while (s.n && is_ows(s.p[0]))
		s.p++, s.n--;
	while (s.n && is_ows(s.p[s.n - 1]))
		s.n--;
	return s;
}

/*
 * Takes the next element off a comma-separated list (RFC 9110, 5.6.1), trimmed. Empty elements are passed
 * over, as 5.6.1.2 asks of recipients. False when the list is at its end.
 */
static inline bool str_next_element(struct str *list, struct str *element)
{
	while (list->n) {
		const char *comma = memchr(list->p, ',', list->n);
		size_t n = comma ? (size_t)(comma - list->p) : list->n;
		*element = str_trim((struct str){list->p, n});
		n += comma != NULL;
		list->p += n;
		list->n -= n;
		if (element->n)
			return true;
	}
	return false;
}

/* The element is compared without regard to case, as connection options and codings are. */
static inline bool str_list_has(struct str list, struct str element)
{
	struct str e;
	while (str_next_element(&list, &e))
		if (str_ieq(e, element))
			return true;
	return false;
}

#endif
