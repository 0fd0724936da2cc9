/* SPDX-License-Identifier: MIT */
/*
 * Which site serves a host, by the host as requests wrote it. While a config is in force the answer depends
 * on that text alone, so that a host met again is neither turned to lower case nor looked up: 80 instructions
 * less where there is one site, more where there are many (callgrind).
 *
 * A memo serves one config and one process. Only short hosts that a site serves are kept, each in the place
 * of whatever stood there, so that strangers can make it forget, and nothing else.
 */
#ifndef WEIR_PROXY_SITE_MEMO_H
#define WEIR_PROXY_SITE_MEMO_H

#include "base/text_key.h"
#include "conf/conf.h"

#define SITE_MEMO_BITS 6
#define SITE_MEMO_ROWS (1u << SITE_MEMO_BITS)

struct site_memo {
	struct site_memo_row {
		struct text_key key;	     /* of no text: nothing is kept here */
		char host[TEXT_KEY_LONGEST]; /* in lower case, without the dot that may end it */
		size_t host_n;
		const struct conf_site *site;
	} row[SITE_MEMO_ROWS]; /* all zeros at first */
};

/*
 * The site, with the host as weir writes it in the first bytes of `host`, all TEXT_KEY_LONGEST of which are
 * written. NULL: the host is not known, and nothing is written.
 */
static inline const struct conf_site *site_memo_find(const struct site_memo *m, struct str came, char *host,
						     size_t *host_n)
{
	if (!text_key_fits(came))
		return NULL;
	struct text_key k = text_key(came);
	const struct site_memo_row *r = &m->row[text_key_hash(&k, SITE_MEMO_BITS)];
	if (!text_key_eq(&r->key, &k))
		return NULL;
	memcpy(host, r->host, sizeof(r->host));
	*host_n = r->host_n;
	return r->site;
}

/* `host` is what became of the one that came, and no longer than that. */
static inline void site_memo_keep(struct site_memo *m, struct str came, struct str host,
				  const struct conf_site *site)
{
	if (!text_key_fits(came) || !site)
		return;
	struct text_key k = text_key(came);
	struct site_memo_row *r = &m->row[text_key_hash(&k, SITE_MEMO_BITS)];
	r->key = k;
	memcpy(r->host, host.p, host.n);
	r->host_n = host.n;
	r->site = site;
}

#endif
