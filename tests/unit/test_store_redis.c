/* SPDX-License-Identifier: MIT */
/*
 * The Redis store in trouble, through the limiter: a real redis-server that is killed, frozen, emptied and
 * brought back, and a scripted one that answers wrongly.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/limiter_rig.h"

/* --- trouble --- */

static void a_dead_redis(void **state)
{
	(void)state;
	struct shop s;
	struct request r, waiting;
	struct policy p = policy_of("default", 10, MINUTE);
	shop_open(&s);
	for (unsigned i = 0; i < 4; i++)
		assert_true(ask_one(&s, &r, 1, &p)->granted);
	kill(redis.pid, SIGSTOP);
	prepare(&waiting, 2, &p);
	loop.now = clock_mono();
	assert_int_equal(put(s.limiter, &waiting), LIMITER_WAIT);
	rig_once(&loop);
	rig_kill(&redis);
	rig_until(&loop, is_answered, &waiting);
	assert_int_equal(waiting.t.verdict.source, SOURCE_LOCAL);
	assert_true(waiting.answered - waiting.asked < TIMEOUT + GRACE);
	rig_until(&loop, is_state, CONNECTING);
	/* At once, and from what Redis said last: 4 of 10 were used. */
	for (unsigned i = 0; i < 8; i++) {
		prepare(&r, 1, &p);
		loop.now = clock_mono();
		assert_int_equal(put(s.limiter, &r), LIMITER_NOW);
		assert_int_equal(r.t.verdict.source, SOURCE_LOCAL);
		assert_int_equal(r.t.verdict.granted, i < 6);
		assert_int_equal(r.t.verdict.state[0].limit, 10);
	}
	rig_start(&redis);
	usec_t up = clock_mono();
	rig_until(&loop, is_state, READY);
	assert_true(clock_mono() - up < USEC_PER_SEC);
	/* Exact again: what was admitted meanwhile counts, and what the server has forgotten. */
	const struct verdict *v = ask_one(&s, &r, 1, &p);
	assert_int_equal(v->source, SOURCE_REDIS);
	assert_false(v->granted);
	assert_int_equal(llen(&p, 1), 10);
	shop_close(&s);
}

static void each_weir_holds_its_share(void **state)
{
	(void)state;
	struct shop s;
	struct request r;
	struct policy p = policy_of("default", 10, MINUTE);
	shop_open(&s);
	for (unsigned i = 0; i < 5; i++)
		assert_true(ask_one(&s, &r, 1, &p)->granted);
	rig_kill(&redis);
	rig_until(&loop, is_state, CONNECTING);
	board()->fleet_most = 4;
	unsigned granted = 0, fresh = 0;
	for (unsigned i = 0; i < 10; i++) {
		granted += ask_one(&s, &r, 1, &p)->granted;
		fresh += ask_one(&s, &r, 2, &p)->granted;
	}
	assert_int_equal(granted, 1); /* 3, the share of 10, less 2, the share of 5 */
	assert_int_equal(fresh, 3);
	board()->fleet_most = 0;
	rig_start(&redis);
	shop_close(&s);
}

static void frozen(struct shop *s, const struct policy *p, usec_t *least, usec_t *most)
{
	enum { N = 40 };
	static struct request r[N];
	kill(redis.pid, SIGSTOP);
	loop.now = clock_mono();
	for (unsigned i = 0; i < N; i++) {
		prepare(&r[i], (uint8_t)(10 + i), p);
		put(s->limiter, &r[i]);
	}
	rig_until(&loop, is_answered, &r[N - 1]);
	*most = 0;
	*least = MINUTE;
	for (unsigned i = 0; i < N; i++) {
		usec_t took = r[i].answered - r[i].asked;
		assert_int_equal(r[i].t.verdict.source, SOURCE_LOCAL);
		assert_true(r[i].t.verdict.granted);
		*least = took < *least ? took : *least;
		*most = took > *most ? took : *most;
	}
}

