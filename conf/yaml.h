/* SPDX-License-Identifier: MIT */
/*
 * YAML text to a tree of nodes that know their places. One document of mappings, lists and scalars; what a
 * config has no use for is refused: anchors, aliases and tags, several documents, keys that come twice, keys
 * that are no scalars, nesting beyond YAML_DEPTH. Nodes live in the arena that was passed in; scalars are not
 * interpreted.
 *
 * Errors go through `complain`, before the call returns; after most of them reading goes on.
 */
#ifndef WEIR_CONF_YAML_H
#define WEIR_CONF_YAML_H

#include <stdbool.h>

#include "base/str.h"
#include "conf/arena.h"

#define YAML_DEPTH 16
#define YAML_KEYS 4096 /* in one mapping */

enum node_kind { NODE_SCALAR, NODE_LIST, NODE_MAP };

struct node {
	enum node_kind kind;
	unsigned line, column; /* from 1; columns in characters; 0: a default, of no place */
	bool quoted;	       /* a scalar that was written in quotes or as a block */
	bool bad;	       /* was complained of already; its value means nothing */
	bool expanded;	       /* `text` holds what ${...} stood for */
	struct str text;       /* of a scalar: the value */
	struct str raw;	       /* of a scalar: as written, which is what messages may show */
	struct str key;	       /* of a mapping's member */
	unsigned key_line, key_column;
	unsigned n;	    /* members */
	struct node *first; /* member */
	struct node *last;
	struct node *next;   /* sibling */
	struct node *parent; /* NULL for the root */
};

struct yaml_sink {
	void *ctx;
	void (*complain)(void *ctx, unsigned line, unsigned column, const char *fmt, ...);
};

/* NULL after an error that leaves nothing to look at, or out of memory (arena->failed). */
struct node *yaml_tree(struct arena *, struct str text, const struct yaml_sink *);

/* The member of that name, or NULL. */
const struct node *yaml_member(const struct node *map, struct str key);

#endif
