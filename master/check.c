/* SPDX-License-Identifier: MIT */
#include "master/check.h"

#include <hiredis/hiredis.h>
#include <netdb.h>
#include <openssl/x509.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/tls_cert.h"
#include "conf/conf.h"
#include "conf/redis_url.h"
#include "master/line.h"

#define PATIENCE_S 3 /* for each step with Redis */
#define TEXT 512

struct live { /* what was found, with room for one text each */
	const struct conf *conf;
	struct line line; /* to Redis */
	redisReader *reader;
	char wrong[TEXT];
	char version[64], policy[64];
};

static usec_t patience(void)
{
	return clock_mono() + PATIENCE_S * USEC_PER_SEC;
}

/* --- Redis --- */

static redisReply *hear_reply(struct live *l)
{
	char bytes[4096];
	void *reply = NULL;
	while (redisReaderGetReply(l->reader, &reply) == REDIS_OK && !reply) {
		size_t n = line_hear(&l->line, bytes, sizeof(bytes));
		if (!n || redisReaderFeed(l->reader, bytes, n) != REDIS_OK)
			return NULL;
	}
	return reply;
}

/* The reply, or NULL: l->wrong says why there is none. The caller frees it. */
static redisReply *ask(struct live *l, const char *what, int argc, const char **argv, const size_t *len)
{
	char *command = NULL;
	long long n = redisFormatCommandArgv(&command, argc, argv, len);
	l->line.until = patience();
	redisReply *r = NULL;
	if (n > 0) {
		r = line_say(&l->line, command, (size_t)n) ? hear_reply(l) : NULL;
		explicit_bzero(command, (size_t)n); /* AUTH brings a password */
		redisFreeCommand(command);
	}
	if (!r) {
		snprintf(l->wrong, sizeof(l->wrong), "%s: %s", what,
			 l->line.wrong[0] ? l->line.wrong : "what comes is not the Redis protocol");
		return NULL;
	}
	if (r->type != REDIS_REPLY_ERROR)
		return r;
	snprintf(l->wrong, sizeof(l->wrong), "%s: %.*s", what, (int)r->len, r->str);
	freeReplyObject(r);
	return NULL;
}

static bool asked(struct live *l, const char *what, int argc, const char **argv, const size_t *len)
{
	redisReply *r = ask(l, what, argc, argv, len);
	if (r)
		freeReplyObject(r);
	return r != NULL;
}

static bool log_in(struct live *l, const struct conf_redis *c)
{
	const char *argv[3] = {"AUTH"};
	size_t len[3] = {4};
	int n = 1;
	if (!c->password.n)
		return true;
	if (c->username.n) {
		argv[n] = c->username.p;
		len[n++] = c->username.n;
	}
	argv[n] = c->password.p;
	len[n++] = c->password.n;
	return asked(l, "AUTH", n, argv, len);
}

static bool choose_db(struct live *l, const struct conf_redis *c)
{
	char number[16];
	const char *argv[2] = {"SELECT", number};
	size_t len[2] = {6, (size_t)snprintf(number, sizeof(number), "%u", c->db)};
	return c->db == 0 || asked(l, "SELECT", 2, argv, len);
}

/* The value of a `key:value` line of INFO. */
static void info_value(const char *info, const char *key, char *out, size_t cap)
{
	const char *at = strstr(info, key);
	out[0] = 0;
	if (at) {
		at += strlen(key);
		snprintf(out, cap, "%.*s", (int)strcspn(at, "\r\n"), at);
	}
}

static bool look_around(struct live *l)
{
	const char *ping[] = {"PING"}, *info[] = {"INFO"}, *eval[] = {"EVAL", "return 1", "0"};
	const size_t four[] = {4}, lengths[] = {4, 8, 1};
	if (!asked(l, "PING", 1, ping, four) || !asked(l, "EVAL", 3, eval, lengths))
		return false;
	redisReply *r = ask(l, "INFO", 1, info, four);
	if (r && r->str) {
		info_value(r->str, "redis_version:", l->version, sizeof(l->version));
		info_value(r->str, "maxmemory_policy:", l->policy, sizeof(l->policy));
	}
	if (r)
		freeReplyObject(r);
	l->wrong[0] = 0; /* whoever may not ask INFO may still be served */
	return true;
}

