/* SPDX-License-Identifier: MIT */
/* What values there are: switches, words, numbers with and without units, texts and lists of texts. */
#include "conf/keys.h"
#include "conf/print.h"
#include "conf/scalar.h"
#include "conf/suggest.h"

/* --- for all types --- */

bool key_value_text(struct load *l, const struct key *k, const struct node *n, struct str *out)
{
	struct str label = key_label(k, n);
	if (n->bad)
		return false;
	if (n->kind != NODE_SCALAR) {
		load_error(l, n, "`%.*s` is %s (expected %s)", TEXT(label),
			   n->kind == NODE_LIST ? "a list" : "a mapping", k->row.type);
		return false;
	}
	bool null = !n->quoted && !n->expanded &&
		    (n->raw.n == 0 || str_eq(n->raw, STR("~")) || str_ieq(n->raw, STR("null")));
	if (null) {
		load_error(l, n, "`%.*s` has no value (expected %s)", TEXT(label), k->row.type);
		return false;
	}
	*out = n->text;
	return true;
}

bool key_value_refuse(struct load *l, const struct key *k, const struct node *n, const char *expected)
{
	struct str label = key_label(k, n);
	const char *verb = n->key.n ? "is" : "has"; /* items have no name of their own */
	load_error(l, n, "`%.*s` %s `%.*s` (expected %s)", TEXT(label), verb, RAW(n), expected);
	return false;
}

bool key_value_words(struct load *l, const struct node *list, struct conf_words *out)
{
	struct str *item = arena_alloc(l->keep, list->n * sizeof(*item));
	unsigned n = 0;
	if (!item)
		return false;
	for (const struct node *m = list->first; m; m = m->next)
		if (m->kind == NODE_SCALAR && !m->bad)
			item[n++] = arena_str(l->keep, m->text);
	*out = (struct conf_words){n, item};
	return true;
}

bool key_value_unknown(struct load *l, const struct node *n, struct str typed,
		       const struct known_names *known)
{
	struct suggestion near;
	char list[200];
	size_t len = 0;

	suggest_start(&near, typed);
	for (unsigned i = 0; i < known->n; i++) {
		struct str name = known->name(l->conf, i);
		suggest_word(&near, name);
		if (len + name.n + 3 < sizeof(list))
			len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%.*s", len ? ", " : "",
						(int)name.n, name.p);
	}
	if (near.best.n)
		load_error(l, n, "no %s is named `%.*s` (did you mean `%.*s`?)", known->what, RAW(n),
			   TEXT(near.best));
	else if (len)
		load_error(l, n, "no %s is named `%.*s` (expected one of %s)", known->what, RAW(n), list);
	else
		load_error(l, n, "no %s is named `%.*s` (expected one that the config has; it has none)",
			   known->what, RAW(n));
	return false;
}

static void store_number(void *field, size_t size, uint64_t v)
{
	uint32_t v4 = (uint32_t)v;
	uint16_t v2 = (uint16_t)v;
	uint8_t v1 = (uint8_t)v;
	memcpy(field,
	       size == 8   ? (void *)&v
	       : size == 4 ? (void *)&v4
	       : size == 2 ? (void *)&v2
			   : (void *)&v1,
	       size);
}

static uint64_t load_number(const void *field, size_t size)
{
	uint64_t v = 0;
	uint32_t v4;
	uint16_t v2;
	switch (size) {
	case 8:
		memcpy(&v, field, 8);
		return v;
	case 4:
		memcpy(&v4, field, 4);
		return v4;
	case 2:
		memcpy(&v2, field, 2);
		return v2;
	default:
		return *(const uint8_t *)field;
	}
}

/* --- numbers --- */

typedef const char *(*number_reader)(struct str, uint64_t *);
typedef const char *(*number_writer)(char *, uint64_t);

static const char *read_duration(struct str s, uint64_t *out)
{
	usec_t v = 0;
	const char *why = scalar_duration(s, &v);
	if (!why)
		*out = (uint64_t)v;
	return why;
}

static const char *write_duration(char *out, uint64_t v)
{
	return scalar_show_duration(out, (usec_t)v);
}

static const char *write_count(char *out, uint64_t v)
{
	snprintf(out, SCALAR_TEXT, "%llu", (unsigned long long)v);
	return out;
}

/* What a number may be besides; NULL: nothing. */
static const char *word_of(const struct key *k)
{
	return k->flags & KEY_OFF ? "off" : k->flags & KEY_AUTO ? "auto" : NULL;
}

static bool is_word(const struct key *k, struct str s)
{
	return k->flags & KEY_OFF ? scalar_is_off(s) : (k->flags & KEY_AUTO) && str_ieq(s, STR("auto"));
}

