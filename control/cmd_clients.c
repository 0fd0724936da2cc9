/* SPDX-License-Identifier: MIT */
/* clients top | show | forgive */
#include "control/cmd.h"

#include <stdlib.h>
#include <string.h>

#include "base/events.h"
#include "conf/scalar.h"
#include "control/clients.h"
#include "control/fleet.h"
#include "control/request.h"
#include "control/status.h"
#include "control/window_rows.h"
#include "proxy/tally.h"

#define TOP_MOST 1000

void cmd_clients_top(struct request *r)
{
	const char *given = command_value(&r->line, "-n");
	uint64_t n = 10;
	if (given && (scalar_count(str_of(given), &n) || n < 1 || n > TOP_MOST)) {
		request_usage(r, "-n %s: expected a whole number from 1 to %d", given, TOP_MOST);
		return;
	}
	if (!r->line.json) {
		clients_top_text(r->control, (unsigned)n, &r->out);
		request_ok(r);
		return;
	}
	struct json *j = request_json();
	json_obj_open(j);
	json_key(j, "clients");
	clients_top_json(r->control, (unsigned)n, j);
	json_obj_close(j);
	request_ok_json(r);
}

static bool take_client(struct request *r, struct addr *a)
{
	const char *given = command_value(&r->line, "IP"), *why = NULL;
	if (clients_parse(request_conf(r), given, a, &why))
		return true;
	request_refuse(r, "%s: %s", given, why);
	return false;
}

/* --- show --- */

struct show {
	struct clients_peek peek;
	struct request *request;
	struct addr addr;
	struct table_ask *ask;
	struct window_state *state;
};

static void free_show(struct show *s)
{
	if (s) {
		free(s->ask);
		free(s->state);
	}
	free(s);
}

static bool is_exempt(const struct conf *conf, const struct addr *a)
{
	return netmask_any(&conf->rate_limit.exempt, netset_lookup(conf->nets, a));
}

/* What weir serves of that client now, as caps.client_requests counts it. */
static uint32_t in_flight(const struct conf *conf, const struct addr *a)
{
	struct addr key = client_key(*a, conf->client_ip.ipv6_prefix);
	return conf->caps.client_requests ? tally_held(TALLY_REQUESTS, &key) : 0;
}

static void on_shown(struct clients_peek *p)
{
	struct show *s = list_entry(p, struct show, peek);
	struct request *r = s->request;
	const struct conf *conf = request_conf(r);
	char client[CIDR_TEXT];
	status_client(conf, &s->addr, client);
	if (r->line.json) {
		struct json *j = request_json();
		json_obj_open(j);
		json_key(j, "client");
		json_str(j, str_of(client));
		json_key(j, "exempt");
		json_bool(j, is_exempt(conf, &s->addr));
		json_key(j, "in_flight");
		json_u64(j, in_flight(conf, &s->addr));
		json_key(j, "policies");
		window_rows_json(p, j);
		json_obj_close(j);
		request_ok_json(r);
	} else {
		text_add(&r->out, "client %s%s\n", client,
			 is_exempt(conf, &s->addr) ? ", exempt (rate_limit.exempt)" : "");
		if (in_flight(conf, &s->addr))
			text_add(&r->out, "%u requests of it are in flight here\n",
				 in_flight(conf, &s->addr));
		window_rows_text(p, &r->out);
		request_ok(r);
	}
	free_show(s);
}

