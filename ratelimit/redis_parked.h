/* SPDX-License-Identifier: MIT */
/*
 * Calls that wait for a node of a cluster: until it is connected, or has the keys of a slot that is on its
 * way. Each is tried every few milliseconds, or at once after redis_parked_soon, and given up at its `until`
 * or when nobody waits for it any more: then `done` is called with an error, from the loop.
 *
 * Embedded by its owner. A call is the list's from redis_parked_add until `take` has it or `done` was called;
 * `done` may end the owner, by redis_parked_end.
 */
#ifndef WEIR_RATELIMIT_REDIS_PARKED_H
#define WEIR_RATELIMIT_REDIS_PARKED_H

#include <stdbool.h>

#include "base/list.h"
#include "base/loop.h"
#include "ratelimit/redis_node.h"

struct redis_parked {
	struct loop *loop;
	struct list calls;
	unsigned n;
	bool ended;
	struct timeout_class look_class;
	struct timeout look;
	struct task soon;
	void *owner;
	bool (*take)(void *owner, struct node_call *);
};

/* `take`: sends the call on. False: its node does not take it yet. */
void redis_parked_init(struct redis_parked *, struct loop *, void *owner,
		       bool (*take)(void *owner, struct node_call *));
/* As many wait as may, or it has ended. */
bool redis_parked_full(const struct redis_parked *);
/* False: it is full. */
bool redis_parked_add(struct redis_parked *, struct node_call *);
/* Tries all of them in the next turn of the loop. */
void redis_parked_soon(struct redis_parked *);

/* Gives all of them up; nothing is added any more. Drop frees what is left, and may come later. */
void redis_parked_end(struct redis_parked *);
void redis_parked_drop(struct redis_parked *);

#endif
