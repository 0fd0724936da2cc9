/* SPDX-License-Identifier: MIT */
/*
 * Tickets of one client under the same policies form batches. The first batch of a client (its head) stands
 * in the hash and is asked of Redis; while it is under way the tickets that come form the batches after it
 * (followers), and the first of these becomes the head when the head is done.
 *
 *   FREE --first ticket--> QUEUED --end of turn--> SENT --answer, failure--> FREE
 *    |                      ^                       |                         ^
 *    +--> FOLLOWING --------+ head is done          +--timeout--> LATE -------+ answer, failure
 *    |       +--timeout: FREE
 *    +--> BUSY: one ticket that waits for the table alone
 */
#include "ratelimit/limiter.h"

#include <assert.h>
#include <stdlib.h>

#include "base/board.h"
#include "ratelimit/carrier.h"
#include "ratelimit/journal.h"
#include "ratelimit/local.h"
#include "ratelimit/redis_script.h"
#include "ratelimit/store_redis.h"

#define HEADS 4096u
#define SLAB 64
#define BUSY_RETRY USEC_PER_MSEC
#define BUSY_MEMORY (50 * USEC_PER_MSEC) /* how long the memory store waits for a bucket */

enum batch_state { BATCH_FREE, BATCH_QUEUED, BATCH_FOLLOWING, BATCH_SENT, BATCH_LATE, BATCH_BUSY };

struct batch {
	struct store_question question;
	struct batch *chain;   /* in the hash, or in the pool */
	struct list link;      /* in queue, followers or busy */
	struct list followers; /* of a head */
	struct list tickets;
	unsigned count;
	unsigned lent; /* of a late one: admitted here, and perhaps by Redis */
	enum batch_state state;
	uint32_t head;		    /* which chain of the hash */
	uint32_t generation;	    /* of the limits, at sending */
	struct journal_carry *load; /* carried with the question; NULL: nothing */
	struct timeout timeout;	    /* from the first ticket on */
	struct limiter *limiter;
	struct client_id client;
	struct table_ask ask[POLICY_MAX_APPLIED];
};

struct slab {
	struct slab *next;
	struct batch batch[SLAB];
};

struct limiter {
	struct loop *loop;
	struct table *table;
	struct store_redis *store; /* NULL: store: memory */
	struct carrier *carrier;   /* NULL as well */
	struct local local;
	uint64_t seed;
	usec_t patience;
	uint64_t last_policy; /* key of the first policy of the last ticket; 0: there was none */

	struct batch *heads[HEADS];
	struct batch *pool;
	struct slab *slabs;
	struct list queue, busy;
	struct timeout_class wait_class, busy_class;
	struct timeout busy_timer;
	struct hook hook;
	struct grave grave;
	series_t by_redis, by_table;
};

static void on_timeout(struct timeout *t);
static void on_answered(struct store_question *q, const struct redis_answer *a);

/* Batches */

static void set_state(struct batch *b, enum batch_state to)
{
	static const uint8_t from[] = {
		[BATCH_FREE] = 0xff & ~(1 << BATCH_FREE),
		[BATCH_QUEUED] = 1 << BATCH_FREE | 1 << BATCH_FOLLOWING,
		[BATCH_FOLLOWING] = 1 << BATCH_FREE,
		[BATCH_SENT] = 1 << BATCH_QUEUED,
		[BATCH_LATE] = 1 << BATCH_SENT,
		[BATCH_BUSY] = 1 << BATCH_FREE,
	};
	assert(from[to] >> b->state & 1);
	b->state = to;
}

static bool grow(struct limiter *l)
{
	struct slab *s = calloc(1, sizeof(*s));
	if (!s)
		return false;
	s->next = l->slabs;
	l->slabs = s;
	for (unsigned i = 0; i < SLAB; i++) {
		struct batch *b = &s->batch[i];
		list_init(&b->link);
		list_init(&b->followers);
		list_init(&b->tickets);
		timeout_init(&b->timeout, on_timeout);
		b->limiter = l;
		b->question.answered = on_answered;
		b->question.client = &b->client;
		b->question.ask = b->ask;
		b->chain = l->pool;
		l->pool = b;
	}
	return true;
}

