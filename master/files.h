/* SPDX-License-Identifier: MIT */
/*
 * Descriptors and files that the master opens for others: who owns them then is said at each. All are closed
 * on exec; none of the functions waits for anybody.
 */
#ifndef WEIR_MASTER_FILES_H
#define WEIR_MASTER_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/str.h"
#include "conf/conf.h"
#include "master/problems.h"

/* Once, first of all: 0, 1 and 2 are open, and what else was inherited does not reach the children. False:
 * errno. */
bool files_tidy(void);

/* Raises the limit of descriptors to what caps.connections wants; says so in the log when that is more than
 * it may. */
void files_raise_limit(const struct conf *);

/* A copy of the bytes in memory that nobody can change any more; -1 with errno. */
int files_seal(const void *bytes, size_t n);

/* The access log, opened to append and made when missing (0640). -1: told in problems. */
int files_open_log(struct str path, struct problems *);

/* Makes the folder that the path lies in, when it is missing: one level, 0755. 0 or an errno. */
int files_make_folder(const char *path);

#endif
