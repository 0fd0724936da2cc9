/* SPDX-License-Identifier: MIT */
/*
 * What both sides of TLS have in common, for base/tls_server.c and base/tls_client.c: TLS 1.2 and 1.3, suites
 * with forward secrecy and authenticated encryption only (RFC 9325, 4.2), no renegotiation, buffers that go
 * when they are empty.
 */
#ifndef WEIR_BASE_TLS_COMMON_H
#define WEIR_BASE_TLS_COMMON_H

#include <openssl/types.h>
#include <stdbool.h>

/* NULL: out of memory. */
SSL_CTX *tls_context_new(bool server);

#endif