static struct batch *batch_new(struct limiter *l, const struct ticket *t)
{
	if (!l->pool && !grow(l))
		return NULL;
	struct batch *b = l->pool;
	l->pool = b->chain;
	b->chain = NULL;
	b->count = 0;
	b->client = t->client;
	b->question.asks = t->asks;
	for (unsigned i = 0; i < t->asks; i++)
		b->ask[i] = t->ask[i];
	return b;
}

static void batch_free(struct batch *b)
{
	struct limiter *l = b->limiter;
	assert(list_empty(&b->tickets) && list_empty(&b->followers));
	set_state(b, BATCH_FREE);
	timeout_disarm(&b->timeout);
	list_del(&b->link);
	b->chain = l->pool;
	l->pool = b;
}

static void join(struct batch *b, struct ticket *t)
{
	t->question = b;
	list_push(&b->tickets, &t->link);
	b->count++;
}

static struct ticket *pop(struct batch *b)
{
	struct list *first = list_pop(&b->tickets);
	if (!first)
		return NULL;
	struct ticket *t = list_entry(first, struct ticket, link);
	t->question = NULL;
	b->count--;
	return t;
}

static bool same(const struct batch *b, const struct ticket *t)
{
	if (memcmp(&b->client, &t->client, sizeof(t->client)) != 0 || b->question.asks != t->asks)
		return false;
	for (unsigned i = 0; i < t->asks; i++)
		if (b->ask[i].policy != t->ask[i].policy || b->ask[i].limit != t->ask[i].limit)
			return false;
	return true;
}

static void enqueue(struct batch *b)
{
	struct batch **chain = &b->limiter->heads[b->head];
	b->chain = *chain;
	*chain = b;
	set_state(b, BATCH_QUEUED);
	list_push(&b->limiter->queue, &b->link);
}

/* The head leaves the hash; its first follower takes its place, and the other followers over. */
static void step_down(struct batch *b)
{
	struct batch **at = &b->limiter->heads[b->head];
	while (*at != b)
		at = &(*at)->chain;
	*at = b->chain;
	b->chain = NULL;
	list_del(&b->link);
	struct list *first = list_pop(&b->followers);
	if (!first)
		return;
	struct batch *next = list_entry(first, struct batch, link);
	while ((first = list_pop(&b->followers)))
		list_push(&next->followers, first);
	enqueue(next);
}

/* The local window */

static void wait_for_table(struct limiter *l, struct ticket *t, struct batch *b, usec_t until)
{
	set_state(b, BATCH_BUSY);
	b->question.give_up_at = until;
	join(b, t);
	list_push(&l->busy, &b->link);
	if (!timeout_armed(&l->busy_timer))
		timeout_arm(&l->busy_class, &l->busy_timer);
}

/* False: it waits for the table until then. */
static bool decide(struct limiter *l, struct ticket *t, usec_t until)
{
	struct batch *b;
	if (local_decide(&l->local, t, l->loop->now))
		return true;
	b = until > l->loop->now ? batch_new(l, t) : NULL;
	if (b) {
		wait_for_table(l, t, b, until);
		return false;
	}
	local_spare(&l->local, t, l->loop->now);
	return true;
}

/* How many are admitted at once. */
static unsigned decide_all(struct batch *b, usec_t until)
{
	struct ticket *t;
	unsigned granted = 0;
	while ((t = pop(b)))
		if (decide(b->limiter, t, until)) {
			granted += t->verdict.granted;
			t->answered(t);
		}
	return granted;
}

static void on_busy_timer(struct timeout *timer)
{
	struct limiter *l = list_entry(timer, struct limiter, busy_timer);
	struct list batch, *first;
	list_init(&batch);
	while ((first = list_pop(&l->busy)))
		list_push(&batch, first);
	while ((first = list_pop(&batch))) {
		struct batch *b = list_entry(first, struct batch, link);
		struct ticket *t = pop(b);
		usec_t until = b->question.give_up_at;
		batch_free(b);
		if (decide(l, t, until))
			t->answered(t);
	}
}

