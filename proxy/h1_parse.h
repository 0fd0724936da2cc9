/* SPDX-License-Identifier: MIT */
/*
 * What the parsers of requests and responses share: finding a line's end under the limits, the field lines,
 * and what Connection and the fields of framing say. Of h1_head.c, h1_request.c and h1_response.c alone.
 */
#ifndef WEIR_PROXY_H1_PARSE_H
#define WEIR_PROXY_H1_PARSE_H

#include "proxy/h1_head.h"
#include "proxy/h1_line.h"

/*
 * START --start line--> FIELDS --empty line--> COMPLETE
 *   |                     |
 *   +---------------------+--> BROKEN
 */
enum h1_state {
	H1_STATE_START, /* in the start line, or before it */
	H1_STATE_FIELDS,
	H1_STATE_COMPLETE,
	H1_STATE_BROKEN,
};

enum h1_option { /* of Connection (RFC 9110, 7.6.1; 9112, 9.3) */
		 H1_OPTION_CLOSE = 1 << 0,
		 H1_OPTION_KEEP_ALIVE = 1 << 1,
		 H1_OPTION_UPGRADE = 1 << 2,
		 H1_OPTION_UNREADABLE = 1 << 3, /* something that is no token */
};

enum { H1_CONNECTION_MAX = 64 }; /* options of one head; each may be compared with each field */

/* The one way into BROKEN. */
enum h1_result h1_fail(struct h1_head *h, unsigned status, const char *why);

/*
 * Looks for the end of the line in progress; `stop` is where a scan found the first byte that no such line
 * has, or len. DONE: the line is buf[h->line_at, stop). A line is too long by what stands before `stop`
 * alone, so the verdict does not depend on how the bytes were dealt out.
 */
static inline enum h1_result h1_line_end(struct h1_head *h, const struct h1_limits *limits, unsigned too_long,
					 const char *buf, size_t stop, size_t len)
{
	if (stop - h->line_at > limits->line)
		return h1_fail(h, too_long, "a line that is too long");
	if (h1_crlf(buf, stop, len))
		return H1_DONE;
	h->clean = (uint32_t)stop;
	if (stop == len || (buf[stop] == '\r' && stop + 1 == len))
		return H1_MORE;
	return h1_fail(h, 400, buf[stop] == '\r' ? "a CR without LF" : h1_why_byte(buf[stop]));
}

/* Field lines from h->line_at on, through the empty one; DONE sets h->length. `guard`: refuse look-alikes. */
enum h1_result h1_fields(struct h1_head *h, const struct h1_limits *limits, const char *buf, size_t len,
			 bool guard);

/* All lines of Connection, into h->options; marks the fields that they name. False if they are too many. */
bool h1_connection(struct h1_head *h, const char *buf);

/* Content-Length, if there is one, into h->content_length and has_length. NULL, or what is wrong. */
const char *h1_content_length(struct h1_head *h, const char *buf);

/* At most 19 digits (2^63-1 has as many), and nothing else. */
bool h1_number(struct str s, uint64_t max, uint64_t *number);

#endif