static bool connect_unix(struct live *l, const struct conf_redis *c)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	if (c->host.n >= sizeof(sa.sun_path))
		return false;
	memcpy(sa.sun_path, c->host.p, c->host.n);
	return line_connect(&l->line, (const struct sockaddr *)&sa, sizeof(sa), patience());
}

/* The first address that takes a connection. */
static bool connect_name(struct live *l, const char *host, uint16_t port)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *all = NULL;
	char service[8];
	snprintf(service, sizeof(service), "%u", port);
	int err = getaddrinfo(host, service, &hints, &all);
	bool ok = false;
	if (err)
		snprintf(l->line.wrong, sizeof(l->line.wrong), "%s", gai_strerror(err));
	for (const struct addrinfo *a = all; a && !ok; a = a->ai_next) {
		line_close(&l->line);
		ok = line_connect(&l->line, a->ai_addr, a->ai_addrlen, patience());
	}
	if (all)
		freeaddrinfo(all);
	return ok;
}

static bool try_redis(struct live *l)
{
	const struct conf_redis *c = &l->conf->rate_limit.server;
	struct redis_target target;
	char host[300];
	snprintf(host, sizeof(host), "%.*s", (int)c->host.n, c->host.p);
	bool ok = redis_url_target(c, &target) &&
		  (c->is_unix ? connect_unix(l, c) : connect_name(l, host, c->port)) &&
		  (!target.tls || line_secure(&l->line, target.tls, host));
	tls_client_drop(target.tls);
	if (!ok) {
		snprintf(l->wrong, sizeof(l->wrong), "%s", l->line.wrong);
		return false;
	}
	return log_in(l, c) && choose_db(l, c) && look_around(l);
}

/* The number of what is wrong; *warnings counts what might be. */
static unsigned check_redis(struct live *l, unsigned *warnings)
{
	const struct conf_redis *c = &l->conf->rate_limit.server;
	usec_t began = clock_mono();
	l->reader = redisReaderCreate();
	bool ok = l->reader && try_redis(l);
	if (l->reader)
		redisReaderFree(l->reader);
	line_close(&l->line);
	if (!ok) {
		fprintf(stderr, "rate_limit.redis.url: %.*s: %s (expected a Redis that answers)\n",
			(int)c->url.n, c->url.p, l->wrong);
		return 1;
	}
	printf("redis %.*s answers, version %s, within %.1f ms\n", (int)c->url.n, c->url.p,
	       l->version[0] ? l->version : "not told", (double)(clock_mono() - began) / 1000);
	if (l->policy[0] && strcmp(l->policy, "noeviction") != 0) {
		fprintf(stderr,
			"rate_limit.redis.url: %.*s: warning: its maxmemory-policy is %s "
			"(expected noeviction, else clients' windows are dropped)\n",
			(int)c->url.n, c->url.p, l->policy);
		++*warnings;
	}
	return 0;
}

static unsigned check_user(const struct conf *c)
{
	char name[256];
	snprintf(name, sizeof(name), "%.*s", (int)c->user.n, c->user.p ? c->user.p : "");
	if (!c->user.n)
		return 0;
	if (getpwnam(name)) {
		printf("user %s is known\n", name);
		return 0;
	}
	fprintf(stderr,
		"user: %s is not known to this machine (expected the name of a user, see getent passwd)\n",
		name);
	return 1;
}

/* --- certificates --- */

static void show_day(char out[16], wall_t t)
{
	time_t s = (time_t)(t / USEC_PER_SEC);
	struct tm tm;
	strftime(out, 16, "%Y-%m-%d", gmtime_r(&s, &tm));
}

