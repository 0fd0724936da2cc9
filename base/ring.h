/* SPDX-License-Identifier: MIT */
/*
 * Log lines on their way from every process to the one writer thread in control. Each process slot has a ring
 * of its own in shared memory with one producer and one reader, so there is no lock that a crash could leave
 * held. A line that finds no room is dropped and counted by the caller; nothing here ever waits.
 */
#ifndef WEIR_BASE_RING_H
#define WEIR_BASE_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RING_BYTES (512u << 10) /* a process */
#define RING_LINE 16384		/* longest line, its newline included */

enum ring_kind { RING_ACCESS = 1, RING_OWN = 2 };

size_t ring_bytes(void);
void ring_attach(void *section);

/* For the producer, after ring_join(slot). ring_reserve gives RING_LINE bytes of room or NULL; ring_commit
 * sends the first n. */
void ring_join(unsigned slot);
bool ring_joined(void);
char *ring_reserve(void);
void ring_commit(enum ring_kind, size_t n);

/* For the reader: the next line of that slot, NULL when there is none; ring_release lets its room go. */
const char *ring_peek(unsigned slot, enum ring_kind *, size_t *n);
void ring_release(unsigned slot);

/* The reader sleeps until a line comes or `ms` are over. */
void ring_sleep(unsigned ms);

#endif
