/* SPDX-License-Identifier: MIT */
#include "control/commands.h"

#include <stdio.h>
#include <string.h>

#include "control/cmd.h"
#include "control/request.h"

static command_handler *const handlers[COMMAND_IDS] = {
#define COMMAND(sym, words, args, flags, help) cmd_##sym,
#include "control/commands.def"
#undef COMMAND
};

command_handler *commands_handler(enum command_id id)
{
	return handlers[id];
}

static void answer_help(struct request *r)
{
	if (!r->line.json) {
		request_ok(r);
		return;
	}
	struct json *j = request_json();
	json_obj_open(j);
	json_key(j, "help");
	json_str(j, (struct str){r->out.p, r->out.n});
	json_obj_close(j);
	request_ok_json(r);
}

static void answer_help_of(struct request *r, const struct command_row *row)
{
	command_write_help(&r->out, row);
	answer_help(r);
}

void cmd_help(struct request *r)
{
	char *word[WORDS_MAX];
	unsigned n = 0;
	for (unsigned i = 0; i < r->words.n && n < r->line.n; i++)
		if (r->words.word[i] ==
		    r->line.given[n].value) /* the same bytes: all that help takes are words */
			word[n++] = r->words.word[i];
	if (command_help(word, n, &r->out) == COMMAND_FINE) {
		answer_help(r);
		return;
	}
	struct text why = r->out;
	r->out = (struct text){0};
	request_usage(r, "%s", why.n ? why.p : "out of memory");
	text_free(&why);
}

static void name_caller(struct request *r)
{
	if (r->line.by && r->line.by[0])
		snprintf(r->by, sizeof(r->by), "%s", r->line.by);
	else
		snprintf(r->by, sizeof(r->by), "uid %u", r->uid);
}

void commands_run(struct request *r)
{
	r->ref = conf_ref_hold(r->control->ref);
	r->line = (struct command_line){0};
	const char *wrong = words_split(r->bytes, &r->words);
	if (wrong) {
		request_usage(r, "%s", wrong);
		return;
	}
	struct text error = {0};
	enum command_verdict v = command_parse(&r->words, &r->line, &error);
	name_caller(r);
	if (v == COMMAND_USAGE)
		request_usage(r, "%s", error.n ? error.p : "out of memory");
	else if (v == COMMAND_REFUSED)
		request_refuse(r, "%s", error.n ? error.p : "out of memory");
	else if (r->line.help)
		answer_help_of(r, r->line.row);
	else
		handlers[r->line.row->id](r);
	text_free(&error);
}
