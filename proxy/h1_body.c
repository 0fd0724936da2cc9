/* SPDX-License-Identifier: MIT */
#include <assert.h>

#include "proxy/h1_body.h"
#include "proxy/h1_line.h"

/*
 * SIZE --CR--> SIZE_LF --> DATA --> DATA_CR --> DATA_LF --> SIZE
 *   |           ^   |
 *  ";"          CR  size 0
 *   v           |   v
 *  NAME ... extensions   TRAILER --empty line--> END        anything --> BROKEN
 */
enum chunk_state {
	CHUNK_SIZE,	   /* in the hex digits */
	CHUNK_NAME_START,  /* behind a `;` */
	CHUNK_NAME,	   /* in an extension's name */
	CHUNK_VALUE_START, /* behind its `=` */
	CHUNK_VALUE,	   /* in a token */
	CHUNK_QUOTED,	   /* in a quoted string */
	CHUNK_ESCAPED,	   /* behind a backslash in it */
	CHUNK_VALUE_END,   /* behind a quoted string */
	CHUNK_SIZE_LF,	   /* behind the CR of the size's line */
	CHUNK_DATA,	   /* in the content; h1_chunked.left bytes are to come */
	CHUNK_DATA_CR,	   /* behind it */
	CHUNK_DATA_LF,
	CHUNK_TRAILER, /* at the beginning of a trailer line */
	CHUNK_END,
	CHUNK_BROKEN,
};

void h1_chunked_init(struct h1_chunked *c, const struct h1_limits *limits)
{
	*c = (struct h1_chunked){.limits = limits};
}

static enum h1_body_step fail(struct h1_chunked *c, unsigned status, const char *why)
{
	c->state = CHUNK_BROKEN;
	c->error = (uint16_t)status;
	c->why = why;
	return BODY_BAD;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	unsigned char low = ascii_lower((unsigned char)c);
	return low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
}

/* chunk-size = 1*HEXDIG (RFC 9112, 7.1). NULL, or what is wrong. */
static const char *size_byte(struct h1_chunked *c, char ch)
{
	int digit = hex_digit(ch);

	if (digit >= 0) {
		if (c->digits++ == 16 || c->left > (uint64_t)INT64_MAX >> 4)
			return "a chunk size above 2^63-1, or of more than 16 digits";
		c->left = c->left << 4 | (unsigned)digit;
		return NULL;
	}
	if (c->digits == 0 || (ch != ';' && ch != '\r'))
		return "a chunk size that is not hexadecimal";
	c->extension += ch == ';';
	c->state = ch == ';' ? CHUNK_NAME_START : CHUNK_SIZE_LF;
	return NULL;
}

/* What may follow an extension, or is part of its token. */
static bool token_byte(struct h1_chunked *c, char ch)
{
	if (h1_is(ch, H1_TCHAR) && c->state != CHUNK_VALUE_END)
		return true;
	if (ch == '=' && c->state == CHUNK_NAME)
		c->state = CHUNK_VALUE_START;
	else if (ch == ';')
		c->state = CHUNK_NAME_START;
	else if (ch == '\r')
		c->state = CHUNK_SIZE_LF;
	else
		return false;
	return true;
}

/* chunk-ext = *( ";" token [ "=" ( token / quoted-string ) ] ) (RFC 9112, 7.1.1). NULL, or what is wrong. */
static const char *extension_byte(struct h1_chunked *c, char ch)
{
	bool good = true;

	if (c->extension++ >= H1_EXTENSION_MAX)
		return "too many bytes of chunk extensions";
	switch (c->state) {
	case CHUNK_NAME_START:
		good = h1_is(ch, H1_TCHAR);
		c->state = CHUNK_NAME;
		break;
	case CHUNK_VALUE_START:
		good = h1_is(ch, H1_TCHAR) || ch == '"';
		c->state = ch == '"' ? CHUNK_QUOTED : CHUNK_VALUE;
		break;
	case CHUNK_QUOTED: /* RFC 9110, 5.6.4 */
		good = !h1_is(ch, H1_STOP_VALUE);
		if (ch == '"' || ch == '\\')
			c->state = ch == '"' ? CHUNK_VALUE_END : CHUNK_ESCAPED;
		break;
	case CHUNK_ESCAPED:
		good = !h1_is(ch, H1_STOP_VALUE);
		c->state = CHUNK_QUOTED;
		break;
	default:
		good = token_byte(c, ch);
	}
	return good ? NULL : "a chunk extension that is no name, or no name and value";
}

