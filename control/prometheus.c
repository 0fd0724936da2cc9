/* SPDX-License-Identifier: MIT */
#include "control/prometheus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/board.h"
#include "base/metric.h"
#include "control/fleet.h"
#include "control/status.h"
#include "control/status_store.h"
#include "proxy/servers.h"

/* --- families that are counted --- */

/* One histogram: the series of a family whose labels differ in `le` alone. */
struct gathered {
	char labels[METRIC_LABELS];
	uint64_t bucket[HISTOGRAM_BUCKETS + 1];
	uint64_t sum_us;
};

struct writer {
	struct text *text;
	int family; /* whose heading was written last; -1: none */
	struct gathered *row;
	unsigned rows, room;
};

static const char *const type_names[] = {"counter", "gauge", "histogram"};

static void heading(struct text *t, const char *name, const char *type, const char *help)
{
	text_add(t, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void write_bound(char *out, size_t cap, int i)
{
	if (i < HISTOGRAM_BUCKETS)
		snprintf(out, cap, "%g", (double)histogram_bounds[i] / 1e6);
	else
		snprintf(out, cap, "+Inf");
}

static void write_histogram(struct text *t, const char *name, const struct gathered *g)
{
	uint64_t sum = 0;
	char bound[32];
	const char *comma = g->labels[0] ? "," : "", *open = g->labels[0] ? "{" : "",
		   *close = g->labels[0] ? "}" : "";
	for (int i = 0; i <= HISTOGRAM_BUCKETS; i++) {
		sum += g->bucket[i];
		write_bound(bound, sizeof(bound), i);
		text_add(t, "%s_bucket{%s%sle=\"%s\"} %llu\n", name, g->labels, comma, bound,
			 (unsigned long long)sum);
	}
	text_add(t, "%s_sum%s%s%s %.6f\n", name, open, g->labels, close, (double)g->sum_us / 1e6);
	text_add(t, "%s_count%s%s%s %llu\n", name, open, g->labels, close, (unsigned long long)sum);
}

static void finish_family(struct writer *w)
{
	for (unsigned i = 0; i < w->rows; i++)
		write_histogram(w->text, metric_rows[w->family].name, &w->row[i]);
	w->rows = 0;
}

/* Families without a series yet have a heading too: what there will be can be seen. */
static void begin_families(struct writer *w, int up_to)
{
	while (w->family < up_to) {
		if (w->family >= 0)
			finish_family(w);
		const struct metric_row *r = &metric_rows[++w->family];
		heading(w->text, r->name, type_names[r->type], r->help);
	}
}

static struct gathered *gather_into(struct writer *w, const char *labels, size_t n)
{
	for (unsigned i = 0; i < w->rows; i++)
		if (strlen(w->row[i].labels) == n && memcmp(w->row[i].labels, labels, n) == 0)
			return &w->row[i];
	if (w->rows == w->room) {
		unsigned room = w->room ? w->room * 2 : 16;
		struct gathered *more = realloc(w->row, room * sizeof(*more));
		if (!more)
			return NULL;
		w->row = more;
		w->room = room;
	}
	struct gathered *g = &w->row[w->rows++];
	memset(g, 0, sizeof(*g));
	memcpy(g->labels, labels, n);
	return g;
}

/* `site="x",le="0.5"` or `site="x",sum_us`: what stands last says which of a histogram's values it is. */
static void gather(struct writer *w, const char *labels, uint64_t value)
{
	char want[40], bound[32];
	size_t n = strlen(labels);
	const char *last = n >= 6 && strcmp(labels + n - 6, "sum_us") == 0 ? labels + n - 6 : NULL;
	for (int i = 0; !last && i <= HISTOGRAM_BUCKETS; i++) {
		write_bound(bound, sizeof(bound), i);
		size_t len = (size_t)snprintf(want, sizeof(want), "le=\"%s\"", bound);
		if (n < len || strcmp(labels + n - len, want) != 0)
			continue;
		struct gathered *g = gather_into(w, labels, n == len ? 0 : n - len - 1);
		if (g)
			g->bucket[i] += value;
		return;
	}
	struct gathered *g =
		last ? gather_into(w, labels, last == labels ? 0 : (size_t)(last - labels) - 1) : NULL;
	if (g)
		g->sum_us += value;
}

static void sample(struct text *t, const char *name, const char *labels, uint64_t value)
{
	bool any = labels[0];
	text_add(t, "%s%s%s%s %lld\n", name, any ? "{" : "", labels, any ? "}" : "", (long long)value);
}

static void on_series(void *ctx, enum metric m, const char *labels, uint64_t value)
{
	struct writer *w = ctx;
	begin_families(w, (int)m);
	if (metric_rows[m].type == METRIC_HISTOGRAM)
		gather(w, labels, value);
	else
		sample(w->text, metric_rows[m].name, labels, value);
}

/* --- families that are looked up --- */

static void in_force(const struct control *c, const char *name, bool blocks, struct text *t)
{
	static struct lift list[LIFTS_MAX];
	unsigned of[LIFT_BLOCK + 1] = {0}, n = lifts_list(c->lifts, c->loop.now, list);
	for (unsigned i = 0; i < n; i++)
		of[list[i].effect]++;
	sample(t, name, blocks ? "" : "mode=\"full\"", of[blocks ? LIFT_BLOCK : LIFT_FULL]);
	if (!blocks)
		sample(t, name, "mode=\"shadow\"", of[LIFT_SHADOW]);
}

static void lift_active(const struct control *c, const char *name, struct text *t)
{
	in_force(c, name, false, t);
}

static void block_active(const struct control *c, const char *name, struct text *t)
{
	in_force(c, name, true, t);
}

static void fleet_size(const struct control *c, const char *name, struct text *t)
{
	(void)c;
	sample(t, name, "", atomic_load(&board()->fleet));
}

static void store_nodes(const struct control *c, const char *name, struct text *t)
{
	unsigned in[STORE_STATES];
	status_store_states(c, in);
	for (unsigned i = 0; i < STORE_STATES; i++) {
		char labels[METRIC_LABELS];
		metric_label(labels, sizeof(labels), "state", store_state_name((enum store_state)i));
		sample(t, name, labels, in[i]);
	}
}

static void store_may_evict(const struct control *c, const char *name, struct text *t)
{
	unsigned may_evict;
	uint64_t evicted;
	status_store_evictions(c, &may_evict, &evicted);
	sample(t, name, "", may_evict);
}

static void store_evicted(const struct control *c, const char *name, struct text *t)
{
	unsigned may_evict;
	uint64_t evicted;
	status_store_evictions(c, &may_evict, &evicted);
	sample(t, name, "", evicted);
}

static void config_info(const struct control *c, const char *name, struct text *t)
{
	char labels[METRIC_LABELS];
	(void)c;
	metric_label(labels, sizeof(labels), "hash", board()->config_hash);
	sample(t, name, labels, 1);
}

static void config_generation(const struct control *c, const char *name, struct text *t)
{
	(void)c;
	sample(t, name, "", atomic_load(&board()->generation));
}

static void reload_failures(const struct control *c, const char *name, struct text *t)
{
	(void)c;
	sample(t, name, "", atomic_load(&board()->reloads_failed));
}

static void build_info(const struct control *c, const char *name, struct text *t)
{
	char labels[METRIC_LABELS];
	(void)c;
	metric_label(labels, sizeof(labels), "version", WEIR_VERSION);
	sample(t, name, labels, 1);
}

static void uptime(const struct control *c, const char *name, struct text *t)
{
	sample(t, name, "", status_uptime(c));
}

static void workers(const struct control *c, const char *name, struct text *t)
{
	unsigned in[PROC_LEAVING + 1] = {0};
	(void)c;
	for (unsigned i = 0; i < PROC_MAX; i++) {
		unsigned state = atomic_load(&board()->proc[i].state);
		if (atomic_load(&board()->proc[i].kind) == PROC_WORKER && state <= PROC_LEAVING)
			in[state]++;
	}
	for (enum proc_state s = PROC_STARTING; s <= PROC_LEAVING; s++) {
		char labels[METRIC_LABELS];
		metric_label(labels, sizeof(labels), "state", proc_state_name(s));
		sample(t, name, labels, in[s]);
	}
}

static struct table_stats table_now(const struct control *c)
{
	struct table_stats s = {0};
	if (c->table)
		table_stats_read(c->table, &s);
	return s;
}

static void table_used(const struct control *c, const char *name, struct text *t)
{
	sample(t, name, "", table_now(c).entries);
}

static void table_capacity(const struct control *c, const char *name, struct text *t)
{
	sample(t, name, "", table_now(c).slots);
}

static void table_evictions(const struct control *c, const char *name, struct text *t)
{
	sample(t, name, "", table_now(c).evictions);
}

static void table_carried(const struct control *c, const char *name, struct text *t)
{
	sample(t, name, "", table_now(c).carried);
}

static void table_replayed(const struct control *c, const char *name, struct text *t)
{
	sample(t, name, "", table_now(c).replayed);
}

static void table_merges(const struct control *c, const char *name, struct text *t)
{
	sample(t, name, "", table_now(c).merges);
}

static void table_busy(const struct control *c, const char *name, struct text *t)
{
	sample(t, name, "", table_now(c).busy);
}

static void table_log_used(const struct control *c, const char *name, struct text *t)
{
	sample(t, name, "", table_now(c).chunks_used);
}

static void table_log_capacity(const struct control *c, const char *name, struct text *t)
{
	sample(t, name, "", table_now(c).chunks);
}

struct server_writer {
	const char *name;
	struct text *text;
	usec_t now;
	uint64_t (*value)(const struct server_row *, usec_t now);
};

static void server_sample(void *ctx, const struct server_row *r)
{
	struct server_writer *w = ctx;
	char labels[SERVERS_NAME * 2 + 64];
	size_t n = metric_label(labels, SERVERS_NAME + 32, "upstream", r->upstream);
	labels[n++] = ',';
	metric_label(labels + n, sizeof(labels) - n, "server", r->server);
	sample(w->text, w->name, labels, w->value(r, w->now));
}

static uint64_t server_healthy(const struct server_row *r, usec_t now)
{
	return !server_ejected(r, now);
}

static uint64_t server_in_flight(const struct server_row *r, usec_t now)
{
	(void)now;
	return atomic_load(&r->in_flight);
}

static void up_healthy(const struct control *c, const char *name, struct text *t)
{
	struct server_writer w = {name, t, c->loop.now, server_healthy};
	status_each_server(c, server_sample, &w);
}

static void up_in_flight(const struct control *c, const char *name, struct text *t)
{
	struct server_writer w = {name, t, c->loop.now, server_in_flight};
	status_each_server(c, server_sample, &w);
}

const struct prometheus_row prometheus_rows[] = {
	{"weir_lift_active", "gauge", "Lifts in force on this weir.", lift_active},
	{"weir_blocks_active", "gauge", "Blocks in force on this weir.", block_active},
	{"weir_fleet_size", "gauge", "Live weirs on the store; 0 while it was never learned.", fleet_size},
	{"weir_store_nodes", "gauge", "Servers of the store by the state of control's connection to them.",
	 store_nodes},
	{"weir_store_may_evict", "gauge", "Servers of the store whose maxmemory-policy may evict keys.",
	 store_may_evict},
	{"weir_store_evicted_keys", "gauge", "Keys that the store's servers have evicted since they started.",
	 store_evicted},
	{"weir_config_info", "gauge", "The config in force, by its hash.", config_info},
	{"weir_config_generation", "gauge", "Configs taken into force since the start.", config_generation},
	{"weir_config_reload_failures_total", "counter", "Reloads that were refused.", reload_failures},
	{"weir_build_info", "gauge", "The version of this weir.", build_info},
	{"weir_uptime_seconds", "gauge", "Time since this weir started.", uptime},
	{"weir_workers", "gauge", "Worker processes by state.", workers},
	{"weir_client_table_used", "gauge", "Entries of the client table in use.", table_used},
	{"weir_client_table_capacity", "gauge", "Entries that the client table has.", table_capacity},
	{"weir_client_table_evictions_total", "counter", "Clients forgotten while they still counted.",
	 table_evictions},
	{"weir_journal_carried_total", "counter", "Admissions that the store was told of afterwards.",
	 table_carried},
	{"weir_journal_replayed_total", "counter", "Admissions that the store had lost and is told of again.",
	 table_replayed},
	{"weir_client_table_merges_total", "counter",
	 "Admissions noted later than they were, for want of memory.", table_merges},
	{"weir_client_table_busy_total", "counter",
	 "Look-ups given up because another process held the lock.", table_busy},
	{"weir_client_log_chunks_used", "gauge", "Chunks of admission logs in use.", table_log_used},
	{"weir_client_log_chunks_capacity", "gauge", "Chunks of admission logs that there are.",
	 table_log_capacity},
	{"weir_upstream_server_healthy", "gauge", "1 while the server is in turn, 0 while it is ejected.",
	 up_healthy},
	{"weir_upstream_server_requests_active", "gauge", "Requests in flight to the server.", up_in_flight},
};
const unsigned prometheus_rows_n = sizeof(prometheus_rows) / sizeof(prometheus_rows[0]);

void prometheus_write_counted(struct text *t)
{
	struct writer w = {.text = t, .family = -1};
	metric_walk(on_series, &w);
	begin_families(&w, METRIC_MAX - 1);
	finish_family(&w);
	free(w.row);
}

void prometheus_write(const struct control *c, struct text *t)
{
	prometheus_write_counted(t);
	for (unsigned i = 0; i < prometheus_rows_n; i++) {
		const struct prometheus_row *r = &prometheus_rows[i];
		heading(t, r->name, r->type, r->help);
		r->write(c, r->name, t);
	}
}
