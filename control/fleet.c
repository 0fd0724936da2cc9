/* SPDX-License-Identifier: MIT */
#include "control/fleet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/board.h"
#include "base/events.h"
#include "base/log.h"
#include "base/siphash.h"
#include "control/fleet_sync.h"
#include "control/state.h"
#include "control/status.h"
#include "control/units.h"
#include "ratelimit/redis_conn.h"

#define ANSWER_WITHIN USEC_PER_SEC	     /* else the connection is taken for dead */
#define POLL_US (50 * USEC_PER_MSEC)	     /* while somebody waits for other weirs */
#define FRESH_US (5 * USEC_PER_SEC)	     /* a forgiving so young may be news to a control that has just begun */
#define SEEN_MOST 4096 /* forgivings in FLEET_FORGIVEN_MS */
#define BUSY_TRIES 100
#define CHANNEL "news"

struct seen {
	char id[FLEET_ID];
	usec_t until;
};

struct fleet {
	struct control *c;
	enum fleet_state state;
	char id[FLEET_ID];
	char host[FLEET_HOST];
	struct text base;    /* PREFIX{fleet}: */
	uint64_t target;     /* a hash of what is connected to, so that a reload sees a change */
	struct redis_conn *conn, *sub;

	struct redis_call call, subscribe; /* both are given out while `syncing`, `subscribing` */
	bool syncing, subscribing;
	bool again;	     /* ask once more when the answer has come */
	bool list, list_asked; /* the members are wanted; were asked for */
	bool listed;	     /* `member` is of this answer */
	bool leaving, first; /* first: nothing was read from this store yet */
	usec_t sent_at, latency;
	char trouble[120];
	struct timeout_class answer_class, poll_class, ack_class;
	struct timeout answer_timeout, poll_timeout;

	char news[32]; /* to be published with the next question; "" none */
	struct sync_forgiven outbox[SYNC_FORGIVEN];
	unsigned outbox_n, outbox_sent;
	struct seen seen[SEEN_MOST]; /* forgivings that were done here */
	unsigned seen_next;

	struct list waits;	       /* struct fleet_wait */
	struct list looks, looks_sent; /* struct fleet_look */
	unsigned live, members, members_new;
	struct fleet_member *member, self;

	struct {
		char id[LIFT_ID];
		bool shadow;
		usec_t until;
	} active[LIFTS_MAX]; /* to be told when they end by themselves */
	unsigned actives;
	struct sync_args args;
};

static void push(struct fleet *);

/* --- states --- */

const char *fleet_state_name(enum fleet_state s)
{
	static const char *const names[] = {"alone", "connecting", "ready", "away"};
	return names[s];
}

enum fleet_state fleet_state(const struct fleet *f)
{
	return f->state;
}

static void set_state(struct fleet *f, enum fleet_state to, const char *why)
{
	enum fleet_state from = f->state;
	snprintf(f->trouble, sizeof(f->trouble), "%s", to == FLEET_AWAY ? why : "");
	if (from == to)
		return;
	f->state = to;
	if (to == FLEET_READY)
		events_add(EVENT_STORE, "control: the store answers (%s -> %s)", fleet_state_name(from),
			   fleet_state_name(to));
	else if (to == FLEET_AWAY)
		events_add(EVENT_STORE, "control: the store is away: %s (%s -> %s)", why, fleet_state_name(from),
			   fleet_state_name(to));
}

usec_t fleet_latency(const struct fleet *f)
{
	return f->latency;
}

const char *fleet_trouble(const struct fleet *f)
{
	return f->trouble;
}

struct redis_conn *fleet_redis(struct fleet *f)
{
	return f->state == FLEET_READY && redis_conn_ready(f->conn) ? f->conn : NULL;
}

/* --- what this weir knows --- */

static void remember_active(struct fleet *f, const struct lift *l)
{
	if (f->actives == LIFTS_MAX)
		return;
	memcpy(f->active[f->actives].id, l->id, LIFT_ID);
	f->active[f->actives].shadow = l->shadow;
	f->active[f->actives++].until = l->until;
}

static bool forget_active(struct fleet *f, const char *id)
{
	for (unsigned i = 0; i < f->actives; i++)
		if (memcmp(f->active[i].id, id, LIFT_ID) == 0) {
			f->active[i] = f->active[--f->actives];
			return true;
		}
	return false;
}

