/* SPDX-License-Identifier: MIT */
/*
 * What happened lately, for `weirctl events`: reloads, store changes, ejections, lifts, crashes. A ring of
 * the last EVENTS_KEPT in shared memory; any process adds, control reads. Each event also goes to the own
 * log.
 */
#ifndef WEIR_BASE_EVENTS_H
#define WEIR_BASE_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"

#define EVENTS_KEPT 512
#define EVENT_TEXT 400

enum event_kind {
	EVENT_PROCESS,
	EVENT_RELOAD,
	EVENT_STORE,
	EVENT_UPSTREAM,
	EVENT_LIFT,
	EVENT_CLIENT,
	EVENT_ADMIN
};

struct event_row {
	uint64_t seq; /* from 1 */
	wall_t at;
	enum event_kind kind;
	int pid;
	char text[EVENT_TEXT];
};

size_t events_bytes(void);
void events_attach(void *section);
const char *event_kind_name(enum event_kind);

/* Cut to EVENT_TEXT. */
void events_add(enum event_kind, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The last n events, oldest first. Returns how many. */
unsigned events_last(struct event_row *rows, unsigned n);

#endif
