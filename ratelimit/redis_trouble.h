/* SPDX-License-Identifier: MIT */
/*
 * What went wrong with a Redis, for people: counted by kind (weir_store_failures_total), said in the log, and
 * what takes an operator to mend said once, loudly, until all was well again. User names and passwords never
 * reach a log, nor does a server's text, which might hold them.
 *
 * Embedded by a connection; the target is the connection's.
 */
#ifndef WEIR_RATELIMIT_REDIS_TROUBLE_H
#define WEIR_RATELIMIT_REDIS_TROUBLE_H

#include <stdbool.h>

#include "base/log.h"
#include "base/metric.h"
#include "ratelimit/redis_reply.h"
#include "ratelimit/redis_target.h"

struct redis_trouble {
	const struct redis_target *target;
	enum redis_failure last; /* REDIS_FINE when all was well since */
	bool said_loudly;
	struct log_limit log_limit;
	series_t failures[REDIS_FAILURES];
};

void redis_trouble_init(struct redis_trouble *, const struct redis_target *);
void redis_trouble_over(struct redis_trouble *);

/* The connection failed. */
void redis_trouble_failed(struct redis_trouble *, enum redis_failure, const char *detail, usec_t now);
/* A command was answered with an error. */
void redis_trouble_answer(struct redis_trouble *, const struct redis_reply *);
/* Said at most once until all is well; NULL: nothing is. */
void redis_trouble_loudly(struct redis_trouble *, const char *text);
/* What an operator must mend. NULL: nothing that is known. */
const char *redis_trouble_remedy(const struct redis_trouble *, enum redis_failure, struct str error);

#endif
