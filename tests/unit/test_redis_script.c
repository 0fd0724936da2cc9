/* SPDX-License-Identifier: MIT */
/*
 * Keys, questions and answers as bytes; and the script on a real redis-server, each call against a reference
 * that is worked out from the lists before it: exactly what must be dropped, granted, appended and told.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "ratelimit/redis_script.h"
#include "tests/unit/redis_rig.h"

#define LIST_MAX 1024

static struct rig_redis redis;
static char sha[REDIS_SHA + 1], sha_many[REDIS_SHA + 1];
static uint64_t dice = 88172645463325252u;

static uint64_t rnd(uint64_t below)
{
	dice ^= dice << 13;
	dice ^= dice >> 7;
	dice ^= dice << 17;
	return (dice >> 11) % below;
}

static struct client_id client_v4(uint8_t last)
{
	return (struct client_id){{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 203, 0, 113, last}};
}

static void keys_are_as_documented(void **state)
{
	(void)state;
	char out[256];
	struct policy p = {.name = "default", .window_us = 60 * USEC_PER_SEC};
	struct client_id v4 = client_v4(9);
	struct client_id net = {{0x20, 0x01, 0x0d, 0xb8, 0, 1}}, host = net;
	host.b[15] = 0x2a;
	static const char *const want[] = {
		"weir:1:default:60000:{203.0.113.9}",
		"weir:1:default:60000:{20010db800010000}",
		"weir:1:default:60000:{20010db800010000000000000000002a}",
	};
	const struct client_id *who[] = {&v4, &net, &host};
	for (int i = 0; i < 3; i++) {
		size_t n = redis_script_key(out, STR("weir:"), &p, who[i]);
		assert_int_equal(n, strlen(want[i]));
		assert_memory_equal(out, want[i], n);
	}
	memset(p.name, 'x', sizeof(p.name) - 1);
	p.window_us = 86400 * USEC_PER_SEC;
	assert_in_range(redis_script_key(out, STR(""), &p, &host), 1, REDIS_KEY_ROOM);
}

static const struct journal_carry *full_carries(void)
{
	static struct journal_carry c[POLICY_MAX_APPLIED];
	for (unsigned i = 0; i < POLICY_MAX_APPLIED; i++) {
		c[i] = (struct journal_carry){
			.weir = UINT64_MAX, .upto = UINT32_MAX, .records = JOURNAL_RECORDS};
		for (unsigned j = 0; j < JOURNAL_RECORDS; j++)
			c[i].record[j] = (struct journal_record){INT64_MAX, UINT32_MAX};
	}
	return c;
}

static void the_largest_question_fits(void **state)
{
	(void)state;
	struct policy p = {.window_us = INT64_MAX, .shadow = true};
	struct table_ask ask[4];
	struct client_id host = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};
	static char out[16384];
	char zeros[REDIS_SHA] = {0};
	memset(p.name, 'x', sizeof(p.name) - 1);
	for (unsigned i = 0; i < 4; i++)
		ask[i] = (struct table_ask){&p, UINT32_MAX};
	for (unsigned asks = 1; asks <= 4; asks++) {
		struct redis_question q = {.sha = zeros,
					   .prefix = STR("prefix-prefix:"),
					   .client = &host,
					   .ask = ask,
					   .asks = asks,
					   .n = REDIS_ASK_MAX,
					   .deadline = INT64_MAX};
		memset(out, '#', sizeof(out));
		size_t n = redis_script_question(out, &q), room = redis_script_room(q.prefix, asks, false);
		assert_true(n <= room);
		assert_int_equal(out[n], '#');
		q.carry = full_carries();
		memset(out, '#', sizeof(out));
		n = redis_script_question(out, &q);
		assert_in_range(n, room, redis_script_room(q.prefix, asks, true));
		assert_int_equal(out[n], '#');
		struct str argv[REDIS_PEEK_ARGS];
		memset(out, '#', sizeof(out));
		assert_int_equal(redis_script_peek_args(argv, out, &q), 6 + 3 * asks);
		assert_int_equal(out[room], '#');
	}
}

/* --- answers --- */

