/* SPDX-License-Identifier: MIT */
#include "conf/yaml.h"

#include <yaml.h>

#include "conf/scalar.h"

/* libyaml gives events; the tree grows at `open`, the innermost mapping or list that is not closed yet. */
struct builder {
	yaml_parser_t parser;
	struct arena *arena;
	const struct yaml_sink *sink;
	struct str text;
	struct node *root, *open;
	struct node *key; /* a key that waits for its value */
	unsigned depth;
	unsigned documents;
	bool failed; /* nothing more can be read */
};

static const char quote_it[] =
	"an alias or an anchor (write the value itself; a text that starts with * or & goes in quotes)";

static unsigned line_of(yaml_mark_t m)
{
	return (unsigned)m.line + 1;
}

static unsigned column_of(yaml_mark_t m)
{
	return (unsigned)m.column + 1;
}

static struct str str_of_yaml(const yaml_char_t *p, size_t n)
{
	return (struct str){(const char *)p, n};
}

static void place_of_byte(struct str text, size_t at, unsigned *line, unsigned *column)
{
	*line = *column = 1;
	for (size_t i = 0; i < at; i++) {
		if (text.p[i] == '\n') {
			++*line;
			*column = 1;
		} else if (((unsigned char)text.p[i] & 0xc0) != 0x80) {
			++*column;
		}
	}
}

