/* SPDX-License-Identifier: MIT */
#include "acl/netset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STRIDE 6
#define FANOUT (1 << STRIDE)
#define SKIP_MAX 56 /* what is left beside the length in a word */

/*
 * A node first compares `skip`: as many bits as its low byte says, which stand at its top. An address that
 * differs there has the leaf at leaf_at. The next six bits choose a branch. `child` has a bit for each branch
 * that is a node; `leaf` has one where a run of equal leaves starts (branches that are nodes neither start
 * nor end a run).
 */
struct node {
	uint64_t skip;
	uint64_t child;
	uint64_t leaf;
	uint32_t child_at; /* in nodes[] */
	uint32_t leaf_at;  /* in leaves[]; the branches' leaves start at leaf_at + 1 */
};

struct netset {
	struct node *nodes; /* nodes[0] is IPv4's root, nodes[1] IPv6's */
	uint32_t *leaves;   /* indexes of masks[] */
	struct netmask *masks;
	size_t nodes_n, leaves_n, masks_n;
};

/* Addresses as left-aligned bits: an IPv4 address has 32 of them. */
struct key {
	uint64_t hi, lo;
};

struct prefix {
	struct key key;
	uint16_t list;
	uint8_t bits;
};

struct family {
	struct prefix *v;
	size_t n, cap;
};

struct netset_builder {
	struct family v4, v6;
	int lists;
};

/* Netset under construction, with what its growing needs. */
struct compiler {
	struct netset *set;
	size_t nodes_cap, leaves_cap, masks_cap;
	uint32_t *seen; /* hash table of mask indexes + 1, 0 for free */
	size_t seen_cap;
	bool failed; /* out of memory */
};

static uint64_t load64(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof(v));
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	v = __builtin_bswap64(v);
#endif
	return v;
}

/* n is 1..63 */
static inline struct key shift(struct key k, unsigned n)
{
	return (struct key){k.hi << n | k.lo >> (64 - n), k.lo << n};
}

static struct key shift_any(struct key k, unsigned n)
{
	for (; n > 63; n -= 63)
		k = shift(k, 63);
	return n ? shift(k, n) : k;
}

/* Without the instruction (plain x86-64 has none) the compiler would call a function. */
static inline unsigned count_bits(uint64_t x)
{
#if defined(__POPCNT__) || defined(__aarch64__)
	return (unsigned)__builtin_popcountll(x);
#else
	x -= x >> 1 & 0x5555555555555555;
	x = (x & 0x3333333333333333) + (x >> 2 & 0x3333333333333333);
	x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0f;
	return (unsigned)(x * 0x0101010101010101 >> 56);
#endif
}

/* ---- look-up ---- */

static inline bool skip_differs(uint64_t hi, uint64_t skip, unsigned len)
{
	return (hi ^ skip) >> 1 >> (63 - len) != 0;
}

const struct netmask *netset_lookup(const struct netset *set, const struct addr *a)
{
	struct key k = {load64(a->b), load64(a->b + 8)};
	const struct node *n = set->nodes + 1;
	uint32_t leaf;

	if (k.hi == 0 && k.lo >> 32 == 0xffff) {
		k = (struct key){k.lo << 32, 0};
		n = set->nodes;
	}
	for (;;) {
		unsigned len = n->skip & 0xff;
		if (skip_differs(k.hi, n->skip, len)) {
			leaf = n->leaf_at;
			break;
		}
		unsigned branch = (unsigned)(k.hi << len >> (64 - STRIDE));
		uint64_t up_to = ((uint64_t)2 << branch) - 1;
		if (!(n->child >> branch & 1)) {
			leaf = n->leaf_at + count_bits(n->leaf & up_to);
			break;
		}
		n = set->nodes + n->child_at + count_bits(n->child & up_to) - 1;
		k = shift(k, len + STRIDE);
	}
	return set->masks + set->leaves[leaf];
}

/* ---- building ---- */

struct netset_builder *netset_builder_new(void)
{
	return calloc(1, sizeof(struct netset_builder));
}

void netset_builder_free(struct netset_builder *b)
{
	if (!b)
		return;
	free(b->v4.v);
	free(b->v6.v);
	free(b);
}

