/* SPDX-License-Identifier: MIT */
#include "ratelimit/redis_servers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/dice.h"
#include "base/log.h"
#include "base/metric.h"
#include "ratelimit/redis_map.h"
#include "ratelimit/redis_parked.h"

#define MEMBERS_MAX 1024
#define HOST_MAX 256
#define MOVES_MAX 4 /* of one call: MOVED, then ASK, and once more while a slot is on its way */
#define MAP_WITHIN USEC_PER_SEC
#define MAP_SOON (100 * USEC_PER_MSEC)	/* to the next look at the map; doubled while there is trouble */
#define MAP_LATER (500 * USEC_PER_MSEC) /* a slot that is served again is so for us within a second */
#define MAP_CALM (30 * USEC_PER_SEC)
#define LOG_EVERY (10 * USEC_PER_SEC)

/* A server that is known: by the url, as a node of the cluster, or as a replica that might become one. */
struct member {
	struct redis_servers *servers;
	struct redis_node *node; /* NULL: it is only known */
	char host[HOST_MAX];
	char place[HOST_MAX + 8];
	uint16_t port;
	uint16_t at;	/* its place in the list */
	bool owns;	/* slots */
	bool listed;	/* in the map that is being read */
	usec_t awaited; /* until when calls wait for its first connection */
	uint64_t slots[REDIS_SLOTS / 64];
};

struct redis_servers {
	struct loop *loop;
	struct redis_target target;
	struct redis_servers_setup setup;
	enum store_state state;
	bool freed;

	struct member *member[MEMBERS_MAX]; /* with gaps; the first is the url's */
	unsigned members;		    /* up to here */
	struct redis_map *map;		    /* by places in that list; NULL: SINGLE */
	bool mapped;

	struct redis_call map_call;
	struct member *asked; /* whom for the map; NULL: nobody */
	bool map_out, hurry;
	usec_t pause;
	struct dice dice;
	struct timeout_class map_class, late_class;
	struct timeout map_timer, late_timer;

	struct redis_parked parked; /* calls that wait for a node */
	series_t failed_timeout, failed_garbage;
	struct log_limit map_log;
	struct grave grave;
};

static void want_map(struct redis_servers *s);

/* --- members --- */

static void on_node_changed(struct redis_node *, void *owner, enum store_state from, const char *why);
static bool on_redirected(struct redis_node *, void *owner, struct node_call *, const struct redis_reply *);

static struct member *member_add(struct redis_servers *s, struct str host, uint16_t port)
{
	unsigned at = 0;
	while (at < s->members && s->member[at])
		at++;
	struct member *m = at < MEMBERS_MAX && host.n < HOST_MAX ? calloc(1, sizeof(*m)) : NULL;
	if (!m)
		return NULL;
	m->servers = s;
	m->at = (uint16_t)at;
	memcpy(m->host, host.p, host.n);
	m->port = port;
	snprintf(m->place, sizeof(m->place), "%s:%u", m->host, port);
	s->member[at] = m;
	if (at == s->members)
		s->members++;
	return m;
}

/* `from` is who told of it: it is on his host when none is named. */
static struct member *member_at(struct redis_servers *s, const struct member *from,
				const struct redis_place *p)
{
	struct str host = p->host.n ? p->host : str_of(from->host);
	if (!p->host.n && from->at == 0 && s->target.is_unix)
		host = STR("127.0.0.1");
	for (unsigned i = 0; i < s->members; i++) {
		struct member *m = s->member[i];
		bool by_path = i == 0 && s->target.is_unix;
		if (m && !by_path && m->port == p->port && str_eq(str_of(m->host), host))
			return m;
	}
	return member_add(s, host, p->port);
}

/* The node of a cluster knows one database; the url's own says so where another is named. */
static struct redis_target target_of(const struct member *m)
{
	struct redis_target target = m->servers->target;
	if (m->at) {
		target.host = str_of(m->host);
		target.port = m->port;
		target.is_unix = false;
	}
	return target;
}

