/* SPDX-License-Identifier: MIT */
#include "ratelimit/redis_trouble.h"

#include <stdio.h>
#include <string.h>

#define LOG_EVERY (10 * USEC_PER_SEC)

void redis_trouble_init(struct redis_trouble *t, const struct redis_target *target)
{
	char labels[METRIC_LABELS];
	*t = (struct redis_trouble){.target = target};
	for (unsigned f = 1; f < REDIS_FAILURES; f++) {
		metric_label(labels, sizeof(labels), "kind", redis_failure_name((enum redis_failure)f));
		t->failures[f] = metric_series(METRIC_STORE_FAILURES, labels);
	}
}

void redis_trouble_over(struct redis_trouble *t)
{
	t->last = REDIS_FINE;
	t->said_loudly = false;
	t->log_limit = (struct log_limit){0, 0};
}

const char *redis_trouble_remedy(const struct redis_trouble *t, enum redis_failure f, struct str error)
{
	static const struct {
		struct str word;
		const char *text;
	} rows[] = {
		{STR("NOAUTH"), "the server wants a login: set rate_limit.redis.password (and username)"},
		{STR("WRONGPASS"), "the server refuses rate_limit.redis.username and password"},
		{STR("NOPERM"),
		 "the ACL of rate_limit.redis.username lacks a command, key or channel that weir needs"},
		{STR("DENIED"), "the server is in protected mode: it takes no connections from here"},
		{STR("ERR invalid password"), "the server refuses rate_limit.redis.password"},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (error.n >= rows[i].word.n && memcmp(error.p, rows[i].word.p, rows[i].word.n) == 0)
			return rows[i].text;
	if (f == REDIS_UNTRUSTED)
		return "the server's certificate is not to be trusted: see rate_limit.redis.ca, and whether "
		       "it "
		       "bears the host of rate_limit.redis.url";
	if (f == REDIS_MOVED && t->target->cluster == REDIS_CLUSTER_OFF)
		return "the server belongs to a Redis Cluster, and rate_limit.redis.cluster is off";
	return redis_failure_is_login(f) ? "the server refuses the login that rate_limit.redis describes"
					 : NULL;
}

void redis_trouble_loudly(struct redis_trouble *t, const char *text)
{
	if (text && !t->said_loudly)
		log_error("rate limit store: %s", text);
	t->said_loudly |= text != NULL;
}

void redis_trouble_answer(struct redis_trouble *t, const struct redis_reply *r)
{
	metric_add(t->failures[r->failure], 1);
	t->last = r->failure;
	redis_trouble_loudly(t, redis_trouble_remedy(t, r->failure, r->text));
}

void redis_trouble_failed(struct redis_trouble *t, enum redis_failure f, const char *detail, usec_t now)
{
	const struct redis_target *to = t->target;
	unsigned missed = 0;
	char where[280];
	metric_add(t->failures[f], 1);
	t->last = f;
	if (to->is_unix)
		snprintf(where, sizeof(where), "%.*s", (int)to->host.n, to->host.p);
	else
		snprintf(where, sizeof(where), "%.*s:%u", (int)to->host.n, to->host.p, to->port);
	if (log_limit_pass(&t->log_limit, now, LOG_EVERY, &missed))
		log_warn("redis %s: %s: %s", where, redis_failure_name(f), detail);
}
