/* SPDX-License-Identifier: MIT */
/*
 * The loop of a process: one libevent base, and around it what libevent does not do well enough for us. A
 * turn is, in this order: events; tasks that were ready before it (loop_soon); timeouts that are due; hooks;
 * burials.
 *
 * - `now` is CLOCK_MONOTONIC read once a turn, before the first callback of that turn sees it.
 * - A task is work that was stopped by a budget, or that must not run inside its caller.
 * - Timeouts of equal length share a class, a list that is in order by itself: arming costs a few
 * instructions.
 * - A hook runs at the end of every turn: what was gathered in it (questions to a store, log lines) leaves at
 * once.
 * - An object that a callback may still hold is buried, not freed: its free function runs at the end of the
 * turn.
 *
 * No function here calls back before it returns, but loop_run and loop_free.
 */
#ifndef WEIR_BASE_LOOP_H
#define WEIR_BASE_LOOP_H

#include <event2/event.h>
#include <event2/event_struct.h>

#include "base/clock.h"
#include "base/list.h"

struct loop {
	struct event_base *base;
	usec_t now;
	bool stale; /* now is of an earlier turn */
	bool stopped;
	struct list ready;   /* struct task */
	struct list classes; /* struct timeout_class */
	struct list hooks;   /* struct hook */
	struct grave *dead;
	struct timeout_class *firing; /* NULL: none, or it was dropped by what it fired */
	usec_t next_due;	      /* no timeout is due before this */
	usec_t timer_at;	      /* the moment that `timer` is set for; USEC_NEVER: it is not */
	int timer_fd;
	struct event timer;
};

struct task {
	struct list link;
	void (*run)(struct task *);
};

struct timeout_class {
	struct list link;
	struct list armed; /* struct timeout, soonest first */
	usec_t after;
	struct loop *loop; /* NULL: not in a loop */
};

struct timeout {
	struct list link;
	usec_t at;
	void (*fired)(struct timeout *); /* it is disarmed already; may arm it anew, may bury its owner */
};

struct hook {
	struct list link;
	void (*run)(struct hook *);
};

struct grave {
	struct grave *next;
	void (*free)(struct grave *);
};

/* False when libevent gives no base (out of memory or descriptors). */
bool loop_init(struct loop *);
/* Buries what is dead and frees the base. Every event must have been deleted by its owner. */
void loop_free(struct loop *);
/* Turns until loop_stop. */
void loop_run(struct loop *);
void loop_stop(struct loop *);

/* To be called first in every libevent callback, so that `now` is of this turn. */
static inline void loop_wake(struct loop *l)
{
	if (l->stale) {
		l->now = clock_mono();
		l->stale = false;
	}
}

static inline void task_init(struct task *t, void (*run)(struct task *))
{
	list_init(&t->link);
	t->run = run;
}

/* Runs the task once, at the end of this turn or of the next; a task that waits already keeps its place. */
static inline void loop_soon(struct loop *l, struct task *t)
{
	if (list_empty(&t->link))
		list_push(&l->ready, &t->link);
}

static inline void task_cancel(struct task *t)
{
	list_del(&t->link);
}

/*
 * A class may be re-initialised with another length only while nothing is armed in it. A length of 0 is one
 * of 1 us, so that a timeout that arms itself anew is due in the next turn, not in the same one.
 */
void timeout_class_init(struct timeout_class *, struct loop *, usec_t after);
/* Disarms all that is armed in it. Any callback may do this, also to the class that fired it, and may free it
 * then. */
void timeout_class_drop(struct timeout_class *);

static inline void timeout_init(struct timeout *t, void (*fired)(struct timeout *))
{
	list_init(&t->link);
	t->at = 0;
	t->fired = fired;
}

void loop_set_timer(struct loop *);

/* Starts the timeout, or starts it over. */
static inline void timeout_arm(struct timeout_class *c, struct timeout *t)
{
	struct loop *l = c->loop;
	list_del(&t->link);
	t->at = l->now + c->after;
	list_push(&c->armed, &t->link);
	if (t->at < l->next_due) {
		l->next_due = t->at;
		loop_set_timer(l);
	}
}

static inline void timeout_disarm(struct timeout *t)
{
	list_del(&t->link);
}

static inline bool timeout_armed(const struct timeout *t)
{
	return !list_empty(&t->link);
}

/* A hook may take itself or any other away while hooks run. */
void hook_add(struct loop *, struct hook *, void (*run)(struct hook *));
void hook_del(struct hook *);

/* The object that holds this grave is freed by fn at the end of the turn. Once an object only. */
static inline void loop_bury(struct loop *l, struct grave *g, void (*fn)(struct grave *))
{
	g->free = fn;
	g->next = l->dead;
	l->dead = g;
}

#endif
