/* SPDX-License-Identifier: MIT */
/* The handlers of all commands, cmd_<symbol> of commands.def; each ends its request, now or later. */
#ifndef WEIR_CONTROL_CMD_H
#define WEIR_CONTROL_CMD_H

struct request;

#define COMMAND(sym, words, args, flags, help) void cmd_##sym(struct request *);
#include "control/commands.def"
#undef COMMAND

#endif
