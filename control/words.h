/* SPDX-License-Identifier: MIT */
/*
 * Shell-like words: how a command line is cut into words, and how a word is quoted so that it comes out again
 * as it was. Blanks separate words; '...' is literal; in "..." a backslash stands before " and \; elsewhere
 * it takes the next byte as it is. There are no variables, globs or comments. Control bytes are refused, so
 * that nothing that is read here can move a cursor where it is shown. Nothing is allocated, nothing calls
 * back.
 */
#ifndef WEIR_CONTROL_WORDS_H
#define WEIR_CONTROL_WORDS_H

#include <stdbool.h>
#include <stddef.h>

#define WORDS_MAX 128

struct words {
	unsigned n;
	char *word[WORDS_MAX]; /* in the line that was split */
};

/* Splits the line in its place. NULL, or what is wrong with it; then the words are not to be used. */
const char *words_split(char *line, struct words *);

/*
 * Writes the word so that words_split gives it back, and a NUL. Returns the length, or 0 when it does not fit
 * or holds a control byte.
 */
size_t words_quote(char *out, size_t cap, const char *word);

/* No control bytes in it. */
bool words_printable(const char *);

#endif
