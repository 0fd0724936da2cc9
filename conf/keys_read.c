/* SPDX-License-Identifier: MIT */
/* Walking the table of keys: reading mappings and lists into frames, and printing them back. */
#include <assert.h>

#include "conf/keys.h"
#include "conf/print.h"
#include "conf/scalar.h"
#include "conf/suggest.h"

/* --- the table as a tree --- */

const struct key *key_find(const char *path)
{
	for (unsigned i = 0; i < keys_n; i++)
		if (strcmp(keys[i].row.path, path) == 0)
			return &keys[i];
	return NULL;
}

static bool is_below(const struct key *k, const struct key *parent)
{
	size_t n = parent ? strlen(parent->row.path) : 0;
	return n == 0 || (strncmp(k->row.path, parent->row.path, n) == 0 &&
			  (k->row.path[n] == '.' || k->row.path[n] == '['));
}

static const struct key *skip_deeper(const struct key *parent, const struct key *k)
{
	for (; k < keys + keys_n && is_below(k, parent); k++) {
		const char *name = k->row.path + (parent ? strlen(parent->row.path) : 0);
		name += *name == '.';
		if (!strchr(name, '.') && (*name == '[' || !strchr(name, '[')))
			return k;
	}
	return NULL;
}

const struct key *key_first_child(const struct key *parent)
{
	return skip_deeper(parent, parent ? parent + 1 : keys);
}

const struct key *key_next_child(const struct key *parent, const struct key *child)
{
	return skip_deeper(parent, child + 1);
}

struct str key_name(const struct key *k)
{
	struct str s = str_of(k->row.path);
	size_t n = s.n;
	if (n > 2 && s.p[n - 1] == ']')
		return (struct str){s.p + n - 2, 2};
	while (n > 0 && s.p[n - 1] != '.')
		n--;
	return (struct str){s.p + n, s.n - n};
}

struct str key_label(const struct key *k, const struct node *n)
{
	struct str s = str_of(k->row.path);
	if (n && n->key.n)
		return n->key;
	if (n && n->parent && n->parent->key.n)
		return n->parent->key;
	while (s.n > 2 && (s.p[s.n - 1] == ']' || s.p[s.n - 1] == '*'))
		s.n -= 2;
	for (size_t i = s.n; i > 0; i--)
		if (s.p[i - 1] == '.')
			return (struct str){s.p + i, s.n - i};
	return s;
}

/* --- reading --- */

static const struct key *find_child(const struct key *parent, struct str name)
{
	for (const struct key *k = key_first_child(parent); k; k = key_next_child(parent, k))
		if (str_eq(key_name(k), name))
			return k;
	return NULL;
}

/* Of all keys of that name the one that stands alone, to say where it belongs. */
static const struct key *find_elsewhere(struct str name)
{
	const struct key *found = NULL;
	for (unsigned i = 0; i < keys_n; i++) {
		if (keys[i].type == &type_unbuilt || !str_eq(key_name(&keys[i]), name))
			continue;
		if (found)
			return NULL;
		found = &keys[i];
	}
	return found;
}

static struct str nearest_child(const struct key *parent, struct str typed)
{
	struct suggestion near;
	suggest_start(&near, typed);
	for (const struct key *k = key_first_child(parent); k; k = key_next_child(parent, k))
		if (k->type != &type_unbuilt)
			suggest_word(&near, key_name(k));
	return near.best;
}

static void list_children(const struct key *parent, char *out, size_t size)
{
	size_t n = 0;
	out[0] = '\0';
	for (const struct key *k = key_first_child(parent); k; k = key_next_child(parent, k)) {
		struct str name = key_name(k);
		if (k->type != &type_unbuilt && n + name.n + 3 < size)
			n += (size_t)snprintf(out + n, size - n, "%s%.*s", n ? ", " : "", (int)name.n,
					      name.p);
	}
}

static void complain_unknown(struct load *l, const struct key *parent, const struct node *n)
{
	struct str near = nearest_child(parent, n->key);
	const struct key *elsewhere = find_elsewhere(n->key);
	struct node at = load_key_of(n);
	char known[240];

	if (near.n) {
		load_error(l, &at, "unknown key `%.*s` (did you mean `%.*s`?)", TEXT(n->key), TEXT(near));
	} else if (elsewhere) {
		load_error(l, &at, "unknown key `%.*s` here (did you mean `%s`?)", TEXT(n->key),
			   elsewhere->row.path);
	} else {
		list_children(parent, known, sizeof(known));
		load_error(l, &at, "unknown key `%.*s` (expected %s)", TEXT(n->key), known);
	}
}

/* Was it written, with a slip that is told of already? */
static bool is_misspelled(const struct key *parent, const struct key *k, const struct node *map)
{
	for (const struct node *n = map->first; n; n = n->next)
		if (!find_child(parent, n->key) && str_eq(nearest_child(parent, n->key), key_name(k)))
			return true;
	return false;
}

