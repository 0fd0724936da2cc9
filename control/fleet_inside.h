/* SPDX-License-Identifier: MIT */
/* What control/fleet.c (what is known, and who waits for it) and control/fleet_store.c (the store) share. */
#ifndef WEIR_CONTROL_FLEET_INSIDE_H
#define WEIR_CONTROL_FLEET_INSIDE_H

#include "control/fleet.h"
#include "control/fleet_sync.h"
#include "control/state.h"
#include "ratelimit/redis_command.h"

#define FLEET_SEEN 4096 /* forgivings in FLEET_FORGIVEN_MS */

struct fleet_seen {
	char id[FLEET_ID];
	usec_t until;
};

struct fleet {
	struct control *c;
	enum fleet_state state;
	char id[FLEET_ID];
	char host[FLEET_HOST];
	struct text base;	       /* PREFIX{fleet}: */
	uint64_t target;	       /* a hash of what is connected to, so that a reload sees a change */
	struct redis_servers *servers; /* NULL: ALONE */
	unsigned slot;		       /* of base */
	struct redis_conn *sub;

	struct redis_command command; /* given out while `syncing` */
	struct redis_call subscribe;  /* and this while `subscribing` */
	bool syncing, subscribing;
	bool again;		 /* ask once more when the answer has come */
	bool list, list_asked;	 /* the members are wanted; were asked for */
	bool listed;		 /* `member` is of this answer */
	bool leaving, first;	 /* first: nothing was read from this store yet */
	bool tell;		 /* all that is known here is news to the store, or may be */
	char since[SYNC_MOMENT]; /* up to where the store was read; "": all is to be read */
	usec_t sent_at, latency;
	char trouble[120];
	unsigned ticks;
	struct timeout_class answer_class, poll_class, ack_class;
	struct timeout answer_timeout, poll_timeout;

	char news[32]; /* to be published with the next question; "" none */
	struct sync_forgiven outbox[SYNC_FORGIVEN];
	unsigned outbox_n, outbox_sent;
	struct fleet_seen seen[FLEET_SEEN]; /* forgivings that were done here */
	unsigned seen_next;

	struct list waits;	       /* struct fleet_wait */
	struct list looks, looks_sent; /* struct fleet_look */
	unsigned live, members, members_new;
	unsigned most, most_before; /* live at most since then, and in the minute before that */
	usec_t most_since;
	struct fleet_member *member, self;

	struct {
		char id[LIFT_ID];
		enum lift_effect effect;
		usec_t until;
	} active[LIFTS_MAX]; /* to be told when they end by themselves */
	unsigned actives;
	char ended[FLEET_ENDS][LIFT_ID]; /* tombstones, the latest at ended_next - 1 */
	unsigned ended_next;
	struct sync_args args;
};

/* --- fleet.c, for fleet_store.c --- */

void fleet_describe_self(struct fleet *);
bool fleet_begin_lift(struct fleet *, const struct lift *); /* on this weir; false: LIFTS_MAX are in force */
bool fleet_end_lift(struct fleet *, const struct lift_ended *,
		    bool own); /* as lifts_bury; true: it is news */
bool fleet_has_lift(const struct fleet *, const char *id);
bool fleet_was_seen(const struct fleet *, const char *forgiven);
void fleet_mark_seen(struct fleet *, const char *forgiven, usec_t left);

/* The store has answered: waits that are satisfied end, others are looked after again soon. */
void fleet_check_waits(struct fleet *);
/* The store is gone: waits of which it never heard end. */
void fleet_end_unsent_waits(struct fleet *);
void fleet_finish_looks(struct list *);

/* --- fleet_store.c, for fleet.c --- */

void fleet_store_init(struct fleet *);
/* Asks the store, now or, while a question is under way, when that is answered. */
void fleet_push(struct fleet *);
/* As that, and tells all that is known and reads all: what single keys have lost is put back. */
void fleet_refresh(struct fleet *);
void fleet_disconnect(struct fleet *);
/* Where the store has never answered, or does no more: why. */
void fleet_see_trouble(struct fleet *);
/* Where the connection for news is down: looks for another server to hear them of. */
void fleet_resubscribe(struct fleet *);

#endif
