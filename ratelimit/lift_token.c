/* SPDX-License-Identifier: MIT */
#include "ratelimit/lift_token.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#include "base/fmt.h"

#define KIND "weir1."
#define KIND_N (sizeof(KIND) - 1)
#define MAC 32
#define MAC_TEXT 43 /* in base64url */
#define PAYLOAD_MAX ((LIFT_TOKEN_MAX - KIND_N - 1 - MAC_TEXT) / 4 * 3)
#define UNTIL_MAX INT64_C(99999999999)

/* --- base64url --- */

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static char *encode(char *out, const uint8_t *in, size_t n)
{
	uint32_t bits = 0;
	unsigned held = 0;
	for (size_t i = 0; i < n; i++) {
		bits = bits << 8 | in[i];
		for (held += 8; held >= 6; held -= 6)
			*out++ = digits[bits >> (held - 6) & 63];
	}
	if (held)
		*out++ = digits[bits << (6 - held) & 63];
	return out;
}

/* False: a byte that is no digit, or a text that no bytes are written as. `out` has room for 3/4 of it. */
static bool decode(struct str in, uint8_t *out, size_t *n)
{
	uint32_t bits = 0;
	unsigned held = 0;
	*n = 0;
	for (size_t i = 0; i < in.n; i++) {
		const char *d = in.p[i] ? strchr(digits, in.p[i]) : NULL;
		if (!d)
			return false;
		bits = bits << 6 | (uint32_t)(d - digits);
		held += 6;
		if (held >= 8) {
			held -= 8;
			out[(*n)++] = (uint8_t)(bits >> held);
		}
	}
	return held < 6 && (bits & ((1u << held) - 1)) == 0;
}

static bool sign(struct str key, struct str text, uint8_t mac[MAC])
{
	unsigned n = MAC;
	return HMAC(EVP_sha256(), key.p, (int)key.n, (const unsigned char *)text.p, text.n, mac, &n) != NULL;
}

/* --- writing --- */

static char *put_net(char *p, const struct lift_net *net)
{
	*p++ = ' ';
	*p++ = 'c';
	for (unsigned i = 0; i < sizeof(net->addr); i++)
		p = fmt_hex(p, net->addr[i], 2);
	*p++ = '/';
	return fmt_u64(p, net->bits);
}

static size_t put_payload(char *out, const struct lift *l, int64_t until_s)
{
	char *p = mempcpy(out, l->id, LIFT_ID - 1);
	*p++ = ' ';
	p = fmt_u64(p, (uint64_t)until_s);
	for (unsigned i = 0; i < l->clients; i++)
		p = put_net(p, &l->client[i]);
	for (unsigned i = 0; i < l->sites; i++) {
		*p++ = ' ';
		*p++ = 's';
		p = fmt_str(p, str_of(l->site[i]));
	}
	return (size_t)(p - out);
}

size_t lift_token_write(char out[LIFT_TOKEN_MAX], struct str key, const struct lift *l, int64_t until_s)
{
	char payload[PAYLOAD_MAX];
	uint8_t mac[MAC];
	char *p = mempcpy(out, KIND, KIND_N);
	size_t n = put_payload(payload, l, until_s);
	p = encode(p, (const uint8_t *)payload, n);
	if (!sign(key, (struct str){out, (size_t)(p - out)}, mac))
		return 0;
	*p++ = '.';
	return (size_t)(encode(p, mac, sizeof(mac)) - out);
}

/* --- reading --- */

static bool is_signed(struct str text, struct str mac_text, unsigned keys, const struct str *key)
{
	uint8_t given[MAC + 1], right[MAC];
	size_t n;
	bool good = false;
	if (mac_text.n != MAC_TEXT || !decode(mac_text, given, &n) || n != MAC)
		return false;
	for (unsigned i = 0; i < keys; i++)
		good |= sign(key[i], text, right) && CRYPTO_memcmp(given, right, MAC) == 0;
	return good;
}

static bool take_number(struct str s, uint64_t max, uint64_t *out)
{
	*out = 0;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		*out = *out * 10 + (uint64_t)(s.p[i] - '0');
		if (*out > max)
			return false;
	}
	return s.n > 0;
}

static bool take_hex(struct str s, uint8_t *out)
{
	static const char hex[] = "0123456789abcdef";
	for (size_t i = 0; i < s.n; i++) {
		const char *d = s.p[i] ? strchr(hex, s.p[i]) : NULL;
		if (!d)
			return false;
		out[i / 2] = (uint8_t)(out[i / 2] << 4 | (d - hex));
	}
	return true;
}

static bool take_net(struct str s, struct lift *l)
{
	struct lift_net *net = &l->client[l->clients];
	const size_t digits_n = 2 * sizeof(net->addr);
	uint64_t bits;
	if (l->clients == LIFT_CLIENTS || s.n < digits_n + 2 || s.p[digits_n] != '/' ||
	    !take_hex((struct str){s.p, digits_n}, net->addr) ||
	    !take_number((struct str){s.p + digits_n + 1, s.n - digits_n - 1}, 128, &bits))
		return false;
	net->bits = (uint8_t)bits;
	l->clients++;
	return true;
}

static bool take_site(struct str s, struct lift *l)
{
	if (l->sites == LIFT_SITES || s.n == 0 || s.n >= LIFT_SITE || memchr(s.p, 0, s.n))
		return false;
	memcpy(l->site[l->sites++], s.p, s.n);
	return true;
}

static struct str next_word(struct str *rest)
{
	const char *space = rest->n ? memchr(rest->p, ' ', rest->n) : NULL;
	struct str word = {rest->p, space ? (size_t)(space - rest->p) : rest->n};
	size_t used = word.n + (space != NULL);
	*rest = (struct str){rest->p + used, rest->n - used};
	return word;
}

static bool take_payload(struct str s, struct lift *l, int64_t *until_s)
{
	uint8_t id[LIFT_ID / 2] = {0};
	uint64_t until;
	struct str word = next_word(&s);
	*l = (struct lift){.effect = LIFT_FULL};
	if (word.n != LIFT_ID - 1 || !take_hex(word, id))
		return false;
	memcpy(l->id, word.p, word.n);
	if (!take_number(next_word(&s), UNTIL_MAX, &until))
		return false;
	*until_s = (int64_t)until;
	while (s.n) {
		word = next_word(&s);
		struct str value = {word.p + 1, word.n ? word.n - 1 : 0};
		if (!word.n || (word.p[0] != 'c' && word.p[0] != 's'))
			return false; /* it may narrow the scope in a later version */
		if (!(word.p[0] == 'c' ? take_net(value, l) : take_site(value, l)))
			return false;
	}
	return true;
}

bool lift_token_read(struct str token, unsigned keys, const struct str *key, struct lift *l, int64_t *until_s)
{
	uint8_t payload[PAYLOAD_MAX + 3];
	size_t n;
	if (token.n < KIND_N + 1 + MAC_TEXT || token.n > LIFT_TOKEN_MAX || memcmp(token.p, KIND, KIND_N) != 0)
		return false;
	struct str text = {token.p, token.n - MAC_TEXT - 1}, mac = {token.p + text.n + 1, MAC_TEXT};
	if (text.n < KIND_N || token.p[text.n] != '.' || !is_signed(text, mac, keys, key))
		return false;
	return decode((struct str){text.p + KIND_N, text.n - KIND_N}, payload, &n) && n <= PAYLOAD_MAX &&
	       take_payload((struct str){(const char *)payload, n}, l, until_s);
}
