/* SPDX-License-Identifier: MIT */
#include "acl/client_ip.h"

#include <string.h>

/* ---- list elements from the right ---- */

/* Takes the last element off the value. */
static struct str cut_plain(struct str *value)
{
	const char *comma = memrchr(value->p, ',', value->n);
	size_t at = comma ? (size_t)(comma - value->p) : 0;
	struct str element = {value->p + at + (comma != NULL), value->n - at - (comma != NULL)};
	value->n = at;
	return element;
}

/* Does a backslash take the meaning of the byte at i away? */
static bool is_escaped(struct str s, size_t i)
{
	size_t slashes = 0;
	while (slashes < i && s.p[i - 1 - slashes] == '\\')
		slashes++;
	return slashes % 2 == 1;
}

/*
 * The same where commas may stand in quoted strings (RFC 9110, 5.6.4). Quotes are paired from the right: a
 * trusted proxy appends there, so that a quote which a client left open cannot swallow what the proxy said of
 * it.
 */
static struct str cut_quoted(struct str *value)
{
	size_t i = value->n;
	bool quoted = false;
	while (i > 0) {
		char c = value->p[i - 1];
		if (c == '"' && !(quoted && is_escaped(*value, i - 1)))
			quoted = !quoted;
		else if (c == ',' && !quoted)
			break;
		i--;
	}
	struct str element = {value->p + i, value->n - i};
	value->n = i ? i - 1 : 0;
	return element;
}

/* ---- Forwarded (RFC 7239) ---- */

static bool is_token_char(char c)
{
	return c > ' ' && c < 0x7f && !strchr("\"(),/:;<=>?@[\\]{}", c); /* RFC 9110, 5.6.2 */
}

static struct str take_token(struct str *s)
{
	struct str token = {s->p, 0};
	while (token.n < s->n && is_token_char(s->p[token.n]))
		token.n++;
	s->p += token.n;
	s->n -= token.n;
	return token;
}

static bool take_char(struct str *s, char c)
{
	if (s->n == 0 || s->p[0] != c)
		return false;
	s->p++, s->n--;
	return true;
}

struct node_text {
	char text[80]; /* longer than any address and port */
	size_t n;
	bool cut; /* there was more: it may be anything, and is read as no node */
};

static bool append(struct node_text *out, char c)
{
	if (out->n < sizeof(out->text))
		out->text[out->n++] = c;
	else
		out->cut = true;
	return c == '\t' || (unsigned char)c >= ' ';
}

/* A token or a quoted string, unquoted. */
static bool take_value(struct str *s, struct node_text *out)
{
	out->n = 0;
	out->cut = false;
	if (!take_char(s, '"')) {
		struct str token = take_token(s);
		for (size_t i = 0; i < token.n; i++)
			append(out, token.p[i]);
		return token.n > 0;
	}
	while (s->n) {
		if (take_char(s, '"'))
			return true;
		take_char(s, '\\');
		if (s->n == 0 || s->p[0] == 0x7f || !append(out, s->p[0]))
			return false;
		s->p++, s->n--;
	}
	return false;
}

static bool is_node_port(struct str s)
{
	uint16_t port;
	if (s.n < 2 || s.p[0] != '_')
		return addr_parse_port(s, &port);
	for (size_t i = 1; i < s.n; i++)
		if (!is_token_char(s.p[i]) || strchr("!#$%&'*+^`|~", s.p[i]))
			return false;
	return true;
}

/* RFC 7239, 6: an IPv4 address or an IPv6 address in brackets, with a port or a hidden one (_p). Else
 * unreadable. */
static bool read_node(struct str s, struct addr *out)
{
	bool v6 = s.n && s.p[0] == '[';
	const char *end = s.n ? memchr(s.p, v6 ? ']' : ':', s.n) : NULL;
	struct str name = {s.p, s.n}, port = STR_NONE;
	bool has_port = false;

	if (v6) {
		if (!end)
			return false;
		name = (struct str){s.p + 1, (size_t)(end - s.p - 1)};
		end++;
	}
	if (end && end < s.p + s.n) {
		if (*end != ':')
			return false;
		if (!v6)
			name.n = (size_t)(end - s.p);
		port = (struct str){end + 1, (size_t)(s.p + s.n - end - 1)};
		has_port = true;
	}
	if (has_port && !is_node_port(port))
		return false;
	return name.n && (memchr(name.p, ':', name.n) != NULL) == v6 && addr_parse(name, out);
}

/* One element: parameters between semicolons, none of the known twice (4). The address of `for`. */
static bool read_forwarded(struct str s, struct addr *out)
{
	static const struct str known[] = {STR("for"), STR("by"), STR("host"), STR("proto")};
	unsigned seen = 0;
	struct node_text node = {.n = 0, .cut = false}, value;

	for (;;) {
		s = str_trim(s);
		struct str name = take_token(&s);
		if (name.n) {
			if (!take_char(&s, '=') || !take_value(&s, &value))
				return false;
			for (unsigned i = 0; i < sizeof(known) / sizeof(*known); i++) {
				if (!str_ieq(name, known[i]))
					continue;
				if (seen >> i & 1)
					return false;
				seen |= 1u << i;
				if (i == 0)
					node = value;
			}
		}
		s = str_trim(s);
		if (s.n == 0)
			break;
		if (!take_char(&s, ';'))
			return false;
	}
	return !node.cut && read_node((struct str){node.text, node.n}, out);
}

static bool read_hop(struct str s, struct addr *out)
{
	return addr_parse_hop(s, out, NULL);
}

/* ---- the walk ---- */

static const struct list_header {
	struct str (*cut)(struct str *value);
	bool (*read)(struct str element, struct addr *);
} xff_header = {cut_plain, read_hop}, forwarded_header = {cut_quoted, read_forwarded};

