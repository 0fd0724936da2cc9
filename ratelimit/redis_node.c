/* SPDX-License-Identifier: MIT */
#include "ratelimit/redis_node.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/dice.h"
#include "base/events.h"
#include "base/metric.h"
#include "ratelimit/mark.h"
#include "ratelimit/redis_clock.h"
#include "ratelimit/redis_joint.h"

#define MAGIC 0x6e6f6465u
#define BREAKER 5		       /* failures in a row that open it ... */
#define BREAKER_QUIET 2		       /* ... and so many timeouts' length without an answer */
#define PROBE_MIN (50 * USEC_PER_MSEC) /* between probes; doubled a failure, with jitter */
#define PROBE_MAX (600 * USEC_PER_MSEC)
#define TICK USEC_PER_SEC
#define SILENCE USEC_PER_SEC /* unanswered for so long: the connection is given up */
#define EPOCH (10 * TICK)    /* the clocks' difference is of this one and the last */

enum proof {
	PROOF_ANSWER, /* to PING */
	PROOF_WRITE,  /* of a mark */
	PROOF_CALL,   /* a caller's, done well */
};

/* Own commands; `done` must find its node. */
struct errand {
	struct redis_call call;
	struct redis_node *node;
	usec_t sent_at;
	bool out; /* it is under way */
};

struct loading {
	struct errand errand;
	char sha[REDIS_SHA];
	bool loaded;
};

struct redis_node {
	uint32_t magic;
	struct loop *loop;
	struct redis_conn *conn;
	void *owner;
	void (*changed)(struct redis_node *, void *, enum store_state, const char *);
	bool (*redirected)(struct redis_node *, void *, struct node_call *, const struct redis_reply *);
	usec_t timeout_us;
	enum store_state state;
	bool freed;

	struct loading script[REDIS_SCRIPTS];
	char *prefix; /* of the mark's key */
	size_t prefix_n;
	struct errand time, probe, info, marking;
	struct mark mark;
	bool marked; /* looked for once since it was connected */
	struct redis_server server;
	struct redis_clock clock;
	struct redis_joints joints;
	bool apart; /* it takes no keys of several clients in one command */

	bool probed;
	struct node_call *trial; /* the one under way while PROBING */
	unsigned failures;	 /* in a row */
	enum proof wanted;	 /* that the last failure is over */
	usec_t last_good;	 /* answer in time */
	usec_t last_timeout;
	usec_t oldest; /* since when the server owes an answer; 0: it owes none */
	usec_t epoch_at;
	bool used; /* asked since the last tick */

	struct timeout_class tick_class, probe_class, mark_class;
	struct timeout tick, probe_timer, mark_timer;
	usec_t pause;
	struct dice dice;
	struct hook hook;
	struct grave grave;

	series_t failed_timeout, failed_garbage;
};

/* States */

const char *store_state_name(enum store_state s)
{
	static const char *const names[] = {"connecting", "ready", "degraded", "open", "probing"};
	return s < STORE_STATES ? names[s] : "unknown";
}

enum store_state redis_node_state(const struct redis_node *n)
{
	return n->state;
}

static void set_state(struct redis_node *n, enum store_state to, const char *why)
{
	static const uint8_t from[STORE_STATES] = {
		[STORE_CONNECTING] =
			1 << STORE_READY | 1 << STORE_DEGRADED | 1 << STORE_OPEN | 1 << STORE_PROBING,
		[STORE_READY] = 1 << STORE_CONNECTING | 1 << STORE_DEGRADED | 1 << STORE_PROBING,
		[STORE_DEGRADED] = 1 << STORE_READY,
		[STORE_OPEN] = 1 << STORE_READY | 1 << STORE_DEGRADED | 1 << STORE_PROBING,
		[STORE_PROBING] = 1 << STORE_OPEN,
	};
	enum store_state was = n->state;
	assert(from[to] >> was & 1);
	n->state = to;
	n->trial = NULL;
	n->probed = false;
	if (to == STORE_READY) {
		n->failures = 0;
		n->pause = 0;
	}
	n->changed(n, n->owner, was, why);
}

bool redis_node_open(const struct redis_node *n)
{
	return store_takes_calls(n->state) || (n->state == STORE_PROBING && n->probed && !n->trial);
}

struct redis_conn *redis_node_conn(const struct redis_node *n)
{
	return n->conn;
}

const struct redis_server *redis_node_server(const struct redis_node *n)
{
	return &n->server;
}

