/* SPDX-License-Identifier: MIT */
/* Where a Redis is and how to log in there. A copy owns its texts, NUL-terminated, and holds
 * the TLS client; its password is wiped. */
#ifndef WEIR_RATELIMIT_REDIS_TARGET_H
#define WEIR_RATELIMIT_REDIS_TARGET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "base/tls_client.h"

/* Whether the server is a node of a Redis Cluster: the server is asked, it is believed to be, it is not. */
enum redis_cluster { REDIS_CLUSTER_AUTO, REDIS_CLUSTER_ON, REDIS_CLUSTER_OFF };

struct redis_target {
	struct str host; /* a name, an address without brackets, or a unix socket's path */
	uint16_t port;
	bool is_unix;
	unsigned db;
	enum redis_cluster cluster;
	struct str username, password; /* n == 0: none */
	struct str prefix;	       /* of keys; p == NULL: "weir:" */
	struct tls_client *tls;	       /* NULL: plain; else the server's certificate must bear `host` */
	/* Other files than /etc/hosts and /etc/resolv.conf; NULL: those. Kept, not copied. */
	const char *hosts_file, *resolv_file;
};
#define REDIS_PREFIX "weir:"

/* False: out of memory; nothing is left to be freed. */
bool redis_target_copy(struct redis_target *to, const struct redis_target *from);
void redis_target_free(struct redis_target *);

#endif