static bool set_number(struct load *l, const struct key *k, const struct node *n, void *frame,
		       number_reader read, number_writer write)
{
	char low[SCALAR_TEXT], high[SCALAR_TEXT], expected[160];
	struct str s;
	uint64_t v = 0;

	if (!key_value_text(l, k, n, &s))
		return false;
	if (is_word(k, s)) {
		store_number(key_field(k, frame), k->size, k->off);
		return true;
	}
	const char *why = read(s, &v);
	const char *word = word_of(k), * or = word ? ", or " : "";
	if (!word)
		word = "";
	if (why)
		snprintf(expected, sizeof(expected), "%s%s%s", why, or, word);
	else if (v < k->min || v > k->max)
		snprintf(expected, sizeof(expected), "%s to %s%s%s", write(low, k->min), write(high, k->max),
			 or, word);
	else
		return store_number(key_field(k, frame), k->size, v), true;
	return key_value_refuse(l, k, n, expected);
}

static void print_number(struct printer *p, const struct key *k, const void *frame, number_writer write)
{
	char text[SCALAR_TEXT];
	uint64_t v = load_number(key_peek(k, frame), k->size);
	printer_line(p, key_name(k), "%s", word_of(k) && v == k->off ? word_of(k) : write(text, v));
}

static bool set_duration(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	return set_number(l, k, n, frame, read_duration, write_duration);
}

static void print_duration(struct printer *p, const struct key *k, const void *frame)
{
	print_number(p, k, frame, write_duration);
}

static bool set_size(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	return set_number(l, k, n, frame, scalar_size, scalar_show_size);
}

static void print_size(struct printer *p, const struct key *k, const void *frame)
{
	print_number(p, k, frame, scalar_show_size);
}

static bool set_count(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	return set_number(l, k, n, frame, scalar_count, write_count);
}

static void print_count(struct printer *p, const struct key *k, const void *frame)
{
	print_number(p, k, frame, write_count);
}

/* --- switches and words --- */

static bool set_onoff(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	struct str s;
	if (!key_value_text(l, k, n, &s))
		return false;
	if (!scalar_is_on(s) && !scalar_is_off(s))
		return key_value_refuse(l, k, n, "on or off");
	store_number(key_field(k, frame), k->size, scalar_is_on(s));
	return true;
}

static void print_onoff(struct printer *p, const struct key *k, const void *frame)
{
	printer_line(p, key_name(k), "%s", load_number(key_peek(k, frame), k->size) ? "on" : "off");
}

/* extra: the words, NULL at the end, in the order of the enum that the field is. */
static bool set_word(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	const char *const *words = k->extra;
	struct str s;
	if (!key_value_text(l, k, n, &s))
		return false;
	if (scalar_is_off(s))
		s = STR("off");
	else if (scalar_is_on(s))
		s = STR("on");
	for (unsigned i = 0; words[i]; i++) {
		if (!str_ieq(s, str_of(words[i])))
			continue;
		store_number(key_field(k, frame), k->size, i);
		return true;
	}
	return key_value_refuse(l, k, n, k->row.type + strlen("word: "));
}

static void print_word(struct printer *p, const struct key *k, const void *frame)
{
	const char *const *words = k->extra;
	printer_line(p, key_name(k), "%s", words[load_number(key_peek(k, frame), k->size)]);
}

/* --- texts --- */

static bool set_text(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	struct str s, *out = key_field(k, frame);
	if (!key_value_text(l, k, n, &s))
		return false;
	if (k->max && s.n > k->max)
		return key_value_refuse(l, k, n, "a shorter text");
	if (!k->fits(s))
		return key_value_refuse(l, k, n, k->expected);
	*out = arena_str(l->keep, s);
	return true;
}

static bool set_lower(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	struct str *out = key_field(k, frame);
	if (!set_text(l, k, n, frame))
		return false;
	char *p = arena_alloc(l->keep, out->n + 1);
	if (!p)
		return false;
	for (size_t i = 0; i < out->n; i++)
		p[i] = (char)ascii_lower((unsigned char)out->p[i]);
	out->p = p;
	return true;
}

static bool set_path(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	struct str s, *out = key_field(k, frame);
	struct sockaddr_storage sa;
	socklen_t sa_len;

	if (!key_value_text(l, k, n, &s))
		return false;
	if (scalar_is_off(s)) {
		*out = STR_NONE;
		return true;
	}
	if (s.n == 0 || !scalar_is_text(s) || s.p[s.n - 1] == '/')
		return key_value_refuse(l, k, n, "a path, or off");
	*out = arena_str(l->keep, load_path(l, s));
	if (!scalar_unix(*out, &sa, &sa_len))
		return key_value_refuse(l, k, n, "a path of at most 107 bytes, its folder included");
	return true;
}

/* A file that is read now, and once: its path and its content are kept. */
static bool set_file(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	struct str label = key_label(k, n), s, content;
	struct conf_file *out = key_field(k, frame);
	const char *why;

	if (!key_value_text(l, k, n, &s))
		return false;
	if (s.n == 0 || !scalar_is_text(s) || s.p[s.n - 1] == '/')
		return key_value_refuse(l, k, n, "a file's path");
	out->path = arena_str(l->keep, load_path(l, s));
	if (!bundle_get(l->bundle, BUNDLE_FILE, out->path, &content, &why)) {
		load_error(l, n, "`%.*s`: %.*s cannot be read: %s (expected a readable file)", TEXT(label),
			   RAW(n), why);
		return true;
	}
	out->content = arena_str(l->keep, content);
	return true;
}