/* A lift in shadow changes no answer, so nothing that was answered is void for it. */
static bool begin_lift(struct fleet *f, const struct lift *l)
{
	if (!lifts_put(f->c->lifts, l))
		return false;
	remember_active(f, l);
	if (!l->shadow)
		control_void_answers();
	return true;
}

static void end_lift(struct fleet *f, const char *id, usec_t until)
{
	lifts_bury(f->c->lifts, id, until, f->c->loop.now);
	if (lifts_remove(f->c->lifts, id))
		control_void_answers();
	forget_active(f, id);
}

static void end_those_over(struct fleet *f)
{
	for (unsigned i = 0; i < f->actives;) {
		if (f->active[i].until > f->c->loop.now) {
			i++;
			continue;
		}
		events_add(EVENT_LIFT, "lift %s has ended", f->active[i].id);
		if (!f->active[i].shadow)
			control_void_answers();
		f->active[i] = f->active[--f->actives];
	}
}

static void describe_self(struct fleet *f)
{
	static struct lift list[LIFTS_MAX];
	struct fleet_member *m = &f->self;
	*m = (struct fleet_member){.self = true, .workers = atomic_load(&board()->workers)};
	memcpy(m->id, f->id, sizeof(m->id));
	memcpy(m->host, f->host, sizeof(m->host));
	snprintf(m->version, sizeof(m->version), "%s", WEIR_VERSION);
	snprintf(m->config, sizeof(m->config), "%s", control_conf(f->c)->hash);
	usec_t up = f->c->loop.now - atomic_load(&board()->started_us);
	m->uptime_s = up > 0 ? (unsigned long)(up / USEC_PER_SEC) : 0;
	m->lifts = lifts_list(f->c->lifts, f->c->loop.now, list);
	for (unsigned i = 0; i < m->lifts; i++)
		memcpy(m->lift[i], list[i].id, LIFT_ID);
}

unsigned fleet_members(struct fleet *f, const struct fleet_member **m, unsigned *live)
{
	if (f->state == FLEET_READY && f->members) {
		*m = f->member;
		*live = f->live > f->members ? f->live : f->members;
		return f->members;
	}
	describe_self(f);
	*m = &f->self;
	*live = f->live && f->state != FLEET_ALONE ? f->live : 1;
	return 1;
}

/* --- forgivings --- */

void fleet_forget(struct fleet *f, const struct client_id *client)
{
	control_void_answers();
	for (int i = 0; f->c->table && i < BUSY_TRIES; i++)
		if (table_forget(f->c->table, client, NULL) == TABLE_OK)
			return;
}

static bool was_seen(const struct fleet *f, const char *id)
{
	for (unsigned i = 0; i < SEEN_MOST; i++)
		if (f->seen[i].until > f->c->loop.now && memcmp(f->seen[i].id, id, FLEET_ID) == 0)
			return true;
	return false;
}

static void mark_seen(struct fleet *f, const char *id, usec_t left)
{
	struct seen *s = &f->seen[f->seen_next++ % SEEN_MOST];
	memcpy(s->id, id, sizeof(s->id));
	s->until = f->c->loop.now + left + USEC_PER_SEC;
}

static void random_id(char id[FLEET_ID])
{
	uint32_t v;
	if (getrandom(&v, sizeof(v), 0) != (ssize_t)sizeof(v))
		v = (uint32_t)clock_mono();
	snprintf(id, FLEET_ID, "%08x", v);
}

void fleet_forgiven(struct fleet *f, const struct client_id *client)
{
	if (f->state != FLEET_READY || f->outbox_n == SYNC_FORGIVEN)
		return;
	struct sync_forgiven *out = &f->outbox[f->outbox_n++];
	random_id(out->id);
	out->client = *client;
	mark_seen(f, out->id, FLEET_FORGIVEN_MS * USEC_PER_MSEC);
	snprintf(f->news, sizeof(f->news), "forgiven %s", out->id);
	push(f);
}

/* --- waiting for the other weirs --- */

