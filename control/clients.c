/* SPDX-License-Identifier: MIT */
#include "control/clients.h"

#include <stdlib.h>
#include <string.h>

#include "base/board.h"

#include "control/fleet.h"
#include "control/status.h"
#include "control/units.h"
#include "ratelimit/redis_script.h"

#define TOP_MOST 1000
#define BUSY_TRIES 100

static const struct table_top_row *busiest(const struct control *c, unsigned n, unsigned *count)
{
	static struct table_top_row row[TOP_MOST];
	*count = 0;
	if (c->table)
		table_top(c->table, n < TOP_MOST ? n : TOP_MOST, c->loop.now, row, count);
	return row;
}

/* "-" for a policy that an older config had. */
static const char *policy_name(const struct conf *conf, uint64_t key)
{
	for (unsigned i = 0; i < conf->rate_limit.policies; i++)
		if (conf->rate_limit.policy[i].policy.key == key)
			return conf->rate_limit.policy[i].policy.name;
	return "-";
}

static void client_text(const struct conf *conf, const struct client_id *id, char out[CIDR_TEXT])
{
	struct addr a;
	memcpy(a.b, id->b, sizeof(a.b));
	status_client(conf, &a, out);
}

void clients_top_text(const struct control *c, unsigned n, struct text *t)
{
	unsigned count;
	const struct table_top_row *r = busiest(c, n, &count);
	char client[CIDR_TEXT], window[UNITS_TEXT];
	size_t mark = t->n;
	if (!count) {
		text_add(t, "No client was seen lately.\n");
		return;
	}
	text_add(t, "CLIENT\tPOLICY\tUSED\tLIMIT\tWINDOW\tREFUSED\n");
	for (unsigned i = 0; i < count; i++) {
		client_text(control_conf(c), &r[i].client, client);
		text_add(t, "%s\t%s\t%u\t%u\t%s\t%u\n", client, policy_name(control_conf(c), r[i].policy_key),
			 r[i].used, r[i].limit, units_duration(window, r[i].window_us), r[i].refused);
	}
	text_align(t, mark);
}

void clients_top_json(const struct control *c, unsigned n, struct json *j)
{
	unsigned count;
	const struct table_top_row *r = busiest(c, n, &count);
	char client[CIDR_TEXT];
	json_arr_open(j);
	for (unsigned i = 0; i < count; i++) {
		client_text(control_conf(c), &r[i].client, client);
		json_obj_open(j);
		json_key(j, "client");
		json_str(j, str_of(client));
		json_key(j, "policy");
		json_str(j, str_of(policy_name(control_conf(c), r[i].policy_key)));
		json_key(j, "used");
		json_u64(j, r[i].used);
		json_key(j, "limit");
		json_u64(j, r[i].limit);
		json_key(j, "window_s");
		json_double(j, (double)r[i].window_us / 1e6, r[i].window_us % USEC_PER_SEC ? 3 : 0);
		json_key(j, "refused");
		json_u64(j, r[i].refused);
		json_obj_close(j);
	}
	json_arr_close(j);
}

/* --- one client --- */

struct client_id clients_id(const struct conf *conf, struct addr a)
{
	struct client_id id;
	struct addr key = client_key(a, conf->client_ip.ipv6_prefix);
	memcpy(id.b, key.b, sizeof(id.b));
	return id;
}

bool clients_parse(const struct conf *conf, const char *text, struct addr *a, const char **why)
{
	struct cidr c;
	if (!cidr_parse(str_of(text), &c, why)) {
		*why = "expected an IP address";
		return false;
	}
	*a = c.addr;
	*why = "is a network; one client is one address, or of IPv6 the network of client_ip.ipv6_prefix";
	return c.bits >= (cidr_is_v4(&c) ? 128 : conf->client_ip.ipv6_prefix);
}

static void peek_window(struct clients_peek *p, unsigned i)
{
	unsigned granted, refused, shadow;
	for (int n = 0; p->control->table && n < BUSY_TRIES; n++)
		if (table_peek(p->control->table, &p->client, &p->ask[i], 1, 1, p->control->loop.now,
			       &granted, &p->state[i], &refused, &shadow) == TABLE_OK)
			return;
}

