/* SPDX-License-Identifier: MIT */
/*
 * One connection to a Redis, non-blocking, for questions by the thousand (a worker's store) as well as for
 * single commands and pub/sub (control). It resolves, connects, logs in, and after a failure does so again by
 * itself, after 25 to 600 ms (doubled a failure, with jitter). Commands are answered in the order in which
 * they were sent.
 *
 *   IDLE --start--> RESOLVING --address--> CONNECTING --made--> GREETING --PONG--> READY
 *                    ^    |                 |   ^ |  |           ^  |                |
 *                    |    |                 |   +-+  |    SECURING  |                |
 *                    |    |                 |  next  +---with TLS   |                |
 *                    |    |                 |  address       |      |                |
 *                    |    v                 v                v      v                v
 *                    +---CLOSED <-----------+----------------+------+----------------+   any failure
 *                 backoff
 *
 * Who owns what: the connection copies the target. A struct redis_call is the caller's, embedded in whatever
 * it is about, and stays in place until `done` was called, which happens exactly once for each call that was
 * taken: with the server's reply, or with one of kind REDIS_ERROR and failure above REDIS_FINE when the
 * connection is lost or freed. What was written and not answered is never written again.
 *
 * Callbacks: `done`, `changed` and `pushed` come from the loop, and from redis_conn_flush, _drop and _free
 * (which may find or make the connection lost); never from _new, _start, _send, _room and _sent. They may
 * call anything here, free included. On a loss `changed` comes first, then the `done` of all that waited.
 *
 * A turn's commands leave in one write, at its end (a loop hook), or when redis_conn_flush says so.
 * Failures are counted and said as ratelimit/redis_trouble.h has it.
 */
#ifndef WEIR_RATELIMIT_REDIS_CONN_H
#define WEIR_RATELIMIT_REDIS_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/loop.h"
#include "base/str.h"
#include "ratelimit/redis_reply.h"
#include "ratelimit/redis_target.h"

enum redis_conn_state {
	REDIS_CONN_IDLE,
	REDIS_CONN_RESOLVING,
	REDIS_CONN_CONNECTING,
	REDIS_CONN_SECURING, /* the TLS handshake is under way */
	REDIS_CONN_GREETING, /* AUTH, SELECT, CLIENT SETNAME and PING are under way */
	REDIS_CONN_READY,
	REDIS_CONN_CLOSED /* tries again by itself */
};

struct redis_call {
	struct redis_call *next;
	void (*done)(struct redis_call *, const struct redis_reply *);
};

struct redis_conn;

struct redis_conn_setup {
	struct loop *loop;
	const struct redis_target *target;
	void *owner;
	void (*changed)(struct redis_conn *, void *owner); /* it became READY or CLOSED; may be NULL */
	/* A message of a channel that was subscribed to: ["message", channel, payload] and the like. NULL:
	 * none comes */
	void (*pushed)(struct redis_conn *, void *owner, const struct redis_reply *);
};

struct redis_conn *redis_conn_new(const struct redis_conn_setup *); /* NULL: out of memory */
void redis_conn_start(struct redis_conn *);			    /* once */
void redis_conn_free(struct redis_conn *);			    /* NULL is harmless */

enum redis_conn_state redis_conn_state(const struct redis_conn *);
const char *redis_conn_state_name(enum redis_conn_state);
enum redis_failure
redis_conn_last_failure(const struct redis_conn *); /* REDIS_FINE when READY was reached since */
static inline bool redis_conn_ready(const struct redis_conn *c)
{
	return redis_conn_state(c) == REDIS_CONN_READY;
}

/* Calls without an answer so far. */
unsigned redis_conn_waiting(const struct redis_conn *);

/*
 * Any command; on a subscribed connection those that RESP2 allows there, one channel a (un)subscription.
 * False: not READY, or too much is waiting to be written; the call was not taken.
 */
bool redis_conn_send(struct redis_conn *, struct redis_call *, unsigned argc, const struct str *argv);

/*
 * The same for a command that the caller formats: room for at least `want` bytes (NULL: as false above), then
 * how many were written there.
 */
char *redis_conn_room(struct redis_conn *, size_t want);
void redis_conn_sent(struct redis_conn *, struct redis_call *, size_t n);

void redis_conn_flush(struct redis_conn *);

/* Closes for the caller's reason (REDIS_TIMEOUT, REDIS_GARBAGE, ...), and connects again after the backoff.
 */
void redis_conn_drop(struct redis_conn *, enum redis_failure why, const char *detail);

#endif
