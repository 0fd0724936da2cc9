/* SPDX-License-Identifier: MIT */
#include "proxy/servers.h"

#include <stdio.h>
#include <string.h>

struct servers {
	struct server_row row[SERVERS_MAX];
};

static struct servers *table;

size_t servers_bytes(void)
{
	return sizeof(struct servers);
}

void servers_attach(void *section)
{
	table = section;
}

static bool named(const struct server_row *r, struct str upstream, struct str server)
{
	return str_eq(str_of(r->upstream), upstream) && str_eq(str_of(r->server), server);
}

struct server_row *servers_row(unsigned i)
{
	struct server_row *r = &table->row[i];
	return atomic_load_explicit(&r->generation, memory_order_acquire) ? r : NULL;
}

struct server_row *servers_find(struct str upstream, struct str server)
{
	for (unsigned i = 0; i < SERVERS_MAX; i++) {
		struct server_row *r = servers_row(i);
		if (r && named(r, upstream, server))
			return r;
	}
	return NULL;
}

static struct server_row *free_row(uint32_t oldest)
{
	for (unsigned i = 0; i < SERVERS_MAX; i++)
		if (atomic_load(&table->row[i].generation) < oldest ||
		    !atomic_load(&table->row[i].generation))
			return &table->row[i];
	return NULL;
}

static bool claim(struct str upstream, struct str server, uint32_t generation, uint32_t oldest)
{
	struct server_row *r = servers_find(upstream, server);
	if (!r) {
		r = free_row(oldest);
		if (!r)
			return false;
		memset((void *)r, 0, sizeof(*r));
		snprintf(r->upstream, sizeof(r->upstream), "%.*s", (int)upstream.n, upstream.p);
		snprintf(r->server, sizeof(r->server), "%.*s", (int)server.n, server.p);
	}
	atomic_store_explicit(&r->generation, generation, memory_order_release);
	return true;
}

bool servers_claim(const struct conf *conf, uint32_t generation, uint32_t oldest)
{
	for (unsigned u = 0; u < conf->upstreams; u++) {
		const struct conf_upstream *up = &conf->upstream[u];
		for (unsigned s = 0; s < up->servers; s++)
			if (!claim(up->name, up->server[s].text, generation, oldest))
				return false;
	}
	return true;
}

void servers_recover(unsigned slot)
{
	for (unsigned i = 0; i < SERVERS_MAX; i++) {
		struct server_row *r = &table->row[i];
		if (!atomic_load(&r->generation))
			continue;
		atomic_fetch_sub(&r->in_flight, atomic_exchange(&r->own[slot], 0));
	}
}

void server_begin(struct server_row *r)
{
	/* in_flight is never below the sum of own, wherever a process is killed: it must not fall below zero
	 */
	atomic_fetch_add_explicit(&r->in_flight, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&r->own[board_slot()], 1, memory_order_release);
	atomic_fetch_add_explicit(&r->requests, 1, memory_order_relaxed);
}

void server_end(struct server_row *r)
{
	atomic_fetch_sub_explicit(&r->own[board_slot()], 1, memory_order_relaxed);
	atomic_fetch_sub_explicit(&r->in_flight, 1, memory_order_release);
}

void server_succeeded(struct server_row *r, usec_t latency)
{
	uint32_t old = atomic_load_explicit(&r->latency_us, memory_order_relaxed);
	uint32_t took = latency < UINT32_MAX ? (uint32_t)latency : UINT32_MAX;
	uint32_t smoothed = old ? old - old / 8 + took / 8 : took;
	atomic_store_explicit(&r->latency_us, smoothed, memory_order_relaxed);
	if (atomic_load_explicit(&r->failures, memory_order_relaxed)) {
		atomic_store(&r->failures, 0);
		atomic_store(&r->ejections, 0);
		atomic_store(&r->ejected_until, 0);
	}
}

bool server_failed(struct server_row *r, usec_t now)
{
	atomic_fetch_add_explicit(&r->failed, 1, memory_order_relaxed);
	if (atomic_fetch_add(&r->failures, 1) + 1 < SERVERS_FAILURES || server_ejected(r, now))
		return false;
	uint32_t times = atomic_fetch_add(&r->ejections, 1);
	usec_t away = SERVERS_EJECT_US << (times < 6 ? times : 6);
	if (away > SERVERS_EJECT_MAX_US)
		away = SERVERS_EJECT_MAX_US;
	atomic_store(&r->ejected_until, now + away);
	return true;
}
