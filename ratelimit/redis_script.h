/* SPDX-License-Identifier: MIT */
/*
 * The window in Redis: names of keys, the script that decides, and its questions and answers as bytes. Pure
 * functions over the caller's buffers; nothing is owned, allocated or called back.
 *
 * A client under a policy is one list of admission times (microseconds of the server's clock, in order,
 * oldest first). The script takes the keys of all policies that apply, and as arguments: a deadline on the
 * server's clock, in 16 digits; for each policy its limit and its window in microseconds; and, but for the
 * usual question (one request under one enforcing policy), n, and a digit a policy: 1 if it is in shadow. It
 * - answers {-1, time} and does nothing when the deadline has passed;
 * - puts in, where they belong, what is carried: two more arguments, the weir, and for each policy the carry
 * of journal.h or nothing. Beside a list stands KEY:tally, a hash of the number that it has heard of each
 * weir. Of a list at most its newest 4096 are moved: what is older than these is put in as one of them;
 * - takes as a list's now the server's time, or its last entry if that is later; a last entry more than a
 * window ahead of the server's time (the clock stepped back) discards its list;
 * - drops what no longer counts, grants g of the n, as many as all enforcing policies have room for, and
 * appends g to each list; to that of a policy in shadow as many as it has room for, as it would do if it
 * enforced;
 * - answers {g, time, and for each policy: used before, retry after, reset}, the latter two in microseconds
 * from `time`, for after it: until the next slot frees (0: one is free), and until the list is empty. A list
 * longer than its limit (a lowered limit) frees its next slot when the entry at length - limit expires;
 * - answers the number used after it alone, which is cheaper, when one request under one policy was granted
 * and left room. n may be 0: that tells where the client stands. A list goes away within 1.5 windows of its
 * last entry.
 *
 * A second script takes the usual question of several clients at once, a key each, and answers {0, and for
 * each: the number used after it, or 0 where nothing was done, because one of the steps above that are not
 * usual is needed}.
 *
 * Keys: PREFIX 1:POLICY:WINDOW_MS:{CLIENT}. 1 is the format. The client stands in braces, so that all keys of
 * a question are in one slot of a cluster: dotted for IPv4, else 16 hex digits (a /64) or 32.
 */
#ifndef WEIR_RATELIMIT_REDIS_SCRIPT_H
#define WEIR_RATELIMIT_REDIS_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "ratelimit/journal.h"
#include "ratelimit/policy.h"
#include "ratelimit/redis_reply.h"
#include "ratelimit/table.h"

#define REDIS_SHA 40
#define REDIS_ASK_MAX 256  /* requests in one question */
#define REDIS_KEY_ROOM 112 /* longest key, without its prefix */
#define REDIS_CLIENT_ROOM 32

/* Each server is told all of them when it is connected. */
enum redis_script { REDIS_SCRIPT_ASK, REDIS_SCRIPT_ASK_MANY, REDIS_SCRIPTS };
extern const char *const redis_scripts[REDIS_SCRIPTS];

/* Each writes without a NUL and returns the length. `out` has REDIS_CLIENT_ROOM, or the prefix's n +
 * REDIS_KEY_ROOM. */
size_t redis_script_client(char *out, const struct client_id *);
size_t redis_script_key(char *out, struct str prefix, const struct policy *, const struct client_id *);

struct redis_question {
	const char *sha; /* REDIS_SHA hex digits */
	struct str prefix;
	const struct client_id *client;
	const struct table_ask *ask;
	unsigned asks;			   /* 1..POLICY_MAX_APPLIED */
	unsigned n;			   /* 0..REDIS_ASK_MAX */
	usec_t deadline;		   /* the server's clock; 0: none */
	const struct journal_carry *carry; /* asks of them; NULL: nothing is carried */
};

#define REDIS_CARRY_ROOM (JOURNAL_RECORDS * 34 + 16)

static inline size_t redis_script_room(struct str prefix, unsigned asks, bool carries)
{
	return 192 + asks * (prefix.n + REDIS_KEY_ROOM + 88 + (carries ? REDIS_CARRY_ROOM + 32 : 0));
}

/* The EVALSHA command in RESP. `out` has redis_script_room. Returns the length. */
size_t redis_script_question(char *out, const struct redis_question *);

static inline bool redis_script_usual(const struct redis_question *q)
{
	return q->asks == 1 && q->n == 1 && !q->ask->policy->shadow && !q->carry;
}

/*
 * Usual questions of two clients or more under one policy and limit, in one command, with the sha of
 * REDIS_SCRIPT_ASK_MANY: its head, every client, its end. Each client needs at most redis_script_room, head
 * and end included. Each returns where it ended.
 */
char *redis_script_many_head(char *out, unsigned clients, const char *sha);
char *redis_script_many_client(char *out, const struct redis_question *);
char *redis_script_many_end(char *out, const struct table_ask *, usec_t deadline);
/* Whether the reply, which is no error, can be one to so many clients. */
bool redis_script_sound(const struct redis_reply *whole, unsigned clients);
/*
 * What such a reply is to the i-th client: a reply for redis_script_answer. False: nothing
 * was done for it, and it is to be asked alone.
 */
bool redis_script_part(const struct redis_reply *whole, unsigned i, struct redis_reply *part);

/*
 * The same as arguments of a command with the script's text in it (EVAL), n 0 and no carry, for `clients
 * show`: argv has REDIS_PEEK_ARGS places, buf has redis_script_room. Returns how many are used.
 */
#define REDIS_PEEK_ARGS (6 + 3 * POLICY_MAX_APPLIED)
unsigned redis_script_peek_args(struct str *argv, char *buf, const struct redis_question *);

struct redis_answer {
	bool late;	  /* the deadline had passed: nothing was decided */
	usec_t server_us; /* the server's clock; 0: not told */
	unsigned granted;
	unsigned took[POLICY_MAX_APPLIED]; /* of the granted, counted by this policy: fewer only in shadow */
	struct window_state state[POLICY_MAX_APPLIED];
};

/* False: the reply is no answer to a question for n under these policies. */
bool redis_script_answer(const struct redis_reply *, const struct table_ask *, unsigned asks, unsigned n,
			 struct redis_answer *);

#endif