#define INT(v)                                                                                               \
	{                                                                                                    \
		.kind = REDIS_INTEGER, .integer = (v)                                                        \
	}

static void answers_are_checked(void **state)
{
	(void)state;
	struct policy firm = {.window_us = 60000000}, shy = {.window_us = 60000000, .shadow = true};
	struct table_ask ask[] = {{&firm, 10}, {&shy, 3}};
	struct redis_answer a;
	struct redis_reply in[] = {INT(4),   INT(1763900000000000), INT(6), INT(100), INT(60000000), INT(1),
				   INT(200), INT(60000000)};
	struct redis_reply r = {.kind = REDIS_ARRAY, .count = 8, .element = in};
	assert_true(redis_script_answer(&r, ask, 2, 5, &a));
	assert_int_equal(a.granted, 4);
	assert_int_equal(a.took[0], 4);
	assert_int_equal(a.state[0].used, 10);
	assert_int_equal(a.state[0].remaining, 0);
	assert_int_equal(a.state[0].retry_after_us, 100);
	assert_int_equal(a.took[1], 2); /* what fitted */
	assert_int_equal(a.state[1].used, 3);

	static const struct {
		unsigned at;
		int64_t value;
	} bad[] = {{0, 6}, {0, -2}, {1, 0}, {2, -1}, {2, 7}, {3, -5}, {4, -1}, {2, INT64_MAX}, {2, 5}};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int64_t was = in[bad[i].at].integer;
		in[bad[i].at].integer = bad[i].value;
		if (redis_script_answer(&r, ask, 2, 5, &a))
			fail_msg("row %zu was taken", i);
		in[bad[i].at].integer = was;
	}
	r.count = 7;
	assert_false(redis_script_answer(&r, ask, 2, 5, &a));
	r.count = 8;
	in[5].kind = REDIS_STRING;
	assert_false(redis_script_answer(&r, ask, 2, 5, &a));

	struct redis_reply few = INT(9);
	assert_true(redis_script_answer(&few, ask, 1, 1, &a));
	assert_int_equal(a.state[0].remaining, 1);
	assert_int_equal(a.state[0].reset_us, 60000000);
	assert_int_equal(a.server_us, 0);
	assert_false(redis_script_answer(&few, ask, 2, 1, &a));
	assert_false(redis_script_answer(&few, ask, 1, 2, &a));
	few.integer = 10;
	assert_false(redis_script_answer(&few, ask, 1, 1, &a));
	few.integer = 0;
	assert_false(redis_script_answer(&few, ask, 1, 1, &a));
	struct redis_reply status = {.kind = REDIS_STATUS, .text = STR("OK")};
	assert_false(redis_script_answer(&status, ask, 1, 1, &a));
	r = (struct redis_reply){.kind = REDIS_ARRAY, .count = 2, .element = in};
	in[0].integer = -1;
	assert_true(redis_script_answer(&r, ask, 1, 1, &a));
	assert_true(a.late);
}

/* --- the reference --- */

struct times {
	unsigned n;
	int64_t t[LIST_MAX];
};

static void read_list(const char *key, struct times *out)
{
	redisReply *r = rig_command(&redis, "LRANGE %s 0 -1", key);
	assert_int_equal(r->type, REDIS_REPLY_ARRAY);
	out->n = 0;
	for (size_t i = 0; i < r->elements; i++) {
		assert_true(out->n < LIST_MAX);
		out->t[out->n++] = strtoll(r->element[i]->str, NULL, 10);
	}
	freeReplyObject(r);
}

static void key_of(const struct table_ask *ask, const struct client_id *c, char *out)
{
	out[redis_script_key(out, STR("weir:"), ask->policy, c)] = 0;
}

