/* SPDX-License-Identifier: MIT */
/* The status page: one HTML document for people that loads nothing else and asks for itself again each 5 s.
 */
#ifndef WEIR_CONTROL_STATUS_PAGE_H
#define WEIR_CONTROL_STATUS_PAGE_H

#include "control/state.h"
#include "control/text.h"

void status_page_write(const struct control *, struct text *);

#endif
