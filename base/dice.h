/* SPDX-License-Identifier: MIT */
/*
 * Chance for what must not happen everywhere at once, such as tries to connect: fast, and no secret. A plain
 * value of whoever throws it.
 */
#ifndef WEIR_BASE_DICE_H
#define WEIR_BASE_DICE_H

#include <stdint.h>

#include "base/clock.h"

struct dice {
	uint64_t state; /* never 0 */
};

/* Each its own, by where it lies and when. */
static inline void dice_init(struct dice *d)
{
	d->state = ((uint64_t)clock_mono() ^ (uint64_t)(uintptr_t)d) | 1;
}

static inline uint64_t dice_roll(struct dice *d) /* xorshift64 */
{
	d->state ^= d->state << 13;
	d->state ^= d->state >> 7;
	d->state ^= d->state << 17;
	return d->state;
}

/* Half to all of it. */
static inline usec_t dice_jitter(struct dice *d, usec_t length)
{
	return length / 2 + (usec_t)(dice_roll(d) % (uint64_t)(length / 2 + 1));
}

#endif