static bool satisfied(const struct fleet_wait *w, const struct fleet_member *m)
{
	for (unsigned i = 0; i < w->ids; i++) {
		bool has = false;
		for (unsigned k = 0; k < m->lifts && !has; k++)
			has = memcmp(m->lift[k], w->id[i], LIFT_ID) == 0;
		if (has != w->present)
			return false;
	}
	return true;
}

static void finish_wait(struct fleet *f, struct fleet_wait *w)
{
	struct fleet_outcome o = {.shared = w->sent, .done = 0, .live = 1};
	list_del(&w->link);
	timeout_disarm(&w->timeout);
	for (unsigned i = 0; w->sent && i < f->members; i++)
		o.done += satisfied(w, &f->member[i]);
	if (w->sent && f->live)
		o.live = f->live;
	if (!o.done)
		o.done = 1; /* here it is done */
	if (o.live < o.done)
		o.live = o.done;
	w->done(w, &o);
}

static void on_ack_late(struct timeout *t)
{
	struct fleet_wait *w = list_entry(t, struct fleet_wait, timeout);
	finish_wait(w->fleet, w);
}

static bool everywhere(const struct fleet *f, const struct fleet_wait *w)
{
	unsigned done = 0;
	for (unsigned i = 0; i < f->members; i++)
		done += satisfied(w, &f->member[i]);
	return done >= f->live || (done == f->members && f->members == FLEET_MEMBERS);
}

static void check_waits(struct fleet *f)
{
	for (struct list *i = f->waits.next, *next; i != &f->waits; i = next) {
		struct fleet_wait *w = list_entry(i, struct fleet_wait, link);
		next = i->next;
		w->sent |= w->asked;
		if (w->sent && f->listed && everywhere(f, w))
			finish_wait(f, w);
	}
	if (!list_empty(&f->waits) && !timeout_armed(&f->poll_timeout))
		timeout_arm(&f->poll_class, &f->poll_timeout);
}

static void on_poll(struct timeout *t)
{
	struct fleet *f = list_entry(t, struct fleet, poll_timeout);
	f->list = true;
	push(f);
}

static void begin_wait(struct fleet *f, struct fleet_wait *w, const char *news)
{
	w->fleet = f;
	w->asked = w->sent = false;
	timeout_init(&w->timeout, on_ack_late);
	list_push(&f->waits, &w->link);
	if (f->state != FLEET_READY) {
		finish_wait(f, w);
		return;
	}
	timeout_arm(&f->ack_class, &w->timeout);
	snprintf(f->news, sizeof(f->news), "%s", news);
	f->list = true;
	push(f);
}

static void tell_lift(const struct lift *l, usec_t now)
{
	struct text scope = {0};
	char time[UNITS_TEXT];
	status_scope(l, &scope);
	events_add(EVENT_LIFT, "lift %s%s for %s of %.150s by %s (uid %u): %s", l->id, l->shadow ? " in shadow" : "",
		   units_duration(time, l->until - now), scope.n ? scope.p : "", l->by, l->uid, l->reason);
	text_free(&scope);
}

bool fleet_lift(struct fleet *f, const struct lift *l, struct fleet_wait *w)
{
	char news[32];
	if (!begin_lift(f, l))
		return false;
	tell_lift(l, f->c->loop.now);
	w->present = true;
	w->ids = 1;
	memcpy(w->id[0], l->id, LIFT_ID);
	snprintf(news, sizeof(news), "lift %s", l->id);
	begin_wait(f, w, news);
	return true;
}

void fleet_restore(struct fleet *f, struct fleet_wait *w)
{
	static struct lift list[LIFTS_MAX];
	unsigned n = lifts_list(f->c->lifts, f->c->loop.now, list);
	w->present = false;
	for (unsigned i = 0; i < n; i++)
		for (unsigned k = 0; k < w->ids; k++)
			if (memcmp(list[i].id, w->id[k], LIFT_ID) == 0)
				end_lift(f, list[i].id, list[i].until);
	begin_wait(f, w, "restore");
}

/* --- looks --- */

static void finish_looks(struct list *looks)
{
	struct list batch, *l;
	list_init(&batch);
	while ((l = list_pop(looks)))
		list_push(&batch, l);
	while ((l = list_pop(&batch))) {
		struct fleet_look *k = list_entry(l, struct fleet_look, link);
		k->done(k);
	}
}

