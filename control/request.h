/* SPDX-License-Identifier: MIT */
/*
 * One command that came in over the admin socket, and its answer. A handler (control/commands.h) gets it
 * parsed, and answers once: at once or later, with one of the request_ functions that end it; the request is
 * gone then. A caller that hung up meanwhile is no matter for the handler: its answer is dropped.
 *
 * The request holds the conf that was in force when it began, so handlers may keep pointers into it.
 */
#ifndef WEIR_CONTROL_REQUEST_H
#define WEIR_CONTROL_REQUEST_H

#include "base/json.h"
#include "control/admin.h"
#include "control/command_line.h"
#include "control/state.h"
#include "control/text.h"

struct admin_client;

struct request {
	struct control *control;
	struct conf_ref *ref;
	struct admin_client *client; /* NULL: it hung up */
	struct words words;
	struct command_line line;
	uint32_t uid;
	char by[LIFT_BY];
	struct text out; /* what the handler has written so far */
	size_t n;
	char bytes[ADMIN_LINE + 1];
};

static inline const struct conf *request_conf(const struct request *r)
{
	return r->ref->conf;
}

/* The one place for JSON answers, shared by all requests: begin, write and end it without waiting between. */
struct json *request_json(void);

/* These end the request. */
void request_ok(struct request *); /* with `out` */
void request_ok_json(struct request *);
void request_refuse(struct request *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void request_usage(struct request *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