const char *redis_node_sha(const struct redis_node *n, enum redis_script which)
{
	return n->script[which].sha;
}

usec_t redis_node_clock(const struct redis_node *n, usec_t moment)
{
	return redis_clock_there(&n->clock, moment, n->loop->now);
}

/* What it owes */

static void owe(struct redis_node *n)
{
	if (!n->oldest)
		n->oldest = n->loop->now;
}

/* Answers come in order: what is owed now is owed since this moment at the earliest, as far as patience goes.
 */
static void heard(struct redis_node *n)
{
	n->oldest = redis_conn_waiting(n->conn) ? n->loop->now : 0;
}

static bool overdue(const struct redis_node *n, usec_t by)
{
	return n->oldest && n->loop->now - n->oldest >= by;
}

/* False: it is under way already, or cannot be sent. */
static bool run_errand(struct redis_node *n, struct errand *e, unsigned argc, const struct str *argv)
{
	if (e->out || !redis_conn_send(n->conn, &e->call, argc, argv))
		return false;
	owe(n);
	e->out = true;
	e->sent_at = n->loop->now;
	return true;
}

static struct redis_node *errand_done(struct errand *e)
{
	assert(e->node->magic == MAGIC);
	e->out = false;
	heard(e->node);
	return e->node;
}

/* The breaker */

static void pause_then_probe(struct redis_node *n)
{
	n->pause = n->pause ? n->pause * 2 : PROBE_MIN;
	if (n->pause > PROBE_MAX)
		n->pause = PROBE_MAX;
	timeout_disarm(&n->probe_timer);
	timeout_class_init(&n->probe_class, n->loop, dice_jitter(&n->dice, n->pause));
	timeout_arm(&n->probe_class, &n->probe_timer);
}

static void open_breaker(struct redis_node *n, const char *why)
{
	set_state(n, STORE_OPEN, why);
	pause_then_probe(n);
}

static enum proof proof_against(enum redis_failure f)
{
	switch (f) {
	case REDIS_LOADING:
	case REDIS_BUSY: /* PING is refused so as well */
		return PROOF_ANSWER;
	case REDIS_OOM:
	case REDIS_MISCONF:
	case REDIS_CLUSTER:
		return PROOF_WRITE;
	default:
		return PROOF_CALL;
	}
}

static void failed(struct redis_node *n, enum proof wanted, const char *why)
{
	n->failures++;
	n->wanted = wanted;
	if (n->state == STORE_PROBING) {
		open_breaker(n, why);
		return;
	}
	bool quiet = n->loop->now - n->last_good >= BREAKER_QUIET * n->timeout_us;
	if (store_takes_calls(n->state) && n->failures >= BREAKER && quiet)
		open_breaker(n, why);
}

/* An error was answered. */
static void refused(struct redis_node *n, enum redis_failure f)
{
	failed(n, proof_against(f), redis_failure_name(f));
}

void redis_node_good(struct redis_node *n, struct node_call *c, usec_t server_us)
{
	bool trial = c == n->trial;
	if (server_us)
		redis_clock_learn(&n->clock, server_us, c->sent_at, n->loop->now);
	if (trial)
		n->trial = NULL;
	if (c->late)
		return;
	n->failures = 0;
	n->last_good = n->loop->now;
	if (n->state == STORE_PROBING && trial)
		set_state(n, STORE_READY, "a question was answered");
}

void redis_node_bad(struct redis_node *n, const char *why)
{
	metric_add(n->failed_garbage, 1);
	failed(n, PROOF_CALL, why);
}

static void send_probe(struct timeout *t)
{
	struct redis_node *n = list_entry(t, struct redis_node, probe_timer);
	if (n->state != STORE_OPEN)
		return;
	/* The last one is not answered yet: it will do, or silence ends it. */
	if (n->probe.out || run_errand(n, &n->probe, 1, (struct str[]){STR("PING")}))
		set_state(n, STORE_PROBING, "");
	else
		pause_then_probe(n);
}

/* Errands */

static void on_time(struct redis_call *call, const struct redis_reply *r)
{
	struct errand *e = list_entry(call, struct errand, call);
	struct redis_node *n = errand_done(e);
	int64_t part[2];
	if (r->kind != REDIS_ARRAY || r->count != 2)
		return; /* an ACL may deny it: without it the questions carry no deadline */
	for (unsigned i = 0; i < 2; i++)
		part[i] = r->element[i].kind == REDIS_STRING ? strtoll(r->element[i].text.p, NULL, 10) : -1;
	if (part[0] > 0 && part[1] >= 0 && part[0] < INT64_MAX / USEC_PER_SEC - 1)
		redis_clock_learn(&n->clock, part[0] * USEC_PER_SEC + part[1], e->sent_at, n->loop->now);
}

