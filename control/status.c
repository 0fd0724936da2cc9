/* SPDX-License-Identifier: MIT */
#include "control/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/board.h"
#include "base/metric.h"
#include "control/fleet.h"
#include "control/status_store.h"
#include "control/units.h"
#include "proxy/servers.h"

unsigned long status_uptime(const struct control *c)
{
	usec_t up = c->loop.now - atomic_load(&board()->started_us);
	return up > 0 ? (unsigned long)(up / USEC_PER_SEC) : 0;
}

void status_client(const struct conf *conf, const struct addr *a, char out[CIDR_TEXT])
{
	struct cidr c = {*a, addr_is_v4(a) ? 128 : conf->client_ip.ipv6_prefix};
	addr_mask(&c.addr, c.bits);
	cidr_format(out, &c);
}

/* --- lifts --- */

static void write_net(char out[CIDR_TEXT], const struct lift_net *n)
{
	struct cidr c;
	memcpy(c.addr.b, n->addr, sizeof(c.addr.b));
	c.bits = n->bits;
	cidr_format(out, &c);
}

void status_scope(const struct lift *l, struct text *t)
{
	char net[CIDR_TEXT];
	if (!l->clients && !l->sites)
		text_add(t, "everyone");
	for (unsigned i = 0; i < l->clients; i++) {
		write_net(net, &l->client[i]);
		text_add(t, "%s%s", i ? ", " : "", net);
	}
	for (unsigned i = 0; i < l->sites; i++)
		text_add(t, "%s%s", i ? ", " : l->clients ? " on " : "everyone on ", l->site[i]);
}

static void put_scope(const struct lift *l, struct json *j)
{
	char net[CIDR_TEXT];
	json_key(j, "clients");
	json_arr_open(j);
	for (unsigned i = 0; i < l->clients; i++) {
		write_net(net, &l->client[i]);
		json_str(j, str_of(net));
	}
	json_arr_close(j);
	json_key(j, "sites");
	json_arr_open(j);
	for (unsigned i = 0; i < l->sites; i++)
		json_str(j, str_of(l->site[i]));
	json_arr_close(j);
}

void status_scope_json(const struct lift *l, struct json *j)
{
	json_key(j, "id");
	json_str(j, str_of(l->id));
	json_key(j, "reason");
	json_str(j, str_of(l->reason));
	put_scope(l, j);
}

void status_lift_json(const struct lift *l, usec_t now, struct json *j)
{
	char text[UNITS_TEXT];
	json_obj_open(j);
	json_key(j, "id");
	json_str(j, str_of(l->id));
	json_key(j, "until");
	json_str(j, str_of(units_iso(text, units_wall_at(l->until, now))));
	json_key(j, "remaining_s");
	json_u64(j, l->until > now ? (uint64_t)((l->until - now + USEC_PER_SEC - 1) / USEC_PER_SEC) : 0);
	json_key(j, "reason");
	json_str(j, str_of(l->reason));
	json_key(j, "by");
	json_str(j, str_of(l->by));
	json_key(j, "uid");
	json_u64(j, l->uid);
	put_scope(l, j);
	json_key(j, "shadow");
	json_bool(j, l->effect == LIFT_SHADOW);
	json_obj_close(j);
}

static int by_end(const void *a, const void *b)
{
	const struct lift *x = a, *y = b;
	return (x->until > y->until) - (x->until < y->until);
}

/* Lifts, or blocks, in the order in which they end. The list is this module's until the next call. */
static const struct lift *in_force(const struct control *c, bool blocks, unsigned *n)
{
	static struct lift list[LIFTS_MAX];
	unsigned all = lifts_list(c->lifts, c->loop.now, list);
	*n = 0;
	for (unsigned i = 0; i < all; i++)
		if ((list[i].effect == LIFT_BLOCK) == blocks)
			list[(*n)++] = list[i];
	qsort(list, *n, sizeof(list[0]), by_end);
	return list;
}

unsigned status_lifts(const struct control *c)
{
	unsigned n;
	in_force(c, false, &n);
	return n;
}

unsigned status_blocks(const struct control *c)
{
	unsigned n;
	in_force(c, true, &n);
	return n;
}

static void list_json(const struct control *c, bool blocks, struct json *j)
{
	unsigned n;
	const struct lift *l = in_force(c, blocks, &n);
	json_arr_open(j);
	for (unsigned i = 0; i < n; i++)
		status_lift_json(&l[i], c->loop.now, j);
	json_arr_close(j);
}

void status_lifts_json(const struct control *c, struct json *j)
{
	list_json(c, false, j);
}

void status_blocks_json(const struct control *c, struct json *j)
{
	list_json(c, true, j);
}

