/* SPDX-License-Identifier: MIT */
/*
 * Where clients stand: the busiest of this weir, and one client under one or more policies, asked of the store that
 * decides. Nothing is spent by asking.
 */
#ifndef WEIR_CONTROL_CLIENTS_H
#define WEIR_CONTROL_CLIENTS_H

#include "base/json.h"
#include "control/state.h"
#include "control/text.h"
#include "ratelimit/limiter.h"

void clients_top_text(const struct control *, unsigned n, struct text *);
void clients_top_json(const struct control *, unsigned n, struct json *);

#endif
