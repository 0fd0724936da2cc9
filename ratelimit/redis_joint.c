/* SPDX-License-Identifier: MIT */
#include "ratelimit/redis_joint.h"

#include <stdlib.h>

struct joint {
	struct redis_call call;
	struct redis_joints *owner;
	struct joint *next; /* in `spare` */
	const struct node_joint *kind;
	unsigned n;
	struct node_call *of[REDIS_JOINT_MAX];
};

static void put_away(struct redis_joints *owner, struct joint *j)
{
	j->next = owner->spare;
	owner->spare = j;
}

static void on_answer(struct redis_call *call, const struct redis_reply *r)
{
	struct joint *j = list_entry(call, struct joint, call);
	struct redis_joints *owner = j->owner;
	owner->answered(owner->node, j->kind, j->of, j->n, r);
	put_away(owner, j); /* the node outlives the turn, even if it was freed */
}

static struct joint *get(struct redis_joints *owner)
{
	struct joint *j = owner->spare;
	if (j) {
		owner->spare = j->next;
		return j;
	}
	j = malloc(sizeof(*j));
	if (!j)
		return NULL;
	j->owner = owner;
	j->call.done = on_answer;
	return j;
}

bool redis_joints_hold(struct redis_joints *j, struct node_call *c)
{
	if (!redis_conn_room(j->conn, j->room + c->room))
		return false;
	j->room += c->room;
	list_push(&j->held, &c->link);
	return true;
}

static bool may_join(struct node_call *a, struct node_call *b)
{
	return a->joint == b->joint && a->joint->together(a, b);
}

/* Of what is held (something is) the first and those behind it that may go with it. Returns what they need at
 * most. */
static size_t gather(struct redis_joints *owner, struct joint *j)
{
	struct node_call *first = list_entry(owner->held.next, struct node_call, link);
	size_t room = 0;
	j->kind = first->joint;
	j->n = 0;
	for (struct list *l = &first->link, *next; l != &owner->held && j->n < REDIS_JOINT_MAX; l = next) {
		struct node_call *c = list_entry(l, struct node_call, link);
		next = l->next;
		if (c != first && !may_join(first, c))
			continue;
		list_del(l);
		room += c->room;
		j->of[j->n++] = c;
	}
	owner->room -= room;
	return room;
}

static void put_back(struct redis_joints *owner, struct joint *j, size_t room)
{
	while (j->n)
		list_push_front(&owner->held, &j->of[--j->n]->link);
	owner->room += room;
	put_away(owner, j);
}

static bool write_joint(struct redis_joints *owner, struct joint *j, size_t room)
{
	char *out = redis_conn_room(owner->conn, room);
	if (!out)
		return false;
	redis_conn_sent(owner->conn, &j->call, j->kind->write(j->of, j->n, owner->node, out));
	return true;
}

bool redis_joints_write(struct redis_joints *owner)
{
	while (!list_empty(&owner->held)) {
		struct joint *j = get(owner);
		if (!j)
			return false;
		size_t room = gather(owner, j);
		bool ok = j->n == 1 ? owner->alone(owner->node, j->of[0]) : write_joint(owner, j, room);
		if (!ok) {
			put_back(owner, j, room);
			return false;
		}
		if (j->n == 1)
			put_away(owner, j);
	}
	return true;
}

void redis_joints_take(struct redis_joints *j, struct list *to)
{
	struct list *l;
	while ((l = list_pop(&j->held)))
		list_push(to, l);
	j->room = 0;
}

void redis_joints_init(struct redis_joints *j, struct redis_node *n)
{
	j->node = n;
	list_init(&j->held);
	j->spare = NULL;
	j->room = 0;
}

void redis_joints_drop(struct redis_joints *j)
{
	while (j->spare) {
		struct joint *spare = j->spare;
		j->spare = spare->next;
		free(spare);
	}
}
