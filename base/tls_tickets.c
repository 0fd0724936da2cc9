/* SPDX-License-Identifier: MIT */
#include "base/tls_tickets.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

/* In one go, a microsecond each: a day of the shortest periods. A process that slept for longer may lose step
 * with the others, which costs a resumption and no more. */
#define STEPS_MAX 100000

static void derive(const uint8_t link[TICKET_SECRET], const char *purpose, uint8_t *out, size_t n)
{
	uint8_t made[EVP_MAX_MD_SIZE];
	HMAC(EVP_sha256(), link, TICKET_SECRET, (const unsigned char *)purpose, strlen(purpose), made, NULL);
	memcpy(out, made, n);
	OPENSSL_cleanse(made, sizeof(made));
}

static void make_key(const uint8_t link[TICKET_SECRET], struct ticket_key *k)
{
	derive(link, "name", k->name, sizeof(k->name));
	derive(link, "cipher", k->cipher, sizeof(k->cipher));
	derive(link, "mac", k->mac, sizeof(k->mac));
}

/* How many periods are over; moves *began to the present one. A clock that went back begins it anew. */
static unsigned periods_over(usec_t period, usec_t *began, usec_t now)
{
	if (!period)
		return 0;
	if (now < *began) {
		*began = now;
		return 0;
	}
	usec_t steps = (now - *began) / period;
	*began += steps * period;
	return steps < STEPS_MAX ? (unsigned)steps : STEPS_MAX;
}

/* --- the master's --- */

void ticket_chain_begin(struct ticket_chain *c, usec_t period, const uint8_t secret[TICKET_SECRET],
			usec_t now)
{
	*c = (struct ticket_chain){.period = period, .began = now};
	if (period)
		memcpy(c->link, secret, TICKET_SECRET);
}

void ticket_chain_advance(struct ticket_chain *c, usec_t now)
{
	for (unsigned n = periods_over(c->period, &c->began, now); n; n--)
		derive(c->link, "next", c->link, TICKET_SECRET);
}

void ticket_chain_seed(const struct ticket_chain *c, usec_t now, struct ticket_seed *s)
{
	*s = (struct ticket_seed){.period = c->period, .age = now - c->began};
	memcpy(s->link, c->link, TICKET_SECRET);
}

/* --- a worker's --- */

static void step(struct tickets *t)
{
	derive(t->link, "next", t->link, TICKET_SECRET);
	t->before = t->now;
	make_key(t->link, &t->now);
}

void tickets_open(struct tickets *t, const struct ticket_seed *s, usec_t now)
{
	*t = (struct tickets){.period = s->period, .began = now - s->age};
	if (!s->period)
		return;
	memcpy(t->link, s->link, sizeof(t->link));
	make_key(t->link, &t->now);
	step(t);
}

void tickets_advance(struct tickets *t, usec_t now)
{
	for (unsigned n = periods_over(t->period, &t->began, now); n; n--)
		step(t);
}

const struct ticket_key *tickets_find(const struct tickets *t, const uint8_t name[16])
{
	if (!t->period)
		return NULL;
	return memcmp(t->now.name, name, 16) == 0      ? &t->now
	       : memcmp(t->before.name, name, 16) == 0 ? &t->before
						       : NULL;
}
