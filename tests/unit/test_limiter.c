/* SPDX-License-Identifier: MIT */
/*
 * The limiter of a worker, on the memory store and on a real redis-server that behaves: bursts, refusals,
 * policies, cancelling; and several workers and weirs at once, whose logs are checked for admissions over the
 * limit and for false refusals.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/child.h"

#include "ratelimit/slots.h"
#include "tests/unit/limiter_rig.h"

/* --- the memory store --- */

static void memory_decides_at_once(void **state)
{
	(void)state;
	struct shop s = {0};
	struct request r;
	struct policy p = policy_of("memory", 3, MINUTE);
	shop_open_with(&s, 0, LIMITER_LOCAL);
	uint64_t before = decisions("memory");
	for (unsigned i = 0; i < 5; i++) {
		prepare(&r, 1, &p);
		loop.now = clock_mono();
		assert_int_equal(put(s.limiter, &r), LIMITER_NOW);
		assert_int_equal(r.t.verdict.granted, i < 3);
		assert_int_equal(r.t.verdict.source, SOURCE_MEMORY);
		assert_int_equal(r.t.verdict.refused_by, i >= 3);
		assert_int_equal(r.t.verdict.state[0].remaining, i < 3 ? 2 - i : 0);
	}
	assert_in_range(r.t.verdict.state[0].retry_after_us, MINUTE - USEC_PER_SEC, MINUTE);
	assert_int_equal(decisions("memory") - before, 5);
	limiter_cancel(s.limiter, &r.t); /* waits for nothing */
	shop_close(&s);
}

static void lock_all(struct shop *s, uint32_t owner)
{
	for (uint32_t i = 0; i < s->table->buckets; i++)
		__atomic_store_n(&s->table->bucket[i].lock, owner, __ATOMIC_SEQ_CST);
}

static void a_locked_table_is_waited_for(void **state)
{
	(void)state;
	struct shop s = {0};
	struct request r, gone;
	struct policy p = policy_of("memory", 1, MINUTE);
	shop_open_with(&s, 0, LIMITER_LOCAL);
	lock_all(&s, 77);
	prepare(&r, 1, &p);
	prepare(&gone, 1, &p);
	loop.now = clock_mono();
	assert_int_equal(put(s.limiter, &gone), LIMITER_WAIT);
	assert_int_equal(put(s.limiter, &r), LIMITER_WAIT);
	turn_for(5 * USEC_PER_MSEC);
	assert_int_equal(r.calls, 0);
	limiter_cancel(s.limiter, &gone.t);
	lock_all(&s, 0);
	rig_until(&loop, is_answered, &r);
	assert_true(r.t.verdict.granted); /* and the other one spent nothing */
	assert_int_equal(gone.calls, 0);
	shop_close(&s);
}

/* A bucket whose holder was stopped neither hangs its clients nor opens the gate for them. */
static void a_table_that_stays_locked(void **state)
{
	(void)state;
	struct shop s = {0};
	static struct request r[12];
	struct policy p = policy_of("memory", 8, MINUTE), q = policy_of("second", 3, MINUTE);
	shop_open_with(&s, 0, LIMITER_LOCAL);
	lock_all(&s, 77);
	board()->workers = 2;
	loop.now = clock_mono();
	for (unsigned i = 0; i < 12; i++) {
		prepare(&r[i], 1, &p);
		assert_int_equal(put(s.limiter, &r[i]), LIMITER_WAIT);
	}
	rig_until(&loop, is_answered, &r[11]);
	for (unsigned i = 0; i < 12; i++) {
		assert_int_equal(r[i].calls, 1);
		assert_int_equal(r[i].t.verdict.granted, i < 4); /* the share of one of two workers */
		assert_true(r[i].answered - r[i].asked >= 40 * USEC_PER_MSEC);
	}
	assert_in_range(r[11].t.verdict.state[0].retry_after_us, MINUTE - USEC_PER_SEC, MINUTE);
	/* Of two policies that with less room decides, and the other one loses nothing. */
	for (unsigned i = 0; i < 3; i++) {
		prepare(&r[i], 2, &p);
		r[i].t.asks = 2;
		r[i].t.ask[1] = (struct table_ask){&q, q.requests};
		put(s.limiter, &r[i]);
	}
	rig_until(&loop, is_answered, &r[2]);
	assert_true(r[0].t.verdict.granted && r[1].t.verdict.granted && !r[2].t.verdict.granted);
	assert_int_equal(r[2].t.verdict.refused_by, 2);
	assert_int_equal(r[2].t.verdict.state[0].remaining, 2);
	board()->workers = 0;
	lock_all(&s, 0);
	shop_close(&s);
}