static bool member_connect(struct member *m)
{
	struct redis_servers *s = m->servers;
	if (m->node)
		return true;
	const struct redis_target target = target_of(m);
	const struct redis_node_setup setup = {
		.loop = s->loop,
		.target = &target,
		.timeout_us = s->setup.timeout_us,
		.table = s->setup.table,
		.store = &s->target,
		.owner = m,
		.changed = on_node_changed,
		.redirected = on_redirected,
	};
	m->node = redis_node_new(&setup);
	if (m->node && s->map) {
		redis_node_place(m->node, NULL, "");
		m->awaited = s->loop->now + s->setup.timeout_us;
	}
	return m->node != NULL;
}

static void member_disconnect(struct member *m)
{
	struct redis_node *n = m->node;
	m->node = NULL;
	redis_node_free(n);
}

static bool member_open(const struct member *m)
{
	return m && m->node && redis_node_open(m->node);
}

/* It has just been given slots, and is being connected: that is no outage. */
static bool member_awaited(const struct member *m)
{
	return m && m->node && m->awaited > m->servers->loop->now;
}

static bool can_be_asked(const struct member *m)
{
	return m && m->node && redis_conn_ready(redis_node_conn(m->node));
}

static struct member *member_of(const struct redis_servers *s, unsigned slot)
{
	if (!s->map)
		return s->member[0];
	return s->map->owner[slot] == REDIS_NOBODY ? NULL : s->member[s->map->owner[slot]];
}

/* --- the state of all --- */

static void set_state(struct redis_servers *s, enum store_state to, const char *why)
{
	enum store_state from = s->state;
	s->state = to;
	if (from != to)
		s->setup.changed(s->setup.owner, from, to, why);
}

static void sum_up(struct redis_servers *s)
{
	unsigned nodes = 0, ready = 0, taking = 0, connected = 0;
	char why[64];
	for (unsigned i = 0; i < s->members; i++) {
		if (!s->member[i] || !s->member[i]->owns || !s->member[i]->node)
			continue;
		enum store_state state = redis_node_state(s->member[i]->node);
		nodes++;
		ready += state == STORE_READY;
		taking += store_takes_calls(state);
		connected += state != STORE_CONNECTING;
	}
	snprintf(why, sizeof(why), "%u of %u nodes answer", taking, nodes);
	if (s->mapped && ready == nodes && !redis_map_has_gaps(s->map))
		set_state(s, STORE_READY, why);
	else if (s->mapped && taking)
		set_state(s, STORE_DEGRADED,
			  taking == nodes ? "not every slot has a node in good health" : why);
	else
		set_state(s, s->mapped && connected ? STORE_OPEN : STORE_CONNECTING, why);
}

/* --- the map --- */

static void look_after(struct redis_servers *s, usec_t length)
{
	timeout_disarm(&s->map_timer);
	timeout_class_init(&s->map_class, s->loop, dice_jitter(&s->dice, length));
	timeout_arm(&s->map_class, &s->map_timer);
}

static void want_map(struct redis_servers *s)
{
	if (s->hurry || s->map_out)
		return;
	s->hurry = true;
	s->pause = MAP_SOON;
	look_after(s, s->pause);
}

static bool in_trouble(const struct redis_servers *s)
{
	for (unsigned i = 0; i < s->members; i++)
		if (s->member[i] && s->member[i]->owns && !member_open(s->member[i]))
			return true;
	return !s->mapped || redis_map_has_gaps(s->map);
}

static void look_again(struct redis_servers *s)
{
	s->hurry = in_trouble(s);
	if (s->hurry)
		s->pause = s->pause * 2 < MAP_LATER ? s->pause * 2 : MAP_LATER;
	else
		s->pause = MAP_SOON / 2;
	look_after(s, s->hurry ? s->pause : MAP_CALM);
}

/* Anyone that answers, the first after a random place. */
static struct member *somebody(struct redis_servers *s, bool (*fits)(const struct member *))
{
	unsigned from = (unsigned)(dice_roll(&s->dice) % s->members);
	for (unsigned i = 0; i < s->members; i++) {
		struct member *m = s->member[(from + i) % s->members];
		if (m && fits(m))
			return m;
	}
	return NULL;
}

static bool is_unconnected(const struct member *m)
{
	return !m->node;
}

static void ask_map(struct redis_servers *s, struct member *m)
{
	static const struct str argv[] = {STR("CLUSTER"), STR("SLOTS")};
	if (s->map_out || !redis_conn_send(redis_node_conn(m->node), &s->map_call, 2, argv))
		return;
	s->map_out = true;
	s->asked = m;
	timeout_disarm(&s->map_timer);
	timeout_arm(&s->late_class, &s->late_timer);
}

