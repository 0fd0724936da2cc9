/* SPDX-License-Identifier: MIT */
/*
 * Responses of weir's own: a status with a short problem document (RFC 9457), the request's id, the fields
 * about limits where there are any, and what a browser needs to show them to a page's script (CORS).
 */
#ifndef WEIR_PROXY_REPLY_H
#define WEIR_PROXY_REPLY_H

#include "proxy/exchange.h"

/* Writes it to the client and ends the exchange (or leaves it to drain what the client still sends). `detail`
 * is static text. No response may have begun. The exchange and its client may be gone afterwards. */
void reply(struct exchange *x, unsigned status, const char *detail);

/* The same with a plain text body, for /healthz; and 204 for `OPTIONS *`. */
void reply_health(struct exchange *x, bool well);
void reply_options(struct exchange *x);

/* The answer to a preflight that the limit would have refused, so that the script can read the 429 of its
 * request. */
void reply_preflight(struct exchange *x);
bool reply_is_preflight(const struct exchange *x);

/* A connection that can't be served at all: written without waiting. fd stays the caller's. */
void reply_overload(struct worker *, int fd);

/* The same for one that has begun, with TLS or without. */
void reply_shed(struct worker *, struct stream *);

/* The same for plain HTTP where TLS is spoken. */
void reply_plain_http(struct worker *, int fd);

#endif
