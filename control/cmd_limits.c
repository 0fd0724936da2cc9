/* SPDX-License-Identifier: MIT */
/* limits status | lift | restore */
#include "control/cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/events.h"
#include "conf/scalar.h"
#include "conf/suggest.h"
#include "control/fleet.h"
#include "control/hosts.h"
#include "control/lift_words.h"
#include "control/request.h"
#include "control/status.h"
#include "control/units.h"

void cmd_limits_status(struct request *r)
{
	if (!r->line.json) {
		status_lifts_text(r->control, &r->out);
		request_ok(r);
		return;
	}
	struct json *j = request_json();
	json_obj_open(j);
	json_key(j, "lifts");
	status_lifts_json(r->control, j);
	json_obj_close(j);
	request_ok_json(r);
}

/* A lift or a restore that waits for the other weirs. */
struct limits_op {
	struct fleet_wait wait;
	struct request *request;
	struct lift lift;
};

/* --- lift: the request's arguments, checked --- */

/* Each of these reads one part; false: the request was answered. */
static bool take_time(struct request *r, struct lift *l)
{
	const char *given = command_value(&r->line, "--for");
	usec_t most = request_conf(r)->rate_limit.max_lift_us, time = 0;
	char text[SCALAR_TEXT];
	const char *wrong = scalar_duration(str_of(given), &time);
	if (wrong)
		request_refuse(r, "--for %s: expected %s", given, wrong);
	else if (time <= 0)
		request_refuse(r, "--for %s: must be above 0", given);
	else if (time > most)
		request_refuse(r, "--for %s: must be at most %s (rate_limit.max_lift)", given,
			       scalar_show_duration(text, most));
	else
		l->until = r->control->loop.now + time;
	return l->until != 0;
}

static bool take_reason(struct request *r, struct lift *l)
{
	const char *given = command_value(&r->line, "--reason");
	if (!given[strspn(given, " ")])
		request_refuse(r, "--reason: must not be empty");
	else if (strlen(given) >= LIFT_REASON)
		request_refuse(r, "--reason: must be shorter than %d bytes", LIFT_REASON);
	else
		snprintf(l->reason, sizeof(l->reason), "%s", given);
	return l->reason[0] != 0;
}

static bool take_clients(struct request *r, struct lift *l)
{
	const char *given, *why;
	struct cidr c;
	unsigned at = 0;
	while ((given = command_next(&r->line, "--client", &at))) {
		if (!cidr_parse(str_of(given), &c, &why)) {
			request_refuse(r, "--client %s: %s", given, why);
			return false;
		}
		if (l->clients == LIFT_CLIENTS) {
			request_refuse(r, "--client: at most %d in one lift", LIFT_CLIENTS);
			return false;
		}
		memcpy(l->client[l->clients].addr, c.addr.b, sizeof(c.addr.b));
		l->client[l->clients++].bits = c.bits;
	}
	return true;
}

static bool has_site(const struct lift *l, struct str name)
{
	for (unsigned i = 0; i < l->sites; i++)
		if (str_eq(str_of(l->site[i]), name))
			return true;
	return false;
}

static bool take_site(struct request *r, struct lift *l, const char *given)
{
	const struct conf_site *site = hosts_site_named(request_conf(r), given);
	if (!site) {
		struct str near = hosts_nearest(request_conf(r), given);
		request_refuse(r, "--site %s: no such site in the config%s%.*s%s", given,
			       near.n ? " (did you mean " : "", (int)near.n, near.n ? near.p : "",
			       near.n ? "?)" : "");
		return false;
	}
	if (has_site(l, site->name))
		return true;
	if (l->sites == LIFT_SITES || site->name.n >= LIFT_SITE) {
		request_refuse(r, "--site: at most %d in one lift", LIFT_SITES);
		return false;
	}
	memcpy(l->site[l->sites++], site->name.p, site->name.n);
	return true;
}

static bool take_sites(struct request *r, struct lift *l)
{
	const char *given;
	unsigned at = 0;
	while ((given = command_next(&r->line, "--site", &at)))
		if (!take_site(r, l, given))
			return false;
	return true;
}

static bool check_scope(struct request *r, const struct lift *l)
{
	bool everyone = command_value(&r->line, "--everyone");
	if (!everyone && !l->clients && !l->sites)
		request_refuse(r, "a scope is missing: --everyone, or --client CIDR, --site HOST or both");
	else if (everyone && (l->clients || l->sites))
		request_refuse(r, "--everyone cannot stand beside --client or --site");
	else
		return true;
	return false;
}

static bool take_lift(struct request *r, struct lift *l)
{
	if (!take_time(r, l) || !take_reason(r, l) || !take_clients(r, l) || !take_sites(r, l) ||
	    !check_scope(r, l))
		return false;
	l->shadow = command_value(&r->line, "--shadow");
	l->uid = r->uid;
	snprintf(l->by, sizeof(l->by), "%s", r->by);
	return true;
}

/* --- lift: begin and answer --- */

static void make_id(char id[LIFT_ID])
{
	uint32_t v;
	if (getrandom(&v, sizeof(v), 0) != (ssize_t)sizeof(v))
		v = (uint32_t)clock_mono();
	snprintf(id, LIFT_ID, "%08x", v);
}

static void lift_json(struct request *r, const struct lift *l, const struct fleet_outcome *o)
{
	struct json *j = request_json();
	json_obj_open(j);
	json_key(j, "lift");
	status_lift_json(l, r->control->loop.now, j);
	json_key(j, "id");
	json_str(j, str_of(l->id));
	json_key(j, "shared");
	json_bool(j, o->shared);
	json_key(j, "weirs");
	json_u64(j, o->done);
	json_key(j, "live");
	json_u64(j, o->live);
	json_obj_close(j);
	request_ok_json(r);
}

