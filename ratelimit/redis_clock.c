/* SPDX-License-Identifier: MIT */
#include "ratelimit/redis_clock.h"

#define DRIFT 5000 /* clocks may part by a 5000th */

static int64_t ahead(const struct redis_clock *c)
{
	return c->ahead.now < c->ahead.before ? c->ahead.now : c->ahead.before;
}

/*
 * The server's clock is ahead of ours by server_us less sent_at at most, and by server_us less now at least.
 * The least of the upper bounds lately is the best; one that is below a lower bound was refuted: the server's
 * clock was set.
 */
void redis_clock_learn(struct redis_clock *c, usec_t server_us, usec_t sent_at, usec_t now)
{
	int64_t most = server_us - sent_at, least = server_us - now;
	c->at = now;
	if (!c->known || ahead(c) < least) {
		c->ahead = (struct lately){most, most};
		c->known = true;
		return;
	}
	if (most < c->ahead.now)
		c->ahead.now = most;
}

void redis_clock_turn(struct redis_clock *c, usec_t length)
{
	if (c->known)
		lately_turn(&c->ahead, ahead(c) + length / DRIFT);
}

usec_t redis_clock_there(const struct redis_clock *c, usec_t moment, usec_t now)
{
	return c->known ? moment + ahead(c) + (now - c->at) / DRIFT : 0;
}
