/* SPDX-License-Identifier: MIT */
/* What a Redis says of itself in its answer to INFO. Pure; what it does not say is empty or 0. */
#ifndef WEIR_RATELIMIT_REDIS_INFO_H
#define WEIR_RATELIMIT_REDIS_INFO_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

struct redis_info {
	char version[16];
	char policy[24]; /* maxmemory-policy */
	uint64_t maxmemory, used_memory, evicted_keys;
	bool cluster; /* it is a node of a Redis Cluster */
};

void redis_info_read(struct str text, struct redis_info *);

/* Whether its maxmemory-policy lets it forget clients to make room. */
bool redis_info_may_evict(const struct redis_info *);

#endif
