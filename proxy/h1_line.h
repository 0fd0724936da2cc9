/* SPDX-License-Identifier: MIT */
/*
 * One line of HTTP/1: classes of bytes, scans for the byte that ends a run, and the split of a field line. Of
 * the parsers in h1_*.c alone; others include h1_head.h and h1_body.h. Pure functions; all reads stay within
 * buf[0, len).
 *
 * Every scan has a plain form that goes by the table of classes, and on x86-64 one that looks at 16 bytes at
 * once.
 */
#ifndef WEIR_PROXY_H1_LINE_H
#define WEIR_PROXY_H1_LINE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "proxy/h1_head.h"

enum h1_class {
	H1_TCHAR = 1 << 0,	 /* of tokens (RFC 9110, 5.6.2) */
	H1_PLAIN = 1 << 1,	 /* a letter, digit or dash */
	H1_LABEL = 1 << 2,	 /* of the labels of host names that we take: a letter, digit, dash or `_` */
	H1_STOP_VALUE = 1 << 3,	 /* in no field value (RFC 9110, 5.5): a control byte but the tab */
	H1_STOP_START = 1 << 4,	 /* in no request line: neither visible ASCII nor SP */
	H1_STOP_TARGET = 1 << 5, /* ends a path: SP, `?`, and `#`, which is in no target */
	H1_STOP_QUERY = 1 << 6,	 /* ends a query: SP, `#` */
	H1_COLON = 1 << 7,
};

extern const uint8_t h1_class[256];

static inline bool h1_is(char c, unsigned classes)
{
	return (h1_class[(unsigned char)c] & classes) != 0;
}

/* The first byte from `at` on that is of that class, or len. */
static inline size_t h1_scan_plain(const char *buf, size_t at, size_t len, enum h1_class stop)
{
	while (at < len && !h1_is(buf[at], stop))
		at++;
	return at;
}

/*
 * H1_SCAN(name, class, expression): the same by 16 bytes, where the expression gives 0xff for each byte of v
 * that is of the class. The last bytes are looked at together with those before them, never with what lies
 * behind the buffer.
 */
#ifdef __SSE2__
#define H1_SCAN(name, stop, expression)                                                                      \
	static inline size_t name(const char *buf, size_t at, size_t len)                                    \
	{                                                                                                    \
		for (; at + 16 <= len; at += 16) {                                                           \
			__m128i v = _mm_loadu_si128((const __m128i *)(const void *)(buf + at));              \
			unsigned found = (unsigned)_mm_movemask_epi8(expression);                            \
			if (found)                                                                           \
				return at + (unsigned)__builtin_ctz(found);                                  \
		}                                                                                            \
		if (len < 16 || at >= len)                                                                   \
			return h1_scan_plain(buf, at, len, stop);                                            \
		__m128i v = _mm_loadu_si128((const __m128i *)(const void *)(buf + len - 16));                \
		unsigned found = (unsigned)_mm_movemask_epi8(expression) >> (at + 16 - len);                 \
		return found ? at + (unsigned)__builtin_ctz(found) : len;                                    \
	}
#else
#define H1_SCAN(name, stop, expression)                                                                      \
	static inline size_t name(const char *buf, size_t at, size_t len)                                    \
	{                                                                                                    \
		return h1_scan_plain(buf, at, len, stop);                                                    \
	}
#endif

/*
 * The end of a host of letters, digits, `-`, `_` and single dots: what DNS names, IPv4 and service names
 * have. No label is empty: a dot that makes one ends it; one dot may stand at the end.
 */
static inline size_t h1_scan_host_plain(const char *buf, size_t at, size_t len, bool behind_dot)
{
	for (; at < len; at++) {
		bool dot = buf[at] == '.';
		if (!dot && !h1_is(buf[at], H1_LABEL))
			break;
		if (dot && behind_dot)
			break;
		behind_dot = dot;
	}
	return at;
}

#define V_EQ(c) _mm_cmpeq_epi8(v, _mm_set1_epi8(c))
#define V_WITHIN(v, first, last)                                                                             \
	_mm_cmpeq_epi8(_mm_min_epu8(_mm_sub_epi8(v, _mm_set1_epi8(first)), _mm_set1_epi8((last) - (first))), \
		       _mm_sub_epi8(v, _mm_set1_epi8(first)))

/* 39 instructions less for a host of 9 bytes than byte by byte (callgrind). */
static inline size_t h1_scan_host(const char *buf, size_t at, size_t len)
{
	unsigned behind_dot = 1; /* or at the start */
#ifdef __SSE2__
	for (; at + 16 <= len; at += 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)(const void *)(buf + at));
		__m128i alnum = _mm_or_si128(V_WITHIN(_mm_or_si128(v, _mm_set1_epi8(0x20)), 'a', 'z'),
					     V_WITHIN(v, '0', '9'));
		__m128i label = _mm_or_si128(alnum, _mm_or_si128(V_EQ('-'), V_EQ('_')));
		unsigned dots = (unsigned)_mm_movemask_epi8(V_EQ('.'));
		unsigned ends = ~((unsigned)_mm_movemask_epi8(label) | dots) & 0xffff;
		ends |= dots & (dots << 1 | behind_dot);
		if (ends)
			return at + (unsigned)__builtin_ctz(ends);
		behind_dot = dots >> 15;
	}
