/* SPDX-License-Identifier: MIT */
/*
 * What a worker counts for a site: the series of its verdicts, responses and refusals, looked up once and
 * then kept.
 */
#ifndef WEIR_PROXY_SITE_H
#define WEIR_PROXY_SITE_H

#include "base/metric.h"
#include "base/str.h"
#include "conf/conf.h"

/* What was decided of a request. The words stand in the access log's `limit` and in
 * weir_requests_total{verdict}. */
enum verdict_word {
	VERDICT_NONE, /* no policy applies to it, or its client is nobody */
	VERDICT_OK,
	VERDICT_LIMITED,
	VERDICT_SHADOW, /* it would have been refused by a policy or a lift in shadow */
	VERDICT_EXEMPT,
	VERDICT_LIFTED,
	VERDICT_FORBIDDEN, /* from here on: in metrics only; the log says none */
	VERDICT_CROWDED,   /* caps.client_requests */
	VERDICT_UNROUTED,
	VERDICT_MALFORMED,
	VERDICT_WORDS
};
const char *verdict_word(enum verdict_word);

enum refusal {
	REFUSAL_BLOCK,
	REFUSAL_DENY,
	REFUSAL_SITE,
	REFUSAL_PATH,
	REFUSAL_NOBODY,
	REFUSAL_IN_FLIGHT,
	REFUSAL_WORDS
};
const char *refusal_word(enum refusal);

#define SITE_CODES 500 /* 100 .. 599 */

struct site_state {
	struct str name; /* "-" for requests of no site */
	struct str upstream;
	series_t verdict[VERDICT_WORDS];
	series_t code[2][SITE_CODES]; /* [0]: weir's own, [1]: from the upstream; 0: not looked up yet */
	series_t refused[REFUSAL_WORDS];
	series_t *limited; /* by policy; 0: not looked up yet */
	series_t *shadowed;
};

/* False: out of memory. site may be NULL for the row of requests without one. */
bool site_open(struct site_state *, const struct conf_site *site, unsigned policies);
void site_close(struct site_state *);

void site_count_response(struct site_state *, bool from_upstream, unsigned status);
void site_count_limited(struct site_state *, const struct policy *);
void site_count_shadowed(struct site_state *, const struct policy *);
void site_count_refusal(struct site_state *, enum refusal);

#endif