/* The store's answers */

/* A lift began or ended, or somebody was forgiven, while it was asked. What was admitted stays admitted. */
static void keep_admissions(const struct batch *b, const struct redis_answer *a)
{
	struct limiter *l = b->limiter;
	for (unsigned i = 0; i < b->question.asks; i++)
		if (a->took[i])
			journal_granted(l->table, &b->client, &b->ask[i], a->took[i], l->loop->now);
}

/* What Redis said of the client, for refusals without asking and for the local window. */
static void keep(struct batch *b, const struct redis_answer *a)
{
	struct limiter *l = b->limiter;
	if (b->generation != board_limits_generation()) {
		keep_admissions(b, a);
		return;
	}
	for (unsigned i = 0; i < b->question.asks; i++) {
		const struct window_state *s = &a->state[i];
		unsigned over = s->remaining ? 0 : b->question.n - a->took[i];
		bool full = !b->ask[i].policy->shadow && !s->remaining;
		/* Counted from the sending; from the answer, the round trip would become false refusals. */
		usec_t until = full ? store_question_sent_at(&b->question) + s->retry_after_us : 0;
		table_refusal_set(l->table, &b->client, &b->ask[i], l->loop->now, b->generation, a->took[i],
				  over, until, s, store_question_sent_at(&b->question));
	}
}

/* The place-th of the tickets, as if they had been asked one after the other. */
static void judge(const struct batch *b, const struct redis_answer *a, unsigned place, struct verdict *v)
{
	v->granted = place < a->granted;
	v->source = SOURCE_REDIS;
	v->refused_by = v->shadow_over = 0;
	for (unsigned i = 0; i < b->question.asks; i++) {
		struct window_state *s = &v->state[i];
		*s = a->state[i];
		if (place + 1 < a->took[i]) {
			s->used -= a->took[i] - place - 1;
			s->remaining = s->limit > s->used ? s->limit - s->used : 0;
			if (s->remaining)
				s->retry_after_us = 0;
		} else if (place >= a->took[i] && !s->remaining) {
			*(b->ask[i].policy->shadow ? &v->shadow_over : &v->refused_by) |= 1u << i;
		}
	}
}

static void unload(struct batch *b, bool answered)
{
	if (b->load)
		carrier_unload(b->limiter->carrier, &b->client, b->ask, b->question.asks, b->load, answered);
	b->load = NULL;
}

/* What Redis granted after all was admitted here meanwhile: it need not be carried. */
static void settle(const struct batch *b, const struct redis_answer *a)
{
	struct limiter *l = b->limiter;
	for (unsigned i = 0; i < b->question.asks; i++) {
		unsigned n = a->took[i] < b->lent ? a->took[i] : b->lent;
		if (n)
			journal_settle(l->table, &b->client, &b->ask[i], n, l->loop->now);
	}
}

static void on_answered(struct store_question *q, const struct redis_answer *a)
{
	struct batch *b = list_entry(q, struct batch, question);
	struct limiter *l = b->limiter;
	struct ticket *t;
	unload(b, a != NULL);
	if (b->state == BATCH_LATE) {
		if (a)
			settle(b, a);
		batch_free(b);
		return;
	}
	step_down(b);
	usec_t until = b->timeout.at;
	timeout_disarm(&b->timeout);
	if (a) {
		keep(b, a);
		for (unsigned place = 0; (t = pop(b)); place++) {
			judge(b, a, place, &t->verdict);
			metric_add(l->by_redis, 1);
			t->answered(t);
		}
	} else {
		decide_all(b, until);
	}
	batch_free(b);
}

