/* SPDX-License-Identifier: MIT */
/*
 * Calls of one turn that go to a server in one command (struct node_joint says which may). Most of what a
 * short script costs Redis is the command around it: thirteen questions in one EVALSHA take 2.3 us of its CPU
 * each, where one takes 3.9 (loadtest/script_cost).
 *
 * Belongs to a node, and is part of it. A call that is held is in the list by its link, until it is written
 * or taken back; one that is under way is in a joint, whose memory is used over and over. Calls back only as
 * said below: `alone` from _write, `answered` from the connection.
 */
#ifndef WEIR_RATELIMIT_REDIS_JOINT_H
#define WEIR_RATELIMIT_REDIS_JOINT_H

#include "ratelimit/redis_node.h"

struct joint;

struct redis_joints {
	struct redis_node *node;
	struct redis_conn *conn;
	/* Writes the call by itself. False: there is no memory. */
	bool (*alone)(struct redis_node *, struct node_call *);
	/* The reply of all of them, and who they are; both hold until it returns. */
	void (*answered)(struct redis_node *, const struct node_joint *, struct node_call *const *,
			 unsigned n, const struct redis_reply *);
	struct list held;    /* of node_call.link, in the order in which they came */
	struct joint *spare; /* the last used first */
	size_t room;	     /* what the held ones need at most */
};

void redis_joints_init(struct redis_joints *, struct redis_node *);
void redis_joints_drop(struct redis_joints *); /* nothing is held or under way any more */

static inline bool redis_joints_idle(const struct redis_joints *j)
{
	return list_empty(&j->held);
}

/* False: too much is waiting to be written, or there is no memory; the call was not taken. */
bool redis_joints_hold(struct redis_joints *, struct node_call *);
/* Writes all that is held. False: there is no memory; what was not written is held still. */
bool redis_joints_write(struct redis_joints *);
/* Moves what is held to an empty list. */
void redis_joints_take(struct redis_joints *, struct list *to);

#endif
