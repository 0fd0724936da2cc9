/* SPDX-License-Identifier: MIT */
/*
 * Hash slots of a Redis Cluster: in which one a key lies, and what the servers say of who has it (CLUSTER
 * SLOTS, MOVED, ASK). Pure functions; the texts that are handed out lie in the reply that was read.
 */
#ifndef WEIR_RATELIMIT_REDIS_SLOTS_H
#define WEIR_RATELIMIT_REDIS_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "ratelimit/redis_reply.h"

#define REDIS_SLOTS 16384
#define REDIS_RANGE_PLACES 8 /* a master and its replicas; more are passed over */

/* CRC-16/XMODEM: polynomial 0x1021, from 0. */
uint16_t redis_crc16(const char *bytes, size_t n);

/* Of the hash tag, the text between the first { and the next }, where there is one that is not empty; else of
 * the whole key. */
unsigned redis_slot(struct str key);

/* Where a server is, as servers tell. host.n == 0: on the host of the one who told it. */
struct redis_place {
	struct str host;
	uint16_t port;
};

struct redis_range {
	unsigned first, last;
	unsigned places;
	struct redis_place place[REDIS_RANGE_PLACES]; /* the master first */
};

/* One element of the answer to CLUSTER SLOTS. False: it is none. */
bool redis_range_read(const struct redis_reply *, struct redis_range *);

enum redis_redirect_kind { REDIS_STAY, REDIS_MOVE, REDIS_ASK_THERE, REDIS_TRY_AGAIN };
struct redis_redirect {
	enum redis_redirect_kind kind;
	unsigned slot; /* MOVE and ASK_THERE */
	struct redis_place place;
};

/* What an error says of where to ask instead. */
struct redis_redirect redis_redirect_read(struct str error);

#endif
