/* SPDX-License-Identifier: MIT */
/*
 * Any forwarding headers, from any peer: the client is an address that stands in them, or the peer; what a
 * client writes to the left of what a trusted proxy said of it changes nothing; and the X-Forwarded-For that
 * goes to the origin names the same client.
 *
 * Input: the kind of header (x X-Forwarded-For, f Forwarded, a an address, p an address and a port), the peer
 * (u a unix socket, 4 and 6 trusted, else a stranger), then lines: x, f, a or s (the secret's header) and the
 * value. A line that starts with < is put to the left of the first line of the list.
 */
#include <arpa/inet.h>

#include "acl/client_ip.h"
#include "tests/fuzz/fuzz.h"

enum { LINES = 8, LINE_MOST = 512 };

struct lines {
	struct str v[LINES];
	size_t n;
};

struct heard {
	struct lines xff, forwarded, address, secret;
	struct str left;
};

static struct netset *trusted_nets(void)
{
	static struct netset *nets;

	if (nets)
		return nets;
	static const char *const trusted[] = {"10.0.0.0/8", "192.0.2.7", "fd00::/8"};
	struct netset_builder *b = netset_builder_new();
	int list = netset_list(b);
	for (size_t i = 0; i < sizeof(trusted) / sizeof(trusted[0]); i++) {
		struct cidr c;
		const char *why;
		promise(cidr_parse(str_of(trusted[i]), &c, &why) && netset_add(b, list, &c) == 0);
	}
	nets = netset_compile(b);
	promise(nets != NULL);
	return nets;
}

static bool is_trusted(const struct addr *a)
{
	return netmask_has(netset_lookup(trusted_nets(), a), 0);
}

static void put_line(struct lines *l, struct str s)
{
	if (l->n < LINES && s.n <= LINE_MOST)
		l->v[l->n++] = s;
}

static void read_lines(struct feed *f, struct heard *h)
{
	while (f->n) {
		unsigned kind = feed_byte(f);
		struct str line = feed_until(f, '\n');
		struct lines *l = kind == 'x'	? &h->xff
				  : kind == 'f' ? &h->forwarded
				  : kind == 'a' ? &h->address
				  : kind == 's' ? &h->secret
						: NULL;
		if (l)
			put_line(l, line);
		else if (kind == '<' && line.n <= LINE_MOST)
			h->left = line;
	}
}

static struct client_values values(const struct lines *l)
{
	return (struct client_values){l->v, l->n};
}

static void find(const struct client_source *src, const struct addr *peer, const struct heard *h,
		 struct client_ip *out)
{
	struct client_heard heard = {values(&h->xff), values(&h->forwarded), values(&h->address),
				     values(&h->secret)};

	memset(out, 0xa5, sizeof(*out));
	client_ip_find(src, peer, peer ? netset_lookup(src->nets, peer) : NULL, &heard, out);
}

static bool address_byte(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || c == ':' ||
	       c == '.';
}

/* inet_pton's reading, in one form for both families. */
static bool reads_as(const char *p, size_t n, const struct addr *want)
{
	char text[64];
	struct addr a = addr_v4(0, 0, 0, 0);

	if (n >= sizeof(text))
		return false;
	memcpy(text, p, n);
	text[n] = 0;
	return (inet_pton(AF_INET, text, a.b + 12) == 1 || inet_pton(AF_INET6, text, a.b) == 1) &&
	       addr_eq(&a, want);
}

/* Does the address stand there, as a run of its own or up to a colon? Quoted pairs are unfolded first. */
static bool stands_in(struct str s, const struct addr *want)
{
	char flat[LINE_MOST];
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] != '\\')
			flat[n++] = s.p[i];
	for (size_t from = 0; from < n; from++) {
		if (!address_byte(flat[from]) || (from && address_byte(flat[from - 1])))
			continue;
		size_t to = from;
		while (to < n && address_byte(flat[to]))
			to++;
		for (size_t end = to; end > from; end--)
			if ((end == to || flat[end] == ':') && reads_as(flat + from, end - from, want))
				return true;
	}
	return false;
}

static bool stands_in_lines(const struct lines *l, const struct addr *want)
{
	for (size_t i = 0; i < l->n; i++)
		if (stands_in(l->v[i], want))
			return true;
	return false;
}

