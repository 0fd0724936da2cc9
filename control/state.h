/* SPDX-License-Identifier: MIT */
/* What the parts of the control process share: one struct control a process, owned by control_main. */
#ifndef WEIR_CONTROL_STATE_H
#define WEIR_CONTROL_STATE_H

#include "base/loop.h"
#include "base/protocol.h"
#include "base/shm.h"
#include "conf/conf.h"
#include "control/fleet.h"
#include "control/rates.h"
#include "ratelimit/lift.h"
#include "ratelimit/table.h"

struct admin;
struct log_writer;
struct metrics_http;

enum control_state { CONTROL_STARTING, CONTROL_SERVING, CONTROL_LEAVING, CONTROL_GONE };

/* A conf that a reload has replaced stays until the last request that began under it is answered. */
struct conf_ref {
	struct conf *conf;
	unsigned holders;
};

struct control {
	struct loop loop;
	enum control_state state;
	int channel;
	struct event channel_event;
	struct start_info info;
	struct conf_ref *ref;
	struct lifts *lifts;
	struct table *table;
	struct admin *admin;	   /* NULL: the config has none */
	struct metrics_http *http; /* NULL: the config has none */
	struct fleet *fleet;
	struct log_writer *writer;
	struct rates rates;
	struct hook beat;
	struct timeout_class second, patience, farewell; /* patience: for MSG_RELOADED */
	struct timeout tick, learned, left;
	struct fleet_look farewell_look;
	struct list reloads;   /* struct reload_wait: who waits for MSG_RELOADED, in the order of asking */
	unsigned reloads_lost; /* answers that are still to come and that nobody waits for any more */
};

static inline const struct conf *control_conf(const struct control *c)
{
	return c->ref->conf;
}

struct conf_ref *conf_ref_new(struct conf *); /* one holder; NULL: out of memory */
struct conf_ref *conf_ref_hold(struct conf_ref *);
void conf_ref_drop(struct conf_ref *);

/* Tells the master. False with errno. */
bool control_tell(struct control *, enum msg_type, const char *text);

/* Lifts have begun or ended, or windows were forgotten: what the store answered before is void. */
void control_void_answers(void);

/* The fleet knows what the store holds: control is ready to serve. Harmless when it serves already. */
void control_learned(struct control *);

#define CONTROL_RELOAD_US (15 * USEC_PER_SEC)

/*
 * Somebody waits for the master's answer to MSG_RELOAD_ASKED; the caller's, until done is called: with
 * `answered` false after CONTROL_RELOAD_US. False from control_reload: the master cannot be told (errno).
 */
struct reload_wait {
	struct control *control;
	struct list link;
	struct timeout timeout;
	void (*done)(struct reload_wait *, bool answered, bool well, const char *text);
};
bool control_reload(struct control *, struct reload_wait *, const char *who);

#endif
