/* SPDX-License-Identifier: MIT */
/* What `weirctl status` and the status page tell: gathered when asked for, written as text or as JSON. */
#ifndef WEIR_CONTROL_STATUS_H
#define WEIR_CONTROL_STATUS_H

#include "base/json.h"
#include "control/state.h"
#include "control/text.h"

/* A whole object. */
void status_json(const struct control *, struct json *);
void status_text(const struct control *, struct text *);
void status_summary_text(const struct control *, struct text *); /* without lifts and upstreams */

/* Arrays: the values of "lifts" and "upstreams" of `limits status` and `upstreams` too. */
void status_lifts_json(const struct control *, struct json *);
void status_upstreams_json(const struct control *, struct json *);
void status_lifts_text(const struct control *, struct text *);
void status_blocks_json(const struct control *, struct json *);
void status_blocks_text(const struct control *, struct text *);
/* How many are in force. */
unsigned status_lifts(const struct control *);
unsigned status_blocks(const struct control *);
void status_upstreams_text(const struct control *, struct text *);

/* One lift as an object, and its scope in words: "everyone", "10.0.0.0/8 on example.com". */
void status_lift_json(const struct lift *, usec_t now, struct json *);
void status_scope(const struct lift *, struct text *);
/* The members "id", "reason", "clients" and "sites" alone. */
void status_scope_json(const struct lift *, struct json *);

/* A client's address as it is counted: 192.0.2.1, 2001:db8::/64. */
void status_client(const struct conf *, const struct addr *, char out[CIDR_TEXT]);

/* The servers of the config in force; false ends the walk. */
struct server_row;
void status_each_server(const struct control *, void (*row)(void *, const struct server_row *), void *ctx);

/* Seconds since weir started. */
unsigned long status_uptime(const struct control *);

#endif
