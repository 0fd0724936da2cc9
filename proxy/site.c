/* SPDX-License-Identifier: MIT */
#include "proxy/site.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const verdict_words[VERDICT_WORDS] = {
	"none",	  "ok",	       "limited", "shadow",   "exempt",
	"lifted", "forbidden", "crowded", "unrouted", "malformed",
};
static const char *const refusal_words[REFUSAL_WORDS] = {"block",      "deny",	  "site_allow",
							 "path_allow", "unnamed", "in_flight"};

const char *verdict_word(enum verdict_word v)
{
	return verdict_words[v];
}

const char *refusal_word(enum refusal r)
{
	return refusal_words[r];
}

/* site="NAME" and one or two more labels */
static series_t series(enum metric m, const struct site_state *s, const char *label, const char *value,
		       const char *label2, const char *value2)
{
	char text[METRIC_LABELS], name[METRIC_LABELS / 2];
	snprintf(name, sizeof(name), "%.*s", (int)s->name.n, s->name.p);
	size_t n = metric_label(text, sizeof(text), "site", name);
	text[n++] = ',';
	n += metric_label(text + n, sizeof(text) - n, label, value);
	if (label2 && n + 1 < sizeof(text)) {
		text[n++] = ',';
		metric_label(text + n, sizeof(text) - n, label2, value2);
	}
	return metric_series(m, text);
}

bool site_open(struct site_state *s, const struct conf_site *site, unsigned policies)
{
	*s = (struct site_state){
		.name = site ? site->name : STR("-"),
		.upstream = site ? site->upstream->name : STR("-"),
		.limited = calloc(policies + 1, sizeof(series_t)),
		.shadowed = calloc(policies + 1, sizeof(series_t)),
	};
	for (int i = 0; i < VERDICT_WORDS; i++)
		s->verdict[i] = series(METRIC_REQUESTS, s, "verdict", verdict_words[i], NULL, NULL);
	for (int i = 0; i < REFUSAL_WORDS; i++)
		s->refused[i] = series(METRIC_REFUSALS, s, "policy", "-", "reason", refusal_words[i]);
	return s->limited && s->shadowed;
}

void site_close(struct site_state *s)
{
	free(s->limited);
	free(s->shadowed);
}

static series_t code_series(struct site_state *s, bool from_upstream, unsigned status)
{
	char code[8], up[METRIC_LABELS / 2];
	snprintf(code, sizeof(code), "%u", status);
	snprintf(up, sizeof(up), "%.*s", (int)s->upstream.n, s->upstream.p);
	return series(METRIC_RESPONSES, s, "upstream", from_upstream ? up : "weir", "code", code);
}

void site_count_response(struct site_state *s, bool from_upstream, unsigned status)
{
	unsigned i = status >= 100 && status < 100 + SITE_CODES ? status - 100 : SITE_CODES - 1;
	series_t *at = &s->code[from_upstream][i];
	if (!*at)
		*at = code_series(s, from_upstream, i + 100);
	metric_add(*at, 1);
}

void site_count_limited(struct site_state *s, const struct policy *p)
{
	series_t *at = &s->limited[p->id];
	if (!*at)
		*at = series(METRIC_REFUSALS, s, "policy", p->name, "reason", "limit");
	metric_add(*at, 1);
}

void site_count_shadowed(struct site_state *s, const struct policy *p)
{
	series_t *at = &s->shadowed[p->id];
	if (!*at)
		*at = series(METRIC_SHADOW, s, "policy", p->name, NULL, NULL);
	metric_add(*at, 1);
}

void site_count_refusal(struct site_state *s, enum refusal r)
{
	metric_add(s->refused[r], 1);
}
