/* SPDX-License-Identifier: MIT */
/* The handlers of the commands, by the rows of commands.def, and the way from a request's line to its
 * handler. */
#ifndef WEIR_CONTROL_COMMANDS_H
#define WEIR_CONTROL_COMMANDS_H

#include "control/command_rows.h"

struct request;

typedef void command_handler(struct request *);

/* Parses the request's line and runs its handler, which answers now or later: the request may be gone on
 * return. */
void commands_run(struct request *);

/* NULL for what is not built. */
command_handler *commands_handler(enum command_id);

#endif
