/* SPDX-License-Identifier: MIT */
/*
 * A server's clock as seen from here: how far it is ahead of ours, at most. Pure values, embedded by whoever
 * talks to the server.
 *
 * Of the differences that are possible the largest is used: an error makes the server spend in vain rather
 * than refuse.
 */
#ifndef WEIR_RATELIMIT_REDIS_CLOCK_H
#define WEIR_RATELIMIT_REDIS_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

/* A value of which the extreme of lately is wanted: over the epoch under way and the one before. */
struct lately {
	int64_t now, before;
};

static inline void lately_turn(struct lately *l, int64_t fresh)
{
	l->before = l->now;
	l->now = fresh;
}

struct redis_clock {
	bool known;
	struct lately ahead; /* the server's clock less ours, at most */
	usec_t at;	     /* when it was learned */
};

/* The server showed server_us at some moment between sent_at and now. */
void redis_clock_learn(struct redis_clock *, usec_t server_us, usec_t sent_at, usec_t now);
/* An epoch of that length is over. */
void redis_clock_turn(struct redis_clock *, usec_t length);
/* The moment on the server's clock, not before it; 0: not known. */
usec_t redis_clock_there(const struct redis_clock *, usec_t moment, usec_t now);

#endif