#endif
	return h1_scan_host_plain(buf, at, len, behind_dot);
}

#define V_CONTROL _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1f)), v)
#define V_BELOW_SPACE _mm_cmplt_epi8(v, _mm_set1_epi8(0x20)) /* signed: takes 0x80 to 0xff too */

H1_SCAN(h1_scan_value, H1_STOP_VALUE, _mm_or_si128(_mm_andnot_si128(V_EQ('\t'), V_CONTROL), V_EQ(0x7f)))
H1_SCAN(h1_scan_start, H1_STOP_START, _mm_or_si128(V_BELOW_SPACE, V_EQ(0x7f)))
H1_SCAN(h1_scan_target, H1_STOP_TARGET, _mm_or_si128(_mm_or_si128(V_EQ(' '), V_EQ('?')), V_EQ('#')))
H1_SCAN(h1_scan_query, H1_STOP_QUERY, _mm_or_si128(V_EQ(' '), V_EQ('#')))
H1_SCAN(h1_scan_colon, H1_COLON, V_EQ(':'))

#undef V_EQ
#undef V_WITHIN
#undef V_CONTROL
#undef V_BELOW_SPACE
#undef H1_SCAN

static inline bool h1_crlf(const char *buf, size_t at, size_t len)
{
	return at + 2 <= len && memcmp(buf + at, "\r\n", 2) == 0;
}

/* Case-blind; the literal in lower case, of letters, digits and dashes. */
#define h1_says(s, literal)                                                                                  \
	((s).n == sizeof(literal) - 1 && field_same((s).p, "" literal, sizeof(literal) - 1))

/* What is wrong with a byte that stopped a scan and is no CR. */
const char *h1_why_byte(char c);

enum h1_name_kind {
	H1_NAME_PLAIN, /* of letters, digits and dashes */
	H1_NAME_ODD,   /* a token of other bytes too, which RFC 9110, 5.1 lets pass */
	H1_NAME_BAD,   /* no token, or longer than a field may be */
};

enum h1_name_kind h1_name_kind(const char *name, size_t n);

/* True if the whole of it is a token, and not empty. */
bool h1_is_token(struct str s);

/* Names and trims the field line buf[at, end) with that colon, whose name and value are known to be sound. */
static inline void h1_set_field(struct h1_field *f, enum field_id id, const char *buf, size_t at,
				size_t colon, size_t end)
{
	size_t from = colon + 2;
	bool as_written = from < end && buf[colon + 1] == ' ' && (unsigned char)buf[from] > ' ' &&
			  (unsigned char)buf[end - 1] > ' ';
	if (!as_written) {
		/* In a scanned line nothing but white space is at or below SP; backwards the colon ends it.
		 */
		while ((unsigned char)buf[end - 1] <= ' ')
			end--;
		for (from = colon + 1; from < end && (unsigned char)buf[from] <= ' ';)
			from++;
	}
	f->name_at = (uint32_t)at;
	f->value_at = (uint32_t)from;
	f->value_len = (uint32_t)(end - from);
	f->name_len = (uint16_t)(colon - at);
	f->id = (uint8_t)id;
	f->flags = as_written ? H1_FIELD_AS_WRITTEN : 0;
}

/*
 * A whole field line of a name that is known, or unknown but without odd bytes, in one pass: the place of its
 * CRLF. 0 when there is anything else to say of it: then the line is scanned as a whole and h1_split_field
 * tells. This is where heads spend their time. Without it a response head of six fields costs 2,231
 * instructions instead of 1,339 (callgrind).
 */
static inline size_t h1_usual_field(struct h1_field *f, const char *buf, size_t at, size_t len)
{
	size_t colon = h1_scan_colon(buf, at, len);

	if (colon == len)
		return 0;
	enum field_id id = field_lookup(buf + at, colon - at);
	if (id == FIELD_OTHER && h1_name_kind(buf + at, colon - at) != H1_NAME_PLAIN)
		return 0;
	size_t end = h1_scan_value(buf, colon + 1, len);
	if (!h1_crlf(buf, end, len))
		return 0;
	h1_set_field(f, id, buf, at, colon, end);
	return end;
}

/*
 * Splits the field line buf[at, end), in which h1_scan_value found nothing (RFC 9112, 5). NULL, or what is
 * wrong. `odd`: the name is one of H1_NAME_ODD.
 */
const char *h1_split_field(struct h1_field *f, const char *buf, size_t at, size_t end, bool *odd);

#endif
