/* SPDX-License-Identifier: MIT */
/*
 * Many named lists of networks in one immutable trie: a single look-up answers, for an address, which of all
 * the lists hold it. Built once when a config is read, then only read, by as many readers as there are.
 *
 * The trie branches by six bits at a time (a poptrie: bit vectors say which branches are nodes, and children
 * and leaves stand packed behind one another), skips what all networks below a node have in common, and has
 * its leaves pushed down, so that no look-up ever walks back. IPv4 and IPv6 have a root each; as in cidr_has,
 * an IPv6 network wider than /96 holds no IPv4 address.
 *
 * The builder belongs to the caller until netset_compile takes it; the netset belongs to the caller.
 */
#ifndef WEIR_ACL_NETSET_H
#define WEIR_ACL_NETSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "acl/addr.h"
#include "base/str.h"

#define NETSET_LISTS 256

struct netmask { /* a set of lists, by id */
	uint64_t w[NETSET_LISTS / 64];
};

struct netset;
struct netset_builder;

/* NULL: out of memory. */
struct netset_builder *netset_builder_new(void);
void netset_builder_free(struct netset_builder *); /* for one that is not to be compiled; NULL is fine */

/* The id of a new, empty list: 0, 1, 2, ... and -1 when there are NETSET_LISTS already. */
int netset_list(struct netset_builder *);

/* The same network may come twice. 0, or -1: no such list, or out of memory. */
int netset_add(struct netset_builder *, int list, const struct cidr *);

/* Frees the builder, also when it fails. NULL: out of memory. */
struct netset *netset_compile(struct netset_builder *);
void netset_free(struct netset *); /* NULL is fine */

/* The lists that hold the address; lives as long as the netset. Never NULL. */
const struct netmask *netset_lookup(const struct netset *, const struct addr *);

size_t netset_bytes(const struct netset *); /* of memory, all in all */

static inline bool netmask_has(const struct netmask *m, int list)
{
	return m->w[(unsigned)list / 64 % (NETSET_LISTS / 64)] >> ((unsigned)list % 64) & 1;
}

static inline void netmask_set(struct netmask *m, int list)
{
	m->w[(unsigned)list / 64 % (NETSET_LISTS / 64)] |= (uint64_t)1 << ((unsigned)list % 64);
}

/* Is any list in both? */
static inline bool netmask_any(const struct netmask *a, const struct netmask *b)
{
	uint64_t both = 0;
	for (unsigned i = 0; i < NETSET_LISTS / 64; i++)
		both |= a->w[i] & b->w[i];
	return both != 0;
}

static inline bool netmask_empty(const struct netmask *m)
{
	return (m->w[0] | m->w[1] | m->w[2] | m->w[3]) == 0;
}

struct netfile_error {
	unsigned line, column; /* from 1, in bytes */
	char message[192];     /* what is wrong and what was expected */
};

/*
 * Reads a list file: a network a line, blank lines, and comments from # to the end of a line; CRLF and a byte
 * order mark are read over. `add` is called for each network before this returns; a negative answer of it
 * ends the reading. The number of networks, or -1 with *err filled.
 */
int netfile_parse(struct str text, int (*add)(void *ctx, const struct cidr *), void *ctx,
		  struct netfile_error *err);

#endif
