/* SPDX-License-Identifier: MIT */
/*
 * The head of an HTTP/1 message: request or response, from bytes to a struct h1_head (RFC 9110, 9112).
 *
 * Pure: no sockets, no allocation, no state but the caller's. The caller owns the bytes, the struct h1_head
 * and the array of fields, and gives the whole head received so far to each call, from its first byte.
 * Everything found is told as offsets into those bytes, so the buffer may move between calls. A call goes on
 * at the first unfinished line and does not look again at bytes it has seen, so that a slow drip costs no
 * more than one burst.
 *
 * A message that two implementations could read differently is refused, not repaired:
 * - lines end in CRLF; a bare CR, a bare LF, NUL, DEL or another control byte is refused wherever it stands
 * (9112, 2.2 allows to read a bare LF as an end of line; others don't). A tab is allowed in field values
 * alone.
 * - one SP between the parts of the start line (3.1), no space before a field's colon (5.1), no folding
 * (5.2).
 * - Content-Length: digits, at most 2^63-1, once, no list (9110, 8.6 lets identical values pass; we don't).
 *   Transfer-Encoding: a lone `chunked`, once, not in HTTP/1.0, not beside Content-Length (6.1, 6.3).
 * - Host: once, valid, never empty; required from 1.1 on (3.2, 9110, 7.2).
 * - request-target: visible ASCII without `#` (3.2); bytes above 0x7f must come percent-encoded. What RFC
 * 3986 excludes but browsers send (`|`, `[`, `"`, ...) passes.
 * - names that CGI-like origins would take for one of our own or for framing (`Transfer_Encoding`).
 *
 * Errors: H1_BAD, with `error` (the status to answer a request with; 502 for a response) and `why`, a static
 * text. A head in progress holds none of the results below `length`; after H1_BAD only `error` and `why` mean
 * anything.
 */
#ifndef WEIR_PROXY_H1_HEAD_H
#define WEIR_PROXY_H1_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "proxy/field.h"

enum h1_result {
	H1_DONE, /* the head is complete: `length` bytes */
	H1_MORE, /* call again with more bytes */
	H1_BAD,	 /* see `error` and `why`; the connection cannot be read any further */
};

/* Methods are case-sensitive (RFC 9110, 9.1). */
enum http_method {
	METHOD_OTHER = 0, /* any other token; see method_text */
	METHOD_GET,
	METHOD_HEAD,
	METHOD_POST,
	METHOD_PUT,
	METHOD_DELETE,
	METHOD_PATCH,
	METHOD_OPTIONS,
	METHOD_CONNECT,
	METHOD_TRACE,
};

enum h1_target_form {			   /* RFC 9112, 3.2 */
		      H1_TARGET_ORIGIN,	   /* /path?query */
		      H1_TARGET_ABSOLUTE,  /* http://host/path?query */
		      H1_TARGET_AUTHORITY, /* host:port, of CONNECT alone */
		      H1_TARGET_ASTERISK,  /* `*` of OPTIONS; also OPTIONS on an absolute target of neither
					      path nor query (3.2.4) */
};

enum h1_framing {			  /* how the body is delimited (RFC 9112, 6.3) */
		  H1_FRAMING_NONE,	  /* there is none */
		  H1_FRAMING_LENGTH,	  /* content_length bytes, which may be 0 */
		  H1_FRAMING_CHUNKED,	  /* see h1_body.h */
		  H1_FRAMING_UNTIL_CLOSE, /* of responses alone */
};

enum h1_field_flag {
	H1_FIELD_STOPS = 1 << 0, /* not for the next hop: `Connection: NAME` (RFC 9110, 7.6.1), or an Expect
				    that a server has to ignore (10.1.1) */
	H1_FIELD_REPEATED = 1 << 1,   /* the first of several lines of a known name; see h1_find_next */
	H1_FIELD_AS_WRITTEN = 1 << 2, /* the line reads `name: value` CRLF, without any other white space: as
					 weir writes it */
};

struct h1_field {
	uint32_t name_at;  /* offset into the head */
	uint32_t value_at; /* offset into the head; without the white space around it */
	uint32_t value_len;
	uint16_t name_len;
	uint8_t id;    /* enum field_id */
	uint8_t flags; /* enum h1_field_flag */
};

/* Beyond one of these a request gets 414 (its first line) or 431 (the rest); a response is refused. */
struct h1_limits {
	uint32_t line;	 /* bytes of one line without its CRLF, below 64k for names to fit */
	uint32_t head;	 /* bytes of the whole head with its last CRLF */
	uint16_t fields; /* field lines */
};

struct h1_span {
	uint32_t at; /* offset into the head */
	uint32_t n;
};

struct h1_head {
	/* From here to `reason` h1_head_init clears; the order keeps that small. */
	struct h1_field *field; /* the caller's array */
	uint16_t field_cap;	/* its size; more fields than this are refused as with limits.fields */
	uint16_t fields;	/* seen so far */