static void on_timeout(struct timeout *timer)
{
	struct batch *b = list_entry(timer, struct batch, timeout);
	struct limiter *l = b->limiter;
	if (b->state == BATCH_FOLLOWING) {
		list_del(&b->link);
		decide_all(b, 0);
		batch_free(b);
		return;
	}
	bool sent = b->state == BATCH_SENT;
	step_down(b);
	if (sent) {
		set_state(b, BATCH_LATE);
		store_redis_late(l->store, &b->question);
	}
	b->lent = decide_all(b, 0);
	if (!sent)
		batch_free(b);
}

static void send_queue(struct limiter *l)
{
	struct list *first;
	while ((first = list_pop(&l->queue))) {
		struct batch *b = list_entry(first, struct batch, link);
		b->question.n = b->count;
		b->question.give_up_at = b->timeout.at;
		b->generation = board_limits_generation();
		b->load = carrier_load(l->carrier, &b->client, b->ask, b->question.asks);
		b->question.carry = b->load;
		if (store_redis_ask(l->store, &b->question)) {
			set_state(b, BATCH_SENT);
			continue;
		}
		unload(b, false);
		step_down(b);
		decide_all(b, b->timeout.at);
		batch_free(b);
	}
}

/* A write that fails answers tickets, whose owners may ask anew. */
static void on_turn(struct hook *h)
{
	struct limiter *l = list_entry(h, struct limiter, hook);
	while (!list_empty(&l->queue)) {
		send_queue(l);
		store_redis_flush(l->store);
	}
}

/* Questions */

/* The table knows until when Redis refuses. */
static bool refused_already(struct limiter *l, struct ticket *t)
{
	struct verdict *v = &t->verdict;
	uint32_t generation = board_limits_generation();
	usec_t now = l->loop->now;
	v->refused_by = v->shadow_over = 0;
	for (unsigned i = 0; i < t->asks; i++) {
		struct window_state *s = &v->state[i];
		usec_t until;
		/* Busy is as good as unknown: Redis is asked. */
		table_refusal_get(l->table, &t->client, &t->ask[i], now, generation, &until, s);
		s->limit = t->ask[i].limit;
		s->remaining = until || s->limit <= s->used ? 0 : s->limit - s->used;
		/* Never early: the moment was counted from the sending. */
		s->retry_after_us = until ? until - now + store_redis_slowest(l->store) : 0;
		if (until && !t->ask[i].policy->shadow)
			v->refused_by |= 1u << i;
		else if (t->ask[i].policy->shadow && !s->remaining)
			v->shadow_over |= 1u << i;
	}
	if (!v->refused_by)
		return false;
	v->granted = false;
	v->source = SOURCE_REDIS;
	metric_add(l->by_table, 1);
	return true;
}

static struct batch *find_head(const struct limiter *l, uint32_t head, const struct ticket *t)
{
	struct batch *b = l->heads[head];
	while (b && !same(b, t))
		b = b->chain;
	return b;
}

static bool has_room(const struct batch *b)
{
	return b->count < REDIS_ASK_MAX;
}

/* The batch that the ticket belongs to. NULL: out of memory. */
static struct batch *gather(struct limiter *l, const struct ticket *t)
{
	uint32_t hash = (uint32_t)(local_hash(l->seed, &t->client, t->ask[0].policy->key) % HEADS);
	struct batch *head = find_head(l, hash, t);
	if (head && head->state == BATCH_QUEUED && has_room(head))
		return head;
	if (head && !list_empty(&head->followers)) {
		struct batch *last = list_entry(head->followers.prev, struct batch, link);
		if (has_room(last))
			return last;
	}
	struct batch *b = batch_new(l, t);
	if (!b)
		return NULL;
	b->head = hash;
	if (head) {
		set_state(b, BATCH_FOLLOWING);
		list_push(&head->followers, &b->link);
	} else {
		enqueue(b);
	}
	timeout_arm(&l->wait_class, &b->timeout);
	return b;
}

/* Under the last ticket's policy, for this one's is not known yet. It is worth 0.2 us of 15. */
void limiter_expect(const struct limiter *l, const struct client_id *client)
{
	if (l->last_policy)
		table_expect(l->table, client, l->last_policy);
}

