/* SPDX-License-Identifier: MIT */
#include "ratelimit/redis_target.h"

#include <stdlib.h>
#include <string.h>

static bool copy_str(struct str *to, struct str s)
{
	char *copy = malloc(s.n + 1);
	if (!copy)
		return false;
	if (s.n)
		memcpy(copy, s.p, s.n);
	copy[s.n] = 0;
	to->p = copy;
	to->n = s.n;
	return true;
}

static void free_str(struct str *s)
{
	if (s->p)
		explicit_bzero((char *)(uintptr_t)s->p, s->n);
	free((char *)(uintptr_t)s->p);
	*s = STR_NONE;
}

bool redis_target_copy(struct redis_target *to, const struct redis_target *from)
{
	*to = *from;
	to->host = to->username = to->password = to->prefix = STR_NONE;
	tls_client_hold(to->tls);
	if (copy_str(&to->host, from->host) && copy_str(&to->username, from->username) &&
	    copy_str(&to->password, from->password) &&
	    copy_str(&to->prefix, from->prefix.p ? from->prefix : STR(REDIS_PREFIX)))
		return true;
	redis_target_free(to);
	return false;
}

void redis_target_free(struct redis_target *t)
{
	free_str(&t->host);
	free_str(&t->username);
	free_str(&t->password);
	free_str(&t->prefix);
	tls_client_drop(t->tls);
	t->tls = NULL;
}
