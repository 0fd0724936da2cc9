/* SPDX-License-Identifier: MIT */
/*
 * A stream is one connected (or connecting) socket in a loop: edge-triggered, with its readiness remembered;
 * TCP or unix, and plain or, from a moment that its owner chooses, with TLS under the same calls.
 *
 * There is one libevent event a socket, for reading, writing and the peer's close, added once. When it fires
 * the flags below are brought up to date and `ready` is called; the owner then reads and writes until the
 * calls say STREAM_AGAIN, or stops early (a budget, back-pressure) and comes back through loop_soon: an edge
 * is not told twice, but can_read and can_write stay set until the kernel says otherwise.
 *
 * The owner embeds the stream. `ready` is never called from inside a call of this module, only from the loop;
 * it may close the stream, and may bury (not free) its owner. The process must ignore SIGPIPE.
 *
 * TLS: stream_accept_tls or stream_connect_tls begins it; until stream_handshake says DONE, `ready` means
 * that it is to be called again, and nothing else is. Then all is as on a plain stream, but that an end
 * without close_notify is STREAM_ERROR (RFC 8446, 6.1: what came may have been cut), and that what a write
 * did not take must be what the next one begins with. stream_shutdown and stream_close say close_notify,
 * stream_reset does not.
 *
 * libevent hides a close behind an error: a reset that comes in one edge with the last bytes is not told, and
 * is seen by the next write, or by one more read, for which there is stream_may_read.
 */
#ifndef WEIR_BASE_STREAM_H
#define WEIR_BASE_STREAM_H

#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/loop.h"

#define STREAM_AGAIN ((ssize_t)-1) /* nothing now; ready will be called */
#define STREAM_ERROR ((ssize_t)-2) /* the connection is lost; errno is in err (EPROTO: TLS was broken) */

struct buf;	   /* base/buf.h */
struct tls;	   /* base/stream_tls.c */
struct tls_server; /* base/tls_server.h */
struct tls_client; /* base/tls_client.h */
struct tls_memory;
struct buf; /* base/buf.h */

struct stream {
	struct loop *loop;
	void (*ready)(struct stream *);
	int fd; /* -1: closed */
	int err;
	bool can_read;
	bool unsure; /* the last edge may have brought a reset behind its data: see stream_may_read */
	bool can_write;
	bool connecting;  /* no event came since connect */
	bool peer_closed; /* the peer has sent FIN, or a write failed: reading comes to an end. Half-close
			     can't be told */
	bool eof;	  /* the FIN was read, or close_notify */
	struct tls *tls;  /* NULL: plain */
	struct event event;
};

/*
 * Takes fd, which is non-blocking already and is closed by stream_close. False: libevent refused (out of
 * memory); fd is closed then.
 */
bool stream_open(struct stream *, struct loop *, int fd, void (*ready)(struct stream *));

/*
 * Starts a connection. `ready` is called when it is made or failed: then stream_connected() tells which.
 * False: it failed at once, errno says why, nothing is left open.
 */
bool stream_connect(struct stream *, struct loop *, const struct sockaddr *, socklen_t,
		    void (*ready)(struct stream *));

/* After the first ready of a connecting stream: 0 when connected, else the errno. Clears `connecting`. */
int stream_connected(struct stream *);

/*
 * For who needs more bytes to go on: is it worth a try? Libevent tells a reset as mere readiness, so after a
 * short read one more is tried, once an edge. Where a message is complete can_read is enough, and costs no
 * call.
 */
static inline bool stream_may_read(struct stream *s)
{
	if (s->can_read)
		return true;
	bool may = s->unsure;
	s->unsure = false;
	return may;
}

/* > 0: bytes; 0: end of stream; STREAM_AGAIN; STREAM_ERROR. n must not be 0. */
ssize_t stream_read(struct stream *, void *, size_t n);
/* The same, to the end of a buf, which gets room for `want` bytes. STREAM_ERROR with err ENOMEM: it gets
 * none. */
ssize_t stream_fill(struct stream *, struct buf *, size_t want);

/* >= 0: bytes taken, which may be fewer than asked; STREAM_AGAIN; STREAM_ERROR. */
ssize_t stream_writev(struct stream *, const struct iovec *, int count);
ssize_t stream_write(struct stream *, const void *, size_t n);

/*
 * Of a connection on which nothing is to come: nothing has. What TLS itself has to say between two messages
 * (tickets, new keys) is taken in. A plain stream that turned readable is not quiet.
 */
bool stream_quiet(struct stream *);

/* Sends FIN after what was written; reading goes on. */
void stream_shutdown(struct stream *);

/* Closes at once; what the kernel holds is still sent. Twice is harmless. */
void stream_close(struct stream *);

/* Closes with a reset: the peer learns that the message was cut (RFC 9112, 8). */
void stream_reset(struct stream *);

/* What err means, as a text that lives as long as the stream. */
const char *stream_error_text(const struct stream *);

/* --- TLS --- */

enum stream_handshake { STREAM_HANDSHAKE_DONE, STREAM_HANDSHAKE_MORE, STREAM_HANDSHAKE_FAILED };

enum stream_tls_fault {
	STREAM_TLS_FINE,
	STREAM_TLS_BROKEN,    /* the peer, or we, did not agree; err and stream_error_text say more */
	STREAM_TLS_CUT,	      /* it closed without close_notify */
	STREAM_TLS_UNTRUSTED, /* its certificate */
	STREAM_TLS_PLAIN,     /* of a client: what it said looks like plain HTTP */
};

/*
 * As a server; the server outlives the stream. `early` (may be NULL): bytes that were read before, which
 * become the stream's. False: out of memory, and the stream is as it was.
 */
bool stream_accept_tls(struct stream *, const struct tls_server *, struct buf *early);

/* As a client, once it is connected: see tls_client_session for name and memory. False: as above. */
bool stream_connect_tls(struct stream *, struct tls_client *, const char *name, struct tls_memory *memory);

enum stream_handshake stream_handshake(struct stream *);
enum stream_tls_fault stream_tls_fault(const struct stream *);
bool stream_tls_resumed(const struct stream *); /* after the handshake: with the keys of an earlier one */

/* After a handshake that failed: the stream is plain again, what was read of it is gone. */
void stream_drop_tls(struct stream *);

static inline bool stream_is_open(const struct stream *s)
{
	return s->fd >= 0;
}

#endif