static void check_named(const struct client_source *src, const struct addr *peer, const struct heard *h,
			const struct client_ip *c)
{
	static const struct addr none;
	const struct lines *list = src->header == CLIENT_HEADER_FORWARDED ? &h->forwarded : &h->xff;
	bool single = src->header >= CLIENT_HEADER_ADDRESS;

	promise(c->hops_n <= CLIENT_IP_HOPS);
	/* Also those of an address that was looked up on the way are the client's own in the end. */
	promise(c->kind == CLIENT_NOBODY ? !c->nets : c->nets == netset_lookup(src->nets, &c->addr));
	promise((c->kind == CLIENT_PEER) == (peer && !is_trusted(peer)));
	for (unsigned i = 0; i < c->hops_n; i++)
		promise(is_trusted(&c->hops[i]) && stands_in_lines(list, &c->hops[i]));
	if (c->kind == CLIENT_FORWARDED)
		promise(stands_in_lines(list, &c->addr) ||
			(single && stands_in_lines(&h->address, &c->addr)));
	else
		promise(addr_eq(&c->addr, peer ? peer : &none) && c->hops_n == 0);
}

/* ---- a second reading, from the left ---- */

enum { ENTRIES_MOST = 8 * LINE_MOST / 2 + 8 };

struct entries {
	struct {
		struct addr addr;
		bool readable;
	} v[ENTRIES_MOST];
	unsigned n;
	bool plain; /* false: it is not by the grammar, and how it is read from the right is another matter */
};

static bool read_ip(struct str s, bool v6, struct addr *out)
{
	char text[64];

	if (s.n == 0 || s.n >= sizeof(text) || memchr(s.p, 0, s.n))
		return false;
	memcpy(text, s.p, s.n);
	text[s.n] = 0;
	*out = addr_v4(0, 0, 0, 0);
	return v6 ? inet_pton(AF_INET6, text, out->b) == 1 : inet_pton(AF_INET, text, out->b + 12) == 1;
}

static bool read_port(struct str s)
{
	unsigned v = 0;

	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		v = v * 10 + (unsigned)(s.p[i] - '0');
	}
	return s.n > 0 && s.n <= 5 && v <= 65535;
}

