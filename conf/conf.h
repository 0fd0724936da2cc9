/* SPDX-License-Identifier: MIT */
/*
 * The config: YAML to one immutable struct conf. A load builds a whole new one or nothing; nobody changes it
 * later, so a reload is the swap of a pointer. All that it points to is owned by it (one arena) and goes with
 * conf_free.
 *
 * The config is read twice or more: by the master, which may read files and the environment, and by its
 * children, which may not. So all that a load reads from outside (the YAML file, file:PATH lists,
 * ${file:PATH}, ${NAME}) goes through a struct conf_bundle: the master's bundle reads and remembers, the
 * children's only remembers. Both loads see the same bytes and give the same conf, the same hash and the same
 * numbering of sites, upstreams and policies.
 *
 * Relative paths in a config (file:PATH, sockets, logs) start at the config file's folder, and are absolute
 * in here.
 *
 * Errors and warnings are rows with file, line and column, all shown at once. No function here blocks on a
 * network.
 */
#ifndef WEIR_CONF_CONF_H
#define WEIR_CONF_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#include "acl/addr.h"
#include "acl/netset.h"
#include "acl/path_rules.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "ratelimit/lift_token.h"
#include "ratelimit/policy.h"
#include "ratelimit/redis_target.h"

#define CONF_HASH 17 /* hex digits and the NUL */
#define CONF_SITES_MAX 512
#define CONF_PATHS_MAX 64 /* path rules a site */
#define CONF_WORKERS_MAX 64

struct conf_words { /* a list as it was written: names, CIDRs, file:PATH */
	unsigned n;
	struct str *item;
};

struct conf_file { /* that the config names: its path in full, and what it held */
	struct str path, content;
};

struct conf_certificate {
	struct conf_file certificate, key; /* PEM; the key's content goes with conf_wipe_keys */
};

struct conf_listen {
	struct str text; /* as written: 0.0.0.0:8080, [::]:8080, unix:/path */
	struct sockaddr_storage sa;
	socklen_t sa_len;
	bool is_unix;
	bool proxy_protocol;
	unsigned certificates; /* 0: plain */
	struct conf_certificate *certificate;
};

enum conf_client_header { CONF_XFF, CONF_FORWARDED, CONF_SINGLE };

struct conf_client_ip {
	int trusted; /* list of networks (acl/netset.h), -1: none are trusted */
	struct conf_words trusted_text;
	enum conf_client_header header;
	struct str header_name;			    /* of CONF_SINGLE, lower case */
	struct str only_with_name, only_with_value; /* name.n == 0: not asked for */
	uint8_t ipv6_prefix;
};

struct conf_network {
	struct str name;
	int list;
	struct conf_words text;
};

/* A policy, and its larger (or smaller) limits for some networks: of several that hold a client, the highest
 * counts. */
struct conf_policy {
	struct policy policy; /* policy.id is its place in conf.policy */
	unsigned fors;
	struct conf_for {
		struct netmask nets;
		uint32_t requests;
	} * for_net;
};

enum conf_on_failure { ON_FAILURE_LOCAL, ON_FAILURE_ALLOW, ON_FAILURE_DENY };
enum conf_limit_headers { LIMIT_HEADERS_STANDARD, LIMIT_HEADERS_LEGACY, LIMIT_HEADERS_OFF };

struct conf_redis {
	struct str url; /* without credentials, for messages */
	bool is_unix, tls;
	struct str host; /* a name or an address; or the socket's path */
	uint16_t port;
	unsigned db;
	struct str username, password; /* n == 0: none */
	struct str prefix;
	enum redis_cluster cluster;
	struct conf_file ca; /* path.n == 0: the machine's own */
	struct str trust;    /* of `ca` or of the machine: PEM */
	usec_t timeout_us;
	enum conf_on_failure on_failure;
};

struct conf_rate_limit {
	bool redis; /* store: redis */
	struct conf_redis server;
	unsigned fleet;
	unsigned policies;
	struct conf_policy *policy;
	struct netmask exempt;
	struct conf_words exempt_text;
	enum conf_limit_headers headers;
	usec_t max_lift_us, max_block_us;
	unsigned lift_keys; /* secrets that tokens are signed with; the first signs, all verify */
	struct str *lift_key;
	size_t memory; /* bytes of shared memory for the client table */
};

