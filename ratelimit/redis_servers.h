/* SPDX-License-Identifier: MIT */
/*
 * The servers behind rate_limit.redis.url: one, or the masters of a Redis Cluster, each with a connection, a
 * state and a breaker of its own (ratelimit/redis_node.h), so that a node that is lost takes only its slots
 * with it.
 *
 *   SINGLE --the server says that it is a node, or MOVED comes--> LEARNING --CLUSTER SLOTS--> MAPPED
 *      (cluster: off stays here, cluster: on begins as LEARNING)      ^                         |
 *                                                                     +----- asked anew --------+
 *
 * A call goes to the node that has its slot. MOVED corrects the map and sends the call there, ASK sends it
 * there this once, TRYAGAIN sends it again after a moment: none of them was executed. While the node to go to
 * is being connected the call waits for it, until its own `until`. The map is asked anew of a node that
 * answers: soon after a MOVED and again and again, with jitter, while a slot's node does not answer or has no
 * node; else every half minute. An answer that is no map in every part is told (log, metric) and changes
 * nothing. When no node answers the url is tried again, and the replicas.
 *
 * `changed` comes from the loop, and from redis_servers_late; `done` of the calls as in redis_node.h.
 */
#ifndef WEIR_RATELIMIT_REDIS_SERVERS_H
#define WEIR_RATELIMIT_REDIS_SERVERS_H

#include <stdbool.h>

#include "base/loop.h"
#include "ratelimit/redis_node.h"
#include "ratelimit/redis_slots.h"

struct redis_servers;

struct redis_servers_setup {
	struct loop *loop;
	const struct redis_target *target; /* copied */
	usec_t timeout_us;
	struct table *table; /* for marks (mark.h); NULL: none are kept */
	void *owner;
	/* The state of all together is another (see redis_servers_state). */
	void (*changed)(void *owner, enum store_state from, enum store_state to, const char *why);
	/* A node of a cluster has changed its state; place is "host:port". May be NULL. */
	void (*node_changed)(void *owner, const char *place, enum store_state from, enum store_state to,
			     const char *why);
};

struct redis_servers *redis_servers_new(const struct redis_servers_setup *); /* NULL: out of memory */
void redis_servers_free(struct redis_servers *);			     /* NULL is harmless */

/*
 * One server: its own. A cluster: CONNECTING without a map; READY when every slot's node takes calls;
 * DEGRADED when some do; else OPEN, or CONNECTING when none is connected.
 */
enum store_state redis_servers_state(const struct redis_servers *);
/* Else the slot of a call does not matter. */
bool redis_servers_is_cluster(const struct redis_servers *);

bool redis_servers_open(const struct redis_servers *, unsigned slot);
/* Takes the call to the node of call->slot. False: not now. */
bool redis_servers_send(struct redis_servers *, struct node_call *);
void redis_servers_late(struct redis_servers *, struct node_call *);
void redis_servers_flush(struct redis_servers *);

/* Who decides of the slot. NULL: nobody is known. */
const struct redis_server *redis_servers_of(const struct redis_servers *, unsigned slot);
/* Why its connection failed last. */
enum redis_failure redis_servers_trouble(const struct redis_servers *, unsigned slot);

/* Those that have slots, by their place in the list; NULL beyond it. */
const struct redis_server *redis_servers_each(const struct redis_servers *, unsigned i, enum store_state *,
					      const char **place);
/* Where somebody is who takes calls; the texts are the servers'. False: nobody does. */
bool redis_servers_any(struct redis_servers *, struct redis_target *);
/* Asks each for INFO anew. */
void redis_servers_look(struct redis_servers *);

#endif
