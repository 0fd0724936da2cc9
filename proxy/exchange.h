/* SPDX-License-Identifier: MIT */
/*
 * An exchange: one request and its response. It runs down the table of stages (exchange.c); a stage answers
 * NEXT, WAIT (something will call exchange_run again) or DONE (a response of our own is on its way, or the
 * exchange is over).
 *
 *   read head -> identify -> answer (health, CONNECT, OPTIONS *) -> route -> authorize -> token -> recall
 *   -> hold -> admit -> upgrade -> measure -> connect -> forward -> log
 *
 * It belongs to its client. What it waits for elsewhere (a ticket, an upstream's connection) is cancelled by
 * exchange_cancel, after which nothing calls it any more. Its memory is used again after exchange_end.
 */
#ifndef WEIR_PROXY_EXCHANGE_H
#define WEIR_PROXY_EXCHANGE_H

#include "acl/client_ip.h"
#include "proxy/body.h"
#include "proxy/client.h"
#include "proxy/h1_head.h"
#include "proxy/site.h"
#include "proxy/token.h"
#include "proxy/waiting.h"
#include "ratelimit/limiter.h"

#define REQUEST_ID 36 /* hex digits and dashes, as a UUID (RFC 9562, version 4) */
#define HOST_MAX 255

enum step { STEP_NEXT, STEP_WAIT, STEP_DONE };

struct exchange {
	struct client *client;
	struct worker *worker;
	struct exchange *next_spare;
	unsigned stage;

	/* the request, whose head stays where it was parsed */
	struct block *block; /* held for `base`; NULL while the head is not complete */
	const char *base;
	usec_t started;	 /* its first byte */
	usec_t head_at;	 /* its head was complete */
	usec_t sent_at;	 /* to the upstream, whole; 0: not yet */
	usec_t first_at; /* first byte of the response; 0: not yet */

	/* what was found out */
	struct str host;	      /* in host_text: lower case, no port, no trailing dot */
	const struct conf_site *site; /* NULL: none yet, or none serves this host */
	struct site_state *stats;     /* of the site, or of "no site" */
	enum verdict_word verdict;
	enum lift_effect lift;
	enum token_worth token;
	uint32_t held; /* its place among its client's requests in flight; 0: none */
	bool ticket_sent;
	bool asked; /* the ticket holds a verdict that the client is told of */

	/* the upstream */
	struct upstream *up;
	struct sconn *server;	    /* while it has one */
	struct server *last_server; /* the one that it was sent to last */
	struct buf
		up_out;	  /* the request's head as we write it, and small bodies, until the response begins */
	uint32_t up_sent; /* bytes of up_out that the kernel took */
	struct buf up_held; /* body bytes that the upstream did not take yet */
	struct waiting client_wait, server_wait;
	bool progress; /* bytes moved since they were armed */
	bool retried;
	bool body_sent; /* body bytes left that are not in up_out: can't be sent again */
	struct str
		upgrade;  /* the token of the site's list that was asked for and is passed on; n == 0: none */
	uint8_t forwards; /* Max-Forwards of OPTIONS as it came; 0: none to pass on */
	bool tunnel;
	bool client_shut, server_shut; /* of a tunnel: FIN was passed on to that side */

	/* the response */
	struct body_out to_client, to_server;
	uint16_t status; /* sent to the client; 0: none yet */
	bool from_upstream;
	bool resp_begun;  /* bytes of a final response are out or in client.out */
	bool resp_done;	  /* all of it is */
	bool req_cut;	  /* the client stopped in the middle of its request, with an answer on its way */
	uint8_t interims; /* responses of 1xx */
	bool keep;	  /* the connection may serve another request */
	bool unlogged;	  /* health checks leave no trace; or its line is written already */
	uint8_t user_len;
	uint64_t out_bytes; /* content of a response of our own */
	uint64_t dropped;
	const char *note; /* static text: why a response of our own was given */
	const char *gap;  /* static text: why the upstream's did not reach the client whole; NULL: it did */

	char uncleared; /* what follows is written before it is read */
	struct h1_head req, resp;
	struct body_in req_body, resp_body;
	struct client_ip who;
	struct addr key; /* whom the limits count: set for the stages behind identify */
	struct ticket ticket;
	char id[REQUEST_ID];
	char lift_id[LIFT_ID]; /* of the lift or token that frees it, or the block that holds it */
	char host_text[HOST_MAX + 1];
	char user[64]; /* what the origin's user header said */
	struct h1_field *resp_field;
	struct h1_field req_field[];
};

/* Writes a fresh request id: REQUEST_ID bytes. */
void exchange_put_id(struct worker *, char *out);

/* A fresh exchange for a client's next request. NULL: out of memory. */
struct exchange *exchange_begin(struct client *);

/* Its head is complete in the client's buffer, `req` is parsed: takes it over and runs. */
void exchange_start(struct exchange *);

/* The head is not HTTP as we take it (`req` says why), or did not come in time: answers that and closes. */
void exchange_refuse(struct exchange *, unsigned status, const char *why);

/* Goes on at its present stage. The exchange, and its client, may be gone afterwards. */
void exchange_run(struct exchange *);

/* Goes on at the connect stage, for a second try. As exchange_run otherwise. */
void exchange_connect_again(struct exchange *);

/* Its response has begun, is not over, and would look whole after an orderly end of the connection. */
bool exchange_would_look_whole(const struct exchange *);

/*
 * Its connection ends, so the client is told nothing: stops everything that could call it, and writes its log
 * line. `why`: static text for the log, should a response be cut by it; may be NULL.
 */
void exchange_cancel(struct exchange *, const char *why);

/* Logs, counts, gives all back. The client's x is NULL afterwards. */
void exchange_end(struct exchange *);

/* Frees the exchanges that were kept and not needed since the last call; how many bytes that were. */
size_t exchange_trim(struct worker *);

/* The exchange's site lists this protocol. */
bool exchange_may_upgrade(const struct exchange *, struct str token);

/* Value of a request field, or none. */
static inline struct str exchange_field(const struct exchange *x, enum field_id id)
{
	const struct h1_field *f = h1_find(&x->req, id);
	return f ? h1_value(x->base, f) : STR_NONE;
}

/* All of the request has left for the server. */
static inline bool exchange_request_is_out(const struct exchange *x)
{
	return x->req_body.done && buf_len(&x->up_held) == 0 && x->up_sent == buf_len(&x->up_out);
}

/* --- stages of other files --- */
enum step stage_connect(struct exchange *);
enum step stage_forward(struct exchange *);

/* forward.c: goes on wherever it can, in both directions; for bytes or room at the client's side too. May end
 * the exchange and its client. */
void forward(struct exchange *);
/* The client's timeout is over, in state BUSY. */
void forward_client_timeout(struct exchange *);

#endif