static void ask_time(struct redis_node *n)
{
	run_errand(n, &n->time, 1, (struct str[]){STR("TIME")});
}

static void on_info(struct redis_call *call, const struct redis_reply *r)
{
	struct redis_node *n = errand_done(list_entry(call, struct errand, call));
	n->server.told = r->kind == REDIS_STRING;
	if (n->server.told)
		redis_info_read(r->text, &n->server.info);
}

void redis_node_look(struct redis_node *n)
{
	run_errand(n, &n->info, 1, (struct str[]){STR("INFO")});
}

void redis_node_place(struct redis_node *n, const uint64_t *slots, const char *tag)
{
	n->server.slots = slots;
	snprintf(n->server.tag, sizeof(n->server.tag), "%s", tag);
}

static bool take_sha(struct loading *l, const struct redis_reply *r)
{
	if (r->kind != REDIS_STRING || r->text.n != REDIS_SHA)
		return false;
	for (unsigned i = 0; i < REDIS_SHA; i++)
		if (!strchr("0123456789abcdef", r->text.p[i]))
			return false;
	memcpy(l->sha, r->text.p, REDIS_SHA);
	return l->loaded = true;
}

static bool all_loaded(const struct redis_node *n)
{
	for (unsigned i = 0; i < REDIS_SCRIPTS; i++)
		if (!n->script[i].loaded)
			return false;
	return true;
}

/* False: there is none to be sent. */
static bool send_mark(struct redis_node *n, bool first)
{
	struct mark_text text;
	struct str argv[MARK_ARGS];
	unsigned argc = 0;
	if (!n->marking.out)
		argc = mark_write(&n->mark, (struct str){n->prefix, n->prefix_n}, n->server.tag,
				  n->server.slots, first, n->loop->now, &text, argv);
	return argc && run_errand(n, &n->marking, argc, argv);
}

static void prove_write(struct redis_node *n, const struct redis_reply *r)
{
	if (n->wanted != PROOF_WRITE)
		return;
	if (r->kind == REDIS_ERROR)
		refused(n, r->failure);
	else
		set_state(n, STORE_READY, "it takes writes again");
}

static void on_marked(struct redis_call *call, const struct redis_reply *r)
{
	struct redis_node *n = errand_done(list_entry(call, struct errand, call));
	if (mark_answered(&n->mark, r))
		events_add(EVENT_STORE,
			   "the store has lost data: what was admitted here is carried to it again");
	if (!redis_conn_ready(n->conn))
		return;
	n->marked = true;
	if (n->state == STORE_CONNECTING && all_loaded(n))
		set_state(n, STORE_READY, "connected");
	else if (n->state == STORE_PROBING && n->probed)
		prove_write(n, r);
}

static void on_probe(struct redis_call *call, const struct redis_reply *r)
{
	struct redis_node *n = errand_done(list_entry(call, struct errand, call));
	if (n->state != STORE_PROBING)
		return;
	if (r->kind == REDIS_ERROR && r->failure != REDIS_NOPERM) { /* an ACL may deny PING */
		refused(n, r->failure);
		return;
	}
	n->probed = true;
	if (n->wanted == PROOF_ANSWER)
		set_state(n, STORE_READY, "it answers again");
	else if (n->wanted == PROOF_WRITE)
		send_mark(n, true);
}

static void on_mark_timer(struct timeout *t)
{
	struct redis_node *n = list_entry(t, struct redis_node, mark_timer);
	timeout_arm(&n->mark_class, t);
	if (store_takes_calls(n->state))
		send_mark(n, false);
}

static void on_loaded(struct redis_call *call, const struct redis_reply *r)
{
	struct loading *l = list_entry(call, struct loading, errand.call);
	struct redis_node *n = errand_done(&l->errand);
	if (!redis_conn_ready(n->conn))
		return;
	if (take_sha(l, r)) {
		if (n->state == STORE_CONNECTING && all_loaded(n) && !n->marked && !send_mark(n, true))
			set_state(n, STORE_READY, "connected");
		return;
	}
	enum redis_failure f = r->kind == REDIS_ERROR ? r->failure : REDIS_GARBAGE;
	redis_conn_drop(n->conn, f, "SCRIPT LOAD failed");
}