static void show_certificate(const struct conf_listen *l, const struct conf_certificate *c)
{
	struct tls_wrong wrong;
	struct tls_cert *cert = tls_cert_new(c->certificate.content, c->key.content, &wrong);
	wall_t from, until;
	char day[16];
	if (!cert)
		return; /* the config's check has said so */
	tls_cert_valid(cert, &from, &until);
	show_day(day, until);
	printf("certificate of %.*s: %s until %s, for", (int)l->text.n, l->text.p,
	       tls_cert_is_rsa(cert) ? "RSA" : "ECDSA", day);
	for (unsigned i = 0; i < tls_cert_names(cert); i++)
		printf("%s %.*s", i ? "," : "", (int)tls_cert_name(cert, i).n, tls_cert_name(cert, i).p);
	puts(tls_cert_names(cert) ? "" : " no name");
	tls_cert_free(cert);
}

static void show_certificates(const struct conf *c)
{
	for (unsigned i = 0; i < c->listens; i++)
		for (unsigned k = 0; k < c->listen[i].certificates; k++)
			show_certificate(&c->listen[i], &c->listen[i].certificate[k]);
}

/* --- upstreams with TLS --- */

static struct tls_client *client_of(const struct conf_upstream_tls *t)
{
	struct tls_client_setup setup = {.http = true, .trust = t->verify ? tls_trust_new(t->trust) : NULL};
	struct tls_cert *own = NULL;
	struct tls_wrong wrong;
	if (t->own.certificate.path.n)
		setup.own = own = tls_cert_new(t->own.certificate.content, t->own.key.content, &wrong);
	struct tls_client *c = tls_client_new(&setup, &wrong);
	X509_STORE_free(setup.trust);
	tls_cert_free(own);
	return c;
}

/* 1 when no handshake comes about. */
static unsigned check_server(const struct conf_upstream *u, const struct conf_server *s,
			     struct tls_client *client)
{
	char address[ADDR_TEXT];
	const char *name = u->tls.name.n ? u->tls.name.p : NULL;
	struct addr a;
	struct line l;
	if (!name && addr_of_sockaddr((const struct sockaddr *)&s->sa, &a, NULL)) {
		address[addr_format(address, &a)] = 0;
		name = address;
	}
	bool ok = line_connect(&l, (const struct sockaddr *)&s->sa, s->sa_len, patience()) &&
		  line_secure(&l, client, name);
	if (ok)
		printf("server %.*s of upstream %.*s speaks TLS%s\n", (int)s->text.n, s->text.p,
		       (int)u->name.n, u->name.p, u->tls.verify ? ", and is who it should be" : "");
	else
		fprintf(stderr, "upstreams.%.*s: server %.*s: %s (expected TLS%s)\n", (int)u->name.n,
			u->name.p, (int)s->text.n, s->text.p, l.wrong,
			u->tls.verify ? ", with a certificate that is to be trusted" : "");
	line_close(&l);
	return !ok;
}

static unsigned check_upstreams(const struct conf *c)
{
	unsigned errors = 0;
	for (unsigned i = 0; i < c->upstreams; i++) {
		const struct conf_upstream *u = &c->upstream[i];
		struct tls_client *client = u->tls.on ? client_of(&u->tls) : NULL;
		for (unsigned k = 0; client && k < u->servers; k++)
			errors += check_server(u, &u->server[k], client);
		tls_client_drop(client);
	}
	return errors;
}

/* --- all --- */

int check_run(const char *config_path, bool strict, bool live)
{
	struct conf_notes notes = {0};
	struct conf_bundle *bundle = conf_bundle_new(config_path);
	struct conf *conf = bundle ? conf_load(bundle, &notes) : NULL;
	unsigned errors = notes.errors + !conf, warnings = notes.rows - notes.errors;
	if (!bundle)
		fprintf(stderr, "%s: out of memory\n", config_path);
	conf_notes_print(&notes, stderr);
	if (conf)
		conf_print_hosts(conf, stdout);
	if (conf && live) {
		struct live l = {.conf = conf, .line = {.fd = -1}};
		putchar('\n');
		signal(SIGPIPE, SIG_IGN);
		errors += check_user(conf);
		show_certificates(conf);
		errors += check_upstreams(conf);
		if (conf->rate_limit.redis)
			errors += check_redis(&l, &warnings);
	}
	if (conf)
		conf_free(conf);
	conf_bundle_free(bundle);
	conf_notes_free(&notes);
	return errors || (strict && warnings);
}
