/* SPDX-License-Identifier: MIT */
/*
 * Where clients stand: the busiest of this weir, and one client under one or more policies, asked of the
 * store that decides. Nothing is spent by asking.
 */
#ifndef WEIR_CONTROL_CLIENTS_H
#define WEIR_CONTROL_CLIENTS_H

#include "acl/addr.h"
#include "base/json.h"
#include "control/state.h"
#include "control/text.h"
#include "ratelimit/limiter.h"
#include "ratelimit/redis_command.h"

void clients_top_text(const struct control *, unsigned n, struct text *);
void clients_top_json(const struct control *, unsigned n, struct json *);

/*
 * Where one client stands under some policies. With the Redis store Redis is asked; when it cannot say, the
 * client table does. The caller's until done is called, once, from the loop or before clients_peek returns;
 * it fills in control, client, asks and the asks' policy and limit, and keeps the conf that they point into.
 */
struct clients_peek {
	struct control *control;
	struct client_id client;
	unsigned asks;
	struct table_ask *ask;
	struct window_state *state; /* filled in: as many as asks */
	enum verdict_source source; /* filled in */
	void (*done)(struct clients_peek *);
	struct redis_command command;
	unsigned at; /* asks that are answered */
};
void clients_peek(struct clients_peek *);

/* Removes the client's windows under all policies of the conf from the store. done's `well` is false: it did
 * not. */
struct clients_wipe {
	void (*done)(struct clients_wipe *, bool well);
	struct redis_command command;
};
bool clients_wipe(struct control *, const struct conf *, const struct client_id *, struct clients_wipe *);

/*
 * A client as people name him: an address, or the network that he is counted under (2001:db8::/64). False
 * with *why, a fragment that fits after the text.
 */
bool clients_parse(const struct conf *, const char *text, struct addr *, const char **why);

/* Whom the address is counted under. */
struct client_id clients_id(const struct conf *, struct addr);

#endif
