/* SPDX-License-Identifier: MIT */
/* Checks of networks, hosts and sites, and what is worked out of them: the table of hosts, the sites' path
 * rules. */
#include <stdlib.h>

#include "conf/hosts.h"
#include "conf/keys.h"

#define SERVERS_ALL 1024 /* what the shared table of servers holds */

/* --- networks --- */

static void warn_wide(struct load *l, const struct range *r)
{
	char text[CIDR_TEXT];
	bool v4 = cidr_is_v4(&r->cidr);
	if (r->cidr.bits >= (v4 ? 96 + 16 : 32))
		return;
	cidr_format(text, &r->cidr);
	load_warning(l, r->node,
		     "trusted range %s is wider than %s: whoever is in it can claim any address (trust the "
		     "load balancer's subnets only)",
		     text, v4 ? "/16" : "/32");
}

static const struct conf_network *network_of(const struct conf *c, int list)
{
	for (unsigned i = 0; i < c->networks; i++)
		if (c->network[i].list == list)
			return &c->network[i];
	return NULL;
}

/* Two networks overlap when one holds the other's first address. */
static void warn_overlap(struct load *l, const struct range *r)
{
	const struct conf *c = l->conf;
	const struct netmask *found = netset_lookup(c->nets, &r->cidr.addr);
	const struct conf_network *net = NULL;
	char text[CIDR_TEXT];

	if (r->list == c->client_ip.trusted) {
		for (unsigned i = 0; i < c->networks && !net; i++)
			if (netmask_has(found, c->network[i].list))
				net = &c->network[i];
	} else if (netmask_has(found, c->client_ip.trusted)) {
		net = network_of(c, r->list);
	}
	if (!net)
		return;
	cidr_format(text, &r->cidr);
	load_warning(l, r->node,
		     "%s is trusted as a proxy and part of network `%.*s`: clients there can claim any "
		     "address",
		     text, TEXT(net->name));
}

void load_check_networks(struct load *l)
{
	const struct conf *c = l->conf;
	bool used[NETSET_LISTS] = {false};

	for (const struct range *r = l->ranges; r; r = r->next) {
		used[r->list] = true;
		if (c->client_ip.trusted >= 0 && r->list == c->client_ip.trusted)
			warn_wide(l, r);
		if (c->client_ip.trusted >= 0)
			warn_overlap(l, r);
	}
	for (unsigned i = 0; i < c->networks && l->notes->errors == 0; i++)
		if (!used[c->network[i].list])
			load_warning(l, load_place(l, &c->network[i]),
				     "network `%.*s` is empty: nobody is in it", TEXT(c->network[i].name));
}

/* --- hosts --- */

static int compare_hosts(const void *a, const void *b)
{
	const struct conf_host *x = a, *y = b;
	int d = host_compare(x->name, y->name);
	return d		       ? d
	       : x->name.p < y->name.p ? -1
				       : x->name.p > y->name.p; /* twins in the order of the file */
}

/* Of twins: where each was written. */
static const struct node *place_of_host(const struct load *l, const struct conf_host *h)
{
	for (unsigned i = 0; i < h->site->hosts; i++)
		if (h->site->host[i].p == h->name.p)
			return load_place(l, &h->site->host[i]);
	return NULL;
}

static void complain_twins(struct load *l, const struct conf_host *a, const struct conf_host *b)
{
	const struct node *x = place_of_host(l, a), *y = place_of_host(l, b);
	if (!x || !y)
		return;
	bool swapped = x->line > y->line || (x->line == y->line && x->column > y->column);
	const struct node *first = swapped ? y : x, *second = swapped ? x : y;
	struct str file = bundle_path(l->bundle);
	load_error(l, second, "host `%.*s` is named twice (first at %.*s:%u:%u; a host belongs to one site)",
		   TEXT(a->name), TEXT(file), first->line, first->column);
}

void load_check_hosts(struct load *l)
{
	struct conf *c = l->conf;
	unsigned n = 0;

	for (unsigned i = 0; i < c->sites; i++)
		n += c->site[i].hosts;
	c->host = arena_alloc(l->keep, n * sizeof(*c->host));
	if (!c->host)
		return;
	for (unsigned i = 0; i < c->sites; i++)
		for (unsigned j = 0; j < c->site[i].hosts; j++)
			c->host[c->hosts++] = (struct conf_host){c->site[i].host[j], &c->site[i]};
	if (n)
		qsort(c->host, n, sizeof(*c->host), compare_hosts);
	for (unsigned i = 1; i < n; i++)
		if (str_eq(c->host[i - 1].name, c->host[i].name))
			complain_twins(l, &c->host[i - 1], &c->host[i]);
}

/* --- sites --- */

/* Without its last slash; the root's is empty. */
static struct str stem(struct str prefix)
{
	if (prefix.n && prefix.p[prefix.n - 1] == '/')
		prefix.n--;
	return prefix;
}

static bool contains(struct str outer, struct str inner)
{
	outer = stem(outer);
	inner = stem(inner);
	return inner.n >= outer.n && str_ieq(outer, (struct str){inner.p, outer.n}) &&
	       (inner.n == outer.n || inner.p[outer.n] == '/');
}

static bool says_allow(const struct conf_path *p)
{
	return p->has_allow;
}

static bool says_policy(const struct conf_path *p)
{
	return p->policy != POLICY_INHERIT;
}

