/* SPDX-License-Identifier: MIT */
#include "master/layout.h"

#include <errno.h>
#include <unistd.h>

#include "base/board.h"
#include "base/events.h"
#include "base/metric.h"
#include "base/ring.h"
#include "proxy/servers.h"
#include "proxy/tally.h"
#include "ratelimit/lift.h"

#define CLIENT_BYTES 212 /* see ratelimit/table.h */

/*
 * With the memory store a third goes to the entries and the rest to the logs: 64 MB hold 105,000 clients, or
 * 7,600 that have used up 1,000. With Redis the logs serve only while it is away, and get a quarter. Where
 * one part is used up the table makes room by itself, and never opens the gate.
 */
struct table_size layout_table(const struct conf_rate_limit *c)
{
	size_t entries = c->redis ? c->memory / 4 * 3 : c->memory / 3;
	size_t clients = entries / CLIENT_BYTES;
	struct table_size size = {clients ? (uint32_t)clients : 1, c->memory - entries};
	while (size.clients > 1 && table_bytes(&size) > c->memory)
		size.clients -= size.clients / 64 + 1;
	return size;
}

static void join(const struct shm *s)
{
	struct board *b;
	board_attach(shm_section(s, SHM_BOARD, NULL));
	board_join(0);
	metric_attach(shm_section(s, SHM_METRICS, NULL));
	metric_join(0);
	events_attach(shm_section(s, SHM_EVENTS, NULL));
	ring_attach(shm_section(s, SHM_RINGS, NULL));
	servers_attach(shm_section(s, SHM_SERVERS, NULL));
	tally_attach(shm_section(s, SHM_TALLY, NULL));
	b = board();
	atomic_store(&b->started_us, clock_mono());
	atomic_store(&b->started_wall, clock_wall());
	atomic_store(&b->proc[0].kind, PROC_MASTER);
	atomic_store(&b->proc[0].state, PROC_SERVING);
	atomic_store(&b->proc[0].pid, getpid());
	atomic_store(&b->proc[0].beat_us, clock_mono());
}

bool layout_open(struct shm *s, const struct conf *c, const uint8_t hash_key[16], struct problems *p)
{
	struct table_size table = layout_table(&c->rate_limit);
	size_t sizes[SHM_SECTIONS] = {
		[SHM_BOARD] = sizeof(struct board), [SHM_METRICS] = metric_bytes(),
		[SHM_EVENTS] = events_bytes(),	    [SHM_RINGS] = ring_bytes(),
		[SHM_LIFTS] = lifts_bytes(),	    [SHM_SERVERS] = servers_bytes(),
		[SHM_TALLY] = tally_bytes(),	    [SHM_TABLE] = table_bytes(&table),
	};
	if (!sizes[SHM_TABLE]) {
		problems_add(p, "rate_limit.memory: %zu bytes are more than the table of clients can use",
			     c->rate_limit.memory);
		return false;
	}
	if (!shm_create(s, sizes)) {
		problems_errno(p, PROBLEM_SYSTEM, errno, "shared memory");
		return false;
	}
	join(s);
	tally_format(shm_section(s, SHM_TALLY, NULL), hash_key);
	if (table_format(shm_section(s, SHM_TABLE, NULL), sizes[SHM_TABLE], &table, hash_key) == 0)
		return true;
	problems_add(p, "rate_limit.memory: %zu bytes cannot be laid out", c->rate_limit.memory);
	return false;
}
