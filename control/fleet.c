/* SPDX-License-Identifier: MIT */
#include "control/fleet_inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/board.h"
#include "base/events.h"
#include "base/siphash.h"
#include "control/lift_args.h"
#include "control/status.h"
#include "control/units.h"

#define POLL_US (50 * USEC_PER_MSEC) /* while somebody waits for other weirs */
#define BUSY_TRIES 100
#define LOOK_TICKS 10	 /* seconds between two looks at what the servers say of themselves */
#define REFRESH_TICKS 30 /* seconds between two questions that tell all and read all */

/* --- what this weir knows --- */

const char *fleet_noun(enum lift_effect e)
{
	return e == LIFT_BLOCK ? "block" : "lift";
}

static void remember_active(struct fleet *f, const struct lift *l)
{
	if (f->actives == LIFTS_MAX)
		return;
	memcpy(f->active[f->actives].id, l->id, LIFT_ID);
	f->active[f->actives].effect = l->effect;
	f->active[f->actives++].until = l->until;
}

bool fleet_has_lift(const struct fleet *f, const char *id)
{
	for (unsigned i = 0; i < f->actives; i++)
		if (memcmp(f->active[i].id, id, LIFT_ID) == 0)
			return true;
	return false;
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

static void tell_lift(const struct lift *l, usec_t now)
{
	struct text scope = {0};
	char time[UNITS_TEXT];
	status_scope(l, &scope);
	events_add(EVENT_LIFT, "%s %s%s for %s of %.150s by %s (uid %u): %s", fleet_noun(l->effect), l->id,
		   l->effect == LIFT_SHADOW ? " in shadow" : "", units_duration(time, l->until - now),
		   scope.n ? scope.p : "", l->by, l->uid, l->reason);
	text_free(&scope);
}

/* Only a full lift makes void what was answered. */
bool fleet_begin_lift(struct fleet *f, const struct lift *l)
{
	if (!lifts_put(f->c->lifts, l))
		return false;
	remember_active(f, l);
	tell_lift(l, f->c->loop.now);
	if (l->effect == LIFT_FULL)
		control_void_answers();
	return true;
}

bool fleet_end_lift(struct fleet *f, const struct lift_ended *l, bool own)
{
	bool news = lifts_bury(f->c->lifts, l, own, f->c->loop.now);
	if (news || own)
		memcpy(f->ended[f->ended_next++ % FLEET_ENDS], l->id, LIFT_ID);
	if (lifts_remove(f->c->lifts, l->id))
		control_void_answers();
	return forget_active(f, l->id) || news;
}

static void end_those_over(struct fleet *f)
{
	for (unsigned i = 0; i < f->actives;) {
		if (f->active[i].until > f->c->loop.now) {
			i++;
			continue;
		}
		events_add(EVENT_LIFT, "%s %s has ended", fleet_noun(f->active[i].effect), f->active[i].id);
		if (f->active[i].effect == LIFT_FULL)
			control_void_answers();
		f->active[i] = f->active[--f->actives];
	}
}

void fleet_describe_self(struct fleet *f)
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
	m->ends = f->ended_next < FLEET_ENDS ? f->ended_next : FLEET_ENDS;
	memcpy(m->end, f->ended, sizeof(m->end));
}

