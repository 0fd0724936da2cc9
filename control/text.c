/* SPDX-License-Identifier: MIT */
#include "control/text.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS 16

static bool make_room(struct text *t, size_t want)
{
	if (t->p && t->cap - t->n > want)
		return true;
	size_t cap = t->cap ? t->cap : 512;
	while (cap - t->n <= want)
		cap *= 2;
	char *p = cap <= TEXT_MOST ? realloc(t->p, cap) : NULL;
	if (!p) {
		t->cut = true;
		return false;
	}
	t->p = p;
	t->cap = cap;
	return true;
}

void text_bytes(struct text *t, const void *bytes, size_t n)
{
	if (n == 0 || t->cut || !make_room(t, n))
		return;
	memcpy(t->p + t->n, bytes, n);
	t->n += n;
	t->p[t->n] = 0;
}

void text_add(struct text *t, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n <= 0 || t->cut || !make_room(t, (size_t)n))
		return;
	va_start(ap, fmt);
	vsnprintf(t->p + t->n, (size_t)n + 1, fmt, ap);
	va_end(ap);
	t->n += (size_t)n;
}

struct column {
	size_t width;
	bool numbers;
};

static bool is_number(struct str s)
{
	unsigned dots = 0;
	if (str_eq(s, STR("-")))
		return true;
	for (size_t i = 0; i < s.n; i++) {
		dots += s.p[i] == '.';
		if (!memchr("0123456789.", s.p[i], 11))
			return false;
	}
	return s.n > 0 && dots < 2;
}

/* Takes the next cell off the rows; *last when it ends its row. */
static struct str next_cell(const char **p, const char *end, bool *last)
{
	const char *s = *p;
	while (*p < end && **p != '\t' && **p != '\n')
		(*p)++;
	struct str cell = {s, (size_t)(*p - s)};
	*last = *p >= end || **p == '\n';
	if (*p < end)
		(*p)++;
	return cell;
}

static void measure(const char *p, const char *end, struct column *col)
{
	bool last;
	for (unsigned row = 0, at = 0; p < end; row += last, at = last ? 0 : at + 1) {
		struct str cell = next_cell(&p, end, &last);
		struct column *c = &col[at < COLUMNS ? at : COLUMNS - 1];
		if (cell.n > c->width)
			c->width = cell.n;
		if (row && !is_number(cell))
			c->numbers = false;
	}
}

static void lay_out(struct text *to, const char *p, const char *end, const struct column *col)
{
	bool last;
	for (unsigned at = 0; p < end; at = last ? 0 : at + 1) {
		struct str cell = next_cell(&p, end, &last);
		const struct column *c = &col[at < COLUMNS ? at : COLUMNS - 1];
		int pad = (int)(c->width - cell.n);
		if (c->numbers)
			text_add(to, "%*s", pad, "");
		text_str(to, cell);
		if (!last)
			text_add(to, "%*s", (c->numbers ? 0 : pad) + 2, "");
		else
			text_bytes(to, "\n", 1);
	}
}

void text_align(struct text *t, size_t mark)
{
	struct column col[COLUMNS];
	struct text rows = {0};
	for (unsigned i = 0; i < COLUMNS; i++)
		col[i] = (struct column){0, true};
	if (t->cut || t->n == mark)
		return;
	assert(t->p && mark < t->n);
	text_bytes(&rows, t->p + mark, t->n - mark);
	if (!rows.cut) {
		measure(rows.p, rows.p + rows.n, col);
		t->n = mark;
		lay_out(t, rows.p, rows.p + rows.n, col);
	}
	text_free(&rows);
}

void text_tame(struct text *t)
{
	for (size_t i = 0; i < t->n; i++)
		if (((unsigned char)t->p[i] < 0x20 && t->p[i] != '\n') || t->p[i] == 0x7f)
			t->p[i] = ' ';
}

void text_html(struct text *t, const char *s)
{
	static const char special[] = "&<>\"'";
	static const char *const entity[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
	while (*s) {
		size_t n = strcspn(s, special);
		text_bytes(t, s, n);
		s += n;
		if (*s)
			text_add(t, "%s", entity[strchr(special, *s++) - special]);
	}
}

void text_free(struct text *t)
{
	free(t->p);
	*t = (struct text){0};
}
