/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <sys/timerfd.h>

#include "base/loop.h"

/* A test that hangs is ended by this: no test here takes a second. */
#define GIVE_UP_S 60

/*
 * A loop with a pipe whose read end is watched, so that the loop really sleeps, and a trace of what ran. Ends
 * when the trace holds `enough` bytes.
 */
struct world {
	struct loop loop;
	int pipe[2];
	struct event event;
	struct hook end;
	char trace[256];
	unsigned n, enough, turns;
	void (*on_event)(struct world *);
	void (*on_turn)(struct world *);
};

static struct world w;

static void note(char c)
{
	assert_true(w.n < sizeof(w.trace) - 1);
	w.trace[w.n++] = c;
	w.trace[w.n] = 0;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	char c;
	(void)what, (void)arg;
	loop_wake(&w.loop);
	assert_int_equal(read(fd, &c, 1), 1);
	note('e');
	if (w.on_event)
		w.on_event(&w);
}

static void at_turn(struct hook *h)
{
	(void)h;
	w.turns++;
	if (w.on_turn)
		w.on_turn(&w);
	if (w.enough && w.n >= w.enough)
		loop_stop(&w.loop);
}

static int set_up(void **state)
{
	(void)state;
	memset(&w, 0, sizeof(w));
	assert_true(loop_init(&w.loop));
	assert_int_equal(pipe2(w.pipe, O_NONBLOCK), 0);
	event_assign(&w.event, w.loop.base, w.pipe[0], EV_READ | EV_PERSIST, on_readable, NULL);
	event_add(&w.event, NULL);
	hook_add(&w.loop, &w.end, at_turn);
	alarm(GIVE_UP_S);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	alarm(0);
	event_del(&w.event);
	loop_free(&w.loop);
	close(w.pipe[0]);
	close(w.pipe[1]);
	return 0;
}

static void make_readable(void)
{
	assert_int_equal(write(w.pipe[1], "x", 1), 1);
}

/* --- an object with one of each --- */

struct thing {
	char name;
	int left; /* how often it goes on */
	struct task task;
	struct timeout timeout;
	struct timeout_class *class;
	struct hook hook;
	struct grave grave;
	usec_t fired_at;
	unsigned fired;
	unsigned turn; /* when it last was */
	void (*then)(struct thing *);
};

static void run_task(struct task *t)
{
	struct thing *x = list_entry(t, struct thing, task);
	note(x->name);
	if (x->then)
		x->then(x);
}

static void run_timeout(struct timeout *t)
{
	struct thing *x = list_entry(t, struct thing, timeout);
	assert_false(timeout_armed(t));
	assert_true(w.loop.now >= t->at);
	assert_false(w.loop.stale);
	x->fired_at = clock_mono();
	x->fired++;
	x->turn = w.turns;
	if (x->name)
		note(x->name);
	if (x->then)
		x->then(x);
}

static void run_hook(struct hook *h)
{
	struct thing *x = list_entry(h, struct thing, hook);
	note(x->name);
	if (x->then)
		x->then(x);
}

static void run_free(struct grave *g)
{
	struct thing *x = list_entry(g, struct thing, grave);
	note(x->name);
	if (x->then)
		x->then(x);
}

static void make(struct thing *x, char name, void (*then)(struct thing *))
{
	memset(x, 0, sizeof(*x));
	x->name = name;
	x->then = then;
	task_init(&x->task, run_task);
	timeout_init(&x->timeout, run_timeout);
	list_init(&x->hook.link);
}

/* --- a turn --- */

static struct thing a, b, c, d;

static void queue_and_bury(struct world *world)
{
	loop_soon(&world->loop, &a.task);
	loop_bury(&world->loop, &d.grave, run_free);
}

static void a_turn_is_events_tasks_timeouts_hooks_burials(void **state)
{
	struct timeout_class soon = {0};
	(void)state;
	make(&a, 't', NULL);
	make(&b, 'o', NULL);
	make(&c, 'h', NULL);
	make(&d, 'b', NULL);
	hook_add(&w.loop, &c.hook, run_hook);
	timeout_class_init(&soon, &w.loop, 1);
	timeout_arm(&soon, &b.timeout);
	while (clock_mono() < b.timeout.at)
		;
	make_readable();
	w.on_event = queue_and_bury;
	w.enough = 3;
	loop_run(&w.loop);
	assert_string_equal(w.trace, "etohb");
	assert_int_equal(w.turns, 1);
	timeout_class_drop(&soon);
	hook_del(&c.hook);
}

