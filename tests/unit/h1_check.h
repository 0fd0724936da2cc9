/* SPDX-License-Identifier: MIT */
/*
 * For the tests and fuzz targets of the HTTP/1 parser: whatever the bytes are, the verdict must not depend on
 * how they were dealt out. Each piece of input is given in memory of exactly its size, so that a sanitizer
 * sees a read behind it. The functions return NULL, or what was wrong.
 */
#ifndef WEIR_TESTS_UNIT_H1_CHECK_H
#define WEIR_TESTS_UNIT_H1_CHECK_H

#include <stdlib.h>
#include <string.h>

#include "proxy/h1_body.h"
#include "proxy/h1_head.h"

enum { CHECK_FIELDS = 128 };

struct checked {
	struct h1_head head;
	struct h1_field field[CHECK_FIELDS];
	enum h1_result result;
};

struct check_kind {
	bool response;
	enum http_method asked;
	const struct h1_limits *limits;
	unsigned stride; /* only every so many-th split, from a place that the bytes say; 0: all of them */
};

static inline void check_init(struct checked *c)
{
	memset(c, 0xa5, sizeof(*c)); /* nothing may rest on memory that happens to be clean */
	h1_head_init(&c->head, c->field, CHECK_FIELDS);
	c->result = H1_MORE;
}

static inline void check_feed(struct checked *c, const struct check_kind *kind, const char *bytes, size_t n)
{
	char *exact = malloc(n ? n : 1);

	if (!exact)
		abort();
	memcpy(exact, bytes, n);
	if (kind->response)
		c->result = h1_response_parse(&c->head, kind->limits, exact, n, kind->asked);
	else
		c->result = h1_request_parse(&c->head, kind->limits, exact, n);
	free(exact);
}

/* `name: value` CRLF, and nothing else: what may go out as it came in. */
static inline bool h1_stands_as_written(const char *bytes, const struct h1_field *f)
{
	return f->value_at == f->name_at + f->name_len + 2 && memcmp(bytes + f->value_at - 2, ": ", 2) == 0 &&
	       memcmp(bytes + f->value_at + f->value_len, "\r\n", 2) == 0;
}

static inline bool same_span(struct h1_span a, struct h1_span b)
{
	return a.at == b.at && a.n == b.n;
}

static inline bool same_results(const struct h1_head *a, const struct h1_head *b)
{
	return a->length == b->length && a->version_minor == b->version_minor && a->method == b->method &&
	       a->form == b->form && a->framing == b->framing && a->has_length == b->has_length &&
	       a->keep_alive == b->keep_alive && a->connection_upgrade == b->connection_upgrade &&
	       a->expect_continue == b->expect_continue && a->connection_fields == b->connection_fields &&
	       a->has_query == b->has_query && a->status == b->status && a->host_port == b->host_port &&
	       a->content_length == b->content_length && a->keep_alive_s == b->keep_alive_s &&
	       a->present[0] == b->present[0] && a->present[1] == b->present[1];
}

static inline bool same_request_spans(const struct h1_head *a, const struct h1_head *b)
{
	return same_span(a->method_text, b->method_text) && same_span(a->target, b->target) &&
	       same_span(a->scheme, b->scheme) && same_span(a->authority, b->authority) &&
	       same_span(a->path, b->path) && same_span(a->query, b->query) && same_span(a->host, b->host);
}

static inline const char *check_same(const struct checked *a, const struct checked *b, bool response)
{
	if (a->result != b->result)
		return "another result";
	if (a->result == H1_MORE)
		return NULL;
	if (a->result == H1_BAD)
		return a->head.error != b->head.error || strcmp(a->head.why, b->head.why) != 0
			       ? "another reason"
			       : NULL;
	if (!same_results(&a->head, &b->head))
		return "other results";
	if (response ? !same_span(a->head.reason, b->head.reason) : !same_request_spans(&a->head, &b->head))
		return "other spans";
	if (a->head.fields != b->head.fields ||
	    memcmp(a->field, b->field, a->head.fields * sizeof(struct h1_field)) != 0)
		return "other fields";
	return NULL;
}

/* Everything that a complete head points at lies in the head. */
static inline const char *check_bounds(const struct checked *c, size_t n)
{
	const struct h1_head *h = &c->head;

	if (c->result != H1_DONE)
		return c->result == H1_BAD && (!h->why || h->error < 400) ? "refused without a reason" : NULL;
	if (h->length > n)
		return "a length beyond the input";
	for (unsigned i = 0; i < h->fields; i++) {
		const struct h1_field *f = &h->field[i];
		if (f->name_len == 0 || f->name_at + f->name_len >= f->value_at ||
		    f->value_at + f->value_len + 2 > h->length)
			return "a field out of bounds";
	}
	return NULL;
}

