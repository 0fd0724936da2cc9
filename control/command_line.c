/* SPDX-License-Identifier: MIT */
#include "control/command_line.h"

#include <stdio.h>
#include <string.h>

#include "conf/suggest.h"

#define TYPED_MOST 64

/* How many of the words are the row's, all of them; 0 when they are not. */
static unsigned row_match(const struct command_row *r, char *const *word, unsigned n)
{
	const char *w = r->words;
	for (unsigned i = 0; i < n; i++) {
		size_t len = strcspn(w, " ");
		if (strlen(word[i]) != len || strncmp(word[i], w, len) != 0)
			return 0;
		w += len;
		if (!*w)
			return i + 1;
		w++;
	}
	return 0;
}

const struct command_row *command_find(char *const *word, unsigned n, unsigned *used)
{
	for (unsigned i = 0; i < COMMAND_IDS; i++) {
		*used = row_match(&command_rows[i], word, n);
		if (*used)
			return &command_rows[i];
	}
	return NULL;
}

static bool in_group(const struct command_row *r, const char *group)
{
	size_t n = strlen(group);
	return strncmp(r->words, group, n) == 0 && r->words[n] == ' ';
}

static bool write_group(struct text *out, const char *group)
{
	bool any = false;
	for (unsigned i = 0; i < COMMAND_IDS; i++) {
		const struct command_row *r = &command_rows[i];
		if (!in_group(r, group) || !command_is_listed(r))
			continue;
		if (!any)
			text_add(out, "%s: one of these is missing or mistyped:\n", group);
		any = true;
		text_add(out, "  ");
		command_write_usage(out, r);
		text_add(out, "\n");
	}
	return any;
}

/* "limits lfit" is compared with whole commands; "statsu now" too, by its first word. */
static struct str nearest_command(char *const *word, unsigned n)
{
	char typed[TYPED_MOST];
	struct suggestion two, one;
	snprintf(typed, sizeof(typed), "%s%s%s", word[0], n > 1 ? " " : "", n > 1 ? word[1] : "");
	suggest_start(&two, str_of(typed));
	suggest_start(&one, str_of(word[0]));
	for (unsigned i = 0; i < COMMAND_IDS; i++) {
		if (!command_is_listed(&command_rows[i]))
			continue;
		suggest_word(&two, str_of(command_rows[i].words));
		suggest_word(&one, str_of(command_rows[i].words));
	}
	return one.best.n && one.distance <= two.distance ? one.best : two.best;
}

static enum command_verdict unknown_command(char *const *word, unsigned n, struct text *error)
{
	struct str near = nearest_command(word, n);
	bool two = n > 1 && word[1][0] != '-';
	if (!near.n && write_group(error, word[0]))
		return COMMAND_USAGE;
	text_add(error, "unknown command `%s%s%s`", word[0], two ? " " : "", two ? word[1] : "");
	if (near.n)
		text_add(error, " (did you mean `%s`?)\n", near.p);
	else
		text_add(error, " (`help` lists the commands)\n");
	return COMMAND_USAGE;
}

/* A line a command of the group; false: it is none. */
static bool write_group_help(struct text *out, const char *group)
{
	size_t mark = out->n;
	for (unsigned i = 0; i < COMMAND_IDS; i++)
		if (in_group(&command_rows[i], group) && command_is_listed(&command_rows[i]))
			text_add(out, "  %s\t%s\n", command_rows[i].words, command_rows[i].help);
	text_align(out, mark);
	return out->n > mark;
}

enum command_verdict command_help(char *const *word, unsigned n, struct text *out)
{
	unsigned used;
	const struct command_row *row = command_find(word, n, &used);
	if (row)
		command_write_help(out, row);
	else if (n == 0)
		command_write_list(out);
	else if (n > 1 || !write_group_help(out, word[0]))
		return unknown_command(word, n, out);
	return COMMAND_FINE;
}

static const struct command_arg *find_option(const struct command_arg *a, const char *name, size_t n)
{
	for (; a->name; a++)
		if (strlen(a->name) == n && strncmp(a->name, name, n) == 0 && command_arg_is_option(a))
			return a;
	return NULL;
}

static const struct command_arg *find_place(const struct command_line *c, unsigned place)
{
	const struct command_arg *last = NULL;
	for (const struct command_arg *a = c->row->args; a->name; a++) {
		if (command_arg_is_option(a))
			continue;
		last = a;
		if (place-- == 0)
			return a;
	}
	return last && last->flags & ARG_REPEATS ? last : NULL;
}

static enum command_verdict unknown_option(const struct command_line *c, const char *typed,
					   struct text *error)
{
	struct suggestion s;
	char name[TYPED_MOST];
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(typed, "="), typed);
	suggest_start(&s, str_of(name));
	for (const struct command_arg *a = c->row->args; a->name; a++)
		if (command_arg_is_option(a))
			suggest_word(&s, str_of(a->name));
	for (const struct command_arg *a = command_common_args; a->name; a++)
		suggest_word(&s, str_of(a->name));
	text_add(error, "%s: unknown option %s", c->row->words, name);
	if (s.best.n)
		text_add(error, " (did you mean %s?)", s.best.p);
	text_add(error, "\nusage: ");
	command_write_usage(error, c->row);
	text_add(error, "\n");
	return COMMAND_USAGE;
}