/* --- Redis --- */

static void redis_decides(void **state)
{
	(void)state;
	struct shop s = {0};
	struct request r;
	struct policy p = policy_of("default", 3, MINUTE);
	shop_open(&s);
	for (unsigned i = 0; i < 5; i++) {
		const struct verdict *v = ask_one(&s, &r, 1, &p);
		assert_int_equal(v->granted, i < 3);
		assert_int_equal(v->source, SOURCE_REDIS);
		assert_int_equal(v->refused_by, i >= 3);
		assert_int_equal(v->state[0].limit, 3);
		assert_int_equal(v->state[0].used, i < 3 ? i + 1 : 3);
		assert_int_equal(v->state[0].remaining, i < 3 ? 2 - i : 0);
		assert_in_range(v->state[0].reset_us, MINUTE - USEC_PER_SEC, MINUTE);
	}
	assert_in_range(r.t.verdict.state[0].retry_after_us, MINUTE - USEC_PER_SEC, MINUTE);
	assert_int_equal(llen(&p, 1), 3);
	shop_close(&s);
}

/* The whole burst of a client is one question, or as few as 256 at a time allow; answers come in order. */
static void requests_of_one_turn_join(void **state)
{
	(void)state;
	enum { N = 600, LIMIT = 300 };
	struct shop s = {0};
	static struct request r[N];
	struct policy p = policy_of("default", LIMIT, MINUTE);
	shop_open(&s);
	rig_do(&redis, "CONFIG RESETSTAT");
	places = 0;
	loop.now = clock_mono();
	for (unsigned i = 0; i < N; i++) {
		prepare(&r[i], 1, &p);
		assert_int_equal(put(s.limiter, &r[i]), LIMITER_WAIT);
	}
	rig_until(&loop, is_answered, &r[N - 1]);
	for (unsigned i = 0; i < N; i++) {
		const struct verdict *v = &r[i].t.verdict;
		assert_int_equal(r[i].calls, 1);
		assert_int_equal(r[i].place, i);
		assert_int_equal(v->granted, i < LIMIT);
		assert_int_equal(v->refused_by, i >= LIMIT);
		assert_int_equal(v->state[0].remaining, i < LIMIT ? LIMIT - 1 - i : 0);
		assert_int_equal(v->state[0].retry_after_us > 0, i >= LIMIT - 1);
	}
	assert_int_equal(rig_calls(&redis, "evalsha"), 3);
	assert_int_equal(llen(&p, 1), LIMIT);
	shop_close(&s);
}

/* While a question is under way those who come wait for the next. */
static void one_question_a_client_is_under_way(void **state)
{
	(void)state;
	enum { N = 50 };
	struct shop s = {0};
	static struct request r[N];
	struct policy p = policy_of("default", 1000, MINUTE);
	shop_open(&s);
	rig_do(&redis, "CONFIG RESETSTAT");
	kill(redis.pid, SIGSTOP);
	for (unsigned i = 0; i < N; i++) {
		prepare(&r[i], 1, &p);
		loop.now = clock_mono();
		put(s.limiter, &r[i]);
		rig_once(&loop);
	}
	kill(redis.pid, SIGCONT);
	rig_until(&loop, is_answered, &r[N - 1]);
	for (unsigned i = 0; i < N; i++) {
		assert_true(r[i].t.verdict.granted);
		if (i)
			assert_true(r[i].place == r[i - 1].place + 1);
	}
	/* The stop was short of the timeout unless the machine was very busy. */
	if (r[0].answered - r[0].asked < TIMEOUT)
		assert_int_equal(rig_calls(&redis, "evalsha"), 2);
	shop_close(&s);
}

