/* SPDX-License-Identifier: MIT */
/*
 * A lift as a line of words, as it lies in the store: everything but its id and its end, which are the key's
 * name and time to live. What is read comes from strangers as far as this weir knows: it is checked as
 * strictly as what an operator types. Pure.
 *
 *   1 shadow=0 uid=1000 by='A. Operator' reason='load test' client=203.0.113.0/24 site=example.com
 */
#ifndef WEIR_CONTROL_LIFT_WORDS_H
#define WEIR_CONTROL_LIFT_WORDS_H

#include "control/text.h"
#include "ratelimit/lift.h"

#define LIFT_WORDS 16384 /* longest line */

void lift_words_write(const struct lift *, struct text *);

/* Fills in all but id and until. False: it is none of this version's, and nothing may be concluded from it.
 */
bool lift_words_read(struct str line, struct lift *);

/* 8 lower-case hex digits. */
bool lift_id_valid(struct str);

#endif
