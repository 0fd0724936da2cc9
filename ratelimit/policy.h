/* SPDX-License-Identifier: MIT */
/*
 * The values that the limiter's parts hand each other: a policy, a client, and where a client stands under a
 * policy. Plain values, owned by whoever holds them. A policy's `for` networks are resolved by the caller,
 * who passes the limit in force for the client with each question; `requests` is what holds for everyone
 * else.
 *
 * An admission at the moment t counts at every moment m with t <= m < t + window; at t + window its slot is
 * free.
 */
#ifndef WEIR_RATELIMIT_POLICY_H
#define WEIR_RATELIMIT_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

#define POLICY_MAX_APPLIED 4

/* An address already masked to the client's prefix; all zeros stands for no client and is not used. */
struct client_id {
	uint8_t b[16];
};

struct policy {
	char name[32];
	uint16_t id; /* place in the config */
	uint64_t
		key; /* hash of name and window: windows are keyed by it, not by id, so a reload keeps them */
	uint32_t requests; /* a window */
	usec_t window_us;  /* above 0 */
	bool shadow;	   /* counts and reports, refuses nobody */
};

/* Of a limit among so many who cannot ask each other: rounded up, so that none has nothing. */
static inline uint32_t policy_share(uint32_t limit, uint32_t among)
{
	return limit / among + (limit % among != 0);
}

struct window_state {
	uint32_t limit, used, remaining;
	usec_t retry_after_us; /* until the next slot frees; 0 when one is free */
	usec_t reset_us; /* until the window is empty if nothing more is admitted: the t of the RateLimit
			    header */
};

#endif
