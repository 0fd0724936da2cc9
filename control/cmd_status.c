/* SPDX-License-Identifier: MIT */
/* status, fleet, events, upstreams, stats, config show, reload, drain */
#include "control/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/board.h"
#include "base/events.h"
#include "base/metric.h"
#include "conf/scalar.h"
#include "control/fleet.h"
#include "control/request.h"
#include "control/status.h"
#include "control/units.h"

void cmd_status(struct request *r)
{
	if (r->line.json) {
		status_json(r->control, request_json());
		request_ok_json(r);
		return;
	}
	status_text(r->control, &r->out);
	request_ok(r);
}

void cmd_upstreams(struct request *r)
{
	if (!r->line.json) {
		status_upstreams_text(r->control, &r->out);
		request_ok(r);
		return;
	}
	struct json *j = request_json();
	json_obj_open(j);
	json_key(j, "upstreams");
	status_upstreams_json(r->control, j);
	json_obj_close(j);
	request_ok_json(r);
}

/* --- fleet --- */

static void member_json(const struct fleet_member *m, struct json *j)
{
	json_obj_open(j);
	json_key(j, "id");
	json_str(j, str_of(m->id));
	json_key(j, "host");
	json_str(j, str_of(m->host));
	json_key(j, "version");
	json_str(j, str_of(m->version));
	json_key(j, "config");
	json_str(j, str_of(m->config));
	json_key(j, "workers");
	json_u64(j, m->workers);
	json_key(j, "uptime_s");
	json_u64(j, m->uptime_s);
	json_key(j, "self");
	json_bool(j, m->self);
	json_key(j, "lifts");
	json_arr_open(j);
	for (unsigned i = 0; i < m->lifts; i++)
		json_str(j, str_of(m->lift[i]));
	json_arr_close(j);
	json_obj_close(j);
}

static void fleet_answer_json(struct request *r, const struct fleet_member *m, unsigned n, unsigned live)
{
	struct json *j = request_json();
	json_obj_open(j);
	json_key(j, "live");
	json_u64(j, live);
	json_key(j, "store");
	json_str(j, str_of(fleet_state_name(fleet_state(r->control->fleet))));
	json_key(j, "weirs");
	json_arr_open(j);
	for (unsigned i = 0; i < n; i++)
		member_json(&m[i], j);
	json_arr_close(j);
	json_obj_close(j);
	request_ok_json(r);
}

static void member_text(const struct fleet_member *m, struct text *t)
{
	char up[UNITS_TEXT];
	text_add(t, "%s%s\t%s\t%s\t%s\t%u\t%s\t", m->id, m->self ? " (this)" : "", m->host, m->version,
		 m->config, m->workers, units_duration(up, (usec_t)m->uptime_s * USEC_PER_SEC));
	for (unsigned i = 0; i < m->lifts; i++)
		text_add(t, "%s%s", i ? " " : "", m->lift[i]);
	text_add(t, m->lifts ? "\n" : "-\n");
}

static const char *fleet_remark(enum fleet_state s)
{
	switch (s) {
	case FLEET_ALONE:
		return "The store is memory: this weir shares its limits with no other.\n";
	case FLEET_CONNECTING:
		return "The store has not answered yet: only this weir is known.\n";
	case FLEET_AWAY:
		return "The store is away: this is what was known last.\n";
	case FLEET_READY:
		break;
	}
	return "";
}

struct fleet_request {
	struct fleet_look look;
	struct request *request;
};

static void on_fleet_looked(struct fleet_look *l)
{
	struct fleet_request *q = list_entry(l, struct fleet_request, look);
	struct request *r = q->request;
	const struct fleet_member *m;
	unsigned live, n = fleet_members(r->control->fleet, &m, &live);
	free(q);
	if (r->line.json) {
		fleet_answer_json(r, m, n, live);
		return;
	}
	text_add(&r->out, "ID\tHOST\tVERSION\tCONFIG\tWORKERS\tUPTIME\tLIFTS\n");
	for (unsigned i = 0; i < n; i++)
		member_text(&m[i], &r->out);
	text_align(&r->out, 0);
	if (live > n)
		text_add(&r->out, "and %u more\n", live - n);
	text_add(&r->out, "%s", fleet_remark(fleet_state(r->control->fleet)));
	request_ok(r);
}

