/* SPDX-License-Identifier: MIT */
/* The nearest of some known words to one that was mistyped: Damerau-Levenshtein, case-blind. Pure. */
#ifndef WEIR_CONF_SUGGEST_H
#define WEIR_CONF_SUGGEST_H

#include "base/str.h"

struct suggestion {
	struct str typed, best;
	unsigned distance; /* of best; best.n == 0: nothing is near enough */
};

void suggest_start(struct suggestion *, struct str typed);
void suggest_word(struct suggestion *, struct str known);

/* Changes, insertions, omissions and swaps of neighbours between two words of at most 63 bytes; else 64. */
unsigned suggest_distance(struct str, struct str);

#endif