static void refusals_cost_no_command(void **state)
{
	(void)state;
	struct shop s = {0};
	struct request r;
	struct policy p = policy_of("default", 2, 400 * USEC_PER_MSEC);
	shop_open(&s);
	ask_one(&s, &r, 1, &p);
	usec_t first = r.asked;
	ask_one(&s, &r, 1, &p);
	long before = rig_calls(&redis, "evalsha");
	uint64_t by_table = decisions("table");
	unsigned refused = 0;
	for (;;) {
		const struct verdict *v = ask_one(&s, &r, 1, &p);
		if (v->granted)
			break;
		refused++;
		assert_int_equal(v->source, SOURCE_REDIS);
		assert_int_equal(v->state[0].remaining, 0);
		assert_true(v->state[0].retry_after_us > 0);
		assert_true(v->state[0].retry_after_us <= 410 * USEC_PER_MSEC);
		/* What was told is never too early. */
		assert_true(r.answered + v->state[0].retry_after_us >= first + p.window_us);
		turn_for(USEC_PER_MSEC / 2);
	}
	assert_true(refused > 50);
	assert_true(decisions("table") - by_table >= refused - 2);
	assert_in_range(rig_calls(&redis, "evalsha") - before, 1, 3);
	/* Until the exact moment: not a refusal more than the round trip after it. */
	assert_in_range(r.answered - first, 400 * USEC_PER_MSEC, 430 * USEC_PER_MSEC);
	shop_close(&s);
}

static void policies_decide_together(void **state)
{
	(void)state;
	struct shop s = {0};
	struct request r;
	struct policy wide = policy_of("wide", 10, MINUTE), narrow = policy_of("narrow", 2, MINUTE),
		      shy = policy_of("shy", 1, MINUTE);
	shy.shadow = true;
	shop_open(&s);
	for (unsigned i = 0; i < 4; i++) {
		prepare(&r, 1, &wide);
		r.t.asks = 3;
		r.t.ask[1] = (struct table_ask){&narrow, narrow.requests};
		r.t.ask[2] = (struct table_ask){&shy, shy.requests};
		const struct verdict *v = decided(&s, &r);
		assert_int_equal(v->granted, i < 2);
		assert_int_equal(v->refused_by, i < 2 ? 0 : 2);
		assert_int_equal(v->shadow_over, i < 1 ? 0 : 4);
		assert_int_equal(v->state[0].remaining, i < 2 ? 9 - i : 8);
		assert_int_equal(v->state[1].remaining, i < 2 ? 1 - i : 0);
	}
	assert_int_equal(llen(&wide, 1), 2);
	assert_int_equal(llen(&narrow, 1), 2);
	assert_int_equal(llen(&shy, 1), 1);
	/* A policy in shadow alone refuses nobody. */
	for (unsigned i = 0; i < 3; i++) {
		const struct verdict *v = ask_one(&s, &r, 2, &shy);
		assert_true(v->granted);
		assert_int_equal(v->shadow_over, i > 0);
	}
	shop_close(&s);
}

/* A burst under a policy in shadow: each ticket is told what would have become of it. */
static void shadows_in_a_burst(void **state)
{
	(void)state;
	struct shop s = {0};
	static struct request r[6];
	struct policy firm = policy_of("firm", 5, MINUTE), shy = policy_of("shy", 2, MINUTE);
	shy.shadow = true;
	shop_open(&s);
	loop.now = clock_mono();
	for (unsigned i = 0; i < 6; i++) {
		prepare(&r[i], 1, &firm);
		r[i].t.asks = 2;
		r[i].t.ask[1] = (struct table_ask){&shy, shy.requests};
		put(s.limiter, &r[i]);
	}
	rig_until(&loop, is_answered, &r[5]);
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(r[i].t.verdict.granted, i < 5);
		assert_int_equal(r[i].t.verdict.refused_by, i < 5 ? 0 : 1);
		assert_int_equal(r[i].t.verdict.shadow_over, i < 2 ? 0 : 2);
		assert_int_equal(r[i].t.verdict.state[1].remaining, i < 2 ? 1 - i : 0);
	}
	shop_close(&s);
}