/* All: who has lost one has lost the others. */
static void load_scripts(struct redis_node *n)
{
	for (unsigned i = 0; i < REDIS_SCRIPTS; i++) {
		struct str argv[] = {STR("SCRIPT"), STR("LOAD"), str_of(redis_scripts[i])};
		run_errand(n, &n->script[i].errand, 3, argv);
	}
}

/* No server has answered it, and none will. */
static void give_back(struct node_call *c, enum redis_failure f, const char *why)
{
	const struct redis_reply r = {.kind = REDIS_ERROR, .failure = f, .text = str_of(why)};
	c->done(c, &r);
}

static void give_back_all(struct list *unsent, enum redis_failure f)
{
	struct list *l;
	while ((l = list_pop(unsent)))
		give_back(list_entry(l, struct node_call, link), f, "it was not sent");
}

static void on_changed(struct redis_conn *conn, void *owner)
{
	struct redis_node *n = owner;
	n->oldest = 0;
	if (redis_conn_ready(conn)) {
		n->clock.known = n->server.told = n->marked = n->apart = false;
		ask_time(n);
		redis_node_look(n);
		for (unsigned i = 0; i < REDIS_SCRIPTS; i++)
			n->script[i].loaded = false;
		load_scripts(n);
		return;
	}
	struct list unsent;
	list_init(&unsent);
	redis_joints_take(&n->joints, &unsent);
	timeout_disarm(&n->probe_timer);
	if (n->state != STORE_CONNECTING)
		set_state(n, STORE_CONNECTING, redis_failure_name(redis_conn_last_failure(conn)));
	give_back_all(&unsent, redis_conn_last_failure(conn));
}

/* Calls */

static void on_asking(struct redis_call *call, const struct redis_reply *r)
{
	(void)call, (void)r; /* the call behind it is answered by whoever has the slot */
}

static bool put(struct redis_node *n, struct node_call *c)
{
	static const char asking[] = "*1\r\n$6\r\nASKING\r\n";
	size_t ahead = c->ask_there ? sizeof(asking) - 1 : 0;
	char *out = redis_conn_room(n->conn, c->room + ahead);
	if (!out)
		return false;
	if (ahead) {
		memcpy(out, asking, ahead);
		c->asking.done = on_asking;
		redis_conn_sent(n->conn, &c->asking, ahead);
	}
	redis_conn_sent(n->conn, &c->call, c->write(c, n, out + ahead));
	owe(n);
	return true;
}

/* Joining others it leaves by the end of the turn; else it is written now. */
static bool send_call(struct redis_node *n, struct node_call *c, bool may_join)
{
	c->node = n;
	c->sent_at = n->loop->now;
	if (may_join && c->joint && !c->ask_there && !n->apart)
		return redis_joints_hold(&n->joints, c);
	return put(n, c);
}

static bool may_go_again(const struct redis_node *n, const struct node_call *c)
{
	return !c->late && c->until > n->loop->now && redis_conn_ready(n->conn);
}

/* It was not heard, so that asking once more spends nothing twice. */
bool redis_node_once_more(struct redis_node *n, struct node_call *c)
{
	if (c->again || !may_go_again(n, c))
		return false;
	c->again = true;
	return send_call(n, c, false);
}

static bool sent_elsewhere(struct redis_node *n, struct node_call *c, const struct redis_reply *r)
{
	if (r->failure != REDIS_MOVED && r->failure != REDIS_TRYAGAIN)
		return false;
	if (!n->redirected(n, n->owner, c, r))
		return false;
	if (c == n->trial)
		n->trial = NULL;
	return true;
}

/* After an error: true when the call is on its way again. */
static bool sent_on(struct redis_node *n, struct node_call *c, const struct redis_reply *r, bool unheard)
{
	if (r->kind != REDIS_ERROR || !redis_conn_ready(n->conn))
		return false;
	return sent_elsewhere(n, c, r) || (unheard && redis_node_once_more(n, c));
}

static void on_answer(struct redis_call *call, const struct redis_reply *r)
{
	struct node_call *c = list_entry(call, struct node_call, call);
	struct redis_node *n = c->node;
	assert(n->magic == MAGIC);
	heard(n);
	bool unheard = r->kind == REDIS_ERROR && r->failure == REDIS_NOSCRIPT;
	if (unheard)
		load_scripts(n);
	if (sent_on(n, c, r, unheard))
		return;
	if (r->kind == REDIS_ERROR && redis_conn_ready(n->conn))
		refused(n, r->failure);
	c->done(c, r);
}