static void on_map_timer(struct timeout *t)
{
	struct redis_servers *s = list_entry(t, struct redis_servers, map_timer);
	struct member *m = somebody(s, member_open);
	sum_up(s); /* a node that a MOVED named may not have come */
	if (!m)
		m = somebody(s, can_be_asked);
	if (m)
		ask_map(s, m);
	if (s->map_out)
		return;
	/* Nobody answers: whoever else is known may. */
	member_connect(s->member[0]);
	m = somebody(s, is_unconnected);
	if (m)
		member_connect(m);
	look_again(s);
}

static void on_map_late(struct timeout *t)
{
	struct redis_servers *s = list_entry(t, struct redis_servers, late_timer);
	if (s->map_out)
		redis_conn_drop(redis_node_conn(s->asked->node), REDIS_TIMEOUT, "no answer to CLUSTER SLOTS");
}

static void use_place(struct redis_servers *s, const struct member *from, const struct redis_range *range,
		      unsigned k)
{
	struct member *m = member_at(s, from, &range->place[k]);
	if (!m)
		return;
	m->listed = true;
	if (k || !member_connect(m))
		return;
	m->owns = true;
	redis_map_give(s->map, range, m->at);
}

/* Masters first: where there is no room for all, replicas are not known. */
static void read_map(struct redis_servers *s, const struct member *from, const struct redis_reply *r)
{
	struct redis_range range;
	redis_map_clear(s->map);
	for (unsigned i = 0; i < s->members; i++)
		if (s->member[i])
			s->member[i]->listed = s->member[i]->owns = false;
	for (unsigned i = 0; i < r->count; i++)
		if (redis_range_read(&r->element[i], &range))
			use_place(s, from, &range, 0);
	for (unsigned i = 0; i < r->count; i++)
		for (unsigned k = 1; redis_range_read(&r->element[i], &range) && k < range.places; k++)
			use_place(s, from, &range, k);
}

static void tell_place(struct member *m)
{
	char tag[REDIS_TAG];
	redis_map_tag(m->slots, tag, sizeof(tag));
	redis_node_place(m->node, m->slots, tag);
}

static void tell_places(struct redis_servers *s)
{
	for (unsigned i = 0; i < s->members; i++)
		if (s->member[i])
			memset(s->member[i]->slots, 0, sizeof(s->member[i]->slots));
	for (unsigned slot = 0; slot < REDIS_SLOTS; slot++)
		if (s->map->owner[slot] != REDIS_NOBODY)
			s->member[s->map->owner[slot]]->slots[slot / 64] |= (uint64_t)1 << slot % 64;
	for (unsigned i = 0; i < s->members; i++)
		if (s->member[i] && s->member[i]->owns)
			tell_place(s->member[i]);
}

/* Those without slots go, when nothing waits for them; the url's stays known. */
static void let_go(struct redis_servers *s)
{
	for (unsigned i = 0; i < s->members; i++) {
		struct member *m = s->member[i];
		if (!m || m->owns || (m->node && redis_conn_waiting(redis_node_conn(m->node))))
			continue;
		member_disconnect(m);
		if (m->listed || !i)
			continue;
		s->member[i] = NULL;
		free(m);
	}
}

static void use_map(struct redis_servers *s, const struct redis_reply *r)
{
	struct member *from = s->asked;
	s->asked = NULL;
	read_map(s, from, r);
	tell_places(s);
	s->mapped = true;
	let_go(s);
	sum_up(s);
	redis_parked_soon(&s->parked);
}

static void refuse_map(struct redis_servers *s, const char *fault)
{
	unsigned missed;
	metric_add(s->failed_garbage, 1);
	if (log_limit_pass(&s->map_log, s->loop->now, LOG_EVERY, &missed))
		log_warn("redis %s: its map of the cluster is not used: %s", s->asked->place, fault);
}

static void on_map(struct redis_call *call, const struct redis_reply *r)
{
	struct redis_servers *s = list_entry(call, struct redis_servers, map_call);
	s->map_out = false;
	timeout_disarm(&s->late_timer);
	if (s->freed)
		return;
	const char *fault = redis_map_fault(r);
	if (!fault)
		use_map(s, r);
	else if (r->kind != REDIS_ERROR)
		refuse_map(s, fault);
	else if (r->failure == REDIS_OTHER && !s->mapped)
		log_error("rate limit store: the server is no node of a Redis Cluster, and "
			  "rate_limit.redis.cluster is on");
	s->asked = NULL;
	look_again(s);
}

