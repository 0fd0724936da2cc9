/* SPDX-License-Identifier: MIT */
/*
 * X-Weir-Lift: what a token that a request bears is worth to it. A request with a good one is not limited,
 * one with a bad one is served as any other and told why in a field of the same name.
 *
 * token_judge is what the data plane and `weirctl explain` share. A worker keeps the tokens that it found
 * signed (struct tokens), as a load test bears the same one in each request; expiry, revocation and scope are
 * looked at each time.
 */
#ifndef WEIR_PROXY_TOKEN_H
#define WEIR_PROXY_TOKEN_H

#include "base/metric.h"
#include "conf/conf.h"
#include "ratelimit/lift.h"

enum token_worth {
	TOKEN_NONE, /* the request bears none */
	TOKEN_GOOD,
	TOKEN_EXPIRED,
	TOKEN_REVOKED,
	TOKEN_UNKNOWN,	 /* no key of ours has signed it, or there are none */
	TOKEN_TOO_LONG,	 /* it ends later than rate_limit.max_lift allows */
	TOKEN_ELSEWHERE, /* it is for other clients or sites */
	TOKEN_WORTHS
};
const char *token_worth_word(enum token_worth); /* "", "good", "expired", "revoked", ... */

struct token_case { /* a request */
	const struct conf *conf;
	const struct lifts *lifts;
	const uint8_t *addr; /* of the client; NULL: nobody */
	struct str site;
	usec_t now;
	wall_t wall;
};

/* id gets LIFT_ID bytes with GOOD, EXPIRED, REVOKED, TOO_LONG and ELSEWHERE. */
enum token_worth token_judge(const struct token_case *, struct str token, char *id);

struct tokens;			 /* a worker's */
struct tokens *tokens_new(void); /* NULL: out of memory */
void tokens_free(struct tokens *);
/* The same as token_judge, and counts. */
enum token_worth tokens_judge(struct tokens *, const struct token_case *, struct str token, char *id);

#endif