static void again_and_write(struct thing *x)
{
	if (x->left-- == 3)
		make_readable();
	if (x->left > 0)
		loop_soon(&w.loop, &x->task);
}

static void a_task_that_queues_itself_lets_events_in(void **state)
{
	(void)state;
	make(&a, 't', again_and_write);
	a.left = 5;
	loop_soon(&w.loop, &a.task);
	w.enough = 6;
	loop_run(&w.loop);
	assert_string_equal(w.trace, "tttett");
	assert_int_equal(w.turns, 5);
}

static void cancel_b_queue_c(struct thing *x)
{
	(void)x;
	task_cancel(&b.task);
	loop_soon(&w.loop, &c.task);
	loop_soon(&w.loop, &d.task);
}

static void a_task_keeps_its_place_and_may_be_cancelled_by_one_before_it(void **state)
{
	(void)state;
	make(&a, 'a', cancel_b_queue_c);
	make(&b, 'b', NULL);
	make(&c, 'c', NULL);
	make(&d, 'd', NULL);
	loop_soon(&w.loop, &a.task);
	loop_soon(&w.loop, &b.task);
	loop_soon(&w.loop, &c.task);
	loop_soon(&w.loop, &a.task);
	w.enough = 3;
	loop_run(&w.loop);
	assert_string_equal(w.trace, "acd"); /* c was waiting already; d waits for the next turn */
	assert_int_equal(w.turns, 2);
	assert_true(list_empty(&b.task.link));
}

/* --- timeouts --- */

static void timeouts_of_several_classes_fire_in_order_and_in_time(void **state)
{
	struct timeout_class ms2 = {0}, ms11 = {0}, ms30 = {0};
	struct thing x[9];
	usec_t least = USEC_NEVER;
	(void)state;
	timeout_class_init(&ms30, &w.loop, 30 * USEC_PER_MSEC);
	timeout_class_init(&ms2, &w.loop, 2 * USEC_PER_MSEC);
	timeout_class_init(&ms11, &w.loop, 11 * USEC_PER_MSEC);
	struct timeout_class *class_of[] = {&ms30, &ms2, &ms11};
	w.loop.now = clock_mono();
	for (int i = 0; i < 9; i++) {
		make(&x[i], (char)('0' + i), NULL);
		timeout_arm(class_of[i % 3], &x[i].timeout);
		assert_true(timeout_armed(&x[i].timeout));
	}
	w.enough = 9;
	loop_run(&w.loop);
	for (int i = 1; i < 9; i++) { /* whoever is late may find several classes due in one turn */
		const struct thing *p = &x[w.trace[i - 1] - '0'], *q = &x[w.trace[i] - '0'];
		assert_true(p->timeout.at <= q->timeout.at || p->turn == q->turn);
		assert_true(p->turn <= q->turn);
	}
	for (int i = 0; i < 9; i++) {
		usec_t late = x[i].fired_at - x[i].timeout.at;
		assert_true(late >= 0);
		least = late < least ? late : least;
	}
	assert_true(w.turns < 200);		 /* it slept in between */
	assert_true(least < 15 * USEC_PER_MSEC); /* the least, as others may use this machine */
}

/* The loop turns for other reasons when b is due, so b fires before the timer set for it; c must not be lost
 * by that. */
static void a_timeout_fires_behind_one_that_a_busy_loop_fired(void **state)
{
	struct timeout_class ms5 = {0}, ms60 = {0};
	(void)state;
	make(&a, 'a', NULL);
	make(&b, 'b', NULL);
	make(&c, 'c', NULL);
	timeout_class_init(&ms5, &w.loop, 5 * USEC_PER_MSEC);
	timeout_class_init(&ms60, &w.loop, 60 * USEC_PER_MSEC);
	w.enough = 1;
	for (unsigned i = 1; i <= 5; i++) {
		w.loop.now = clock_mono();
		timeout_arm(&ms5, &b.timeout);
		timeout_arm(&ms60, &c.timeout);
		while (b.fired < i) {
			w.n = 0;
			loop_soon(&w.loop, &a.task);
			loop_run(&w.loop);
		}
		w.n = 0;
		if (c.fired < i) /* not yet, unless we were held up for long */
			loop_run(&w.loop);
		assert_int_equal(c.fired, i);
	}
}