void cmd_fleet(struct request *r)
{
	struct fleet_request *q = calloc(1, sizeof(*q));
	if (!q) {
		request_refuse(r, "out of memory");
		return;
	}
	*q = (struct fleet_request){.look = {.done = on_fleet_looked}, .request = r};
	fleet_look(r->control->fleet, &q->look);
}

/* --- events --- */

static void events_json(struct request *r, const struct event_row *e, unsigned n)
{
	char at[UNITS_TEXT];
	struct json *j = request_json();
	json_obj_open(j);
	json_key(j, "events");
	json_arr_open(j);
	for (unsigned i = 0; i < n; i++) {
		json_obj_open(j);
		json_key(j, "seq");
		json_u64(j, e[i].seq);
		json_key(j, "time");
		json_str(j, str_of(units_iso(at, e[i].at)));
		json_key(j, "kind");
		json_str(j, str_of(event_kind_name(e[i].kind)));
		json_key(j, "pid");
		json_i64(j, e[i].pid);
		json_key(j, "text");
		json_str(j, str_of(e[i].text));
		json_obj_close(j);
	}
	json_arr_close(j);
	json_obj_close(j);
	request_ok_json(r);
}

static void events_text(struct request *r, const struct event_row *e, unsigned n)
{
	char at[UNITS_TEXT], whose[32];
	for (unsigned i = 0; i < n; i++) {
		snprintf(whose, sizeof(whose), "%s[%d]", event_kind_name(e[i].kind), e[i].pid);
		text_add(&r->out, "%s  %-18s  %s\n", units_time(at, e[i].at), whose, e[i].text);
	}
	if (!n)
		text_add(&r->out, "Nothing has happened yet.\n");
	request_ok(r);
}

void cmd_events(struct request *r)
{
	static struct event_row row[EVENTS_KEPT];
	const char *given = command_value(&r->line, "-n");
	uint64_t n = 20;
	if (given && (scalar_count(str_of(given), &n) || n < 1 || n > EVENTS_KEPT)) {
		request_usage(r, "-n %s: expected a whole number from 1 to %d", given, EVENTS_KEPT);
		return;
	}
	unsigned count = events_last(row, (unsigned)n);
	if (r->line.json)
		events_json(r, row, count);
	else
		events_text(r, row, count);
}

/* --- stats --- */

struct stats_writer {
	struct json *json;
	struct text *text;
};

static void stats_row(struct stats_writer *w, const char *name, const char *labels, uint64_t value)
{
	if (!w->json) {
		text_add(w->text, "%s%s%s%s\t%llu\n", name, *labels ? "{" : "", labels, *labels ? "}" : "",
			 (unsigned long long)value);
		return;
	}
	json_obj_open(w->json);
	json_key(w->json, "name");
	json_str(w->json, str_of(name));
	json_key(w->json, "labels");
	json_str(w->json, str_of(labels));
	json_key(w->json, "value");
	json_u64(w->json, value);
	json_obj_close(w->json);
}

/* Latencies are told by /metrics alone: their buckets say nothing to the eye. */
static void stats_series(void *ctx, enum metric m, const char *labels, uint64_t value)
{
	struct stats_writer *w = ctx;
	if (metric_rows[m].type != METRIC_HISTOGRAM)
		stats_row(w, metric_rows[m].name, labels, value);
}

