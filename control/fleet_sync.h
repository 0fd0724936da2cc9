/* SPDX-License-Identifier: MIT */
/*
 * The one question of control/fleet.h to the store and its answer: the script, its arguments, and what comes
 * back. Pure but for the time that is handed in; nothing here sends.
 */
#ifndef WEIR_CONTROL_FLEET_SYNC_H
#define WEIR_CONTROL_FLEET_SYNC_H

#include "control/fleet.h"
#include "control/text.h"
#include "ratelimit/redis_reply.h"

#define SYNC_FORGIVEN 64
#define SYNC_MOMENT 21 /* digits and the NUL */
#define SYNC_ARGS (16 + 3 * LIFTS_MAX + 3 * LIFTS_ENDED_MAX + 3 * SYNC_FORGIVEN)

struct sync_forgiven {
	char id[FLEET_ID];
	struct client_id client;
};

/* What this weir knows and asks. */
struct sync_question {
	struct str base;		 /* PREFIX{fleet}: */
	const struct fleet_member *self; /* NULL: it says good-bye */
	const char *id;
	bool list;	   /* the members are wanted too */
	struct str news;   /* n == 0: nothing is published */
	const char *since; /* the head of the last answer: what came later is read. "": all is */
	usec_t now;
	unsigned lifts, ended, forgiven;
	const struct lift *lift;
	const struct lift_ended *end;
	const struct sync_forgiven *forgive;
};

struct sync_args {
	struct text bytes;
	unsigned n;
	size_t end[SYNC_ARGS];
	struct str argv[SYNC_ARGS]; /* into bytes, after sync_write */
};

/* False: out of memory. The caller frees args->bytes. */
bool sync_write(const struct sync_question *, struct sync_args *args);

/* Called for each row that could be read; rows that could not are counted. */
struct sync_reader {
	void *ctx;
	void (*lift)(void *ctx, const struct lift *, usec_t left);
	void (*ended)(void *ctx, const char *id, usec_t left, bool token);
	void (*forgiven)(void *ctx, const struct sync_forgiven *, usec_t left);
	void (*member)(void *ctx, const struct fleet_member *);
};

struct sync_answer {
	unsigned live;
	unsigned unreadable;
	char head[SYNC_MOMENT]; /* for the next question; "" where nothing was ever put in */
	bool lost; /* the store does not know `since`: all was read, and what this weir knows may be news to
		      it */
};

/* False: it is no answer to the question. Tombstones are told before lifts. */
bool sync_read(const struct redis_reply *, const struct sync_reader *, struct sync_answer *);

#endif