static bool call_with(const struct client_id *c, const struct table_ask *ask, unsigned asks, unsigned n,
		      int64_t deadline, const struct journal_carry *carry, struct redis_answer *a)
{
	struct redis_reply flat[16], r = {.kind = REDIS_ARRAY, .element = flat};
	struct redis_question q = {sha, STR("weir:"), c, ask, asks, n, deadline, carry};
	static char bytes[16384];
	void *got;
	redisAppendFormattedCommand(redis.admin, bytes, redis_script_question(bytes, &q));
	if (redisGetReply(redis.admin, &got) != REDIS_OK)
		rig_die("redis-server is gone");
	redisReply *reply = got;
	if (reply->type == REDIS_REPLY_ERROR)
		fail_msg("%s", reply->str);
	if (reply->type == REDIS_REPLY_INTEGER)
		r = (struct redis_reply)INT(reply->integer);
	r.count = (unsigned)reply->elements;
	for (size_t i = 0; i < reply->elements; i++) {
		assert_int_equal(reply->element[i]->type, REDIS_REPLY_INTEGER);
		flat[i] = (struct redis_reply)INT(reply->element[i]->integer);
	}
	freeReplyObject(reply);
	return redis_script_answer(&r, ask, asks, n, a);
}

static bool call(const struct client_id *c, const struct table_ask *ask, unsigned asks, unsigned n,
		 int64_t deadline, struct redis_answer *a)
{
	return call_with(c, ask, asks, n, deadline, NULL, a);
}

/* What counts at `now` of what was there. */
static void expire(struct times *l, int64_t time, int64_t now, int64_t window)
{
	unsigned keep = 0;
	bool discard = l->n && l->t[l->n - 1] > time + window;
	for (unsigned i = 0; i < l->n; i++)
		if (!discard && l->t[i] + window > now)
			l->t[keep++] = l->t[i];
	l->n = keep;
}

static void check_ttl(const char *key, int64_t last, int64_t time, int64_t window)
{
	long long ttl = rig_integer(&redis, "PTTL %s", key);
	if (ttl == -2 && last + window <= clock_wall() + 1000)
		return; /* it has ended since */
	int64_t passed = clock_wall() - time;
	assert_true(ttl * 1000 >= last + window - time - passed - 1000);
	assert_true(ttl * 1000 <= window * 3 / 2 + (last - time) + 2000);
}

static unsigned long shorts, refusals, stepped, lowered, multiples;

static void check_call(const struct client_id *c, const struct table_ask *ask, unsigned asks, unsigned n)
{
	static struct times before[POLICY_MAX_APPLIED], after[POLICY_MAX_APPLIED];
	char key[POLICY_MAX_APPLIED][256];
	struct redis_answer a;
	for (unsigned i = 0; i < asks; i++) {
		key_of(&ask[i], c, key[i]);
		read_list(key[i], &before[i]);
	}
	assert_true(call(c, ask, asks, n, 0, &a));
	assert_false(a.late);
	for (unsigned i = 0; i < asks; i++)
		read_list(key[i], &after[i]);

	int64_t time = a.server_us;
	if (!time) { /* the short answer */
		shorts++;
		/* The list may have ended since, in the shortest windows. */
		if (!after[0].n)
			return;
		time = after[0].t[after[0].n - 1];
	}
	int64_t nows[POLICY_MAX_APPLIED];
	unsigned granted = n;
	for (unsigned i = 0; i < asks; i++) {
		int64_t tail = before[i].n ? before[i].t[before[i].n - 1] : 0;
		bool ahead = tail > time + ask[i].policy->window_us;
		stepped += tail > time;
		nows[i] = !ahead && tail > time ? tail : time;
		expire(&before[i], time, nows[i], ask[i].policy->window_us);
		unsigned room = before[i].n < ask[i].limit ? ask[i].limit - before[i].n : 0;
		lowered += before[i].n > ask[i].limit;
		if (!ask[i].policy->shadow && room < granted)
			granted = room;
	}
	multiples += granted > 64;
	refusals += granted < n;
	assert_int_equal(a.granted, granted);
	for (unsigned i = 0; i < asks; i++) {
		struct times *l = &before[i];
		int64_t w = ask[i].policy->window_us, limit = ask[i].limit, now = nows[i];
		unsigned room = l->n < limit ? (unsigned)limit - l->n : 0,
			 take = granted < room ? granted : room;
		for (unsigned j = 0; j < take; j++)
			l->t[l->n++] = now;
		assert_int_equal(a.took[i], take);
		assert_int_equal(a.state[i].used, l->n);
		assert_int_equal(a.state[i].limit, limit);
		int64_t retry = l->n < limit ? 0 : (limit ? l->t[l->n - limit] : now) + w - time;
		assert_int_equal(a.state[i].retry_after_us, retry);
		assert_int_equal(a.state[i].reset_us, l->n ? l->t[l->n - 1] + w - time : 0);
		if (!after[i].n && (!l->n || l->t[l->n - 1] + w <= clock_wall()))
			continue; /* it has ended since */
		assert_int_equal(after[i].n, l->n);
		assert_memory_equal(after[i].t, l->t, l->n * sizeof(l->t[0]));
		if (take)
			check_ttl(key[i], now, time, w);
	}
}

