/* SPDX-License-Identifier: MIT */
/*
 * A certificate with its chain, and the private key that fits it, out of PEM text.
 *
 * The object is its maker's; what OpenSSL contexts take from it they hold themselves, so it may go once they
 * are made. Nothing here reads files, keeps the texts, or says a word of a key's content. Errors are told as
 * texts that fit behind the name of the file: what is wrong, and what was expected.
 */
#ifndef WEIR_BASE_TLS_CERT_H
#define WEIR_BASE_TLS_CERT_H

#include <openssl/types.h>
#include <stdbool.h>

#include "base/clock.h"
#include "base/str.h"

struct tls_wrong {
	bool of_key; /* it is the key's file that is wrong, not the certificate's */
	char text[160];
};

struct tls_cert;

/* The first certificate of the text is the one that is shown, others follow as its chain. NULL: *wrong says
 * why. */
struct tls_cert *tls_cert_new(struct str certificate, struct str key, struct tls_wrong *wrong);
void tls_cert_free(struct tls_cert *); /* NULL is harmless */

/* Its DNS names (RFC 6125, 6.4: the SANs, wildcards too), lower case. */
unsigned tls_cert_names(const struct tls_cert *);
struct str tls_cert_name(const struct tls_cert *, unsigned i);

/* Of RSA, RSA-PSS too; else it is one of elliptic curves. */
bool tls_cert_is_rsa(const struct tls_cert *);

/* When it begins and ends to hold. */
void tls_cert_valid(const struct tls_cert *, wall_t *from, wall_t *until);

/* Gives it to a context, beside those of other kinds that it has. False: OpenSSL refuses it, *wrong says why.
 */
bool tls_cert_use(const struct tls_cert *, SSL_CTX *, struct tls_wrong *wrong);

/* The certificates of a PEM text, to be trusted; X509_STORE_free lets it go. NULL: none that can be read. */
X509_STORE *tls_trust_new(struct str pem);

/* The text of OpenSSL's first error in this thread's queue, static; the queue is empty afterwards. */
const char *tls_error_text(void);

#endif
