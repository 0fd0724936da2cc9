/* SPDX-License-Identifier: MIT */
/*
 * How much an address holds at a time, over all workers: connections of a peer, requests in flight of a
 * client.
 *
 * Nothing is kept an address. Each falls, by a keyed hash, on one counter in each of TALLY_ROWS rows, shared
 * with whatever other addresses fall there, and holds what the lowest of its counters says: never less than
 * it does, and more only where others share every one. So the memory is fixed, there is no lock, and a flood
 * of addresses costs nothing. What a process has added is kept beside the sums, and taken back when it ends.
 */
#ifndef WEIR_PROXY_TALLY_H
#define WEIR_PROXY_TALLY_H

#include <stddef.h>
#include <stdint.h>

#include "acl/addr.h"

enum tally_kind { TALLY_CONNECTIONS, TALLY_REQUESTS, TALLY_KINDS };

#define TALLY_ROWS 2
#define TALLY_BITS 13 /* of the places in a row */
#define TALLY_WIDTH (1u << TALLY_BITS)

size_t tally_bytes(void);
/* For the slot of board_join, which comes first. */
void tally_attach(void *section);
/* Once, by the master: with a key, strangers cannot choose addresses that share counters. */
void tally_format(void *section, const uint8_t key[16]);

/* One more for that address. 0: it holds `cap` (> 0) already, and nothing was counted; else what tally_leave
 * takes back. */
uint32_t tally_enter(enum tally_kind, const struct addr *, uint32_t cap);
void tally_leave(enum tally_kind, uint32_t place);

/* How much the address holds; 0 where no section is attached. */
uint32_t tally_held(enum tally_kind, const struct addr *);

/* Master: the process of that slot has ended, and holds nothing any more. */
void tally_recover(unsigned slot);

#endif
