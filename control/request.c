/* SPDX-License-Identifier: MIT */
#include "control/request.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/events.h"

#define JSON_MOST (4u << 20)
#define ERROR_MOST 16384

static char json_bytes[JSON_MOST]; /* its pages are taken as they are first written */
static struct json json;

struct json *request_json(void)
{
	json_init(&json, json_bytes, sizeof(json_bytes));
	return &json;
}

/* What changes something is told with who asked, why, and how it ended. */
static void tell(const struct request *r, const char *verdict)
{
	const struct command_row *row = r->line.row;
	if (!row || r->line.help || !(row->flags & COMMAND_CHANGES) || strcmp(verdict, ADMIN_USAGE) == 0)
		return;
	const char *reason = command_value(&r->line, "--reason");
	bool refused = strcmp(verdict, ADMIN_REFUSED) == 0 && !r->line.json && r->out.n;
	events_add(EVENT_ADMIN, "`%s` by %s (uid %u)%s%s: %s%s%.*s", row->words, r->by, r->uid,
		   reason ? ", reason: " : "", reason ? reason : "", verdict, refused ? ": " : "",
		   refused ? (int)strcspn(r->out.p, "\n") : 0, refused ? r->out.p : "");
}

static void end(struct request *r, const char *verdict)
{
	tell(r, verdict);
	if (r->client)
		admin_answer(r->client, verdict, &r->out);
	text_free(&r->out);
	if (r->ref)
		conf_ref_drop(r->ref);
	free(r);
}

void request_ok(struct request *r)
{
	text_tame(&r->out);
	end(r, ADMIN_OK);
}

void request_ok_json(struct request *r)
{
	size_t n = json_finish(&json);
	if (!n) {
		request_refuse(r, "the answer is too long; ask for less");
		return;
	}
	r->out.n = 0;
	text_bytes(&r->out, json_bytes, n);
	text_bytes(&r->out, "\n", 1);
	end(r, ADMIN_OK);
}

/* The error takes the place of what was written; its last newline goes in JSON. */
static void fail(struct request *r, const char *verdict, const char *fmt, va_list ap)
{
	char text[ERROR_MOST];
	int n = vsnprintf(text, sizeof(text), fmt, ap);
	size_t len = n < 0 ? 0 : (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;
	while (len && text[len - 1] == '\n')
		len--;
	r->out.n = 0;
	if (r->line.json) {
		struct json *j = request_json();
		json_obj_open(j);
		json_key(j, "error");
		json_str(j, (struct str){text, len});
		json_obj_close(j);
		text_bytes(&r->out, json_bytes, json_finish(j));
	} else {
		text_bytes(&r->out, text, len);
		text_tame(&r->out);
	}
	text_bytes(&r->out, "\n", 1);
	end(r, verdict);
}

void request_refuse(struct request *r, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	fail(r, ADMIN_REFUSED, fmt, ap);
	va_end(ap);
}

void request_usage(struct request *r, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	fail(r, ADMIN_USAGE, fmt, ap);
	va_end(ap);
}
