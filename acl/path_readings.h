/* SPDX-License-Identifier: MIT */
/*
 * All ways in which programs may read a path: see acl/path_rules.h for what the steps are. The readings are
 * the closure of the raw path under the steps, in any order, without duplicates. The number of readings and
 * the bytes worked on are bounded, so that a path made to be costly is refused instead.
 *
 * A struct path_readings is scratch for the stack: large, owned by the caller, never cleared, and valid as
 * long as the path is, into which readings may point. Pure; nothing is allocated.
 */
#ifndef WEIR_ACL_PATH_READINGS_H
#define WEIR_ACL_PATH_READINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "acl/path_rules.h"
#include "base/str.h"

#define PATH_READINGS_ARENA (8 * PATH_RULES_PATH_MAX) /* bytes of text held */
#define PATH_READINGS_WORK (16 * PATH_RULES_PATH_MAX) /* bytes gone over, all steps together */

struct path_reading {
	struct str text; /* starts with a slash */
	uint64_t hash;
	uint16_t has;	 /* what there is for the steps to do */
	uint8_t decoded; /* 0..2: how often */
};

struct path_readings {
	unsigned n;
	size_t used; /* of arena */
	size_t work;
	struct path_reading v[PATH_RULES_READINGS_MAX];
	char arena[PATH_READINGS_ARENA];
};

/* Can it be read in one way only? Then it is also free of upper-case letters. */
bool path_is_plain(struct str path);

/* NULL, or what is wrong with the path, which starts with a slash and is no longer than PATH_RULES_PATH_MAX.
 */
const char *path_readings_make(struct path_readings *, struct str path);

#endif
