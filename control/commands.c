/* SPDX-License-Identifier: MIT */
#include "control/commands.h"

#include <stdio.h>
#include <string.h>

#include "conf/suggest.h"
#include "control/cmd.h"
#include "control/request.h"

#define TYPED_MOST 256

static command_handler *const handlers[COMMAND_IDS] = {
#define COMMAND(sym, words, args, flags, help) cmd_##sym,
#include "control/commands.def"
#undef COMMAND
};

command_handler *commands_handler(enum command_id id)
{
	return handlers[id];
}

static void answer_help(struct request *r, const struct command_row *row)
{
	if (row)
		command_write_help(&r->out, row);
	else
		command_write_list(&r->out);
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

/* The row whose words were given as arguments; NULL when there is none, with the nearest one in *near. */
static const struct command_row *named_row(const struct request *r, struct suggestion *near)
{
	static char typed[TYPED_MOST];
	const char *value;
	size_t n = 0;
	unsigned at = 0;
	typed[0] = 0;
	while ((value = command_next(&r->line, "COMMAND", &at)) && n < sizeof(typed))
		n += (size_t)snprintf(typed + n, sizeof(typed) - n, "%s%s", n ? " " : "", value);
	suggest_start(near, str_of(typed));
	for (unsigned i = 0; i < COMMAND_IDS; i++) {
		const struct command_row *row = &command_rows[i];
		if (strcmp(row->words, typed) == 0)
			return row;
		suggest_word(near, str_of(row->words));
	}
	return NULL;
}

void cmd_help(struct request *r)
{
	struct suggestion near;
	const struct command_row *row = NULL;
	if (command_value(&r->line, "COMMAND")) {
		row = named_row(r, &near);
		if (!row) {
			request_usage(r, "no command `%s`%s%s%s (`help` lists them)", near.typed.p,
				      near.best.n ? "; did you mean `" : "", near.best.n ? near.best.p : "",
				      near.best.n ? "`?" : "");
			return;
		}
	}
	answer_help(r, row);
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
		answer_help(r, r->line.row);
	else
		handlers[r->line.row->id](r);
	text_free(&error);
}
