/* SPDX-License-Identifier: MIT */
/*
 * How a TLS connection is made to others: whom to trust, what to show, and sessions to resume by. The
 * server's certificate is checked against the trusted ones and the name it is asked under, unless that is
 * switched off.
 *
 * Reference-counted, as connections live as long as their owners like; one thread's.
 */
#ifndef WEIR_BASE_TLS_CLIENT_H
#define WEIR_BASE_TLS_CLIENT_H

#include <openssl/types.h>
#include <stdbool.h>

#include "base/str.h"
#include "base/tls_cert.h"

struct tls_client;

struct tls_client_setup {
	X509_STORE *trust;	    /* see tls_trust_new; NULL: the server's certificate is not checked */
	const struct tls_cert *own; /* shown where the server asks for one; NULL: none. The caller's */
	bool http;		    /* says by ALPN that HTTP/1.1 is spoken */
};

/* NULL: *wrong says why. */
struct tls_client *tls_client_new(const struct tls_client_setup *, struct tls_wrong *wrong);
struct tls_client *tls_client_hold(struct tls_client *); /* NULL is harmless, here and there */
void tls_client_drop(struct tls_client *);

/* The session that the last connection to a server left, for the next to resume. {NULL}: none. */
struct tls_memory {
	struct ssl_session_st *session; /* of OpenSSL */
};
void tls_memory_forget(struct tls_memory *);

/*
 * A fresh connection's. `name` is a host name or an address as text: the certificate must bear it, and a name
 * is asked for (SNI). NULL, where nothing is checked: none is asked for. memory may be NULL; else it must
 * outlive the connection. NULL: out of memory.
 */
SSL *tls_client_session(struct tls_client *, const char *name, struct tls_memory *memory);

/* Whether the handshake failed because the server's certificate is not to be trusted: why, as a static text;
 * NULL: it did not. */
const char *tls_client_distrust(const SSL *);

#endif
