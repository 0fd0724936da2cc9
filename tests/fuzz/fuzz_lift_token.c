/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as the token of a lift, and any payload under a good signature: without one nothing is taken;
 * with one, what is taken can be written again and is read as the same; and no other text than the one that
 * was signed is good, whichever byte of it is changed.
 *
 * Input: two bytes that say what to change, then the payload or the token.
 */
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "ratelimit/lift_token.h"
#include "tests/fuzz/fuzz.h"

enum { MAC = 32 };

static const struct str keys[] = {STR("a key that only the test has"), STR("the key that came before it")};

static void put_base64url(struct sheet *s, const unsigned char *p, size_t n)
{
	char text[8192];
	int len = EVP_EncodeBlock((unsigned char *)text, p, (int)n);

	for (int i = 0; i < len && text[i] != '='; i++) {
		char c = text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i];
		sheet_bytes(s, &c, 1);
	}
}

static void put_token(struct sheet *s, struct str key, struct str payload)
{
	unsigned char mac[MAC];
	unsigned n = sizeof(mac);

	sheet_str(s, STR("weir1."));
	put_base64url(s, (const unsigned char *)payload.p, payload.n);
	promise(HMAC(EVP_sha256(), key.p, (int)key.n, (const unsigned char *)s->p, s->n, mac, &n) != NULL);
	sheet_bytes(s, ".", 1);
	put_base64url(s, mac, sizeof(mac));
}

static bool read_token(struct str token, struct lift *l, int64_t *until)
{
	char *exact = exact_copy(token.p, token.n);

	memset(l, 0xa5, sizeof(*l));
	bool good = lift_token_read((struct str){exact, token.n}, 2, keys, l, until);
	free(exact);
	return good;
}

static void check_lift(const struct lift *l, int64_t until)
{
	promise(l->effect == LIFT_FULL && l->clients <= LIFT_CLIENTS && l->sites <= LIFT_SITES);
	promise(until >= 0 && strlen(l->id) == LIFT_ID - 1);
	for (unsigned i = 0; i < l->clients; i++)
		promise(l->client[i].bits <= 128);
	for (unsigned i = 0; i < l->sites; i++)
		promise(l->site[i][0] && memchr(l->site[i], 0, LIFT_SITE));
}

static void check_again(const struct lift *l, int64_t until)
{
	static struct lift again;
	static char text[LIFT_TOKEN_MAX];
	int64_t until_again;
	size_t n = lift_token_write(text, keys[1], l, until);

	promise(n > 0 && n <= LIFT_TOKEN_MAX && read_token((struct str){text, n}, &again, &until_again));
	promise(until_again == until && strcmp(again.id, l->id) == 0);
	promise(again.clients == l->clients && again.sites == l->sites);
	promise(memcmp(again.client, l->client, l->clients * sizeof(l->client[0])) == 0);
	for (unsigned i = 0; i < l->sites; i++)
		promise(strcmp(again.site[i], l->site[i]) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct lift l, other;
	static char text[LIFT_TOKEN_MAX + 8192];
	struct sheet s = {text, 0, sizeof(text)};
	struct feed f = feed_of(data, size);
	int64_t until, until_other;

	if (size > 5000)
		return 0;
	size_t where = feed_byte(&f) * 256u;
	where += feed_byte(&f);
	struct str payload = feed_rest(&f);
	promise(!read_token(payload, &l, &until)); /* nobody but the test can sign */
	put_token(&s, keys[where % 2], payload);
	bool good = read_token(sheet_text(&s), &l, &until);
	if (good) {
		check_lift(&l, until);
		check_again(&l, until);
	}
	text[where % s.n] ^= (char)(1 << where / s.n % 8);
	promise(!read_token(sheet_text(&s), &other, &until_other));
	text[where % s.n] ^= (char)(1 << where / s.n % 8);
	s.n--;
	promise(!read_token(sheet_text(&s), &other, &until_other));
	return 0;
}
