/* SPDX-License-Identifier: MIT */
/*
 * The keys of session tickets (RFC 5077; RFC 8446, 4.6.1), shared by all workers of one weir without a word
 * between them: a chain of secrets, one a period, each the hash of the one before. Whoever holds a link makes
 * the later ones alone; nobody gets back to an earlier one, so that what was said under a ticket of the day
 * before yesterday stays said in private, whoever gets hold of a process today.
 *
 * The master keeps the chain in step and hands each worker a seed: the link of the period before the present
 * one, and how old the present one is. Tickets are made with the key of the present period and taken with
 * that and the one before. Nothing here reads a clock, and no process's clock is compared with another's.
 */
#ifndef WEIR_BASE_TLS_TICKETS_H
#define WEIR_BASE_TLS_TICKETS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

#define TICKET_SECRET 32

struct ticket_chain {
	usec_t period;		     /* 0: there are no tickets */
	usec_t began;		     /* the present period */
	uint8_t link[TICKET_SECRET]; /* of the one before it */
};

struct ticket_seed { /* plain data: it travels to the workers, as the secret that it is */
	usec_t period, age;
	uint8_t link[TICKET_SECRET];
};

struct ticket_key {
	uint8_t name[16], cipher[32], mac[32];
};

struct tickets {
	usec_t period, began;
	uint8_t link[TICKET_SECRET]; /* of `now` */
	struct ticket_key now, before;
};

/* A new chain, from a secret that the caller drew; period 0 for none. */
void ticket_chain_begin(struct ticket_chain *, usec_t period, const uint8_t secret[TICKET_SECRET],
			usec_t now);
/* Forgets the links that are of no more use. */
void ticket_chain_advance(struct ticket_chain *, usec_t now);
void ticket_chain_seed(const struct ticket_chain *, usec_t now, struct ticket_seed *);

/* now: by the clock of the process that holds it. A seed of period 0 gives tickets of none. */
void tickets_open(struct tickets *, const struct ticket_seed *, usec_t now);
void tickets_advance(struct tickets *, usec_t now);

/* The key that made a ticket; NULL: it is gone, or never was ours. */
const struct ticket_key *tickets_find(const struct tickets *, const uint8_t name[16]);

#endif