unsigned fleet_members(struct fleet *f, const struct fleet_member **m, unsigned *live)
{
	if (f->state == FLEET_READY && f->members) {
		*m = f->member;
		*live = f->live > f->members ? f->live : f->members;
		return f->members;
	}
	fleet_describe_self(f);
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

bool fleet_was_seen(const struct fleet *f, const char *id)
{
	for (unsigned i = 0; i < FLEET_SEEN; i++)
		if (f->seen[i].until > f->c->loop.now && memcmp(f->seen[i].id, id, FLEET_ID) == 0)
			return true;
	return false;
}

void fleet_mark_seen(struct fleet *f, const char *id, usec_t left)
{
	struct fleet_seen *s = &f->seen[f->seen_next++ % FLEET_SEEN];
	memcpy(s->id, id, sizeof(s->id));
	s->until = f->c->loop.now + left + USEC_PER_SEC;
}

bool fleet_forgiven(struct fleet *f, const struct client_id *client)
{
	if (f->state != FLEET_READY || f->outbox_n == SYNC_FORGIVEN)
		return false;
	struct sync_forgiven *out = &f->outbox[f->outbox_n++];
	lift_args_id(out->id);
	out->client = *client;
	fleet_mark_seen(f, out->id, FLEET_FORGIVEN_MS * USEC_PER_MSEC);
	snprintf(f->news, sizeof(f->news), "forgiven %s", out->id);
	fleet_push(f);
	return true;
}

/* --- waiting for the other weirs --- */

static bool is_among(const char *id, unsigned n, const char list[][LIFT_ID])
{
	for (unsigned i = 0; i < n; i++)
		if (memcmp(list[i], id, LIFT_ID) == 0)
			return true;
	return false;
}

static bool satisfied(const struct fleet_wait *w, const struct fleet_member *m)
{
	for (unsigned i = 0; i < w->ids; i++) {
		bool has = w->goal == FLEET_REVOKED ? is_among(w->id[i], m->ends, m->end)
						    : is_among(w->id[i], m->lifts, m->lift);
		if (has != (w->goal != FLEET_ENDED))
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

void fleet_check_waits(struct fleet *f)
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

void fleet_end_unsent_waits(struct fleet *f)
{
	for (struct list *i = f->waits.next, *next; i != &f->waits; i = next) {
		struct fleet_wait *w = list_entry(i, struct fleet_wait, link);
		next = i->next;
		if (!w->sent)
			finish_wait(f, w);
	}
}

static void on_poll(struct timeout *t)
{
	struct fleet *f = list_entry(t, struct fleet, poll_timeout);
	f->list = true;
	fleet_push(f);
}

/* What has changed here goes out at once, or as soon as the store is back: that question tells all. */
static void begin_wait(struct fleet *f, struct fleet_wait *w, const char *news)
{
	w->fleet = f;
	w->asked = w->sent = false;
	f->tell = true;
	timeout_init(&w->timeout, on_ack_late);
	list_push(&f->waits, &w->link);
	if (f->state != FLEET_READY) {
		finish_wait(f, w);
		return;
	}
	timeout_arm(&f->ack_class, &w->timeout);
	snprintf(f->news, sizeof(f->news), "%s", news);
	f->list = true;
	fleet_push(f);
}

bool fleet_lift(struct fleet *f, const struct lift *l, struct fleet_wait *w)
{
	char news[32];
	if (!fleet_begin_lift(f, l))
		return false;
	w->goal = FLEET_BEGUN;
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
	w->goal = FLEET_ENDED;
	for (unsigned i = 0; i < n; i++) {
		struct lift_ended l = {.until = list[i].until};
		memcpy(l.id, list[i].id, LIFT_ID);
		if (is_among(l.id, w->ids, w->id))
			fleet_end_lift(f, &l, true);
	}
	begin_wait(f, w, "restore");
}

void fleet_revoke(struct fleet *f, usec_t until, struct fleet_wait *w)
{
	struct lift_ended l = {.token = true, .until = until};
	memcpy(l.id, w->id[0], LIFT_ID);
	w->goal = FLEET_REVOKED;
	fleet_end_lift(f, &l, true);
	begin_wait(f, w, "revoke");
}

/* --- looks --- */

void fleet_finish_looks(struct list *looks)
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
		fleet_finish_looks(&f->looks);
		return;
	}
	f->list = true;
	fleet_push(f);
}

void fleet_leave(struct fleet *f, struct fleet_look *k)
{
	f->leaving = true;
	fleet_look(f, k);
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
	list_init(&f->waits);
	list_init(&f->looks);
	list_init(&f->looks_sent);
	timeout_init(&f->poll_timeout, on_poll);
	timeout_class_init(&f->poll_class, &c->loop, POLL_US);
	timeout_class_init(&f->ack_class, &c->loop, FLEET_ACK_US);
	fleet_store_init(f);
	take_over(f);
	return f;
}

void fleet_free(struct fleet *f)
{
	struct list *l;
	while ((l = list_first(&f->waits)))
		finish_wait(f, list_entry(l, struct fleet_wait, link));
	if (f->servers)
		fleet_disconnect(f);
	fleet_finish_looks(&f->looks_sent);
	fleet_finish_looks(&f->looks);
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
	if (++f->ticks % REFRESH_TICKS == 0)
		fleet_refresh(f);
	else
		fleet_push(f);
	fleet_see_trouble(f);
	fleet_resubscribe(f);
	if (f->servers && f->ticks % LOOK_TICKS == 1)
		redis_servers_look(f->servers);
}
