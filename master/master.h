/* SPDX-License-Identifier: MIT */
/*
 * The parent process. It reads the config and the keys, opens sockets and files, lays out the shared memory,
 * starts control and workers, and watches over them until it is told to end. It reads no byte that a stranger
 * wrote, runs no libevent, and waits for nobody: one poll over a signalfd and the children's channels, a turn
 * a second at least.
 *
 *   LEARNING --control READY--> RAISING --all workers READY--> SERVING
 *      |                           |                              | TERM, QUIT, INT, `weirctl drain`
 *      |                           |                              v
 *      |                           +--------------------------> DRAINING --no worker left--> ENDING --> DONE
 *      |                           |                              |                            ^
 *      +------ a child fails ------+--> KILLING <-- a second one -+                            |
 *                                          +---------------------------------------------------+
 *
 * Workers start only when control knows which lifts the store holds, so that the first request is decided
 * rightly. All of it belongs to master_run; master.h is for the files of this folder.
 */
#ifndef WEIR_MASTER_MASTER_H
#define WEIR_MASTER_MASTER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/shm.h"
#include "base/tls_tickets.h"
#include "master/config.h"
#include "master/procs.h"
#include "master/sockets.h"

enum master_state {
	MASTER_LEARNING,
	MASTER_RAISING,
	MASTER_SERVING,
	MASTER_DRAINING,
	MASTER_ENDING,
	MASTER_KILLING,
	MASTER_DONE
};

enum drain_how { DRAIN_NOT, DRAIN_WITH_GRACE, DRAIN_WITHOUT_GRACE };

struct seat { /* a place that a child should always fill: of control, or of a worker number */
	usec_t not_before;
	usec_t backoff; /* grows while its children die young */
};

struct reload {
	struct config *next; /* NULL: none is under way */
	int access_log;	     /* of next, when log_changes */
	bool log_changes;
	unsigned askers, askers_later; /* answers that control waits for: of this one, of the one queued */
	unsigned settling;	       /* and of the last one, which is in force */
	usec_t settles_at;	       /* they are answered by then */
	bool queued;
};

struct master {
	const char *path; /* of the config file */
	enum master_state state;
	int status; /* the exit status */
	bool log_json;
	uint8_t hash_key[16];
	struct ticket_chain tickets; /* in step with the clock, for workers to come */
	struct shm shm;
	int signal_fd;
	struct owner owner;
	struct config *config; /* in force */
	uint32_t generations;  /* given out so far */
	struct sockets sockets;
	int access_log; /* -1: stdout, or off */
	unsigned peers;
	int peer[CONF_WORKERS_MAX][2]; /* to send, to receive */
	struct procs procs;
	struct seat control_seat, worker_seat[CONF_WORKERS_MAX];
	struct reload reload;
	enum drain_how drain;
	bool told_to_end; /* by TERM or INT: the next one means now */
	usec_t now;
	usec_t end_at; /* KILLING and ENDING give up waiting */
};

/* Runs weir with this config until it ends; the exit status. */
int master_run(const char *config_path);

/* --- for reload.c --- */

/* Room in the shared table of servers for all that the config names. */
bool master_claim_servers(struct master *, const struct config *, struct problems *);
/* Says in shared memory which config is in force, from now on. */
void master_announce(struct master *);
struct child *master_control(struct master *);

#endif
