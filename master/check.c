/* SPDX-License-Identifier: MIT */
#include "master/check.h"

#include <hiredis/hiredis.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "base/clock.h"
#include "conf/conf.h"

#define PATIENCE_S 3 /* for each step with Redis */
#define TEXT 512

struct live { /* what was found, with room for one text each */
	const struct conf *conf;
	redisContext *redis;
	char wrong[TEXT];
	char version[64], policy[64];
};

/* --- Redis --- */

/* The reply, or NULL: l->wrong says why there is none. The caller frees it. */
static redisReply *ask(struct live *l, const char *what, int argc, const char **argv, const size_t *len)
{
	redisReply *r = redisCommandArgv(l->redis, argc, argv, len);
	if (!r) {
		snprintf(l->wrong, sizeof(l->wrong), "%s: %s", what, l->redis->errstr);
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

static bool try_redis(struct live *l)
{
	const struct conf_redis *c = &l->conf->rate_limit.server;
	const struct timeval patience = {PATIENCE_S, 0};
	char host[300];
	snprintf(host, sizeof(host), "%.*s", (int)c->host.n, c->host.p);
	l->redis = c->is_unix ? redisConnectUnixWithTimeout(host, patience)
			      : redisConnectWithTimeout(host, c->port, patience);
	if (!l->redis || l->redis->err) {
		snprintf(l->wrong, sizeof(l->wrong), "%s", l->redis ? l->redis->errstr : "out of memory");
		return false;
	}
	return redisSetTimeout(l->redis, patience) == REDIS_OK && log_in(l, c) && choose_db(l, c) &&
	       look_around(l);
}

/* The number of what is wrong; *warnings counts what might be. */
static unsigned check_redis(struct live *l, unsigned *warnings)
{
	const struct conf_redis *c = &l->conf->rate_limit.server;
	usec_t began = clock_mono();
	bool ok = try_redis(l);
	if (l->redis)
		redisFree(l->redis);
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
		struct live l = {.conf = conf};
		putchar('\n');
		errors += check_user(conf);
		if (conf->rate_limit.redis)
			errors += check_redis(&l, &warnings);
	}
	if (conf)
		conf_free(conf);
	conf_bundle_free(bundle);
	conf_notes_free(&notes);
	return errors || (strict && warnings);
}