static void forgiving_voids_refusals(void **state)
{
	(void)state;
	struct shop s = {0};
	struct request r;
	struct policy p = policy_of("default", 1, MINUTE);
	shop_open(&s);
	assert_true(ask_one(&s, &r, 1, &p)->granted);
	assert_false(ask_one(&s, &r, 1, &p)->granted);
	rig_do(&redis, "FLUSHALL");
	assert_false(ask_one(&s, &r, 1, &p)->granted); /* known */
	board()->limits_generation++;
	assert_true(ask_one(&s, &r, 1, &p)->granted);
	/* An answer under way when it was raised is not kept. */
	board()->limits_generation++;
	kill(redis.pid, SIGSTOP);
	prepare(&r, 1, &p);
	loop.now = clock_mono();
	put(s.limiter, &r);
	rig_once(&loop);
	board()->limits_generation++;
	kill(redis.pid, SIGCONT);
	rig_until(&loop, is_answered, &r);
	if (r.t.verdict.source != SOURCE_REDIS)
		goto out;
	assert_false(r.t.verdict.granted);
	rig_do(&redis, "FLUSHALL");
	assert_true(ask_one(&s, &r, 1, &p)->granted);
out:
	shop_close(&s);
}

/* --- cancelling --- */

static void tickets_can_be_cancelled_anywhere(void **state)
{
	(void)state;
	struct shop s = {0};
	static struct request r[8];
	struct policy p = policy_of("default", 100, MINUTE);
	shop_open(&s);
	loop.now = clock_mono();
	for (unsigned i = 0; i < 8; i++)
		prepare(&r[i], 1, &p);

	put(s.limiter, &r[0]); /* before it is sent: the only one */
	limiter_cancel(s.limiter, &r[0].t);
	limiter_cancel(s.limiter, &r[0].t);
	turn_for(2 * USEC_PER_MSEC);
	assert_int_equal(llen(&p, 1), 0);

	put(s.limiter, &r[0]); /* one of two */
	put(s.limiter, &r[1]);
	limiter_cancel(s.limiter, &r[0].t);
	rig_until(&loop, is_answered, &r[1]);
	assert_int_equal(r[0].calls, 0);
	assert_int_equal(llen(&p, 1), 1);

	kill(redis.pid, SIGSTOP);
	for (unsigned i = 0; i < 4; i++) { /* 0: under way; 1: follows; 2 and 3 with it */
		loop.now = clock_mono();
		put(s.limiter, &r[i]);
		rig_once(&loop);
	}
	limiter_cancel(s.limiter, &r[0].t);
	limiter_cancel(s.limiter, &r[2].t);
	kill(redis.pid, SIGCONT);
	rig_until(&loop, is_answered, &r[3]);
	assert_int_equal(r[0].calls + r[2].calls, 0);
	assert_int_equal(r[1].calls, 1);

	kill(redis.pid, SIGSTOP); /* all that follow */
	loop.now = clock_mono();
	put(s.limiter, &r[0]);
	rig_once(&loop);
	put(s.limiter, &r[1]);
	limiter_cancel(s.limiter, &r[1].t);
	limiter_cancel(s.limiter, &r[0].t);
	turn_for(2 * TIMEOUT); /* the question runs into its timeout without a ticket */
	kill(redis.pid, SIGCONT);
	rig_until(&loop, is_state, READY);

	for (unsigned i = 0; i < 4; i++) { /* by another's answer; and asked by another's answer */
		prepare(&r[i], 2, &p);
		loop.now = clock_mono();
		if (i < 3)
			put(s.limiter, &r[i]);
	}
	r[0].cancel = &r[1];
	r[0].ask = &r[3];
	rig_until(&loop, is_answered, &r[3]);
	assert_int_equal(r[1].calls, 0);
	assert_int_equal(r[2].calls, 1);
	assert_true(r[3].t.verdict.granted);
	shop_close(&s);
}

/* --- several processes, checked --- */

