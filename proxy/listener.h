/* SPDX-License-Identifier: MIT */
/*
 * Where a worker's connections come from: the listening sockets that the master gave it, and other workers.
 *
 * The kernel deals connections out by hash, and a load balancer keeps them for an hour, so that one worker
 * may end up with most of them: a worker that holds well more than the mean hands an accepted connection on
 * to the one that holds least, over a datagram socket, with what is known of its peer.
 */
#ifndef WEIR_PROXY_LISTENER_H
#define WEIR_PROXY_LISTENER_H

#include "proxy/worker.h"

struct listeners;

/* NULL: out of memory; the descriptors are closed then. */
struct listeners *listeners_open(struct worker *, const struct worker_fds *);

/* Takes no more connections. `last`: nobody else accepts from these sockets, so what the kernel has queued on
 * them is accepted first. */
void listeners_close(struct listeners *, bool last);

#endif
