/* SPDX-License-Identifier: MIT */
/*
 * Who the client is: the peer of the connection, whom a trusted peer's forwarding headers name, or nobody.
 * Pure functions over values; nothing is kept or allocated, and what is handed in stays the caller's.
 *
 * X-Forwarded-For and Forwarded (RFC 7239) are walked from the right, because each proxy appends at the right
 * what it saw itself: trusted hops are passed, and the first other address is the client. If all are trusted,
 * the leftmost is. At an entry that cannot be read the walk stops, and the nearest readable hop to its right
 * is the client. When no entry stands to its right, that hop would be the trusted peer itself, which carries
 * many clients: then, as when the header is empty or did not come, the client is nobody.
 */
#ifndef WEIR_ACL_CLIENT_IP_H
#define WEIR_ACL_CLIENT_IP_H

#include <stddef.h>
#include <stdint.h>

#include "acl/addr.h"
#include "acl/netset.h"
#include "base/str.h"

#define CLIENT_IP_ENTRIES                                                                                    \
	31 /* only so many entries are walked: an ALB refuses more than 30 and adds one (463) */
#define CLIENT_IP_HOPS 32
#define CLIENT_IP_XFF_MAX ((CLIENT_IP_HOPS + 2) * (ADDR_TEXT + 1)) /* bytes of the longest value written */

enum client_header {
	CLIENT_HEADER_XFF,	    /* X-Forwarded-For */
	CLIENT_HEADER_FORWARDED,    /* Forwarded */
	CLIENT_HEADER_ADDRESS,	    /* one address, with or without a port */
	CLIENT_HEADER_ADDRESS_PORT, /* one address and always a port after the last colon, IPv6 without
				       brackets */
};

/* What a config says; belongs to the config. */
struct client_source {
	const struct netset *nets;
	int trusted; /* list of trusted proxies in nets; -1: there are none */
	enum client_header header;
	struct str
		only_with; /* value of the header beside which a single address is believed; empty: never */
};

/* The values of all fields of one name, in the order in which they came: they read as one list. */
struct client_values {
	const struct str *v;
	size_t n;
};

/* What a request says. Only the headers that the source needs have to be filled. */
struct client_heard {
	struct client_values xff; /* needed for the headers of one address too, to fall back to */
	struct client_values forwarded;
	struct client_values address;	/* the header of one address */
	struct client_values only_with; /* the header that bears the secret */
};

enum client_kind {
	CLIENT_PEER,	  /* the peer is not trusted to speak for others */
	CLIENT_FORWARDED, /* a trusted peer named the client */
	CLIENT_NOBODY,	  /* a trusted peer named nobody; addr is the peer's and stands for no client */
};

struct client_ip {
	enum client_kind kind;
	unsigned hops_n;
	struct addr addr;
	const struct netmask *nets; /* the lists that hold addr; NULL for nobody */
	struct addr
		hops[CLIENT_IP_HOPS]; /* trusted hops between client and peer, the peer's neighbour first */
};

/* By the header's configured name: CloudFront-Viewer-Address always bears a port. */
enum client_header client_header_of(struct str name);

/*
 * `peer` is NULL for a unix socket. Whoever may open that is trusted by the socket's file mode; it has no
 * address of its own, and addr is all zeros when it names nobody. `peer_nets` are the lists that hold the
 * peer (of no meaning for a unix socket): they are looked up once a connection, not with every request.
 */
void client_ip_find(const struct client_source *, const struct addr *peer, const struct netmask *peer_nets,
		    const struct client_heard *, struct client_ip *out);

/*
 * The X-Forwarded-For to send to the origin: the client, the trusted hops after it, then the peer unless it
 * is the client. What stood left of the client is dropped; of nobody only the peer is left. Answers the
 * length, 0 for nobody on a unix socket.
 */
size_t client_ip_xff(char *out /* CLIENT_IP_XFF_MAX */, const struct client_ip *, const struct addr *peer);

#endif
