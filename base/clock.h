/* SPDX-License-Identifier: MIT */
/*
 * Time. usec_t counts microseconds of CLOCK_MONOTONIC, or is a length of time in microseconds; wall_t counts
 * microseconds since 1970 in UTC and serves logs only. The two never meet in one expression.
 */
#ifndef WEIR_BASE_CLOCK_H
#define WEIR_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

typedef int64_t usec_t;
typedef int64_t wall_t;

#define USEC_PER_MSEC ((usec_t)1000)
#define USEC_PER_SEC ((usec_t)1000000)
#define USEC_NEVER INT64_MAX

static inline usec_t clock_mono(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (usec_t)ts.tv_sec * USEC_PER_SEC + ts.tv_nsec / 1000;
}

static inline wall_t clock_wall(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	return (wall_t)ts.tv_sec * USEC_PER_SEC + ts.tv_nsec / 1000;
}

#endif
