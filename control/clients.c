/* SPDX-License-Identifier: MIT */
#include "control/clients.h"

#include <stdio.h>
#include <string.h>

#include "control/status.h"
#include "control/units.h"

#define TOP_MOST 1000

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
		text_add(t, "%s\t%s\t%u\t%u\t%s\t%u\n", client, policy_name(control_conf(c), r[i].policy_key), r[i].used,
			 r[i].limit, units_duration(window, r[i].window_us), r[i].refused);
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
