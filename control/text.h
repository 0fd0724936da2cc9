/* SPDX-License-Identifier: MIT */
/*
 * A text that grows as it is written, up to TEXT_MOST bytes, with columns laid out at the end. Owned by the
 * caller, who zeroes it before and calls text_free after. What no memory was left for, or exceeds TEXT_MOST,
 * is cut off and told by `cut`.
 */
#ifndef WEIR_CONTROL_TEXT_H
#define WEIR_CONTROL_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

#define TEXT_MOST (16u << 20)

struct text {
	char *p; /* NUL-terminated; NULL while empty */
	size_t n, cap;
	bool cut;
};

void text_add(struct text *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void text_bytes(struct text *, const void *, size_t);
static inline void text_str(struct text *t, struct str s)
{
	text_bytes(t, s.p, s.n);
}

/*
 * Lines from `mark` (an earlier n) to the end are rows with a tab between cells: pads the cells so that
 * columns stand under each other. A column of numbers below its heading (the first row) is set to the right.
 */
void text_align(struct text *, size_t mark);

/* Control bytes other than the newline become blanks, so that nothing moves a terminal's cursor. */
void text_tame(struct text *);

/* For HTML: & < > " ' as entities. */
void text_html(struct text *, const char *);

void text_free(struct text *);

#endif
