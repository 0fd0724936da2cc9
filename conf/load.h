/* SPDX-License-Identifier: MIT */
/*
 * One load under way: from the tree of the YAML file to struct conf, by the table of keys (conf/keys.h). For
 * the files of this folder. Errors are noted and the load goes on with the rest; a value that was refused
 * leaves its key's default behind, so that later checks do not complain of what follows from it.
 */
#ifndef WEIR_CONF_LOAD_H
#define WEIR_CONF_LOAD_H

#include "conf/arena.h"
#include "conf/bundle.h"
#include "conf/conf.h"
#include "conf/yaml.h"

struct place { /* where the value of a field, or an item of an array, was written */
	const void *field;
	const struct node *node;
};

struct range { /* a network of a list, kept to look for overlaps */
	struct range *next;
	int list;
	struct cidr cidr;
	const struct node *node;
};

struct load {
	struct conf *conf;
	struct arena *keep; /* goes with conf */
	struct arena temp;  /* goes with the load */
	struct conf_bundle *bundle;
	struct conf_notes *notes;
	struct netset_builder *nets;
	const struct node *root;
	struct place *place;
	unsigned places, places_cap;
	struct range *ranges;
	size_t expanded; /* bytes that came out of ${...} */
};

/* Both with the place of the node; of one without a place (NULL, a default) the file alone is named. */
void load_error(struct load *, const struct node *, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void load_warning(struct load *, const struct node *, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* In another file. */
void load_error_in(struct load *, struct str file, unsigned line, unsigned column, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

/* The place of a member's name, for what is wrong with the name. */
struct node load_key_of(const struct node *);

/* Relative paths start at the config file's folder. A NUL follows; the text is temp's. */
struct str load_path(struct load *, struct str path);

void load_set_place(struct load *, const void *field, const struct node *);
const struct node *load_place(const struct load *, const void *field); /* NULL: none */

/* Checks between keys, and warnings (conf/check*.c); called once all keys are read. */
void load_check(struct load *);
void load_check_networks(struct load *);
void load_check_sites(struct load *);
void load_check_hosts(struct load *);
void load_check_tls(struct load *);

/* A text in a message, and not all of a long one: "%.*s" takes TEXT; RAW is a value as it was written. */
static inline int load_shown(struct str s)
{
	size_t n = s.n < 80 ? s.n : 80;
	while (n > 0 && n < s.n && ((unsigned char)s.p[n] & 0xc0) == 0x80) /* not through a character */
		n--;
	return (int)n;
}
#define TEXT(str) load_shown(str), (str).p ? (str).p : ""
#define RAW(node) TEXT((node)->raw)

#endif
