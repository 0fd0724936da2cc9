/* SPDX-License-Identifier: MIT */
/*
 * The arguments by which a lift, a block or a token is made, read from a command line into a struct lift and
 * checked. Pure; shared by the admin commands and by weirctl, which makes tokens without a socket.
 */
#ifndef WEIR_CONTROL_LIFT_ARGS_H
#define WEIR_CONTROL_LIFT_ARGS_H

#include "conf/conf.h"
#include "control/command_line.h"
#include "control/text.h"
#include "ratelimit/lift.h"

struct lift_args {
	const struct command_line *line;
	const struct conf *conf; /* NULL: not at hand, and any name is taken for a site */
	usec_t most;		 /* the longest --for; 0: any */
	const char *most_key;	 /* the config's key that says so */
	struct text *why;	 /* gets what is wrong */
};

/* Each reads one part; false: it said why. */
bool lift_args_time(const struct lift_args *, usec_t *time);
bool lift_args_reason(const struct lift_args *, struct lift *);
bool lift_args_clients(const struct lift_args *, const char *name, struct lift *); /* --client, CIDR */
bool lift_args_sites(const struct lift_args *, struct lift *);			   /* --site */

/* A fresh random id. */
void lift_args_id(char id[LIFT_ID]);

#endif
