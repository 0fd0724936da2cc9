/* SPDX-License-Identifier: MIT */
/*
 * One connection from a client (in practice from the load balancer, which sends many clients' requests over
 * it). It reads request heads, hands each to an exchange, one at a time and in order, and owns the bytes on
 * their way in and out.
 *
 *       accepted
 *      /    |   \
 *     |     |    +---> PREFACE --- header read --+
 *     |     v                                    |
 *     |  HANDSHAKE <------------- with TLS ------+
 *     |     |                                    |
 *     v     v  done                              v      first byte      head complete
 *     +---->+-----------------------------------> IDLE ----------> HEAD -------------> BUSY
 *                                                  ^                |                   |  response out
 *                                                  +----------------|-------------------+
 *                                                                   v                   |  may not be kept
 *                     (HANDSHAKE, of plain HTTP) ---------------> LINGER <--------------+
 *                                                                   |  peer closed, or time over
 *                                                                   v
 *                                                                  DEAD
 *
 * PREFACE: the PROXY protocol's header is awaited. HANDSHAKE: the client's first byte, and then the rest of
 * the TLS handshake; TLS costs memory from that byte on. LINGER: our side is shut, what still comes is thrown
 * away, so that the peer reads our last words before it meets a reset (RFC 9112, 9.6). client_close ends it
 * from any state, once.
 */
#ifndef WEIR_PROXY_CLIENT_H
#define WEIR_PROXY_CLIENT_H

#include "acl/addr.h"
#include "base/buf.h"
#include "base/stream.h"
#include "proxy/worker.h"

enum client_state {
	CLIENT_PREFACE,
	CLIENT_HANDSHAKE,
	CLIENT_IDLE,
	CLIENT_HEAD,
	CLIENT_BUSY,
	CLIENT_LINGER,
	CLIENT_DEAD
};

/* Why a connection ended: every one dies with one of these. Rows in client.c. */
enum client_end {
	END_CLIENT_CLOSED, /* between two requests */
	END_NOT_KEPT,	   /* after a response that said so */
	END_IDLE,
	END_LEAVING, /* reload or drain */
	END_CUT,     /* drain.timeout */
	END_ABORTED, /* by the client, in the middle of a request or response */
	END_HEAD_TIMEOUT,
	END_BODY_TIMEOUT, /* nothing moved for timeouts.body */
	END_TOO_SLOW,	  /* something did, and less than caps.min_rate asks for */
	END_TUNNEL_TIMEOUT,
	END_TUNNEL_CLOSED,
	END_MALFORMED,
	END_PREFACE,  /* a bad PROXY header, or one from an untrusted peer */
	END_UPSTREAM, /* the response was cut short by the upstream */
	END_OVERLOAD,
	END_PEER_FULL,	       /* its peer has caps.peer_connections already */
	END_HANDSHAKE,	       /* TLS was not agreed on, or what came is none */
	END_HANDSHAKE_TIMEOUT, /* not within timeouts.head */
	END_REASONS
};
const char *client_end_word(enum client_end);

struct exchange;

struct client {
	struct stream stream;
	struct worker *worker;
	enum client_state state;
	bool peer_trusted;
	bool peer_known;		 /* an address; false for unix sockets */
	bool secure;			 /* TLS */
	unsigned listen;		 /* whence it came: a place in conf.listen */
	bool served;			 /* a request before this one */
	struct addr peer;		 /* who spoke to us; with PROXY protocol, whom its header names */
	const struct netmask *peer_nets; /* the lists that hold it */
	uint32_t held;			 /* its place among its peer's connections; 0: none */
	struct buf in, out;
	struct exchange *x; /* in HEAD and BUSY */
	struct timeout timeout;
	struct task again;
	struct list link;
	struct grave grave;
	enum client_end ends_for; /* why, when a response of its own accord ends it */
};

/* Takes fd, and turns it away when memory is out or its peer has as many connections as it may. listen: the
 * place in conf.listen of where it came. */
void client_accept(struct worker *, int fd, const struct addr *peer /* NULL: unix socket */, unsigned listen);

/* A connection that can't be served at all: it gets a 503 without waiting (none with TLS), is counted, and
 * fd is closed. */
void client_turn_away(struct worker *, int fd, unsigned listen, enum client_end);

/* Ends it now, with a reset where what was sent would look whole; its exchange is cancelled and logged. */
void client_close(struct client *, enum client_end);

/* Memory ran out for it: a 503 where nothing was said yet, and the end. */
void client_shed(struct client *);

/* Nothing more will be answered: shuts our side and waits for the peer to close. */
void client_linger(struct client *, enum client_end);

/* The exchange is over and its response has left. The connection goes on with the next request, or not. */
void client_next(struct client *, bool keep);

/* Reads once more into `in` if there may be anything. > 0: bytes; 0: end; STREAM_AGAIN; STREAM_ERROR (memory
 * too). */
ssize_t client_fill(struct client *, size_t want);

/* After STREAM_ERROR or the end of its bytes: client_shed if it was memory that ran out, else client_close.
 */
void client_unreadable(struct client *, enum client_end);

#endif