void cmd_stats(struct request *r)
{
	struct stats_writer w = {.text = &r->out};
	if (!r->line.json) {
		text_add(&r->out, "COUNTER\tVALUE\n");
		metric_walk(stats_series, &w);
		text_align(&r->out, 0);
		request_ok(r);
		return;
	}
	w.json = request_json();
	json_obj_open(w.json);
	json_key(w.json, "stats");
	json_arr_open(w.json);
	metric_walk(stats_series, &w);
	json_arr_close(w.json);
	json_obj_close(w.json);
	request_ok_json(r);
}

/* --- config show --- */

void cmd_config_show(struct request *r)
{
	char *yaml = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&yaml, &n);
	if (!f) {
		request_refuse(r, "out of memory");
		return;
	}
	conf_print(request_conf(r), f);
	if (fclose(f) != 0) {
		request_refuse(r, "out of memory");
	} else if (r->line.json) {
		struct json *j = request_json();
		json_obj_open(j);
		json_key(j, "hash");
		json_str(j, str_of(request_conf(r)->hash));
		json_key(j, "config");
		json_str(j, (struct str){yaml, n});
		json_obj_close(j);
		request_ok_json(r);
	} else {
		text_bytes(&r->out, yaml, n);
		request_ok(r);
	}
	free(yaml);
}

/* --- reload, drain --- */

struct reload_request {
	struct reload_wait wait;
	struct request *request;
};

/* The next line of the text; false: it has no more. */
static bool next_line(const char **text, struct str *line)
{
	*line = (struct str){*text, strcspn(*text, "\n")};
	*text += line->n + (line->p[line->n] == '\n');
	return line->n > 0;
}

/* `text`: the hash, and a line for each warning. */
static void answer_reloaded(struct request *r, const char *text)
{
	struct str hash, line;
	next_line(&text, &hash);
	if (!r->line.json) {
		text_add(&r->out, "reloaded: config %.*s is in force\n", (int)hash.n, hash.p);
		while (next_line(&text, &line))
			text_add(&r->out, "warning: %.*s\n", (int)line.n, line.p);
		request_ok(r);
		return;
	}
	struct json *j = request_json();
	json_obj_open(j);
	json_key(j, "hash");
	json_str(j, hash);
	json_key(j, "warnings");
	json_arr_open(j);
	while (next_line(&text, &line))
		json_str(j, line);
	json_arr_close(j);
	json_obj_close(j);
	request_ok_json(r);
}

static void on_reloaded(struct reload_wait *w, bool answered, bool well, const char *text)
{
	struct reload_request *q = list_entry(w, struct reload_request, wait);
	struct request *r = q->request;
	free(q);
	if (!answered)
		request_refuse(r, "the master has not answered within 15 s; the log tells more");
	else if (!well)
		request_refuse(r, "%s", text);
	else
		answer_reloaded(r, text);
}

static void name_for_log(const struct request *r, char *out, size_t cap)
{
	snprintf(out, cap, "%s (uid %u)", r->by, r->uid);
}

void cmd_reload(struct request *r)
{
	char who[LIFT_BY + 32];
	struct reload_request *q = calloc(1, sizeof(*q));
	if (!q) {
		request_refuse(r, "out of memory");
		return;
	}
	*q = (struct reload_request){.wait = {.done = on_reloaded}, .request = r};
	name_for_log(r, who, sizeof(who));
	if (control_reload(r->control, &q->wait, who))
		return;
	free(q);
	request_refuse(r, "the master cannot be told: %s", strerror(errno));
}

void cmd_drain(struct request *r)
{
	char who[LIFT_BY + 32];
	name_for_log(r, who, sizeof(who));
	if (!control_tell(r->control, MSG_DRAIN_ASKED, who)) {
		request_refuse(r, "the master cannot be told: %s", strerror(errno));
		return;
	}
	if (r->line.json) {
		struct json *j = request_json();
		json_obj_open(j);
		json_key(j, "draining");
		json_bool(j, true);
		json_obj_close(j);
		request_ok_json(r);
		return;
	}
	text_add(&r->out, "draining: weir ends when its requests are answered\n");
	request_ok(r);
}
