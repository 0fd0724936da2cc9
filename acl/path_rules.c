/* SPDX-License-Identifier: MIT */
#include "acl/path_rules.h"

#include <stdlib.h>
#include <string.h>

#include "acl/path_readings.h"

/* A segment of a prefix; its siblings differ from it. Nodes refer to each other by place, as the array moves.
 */
struct node {
	uint64_t rules;		 /* whose prefix ends here */
	uint32_t child, sibling; /* 0: none, as the root is nobody's child */
	uint32_t text;		 /* in texts */
	uint32_t len;
};

/* Two tries of segments in one array: of the prefixes as they are written, and in lower case. */
enum { ROOT_EXACT, ROOT_FOLDED, ROOTS };

struct path_rules {
	struct node *nodes;
	char *texts;
	size_t nodes_n, texts_n;
	uint64_t used;	/* indexes given */
	bool has_upper; /* else both tries are alike */
};

/* ---- building ---- */

struct path_rules *path_rules_new(void)
{
	struct path_rules *r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	r->nodes = calloc(ROOTS, sizeof(*r->nodes));
	if (!r->nodes) {
		free(r);
		return NULL;
	}
	r->nodes_n = ROOTS;
	return r;
}

void path_rules_free(struct path_rules *r)
{
	if (!r)
		return;
	free(r->nodes);
	free(r->texts);
	free(r);
}

static struct str node_text(const struct path_rules *r, const struct node *n)
{
	return (struct str){r->texts + n->text, n->len};
}

/* The segment that starts the rest of a path, and the rest after its slash. */
static struct str take_segment(struct str *rest)
{
	const char *slash = rest->n ? memchr(rest->p, '/', rest->n) : NULL;
	struct str segment = {rest->p, slash ? (size_t)(slash - rest->p) : rest->n};
	size_t taken = segment.n + (slash != NULL);
	rest->p += taken;
	rest->n -= taken;
	return segment;
}

static uint32_t find_child(const struct path_rules *r, uint32_t at, struct str segment)
{
	for (uint32_t i = r->nodes[at].child; i; i = r->nodes[i].sibling)
		if (str_eq(node_text(r, &r->nodes[i]), segment))
			return i;
	return 0;
}

/* 0: out of memory */
static uint32_t add_child(struct path_rules *r, uint32_t at, struct str segment)
{
	struct node *nodes = realloc(r->nodes, (r->nodes_n + 1) * sizeof(*nodes));
	if (!nodes)
		return 0;
	r->nodes = nodes;
	char *texts = realloc(r->texts, r->texts_n + segment.n);
	if (!texts)
		return 0;
	r->texts = texts;
	memcpy(texts + r->texts_n, segment.p, segment.n);
	uint32_t place = (uint32_t)r->nodes_n++;
	nodes[place] = (struct node){
		.sibling = nodes[at].child, .text = (uint32_t)r->texts_n, .len = (uint32_t)segment.n};
	nodes[at].child = place;
	r->texts_n += segment.n;
	return place;
}

static uint32_t add_path(struct path_rules *r, uint32_t root, struct str prefix)
{
	uint32_t at = root;
	struct str rest = {prefix.p + 1, prefix.n - 1};
	while (rest.n) {
		struct str segment = take_segment(&rest);
		uint32_t child = find_child(r, at, segment);
		if (!child && !(child = add_child(r, at, segment)))
			return UINT32_MAX;
		at = child;
	}
	return at;
}

static bool is_prefix_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c && strchr("/0123456789-._~!$&'()*+,=:@", c));
}

/* What is wrong with a prefix, or NULL. */
static const char *check_prefix(struct str s)
{
	if (s.n == 0 || s.p[0] != '/')
		return "a prefix starts with a slash";
	if (s.n > 1024)
		return "a prefix is at most 1024 bytes long";
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '%')
			return "a prefix is written decoded, without %";
		if (!is_prefix_char(s.p[i]))
			return "a prefix is made of letters, digits and any of / - . _ ~ ! $ & ' ( ) * + , = "
			       ": @";
	}
	for (struct str rest = {s.p + 1, s.n - 1}; rest.n;) {
		struct str segment = take_segment(&rest);
		if (segment.n == 0)
			return "a prefix has no doubled slashes";
		if (str_eq(segment, STR(".")) || str_eq(segment, STR("..")))
			return "a prefix has no dot segments";
	}
	return NULL;
}

