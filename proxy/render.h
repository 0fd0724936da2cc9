/* SPDX-License-Identifier: MIT */
/*
 * Heads as weir writes them: a request's towards the origin, a response's towards the client. Each is written
 * anew from what was parsed; hop-by-hop fields stop here, and the fields that weir vouches for are its own
 * (design: what a client and an origin see). Written into a buf of the exchange or its client; false when
 * memory is out.
 */
#ifndef WEIR_PROXY_RENDER_H
#define WEIR_PROXY_RENDER_H

#include "proxy/exchange.h"

/* Into x->up_out. */
bool render_request(struct exchange *x);

/* The response in x->resp, whose bytes begin at `base`, into the client's out. `framing` is what the client
 * gets. */
enum out_framing { OUT_NONE, OUT_LENGTH, OUT_CHUNKED, OUT_UNTIL_CLOSE };
bool render_response(struct exchange *x, const char *base, enum out_framing framing);

/* An interim response (1xx), which has nothing of weir's own in it but the framing of its fields. */
bool render_interim(struct exchange *x, const char *base);

/* The fields about limits, Retry-After among them when refused; at most RENDER_LIMITS bytes. */
#define RENDER_LIMITS 1200
char *render_limits(struct exchange *x, char *p, bool refused);

/* Whole seconds, rounded up, at least 1: never early. */
uint64_t render_seconds(usec_t us);

#endif
