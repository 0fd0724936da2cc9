/* SPDX-License-Identifier: MIT */
/*
 * One worker process: its loop, its one conf for life, and what hangs on them. Everything in the data plane
 * is reached from here; there are no other globals.
 *
 *             READY               QUIESCE                       last client gone
 *   STARTING -------> SERVING ----------------> QUIESCING ----------------------> exit 0
 *                        |  DRAIN                    | DRAIN
 *                        v                           v
 *                      GRACE --- drain.grace ---> CLOSING -- last client gone, or drain.timeout --> exit 0
 *
 * QUIESCING: a newer generation accepts; idle connections are closed after timeouts.idle, others with their
 * next response. GRACE: the load balancer still sends; all is accepted and answered with `Connection: close`.
 * CLOSING: nothing is accepted, idle connections are closed at once.
 */
#ifndef WEIR_PROXY_WORKER_H
#define WEIR_PROXY_WORKER_H

#include "acl/client_memo.h"
#include "base/channel.h"
#include "base/loop.h"
#include "base/metric.h"
#include "base/protocol.h"
#include "base/shm.h"
#include "base/tls_server.h"
#include "conf/conf.h"
#include "proxy/cookie.h"
#include "proxy/cors.h"
#include "proxy/h1_head.h"
#include "proxy/site.h"
#include "proxy/site_memo.h"
#include "proxy/upstream.h"
#include "ratelimit/lift.h"
#include "ratelimit/limiter.h"

enum worker_state { WORKER_STARTING, WORKER_SERVING, WORKER_QUIESCING, WORKER_GRACE, WORKER_CLOSING };

enum handshake_end { HANDSHAKE_FULL, HANDSHAKE_RESUMED, HANDSHAKE_FAILED };

struct listeners;
struct access_log;
struct tokens;

#define DATE_LENGTH 29 /* Sun, 06 Nov 1994 08:49:37 GMT */

/* render.c's: what is said of a policy's limit, laid out. */
struct limit_text {
	uint32_t limit;
	uint8_t quota_n, left_n; /* 0: nothing yet */
	char quota[80];		 /* "default";q=1000;w=60 */
	char left[40];		 /* "default";r= */
};

/* render.c's: what was said last of a refusal by one policy, laid out. */
struct refusal_text {
	const struct policy *policy; /* NULL: nothing yet */
	uint32_t limit, left;
	uint64_t retry_s, reset_s;
	uint32_t n;
	char text[320];
};

/* reply.c's: what it said last, laid out. */
#define OWN_ANSWER_ROOM 768
struct own_answer {
	const char *detail; /* NULL: nothing yet */
	uint16_t status;
	uint16_t line_n;    /* bytes of the text: the status line with the name of the first field, */
	uint16_t head_n, n; /* the last fields, and these with the content */
	char text[OWN_ANSWER_ROOM];
};

struct worker {
	struct loop loop;
	enum worker_state state;
	int channel;
	struct event channel_event;
	const struct conf *conf;
	struct start_info info;

	struct table *table;
	struct limiter *limiter;
	const struct lifts *lifts;
	struct upstream *upstream; /* by conf_upstream.id */
	struct upstream_shared shared;
	struct site_state *site; /* by conf_site.id; the one after the last stands for "no site" */
	struct policy *shadow;	 /* the conf's policies as shadows of themselves, for lifts in shadow */
	struct tokens *tokens;
	struct access_log *log;

	struct tickets tickets;	     /* of all its listeners with TLS */
	struct tls_server **tls;     /* by place in conf.listen; NULL: a plain one */
	struct listeners *listeners; /* all that it accepts from */
	struct list clients;	     /* struct client */
	unsigned client_count, client_max;
	struct timeout_class head, body, idle, tunnel, linger;
	struct timeout_class beat, grace, cut, store;
	struct timeout beat_timeout, grace_timeout, cut_timeout, store_timeout;
	usec_t store_until;	      /* it starts to serve then, whether the store has answered or not */
	const struct worker_fds *fds; /* until it serves */
	struct task leave;	      /* looks whether anything is left to do */

	struct h1_limits request_limits, response_limits;
	struct cookie_rules cookie_rules;
	struct cors_origin *origin;

	struct client_memo *client_memo;
	struct site_memo site_memo;
	struct limit_text *limit_text; /* by policy.id */
	struct refusal_text refusal_text;
	struct own_answer own_answer;
	struct exchange *spare;		/* free exchanges */
	unsigned spares, spares_unused; /* how many; the fewest since they were trimmed last */
	struct log_limit peer_full, out_of_memory;
	unsigned beats;
	int64_t body_quota; /* bytes that a client must move within timeouts.body while its turn lasts */

	struct {
		wall_t at;	 /* of the loop's now */
		usec_t next;	 /* when the texts below are stale */
		wall_t offset;	 /* wall minus monotonic */
		char date[32];	 /* IMF-fixdate (RFC 9110, 5.6.7) */
		char second[24]; /* 2026-11-22T07:29:48 */
	} time;
	uint64_t random[4];

	struct {
		series_t connections, accepted, closed[24], active, bytes_in, bytes_out, malformed, unnamed,
			shortages, handed_over, log_dropped, log_folded,
			handshakes[3]; /* by enum handshake_end */
		struct histogram added;
	} count;
};

#define WORKER_LISTENERS_MAX 1024

/* What the master handed over before GO. The descriptors become the worker's. */
struct worker_fds {
	unsigned listeners;
	int listener[WORKER_LISTENERS_MAX];
	unsigned listen[WORKER_LISTENERS_MAX]; /* of which place in conf.listen each is */
	int receive;		    /* accepted connections from other workers come here; -1: none */
	unsigned peers;		    /* other workers of this generation */
	int peer[CONF_WORKERS_MAX]; /* to hand accepted connections to them */
	unsigned peer_worker[CONF_WORKERS_MAX];
};

/* Runs until it is told to leave; the exit status. Takes the channel, the descriptors and the conf;
 * wipes the secrets that the info and the conf brought. */
int worker_main(int channel, struct start_info *, struct shm *, struct conf *, const struct worker_fds *);

/* The client was the last thing to do, maybe: leaves when nothing is left. */
void worker_client_gone(struct worker *);

/* True while responses must say `Connection: close`. */
static inline bool worker_leaving(const struct worker *w)
{
	return w->state != WORKER_SERVING;
}

/* Descriptors ran out: closes the connections to upstreams that serve nobody now. False: there were none. */
bool worker_close_pooled(struct worker *);

/* A trusted peer named no client: said once, counted always. */
void worker_warn_unnamed(struct worker *);

/* Brings w->time up to date with the loop's now; cheap to call. */
void worker_time(struct worker *);
uint64_t worker_random(struct worker *);

#endif