/* Calls that went together */

static bool may_not_join(const struct redis_reply *r)
{
	static const char word[] = "CROSSSLOT ";
	return r->text.n >= sizeof(word) - 1 && memcmp(r->text.p, word, sizeof(word) - 1) == 0;
}

/* One error is one failure, however many it hits. */
static void joint_refused(struct redis_node *n, struct node_call *const *c, unsigned calls,
			  const struct redis_reply *r)
{
	bool ready = redis_conn_ready(n->conn), unheard = false, told = false;
	if (ready && r->failure == REDIS_NOSCRIPT) {
		unheard = true;
		load_scripts(n);
	} else if (ready && may_not_join(r)) {
		unheard = n->apart = true;
	}
	for (unsigned i = 0; i < calls; i++) {
		if (sent_on(n, c[i], r, unheard))
			continue;
		if (ready && !told)
			refused(n, r->failure);
		told = true;
		c[i]->done(c[i], r);
	}
}

static void joint_senseless(struct redis_node *n, struct node_call *const *c, unsigned calls)
{
	static const char why[] = "its answers make no sense";
	redis_node_bad(n, why);
	for (unsigned i = 0; i < calls; i++)
		give_back(c[i], REDIS_GARBAGE, why);
}

/* A call for which nothing was done goes once more, alone. */
static void joint_answered(struct redis_node *n, const struct node_joint *kind, struct node_call *const *c,
			   unsigned calls, const struct redis_reply *r)
{
	struct redis_reply part[REDIS_JOINT_MAX]; /* all before the first is told: it may read on */
	bool has[REDIS_JOINT_MAX];
	for (unsigned i = 0; i < calls; i++)
		has[i] = kind->part(r, i, &part[i]);
	for (unsigned i = 0; i < calls; i++) {
		if (has[i])
			c[i]->done(c[i], &part[i]);
		else if (!may_go_again(n, c[i]) || !send_call(n, c[i], false))
			give_back(c[i], REDIS_TIMEOUT, "its time was over");
	}
}

static void on_joint(struct redis_node *n, const struct node_joint *kind, struct node_call *const *c,
		     unsigned calls, const struct redis_reply *r)
{
	assert(n->magic == MAGIC);
	heard(n);
	if (r->kind == REDIS_ERROR)
		joint_refused(n, c, calls, r);
	else if (kind->sound(r, calls))
		joint_answered(n, kind, c, calls, r);
	else
		joint_senseless(n, c, calls);
}

bool redis_node_send(struct redis_node *n, struct node_call *c, bool asking)
{
	if (!redis_node_open(n))
		return false;
	if (!n->used)
		ask_time(n); /* the first in a while */
	c->call.done = on_answer;
	c->ask_there = asking;
	if (!send_call(n, c, true))
		return false;
	n->used = true;
	if (n->state == STORE_PROBING)
		n->trial = c;
	return true;
}

void redis_node_late(struct redis_node *n, struct node_call *c)
{
	c->late = true;
	n->last_timeout = n->loop->now;
	metric_add(n->failed_timeout, 1);
	failed(n, PROOF_ANSWER, "no answer in time");
	if (n->state == STORE_READY)
		set_state(n, STORE_DEGRADED, "an answer did not come in time");
}

void redis_node_flush(struct redis_node *n)
{
	if (redis_joints_idle(&n->joints)) {
		redis_conn_flush(n->conn);
		return;
	}
	bool written = redis_joints_write(&n->joints);
	owe(n);
	if (written)
		redis_conn_flush(n->conn);
	else
		redis_conn_drop(n->conn, REDIS_OTHER, "out of memory");
}

static void on_turn(struct hook *h)
{
	struct redis_node *n = list_entry(h, struct redis_node, hook);
	if (!redis_joints_idle(&n->joints))
		redis_node_flush(n);
}

/* Once a second */

static void on_tick(struct timeout *t)
{
	struct redis_node *n = list_entry(t, struct redis_node, tick);
	usec_t now = n->loop->now;
	timeout_arm(&n->tick_class, t);
	if (now - n->epoch_at >= EPOCH) {
		n->epoch_at = now;
		if (n->used)
			redis_clock_turn(&n->clock, EPOCH);
	}
	if (n->state == STORE_DEGRADED && now - n->last_timeout >= TICK && !overdue(n, n->timeout_us))
		set_state(n, STORE_READY, "a second without a timeout");
	if (redis_conn_ready(n->conn) && overdue(n, SILENCE))
		redis_conn_drop(n->conn, REDIS_TIMEOUT, "no answer for a second");
	else if (n->used && redis_conn_ready(n->conn) && n->state != STORE_OPEN)
		ask_time(n);
	n->used = false;
}

