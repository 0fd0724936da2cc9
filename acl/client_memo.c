/* SPDX-License-Identifier: MIT */
#include "acl/client_memo.h"

void client_memo_keep(struct client_memo *m, struct str text, const struct client_ip *c)
{
	if (!text_key_fits(text) || c->kind != CLIENT_FORWARDED || c->hops_n)
		return;
	struct text_key k = text_key(text);
	m->row[text_key_hash(&k, CLIENT_MEMO_BITS)] = (struct client_memo_row){k, c->addr, c->nets};
}