int netset_list(struct netset_builder *b)
{
	return b->lists < NETSET_LISTS ? b->lists++ : -1;
}

/* Makes room for `more` elements. */
static bool grow(void **v, size_t n, size_t more, size_t *cap, size_t size)
{
	if (n + more <= *cap)
		return true;
	size_t wanted = *cap ? *cap * 2 : 64;
	while (wanted < n + more)
		wanted *= 2;
	void *bigger = realloc(*v, wanted * size);
	if (!bigger)
		return false;
	*v = bigger;
	*cap = wanted;
	return true;
}

int netset_add(struct netset_builder *b, int list, const struct cidr *c)
{
	bool v4 = cidr_is_v4(c);
	struct family *f = v4 ? &b->v4 : &b->v6;
	void *v = f->v;

	if (list < 0 || list >= b->lists || !grow(&v, f->n, 1, &f->cap, sizeof(*f->v)))
		return -1;
	f->v = v;
	struct key k = {load64(c->addr.b), load64(c->addr.b + 8)};
	f->v[f->n++] = (struct prefix){
		.key = v4 ? (struct key){k.lo << 32, 0} : k,
		.list = (uint16_t)list,
		.bits = (uint8_t)(v4 ? c->bits - 96 : c->bits),
	};
	return 0;
}

static int by_key(const void *va, const void *vb)
{
	const struct prefix *a = va, *b = vb;
	if (a->key.hi != b->key.hi)
		return a->key.hi < b->key.hi ? -1 : 1;
	if (a->key.lo != b->key.lo)
		return a->key.lo < b->key.lo ? -1 : 1;
	return a->bits - b->bits;
}

static uint64_t hash_mask(const struct netmask *m)
{
	uint64_t h = 0;
	for (unsigned i = 0; i < NETSET_LISTS / 64; i++) {
		h = (h ^ m->w[i]) * 0x9e3779b97f4a7c15;
		h ^= h >> 29;
	}
	return h;
}

static uint32_t *find_mask(struct compiler *c, const struct netmask *m)
{
	size_t i = hash_mask(m) & (c->seen_cap - 1);
	while (c->seen[i] && memcmp(c->set->masks + c->seen[i] - 1, m, sizeof(*m)) != 0)
		i = (i + 1) & (c->seen_cap - 1);
	return c->seen + i;
}

static bool rehash(struct compiler *c)
{
	size_t cap = c->seen_cap ? c->seen_cap * 2 : 256;
	uint32_t *bigger = calloc(cap, sizeof(*bigger));
	if (!bigger)
		return false;
	free(c->seen);
	c->seen = bigger;
	c->seen_cap = cap;
	for (size_t i = 0; i < c->set->masks_n; i++)
		*find_mask(c, c->set->masks + i) = (uint32_t)i + 1;
	return true;
}

/* Each set of lists is stored once. */
static uint32_t mask_index(struct compiler *c, const struct netmask *m)
{
	struct netset *set = c->set;
	void *masks = set->masks;
	if ((set->masks_n * 2 >= c->seen_cap && !rehash(c)) ||
	    !grow(&masks, set->masks_n, 1, &c->masks_cap, sizeof(*m))) {
		c->failed = true;
		return 0;
	}
	set->masks = masks;
	uint32_t *slot = find_mask(c, m);
	if (!*slot) {
		set->masks[set->masks_n++] = *m;
		*slot = (uint32_t)set->masks_n;
	}
	return *slot - 1;
}

static void push_leaf(struct compiler *c, uint32_t mask)
{
	void *leaves = c->set->leaves;
	if (!grow(&leaves, c->set->leaves_n, 1, &c->leaves_cap, sizeof(mask))) {
		c->failed = true;
		return;
	}
	c->set->leaves = leaves;
	c->set->leaves[c->set->leaves_n++] = mask;
}

static size_t push_nodes(struct compiler *c, size_t n)
{
	size_t at = c->set->nodes_n;
	void *nodes = c->set->nodes;
	if (!grow(&nodes, at, n, &c->nodes_cap, sizeof(struct node))) {
		c->failed = true;
		return 0;
	}
	c->set->nodes = nodes;
	c->set->nodes_n += n;
	return at;
}