/* It holds nobody up for longer than the timeout, and spends nothing on those when it wakes. */
static void a_frozen_redis(void **state)
{
	(void)state;
	struct shop s;
	struct request r;
	struct policy p = policy_of("default", 10, MINUTE);
	usec_t least, most, best = MINUTE;
	shop_open(&s);
	for (unsigned trial = 0; trial < 5; trial++) {
		uint64_t timeouts = rig_failures("timeout");
		frozen(&s, &p, &least, &most);
		assert_true(least >= TIMEOUT - USEC_PER_MSEC);
		best = most < best ? most : best;
		assert_in_range(rig_failures("timeout") - timeouts, 40, 41);
		assert_true(in_state("open") + in_state("degraded") + in_state("probing") == 1);
		kill(redis.pid, SIGCONT);
		rig_until(&loop, is_state, READY);
		for (unsigned i = 0; i < 40; i++)
			assert_int_equal(llen(&p, (uint8_t)(10 + i)), 0);
	}
	assert_true(best < TIMEOUT + GRACE);
	assert_int_equal(ask_one(&s, &r, 1, &p)->source, SOURCE_REDIS);

	/* For so long that the breaker opens and the connection is given up: then nobody waits. */
	frozen(&s, &p, &least, &most);
	for (uint8_t client = 70; !is_state(OPEN) && client < 80; client++)
		assert_int_equal(ask_one(&s, &r, client, &p)->source, SOURCE_LOCAL);
	assert_true(is_state(OPEN));
	prepare(&r, 60, &p);
	loop.now = clock_mono();
	assert_int_equal(put(s.limiter, &r), LIMITER_NOW);
	rig_until(&loop, is_state, CONNECTING);
	kill(redis.pid, SIGCONT);
	rig_until(&loop, is_state, READY);
	assert_int_equal(ask_one(&s, &r, 61, &p)->source, SOURCE_REDIS);
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(llen(&p, (uint8_t)(10 + i)), 0);
	shop_close(&s);
}

/* A single slow moment is not an outage. */
static void a_single_timeout_degrades(void **state)
{
	(void)state;
	struct shop s;
	struct request r;
	struct policy p = policy_of("default", 10, MINUTE);
	shop_open(&s);
	kill(redis.pid, SIGSTOP);
	assert_int_equal(ask_one(&s, &r, 1, &p)->source, SOURCE_LOCAL);
	kill(redis.pid, SIGCONT);
	assert_true(is_state(DEGRADED));
	assert_int_equal(ask_one(&s, &r, 2, &p)->source, SOURCE_REDIS);
	rig_until(&loop, is_state, READY);
	shop_close(&s);
}

static void a_flushed_script(void **state)
{
	(void)state;
	struct shop s;
	static struct request r[20];
	struct policy p = policy_of("default", 10, MINUTE);
	shop_open(&s);
	rig_do(&redis, "SCRIPT FLUSH");
	rig_do(&redis, "CONFIG RESETSTAT");
	uint64_t before = rig_failures("noscript");
	loop.now = clock_mono();
	for (unsigned i = 0; i < 20; i++) {
		prepare(&r[i], (uint8_t)i, &p);
		put(s.limiter, &r[i]);
	}
	rig_until(&loop, is_answered, &r[19]);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(r[i].t.verdict.source, SOURCE_REDIS);
		assert_int_equal(llen(&p, (uint8_t)i), 1);
	}
	assert_int_equal(rig_failures("noscript") - before, 1);
	assert_int_equal(rig_calls(&redis, "script|load"), REDIS_SCRIPTS);
	shop_close(&s);
}

static void a_wrong_password(void **state)
{
	(void)state;
	struct shop s = {.target = rig_target(redis.port)};
	struct request r;
	struct policy p = policy_of("default", 2, MINUTE);
	rig_do(&redis, "CONFIG SET requirepass right");
	uint64_t before = rig_failures("noauth");
	shop_open_with(&s, redis.port, LIMITER_LOCAL);
	while (rig_failures("noauth") == before)
		turn_for(USEC_PER_MSEC);
	for (unsigned i = 0; i < 3; i++) {
		const struct verdict *v = ask_one(&s, &r, 1, &p);
		assert_int_equal(v->source, SOURCE_LOCAL);
		assert_int_equal(v->granted, i < 2);
	}
	rig_do(&redis, "CONFIG SET requirepass %s", "");
	rig_until(&loop, is_state, READY);
	shop_close(&s);
}

