/* SPDX-License-Identifier: MIT */
/* clients block | unblock | blocked */
#include "control/cmd.h"

#include <string.h>

#include "base/events.h"
#include "control/fleet.h"
#include "control/lift_op.h"
#include "control/status.h"
#include "control/units.h"

#define WIDEST_V4 8 /* bits; who blocks more than that has mistyped */
#define WIDEST_V6 19

void cmd_clients_blocked(struct request *r)
{
	if (!r->line.json) {
		status_blocks_text(r->control, &r->out);
		request_ok(r);
		return;
	}
	struct json *j = request_json();
	json_obj_open(j);
	json_key(j, "blocks");
	status_blocks_json(r->control, j);
	json_obj_close(j);
	request_ok_json(r);
}

/* " on 4 of 4 weirs"; what follows may say why on no more: say_why. */
static void say_where(struct request *r, const struct fleet_outcome *o)
{
	if (o->shared || fleet_state(r->control->fleet) == FLEET_ALONE)
		text_add(&r->out, " on %u of %u weirs", o->done, o->live);
	else
		text_add(&r->out, " on this weir only");
}

static void say_why(struct request *r, const struct fleet_outcome *o)
{
	if (!o->shared && fleet_state(r->control->fleet) != FLEET_ALONE)
		text_add(&r->out, "This weir only: %s.\n", lift_op_alone_because(r->control));
}

/* --- block --- */

static bool is_too_wide(const struct lift *l)
{
	struct cidr c = {.bits = l->client[0].bits};
	memcpy(c.addr.b, l->client[0].addr, sizeof(c.addr.b));
	return cidr_is_v4(&c) ? c.bits < 96 + WIDEST_V4 : c.bits < WIDEST_V6;
}

/* False: the request was answered. */
static bool take_block(struct lift_op *op)
{
	struct request *r = op->request;
	struct text why = {0};
	const struct lift_args a = {&r->line, request_conf(r), request_conf(r)->rate_limit.max_block_us,
				    "rate_limit.max_block", &why};
	usec_t time = 0;
	bool good = lift_args_time(&a, &time) && lift_args_reason(&a, &op->lift) &&
		    lift_args_clients(&a, "CIDR", &op->lift);
	if (good && is_too_wide(&op->lift)) {
		text_add(&why, "%s: wider than /%d (IPv4) or /%d (IPv6); use `deny` in the config for that",
			 command_value(&r->line, "CIDR"), WIDEST_V4, WIDEST_V6);
		good = false;
	}
	if (good)
		lift_op_fill(op, LIFT_BLOCK, time);
	else
		request_refuse(r, "%s", why.n ? why.p : "out of memory");
	text_free(&why);
	return good;
}

static void on_blocked(struct fleet_wait *w, const struct fleet_outcome *o)
{
	struct lift_op *op = list_entry(w, struct lift_op, wait);
	struct request *r = op->request;
	const struct lift *l = &op->lift;
	usec_t now = r->control->loop.now;
	char until[UNITS_TEXT];
	if (r->line.json) {
		struct json *j = request_json();
		json_obj_open(j);
		json_key(j, "block");
		status_lift_json(l, now, j);
		json_key(j, "id");
		json_str(j, str_of(l->id));
		lift_op_where_json(o, j);
		json_obj_close(j);
		request_ok_json(r);
	} else {
		text_add(&r->out, "blocked ");
		status_scope(l, &r->out);
		say_where(r, o);
		text_add(&r->out, " until %s (id %s)\n", units_time(until, units_wall_at(l->until, now)),
			 l->id);
		say_why(r, o);
		request_ok(r);
	}
	lift_op_free(op);
}

void cmd_clients_block(struct request *r)
{
	struct lift_op *op = lift_op_new(r);
	if (!op)
		return;
	if (take_block(op))
		lift_op_begin(op, on_blocked);
	else
		lift_op_free(op);
}

/* --- unblock --- */

static void unblocked_json(struct request *r, const struct fleet_wait *w, const struct fleet_outcome *o)
{
	struct json *j = request_json();
	json_obj_open(j);
	lift_op_ids_json(w, "unblocked", j);
	lift_op_where_json(o, j);
	json_obj_close(j);
	request_ok_json(r);
}

static void on_unblocked(struct fleet_wait *w, const struct fleet_outcome *o)
{
	struct lift_op *op = list_entry(w, struct lift_op, wait);
	struct request *r = op->request;
	if (r->line.json) {
		unblocked_json(r, w, o);
	} else {
		text_add(&r->out, "ended %u block%s (", w->ids, w->ids == 1 ? "" : "s");
		lift_op_ids_text(w, &r->out);
		text_add(&r->out, ")");
		say_where(r, o);
		text_add(&r->out, "\n");
		say_why(r, o);
		request_ok(r);
	}
	lift_op_free(op);
}

static bool is_of(const struct lift *l, const char *given, const struct cidr *c)
{
	if (strcmp(given, l->id) == 0)
		return true;
	return c && l->client[0].bits == c->bits && memcmp(l->client[0].addr, c->addr.b, 16) == 0;
}

/* An address inside a wider block is not let out alone: the one who asks is told of the block. */
static void refuse_unblock(struct request *r, const char *given, const struct cidr *c,
			   const struct lift *list, unsigned n)
{
	for (unsigned i = 0; c && i < n; i++) {
		if (list[i].effect != LIFT_BLOCK || !lift_covers(&list[i], c->addr.b, STR_NONE))
			continue;
		struct text scope = {0};
		status_scope(&list[i], &scope);
		request_refuse(r, "%s is no block of its own: it lies in that of %s (id %s)", given,
			       scope.n ? scope.p : "", list[i].id);
		text_free(&scope);
		return;
	}
	request_refuse(r, "%s: no such block is in force (`clients blocked` lists them)", given);
}

static void unblock(struct lift_op *op)
{
	static struct lift list[LIFTS_MAX];
	struct request *r = op->request;
	const char *given = command_value(&r->line, "CIDR|ID"), *why;
	unsigned n = lifts_list(r->control->lifts, r->control->loop.now, list);
	struct cidr c;
	bool is_cidr = given && cidr_parse(str_of(given), &c, &why);
	for (unsigned i = 0; i < n; i++)
		if (list[i].effect == LIFT_BLOCK && (!given || is_of(&list[i], given, is_cidr ? &c : NULL)))
			memcpy(op->wait.id[op->wait.ids++], list[i].id, LIFT_ID);
	for (unsigned i = 0; i < op->wait.ids; i++)
		events_add(EVENT_LIFT, "block %s was ended by %s (uid %u)", op->wait.id[i], r->by, r->uid);
	if (op->wait.ids) {
		op->wait.done = on_unblocked;
		fleet_restore(r->control->fleet, &op->wait);
		return;
	}
	if (given) {
		refuse_unblock(r, given, is_cidr ? &c : NULL, list, n);
	} else if (r->line.json) {
		unblocked_json(r, &op->wait, &(struct fleet_outcome){.shared = false});
	} else {
		text_add(&r->out, "No client is blocked.\n");
		request_ok(r);
	}
	lift_op_free(op);
}

static void on_looked(struct fleet_look *l)
{
	unblock(list_entry(l, struct lift_op, look));
}

void cmd_clients_unblock(struct request *r)
{
	struct lift_op *op = lift_op_new(r);
	if (op)
		lift_op_look(op, on_looked);
}