/* How many bits after `depth` all of the sorted prefixes have in common. */
static unsigned common_bits(const struct prefix *v, size_t n, unsigned depth)
{
	struct key first = shift_any(v[0].key, depth), last = shift_any(v[n - 1].key, depth);
	uint64_t hi = first.hi ^ last.hi, lo = first.lo ^ last.lo;
	unsigned common = hi ? (unsigned)__builtin_clzll(hi) : lo ? 64 + (unsigned)__builtin_clzll(lo) : 128;
	for (size_t i = 0; i < n; i++)
		if (v[i].bits - depth < common)
			common = v[i].bits - depth;
	return common;
}

/* One branch of a node under construction: the networks that reach below it, and the lists that hold all of
 * it. */
struct branch {
	const struct prefix *v;
	size_t n;
	struct netmask held;
};

static unsigned branch_of(const struct prefix *p, unsigned depth)
{
	return (unsigned)(shift_any(p->key, depth).hi >> (64 - STRIDE));
}

/* Sorts what hangs at `depth` into the branches; what ends within the next six bits holds whole branches. */
static void spread(struct branch out[FANOUT], const struct prefix *v, size_t n, unsigned depth,
		   const struct netmask *held)
{
	for (unsigned i = 0; i < FANOUT; i++)
		out[i] = (struct branch){.held = *held};
	for (size_t i = 0; i < n; i++) {
		unsigned at = branch_of(v + i, depth);
		if (v[i].bits > depth + STRIDE) {
			if (out[at].n++ == 0)
				out[at].v = v + i;
			continue;
		}
		unsigned width = 1u << (depth + STRIDE - v[i].bits);
		for (unsigned b = at; b < at + width; b++)
			netmask_set(&out[b].held, v[i].list);
	}
}

static void build_node(struct compiler *c, size_t at, const struct prefix *v, size_t n, unsigned depth,
		       const struct netmask *held);

/* Writes the runs of leaves and then the nodes of the branches. */
static void build_branches(struct compiler *c, size_t at, const struct branch *branches, unsigned depth)
{
	struct node node = c->set->nodes[at];
	unsigned children = 0;
	uint32_t last = UINT32_MAX;

	for (unsigned i = 0; i < FANOUT; i++) {
		if (branches[i].n) {
			node.child |= (uint64_t)1 << i;
			children++;
			continue;
		}
		uint32_t mask = mask_index(c, &branches[i].held);
		if (mask != last) {
			node.leaf |= (uint64_t)1 << i;
			push_leaf(c, mask);
			last = mask;
		}
	}
	size_t child = push_nodes(c, children);
	if (c->failed)
		return;
	node.child_at = (uint32_t)child;
	c->set->nodes[at] = node;
	for (unsigned i = 0; i < FANOUT && !c->failed; i++)
		if (branches[i].n)
			build_node(c, child++, branches[i].v, branches[i].n, depth, &branches[i].held);
}

/*
 * Fills nodes[at] with the sorted prefixes v, which all reach below the first `depth` bits. `held` are the
 * lists that hold everything there. Of prefixes that share their first bits the shorter sort first (what
 * follows is zeros), so those that end in the skipped bits stand in front of v, and those of one branch stand
 * side by side.
 */
static void build_node(struct compiler *c, size_t at, const struct prefix *v, size_t n, unsigned depth,
		       const struct netmask *held)
{
	struct netmask inside = *held;
	struct branch branches[FANOUT];
	unsigned skip = n ? common_bits(v, n, depth) : 0;

	if (skip > SKIP_MAX)
		skip = SKIP_MAX;
	struct key k = n ? shift_any(v[0].key, depth) : (struct key){0, 0};
	uint64_t top = skip ? k.hi >> (64 - skip) << (64 - skip) : 0;
	c->set->nodes[at] = (struct node){.skip = top | skip, .leaf_at = (uint32_t)c->set->leaves_n};
	push_leaf(c, mask_index(c, held));

	depth += skip;
	while (n && v->bits == depth) { /* these hold all that the skipped bits lead to */
		netmask_set(&inside, v->list);
		v++, n--;
	}
	spread(branches, v, n, depth, &inside);
	build_branches(c, at, branches, depth + STRIDE);
}

