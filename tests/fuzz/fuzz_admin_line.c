/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a line on the admin socket, and as a lift that another weir put into the store: words that
 * come back from quoting as they were, commands whose arguments are among the words, lifts that are written
 * and read as the same.
 */
#include "acl/addr.h"
#include "control/command_line.h"
#include "control/lift_words.h"
#include "tests/fuzz/fuzz.h"

enum { LINE_MOST = 4096 };

/* Each word quoted, split again, is the word. */
static void check_quoted(const struct words *w)
{
	static char line[6 * LINE_MOST + 4 * WORDS_MAX], copy[sizeof(line)];
	struct words again;
	size_t n = 0;

	for (unsigned i = 0; i < w->n; i++) {
		promise(words_printable(w->word[i]));
		size_t len = words_quote(line + n, sizeof(line) - n - 1, w->word[i]);
		promise(len > 0 && strlen(line + n) == len);
		n += len;
		line[n++] = ' ';
	}
	line[n] = 0;
	memcpy(copy, line, n + 1);
	promise(words_split(copy, &again) == NULL && again.n == w->n);
	for (unsigned i = 0; i < w->n; i++)
		promise(strcmp(again.word[i], w->word[i]) == 0);
	/* In less room it says so, and writes no further. */
	for (unsigned i = 0; i < w->n && i < 3; i++) {
		size_t len = words_quote(line, sizeof(line), w->word[i]);
		for (size_t cap = 0; cap <= len && cap < 40; cap++) {
			char *small = exact_copy(line, cap);
			promise(words_quote(small, cap, w->word[i]) == 0);
			free(small);
		}
	}
}

static bool lies_in(const char *value, const char *line, size_t n)
{
	return value >= line && value <= line + n;
}

static void check_command(const struct words *w, const char *line, size_t n)
{
	struct command_line c;
	struct text error = {0};
	enum command_verdict v = command_parse(w, &c, &error);

	promise((v == COMMAND_FINE) == (error.n == 0));
	promise(v != COMMAND_FINE || c.row);
	promise(!c.by || lies_in(c.by, line, n));
	promise(c.n <= WORDS_MAX);
	for (unsigned i = 0; i < c.n; i++) {
		promise(c.given[i].arg && c.given[i].value);
		promise(!*c.given[i].value || lies_in(c.given[i].value, line, n));
	}
	if (v == COMMAND_FINE && !c.help)
		for (const struct command_arg *a = c.row->args; a->name; a++)
			promise(!(a->flags & (ARG_REQUIRED | ARG_OWED)) || command_value(&c, a->name));
	text_tame(&error);
	for (size_t i = 0; i < error.n; i++)
		promise((unsigned char)error.p[i] >= ' ' || error.p[i] == '\n');
	text_free(&error);
}

static bool same_lift(const struct lift *a, const struct lift *b)
{
	if (a->effect != b->effect || a->uid != b->uid || a->clients != b->clients || a->sites != b->sites ||
	    strcmp(a->by, b->by) != 0 || strcmp(a->reason, b->reason) != 0)
		return false;
	for (unsigned i = 0; i < a->clients; i++)
		if (memcmp(a->client[i].addr, b->client[i].addr, 16) != 0 ||
		    a->client[i].bits != b->client[i].bits)
			return false;
	for (unsigned i = 0; i < a->sites; i++)
		if (strcmp(a->site[i], b->site[i]) != 0)
			return false;
	return true;
}

static void check_lift(struct str line)
{
	static struct lift l, again;
	struct text written = {0};

	if (!lift_words_read(line, &l))
		return;
	promise(l.clients <= LIFT_CLIENTS && l.sites <= LIFT_SITES && l.reason[0] && l.effect != LIFT_NONE);
	for (unsigned i = 0; i < l.clients; i++)
		promise(l.client[i].bits <= 128);
	lift_words_write(&l, &written);
	promise(!written.cut && lift_words_read((struct str){written.p, written.n}, &again));
	promise(same_lift(&l, &again));
	text_free(&written);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct words w;

	if (size > LINE_MOST)
		return 0;
	char *line = exact_copy(data, size);
	check_lift((struct str){line, size});
	lift_id_valid((struct str){line, size});
	free(line);
	line = malloc(size + 1);
	promise(line != NULL);
	memcpy(line, data, size);
	line[size] = 0;
	size_t n = strlen(line);
	const char *why = words_split(line, &w);
	promise(w.n <= WORDS_MAX);
	if (!why) {
		for (unsigned i = 0; i < w.n; i++)
			promise(lies_in(w.word[i], line, n) &&
				lies_in(w.word[i] + strlen(w.word[i]), line, n));
		check_quoted(&w);
		check_command(&w, line, n);
	}
	free(line);
	return 0;
}
