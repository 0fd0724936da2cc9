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
	check_left(&src, peer, &h, &c);
	check_xff(peer, &c);
	src.trusted = -1; /* nobody is trusted: only the peer counts */
	find(&src, peer, &h, &again);
	promise(peer == NULL || (again.kind == CLIENT_PEER && addr_eq(&again.addr, peer)));
	return 0;
}
