/* SPDX-License-Identifier: MIT */
#include "base/tls_server.h"

#include <assert.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/tls_common.h"

#define NAME_MAX_BYTES 253

enum kind { KIND_ECDSA, KIND_RSA, KINDS };

struct choice { /* of each kind, the place of a certificate in the list; -1: none */
	int of[KINDS];
};

struct name {
	struct str text; /* owned */
	struct choice choice;
	SSL_CTX *ctx;
};

struct context {
	struct choice choice;
	SSL_CTX *ctx;
};

struct tls_server {
	SSL_CTX *first; /* for whom no name fits; one of context */
	unsigned names, contexts;
	struct name *name; /* in order of text */
	struct context *context;
	const struct tickets *tickets;
};

/* --- ALPN (RFC 7301, 3.2) --- */

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_n,
			   const unsigned char *offered, unsigned n, void *arg)
{
	(void)ssl, (void)arg;
	for (unsigned i = 0; i < n && offered[i] < n - i; i += 1u + offered[i]) {
		if (!str_eq((struct str){(const char *)offered + i + 1, offered[i]}, STR("http/1.1")))
			continue;
		*out = offered + i + 1;
		*out_n = offered[i];
		return SSL_TLSEXT_ERR_OK;
	}
	return SSL_TLSEXT_ERR_ALERT_FATAL; /* no_application_protocol */
}

/* --- names --- */

static int compare(struct str a, struct str b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int c = n ? memcmp(a.p, b.p, n) : 0;
	return c ? c : (a.n > b.n) - (a.n < b.n);
}

/* The place of a text, or where it would be. */
static unsigned place_of(const struct tls_server *s, struct str text)
{
	unsigned low = 0, high = s->names;
	while (low < high) {
		unsigned middle = (low + high) / 2;
		if (compare(s->name[middle].text, text) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static const struct name *find(const struct tls_server *s, struct str text)
{
	unsigned at = place_of(s, text);
	return at < s->names && str_eq(s->name[at].text, text) ? &s->name[at] : NULL;
}

/* A wildcard stands for one label, the leftmost (RFC 6125, 6.4.3). */
static const struct name *find_for(const struct tls_server *s, const char *asked)
{
	char text[NAME_MAX_BYTES + 1];
	struct str whole = {text, strnlen(asked, NAME_MAX_BYTES)};
	for (size_t i = 0; i < whole.n; i++)
		text[i] = (char)ascii_lower((unsigned char)asked[i]);
	const struct name *found = find(s, whole);
	char *dot = found ? NULL : memchr(text, '.', whole.n);
	if (!dot || dot == text)
		return found;
	dot[-1] = '*';
	return find(s, (struct str){dot - 1, whole.n - (size_t)(dot - 1 - text)});
}

static int choose_certificate(SSL *ssl, int *alert, void *arg)
{
	const struct tls_server *s = arg;
	const char *asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	const struct name *n = asked ? find_for(s, asked) : NULL;
	if (n && n->ctx != s->first && !SSL_set_SSL_CTX(ssl, n->ctx)) {
		*alert = SSL_AD_INTERNAL_ERROR; /* out of memory: rather none than another name's */
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	}
	return n ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

static enum kind kind_of(const struct tls_cert *c)
{
	return tls_cert_is_rsa(c) ? KIND_RSA : KIND_ECDSA;
}

static bool insert_name(struct tls_server *s, unsigned at, struct str text)
{
	struct name *grown = realloc(s->name, (s->names + 1) * sizeof(*grown));
	if (!grown)
		return false;
	s->name = grown;
	char *copy = strndup(text.p, text.n);
	if (!copy)
		return false;
	memmove(&grown[at + 1], &grown[at], (s->names - at) * sizeof(*grown));
	grown[at] = (struct name){.choice = {{-1, -1}}};
	grown[at].text.p = copy;
	grown[at].text.n = text.n;
	s->names++;
	return true;
}

/* The first certificate of a kind that bears a name keeps it. */
static bool add_name(struct tls_server *s, struct str text, enum kind kind, int cert)
{
	unsigned at = place_of(s, text);
	bool known = at < s->names && str_eq(s->name[at].text, text);
	if (!known && !insert_name(s, at, text))
		return false;
	if (s->name[at].choice.of[kind] < 0)
		s->name[at].choice.of[kind] = cert;
	return true;
}

/* --- tickets --- */

static int key_with(const struct ticket_key *k, const unsigned char *iv, EVP_CIPHER_CTX *cipher,
		    EVP_MAC_CTX *mac, int making)
{
	OSSL_PARAM p[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)(uintptr_t)k->mac,
						  sizeof(k->mac)),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)(uintptr_t) "SHA256", 0),
		OSSL_PARAM_construct_end(),
	};
	return EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, k->cipher, iv, making) == 1 &&
	       EVP_MAC_CTX_set_params(mac, p) == 1;
}

