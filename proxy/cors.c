/* SPDX-License-Identifier: MIT */
#include "proxy/cors.h"

#define HOST_MAX 253

static const char not_an_origin[] =
	"must be scheme://host or scheme://host:port, such as https://app.example.com";

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
	return (unsigned char)(ascii_lower((unsigned char)c) - 'a') < 26;
}

static bool take(struct str *s, struct str prefix)
{
	if (s->n < prefix.n || !str_ieq((struct str){s->p, prefix.n}, prefix))
		return false;
	s->p += prefix.n;
	s->n -= prefix.n;
	return true;
}

/* Labels of letters, digits, '-' and '_', none of them empty. */
static bool is_name(struct str host)
{
	size_t label = 0;

	for (size_t i = 0; i < host.n; i++) {
		char c = host.p[i];
		if (c == '.' ? label == 0 : !is_letter(c) && !is_digit(c) && c != '-' && c != '_')
			return false;
		label = c == '.' ? 0 : label + 1;
		if (label > 63)
			return false;
	}
	return label > 0 && host.n <= HOST_MAX;
}

/* As browsers write it, [2001:db8::1]: only the bytes are looked at, as it is compared and never connected
 * to. */
static bool is_ipv6(struct str host)
{
	if (host.n < 4 || host.p[0] != '[' || host.p[host.n - 1] != ']')
		return false;
	for (size_t i = 1; i + 1 < host.n; i++) {
		unsigned char c = ascii_lower((unsigned char)host.p[i]);
		if (!is_digit((char)c) && !(c >= 'a' && c <= 'f') && c != ':' && c != '.')
			return false;
	}
	return host.n <= 47;
}

/* 1 to 65535 without zeros in front; 0 otherwise. */
static uint16_t read_port(struct str s)
{
	unsigned v = 0;

	if (s.n == 0 || s.n > 5 || s.p[0] == '0')
		return 0;
	for (size_t i = 0; i < s.n; i++) {
		if (!is_digit(s.p[i]))
			return 0;
		v = v * 10 + (unsigned)(s.p[i] - '0');
	}
	return v <= UINT16_MAX ? (uint16_t)v : 0;
}

/* What stands after scheme://, up to the end: the host and, after the last ':' outside of brackets, a port.
 */
static bool split_port(struct str rest, struct cors_origin *o)
{
	const char *bracket = rest.n && rest.p[0] == '[' ? memchr(rest.p, ']', rest.n) : NULL;
	const char *from = bracket ? bracket : rest.p;
	const char *colon = memchr(from, ':', rest.n - (size_t)(from - rest.p));

	o->host = rest;
	o->port = o->https ? 443 : 80;
	if (!colon)
		return true;
	o->host.n = (size_t)(colon - rest.p);
	o->port = read_port((struct str){colon + 1, rest.n - o->host.n - 1});
	return o->port != 0;
}

static bool take_scheme(struct str *s, struct cors_origin *o)
{
	*o = (struct cors_origin){.https = take(s, STR("https://"))};
	return o->https || take(s, STR("http://"));
}

static const char *check_wildcard(struct str host)
{
	if (!is_name(host))
		return "must have a plain name after \"*.\", such as https://*.example.com";
	if (!memchr(host.p, '.', host.n) && !str_ieq(host, STR("localhost")))
		return "must name a domain of its own after \"*.\" (expected something such as "
		       "https://*.example.com)";
	return NULL;
}

const char *cors_origin_check(struct str s, struct cors_origin *o)
{
	if (str_eq(s, STR("*")))
		return "must be a named origin: browsers refuse \"*\" for requests with cookies "
		       "(expected something such as https://*.example.com)";
	if (str_ieq(s, STR("null")))
		return "must not be null: any sandboxed page has that origin";
	if (!take_scheme(&s, o))
		return "must start with http:// or https://, as in https://app.example.com";
	if (s.n && s.p[s.n - 1] == '/')
		return "must end with the host or port: an origin has no slash at its end and no path";
	if (!split_port(s, o))
		return "must have a port from 1 to 65535 after the ':', or no ':'";
	if (take(&o->host, STR("*."))) {
		o->wildcard = true;
		return check_wildcard(o->host);
	}
	return is_name(o->host) || is_ipv6(o->host) ? NULL : not_an_origin;
}

static bool matches(const struct cors_origin *rule, const struct cors_origin *o)
{
	struct str host = o->host;

	if (rule->https != o->https || rule->port != o->port)
		return false;
	if (rule->wildcard) {
		if (host.n < rule->host.n + 2 || host.p[host.n - rule->host.n - 1] != '.')
			return false;
		host.p += host.n - rule->host.n;
		host.n = rule->host.n;
	}
	return str_ieq(host, rule->host);
}

bool cors_allows(const struct cors_origin *rule, unsigned n, struct str origin)
{
	struct cors_origin o;

	if (!take_scheme(&origin, &o) || !split_port(origin, &o) || !(is_name(o.host) || is_ipv6(o.host)))
		return false;
	for (unsigned i = 0; i < n; i++)
		if (matches(&rule[i], &o))
			return true;
	return false;
}

/* A list of tokens (RFC 9110, 5.6.2), blanks around the commas. */
static bool is_name_list(struct str s)
{
	struct str name, rest = s;

	if (s.n > CORS_ALLOW_HEADERS_MAX)
		return false;
	while (str_next_element(&rest, &name))
		for (size_t i = 0; i < name.n; i++)
			if (!is_letter(name.p[i]) && !is_digit(name.p[i]) &&
			    (name.p[i] == '\0' || !strchr("!#$%&'*+-.^_`|~", name.p[i])))
				return false;
	return str_trim(s).n > 0;
}

struct lines {
	char *p;
	size_t n, cap;
	bool overflow;
};

static void add(struct lines *l, struct str s)
{
	if (s.n > l->cap - l->n)
		l->overflow = true;
	if (l->overflow || !s.n)
		return;
	memcpy(l->p + l->n, s.p, s.n);
	l->n += s.n;
}

size_t cors_headers(char *out, size_t cap, struct str origin, bool preflight, struct str request_headers)
{
	struct lines l = {.p = out, .cap = cap};

	if (origin.n) {
		add(&l, STR("Access-Control-Allow-Origin: "));
		add(&l, origin);
		add(&l, STR("\r\nAccess-Control-Allow-Credentials: true\r\n"));
	}
	if (origin.n && !preflight)
		add(&l, STR("Access-Control-Expose-Headers: Retry-After, RateLimit, RateLimit-Policy, "
			    "X-Request-Id, "
			    "X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset\r\n"));
	if (origin.n && preflight) {
		/* With credentials a "*" would be no wildcard here. Soon forgotten: the origin may allow
		 * less. */
		add(&l, STR("Access-Control-Allow-Methods: GET, HEAD, POST, PUT, PATCH, DELETE\r\n"
			    "Access-Control-Max-Age: 5\r\n"));
		if (is_name_list(request_headers)) {
			add(&l, STR("Access-Control-Allow-Headers: "));
			add(&l, str_trim(request_headers));
			add(&l, STR("\r\n"));
		}
	}
	add(&l, STR("Vary: Origin\r\n"));
	return l.overflow ? 0 : l.n;
}
