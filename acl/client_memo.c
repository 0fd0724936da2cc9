/* SPDX-License-Identifier: MIT */
#include "acl/client_memo.h"

_Static_assert(CLIENT_MEMO_ROWS == 1 << (64 - 54), "a hash has as many bits");

void client_memo_keep(struct client_memo *m, struct str text, const struct client_ip *c)
{
	if (!client_memo_fits(text) || c->kind != CLIENT_FORWARDED || c->hops_n)
		return;
	struct client_memo_key k = client_memo_key(text);
	*client_memo_row(m, &k) = (struct client_memo_row){k, c->addr, c->nets};
}