static void complain_missing(struct load *l, const struct key *parent, const struct key *k,
			     const struct node *map)
{
	struct str name = key_name(k);
	if (!is_misspelled(parent, k, map))
		load_error(l, map, "`%.*s` is missing (expected %s)", (int)name.n, name.p, k->row.help);
}

static struct node *default_scalar(struct load *l, struct str text, const struct node *where)
{
	struct node *n = arena_alloc(&l->temp, sizeof(*n));
	if (!n)
		return NULL;
	n->line = where ? where->line : 0;
	n->column = where ? where->column : 0;
	n->text = n->raw = text;
	n->quoted = true;
	return n;
}

static void add_item(struct node *list, struct node *item)
{
	if (list->last)
		list->last->next = item;
	else
		list->first = item;
	list->last = item;
	list->n++;
}

/* A default is text of the table, and is read as if it stood in the file. */
static struct node *default_node(struct load *l, const struct key *k, const struct node *where)
{
	struct str text = str_of(k->row.initial), item;
	struct node *n = default_scalar(l, text, where);
	if (!n || !k->type->list)
		return n;
	n->kind = NODE_LIST;
	while (str_next_element(&text, &item)) {
		struct node *m = default_scalar(l, item, where);
		if (m)
			add_item(n, m);
	}
	return n;
}

static void set_default(struct load *l, const struct key *k, const struct node *map, void *frame)
{
	if (!k->row.initial[0])
		return;
	const struct node *n = default_node(l, k, map);
	if (n) {
		load_set_place(l, key_field(k, frame), map);
		k->type->set(l, k, n, frame);
	}
}

static void read_key(struct load *l, const struct key *parent, const struct key *k, const struct node *map,
		     void *frame)
{
	const struct node *n = map ? yaml_member(map, key_name(k)) : NULL;

	if (k->type == &type_map && !n) {
		keys_read(l, k, NULL, frame);
		return;
	}
	if (!n) {
		if (map && (k->flags & KEY_REQUIRED))
			complain_missing(l, parent, k, map);
		set_default(l, k, map, frame);
		return;
	}
	if (k->type != &type_map)
		load_set_place(l, key_field(k, frame), n);
	if (!k->type->set(l, k, n, frame))
		set_default(l, k, map, frame);
}

void keys_read(struct load *l, const struct key *parent, const struct node *map, void *frame)
{
	for (const struct node *n = map ? map->first : NULL; n; n = n->next)
		if (!find_child(parent, n->key))
			complain_unknown(l, parent, n);
	for (const struct key *k = key_first_child(parent); k; k = key_next_child(parent, k))
		read_key(l, parent, k, map, frame);
}

void keys_print(struct printer *p, const struct key *parent, const void *frame)
{
	for (const struct key *k = key_first_child(parent); k; k = key_next_child(parent, k))
		if (k->type->print)
			k->type->print(p, k, frame);
}

/* --- mappings, lists of mappings, named entries --- */

static bool want_kind(struct load *l, const struct key *k, const struct node *n, enum node_kind kind)
{
	static const char *const found[] = {"a single value", "a list", "a mapping"};
	const char *expected = kind == NODE_LIST ? "a list such as [a, b]" : "`name: value` below it";
	const char *item = str_eq(key_name(k), STR("[]")) ? "an item of " : "";
	struct str label = key_label(k, n);

	if (n->bad || n->kind == kind)
		return !n->bad;
	if (n->kind == NODE_SCALAR && n->raw.n == 0 && !n->quoted)
		load_error(l, n,
			   "%s`%.*s` has nothing below it (expected %s; leave the key out for the default)",
			   item, TEXT(label), expected);
	else
		load_error(l, n, "%s`%.*s` is %s (expected %s)", item, TEXT(label), found[n->kind], expected);
	return false;
}

static bool set_map(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	bool ok = want_kind(l, k, n, NODE_MAP);
	keys_read(l, k, ok ? n : NULL, frame);
	return true;
}

static void print_map(struct printer *p, const struct key *k, const void *frame)
{
	const struct str *set = key_peek(k, frame);
	if ((k->flags & KEY_IF_SET) && set->n == 0)
		return;
	printer_open(p, key_name(k));
	keys_print(p, k, frame);
	printer_close(p);
}

/* A mapping that does something by being there: at is a bool that tells so. */
static bool set_option(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	*(bool *)key_field(k, frame) = true;
	return set_map(l, k, n, frame);
}

static void print_option(struct printer *p, const struct key *k, const void *frame)
{
	if (!*(const bool *)key_peek(k, frame))
		return;
	printer_open(p, key_name(k));
	keys_print(p, k, frame);
	printer_close(p);
}

