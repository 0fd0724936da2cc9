/* SPDX-License-Identifier: MIT */
/* Certificates, keys and whom to trust: what the files hold is tried here as it will be used. */
#include <openssl/x509.h>
#include <stdio.h>

#include "base/tls_cert.h"
#include "base/tls_client.h"
#include "base/tls_server.h"
#include "conf/load.h"

/* --- certificates --- */

static void complain(struct load *l, const struct conf_certificate *c, const struct tls_wrong *w)
{
	const struct conf_file *f = w->of_key ? &c->key : &c->certificate;
	load_error(l, load_place(l, f), "`%s`: %.*s %s", w->of_key ? "key" : "certificate", TEXT(f->path),
		   w->text);
}

static void show_day(char out[16], wall_t t)
{
	time_t s = (time_t)(t / USEC_PER_SEC);
	struct tm tm;
	strftime(out, 16, "%Y-%m-%d", gmtime_r(&s, &tm));
}

static void warn_of_dates(struct load *l, const struct conf_certificate *c, const struct tls_cert *cert)
{
	wall_t from, until, now = clock_wall();
	char day[16];
	tls_cert_valid(cert, &from, &until);
	show_day(day, now > until ? until : from);
	if (now > until)
		load_warning(l, load_place(l, &c->certificate), "`certificate`: %.*s has expired on %s",
			     TEXT(c->certificate.path), day);
	else if (now < from)
		load_warning(l, load_place(l, &c->certificate), "`certificate`: %.*s is not valid before %s",
			     TEXT(c->certificate.path), day);
}

/* NULL: it is told what is wrong, or was told before: a file that can't be read. */
static struct tls_cert *read_certificate(struct load *l, const struct conf_certificate *c)
{
	struct tls_wrong wrong;
	bool whole = load_place(l, &c->certificate) && load_place(l, &c->key);
	if (!whole || !c->certificate.content.p || !c->key.content.p)
		return NULL;
	struct tls_cert *cert = tls_cert_new(c->certificate.content, c->key.content, &wrong);
	if (cert)
		warn_of_dates(l, c, cert);
	else
		complain(l, c, &wrong);
	return cert;
}

static void try_server(struct load *l, const struct conf_listen *listen, struct tls_cert *const *cert)
{
	static const struct tickets none;
	struct tls_wrong wrong;
	unsigned which;
	struct tls_server *s = tls_server_new(cert, listen->certificates, &none, &which, &wrong);
	if (!s)
		complain(l, &listen->certificate[which], &wrong);
	tls_server_free(s);
	for (unsigned i = 1; i < listen->certificates; i++)
		if (tls_cert_names(cert[i]) == 0)
			load_warning(l, load_place(l, &listen->certificate[i].certificate),
				     "`certificate`: %.*s bears no host name and is never chosen (only the "
				     "first of a "
				     "list needs none)",
				     TEXT(listen->certificate[i].certificate.path));
}

static void check_listener(struct load *l, const struct conf_listen *listen)
{
	unsigned n = listen->certificates, good = 0;
	struct tls_cert **cert = arena_alloc(&l->temp, n * sizeof(struct tls_cert *));
	for (unsigned i = 0; cert && i < n; i++) {
		cert[i] = read_certificate(l, &listen->certificate[i]);
		good += cert[i] != NULL;
	}
	if (cert && n && good == n)
		try_server(l, listen, cert);
	for (unsigned i = 0; cert && i < n; i++)
		tls_cert_free(cert[i]);
}

/* --- whom to trust --- */

/* False: told. */
static bool find_trust(struct load *l, const struct conf_file *ca, const void *place, struct str *trust)
{
	struct str system;
	const char *why;
	if (ca->path.n) {
		*trust = ca->content;
		return ca->content.p != NULL;
	}
	if (!bundle_get(l->bundle, BUNDLE_TRUST, STR_NONE, &system, &why)) {
		load_error(l, load_place(l, place),
			   "the certificates that this system trusts cannot be read: %s (expected `ca` with "
			   "a file, "
			   "or the package ca-certificates)",
			   why);
		return false;
	}
	if (!l->conf->trust.n)
		l->conf->trust = arena_str(l->keep, system);
	*trust = l->conf->trust;
	return true;
}

/* The machine's own are taken as they are. */
static void try_trust(struct load *l, const struct conf_file *ca)
{
	X509_STORE *store = ca->path.n ? tls_trust_new(ca->content) : NULL;
	if (ca->path.n && !store)
		load_error(l, load_place(l, ca),
			   "`ca`: %.*s holds no certificate that can be read (expected PEM)", TEXT(ca->path));
	X509_STORE_free(store);
}

static void try_client(struct load *l, const struct conf_certificate *own, const struct tls_cert *cert)
{
	struct tls_client_setup setup = {.own = cert};
	struct tls_wrong wrong;
	struct tls_client *c = tls_client_new(&setup, &wrong);
	if (!c)
		complain(l, own, &wrong);
	tls_client_drop(c);
}

static void check_own(struct load *l, const struct conf_certificate *own)
{
	const struct node *certificate = load_place(l, &own->certificate), *key = load_place(l, &own->key);
	if (certificate && !key)
		load_error(l, certificate, "`certificate` without its key (expected `key` beside it)");
	if (key && !certificate)
		load_error(l, key, "`key` without its certificate (expected `certificate` beside it)");
	struct tls_cert *cert = certificate && key ? read_certificate(l, own) : NULL;
	if (cert)
		try_client(l, own, cert);
	tls_cert_free(cert);
}

static void check_upstream(struct load *l, struct conf_upstream *u)
{
	struct conf_upstream_tls *t = &u->tls;
	check_own(l, &t->own);
	if (!t->verify) {
		if (t->ca.path.n)
			load_error(l, load_place(l, &t->ca),
				   "`ca` does nothing with `verify: off` (remove one of them)");
		return;
	}
	for (unsigned i = 0; i < u->servers; i++)
		if (!t->name.n && u->server[i].sa.ss_family == AF_UNIX) {
			load_error(
				l, load_place(l, &u->server[i]),
				"server `%.*s` has no name that a certificate could bear (expected tls.name)",
				TEXT(u->server[i].text));
			return;
		}
	if (!find_trust(l, &t->ca, &t->on, &t->trust))
		return;
	try_trust(l, &t->ca);
}

static void check_redis(struct load *l, struct conf_redis *r)
{
	if (!r->tls) {
		if (r->ca.path.n)
			load_error(l, load_place(l, &r->ca),
				   "`ca` does nothing without TLS (expected rate_limit.redis.url to begin "
				   "rediss://)");
		return;
	}
	if (!find_trust(l, &r->ca, &r->url, &r->trust))
		return;
	try_trust(l, &r->ca);
}

void load_check_tls(struct load *l)
{
	struct conf *c = l->conf;
	for (unsigned i = 0; i < c->listens; i++)
		check_listener(l, &c->listen[i]);
	for (unsigned i = 0; i < c->upstreams; i++)
		if (c->upstream[i].tls.on)
			check_upstream(l, &c->upstream[i]);
	check_redis(l, &c->rate_limit.server);
}