static void on_failure_as_told(void **state)
{
	(void)state;
	int port = 0;
	close(rig_bind(&port)); /* nobody listens there */
	for (int deny = 0; deny < 2; deny++) {
		struct shop s = {0};
		struct request r;
		struct policy p = policy_of("default", 1, MINUTE), shy = policy_of("shy", 1, MINUTE);
		shy.shadow = true;
		shop_open_with(&s, port, deny ? LIMITER_DENY : LIMITER_ALLOW);
		for (unsigned i = 0; i < 5; i++) {
			const struct verdict *v = ask_one(&s, &r, 1, &p);
			assert_int_equal(v->granted, !deny);
			assert_int_equal(v->refused_by, deny);
			assert_int_equal(v->source, SOURCE_LOCAL);
			assert_int_equal(v->state[0].retry_after_us, deny ? USEC_PER_SEC : 0);
		}
		assert_true(ask_one(&s, &r, 1, &shy)->granted);
		shop_close(&s);
	}
}

/* --- a server that answers wrongly --- */

struct play {
	struct rig_fake fake;
	const char *answer; /* to EVALSHA; NULL: none */
	const char *each;   /* the same to each client of several; NULL: as above */
	bool whole;	    /* `each` is the answer to all of them */
	const char *ping, *mark;
	unsigned asked, marks;
	void *until_state;
	struct request *until;
};

static unsigned clients_of(const char *command)
{
	unsigned n = 0;
	while ((command = strchr(command, '{')))
		n++, command++;
	return n;
}

static const char *answer_each(const struct play *p, unsigned clients)
{
	static char out[4096];
	if (p->whole)
		return p->each;
	int n = snprintf(out, sizeof(out), "*%u\r\n:0\r\n", clients + 1);
	for (unsigned i = 0; i < clients; i++)
		n += snprintf(out + n, sizeof(out) - (size_t)n, "%s", p->each);
	return out;
}

static const char *play_line(void *ctx, const char *command)
{
	struct play *p = ctx;
	if (strstr(command, ":mark:")) {
		p->marks++;
		return p->mark;
	}
	if (strstr(command, "EVALSHA")) {
		p->asked++;
		unsigned clients = clients_of(command);
		return clients > 1 && p->each ? answer_each(p, clients) : p->answer;
	}
	if (strstr(command, "SCRIPT"))
		return "$40\r\n0123456789abcdef0123456789abcdef01234567\r\n";
	if (strstr(command, "TIME"))
		return "*2\r\n$10\r\n1763900000\r\n$6\r\n000000\r\n";
	return strstr(command, "PING") ? p->ping : "+OK\r\n";
}

static bool play_on(void *ctx)
{
	struct play *p = ctx;
	fake_serve(&p->fake, play_line, p);
	return p->until ? is_answered(p->until) : p->until_state && is_state(p->until_state);
}

static const struct verdict *play_ask(struct play *f, struct shop *s, struct request *r, uint8_t client,
				      const struct policy *p)
{
	prepare(r, client, p);
	loop.now = clock_mono();
	f->until = r;
	if (put(s->limiter, r) == LIMITER_WAIT)
		assert_true(rig_turn(&loop, play_on, f, RIG_PATIENCE));
	f->until = NULL;
	return &r->t.verdict;
}

static void play_state(struct play *f, void *state)
{
	f->until_state = state;
	assert_true(rig_turn(&loop, play_on, f, RIG_PATIENCE));
	f->until_state = NULL;
}

static void play_open_for(struct play *f, struct shop *s, usec_t timeout)
{
	*f = (struct play){.ping = "+PONG\r\n", .mark = "$-1\r\n"};
	*s = (struct shop){.timeout = timeout};
	fake_open(&f->fake);
	shop_open_with(s, f->fake.port, LIMITER_LOCAL);
	play_state(f, READY);
}