void fleet_look(struct fleet *f, struct fleet_look *k)
{
	list_push(&f->looks, &k->link);
	if (f->state != FLEET_READY) {
		finish_looks(&f->looks);
		return;
	}
	f->list = true;
	push(f);
}

void fleet_leave(struct fleet *f, struct fleet_look *k)
{
	f->leaving = true;
	fleet_look(f, k);
}

/* --- the answer --- */

static void on_lift(void *ctx, const struct lift *l, usec_t left)
{
	struct fleet *f = ctx;
	struct lift mine = *l;
	usec_t now = f->c->loop.now;
	if (lifts_is_buried(f->c->lifts, l->id, now))
		return;
	for (unsigned i = 0; i < f->actives; i++)
		if (memcmp(f->active[i].id, l->id, LIFT_ID) == 0)
			return;
	mine.until = now + left;
	if (begin_lift(f, &mine)) {
		tell_lift(&mine, now);
		f->again = true; /* whoever waits for us sees it in our heartbeat */
	}
}

static void on_ended(void *ctx, const char *id, usec_t left)
{
	struct fleet *f = ctx;
	usec_t now = f->c->loop.now;
	bool known = false;
	for (unsigned i = 0; i < f->actives; i++)
		known |= memcmp(f->active[i].id, id, LIFT_ID) == 0;
	if (lifts_is_buried(f->c->lifts, id, now) && !known)
		return;
	end_lift(f, id, now + left);
	if (known) {
		events_add(EVENT_LIFT, "lift %s was restored by another weir", id);
		f->again = true;
	}
}

static void on_forgiven(void *ctx, const struct sync_forgiven *forgiven, usec_t left)
{
	struct fleet *f = ctx;
	char client[ADDR_TEXT];
	struct addr a;
	if (was_seen(f, forgiven->id))
		return;
	mark_seen(f, forgiven->id, left);
	if (f->first && left < FLEET_FORGIVEN_MS * USEC_PER_MSEC - FRESH_US)
		return; /* the control before this one has done it */
	memcpy(a.b, forgiven->client.b, sizeof(a.b));
	addr_format(client, &a);
	fleet_forget(f, &forgiven->client);
	events_add(EVENT_CLIENT, "client %s was forgiven by another weir", client);
}

static void on_member(void *ctx, const struct fleet_member *m)
{
	struct fleet *f = ctx;
	if (f->members_new == FLEET_MEMBERS)
		return;
	struct fleet_member *to = &f->member[f->members_new++];
	*to = *m;
	to->self = memcmp(m->id, f->id, sizeof(m->id)) == 0;
}

static void take_answer(struct fleet *f, const struct sync_answer *a)
{
	f->latency = f->c->loop.now - f->sent_at;
	f->live = a->live;
	f->listed = f->list_asked;
	if (f->listed)
		f->members = f->members_new;
	f->outbox_n -= f->outbox_sent;
	memmove(f->outbox, f->outbox + f->outbox_sent, f->outbox_n * sizeof(f->outbox[0]));
	f->outbox_sent = 0;
	f->first = false;
	atomic_store(&board()->fleet, a->live);
	atomic_store(&board()->fleet_us, f->c->loop.now);
	set_state(f, FLEET_READY, "");
	control_learned(f->c);
}

static void lose(struct fleet *f, const char *why)
{
	f->outbox_sent = 0;
	f->again = false;
	if (f->state != FLEET_ALONE)
		set_state(f, FLEET_AWAY, why);
	for (struct list *i = f->waits.next, *next; i != &f->waits; i = next) {
		struct fleet_wait *w = list_entry(i, struct fleet_wait, link);
		next = i->next;
		if (!w->sent)
			finish_wait(f, w);
	}
	finish_looks(&f->looks_sent);
	finish_looks(&f->looks);
}

static void on_answer(struct redis_call *call, const struct redis_reply *r)
{
	static const struct sync_reader reader = {NULL, on_lift, on_ended, on_forgiven, on_member};
	struct fleet *f = list_entry(call, struct fleet, call);
	struct sync_reader mine = reader;
	struct sync_answer a;
	f->syncing = false;
	timeout_disarm(&f->answer_timeout);
	mine.ctx = f;
	f->members_new = 0;
	if (r->kind == REDIS_ERROR) {
		lose(f, redis_failure_name(r->failure));
		return;
	}
	if (!sync_read(r, &mine, &a)) {
		lose(f, "its answer makes no sense");
		return;
	}
	take_answer(f, &a);
	check_waits(f);
	finish_looks(&f->looks_sent);
	if (f->again)
		push(f);
}

