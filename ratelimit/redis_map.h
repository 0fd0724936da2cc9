/* SPDX-License-Identifier: MIT */
/*
 * The map of a Redis Cluster: what its nodes answer to CLUSTER SLOTS, and which of its nodes has each slot as
 * far as is known. A node is a number of the caller's here.
 *
 * An answer is believed as a whole or not at all: redis_map_fault looks at all of it before any of it is
 * used. Nothing is called back; the texts that are handed out lie in the reply that was read.
 */
#ifndef WEIR_RATELIMIT_REDIS_MAP_H
#define WEIR_RATELIMIT_REDIS_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ratelimit/redis_reply.h"
#include "ratelimit/redis_slots.h"

#define REDIS_RANGE_PLACES 8   /* a master and its replicas; more are passed over */
#define REDIS_MAP_MASTERS 1000 /* what a cluster is built for at most */
#define REDIS_NOBODY UINT16_MAX

struct redis_range {
	unsigned first, last;
	unsigned places;
	struct redis_place place[REDIS_RANGE_PLACES]; /* the master first */
};

/* One element of the answer to CLUSTER SLOTS. False: it is none. */
bool redis_range_read(const struct redis_reply *, struct redis_range *);

/* What is wrong with an answer to CLUSTER SLOTS. NULL: nothing, and each element is a range. */
const char *redis_map_fault(const struct redis_reply *);

struct redis_map {
	uint16_t owner[REDIS_SLOTS]; /* REDIS_NOBODY: none is known */
};

struct redis_map *redis_map_new(void); /* nobody has anything; NULL: out of memory. For free(). */
void redis_map_clear(struct redis_map *);
void redis_map_give(struct redis_map *, const struct redis_range *, uint16_t node);
bool redis_map_has_gaps(const struct redis_map *);

/* The least number that lies in one of these slots, a bit each, as a text. */
void redis_map_tag(const uint64_t slots[REDIS_SLOTS / 64], char *tag, size_t cap);

#endif