enum conf_flag { FLAG_LEAVE, FLAG_ON };
enum conf_same_site { SAME_SITE_LEAVE, SAME_SITE_STRICT, SAME_SITE_LAX, SAME_SITE_NONE };

struct conf_cookie {
	struct str name; /* '*' stands for any run of bytes */
	enum conf_flag secure, http_only;
	enum conf_same_site same_site;
};

struct conf_cookies {
	struct str domain; /* lower case; n == 0: cookies are left alone everywhere */
	unsigned shares;
	struct conf_cookie *share;
	bool retire_host_only;
};

struct conf_server {
	struct str text; /* 10.0.1.10:8080, as written; names the server in metrics and in the table of
			    servers */
	struct sockaddr_storage sa;
	socklen_t sa_len;
};

struct conf_upstream_tls {
	bool on, verify;
	struct conf_file ca;	     /* path.n == 0: the machine's own */
	struct str trust;	     /* of `ca` or of the machine: PEM */
	struct str name;	     /* what a server's certificate must bear; n == 0: the server's address */
	struct conf_certificate own; /* shown to servers that ask; path.n == 0: none */
};

struct conf_upstream {
	struct str name;
	unsigned id; /* place in conf.upstream */
	unsigned servers;
	struct conf_server *server;
	usec_t connect_us, response_us, idle_us, keepalive_us;
	uint32_t max_requests; /* in flight to a server, over all workers; 0: no cap */
	bool via;	       /* requests bear a Via (RFC 9110, 7.6.3) */
	uint32_t pool;	       /* idle connections to a server, in each worker; UINT32_MAX: no cap */
	struct conf_upstream_tls tls;
};

enum { POLICY_INHERIT = -1, POLICY_OFF = -2 };

struct conf_path {
	struct str prefix;
	bool has_allow;
	struct netmask allow;
	struct conf_words allow_text;
	int policy; /* place in conf.rate_limit.policy, POLICY_INHERIT (none said) or POLICY_OFF */
	/* The rule whose allow and policy hold below this prefix: itself, or else the nearest around it that
	 * has one; -1: none has. So a rule inside a guarded prefix opens nothing. */
	int allow_of, policy_of;
};

struct conf_site {
	struct str name; /* its first host, as written: the `site` of metrics */
	unsigned id;
	unsigned hosts;
	struct str *host; /* lower case, no trailing dot; "*.x" and "*" as written */
	struct conf_upstream *upstream;
	bool has_allow;
	struct netmask allow;
	struct conf_words allow_text;
	int policy; /* never POLICY_INHERIT: `default` when left out, POLICY_OFF where there is none */
	bool cookies;
	unsigned upgrades;
	struct str *upgrade; /* lower case tokens */
	unsigned paths;
	struct conf_path *path;
	struct path_rules *rules; /* NULL without paths; its rule numbers are places in path */
};

struct conf_host { /* all sites' hosts in order of text, for looking one up and for `weir -t` */
	struct str name;
	struct conf_site *site;
};

struct conf_admin {
	struct str socket; /* n == 0: none */
	unsigned mode;
	bool http;
	struct sockaddr_storage http_sa;
	socklen_t http_len;
	struct str http_text;
	struct netmask http_allow; /* besides loopback */
	struct conf_words allow_text;
};

enum conf_access_log { ACCESS_LOG_OFF, ACCESS_LOG_STDOUT, ACCESS_LOG_PATH };

struct conf_log {
	enum conf_access_log access;
	struct str path;
	enum log_level level;
	struct str server;
	struct str user_header; /* lower case; n == 0: none */
	unsigned redacts;
	struct str *redact;
	uint32_t refusals; /* access log lines for refusals in a refusals_us; UINT32_MAX: no cap */
	usec_t refusals_us;
};