static bool build_family(struct compiler *c, size_t root, struct family *f)
{
	static const struct netmask none;
	if (f->n)
		qsort(f->v, f->n, sizeof(*f->v), by_key);
	if (!c->failed)
		build_node(c, root, f->v, f->n, 0, &none);
	return !c->failed;
}

static void shrink(void **v, size_t n, size_t size)
{
	void *smaller = realloc(*v, n * size);
	if (smaller)
		*v = smaller;
}

struct netset *netset_compile(struct netset_builder *b)
{
	struct compiler c = {.set = calloc(1, sizeof(struct netset))};
	bool built = false;

	if (c.set) {
		size_t root = push_nodes(&c, 2);
		built = build_family(&c, root, &b->v4) && build_family(&c, root + 1, &b->v6);
	}
	netset_builder_free(b);
	free(c.seen);
	if (!built) {
		netset_free(c.set);
		return NULL;
	}
	void *nodes = c.set->nodes, *leaves = c.set->leaves, *masks = c.set->masks;
	shrink(&nodes, c.set->nodes_n, sizeof(struct node));
	shrink(&leaves, c.set->leaves_n, sizeof(uint32_t));
	shrink(&masks, c.set->masks_n, sizeof(struct netmask));
	c.set->nodes = nodes;
	c.set->leaves = leaves;
	c.set->masks = masks;
	return c.set;
}

void netset_free(struct netset *set)
{
	if (!set)
		return;
	free(set->nodes);
	free(set->leaves);
	free(set->masks);
	free(set);
}

size_t netset_bytes(const struct netset *set)
{
	return sizeof(*set) + set->nodes_n * sizeof(struct node) + set->leaves_n * sizeof(uint32_t) +
	       set->masks_n * sizeof(struct netmask);
}

/* ---- list files ---- */

static int fail(struct netfile_error *err, unsigned line, unsigned column, struct str text, const char *why)
{
	int shown = text.n > 60 ? 60 : (int)text.n;
	err->line = line;
	err->column = column;
	if (shown)
		snprintf(err->message, sizeof(err->message), "%.*s%s: %s", shown, text.p,
			 text.n > 60 ? "..." : "", why);
	else
		snprintf(err->message, sizeof(err->message), "%s", why);
	for (char *p = err->message; *p; p++) /* what a file holds is not always fit for a terminal */
		if ((unsigned char)*p < ' ' || (unsigned char)*p == 0x7f)
			*p = '?';
	return -1;
}

static struct str take_line(struct str *text)
{
	const char *lf = memchr(text->p, '\n', text->n);
	struct str line = {text->p, lf ? (size_t)(lf - text->p) : text->n};
	size_t taken = line.n + (lf != NULL);
	text->p += taken;
	text->n -= taken;
	if (line.n && line.p[line.n - 1] == '\r')
		line.n--;
	return line;
}

int netfile_parse(struct str text, int (*add)(void *ctx, const struct cidr *), void *ctx,
		  struct netfile_error *err)
{
	int count = 0;
	struct cidr c;
	const char *why;

	if (text.n >= 3 && memcmp(text.p, "\xef\xbb\xbf", 3) == 0)
		text.p += 3, text.n -= 3;
	for (unsigned number = 1; text.n; number++) {
		struct str line = take_line(&text);
		const char *hash = line.n ? memchr(line.p, '#', line.n) : NULL;
		struct str item = str_trim((struct str){line.p, hash ? (size_t)(hash - line.p) : line.n});
		unsigned column = (unsigned)(item.p - line.p) + 1;
		if (item.n == 0)
			continue;
		for (size_t i = 0; i < item.n; i++)
			if (is_ows(item.p[i]) || item.p[i] == ',')
				return fail(err, number, column + (unsigned)i, STR_NONE,
					    "one network a line, and a # before a comment, were expected");
		if (!cidr_parse(item, &c, &why))
			return fail(err, number, column, item, why);
		if (add(ctx, &c) < 0)
			return fail(err, number, column, item, "there is no room for this network");
		count++;
	}
	return count;
}
