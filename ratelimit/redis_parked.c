/* SPDX-License-Identifier: MIT */
#include "ratelimit/redis_parked.h"

#include <assert.h>

#define PARKED_MAX 4096
#define LOOK_EVERY (5 * USEC_PER_MSEC)

static void give_up(struct node_call *c, enum redis_failure f)
{
	static const char text[] = "no node took it";
	struct redis_reply r = {.kind = REDIS_ERROR, .failure = f, .text = {text, sizeof(text) - 1}};
	c->done(c, &r);
}

static void look_after(struct redis_parked *p)
{
	for (unsigned n = p->n; n && !p->ended; n--) {
		struct list *first = list_pop(&p->calls);
		assert(first); /* n of them are there */
		struct node_call *c = list_entry(first, struct node_call, link);
		p->n--;
		if (c->late || c->until <= p->loop->now)
			give_up(c, REDIS_MOVED);
		else if (!p->take(p->owner, c))
			redis_parked_add(p, c);
	}
}

static void on_look(struct timeout *t)
{
	look_after(list_entry(t, struct redis_parked, look));
}

static void on_soon(struct task *t)
{
	look_after(list_entry(t, struct redis_parked, soon));
}

void redis_parked_init(struct redis_parked *p, struct loop *l, void *owner,
		       bool (*take)(void *owner, struct node_call *))
{
	*p = (struct redis_parked){.loop = l, .owner = owner, .take = take};
	list_init(&p->calls);
	task_init(&p->soon, on_soon);
	timeout_init(&p->look, on_look);
	timeout_class_init(&p->look_class, l, LOOK_EVERY);
}

bool redis_parked_full(const struct redis_parked *p)
{
	return p->ended || p->n == PARKED_MAX;
}

bool redis_parked_add(struct redis_parked *p, struct node_call *c)
{
	if (redis_parked_full(p))
		return false;
	c->node = NULL;
	list_push(&p->calls, &c->link);
	p->n++;
	if (!timeout_armed(&p->look))
		timeout_arm(&p->look_class, &p->look);
	return true;
}

void redis_parked_soon(struct redis_parked *p)
{
	loop_soon(p->loop, &p->soon);
}

void redis_parked_end(struct redis_parked *p)
{
	struct list *first;
	p->ended = true;
	while ((first = list_pop(&p->calls)))
		give_up(list_entry(first, struct node_call, link), REDIS_CLOSED);
	p->n = 0;
	task_cancel(&p->soon);
	timeout_disarm(&p->look);
}

void redis_parked_drop(struct redis_parked *p)
{
	timeout_class_drop(&p->look_class);
}