/* OpenSSL asks for the key of a ticket that it makes or was shown. 0: none; 2: it
 * is good, and a new one is to be sent: it is old, or of TLS 1.3, where each serves once (RFC 8446, C.4). */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
		     EVP_MAC_CTX *mac, int making)
{
	const struct tls_server *s = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	const struct tickets *t = s->tickets;
	if (making) {
		memcpy(name, t->now.name, sizeof(t->now.name));
		if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) != 1)
			return -1;
		return key_with(&t->now, iv, cipher, mac, 1) ? 1 : -1;
	}
	const struct ticket_key *k = tickets_find(t, name);
	if (!k)
		return 0;
	if (!key_with(k, iv, cipher, mac, 0))
		return -1;
	return k == &t->now && SSL_version(ssl) < TLS1_3_VERSION ? 1 : 2;
}

/* --- contexts --- */

static void set_tickets(SSL_CTX *ctx, const struct tickets *t)
{
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* it would be one worker's only */
	if (!t->period) {
		SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
		SSL_CTX_set_num_tickets(ctx, 0);
		return;
	}
	SSL_CTX_set_timeout(ctx, (long)(t->period / USEC_PER_SEC)); /* for so long its key is kept at least */
	SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
}

static SSL_CTX *make_context(struct tls_server *s, struct tls_cert *const *cert, const struct choice *choice,
			     unsigned *which, struct tls_wrong *wrong)
{
	SSL_CTX *ctx = tls_context_new(true);
	if (!ctx)
		return NULL;
	SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
	SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"weir", 4);
	SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
	SSL_CTX_set_tlsext_servername_callback(ctx, choose_certificate);
	SSL_CTX_set_tlsext_servername_arg(ctx, s);
	SSL_CTX_set_app_data(ctx, (char *)s);
	set_tickets(ctx, s->tickets);
	for (int kind = 0; kind < KINDS; kind++) {
		if (choice->of[kind] < 0)
			continue;
		*which = (unsigned)choice->of[kind];
		if (!tls_cert_use(cert[*which], ctx, wrong)) {
			SSL_CTX_free(ctx);
			return NULL;
		}
	}
	return ctx;
}

static SSL_CTX *context_for(struct tls_server *s, struct tls_cert *const *cert, const struct choice *choice,
			    unsigned *which, struct tls_wrong *wrong)
{
	for (unsigned i = 0; i < s->contexts; i++)
		if (memcmp(&s->context[i].choice, choice, sizeof(*choice)) == 0)
			return s->context[i].ctx;
	struct context *grown = realloc(s->context, (s->contexts + 1) * sizeof(*grown));
	if (!grown)
		return NULL;
	s->context = grown;
	SSL_CTX *ctx = make_context(s, cert, choice, which, wrong);
	if (ctx)
		grown[s->contexts++] = (struct context){*choice, ctx};
	return ctx;
}

/* For whom asks for nothing: the first certificate, and the first of the other kind that bears its first
 * name. */
static struct choice first_choice(const struct tls_server *s, struct tls_cert *const *cert)
{
	struct choice c = {{-1, -1}};
	if (tls_cert_names(cert[0])) {
		const struct name *first = find(s, tls_cert_name(cert[0], 0));
		assert(first); /* all names are in */
		c = first->choice;
	}
	c.of[kind_of(cert[0])] = 0;
	return c;
}

static bool make_all(struct tls_server *s, struct tls_cert *const *cert, unsigned certs, unsigned *which,
		     struct tls_wrong *wrong)
{
	for (unsigned i = 0; i < certs; i++)
		for (unsigned k = 0; k < tls_cert_names(cert[i]); k++)
			if (!add_name(s, tls_cert_name(cert[i], k), kind_of(cert[i]), (int)i))
				return false;
	struct choice first = first_choice(s, cert);
	s->first = context_for(s, cert, &first, which, wrong);
	if (!s->first)
		return false;
	for (unsigned i = 0; i < s->names; i++) {
		struct name *n = &s->name[i];
		n->ctx = context_for(s, cert, &n->choice, which, wrong);
		if (!n->ctx)
			return false;
	}
	return true;
}

struct tls_server *tls_server_new(struct tls_cert *const *cert, unsigned certs, const struct tickets *tickets,
				  unsigned *which, struct tls_wrong *wrong)
{
	struct tls_server *s = calloc(1, sizeof(*s));
	*which = 0;
	*wrong = (struct tls_wrong){false, "out of memory"};
	if (!s)
		return NULL;
	s->tickets = tickets;
	if (make_all(s, cert, certs, which, wrong))
		return s;
	tls_server_free(s);
	return NULL;
}

void tls_server_free(struct tls_server *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < s->contexts; i++)
		SSL_CTX_free(s->context[i].ctx);
	for (unsigned i = 0; i < s->names; i++)
		free((char *)(uintptr_t)s->name[i].text.p);
	free(s->context);
	free(s->name);
	free(s);
}

SSL *tls_server_session(const struct tls_server *s)
{
	return SSL_new(s->first);
}
