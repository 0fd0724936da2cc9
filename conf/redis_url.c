/* SPDX-License-Identifier: MIT */
#include "conf/redis_url.h"

#include <openssl/x509.h>

#include "conf/keys.h"
#include "conf/print.h"
#include "conf/scalar.h"

#define DB_MAX 1023

static const char expected_url[] =
	"redis://host:6379/0, with user:password@ before the host where needed, or unix:///path";

static int hex_digit(char c)
{
	unsigned char l = ascii_lower((unsigned char)c);
	return c >= '0' && c <= '9' ? c - '0' : l >= 'a' && l <= 'f' ? l - 'a' + 10 : -1;
}

/* RFC 3986, 2.1; false for half an escape, and for NUL. */
static bool decode(struct arena *arena, struct str s, struct str *out)
{
	char *p = arena_alloc(arena, s.n + 1);
	size_t n = 0;
	if (!p)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		if (c == '%') {
			int high = i + 2 < s.n ? hex_digit(s.p[i + 1]) : -1;
			int low = i + 2 < s.n ? hex_digit(s.p[i + 2]) : -1;
			if (high < 0 || low < 0)
				return false;
			c = (char)(high << 4 | low);
			i += 2;
		}
		if (c == '\0')
			return false;
		p[n++] = c;
	}
	*out = (struct str){p, n};
	return true;
}

static bool take_prefix(struct str *s, struct str prefix)
{
	if (s->n < prefix.n || !str_ieq((struct str){s->p, prefix.n}, prefix))
		return false;
	s->p += prefix.n;
	s->n -= prefix.n;
	return true;
}

static bool read_db(struct str s, unsigned *out)
{
	uint64_t v = 0;
	if (scalar_count(s, &v) || v > DB_MAX)
		return false;
	*out = (unsigned)v;
	return true;
}

static const char *parse_unix(struct arena *arena, struct str s, struct redis_url *out)
{
	const char *query = memchr(s.p, '?', s.n);
	struct str path = {s.p, query ? (size_t)(query - s.p) : s.n};
	struct str db = {query ? query + 1 : NULL, query ? s.n - path.n - 1 : 0};

	if (path.n == 0 || !scalar_is_text(path))
		return "unix:///path or unix:///path?db=0";
	if (query && (!take_prefix(&db, STR("db=")) || !read_db(db, &out->db)))
		return "nothing but db=N, from 0 to 1023, after the `?`";
	out->is_unix = true;
	out->host = arena_str(arena, path);
	return NULL;
}

static const char *parse_userinfo(struct arena *arena, struct str s, struct redis_url *out)
{
	const char *colon = s.n ? memchr(s.p, ':', s.n) : NULL;
	struct str user = {s.p, colon ? (size_t)(colon - s.p) : s.n};
	struct str password = {colon ? colon + 1 : NULL, colon ? s.n - user.n - 1 : 0};

	if (!decode(arena, user, &out->username) || !decode(arena, password, &out->password))
		return "whole %XX escapes before the @, and none of NUL";
	return NULL;
}

static const char *parse_host(struct arena *arena, struct str s, struct redis_url *out)
{
	const char *close = s.n && s.p[0] == '[' ? memchr(s.p, ']', s.n) : NULL;
	const char *from = close ? close : s.p;
	const char *colon = s.n ? memchr(from, ':', s.n - (size_t)(from - s.p)) : NULL;
	struct str host = {s.p, colon ? (size_t)(colon - s.p) : s.n};
	struct addr a;

	out->port = REDIS_PORT;
	if (colon &&
	    (!addr_parse_port((struct str){colon + 1, s.n - host.n - 1}, &out->port) || out->port == 0))
		return "a port from 1 to 65535 after the host";
	if (!scalar_is_ip(host, &a) && !scalar_is_host(host))
		return expected_url;
	if (host.p[0] == '[')
		host = (struct str){host.p + 1, host.n - 2};
	out->host = arena_str(arena, host);
	return NULL;
}

