/* SPDX-License-Identifier: MIT */
/*
 * The notice board: one small section of the shared memory that says who is there and what goes for all of
 * them. Each field names its one writer; everybody reads. Times are CLOCK_MONOTONIC microseconds, which agree
 * between the processes of one machine.
 */
#ifndef WEIR_BASE_BOARD_H
#define WEIR_BASE_BOARD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/clock.h"

#define PROC_MAX                                                                                             \
	160 /* slots for processes; 0 is the master's, and takes in what others counted when they leave */
#define BOARD_HASH 17

enum proc_kind { PROC_NONE, PROC_MASTER, PROC_CONTROL, PROC_WORKER };

/*
 *            spawn            ready              reload, TERM
 *   FREE ----------> STARTING ------> SERVING ----------------> LEAVING --+
 *    ^                   |               |                                | exit or crash
 *    +-------------------+---------------+--------------------------------+
 */
enum proc_state { PROC_FREE, PROC_STARTING, PROC_SERVING, PROC_LEAVING };

struct proc {
	_Atomic uint32_t kind;	     /* master: enum proc_kind */
	_Atomic uint32_t state;	     /* master, but SERVING is set by the process itself: enum proc_state */
	_Atomic int32_t pid;	     /* master */
	_Atomic uint32_t generation; /* master: of the config it serves */
	_Atomic uint32_t worker;     /* master: which worker, from 0 */
	_Atomic int64_t beat_us;     /* the process: when its loop turned last */
	_Atomic uint32_t clients;    /* the process: client connections open */
};

enum store_kind { STORE_MEMORY, STORE_REDIS };

struct board {
	_Atomic int64_t started_us;   /* master */
	_Atomic int64_t started_wall; /* master: wall_t */
	_Atomic uint32_t generation;  /* master: counts the configs taken into force */
	_Atomic uint32_t reloads_failed;
	_Atomic uint32_t workers;     /* master: how many are wanted */
	_Atomic uint32_t draining;    /* master: 1 from the signal on */
	_Atomic int64_t draining_us;  /* master: since when */
	char config_hash[BOARD_HASH]; /* master, before the generation: hex, of the config in force */

	_Atomic uint32_t fleet;	     /* control: live weirs on the store; 0 while it was never learned */
	_Atomic uint32_t fleet_most; /* control: the most of the last minute or two: what the limit is shared
					among while the store is away, for a weir that hangs is not gone */
	_Atomic uint32_t limits_generation; /* control: counts lifts begun, ended and forgivings; older
					       answers are void */

	_Atomic uint32_t unnamed_said; /* workers: the generation that has warned of clients without a name */

	struct proc proc[PROC_MAX];
};

void board_attach(void *section);
struct board *board(void);
/* What the store said under an older one is void. */
static inline uint32_t board_limits_generation(void)
{
	return atomic_load_explicit(&board()->limits_generation, memory_order_relaxed);
}

/* This process's own slot; before board_join, and in programs that have no board, a private one. */
void board_join(unsigned slot);
unsigned board_slot(void);
struct proc *board_self(void);

const char *proc_kind_name(enum proc_kind);
const char *proc_state_name(enum proc_state);

#endif
