/* SPDX-License-Identifier: MIT */
/*
 * Hash slots of a Redis Cluster: in which one a key lies, and where an error of a server says that it is
 * (MOVED, ASK); see redis_map.h for the map of all. Pure functions; the texts that are handed out lie in the
 * reply that was read.
 */
#ifndef WEIR_RATELIMIT_REDIS_SLOTS_H
#define WEIR_RATELIMIT_REDIS_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

#define REDIS_SLOTS 16384

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

/* Letters, digits and .-_: as in names and addresses, up to 253; or nothing at all. */
bool redis_host_fits(struct str host);

enum redis_redirect_kind { REDIS_STAY, REDIS_MOVE, REDIS_ASK_THERE, REDIS_TRY_AGAIN };
struct redis_redirect {
	enum redis_redirect_kind kind;
	unsigned slot; /* MOVE and ASK_THERE */
	struct redis_place place;
};

/* What an error says of where to ask instead. */
struct redis_redirect redis_redirect_read(struct str error);

#endif
