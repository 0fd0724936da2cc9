/* SPDX-License-Identifier: MIT */
/*
 * Upstreams of one worker: their servers in turn, and the connections to them. A connection serves one
 * exchange at a time and goes back to its server's pool, where the last in is the first out; a pooled
 * connection that the origin closes, or speaks on unasked, or that was idle for `keepalive`, is closed, and
 * so is the one that was idle for longest when the pool is full.
 *
 *                                     connected                give back
 *   CONNECTING ------------------------------------> BUSY ------------------> POOLED
 *     |     |  connected, with TLS                   ^ ^ |                       |
 *     |     +------------> HANDSHAKING --- done -----+ | |        take           |
 *     |                         |                      +-|-----------------------+
 *     |  failed, timed out      | so too                 | failed, used up       | closed, too old
 *     +------------------> DEAD <------------------------+-----------------------+
 *
 * timeouts.connect is for both, the connection and the handshake.
 *
 * The exchange that holds a connection is told of its events through struct upstream_user; it never sees
 * POOLED or DEAD. upstream_take never calls back before it returns; sconn_close and sconn_release end all
 * callbacks at once.
 */
#ifndef WEIR_PROXY_UPSTREAM_H
#define WEIR_PROXY_UPSTREAM_H

#include "acl/addr.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/stream.h"
#include "base/tls_client.h"
#include "conf/conf.h"
#include "proxy/servers.h"

enum sconn_state { SCONN_CONNECTING, SCONN_HANDSHAKING, SCONN_BUSY, SCONN_POOLED, SCONN_DEAD };

struct sconn;

/* Why no connection was made. Rows in upstream.c. */
struct connect_failure {
	const char *kind; /* in weir_upstream_failures_total */
	unsigned status;  /* for the client */
	const char *note; /* and why, static */
};

struct upstream_user {
	void (*ready)(void *user, struct sconn *); /* bytes may be read or written */
	/* No connection was made; the sconn is dead already. */
	void (*failed)(void *user, struct sconn *, const struct connect_failure *);
	void (*timed_out)(void *user, struct sconn *); /* the timeout that was armed last is over */
};

struct server {
	const struct conf_server *conf;
	struct server_row *row; /* shared with the other workers */
	struct upstream *up;
	struct list pooled;	   /* struct sconn, last used first */
	struct list resting;	   /* those that rest for a moment first, or did: last used last */
	struct tls_memory session; /* with TLS, to resume */
	const char *tls_name;	   /* what its certificate must bear; NULL: nothing is asked for */
	char address[ADDR_TEXT];   /* of tls_name, where no name is set */
	unsigned pooled_n;	   /* in both */
};

struct upstream {
	const struct conf_upstream *conf;
	struct loop *loop;
	struct tls_client *tls; /* NULL: plain */
	struct log_limit tls_said;
	struct server *server;
	unsigned next;	       /* whose turn it is */
	unsigned retry_credit; /* tenths of a second try that may still be spent; see upstream_may_retry */
	struct timeout_class connect, response, idle, keepalive;
	struct histogram latency;
	series_t connects, connect_failures, requests, pooled, pool_full, retries, ejections;
};

struct sconn {
	enum sconn_state state;
	struct server *server;
	struct stream stream;
	struct buf in; /* bytes read and not consumed */
	struct timeout timeout;
	const struct upstream_user *user; /* of the exchange; NULL in the pool */
	void *user_ctx;
	bool reused;	  /* it has served an exchange before this one */
	bool unasked;	  /* bytes or a FIN were there before its present request was written */
	usec_t taken_at;  /* out of the pool: the loop's now, which tells the turn */
	usec_t pooled_at; /* into the pool */
	usec_t rests;	  /* in the pool, until then; 0: it may be taken at once */
	uint32_t keep_s;  /* the origin's Keep-Alive: timeout; 0: none */
	struct list link; /* in server.pooled or server.resting */
	struct grave grave;
};

/* What all upstreams of a worker have in common. */
#define KEEP_SECONDS_MAX 120
struct upstream_shared {
	struct timeout_class
		keep[KEEP_SECONDS_MAX + 1]; /* that an origin's Keep-Alive asks for, by seconds */
	struct str trusted;		    /* of which `trust` was made last */
	X509_STORE *trust;
};

void upstream_shared_init(struct upstream_shared *);
void upstream_shared_close(struct upstream_shared *);
/* False: out of memory. The conf must outlive it. */
bool upstream_open(struct upstream *, struct loop *, const struct conf_upstream *, struct upstream_shared *);
void upstream_close(struct upstream *);		   /* closes what is pooled; nothing may be busy */
unsigned upstream_close_pooled(struct upstream *); /* how many there were */

enum upstream_take {
	TAKEN_CONNECTED,  /* state BUSY: write at once */
	TAKEN_CONNECTING, /* ready or failed will be called */
	TAKEN_NONE,	  /* every server refused a connection at once */
	TAKEN_SHORT,	  /* descriptors, ports or memory ran out here: no server's fault */
	TAKEN_FULL,	  /* every server has max_requests in flight */
};

/*
 * A connection for one exchange. `fresh`: none from the pool, for a second try. `avoid` (may be NULL) is
 * taken only if no other server is there. *out is set for the first two answers.
 */
enum upstream_take upstream_take(struct upstream *, bool fresh, const struct server *avoid,
				 const struct upstream_user *, void *ctx, struct sconn **out);

/* Spends one second try, if the budget has one: a tenth of the requests may be sent again, and a few at once.
 */
bool upstream_may_retry(struct upstream *);

/*
 * The exchange is done with it and nothing is unread: it goes to the pool. `rest`: nobody takes it for so
 * long (0: at once), so that bytes which an origin may still send for nobody come while it is nobody's.
 */
void sconn_release(struct sconn *, usec_t rest);
void sconn_close(struct sconn *);

/* The server did not do what was asked; counts, and ejects it after several in a row. kind is a fixed word.
 */
void server_count_failure(struct server *, const char *kind);

#endif