/* The whole, every prefix in turn, and each split into two. `whole` gets the verdict on all bytes at once. */
static inline const char *check_splits(const struct check_kind *kind, const char *bytes, size_t n,
				       struct checked *whole)
{
	struct checked other;
	const char *why;

	check_init(whole);
	check_feed(whole, kind, bytes, n);
	if ((why = check_bounds(whole, n)) != NULL)
		return why;
	check_init(&other);
	for (size_t i = 0; i <= n && other.result == H1_MORE; i++)
		check_feed(&other, kind, bytes, i);
	if ((why = check_same(whole, &other, kind->response)) != NULL)
		return why;
	size_t stride = kind->stride ? kind->stride : 1, first = n ? (unsigned char)bytes[n / 2] % stride : 0;
	for (size_t i = first; i <= n; i += stride) {
		check_init(&other);
		check_feed(&other, kind, bytes, i);
		if (other.result == H1_MORE)
			check_feed(&other, kind, bytes, n);
		if ((why = check_same(whole, &other, kind->response)) != NULL)
			return why;
	}
	return NULL;
}

/* What came out of a chunked body. */
struct unchunked {
	char text[8192]; /* content, then "|name: value" for each trailer */
	size_t n;
	enum h1_body_step end; /* END, MORE or BAD */
	size_t used;
	unsigned error;
	const char *why;
};

static inline void unchunk_put(struct unchunked *u, const char *p, size_t n)
{
	if (n > sizeof(u->text) - u->n)
		abort();
	if (n)
		memcpy(u->text + u->n, p, n);
	u->n += n;
}

static inline const char *unchunk_step(struct h1_chunked *c, struct unchunked *u, struct str slice)
{
	switch (u->end) {
	case BODY_DATA:
		if (slice.n == 0)
			return "an empty slice";
		unchunk_put(u, slice.p, slice.n);
		return NULL;
	case BODY_TRAILER:
		unchunk_put(u, "|", 1);
		unchunk_put(u, c->name.p, c->name.n);
		unchunk_put(u, ": ", 2);
		unchunk_put(u, c->value.p, c->value.n);
		return NULL;
	default:
		return NULL;
	}
}

/* Decodes bytes that come in pieces; what a step leaves is shown again in memory of just its size. */
static inline const char *unchunk(const struct h1_limits *limits, const char *bytes, size_t n, size_t piece,
				  struct unchunked *u)
{
	struct h1_chunked c;
	const char *why = NULL;

	memset(u, 0, sizeof(*u));
	memset(&c, 0xa5, sizeof(c));
	h1_chunked_init(&c, limits);
	for (size_t have = 0; !why;) {
		size_t used = 0, shown = have - u->used;
		char *exact = malloc(shown ? shown : 1);
		struct str slice;
		if (!exact)
			abort();
		memcpy(exact, bytes + u->used, shown);
		u->end = h1_chunked_step(&c, exact, shown, &used, &slice);
		if (used > shown)
			why = "used more than there was";
		else
			why = unchunk_step(&c, u, slice);
		free(exact);
		u->used += used;
		if (u->end == BODY_BAD || u->end == BODY_END || (u->end == BODY_MORE && have == n))
			break;
		if (u->end == BODY_MORE)
			have = n - have < piece ? n : have + piece;
	}
	u->error = c.error;
	u->why = c.why;
	return why;
}

static inline const char *unchunk_splits(const struct h1_limits *limits, const char *bytes, size_t n,
					 struct unchunked *whole)
{
	static struct unchunked other;
	const char *why = unchunk(limits, bytes, n, n ? n : 1, whole);

	for (size_t piece = 1; piece < n && !why; piece++) {
		why = unchunk(limits, bytes, n, piece, &other);
		if (why)
			return why;
		if (other.end != whole->end || other.error != whole->error)
			return "another end";
		if (whole->why && strcmp(whole->why, other.why) != 0)
			return "another reason";
		if (whole->end == BODY_END && whole->used != other.used)
			return "another length";
		if (other.n != whole->n || memcmp(other.text, whole->text, whole->n) != 0)
			return "other content";
	}
	return why;
}

#endif