static void print_file(struct printer *p, const struct key *k, const void *frame)
{
	const struct conf_file *f = key_peek(k, frame);
	if (f->path.n)
		printer_value(p, key_name(k), f->path);
}

static void print_text(struct printer *p, const struct key *k, const void *frame)
{
	const struct str *s = key_peek(k, frame);
	if (s->n)
		printer_value(p, key_name(k), *s);
}

static void print_path(struct printer *p, const struct key *k, const void *frame)
{
	const struct str *s = key_peek(k, frame);
	printer_value(p, key_name(k), s->n ? *s : STR("off"));
}

/* What is wrong with it is told without the value itself. */
static bool take_secret(struct load *l, const struct key *k, const struct node *n, struct str *out)
{
	struct str label = key_label(k, n), s;
	if (!key_value_text(l, k, n, &s))
		return false;
	const char *wrong = !s.n		     ? "empty"
			    : s.n < k->min	     ? "too short"
			    : k->fits && !k->fits(s) ? "of other bytes"
						     : NULL;
	if (wrong) {
		load_error(l, n, "`%.*s` is %s (expected %s)", TEXT(label), wrong, k->expected);
		return false;
	}
	*out = arena_str(l->keep, s);
	return true;
}

static bool set_secret(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	return take_secret(l, k, n, key_field(k, frame));
}

/* One secret, or a list of them: at and also are its array and its count. */
static bool set_secrets(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	bool list = n->kind == NODE_LIST;
	unsigned count = 0;
	if (list && !key_value_list(l, k, n))
		return false;
	struct str *item = arena_alloc(l->keep, (list ? n->n : 1) * sizeof(*item));
	if (!item)
		return false;
	for (const struct node *m = list ? n->first : n; m; m = list ? m->next : NULL)
		count += take_secret(l, k, m, &item[count]);
	memcpy(key_field(k, frame), &item, sizeof(item));
	memcpy(key_also(k, frame), &count, sizeof(count));
	return true;
}

/* As long as the shortest that is taken, so that what is printed loads again. */
static void print_secrets(struct printer *p, const struct key *k, const void *frame)
{
	const struct str mask = {"********************************", k->min};
	struct str masks[SECRETS_MAX];
	unsigned count;
	memcpy(&count, key_peek_also(k, frame), sizeof(count));
	for (unsigned i = 0; i < count; i++)
		masks[i] = mask;
	if (count == 1)
		printer_value(p, key_name(k), mask);
	else if (count)
		printer_list(p, key_name(k), count, masks);
}

static void print_secret(struct printer *p, const struct key *k, const void *frame)
{
	const struct str *s = key_peek(k, frame);
	if (s->n)
		printer_value(p, key_name(k), STR("***"));
}

/* A list of texts: at and also are its array and its count. */
static bool set_texts(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	struct str s, *item;
	unsigned count = 0;

	if (!key_value_list(l, k, n))
		return false;
	item = arena_alloc(l->keep, n->n * sizeof(*item));
	if (!item)
		return false;
	for (const struct node *m = n->first; m; m = m->next) {
		if (!key_value_text(l, k, m, &s))
			continue;
		if (k->fits(s))
			item[count++] = arena_str(l->keep, s);
		else
			key_value_refuse(l, k, m, k->expected);
	}
	memcpy(key_field(k, frame), &item, sizeof(item));
	memcpy(key_also(k, frame), &count, sizeof(count));
	return true;
}

static void print_texts(struct printer *p, const struct key *k, const void *frame)
{
	const struct str *item;
	unsigned count;
	memcpy(&item, key_peek(k, frame), sizeof(item));
	memcpy(&count, key_peek_also(k, frame), sizeof(count));
	if (count || k->row.initial[0])
		printer_list(p, key_name(k), count, item);
}

/* expected: what is to be done about it. */
static bool set_unbuilt(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	struct node at = load_key_of(n);
	struct str name = key_name(k);
	(void)frame;
	load_error(l, at.line ? &at : n, "%.*s is not built yet (%s)", (int)name.n, name.p, k->expected);
	return true;
}

const struct key_type type_onoff = {set_onoff, print_onoff, false};
const struct key_type type_word = {set_word, print_word, false};
const struct key_type type_duration = {set_duration, print_duration, false};
const struct key_type type_size = {set_size, print_size, false};
const struct key_type type_count = {set_count, print_count, false};
const struct key_type type_text = {set_text, print_text, false};
const struct key_type type_lower = {set_lower, print_text, false};
const struct key_type type_path = {set_path, print_path, false};
const struct key_type type_file = {set_file, print_file, false};
const struct key_type type_secret = {set_secret, print_secret, false};
const struct key_type type_secrets = {set_secrets, print_secrets, false};
const struct key_type type_texts = {set_texts, print_texts, true};
const struct key_type type_unbuilt = {set_unbuilt, NULL, false};