static void list_text(const struct control *c, bool blocks, struct text *t)
{
	static const char *const modes[] = {
		[LIFT_FULL] = "lifted\t", [LIFT_SHADOW] = "shadow\t", [LIFT_BLOCK] = ""};
	unsigned n;
	char left[UNITS_TEXT], until[UNITS_TEXT];
	const struct lift *l = in_force(c, blocks, &n);
	size_t mark = t->n;
	if (!n) {
		text_add(t, blocks ? "No client is blocked.\n" : "No lift is in force: the limits are on.\n");
		return;
	}
	text_add(t, "ID\tLEFT\tUNTIL\t%s\tBY\tREASON\n", blocks ? "CLIENTS" : "MODE\tSCOPE");
	for (unsigned i = 0; i < n; i++) {
		usec_t now = c->loop.now;
		text_add(t, "%s\t%s\t%s\t%s", l[i].id, units_duration(left, l[i].until - now),
			 units_time(until, units_wall_at(l[i].until, now)), modes[l[i].effect]);
		status_scope(&l[i], t);
		text_add(t, "\t%s (uid %u)\t%s\n", l[i].by, l[i].uid, l[i].reason);
	}
	text_align(t, mark);
}

void status_lifts_text(const struct control *c, struct text *t)
{
	list_text(c, false, t);
}

void status_blocks_text(const struct control *c, struct text *t)
{
	list_text(c, true, t);
}

/* --- upstreams --- */

void status_each_server(const struct control *c, void (*row)(void *, const struct server_row *), void *ctx)
{
	for (unsigned i = 0; i < SERVERS_MAX; i++) {
		const struct server_row *r = servers_row(i);
		if (r && atomic_load(&r->generation) >= c->info.generation)
			row(ctx, r);
	}
}

struct server_facts {
	const char *health;
	unsigned in_flight, failures;
	double latency_ms;
	uint64_t requests, failed;
	usec_t back_us; /* until it is in turn again; 0 while it is */
};

static struct server_facts server_facts(const struct server_row *r, usec_t now)
{
	usec_t back = atomic_load(&r->ejected_until) - now;
	struct server_facts f = {
		.in_flight = atomic_load(&r->in_flight),
		.failures = atomic_load(&r->failures),
		.latency_ms = (double)atomic_load(&r->latency_us) / 1e3,
		.requests = atomic_load(&r->requests),
		.failed = atomic_load(&r->failed),
		.back_us = back > 0 ? back : 0,
	};
	f.health = f.back_us ? "ejected" : f.failures ? "suspect" : "healthy";
	return f;
}

struct upstream_writer {
	usec_t now;
	struct json *json;
	struct text *text;
};

static void upstream_json(void *ctx, const struct server_row *r)
{
	struct upstream_writer *w = ctx;
	struct json *j = w->json;
	struct server_facts f = server_facts(r, w->now);
	json_obj_open(j);
	json_key(j, "upstream");
	json_str(j, str_of(r->upstream));
	json_key(j, "server");
	json_str(j, str_of(r->server));
	json_key(j, "health");
	json_str(j, str_of(f.health));
	json_key(j, "in_flight");
	json_u64(j, f.in_flight);
	json_key(j, "latency_ms");
	json_double(j, f.latency_ms, 3);
	json_key(j, "requests");
	json_u64(j, f.requests);
	json_key(j, "failed");
	json_u64(j, f.failed);
	json_key(j, "failures_in_a_row");
	json_u64(j, f.failures);
	json_key(j, "back_in_s");
	json_double(j, (double)f.back_us / 1e6, 1);
	json_obj_close(j);
}

void status_upstreams_json(const struct control *c, struct json *j)
{
	struct upstream_writer w = {.now = c->loop.now, .json = j};
	json_arr_open(j);
	status_each_server(c, upstream_json, &w);
	json_arr_close(j);
}

static void upstream_text(void *ctx, const struct server_row *r)
{
	struct upstream_writer *w = ctx;
	struct server_facts f = server_facts(r, w->now);
	char back[UNITS_TEXT], health[UNITS_TEXT * 2];
	snprintf(health, sizeof(health), f.back_us ? "%s for %s" : "%s", f.health,
		 units_duration(back, f.back_us));
	text_add(w->text, "%s\t%s\t%s\t%u\t%.1f\t%llu\t%llu\n", r->upstream, r->server, health, f.in_flight,
		 f.latency_ms, (unsigned long long)f.requests, (unsigned long long)f.failed);
}

void status_upstreams_text(const struct control *c, struct text *t)
{
	struct upstream_writer w = {.now = c->loop.now, .text = t};
	size_t mark = t->n;
	text_add(t, "UPSTREAM\tSERVER\tHEALTH\tIN FLIGHT\tLATENCY MS\tREQUESTS\tFAILED\n");
	status_each_server(c, upstream_text, &w);
	text_align(t, mark);
}

