/* SPDX-License-Identifier: MIT */
/*
 * weir's own log: one line a message on stderr, as text on a terminal and as JSON elsewhere. In processes
 * that have joined a ring (base/ring.h) lines go through it, so that a stderr that nobody reads holds nobody
 * up; in the others they are written at once. Messages never carry secrets: config values are named, not
 * shown.
 */
#ifndef WEIR_BASE_LOG_H
#define WEIR_BASE_LOG_H

#include <stdbool.h>

#include "base/clock.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

struct log_setup {
	enum log_level level;
	bool json;
	const char *process; /* "master", "control", "worker 0"; kept, not copied */
};
void log_setup(const struct log_setup *);
void log_set_level(enum log_level);
bool log_level_parse(const char *, enum log_level *);
const char *log_level_name(enum log_level);

void log_msg(enum log_level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define log_debug(...) log_msg(LOG_DEBUG, __VA_ARGS__)
#define log_info(...) log_msg(LOG_INFO, __VA_ARGS__)
#define log_warn(...) log_msg(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_msg(LOG_ERROR, __VA_ARGS__)

/* For messages that may come in floods: true once in `every`; then *missed says how many were passed over
 * since. */
struct log_limit {
	usec_t next;
	unsigned missed;
};
bool log_limit_pass(struct log_limit *, usec_t now, usec_t every, unsigned *missed);

#endif
