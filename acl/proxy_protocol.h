/* SPDX-License-Identifier: MIT */
/*
 * The PROXY protocol, versions 1 and 2: what a load balancer writes in front of a connection's own bytes to
 * name its source (haproxy's doc/proxy-protocol.txt). A pure function over the bytes received so far; it
 * keeps nothing. Only trusted peers may speak it, and the caller sees to that.
 */
#ifndef WEIR_ACL_PROXY_PROTOCOL_H
#define WEIR_ACL_PROXY_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "acl/addr.h"

#define PROXY_PROTOCOL_MAX 4096 /* bytes of the longest header taken, additional fields (TLVs) included */

enum proxy_protocol {
	PP_DONE, /* *out and *consumed are filled; what follows is the connection's own */
	PP_MORE, /* good so far: ask again with more bytes, never with more than PROXY_PROTOCOL_MAX at hand */
	PP_BAD,	 /* *why says what is wrong; the connection is to be closed */
};

struct proxy_info {
	bool named; /* false for UNKNOWN, LOCAL and what is not TCP: the connection's own peer counts */
	struct addr src, dst;
	uint16_t src_port, dst_port;
};

enum proxy_protocol proxy_protocol_parse(const char *buf, size_t len, struct proxy_info *out,
					 size_t *consumed, const char **why);

#endif