static enum command_verdict wrong(const struct command_line *c, struct text *error, const char *what,
				  const char *name)
{
	text_add(error, "%s: %s %s\nusage: ", c->row->words, what, name);
	command_write_usage(error, c->row);
	text_add(error, "\n");
	return COMMAND_USAGE;
}

static bool given(const struct command_line *c, const struct command_arg *a)
{
	for (unsigned i = 0; i < c->n; i++)
		if (c->given[i].arg == a)
			return true;
	return false;
}

static enum command_verdict keep(struct command_line *c, const struct command_arg *a, const char *value,
				 struct text *error)
{
	if (given(c, a) && !(a->flags & ARG_REPEATS) && a->value)
		return wrong(c, error, "more than one", a->name);
	c->given[c->n++] = (struct command_given){a, value};
	return COMMAND_FINE;
}

/* The common options say how to answer, and are kept apart. */
static enum command_verdict take_common(struct command_line *c, const struct command_arg *a,
					const char *value)
{
	if (strcmp(a->name, "--json") == 0)
		c->json = true;
	else if (strcmp(a->name, "--by") == 0)
		c->by = value;
	else
		c->help = true;
	return COMMAND_FINE;
}

static enum command_verdict take_option(struct command_line *c, const struct words *w, unsigned *i,
					struct text *error)
{
	const char *typed = w->word[*i], *value = "";
	size_t n = strcspn(typed, "=");
	const struct command_arg *a = find_option(c->row->args, typed, n);
	const struct command_arg *common = find_option(command_common_args, typed, n);
	const struct command_arg *any = a ? a : common;
	if (!any)
		return unknown_option(c, typed, error);
	if (any->value && typed[n]) {
		value = typed + n + 1;
	} else if (any->value) {
		if (++*i == w->n)
			return wrong(c, error, "a value is missing after", any->name);
		value = w->word[*i];
	} else if (typed[n]) {
		return wrong(c, error, "no value is taken by", any->name);
	}
	return a ? keep(c, a, value, error) : take_common(c, common, value);
}

static enum command_verdict take_args(struct command_line *c, const struct words *w, unsigned i,
				      struct text *error)
{
	unsigned place = 0;
	bool options = true; /* until a lone -- */
	for (; i < w->n; i++) {
		const char *word = w->word[i];
		enum command_verdict v;
		if (options && strcmp(word, "--") == 0) {
			options = false;
			continue;
		}
		if (options && word[0] == '-' && word[1]) {
			v = take_option(c, w, &i, error);
		} else {
			const struct command_arg *a = find_place(c, place++);
			v = a ? keep(c, a, word, error) : wrong(c, error, "not expected:", word);
		}
		if (v != COMMAND_FINE)
			return v;
	}
	return COMMAND_FINE;
}

static enum command_verdict check_required(const struct command_line *c, struct text *error)
{
	for (const struct command_arg *a = c->row->args; a->name; a++) {
		if (!(a->flags & (ARG_REQUIRED | ARG_OWED)) || given(c, a))
			continue;
		wrong(c, error, command_arg_is_option(a) ? "missing option" : "missing argument", a->name);
		return a->flags & ARG_OWED ? COMMAND_REFUSED : COMMAND_USAGE;
	}
	return COMMAND_FINE;
}

/* --json and --by NAME may stand before the command. Returns the place of its first word. */
static unsigned take_leading(struct command_line *c, const struct words *w)
{
	unsigned i = 0;
	for (; i < w->n; i++) {
		if (strcmp(w->word[i], "--json") == 0)
			c->json = true;
		else if (strcmp(w->word[i], "--by") == 0 && i + 1 < w->n)
			c->by = w->word[++i];
		else
			break;
	}
	return i;
}

/* An answer in JSON is owed for an error too, wherever the option stands. */
static bool asks_for_json(const struct words *w)
{
	for (unsigned i = 0; i < w->n; i++)
		if (strcmp(w->word[i], "--json") == 0)
			return true;
	return false;
}

enum command_verdict command_parse(const struct words *w, struct command_line *c, struct text *error)
{
	unsigned used;
	*c = (struct command_line){.json = asks_for_json(w)};
	unsigned at = take_leading(c, w);
	if (at == w->n) {
		text_add(error, "no command was given (`help` lists them)\n");
		return COMMAND_USAGE;
	}
	c->row = command_find(w->word + at, w->n - at, &used);
	if (!c->row)
		return unknown_command(w->word + at, w->n - at, error);
	enum command_verdict v = take_args(c, w, at + used, error);
	return v == COMMAND_FINE && !c->help ? check_required(c, error) : v;
}

const char *command_next(const struct command_line *c, const char *name, unsigned *at)
{
	while (*at < c->n) {
		const struct command_given *g = &c->given[(*at)++];
		if (strcmp(g->arg->name, name) == 0)
			return g->value;
	}
	return NULL;
}

const char *command_value(const struct command_line *c, const char *name)
{
	unsigned at = 0;
	return command_next(c, name, &at);
}
