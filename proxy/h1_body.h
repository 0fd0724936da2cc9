/* SPDX-License-Identifier: MIT */
/*
 * The chunked transfer coding (RFC 9112, 7.1): decoding step by step over the input, and the chunk header for
 *writing.
 *
 * Pure: no sockets, no allocation. The caller owns the bytes and the struct h1_chunked; slices handed out
 *point into the bytes of that one call. Each step consumes `*used` bytes. What a step leaves must be shown
 *again at the next one, with more behind it if there is more; only a trailer line is ever left (a chunk
 *header is taken as it comes), so the input must have room for limits.line + 2 bytes.
 *
 *	for (;;) {
 *		step = h1_chunked_step(&c, p, n, &used, &slice);
 *		... DATA: pass slice on ... MORE: read, or if the peer closed: the message is cut short
 *		p += used, n -= used;
 *	}
 *
 * Strict: sizes are 1 to 16 hex digits up to 2^63-1, CRLF ends every line and follows the data at once, no
 *white space beside the size or in extensions (7.1.1 calls it bad). Extensions must follow the grammar; they
 *are dropped, as 7.1.1 lets us, and all together may have H1_EXTENSION_MAX bytes a message. Trailers follow
 *the rules of heads; those that RFC 9110, 6.5.1 forbids, hop-by-hop ones and look-alikes of weir's own are
 *dropped.
 */
#ifndef WEIR_PROXY_H1_BODY_H
#define WEIR_PROXY_H1_BODY_H

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "proxy/h1_head.h"

#define H1_EXTENSION_MAX 4096  /* bytes of chunk extensions in one message */
#define H1_CHUNK_HEADER_MAX 20 /* room that h1_chunk_header needs */

enum h1_body_step {
	BODY_DATA,    /* a slice of content, never empty */
	BODY_TRAILER, /* a trailer field to pass on: h1_chunked.name and .value; the slice is its line */
	BODY_END,     /* the body is over; what follows belongs to the next message */
	BODY_MORE,    /* more input is needed */
	BODY_BAD,     /* see h1_chunked.error and .why */
};

struct h1_chunked {
	const struct h1_limits *limits; /* of the trailers: a line, all of them, their number; the caller's */
	uint64_t left;			/* bytes of the current chunk that are still to come */
	uint64_t total;			/* bytes of content handed out so far */
	uint32_t extension;		/* bytes of extensions so far */
	uint32_t trailer;		/* bytes of trailers so far */
	uint32_t clean;			/* bytes of the current trailer line that were looked at */
	uint16_t trailers;		/* trailer lines so far, dropped ones too */
	uint8_t state;			/* enum chunk_state */
	uint8_t digits;			/* of the size in progress */
	uint16_t error;			/* status to answer a request with: 400, or 431 for trailers */
	const char *why;		/* static text */
	struct str name, value;		/* of BODY_TRAILER */
};

void h1_chunked_init(struct h1_chunked *c, const struct h1_limits *limits);
enum h1_body_step h1_chunked_step(struct h1_chunked *c, const char *buf, size_t len, size_t *used,
				  struct str *out);

/* Writes a chunk's size in hex and its CRLF; returns the bytes written. The data and another CRLF follow. */
size_t h1_chunk_header(char out[H1_CHUNK_HEADER_MAX], uint64_t size);

#endif