/* libyaml tells only at about which byte its reader stopped, so bytes are looked at before it does. */
static bool check_bytes(struct str text, const struct yaml_sink *sink)
{
	unsigned line, column;
	for (size_t i = 0, n; i < text.n; i += n) {
		unsigned char c = (unsigned char)text.p[i];
		n = scalar_utf8_length((struct str){text.p + i, text.n - i});
		bool control = (c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7f;
		if (n && !control)
			continue;
		place_of_byte(text, i, &line, &column);
		if (control)
			sink->complain(sink->ctx, line, column, "control byte 0x%02x (expected text)", c);
		else
			sink->complain(sink->ctx, line, column,
				       "byte 0x%02x is not UTF-8 (expected text in UTF-8)", c);
		return false;
	}
	return true;
}

/* What is left are characters that Unicode has, and YAML has not. */
static void complain_of_reader(struct builder *b)
{
	unsigned line, column;
	size_t at = b->parser.problem_offset < b->text.n ? b->parser.problem_offset : b->text.n;
	place_of_byte(b->text, at, &line, &column);
	b->sink->complain(b->sink->ctx, line, column, "a character that YAML does not allow (expected text)");
}

static char byte_at(struct str text, yaml_mark_t m)
{
	return m.index < text.n ? text.p[m.index] : '\0';
}

/* libyaml's index counts characters; with other than ASCII before it the tab is found by its line instead. */
static bool at_tab(struct builder *b, yaml_mark_t m)
{
	const char *p = b->text.p, *end = p + b->text.n;
	if (byte_at(b->text, m) == '\t')
		return true;
	for (size_t line = 0; line < m.line && p < end; line++) {
		const char *eol = memchr(p, '\n', (size_t)(end - p));
		p = eol ? eol + 1 : end;
	}
	while (p < end && *p == ' ')
		p++;
	return p < end && *p == '\t';
}

static void complain_of_token(struct builder *b)
{
	const yaml_parser_t *p = &b->parser;
	unsigned line = line_of(p->problem_mark), column = column_of(p->problem_mark);
	const char *problem = p->problem ? p->problem : "cannot be read";

	if (at_tab(b, p->problem_mark))
		b->sink->complain(b->sink->ctx, line, column, "a tab (expected spaces for indentation)");
	else if (p->context && (strstr(p->context, "an alias") || strstr(p->context, "an anchor")))
		b->sink->complain(b->sink->ctx, line, column, "%s", quote_it);
	else if (strstr(problem, "cannot start any token"))
		b->sink->complain(b->sink->ctx, line, column,
				  "a value cannot start with this (put it in quotes)");
	else if (p->context)
		b->sink->complain(b->sink->ctx, line, column, "%s %s that starts at line %u (expected YAML)",
				  problem, p->context, line_of(p->context_mark));
	else
		b->sink->complain(b->sink->ctx, line, column, "%s (expected YAML)", problem);
}

static void complain_of_syntax(struct builder *b)
{
	b->failed = true;
	if (b->parser.error == YAML_MEMORY_ERROR)
		b->arena->failed = true;
	else if (b->parser.error == YAML_READER_ERROR)
		complain_of_reader(b);
	else
		complain_of_token(b);
}

static void complain_at(struct builder *b, yaml_mark_t m, const char *text)
{
	b->sink->complain(b->sink->ctx, line_of(m), column_of(m), "%s", text);
}

static struct node *new_node(struct builder *b, enum node_kind kind, yaml_mark_t m)
{
	struct node *n = arena_alloc(b->arena, sizeof(*n));
	if (!n) {
		b->failed = true;
		return NULL;
	}
	n->kind = kind;
	n->line = line_of(m);
	n->column = column_of(m);
	return n;
}

const struct node *yaml_member(const struct node *map, struct str key)
{
	for (const struct node *n = map->first; n; n = n->next)
		if (str_eq(n->key, key))
			return n;
	return NULL;
}

/* False: the member is left out of the mapping, as one of that name is there or there are too many. */
static bool name_member(struct builder *b, struct node *n)
{
	const struct node *key = b->key;
	const struct node *twin;

	b->key = NULL;
	n->key = key->text;
	n->key_line = key->line;
	n->key_column = key->column;
	if (key->bad)
		return false;
	if (b->open->n >= YAML_KEYS) {
		b->sink->complain(b->sink->ctx, key->line, key->column,
				  "too many keys (expected at most %d here)", YAML_KEYS);
		b->failed = true;
		return false;
	}
	twin = yaml_member(b->open, key->text);
	if (twin)
		b->sink->complain(b->sink->ctx, key->line, key->column,
				  "`%.*s` comes twice (first at line %u; write it once)", (int)key->text.n,
				  key->text.p, twin->key_line);
	return !twin;
}

/* Hangs a value into the tree; what is left out still gets its members, so that they are read over. */
static void attach(struct builder *b, struct node *n)
{
	struct node *open = b->open;

	n->parent = open;
	if (!open) {
		b->root = n;
		return;
	}
	if (open->kind == NODE_MAP && !name_member(b, n))
		return;
	if (open->last)
		open->last->next = n;
	else
		open->first = n;
	open->last = n;
	open->n++;
}

static bool expects_key(const struct builder *b)
{
	return b->open && b->open->kind == NODE_MAP && !b->key;
}

/* A key that is no scalar: the mapping goes on with a key that is left out. */
static void stand_in_key(struct builder *b, yaml_mark_t m)
{
	struct node *key = new_node(b, NODE_SCALAR, m);
	complain_at(b, m, "a key that is no plain text (expected `name: value`)");
	if (key)
		key->bad = true;
	b->key = key;
	b->failed = true; /* its members would be taken for the mapping's own */
}

static void on_scalar(struct builder *b, const yaml_event_t *e)
{
	struct node *n = new_node(b, NODE_SCALAR, e->start_mark);
	if (!n)
		return;
	n->text = n->raw = arena_str(b->arena, str_of_yaml(e->data.scalar.value, e->data.scalar.length));
	n->quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
	if (n->text.n && memchr(n->text.p, '\0', n->text.n)) {
		complain_at(b, e->start_mark, "a NUL byte (expected text)");
		n->bad = true;
	}
	if (e->data.scalar.anchor || e->data.scalar.tag) {
		complain_at(b, e->start_mark,
			    "an anchor or a tag (write the value itself; a text that starts with & or ! goes "
			    "in quotes)");
		n->bad = true;
	}
	if (expects_key(b))
		b->key = n;
	else
		attach(b, n);
}

static void on_alias(struct builder *b, const yaml_event_t *e)
{
	complain_at(b, e->start_mark, quote_it);
	struct node *n = new_node(b, NODE_SCALAR, e->start_mark);
	if (!n)
		return;
	n->bad = true;
	if (expects_key(b))
		b->key = n;
	else
		attach(b, n);
}

static void on_open(struct builder *b, const yaml_event_t *e, enum node_kind kind, bool marked)
{
	if (expects_key(b)) {
		stand_in_key(b, e->start_mark);
		return;
	}
	if (++b->depth > YAML_DEPTH) {
		complain_at(b, e->start_mark, "nested too deeply (expected at most 16 levels)");
		b->failed = true;
		return;
	}
	struct node *n = new_node(b, kind, e->start_mark);
	if (!n)
		return;
	if (marked)
		complain_at(b, e->start_mark, "an anchor or a tag (write the value itself)");
	attach(b, n);
	b->open = n;
}

static void on_close(struct builder *b)
{
	b->depth--;
	b->open = b->open->parent;
}

static void on_document(struct builder *b, const yaml_event_t *e)
{
	if (b->documents++ == 0)
		return;
	complain_at(b, e->start_mark, "a second document (expected one; remove the `---`)");
	b->failed = true;
}

static void on_event(struct builder *b, const yaml_event_t *e)
{
	switch (e->type) {
	case YAML_DOCUMENT_START_EVENT:
		on_document(b, e);
		break;
	case YAML_ALIAS_EVENT:
		on_alias(b, e);
		break;
	case YAML_SCALAR_EVENT:
		on_scalar(b, e);
		break;
	case YAML_SEQUENCE_START_EVENT:
		on_open(b, e, NODE_LIST, e->data.sequence_start.anchor || e->data.sequence_start.tag);
		break;
	case YAML_MAPPING_START_EVENT:
		on_open(b, e, NODE_MAP, e->data.mapping_start.anchor || e->data.mapping_start.tag);
		break;
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		on_close(b);
		break;
	default:
		break;
	}
}

struct node *yaml_tree(struct arena *arena, struct str text, const struct yaml_sink *sink)
{
	bool marked = text.n >= 3 && memcmp(text.p, "\xef\xbb\xbf", 3) == 0; /* a byte order mark */
	if (marked)
		text = (struct str){text.p + 3, text.n - 3};
	struct builder b = {.arena = arena, .sink = sink, .text = text};
	bool end = false;

	if (!check_bytes(text, sink))
		return NULL;
	if (!yaml_parser_initialize(&b.parser)) {
		arena->failed = true;
		return NULL;
	}
	yaml_parser_set_encoding(&b.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&b.parser, (const unsigned char *)text.p, text.n);
	while (!end && !b.failed) {
		yaml_event_t e;
		if (!yaml_parser_parse(&b.parser, &e)) {
			complain_of_syntax(&b);
			break;
		}
		end = e.type == YAML_STREAM_END_EVENT;
		on_event(&b, &e);
		yaml_event_delete(&e);
	}
	yaml_parser_delete(&b.parser);
	return arena->failed || b.failed ? NULL : b.root;
}
