/* SPDX-License-Identifier: MIT */
#include "conf/expand.h"

/* What came out so far; written to the arena once it is whole. */
struct output {
	char buf[EXPAND_MAX];
	size_t n;
};

static bool put(struct load *l, struct node *n, struct output *out, struct str s)
{
	if (s.n > sizeof(out->buf) - out->n) {
		load_error(l, n, "`%.*s` is too long once expanded (expected at most 64 KB)", (int)n->raw.n,
			   n->raw.p);
		return false;
	}
	if (s.n)
		memcpy(out->buf + out->n, s.p, s.n);
	out->n += s.n;
	return true;
}

static bool put_file(struct load *l, struct node *n, struct output *out, struct str path)
{
	struct str value;
	const char *why;

	if (path.n == 0) {
		load_error(l, n, "`${file:}` names no file (expected ${file:PATH})");
		return false;
	}
	if (!bundle_get(l->bundle, BUNDLE_FILE, load_path(l, path), &value, &why)) {
		load_error(l, n, "`${file:%.*s}` cannot be read: %s (expected a readable file)", (int)path.n,
			   path.p, why);
		return false;
	}
	if (value.n && value.p[value.n - 1] == '\n')
		value.n--;
	if (value.n && value.p[value.n - 1] == '\r')
		value.n--;
	if (value.n && memchr(value.p, '\0', value.n)) {
		load_error(l, n, "`${file:%.*s}` holds a NUL byte (expected text)", (int)path.n, path.p);
		return false;
	}
	return put(l, n, out, value);
}

static bool is_variable(struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = ascii_lower((unsigned char)s.p[i]);
		if (!(c == '_' || (c >= 'a' && c <= 'z') || (i > 0 && c >= '0' && c <= '9')))
			return false;
	}
	return s.n > 0;
}

static bool put_variable(struct load *l, struct node *n, struct output *out, struct str inside)
{
	const char *colon = inside.n ? memmem(inside.p, inside.n, ":-", 2) : NULL;
	struct str name = {inside.p, colon ? (size_t)(colon - inside.p) : inside.n}, value;
	struct str fallback = {colon ? colon + 2 : NULL, colon ? inside.n - name.n - 2 : 0};
	const char *why;

	if (!is_variable(name)) {
		load_error(l, n,
			   "`${%.*s}` is no name of a variable (expected ${NAME}, ${NAME:-default} or "
			   "${file:PATH}; write $${ for a plain ${)",
			   (int)inside.n, inside.p);
		return false;
	}
	bool set = bundle_get(l->bundle, BUNDLE_ENV, name, &value, &why);
	if (colon)
		return put(l, n, out, set && value.n ? value : fallback);
	if (!set)
		load_error(l, n,
			   "`${%.*s}` is %s (expected it in the environment, or a default: ${%.*s:-value})",
			   (int)name.n, name.p, why, (int)name.n, name.p);
	return set && put(l, n, out, value);
}

/* One ${...}, which `rest` starts with; moves behind it. */
static bool put_reference(struct load *l, struct node *n, struct output *out, struct str *rest)
{
	const char *close = memchr(rest->p, '}', rest->n);
	if (!close) {
		load_error(l, n, "`${` without its `}` (expected ${NAME}; write $${ for a plain ${)");
		return false;
	}
	struct str inside = {rest->p + 2, (size_t)(close - rest->p) - 2};
	rest->n -= (size_t)(close + 1 - rest->p);
	rest->p = close + 1;
	if (inside.n >= 5 && memcmp(inside.p, "file:", 5) == 0)
		return put_file(l, n, out, (struct str){inside.p + 5, inside.n - 5});
	return put_variable(l, n, out, inside);
}

static bool starts(struct str s, struct str with)
{
	return s.n >= with.n && memcmp(s.p, with.p, with.n) == 0;
}

static bool expand_into(struct load *l, struct node *n, struct output *out)
{
	struct str rest = n->raw;
	while (rest.n) {
		const char *dollar = memchr(rest.p, '$', rest.n);
		struct str plain = {rest.p, dollar ? (size_t)(dollar - rest.p) : rest.n};
		if (!put(l, n, out, plain))
			return false;
		rest.p += plain.n;
		rest.n -= plain.n;
		if (starts(rest, STR("${"))) {
			if (!put_reference(l, n, out, &rest))
				return false;
			continue;
		}
		size_t skip = starts(rest, STR("$${")) ? 1 : 0;
		struct str literal = {rest.p + skip, rest.n ? (skip ? 2u : 1u) : 0u};
		if (!put(l, n, out, literal))
			return false;
		rest.p += skip + literal.n;
		rest.n -= skip + literal.n;
	}
	return true;
}

static void expand_scalar(struct load *l, struct node *n)
{
	struct output out;

	if (n->bad || !n->raw.n || !memmem(n->raw.p, n->raw.n, "${", 2))
		return;
	out.n = 0;
	n->bad = !expand_into(l, n, &out);
	n->expanded = true;
	l->expanded += out.n;
	if (!n->bad && l->expanded > EXPAND_TOTAL) {
		load_error(l, n,
			   "too much text comes out of ${...} (expected at most 4 MB in the whole config)");
		n->bad = true;
	}
	if (!n->bad)
		n->text = arena_str(&l->temp, (struct str){out.buf, out.n});
	explicit_bzero(out.buf, out.n);
}

void expand_tree(struct load *l, struct node *n)
{
	if (n->kind == NODE_SCALAR) {
		expand_scalar(l, n);
		return;
	}
	for (struct node *m = n->first; m; m = m->next)
		expand_tree(l, m);
}
