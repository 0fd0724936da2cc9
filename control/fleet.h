/* SPDX-License-Identifier: MIT */
/*
 * The weirs that share a store, and what they tell each other over it: that they live, the lifts in force,
 * the lifts that were ended before their time (tombstones), and the clients that were forgiven. With the
 * memory store, or while the store is away, all of it holds on this weir alone and goes out when the store is
 * back.
 *
 * Keys in the store, all below PREFIX{fleet}: so that they lie in one slot of a cluster:
 * - weir:ID: a weir's heartbeat, FLEET_BEAT_MS to live, refreshed each second; with the ids of its lifts
 * - lift:ID: a lift, with the time that is left as its time to live
 * - gone:ID: a tombstone, until the lift's own end; it beats the lift: nobody puts it back
 * - forgiven:ID: a client whose windows were cleared, for FLEET_FORGIVEN_MS
 * - weirs: a sorted set of them by their last heartbeat on the server's clock; for their number
 * - lifts, gone, forgiven: sets of those ids
 * - log: the latest of what was put in, a sorted set by when that was
 * - news: the channel; a message means "look now", and each weir looks once a second anyway
 *
 * One script does all of it in one step: puts in what this weir tells, and answers with what there is. A look
 * reads what came after the last one, so that it costs the same however much there is. All that is known is
 * told where something was begun or ended here. It is told, and all is read, where the store does not know up
 * to where this weir has read (it lost data, or another server took over), after each loss of the connection,
 * and twice a minute. So a store that lost its data gets its lifts and tombstones back from any weir. No
 * clock travels, only time left.
 *
 * Callbacks given here run from the loop or before the call returns, once each.
 */
#ifndef WEIR_CONTROL_FLEET_H
#define WEIR_CONTROL_FLEET_H

#include <stdbool.h>

#include "acl/addr.h"
#include "base/loop.h"
#include "conf/conf.h"
#include "ratelimit/lift.h"

#define FLEET_BEAT_MS 5000
#define FLEET_FORGIVEN_MS 60000
#define FLEET_ACK_US (2 * USEC_PER_SEC) /* the longest wait for other weirs */
#define FLEET_MEMBERS 1024		/* listed; more are counted */
#define FLEET_ENDS 8
#define FLEET_ID 9
#define FLEET_HOST 65
#define FLEET_VERSION 33

struct control;
struct fleet;
struct redis_servers;

/*
 *   ALONE (the memory store)
 *   CONNECTING ---> READY <---> AWAY (tried again, with jitter)
 *        +---------------------->+
 */
enum fleet_state { FLEET_ALONE, FLEET_CONNECTING, FLEET_READY, FLEET_AWAY };

struct fleet_member {
	char id[FLEET_ID];
	char host[FLEET_HOST];
	char version[FLEET_VERSION];
	char config[CONF_HASH];
	unsigned workers;
	unsigned long uptime_s;
	bool self;
	unsigned lifts; /* that it has in force, blocks too */
	char lift[LIFTS_MAX][LIFT_ID];
	unsigned ends; /* the tombstones that it learned of last */
	char end[FLEET_ENDS][LIFT_ID];
};

struct fleet *fleet_new(struct control *); /* NULL: out of memory */
void fleet_free(struct fleet *);

/* The conf in force is another: connects, connects elsewhere, or leaves the store. */
void fleet_configure(struct fleet *);
/* Each second. */
void fleet_tick(struct fleet *);

enum fleet_state fleet_state(const struct fleet *);
const char *fleet_state_name(enum fleet_state);
usec_t fleet_latency(const struct fleet *);	 /* of the last exchange with the store; 0: there was none */
const char *fleet_trouble(const struct fleet *); /* why the store is away; "" */

/* The live weirs as of the last look, this one among them; *live counts those that are not listed too. */
unsigned fleet_members(struct fleet *, const struct fleet_member **, unsigned *live);

/* --- lifts --- */

struct fleet_outcome {
	bool shared;   /* the store took it; else it holds on this weir only */
	unsigned done; /* weirs that have it */
	unsigned live;
};

/* Waits until every live weir has, has not any more, or has heard of the end of, all of these lifts. The
 * caller's, until done is called. */
enum fleet_goal { FLEET_BEGUN, FLEET_ENDED, FLEET_REVOKED };

struct fleet_wait {
	struct list link;
	struct timeout timeout;
	struct fleet *fleet;
	enum fleet_goal goal;
	bool asked, sent; /* it is in a question under way; the store has taken it */
	unsigned ids;
	char id[LIFTS_MAX][LIFT_ID];
	void (*done)(struct fleet_wait *, const struct fleet_outcome *);
};

/* "lift" or "block". */
const char *fleet_noun(enum lift_effect);

/* Begins a lift or a block here and everywhere. False: as many as may be are in force; `done` is not called.
 */
bool fleet_lift(struct fleet *, const struct lift *, struct fleet_wait *);

/* Ends the lifts that w->id lists, here and everywhere. Those not in force are passed over. */
void fleet_restore(struct fleet *, struct fleet_wait *w);
/* Puts up a tombstone for the one id that w lists, a token's, here and everywhere. */
void fleet_revoke(struct fleet *, usec_t until, struct fleet_wait *w);

/* --- clients --- */

/* Forgets the client's windows and refusals on this weir, and voids what is under way. */
void fleet_forget(struct fleet *, const struct client_id *);
/* Tells the other weirs to do the same, after the caller has removed the windows from the store. False: they
 * are not told, for the store is away or more is waiting to be told than may. */
bool fleet_forgiven(struct fleet *, const struct client_id *);

/* The store's servers, for single questions, such as where a client stands. NULL: ALONE. */
struct redis_servers *fleet_servers(const struct fleet *);

/* Brings lifts and members up to date, then calls done (also when the store is away). The caller's until
 * then. */
struct fleet_look {
	struct list link;
	void (*done)(struct fleet_look *);
};
void fleet_look(struct fleet *, struct fleet_look *);

/* Says good-bye to the store, so that the others need not wait for the heartbeat's end; done as fleet_look's.
 */
void fleet_leave(struct fleet *, struct fleet_look *);

#endif
