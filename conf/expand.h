/* SPDX-License-Identifier: MIT */
/*
 * ${NAME}, ${NAME:-default} and ${file:PATH} inside scalars, after YAML has been parsed, so that what they
 * stand for can never become structure. $${ writes a plain ${. What comes out is not expanded again. An empty
 * variable counts as unset where there is a default, as in a shell; a file loses one newline at its end.
 */
#ifndef WEIR_CONF_EXPAND_H
#define WEIR_CONF_EXPAND_H

#include "conf/load.h"

#define EXPAND_MAX 65536u	/* bytes of one scalar */
#define EXPAND_TOTAL (4u << 20) /* and of all together */

/* All scalars below the node; what cannot be expanded is complained of and marked as bad. */
void expand_tree(struct load *, struct node *);

#endif
