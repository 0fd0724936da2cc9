/* SPDX-License-Identifier: MIT */
/* Sites, and what they name: hosts, upstreams, policies, path rules; the entries that get a name of their
 * own. */
#include "conf/hosts.h"
#include "conf/keys.h"
#include "conf/print.h"
#include "conf/scalar.h"

static bool refuse_name(struct load *l, const struct node *n, const char *what, const char *expected)
{
	struct node at = load_key_of(n);
	load_error(l, &at, "`%.*s` is no name for %s (expected %s)", TEXT(n->key), what, expected);
	return false;
}

/* --- policies --- */

struct str key_policy_name(const void *item)
{
	return str_of(((const struct conf_policy *)item)->policy.name);
}

/* The name stands in RateLimit headers (RFC 9651: sf-token or string), metrics and the store's keys. */
bool key_begin_policy(struct load *l, const struct node *n, void *item, unsigned number)
{
	struct conf_policy *p = item;
	if (!scalar_is_name(n->key, sizeof(p->policy.name) - 1) || scalar_is_off(n->key) ||
	    scalar_is_on(n->key))
		return refuse_name(l, n, "a policy",
				   "letters, digits, - _ and . after a letter, 31 at most, not on or off");
	memset(p->policy.name, 0, sizeof(p->policy.name));
	memcpy(p->policy.name, n->key.p, n->key.n);
	p->policy.id = (uint16_t)number;
	return true;
}

static struct str policy_at(const struct conf *c, unsigned i)
{
	return key_policy_name(&c->rate_limit.policy[i]);
}

static int find_policy(const struct conf *c, struct str name)
{
	for (unsigned i = 0; i < c->rate_limit.policies; i++)
		if (str_eq(policy_at(c, i), name))
			return (int)i;
	return POLICY_INHERIT;
}

static bool set_policy(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	struct known_names known = {"policy", l->conf->rate_limit.policies, policy_at};
	int *out = key_field(k, frame), found;
	struct str s;

	if (!key_value_text(l, k, n, &s))
		return false;
	if (scalar_is_off(s)) {
		*out = POLICY_OFF;
		return true;
	}
	found = find_policy(l->conf, s);
	if (found < 0)
		return key_value_unknown(l, n, s, &known);
	*out = found;
	return true;
}

static void print_policy(struct printer *p, const struct key *k, const void *frame)
{
	const int *policy = key_peek(k, frame);
	if (*policy == POLICY_OFF)
		printer_line(p, key_name(k), "off");
	else if (*policy >= 0)
		printer_value(p, key_name(k), policy_at(p->conf, (unsigned)*policy));
}

/* --- upstreams --- */

struct str key_upstream_name(const void *item)
{
	return ((const struct conf_upstream *)item)->name;
}

bool key_begin_upstream(struct load *l, const struct node *n, void *item, unsigned number)
{
	struct conf_upstream *u = item;
	if (!scalar_is_name(n->key, 63))
		return refuse_name(l, n, "an upstream",
				   "letters, digits, - _ and . after a letter, 63 at most");
	u->name = arena_str(l->keep, n->key);
	u->id = number;
	return true;
}

static struct str upstream_at(const struct conf *c, unsigned i)
{
	return c->upstream[i].name;
}

static bool set_upstream(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	struct known_names known = {"upstream", l->conf->upstreams, upstream_at};
	struct conf_upstream **out = key_field(k, frame);
	struct str s;

	if (!key_value_text(l, k, n, &s))
		return false;
	for (unsigned i = 0; i < l->conf->upstreams; i++) {
		if (!str_eq(l->conf->upstream[i].name, s))
			continue;
		*out = &l->conf->upstream[i];
		return true;
	}
	return key_value_unknown(l, n, s, &known);
}

static void print_upstream(struct printer *p, const struct key *k, const void *frame)
{
	struct conf_upstream *const *u = key_peek(k, frame);
	printer_value(p, key_name(k), (*u)->name);
}

/* --- sites --- */

bool key_begin_site(struct load *l, const struct node *n, void *item, unsigned number)
{
	struct conf_site *s = item;
	int policy = find_policy(l->conf, STR("default"));
	(void)n;
	s->id = number;
	s->policy = policy >= 0 ? policy : POLICY_OFF;
	return true;
}

bool key_begin_path(struct load *l, const struct node *n, void *item, unsigned number)
{
	struct conf_path *p = item;
	(void)l;
	(void)n;
	(void)number;
	p->policy = POLICY_INHERIT;
	return true;
}

static bool set_hosts(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	struct conf_site *site = frame;
	struct str s;

	if (!key_value_list(l, k, n))
		return false;
	site->host = arena_alloc(l->keep, n->n * sizeof(*site->host));
	if (!site->host)
		return false;
	for (const struct node *m = n->first; m; m = m->next) {
		if (!key_value_text(l, k, m, &s))
			continue;
		const char *expected = host_pattern(l->keep, s, &site->host[site->hosts]);
		if (expected) {
			load_error(l, m, "`%.*s` is no host (expected %s)", RAW(m), expected);
			continue;
		}
		if (site->hosts == 0)
			site->name = arena_str(l->keep, s);
		load_set_place(l, &site->host[site->hosts++], m);
	}
	return true;
}

/* The first as it was written, since it names the site. */
static void print_hosts(struct printer *p, const struct key *k, const void *frame)
{
	const struct conf_site *site = frame;
	printer_list(p, key_name(k), site->hosts, site->host);
}

static bool set_prefix(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	struct str *out = key_field(k, frame), s;
	if (!key_value_text(l, k, n, &s))
		return false;
	*out = arena_str(l->keep, s); /* judged when the site's rules are made */
	return true;
}

static void print_prefix(struct printer *p, const struct key *k, const void *frame)
{
	const struct str *s = key_peek(k, frame);
	printer_value(p, key_name(k), *s);
}

static bool read_upgrade(struct load *l, const struct key *k, const struct node *n, struct str *out)
{
	struct str s;
	if (!key_value_text(l, k, n, &s))
		return false;
	if (!scalar_is_token(s))
		return key_value_refuse(l, k, n, "a protocol's name such as websocket");
	if (str_ieq(s, STR("h2c")) || str_ieq(s, STR("h2"))) {
		load_error(
			l, n,
			"`%.*s` is never forwarded (remove it: requests inside of it would walk around every "
			"rule)",
			RAW(n));
		return false;
	}
	char *p = arena_alloc(l->keep, s.n + 1);
	for (size_t i = 0; p && i < s.n; i++)
		p[i] = (char)ascii_lower((unsigned char)s.p[i]);
	*out = (struct str){p, s.n};
	return p != NULL;
}

static bool set_upgrade(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	struct conf_site *site = frame;
	if (!key_value_list(l, k, n))
		return false;
	site->upgrade = arena_alloc(l->keep, n->n * sizeof(*site->upgrade));
	if (!site->upgrade)
		return false;
	for (const struct node *m = n->first; m; m = m->next)
		site->upgrades += read_upgrade(l, k, m, &site->upgrade[site->upgrades]);
	return true;
}

static void print_upgrade(struct printer *p, const struct key *k, const void *frame)
{
	const struct conf_site *site = frame;
	if (site->upgrades)
		printer_list(p, key_name(k), site->upgrades, site->upgrade);
}

const struct key_type type_hosts = {set_hosts, print_hosts, true};
const struct key_type type_upstream = {set_upstream, print_upstream, false};
const struct key_type type_policy = {set_policy, print_policy, false};
const struct key_type type_prefix = {set_prefix, print_prefix, false};
const struct key_type type_upgrade = {set_upgrade, print_upgrade, true};
