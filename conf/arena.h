/* SPDX-License-Identifier: MIT */
/*
 * Memory that goes all at once: what a config points to, and what a load needs on its way. The arena belongs
 * to whoever declared it ({0} is an empty one); what comes from it lives until arena_free, which wipes it
 * first, as passwords are among it.
 *
 * Out of memory: NULL (or an empty str), and `failed` stays set, so that a caller may look once at the end.
 */
#ifndef WEIR_CONF_ARENA_H
#define WEIR_CONF_ARENA_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

struct arena_block;

struct arena {
	struct arena_block *blocks; /* the newest first */
	bool failed;
};

void *arena_alloc(struct arena *, size_t n);	  /* filled with zeros, aligned for anything; n may be 0 */
struct str arena_str(struct arena *, struct str); /* a copy, with a NUL behind it that is not counted */
struct str arena_fmt(struct arena *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void arena_free(struct arena *);

#endif
