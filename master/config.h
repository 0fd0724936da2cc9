/* SPDX-License-Identifier: MIT */
/*
 * A config that is in force or about to be: what was loaded, under which generation, and the sealed bytes
 * from which children load the same. The master owns it; children get their own view of the bytes.
 */
#ifndef WEIR_MASTER_CONFIG_H
#define WEIR_MASTER_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "conf/conf.h"
#include "master/problems.h"

struct config {
	uint32_t generation;
	struct conf *conf;
	int bundle_fd;
	struct problems warned; /* what else there is to say of it */
};

struct owner { /* who gets what the master makes for its children; (uid_t)-1: nobody, they stay who they are
		*/
	uid_t uid;
	gid_t gid;
};

/*
 * Reads and checks. NULL: every error is a line of problems. Warnings of a good config are logged, and kept.
 * With `plain` what is wrong with the config goes to stderr instead, as `weir -t` writes it, and is not among
 * the problems.
 */
struct config *config_load(const char *path, uint32_t generation, bool plain, struct problems *);
void config_free(struct config *);

/* Who `user` is, when the master is root and may hand over; false: told in problems. */
bool config_owner(const struct conf *, struct owner *, struct problems *);

/* What a reload must leave as it is: memory that is laid out, and who the children are. False: told. */
bool config_may_follow(const struct conf *now, const struct conf *next, struct problems *);

#endif
