/* SPDX-License-Identifier: MIT */
/*
 * A short text as four words, which are the same for no other text: for memos that are asked with every
 * request, so that looking there is cheap. Texts of TEXT_KEY_SHORTEST to TEXT_KEY_LONGEST bytes have a key;
 * all reads stay within the text.
 *
 * The hash has no secret: whoever chooses texts can choose such as collide. It is for memos in which a text
 * takes the place of another one, so that this costs nothing but the memo's gain.
 *
 * Pure functions: nothing is owned, nothing fails.
 */
#ifndef WEIR_BASE_TEXT_KEY_H
#define WEIR_BASE_TEXT_KEY_H

#include "base/str.h"

#define TEXT_KEY_SHORTEST 8
#define TEXT_KEY_LONGEST 24

/* The first eight bytes, the last, those from the ninth on if there are more than 16; and how many. */
struct text_key {
	uint64_t first, last, middle, n; /* n == 0: of no text */
};

static inline bool text_key_fits(struct str text)
{
	return text.n >= TEXT_KEY_SHORTEST && text.n <= TEXT_KEY_LONGEST;
}

static inline struct text_key text_key(struct str text)
{
	struct text_key k = {.middle = 0, .n = text.n};
	memcpy(&k.first, text.p, 8);
	memcpy(&k.last, text.p + text.n - 8, 8);
	if (text.n > 16)
		memcpy(&k.middle, text.p + 8, 8);
	return k;
}

static inline bool text_key_eq(const struct text_key *a, const struct text_key *b)
{
	return a->first == b->first && a->last == b->last && a->middle == b->middle && a->n == b->n;
}

/* As many bits as are asked for, up to 32. */
static inline size_t text_key_hash(const struct text_key *k, unsigned bits)
{
	uint64_t last = k->last << 23 | k->last >> 41; /* its top byte is where most texts differ */
	uint64_t h = (k->first ^ last ^ k->middle << 13) * UINT64_C(0x9e3779b97f4a7c15);
	return (size_t)((h ^ h >> 29) * UINT64_C(0xbf58476d1ce4e5b9) >> (64 - bits));
}

#endif
