/* SPDX-License-Identifier: MIT */
/*
 * Single commands of any kind as calls to the server that has a slot.
 *
 * A struct redis_command is the caller's and stays in place until `done` was called, once for each command
 * that was taken, from the loop or from redis_servers_free; its bytes are a copy, so that argv may go at
 * once.
 */
#ifndef WEIR_RATELIMIT_REDIS_COMMAND_H
#define WEIR_RATELIMIT_REDIS_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

#include "ratelimit/redis_servers.h"

struct redis_command {
	struct node_call call;
	char *bytes;
	size_t n;
	void (*done)(struct redis_command *, const struct redis_reply *); /* the caller's */
};

/* False: not now, or out of memory. Nobody waits for it after `until`. */
bool redis_command_send(struct redis_servers *, struct redis_command *, unsigned slot, usec_t until,
			unsigned argc, const struct str *argv);

#endif
