/* SPDX-License-Identifier: MIT */
/*
 * URLs of Redis: redis://[user[:password]@]host[:port][/db] and unix://PATH[?db=N]. Pure; texts go into the
 * arena.
 */
#ifndef WEIR_CONF_REDIS_URL_H
#define WEIR_CONF_REDIS_URL_H

#include "conf/arena.h"
#include "conf/conf.h"

#define REDIS_PORT 6379

struct redis_url {
	bool is_unix, tls;
	struct str host; /* a name, or an address without brackets; or the path */
	uint16_t port;
	unsigned db;
	struct str username, password; /* decoded; n == 0: none */
};

/*
 * Where rate_limit.redis says that the server is. It points into the conf; its `tls` is made for the caller,
 * who lets it go (tls_client_drop) once the target was copied. False: out of memory.
 */
bool redis_url_target(const struct conf_redis *, struct redis_target *);

/* NULL, or what is expected. No part of the URL is in the answer, as there may be a password in it. */
const char *redis_url_parse(struct arena *, struct str url, struct redis_url *);

#endif
