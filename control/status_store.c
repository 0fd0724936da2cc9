/* SPDX-License-Identifier: MIT */
#include "control/status_store.h"

#include <stdio.h>

#include "base/board.h"
#include "base/metric.h"
#include "control/fleet.h"
#include "control/units.h"
#include "ratelimit/redis_servers.h"

static uint64_t workers_in(enum store_state s)
{
	char label[METRIC_LABELS];
	metric_label(label, sizeof(label), "state", store_state_name(s));
	return metric_family_sum(METRIC_STORE_STATE, label);
}

/* Those of before a reload may hold on to a password or an address that was mended since. */
static uint64_t serving_in(enum store_state s)
{
	char label[METRIC_LABELS];
	uint64_t n = 0;
	metric_label(label, sizeof(label), "state", store_state_name(s));
	for (unsigned slot = 0; slot < PROC_MAX; slot++)
		if (atomic_load(&board()->proc[slot].kind) == PROC_WORKER &&
		    atomic_load(&board()->proc[slot].state) == PROC_SERVING)
			n += metric_family_of(slot, METRIC_STORE_STATE, label);
	return n;
}

const char *status_store_state(const struct control *c)
{
	uint64_t most = 0;
	const char *name = "ready";
	if (!control_conf(c)->rate_limit.redis)
		return name;
	name = fleet_state_name(fleet_state(c->fleet));
	for (unsigned i = 0; i < STORE_STATES; i++) {
		uint64_t n = serving_in((enum store_state)i);
		if (n <= most)
			continue;
		most = n;
		name = store_state_name((enum store_state)i);
	}
	return name;
}

/* --- its servers --- */

struct seen {
	const struct redis_server *server;
	enum store_state state;
	const char *place;
};

static bool see(const struct control *c, unsigned i, struct seen *s)
{
	const struct redis_servers *servers = fleet_servers(c->fleet);
	s->server = servers ? redis_servers_each(servers, i, &s->state, &s->place) : NULL;
	return s->server != NULL;
}

static bool is_cluster(const struct control *c)
{
	const struct redis_servers *servers = fleet_servers(c->fleet);
	return servers && redis_servers_is_cluster(servers);
}

void status_store_states(const struct control *c, unsigned in[STORE_STATES])
{
	struct seen s;
	for (unsigned i = 0; i < STORE_STATES; i++)
		in[i] = 0;
	for (unsigned i = 0; see(c, i, &s); i++)
		in[s.state]++;
}

void status_store_evictions(const struct control *c, unsigned *may_evict, uint64_t *evicted)
{
	struct seen s;
	*may_evict = 0;
	*evicted = 0;
	for (unsigned i = 0; see(c, i, &s); i++) {
		*may_evict += redis_info_may_evict(&s.server->info);
		*evicted += s.server->info.evicted_keys;
	}
}

/* What an operator should know of one server; false: all is well. The i-th of its warnings. */
static bool warning(const struct seen *s, unsigned i, char *out, size_t cap)
{
	const struct redis_info *info = &s->server->info;
	bool row[2] = {redis_info_may_evict(info), info->evicted_keys > 0};
	if (i == 0 && row[0])
		snprintf(out, cap,
			 "maxmemory-policy of %s is %s: it may forget clients (expected noeviction)",
			 s->place, info->policy);
	else if (i == 1 && row[1])
		snprintf(out, cap, "%s has evicted %llu keys since it started: forgotten clients", s->place,
			 (unsigned long long)info->evicted_keys);
	return row[i];
}
#define WARNINGS 2

/* --- JSON --- */

static void node_json(const struct seen *s, struct json *j)
{
	const struct redis_info *info = &s->server->info;
	json_obj_open(j);
	json_key(j, "address");
	json_str(j, str_of(s->place));
	json_key(j, "state");
	json_str(j, str_of(store_state_name(s->state)));
	json_key(j, "version");
	json_str(j, info->version[0] ? str_of(info->version) : STR_NONE);
	json_key(j, "maxmemory_policy");
	json_str(j, info->policy[0] ? str_of(info->policy) : STR_NONE);
	json_key(j, "maxmemory");
	json_u64(j, info->maxmemory);
	json_key(j, "used_memory");
	json_u64(j, info->used_memory);
	json_key(j, "evicted_keys");
	json_u64(j, info->evicted_keys);
	json_obj_close(j);
}

