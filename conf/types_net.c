/* SPDX-License-Identifier: MIT */
/* Addresses, and lists of networks: by name, as CIDRs, from files. */
#include "conf/keys.h"
#include "conf/print.h"
#include "conf/scalar.h"

/* --- listeners and servers --- */

static bool is_unix_text(struct str s)
{
	return s.n > 5 && memcmp(s.p, "unix:", 5) == 0;
}

/* unix:PATH; the text that is kept has the path in full. */
static bool read_unix(struct load *l, struct str s, struct str *text, struct sockaddr_storage *sa,
		      socklen_t *sa_len)
{
	struct str path = load_path(l, (struct str){s.p + 5, s.n - 5});
	if (path.n == 0 || !scalar_is_text(path) || path.p[path.n - 1] == '/' ||
	    !scalar_unix(path, sa, sa_len))
		return false;
	*text = arena_fmt(l->keep, "unix:%.*s", (int)path.n, path.p);
	return true;
}

static bool set_listen(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	struct conf_listen *out = frame;
	struct addr a;
	uint16_t port;
	struct str s;

	if (!key_value_text(l, k, n, &s))
		return false;
	out->is_unix = is_unix_text(s);
	if (out->is_unix) {
		if (!read_unix(l, s, &out->text, &out->sa, &out->sa_len))
			return key_value_refuse(l, k, n, "unix: and a path of at most 107 bytes");
		return true;
	}
	if (scalar_address(s, &a, &port))
		return key_value_refuse(l, k, n, "an address such as 0.0.0.0:8080, [::]:8080 or unix:/path");
	scalar_sockaddr(&a, port, &out->sa, &out->sa_len);
	out->text = arena_str(l->keep, s);
	return true;
}

static void print_listen(struct printer *p, const struct key *k, const void *frame)
{
	const struct conf_listen *v = frame;
	printer_value(p, key_name(k), v->text);
}

static bool read_server(struct load *l, const struct key *k, const struct node *n, struct conf_server *out)
{
	struct addr a;
	uint16_t port;
	struct str s;

	if (!key_value_text(l, k, n, &s))
		return false;
	if (is_unix_text(s)) {
		if (!read_unix(l, s, &out->text, &out->sa, &out->sa_len) || out->text.n > 111)
			return key_value_refuse(l, k, n, "unix: and a path of at most 106 bytes");
		return true;
	}
	if (scalar_address(s, &a, &port) == NULL) {
		scalar_sockaddr(&a, port, &out->sa, &out->sa_len);
		out->text = arena_str(l->keep, s);
		return true;
	}
	const char *colon = s.n ? memrchr(s.p, ':', s.n) : NULL;
	struct str host = {s.p, colon ? (size_t)(colon - s.p) : s.n};
	if (scalar_is_host(host) && !scalar_is_ip(host, &a))
		load_error(
			l, n,
			"`%.*s` is a name, and discovery by name is not built yet (expected an address such "
			"as 10.0.1.10:8080)",
			RAW(n));
	else
		key_value_refuse(l, k, n,
				 "an address such as 10.0.1.10:8080, [2001:db8::1]:8080 or unix:/path");
	return false;
}

static bool same_server(const struct conf_server *a, const struct conf_server *b)
{
	return a->sa_len == b->sa_len && memcmp(&a->sa, &b->sa, a->sa_len) == 0;
}

static bool set_servers(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	struct conf_upstream *u = frame;

	if (!key_value_list(l, k, n))
		return false;
	u->server = arena_alloc(l->keep, n->n * sizeof(*u->server));
	if (!u->server)
		return false;
	for (const struct node *m = n->first; m; m = m->next) {
		struct conf_server *s = &u->server[u->servers];
		if (!read_server(l, k, m, s))
			continue;
		unsigned twin = 0;
		while (twin < u->servers && !same_server(&u->server[twin], s))
			twin++;
		if (twin < u->servers)
			load_error(l, m, "server `%.*s` comes twice (write it once)", RAW(m));
		else
			load_set_place(l, &u->server[u->servers++], m);
	}
	return true;
}

