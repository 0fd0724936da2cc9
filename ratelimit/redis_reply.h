/* SPDX-License-Identifier: MIT */
/*
 * What Redis answers (RESP2), as a tree of plain values, and what its errors mean to weir.
 *
 * A parser belongs to one connection. The reply that it hands out is its own, and holds until the next call
 * on the parser. Replies of ordinary size cost no allocation: they lie in a piece of memory that is used over
 * and over. Nothing here calls back. Bytes that are not RESP, and replies beyond the caps, make the parser
 * useless for good: the connection is to be closed.
 */
#ifndef WEIR_RATELIMIT_REDIS_REPLY_H
#define WEIR_RATELIMIT_REDIS_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

#define REDIS_REPLY_BYTES (4u << 20) /* longest reply */
#define REDIS_REPLY_ELEMENTS 65536   /* in one array */

/* Each kind of failure is counted by its name in weir_store_failures_total{kind}. */
enum redis_failure {
	REDIS_FINE,
	REDIS_REFUSED, /* no connection: refused, unreachable, no such socket */
	REDIS_RESOLVE, /* the name was not found */
	REDIS_TIMEOUT, /* no connection, greeting or answer in time */
	REDIS_TLS,     /* no TLS could be agreed on */
	/* These take an operator to mend them: */
	REDIS_UNTRUSTED,  /* the server's certificate is not to be trusted */
	REDIS_NOAUTH,	  /* NOAUTH, DENIED: no login was sent, and one is wanted */
	REDIS_WRONGPASS,  /* the login is refused */
	REDIS_NOPERM,	  /* the ACL lacks a command, key or channel */
	REDIS_LOADING,	  /* it reads its data from disk */
	REDIS_READONLY,	  /* this is a replica; the master is elsewhere */
	REDIS_MASTERDOWN, /* this is a replica that has lost its master */
	REDIS_OOM,	  /* maxmemory is reached */
	REDIS_MISCONF,	  /* MISCONF, NOREPLICAS: it takes no writes that it could not save or replicate */
	REDIS_NOSCRIPT,	  /* the script is not loaded (any more) */
	REDIS_MOVED,	  /* MOVED, ASK: another node of the cluster has the slot */
	REDIS_TRYAGAIN,	  /* the keys of the slot are on their way to another node */
	REDIS_CLUSTER,	  /* CLUSTERDOWN, CROSSSLOT: nobody has the slot */
	REDIS_BUSY,	  /* a script of somebody else is running */
	REDIS_GARBAGE,	  /* what came is not RESP, or not an answer to what was asked */
	REDIS_CLOSED,	  /* the connection was closed under a question, or by the owner */
	REDIS_FULL,	  /* too many questions are waiting already */
	REDIS_OTHER,	  /* any other error */
	REDIS_FAILURES
};

enum redis_kind { REDIS_NIL, REDIS_INTEGER, REDIS_STRING, REDIS_STATUS, REDIS_ERROR, REDIS_ARRAY };

struct redis_reply {
	enum redis_kind kind;
	enum redis_failure failure;  /* of an error, else REDIS_FINE */
	int64_t integer;	     /* REDIS_INTEGER */
	struct str text;	     /* STRING, STATUS, ERROR */
	unsigned count;		     /* ARRAY */
	struct redis_reply *element; /* ARRAY: count of them, side by side */
};

const char *redis_failure_name(enum redis_failure);

static inline bool redis_failure_is_login(enum redis_failure f)
{
	return f == REDIS_NOAUTH || f == REDIS_WRONGPASS || f == REDIS_NOPERM;
}

static inline bool redis_failure_is_replica(enum redis_failure f)
{
	return f == REDIS_READONLY || f == REDIS_MASTERDOWN;
}

/* By the error's first word; also where an old server wraps it in "ERR Error running script". */
enum redis_failure redis_failure_of(struct str error_text);

struct redis_parser;
struct redis_parser *redis_parser_new(void); /* NULL: out of memory */
void redis_parser_free(struct redis_parser *);
/* Forgets everything, for a new connection. False: out of memory. */
bool redis_parser_reset(struct redis_parser *);
/* Takes in bytes that were read. False: garbage, or out of memory. */
bool redis_parser_feed(struct redis_parser *, const char *bytes, size_t n);
/* The next whole reply; NULL: there is none yet, or with *failed garbage came. */
const struct redis_reply *redis_parser_next(struct redis_parser *, bool *failed);

#endif