static void on_answer_late(struct timeout *t)
{
	struct fleet *f = list_entry(t, struct fleet, answer_timeout);
	redis_conn_drop(f->conn, REDIS_TIMEOUT, "no answer to control within 1 s");
}

/* --- the question --- */

static bool send_question(struct fleet *f)
{
	static struct lift list[LIFTS_MAX];
	static struct lift_ended ended[LIFTS_ENDED_MAX];
	usec_t now = f->c->loop.now;
	describe_self(f);
	struct sync_question q = {
		.base = {f->base.p, f->base.n},
		.self = f->leaving ? NULL : &f->self,
		.id = f->id,
		.list = f->list,
		.news = str_of(f->news),
		.now = now,
		.lifts = lifts_list(f->c->lifts, now, list),
		.ended = lifts_buried(f->c->lifts, now, ended),
		.forgiven = f->outbox_n,
		.lift = list,
		.end = ended,
		.forgive = f->outbox,
	};
	return sync_write(&q, &f->args) && redis_conn_send(f->conn, &f->call, f->args.n, f->args.argv);
}

/* Asks the store, now or, while a question is under way, when that is answered. */
static void push(struct fleet *f)
{
	struct list *l;
	if (f->state == FLEET_ALONE || !redis_conn_ready(f->conn))
		return;
	if (f->syncing) {
		f->again = true;
		return;
	}
	if (!send_question(f))
		return;
	f->syncing = true;
	f->again = false;
	f->list_asked = f->list;
	f->list = false;
	f->news[0] = 0;
	f->outbox_sent = f->outbox_n;
	f->sent_at = f->c->loop.now;
	for (struct list *i = f->waits.next; i != &f->waits; i = i->next)
		list_entry(i, struct fleet_wait, link)->asked = true;
	while ((l = list_pop(&f->looks)))
		list_push(&f->looks_sent, l);
	timeout_arm(&f->answer_class, &f->answer_timeout);
}

/* --- connections --- */

static void on_changed(struct redis_conn *conn, void *owner)
{
	struct fleet *f = owner;
	if (conn != f->conn)
		return;
	if (redis_conn_ready(conn))
		push(f);
	else
		lose(f, redis_failure_name(redis_conn_last_failure(conn)));
}

static void on_subscribed(struct redis_call *call, const struct redis_reply *r)
{
	(void)r; /* where it is denied the poll each second has to do; the connection has said so */
	list_entry(call, struct fleet, subscribe)->subscribing = false;
}

static void on_sub_changed(struct redis_conn *sub, void *owner)
{
	struct fleet *f = owner;
	struct text channel = {0};
	if (sub != f->sub || !redis_conn_ready(sub) || f->subscribing)
		return;
	text_add(&channel, "%s%s", f->base.p, CHANNEL);
	const struct str argv[] = {STR("SUBSCRIBE"), {channel.p, channel.n}};
	f->subscribing = !channel.cut && redis_conn_send(sub, &f->subscribe, 2, argv);
	text_free(&channel);
}

static void on_news(struct redis_conn *sub, void *owner, const struct redis_reply *r)
{
	(void)sub, (void)r; /* what is news stands in the keys */
	push(owner);
}

static void disconnect(struct fleet *f)
{
	struct redis_conn *conn = f->conn, *sub = f->sub;
	f->state = FLEET_ALONE; /* before what waited is called back */
	f->conn = f->sub = NULL;
	redis_conn_free(conn);
	redis_conn_free(sub);
	f->live = f->members = 0;
	f->latency = 0;
	f->trouble[0] = 0;
	atomic_store(&board()->fleet, 0);
}

