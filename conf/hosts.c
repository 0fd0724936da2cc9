/* SPDX-License-Identifier: MIT */
#include "conf/hosts.h"

#include "conf/scalar.h"

int host_compare(struct str a, struct str b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int d = n ? memcmp(a.p, b.p, n) : 0;
	return d ? d : a.n < b.n ? -1 : a.n > b.n;
}

static struct str lower(struct arena *arena, struct str s)
{
	char *p = arena_alloc(arena, s.n + 1);
	if (!p)
		return STR_NONE;
	for (size_t i = 0; i < s.n; i++)
		p[i] = (char)ascii_lower((unsigned char)s.p[i]);
	return (struct str){p, s.n};
}

static struct str bracketed(struct arena *arena, const struct addr *a)
{
	char text[ADDR_TEXT];
	size_t n = addr_format(text, a);
	return arena_fmt(arena, "[%.*s]", (int)n, text);
}

/* A name that is none: the likeliest mistakes are named. */
static const char *what_is_wrong(struct str s)
{
	struct addr a;
	if (s.n && memchr(s.p, '*', s.n))
		return "a wildcard as the first whole label, such as \"*.example.com\", or \"*\" alone";
	if (addr_parse(s, &a))
		return "brackets around an IPv6 address";
	if (s.n && memmem(s.p, s.n, "://", 3))
		return "a host alone, without scheme and path";
	if (s.n && memchr(s.p, ':', s.n))
		return "a host without port";
	return "a host such as example.com or \"*.example.com\", in ASCII (xn--... for other letters)";
}

const char *host_pattern(struct arena *arena, struct str s, struct str *out)
{
	struct addr a;
	if (s.n > 1 && s.p[s.n - 1] == '.' && !str_eq(s, STR("*.")))
		s.n--;
	if (scalar_is_ip(s, &a)) {
		*out = s.p[0] == '[' ? bracketed(arena, &a) : arena_str(arena, s);
		return NULL;
	}
	bool wild = s.n > 2 && s.p[0] == '*' && s.p[1] == '.';
	struct str name = wild ? (struct str){s.p + 2, s.n - 2} : s;
	if (!str_eq(s, STR("*")) && (!scalar_is_host(name) || (wild && scalar_is_ip(name, &a))))
		return what_is_wrong(s);
	*out = lower(arena, s);
	return NULL;
}

static bool is_suffix(struct str s, struct str suffix) /* on a label's boundary */
{
	if (s.n < suffix.n || memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n) != 0)
		return false;
	return s.n == suffix.n || s.p[s.n - suffix.n - 1] == '.';
}

bool host_below(struct str pattern, struct str domain)
{
	if (pattern.n == 0 || domain.n == 0)
		return false;
	if (pattern.p[0] != '*')
		return is_suffix(pattern, domain);
	if (pattern.n == 1)
		return true;
	struct str rest = {pattern.p + 2, pattern.n - 2};
	return is_suffix(rest, domain) || is_suffix(domain, rest);
}

/* As host_compare, with a '*' in front of `tail`, which starts with the dot behind a label (or is empty). */
static int compare_wildcard(struct str tail, struct str name)
{
	if (name.n == 0 || name.p[0] != '*')
		return name.n && (unsigned char)name.p[0] < '*' ? 1 : -1;
	return host_compare(tail, (struct str){name.p + 1, name.n - 1});
}

static const struct conf_site *find(const struct conf *conf, struct str host,
				    int (*compare)(struct str, struct str))
{
	unsigned low = 0, high = conf->hosts;
	while (low < high) {
		unsigned middle = low + (high - low) / 2;
		int d = compare(host, conf->host[middle].name);
		if (d == 0)
			return conf->host[middle].site;
		if (d < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

/* The patterns with a star stand in front, "*" before all others. */
static bool starts_with_star(const struct conf *conf, unsigned i)
{
	return i < conf->hosts && conf->host[i].name.p[0] == '*';
}

/* A request's host that starts with '*' is no name, and must not be found as a pattern. */
const struct conf_site *conf_site_of(const struct conf *conf, struct str host)
{
	const struct conf_site *site;

	if (host.n && host.p[0] == '*')
		return find(conf, STR(""), compare_wildcard);
	site = find(conf, host, host_compare);
	if (site || !starts_with_star(conf, 0))
		return site;
	if (conf->host[0].name.n == 1 && !starts_with_star(conf, 1)) /* all others go to one site */
		return conf->host[0].site;
	for (size_t i = 1; i < host.n && host.p[0] != '['; i++) {
		if (host.p[i] != '.')
			continue;
		site = find(conf, (struct str){host.p + i, host.n - i}, compare_wildcard);
		if (site)
			return site;
	}
	return find(conf, STR_NONE, compare_wildcard);
}
