/* SPDX-License-Identifier: MIT */
/*
 * IP addresses and networks as plain values. Both families have one form, the 16 bytes of IPv6: an IPv4
 * address is
 * ::ffff:a.b.c.d (RFC 4291, 2.5.5.2), so that a mapped address and the IPv4 address that it maps are the same
 * value. All functions are pure, keep nothing and allocate nothing. A parser that answers false leaves its
 * output alone.
 */
#ifndef WEIR_ACL_ADDR_H
#define WEIR_ACL_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/str.h"

#define ADDR_TEXT 46		  /* bytes that addr_format needs, the NUL included */
#define CIDR_TEXT (ADDR_TEXT + 4) /* and cidr_format: "/128" more */

struct addr {
	uint8_t b[16];
};

/* A network. No bit of addr below the prefix is set. */
struct cidr {
	struct addr addr;
	uint8_t bits; /* 0..128, counted in the IPv6 form: 10.0.0.0/8 has 104 */
};

struct sockaddr;

/*
 * An address as RFC 4291, 2.2 writes it, or four decimal numbers without leading zeros. No short or octal
 * forms, no zone, no brackets, no blanks: text that two programs could read as two addresses is none.
 */
bool addr_parse(struct str, struct addr *);

/* What forwarding headers hold: ip, ip:port, [v6], [v6]:port. *port (may be NULL) is 0 when there is none. */
bool addr_parse_hop(struct str, struct addr *, uint16_t *port);

/* 1 to 5 decimal digits, at most 65535. */
bool addr_parse_port(struct str, uint16_t *port);

/* False for other families than AF_INET and AF_INET6. *port (may be NULL) is in the host's byte order. */
bool addr_of_sockaddr(const struct sockaddr *, struct addr *, uint16_t *port);

/* The shortest text (RFC 5952), IPv4 as a dotted quad. Answers the length; a NUL follows. */
size_t addr_format(char *out /* ADDR_TEXT */, const struct addr *);

/* Clears all bits but the first `bits` (of the 128 of the IPv6 form). */
void addr_mask(struct addr *, unsigned bits);

/*
 * A network, or an address alone, which is a network of one. False with *why: a fragment that fits after the
 * text and a colon; it stays valid until this thread's next call.
 */
bool cidr_parse(struct str, struct cidr *, const char **why);

/* Answers the length; a NUL follows. A network of one address is written without its prefix length. */
size_t cidr_format(char *out /* CIDR_TEXT */, const struct cidr *);

/* An IPv6 network that is wider than /96 speaks of IPv6 only: ::/0 does not hold 192.0.2.1. */
bool cidr_has(const struct cidr *, const struct addr *);

/* Whom a request is counted under: an IPv4 address whole, of an IPv6 address the network of `ipv6_prefix`
 * bits. */
struct addr client_key(struct addr, unsigned ipv6_prefix);

static inline struct addr addr_v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
	return (struct addr){{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d}};
}

static inline bool addr_is_v4(const struct addr *a)
{
	static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
	return memcmp(a->b, mapped, sizeof(mapped)) == 0;
}

static inline bool addr_eq(const struct addr *a, const struct addr *b)
{
	return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

static inline bool cidr_is_v4(const struct cidr *c)
{
	return c->bits >= 96 && addr_is_v4(&c->addr);
}

#endif