/* What Redis said last of the client, and what this weir has admitted since. */
static void peek_journal(struct clients_peek *p, unsigned i)
{
	uint32_t generation = board_limits_generation();
	for (int n = 0; p->control->table && n < BUSY_TRIES; n++)
		if (journal_peek(p->control->table, &p->client, &p->ask[i], p->control->loop.now, generation,
				 &p->state[i]) == TABLE_OK)
			return;
}

static void peek_here(struct clients_peek *p, bool redis)
{
	p->source = redis ? SOURCE_LOCAL : SOURCE_MEMORY;
	for (unsigned i = 0; i < p->asks; i++) {
		p->state[i] = (struct window_state){.limit = p->ask[i].limit, .remaining = p->ask[i].limit};
		if (redis)
			peek_journal(p, i);
		else
			peek_window(p, i);
	}
	p->done(p);
}

static bool ask_redis(struct clients_peek *p);

static void on_peeked(struct redis_command *command, const struct redis_reply *r)
{
	struct clients_peek *p = list_entry(command, struct clients_peek, command);
	unsigned asks = p->asks - p->at < POLICY_MAX_APPLIED ? p->asks - p->at : POLICY_MAX_APPLIED;
	struct redis_answer a;
	if (!redis_script_answer(r, p->ask + p->at, asks, 0, &a)) {
		peek_here(p, true);
		return;
	}
	memcpy(p->state + p->at, a.state, asks * sizeof(a.state[0]));
	p->at += asks;
	if (p->at == p->asks)
		p->done(p);
	else if (!ask_redis(p))
		peek_here(p, true);
}

#define ANSWER_WITHIN USEC_PER_SEC

/* To the server that decides of the client. False: it takes no calls now. */
static bool send_about(struct control *c, const struct client_id *client, struct redis_command *command,
		       unsigned argc, const struct str *argv)
{
	struct redis_servers *servers = fleet_servers(c->fleet);
	char text[REDIS_CLIENT_ROOM];
	size_t n = redis_script_client(text, client);
	unsigned slot = redis_slot((struct str){text, n});
	return servers && redis_command_send(servers, command, slot, c->loop.now + ANSWER_WITHIN, argc, argv);
}

/* As many policies as one question holds; the others follow. */
static bool ask_redis(struct clients_peek *p)
{
	struct str argv[REDIS_PEEK_ARGS];
	unsigned asks = p->asks - p->at < POLICY_MAX_APPLIED ? p->asks - p->at : POLICY_MAX_APPLIED;
	const struct redis_question q = {
		.prefix = control_conf(p->control)->rate_limit.server.prefix,
		.client = &p->client,
		.ask = p->ask + p->at,
		.asks = asks,
	};
	char *room = malloc(redis_script_room(q.prefix, asks, false));
	if (!room)
		return false;
	p->command.done = on_peeked;
	unsigned n = redis_script_peek_args(argv, room, &q);
	bool sent = send_about(p->control, &p->client, &p->command, n, argv);
	free(room);
	return sent;
}

void clients_peek(struct clients_peek *p)
{
	bool redis = control_conf(p->control)->rate_limit.redis;
	p->at = 0;
	p->source = SOURCE_REDIS;
	if (!p->asks)
		p->done(p);
	else if (!redis || !ask_redis(p))
		peek_here(p, redis);
}

static void on_wiped(struct redis_command *command, const struct redis_reply *r)
{
	struct clients_wipe *w = list_entry(command, struct clients_wipe, command);
	w->done(w, r->kind == REDIS_INTEGER);
}

bool clients_wipe(struct control *c, const struct conf *conf, const struct client_id *client,
		  struct clients_wipe *w)
{
	struct str prefix = conf->rate_limit.server.prefix;
	unsigned n = conf->rate_limit.policies;
	size_t room = prefix.n + REDIS_KEY_ROOM;
	char *keys = malloc(n * room + 1);
	struct str *argv = calloc(n + 1, sizeof(*argv));
	bool sent = false;
	if (keys && argv) {
		argv[0] = STR("DEL");
		for (unsigned i = 0; i < n; i++) {
			char *key = keys + i * room;
			argv[i + 1] = (struct str){
				key,
				redis_script_key(key, prefix, &conf->rate_limit.policy[i].policy, client)};
		}
		w->command.done = on_wiped;
		sent = n > 0 && send_about(c, client, &w->command, n + 1, argv);
	}
	free(keys);
	free(argv);
	return sent;
}