static void servers_json(const struct control *c, struct json *j)
{
	char text[400];
	struct seen s;
	json_key(j, "cluster");
	json_bool(j, is_cluster(c));
	json_key(j, "nodes");
	json_arr_open(j);
	for (unsigned i = 0; see(c, i, &s); i++)
		node_json(&s, j);
	json_arr_close(j);
	json_key(j, "warnings");
	json_arr_open(j);
	for (unsigned i = 0; see(c, i, &s); i++)
		for (unsigned k = 0; k < WARNINGS; k++)
			if (warning(&s, k, text, sizeof(text)))
				json_str(j, str_of(text));
	json_arr_close(j);
}

static void workers_json(struct json *j)
{
	json_key(j, "workers");
	json_obj_open(j);
	for (unsigned i = 0; i < STORE_STATES; i++) {
		json_key(j, store_state_name((enum store_state)i));
		json_u64(j, workers_in((enum store_state)i));
	}
	json_obj_close(j);
}

void status_store_json(const struct control *c, struct json *j)
{
	bool redis = control_conf(c)->rate_limit.redis;
	json_obj_open(j);
	json_key(j, "kind");
	json_str(j, redis ? STR("redis") : STR("memory"));
	json_key(j, "state");
	json_str(j, str_of(status_store_state(c)));
	json_key(j, "latency_ms");
	if (redis && fleet_state(c->fleet) == FLEET_READY)
		json_double(j, (double)fleet_latency(c->fleet) / 1e3, 3);
	else
		json_null(j);
	json_key(j, "trouble");
	json_str(j, fleet_trouble(c->fleet)[0] ? str_of(fleet_trouble(c->fleet)) : STR_NONE);
	if (redis) {
		workers_json(j);
		servers_json(c, j);
	}
	json_obj_close(j);
}

/* --- text --- */

static void workers_text(struct text *t)
{
	const char *before = "";
	for (unsigned i = 0; i < STORE_STATES; i++) {
		uint64_t n = workers_in((enum store_state)i);
		if (!n)
			continue;
		text_add(t, "%s%llu %s", before, (unsigned long long)n,
			 store_state_name((enum store_state)i));
		before = ", ";
	}
	if (!before[0])
		text_add(t, "none yet");
}

static void servers_text(const struct control *c, struct text *t)
{
	char text[400];
	struct seen s;
	for (unsigned i = 0; is_cluster(c) && see(c, i, &s); i++)
		text_add(t, "  node\t%s: %s\n", s.place, store_state_name(s.state));
	for (unsigned i = 0; see(c, i, &s); i++)
		for (unsigned k = 0; k < WARNINGS; k++)
			if (warning(&s, k, text, sizeof(text)))
				text_add(t, "  WARNING\t%s\n", text);
}

void status_store_text(const struct control *c, struct text *t)
{
	const struct conf_rate_limit *l = &control_conf(c)->rate_limit;
	unsigned live = atomic_load(&board()->fleet);
	char latency[UNITS_TEXT];
	if (!l->redis) {
		text_add(t, "store\tmemory: exact across the workers of this weir\n");
		return;
	}
	text_add(t, "store\tredis %.*s: %s", (int)l->server.url.n, l->server.url.p, status_store_state(c));
	if (fleet_state(c->fleet) == FLEET_READY)
		text_add(t, ", answers in %s", units_duration(latency, fleet_latency(c->fleet)));
	if (fleet_trouble(c->fleet)[0])
		text_add(t, " (%s)", fleet_trouble(c->fleet));
	text_add(t, "\n  workers\t");
	workers_text(t);
	text_add(t, "\n");
	servers_text(c, t);
	text_add(t, live ? "fleet\t%u live\n" : "fleet\tnot known yet\n", live);
}
