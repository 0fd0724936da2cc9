/* SPDX-License-Identifier: MIT */
/*
 * A stream is one connected (or connecting) socket in a loop: edge-triggered, with its readiness remembered.
 *
 * There is one libevent event a socket, for reading, writing and the peer's close, added once. When it fires
 * the flags below are brought up to date and `ready` is called; the owner then reads and writes until the
 * calls say STREAM_AGAIN, or stops early (a budget, back-pressure) and comes back through loop_soon: an edge
 * is not told twice, but can_read and can_write stay set until the kernel says otherwise.
 *
 * The owner embeds the stream. `ready` is never called from inside a call of this module, only from the loop;
 * it may close the stream, and may bury (not free) its owner. The process must ignore SIGPIPE.
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
#define STREAM_ERROR ((ssize_t)-2) /* the connection is lost; errno is in err */

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
	bool eof;	  /* the FIN was read */
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

/* >= 0: bytes taken, which may be fewer than asked; STREAM_AGAIN; STREAM_ERROR. */
ssize_t stream_writev(struct stream *, const struct iovec *, int count);
ssize_t stream_write(struct stream *, const void *, size_t n);

/* Sends FIN after what was written; reading goes on. */
void stream_shutdown(struct stream *);

/* Closes at once; what the kernel holds is still sent. Twice is harmless. */
void stream_close(struct stream *);

/* Closes with a reset: the peer learns that the message was cut (RFC 9112, 8). */
void stream_reset(struct stream *);

static inline bool stream_is_open(const struct stream *s)
{
	return s->fd >= 0;
}

#endif
