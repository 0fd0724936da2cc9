/* SPDX-License-Identifier: MIT */
/*
 * The keys of session tickets (RFC 5077; RFC 8446, 4.6.1), shared by all workers of one weir without a word
 * between them: a chain of secrets, one a period of the monotonic clock, each the hash of the one before.
 * Whoever holds a link makes the later ones alone; nobody gets back to an earlier one, so that what was said
 * under a ticket of the day before yesterday stays said in private, whoever gets hold of a process today.
 *
 * The master draws the seed and keeps it in step; a worker is handed a copy. Tickets are made with the key of
 * the present period and taken with that and the one before. Nothing here reads a clock.
 */
#ifndef WEIR_BASE_TLS_TICKETS_H
#define WEIR_BASE_TLS_TICKETS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

#define TICKET_SECRET 32

struct ticket_seed {   /* plain data: it travels to the workers, as the secret that it is */
	usec_t period; /* 0: there are no tickets */
	int64_t epoch; /* the period that the link belongs to: the one before the present */
	uint8_t link[TICKET_SECRET];
};

struct ticket_key {
	uint8_t name[16], cipher[32], mac[32];
};

struct tickets {
	usec_t period;
	int64_t epoch; /* of `link` and `now` */
	uint8_t link[TICKET_SECRET];
	struct ticket_key now, before;
};

/* A new chain, from a secret that the caller drew; period 0 for none. */
void ticket_seed_begin(struct ticket_seed *, usec_t period, const uint8_t secret[TICKET_SECRET], usec_t now);
/* Forgets the links that are of no more use. */
void ticket_seed_advance(struct ticket_seed *, usec_t now);

void tickets_open(struct tickets *, const struct ticket_seed *, usec_t now);
void tickets_advance(struct tickets *, usec_t now);

/* The key that made a ticket; NULL: it is gone, or never was ours. */
const struct ticket_key *tickets_find(const struct tickets *, const uint8_t name[16]);

#endif