static bool timer_is_set(void)
{
	struct itimerspec left;
	assert_int_equal(timerfd_gettime(w.loop.timer_fd, &left), 0);
	return left.it_value.tv_sec || left.it_value.tv_nsec;
}

/* libevent's own timers are a millisecond late at the least, and by the kernel's tick as a rule. */
static void a_timeout_of_an_idle_loop_is_in_time(void **state)
{
	struct timeout_class ms5 = {0};
	usec_t least = USEC_NEVER;
	(void)state;
	make(&a, 'a', NULL);
	timeout_class_init(&ms5, &w.loop, 5 * USEC_PER_MSEC);
	w.enough = 1;
	for (unsigned i = 0; i < 100 && least >= USEC_PER_MSEC / 2; i++) { /* others may use this machine */
		w.n = 0;
		w.loop.now = clock_mono();
		timeout_arm(&ms5, &a.timeout);
		loop_run(&w.loop);
		usec_t late = a.fired_at - a.timeout.at;
		assert_true(late >= 0);
		least = late < least ? late : least;
	}
	assert_true(least < USEC_PER_MSEC / 2);
}

static void a_timer_that_fires_early_is_set_again(void **state)
{
	struct timeout_class long_one = {0}, short_one = {0};
	(void)state;
	make(&a, 'a', NULL);
	make(&b, 'b', NULL);
	timeout_class_init(&long_one, &w.loop, 600 * USEC_PER_SEC);
	timeout_class_init(&short_one, &w.loop, 10 * USEC_PER_MSEC);
	timeout_arm(&long_one, &a.timeout);
	assert_true(w.loop.timer_at < a.timeout.at); /* the loop turns once a minute at least */
	event_active(&w.loop.timer, EV_READ, 1);
	make_readable();
	w.enough = 1;
	loop_run(&w.loop);
	assert_int_equal(a.fired, 0);
	assert_true(timer_is_set());
	assert_true(w.loop.timer_at != USEC_NEVER);

	w.loop.now = clock_mono();
	timeout_arm(&short_one, &b.timeout); /* earlier than what the timer stands at */
	event_active(&w.loop.timer, EV_READ, 1);
	w.n = 0;
	loop_run(&w.loop);
	assert_string_equal(w.trace, "b");
	assert_true(timer_is_set());
	timeout_class_drop(&long_one);
}

static void disarm_b_rearm_self(struct thing *x)
{
	timeout_disarm(&b.timeout);
	if (--x->left > 0)
		timeout_arm(x->class, &x->timeout);
	if (x->left == 1)
		timeout_arm(c.class, &c.timeout);
}

static void callbacks_disarm_others_and_arm_themselves_anew(void **state)
{
	struct timeout_class ms1 = {0}, ms3 = {0};
	(void)state;
	make(&a, 'a', disarm_b_rearm_self);
	make(&b, 'b', NULL);
	make(&c, 'c', NULL);
	a.left = 4;
	timeout_class_init(&ms1, &w.loop, USEC_PER_MSEC);
	timeout_class_init(&ms3, &w.loop, 3 * USEC_PER_MSEC);
	a.class = &ms1;
	c.class = &ms3;
	timeout_arm(&ms1, &a.timeout);
	timeout_arm(&ms1, &b.timeout);
	w.enough = 5;
	loop_run(&w.loop);
	assert_string_equal(w.trace, "aaaac");
	assert_false(timeout_armed(&b.timeout));
}

static void arming_again_starts_over(void **state)
{
	struct timeout_class ms4 = {0};
	(void)state;
	make(&a, 'a', NULL);
	make(&b, 'b', NULL);
	timeout_class_init(&ms4, &w.loop, 4 * USEC_PER_MSEC);
	timeout_arm(&ms4, &a.timeout);
	timeout_arm(&ms4, &b.timeout);
	usec_t first = a.timeout.at;
	w.loop.now += 10;
	timeout_arm(&ms4, &a.timeout);
	assert_int_equal(a.timeout.at, first + 10);
	w.enough = 2;
	loop_run(&w.loop);
	assert_string_equal(w.trace, "ba");
}

static void rearm_self(struct thing *x)
{
	if (--x->left > 0)
		timeout_arm(x->class, &x->timeout);
}

