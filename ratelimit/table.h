/* SPDX-License-Identifier: MIT */
/*
 * The client table: for each (policy, client) seen lately, the window of the memory store and, with the Redis
 * store, what Redis last said and until when it refuses. It lies in memory shared by all processes of one
 * weir and is used by all at once; the region belongs to whoever mapped it, struct table (one a process) to
 * its caller. Nothing calls back, nothing blocks, nothing is allocated after table_attach.
 *
 * Shape: set-associative. A bucket is 16 entries and one lock word, which holds the owner (a process's slot,
 * 1 to 65535, not shared by two living processes; threads of one process must not use the table at once). The
 * place of an entry is SipHash-1-3 of the client, keyed with the region's own key and the policy's.
 *
 * Locks are tried for a few microseconds and then given up: TABLE_BUSY, "nothing was decided, ask again
 * soon". It never means yes or no. A holder that is stopped harms its bucket alone; for one that died the
 * master calls table_recover, which forgets the buckets that it held (16 entries each). A crash can lose one
 * chunk of the pool.
 *
 * Time: `now` is the caller's reading of CLOCK_MONOTONIC, in microseconds (a little old does not matter).
 * Where another process has already decided at a later moment in the same bucket, that moment is used
 * instead: time in a bucket never goes back, and a decision's moment lies between the caller's `now` and its
 * return (table_decided_at).
 *
 * Full: a new client takes an expired entry of its bucket; else the one that has used least of its limit, the
 * longest untouched first; one at its limit only where all 16 are. When the chunk pool is dry, a few buckets
 * are searched for what has expired, then logs are merged against their clients (window.h). Neither ever
 * opens the gate.
 *
 * Size: 132 bytes an entry (128, and its part of the bucket's head), of which table_format makes 1.6 for each
 * client asked for, so that fewer than 1 in 100 of them meets a full bucket: 211 bytes a client, 211.2 MB for
 * 1,000,000 clients. Logs come on top: nothing for the newest admission, else 5.8 bytes each (5.9 KB for a
 * client at 1,000); of the journal, whose admissions share 64 ticks, nothing for the newest tick, and 64
 * bytes for each 11 others in use: 448 at most while no tick has more than 256. With 64 MB for logs, one such
 * piece a client, 1,000,000 clients and their journal take 275 MB. The pages are taken from the system as
 * they are first used.
 */
#ifndef WEIR_RATELIMIT_TABLE_H
#define WEIR_RATELIMIT_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "ratelimit/policy.h"

#define TABLE_MAX_N 256 /* requests in one question */

struct table;

enum table_result {
	TABLE_OK,
	TABLE_BUSY, /* the bucket is locked: nothing was done, try again soon */
};

struct table_size {
	uint32_t clients; /* (policy, client) pairs to hold with hardly any eviction */
	size_t log_bytes; /* cap of the chunk pool; see window_log_bytes */
};

/* A policy and the limit in force for this client. */
struct table_ask {
	const struct policy *policy;
	uint32_t limit;
};

struct table_top_row {
	struct client_id client;
	uint64_t policy_key;
	usec_t window_us;
	uint32_t limit, used;
	uint32_t refused; /* since the entry was made; with a shadow policy, would have been */
};

struct table_stats {
	uint64_t slots, entries;      /* entries there are; in use, expired ones included */
	uint64_t chunks, chunks_used; /* of the log pool */
	uint64_t evictions;	      /* clients forgotten while they still counted */
	uint64_t merges;    /* records that took a later time than their own because the pool was dry */
	uint64_t busy;	    /* TABLE_BUSY answers */
	uint64_t recovered; /* buckets wiped after a crash */
	uint64_t carried;   /* admissions that the store was told of afterwards (journal.h) ... */
	uint64_t replayed;  /* ... of which it had lost so many */
};

/* Bytes that table_format needs. 0: too large for the table's indices (2^31 entries or chunks) or no clients.
 */
size_t table_bytes(const struct table_size *size);

/*
 * Once, by the master, before any attach. `mem` must be aligned to 64 bytes and filled with zeros (a fresh
 * mapping or memfd): it is not touched beyond its first page. -1 when size is impossible or bytes too few.
 */
int table_format(void *mem, size_t bytes, const struct table_size *size, const uint8_t hash_key[16]);

