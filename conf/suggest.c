/* SPDX-License-Identifier: MIT */
#include "conf/suggest.h"

#define WORD 63

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

static unsigned char letter(struct str s, size_t i)
{
	return ascii_lower((unsigned char)s.p[i]);
}

/* The rows of the usual matrix: two back, one back, and this one. */
unsigned suggest_distance(struct str a, struct str b)
{
	unsigned rows[3][WORD + 1];
	unsigned *before = rows[0], *last = rows[1], *now = rows[2];

	if (a.n > WORD || b.n > WORD)
		return WORD + 1;
	for (unsigned j = 0; j <= b.n; j++)
		last[j] = j;
	for (unsigned i = 1; i <= a.n; i++) {
		now[0] = i;
		for (unsigned j = 1; j <= b.n; j++) {
			unsigned change = letter(a, i - 1) != letter(b, j - 1);
			now[j] = least(least(last[j] + 1, now[j - 1] + 1), last[j - 1] + change);
			if (i > 1 && j > 1 && letter(a, i - 1) == letter(b, j - 2) &&
			    letter(a, i - 2) == letter(b, j - 1))
				now[j] = least(now[j], before[j - 2] + 1);
		}
		unsigned *spare = before;
		before = last;
		last = now;
		now = spare;
	}
	return last[b.n];
}

void suggest_start(struct suggestion *s, struct str typed)
{
	/* A quarter of the word may be wrong, and at least one letter. */
	*s = (struct suggestion){typed, STR_NONE, (unsigned)(typed.n / 4 + 2)};
}

void suggest_word(struct suggestion *s, struct str known)
{
	unsigned d = suggest_distance(s->typed, known);
	if (d >= s->distance || d >= known.n)
		return;
	s->distance = d;
	s->best = known;
}