static void a_class_without_length_fires_once_a_turn(void **state)
{
	struct timeout_class none = {0};
	(void)state;
	make(&a, 'a', rearm_self);
	a.left = 20;
	a.class = &none;
	timeout_class_init(&none, &w.loop, 0);
	timeout_arm(&none, &a.timeout);
	w.enough = 20;
	loop_run(&w.loop);
	assert_int_equal(a.fired, 20);
	assert_true(w.turns >= 20);
}

/* --- classes that are dropped by what they fire --- */

static void drop_own_class(struct thing *x)
{
	timeout_class_drop(x->class);
	free(x->class);
	x->class = NULL;
}

static void a_class_may_be_dropped_and_freed_by_what_it_fires(void **state)
{
	struct timeout_class *own = calloc(1, sizeof(*own)), before = {0}, behind = {0};
	(void)state;
	make(&a, 'a', drop_own_class);
	make(&b, 'b', NULL);
	make(&c, 'c', NULL);
	make(&d, 'd', NULL);
	a.class = own;
	timeout_class_init(&before, &w.loop, 1);
	timeout_class_init(own, &w.loop, 1);
	timeout_class_init(&behind, &w.loop, 1);
	timeout_arm(own, &a.timeout);
	timeout_arm(own, &b.timeout); /* goes with its class */
	timeout_arm(&behind, &c.timeout);
	timeout_arm(&before, &d.timeout);
	w.enough = 3;
	loop_run(&w.loop);
	assert_string_equal(w.trace, "dac");
	assert_false(timeout_armed(&b.timeout));
	timeout_arm(&before, &d.timeout); /* the list of classes is whole */
	timeout_arm(&behind, &c.timeout);
	w.enough = 5;
	loop_run(&w.loop);
	assert_string_equal(w.trace, "dacdc");
}

static void drop_both(struct thing *x)
{
	timeout_class_drop(b.class);
	timeout_class_drop(c.class);
	timeout_class_init(x->class, &w.loop, USEC_PER_MSEC);
	timeout_arm(x->class, &d.timeout);
}

static void classes_before_and_behind_may_be_dropped_by_a_callback(void **state)
{
	struct timeout_class k[3] = {{.loop = NULL}};
	(void)state;
	make(&a, 'a', drop_both);
	make(&b, 'b', NULL);
	make(&c, 'c', NULL);
	make(&d, 'd', NULL);
	for (int i = 0; i < 3; i++)
		timeout_class_init(&k[i], &w.loop, 1);
	b.class = &k[0];
	a.class = &k[1];
	c.class = &k[2];
	timeout_arm(a.class, &a.timeout);
	timeout_arm(c.class, &c.timeout);
	w.enough = 2;
	loop_run(&w.loop);
	assert_string_equal(w.trace, "ad");
	assert_null(k[0].loop);
	assert_null(k[2].loop);
	timeout_class_drop(&k[2]); /* twice is harmless */
	assert_false(timeout_armed(&c.timeout));
}

static void drop_and_begin_again(struct thing *x)
{
	timeout_class_drop(x->class);
	timeout_class_init(x->class, &w.loop, USEC_PER_MSEC);
	timeout_arm(x->class, &b.timeout);
}

static void a_class_may_be_made_anew_by_what_it_fires(void **state)
{
	struct timeout_class k = {0};
	(void)state;
	make(&a, 'a', drop_and_begin_again);
	make(&b, 'b', NULL);
	make(&c, 'c', NULL);
	a.class = &k;
	timeout_class_init(&k, &w.loop, 1);
	timeout_arm(&k, &a.timeout);
	timeout_arm(&k, &c.timeout);
	w.enough = 2;
	loop_run(&w.loop);
	assert_string_equal(w.trace, "ab");
}

/* --- hooks --- */

static void delete_self(struct thing *x)
{
	hook_del(&x->hook);
}

static void delete_c(struct thing *x)
{
	(void)x;
	hook_del(&c.hook);
}

static void add_d_once(struct thing *x)
{
	x->then = NULL;
	hook_add(&w.loop, &d.hook, run_hook);
}

static void hooks_may_take_away_themselves_and_others(void **state)
{
	(void)state;
	make(&a, 'a', delete_self);
	make(&b, 'b', delete_c);
	make(&c, 'c', NULL);
	hook_add(&w.loop, &a.hook, run_hook);
	hook_add(&w.loop, &b.hook, run_hook);
	hook_add(&w.loop, &c.hook, run_hook);
	make_readable();
	w.enough = 1;
	loop_run(&w.loop);
	assert_string_equal(w.trace, "eab");
	make_readable();
	loop_run(&w.loop);
	assert_string_equal(w.trace, "eabeb");
	hook_del(&b.hook);
}

