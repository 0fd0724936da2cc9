/* SPDX-License-Identifier: MIT */
#include "conf/notes.h"

#include <stdlib.h>

/* Terminals obey control bytes. A character that was cut in two at the end goes whole. */
static void make_printable(char *s)
{
	size_t n = strlen(s), tail = 0;
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
			s[i] = '?';
	while (tail < n && tail < 3 && ((unsigned char)s[n - 1 - tail] & 0xc0) == 0x80)
		tail++;
	if (tail >= n)
		return;
	unsigned char lead = (unsigned char)s[n - 1 - tail];
	size_t whole = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc0 ? 1 : 0;
	if (tail < whole)
		s[n - 1 - tail] = '\0';
}

void notes_add(struct conf_notes *notes, bool warning, struct str file, unsigned line, unsigned column,
	       const char *fmt, va_list ap)
{
	notes->errors += !warning;
	if (notes->rows >= NOTES_MAX)
		return;
	struct conf_note *row = realloc(notes->row, (notes->rows + 1) * sizeof(*row));
	if (!row)
		return; /* an error is counted all the same */
	notes->row = row;
	row += notes->rows++;
	memset(row, 0, sizeof(*row));
	snprintf(row->file, sizeof(row->file), "%.*s", (int)file.n, file.p ? file.p : "");
	row->line = line;
	row->column = column;
	row->warning = warning;
	vsnprintf(row->text, sizeof(row->text), fmt, ap);
	make_printable(row->file);
	make_printable(row->text);
}

/* The config file's own come first, as it was read first; strcmp would put /etc before weir.yaml. */
static int compare_places(const struct conf_note *a, const struct conf_note *b)
{
	if ((a->line == 0) != (b->line == 0))
		return a->line == 0 ? 1 : -1;
	if (strcmp(a->file, b->file) != 0)
		return 0;
	if (a->line != b->line)
		return a->line < b->line ? -1 : 1;
	return a->column == b->column ? 0 : a->column < b->column ? -1 : 1;
}

void notes_sort(struct conf_notes *notes)
{
	for (unsigned i = 1; i < notes->rows; i++) {
		struct conf_note note = notes->row[i];
		unsigned at = i;
		for (; at > 0 && compare_places(&note, &notes->row[at - 1]) < 0; at--)
			notes->row[at] = notes->row[at - 1];
		notes->row[at] = note;
	}
}

void conf_notes_free(struct conf_notes *notes)
{
	free(notes->row);
	*notes = (struct conf_notes){0};
}

void conf_notes_print(const struct conf_notes *notes, FILE *out)
{
	unsigned shown = 0;
	for (unsigned i = 0; i < notes->rows; i++) {
		const struct conf_note *n = &notes->row[i];
		const char *kind = n->warning ? "warning: " : "";
		shown += !n->warning;
		if (n->line)
			fprintf(out, "%s:%u:%u: %s%s\n", n->file, n->line, n->column, kind, n->text);
		else
			fprintf(out, "%s: %s%s\n", n->file, kind, n->text);
	}
	if (notes->errors > shown)
		fprintf(out, "and %u errors more\n", notes->errors - shown);
}