static bool read_hidden(struct str s)
{
	static const char bytes[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

	for (size_t i = 1; i < s.n; i++)
		if (!memchr(bytes, s.p[i], sizeof(bytes) - 1))
			return false;
	return s.n > 1 && s.p[0] == '_';
}

/* ip, ip:port, [v6], [v6]:port; `bare` allows v6 without brackets too, `hidden` a port of _ and letters. */
static bool read_place(struct str s, bool bare, bool hidden, struct addr *out)
{
	const char *close = s.n && s.p[0] == '[' ? memchr(s.p, ']', s.n) : NULL;
	const char *colon;
	struct str port;

	if (bare && read_ip(s, true, out))
		return true;
	if (s.n && s.p[0] == '[') {
		if (!close || !read_ip((struct str){s.p + 1, (size_t)(close - s.p - 1)}, true, out))
			return false;
		colon = close + 1;
	} else {
		colon = s.n ? memchr(s.p, ':', s.n) : NULL;
		if (!read_ip((struct str){s.p, colon ? (size_t)(colon - s.p) : s.n}, false, out))
			return false;
	}
	if (!colon || colon == s.p + s.n)
		return true;
	port = (struct str){colon + 1, (size_t)(s.p + s.n - colon - 1)};
	return *colon == ':' && (read_port(port) || (hidden && read_hidden(port)));
}

static void add_entry(struct entries *e, struct str s, bool hidden)
{
	promise(e->n < ENTRIES_MOST);
	/* An obfuscated port has no end by the grammar; a whole node of more than 80 bytes is not read. */
	e->v[e->n].readable = (!hidden || s.n <= 80) && read_place(s, !hidden, hidden, &e->v[e->n].addr);
	e->n++;
}

static void read_xff(struct str line, struct entries *e)
{
	while (line.n) {
		const char *comma = memchr(line.p, ',', line.n);
		size_t n = comma ? (size_t)(comma - line.p) : line.n;
		struct str entry = str_trim((struct str){line.p, n});
		if (entry.n)
			add_entry(e, entry, false);
		n += comma != NULL;
		line = (struct str){line.p + n, line.n - n};
	}
}

static bool token_byte(char c)
{
	return c > ' ' && c < 0x7f && !strchr("\"(),/:;<=>?@[\\]{}", c);
}

/* A token, or a quoted string without its quotes. False: it is neither. */
static bool read_word(struct str *s, char *out, size_t *n, bool quoted_too)
{
	*n = 0;
	if (quoted_too && s->n && s->p[0] == '"') {
		for (s->p++, s->n--; s->n && s->p[0] != '"'; s->p++, s->n--) {
			if (s->p[0] == '\\')
				s->p++, s->n--;
			if (!s->n || ((unsigned char)s->p[0] < ' ' && s->p[0] != '\t') || s->p[0] == 0x7f)
				return false;
			out[(*n)++] = s->p[0];
		}
		if (!s->n)
			return false;
		s->p++, s->n--;
		return true;
	}
	for (; s->n && token_byte(s->p[0]); s->p++, s->n--)
		out[(*n)++] = s->p[0];
	return *n > 0;
}

/* By the grammar of RFC 7239, 4, to the letter; each parameter once. */
static bool read_element(struct str *s, struct entries *e)
{
	static const char *const known[] = {"for", "by", "host", "proto"};
	char name[LINE_MOST], value[LINE_MOST], node[LINE_MOST];
	size_t name_n, value_n, node_n = 0;
	unsigned seen = 0;

	do {
		if (!read_word(s, name, &name_n, false) || !s->n || s->p[0] != '=')
			return false;
		s->p++, s->n--;
		if (!read_word(s, value, &value_n, true))
			return false;
		for (unsigned i = 0; i < 4; i++) {
			if (!str_ieq((struct str){name, name_n}, str_of(known[i])))
				continue;
			if (seen >> i & 1)
				return false;
			seen |= 1u << i;
			if (i == 0)
				memcpy(node, value, node_n = value_n);
		}
	} while (s->n && s->p[0] == ';' && (s->p++, s->n--, true));
	add_entry(e, (struct str){node, node_n}, true);
	return true;
}

static void read_forwarded_line(struct str line, struct entries *e)
{
	for (;;) {
		while (line.n && (is_ows(line.p[0]) || line.p[0] == ','))
			line.p++, line.n--;
		if (!line.n)
			return;
		if (!read_element(&line, e)) {
			e->plain = false;
			return;
		}
		while (line.n && is_ows(line.p[0]))
			line.p++, line.n--;
		if (line.n && line.p[0] != ',') {
			e->plain = false;
			return;
		}
	}
}

/* Who the client is by the rules at the top of client_ip.h, over entries that are all read already. */
static void check_walk(const struct client_source *src, const struct heard *h, const struct client_ip *c)
{
	static struct entries e;
	bool forwarded = src->header == CLIENT_HEADER_FORWARDED;
	const struct lines *list = forwarded ? &h->forwarded : &h->xff;
	unsigned hops = 0;

	e.n = 0;
	e.plain = true;
	for (size_t i = 0; i < list->n && e.plain; i++)
		forwarded ? read_forwarded_line(list->v[i], &e) : read_xff(list->v[i], &e);
	if (!e.plain || c->kind == CLIENT_PEER || src->header >= CLIENT_HEADER_ADDRESS)
		return;
	while (hops < e.n && hops < CLIENT_IP_ENTRIES && e.v[e.n - 1 - hops].readable &&
	       is_trusted(&e.v[e.n - 1 - hops].addr))
		hops++;
	bool other = hops < e.n && hops < CLIENT_IP_ENTRIES && e.v[e.n - 1 - hops].readable;
	if (!other && hops == 0) {
		promise(c->kind == CLIENT_NOBODY);
		return;
	}
	hops -= !other;
	promise(c->kind == CLIENT_FORWARDED && c->hops_n == hops);
	promise(addr_eq(&c->addr, &e.v[e.n - 1 - hops].addr));
	for (unsigned i = 0; i < hops; i++)
		promise(addr_eq(&c->hops[i], &e.v[e.n - 1 - i].addr));
}

static bool same_client(const struct client_ip *a, const struct client_ip *b)
{
	return a->kind == b->kind && addr_eq(&a->addr, &b->addr);
}

static bool same_hops(const struct client_ip *a, const struct client_ip *b)
{
	return a->hops_n == b->hops_n &&
	       (a->hops_n == 0 || memcmp(a->hops, b->hops, a->hops_n * sizeof(a->hops[0])) == 0);
}

/* What a client writes itself stands to the left of what the first trusted proxy appends. */
static void check_left(const struct client_source *src, const struct addr *peer, const struct heard *h,
		       const struct client_ip *c)
{
	static char text[2 * LINE_MOST + 1];
	struct sheet s = {text, 0, sizeof(text)};
	struct heard more = *h;
	struct lines *list = src->header == CLIENT_HEADER_FORWARDED ? &more.forwarded : &more.xff;
	struct client_ip again;
	/* The client came from a header of its own then, and nothing in the list has to stop the walk. */
	bool single = src->header >= CLIENT_HEADER_ADDRESS;

	if (c->kind != CLIENT_FORWARDED || is_trusted(&c->addr) || list->n == 0)
		return;
	sheet_str(&s, h->left);
	sheet_bytes(&s, ",", 1);
	sheet_str(&s, list->v[0]);
	list->v[0] = sheet_text(&s);
	find(src, peer, &more, &again);
	promise(same_client(c, &again) && (single || same_hops(c, &again)));
	if (list->n == LINES)
		return;
	*list = src->header == CLIENT_HEADER_FORWARDED ? h->forwarded : h->xff;
	memmove(list->v + 1, list->v, list->n * sizeof(list->v[0]));
	list->n++;
	list->v[0] = h->left;
	find(src, peer, &more, &again);
	promise(same_client(c, &again) && (single || same_hops(c, &again)));
}

/* The origin, which trusts the same networks and weir, finds the same client in what weir writes. */
static void check_xff(const struct addr *peer, const struct client_ip *c)
{
	static const struct addr weir = {{0xfd, [15] = 1}};
	struct client_source src = {.nets = trusted_nets(), .header = CLIENT_HEADER_XFF};
	char text[CLIENT_IP_XFF_MAX];
	size_t n = client_ip_xff(text, c, peer);
	struct heard h = {.xff = {{{text, n}}, 1}};
	struct client_ip again;

	promise(n <= sizeof(text) && (n > 0 || (c->kind == CLIENT_NOBODY && !peer)));
	find(&src, &weir, &h, &again);
	if (c->kind == CLIENT_PEER)
		promise(again.kind == CLIENT_FORWARDED && addr_eq(&again.addr, &c->addr));
	if (c->kind == CLIENT_FORWARDED && c->hops_n < CLIENT_IP_ENTRIES - 1)
		promise(again.kind == CLIENT_FORWARDED && addr_eq(&again.addr, &c->addr) &&
			again.hops_n == c->hops_n + (peer != NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct addr trusted6 = {{0xfd, 1, [15] = 9}};
	const struct addr trusted4 = addr_v4(10, 1, 2, 3), stranger = addr_v4(198, 51, 100, 9);
	struct feed f = feed_of(data, size);
	struct heard h = {.left = STR_NONE};
	struct client_ip c, again;

	if (size > 2048)
		return 0;
	unsigned kind = feed_byte(&f), from = feed_byte(&f);
	struct client_source src = {.nets = trusted_nets(), .only_with = STR("s3cret")};
	src.header = kind == 'f'   ? CLIENT_HEADER_FORWARDED
		     : kind == 'a' ? CLIENT_HEADER_ADDRESS
		     : kind == 'p' ? CLIENT_HEADER_ADDRESS_PORT
				   : CLIENT_HEADER_XFF;
	const struct addr *peer = from == 'u'	? NULL
				  : from == '4' ? &trusted4
				  : from == '6' ? &trusted6
						: &stranger;
	read_lines(&f, &h);
	find(&src, peer, &h, &c);
	check_named(&src, peer, &h, &c);
	check_walk(&src, &h, &c);
	check_left(&src, peer, &h, &c);
	check_xff(peer, &c);
	src.trusted = -1; /* nobody is trusted: only the peer counts */
	find(&src, peer, &h, &again);
	promise(peer == NULL || (again.kind == CLIENT_PEER && addr_eq(&again.addr, peer)));
	return 0;
}