static bool connect_both(struct fleet *f, const struct conf_redis *r)
{
	const struct redis_target target = {
		.host = r->host,
		.port = r->port,
		.is_unix = r->is_unix,
		.db = r->db,
		.username = r->username,
		.password = r->password,
		.prefix = r->prefix,
	};
	struct redis_conn_setup setup = {.loop = &f->c->loop, .target = &target, .owner = f, .changed = on_changed};
	f->base.n = 0;
	text_add(&f->base, "%.*s{fleet}:", (int)r->prefix.n, r->prefix.p ? r->prefix.p : "");
	f->conn = redis_conn_new(&setup);
	setup.changed = on_sub_changed;
	setup.pushed = on_news;
	f->sub = redis_conn_new(&setup);
	if (f->base.cut || !f->conn || !f->sub)
		return false;
	f->state = FLEET_CONNECTING;
	f->first = true;
	redis_conn_start(f->conn);
	redis_conn_start(f->sub);
	return true;
}

static uint64_t fingerprint(const struct fleet *f, const struct conf_redis *r)
{
	struct siphash_key key = siphash_key(f->c->info.hash_key);
	const struct str part[] = {r->host, r->username, r->password, r->prefix};
	uint64_t number[] = {r->is_unix, r->port, r->db, 0, 0, 0, 0};
	for (unsigned i = 0; i < 4; i++)
		number[3 + i] = siphash24(key, part[i].n ? part[i].p : "", part[i].n);
	return siphash24(key, number, sizeof(number));
}

void fleet_configure(struct fleet *f)
{
	const struct conf_rate_limit *l = &control_conf(f->c)->rate_limit;
	uint64_t target = l->redis ? fingerprint(f, &l->server) : 0;
	if (f->conn && l->redis && target == f->target)
		return;
	if (f->conn)
		disconnect(f);
	f->target = target;
	if (!l->redis) {
		control_learned(f->c);
	} else if (!connect_both(f, &l->server)) {
		log_error("fleet: out of memory for a connection to the store");
		disconnect(f);
	}
}

/* --- life --- */

/* The same for every control of one weir's life, and another for every weir. */
static void make_id(struct fleet *f)
{
	char text[FLEET_HOST + 64];
	struct siphash_key key = {0, 0};
	int n = snprintf(text, sizeof(text), "%s|%d|%lld", f->host, atomic_load(&board()->proc[0].pid),
			 (long long)atomic_load(&board()->started_wall));
	snprintf(f->id, sizeof(f->id), "%08x", (uint32_t)siphash24(key, text, (size_t)n));
}

/* What the control before this one has put in force. */
static void take_over(struct fleet *f)
{
	static struct lift list[LIFTS_MAX];
	unsigned n = lifts_list(f->c->lifts, f->c->loop.now, list);
	for (unsigned i = 0; i < n; i++)
		remember_active(f, &list[i]);
}

struct fleet *fleet_new(struct control *c)
{
	struct fleet *f = calloc(1, sizeof(*f));
	if (!f)
		return NULL;
	f->member = calloc(FLEET_MEMBERS, sizeof(*f->member));
	if (!f->member) {
		free(f);
		return NULL;
	}
	f->c = c;
	if (gethostname(f->host, sizeof(f->host) - 1) < 0)
		snprintf(f->host, sizeof(f->host), "unknown");
	make_id(f);
	f->call.done = on_answer;
	f->subscribe.done = on_subscribed;
	list_init(&f->waits);
	list_init(&f->looks);
	list_init(&f->looks_sent);
	timeout_init(&f->answer_timeout, on_answer_late);
	timeout_init(&f->poll_timeout, on_poll);
	timeout_class_init(&f->answer_class, &c->loop, ANSWER_WITHIN);
	timeout_class_init(&f->poll_class, &c->loop, POLL_US);
	timeout_class_init(&f->ack_class, &c->loop, FLEET_ACK_US);
	take_over(f);
	return f;
}

void fleet_free(struct fleet *f)
{
	struct list *l;
	while ((l = list_first(&f->waits)))
		finish_wait(f, list_entry(l, struct fleet_wait, link));
	if (f->conn)
		disconnect(f);
	finish_looks(&f->looks_sent);
	finish_looks(&f->looks);
	timeout_class_drop(&f->answer_class);
	timeout_class_drop(&f->poll_class);
	timeout_class_drop(&f->ack_class);
	text_free(&f->base);
	text_free(&f->args.bytes);
	free(f->member);
	free(f);
}

void fleet_tick(struct fleet *f)
{
	end_those_over(f);
	push(f);
}
