/* SPDX-License-Identifier: MIT */
#include "control/lift_op.h"

#include <stdio.h>
#include <stdlib.h>

struct lift_op *lift_op_new(struct request *r)
{
	struct lift_op *op = calloc(1, sizeof(*op));
	if (op)
		op->request = r;
	else
		request_refuse(r, "out of memory");
	return op;
}

void lift_op_free(struct lift_op *op)
{
	free(op);
}

void lift_op_fill(struct lift_op *op, enum lift_effect effect, usec_t time)
{
	const struct request *r = op->request;
	op->lift.until = r->control->loop.now + time;
	op->lift.effect = effect;
	op->lift.uid = r->uid;
	snprintf(op->lift.by, sizeof(op->lift.by), "%s", r->by);
}

void lift_op_begin(struct lift_op *op, void (*done)(struct fleet_wait *, const struct fleet_outcome *))
{
	bool block = op->lift.effect == LIFT_BLOCK;
	lift_args_id(op->lift.id);
	op->wait.done = done;
	if (fleet_lift(op->request->control->fleet, &op->lift, &op->wait))
		return;
	request_refuse(op->request, "%d %ss are in force, which is the most; end one with `%s ID`",
		       block ? LIFTS_BLOCKING : LIFTS_FREEING, fleet_noun(op->lift.effect),
		       block ? "clients unblock" : "limits restore");
	lift_op_free(op);
}

void lift_op_look(struct lift_op *op, void (*looked)(struct fleet_look *))
{
	op->look.done = looked;
	fleet_look(op->request->control->fleet, &op->look);
}

const char *lift_op_alone_because(const struct control *c)
{
	return fleet_state(c->fleet) == FLEET_ALONE ? "the store is memory"
						    : "the store is away; it spreads when it is back";
}

void lift_op_ids_text(const struct fleet_wait *w, struct text *t)
{
	for (unsigned i = 0; i < w->ids; i++)
		text_add(t, "%s%s", i ? " " : "", w->id[i]);
}

void lift_op_ids_json(const struct fleet_wait *w, const char *key, struct json *j)
{
	json_key(j, key);
	json_arr_open(j);
	for (unsigned i = 0; i < w->ids; i++)
		json_str(j, str_of(w->id[i]));
	json_arr_close(j);
}

void lift_op_where_json(const struct fleet_outcome *o, struct json *j)
{
	json_key(j, "shared");
	json_bool(j, o->shared);
	json_key(j, "weirs");
	json_u64(j, o->done);
	json_key(j, "live");
	json_u64(j, o->live);
}
