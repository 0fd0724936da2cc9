/* SPDX-License-Identifier: MIT */
/*
 * What went wrong while something was prepared, gathered so that all of it can be told at once: to the log,
 * and to whoever asked for a reload. A line a problem. The caller's; {0} is an empty one. What no longer fits
 * is left out.
 */
#ifndef WEIR_MASTER_PROBLEMS_H
#define WEIR_MASTER_PROBLEMS_H

#include <stdbool.h>
#include <stddef.h>

#define PROBLEMS_TEXT 12000

struct problems {
	unsigned count;
	size_t n;
	char text[PROBLEMS_TEXT]; /* lines, a newline between two; always NUL-terminated */
};

enum problem_of { PROBLEM_PORT, PROBLEM_PATH, PROBLEM_SYSTEM };

void problems_add(struct problems *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* "WHAT: REASON (what to check)", from an errno. */
void problems_errno(struct problems *, enum problem_of, int err, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* One line of the log each. */
void problems_log(const struct problems *);

#endif