struct conf {
	char hash[CONF_HASH];
	unsigned listens;
	struct conf_listen *listen;
	unsigned workers; /* `auto` already resolved by conf_load */
	struct str user;  /* n == 0: stays who it is */
	struct conf_client_ip client_ip;
	struct netset *nets; /* every list in one set: one look-up an address answers for all */
	unsigned networks;
	struct conf_network *network;
	struct netmask deny;
	struct conf_words deny_text;
	struct conf_rate_limit rate_limit;
	struct conf_cookies cookies;
	bool cors_set;
	unsigned origins;
	struct str *origin; /* lower case, checked */
	unsigned upstreams;
	struct conf_upstream *upstream;
	unsigned sites;
	struct conf_site *site;
	unsigned hosts;
	struct conf_host *host;
	struct {
		usec_t head_us, body_us, idle_us, tunnel_us;
	} timeouts;
	struct {
		uint32_t connections;			    /* 0: auto; see conf_connections */
		uint32_t peer_connections, client_requests; /* of the last two, 0: off */
		uint32_t line, head;			    /* bytes */
		uint16_t fields;
		uint64_t body;	   /* bytes; UINT64_MAX: off */
		uint32_t min_rate; /* bytes a second; 0: off */
	} caps;
	struct {
		usec_t grace_us, timeout_us;
	} drain;
	struct str trust;	  /* what the machine trusts, PEM; n == 0: nothing asks for it */
	usec_t tickets_us;	  /* how long a key of session tickets is used; 0: there are no tickets */
	usec_t reload_timeout_us; /* USEC_NEVER: off */
	struct str health_path;
	struct conf_admin admin;
	struct conf_log log;
	void *arena;
};

/* --- what a load reads --- */

struct conf_bundle;
/* Reads files and the environment as asked for, and remembers what it read. */
struct conf_bundle *conf_bundle_new(const char *config_path);
/* The bytes for conf_bundle_parse; owned by the bundle, valid until its next use. */
const void *conf_bundle_bytes(struct conf_bundle *, size_t *n);
/* What another process's conf_bundle_bytes gave. NULL: damaged, or out of memory. */
struct conf_bundle *conf_bundle_parse(const void *bytes, size_t n);
void conf_bundle_free(struct conf_bundle *); /* wipes what it held */

/* --- errors and warnings --- */

struct conf_note {
	char file[256];
	unsigned line, column; /* from 1; 0: of no place */
	bool warning;
	char text[400]; /* what is wrong (what was expected) */
};

struct conf_notes {
	struct conf_note *row;
	unsigned rows, errors;
};
void conf_notes_free(struct conf_notes *);
void conf_notes_print(const struct conf_notes *, FILE *);

/* --- the load --- */

/* NULL when there is an error; warnings come with a conf too. notes is the caller's, zeroed before, freed
 * after. */
struct conf *conf_load(struct conf_bundle *, struct conf_notes *notes);
void conf_free(struct conf *);
/* Wipes the private keys, once they are in use or are nobody's here. */
void conf_wipe_keys(struct conf *);

/* The site that serves a host: exact names first, then the longest wildcard, then "*". host is lower case,
 * without port and trailing dot. NULL: none (421). */
const struct conf_site *conf_site_of(const struct conf *, struct str host);

#define CONF_CONNECTIONS 20000 /* of caps.connections: auto, at most */
static inline uint32_t conf_connections(const struct conf *c)
{
	return c->caps.connections ? c->caps.connections : CONF_CONNECTIONS;
}

/* The limit of a policy for a client who is in these networks. */
uint32_t conf_policy_limit(const struct conf_policy *, const struct netmask *nets);

/* The config in force as YAML, defaults filled in, secrets masked. */
void conf_print(const struct conf *, FILE *);

/* The table of `weir -t`: hosts, upstream, who may enter, policy; then the worst-case memory. */
void conf_print_hosts(const struct conf *, FILE *);

/* One row a key: for `weir -t` help, docs checks and tests. */
struct conf_key_row {
	const char *path;    /* "rate_limit.redis.timeout"; [] stands for list items, * for free names */
	const char *type;    /* "duration", "size", "word: a | b", ... */
	const char *initial; /* the default as text; "" where there is none */
	const char *help;
};
const struct conf_key_row *conf_keys(unsigned *n);

#endif