static void a_hook_added_by_a_hook_runs_from_the_next_turn_on_at_the_latest(void **state)
{
	(void)state;
	make(&a, 'a', add_d_once);
	make(&d, 'd', NULL);
	hook_add(&w.loop, &a.hook, run_hook);
	make_readable();
	w.enough = 1;
	loop_run(&w.loop);
	make_readable();
	loop_run(&w.loop);
	assert_non_null(strstr(w.trace + 2, "e"));
	assert_non_null(strchr(strstr(w.trace + 2, "e"), 'd'));
	hook_del(&a.hook);
	hook_del(&d.hook);
}

/* --- burials --- */

static void bury_b(struct thing *x)
{
	(void)x;
	loop_bury(&w.loop, &b.grave, run_free);
}

static void free_self(struct grave *g)
{
	note('f');
	free(list_entry(g, struct thing, grave));
}

static void bury_self(struct thing *x)
{
	loop_bury(&w.loop, &x->grave, free_self);
	timeout_disarm(&x->timeout);
	task_cancel(&x->task);
}

static void what_is_buried_by_a_burial_goes_in_the_same_turn(void **state)
{
	(void)state;
	make(&a, 'a', bury_b);
	make(&b, 'b', NULL);
	loop_bury(&w.loop, &a.grave, run_free);
	make_readable();
	w.enough = 1;
	loop_run(&w.loop);
	assert_string_equal(w.trace, "eab");
}

static void a_callback_may_bury_its_owner(void **state)
{
	struct timeout_class soon = {0}, later = {0};
	struct thing *x = malloc(sizeof(*x)), *y = malloc(sizeof(*y));
	(void)state;
	make(x, 'x', bury_self);
	make(y, 'y', bury_self);
	timeout_class_init(&soon, &w.loop, 1);
	timeout_arm(&soon, &x->timeout);
	loop_soon(&w.loop, &y->task);
	make(&a, 'a', NULL); /* the loop turns once more behind the burials */
	timeout_class_init(&later, &w.loop, 3 * USEC_PER_MSEC);
	timeout_arm(&later, &a.timeout);
	w.enough = 5;
	loop_run(&w.loop);
	assert_int_equal(w.n, 5);
	assert_non_null(strchr(w.trace, 'x'));
	assert_non_null(strchr(w.trace, 'y'));
}

static void loop_free_buries_what_is_left(void **state)
{
	struct loop other;
	(void)state;
	make(&a, 'a', NULL);
	assert_true(loop_init(&other));
	loop_bury(&other, &a.grave, run_free);
	loop_free(&other);
	assert_string_equal(w.trace, "a");
}

/* --- now --- */

static usec_t seen[3];

static void look(struct thing *x)
{
	seen[x->left] = w.loop.now;
	usec_t until = clock_mono() + 2000; /* work that takes time */
	while (clock_mono() < until)
		;
}

static void event_looks(struct world *world)
{
	seen[0] = world->loop.now;
	assert_true(clock_mono() >= world->loop.now);
	loop_soon(&world->loop, &a.task);
}

static void now_is_one_moment_a_turn_and_fresh_in_the_next(void **state)
{
	usec_t last = w.loop.now;
	(void)state;
	make(&a, 'a', look);
	make(&b, 'b', look);
	a.left = 1;
	b.left = 2;
	hook_add(&w.loop, &b.hook, run_hook);
	w.on_event = event_looks;
	for (int i = 0; i < 10; i++) {
		usec_t before = clock_mono();
		make_readable();
		w.n = 0;
		w.enough = 1;
		loop_run(&w.loop);
		assert_true(seen[0] >= before); /* read in this turn, not in an earlier one */
		assert_true(seen[0] >= last);
		assert_int_equal(seen[1], seen[0]);
		assert_int_equal(seen[2], seen[0]);
		last = seen[0];
	}
	hook_del(&b.hook);
}

/* --- stop --- */

static void stop(struct thing *x)
{
	(void)x;
	loop_stop(&w.loop);
}

static void stop_from_event(struct world *world)
{
	loop_stop(&world->loop);
}

