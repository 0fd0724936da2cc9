/* SPDX-License-Identifier: MIT */
/*
 * The master's children, by their slot on the board. The one place where a child's state changes, where one
 * is killed, and where one that has ended is cleared up after: its counters are folded, its requests in
 * flight are taken back, its locks are opened.
 *
 *             spawn             READY            QUIESCE, DRAIN, EXIT
 *   EMPTY ------------> STARTING ----> SERVING ----------------------> LEAVING
 *     ^                    |  \           |                               |
 *     |                    |   +----------|----------> LEAVING            |
 *     |  COOL_US           v              v                               v
 *     +---------------- COOLING <----------------- has ended -------------+
 *
 * A slot cools down before it is given away again, so that readers of the board and the rings have seen the
 * end.
 */
#ifndef WEIR_MASTER_PROCS_H
#define WEIR_MASTER_PROCS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/board.h"
#include "base/channel.h"
#include "base/clock.h"
#include "base/metric.h"
#include "base/protocol.h"
#include "base/shm.h"

#define COOL_US (2 * USEC_PER_SEC)
#define START_US (30 * USEC_PER_SEC) /* from spawn to READY */
#define SILENT_US (5 * USEC_PER_SEC) /* without a beat */
#define ABORT_US USEC_PER_SEC	     /* from SIGABRT to SIGKILL */

enum child_state { CHILD_EMPTY, CHILD_STARTING, CHILD_SERVING, CHILD_LEAVING, CHILD_COOLING };

struct child {
	enum child_state state;
	enum proc_kind kind;
	unsigned slot, worker;
	uint32_t generation;
	pid_t pid;
	int channel; /* -1: it is closed */
	usec_t since, started;
	usec_t cut_at;	/* it is told to leave without the grace; USEC_NEVER */
	usec_t kill_at; /* USEC_NEVER */
	bool accepts;	/* it was told QUIESCE, and has not said that it takes no new connections any more */
	bool aborted;	/* SIGABRT was sent, for its silence */
	bool killed;	/* by us */
	char why[512];	/* it failed, in its own words; or it was killed, in ours */
};

struct procs {
	struct child child[PROC_MAX]; /* by slot; 0 is the master's and stays empty */
	const struct shm *shm;
	usec_t watched; /* when procs_watch ran last */
	usec_t woke;	/* when the master itself was held up last: silences before it say nothing */
	series_t crashes[PROC_WORKER + 1];
};

void procs_init(struct procs *, const struct shm *);

static inline bool child_lives(const struct child *c)
{
	return c->state == CHILD_STARTING || c->state == CHILD_SERVING || c->state == CHILD_LEAVING;
}

/* Those that serve or will: STARTING and SERVING. */
static inline bool child_stays(const struct child *c)
{
	return c->state == CHILD_STARTING || c->state == CHILD_SERVING;
}

/* "worker 0 (pid 123)"; valid until the next call. */
const char *child_name(const struct child *);

/* A slot for a new child, which is STARTING from now on; NULL: all are taken. */
struct child *procs_take(struct procs *, enum proc_kind, unsigned worker, uint32_t generation, usec_t now);
/* The spawn has worked, or not. */
void procs_spawned(struct child *, pid_t, int channel);
void procs_unspawned(struct child *, usec_t now);

void child_ready(struct child *, usec_t now);
void child_leaves(struct child *, usec_t now);

/* NULL: none that stays. Generation 0: any. */
struct child *procs_find(struct procs *, enum proc_kind, unsigned worker, uint32_t generation);
struct child *procs_by_pid(struct procs *, pid_t);
unsigned procs_free(const struct procs *);		     /* slots */
unsigned procs_living(const struct procs *, enum proc_kind); /* PROC_NONE: of any kind */
uint32_t procs_oldest(const struct procs *,
		      uint32_t generation); /* of those that live, and of the one given */

/* A child that does not take its messages is stuck, and killed: false then. */
bool child_send(struct child *, const struct channel_msg *);
bool child_tell(struct child *, enum msg_type, uint32_t arg, const char *text);

void child_kill(struct child *, int signal, const char *why);

/* waitpid has told of its end: clears up, and tells in `text` how it ended. True: it was told to leave and
 * did. */
bool procs_bury(struct procs *, struct child *, int status, usec_t now, char *text, size_t cap);

/* Kills who is late to start, silent, or due; lets slots go that have cooled down. */
void procs_watch(struct procs *, usec_t now);

#endif