static void play_open(struct play *f, struct shop *s)
{
	play_open_for(f, s, 0);
}

static void wrong_answers(void **state)
{
	(void)state;
	static const struct {
		const char *answer, *kind;
	} rows[] = {
		{"-LOADING Redis is loading the dataset in memory\r\n", "loading"},
		{"-OOM command not allowed when used memory > 'maxmemory'.\r\n", "oom"},
		{"-READONLY You can't write against a read only replica.\r\n", "readonly"},
		{"-ERR Error running script (call to f_12): @user_script:2: @user_script: 2: -OOM command "
		 "not "
		 "allowed\r\n",
		 "oom"},
		{"-CLUSTERDOWN The cluster is down\r\n", "clusterdown"},
		{"-BUSY Redis is busy running a script.\r\n", "busy"},
		{"-NOSCRIPT No matching script.\r\n", "noscript"}, /* however often it is loaded */
		{"+OK\r\n", "garbage"},
		{":7\r\n", "garbage"}, /* used 7 of 5, and granted */
		{"*2\r\n:1\r\n:1763900000000000\r\n", "garbage"},
		{"*5\r\n:0\r\n:1763900000000000\r\n:1\r\n:0\r\n:5\r\n",
		 "garbage"}, /* refused with room left */
		{"*5\r\n:9\r\n:1763900000000000\r\n:1\r\n:0\r\n:5\r\n", "garbage"},
		{"$-1\r\n", "garbage"},
		{"hello?\r\n", "garbage"},
	};
	struct policy p = policy_of("default", 5, MINUTE);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct play f;
		struct shop s;
		struct request r;
		play_open(&f, &s);
		f.answer = rows[i].answer;
		uint64_t before = rig_failures(rows[i].kind);
		const struct verdict *v = play_ask(&f, &s, &r, 1, &p);
		if (v->source != SOURCE_LOCAL || !v->granted || rig_failures(rows[i].kind) == before)
			fail_msg("row %zu: source %d, granted %d", i, v->source, v->granted);
		assert_true(r.answered - r.asked < TIMEOUT + USEC_PER_SEC);
		/* And when it answers well again, it decides again. */
		f.answer = "*5\r\n:0\r\n:1763900000000000\r\n:5\r\n:30000000\r\n:60000000\r\n";
		play_state(&f, READY);
		v = play_ask(&f, &s, &r, 2, &p);
		assert_int_equal(v->source, SOURCE_REDIS);
		assert_false(v->granted);
		assert_int_equal(v->state[0].retry_after_us, 30 * USEC_PER_SEC);
		shop_close(&s);
		fake_close(&f.fake);
	}
}

static const char well[] = "*5\r\n:1\r\n:1763900000000000\r\n:0\r\n:0\r\n:60000000\r\n";

static void play_until_open(struct play *f, struct shop *s, struct request *r, const struct policy *p)
{
	for (uint8_t client = 0; !is_state(OPEN) && client < 250; client++) {
		play_ask(f, s, r, client, p);
		turn_for(USEC_PER_MSEC);
	}
	assert_true(is_state(OPEN));
}

/* Where no writes were taken one of our own shows that they are again: nobody need ask. */
static void the_breaker_and_writes(void **state)
{
	(void)state;
	static const char *const rows[] = {"-OOM no\r\n", "-NOREPLICAS no\r\n", "-CLUSTERDOWN no\r\n"};
	struct policy p = policy_of("default", 5, MINUTE);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct play f;
		struct shop s;
		struct request r;
		play_open(&f, &s);
		f.answer = f.mark = rows[i];
		play_until_open(&f, &s, &r, &p);
		unsigned asked = f.asked, tries = f.marks;
		/* Refused, and refused again. */
		for (unsigned more = 1; more <= 2; more++) {
			while (f.marks < tries + more)
				rig_turn(&loop, play_on, &f, USEC_PER_MSEC);
			play_state(&f, OPEN);
		}
		f.mark = "$-1\r\n";
		play_state(&f, READY);
		assert_int_equal(f.asked, asked);
		f.answer = well;
		assert_int_equal(play_ask(&f, &s, &r, 251, &p)->source, SOURCE_REDIS);
		shop_close(&s);
		fake_close(&f.fake);
	}
}