/* Why the other weirs, if there are any, do not hear of it now. */
static const char *alone_because(const struct control *c)
{
	return fleet_state(c->fleet) == FLEET_ALONE ? "the store is memory"
						    : "the store is away; it spreads when it is back";
}

static void on_lifted(struct fleet_wait *w, const struct fleet_outcome *o)
{
	struct limits_op *op = list_entry(w, struct limits_op, wait);
	struct request *r = op->request;
	const struct lift *l = &op->lift;
	char until[UNITS_TEXT];
	units_time(until, units_wall_at(l->until, r->control->loop.now));
	if (r->line.json) {
		lift_json(r, l, o);
	} else {
		const char *what = l->shadow ? "lifted in shadow" : "lifted";
		if (fleet_state(r->control->fleet) == FLEET_ALONE || o->shared)
			text_add(&r->out, "%s on %u of %u weirs until %s (id %s)\n", what, o->done, o->live,
				 until, l->id);
		else
			text_add(&r->out, "%s on this weir only until %s (id %s)\n", what, until, l->id);
		if (!o->shared)
			text_add(&r->out, "This weir only: %s.\n", alone_because(r->control));
		request_ok(r);
	}
	free(op);
}

void cmd_limits_lift(struct request *r)
{
	struct limits_op *op = calloc(1, sizeof(*op));
	if (!op) {
		request_refuse(r, "out of memory");
		return;
	}
	if (!take_lift(r, &op->lift)) {
		free(op);
		return;
	}
	make_id(op->lift.id);
	op->request = r;
	op->wait.done = on_lifted;
	if (!fleet_lift(r->control->fleet, &op->lift, &op->wait)) {
		request_refuse(r,
			       "%d lifts are in force, which is the most; end one with `limits restore ID`",
			       LIFTS_MAX);
		free(op);
	}
}

/* --- restore --- */

struct restore_look {
	struct fleet_look look;
	struct limits_op *op;
};

static void restored_json(struct request *r, const struct fleet_wait *w, const struct fleet_outcome *o)
{
	struct json *j = request_json();
	json_obj_open(j);
	json_key(j, "restored");
	json_arr_open(j);
	for (unsigned i = 0; i < w->ids; i++)
		json_str(j, str_of(w->id[i]));
	json_arr_close(j);
	json_key(j, "shared");
	json_bool(j, o->shared);
	json_key(j, "weirs");
	json_u64(j, o->done);
	json_key(j, "live");
	json_u64(j, o->live);
	json_obj_close(j);
	request_ok_json(r);
}

static void on_restored(struct fleet_wait *w, const struct fleet_outcome *o)
{
	struct limits_op *op = list_entry(w, struct limits_op, wait);
	struct request *r = op->request;
	if (r->line.json) {
		restored_json(r, w, o);
	} else {
		text_add(&r->out, "restored %u lift%s (", w->ids, w->ids == 1 ? "" : "s");
		for (unsigned i = 0; i < w->ids; i++)
			text_add(&r->out, "%s%s", i ? " " : "", w->id[i]);
		if (o->shared)
			text_add(&r->out, ") on %u of %u weirs\n", o->done, o->live);
		else
			text_add(&r->out, ") on this weir only: %s\n", alone_because(r->control));
		request_ok(r);
	}
	free(op);
}

static void answer_nothing_lifted(struct request *r)
{
	if (r->line.json) {
		struct fleet_wait none = {.ids = 0};
		restored_json(r, &none, &(struct fleet_outcome){.shared = false});
		return;
	}
	text_add(&r->out, "No lift is in force: the limits are on.\n");
	request_ok(r);
}

static void refuse_id(struct request *r, const char *id, const struct lift *list, unsigned n)
{
	struct suggestion near;
	suggest_start(&near, str_of(id));
	for (unsigned i = 0; i < n; i++)
		suggest_word(&near, str_of(list[i].id));
	request_refuse(r, "no lift %s is in force%s%.*s%s", id, near.best.n ? " (did you mean " : "",
		       (int)near.best.n, near.best.n ? near.best.p : "", near.best.n ? "?)" : "");
}

static void restore(struct limits_op *op)
{
	static struct lift list[LIFTS_MAX];
	struct request *r = op->request;
	const char *id = command_value(&r->line, "ID");
	unsigned n = lifts_list(r->control->lifts, r->control->loop.now, list);
	for (unsigned i = 0; i < n; i++)
		if (!id || strcmp(id, list[i].id) == 0)
			memcpy(op->wait.id[op->wait.ids++], list[i].id, LIFT_ID);
	for (unsigned i = 0; i < op->wait.ids; i++)
		events_add(EVENT_LIFT, "lift %s was restored by %s (uid %u)", op->wait.id[i], r->by, r->uid);
	if (op->wait.ids) {
		op->wait.done = on_restored;
		fleet_restore(r->control->fleet, &op->wait);
		return;
	}
	free(op);
	if (id)
		refuse_id(r, id, list, n);
	else
		answer_nothing_lifted(r);
}

static void on_looked(struct fleet_look *l)
{
	struct restore_look *q = list_entry(l, struct restore_look, look);
	struct limits_op *op = q->op;
	free(q);
	restore(op);
}

/* A lift begun elsewhere a moment ago is to be ended too, so the store is asked first. */
void cmd_limits_restore(struct request *r)
{
	struct restore_look *q = calloc(1, sizeof(*q));
	struct limits_op *op = calloc(1, sizeof(*op));
	if (!q || !op) {
		free(q);
		free(op);
		request_refuse(r, "out of memory");
		return;
	}
	op->request = r;
	q->op = op;
	q->look.done = on_looked;
	fleet_look(r->control->fleet, &q->look);
}