static void a_stop_from_anywhere_ends_with_the_turn(void **state)
{
	struct timeout_class soon = {0};
	(void)state;
	make(&a, 'a', stop);
	make(&b, 'b', stop);
	timeout_class_init(&soon, &w.loop, 1);
	loop_soon(&w.loop, &a.task);
	loop_run(&w.loop);
	assert_int_equal(w.turns, 1);
	timeout_arm(&soon, &b.timeout);
	loop_run(&w.loop);
	assert_string_equal(w.trace, "ab");
	w.on_event = stop_from_event;
	make_readable();
	w.turns = 0;
	loop_run(&w.loop);
	assert_string_equal(w.trace, "abe");
	assert_int_equal(w.turns, 1);
	hook_add(&w.loop, &a.hook, run_hook);
	w.on_event = NULL;
	make_readable();
	loop_run(&w.loop);
	assert_string_equal(w.trace, "abeea");
	hook_del(&a.hook);
}

/* --- all together --- */

#define MANY 200
static struct thing many[MANY];
static struct timeout_class classes[5];
static unsigned left, rng = 12345;

static unsigned rnd(unsigned below)
{
	rng = rng * 1103515245u + 12345u;
	return (rng >> 16) % below;
}

static void stir(struct thing *x)
{
	if (!left)
		return;
	left--;
	timeout_arm(&classes[rnd(5)], &x->timeout);
	struct thing *y = &many[rnd(MANY)];
	if (rnd(3) == 0)
		timeout_arm(&classes[rnd(5)], &y->timeout);
}

static void stop_when_idle(struct world *world)
{
	assert_true(world->loop.next_due > world->loop.now); /* or the loop would not sleep */
	for (int i = 0; i < 5; i++) {
		struct list *l = &classes[i].armed;
		usec_t last = 0;
		for (struct list *p = l->next; p != l; p = p->next) {
			usec_t at = list_entry(p, struct timeout, link)->at;
			assert_true(at >= last);
			assert_true(at >= world->loop.next_due);
			last = at;
		}
	}
	for (int i = 0; i < MANY; i++)
		if (timeout_armed(&many[i].timeout))
			return;
	loop_stop(&world->loop);
}

static void many_timeouts_armed_anew_all_fire_in_the_end(void **state)
{
	unsigned fired = 0;
	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		memset(&classes[i], 0, sizeof(classes[i]));
		timeout_class_init(&classes[i], &w.loop, (usec_t)(i * i * 700));
	}
	for (unsigned i = 0; i < MANY; i++) {
		make(&many[i], 0, stir);
		timeout_arm(&classes[i % 5], &many[i].timeout);
	}
	left = 5000;
	w.on_turn = stop_when_idle;
	loop_run(&w.loop);
	assert_int_equal(left, 0);
	for (unsigned i = 0; i < MANY; i++)
		fired += many[i].fired;
	assert_true(fired >= 5000 / 2);
}

#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_WORLD(a_turn_is_events_tasks_timeouts_hooks_burials),
		IN_WORLD(a_task_that_queues_itself_lets_events_in),
		IN_WORLD(a_task_keeps_its_place_and_may_be_cancelled_by_one_before_it),
		IN_WORLD(timeouts_of_several_classes_fire_in_order_and_in_time),
		IN_WORLD(a_timeout_fires_behind_one_that_a_busy_loop_fired),
		IN_WORLD(a_timeout_of_an_idle_loop_is_in_time),
		IN_WORLD(a_timer_that_fires_early_is_set_again),
		IN_WORLD(callbacks_disarm_others_and_arm_themselves_anew),
		IN_WORLD(arming_again_starts_over),
		IN_WORLD(a_class_without_length_fires_once_a_turn),
		IN_WORLD(a_class_may_be_dropped_and_freed_by_what_it_fires),
		IN_WORLD(classes_before_and_behind_may_be_dropped_by_a_callback),
		IN_WORLD(a_class_may_be_made_anew_by_what_it_fires),
		IN_WORLD(hooks_may_take_away_themselves_and_others),
		IN_WORLD(a_hook_added_by_a_hook_runs_from_the_next_turn_on_at_the_latest),
		IN_WORLD(what_is_buried_by_a_burial_goes_in_the_same_turn),
		IN_WORLD(a_callback_may_bury_its_owner),
		IN_WORLD(loop_free_buries_what_is_left),
		IN_WORLD(now_is_one_moment_a_turn_and_fresh_in_the_next),
		IN_WORLD(a_stop_from_anywhere_ends_with_the_turn),
		IN_WORLD(many_timeouts_armed_anew_all_fire_in_the_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