	uint8_t state;		   /* progress, of the parser alone: enum h1_state */
	uint8_t options;	   /* likewise: enum h1_option, what Connection asked for */
	uint16_t connection_names; /* likewise: options of Connection */
	uint32_t line_at;	   /* likewise: where the first unfinished line begins */
	uint32_t clean;		   /* likewise: bytes before this one need not be looked at again */

	uint32_t length; /* of the whole head with its empty line (and the one that may stand before a
			    request) */
	uint16_t error;	 /* status to answer with */
	uint16_t status; /* of a response: 100 to 999 */
	const char *why; /* static text, such as "a space before the colon of a field" */

	uint8_t version_minor;	 /* 1.0: 0; 1.1 and above: 1 (RFC 9110, 2.5) */
	uint8_t method;		 /* enum http_method */
	uint8_t form;		 /* enum h1_target_form */
	uint8_t framing;	 /* enum h1_framing */
	bool has_length;	 /* a Content-Length came; with HEAD and 304 it comes without a body */
	bool keep_alive;	 /* another message may follow this one on the connection (RFC 9112, 9.3) */
	bool connection_upgrade; /* Connection: upgrade; never from HTTP/1.0 (RFC 9110, 7.8) */
	bool expect_continue;	 /* Expect: 100-continue; never from HTTP/1.0, nor without content (RFC 9110,
				    10.1.1) */
	bool connection_fields;	 /* Connection names fields that are not hop-by-hop by themselves */
	bool has_query;		 /* the target has a `?`, though maybe nothing after it */
	int32_t host_port;	 /* the port beside the host that counts; -1: none was written */
	uint32_t keep_alive_s;	 /* Keep-Alive: timeout=N of a response, in seconds; 0: none */
	uint64_t content_length; /* bytes; 0 without has_length */
	uint64_t present[2];	 /* a bit for each known name that came, by field_id */

	struct h1_span scheme;	  /* of an absolute target, else empty */
	struct h1_span authority; /* of an absolute or authority target, else empty */
	struct h1_span path;	  /* "/" when an absolute target has none; empty for `*` and CONNECT */
	struct h1_span query;	  /* without its `?` */
	struct h1_span
		host; /* validated, without port, with the brackets of an IPv6 address; the target's if it
			 has one, else Host's (RFC 9112, 3.3); empty when an HTTP/1.0 client sent none */

	struct h1_span method_text; /* of a request */
	struct h1_span target;	    /* of a request: as written */
	struct h1_span reason;	    /* of a response; may be empty */

	uint16_t first[FIELD_COUNT]; /* by field_id, where present has the bit: index of its first line */
};

/* The array stays the caller's and must outlive the head. */
void h1_head_init(struct h1_head *h, struct h1_field *field, uint16_t cap);

/*
 * `buf` holds all that came since the message's first byte; what stands behind the head is not looked at. One
 * empty line before the request line is passed over (RFC 9112, 2.2), and counted in `length`.
 */
enum h1_result h1_request_parse(struct h1_head *h, const struct h1_limits *limits, const char *buf,
				size_t len);

/* `asked`: the request's method, as a response to HEAD has no body. Each interim response (1xx) is a head. */
enum h1_result h1_response_parse(struct h1_head *h, const struct h1_limits *limits, const char *buf,
				 size_t len, enum http_method asked);

static inline bool h1_has(const struct h1_head *h, enum field_id id)
{
	return h->present[id / 64] >> id % 64 & 1;
}

/* The first line of a known field, or NULL. */
static inline const struct h1_field *h1_find(const struct h1_head *h, enum field_id id)
{
	return h1_has(h, id) ? &h->field[h->first[id]] : NULL;
}

/* The next line of the same known field, or NULL. h1_find_later does not know when there can be none. */
const struct h1_field *h1_find_later(const struct h1_head *h, const struct h1_field *after);
static inline const struct h1_field *h1_find_next(const struct h1_head *h, const struct h1_field *after)
{
	const struct h1_field *first = h1_find(h, (enum field_id)after->id);

	return first && first->flags & H1_FIELD_REPEATED ? h1_find_later(h, after) : NULL;
}

/* The first line of that name, known or not; case-blind. Begin with after NULL. */
const struct h1_field *h1_find_name(const struct h1_head *h, const char *buf, struct str name,
				    const struct h1_field *after);

static inline struct str h1_name(const char *buf, const struct h1_field *f)
{
	return (struct str){buf + f->name_at, f->name_len};
}

static inline struct str h1_value(const char *buf, const struct h1_field *f)
{
	return (struct str){buf + f->value_at, f->value_len};
}

static inline struct str h1_text(const char *buf, struct h1_span s)
{
	return (struct str){buf + s.at, s.n};
}

/* Safe to repeat once it is not known whether the first try was read (RFC 9110, 9.2.2). */
static inline bool http_method_idempotent(enum http_method m)
{
	return m != METHOD_OTHER && m != METHOD_POST && m != METHOD_PATCH && m != METHOD_CONNECT;
}

#endif