/* NULL: not a formatted table of this version, or out of memory. Detach frees the handle and nothing else. */
struct table *table_attach(void *mem, size_t bytes, uint16_t owner);
void table_detach(struct table *t);

/*
 * By the master when the process of slot `owner` is dead and before the slot is given away again. Forgets the
 * buckets that it held locked, frees their chunks, and returns how many buckets they were.
 */
unsigned table_recover(void *mem, uint16_t owner);

/* Buckets that `owner` holds locked at this moment. */
unsigned table_locked_by(void *mem, uint16_t owner);

/*
 * Memory store: decides n (1 to 256) equal requests of one client, one after the other, under up to 4
 * policies with different keys. Each is granted when all enforcing policies admit it, else it uses nothing of
 * any policy; *granted of them are, the first ones. A shadow policy is held as if it enforced (what it would
 * have refused uses none of it) but refuses nobody. Bits (place in ask): *refused_by enforcing policies that
 * refused some of the n, *shadow_over shadow policies that would have. out[i] is where the client stands
 * afterwards.
 */
enum table_result table_admit(struct table *t, const struct client_id *client, const struct table_ask *ask,
			      unsigned asks, unsigned n, usec_t now, unsigned *granted,
			      struct window_state out[POLICY_MAX_APPLIED], unsigned *refused_by,
			      unsigned *shadow_over);

/* The same answers without spending, counting or making an entry. */
enum table_result table_peek(struct table *t, const struct client_id *client, const struct table_ask *ask,
			     unsigned asks, unsigned n, usec_t now, unsigned *granted,
			     struct window_state out[POLICY_MAX_APPLIED], unsigned *refused_by,
			     unsigned *shadow_over);

/* A decision about this client under this policy is near: his place is looked up, and comes from memory while
 * other work is done. No lock; nothing depends on it. */
void table_expect(struct table *t, const struct client_id *client, uint64_t policy_key);

/* The moment of this process's last admit or peek: its `now`, or later. */
usec_t table_decided_at(const struct table *t);

/*
 * Redis store. `generation` is the caller's current one: what was set under an older one (modulo 2^32) is
 * void, as is a refusal under another limit than ask's.
 *
 * table_refusal_get: *refuse_until is the moment before which the store would refuse, or 0: ask the store. A
 * refusal is counted in the entry. *last is what the store last said, moved to `now`; all zeros when it said
 * nothing within the window.
 */
enum table_result table_refusal_get(struct table *t, const struct client_id *client,
				    const struct table_ask *ask, usec_t now, uint32_t generation,
				    usec_t *refuse_until, struct window_state *last);

/*
 * Keeps what the store said of a question sent at said_at (and of no later moment than `now`), under the
 * generation at sending: the caller has checked that it is still current. refuse_until 0: it refused nothing.
 * Answers of several processes may come in any order: the refusal that lasts longest is kept, and the state
 * said last. By that answer `admitted` requests were admitted, which are noted in the journal (journal.h),
 * and `refused` were over the limit.
 */
enum table_result table_refusal_set(struct table *t, const struct client_id *client,
				    const struct table_ask *ask, usec_t now, uint32_t generation,
				    unsigned admitted, unsigned refused, usec_t refuse_until,
				    const struct window_state *said, usec_t said_at);

/*
 * Forgets windows and refusals of the client under the policy, or, with NULL, under all (a walk over the
 * table: for commands). With BUSY some may be left: call again. Answers of the store under way are the
 * caller's to void, by raising the generation.
 */
enum table_result table_forget(struct table *t, const struct client_id *client, const struct policy *policy);

/* The up to n busiest rows, by used and then by refused, busiest first. Buckets in use by others are passed
 * over. */
void table_top(struct table *t, unsigned n, usec_t now, struct table_top_row *rows, unsigned *count);

/* Frees what has expired in the next `buckets` buckets, going round: for a timer, so that `entries` means
 * something. */
void table_sweep(struct table *t, usec_t now, unsigned buckets);

void table_stats_read(const struct table *t, struct table_stats *out);

/*
 * For tests, with nobody else in the table: that it is consistent. The number of chunks that are neither free
 * nor in a log (lost in crashes), or -1: inconsistent.
 */
long table_check(struct table *t);

#endif
