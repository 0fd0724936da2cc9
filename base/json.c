/* SPDX-License-Identifier: MIT */
#include "base/json.h"

#include <math.h>
#include <stdio.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/fmt.h"

/*
 * How each byte is written: 0 as it is, U as \u00XX, M as the start (or a stray part) of more than one byte,
 * anything else as a backslash and that letter.
 */
enum { PLAIN = 0, U = 1, M = 2 };

static const unsigned char escape_of[256] = {
	U,	     U,
	U,	     U,
	U,	     U,
	U,	     U,
	'b',	     't',
	'n',	     U,
	'f',	     'r',
	U,	     U,
	U,	     U,
	U,	     U,
	U,	     U,
	U,	     U,
	U,	     U,
	U,	     U,
	U,	     U,
	U,	     U,
	['"'] = '"', ['\\'] = '\\',
	[0x7f] = U,  [0x80 ... 0xff] = M,
};

/* The number of bytes at the front that are written as they are. */
static size_t plain_run(const char *s, size_t n)
{
	size_t i = 0;
#ifdef __SSE2__
	const __m128i space = _mm_set1_epi8(' '), quote = _mm_set1_epi8('"');
	const __m128i slash = _mm_set1_epi8('\\'), del = _mm_set1_epi8(0x7f);
	for (; i + 16 <= n; i += 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)(const void *)(s + i));
		/* compared as signed bytes, so that 0x80 and above are below the space too */
		__m128i odd = _mm_or_si128(_mm_or_si128(_mm_cmplt_epi8(v, space), _mm_cmpeq_epi8(v, quote)),
					   _mm_or_si128(_mm_cmpeq_epi8(v, slash), _mm_cmpeq_epi8(v, del)));
		unsigned mask = (unsigned)_mm_movemask_epi8(odd);
		if (mask)
			return i + (unsigned)__builtin_ctz(mask);
	}
#endif
	while (i < n && escape_of[(unsigned char)s[i]] == PLAIN)
		i++;
	return i;
}

/*
 * The length of the UTF-8 character at the front (RFC 3629, 4), or with *valid false the length of what one
 * U+FFFD stands for: the longest start of a character, at least a byte (Unicode, 3.9, "maximal subparts").
 */
static size_t utf8_char(const unsigned char *s, size_t n, bool *valid)
{
	unsigned char low = 0x80,
		      high = 0xbf; /* bounds of the second byte: no overlong forms, no surrogates */
	size_t want, i = 1;

	*valid = false;
	if (s[0] >= 0xc2 && s[0] <= 0xdf) {
		want = 2;
	} else if ((s[0] & 0xf0) == 0xe0) {
		want = 3;
		low = s[0] == 0xe0 ? 0xa0 : 0x80;
		high = s[0] == 0xed ? 0x9f : 0xbf;
	} else if (s[0] >= 0xf0 && s[0] <= 0xf4) {
		want = 4;
		low = s[0] == 0xf0 ? 0x90 : 0x80;
		high = s[0] == 0xf4 ? 0x8f : 0xbf;
	} else {
		return 1;
	}
	for (; i < want && i < n && s[i] >= low && s[i] <= high; i++)
		low = 0x80, high = 0xbf;
	*valid = i == want;
	return i;
}

/* Writes the one character at the front, which is not plain; NULL when it does not fit. */
static char *escape_one(char *out, char *end, struct str *in)
{
	unsigned char c = (unsigned char)in->p[0], how = escape_of[c];
	char text[6] = "\\u00";
	const char *from = text;
	size_t took = 1, n;
	bool valid;

	if (how == M) {
		took = utf8_char((const unsigned char *)in->p, in->n, &valid);
		from = valid ? in->p : "\xef\xbf\xbd"; /* U+FFFD */
		n = valid ? took : 3;
	} else if (how == U) {
		fmt_hex(text + 4, c, 2);
		n = 6;
	} else {
		text[1] = (char)how;
		n = 2;
	}
	if ((size_t)(end - out) < n)
		return NULL;
	memcpy(out, from, n);
	in->p += took;
	in->n -= took;
	return out + n;
}

char *json_escape_some(char *out, char *end, struct str *in)
{
	while (in->n) {
		size_t room = (size_t)(end - out), run = plain_run(in->p, in->n < room ? in->n : room);
		memcpy(out, in->p, run);
		out += run;
		in->p += run;
		in->n -= run;
		if (in->n) {
			char *next = escape_one(out, end, in);
			if (!next)
				break;
			out = next;
		}
	}
	return out;
}