static void print_servers(struct printer *p, const struct key *k, const void *frame)
{
	const struct conf_upstream *u = frame;
	struct str text[256];
	for (unsigned i = 0; i < u->servers && i < 256; i++)
		text[i] = u->server[i].text;
	printer_list(p, key_name(k), u->servers, text);
}

static bool set_admin_http(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	struct conf_admin *out = &((struct conf *)frame)->admin;
	struct addr a;
	uint16_t port;
	struct str s;

	if (!key_value_text(l, k, n, &s))
		return false;
	out->http = !scalar_is_off(s);
	if (!out->http)
		return true;
	if (scalar_address(s, &a, &port))
		return key_value_refuse(l, k, n, "an address such as 127.0.0.1:9145, or off");
	scalar_sockaddr(&a, port, &out->http_sa, &out->http_len);
	out->http_text = arena_str(l->keep, s);
	return true;
}

static void print_admin_http(struct printer *p, const struct key *k, const void *frame)
{
	const struct conf_admin *a = &((const struct conf *)frame)->admin;
	printer_value(p, key_name(k), a->http ? a->http_text : STR("off"));
}

/* --- lists of networks --- */

struct list_target {
	struct load *l;
	int list;
	const struct node *node; /* where it was asked for */
};

static bool new_list(struct load *l, const struct node *n, int *list)
{
	if (*list >= 0)
		return true;
	*list = netset_list(l->nets);
	if (*list < 0)
		load_error(l, n,
			   "too many lists of networks (expected at most %d; name those that are alike under "
			   "`networks`)",
			   NETSET_LISTS);
	return *list >= 0;
}

static int add_range(void *ctx, const struct cidr *c)
{
	struct list_target *t = ctx;
	struct range *r = arena_alloc(&t->l->temp, sizeof(*r));
	if (!r || netset_add(t->l->nets, t->list, c) != 0) {
		t->l->temp.failed = true;
		return -1;
	}
	*r = (struct range){t->l->ranges, t->list, *c, t->node};
	t->l->ranges = r;
	return 0;
}

static void add_file(struct load *l, const struct node *n, struct str name, int list)
{
	struct list_target target = {l, list, n};
	struct str path = load_path(l, name), text;
	struct netfile_error err = {0};
	const char *why;

	if (name.n == 0)
		load_error(l, n, "`file:` names no file (expected file:PATH)");
	else if (!bundle_get(l->bundle, BUNDLE_FILE, path, &text, &why))
		load_error(l, n, "`%.*s` cannot be read: %s (expected a file with a network a line)", RAW(n),
			   why);
	else if (netfile_parse(text, add_range, &target, &err) < 0 && !l->temp.failed)
		load_error_in(l, path, err.line, err.column, "%s", err.message);
}

static bool looks_like_network(struct str s)
{
	return memchr(s.p, '/', s.n) || memchr(s.p, ':', s.n) || (unsigned char)(s.p[0] - '0') < 10;
}

/* A CIDR or a file; *list is made when it is needed. False: it is neither, and nothing was said of it. */
static bool add_networks(struct load *l, const struct node *n, struct str s, int *list)
{
	struct cidr c;
	const char *why;

	if (s.n >= 5 && memcmp(s.p, "file:", 5) == 0) {
		if (new_list(l, n, list))
			add_file(l, n, (struct str){s.p + 5, s.n - 5}, *list);
		return true;
	}
	if (s.n == 0 || !looks_like_network(s))
		return false;
	if (!cidr_parse(s, &c, &why)) {
		load_error(l, n, "`%.*s`: %s", RAW(n), why);
	} else if (new_list(l, n, list)) {
		struct list_target target = {l, *list, n};
		add_range(&target, &c);
	}
	return true;
}

/* networks.* and trusted_proxies: networks themselves. at: the number of the list; also: its words. */
static bool set_ranges(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	int *list = key_field(k, frame);
	struct str s;

	if (!key_value_list(l, k, n))
		return false;
	for (const struct node *m = n->first; m; m = m->next)
		if (key_value_text(l, k, m, &s) && !add_networks(l, m, s, list))
			key_value_refuse(l, k, m,
					 "networks such as 10.0.0.0/24 or 2001:db8::/48, or file:PATH");
	return key_value_words(l, n, key_also(k, frame));
}

