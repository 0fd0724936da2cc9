/* SPDX-License-Identifier: MIT */
/* Lengths of time, moments and rates as people read them (conf/scalar.h has what they write). Pure. */
#ifndef WEIR_CONTROL_UNITS_H
#define WEIR_CONTROL_UNITS_H

#include "base/clock.h"

#define UNITS_TEXT 48

/* All write a NUL-terminated text and return out, so that they may stand in an argument list. */
const char *units_duration(char out[UNITS_TEXT], usec_t); /* 1 h 5 min, 14 min 3 s, 12 s, 1.2 ms */
const char *units_time(char out[UNITS_TEXT], wall_t);	  /* 2026-11-22 07:44:48 UTC */
const char *units_iso(char out[UNITS_TEXT], wall_t);	  /* 2026-11-22T07:44:48Z */
const char *units_rate(char out[UNITS_TEXT], double a_second);

/* The wall clock's reading at a monotonic moment, as far as the two can be told of each other now. */
wall_t units_wall_at(usec_t moment, usec_t now);

#endif
