/* SPDX-License-Identifier: MIT */
#include "base/tls_cert.h"

#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

struct tls_cert {
	X509 *leaf;
	STACK_OF(X509) * chain;
	EVP_PKEY *key;
	unsigned names;
	struct str *name;
};

const char *tls_error_text(void)
{
	unsigned long e = ERR_peek_error();
	const char *text = e ? ERR_reason_error_string(e) : NULL;
	ERR_clear_error();
	return text ? text : "of no known reason";
}

static bool wrong_with(struct tls_wrong *w, bool of_key, const char *text, const char *detail)
{
	w->of_key = of_key;
	snprintf(w->text, sizeof(w->text), text, detail);
	ERR_clear_error();
	return false;
}

static BIO *over(struct str text)
{
	return text.n > 0 && text.n <= INT_MAX ? BIO_new_mem_buf(text.p, (int)text.n) : NULL;
}

/* --- certificates --- */

/* False: what is there can't be read. The end of the text is no error. */
static bool next_certificate(BIO *in, X509 **out)
{
	*out = PEM_read_bio_X509(in, NULL, NULL, NULL);
	if (*out)
		return true;
	bool end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
	ERR_clear_error();
	return end;
}

static bool read_chain(struct tls_cert *c, BIO *in, struct tls_wrong *w)
{
	X509 *more;
	if (in && !next_certificate(in, &c->leaf))
		return wrong_with(w, false, "holds a certificate that cannot be read (expected PEM%s)", "");
	if (!c->leaf)
		return wrong_with(w, false, "holds no certificate (expected PEM, with its chain behind it%s)",
				  "");
	c->chain = sk_X509_new_null();
	for (;;) {
		if (!next_certificate(in, &more))
			return wrong_with(w, false, "holds a chain that cannot be read (expected PEM%s)", "");
		if (!more)
			return true;
		if (!c->chain || !sk_X509_push(c->chain, more)) {
			X509_free(more);
			return wrong_with(w, false, "out of memory%s", "");
		}
	}
}

/* --- keys --- */

static int no_passphrase(char *out, int size, int writing, void *asked)
{
	(void)out, (void)size, (void)writing;
	*(bool *)asked = true;
	return -1;
}

static bool read_key(struct tls_cert *c, BIO *in, struct tls_wrong *w)
{
	bool encrypted = false;
	c->key = in ? PEM_read_bio_PrivateKey(in, NULL, no_passphrase, &encrypted) : NULL;
	if (encrypted)
		return wrong_with(w, true, "is encrypted (expected a key without a passphrase%s)", "");
	if (!c->key)
		return wrong_with(w, true, "holds no private key that can be read (expected PEM%s)", "");
	if (X509_check_private_key(c->leaf, c->key) != 1)
		return wrong_with(w, true,
				  "does not fit the certificate (expected the key that it was made with%s)",
				  "");
	return true;
}

/* --- names --- */

static bool add_name(struct tls_cert *c, const ASN1_STRING *s)
{
	const unsigned char *from = ASN1_STRING_get0_data(s);
	int n = ASN1_STRING_length(s);
	if (n <= 0 || n > 253 || memchr(from, 0, (size_t)n))
		return true; /* no name that anybody could ask for */
	char *copy = malloc((size_t)n);
	if (!copy)
		return false;
	for (int i = 0; i < n; i++)
		copy[i] = (char)ascii_lower(from[i]);
	c->name[c->names++] = (struct str){copy, (size_t)n};
	return true;
}

static bool read_names(struct tls_cert *c)
{
	GENERAL_NAMES *all = X509_get_ext_d2i(c->leaf, NID_subject_alt_name, NULL, NULL);
	int n = all ? sk_GENERAL_NAME_num(all) : 0;
	bool ok = true;
	c->name = calloc((size_t)n + 1, sizeof(*c->name));
	for (int i = 0; c->name && ok && i < n; i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(all, i);
		if (g->type == GEN_DNS)
			ok = add_name(c, g->d.dNSName);
	}
	GENERAL_NAMES_free(all);
	return ok && c->name;
}

unsigned tls_cert_names(const struct tls_cert *c)
{
	return c->names;
}

struct str tls_cert_name(const struct tls_cert *c, unsigned i)
{
	return c->name[i];
}

/* --- the whole --- */

struct tls_cert *tls_cert_new(struct str certificate, struct str key, struct tls_wrong *w)
{
	struct tls_cert *c = calloc(1, sizeof(*c));
	BIO *of_certificate = over(certificate), *of_key = over(key);
	bool ok = c && read_chain(c, of_certificate, w) && read_key(c, of_key, w);
	if (!c || (ok && !read_names(c)))
		ok = wrong_with(w, false, "out of memory%s", "");
	BIO_free(of_certificate);
	BIO_free(of_key);
	if (ok)
		return c;
	tls_cert_free(c);
	return NULL;
}

void tls_cert_free(struct tls_cert *c)
{
	if (!c)
		return;
	X509_free(c->leaf);
	sk_X509_pop_free(c->chain, X509_free);
	EVP_PKEY_free(c->key); /* wipes it */
	for (unsigned i = 0; i < c->names; i++)
		free((char *)(uintptr_t)c->name[i].p);
	free(c->name);
	free(c);
}

bool tls_cert_is_rsa(const struct tls_cert *c)
{
	int id = EVP_PKEY_get_base_id(c->key);
	return id == EVP_PKEY_RSA || id == EVP_PKEY_RSA_PSS;
}

static wall_t wall_of(const ASN1_TIME *t)
{
	struct tm tm;
	return ASN1_TIME_to_tm(t, &tm) ? (wall_t)timegm(&tm) * USEC_PER_SEC : 0;
}

void tls_cert_valid(const struct tls_cert *c, wall_t *from, wall_t *until)
{
	*from = wall_of(X509_get0_notBefore(c->leaf));
	*until = wall_of(X509_get0_notAfter(c->leaf));
}

bool tls_cert_use(const struct tls_cert *c, SSL_CTX *ctx, struct tls_wrong *w)
{
	ERR_clear_error();
	if (SSL_CTX_use_certificate(ctx, c->leaf) != 1)
		return wrong_with(w, false, "is refused by OpenSSL: %s", tls_error_text());
	if (SSL_CTX_use_PrivateKey(ctx, c->key) != 1)
		return wrong_with(w, true, "is refused by OpenSSL: %s", tls_error_text());
	if (SSL_CTX_set1_chain(ctx, c->chain) != 1)
		return wrong_with(w, false, "has a chain that is refused by OpenSSL: %s", tls_error_text());
	return true;
}

X509_STORE *tls_trust_new(struct str pem)
{
	X509_STORE *store = X509_STORE_new();
	unsigned n = 0;
	BIO *in = over(pem);
	X509 *x;
	while (in && store && next_certificate(in, &x) && x) {
		n += X509_STORE_add_cert(store, x) == 1;
		X509_free(x);
	}
	BIO_free(in);
	ERR_clear_error();
	if (n)
		return store;
	X509_STORE_free(store);
	return NULL;
}