/* From one server to a cluster; there is no way back. */
static bool learn(struct redis_servers *s)
{
	s->map = redis_map_new();
	if (!s->map)
		return false;
	if (s->member[0]->node)
		redis_node_place(s->member[0]->node, NULL, "");
	set_state(s, STORE_CONNECTING, "it is a Redis Cluster");
	s->pause = MAP_SOON;
	look_again(s);
	return true;
}

static bool is_cluster(const struct redis_servers *s, const struct member *m)
{
	return s->target.cluster == REDIS_CLUSTER_AUTO && redis_node_server(m->node)->info.cluster;
}

static void on_node_changed(struct redis_node *n, void *owner, enum store_state from, const char *why)
{
	struct member *m = owner;
	struct redis_servers *s = m->servers;
	enum store_state to = redis_node_state(n);
	bool connected = from == STORE_CONNECTING;
	m->awaited = 0;
	if (s->freed) /* the nodes go one after the other, and those that are gone have no state */
		return;
	if (!s->map && !(connected && is_cluster(s, m) && learn(s))) {
		set_state(s, to, why);
		return;
	}
	if (m->owns && s->setup.node_changed)
		s->setup.node_changed(s->setup.owner, m->place, from, to, why);
	if (connected && !s->mapped)
		ask_map(s, m);
	else if (!store_takes_calls(to))
		want_map(s);
	sum_up(s);
	if (to == STORE_READY)
		redis_parked_soon(&s->parked);
}

/* --- calls --- */

bool redis_servers_open(const struct redis_servers *s, unsigned slot)
{
	const struct member *m = member_of(s, slot);
	return member_open(m) || (member_awaited(m) && !redis_parked_full(&s->parked));
}

void redis_servers_late(struct redis_servers *s, struct node_call *c)
{
	if (c->node) {
		redis_node_late(c->node, c);
		return;
	}
	c->late = true; /* it waits for a node, and is ended soon */
	metric_add(s->failed_timeout, 1);
}

bool redis_servers_send(struct redis_servers *s, struct node_call *c)
{
	const struct member *m = member_of(s, c->slot);
	c->node = NULL;
	c->moves = 0;
	c->again = c->late = c->ask_there = false;
	if (member_awaited(m))
		return redis_parked_add(&s->parked, c);
	return m && m->node && redis_node_send(m->node, c, false);
}

/* It waited, and may go now. */
static bool take_parked(void *owner, struct node_call *c)
{
	const struct redis_servers *s = owner;
	const struct member *m = c->ask_there ? s->member[c->there] : member_of(s, c->slot);
	return member_open(m) && redis_node_send(m->node, c, c->ask_there);
}

static bool go_there(struct redis_servers *s, struct node_call *c, struct member *m, bool asking)
{
	c->there = m->at;
	c->ask_there = asking;
	return (member_open(m) && redis_node_send(m->node, c, asking)) || redis_parked_add(&s->parked, c);
}

static bool on_redirected(struct redis_node *n, void *owner, struct node_call *c, const struct redis_reply *r)
{
	struct member *from = owner;
	struct redis_servers *s = from->servers;
	struct redis_redirect to = redis_redirect_read(r->text);
	(void)n;
	if (s->target.cluster == REDIS_CLUSTER_OFF || to.kind == REDIS_STAY || s->freed)
		return false;
	if (!s->map) {
		if (!learn(s))
			return false;
		ask_map(s, from);
	}
	struct member *m = to.kind == REDIS_TRY_AGAIN ? NULL : member_at(s, from, &to.place);
	if (m && !member_connect(m))
		return false;
	if (m && to.kind == REDIS_MOVE) {
		s->map->owner[to.slot] = m->at;
		m->owns = true;
		want_map(s);
	}
	if (c->late || c->until <= s->loop->now || c->moves == MOVES_MAX)
		return false;
	c->moves++;
	if (to.kind == REDIS_TRY_AGAIN) {
		c->ask_there = false;
		return redis_parked_add(&s->parked, c);
	}
	if (!m)
		return false;
	c->slot = (uint16_t)to.slot;
	return go_there(s, c, m, to.kind == REDIS_ASK_THERE);
}