void cmd_clients_show(struct request *r)
{
	const struct conf *conf = request_conf(r);
	unsigned n = conf->rate_limit.policies;
	struct addr a;
	if (!take_client(r, &a))
		return;
	struct show *s = calloc(1, sizeof(*s));
	if (s) {
		s->ask = calloc(n + 1, sizeof(*s->ask));
		s->state = calloc(n + 1, sizeof(*s->state));
	}
	if (!s || !s->ask || !s->state) {
		free_show(s);
		request_refuse(r, "out of memory");
		return;
	}
	const struct netmask *nets = netset_lookup(conf->nets, &a);
	for (unsigned i = 0; i < n; i++) {
		const struct conf_policy *p = &conf->rate_limit.policy[i];
		s->ask[i] = (struct table_ask){&p->policy, conf_policy_limit(p, nets)};
	}
	s->request = r;
	s->addr = a;
	s->peek = (struct clients_peek){
		.control = r->control,
		.client = clients_id(conf, a),
		.asks = n,
		.ask = s->ask,
		.state = s->state,
		.done = on_shown,
	};
	clients_peek(&s->peek);
}

/* --- forgive --- */

struct forgive {
	struct clients_wipe wipe;
	struct request *request;
	struct client_id client;
	char text[CIDR_TEXT];
};

/* How far a forgiving went: what stands in the store is cleared before the weirs, which are told of it. */
enum forgiven { FORGIVEN_HERE, FORGIVEN_IN_STORE, FORGIVEN_EVERYWHERE };

static void answer_forgiven(struct request *r, const char *client, enum forgiven how)
{
	static const char *const event[] = {
		[FORGIVEN_HERE] = ", on this weir only",
		[FORGIVEN_IN_STORE] = ", and the other weirs could not be told",
		[FORGIVEN_EVERYWHERE] = "",
	};
	const struct fleet_member *m;
	unsigned live;
	bool redis = request_conf(r)->rate_limit.redis, shared = how == FORGIVEN_EVERYWHERE;
	fleet_members(r->control->fleet, &m, &live);
	events_add(EVENT_CLIENT, "client %s was forgiven by %s (uid %u)%s", client, r->by, r->uid,
		   redis ? event[how] : "");
	if (r->line.json) {
		struct json *j = request_json();
		json_obj_open(j);
		json_key(j, "client");
		json_str(j, str_of(client));
		json_key(j, "shared");
		json_bool(j, shared);
		json_key(j, "live");
		json_u64(j, shared ? live : 1);
		json_obj_close(j);
		request_ok_json(r);
		return;
	}
	if (shared)
		text_add(&r->out, "forgave %s in the store and on %u weir%s\n", client, live,
			 live == 1 ? "" : "s");
	else if (how == FORGIVEN_IN_STORE)
		text_add(&r->out,
			 "forgave %s in the store and on this weir: the others could not be told, and may "
			 "refuse the client until its window ends; do it again in a moment\n",
			 client);
	else if (redis)
		text_add(&r->out,
			 "forgave %s on this weir only: the store is away; do it again when it is back\n",
			 client);
	else
		text_add(&r->out, "forgave %s\n", client);
	request_ok(r);
}

static void finish_forgive(struct forgive *f, bool in_store)
{
	struct request *r = f->request;
	enum forgiven how = in_store ? FORGIVEN_IN_STORE : FORGIVEN_HERE;
	fleet_forget(r->control->fleet, &f->client);
	if (in_store && fleet_forgiven(r->control->fleet, &f->client))
		how = FORGIVEN_EVERYWHERE;
	answer_forgiven(r, f->text, how);
	free(f);
}

static void on_wiped(struct clients_wipe *w, bool well)
{
	finish_forgive(list_entry(w, struct forgive, wipe), well);
}

/* The store first: what it answers after that is of the cleared window, and what it answered before is
 * voided. */
void cmd_clients_forgive(struct request *r)
{
	struct addr a;
	if (!take_client(r, &a))
		return;
	struct forgive *f = calloc(1, sizeof(*f));
	if (!f) {
		request_refuse(r, "out of memory");
		return;
	}
	f->request = r;
	f->client = clients_id(request_conf(r), a);
	f->wipe.done = on_wiped;
	status_client(request_conf(r), &a, f->text);
	if (!clients_wipe(r->control, request_conf(r), &f->client, &f->wipe))
		finish_forgive(f, false);
}

void cmd_clients_reset(struct request *r)
{
	cmd_clients_forgive(r);
}