#define RUN_WEIRS 2
#define RUN_WORKERS 2
#define RUN_CLIENTS 6
#define RUN_AT_ONCE 4 /* requests a client and worker */
#define RUN_LIMIT 20
#define RUN_WINDOW (250 * USEC_PER_MSEC)
#define RUN_LENGTH (2500 * USEC_PER_MSEC)
#define RUN_ROWS 60000

struct row {
	usec_t from, to;
	uint8_t client;
	bool granted, local;
};

struct run_log {
	unsigned n;
	struct row row[RUN_ROWS];
};

struct driver {
	struct timeout_class tick;
	struct timeout timer;
	struct limiter *limiter;
	const struct policy *policy;
	struct run_log *log;
	struct request request[RUN_CLIENTS][RUN_AT_ONCE];
	usec_t until;
	uint64_t dice;
};

static void note(struct driver *d, const struct request *r)
{
	if (d->log->n == RUN_ROWS)
		return;
	d->log->row[d->log->n++] = (struct row){r->asked, r->answered, r->t.client.b[15],
						r->t.verdict.granted, r->t.verdict.source == SOURCE_LOCAL};
}

static void drive(struct timeout *t)
{
	struct driver *d = list_entry(t, struct driver, timer);
	if (clock_mono() >= d->until) {
		loop_stop(&loop);
		return;
	}
	for (unsigned c = 0; c < RUN_CLIENTS; c++)
		for (unsigned i = 0; i < RUN_AT_ONCE; i++) {
			struct request *r = &d->request[c][i];
			if (r->calls)
				note(d, r);
			if (r->asked && !r->calls)
				continue; /* under way */
			r->asked = 0;
			r->calls = 0;
			d->dice = d->dice * 6364136223846793005u + 1442695040888963407u;
			/* Clients from steady to bursty. */
			bool burst = clock_mono() / (RUN_WINDOW / 3) % (c + 1) == 0;
			if (!burst || d->dice >> 60 > 4 + 2 * c)
				continue;
			prepare(r, (uint8_t)c, d->policy);
			if (put(d->limiter, r) == LIMITER_NOW) {
				note(d, r);
				r->asked = 0;
			}
		}
	timeout_arm(&d->tick, t);
}

static void run_worker(void *mem, size_t bytes, uint16_t slot, struct run_log *log)
{
	struct redis_target target = rig_target(redis.port);
	struct policy p = policy_of("run", RUN_LIMIT, RUN_WINDOW);
	static struct driver d;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!loop_init(&loop))
		_exit(1);
	struct table *table = table_attach(mem, bytes, slot);
	struct limiter_setup setup = {.loop = &loop,
				      .table = table,
				      .redis = &target,
				      .timeout_us = 2 * USEC_PER_SEC,
				      .fleet = RUN_WEIRS};
	d = (struct driver){.limiter = limiter_new(&setup), .policy = &p, .log = log, .dice = slot * 77u};
	if (!d.limiter || !rig_turn(&loop, is_state, READY, RIG_PATIENCE))
		_exit(2);
	d.until = clock_mono() + RUN_LENGTH;
	timeout_class_init(&d.tick, &loop, USEC_PER_MSEC);
	timeout_init(&d.timer, drive);
	loop.now = clock_mono();
	timeout_arm(&d.tick, &d.timer);
	loop_run(&loop);
	_exit(0);
}

static int by_from(const void *a, const void *b)
{
	usec_t x = ((const struct row *)a)->from, y = ((const struct row *)b)->from;
	return x < y ? -1 : x > y;
}

struct verdicts {
	unsigned granted, refused, over, unfair;
};

/*
 * A decision was made at some moment between its question and its answer. Convicted: more than the limit
 * granted surely within one window; a refusal where fewer than the limit can have been granted in the window
 * before it.
 */
static void check_rows(const struct row *row, unsigned n, uint32_t limit, usec_t window, struct verdicts *v)
{
	for (unsigned i = 0; i < n; i++) {
		unsigned sure = 0, possible = 0;
		*(row[i].granted ? &v->granted : &v->refused) += 1;
		for (unsigned j = 0; j < n; j++) {
			if (!row[j].granted)
				continue;
			sure += row[j].from >= row[i].from && row[j].to < row[i].from + window;
			possible += j != i && row[j].to >= row[i].from - window && row[j].from <= row[i].to;
		}
		v->over += sure > limit;
		v->unfair += !row[i].granted && possible < limit;
	}
}