bool key_value_list(struct load *l, const struct key *k, const struct node *n)
{
	struct str label = key_label(k, n);
	if (!want_kind(l, k, n, NODE_LIST))
		return false;
	if (n->n == 0 && (k->flags & KEY_NONEMPTY)) {
		load_error(l, n, "`%.*s` is an empty list (expected %s)", TEXT(label),
			   k->expected ? k->expected : k->row.type);
		return false;
	}
	if (k->max && n->n > k->max) {
		load_error(l, n, "`%.*s` has %u items (expected at most %llu)", TEXT(label), n->n,
			   (unsigned long long)k->max);
		return false;
	}
	return true;
}

/* listen: [0.0.0.0:8080] stands for listen: [{address: 0.0.0.0:8080}]. */
static const struct node *wrap_bare(struct load *l, const struct node *n, const char *bare)
{
	struct node *map = arena_alloc(&l->temp, sizeof(*map)),
		    *member = arena_alloc(&l->temp, sizeof(*member));
	if (!map || !member)
		return n;
	*member = *n;
	member->next = NULL;
	member->parent = map;
	member->key = str_of(bare);
	*map = (struct node){.kind = NODE_MAP, .line = n->line, .column = n->column};
	add_item(map, member);
	return map;
}

/* Fills the array of a list or of named entries, an item a member; the count grows with it. */
static bool read_items(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	const struct key_items *items = k->extra;
	const struct key *child = key_first_child(k);
	unsigned *count = key_also(k, frame);
	char *array = arena_alloc(l->keep, items->size * n->n), *item = array;

	assert(child); /* a row of items has rows below it */
	if (!array)
		return false;
	memcpy(key_field(k, frame), &array, sizeof(array));
	for (const struct node *m = n->first; m; m = m->next) {
		if (m->bad)
			continue;
		load_set_place(l, item, m);
		if (items->begin && !items->begin(l, m, item, *count))
			continue;
		++*count;
		const struct node *value =
			items->bare && m->kind == NODE_SCALAR ? wrap_bare(l, m, items->bare) : m;
		if (child->type != &type_map)
			load_set_place(l, key_field(child, item), m);
		child->type->set(l, child, value, item);
		item += items->size;
	}
	return true;
}

/* tls: {...} stands for tls: [{...}]. */
static const struct node *wrap_lone(struct load *l, const struct node *n)
{
	struct node *list = arena_alloc(&l->temp, sizeof(*list)),
		    *item = arena_alloc(&l->temp, sizeof(*item));
	if (!list || !item)
		return n;
	*item = *n;
	item->next = NULL;
	item->parent = list;
	item->key = STR_NONE;
	*list = *n;
	list->kind = NODE_LIST;
	list->first = list->last = NULL;
	list->n = 0;
	add_item(list, item);
	return list;
}

static bool set_items(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	const struct key_items *items = k->extra;
	if (items->lone && n->kind == NODE_MAP && !n->bad)
		n = wrap_lone(l, n);
	return key_value_list(l, k, n) && read_items(l, k, n, frame);
}

static bool set_named(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	struct str label = key_label(k, n);
	if (!want_kind(l, k, n, NODE_MAP))
		return false;
	if (n->n == 0 && (k->flags & KEY_NONEMPTY)) {
		load_error(l, n, "`%.*s` is empty (expected %s)", TEXT(label), k->row.type);
		return false;
	}
	if (k->max && n->n > k->max) {
		load_error(l, n, "`%.*s` has %u entries (expected at most %llu)", TEXT(label), n->n,
			   (unsigned long long)k->max);
		return false;
	}
	return read_items(l, k, n, frame);
}

static const char *items_of(const struct key *k, const void *frame, unsigned *count)
{
	const char *array;
	memcpy(&array, key_peek(k, frame), sizeof(array));
	memcpy(count, key_peek_also(k, frame), sizeof(*count));
	return array;
}

static void print_items(struct printer *p, const struct key *k, const void *frame)
{
	const struct key_items *items = k->extra;
	unsigned count;
	const char *item = items_of(k, frame, &count);

	printer_open(p, key_name(k));
	for (; count > 0; count--, item += items->size) {
		printer_item(p);
		keys_print(p, key_first_child(k), item);
		printer_close(p);
	}
	printer_close(p);
}

static void print_named(struct printer *p, const struct key *k, const void *frame)
{
	const struct key_items *items = k->extra;
	const struct key *child = key_first_child(k);
	unsigned count;
	const char *item = items_of(k, frame, &count);

	assert(child);
	printer_open(p, key_name(k));
	for (; count > 0; count--, item += items->size) {
		if (child->type != &type_map) {
			child->type->print(p, child, item);
			continue;
		}
		struct str name = items->name(item);
		printer_open(p, name);
		keys_print(p, child, item);
		bool empty = p->written < p->depth;
		printer_close(p);
		if (empty)
			printer_empty(p, name);
	}
	printer_close(p);
}

const struct key_type type_map = {set_map, print_map, false};
const struct key_type type_option = {set_option, print_option, false};
const struct key_type type_items = {set_items, print_items, true};
const struct key_type type_named = {set_named, print_named, false};
