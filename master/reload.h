/* SPDX-License-Identifier: MIT */
/*
 * A reload: a new config is loaded and checked, what it needs is opened, its workers are started beside the
 * old ones; when all of them serve, it is in force and the old ones leave. Whatever goes wrong before that
 * undoes all of it, and the old config stays. One at a time; what is asked for meanwhile is one more
 * afterwards. Who asked is answered when no old worker takes connections any more.
 */
#ifndef WEIR_MASTER_RELOAD_H
#define WEIR_MASTER_RELOAD_H

#include "master/master.h"

/* HUP, or (`asked`) control, which gets MSG_RELOADED for each time it asks. */
void reload_ask(struct master *, bool asked);

/* A worker has said READY; maybe the last one. */
void reload_on_ready(struct master *);

/* An old worker takes no more connections, or has ended, or is too slow to say so. */
void reload_settle(struct master *);

/* A child has ended. True: it was of the config that was to come, and the reload is undone. */
bool reload_on_end(struct master *, uint32_t generation, const char *text);

/* Weir drains: whatever is under way or waits is refused. */
void reload_refuse_all(struct master *, const char *why);

/* Begins what waited, when it can. */
void reload_advance(struct master *);

/* Do both configs write the same access log? */
bool reload_same_log(const struct conf *, const struct conf *);

#endif
