/* SPDX-License-Identifier: MIT */
/* limits status | lift | restore */
#include "control/cmd.h"

#include <string.h>

#include "base/events.h"
#include "conf/suggest.h"
#include "control/fleet.h"
#include "control/lift_op.h"
#include "control/lift_words.h"
#include "control/request.h"
#include "control/status.h"
#include "control/units.h"
#include "ratelimit/lift_token.h"

#define RESTORED "ID|TOKEN"
#define CLOCKS_APART (10 * 60 * USEC_PER_SEC) /* of weirs, at most */

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
static bool take_lift(struct lift_op *op)
{
	struct request *r = op->request;
	struct lift *l = &op->lift;
	struct text why = {0};
	const struct lift_args a = {&r->line, request_conf(r), request_conf(r)->rate_limit.max_lift_us,
				    "rate_limit.max_lift", &why};
	usec_t time = 0;
	bool good = lift_args_time(&a, &time) && lift_args_reason(&a, l) &&
		    lift_args_clients(&a, "--client", l) && lift_args_sites(&a, l) && check_scope(&a, l);
	if (good)
		lift_op_fill(op, command_value(&r->line, "--shadow") ? LIFT_SHADOW : LIFT_FULL, time);
	else
		request_refuse(r, "%s", why.n ? why.p : "out of memory");
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
	lift_op_where_json(o, j);
	json_obj_close(j);
	request_ok_json(r);
}

static void on_lifted(struct fleet_wait *w, const struct fleet_outcome *o)
{
	struct lift_op *op = list_entry(w, struct lift_op, wait);
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
			text_add(&r->out, "This weir only: %s.\n", lift_op_alone_because(r->control));
		request_ok(r);
	}
	lift_op_free(op);
}

void cmd_limits_lift(struct request *r)
{
	struct lift_op *op = lift_op_new(r);
	if (!op)
		return;
	if (take_lift(op))
		lift_op_begin(op, on_lifted);
	else
		lift_op_free(op);
}

/* --- restore --- */

static void restored_json(struct request *r, bool revoked, const struct fleet_wait *w,
			  const struct fleet_outcome *o)
{
	struct json *j = request_json();
	json_obj_open(j);
	lift_op_ids_json(w, revoked ? "revoked" : "restored", j);
	lift_op_where_json(o, j);
	json_obj_close(j);
	request_ok_json(r);
}

static void on_restored(struct fleet_wait *w, const struct fleet_outcome *o)
{
	struct lift_op *op = list_entry(w, struct lift_op, wait);
	struct request *r = op->request;
	if (r->line.json) {
		restored_json(r, op->revoked, w, o);
	} else {
		if (op->whole)
			text_add(&r->out, "revoked the token (");
		else if (op->revoked)
			text_add(&r->out, "no lift %s is in force; as a token it is revoked (", w->id[0]);
		else
			text_add(&r->out, "restored %u lift%s (", w->ids, w->ids == 1 ? "" : "s");
		lift_op_ids_text(w, &r->out);
		if (o->shared)
			text_add(&r->out, ") on %u of %u weirs\n", o->done, o->live);
		else
			text_add(&r->out, ") on this weir only: %s\n", lift_op_alone_because(r->control));
		request_ok(r);
	}
	lift_op_free(op);
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

/* What the id is near to, of those in force; n == 0: nothing. */
static struct str nearest(const char *id, const struct lift *list, unsigned n)
{
	struct suggestion near;
	suggest_start(&near, str_of(id));
	for (unsigned i = 0; i < n; i++)
		suggest_word(&near, str_of(list[i].id));
	return near.best;
}

static void refuse_id(struct request *r, const char *id, struct str near)
{
	request_refuse(r, "no lift %s is in force%s%.*s%s", id, near.n ? " (did you mean " : "", (int)near.n,
		       near.n ? near.p : "", near.n ? "?)" : "");
}

static void revoke(struct lift_op *op, const char *id, usec_t until)
{
	struct request *r = op->request;
	if (lifts_full_of_tokens(r->control->lifts, r->control->loop.now) &&
	    !lifts_is_buried(r->control->lifts, id, r->control->loop.now)) {
		request_refuse(r,
			       "%d tokens are revoked, which is the most that can be remembered: change "
			       "rate_limit.lift_key, which ends all tokens",
			       LIFTS_ENDED_MAX);
		lift_op_free(op);
		return;
	}
	memcpy(op->wait.id[op->wait.ids++], id, LIFT_ID);
	op->revoked = true;
	op->lift.until = until;
	op->wait.done = on_restored;
	events_add(EVENT_LIFT, "token %s was revoked by %s (uid %u)", id, r->by, r->uid);
	fleet_revoke(r->control->fleet, until, &op->wait);
}

/*
 * Which tokens there are nobody knows, since each is good by its signature alone: an id that no lift has is
 * taken for a token's, unless it looks like one of theirs that was mistyped. It is remembered for as long as
 * any token may live, under any config: one that is too long for this one is good in its last hours.
 */
static void revoke_id(struct lift_op *op, const char *id)
{
	revoke(op, id, op->request->control->loop.now + LIFT_LONGEST + USEC_PER_SEC);
}

/*
 * The token itself says when it is over, which each weir tells by its own clock. What cannot be read is not
 * repeated: it may be a token all the same, and refusals are logged.
 */
static void revoke_token(struct lift_op *op, const char *text)
{
	static struct lift l;
	struct request *r = op->request;
	const struct conf_rate_limit *c = &request_conf(r)->rate_limit;
	int64_t until_s = 0;
	if (!lift_token_read(str_of(text), c->lift_keys, c->lift_key, &l, &until_s)) {
		request_refuse(r,
			       "that is no token signed with a key of rate_limit.lift_key; one whose key is "
			       "no longer there is good no more");
		lift_op_free(op);
		return;
	}
	usec_t left = until_s * USEC_PER_SEC + CLOCKS_APART - clock_wall();
	if (left <= 0) {
		request_refuse(r, "token %s is over", l.id);
		lift_op_free(op);
		return;
	}
	op->whole = true;
	revoke(op, l.id, r->control->loop.now + left);
}

static void restore(struct lift_op *op)
{
	static struct lift list[LIFTS_MAX];
	struct request *r = op->request;
	const char *id = command_value(&r->line, RESTORED);
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
	struct str near = id ? nearest(id, list, n) : STR_NONE;
	if (id && !block && !near.n && request_conf(r)->rate_limit.lift_keys && lift_id_valid(str_of(id))) {
		revoke_id(op, id);
		return;
	}
	lift_op_free(op);
	if (block)
		request_refuse(r, "%s is a block: end it with `clients unblock %s`", id, id);
	else if (id)
		refuse_id(r, id, near);
	else
		answer_nothing_lifted(r);
}

static void on_looked(struct fleet_look *l)
{
	restore(list_entry(l, struct lift_op, look));
}

void cmd_limits_restore(struct request *r)
{
	const char *what = command_value(&r->line, RESTORED);
	struct lift_op *op = lift_op_new(r);
	if (!op)
		return;
	if (what && strchr(what, '.')) /* which no id has */
		revoke_token(op, what);
	else
		lift_op_look(op, on_looked);
}
