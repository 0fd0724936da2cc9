/* SPDX-License-Identifier: MIT */
/* For tests of TLS: certificates made on the spot, as PEM. */
#ifndef WEIR_TESTS_UNIT_TLS_CASE_H
#define WEIR_TESTS_UNIT_TLS_CASE_H

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

struct made {
	X509 *x;
	EVP_PKEY *k;
	char *certificate, *key; /* PEM, the maker's to free */
};

struct making {
	const char *san;	   /* "DNS:a.example,IP:127.0.0.1"; NULL: none */
	const struct made *issuer; /* NULL: itself */
	bool rsa;
	long from, until;	/* seconds from now */
	const char *passphrase; /* of the key; NULL: none */
	int bits;		/* of RSA; 0: 2048 */
};

static inline char *pem_of(BIO *b)
{
	char *p;
	long n = BIO_get_mem_data(b, &p);
	char *copy = strndup(p, (size_t)n);
	BIO_free(b);
	return copy;
}

static inline void add_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	X509_add_ext(x, e, -1);
	X509_EXTENSION_free(e);
}

static inline struct made make_certificate(struct making m)
{
	static long serial;
	struct made out;
	out.k = m.rsa ? EVP_RSA_gen((unsigned)(m.bits ? m.bits : 2048)) : EVP_EC_gen("P-256");
	out.x = X509_new();
	X509 *issuer = m.issuer ? m.issuer->x : out.x;
	X509_NAME *name = X509_get_subject_name(out.x);
	char cn[32];
	snprintf(cn, sizeof(cn), "made %ld", ++serial);
	X509_set_version(out.x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(out.x), serial);
	X509_gmtime_adj(X509_getm_notBefore(out.x), m.from ? m.from : -60);
	X509_gmtime_adj(X509_getm_notAfter(out.x), m.until ? m.until : 86400);
	X509_set_pubkey(out.x, out.k);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (unsigned char *)cn, -1, -1, 0);
	X509_set_issuer_name(out.x, X509_get_subject_name(issuer));
	if (!m.issuer)
		add_extension(out.x, issuer, NID_basic_constraints, "critical,CA:TRUE");
	if (m.san)
		add_extension(out.x, issuer, NID_subject_alt_name, m.san);
	X509_sign(out.x, m.issuer ? m.issuer->k : out.k, EVP_sha256());
	BIO *b = BIO_new(BIO_s_mem());
	PEM_write_bio_X509(b, out.x);
	out.certificate = pem_of(b);
	b = BIO_new(BIO_s_mem());
	PEM_write_bio_PrivateKey(b, out.k, m.passphrase ? EVP_aes_128_cbc() : NULL,
				 (const unsigned char *)m.passphrase,
				 m.passphrase ? (int)strlen(m.passphrase) : 0, NULL, NULL);
	out.key = pem_of(b);
	return out;
}

static inline void free_made(struct made *m)
{
	X509_free(m->x);
	EVP_PKEY_free(m->k);
	free(m->certificate);
	free(m->key);
}

#endif