static const char *parse_redis(struct arena *arena, struct str s, struct redis_url *out)
{
	const char *slash, *at, *why;

	at = s.n ? memrchr(s.p, '@', s.n) : NULL;
	if (at) {
		struct str userinfo = {s.p, (size_t)(at - s.p)};
		if ((why = parse_userinfo(arena, userinfo, out)))
			return why;
		s = (struct str){at + 1, s.n - userinfo.n - 1};
	}
	slash = s.n ? memchr(s.p, '/', s.n) : NULL;
	struct str host = {s.p, slash ? (size_t)(slash - s.p) : s.n};
	struct str db = {slash ? slash + 1 : NULL, slash ? s.n - host.n - 1 : 0};
	if (db.n && !read_db(db, &out->db))
		return "a database from 0 to 1023 after the host's `/`";
	return parse_host(arena, host, out);
}

const char *redis_url_parse(struct arena *arena, struct str url, struct redis_url *out)
{
	*out = (struct redis_url){0};
	if (take_prefix(&url, STR("unix://")))
		return parse_unix(arena, url, out);
	out->tls = take_prefix(&url, STR("rediss://"));
	if (out->tls || take_prefix(&url, STR("redis://")))
		return parse_redis(arena, url, out);
	return expected_url;
}

/* --- the key --- */

static struct tls_client *make_tls(const struct conf_redis *r)
{
	struct tls_client_setup setup = {.trust = tls_trust_new(r->trust)};
	struct tls_wrong wrong;
	struct tls_client *c = setup.trust ? tls_client_new(&setup, &wrong) : NULL;
	X509_STORE_free(setup.trust);
	return c;
}

bool redis_url_target(const struct conf_redis *r, struct redis_target *out)
{
	*out = (struct redis_target){
		.host = r->host,
		.port = r->port,
		.is_unix = r->is_unix,
		.db = r->db,
		.cluster = r->cluster,
		.username = r->username,
		.password = r->password,
		.prefix = r->prefix,
		.tls = r->tls ? make_tls(r) : NULL,
	};
	return !r->tls || out->tls;
}

static struct str shown_url(struct load *l, const struct redis_url *u)
{
	if (u->is_unix)
		return arena_fmt(l->keep, "unix://%.*s?db=%u", (int)u->host.n, u->host.p, u->db);
	bool v6 = u->host.n && memchr(u->host.p, ':', u->host.n) != NULL;
	return arena_fmt(l->keep, "redis%s://%s%.*s%s:%u/%u", u->tls ? "s" : "", v6 ? "[" : "",
			 (int)u->host.n, u->host.p, v6 ? "]" : "", u->port, u->db);
}

static bool set_redis_url(struct load *l, const struct key *k, const struct node *n, void *frame)
{
	struct conf_redis *r = &((struct conf *)frame)->rate_limit.server;
	struct sockaddr_storage sa;
	socklen_t sa_len;
	struct redis_url u;
	struct str s;

	if (!key_value_text(l, k, n, &s))
		return false;
	const char *expected = redis_url_parse(l->keep, s, &u);
	if (!expected && u.is_unix) {
		u.host = arena_str(l->keep, load_path(l, u.host));
		expected = scalar_unix(u.host, &sa, &sa_len) ? NULL : "a socket's path of at most 107 bytes";
	}
	if (expected) { /* the URL may hold a password, and is not shown */
		load_error(l, n, "`url` cannot be read (expected %s)", expected);
		return false;
	}
	*r = (struct conf_redis){.url = shown_url(l, &u),
				 .is_unix = u.is_unix,
				 .tls = u.tls,
				 .host = u.host,
				 .port = u.port,
				 .db = u.db,
				 .username = u.username,
				 .password = u.password};
	return true;
}

static void print_redis_url(struct printer *p, const struct key *k, const void *frame)
{
	const struct conf *c = frame;
	printer_value(p, key_name(k), c->rate_limit.server.url);
}

const struct key_type type_redis_url = {set_redis_url, print_redis_url, false};
