/* SPDX-License-Identifier: MIT */
/*
 * The shared table of upstream servers: what all workers know of each server's health and load, and what
 * `weirctl upstreams` shows. The master claims a row for each server of a config before it spawns anybody who
 * serves it; rows outlive reloads as long as a living generation names them, so a reload forgets no ejection.
 *
 * Passive ejection: SERVERS_FAILURES failures in a row (no connection, or none that brought a response) take
 * a server out of turn for SERVERS_EJECT_US, doubled each time up to SERVERS_EJECT_MAX_US; then one more
 * failure suffices, and one success makes it well again.
 */
#ifndef WEIR_PROXY_SERVERS_H
#define WEIR_PROXY_SERVERS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/board.h"
#include "base/clock.h"
#include "conf/conf.h"

#define SERVERS_MAX 1024
#define SERVERS_NAME 112
#define SERVERS_FAILURES 3
#define SERVERS_EJECT_US (5 * USEC_PER_SEC)
#define SERVERS_EJECT_MAX_US (60 * USEC_PER_SEC)

struct server_row {
	_Atomic uint32_t generation; /* the last config that names it; 0: the row is free */
	char upstream[SERVERS_NAME];
	char server[SERVERS_NAME];
	_Atomic uint32_t failures;	   /* in a row */
	_Atomic uint32_t ejections;	   /* in a row */
	_Atomic int64_t ejected_until;	   /* CLOCK_MONOTONIC; in turn again after it */
	_Atomic uint32_t in_flight;	   /* over all processes */
	_Atomic uint32_t latency_us;	   /* to the first byte, smoothed */
	_Atomic uint64_t requests, failed; /* since the row was claimed */
	_Atomic uint32_t own[PROC_MAX];	   /* in flight by process, to be taken back when one crashes */
};

size_t servers_bytes(void);
void servers_attach(void *section);

/* Master: rows for all servers of a conf; rows older than `oldest` (the oldest living generation) may be
 * taken over. False: the table is full. */
bool servers_claim(const struct conf *, uint32_t generation, uint32_t oldest);

/* Master: a process has ended; its requests in flight are no more. */
void servers_recover(unsigned slot);

/* NULL when nobody claimed it. */
struct server_row *servers_find(struct str upstream, struct str server);
/* Rows 0 .. SERVERS_MAX - 1, for listing; NULL where the row is free. */
struct server_row *servers_row(unsigned i);

static inline bool server_ejected(const struct server_row *r, usec_t now)
{
	return now < atomic_load_explicit(&r->ejected_until, memory_order_relaxed);
}

void server_begin(struct server_row *); /* a request goes to it */
void server_end(struct server_row *);	/* it is over, however it went */
void server_succeeded(struct server_row *, usec_t latency);
/* True when this failure ejected the server. */
bool server_failed(struct server_row *, usec_t now);

#endif
