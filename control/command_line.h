/* SPDX-License-Identifier: MIT */
/*
 * From the words of a request to a command and its arguments, by the rows of control/command_rows.h. Pure:
 * everything points into the words. Mistyped commands and options are answered with the nearest known one.
 */
#ifndef WEIR_CONTROL_COMMAND_LINE_H
#define WEIR_CONTROL_COMMAND_LINE_H

#include "control/command_rows.h"
#include "control/words.h"

struct command_line {
	const struct command_row *row;
	bool json; /* also where the parse fails, so that the error can be told as asked for */
	bool help;
	const char *by; /* NULL: not said */
	unsigned n;
	struct command_given {
		const struct command_arg *arg;
		const char *value; /* "" for a flag */
	} given[WORDS_MAX];
};

enum command_verdict { COMMAND_FINE, COMMAND_REFUSED, COMMAND_USAGE };

/* What is not fine is told in `error`, as lines. */
enum command_verdict command_parse(const struct words *, struct command_line *, struct text *error);

/* The value of an argument (the first, if it repeats); NULL when it was not given. */
const char *command_value(const struct command_line *, const char *name);
/* The next value after *at (0 at first) of an argument that repeats; NULL: no more. */
const char *command_next(const struct command_line *, const char *name, unsigned *at);

/* The row whose words these are, and how many they are. NULL: none. */
const struct command_row *command_find(char *const *word, unsigned n, unsigned *used);

/*
 * The help of the command that begins with these words, of the group (`limits`) that they name, or, where
 * there are none, the list of all. Not fine: they name none, and `out` says so.
 */
enum command_verdict command_help(char *const *word, unsigned n, struct text *out);

#endif