bool limiter_refuses(struct limiter *l, struct ticket *t)
{
	assert(t->asks >= 1 && t->asks <= POLICY_MAX_APPLIED);
	l->last_policy = t->ask[0].policy->key;
	t->looked = !l->store || !refused_already(l, t);
	return !t->looked;
}

enum limiter_answer limiter_ask(struct limiter *l, struct ticket *t)
{
	list_init(&t->link);
	t->question = NULL;
	if (!t->looked && limiter_refuses(l, t))
		return LIMITER_NOW;
	t->looked = false;
	if (l->store) {
		struct batch *b = store_redis_open(l->store, &t->client) ? gather(l, t) : NULL;
		if (b) {
			join(b, t);
			return LIMITER_WAIT;
		}
	}
	return decide(l, t, l->loop->now + l->patience) ? LIMITER_NOW : LIMITER_WAIT;
}

void limiter_cancel(struct limiter *l, struct ticket *t)
{
	struct batch *b = t->question;
	(void)l;
	if (!b)
		return;
	list_del(&t->link);
	t->question = NULL;
	b->count--;
	if (b->count || b->state == BATCH_SENT || b->state == BATCH_LATE)
		return;
	if (b->state == BATCH_QUEUED)
		step_down(b);
	batch_free(b);
}

/* Life */

static void destroy(struct limiter *l)
{
	timeout_class_drop(&l->wait_class);
	timeout_class_drop(&l->busy_class);
	while (l->slabs) {
		struct slab *s = l->slabs;
		l->slabs = s->next;
		free(s);
	}
	free(l);
}

static void on_buried(struct grave *g)
{
	destroy(list_entry(g, struct limiter, grave));
}

static bool open_store(struct limiter *l, const struct limiter_setup *setup)
{
	const struct store_redis_setup store = {
		.loop = l->loop, .target = setup->redis, .timeout_us = setup->timeout_us, .table = l->table};
	l->store = store_redis_new(&store);
	if (!l->store)
		return false;
	const struct carrier_setup carrier = {l->loop, l->table, l->store, setup->policy, setup->policies};
	l->carrier = carrier_new(&carrier);
	if (l->carrier)
		return true;
	store_redis_free(l->store);
	return false;
}

struct limiter *limiter_new(const struct limiter_setup *setup)
{
	struct limiter *l = calloc(1, sizeof(*l));
	if (!l)
		return NULL;
	l->loop = setup->loop;
	l->table = setup->table;
	l->seed = ((uint64_t)clock_wall() * 0x9e3779b97f4a7c15u ^
		   (uint64_t)(uintptr_t)l * 0xd6e8feb86659fd93u) |
		  1;
	l->patience = setup->redis ? setup->timeout_us : BUSY_MEMORY;
	local_init(&l->local, setup, l->seed);
	list_init(&l->queue);
	list_init(&l->busy);
	timeout_init(&l->busy_timer, on_busy_timer);
	if (setup->redis && !open_store(l, setup)) {
		destroy(l);
		return NULL;
	}
	timeout_class_init(&l->wait_class, l->loop, setup->timeout_us);
	timeout_class_init(&l->busy_class, l->loop, BUSY_RETRY);
	list_init(&l->hook.link);
	if (l->store)
		hook_add(l->loop, &l->hook, on_turn);
	l->by_redis = metric_series(METRIC_STORE_DECISIONS, "source=\"redis\"");
	l->by_table = metric_series(METRIC_STORE_DECISIONS, "source=\"table\"");
	return l;
}

void limiter_free(struct limiter *l)
{
	if (!l)
		return;
	store_redis_free(l->store);
	carrier_free(l->carrier);
	timeout_disarm(&l->busy_timer);
	hook_del(&l->hook);
	loop_bury(l->loop, &l->grave, on_buried);
}

bool limiter_ready(const struct limiter *l)
{
	return !l->store || store_redis_ready(l->store);
}
