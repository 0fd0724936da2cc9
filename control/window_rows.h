/* SPDX-License-Identifier: MIT */
/* A client's windows, one row a policy, as people and tools read them. */
#ifndef WEIR_CONTROL_WINDOW_ROWS_H
#define WEIR_CONTROL_WINDOW_ROWS_H

#include "base/json.h"
#include "control/clients.h"
#include "control/text.h"

/* An array of objects, the fields of `clients show`. */
void window_rows_json(const struct clients_peek *, struct json *);
void window_rows_text(const struct clients_peek *, struct text *);

#endif