static void disturb(const char *key, int64_t window)
{
	static const int64_t quarters[] = {1, 2, 3, 4, 5, 8, 40};
	struct times l;
	read_list(key, &l);
	int64_t at = clock_wall() + window * quarters[rnd(7)] / 4;
	if (l.n >= LIST_MAX / 2 || (l.n && l.t[l.n - 1] >= at))
		return;
	rig_do(&redis, "RPUSH %s %lld", key, (long long)at);
	rig_do(&redis, "PEXPIREAT %s %lld", key, (long long)((at + window * 3 / 2) / 1000 + 1));
}

static void every_call_is_exact(void **state)
{
	(void)state;
	static const uint32_t limits[] = {0, 1, 2, 3, 5, 8, 100, 300};
	struct policy p[POLICY_MAX_APPLIED];
	memset(p, 0, sizeof(p));
	for (unsigned round = 0; round < 12000; round++) {
		struct table_ask ask[POLICY_MAX_APPLIED];
		unsigned asks = rnd(2) ? 1 : 1 + (unsigned)rnd(POLICY_MAX_APPLIED);
		unsigned n = rnd(3) ? 1 : (unsigned)rnd(rnd(4) ? 6 : REDIS_ASK_MAX + 1);
		struct client_id c = client_v4((uint8_t)rnd(6));
		for (unsigned i = 0; i < asks; i++) {
			snprintf(p[i].name, sizeof(p[i].name), "p%u", i);
			p[i].window_us = (int64_t[]){2000, 5000, 30000, 250000}[i];
			p[i].shadow = i ? rnd(3) == 0 : c.b[15] == 5;
			ask[i] = (struct table_ask){&p[i], limits[rnd(8)]};
		}
		if (rnd(50) == 0) {
			char key[256];
			unsigned i = (unsigned)rnd(asks);
			key_of(&ask[i], &c, key);
			disturb(key, p[i].window_us);
		}
		check_call(&c, ask, asks, n);
	}
	print_message("short %lu, refused %lu, clock ahead %lu, above a lowered limit %lu, more than 64 at "
		      "once %lu\n",
		      shorts, refusals, stepped, lowered, multiples);
	assert_true(shorts > 500 && refusals > 500 && stepped > 50 && lowered > 100 && multiples > 50);
}

/* --- several clients at once --- */

/* What it is to each: the number used after it, 0 for alone, -1 for late. */
static void call_many(const unsigned *last, unsigned n, const struct table_ask *ask, int64_t deadline,
		      int64_t *got)
{
	static char bytes[16384];
	char *at = redis_script_many_head(bytes, n, sha_many);
	for (unsigned i = 0; i < n; i++) {
		struct client_id c = client_v4((uint8_t)last[i]);
		struct redis_question q = {.prefix = STR("weir:"), .client = &c, .ask = ask};
		at = redis_script_many_client(at, &q);
	}
	at = redis_script_many_end(at, ask, deadline);
	assert_true((size_t)(at - bytes) <= n * redis_script_room(STR("weir:"), 1, false));
	redisAppendFormattedCommand(redis.admin, bytes, (size_t)(at - bytes));
	void *reply;
	if (redisGetReply(redis.admin, &reply) != REDIS_OK)
		rig_die("redis-server is gone");
	redisReply *r = reply;
	struct redis_reply flat[REDIS_ASK_MAX], whole = {.kind = REDIS_ARRAY, .element = flat}, part;
	if (r->type != REDIS_REPLY_ARRAY)
		fail_msg("%s", r->str);
	for (size_t i = 0; i < r->elements; i++)
		flat[i] = (struct redis_reply)INT(r->element[i]->integer);
	whole.count = (unsigned)r->elements;
	freeReplyObject(reply);
	assert_true(redis_script_sound(&whole, n));
	for (unsigned i = 0; i < n; i++) {
		struct redis_answer a;
		got[i] = 0;
		if (!redis_script_part(&whole, i, &part))
			continue;
		assert_true(redis_script_answer(&part, ask, 1, 1, &a));
		got[i] = a.late ? -1 : (int64_t)a.state[0].used;
	}
}

