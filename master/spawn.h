/* SPDX-License-Identifier: MIT */
/*
 * Starting a child: fork, exec of this same program with the one argument `--child`, and over its channel all
 * that it needs to know (base/protocol.h). It inherits the terminal or the log as stdout and stderr, nothing
 * on stdin, its channel as descriptor 3 and nothing else; of the environment it gets what CHILD_ENV names,
 * which has no secrets.
 */
#ifndef WEIR_MASTER_SPAWN_H
#define WEIR_MASTER_SPAWN_H

#include <stdbool.h>

#include "master/config.h"
#include "master/master.h"
#include "master/procs.h"

/* NULL: told in problems. The child is STARTING; READY or FAILED comes over its channel. */
struct child *spawn_control(struct master *, struct problems *);
struct child *spawn_worker(struct master *, const struct config *, unsigned worker, struct problems *);

/* Tells control of the config in force and gives it the sockets and the log anew. */
void spawn_tell_reload(struct master *, struct child *control);

/* A pair of datagram sockets for each worker number, over which its peers hand connections to it; kept for
 * life. */
bool spawn_open_peers(struct master *, unsigned workers, struct problems *);

#endif