struct walk {
	const struct list_header *header;
	const struct str *lines; /* still to come, the last first */
	size_t lines_n;
	struct str value; /* what is left of the line at hand */
};

/* The next element to the left that is not empty (RFC 9110, 5.6.1.2). */
static bool walk_left(struct walk *w, struct str *element)
{
	for (;;) {
		while (w->value.n == 0) {
			if (w->lines_n == 0)
				return false;
			w->value = w->lines[--w->lines_n];
		}
		*element = str_trim(w->header->cut(&w->value));
		if (element->n)
			return true;
	}
}

static bool is_trusted(const struct client_source *src, const struct netmask *nets)
{
	return src->trusted >= 0 && netmask_has(nets, src->trusted);
}

/*
 * Gathers trusted hops; true when another address stands left of them, which *client then is. out->nets hold
 * the address that was read last.
 */
static bool pass_trusted(const struct client_source *src, const struct list_header *header,
			 const struct client_values *values, struct client_ip *out, struct addr *client)
{
	struct walk w = {.header = header, .lines = values->v, .lines_n = values->n, .value = STR_NONE};
	struct str element;
	while (out->hops_n < CLIENT_IP_ENTRIES && walk_left(&w, &element)) {
		struct addr a;
		if (!header->read(element, &a))
			return false;
		out->nets = netset_lookup(src->nets, &a);
		if (!is_trusted(src, out->nets)) {
			*client = a;
			return true;
		}
		out->hops[out->hops_n++] = a;
	}
	return false;
}

static void find_in_list(const struct client_source *src, const struct list_header *header,
			 const struct client_values *values, struct client_ip *out)
{
	if (!pass_trusted(src, header, values, out, &out->addr)) {
		if (out->hops_n == 0)
			return;
		out->addr = out->hops[--out->hops_n];
	}
	out->kind = CLIENT_FORWARDED;
}

/* In a time that depends on what the client sent alone. */
static bool is_secret(struct str given, struct str secret)
{
	volatile unsigned char differs = given.n != secret.n;
	for (size_t i = 0; i < given.n; i++)
		differs |= (unsigned char)(given.p[i] ^ secret.p[i % secret.n]);
	return !differs;
}

static bool is_vouched_for(const struct client_source *src, const struct client_values *given)
{
	if (src->only_with.n == 0)
		return false;
	bool found = false;
	for (size_t i = 0; i < given->n; i++)
		found |= is_secret(given->v[i], src->only_with);
	return found;
}

/* CloudFront writes `2001:db8::1:443`: what stands behind the last colon is always the port. */
static bool read_with_port(struct str s, struct addr *out)
{
	const char *colon = s.n ? memrchr(s.p, ':', s.n) : NULL;
	uint16_t port;
	if (!colon)
		return false;
	struct str ip = {s.p, (size_t)(colon - s.p)}, digits = {colon + 1, s.n - ip.n - 1};
	if (ip.n > 2 && ip.p[0] == '[' && ip.p[ip.n - 1] == ']')
		return addr_parse_hop(s, out, NULL);
	return addr_parse_port(digits, &port) && addr_parse(ip, out);
}

static bool find_single(const struct client_source *src, const struct client_heard *heard,
			struct client_ip *out)
{
	bool with_port = src->header == CLIENT_HEADER_ADDRESS_PORT;
	struct addr client, other;
	if (heard->address.n != 1 || !is_vouched_for(src, &heard->only_with))
		return false;
	struct str value = str_trim(heard->address.v[0]);
	if (!(with_port ? read_with_port(value, &client) : addr_parse_hop(value, &client, NULL)))
		return false;
	pass_trusted(src, &xff_header, &heard->xff, out, &other);
	if (out->hops_n && addr_eq(&out->hops[out->hops_n - 1], &client))
		out->hops_n--;
	out->addr = client;
	out->nets = netset_lookup(src->nets, &client);
	out->kind = CLIENT_FORWARDED;
	return true;
}

enum client_header client_header_of(struct str name)
{
	static const struct {
		struct str name;
		enum client_header header;
	} rows[] = {
		{STR("X-Forwarded-For"), CLIENT_HEADER_XFF},
		{STR("Forwarded"), CLIENT_HEADER_FORWARDED},
		{STR("CloudFront-Viewer-Address"), CLIENT_HEADER_ADDRESS_PORT},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (str_ieq(name, rows[i].name))
			return rows[i].header;
	return CLIENT_HEADER_ADDRESS;
}

void client_ip_find(const struct client_source *src, const struct addr *peer, const struct netmask *peer_nets,
		    const struct client_heard *heard, struct client_ip *out)
{
	out->kind = CLIENT_PEER;
	out->hops_n = 0;
	out->addr = peer ? *peer : (struct addr){{0}};
	out->nets = peer_nets;
	if (peer && !is_trusted(src, peer_nets))
		return;
	out->kind = CLIENT_NOBODY;
	out->nets = NULL;
	if (src->header == CLIENT_HEADER_FORWARDED)
		find_in_list(src, &forwarded_header, &heard->forwarded, out);
	else if (src->header == CLIENT_HEADER_XFF || !find_single(src, heard, out))
		find_in_list(src, &xff_header, &heard->xff, out);
}

size_t client_ip_xff(char *out, const struct client_ip *c, const struct addr *peer)
{
	char *p = out;
	if (c->kind == CLIENT_FORWARDED) {
		p += addr_format(p, &c->addr);
		for (unsigned i = c->hops_n; i-- > 0;) {
			*p++ = ',', *p++ = ' ';
			p += addr_format(p, &c->hops[i]);
		}
		if (peer)
			*p++ = ',', *p++ = ' ';
	}
	if (peer)
		p += addr_format(p, peer);
	return (size_t)(p - out);
}
