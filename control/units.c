/* SPDX-License-Identifier: MIT */
#include "control/units.h"

#include <stdio.h>

const char *units_duration(char out[UNITS_TEXT], usec_t us)
{
	long s = (long)((us + USEC_PER_SEC / 2) / USEC_PER_SEC), m = s / 60, h = m / 60, d = h / 24;
	if (us > 0 && us < USEC_PER_SEC)
		snprintf(out, UNITS_TEXT, "%.1f ms", (double)us / 1e3);
	else if (s < 60)
		snprintf(out, UNITS_TEXT, "%ld s", s);
	else if (m < 60)
		snprintf(out, UNITS_TEXT, s % 60 ? "%ld min %ld s" : "%ld min", m, s % 60);
	else if (h < 48)
		snprintf(out, UNITS_TEXT, m % 60 ? "%ld h %ld min" : "%ld h", h, m % 60);
	else
		snprintf(out, UNITS_TEXT, "%ld d %ld h", d, h % 24);
	return out;
}

static const char *moment(char out[UNITS_TEXT], wall_t w, const char *format)
{
	time_t s = (time_t)(w / USEC_PER_SEC);
	struct tm tm;
	gmtime_r(&s, &tm);
	if (strftime(out, UNITS_TEXT, format, &tm) == 0)
		out[0] = 0;
	return out;
}

const char *units_time(char out[UNITS_TEXT], wall_t w)
{
	return moment(out, w, "%Y-%m-%d %H:%M:%S UTC");
}

const char *units_iso(char out[UNITS_TEXT], wall_t w)
{
	return moment(out, w, "%Y-%m-%dT%H:%M:%SZ");
}

const char *units_rate(char out[UNITS_TEXT], double r)
{
	snprintf(out, UNITS_TEXT, r < 10 ? "%.1f" : "%.0f", r);
	return out;
}

wall_t units_wall_at(usec_t at, usec_t now)
{
	usec_t ahead = at - now;
	return clock_wall() + ahead;
}
