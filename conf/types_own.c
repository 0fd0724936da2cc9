/* SPDX-License-Identifier: MIT */
/* Values that one key alone takes. */
#include "conf/keys.h"
#include "conf/print.h"
#include "conf/scalar.h"

static struct str lower(struct load *l, struct str s)
{
	char *p = arena_alloc(l->keep, s.n + 1);
	for (size_t i = 0; p && i < s.n; i++)
		p[i] = (char)ascii_lower((unsigned char)s.p[i]);
	return (struct str){p, p ? s.n : 0};
}

/* --- workers --- */

static bool set_workers(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	struct str s, cpus;
	uint64_t v = 0;
	const char *why;

	if (!key_value_text(l, k, n, &s))
		return false;
	bool automatic = str_ieq(s, STR("auto"));
	if (automatic &&
	    (!bundle_get(l->bundle, BUNDLE_CPUS, STR_NONE, &cpus, &why) || scalar_count(cpus, &v)))
		v = 1;
	if (automatic && v > CONF_WORKERS_MAX)
		v = CONF_WORKERS_MAX;
	if (!automatic && (scalar_count(s, &v) || v < 1 || v > CONF_WORKERS_MAX))
		return key_value_refuse(l, k, n, "auto, or 1 to 64");
	((struct conf *)frame)->workers = (unsigned)v;
	return true;
}

static void print_workers(struct printer *p, const struct key *k, const void *frame)
{
	printer_line(p, key_name(k), "%u", ((const struct conf *)frame)->workers);
}

/* --- client_ip.header --- */

static bool set_client_header(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	struct conf_client_ip *c = &((struct conf *)frame)->client_ip;
	struct str s;

	if (!key_value_text(l, k, n, &s))
		return false;
	if (!scalar_is_token(s))
		return key_value_refuse(l, k, n, "a header's name such as X-Forwarded-For");
	c->header_name = STR_NONE;
	if (str_ieq(s, STR("X-Forwarded-For"))) {
		c->header = CONF_XFF;
	} else if (str_ieq(s, STR("Forwarded"))) {
		c->header = CONF_FORWARDED;
	} else {
		c->header = CONF_SINGLE;
		c->header_name = lower(l, s);
	}
	return true;
}

static void print_client_header(struct printer *p, const struct key *k, const void *frame)
{
	const struct conf_client_ip *c = &((const struct conf *)frame)->client_ip;
	printer_value(p, key_name(k),
		      c->header == CONF_XFF	    ? STR("X-Forwarded-For")
		      : c->header == CONF_FORWARDED ? STR("Forwarded")
						    : c->header_name);
}

/* --- cookies.domain --- */

static bool set_domain(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	struct str s;
	struct addr a;
	if (!key_value_text(l, k, n, &s))
		return false;
	if (s.n > 1 && s.p[0] == '.')
		return key_value_refuse(l, k, n, "a domain such as example.com, without the leading dot");
	if (!scalar_is_host(s) || !memchr(s.p, '.', s.n) || scalar_is_ip(s, &a))
		return key_value_refuse(l, k, n, "a domain of two labels at least, such as example.com");
	((struct conf *)frame)->cookies.domain = lower(l, s);
	return true;
}

static void print_domain(struct printer *p, const struct key *k, const void *frame)
{
	const struct conf *c = frame;
	if (c->cookies.domain.n)
		printer_value(p, key_name(k), c->cookies.domain);
}

bool key_begin_cookie(struct load *l, const struct node *n, void *item, unsigned number)
{
	struct conf_cookie *c = item;
	struct node at = load_key_of(n);
	(void)number;
	c->name = arena_str(l->keep, n->key);
	if (!scalar_is_token(n->key)) {
		load_error(l, &at,
			   "`%.*s` is no cookie's name (expected letters, digits and !#$%%&'*+-.^_`|~)",
			   TEXT(n->key));
		return false;
	}
	if (n->key.n >= 7 && str_ieq((struct str){n->key.p, 7}, STR("__Host-"))) {
		load_error(
			l, &at,
			"`%.*s` can never be shared (remove it: browsers refuse a Domain on __Host- names)",
			TEXT(n->key));
		return false;
	}
	return true;
}

struct str key_cookie_name(const void *item)
{
	return ((const struct conf_cookie *)item)->name;
}

/* --- cors.origins --- */

static bool is_port(struct str s)
{
	uint16_t port;
	return s.n && s.p[0] != '0' && addr_parse_port(s, &port) && port > 0;
}

/* scheme://host[:port]; the host may start with "*." (RFC 6454; what browsers write as Origin). */
static const char *check_origin(struct str s)
{
	static const char expected[] = "an origin such as https://app.example.com or https://*.example.com";
	struct addr a;

	if (str_eq(s, STR("*")))
		return "named origins: cookies are allowed to them, which browsers refuse for `*`";
	if (s.n > 8 && str_ieq((struct str){s.p, 8}, STR("https://")))
		s = (struct str){s.p + 8, s.n - 8};
	else if (s.n > 7 && str_ieq((struct str){s.p, 7}, STR("http://")))
		s = (struct str){s.p + 7, s.n - 7};
	else
		return expected;
	const char *close = s.p[0] == '[' ? memchr(s.p, ']', s.n) : NULL;
	const char *from = close ? close : s.p;
	const char *colon = memchr(from, ':', s.n - (size_t)(from - s.p));
	struct str host = {s.p, colon ? (size_t)(colon - s.p) : s.n};
	if (colon && !is_port((struct str){colon + 1, s.n - host.n - 1}))
		return "a port from 1 to 65535";
	if (host.n > 2 && memcmp(host.p, "*.", 2) == 0)
		host = (struct str){host.p + 2, host.n - 2};
	return scalar_is_ip(host, &a) || scalar_is_host(host) ? NULL : expected;
}

