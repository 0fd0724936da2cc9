/* SPDX-License-Identifier: MIT */
/*
 * TLS under a stream: for base/stream.c only, which calls this where a stream has TLS; owners see
 * base/stream.h.
 *
 * The socket's readiness is kept here, and the stream's own flags tell of content: records that OpenSSL holds
 * already make it readable without a byte from the socket. What OpenSSL writes and the socket does not take
 * is kept and leaves first, so OpenSSL never waits for room; the content of such a record is reported as
 * taken only once all of the record has left, so that "taken" means the same as on a plain stream.
 */
#ifndef WEIR_BASE_STREAM_TLS_H
#define WEIR_BASE_STREAM_TLS_H

#include "base/stream.h"

void stream_tls_event(struct stream *, short what);
ssize_t stream_tls_read(struct stream *, void *, size_t n);
ssize_t stream_tls_writev(struct stream *, const struct iovec *, int count);
void stream_tls_shutdown(struct stream *);
/* Frees what TLS had, and says goodbye (close_notify) first where that is true. */
void stream_tls_end(struct stream *, bool goodbye);

#endif