static unsigned long alone, joined;

static void drop_first(struct times *l, unsigned n)
{
	l->n -= n;
	memmove(l->t, l->t + n, l->n * sizeof(l->t[0]));
}

/* One client's step in the common moment `now`, on the list before it. */
static void check_one(struct times *l, const struct table_ask *ask, int64_t now, int64_t got)
{
	int64_t w = ask->policy->window_us, tail = l->n ? l->t[l->n - 1] : 0;
	unsigned expired = 0;
	while (expired < l->n && l->t[expired] + w <= now)
		expired++;
	bool usual = tail <= now && (expired <= 8 || expired == l->n);
	if (tail <= now)
		drop_first(l, usual ? expired : 8);
	if (!usual || l->n + 1 >= ask->limit) {
		assert_int_equal(got, 0);
		alone++;
		return;
	}
	l->t[l->n++] = now;
	assert_int_equal(got, l->n);
	joined++;
}

/* The lists after it, against those before it: the moment is that of the last entries. */
static void check_many(const unsigned *last, unsigned n, const struct table_ask *ask)
{
	static struct times before[8], after[8];
	char key[8][256];
	int64_t got[32], now = 0;
	for (unsigned c = 0; c < 8; c++) {
		struct client_id id = client_v4((uint8_t)c);
		key_of(ask, &id, key[c]);
		read_list(key[c], &before[c]);
	}
	call_many(last, n, ask, 0, got);
	for (unsigned c = 0; c < 8; c++)
		read_list(key[c], &after[c]);
	for (unsigned i = 0; i < n && !now; i++)
		if (got[i] && after[last[i]].n)
			now = after[last[i]].t[after[last[i]].n - 1];
	if (!now) /* all were to be asked alone, or have ended since */
		return;
	for (unsigned i = 0; i < n; i++)
		check_one(&before[last[i]], ask, now, got[i]);
	for (unsigned c = 0; c < 8; c++) {
		struct times *l = &before[c];
		unsigned gone = l->n - after[c].n, w = (unsigned)ask->policy->window_us;
		if (!after[c].n && (!l->n || l->t[l->n - 1] + w <= clock_wall()))
			continue; /* it has ended since */
		assert_true(after[c].n <= l->n);
		assert_memory_equal(after[c].t, l->t + gone, after[c].n * sizeof(l->t[0]));
		if (gone)
			assert_true(l->t[gone - 1] + w <= now);
		if (after[c].n && after[c].t[after[c].n - 1] == now)
			check_ttl(key[c], now, now, w);
	}
}

static void many_are_exact_together(void **state)
{
	(void)state;
	struct policy p[3];
	memset(p, 0, sizeof(p));
	alone = joined = 0;
	for (unsigned round = 0; round < 4000; round++) {
		static const uint32_t limits[] = {0, 1, 2, 3, 5, 20, 300};
		unsigned which = (unsigned)rnd(3), n = 2 + (unsigned)rnd(31), last[32];
		snprintf(p[which].name, sizeof(p[which].name), "m%u", which);
		p[which].window_us = (int64_t[]){5000, 30000, 250000}[which];
		struct table_ask ask = {&p[which], limits[rnd(7)]};
		for (unsigned i = 0; i < n; i++)
			last[i] = (unsigned)rnd(8);
		if (rnd(20) == 0) {
			char key[256];
			struct client_id c = client_v4((uint8_t)rnd(8));
			key_of(&ask, &c, key);
			disturb(key, p[which].window_us);
		}
		check_many(last, n, &ask);
	}
	assert_in_range(alone, 5000, 100000);
	assert_in_range(joined, 5000, 100000);
}