/* A byte between the data of one chunk and that of the next. NULL, or what is wrong. */
static const char *frame_byte(struct h1_chunked *c, char ch)
{
	switch (c->state) {
	case CHUNK_SIZE:
		return size_byte(c, ch);
	case CHUNK_SIZE_LF:
		c->state = c->left ? CHUNK_DATA : CHUNK_TRAILER;
		return ch == '\n' ? NULL : "a CR without LF behind a chunk size";
	case CHUNK_DATA_CR:
		c->state = CHUNK_DATA_LF;
		return ch == '\r' ? NULL : "a chunk that is longer than its size";
	case CHUNK_DATA_LF:
		c->state = CHUNK_SIZE;
		c->digits = 0;
		return ch == '\n' ? NULL : "a CR without LF behind a chunk";
	default:
		return extension_byte(c, ch);
	}
}

static enum h1_body_step take_data(struct h1_chunked *c, const char *buf, size_t len, size_t *used,
				   struct str *out)
{
	size_t n = c->left < len ? (size_t)c->left : len;

	if (n == 0)
		return BODY_MORE;
	c->left -= n;
	c->total += n;
	if (c->left == 0)
		c->state = CHUNK_DATA_CR;
	*used += n;
	*out = (struct str){buf, n};
	return BODY_DATA;
}

/* BODY_TRAILER: the line is one to pass on. BODY_MORE: it is sound, and dropped. */
static enum h1_body_step split_trailer(struct h1_chunked *c, const char *buf, size_t n)
{
	struct h1_field f;
	bool odd;

	if (c->trailers++ == c->limits->fields)
		return fail(c, 431, "too many trailers");
	const char *why = h1_split_field(&f, buf, 0, n, &odd);
	if (why)
		return fail(c, 400, why);
	if (field_is(f.id, FIELD_NO_TRAILER | FIELD_HOP) ||
	    (odd && field_imitated(buf, f.name_len) != FIELD_OTHER))
		return BODY_MORE;
	c->name = h1_name(buf, &f);
	c->value = h1_value(buf, &f);
	return BODY_TRAILER;
}

/*
 * One line of trailers, the empty one included (RFC 9112, 7.1.2). BODY_MORE with *used grown: a line was
 * dropped.
 */
static enum h1_body_step trailer_line(struct h1_chunked *c, const char *buf, size_t len, size_t *used,
				      struct str *out)
{
	size_t room = c->limits->head > c->trailer ? c->limits->head - c->trailer : 0;

	assert(len >= c->clean); /* what was left must be shown again */
	size_t end = h1_scan_value(buf, c->clean, len);
	if (end > c->limits->line || end > room)
		return fail(c, 431, "trailers that are too long");
	c->clean = (uint32_t)end;
	if (end == len || (buf[end] == '\r' && end + 1 == len))
		return BODY_MORE;
	if (buf[end] != '\r' || buf[end + 1] != '\n')
		return fail(c, 400, buf[end] == '\r' ? "a CR without LF" : h1_why_byte(buf[end]));
	c->clean = 0;
	c->trailer += (uint32_t)end + 2;
	*used += end + 2;
	if (end == 0) {
		c->state = CHUNK_END;
		return BODY_END;
	}
	*out = (struct str){buf, end};
	return split_trailer(c, buf, end);
}

static enum h1_body_step take_trailer(struct h1_chunked *c, const char *buf, size_t len, size_t *used,
				      struct str *out)
{
	for (;;) {
		size_t before = *used;
		enum h1_body_step step = trailer_line(c, buf, len, used, out);
		if (step != BODY_MORE || *used == before)
			return step;
		buf += *used - before;
		len -= *used - before;
	}
}

enum h1_body_step h1_chunked_step(struct h1_chunked *c, const char *buf, size_t len, size_t *used,
				  struct str *out)
{
	size_t i = 0;
	enum h1_body_step step = BODY_MORE;

	*out = STR_NONE;
	while (c->state < CHUNK_TRAILER && c->state != CHUNK_DATA) {
		if (i == len) {
			*used = i;
			return BODY_MORE;
		}
		const char *why = frame_byte(c, buf[i++]);
		if (why) {
			*used = i;
			return fail(c, 400, why);
		}
	}
	if (c->state == CHUNK_DATA)
		step = take_data(c, buf + i, len - i, &i, out);
	else if (c->state == CHUNK_TRAILER)
		step = take_trailer(c, buf + i, len - i, &i, out);
	else
		step = c->state == CHUNK_END ? BODY_END : BODY_BAD;
	*used = i;
	return step;
}

size_t h1_chunk_header(char out[H1_CHUNK_HEADER_MAX], uint64_t size)
{
	unsigned digits = (unsigned)(63 - __builtin_clzll(size | 1)) / 4 + 1;

	for (unsigned i = digits; i-- > 0; size >>= 4)
		out[i] = "0123456789abcdef"[size & 15];
	out[digits] = '\r';
	out[digits + 1] = '\n';
	return digits + 2;
}