/* --- all of it --- */

static void each_worker(void (*row)(void *, const struct proc *), void *ctx)
{
	for (unsigned i = 0; i < PROC_MAX; i++) {
		const struct proc *p = &board()->proc[i];
		if (atomic_load(&p->kind) == PROC_WORKER && atomic_load(&p->state) != PROC_FREE)
			row(ctx, p);
	}
}

static void worker_json(void *ctx, const struct proc *p)
{
	struct json *j = ctx;
	json_obj_open(j);
	json_key(j, "worker");
	json_u64(j, atomic_load(&p->worker));
	json_key(j, "pid");
	json_i64(j, atomic_load(&p->pid));
	json_key(j, "state");
	json_str(j, str_of(proc_state_name((enum proc_state)atomic_load(&p->state))));
	json_key(j, "clients");
	json_u64(j, atomic_load(&p->clients));
	json_key(j, "generation");
	json_u64(j, atomic_load(&p->generation));
	json_obj_close(j);
}

static void worker_text(void *ctx, const struct proc *p)
{
	struct text *t = ctx;
	text_add(t, "  worker %u\tpid %d\t%s\t%u clients\n", atomic_load(&p->worker), atomic_load(&p->pid),
		 proc_state_name((enum proc_state)atomic_load(&p->state)), atomic_load(&p->clients));
}

static void count_serving(void *ctx, const struct proc *p)
{
	*(unsigned *)ctx += atomic_load(&p->state) == PROC_SERVING;
}

static unsigned serving_workers(void)
{
	unsigned n = 0;
	each_worker(count_serving, &n);
	return n;
}

static void reload_json(struct json *j)
{
	json_key(j, "config");
	json_str(j, str_of(board()->config_hash));
	json_key(j, "generation");
	json_u64(j, atomic_load(&board()->generation));
	json_key(j, "reloads_failed");
	json_u64(j, atomic_load(&board()->reloads_failed));
	json_key(j, "draining");
	json_bool(j, atomic_load(&board()->draining));
}

void status_json(const struct control *c, struct json *j)
{
	json_obj_open(j);
	json_key(j, "version");
	json_str(j, str_of(WEIR_VERSION));
	json_key(j, "uptime_s");
	json_u64(j, status_uptime(c));
	json_key(j, "workers");
	json_u64(j, serving_workers());
	json_key(j, "processes");
	json_arr_open(j);
	each_worker(worker_json, j);
	json_arr_close(j);
	json_key(j, "requests_per_s");
	json_double(j, rates_a_second(&c->rates), 1);
	json_key(j, "connections");
	json_u64(j, metric_family_sum(METRIC_CONNECTIONS, NULL));
	json_key(j, "store");
	status_store_json(c, j);
	json_key(j, "fleet");
	json_u64(j, atomic_load(&board()->fleet));
	json_key(j, "lifts");
	status_lifts_json(c, j);
	json_key(j, "blocks");
	status_blocks_json(c, j);
	json_key(j, "upstreams");
	status_upstreams_json(c, j);
	reload_json(j);
	json_obj_close(j);
}

void status_summary_text(const struct control *c, struct text *t)
{
	char up[UNITS_TEXT], rate[UNITS_TEXT];
	unsigned lifts = status_lifts(c), blocks = status_blocks(c);
	size_t mark = t->n;
	text_add(t, "weir\t%s%s\n", WEIR_VERSION, atomic_load(&board()->draining) ? ", draining" : "");
	text_add(t, "uptime\t%s\n", units_duration(up, (usec_t)status_uptime(c) * USEC_PER_SEC));
	text_add(t, "config\t%s (generation %u)\n", board()->config_hash, atomic_load(&board()->generation));
	text_add(t, "requests\t%s a second, %llu connections\n", units_rate(rate, rates_a_second(&c->rates)),
		 (unsigned long long)metric_family_sum(METRIC_CONNECTIONS, NULL));
	status_store_text(c, t);
	text_add(t, lifts ? "limits\tLIFTED: %u lift%s in force\n" : "limits\ton\n", lifts,
		 lifts == 1 ? "" : "s");
	if (blocks)
		text_add(t, "blocked\t%u in force\n", blocks);
	text_align(t, mark);
	text_add(t, "\nWorkers\n");
	mark = t->n;
	each_worker(worker_text, t);
	text_align(t, mark);
}

void status_text(const struct control *c, struct text *t)
{
	status_summary_text(c, t);
	if (status_lifts(c)) {
		text_add(t, "\nLifts\n");
		status_lifts_text(c, t);
	}
	if (status_blocks(c)) {
		text_add(t, "\nBlocked\n");
		status_blocks_text(c, t);
	}
	text_add(t, "\nUpstreams\n");
	status_upstreams_text(c, t);
}
