/* SPDX-License-Identifier: MIT */
#include "base/tls_tickets.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

static int64_t epoch_at(usec_t period, usec_t now)
{
	return now / period;
}

static void derive(const uint8_t link[TICKET_SECRET], const char *purpose, uint8_t *out, size_t n)
{
	uint8_t made[EVP_MAX_MD_SIZE];
	HMAC(EVP_sha256(), link, TICKET_SECRET, (const unsigned char *)purpose, strlen(purpose), made, NULL);
	memcpy(out, made, n);
	OPENSSL_cleanse(made, sizeof(made));
}

static void next_link(uint8_t link[TICKET_SECRET], int64_t *epoch)
{
	derive(link, "next", link, TICKET_SECRET);
	++*epoch;
}

static void make_key(const uint8_t link[TICKET_SECRET], struct ticket_key *k)
{
	derive(link, "name", k->name, sizeof(k->name));
	derive(link, "cipher", k->cipher, sizeof(k->cipher));
	derive(link, "mac", k->mac, sizeof(k->mac));
}

void ticket_seed_begin(struct ticket_seed *s, usec_t period, const uint8_t secret[TICKET_SECRET], usec_t now)
{
	*s = (struct ticket_seed){.period = period};
	if (!period)
		return;
	s->epoch = epoch_at(period, now) - 1;
	memcpy(s->link, secret, TICKET_SECRET);
}

void ticket_seed_advance(struct ticket_seed *s, usec_t now)
{
	while (s->period && s->epoch + 1 < epoch_at(s->period, now))
		next_link(s->link, &s->epoch);
}

void tickets_open(struct tickets *t, const struct ticket_seed *s, usec_t now)
{
	*t = (struct tickets){.period = s->period, .epoch = s->epoch};
	if (!s->period)
		return;
	memcpy(t->link, s->link, sizeof(t->link));
	make_key(t->link, &t->now);
	next_link(t->link, &t->epoch);
	t->before = t->now;
	make_key(t->link, &t->now);
	tickets_advance(t, now);
}

void tickets_advance(struct tickets *t, usec_t now)
{
	while (t->period && t->epoch < epoch_at(t->period, now)) {
		next_link(t->link, &t->epoch);
		t->before = t->now;
		make_key(t->link, &t->now);
	}
}

const struct ticket_key *tickets_find(const struct tickets *t, const uint8_t name[16])
{
	if (!t->period)
		return NULL;
	return memcmp(t->now.name, name, 16) == 0      ? &t->now
	       : memcmp(t->before.name, name, 16) == 0 ? &t->before
						       : NULL;
}