/* A key that is no list, or holds no numbers, is that client's trouble alone. */
static void many_leave_what_is_no_list(void **state)
{
	(void)state;
	struct policy p = {.name = "odd", .window_us = 60 * USEC_PER_SEC};
	struct table_ask ask = {&p, 10};
	unsigned last[] = {100, 101, 102};
	struct client_id c = client_v4(101);
	char key[256];
	int64_t got[3];
	key_of(&ask, &c, key);
	rig_do(&redis, "SET %s text", key);
	call_many(last, 3, &ask, 0, got);
	assert_int_equal(got[0], 1);
	assert_int_equal(got[1], 0);
	assert_int_equal(got[2], 1);
	rig_do(&redis, "DEL %s", key);
	rig_do(&redis, "RPUSH %s text %lld", key, (long long)clock_wall());
	call_many(last, 3, &ask, 0, got);
	assert_int_equal(got[1], 0);
	assert_int_equal(got[2], 2);
	static const char *const odd[] = {"", "1", "17000000000000000"}; /* as texts they all came long ago */
	for (unsigned i = 0; i < 3; i++) {
		rig_do(&redis, "DEL %s", key);
		rig_do(&redis, "RPUSH %s %s %lld", key, odd[i], (long long)clock_wall());
		call_many(last, 3, &ask, 0, got);
		assert_int_equal(got[0], 3 + i);
		assert_int_equal(got[1], 0);
		assert_int_equal(rig_integer(&redis, "LLEN %s", key), 2);
	}
	rig_do(&redis, "DEL %s", key);
	call_many(last, 3, &ask, 0, got);
	assert_int_equal(got[0], 6);
	assert_int_equal(got[1], 1);
}

static void many_have_a_deadline(void **state)
{
	(void)state;
	struct policy p = {.name = "dead", .window_us = 60 * USEC_PER_SEC};
	struct table_ask ask = {&p, 10};
	unsigned last[] = {110, 111};
	int64_t got[2];
	call_many(last, 2, &ask, clock_wall() - 1000, got);
	assert_int_equal(got[0], -1);
	assert_int_equal(got[1], -1);
	call_many(last, 2, &ask, clock_wall() + 10 * USEC_PER_SEC, got);
	assert_int_equal(got[0], 1);
	assert_int_equal(got[1], 1);
}

/* --- carries --- */

#define WEIRS 3

static int64_t tally[WEIRS]; /* what Redis has heard of each; -1: nothing */