static void the_checker_convicts(void **state)
{
	(void)state;
	struct row r[4] = {{0, 1, 0, true, false}, {10, 11, 0, true, false}, {100, 101, 0, true, false}};
	struct verdicts v = {0};
	check_rows(r, 3, 2, 101, &v);
	assert_int_equal(v.over, 0);
	check_rows(r, 3, 2, 102, &v);
	assert_int_equal(v.over, 1);
	r[3] = (struct row){112, 113, 0, false, false};
	v = (struct verdicts){0};
	check_rows(r, 4, 2, 101, &v);
	assert_int_equal(v.unfair, 0);
	check_rows(r, 4, 2, 100, &v);
	assert_int_equal(v.unfair, 1);
}

static void weirs_and_workers_are_exact_together(void **state)
{
	(void)state;
	enum { N = RUN_WEIRS * RUN_WORKERS };
	pid_t pid[N];
	struct run_log *log =
		mmap(NULL, N * sizeof(*log), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	void *mem[RUN_WEIRS];
	size_t bytes = 0;
	rig_do(&redis, "FLUSHALL");
	for (unsigned i = 0; i < RUN_WEIRS; i++)
		mem[i] = new_region(&bytes);
	for (unsigned i = 0; i < N; i++) {
		pid[i] = child_fork();
		if (pid[i] == 0)
			run_worker(mem[i / RUN_WORKERS], bytes, (uint16_t)(i % RUN_WORKERS + 1), &log[i]);
	}
	static struct row all[N * RUN_ROWS];
	for (unsigned i = 0; i < N; i++) {
		int status;
		waitpid(pid[i], &status, 0);
		assert_int_equal(status, 0);
		assert_in_range(log[i].n, 100, RUN_ROWS - 1);
	}
	for (unsigned c = 0; c < RUN_CLIENTS; c++) {
		struct verdicts v = {0};
		unsigned n = 0, local = 0;
		for (unsigned i = 0; i < N; i++)
			for (unsigned j = 0; j < log[i].n; j++)
				if (log[i].row[j].client == c) {
					local += log[i].row[j].local;
					all[n++] = log[i].row[j];
				}
		qsort(all, n, sizeof(all[0]), by_from);
		check_rows(all, n, RUN_LIMIT, RUN_WINDOW, &v);
		print_message("client %u: %u granted, %u refused, %u over, %u unfair\n", c, v.granted,
			      v.refused, v.over, v.unfair);
		assert_int_equal(local, 0);
		assert_int_equal(v.over, 0);
		assert_int_equal(v.unfair, 0);
		assert_true(v.refused > 20);
		assert_true(v.granted <= (RUN_LENGTH / RUN_WINDOW + 2) * RUN_LIMIT);
		if (c == 0) /* asks all the time: gets all there is */
			assert_true(v.granted >= (RUN_LENGTH / RUN_WINDOW - 1) * RUN_LIMIT);
	}
	munmap(log, N * sizeof(*log));
	for (unsigned i = 0; i < RUN_WEIRS; i++)
		munmap(mem[i], bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_decides_at_once),
		cmocka_unit_test(a_locked_table_is_waited_for),
		cmocka_unit_test(a_table_that_stays_locked),
		cmocka_unit_test(redis_decides),
		cmocka_unit_test(requests_of_one_turn_join),
		cmocka_unit_test(one_question_a_client_is_under_way),
		cmocka_unit_test(refusals_cost_no_command),
		cmocka_unit_test(policies_decide_together),
		cmocka_unit_test(shadows_in_a_burst),
		cmocka_unit_test(forgiving_voids_refusals),
		cmocka_unit_test(tickets_can_be_cancelled_anywhere),
		cmocka_unit_test(the_checker_convicts),
		cmocka_unit_test(weirs_and_workers_are_exact_together),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
