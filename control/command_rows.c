/* SPDX-License-Identifier: MIT */
#include "control/command_rows.h"

#include <string.h>

#define END_OF_ARGS                                                                                          \
	{                                                                                                    \
		NULL, NULL, 0, NULL                                                                          \
	}

static const struct command_arg no_args[] = {END_OF_ARGS};

static const struct command_arg events_args[] = {
	{"-n", "N", 0, "how many, the newest; 1 to 512 (default 20)"},
	END_OF_ARGS,
};

static const struct command_arg lift_args[] = {
	{"--for", "TIME", ARG_OWED, "how long: 90s, 15m, 2h; at most rate_limit.max_lift"},
	{"--reason", "TEXT", ARG_OWED, "why; shown to everybody who asks and logged"},
	{"--everyone", NULL, 0, "for all clients on all sites"},
	{"--client", "CIDR", ARG_REPEATS, "for this network or address only"},
	{"--site", "HOST", ARG_REPEATS, "for this site only, named by any of its hosts"},
	{"--shadow", NULL, 0, "go on counting, and tell who would have been limited"},
	END_OF_ARGS,
};

static const struct command_arg restore_args[] = {
	{"ID|TOKEN", NULL, 0,
	 "a lift's id, as `limits status` shows it; a token, or its id alone, which takes a place for 168h; "
	 "all "
	 "lifts when left out"},
	{"--reason", "TEXT", 0, "why; logged"},
	END_OF_ARGS,
};

static const struct command_arg token_args[] = {
	{"--for", "TIME", ARG_OWED, "how long: 90s, 15m, 2h; at most rate_limit.max_lift"},
	{"--reason", "TEXT", ARG_OWED, "why; logged"},
	{"--client", "CIDR", ARG_REPEATS, "good for this network or address only"},
	{"--site", "HOST", ARG_REPEATS, "good for this site only"},
	END_OF_ARGS,
};

static const struct command_arg block_args[] = {
	{"CIDR", NULL, ARG_REQUIRED, "the network or address"},
	{"--for", "TIME", ARG_OWED, "how long: 90s, 15m, 2h; at most rate_limit.max_block"},
	{"--reason", "TEXT", ARG_OWED, "why; shown to everybody who asks and logged"},
	END_OF_ARGS,
};

static const struct command_arg unblock_args[] = {
	{"CIDR|ID", NULL, 0, "the network as it was blocked, or the block's id; all blocks when left out"},
	{"--reason", "TEXT", 0, "why; logged"},
	END_OF_ARGS,
};

static const struct command_arg top_args[] = {
	{"-n", "N", 0, "how many; 1 to 1000 (default 10)"},
	END_OF_ARGS,
};

static const struct command_arg client_args[] = {
	{"IP", NULL, ARG_REQUIRED, "the client's address"},
	{"--reason", "TEXT", 0, "why; logged where something is changed"},
	END_OF_ARGS,
};

static const struct command_arg explain_args[] = {
	{"--from", "IP", ARG_REQUIRED,
	 "the address that the request comes from; of a load balancer, with its --header"},
	{"--header", "'NAME: VALUE'", ARG_REPEATS, "a header of the request, such as X-Forwarded-For"},
	{"METHOD", NULL, ARG_REQUIRED, "of the request: GET, POST, ..."},
	{"URL", NULL, ARG_REQUIRED, "https://HOST/PATH or HOST/PATH"},
	END_OF_ARGS,
};

static const struct command_arg help_args[] = {
	{"COMMAND", NULL, ARG_REPEATS, "the words of a command"},
	END_OF_ARGS,
};

const struct command_arg command_common_args[] = {
	{"--json", NULL, 0, "answer in JSON"},
	{"--by", "NAME", 0, "who asks, for the log (default: $WEIR_BY, else the user's name)"},
	{"--help", NULL, 0, "the help of the command"},
	END_OF_ARGS,
};

const struct command_row command_rows[COMMAND_IDS] = {
#define COMMAND(sym, words, args, flags, help) {COMMAND_ID_##sym, words, args, flags, help},
#include "control/commands.def"
#undef COMMAND
};

static void write_arg(struct text *t, const struct command_arg *a)
{
	bool required = a->flags & (ARG_REQUIRED | ARG_OWED);
	text_add(t, " %s%s%s%s%s%s", required ? "" : "[", a->name, a->value ? " " : "",
		 a->value ? a->value : "", required ? "" : "]", a->flags & ARG_REPEATS ? "..." : "");
}

void command_write_usage(struct text *t, const struct command_row *r)
{
	text_add(t, "%s", r->words);
	for (const struct command_arg *a = r->args; a->name; a++)
		write_arg(t, a);
}

static void write_arg_help(struct text *t, const struct command_arg *a)
{
	for (; a->name; a++)
		text_add(t, "  %s%s%s\t%s%s\n", a->name, a->value ? " " : "", a->value ? a->value : "",
			 a->help, a->flags & ARG_REPEATS ? "; may be repeated" : "");
}

void command_write_help(struct text *t, const struct command_row *r)
{
	command_write_usage(t, r);
	text_add(t, "\n\n%s\n\n", r->help);
	size_t mark = t->n;
	write_arg_help(t, r->args);
	write_arg_help(t, command_common_args);
	text_align(t, mark);
}

void command_write_list(struct text *t)
{
	size_t mark = t->n;
	for (unsigned i = 0; i < COMMAND_IDS; i++)
		if (command_is_listed(&command_rows[i]))
			text_add(t, "  %s\t%s\n", command_rows[i].words, command_rows[i].help);
	text_align(t, mark);
}