/* Errors in a row open the breaker; a PING does not show whether it writes again, so one question at a time
 * tries. */
static void the_breaker(void **state)
{
	(void)state;
	struct play f;
	struct shop s;
	struct request r, two[2];
	struct policy p = policy_of("default", 5, MINUTE);
	play_open(&f, &s);
	f.answer = "-ERR no\r\n";
	uint8_t client = 250;
	play_until_open(&f, &s, &r, &p);
	unsigned asked = f.asked;
	prepare(&r, client++, &p);
	loop.now = clock_mono();
	assert_int_equal(put(s.limiter, &r), LIMITER_NOW);
	assert_int_equal(f.asked, asked);
	play_state(&f, PROBING);
	f.until_state = NULL;
	rig_turn(&loop, play_on, &f, 20 * USEC_PER_MSEC); /* PONG */
	assert_true(is_state(PROBING));
	/* The trial fails: open again. */
	assert_int_equal(play_ask(&f, &s, &r, client++, &p)->source, SOURCE_LOCAL);
	assert_int_equal(f.asked, asked + 1);
	assert_true(is_state(OPEN));
	play_state(&f, PROBING);
	rig_turn(&loop, play_on, &f, 20 * USEC_PER_MSEC);
	/* Of two at once one is the trial. */
	f.answer = well;
	for (unsigned i = 0; i < 2; i++) {
		prepare(&two[i], client++, &p);
		loop.now = clock_mono();
		assert_int_equal(put(s.limiter, &two[i]), LIMITER_WAIT);
	}
	f.until = &two[0];
	assert_true(rig_turn(&loop, play_on, &f, RIG_PATIENCE));
	f.until = &two[1];
	assert_true(rig_turn(&loop, play_on, &f, RIG_PATIENCE));
	assert_int_equal(two[0].t.verdict.source, SOURCE_REDIS);
	assert_int_equal(two[1].t.verdict.source, SOURCE_LOCAL);
	assert_true(is_state(READY));
	shop_close(&s);
	fake_close(&f.fake);
}

/* Questions of one turn, by turns under one of two policies. */
static void play_many(struct play *f, struct shop *s, struct request *r, unsigned n, const struct policy *p,
		      unsigned policies)
{
	f->fake.reads = f->asked = 0;
	loop.now = clock_mono();
	for (unsigned i = 0; i < n; i++) {
		prepare(&r[i], (uint8_t)i, &p[i % policies]);
		assert_int_equal(put(s->limiter, &r[i]), LIMITER_WAIT);
	}
	for (unsigned i = 0; i < n; i++) {
		f->until = &r[i];
		assert_true(is_answered(&r[i]) || rig_turn(&loop, play_on, f, RIG_PATIENCE));
	}
	f->until = NULL;
}

static void all_from(const struct request *r, unsigned n, enum verdict_source source)
{
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(r[i].t.verdict.source, source);
		assert_true(r[i].t.verdict.granted);
	}
}

/* All questions of a turn leave in one write, and those under one policy together. */
static void one_write_a_turn(void **state)
{
	(void)state;
	enum { N = 100 };
	struct play f;
	struct shop s;
	static struct request r[N];
	struct policy p[] = {policy_of("default", 5, MINUTE), policy_of("other", 5, MINUTE)};
	play_open_for(&f, &s, USEC_PER_SEC);
	f.answer = well;
	f.each = ":1\r\n";
	play_many(&f, &s, r, N, p, 1);
	assert_int_equal(f.asked, 4); /* 3 * 32 + 4 */
	assert_int_equal(f.fake.reads, 1);
	all_from(r, N, SOURCE_REDIS);
	play_many(&f, &s, r, N, p, 2);
	assert_int_equal(f.asked, 4); /* 2 * (32 + 18) */
	all_from(r, N, SOURCE_REDIS);
	shop_close(&s);
	fake_close(&f.fake);
}

