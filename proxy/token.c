/* SPDX-License-Identifier: MIT */
#include "proxy/token.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "ratelimit/lift_token.h"

#define KEPT 8

struct signed_token {
	size_t n; /* of text; 0: free */
	char text[LIFT_TOKEN_MAX];
	struct lift lift;
	int64_t until_s;
};

struct tokens {
	unsigned next; /* whose place the next new one takes */
	series_t count[TOKEN_WORTHS];
	struct signed_token kept[KEPT];
};

const char *token_worth_word(enum token_worth w)
{
	static const char *const words[TOKEN_WORTHS] = {
		"", "good", "expired", "revoked", "unknown", "too-long", "out-of-scope",
	};
	return words[w];
}

static enum token_worth judge(const struct token_case *c, const struct lift *l, int64_t until_s, char *id)
{
	usec_t most = c->conf->rate_limit.max_lift_us;
	wall_t until = until_s * USEC_PER_SEC;
	memcpy(id, l->id, LIFT_ID);
	if (lifts_is_buried(c->lifts, l->id, c->now))
		return TOKEN_REVOKED;
	if (until <= c->wall)
		return TOKEN_EXPIRED;
	if (until - c->wall > most + USEC_PER_SEC) /* its end was rounded up to a second */
		return TOKEN_TOO_LONG;
	return c->addr && lift_covers(l, c->addr, c->site) ? TOKEN_GOOD : TOKEN_ELSEWHERE;
}

static bool is_signed(const struct conf *conf, struct str token, struct lift *l, int64_t *until_s)
{
	return lift_token_read(token, conf->rate_limit.lift_keys, conf->rate_limit.lift_key, l, until_s);
}

enum token_worth token_judge(const struct token_case *c, struct str token, char *id)
{
	struct lift l;
	int64_t until_s;
	return is_signed(c->conf, token, &l, &until_s) ? judge(c, &l, until_s, id) : TOKEN_UNKNOWN;
}

struct tokens *tokens_new(void)
{
	struct tokens *t = calloc(1, sizeof(*t));
	for (unsigned i = TOKEN_GOOD; t && i < TOKEN_WORTHS; i++) {
		char label[48];
		snprintf(label, sizeof(label), "result=\"%s\"", token_worth_word(i));
		t->count[i] = metric_series(METRIC_LIFT_TOKENS, label);
	}
	return t;
}

void tokens_free(struct tokens *t)
{
	free(t);
}

/* The token as one that is known to be signed, or NULL. The keys are the conf's, and so the worker's for
 * life. */
static const struct signed_token *find(struct tokens *t, const struct conf *conf, struct str token)
{
	for (unsigned i = 0; i < KEPT; i++)
		if (t->kept[i].n == token.n && CRYPTO_memcmp(t->kept[i].text, token.p, token.n) == 0)
			return &t->kept[i];
	struct signed_token *s = &t->kept[t->next];
	struct lift l;
	int64_t until_s;
	if (!is_signed(conf, token, &l, &until_s))
		return NULL;
	t->next = (t->next + 1) % KEPT;
	s->n = token.n;
	memcpy(s->text, token.p, token.n);
	s->lift = l;
	s->until_s = until_s;
	return s;
}

enum token_worth tokens_judge(struct tokens *t, const struct token_case *c, struct str token, char *id)
{
	const struct signed_token *s = token.n ? find(t, c->conf, token) : NULL;
	enum token_worth w = s ? judge(c, &s->lift, s->until_s, id) : TOKEN_UNKNOWN;
	metric_add(t->count[w], 1);
	return w;
}
