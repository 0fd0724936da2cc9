/* SPDX-License-Identifier: MIT */
/* How many a second: a counter sampled each second, and its growth over the last RATES_SECONDS. Pure. */
#ifndef WEIR_CONTROL_RATES_H
#define WEIR_CONTROL_RATES_H

#include <stdint.h>

#include "base/clock.h"

#define RATES_SECONDS 10

struct rates {
	unsigned n, next; /* samples there are; place of the next */
	struct {
		usec_t at;
		uint64_t value;
	} sample[RATES_SECONDS + 1];
};

static inline void rates_sample(struct rates *r, usec_t now, uint64_t value)
{
	r->sample[r->next].at = now;
	r->sample[r->next].value = value;
	r->next = (r->next + 1) % (RATES_SECONDS + 1);
	if (r->n <= RATES_SECONDS)
		r->n++;
}

/* 0 before there are two samples. A counter that went back (it was restarted) grew by nothing. */
static inline double rates_a_second(const struct rates *r)
{
	const unsigned size = RATES_SECONDS + 1;
	if (r->n < 2)
		return 0;
	unsigned last = (r->next + size - 1) % size, first = (r->next + size - r->n) % size;
	uint64_t new = r->sample[last].value, old = r->sample[first].value;
	usec_t took = r->sample[last].at - r->sample[first].at;
	return new > old &&took > 0 ? (double)(new - old) * 1e6 / (double)took : 0;
}

#endif
