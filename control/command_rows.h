/* SPDX-License-Identifier: MIT */
/*
 * The table of admin commands: words, arguments and help, one row a command. The parser, the help, the
 * suggestions and the dispatch (control/commands.h) walk it. Constant data; weirctl links it too, for a help
 * that needs no socket.
 */
#ifndef WEIR_CONTROL_COMMAND_ROWS_H
#define WEIR_CONTROL_COMMAND_ROWS_H

#include <stdbool.h>

#include "control/text.h"

enum command_id {
#define COMMAND(sym, words, args, flags, help) COMMAND_ID_##sym,
#include "control/commands.def"
#undef COMMAND
	COMMAND_IDS
};

#define COMMAND_CHANGES 1u /* something: it is logged with who, and why */
#define COMMAND_ALIAS 2u   /* of the row before it; not listed */

#define ARG_REQUIRED 1u
#define ARG_REPEATS 2u
#define ARG_OWED 4u /* as REQUIRED; without it the command is understood and refused, no matter of usage */

struct command_arg {
	const char *name;  /* "--for"; or of an argument by its place: "IP" */
	const char *value; /* of an option, what follows it; NULL: nothing does */
	unsigned flags;
	const char *help;
};

struct command_row {
	enum command_id id;
	const char *words;
	const struct command_arg *args; /* up to one with name NULL */
	unsigned flags;
	const char *help;
};

extern const struct command_row command_rows[COMMAND_IDS];
extern const struct command_arg command_common_args[]; /* that every command takes: --json, --by */

static inline bool command_arg_is_option(const struct command_arg *a)
{
	return a->name[0] == '-';
}

static inline bool command_is_listed(const struct command_row *r)
{
	return !(r->flags & COMMAND_ALIAS);
}

/* `limits lift --for TIME ...` on one line, without a newline. */
void command_write_usage(struct text *, const struct command_row *);
/* The usage, the help, and a line an argument. */
void command_write_help(struct text *, const struct command_row *);
/* All that are listed, a line each. */
void command_write_list(struct text *);

#endif