bool path_rules_add(struct path_rules *r, struct str prefix, unsigned index, const char **why)
{
	char folded[1024];
	if (index >= PATH_RULES_MAX || r->used >> index & 1) {
		*why = "a site has at most 64 path rules, each with its own index";
		return false;
	}
	*why = check_prefix(prefix);
	if (*why)
		return false;
	for (size_t i = 0; i < prefix.n; i++)
		folded[i] = (char)ascii_lower((unsigned char)prefix.p[i]);
	uint32_t exact = add_path(r, ROOT_EXACT, prefix);
	uint32_t blind = add_path(r, ROOT_FOLDED, (struct str){folded, prefix.n});
	if (exact == UINT32_MAX || blind == UINT32_MAX) {
		*why = "out of memory";
		return false;
	}
	if (r->nodes[exact].rules) {
		*why = "the same prefix is given twice";
		return false;
	}
	r->nodes[exact].rules |= (uint64_t)1 << index;
	r->nodes[blind].rules |= (uint64_t)1 << index;
	r->used |= (uint64_t)1 << index;
	r->has_upper |= memcmp(folded, prefix.p, prefix.n) != 0;
	return true;
}

/* ---- matching ---- */

/* The rules whose prefix is the longest of those that the path, from behind its first slash, falls under. */
static uint64_t walk_exact(const struct path_rules *r, struct str rest)
{
	uint32_t at = ROOT_EXACT;
	uint64_t longest = r->nodes[at].rules;
	while (rest.n && r->nodes[at].child) {
		at = find_child(r, at, take_segment(&rest));
		if (!at)
			break;
		if (r->nodes[at].rules)
			longest = r->nodes[at].rules;
	}
	return longest;
}

static uint64_t walk_folded(const struct path_rules *r, struct str rest)
{
	uint32_t at = ROOT_FOLDED;
	uint64_t longest = r->nodes[at].rules;
	while (rest.n && r->nodes[at].child) {
		struct str segment = take_segment(&rest);
		at = r->nodes[at].child;
		while (at && !str_ieq(node_text(r, &r->nodes[at]), segment))
			at = r->nodes[at].sibling;
		if (!at)
			break;
		if (r->nodes[at].rules)
			longest = r->nodes[at].rules;
	}
	return longest;
}

static void meet(const struct path_rules *r, struct str reading, struct path_match *out)
{
	struct str rest = {reading.p + 1, reading.n - 1};
	uint64_t exact = walk_exact(r, rest), folded = walk_folded(r, rest);
	out->any |= exact | folded;
	out->all &= exact & folded;
	out->readings++;
}

enum path_status path_rules_match(const struct path_rules *r, struct str path, struct path_match *out,
				  const char **why)
{
	*out = (struct path_match){.any = 0};
	if (path.n == 0)
		path = STR("/");
	if (path.n > PATH_RULES_PATH_MAX || path.p[0] != '/') {
		*why = path.p[0] == '/' ? "the path is too long" : "the path does not start with a slash";
		return PATH_UNREADABLE;
	}
	if (!r->has_upper && path_is_plain(path)) {
		out->any = out->all = walk_exact(r, (struct str){path.p + 1, path.n - 1});
		out->readings = 1;
		return PATH_READ;
	}
	struct path_readings readings;
	*why = path_readings_make(&readings, path);
	if (*why)
		return PATH_UNREADABLE;
	out->all = UINT64_MAX;
	for (unsigned i = 0; i < readings.n; i++)
		meet(r, readings.v[i].text, out);
	return PATH_READ;
}
