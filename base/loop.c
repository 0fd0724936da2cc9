/* SPDX-License-Identifier: MIT */
#include "base/loop.h"

#include <assert.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define IDLE_TURN (60 * USEC_PER_SEC) /* the loop turns at least this often */

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	struct loop *l = arg;
	l->timer_at = USEC_NEVER;
	loop_wake(l);
}

static void close_loop(struct loop *l)
{
	if (l->timer_fd >= 0) {
		event_del(&l->timer);
		close(l->timer_fd);
	}
	event_base_free(l->base);
	l->base = NULL;
}

bool loop_init(struct loop *l)
{
	struct event_config *cfg = event_config_new();
	if (!cfg)
		return false;
	event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK);
	event_config_require_features(cfg, EV_FEATURE_ET | EV_FEATURE_EARLY_CLOSE);
	*l = (struct loop){.base = event_base_new_with_config(cfg), .stale = true};
	event_config_free(cfg);
	if (!l->base)
		return false;
	l->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	event_assign(&l->timer, l->base, l->timer_fd, EV_READ | EV_ET | EV_PERSIST, on_timer, l);
	if (l->timer_fd < 0 || event_add(&l->timer, NULL) != 0) {
		close_loop(l);
		return false;
	}
	list_init(&l->ready);
	list_init(&l->classes);
	list_init(&l->hooks);
	l->now = clock_mono();
	l->next_due = l->timer_at = USEC_NEVER;
	return true;
}

static void bury_all(struct loop *l)
{
	while (l->dead) {
		struct grave *g = l->dead;
		l->dead = g->next;
		g->free(g);
	}
}

void loop_free(struct loop *l)
{
	bury_all(l);
	close_loop(l);
}

void loop_stop(struct loop *l)
{
	l->stopped = true;
	event_base_loopbreak(l->base);
}

/*
 * A timerfd, as libevent's own timers go by a clock of 4 ms: what gave up after 100 ms did so 4.4 ms late.
 * Set once for many timeouts, as most are disarmed before they are due: some ten times a second.
 * Edge-triggered, so that it need not be read.
 */
void loop_set_timer(struct loop *l)
{
	if (l->next_due >= l->timer_at)
		return;
	usec_t latest = l->now + IDLE_TURN, at = l->next_due < latest ? l->next_due : latest;
	if (at < 1)
		at = 1;
	const struct itimerspec when = {.it_value = {at / USEC_PER_SEC, at % USEC_PER_SEC * 1000}};
	if (timerfd_settime(l->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) == 0)
		l->timer_at = at;
}

void timeout_class_init(struct timeout_class *c, struct loop *l, usec_t after)
{
	if (after < 1)
		after = 1;
	if (c->loop) {
		assert(list_empty(&c->armed));
		c->after = after;
		return;
	}
	c->loop = l;
	c->after = after;
	list_init(&c->armed);
	list_push(&l->classes, &c->link);
}

void timeout_class_drop(struct timeout_class *c)
{
	if (!c->loop)
		return;
	if (c->loop->firing == c)
		c->loop->firing = NULL;
	while (list_pop(&c->armed))
		;
	list_del(&c->link);
	c->loop = NULL;
}

void hook_add(struct loop *l, struct hook *h, void (*run)(struct hook *))
{
	h->run = run;
	list_push(&l->hooks, &h->link);
}

void hook_del(struct hook *h)
{
	list_del(&h->link);
}

/* Callbacks may take links away from a list that is walked; so all move to a batch, and back one by one. */
static void take_batch(struct list *from, struct list *batch)
{
	list_init(batch);
	if (list_empty(from))
		return;
	*batch = *from;
	batch->next->prev = batch->prev->next = batch;
	list_init(from);
}

/* A timeout armed by a callback is never due in the same pass: it is in the future, as no class is shorter
 * than 1 us. */
static void fire_class(struct loop *l, struct timeout_class *c)
{
	struct list *first;
	l->firing = c;
	while (l->firing && (first = list_first(&c->armed))) {
		struct timeout *t = list_entry(first, struct timeout, link);
		if (t->at > l->now)
			break;
		list_del(&t->link);
		t->fired(t);
	}
	l->firing = NULL;
}

static void fire_due(struct loop *l)
{
	struct list batch, *first_class;
	if (l->now < l->next_due) {
		loop_set_timer(l); /* it may have fired early, or for what was disarmed since */
		return;
	}
	l->next_due = USEC_NEVER;
	take_batch(&l->classes, &batch);
	while ((first_class = list_pop(&batch))) {
		list_push(&l->classes, first_class);
		fire_class(l, list_entry(first_class, struct timeout_class, link));
	}
	for (struct list *i = l->classes.next; i != &l->classes; i = i->next) {
		struct timeout_class *c = list_entry(i, struct timeout_class, link);
		struct list *first = list_first(&c->armed);
		usec_t at = first ? list_entry(first, struct timeout, link)->at : USEC_NEVER;
		if (at < l->next_due)
			l->next_due = at;
	}
	loop_set_timer(l);
}

/* Only what was ready before this pass: a task that queues itself again waits for the next turn's events. */
static void run_ready(struct loop *l)
{
	struct list batch, *first;
	take_batch(&l->ready, &batch);
	while ((first = list_pop(&batch))) {
		struct task *t = list_entry(first, struct task, link);
		t->run(t);
	}
}

static void run_hooks(struct loop *l)
{
	struct list batch, *first;
	take_batch(&l->hooks, &batch);
	while ((first = list_pop(&batch))) {
		struct hook *h = list_entry(first, struct hook, link);
		list_push(&l->hooks, first);
		h->run(h);
	}
}

static void turn(struct loop *l)
{
	int busy = !list_empty(&l->ready) ? EVLOOP_NONBLOCK : 0;
	l->stale = true;
	event_base_loop(l->base, EVLOOP_ONCE | busy);
	loop_wake(l);
	run_ready(l);
	fire_due(l);
	run_hooks(l);
	bury_all(l);
}

void loop_run(struct loop *l)
{
	l->stopped = false;
	l->now = clock_mono();
	while (!l->stopped)
		turn(l);
}
