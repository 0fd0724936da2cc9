/* SPDX-License-Identifier: MIT */
/*
 * What browsers need to show a page's script weir's own answers (403, 429, 5xx) across origins (Fetch, "CORS
 * protocol"; origins: RFC 6454). Pure functions: nothing is allocated, a struct cors_origin points into the
 * text that it was made from, which must outlive it. Cookies are allowed, so that only named origins can be.
 */
#ifndef WEIR_PROXY_CORS_H
#define WEIR_PROXY_CORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct cors_origin {
	struct str host; /* without the "*."; an IPv6 address with its brackets */
	uint16_t port;	 /* the scheme's own when none was written */
	bool https;
	bool wildcard; /* hosts below `host`, at any depth; `host` itself is not among them */
};

/* Reads scheme://host[:port], the host may start with "*.". NULL, or what is wrong with it. */
const char *cors_origin_check(struct str, struct cors_origin *);

/* An Origin header's value against the list. What is not exactly an origin (null, a path, a user) is never.
 */
bool cors_allows(const struct cors_origin *, unsigned n, struct str origin);

#define CORS_ALLOW_HEADERS_MAX 1024
#define CORS_HEADERS_MAX (768 + CORS_ALLOW_HEADERS_MAX)

/*
 * The header lines of an own answer, each with its CRLF; returns their length, or 0 with nothing of use
 * written when cap is too small (CORS_HEADERS_MAX is enough). `origin` is one that cors_allows has let pass,
 * or empty: then the lines only say that the answer depends on it. For a preflight that weir answers itself
 * (204), so that the script may read the real request's answer, `request_headers` is what
 * Access-Control-Request-Headers asks for; it is repeated if it is a list of names, and left out otherwise.
 */
size_t cors_headers(char *out, size_t cap, struct str origin, bool preflight, struct str request_headers);

#endif