static int nearest(const struct conf_site *s, struct str prefix, bool (*says)(const struct conf_path *))
{
	int best = -1;
	for (unsigned i = 0; i < s->paths; i++)
		if (s->path[i].prefix.p && says(&s->path[i]) && contains(s->path[i].prefix, prefix) &&
		    (best < 0 || stem(s->path[i].prefix).n >= stem(s->path[best].prefix).n))
			best = (int)i;
	return best;
}

/* The longest prefix wins, but what it does not speak of stays as the prefixes around it say. */
static void inherit(struct conf_site *s)
{
	for (unsigned i = 0; i < s->paths; i++) {
		struct conf_path *p = &s->path[i];
		p->allow_of = says_allow(p) ? (int)i : nearest(s, p->prefix, says_allow);
		p->policy_of = says_policy(p) ? (int)i : nearest(s, p->prefix, says_policy);
	}
}

static void make_rules(struct load *l, struct conf_site *s)
{
	const char *why;

	if (s->paths == 0)
		return;
	s->rules = path_rules_new();
	if (!s->rules) {
		l->temp.failed = true;
		return;
	}
	for (unsigned i = 0; i < s->paths; i++) {
		const struct conf_path *p = &s->path[i];
		const struct node *at = load_place(l, &p->prefix);
		if (p->prefix.p && !path_rules_add(s->rules, p->prefix, i, &why))
			load_error(l, at, "prefix `%.*s` is refused (%s)", RAW(at), why);
		if (!p->has_allow && p->policy == POLICY_INHERIT && p->prefix.p &&
		    !load_place(l, &p->allow) && !load_place(l, &p->policy))
			load_error(l, at,
				   "prefix `%.*s` has no rule (expected allow or rate_limit beside it)",
				   RAW(at));
	}
	inherit(s);
}

/* All that the readings of one path may fall under counts, so that four are enough whatever a client sends.
 */
static void check_policies(struct load *l, const struct conf_site *s)
{
	unsigned n = s->policy >= 0;
	for (unsigned i = 0; i < s->paths; i++) {
		int policy = s->path[i].policy;
		bool known = policy < 0 || policy == s->policy;
		for (unsigned j = 0; j < i && !known; j++)
			known = s->path[j].policy == policy;
		if (!known && ++n == POLICY_MAX_APPLIED + 1)
			load_error(l, load_place(l, &s->path[i].policy),
				   "a fifth policy on one site (expected at most %d with the site's own, as "
				   "more could "
				   "apply to one request)",
				   POLICY_MAX_APPLIED);
	}
}

/* Where the site's cookies would be shared with all others, though it is guarded. */
static void check_site_cookies(struct load *l, const struct conf_site *s)
{
	const struct conf_cookies *c = &l->conf->cookies;
	bool below = false;
	for (unsigned i = 0; i < s->hosts && !below; i++)
		below = host_below(s->host[i], c->domain);
	if (s->has_allow && s->cookies && c->shares && below)
		load_warning(l, load_place(l, s),
			     "site `%.*s` is guarded by allow and shares its cookies with the public sites "
			     "(cookies: off "
			     "keeps them apart)",
			     TEXT(s->name));
}

static void check_domain(struct load *l)
{
	const struct conf *c = l->conf;
	if (c->cookies.domain.n == 0 || c->hosts == 0)
		return;
	for (unsigned i = 0; i < c->hosts; i++)
		if (c->host[i].site->cookies && host_below(c->host[i].name, c->cookies.domain))
			return;
	load_error(l, load_place(l, &c->cookies.domain),
		   "no site that shares cookies is below `%.*s` (expected the domain of the sites)",
		   TEXT(c->cookies.domain));
}

/* Without `default` a site that names no policy is not limited: said once. */
static void warn_unlimited(struct load *l)
{
	const struct conf *c = l->conf;
	bool policies_known = l->notes->errors == 0;
	for (unsigned i = 0; policies_known && i < c->sites; i++) {
		const struct conf_site *s = &c->site[i];
		if (s->policy != POLICY_OFF || load_place(l, &s->policy))
			continue;
		load_warning(l, load_place(l, s),
			     "site `%.*s` is not limited: no policy is named `default` (write `rate_limit: "
			     "off` if that "
			     "is meant)",
			     TEXT(s->name));
		return;
	}
}

static void check_server(struct load *l, const struct conf_server *s)
{
	const struct conf *c = l->conf;
	for (unsigned i = 0; i < c->listens; i++)
		if (c->listen[i].sa_len == s->sa_len && memcmp(&c->listen[i].sa, &s->sa, s->sa_len) == 0)
			load_error(
				l, load_place(l, s),
				"server `%.*s` is weir's own listen address (requests would go in circles)",
				TEXT(s->text));
}

static void check_servers(struct load *l)
{
	const struct conf *c = l->conf;
	unsigned n = 0;
	for (unsigned i = 0; i < c->upstreams; i++) {
		for (unsigned j = 0; j < c->upstream[i].servers; j++)
			check_server(l, &c->upstream[i].server[j]);
		n += c->upstream[i].servers;
	}
	if (n > SERVERS_ALL)
		load_error(l, load_place(l, &c->upstream), "%u servers in all (expected at most %d)", n,
			   SERVERS_ALL);
}

void load_check_sites(struct load *l)
{
	struct conf *c = l->conf;

	for (unsigned i = 0; i < c->sites; i++) {
		struct conf_site *s = &c->site[i];
		s->has_allow = s->allow_text.n > 0;
		for (unsigned j = 0; j < s->paths; j++)
			s->path[j].has_allow = s->path[j].allow_text.n > 0;
		make_rules(l, s);
		check_policies(l, s);
		check_site_cookies(l, s);
	}
	check_domain(l);
	check_servers(l);
	warn_unlimited(l);
}