/* What was not done together is asked alone, and so is everything where keys may not go together. */
static void together_or_alone(void **state)
{
	(void)state;
	enum { N = 20 };
	static const struct {
		const char *each;
		const char *kind; /* of failure, counted once; NULL: none */
	} rows[] = {{":0\r\n", NULL},
		    {"-CROSSSLOT Keys in request don't hash to the same slot\r\n", "clusterdown"}};
	for (unsigned i = 0; i < 2; i++) {
		struct play f;
		struct shop s;
		static struct request r[N];
		struct policy p = policy_of("default", 5, MINUTE);
		play_open_for(&f, &s, USEC_PER_SEC);
		f.answer = well;
		f.each = rows[i].each;
		f.whole = rows[i].kind != NULL;
		uint64_t before = rows[i].kind ? rig_failures(rows[i].kind) : 0;
		play_many(&f, &s, r, N, &p, 1);
		assert_int_equal(f.asked, 1 + N);
		all_from(r, N, SOURCE_REDIS);
		assert_true(is_state(READY));
		if (rows[i].kind)
			assert_int_equal(rig_failures(rows[i].kind) - before, 1);
		play_many(&f, &s, r, N, &p, 1);
		assert_int_equal(f.asked, rows[i].kind ? N : 1 + N);
		shop_close(&s);
		fake_close(&f.fake);
	}
}

/* One wrong answer to many is one failure: it does not open the breaker. */
static void many_answered_wrongly(void **state)
{
	(void)state;
	enum { N = 20 };
	static const char *const rows[] = {
		"-CLUSTERDOWN no\r\n",
		"-OOM no\r\n",
		"*2\r\n:0\r\n:1\r\n",
		"*0\r\n",
		"*1\r\n$1\r\n0\r\n",
		":3\r\n",
		"+OK\r\n",
		"*1\r\n:-1\r\n",
		"*2\r\n:-1\r\n$1\r\n1\r\n",
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct play f;
		struct shop s;
		static struct request r[N];
		struct policy p = policy_of("default", 5, MINUTE);
		play_open_for(&f, &s, USEC_PER_SEC);
		f.answer = well;
		f.each = rows[i];
		f.whole = true;
		play_many(&f, &s, r, N, &p, 1);
		assert_int_equal(f.asked, 1);
		all_from(r, N, SOURCE_LOCAL);
		assert_true(is_state(READY));
		shop_close(&s);
		fake_close(&f.fake);
	}
}

/* Of those that were not written yet every one is answered when the connection, or the store, goes. */
static void lost_before_they_left(void **state)
{
	(void)state;
	enum { N = 20 };
	for (unsigned freed = 0; freed < 2; freed++) {
		struct play f;
		struct shop s;
		static struct request r[N];
		struct policy p = policy_of("default", 5, MINUTE);
		play_open_for(&f, &s, USEC_PER_SEC);
		loop.now = clock_mono();
		for (unsigned i = 0; i < N; i++) {
			prepare(&r[i], (uint8_t)i, &p);
			assert_int_equal(put(s.limiter, &r[i]), LIMITER_WAIT);
		}
		if (freed) {
			shop_close(&s);
		} else {
			fake_close(&f.fake);
			rig_until(&loop, is_answered, &r[N - 1]);
			all_from(r, N, SOURCE_LOCAL);
			shop_close(&s);
		}
		if (freed)
			fake_close(&f.fake);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_dead_redis),		 cmocka_unit_test(each_weir_holds_its_share),
		cmocka_unit_test(a_frozen_redis),	 cmocka_unit_test(a_single_timeout_degrades),
		cmocka_unit_test(a_flushed_script),	 cmocka_unit_test(a_wrong_password),
		cmocka_unit_test(on_failure_as_told),	 cmocka_unit_test(wrong_answers),
		cmocka_unit_test(the_breaker),		 cmocka_unit_test(the_breaker_and_writes),
		cmocka_unit_test(one_write_a_turn),	 cmocka_unit_test(together_or_alone),
		cmocka_unit_test(many_answered_wrongly), cmocka_unit_test(lost_before_they_left),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