void redis_servers_flush(struct redis_servers *s)
{
	for (unsigned i = 0; i < s->members; i++)
		if (s->member[i] && s->member[i]->node)
			redis_node_flush(s->member[i]->node);
}

/* --- looking at them --- */

enum store_state redis_servers_state(const struct redis_servers *s)
{
	return s->state;
}

bool redis_servers_is_cluster(const struct redis_servers *s)
{
	return s->map != NULL;
}

const struct redis_server *redis_servers_of(const struct redis_servers *s, unsigned slot)
{
	const struct member *m = member_of(s, slot);
	return m && m->node ? redis_node_server(m->node) : NULL;
}

enum redis_failure redis_servers_trouble(const struct redis_servers *s, unsigned slot)
{
	const struct member *m = member_of(s, slot);
	if (!m || !m->node)
		m = s->member[0];
	return m && m->node ? redis_conn_last_failure(redis_node_conn(m->node)) : REDIS_CLUSTER;
}

const struct redis_server *redis_servers_each(const struct redis_servers *s, unsigned i,
					      enum store_state *state, const char **place)
{
	for (unsigned k = 0; k < s->members; k++) {
		const struct member *m = s->member[k];
		if (!m || !m->node || (s->map && !m->owns) || i--)
			continue;
		*state = redis_node_state(m->node);
		*place = m->place;
		return redis_node_server(m->node);
	}
	return NULL;
}

bool redis_servers_any(struct redis_servers *s, struct redis_target *target)
{
	const struct member *m = somebody(s, member_open);
	if (m)
		*target = target_of(m);
	return m != NULL;
}

void redis_servers_look(struct redis_servers *s)
{
	for (unsigned i = 0; i < s->members; i++)
		if (can_be_asked(s->member[i]))
			redis_node_look(s->member[i]->node);
}

/* --- life --- */

static void destroy(struct redis_servers *s)
{
	timeout_class_drop(&s->map_class);
	timeout_class_drop(&s->late_class);
	redis_parked_drop(&s->parked);
	for (unsigned i = 0; i < s->members; i++)
		free(s->member[i]);
	redis_target_free(&s->target);
	free(s->map);
	free(s);
}

static void on_buried(struct grave *g)
{
	destroy(list_entry(g, struct redis_servers, grave));
}

static void init(struct redis_servers *s, const struct redis_servers_setup *setup)
{
	char labels[METRIC_LABELS];
	s->loop = setup->loop;
	s->setup = *setup;
	s->setup.target = NULL;
	dice_init(&s->dice);
	s->map_call.done = on_map;
	redis_parked_init(&s->parked, s->loop, s, take_parked);
	timeout_init(&s->map_timer, on_map_timer);
	timeout_init(&s->late_timer, on_map_late);
	timeout_class_init(&s->late_class, s->loop, MAP_WITHIN);
	metric_label(labels, sizeof(labels), "kind", redis_failure_name(REDIS_TIMEOUT));
	s->failed_timeout = metric_series(METRIC_STORE_FAILURES, labels);
	metric_label(labels, sizeof(labels), "kind", redis_failure_name(REDIS_GARBAGE));
	s->failed_garbage = metric_series(METRIC_STORE_FAILURES, labels);
}

struct redis_servers *redis_servers_new(const struct redis_servers_setup *setup)
{
	struct redis_servers *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	if (!redis_target_copy(&s->target, setup->target)) {
		free(s);
		return NULL;
	}
	init(s, setup);
	struct str host = s->target.host.n < HOST_MAX ? s->target.host : STR("the url's");
	struct member *m = member_add(s, host, s->target.port);
	if (!m || (s->target.cluster == REDIS_CLUSTER_ON && !learn(s)) || !member_connect(m)) {
		destroy(s);
		return NULL;
	}
	return s;
}

void redis_servers_free(struct redis_servers *s)
{
	if (!s || s->freed)
		return;
	s->freed = true;
	for (unsigned i = 0; i < s->members; i++)
		if (s->member[i])
			member_disconnect(s->member[i]);
	redis_parked_end(&s->parked);
	timeout_disarm(&s->map_timer);
	timeout_disarm(&s->late_timer);
	loop_bury(s->loop, &s->grave, on_buried);
}