void json_init(struct json *j, char *buf, size_t cap)
{
	*j = (struct json){.start = buf, .p = buf, .end = buf + cap};
}

size_t json_finish(const struct json *j)
{
	assert(j->depth == 0);
	return j->overflow ? 0 : (size_t)(j->p - j->start);
}

/* Room for n bytes and the comma before them, which is written; false once there was none. */
static bool reserve(struct json *j, size_t n)
{
	if (j->overflow || (size_t)(j->end - j->p) < n + j->comma) {
		j->overflow = true;
		return false;
	}
	if (j->comma)
		*j->p++ = ',';
	return true;
}

static void value(struct json *j, struct str text)
{
	if (!reserve(j, text.n))
		return;
	j->p = fmt_str(j->p, text);
	j->comma = true;
}

static void nest(struct json *j, char bracket, bool array)
{
	assert(j->depth < JSON_DEPTH_MAX);
	j->arrays = j->arrays << 1 | array;
	j->depth++;
	if (reserve(j, 1))
		*j->p++ = bracket;
	j->comma = false;
}

static void unnest(struct json *j, char bracket, bool array)
{
	assert(j->depth > 0 && (j->arrays & 1) == array);
	j->arrays >>= 1;
	j->depth--;
	j->comma = false;
	if (reserve(j, 1))
		*j->p++ = bracket;
	j->comma = true;
}

void json_obj_open(struct json *j)
{
	nest(j, '{', false);
}

void json_obj_close(struct json *j)
{
	unnest(j, '}', false);
}

void json_arr_open(struct json *j)
{
	nest(j, '[', true);
}

void json_arr_close(struct json *j)
{
	unnest(j, ']', true);
}

/* Text and its quotes. Cut off at max is as it should be, cut off by the end of the buffer is not. */
static void quoted(struct json *j, struct str s, size_t max)
{
	if (!reserve(j, 2))
		return;
	size_t room = (size_t)(j->end - j->p) - 2;
	*j->p++ = '"';
	j->p = json_escape_some(j->p, j->p + (max < room ? max : room), &s);
	*j->p++ = '"';
	j->comma = true;
	if (s.n && max > room)
		j->overflow = true;
}

void json_key_str(struct json *j, struct str key)
{
	assert(j->depth > 0 && !(j->arrays & 1));
	quoted(j, key, SIZE_MAX);
	j->comma = false;
	if (reserve(j, 1))
		*j->p++ = ':';
}

void json_str(struct json *j, struct str s)
{
	json_str_max(j, s, SIZE_MAX);
}

void json_str_max(struct json *j, struct str s, size_t max)
{
	if (s.p)
		quoted(j, s, max);
	else
		json_null(j);
}

void json_u64(struct json *j, uint64_t v)
{
	char text[FMT_U64_MAX];
	value(j, (struct str){text, (size_t)(fmt_u64(text, v) - text)});
}

void json_i64(struct json *j, int64_t v)
{
	char text[FMT_I64_MAX];
	value(j, (struct str){text, (size_t)(fmt_i64(text, v) - text)});
}

void json_double(struct json *j, double v, unsigned decimals)
{
	static const double scale[] = {1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9};
	char text[40], *p = text;
	double size = fabs(v);

	assert(decimals < sizeof(scale) / sizeof(scale[0]));
	if (!isfinite(v)) {
		json_null(j);
		return;
	}
	if (size >=
	    18446744073709551616.0) { /* 2^64: only with an exponent, and never met in a line of the log */
		int n = snprintf(text, sizeof(text), "%.17g", v);
		value(j, (struct str){text, (size_t)n});
		return;
	}
	uint64_t whole = (uint64_t)size;
	uint64_t part = (uint64_t)((size - (double)whole) * scale[decimals] + 0.5);
	if (part >= (uint64_t)scale[decimals]) {
		part = 0;
		whole++;
	}
	if (v < 0 && (whole || part))
		*p++ = '-';
	p = fmt_u64(p, whole);
	if (decimals) {
		*p++ = '.';
		p = fmt_pad(p, part, decimals);
	}
	value(j, (struct str){text, (size_t)(p - text)});
}

void json_bool(struct json *j, bool v)
{
	value(j, v ? STR("true") : STR("false"));
}

void json_null(struct json *j)
{
	value(j, STR("null"));
}

void json_raw(struct json *j, struct str v)
{
	assert(v.n > 0);
	value(j, v);
}
