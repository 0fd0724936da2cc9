/* SPDX-License-Identifier: MIT */
#include "control/fleet_inside.h"

#include <stdio.h>
#include <string.h>

#include "base/board.h"
#include "base/events.h"
#include "base/log.h"
#include "base/siphash.h"
#include "conf/redis_url.h"

#define ANSWER_WITHIN USEC_PER_SEC  /* else the connection is taken for dead */
#define FRESH_US (5 * USEC_PER_SEC) /* a forgiving so young may be news to a control that has just begun */
#define CHANNEL "news"
#define MOST_FOR (60 * USEC_PER_SEC)
#define LIFT_SHORTEST (50 * USEC_PER_MSEC)

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
		events_add(EVENT_STORE, "control: the store is away: %s (%s -> %s)", why,
			   fleet_state_name(from), fleet_state_name(to));
}

usec_t fleet_latency(const struct fleet *f)
{
	return f->latency;
}

const char *fleet_trouble(const struct fleet *f)
{
	return f->trouble;
}

struct redis_servers *fleet_servers(const struct fleet *f)
{
	return f->servers;
}

/* --- the answer --- */

/* One that is as good as over is let go: it may be one that has just ended here. */
static void on_lift(void *ctx, const struct lift *l, usec_t left)
{
	struct fleet *f = ctx;
	struct lift mine = *l;
	usec_t now = f->c->loop.now;
	if (left < LIFT_SHORTEST || fleet_has_lift(f, l->id) || lifts_is_buried(f->c->lifts, l->id, now))
		return;
	mine.until = now + left;
	if (fleet_begin_lift(f, &mine))
		f->again = true; /* whoever waits for us sees it in our heartbeat */
}

static void on_ended(void *ctx, const char *id, usec_t left, bool token)
{
	struct fleet *f = ctx;
	usec_t now = f->c->loop.now;
	struct lift_ended l = {.token = token, .until = now + left};
	bool in_force = fleet_has_lift(f, id);
	if (lifts_is_buried(f->c->lifts, id, now) && !in_force)
		return;
	memcpy(l.id, id, LIFT_ID);
	if (fleet_end_lift(f, &l, false))
		f->again = true; /* whoever waits for us sees it in our heartbeat */
	if (in_force)
		events_add(EVENT_LIFT, "%s was ended by another weir", id);
}

