/* SPDX-License-Identifier: MIT */
#include "control/words.h"

#include <string.h>

static bool is_control(char c)
{
	return (unsigned char)c < 0x20 || c == 0x7f;
}

bool words_printable(const char *s)
{
	while (*s && !is_control(*s))
		s++;
	return *s == 0;
}

/* Copies what stands between quotes to *to; s is behind the opening one. The place behind the closing one, or
 * NULL. */
static char *unquote(char *s, char quote, char **to)
{
	for (; *s && *s != quote; s++) {
		if (quote == '"' && *s == '\\' && (s[1] == '"' || s[1] == '\\'))
			s++;
		*(*to)++ = *s;
	}
	return *s ? s + 1 : NULL;
}

/* One word, written over itself without its quotes. The place behind it, or NULL with *why. */
static char *take_word(char *s, char **end, const char **why)
{
	char *to = s;
	while (*s && *s != ' ') {
		if (*s == '\'' || *s == '"') {
			char quote = *s;
			s = unquote(s + 1, quote, &to);
			if (!s) {
				*why = quote == '"' ? "a \" is not closed" : "a ' is not closed";
				return NULL;
			}
			continue;
		}
		if (*s == '\\' && !*++s) {
			*why = "a backslash at the end has nothing to quote";
			return NULL;
		}
		*to++ = *s++;
	}
	*end = to;
	return s;
}

const char *words_split(char *line, struct words *w)
{
	const char *why = NULL;
	w->n = 0;
	for (char *s = line; *s; s++)
		if (*s == '\t')
			*s = ' ';
	if (!words_printable(line))
		return "control characters are not allowed";
	for (char *s = line;;) {
		char *end;
		while (*s == ' ')
			s++;
		if (!*s)
			return NULL;
		if (w->n == WORDS_MAX)
			return "too many words";
		w->word[w->n++] = s;
		s = take_word(s, &end, &why);
		if (!s)
			return why;
		bool last = !*s;
		*end = 0;
		if (last)
			return NULL;
		s++;
	}
}

static bool plain(const char *s)
{
	static const char safe[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:,@%+=[]*";
	return *s && s[strspn(s, safe)] == 0;
}

size_t words_quote(char *out, size_t cap, const char *word)
{
	size_t n = 0, len = strlen(word);
	if (!words_printable(word))
		return 0;
	if (plain(word)) {
		if (len + 1 > cap)
			return 0;
		memcpy(out, word, len + 1);
		return len;
	}
	if (len + 3 > cap)
		return 0;
	out[n++] = '\'';
	for (; *word; word++) {
		if (n + 6 > cap)
			return 0;
		if (*word == '\'') {
			memcpy(out + n, "'\\''", 4);
			n += 4;
		} else {
			out[n++] = *word;
		}
	}
	out[n++] = '\'';
	out[n] = 0;
	return n;
}
