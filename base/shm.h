/* SPDX-License-Identifier: MIT */
/*
 * The memory that all processes of one weir share: one memfd made by the master, cut into sections, one a
 * module. Every process maps it at an address of its own, so nothing in it may be a pointer. It outlives
 * every process but the master, and every reload. A new memfd reads as zeros, which is every section's
 * initial state unless its module formats it (the master does, before it spawns anybody).
 */
#ifndef WEIR_BASE_SHM_H
#define WEIR_BASE_SHM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum shm_section {
	SHM_BOARD,   /* base/board.h */
	SHM_METRICS, /* base/metric.h */
	SHM_EVENTS,  /* base/events.h */
	SHM_RINGS,   /* base/ring.h */
	SHM_LIFTS,   /* ratelimit/lift.h */
	SHM_SERVERS, /* proxy/servers.h */
	SHM_TALLY,   /* proxy/tally.h */
	SHM_TABLE,   /* ratelimit/table.h */
	SHM_SECTIONS
};

struct shm {
	int fd; /* -1: none */
	size_t size;
	unsigned char *base;
};

/* Makes and maps the memory. False: errno says why. */
bool shm_create(struct shm *, const size_t sizes[SHM_SECTIONS]);

/* Maps what another process made; fd stays with the caller. False: errno, EPROTO when it is another
 * version's. */
bool shm_attach(struct shm *, int fd);

void *shm_section(const struct shm *, enum shm_section, size_t *size /* may be NULL */);
void shm_unmap(struct shm *);

#endif
