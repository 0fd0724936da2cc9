/* SPDX-License-Identifier: MIT */
#include "conf/load.h"

#include <stdarg.h>
#include <stdlib.h>

#include "conf/expand.h"
#include "conf/keys.h"
#include "conf/notes.h"

static void note_at(struct load *l, const struct node *n, bool warning, const char *fmt, va_list ap)
{
	notes_add(l->notes, warning, bundle_path(l->bundle), n ? n->line : 0, n ? n->column : 0, fmt, ap);
}

void load_error(struct load *l, const struct node *n, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	note_at(l, n, false, fmt, ap);
	va_end(ap);
}

void load_warning(struct load *l, const struct node *n, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	note_at(l, n, true, fmt, ap);
	va_end(ap);
}

void load_error_in(struct load *l, struct str file, unsigned line, unsigned column, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	notes_add(l->notes, false, file, line, column, fmt, ap);
	va_end(ap);
}

static void complain(void *ctx, unsigned line, unsigned column, const char *fmt, ...)
{
	struct load *l = ctx;
	struct node n = {.line = line, .column = column};
	va_list ap;
	va_start(ap, fmt);
	note_at(l, &n, false, fmt, ap);
	va_end(ap);
}

struct node load_key_of(const struct node *n)
{
	return (struct node){.line = n->key_line, .column = n->key_column};
}

struct str load_path(struct load *l, struct str path)
{
	struct str folder = bundle_folder(l->bundle);
	if (path.n == 0 || path.p[0] == '/')
		return arena_str(&l->temp, path);
	return arena_fmt(&l->temp, "%.*s/%.*s", (int)folder.n, folder.p, (int)path.n, path.p);
}

void load_set_place(struct load *l, const void *field, const struct node *n)
{
	if (l->places == l->places_cap) {
		unsigned cap = l->places_cap ? l->places_cap * 2 : 256;
		struct place *grown = realloc(l->place, cap * sizeof(*grown));
		if (!grown) {
			l->temp.failed = true;
			return;
		}
		l->place = grown;
		l->places_cap = cap;
	}
	l->place[l->places++] = (struct place){field, n};
}

const struct node *load_place(const struct load *l, const void *field)
{
	for (unsigned i = l->places; i-- > 0;)
		if (l->place[i].field == field)
			return l->place[i].node;
	return NULL;
}

static struct node *read_tree(struct load *l)
{
	struct yaml_sink sink = {l, complain};
	struct str text;
	const char *why;
	struct node *root;

	if (!bundle_get(l->bundle, BUNDLE_CONFIG, STR_NONE, &text, &why)) {
		load_error(l, NULL, "cannot be read: %s (expected a config file)", why);
		return NULL;
	}
	root = yaml_tree(&l->temp, text, &sink);
	if (!root && l->notes->errors == 0)
		load_error(l, NULL, "is empty (expected listen, upstreams and sites)");
	if (root && root->kind != NODE_MAP) {
		load_error(l, root,
			   "not a config (expected `name: value` lines such as listen, upstreams and sites)");
		return NULL;
	}
	return root;
}

static void read_keys(struct load *l)
{
	struct node *root = read_tree(l);
	if (!root)
		return;
	l->root = root;
	expand_tree(l, root);
	keys_read(l, NULL, root, l->conf);
	l->conf->nets = netset_compile(l->nets);
	l->nets = NULL;
	if (!l->conf->nets)
		l->temp.failed = true;
	if (!l->temp.failed && !l->keep->failed)
		load_check(l);
}

static bool start_load(struct load *l)
{
	struct arena *keep = calloc(1, sizeof(*keep));
	l->keep = keep;
	l->conf = keep ? arena_alloc(keep, sizeof(*l->conf)) : NULL;
	if (!l->conf) {
		free(keep);
		return false;
	}
	l->conf->arena = keep;
	l->conf->client_ip.trusted = -1;
	l->nets = netset_builder_new();
	return l->nets != NULL;
}

struct conf *conf_load(struct conf_bundle *bundle, struct conf_notes *notes)
{
	struct load l = {.bundle = bundle, .notes = notes};

	if (start_load(&l))
		read_keys(&l);
	else
		l.temp.failed = true;
	if (l.conf && notes->errors == 0 && !bundle_hash(bundle, l.conf->hash))
		l.temp.failed = true;
	if (l.temp.failed || (l.keep && l.keep->failed))
		load_error(&l, NULL, "out of memory");
	netset_builder_free(l.nets);
	arena_free(&l.temp);
	free(l.place);
	notes_sort(notes);
	if (notes->errors == 0)
		return l.conf;
	conf_free(l.conf);
	return NULL;
}

void conf_free(struct conf *conf)
{
	if (!conf)
		return;
	struct arena *keep = conf->arena;
	for (unsigned i = 0; conf->site && i < conf->sites; i++)
		path_rules_free(conf->site[i].rules);
	netset_free(conf->nets);
	arena_free(keep);
	free(keep);
}

static void wipe_key(struct conf_certificate *c)
{
	if (c->key.content.n)
		explicit_bzero((char *)(uintptr_t)c->key.content.p, c->key.content.n);
	c->key.content = STR_NONE;
}

void conf_wipe_keys(struct conf *conf)
{
	for (unsigned i = 0; i < conf->listens; i++)
		for (unsigned k = 0; k < conf->listen[i].certificates; k++)
			wipe_key(&conf->listen[i].certificate[k]);
	for (unsigned i = 0; i < conf->upstreams; i++)
		wipe_key(&conf->upstream[i].tls.own);
}

uint32_t conf_policy_limit(const struct conf_policy *p, const struct netmask *nets)
{
	uint32_t limit = 0;
	for (unsigned i = 0; i < p->fors; i++)
		if (netmask_any(&p->for_net[i].nets, nets) && p->for_net[i].requests > limit)
			limit = p->for_net[i].requests;
	return limit ? limit : p->policy.requests;
}
