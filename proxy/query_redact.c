/* SPDX-License-Identifier: MIT */
#include "proxy/query_redact.h"

#include <assert.h>

#include "base/fmt.h"
#include "base/json.h"

#define READINGS 3 /* as written, decoded once, decoded twice */
#define END (-1)

/* A place in a parameter, read through `depth` decodings. Copied to look ahead. */
struct cursor {
	const char *p, *end;
	int depth;
};

struct words {
	const struct str *word;
	unsigned n;
	uint32_t
		first; /* a bit for the low five bits of each word's first byte, which case does not change */
};

static int hex(int c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int next_raw(struct cursor *c)
{
	return c->p < c->end ? (unsigned char)*c->p++ : END;
}

static int next_once(struct cursor *c)
{
	int v = next_raw(c);
	if (v == '%' && c->end - c->p >= 2 && hex(c->p[0]) >= 0 && hex(c->p[1]) >= 0) {
		v = hex(c->p[0]) << 4 | hex(c->p[1]);
		c->p += 2;
	}
	return v;
}

/* What is no escape stays as it is: its '%' is then a byte like others. */
static int next_twice(struct cursor *c)
{
	int v = next_once(c);
	if (v == '%') {
		struct cursor ahead = *c;
		int high = hex(next_once(&ahead)), low = hex(next_once(&ahead));
		if (high >= 0 && low >= 0) {
			*c = ahead;
			v = high << 4 | low;
		}
	}
	return v;
}

static int next(struct cursor *c)
{
	return c->depth == 0 ? next_raw(c) : c->depth == 1 ? next_once(c) : next_twice(c);
}

static int peek(struct cursor c)
{
	return next(&c);
}

static bool is_upper(int c)
{
	return c >= 'A' && c <= 'Z';
}

static bool is_lower(int c)
{
	return c >= 'a' && c <= 'z';
}

static bool is_letter(int c)
{
	return is_upper(c) || is_lower(c);
}

/* Whether a part of a name ends between a and b: access|_token, access|Token, and with `after` API|Key. */
static bool boundary(int a, int b, int after)
{
	if (!is_letter(a) || !is_letter(b))
		return true;
	return is_upper(b) && (is_lower(a) || is_lower(after));
}

/* The first byte of the word was read as c. */
static bool word_stands_here(struct str word, int c, struct cursor rest)
{
	for (size_t i = 0;; c = next(&rest)) {
		if (c == END || ascii_lower((unsigned char)c) != ascii_lower((unsigned char)word.p[i]))
			return false;
		if (++i == word.n)
			break;
	}
	int b = next(&rest);
	return boundary(c, b, peek(rest));
}

static bool any_word_here(const struct words *w, int c, struct cursor rest)
{
	for (unsigned i = 0; i < w->n; i++)
		if (word_stands_here(w->word[i], c, rest))
			return true;
	return false;
}

/* In one reading: a name with one of the words in it, and its '=' (or in JSON "name": the ':'). */
static bool names_secret(const struct words *w, struct cursor at)
{
	int before = END, solid = END, c; /* solid: the last that was no blank */
	bool found = false;

	for (; (c = next(&at)) != END; before = c) {
		if (found && (c == '=' || (c == ':' && solid == '"')))
			return true;
		if (c == '&' || c == ';' || c == '?' || c == '#' || c == ',' || c == '{')
			found = false;
		else if (!found && (w->first >> (c & 31) & 1) && boundary(before, c, peek(at)))
			found = any_word_here(w, c, at);
		if (c != ' ')
			solid = c;
	}
	return false;
}

static bool is_secret(const struct words *w, struct str parameter)
{
	int readings = !memchr(parameter.p, '%', parameter.n) ? 1 : READINGS;
	for (int depth = 0; depth < readings; depth++)
		if (names_secret(w, (struct cursor){parameter.p, parameter.p + parameter.n, depth}))
			return true;
	return false;
}

static struct str until(struct str s, const char *stop)
{
	s.n = stop ? (size_t)(stop - s.p) : s.n;
	return s;
}

/* Up to the next '&' or ';', which is not part of it. */
static struct str next_parameter(struct str s)
{
	size_t n = 0;
	while (n < s.n && s.p[n] != '&' && s.p[n] != ';')
		n++;
	return (struct str){s.p, n};
}

/* What of a parameter is shown; *took: how much of the query that stands for. */
static struct str shown(const struct words *w, struct str query, bool *hidden, size_t *took)
{
	struct str p = next_parameter(query);

	*took = p.n;
	*hidden = is_secret(w, p);
	if (!*hidden)
		return p;
	*took = until(query, memchr(query.p, '&', query.n)).n;
	const char *equals = memchr(p.p, '=', p.n);
	return until(p, equals ? equals + 1 : p.p);
}

char *query_redact(char *out, char *end, struct str query, const struct str *word, unsigned words)
{
	struct words w = {word, words, 0};
	char *limit = end - 3; /* room for the mark */

	assert(limit >= out);
	for (unsigned i = 0; i < words; i++)
		w.first |= 1u << ((unsigned char)word[i].p[0] & 31);
	while (query.n) {
		size_t took;
		bool hidden;
		struct str text = shown(&w, query, &hidden, &took);

		out = json_escape_some(out, limit, &text);
		if (text.n || (hidden && limit - out < 3))
			return fmt_str(out, STR("..."));
		if (hidden)
			out = fmt_str(out, STR("***"));
		query.p += took;
		query.n -= took;
		if (!query.n)
			break;
		if (out == limit)
			return fmt_str(out, STR("..."));
		*out++ = *query.p++;
		query.n--;
	}
	return out;
}

const char *query_redact_word_check(struct str word)
{
	if (!word.n)
		return "must not be empty (expected a part of a parameter's name, such as token)";
	for (size_t i = 0; i < word.n; i++) {
		unsigned char c = (unsigned char)word.p[i];
		if (c <= ' ' || c >= 0x7f || strchr("&;=?#,{%", c))
			return "must be a part of a parameter's name, such as token (no blanks, '&', ';', "
			       "'=' or '%')";
	}
	return NULL;
}
