/* SPDX-License-Identifier: MIT */
/*
 * One Redis server to which calls go by the thousand, and whether it is worth asking.
 *
 *                connected, scripts loaded, its mark seen
 *   CONNECTING -------------------------------> READY <------------+ a second without a timeout
 *    ^ ^ ^ ^                                   ^  |  |             |
 *    | | | |               probe (and trial)   |  |  +--------> DEGRADED
 *    | | | |                       succeeded   |  |   a timeout    |
 *    | | | |                                   |  |                |  failures in a row,
 *    | | | +------------------ lost -----------|--+                |  and no answer for a while
 *    | | +-------------------- lost -----------|-------------------+-----+
 *    | +------- lost ------ PROBING -----------+                         v
 *    |                       |   ^                      (READY too)    OPEN
 *    |                       |   +-------- after a pause with jitter ---+ |
 *    |                       +------------ failed ----------------------^ |
 *    +---------------------------- lost, or silent for too long ----------+
 *
 * CONNECTING and OPEN: nothing is asked. PROBING: a PING is under way, which shows whether silence is over.
 * Where the server took no writes (out of memory, its cluster down) a mark is written after it, which shows
 * that it does. And where that shows nothing (errors of the script itself) or while it is under way, one call
 * at a time is let through as a trial. A server that stays silent for a second loses its connection.
 *
 * A struct node_call is the caller's and stays in place until `done` was called, exactly once for each call
 * that was taken. Its command is written at sending (by the end of the turn, where it may go with others),
 * and written again only where it was refused unheard (the script was missing; another node of a cluster has
 * the slot; it cannot go with others): what may have run is never sent again. `done` says first what it makes
 * of the reply, by redis_node_good or redis_node_bad; errors are judged already. It comes from the loop, or
 * from redis_node_flush and _free; never from _send.
 *
 * When the caller's patience ends first it says so by redis_node_late; `done` comes all the same, later.
 */
#ifndef WEIR_RATELIMIT_REDIS_NODE_H
#define WEIR_RATELIMIT_REDIS_NODE_H

#include <stdbool.h>

#include "base/list.h"
#include "base/loop.h"
#include "ratelimit/redis_conn.h"
#include "ratelimit/redis_info.h"
#include "ratelimit/redis_script.h"

enum store_state { STORE_CONNECTING, STORE_READY, STORE_DEGRADED, STORE_OPEN, STORE_PROBING, STORE_STATES };
const char *store_state_name(enum store_state);
static inline bool store_takes_calls(enum store_state s)
{
	return s == STORE_READY || s == STORE_DEGRADED;
}

struct redis_node;
struct node_call;

/*
 * How calls of one kind share a command. Those that were sent in one turn and may go together do so, up to
 * REDIS_JOINT_MAX of them; each still gets an answer of its own.
 */
#define REDIS_JOINT_MAX 32
struct node_joint {
	bool (*together)(struct node_call *, struct node_call *);
	/* The command of n calls, 2 or more. It needs no more room than they do apart. Returns its length. */
	size_t (*write)(struct node_call *const *, unsigned n, const struct redis_node *, char *out);
	/* Whether a reply that is no error can be one to n of them. */
	bool (*sound)(const struct redis_reply *whole, unsigned n);
	/* The i-th call's part of such a reply, by value. False: nothing was done about it, and
	 * it is to be sent alone. */
	bool (*part)(const struct redis_reply *whole, unsigned i, struct redis_reply *part);
};

struct node_call {
	/* The caller's, before it is sent. */
	const struct node_joint *joint; /* by which it may go with others; NULL: alone */
	size_t room;			/* what `write` needs at most */
	usec_t until;			/* it is not sent again then; nor by then if nobody has it */
	size_t (*write)(struct node_call *, const struct redis_node *, char *out); /* the length in RESP */
	void (*done)(struct node_call *, const struct redis_reply *);
	/* The node's, and its owner's. */
	struct redis_call call, asking;
	struct redis_node *node; /* who has it; NULL: nobody yet */
	struct list link;
	usec_t sent_at; /* not after the bytes left */
	uint16_t slot;
	uint16_t there; /* ask_there: by whom it was not sent yet */
	uint8_t moves;	/* how often another node had to be asked */
	bool again;	/* sent once more already */
	bool ask_there;
	bool late; /* nobody waits for it */
};

#define REDIS_TAG 8

/* What is known of the server. */
struct redis_server {
	struct redis_info info; /* as of the last INFO; empty where that is denied */
	bool told;		/* it was answered */
	/*
	 * Its slots, a bit each (NULL: all), and a text that lies in one of them, for keys that belong to the
	 * server. In a cluster as of the last map: "" before there is one, and another when slots have moved.
	 */
	const uint64_t *slots;
	char tag[REDIS_TAG];
};

struct redis_node_setup {
	struct loop *loop;
	const struct redis_target *target; /* copied */
	usec_t timeout_us;
	struct table *table;		  /* for the mark; NULL: none is kept */
	const struct redis_target *store; /* which the server is of, for the mark: what the url names */
	void *owner;
	/* The state is another. It may come from redis_node_late too, and must not free the node. */
	void (*changed)(struct redis_node *, void *owner, enum store_state from, const char *why);
	/* MOVED, ASK or TRYAGAIN came. True: the owner has the call now. */
	bool (*redirected)(struct redis_node *, void *owner, struct node_call *, const struct redis_reply *);
};

struct redis_node *redis_node_new(const struct redis_node_setup *); /* NULL: out of memory */
void redis_node_free(struct redis_node *);			    /* NULL is harmless */

enum store_state redis_node_state(const struct redis_node *);
bool redis_node_open(const struct redis_node *); /* a call would be taken now */
struct redis_conn *redis_node_conn(const struct redis_node *);
const struct redis_server *redis_node_server(const struct redis_node *);
const char *redis_node_sha(const struct redis_node *, enum redis_script); /* REDIS_SHA digits */
/* A moment of ours on the server's clock, at the latest; 0: not known. */
usec_t redis_node_clock(const struct redis_node *, usec_t moment);

/* False: not now. The bytes leave with redis_node_flush, or at the end of the turn. `asking`: after ASK. */
bool redis_node_send(struct redis_node *, struct node_call *, bool asking);
void redis_node_flush(struct redis_node *);
void redis_node_late(struct redis_node *, struct node_call *);

/* For `done`. */
void redis_node_good(struct redis_node *, struct node_call *, usec_t server_us); /* its clock; 0: not told */
void redis_node_bad(struct redis_node *, const char *why);
/* It was heard but not done: sends it once more. False: it is over. */
bool redis_node_once_more(struct redis_node *, struct node_call *);

/* What the owner knows of its slots: kept, not copied. */
void redis_node_place(struct redis_node *, const uint64_t *slots, const char *tag);

/* Asks INFO anew, so that redis_node_server is of now. */
void redis_node_look(struct redis_node *);

#endif