static bool set_named_ranges(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	struct conf_network *net = frame;
	int list = net->list;
	struct str s;

	if (!key_value_list(l, k, n))
		return true;
	for (const struct node *m = n->first; m; m = m->next)
		if (key_value_text(l, k, m, &s) && !add_networks(l, m, s, &list))
			key_value_refuse(l, k, m,
					 "networks such as 10.0.0.0/24 or 2001:db8::/48, or file:PATH");
	return key_value_words(l, n, &net->text);
}

static void print_words(struct printer *p, const struct key *k, const void *frame)
{
	const struct conf_words *w = key_peek_also(k, frame);
	if (w->n)
		printer_list(p, key_name(k), w->n, w->item);
}

static void print_network(struct printer *p, const struct key *k, const void *frame)
{
	const struct conf_network *net = frame;
	(void)k;
	printer_list(p, net->name, net->text.n, net->text.item);
}

static struct str network_name(const struct conf *c, unsigned i)
{
	return c->network[i].name;
}

static int find_network(const struct conf *c, struct str name)
{
	for (unsigned i = 0; i < c->networks; i++)
		if (str_eq(c->network[i].name, name))
			return c->network[i].list;
	return -1;
}

static bool unknown_network(struct load *l, const struct node *n, struct str s)
{
	struct known_names known = {"network", l->conf->networks, network_name};
	return key_value_unknown(l, n, s, &known);
}

/* allow, deny, exempt: named networks, and networks themselves. at: the mask; also: the words. */
static bool set_netlist(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	struct netmask *mask = key_field(k, frame);
	int own = -1;
	struct str s;

	if (!key_value_list(l, k, n))
		return true;
	for (const struct node *m = n->first; m; m = m->next) {
		if (!key_value_text(l, k, m, &s))
			continue;
		int list = find_network(l->conf, s);
		if (list >= 0)
			netmask_set(mask, list);
		else if (!add_networks(l, m, s, &own))
			unknown_network(l, m, s);
	}
	if (own >= 0)
		netmask_set(mask, own);
	return key_value_words(l, n, key_also(k, frame));
}

bool key_begin_network(struct load *l, const struct node *n, void *item, unsigned number)
{
	struct conf_network *net = item;
	struct node at = load_key_of(n);
	(void)number;
	net->list = -1;
	if (!scalar_is_name(n->key, 63)) {
		load_error(l, &at,
			   "`%.*s` is no name for a network (expected letters, digits, - _ and . after a "
			   "letter, 63 at most)",
			   TEXT(n->key));
		return false;
	}
	net->name = arena_str(l->keep, n->key);
	return new_list(l, n, &net->list);
}

bool key_begin_for(struct load *l, const struct node *n, void *item, unsigned number)
{
	struct conf_for *f = item;
	struct node at = load_key_of(n);
	int list = find_network(l->conf, n->key);
	(void)number;
	at.raw = n->key;
	if (list < 0)
		return unknown_network(l, &at, n->key);
	netmask_set(&f->nets, list);
	return true;
}

static bool set_for(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	return type_count.set(l, k, n, frame);
}

static void print_for(struct printer *p, const struct key *k, const void *frame)
{
	const struct conf_for *f = frame;
	(void)k;
	for (unsigned i = 0; i < p->conf->networks; i++)
		if (netmask_has(&f->nets, p->conf->network[i].list))
			printer_line(p, p->conf->network[i].name, "%u", f->requests);
}

const struct key_type type_listen = {set_listen, print_listen, false};
const struct key_type type_servers = {set_servers, print_servers, true};
const struct key_type type_admin_http = {set_admin_http, print_admin_http, false};
const struct key_type type_trusted = {set_ranges, print_words, true};
const struct key_type type_network = {set_named_ranges, print_network, true};
const struct key_type type_for = {set_for, print_for, false};
const struct key_type type_netlist = {set_netlist, print_words, true};
