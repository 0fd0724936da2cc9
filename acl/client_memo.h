/* SPDX-License-Identifier: MIT */
/*
 * Whom the X-Forwarded-For of earlier requests named. While a config is in force the answer depends on the
 * text alone, so that a header met again need not be read again: 45 instructions instead of 460 (callgrind).
 * Only short values that name a client and no trusted hops are kept, which are almost all behind a load
 * balancer.
 *
 * A memo serves one config and one process. It has as many places as it has; what is kept takes the place of
 * whatever stood there, so that strangers can make it forget, and nothing else.
 */
#ifndef WEIR_ACL_CLIENT_MEMO_H
#define WEIR_ACL_CLIENT_MEMO_H

#include "acl/client_ip.h"

#define CLIENT_MEMO_SHORTEST 8
#define CLIENT_MEMO_LONGEST 24
#define CLIENT_MEMO_ROWS 1024

/* A text of 8 to 24 bytes: its first eight, its last, those from the ninth on if there are more than 16; and
 * n. */
struct client_memo_key {
	uint64_t first, last, middle, n;
};

struct client_memo {
	struct client_memo_row {
		struct client_memo_key key; /* n == 0: nothing is kept here */
		struct addr addr;
		const struct netmask *nets;
	} row[CLIENT_MEMO_ROWS]; /* all zeros at first */
};

static inline struct client_memo_key client_memo_key(struct str text)
{
	struct client_memo_key k = {.middle = 0, .n = text.n};
	memcpy(&k.first, text.p, 8);
	memcpy(&k.last, text.p + text.n - 8, 8);
	if (text.n > 16)
		memcpy(&k.middle, text.p + 8, 8);
	return k;
}

static inline bool client_memo_fits(struct str text)
{
	return text.n >= CLIENT_MEMO_SHORTEST && text.n <= CLIENT_MEMO_LONGEST;
}

static inline struct client_memo_row *client_memo_row(struct client_memo *m, const struct client_memo_key *k)
{
	uint64_t last = k->last << 23 | k->last >> 41; /* its top byte is where most texts differ */
	uint64_t h = (k->first ^ last ^ k->middle << 13) * UINT64_C(0x9e3779b97f4a7c15);
	return &m->row[(h ^ h >> 29) * UINT64_C(0xbf58476d1ce4e5b9) >> 54];
}

/* True: *out is whom the text names. */
static inline bool client_memo_find(struct client_memo *m, struct str text, struct client_ip *out)
{
	if (!client_memo_fits(text))
		return false;
	struct client_memo_key k = client_memo_key(text);
	const struct client_memo_row *r = client_memo_row(m, &k);
	if (r->key.first != k.first || r->key.last != k.last || r->key.middle != k.middle || r->key.n != k.n)
		return false;
	out->kind = CLIENT_FORWARDED;
	out->hops_n = 0;
	out->addr = r->addr;
	out->nets = r->nets;
	return true;
}

/* What client_ip_find made of a header of this text alone. */
void client_memo_keep(struct client_memo *, struct str text, const struct client_ip *);

#endif
