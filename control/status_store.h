/* SPDX-License-Identifier: MIT */
/*
 * The store for `weirctl status`, the status page and /metrics: what the workers see of it, what control
 * sees, and what its servers say of themselves. Pure reads.
 */
#ifndef WEIR_CONTROL_STATUS_STORE_H
#define WEIR_CONTROL_STATUS_STORE_H

#include "base/json.h"
#include "control/state.h"
#include "control/text.h"
#include "ratelimit/redis_node.h"

/* The state that most workers that serve see; control's own while none does. */
const char *status_store_state(const struct control *);

void status_store_json(const struct control *, struct json *); /* the object */
void status_store_text(const struct control *, struct text *); /* lines of two columns */

/* Servers that control sees, by the state of their connection. */
void status_store_states(const struct control *, unsigned in[STORE_STATES]);
/* Servers whose maxmemory-policy may evict, and the keys that all of them have evicted. */
void status_store_evictions(const struct control *, unsigned *may_evict, uint64_t *evicted);

#endif
