/* SPDX-License-Identifier: MIT */
/*
 * What a TLS listener shows and accepts: TLS 1.2 and 1.3 with forward secrecy, HTTP/1.1 by ALPN, one of
 * several certificates by the name that the client asks for (SNI), tickets to resume by.
 *
 * Of the certificates that bear a name exactly, then of those with a wildcard for it, the first of each kind
 * (ECDSA, RSA) is shown, ECDSA where the client takes it; a client that asks for none of the names, or for
 * none at all, gets the first of the list. Contexts are made here, once; a connection makes none.
 *
 * The tickets' keys are the caller's and may be shared by several servers; they must outlive the server, and
 * the server its connections. For one thread.
 */
#ifndef WEIR_BASE_TLS_SERVER_H
#define WEIR_BASE_TLS_SERVER_H

#include <openssl/types.h>

#include "base/tls_cert.h"
#include "base/tls_tickets.h"

struct tls_server;

/* certs > 0; the certificates stay the caller's. NULL: OpenSSL refuses one of them, *which and *wrong say
 * which and why; or memory is out. */
struct tls_server *tls_server_new(struct tls_cert *const *cert, unsigned certs, const struct tickets *,
				  unsigned *which, struct tls_wrong *wrong);
void tls_server_free(struct tls_server *); /* NULL is harmless */

/* A fresh connection's; NULL: out of memory. */
SSL *tls_server_session(const struct tls_server *);

#endif
