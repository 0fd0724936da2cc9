/* SPDX-License-Identifier: MIT */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/metric.h"
#include "base/ring.h"
#include "base/str.h"

#define MESSAGE 4000

static struct log_setup setup = {LOG_INFO, false, "weir"};
static const char *const level_names[] = {"debug", "info", "warn", "error"};

void log_setup(const struct log_setup *s)
{
	setup = *s;
}

void log_set_level(enum log_level l)
{
	setup.level = l;
}

const char *log_level_name(enum log_level l)
{
	return level_names[l];
}

bool log_level_parse(const char *name, enum log_level *l)
{
	for (int i = LOG_DEBUG; i <= LOG_ERROR; i++)
		if (strcmp(name, level_names[i]) == 0)
			return *l = (enum log_level)i, true;
	return false;
}

/* Terminals obey control characters, those of UTF-8's second block too (C2 80 to C2 9F), so they become
 * blanks. */
static void printable(char *s)
{
	for (; *s; s++) {
		unsigned char c = (unsigned char)s[0], next = (unsigned char)s[1];
		if (c == 0xc2 && next >= 0x80 && next < 0xa0)
			s[0] = s[1] = ' ';
		else if (c < 0x20 || c == 0x7f)
			*s = ' ';
	}
}

static size_t lay_out(char *out, size_t cap, enum log_level level, char *msg)
{
	char when[40], body[MESSAGE * 2];
	wall_t now = clock_wall();
	time_t s = (time_t)(now / USEC_PER_SEC);
	struct tm tm;
	gmtime_r(&s, &tm);
	size_t n = strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(when + n, sizeof(when) - n, ".%03dZ", (int)(now / 1000 % 1000));
	int len;
	if (setup.json) {
		*json_escape(body, body + sizeof(body) - 1, str_of(msg)) = 0;
		len = snprintf(out, cap,
			       "{\"time\":\"%s\",\"level\":\"%s\",\"process\":\"%s\",\"pid\":%d,\"message\":"
			       "\"%s\"}\n",
			       when, level_names[level], setup.process, (int)getpid(), body);
	} else {
		printable(msg);
		len = snprintf(out, cap, "%s %-5s %s: %s\n", when, level_names[level], setup.process, msg);
	}
	if (len < 0)
		return 0;
	return (size_t)len < cap ? (size_t)len : cap - 1;
}

void log_msg(enum log_level level, const char *fmt, ...)
{
	char msg[MESSAGE], line[MESSAGE * 2 + 200];
	va_list ap;
	if (level < setup.level)
		return;
	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	if (!ring_joined()) {
		size_t n = lay_out(line, sizeof(line), level, msg);
		ssize_t ignored = write(STDERR_FILENO, line, n);
		(void)ignored;
		return;
	}
	char *room = ring_reserve(RING_OWN);
	if (room)
		ring_commit(RING_OWN, lay_out(room, RING_LINE, level, msg));
	else
		metric_add(metric_series(METRIC_LOG_DROPPED, ring_label(RING_OWN)), 1);
}

bool log_limit_pass(struct log_limit *l, usec_t now, usec_t every, unsigned *missed)
{
	if (now < l->next) {
		l->missed++;
		return false;
	}
	*missed = l->missed;
	*l = (struct log_limit){now + every, 0};
	return true;
}