static void on_forgiven(void *ctx, const struct sync_forgiven *forgiven, usec_t left)
{
	struct fleet *f = ctx;
	char client[ADDR_TEXT];
	struct addr a;
	if (fleet_was_seen(f, forgiven->id))
		return;
	fleet_mark_seen(f, forgiven->id, left);
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

/* A control that follows another goes on from what that one knew. */
static void note_live(struct fleet *f, unsigned live)
{
	usec_t now = f->c->loop.now;
	if (!f->most_since)
		f->most = atomic_load(&board()->fleet_most);
	if (!f->most_since || now - f->most_since >= MOST_FOR) {
		f->most_before = f->most;
		f->most = 0;
		f->most_since = now;
	}
	f->most = live > f->most ? live : f->most;
	atomic_store(&board()->fleet, live);
	atomic_store(&board()->fleet_most, f->most > f->most_before ? f->most : f->most_before);
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
	memcpy(f->since, a->head, sizeof(f->since));
	f->tell |= a->lost;
	f->again |= a->lost;
	note_live(f, a->live);
	set_state(f, FLEET_READY, "");
	control_learned(f->c);
}

/* The next question tells all and reads all. */
static void begin_anew(struct fleet *f)
{
	f->tell = true;
	f->since[0] = 0;
}

static void lose(struct fleet *f, const char *why)
{
	begin_anew(f);
	f->outbox_sent = 0;
	f->again = false;
	if (f->state != FLEET_ALONE)
		set_state(f, FLEET_AWAY, why);
	fleet_end_unsent_waits(f);
	fleet_finish_looks(&f->looks_sent);
	fleet_finish_looks(&f->looks);
}

static void on_answer(struct redis_command *command, const struct redis_reply *r)
{
	static const struct sync_reader reader = {NULL, on_lift, on_ended, on_forgiven, on_member};
	struct fleet *f = list_entry(command, struct fleet, command);
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
	fleet_check_waits(f);
	fleet_finish_looks(&f->looks_sent);
	if (f->again)
		fleet_push(f);
}

static void on_answer_late(struct timeout *t)
{
	struct fleet *f = list_entry(t, struct fleet, answer_timeout);
	if (f->command.call.node)
		redis_conn_drop(redis_node_conn(f->command.call.node), REDIS_TIMEOUT,
				"no answer to control within 1 s");
}

/* --- the question --- */

static bool send_question(struct fleet *f)
{
	static struct lift list[LIFTS_MAX];
	static struct lift_ended ended[LIFTS_ENDED_MAX];
	usec_t now = f->c->loop.now;
	fleet_describe_self(f);
	struct sync_question q = {
		.base = {f->base.p, f->base.n},
		.self = f->leaving ? NULL : &f->self,
		.id = f->id,
		.list = f->list,
		.news = str_of(f->news),
		.since = f->since,
		.now = now,
		.lifts = f->tell ? lifts_list(f->c->lifts, now, list) : 0,
		.ended = f->tell ? lifts_buried(f->c->lifts, now, ended) : 0,
		.forgiven = f->outbox_n,
		.lift = list,
		.end = ended,
		.forgive = f->outbox,
	};
	return sync_write(&q, &f->args) && redis_command_send(f->servers, &f->command, f->slot,
							      now + ANSWER_WITHIN, f->args.n, f->args.argv);
}

void fleet_push(struct fleet *f)
{
	struct list *l;
	if (f->state == FLEET_ALONE || !redis_servers_open(f->servers, f->slot))
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
	f->list = f->tell = false;
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

/* Of all that may have changed only the server of our keys matters. */
static void look_at_store(struct fleet *f, const char *why)
{
	if (!f->servers)
		return;
	if (!redis_servers_open(f->servers, f->slot))
		lose(f, why);
	else if (f->state != FLEET_READY)
		fleet_push(f);
}

void fleet_see_trouble(struct fleet *f)
{
	if (!f->servers || redis_servers_open(f->servers, f->slot))
		return;
	enum redis_failure why = redis_servers_trouble(f->servers, f->slot);
	if (why != REDIS_FINE)
		set_state(f, FLEET_AWAY, redis_failure_name(why));
}

static void on_changed(void *owner, enum store_state from, enum store_state to, const char *why)
{
	(void)from, (void)to;
	look_at_store(owner, why);
}

static void on_node_changed(void *owner, const char *place, enum store_state from, enum store_state to,
			    const char *why)
{
	(void)place, (void)from, (void)to;
	look_at_store(owner, why);
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
	fleet_push(owner);
}

void fleet_refresh(struct fleet *f)
{
	begin_anew(f);
	fleet_push(f);
}

void fleet_disconnect(struct fleet *f)
{
	struct redis_servers *servers = f->servers;
	struct redis_conn *sub = f->sub;
	f->state = FLEET_ALONE; /* before what waited is called back */
	f->servers = NULL;
	f->sub = NULL;
	redis_servers_free(servers);
	redis_conn_free(sub);
	f->live = f->members = 0;
	f->latency = 0;
	f->trouble[0] = 0;
	f->most_since = 0;
	atomic_store(&board()->fleet, 0);
	atomic_store(&board()->fleet_most, 0);
}

static void subscribe_at(struct fleet *f, const struct redis_target *target)
{
	const struct redis_conn_setup setup = {
		.loop = &f->c->loop,
		.target = target,
		.owner = f,
		.changed = on_sub_changed,
		.pushed = on_news,
	};
	struct redis_conn *before = f->sub;
	f->sub = redis_conn_new(&setup);
	redis_conn_free(before);
	if (f->sub)
		redis_conn_start(f->sub);
}

/* In a cluster any node tells the news; where the one that did is gone another does. */
void fleet_resubscribe(struct fleet *f)
{
	struct redis_target target;
	if (!f->servers || !redis_servers_is_cluster(f->servers) || (f->sub && redis_conn_ready(f->sub)))
		return;
	if (redis_servers_any(f->servers, &target))
		subscribe_at(f, &target);
}

static bool connect_both(struct fleet *f, const struct conf_redis *r)
{
	struct redis_target target;
	const struct redis_servers_setup setup = {
		.loop = &f->c->loop,
		.target = &target,
		.timeout_us = r->timeout_us,
		.owner = f,
		.changed = on_changed,
		.node_changed = on_node_changed,
	};
	if (!redis_url_target(r, &target))
		return false;
	f->base.n = 0;
	text_add(&f->base, "%.*s{fleet}:", (int)r->prefix.n, r->prefix.p ? r->prefix.p : "");
	f->slot = redis_slot(STR("{fleet}"));
	f->servers = redis_servers_new(&setup);
	if (!f->base.cut && f->servers) {
		f->state = FLEET_CONNECTING;
		f->first = true;
		f->ticks = 0;
		begin_anew(f);
		subscribe_at(f, &target);
	}
	tls_client_drop(target.tls);
	return f->sub != NULL;
}

static uint64_t fingerprint(const struct fleet *f, const struct conf_redis *r)
{
	struct siphash_key key = siphash_key(f->c->info.hash_key);
	const struct str part[] = {r->host, r->username, r->password, r->prefix, r->trust};
	uint64_t number[] = {r->is_unix, r->tls, r->port, r->db, r->cluster, 0, 0, 0, 0, 0};
	for (unsigned i = 0; i < 5; i++)
		number[5 + i] = siphash24(key, part[i].n ? part[i].p : "", part[i].n);
	return siphash24(key, number, sizeof(number));
}

void fleet_configure(struct fleet *f)
{
	const struct conf_rate_limit *l = &control_conf(f->c)->rate_limit;
	uint64_t target = l->redis ? fingerprint(f, &l->server) : 0;
	if (f->servers && l->redis && target == f->target)
		return;
	if (f->servers)
		fleet_disconnect(f);
	f->target = target;
	if (!l->redis) {
		control_learned(f->c);
	} else if (!connect_both(f, &l->server)) {
		log_error("fleet: out of memory for a connection to the store");
		fleet_disconnect(f);
	}
}

void fleet_store_init(struct fleet *f)
{
	f->command.done = on_answer;
	f->subscribe.done = on_subscribed;
	timeout_init(&f->answer_timeout, on_answer_late);
	timeout_class_init(&f->answer_class, &f->c->loop, ANSWER_WITHIN);
}