static bool set_origins(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	struct conf *c = frame;
	const char *expected;
	struct str s;

	if (!key_value_list(l, k, n))
		return false;
	c->cors_set = true;
	c->origin = arena_alloc(l->keep, n->n * sizeof(*c->origin));
	if (!c->origin)
		return false;
	for (const struct node *m = n->first; m; m = m->next) {
		if (!key_value_text(l, k, m, &s))
			continue;
		expected = check_origin(s);
		if (expected)
			key_value_refuse(l, k, m, expected);
		else
			c->origin[c->origins++] = lower(l, s);
	}
	return true;
}

static void print_origins(struct printer *p, const struct key *k, const void *frame)
{
	const struct conf *c = frame;
	if (c->cors_set)
		printer_list(p, key_name(k), c->origins, c->origin);
}

/* --- health, admin, log --- */

static bool set_health_path(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	struct str s;
	if (!key_value_text(l, k, n, &s))
		return false;
	bool ok = s.n && s.n <= 256 && s.p[0] == '/' && scalar_is_printable(s);
	for (size_t i = 0; ok && i < s.n; i++)
		ok = !strchr(" ?#%\\\"<>", s.p[i]);
	if (!ok)
		return key_value_refuse(l, k, n, "a path such as /healthz, without query and escapes");
	((struct conf *)frame)->health_path = arena_str(l->keep, s);
	return true;
}

static void print_health_path(struct printer *p, const struct key *k, const void *frame)
{
	printer_value(p, key_name(k), ((const struct conf *)frame)->health_path);
}

static bool set_mode(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	unsigned mode = 0;
	struct str s;
	if (!key_value_text(l, k, n, &s))
		return false;
	const char *expected = scalar_mode(s, &mode);
	if (expected)
		return key_value_refuse(l, k, n, expected);
	((struct conf *)frame)->admin.mode = mode;
	return true;
}

static void print_mode(struct printer *p, const struct key *k, const void *frame)
{
	printer_line(p, key_name(k), "\"%04o\"", ((const struct conf *)frame)->admin.mode);
}

static bool set_access_log(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	struct conf_log *log = &((struct conf *)frame)->log;
	struct str s;

	if (!key_value_text(l, k, n, &s))
		return false;
	if (scalar_is_off(s)) {
		log->access = ACCESS_LOG_OFF;
	} else if (str_ieq(s, STR("stdout"))) {
		log->access = ACCESS_LOG_STDOUT;
	} else if (s.n && scalar_is_text(s) && s.p[s.n - 1] != '/') {
		log->access = ACCESS_LOG_PATH;
		log->path = arena_str(l->keep, load_path(l, s));
	} else {
		return key_value_refuse(l, k, n, "stdout, a file's path, or off");
	}
	return true;
}

static void print_access_log(struct printer *p, const struct key *k, const void *frame)
{
	const struct conf_log *log = &((const struct conf *)frame)->log;
	printer_value(p, key_name(k),
		      log->access == ACCESS_LOG_OFF	 ? STR("off")
		      : log->access == ACCESS_LOG_STDOUT ? STR("stdout")
							 : log->path);
}

static bool set_rate(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	struct conf_log *log = &((struct conf *)frame)->log;
	struct str s;

	if (!key_value_text(l, k, n, &s))
		return false;
	if (scalar_is_off(s)) {
		log->refusals = UINT32_MAX;
		log->refusals_us = USEC_PER_SEC;
		return true;
	}
	const char *expected = scalar_rate(s, &log->refusals, &log->refusals_us);
	return expected ? key_value_refuse(l, k, n, "a rate such as 10/s, by s, m or h, or off") : true;
}

static void print_rate(struct printer *p, const struct key *k, const void *frame)
{
	const struct conf_log *log = &((const struct conf *)frame)->log;
	char unit = log->refusals_us == USEC_PER_SEC	    ? 's'
		    : log->refusals_us == 60 * USEC_PER_SEC ? 'm'
							    : 'h';
	if (log->refusals == UINT32_MAX)
		printer_line(p, key_name(k), "off");
	else
		printer_line(p, key_name(k), "%u/%c", log->refusals, unit);
}

const struct key_type type_workers = {set_workers, print_workers, false};
const struct key_type type_client_header = {set_client_header, print_client_header, false};
const struct key_type type_domain = {set_domain, print_domain, false};
const struct key_type type_origins = {set_origins, print_origins, true};
const struct key_type type_health_path = {set_health_path, print_health_path, false};
const struct key_type type_mode = {set_mode, print_mode, false};
const struct key_type type_access_log = {set_access_log, print_access_log, false};
const struct key_type type_rate = {set_rate, print_rate, false};
