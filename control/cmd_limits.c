/* SPDX-License-Identifier: MIT */
/* limits status | lift | restore */
#include "control/cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/events.h"
#include "conf/suggest.h"
#include "control/fleet.h"
#include "control/lift_args.h"
#include "control/lift_words.h"
#include "control/request.h"
#include "control/status.h"
#include "control/units.h"

void cmd_limits_status(struct request *r)
{
	if (!r->line.json) {
		status_lifts_text(r->control, &r->out);
		request_ok(r);
		return;
	}
	struct json *j = request_json();
	json_obj_open(j);
	json_key(j, "lifts");
	status_lifts_json(r->control, j);
	json_obj_close(j);
	request_ok_json(r);
}

/* A lift or a restore that waits for the other weirs. */
struct limits_op {
	struct fleet_wait wait;
	struct request *request;
	bool revoked; /* a token, until lift.until */
	struct lift lift;
};

/* --- lift: the request's arguments, checked --- */

static bool check_scope(const struct lift_args *a, const struct lift *l)
{
	bool everyone = command_value(a->line, "--everyone");
	if (!everyone && !l->clients && !l->sites)
		text_add(a->why, "a scope is missing: --everyone, or --client CIDR, --site HOST or both");
	else if (everyone && (l->clients || l->sites))
		text_add(a->why, "--everyone cannot stand beside --client or --site");
	else
		return true;
	return false;
}

/* False: the request was answered. */
static bool take_lift(struct request *r, struct lift *l)
{
	struct text why = {0};
	const struct lift_args a = {&r->line, request_conf(r), request_conf(r)->rate_limit.max_lift_us,
				    "rate_limit.max_lift", &why};
	usec_t time = 0;
	bool good = lift_args_time(&a, &time) && lift_args_reason(&a, l) &&
		    lift_args_clients(&a, "--client", l) && lift_args_sites(&a, l) && check_scope(&a, l);
	if (good) {
		l->until = r->control->loop.now + time;
		l->effect = command_value(&r->line, "--shadow") ? LIFT_SHADOW : LIFT_FULL;
		l->uid = r->uid;
		snprintf(l->by, sizeof(l->by), "%s", r->by);
	} else {
		request_refuse(r, "%s", why.n ? why.p : "out of memory");
	}
	text_free(&why);
	return good;
}

/* --- lift: begin and answer --- */

static void lift_json(struct request *r, const struct lift *l, const struct fleet_outcome *o)
{
	struct json *j = request_json();
	json_obj_open(j);
	json_key(j, "lift");
	status_lift_json(l, r->control->loop.now, j);
	json_key(j, "id");
	json_str(j, str_of(l->id));
	json_key(j, "shared");
	json_bool(j, o->shared);
	json_key(j, "weirs");
	json_u64(j, o->done);
	json_key(j, "live");
	json_u64(j, o->live);
	json_obj_close(j);
	request_ok_json(r);
}

/* Why the other weirs, if there are any, do not hear of it now. */
static const char *alone_because(const struct control *c)
{
	return fleet_state(c->fleet) == FLEET_ALONE ? "the store is memory"
						    : "the store is away; it spreads when it is back";
}

static void on_lifted(struct fleet_wait *w, const struct fleet_outcome *o)
{
	struct limits_op *op = list_entry(w, struct limits_op, wait);
	struct request *r = op->request;
	const struct lift *l = &op->lift;
	char until[UNITS_TEXT];
	units_time(until, units_wall_at(l->until, r->control->loop.now));
	if (r->line.json) {
		lift_json(r, l, o);
	} else {
		const char *what = l->effect == LIFT_SHADOW ? "lifted in shadow" : "lifted";
		if (fleet_state(r->control->fleet) == FLEET_ALONE || o->shared)
			text_add(&r->out, "%s on %u of %u weirs until %s (id %s)\n", what, o->done, o->live,
				 until, l->id);
		else
			text_add(&r->out, "%s on this weir only until %s (id %s)\n", what, until, l->id);
		if (!o->shared)
			text_add(&r->out, "This weir only: %s.\n", alone_because(r->control));
		request_ok(r);
	}
	free(op);
}

void cmd_limits_lift(struct request *r)
{
	struct limits_op *op = calloc(1, sizeof(*op));
	if (!op) {
		request_refuse(r, "out of memory");
		return;
	}
	if (!take_lift(r, &op->lift)) {
		free(op);
		return;
	}
	lift_args_id(op->lift.id);
	op->request = r;
	op->wait.done = on_lifted;
	if (!fleet_lift(r->control->fleet, &op->lift, &op->wait)) {
		request_refuse(r,
			       "%d lifts are in force, which is the most; end one with `limits restore ID`",
			       LIFTS_FREEING);
		free(op);
	}
}

/* --- restore --- */

struct restore_look {
	struct fleet_look look;
	struct limits_op *op;
};

