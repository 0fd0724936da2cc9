/* SPDX-License-Identifier: MIT */
#include "control/lift_words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "acl/addr.h"
#include "conf/scalar.h"
#include "control/words.h"

#define FORMAT "1"

bool lift_id_valid(struct str s)
{
	if (s.n != LIFT_ID - 1)
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!memchr("0123456789abcdef", s.p[i], 16))
			return false;
	return true;
}

static void add_pair(struct text *t, const char *key, const char *value)
{
	char quoted[4 * LIFT_SITE + 8];
	if (words_quote(quoted, sizeof(quoted), value))
		text_add(t, " %s=%s", key, quoted);
}

void lift_words_write(const struct lift *l, struct text *t)
{
	char net[CIDR_TEXT];
	text_add(t, FORMAT " effect=%s uid=%u", lift_effect_name(l->effect), l->uid);
	add_pair(t, "by", l->by);
	add_pair(t, "reason", l->reason);
	for (unsigned i = 0; i < l->clients; i++) {
		struct cidr c = {.bits = l->client[i].bits};
		memcpy(c.addr.b, l->client[i].addr, sizeof(c.addr.b));
		cidr_format(net, &c);
		add_pair(t, "client", net);
	}
	for (unsigned i = 0; i < l->sites; i++)
		add_pair(t, "site", l->site[i]);
}

static bool keep_text(char *to, size_t cap, const char *value)
{
	return (size_t)snprintf(to, cap, "%s", value) < cap;
}

static bool read_effect(struct lift *l, const char *v)
{
	for (enum lift_effect e = LIFT_FULL; e <= LIFT_BLOCK; e++)
		if (strcmp(v, lift_effect_name(e)) == 0)
			l->effect = e;
	return l->effect != LIFT_NONE;
}

static bool read_uid(struct lift *l, const char *v)
{
	uint64_t n;
	if (scalar_count(str_of(v), &n) || n > UINT32_MAX)
		return false;
	l->uid = (uint32_t)n;
	return true;
}

static bool read_by(struct lift *l, const char *v)
{
	return keep_text(l->by, sizeof(l->by), v);
}

static bool read_reason(struct lift *l, const char *v)
{
	return *v && keep_text(l->reason, sizeof(l->reason), v);
}

static bool read_client(struct lift *l, const char *v)
{
	struct cidr c;
	const char *why;
	if (l->clients == LIFT_CLIENTS || !cidr_parse(str_of(v), &c, &why))
		return false;
	memcpy(l->client[l->clients].addr, c.addr.b, sizeof(c.addr.b));
	l->client[l->clients++].bits = c.bits;
	return true;
}

static bool read_site(struct lift *l, const char *v)
{
	return l->sites < LIFT_SITES && *v && keep_text(l->site[l->sites++], LIFT_SITE, v);
}

static const struct reader {
	const char *key;
	bool (*read)(struct lift *, const char *value);
} readers[] = {
	{"effect=", read_effect}, {"uid=", read_uid},	    {"by=", read_by},
	{"reason=", read_reason}, {"client=", read_client}, {"site=", read_site},
};

/* A word that is not known could narrow the scope: a lift that has one is not of this version. */
static bool read_word(struct lift *l, const char *word)
{
	for (unsigned i = 0; i < sizeof(readers) / sizeof(readers[0]); i++) {
		size_t n = strlen(readers[i].key);
		if (strncmp(word, readers[i].key, n) == 0)
			return readers[i].read(l, word + n);
	}
	return false;
}

bool lift_words_read(struct str line, struct lift *l)
{
	static char copy[LIFT_WORDS + 1];
	struct words w;
	*l = (struct lift){0};
	if (line.n > LIFT_WORDS || memchr(line.p, 0, line.n))
		return false;
	memcpy(copy, line.p, line.n);
	copy[line.n] = 0;
	if (words_split(copy, &w) || w.n < 2 || strcmp(w.word[0], FORMAT) != 0)
		return false;
	for (unsigned i = 1; i < w.n; i++)
		if (!read_word(l, w.word[i]))
			return false;
	return l->reason[0] && l->effect && (l->effect != LIFT_BLOCK || (l->clients && !l->sites));
}