/* Life */

static series_t failure_series(enum redis_failure f)
{
	char labels[METRIC_LABELS];
	metric_label(labels, sizeof(labels), "kind", redis_failure_name(f));
	return metric_series(METRIC_STORE_FAILURES, labels);
}

static void destroy(struct redis_node *n)
{
	timeout_class_drop(&n->tick_class);
	timeout_class_drop(&n->mark_class);
	timeout_class_drop(&n->probe_class);
	redis_joints_drop(&n->joints);
	hook_del(&n->hook);
	n->magic = 0;
	free(n->prefix);
	free(n);
}

static void on_buried(struct grave *g)
{
	destroy(list_entry(g, struct redis_node, grave));
}

static void init_errand(struct redis_node *n, struct errand *e,
			void (*done)(struct redis_call *, const struct redis_reply *))
{
	e->node = n;
	e->call.done = done;
}

static void init_errands(struct redis_node *n)
{
	init_errand(n, &n->time, on_time);
	init_errand(n, &n->probe, on_probe);
	init_errand(n, &n->info, on_info);
	init_errand(n, &n->marking, on_marked);
	for (unsigned i = 0; i < REDIS_SCRIPTS; i++)
		init_errand(n, &n->script[i].errand, on_loaded);
}

static bool open_mark(struct redis_node *n, const struct redis_node_setup *setup)
{
	const struct redis_target *store = setup->store;
	struct str prefix = store->prefix.p ? store->prefix : STR(REDIS_PREFIX);
	char at[512];
	int len = snprintf(at, sizeof(at), "%.*s:%u/%u", (int)store->host.n, store->host.p, store->port,
			   store->db);
	mark_init(&n->mark, setup->table,
		  (struct str){at, len < (int)sizeof(at) ? (size_t)len : sizeof(at) - 1});
	n->prefix = malloc(prefix.n + 1);
	if (!n->prefix)
		return false;
	memcpy(n->prefix, prefix.p, prefix.n);
	n->prefix_n = prefix.n;
	return true;
}

struct redis_node *redis_node_new(const struct redis_node_setup *setup)
{
	struct redis_node *n = calloc(1, sizeof(*n));
	if (!n)
		return NULL;
	const struct redis_conn_setup conn = {
		.loop = setup->loop, .target = setup->target, .owner = n, .changed = on_changed};
	n->magic = MAGIC;
	n->loop = setup->loop;
	n->owner = setup->owner;
	n->changed = setup->changed;
	n->redirected = setup->redirected;
	n->timeout_us = setup->timeout_us;
	redis_node_place(n, NULL, "fleet");
	dice_init(&n->dice);
	init_errands(n);
	redis_joints_init(&n->joints, n);
	n->joints.alone = put;
	n->joints.answered = on_joint;
	hook_add(n->loop, &n->hook, on_turn); /* before the connection's, so that one write takes all */
	timeout_init(&n->tick, on_tick);
	timeout_init(&n->probe_timer, send_probe);
	timeout_init(&n->mark_timer, on_mark_timer);
	n->conn = open_mark(n, setup) ? redis_conn_new(&conn) : NULL;
	if (!n->conn) {
		destroy(n);
		return NULL;
	}
	n->joints.conn = n->conn;
	n->failed_timeout = failure_series(REDIS_TIMEOUT);
	n->failed_garbage = failure_series(REDIS_GARBAGE);
	timeout_class_init(&n->tick_class, n->loop, TICK);
	timeout_arm(&n->tick_class, &n->tick);
	timeout_class_init(&n->mark_class, n->loop, MARK_EVERY);
	if (setup->table)
		timeout_arm(&n->mark_class, &n->mark_timer);
	redis_conn_start(n->conn);
	return n;
}

void redis_node_free(struct redis_node *n)
{
	if (!n || n->freed)
		return;
	struct list unsent;
	n->freed = true;
	list_init(&unsent);
	redis_joints_take(&n->joints, &unsent);
	redis_conn_free(n->conn);
	give_back_all(&unsent, REDIS_CLOSED);
	timeout_disarm(&n->tick);
	timeout_disarm(&n->mark_timer);
	timeout_disarm(&n->probe_timer);
	loop_bury(n->loop, &n->grave, on_buried);
}