static void restored_json(struct request *r, bool revoked, const struct fleet_wait *w,
			  const struct fleet_outcome *o)
{
	struct json *j = request_json();
	json_obj_open(j);
	json_key(j, revoked ? "revoked" : "restored");
	json_arr_open(j);
	for (unsigned i = 0; i < w->ids; i++)
		json_str(j, str_of(w->id[i]));
	json_arr_close(j);
	json_key(j, "shared");
	json_bool(j, o->shared);
	json_key(j, "weirs");
	json_u64(j, o->done);
	json_key(j, "live");
	json_u64(j, o->live);
	json_obj_close(j);
	request_ok_json(r);
}

static void on_restored(struct fleet_wait *w, const struct fleet_outcome *o)
{
	struct limits_op *op = list_entry(w, struct limits_op, wait);
	struct request *r = op->request;
	if (r->line.json) {
		restored_json(r, op->revoked, w, o);
	} else {
		if (op->revoked)
			text_add(&r->out, "no lift %s is in force; as a token it is revoked (", w->id[0]);
		else
			text_add(&r->out, "restored %u lift%s (", w->ids, w->ids == 1 ? "" : "s");
		for (unsigned i = 0; i < w->ids; i++)
			text_add(&r->out, "%s%s", i ? " " : "", w->id[i]);
		if (o->shared)
			text_add(&r->out, ") on %u of %u weirs\n", o->done, o->live);
		else
			text_add(&r->out, ") on this weir only: %s\n", alone_because(r->control));
		request_ok(r);
	}
	free(op);
}

static void answer_nothing_lifted(struct request *r)
{
	if (r->line.json) {
		struct fleet_wait none = {.ids = 0};
		restored_json(r, false, &none, &(struct fleet_outcome){.shared = false});
		return;
	}
	text_add(&r->out, "No lift is in force: the limits are on.\n");
	request_ok(r);
}

static void refuse_id(struct request *r, const char *id, const struct lift *list, unsigned n)
{
	struct suggestion near;
	suggest_start(&near, str_of(id));
	for (unsigned i = 0; i < n; i++)
		suggest_word(&near, str_of(list[i].id));
	request_refuse(r, "no lift %s is in force%s%.*s%s", id, near.best.n ? " (did you mean " : "",
		       (int)near.best.n, near.best.n ? near.best.p : "", near.best.n ? "?)" : "");
}

/*
 * Which tokens there are nobody knows, since each is good by its signature alone: an id that no lift has is
 * taken for a token's. It is remembered for as long as any token may live, under any config: one that is too
 * long for this one is good in its last hours.
 */
static void revoke(struct limits_op *op, const char *id)
{
	struct request *r = op->request;
	usec_t until = r->control->loop.now + LIFT_LONGEST + USEC_PER_SEC;
	memcpy(op->wait.id[op->wait.ids++], id, LIFT_ID);
	op->revoked = true;
	op->lift.until = until;
	op->wait.done = on_restored;
	events_add(EVENT_LIFT, "token %s was revoked by %s (uid %u)", id, r->by, r->uid);
	fleet_revoke(r->control->fleet, until, &op->wait);
}

static void restore(struct limits_op *op)
{
	static struct lift list[LIFTS_MAX];
	struct request *r = op->request;
	const char *id = command_value(&r->line, "ID");
	bool block = false;
	unsigned n = lifts_list(r->control->lifts, r->control->loop.now, list);
	for (unsigned i = 0; i < n; i++) {
		bool named = id && strcmp(id, list[i].id) == 0;
		block = block || (named && list[i].effect == LIFT_BLOCK);
		if ((named || !id) && list[i].effect != LIFT_BLOCK)
			memcpy(op->wait.id[op->wait.ids++], list[i].id, LIFT_ID);
	}
	for (unsigned i = 0; i < op->wait.ids; i++)
		events_add(EVENT_LIFT, "lift %s was restored by %s (uid %u)", op->wait.id[i], r->by, r->uid);
	if (op->wait.ids) {
		op->wait.done = on_restored;
		fleet_restore(r->control->fleet, &op->wait);
		return;
	}
	if (id && !block && request_conf(r)->rate_limit.lift_keys && lift_id_valid(str_of(id))) {
		revoke(op, id);
		return;
	}
	free(op);
	if (block)
		request_refuse(r, "%s is a block: end it with `clients unblock %s`", id, id);
	else if (id)
		refuse_id(r, id, list, n);
	else
		answer_nothing_lifted(r);
}

static void on_looked(struct fleet_look *l)
{
	struct restore_look *q = list_entry(l, struct restore_look, look);
	struct limits_op *op = q->op;
	free(q);
	restore(op);
}

/* A lift begun elsewhere a moment ago is to be ended too, so the store is asked first. */
void cmd_limits_restore(struct request *r)
{
	struct restore_look *q = calloc(1, sizeof(*q));
	struct limits_op *op = calloc(1, sizeof(*op));
	if (!q || !op) {
		free(q);
		free(op);
		request_refuse(r, "out of memory");
		return;
	}
	op->request = r;
	q->op = op;
	q->look.done = on_looked;
	fleet_look(r->control->fleet, &q->look);
}
