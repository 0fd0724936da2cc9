/* SPDX-License-Identifier: MIT */
/*
 * An admin command that begins or ends lifts or blocks and waits for the other weirs to have heard of it:
 * what control/cmd_limits.c and control/cmd_blocks.c share. It belongs to whoever made it until lift_op_free.
 */
#ifndef WEIR_CONTROL_LIFT_OP_H
#define WEIR_CONTROL_LIFT_OP_H

#include "control/fleet.h"
#include "control/lift_args.h"
#include "control/request.h"

struct lift_op {
	struct fleet_wait wait; /* its ids: what is ended */
	struct fleet_look look;
	struct request *request;
	struct lift lift; /* that is begun */
	bool revoked;	  /* a token is ended, not a lift */
	bool whole;	  /* and was given itself, not its id */
};

/* NULL: out of memory, and the request was answered so. */
struct lift_op *lift_op_new(struct request *);
void lift_op_free(struct lift_op *);

/* What of a lift is not in its arguments: who, and until when. */
void lift_op_fill(struct lift_op *, enum lift_effect, usec_t time);

/* Begins op->lift under a fresh id; `done` is called later. Where too many are in force it is freed, and the
 * request was answered so. */
void lift_op_begin(struct lift_op *, void (*done)(struct fleet_wait *, const struct fleet_outcome *));

/* Asks the store what is in force, then calls `looked`: what was begun elsewhere a moment ago can be ended
 * too. */
void lift_op_look(struct lift_op *, void (*looked)(struct fleet_look *));

/* Why the other weirs, if there are any, do not hear of it now. */
const char *lift_op_alone_because(const struct control *);

/* "ID ID ID" */
void lift_op_ids_text(const struct fleet_wait *, struct text *);

/* JSON members: the ids as an array under `key`; "shared", "weirs" and "live". */
void lift_op_ids_json(const struct fleet_wait *, const char *key, struct json *);
void lift_op_where_json(const struct fleet_outcome *, struct json *);

#endif