static int by_time(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

/* The list after the carry: all that is newer than what the tally says, and counts, in order. */
static void put_in(struct times *l, const struct journal_carry *c, int64_t time, int64_t window)
{
	int64_t heard = tally[c->weir], left = heard < 0 ? INT64_MAX : (int64_t)(uint32_t)(c->upto - heard);
	if (!c->records || left == 0 || (heard >= 0 && left > INT32_MAX))
		return;
	tally[c->weir] = c->upto;
	for (unsigned i = c->records; i-- > 0;)
		for (unsigned j = 0; j < c->record[i].count && left > 0; j++, left--)
			if (c->record[i].age_us < window)
				l->t[l->n++] = time - c->record[i].age_us;
	qsort(l->t, l->n, sizeof(l->t[0]), by_time);
}

static void random_carry(struct journal_carry *c, uint32_t *made, int64_t window)
{
	int64_t age = (int64_t)rnd((uint64_t)window + 20000);
	uint32_t total = 0;
	c->weir = rnd(WEIRS);
	for (c->records = 0; c->records < 1 + rnd(6); c->records++) {
		c->record[c->records] = (struct journal_record){age, 1 + (uint32_t)rnd(4)};
		total += c->record[c->records].count;
		age -= (int64_t)rnd((uint64_t)age + 1);
	}
	/* An answer was lost, and part of it, or all, is told once more; or it is an old one that comes late.
	 */
	uint32_t again = (uint32_t)rnd(3) ? 0 : (uint32_t)rnd(total + 1);
	made[c->weir] += total - again;
	c->upto = made[c->weir] - (rnd(10) ? 0 : 1 + (uint32_t)rnd(3));
}

static void every_carry_is_exact(void **state)
{
	(void)state;
	static struct times before, after;
	struct policy p = {.name = "carry", .window_us = 300000};
	struct client_id c = client_v4(210);
	uint32_t made[WEIRS] = {100, UINT32_MAX - 50, 7};
	unsigned carried = 0, over = 0;
	char key[256];
	memset(tally, -1, sizeof(tally));
	for (unsigned round = 0; round < 4000; round++) {
		struct journal_carry carry;
		struct redis_answer a;
		struct table_ask ask = {&p, 1 + (uint32_t)rnd(100)};
		unsigned n = (unsigned)rnd(3);
		random_carry(&carry, made, p.window_us);
		key_of(&ask, &c, key);
		read_list(key, &before);
		assert_true(call_with(&c, &ask, 1, n, 0, &carry, &a));
		read_list(key, &after);
		put_in(&before, &carry, a.server_us, p.window_us);
		int64_t tail = before.n ? before.t[before.n - 1] : 0;
		int64_t now = tail > a.server_us ? tail : a.server_us;
		expire(&before, a.server_us, now, p.window_us);
		over += before.n > ask.limit;
		for (unsigned i = 0; i < n && before.n < ask.limit; i++)
			before.t[before.n++] = now;
		assert_int_equal(a.state[0].used, before.n);
		if (clock_wall() - a.server_us < 30000)
			assert_int_equal(after.n, before.n);
		if (after.n == before.n)
			assert_memory_equal(after.t, before.t, after.n * sizeof(after.t[0]));
		if (after.n)
			check_ttl(key, now, a.server_us, p.window_us);
		carried += carry.records;
		if (rnd(40) == 0) {
			rig_do(&redis, "DEL %s", key);
			rig_do(&redis, "DEL %s:tally", key);
			memset(tally, -1, sizeof(tally));
		}
	}
	assert_true(carried > 4000 && over > 500);
	assert_in_range(rig_integer(&redis, "PTTL %s:tally", key) + 3, 0, 453);
}

/* Thousands at once: what is older than the list's newest 4096 becomes one of them, and nothing is lost. */
static void a_carry_moves_a_bounded_part(void **state)
{
	(void)state;
	struct policy p = {.name = "wide", .window_us = 60 * USEC_PER_SEC};
	struct table_ask ask = {&p, 100000};
	struct client_id c = client_v4(211);
	struct journal_carry carry = {.weir = 9, .upto = 5000, .records = 2};
	struct redis_answer a;
	char key[256];
	key_of(&ask, &c, key);
	for (unsigned i = 0; i < 40; i++)
		assert_true(call(&c, &ask, 1, REDIS_ASK_MAX, 0, &a));
	carry.record[0] = (struct journal_record){30 * USEC_PER_SEC, 4000};
	carry.record[1] = (struct journal_record){0, 96};
	assert_true(call_with(&c, &ask, 1, 0, 0, &carry, &a));
	assert_int_equal(a.state[0].used, 40 * REDIS_ASK_MAX + 4096);
	redisReply *r = rig_command(&redis, "LRANGE %s 0 -1", key);
	assert_int_equal(r->elements, 40 * REDIS_ASK_MAX + 4096);
	for (size_t i = 1; i < r->elements; i++)
		assert_true(strtoll(r->element[i - 1]->str, NULL, 10) <=
			    strtoll(r->element[i]->str, NULL, 10));
	freeReplyObject(r);
	assert_true(call_with(&c, &ask, 1, 0, 0, &carry, &a)); /* once more: once is enough */
	assert_int_equal(a.state[0].used, 40 * REDIS_ASK_MAX + 4096);
}

static void a_long_tail_goes_in_few_steps(void **state)
{
	(void)state;
	enum { N = 20000 };
	struct policy p = {.name = "long", .window_us = 60 * USEC_PER_SEC};
	struct table_ask ask = {&p, 30000};
	struct client_id c = client_v4(77);
	struct redis_answer a;
	char key[256];
	key_of(&ask, &c, key);
	int64_t now = clock_wall(), first = now - 100 * USEC_PER_SEC;
	for (unsigned i = 0; i < N; i++) {
		long long at = first + i * 4000; /* 80 s: half of them count */
		redisAppendCommand(redis.admin, "RPUSH %s %lld", key, at);
	}
	for (unsigned i = 0; i < N; i++) {
		void *r;
		assert_int_equal(redisGetReply(redis.admin, &r), REDIS_OK);
		freeReplyObject(r);
	}
	long before = rig_calls(&redis, "lindex");
	int64_t asked = clock_wall();
	assert_true(call(&c, &ask, 1, 1, 0, &a));
	assert_in_range(rig_calls(&redis, "lindex") - before, 1, 50);
	int64_t gone = (asked - p.window_us - first) / 4000 + 1, took = clock_wall() - asked;
	assert_in_range(a.state[0].used, N - gone + 1 - took / 4000 - 1, N - gone + 1);
}

static void deadlines_hold(void **state)
{
	(void)state;
	struct policy p = {.name = "late", .window_us = USEC_PER_SEC};
	struct table_ask ask = {&p, 3};
	struct client_id c = client_v4(200);
	struct redis_answer a;
	char key[256];
	key_of(&ask, &c, key);
	assert_true(call(&c, &ask, 1, 1, clock_wall() - 1000, &a));
	assert_true(a.late);
	assert_in_range(a.server_us, clock_wall() - USEC_PER_SEC, clock_wall());
	assert_int_equal(rig_integer(&redis, "EXISTS %s", key), 0);
	assert_true(call(&c, &ask, 1, 2, clock_wall() + 10 * USEC_PER_SEC, &a));
	assert_false(a.late);
	assert_int_equal(rig_integer(&redis, "LLEN %s", key), 2);
}

static void peeking_spends_nothing(void **state)
{
	(void)state;
	struct policy p = {.name = "peek", .window_us = 60 * USEC_PER_SEC};
	struct table_ask ask = {&p, 3};
	struct client_id c = client_v4(201);
	struct redis_answer a;
	char key[256], buf[512];
	key_of(&ask, &c, key);
	assert_true(call(&c, &ask, 1, 2, 0, &a));
	struct redis_question q = {NULL, STR("weir:"), &c, &ask, 1, 0, 0, NULL};
	struct str argv[REDIS_PEEK_ARGS];
	const char *word[REDIS_PEEK_ARGS];
	size_t length[REDIS_PEEK_ARGS];
	unsigned argc = redis_script_peek_args(argv, buf, &q);
	for (unsigned i = 0; i < argc; i++) {
		word[i] = argv[i].p;
		length[i] = argv[i].n;
	}
	redisReply *r = redisCommandArgv(redis.admin, (int)argc, word, length);
	assert_int_equal(r->type, REDIS_REPLY_ARRAY);
	assert_int_equal(r->element[0]->integer, 0);
	assert_int_equal(r->element[2]->integer, 2);
	freeReplyObject(r);
	assert_int_equal(rig_integer(&redis, "LLEN %s", key), 2);
}

static void load(enum redis_script which, char *out)
{
	redisReply *r = rig_command(&redis, "SCRIPT LOAD %s", redis_scripts[which]);
	assert_int_equal(r->len, REDIS_SHA);
	memcpy(out, r->str, REDIS_SHA);
	freeReplyObject(r);
}

static int set_up(void **state)
{
	(void)state;
	rig_start(&redis);
	load(REDIS_SCRIPT_ASK, sha);
	load(REDIS_SCRIPT_ASK_MANY, sha_many);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	rig_end(&redis);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_are_as_documented),
		cmocka_unit_test(the_largest_question_fits),
		cmocka_unit_test(answers_are_checked),
		cmocka_unit_test(every_call_is_exact),
		cmocka_unit_test(every_carry_is_exact),
		cmocka_unit_test(a_carry_moves_a_bounded_part),
		cmocka_unit_test(a_long_tail_goes_in_few_steps),
		cmocka_unit_test(deadlines_hold),
		cmocka_unit_test(peeking_spends_nothing),
		cmocka_unit_test(many_are_exact_together),
		cmocka_unit_test(many_leave_what_is_no_list),
		cmocka_unit_test(many_have_a_deadline),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
