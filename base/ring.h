/* SPDX-License-Identifier: MIT */
/*
 * Log lines on their way from every process to the writer threads in control, one a kind of log. Each process
 * slot has a ring of its own for each kind in shared memory, with one producer and one reader, so there is no
 * lock that a crash could leave held, and a log that nobody takes fills its own rings only. A line that finds
 * no room is dropped and counted by the caller; nothing here ever waits, but ring_sleep.
 */
#ifndef WEIR_BASE_RING_H
#define WEIR_BASE_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RING_BYTES (512u << 10) /* a process and kind */
#define RING_LINE 16384		/* longest line, its newline included */

enum ring_kind { RING_ACCESS, RING_OWN, RING_KINDS };

/* The label of the kind in metrics: log="access", log="own". */
const char *ring_label(enum ring_kind);

size_t ring_bytes(void);
void ring_attach(void *section);

/* For the producer, after ring_join(slot). ring_reserve gives RING_LINE bytes of room or NULL; ring_commit
 * sends the first n. */
void ring_join(unsigned slot);
bool ring_joined(void);
char *ring_reserve(enum ring_kind);
void ring_commit(enum ring_kind, size_t n);

/*
 * For the reader: the next line of that slot, NULL when there is none. ring_release lets the room of that
 * line go, whose length it is told: what stands in shared memory was checked once and may be another by now.
 */
const char *ring_peek(enum ring_kind, unsigned slot, size_t *n);
void ring_release(enum ring_kind, unsigned slot, size_t n);

/* The reader of that kind sleeps until a line comes or `ms` are over. */
void ring_sleep(enum ring_kind, unsigned ms);

#endif
