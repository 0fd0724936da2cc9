/* SPDX-License-Identifier: MIT */
/*
 * The socket addresses of a host name, a numeric address or a unix socket's path, without blocking: names are
 * asked of /etc/hosts and of the servers in /etc/resolv.conf, both of which are read anew each time. The
 * resolver is made with the first name.
 *
 * `found` is called once for each start, in the call itself or later from the loop, with n == 0 and an error
 * when there is no address. It may start anew and may free. After redis_lookup_free it is not called again.
 * There is no timeout here: a start while a name is being looked up waits for that one.
 */
#ifndef WEIR_RATELIMIT_REDIS_LOOKUP_H
#define WEIR_RATELIMIT_REDIS_LOOKUP_H

#include <sys/socket.h>

#include "base/loop.h"

#define REDIS_ADDRESSES 8

struct redis_address {
	struct sockaddr_storage sa;
	socklen_t len;
};

struct redis_lookup;

struct redis_lookup_setup {
	struct loop *loop;
	const char *host; /* kept, not copied: as long as the lookup lives */
	uint16_t port;
	bool is_unix;
	/* Kept; NULL: those in /etc. */
	const char *hosts_file, *resolv_file;
	void *owner;
	void (*found)(void *owner, const struct redis_address *, unsigned n, const char *error);
};

struct redis_lookup *redis_lookup_new(const struct redis_lookup_setup *); /* NULL: out of memory */
void redis_lookup_start(struct redis_lookup *);
void redis_lookup_free(struct redis_lookup *);

#endif
