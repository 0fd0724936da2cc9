/* SPDX-License-Identifier: MIT */
#include "ratelimit/redis_command.h"

#include <stdlib.h>
#include <string.h>

#include "ratelimit/redis_resp.h"

static size_t write_bytes(struct node_call *call, const struct redis_node *node, char *out)
{
	const struct redis_command *c = list_entry(call, struct redis_command, call);
	(void)node;
	memcpy(out, c->bytes, c->n);
	return c->n;
}

static void on_answer(struct node_call *call, const struct redis_reply *r)
{
	struct redis_command *c = list_entry(call, struct redis_command, call);
	if (r->kind != REDIS_ERROR)
		redis_node_good(call->node, call, 0);
	free(c->bytes);
	c->bytes = NULL;
	c->done(c, r);
}

bool redis_command_send(struct redis_servers *s, struct redis_command *c, unsigned slot, usec_t until,
			unsigned argc, const struct str *argv)
{
	c->bytes = malloc(redis_resp_room(argc, argv));
	if (!c->bytes)
		return false;
	c->n = (size_t)(redis_resp_write(c->bytes, argc, argv) - c->bytes);
	c->call.joint = NULL;
	c->call.room = c->n;
	c->call.until = until;
	c->call.slot = (uint16_t)slot;
	c->call.write = write_bytes;
	c->call.done = on_answer;
	if (redis_servers_send(s, &c->call))
		return true;
	free(c->bytes);
	c->bytes = NULL;
	return false;
}
