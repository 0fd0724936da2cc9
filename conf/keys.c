/* SPDX-License-Identifier: MIT */
/* The table of keys. */
#include "conf/keys.h"

#include "conf/scalar.h"

#define ROW(p, t, i, h) .row = {.path = p, .type = t, .initial = i, .help = h}
#define AT(s, m) .at = offsetof(struct s, m), .size = sizeof(((struct s *)0)->m)
#define ALSO(s, m) .also = offsetof(struct s, m)
#define ITEMS(s, array, count) AT(s, array), ALSO(s, count)

#define MS USEC_PER_MSEC
#define S USEC_PER_SEC
#define H (3600 * S)
#define KB 1024u
#define MB (1024u * KB)

#define NETWORKS "networks: names, CIDRs, file:PATH"

static const char *const store_words[] = {"memory", "redis", NULL};
static const char *const cluster_words[] = {"auto", "on", "off", NULL};
static const char *const failure_words[] = {"local", "allow", "deny", NULL};
static const char *const mode_words[] = {"enforce", "shadow", NULL};
static const char *const header_words[] = {"standard", "legacy", "off", NULL};
static const char *const same_site_words[] = {"off", "Strict", "Lax", "None", NULL};
static const char *const level_words[] = {"debug", "info", "warn", "error", NULL};

static const struct key_items listens = {.size = sizeof(struct conf_listen), .bare = "address"};
static const struct key_items certificates = {.size = sizeof(struct conf_certificate), .lone = true};
static const struct key_items networks = {.size = sizeof(struct conf_network), .begin = key_begin_network};
static const struct key_items policies = {
	.size = sizeof(struct conf_policy), .begin = key_begin_policy, .name = key_policy_name};
static const struct key_items fors = {.size = sizeof(struct conf_for), .begin = key_begin_for};
static const struct key_items cookies = {
	.size = sizeof(struct conf_cookie), .begin = key_begin_cookie, .name = key_cookie_name};
static const struct key_items upstreams = {
	.size = sizeof(struct conf_upstream), .begin = key_begin_upstream, .name = key_upstream_name};
static const struct key_items sites = {.size = sizeof(struct conf_site), .begin = key_begin_site};
static const struct key_items paths = {.size = sizeof(struct conf_path), .begin = key_begin_path};

static bool is_user_name(struct str s)
{
	return scalar_is_name(s, 32) ||
	       (s.n > 1 && s.p[0] == '_' && scalar_is_name((struct str){s.p + 1, s.n - 1}, 31));
}

static bool is_user_id(struct str s) /* of Redis: it takes any bytes but spaces and NUL */
{
	return scalar_is_text(s) && s.n > 0 && !memchr(s.p, ' ', s.n);
}

static bool is_redis_prefix(struct str s)
{
	return s.n == 0 || (scalar_is_printable(s) && !memchr(s.p, ' ', s.n) && !memchr(s.p, '{', s.n) &&
			    !memchr(s.p, '}', s.n));
}

static bool is_query_name(struct str s)
{
	return scalar_is_printable(s) && s.n <= 64 && !memchr(s.p, '&', s.n) && !memchr(s.p, '=', s.n) &&
	       !memchr(s.p, ' ', s.n);
}

/* clang-format off */
const struct key keys[] = {
	{ROW("listen", "list", "", "the addresses that weir accepts connections on"),
		.type = &type_items, ITEMS(conf, listen, listens), .extra = &listens, .max = 64,
		.flags = KEY_REQUIRED | KEY_NONEMPTY, .expected = "one address at least"},
	{ROW("listen[]", "mapping", "", "a listener: a mapping, or its address alone"), .type = &type_map},
	{ROW("listen[].address", "address", "", "0.0.0.0:8080, [::]:8080 or unix:/path"),
		.type = &type_listen, AT(conf_listen, text), .flags = KEY_REQUIRED},
	{ROW("listen[].proxy_protocol", "on or off", "off", "on: PROXY protocol v1 or v2 is required, from trusted_proxies only"),
		.type = &type_onoff, AT(conf_listen, proxy_protocol)},
	{ROW("listen[].tls", "list", "", "serves TLS: a certificate and its key, or a list of these for SNI"),
		.type = &type_items, ITEMS(conf_listen, certificate, certificates), .extra = &certificates, .max = 256,
		.flags = KEY_NONEMPTY, .expected = "one certificate at least; remove `tls` to serve plain HTTP"},
	{ROW("listen[].tls[]", "mapping", "", "a certificate and its key"), .type = &type_map},
	{ROW("listen[].tls[].certificate", "path", "", "a PEM file: the certificate, and its chain behind it"),
		.type = &type_file, AT(conf_certificate, certificate), .flags = KEY_REQUIRED},
	{ROW("listen[].tls[].key", "path", "", "a PEM file: its private key, without a passphrase"),
		.type = &type_file, AT(conf_certificate, key), .flags = KEY_REQUIRED},
	{ROW("tls", "mapping", "", "what all listeners with TLS have in common"), .type = &type_map},
	{ROW("tls.tickets", "duration, or off", "1h", "a session can be resumed for so long, and twice that at most"),
		.type = &type_duration, AT(conf, tickets_us), .min = S, .max = 7 * 24 * H, .flags = KEY_OFF, .off = 0},

	{ROW("workers", "number, or auto", "auto", "worker processes; auto: one a CPU the cgroup grants"),
		.type = &type_workers, AT(conf, workers)},
	{ROW("user", "name", "", "what all but the master become when started as root"),
		.type = &type_text, AT(conf, user), .fits = is_user_name, .expected = "a user's name"},

	{ROW("client_ip", "mapping", "", "who the client is"), .type = &type_map},
	{ROW("client_ip.trusted_proxies", "list", "", "whose forwarding headers are believed: CIDRs, file:PATH"),
		.type = &type_trusted, AT(conf, client_ip.trusted), ALSO(conf, client_ip.trusted_text)},
	{ROW("client_ip.header", "header name", "X-Forwarded-For", "X-Forwarded-For, Forwarded, or a header of one address"),
		.type = &type_client_header, AT(conf, client_ip.header)},
	{ROW("client_ip.only_with", "mapping", "", "the secret beside which a header of one address is believed"), .type = &type_map},
	{ROW("client_ip.only_with.header", "header name", "", "the header that bears the secret"),
		.type = &type_lower, AT(conf, client_ip.only_with_name), .flags = KEY_REQUIRED, .fits = scalar_is_token, .expected = "a header's name such as X-Origin-Verify"},
	{ROW("client_ip.only_with.value", "secret", "", "the secret"),
		.type = &type_secret, AT(conf, client_ip.only_with_value), .flags = KEY_REQUIRED, .fits = scalar_is_printable,
		.expected = "a secret in visible ASCII"},
	{ROW("client_ip.ipv6_prefix", "number", "64", "one client is one network of so many bits"),
		.type = &type_count, AT(conf, client_ip.ipv6_prefix), .min = 32, .max = 128},

	{ROW("networks", "mapping of lists", "", "named lists for allow, deny, exempt and for"),
		.type = &type_named, ITEMS(conf, network, networks), .extra = &networks, .max = NETSET_LISTS},
	{ROW("networks.*", "list", "", "CIDRs, file:PATH (a CIDR a line)"), .type = &type_network},
	{ROW("deny", "list", "", "refused everywhere; " NETWORKS),
		.type = &type_netlist, AT(conf, deny), ALSO(conf, deny_text)},

	{ROW("rate_limit", "mapping", "", "how much a client may ask for"), .type = &type_map},
	{ROW("rate_limit.store", "word: memory or redis", "memory", "memory: one weir, exact across its workers; redis: exact across all"),
		.type = &type_word, AT(conf, rate_limit.redis), .extra = store_words},
	{ROW("rate_limit.redis", "mapping", "", "the server of store: redis"), .type = &type_map,
		AT(conf, rate_limit.server.url), .flags = KEY_IF_SET},
	{ROW("rate_limit.redis.url", "URL", "", "redis://host:port/db, rediss:// for TLS, or unix:///path?db=N"),
		.type = &type_redis_url, AT(conf, rate_limit.server.url), .flags = KEY_REQUIRED},
	{ROW("rate_limit.redis.username", "name", "", "goes before the URL's"),
		.type = &type_text, AT(conf, rate_limit.server.username), .fits = is_user_id, .expected = "a user's name without spaces"},
	{ROW("rate_limit.redis.password", "secret", "", "goes before the URL's"),
		.type = &type_secret, AT(conf, rate_limit.server.password), .expected = "a password"},
	{ROW("rate_limit.redis.ca", "path", "", "of rediss://: the certificates to trust, PEM; the system's when left out"),
		.type = &type_file, AT(conf, rate_limit.server.ca)},
	{ROW("rate_limit.redis.prefix", "text", "weir:", "of all keys; keeps environments on one Redis apart"),
		.type = &type_text, AT(conf, rate_limit.server.prefix), .fits = is_redis_prefix, .max = 64,
		.expected = "visible ASCII without spaces and braces"},
	{ROW("rate_limit.redis.cluster", "word: auto, on or off", "auto", "Redis Cluster; auto: the server is asked"),
		.type = &type_word, AT(conf, rate_limit.server.cluster), .extra = cluster_words},
	{ROW("rate_limit.redis.timeout", "duration", "50ms", "the longest a decision may hold a request up"),
		.type = &type_duration, AT(conf, rate_limit.server.timeout_us), .min = MS, .max = 10 * S},
	{ROW("rate_limit.redis.on_failure", "word: local, allow or deny", "local", "who decides without the store: local window, let in, 429"),
		.type = &type_word, AT(conf, rate_limit.server.on_failure), .extra = failure_words},
	{ROW("rate_limit.fleet", "number", "1", "weirs to share the limit with while the store has never said how many"),
		.type = &type_count, AT(conf, rate_limit.fleet), .min = 1, .max = 1000},
	{ROW("rate_limit.policies", "mapping of policies", "", "named limits; `default` holds where a site names none"),
		.type = &type_named, ITEMS(conf, rate_limit.policy, rate_limit.policies), .extra = &policies, .max = 256},
	{ROW("rate_limit.policies.*", "mapping", "", "a limit"), .type = &type_map},
	{ROW("rate_limit.policies.*.requests", "number", "", "how many a client may make in a window"),
		.type = &type_count, AT(conf_policy, policy.requests), .min = 1, .max = 10000000, .flags = KEY_REQUIRED},
	{ROW("rate_limit.policies.*.window", "duration", "", "the sliding window"),
		.type = &type_duration, AT(conf_policy, policy.window_us), .min = S, .max = 24 * H, .flags = KEY_REQUIRED},
	{ROW("rate_limit.policies.*.for", "mapping of numbers", "", "other limits for clients of a network"),
		.type = &type_named, ITEMS(conf_policy, for_net, fors), .extra = &fors, .max = 64},
	{ROW("rate_limit.policies.*.for.*", "number", "", "requests for that network; of several the highest holds"),
		.type = &type_for, AT(conf_for, requests), .min = 1, .max = 10000000},
	{ROW("rate_limit.policies.*.mode", "word: enforce or shadow", "enforce", "shadow: counts and reports, refuses nobody"),
		.type = &type_word, AT(conf_policy, policy.shadow), .extra = mode_words},
	{ROW("rate_limit.exempt", "list", "", "never limited; " NETWORKS),
		.type = &type_netlist, AT(conf, rate_limit.exempt), ALSO(conf, rate_limit.exempt_text)},
	{ROW("rate_limit.headers", "word: standard, legacy or off", "standard", "RateLimit and RateLimit-Policy, X-RateLimit-*, or none"),
		.type = &type_word, AT(conf, rate_limit.headers), .extra = header_words},
	{ROW("rate_limit.max_lift", "duration", "4h", "the longest that limits can be lifted for"),
		.type = &type_duration, AT(conf, rate_limit.max_lift_us), .min = S, .max = LIFT_LONGEST},
	{ROW("rate_limit.memory", "size", "64m", "shared memory for the table of clients"),
		.type = &type_size, AT(conf, rate_limit.memory), .min = MB, .max = 64ull * 1024 * MB},
	{ROW("rate_limit.max_block", "duration", "168h", "the longest that a client can be blocked for"),
		.type = &type_duration, AT(conf, rate_limit.max_block_us), .min = S, .max = 366 * 24 * H},
	{ROW("rate_limit.lift_key", "secret, or a list of secrets", "", "signs the tokens of `limits token`: the first signs, all verify"),
		.type = &type_secrets, ITEMS(conf, rate_limit.lift_key, rate_limit.lift_keys), .flags = KEY_NONEMPTY, .min = LIFT_KEY_SHORTEST,
		.max = SECRETS_MAX, .fits = scalar_is_printable, .expected = "a key of 16 bytes at least, in visible ASCII"},

	{ROW("cookies", "mapping", "", "cookies that all sites below a domain share"), .type = &type_map},
	{ROW("cookies.domain", "domain", "", "what shared cookies get as Domain, from any site below it"),
		.type = &type_domain, AT(conf, cookies.domain)},
	{ROW("cookies.share", "mapping of cookies", "", "cookies to share by name; `*` stands for any bytes"),
		.type = &type_named, ITEMS(conf, cookies.share, cookies.shares), .extra = &cookies, .max = 256},
	{ROW("cookies.share.*", "mapping", "", "what the cookie gets besides; {} for nothing"), .type = &type_map},
	{ROW("cookies.share.*.secure", "on or off", "off", "on: Secure is added"),
		.type = &type_onoff, AT(conf_cookie, secure)},
	{ROW("cookies.share.*.http_only", "on or off", "off", "on: HttpOnly is added"),
		.type = &type_onoff, AT(conf_cookie, http_only)},
	{ROW("cookies.share.*.same_site", "word: Strict, Lax, None or off", "off", "SameSite, where the origin has set none"),
		.type = &type_word, AT(conf_cookie, same_site), .extra = same_site_words},
	{ROW("cookies.retire_host_only", "on or off", "off", "on: also expires the host-only twin that would shadow the shared cookie"),
		.type = &type_onoff, AT(conf, cookies.retire_host_only)},

	{ROW("cors", "mapping", "", "for browsers to show weir's own answers"), .type = &type_map},
	{ROW("cors.origins", "list", "", "origins such as https://*.example.com"),
		.type = &type_origins, ITEMS(conf, origin, origins), .flags = KEY_REQUIRED | KEY_NONEMPTY, .max = 256,
		.expected = "one origin at least; remove `cors` for none"},

	{ROW("upstreams", "mapping of upstreams", "", "the services behind weir, by name"),
		.type = &type_named, ITEMS(conf, upstream, upstreams), .extra = &upstreams, .max = 512, .flags = KEY_REQUIRED | KEY_NONEMPTY},
	{ROW("upstreams.*", "mapping", "", "a service"), .type = &type_map},
	{ROW("upstreams.*.servers", "list", "", "addresses such as 10.0.1.10:8080 or unix:/path"),
		.type = &type_servers, ITEMS(conf_upstream, server, servers), .flags = KEY_REQUIRED | KEY_NONEMPTY, .max = 256,
		.expected = "one server at least"},
	{ROW("upstreams.*.health", "not built yet", "", "active health checks"),
		.type = &type_unbuilt, .expected = "remove it; servers that fail requests are ejected without it"},
	{ROW("upstreams.*.discover", "not built yet", "", "servers by name"),
		.type = &type_unbuilt, .expected = "list the servers' addresses under `servers`"},
	{ROW("upstreams.*.tls", "mapping", "", "TLS towards the servers; {} for the defaults"),
		.type = &type_option, AT(conf_upstream, tls.on)},
	{ROW("upstreams.*.tls.verify", "on or off", "on", "the servers' certificates are checked"),
		.type = &type_onoff, AT(conf_upstream, tls.verify)},
	{ROW("upstreams.*.tls.ca", "path", "", "the certificates to trust, PEM; the system's when left out"),
		.type = &type_file, AT(conf_upstream, tls.ca)},
	{ROW("upstreams.*.tls.name", "name", "", "what their certificates must bear, and SNI; their addresses when left out"),
		.type = &type_lower, AT(conf_upstream, tls.name), .fits = scalar_is_host, .expected = "a host's name such as api.internal.example"},
	{ROW("upstreams.*.tls.certificate", "path", "", "shown to servers that ask for one, PEM"),
		.type = &type_file, AT(conf_upstream, tls.own.certificate)},
	{ROW("upstreams.*.tls.key", "path", "", "the private key of that certificate, PEM"),
		.type = &type_file, AT(conf_upstream, tls.own.key)},
	{ROW("upstreams.*.timeouts", "mapping", "", "how long weir waits for its servers"), .type = &type_map},
	{ROW("upstreams.*.timeouts.connect", "duration", "2s", "for a connection"),
		.type = &type_duration, AT(conf_upstream, connect_us), .min = MS, .max = 24 * H},
	{ROW("upstreams.*.timeouts.response", "duration", "30s", "for the first byte of a response"),
		.type = &type_duration, AT(conf_upstream, response_us), .min = MS, .max = 24 * H},
	{ROW("upstreams.*.timeouts.idle", "duration", "60s", "between two reads of a response"),
		.type = &type_duration, AT(conf_upstream, idle_us), .min = MS, .max = 24 * H},
	{ROW("upstreams.*.timeouts.keepalive", "duration", "4s", "that an idle connection stays in the pool; below the server's own time"),
		.type = &type_duration, AT(conf_upstream, keepalive_us), .min = 0, .max = 24 * H},
	{ROW("upstreams.*.pool", "number, or off", "512", "idle connections to a server that each worker keeps"),
		.type = &type_count, AT(conf_upstream, pool), .min = 1, .max = 1000000, .flags = KEY_OFF, .off = UINT32_MAX},
	{ROW("upstreams.*.max_requests", "number, or off", "off", "in flight to a server; above it 503 with Retry-After: 1"),
		.type = &type_count, AT(conf_upstream, max_requests), .min = 1, .max = 1000000, .flags = KEY_OFF, .off = 0},
	{ROW("upstreams.*.via", "on or off", "on", "requests bear `Via: 1.1 weir`; off for nginx, which then compresses only with gzip_proxied"),
		.type = &type_onoff, AT(conf_upstream, via)},

	{ROW("sites", "list", "", "which hosts go where, and who may enter"),
		.type = &type_items, ITEMS(conf, site, sites), .extra = &sites, .max = CONF_SITES_MAX,
		.flags = KEY_REQUIRED | KEY_NONEMPTY, .expected = "one site at least"},
	{ROW("sites[]", "mapping", "", "a site"), .type = &type_map},
	{ROW("sites[].hosts", "list", "", "names, addresses, \"*.example.com\", or \"*\" for the rest"),
		.type = &type_hosts, ITEMS(conf_site, host, hosts), .flags = KEY_REQUIRED | KEY_NONEMPTY, .max = 1024,
		.expected = "one host at least"},
	{ROW("sites[].upstream", "name", "", "the name of the upstream that serves it"),
		.type = &type_upstream, AT(conf_site, upstream), .flags = KEY_REQUIRED},
	{ROW("sites[].allow", "list", "", "who may enter (everybody when left out); " NETWORKS),
		.type = &type_netlist, AT(conf_site, allow), ALSO(conf_site, allow_text), .flags = KEY_NONEMPTY,
		.expected = "one network at least, as nobody could enter; remove it to let everybody in"},
	{ROW("sites[].rate_limit", "name, or off", "", "the policy; `default` when left out, where there is one"),
		.type = &type_policy, AT(conf_site, policy)},
	{ROW("sites[].cookies", "on or off", "on", "off: cookies are left alone"),
		.type = &type_onoff, AT(conf_site, cookies)},
	{ROW("sites[].upgrade", "list", "", "protocols that may be switched to, such as websocket"),
		.type = &type_upgrade, ITEMS(conf_site, upgrade, upgrades), .max = 8},
	{ROW("sites[].paths", "list", "", "rules for paths, added to the site's own"),
		.type = &type_items, ITEMS(conf_site, path, paths), .extra = &paths, .max = CONF_PATHS_MAX},
	{ROW("sites[].paths[]", "mapping", "", "a rule"), .type = &type_map},
	{ROW("sites[].paths[].prefix", "path", "", "what the path starts with, on segment boundaries"),
		.type = &type_prefix, AT(conf_path, prefix), .flags = KEY_REQUIRED},
	{ROW("sites[].paths[].allow", "list", "", "who may enter there besides; " NETWORKS),
		.type = &type_netlist, AT(conf_path, allow), ALSO(conf_path, allow_text), .flags = KEY_NONEMPTY,
		.expected = "one network at least, as nobody could enter; remove it to let everybody in"},
	{ROW("sites[].paths[].rate_limit", "name, or off", "", "a policy held beside the site's own; off: no limit there"),
		.type = &type_policy, AT(conf_path, policy)},

	{ROW("timeouts", "mapping", "", "how long weir waits for clients"), .type = &type_map},
	{ROW("timeouts.head", "duration", "10s", "for a request's head"),
		.type = &type_duration, AT(conf, timeouts.head_us), .min = MS, .max = 24 * H},
	{ROW("timeouts.body", "duration", "30s", "for a client to move the next part of a body; see caps.min_rate"),
		.type = &type_duration, AT(conf, timeouts.body_us), .min = MS, .max = 24 * H},
	{ROW("timeouts.idle", "duration", "75s", "between two requests; above the ALB's 60 s"),
		.type = &type_duration, AT(conf, timeouts.idle_us), .min = MS, .max = 24 * H},
	{ROW("timeouts.tunnel", "duration", "10m", "without a byte in a tunnel"),
		.type = &type_duration, AT(conf, timeouts.tunnel_us), .min = MS, .max = 24 * H},

	{ROW("caps", "mapping", "", "how much weir takes"), .type = &type_map},
	{ROW("caps.connections", "number, or auto", "auto", "of clients at a time; auto: 20000, or fewer where the limit of open files says so"),
		.type = &type_count, AT(conf, caps.connections), .min = 1, .max = 1000000, .flags = KEY_AUTO, .off = 0},
	{ROW("caps.peer_connections", "number, or off", "1000", "of a peer's address that is no trusted proxy; above it 503"),
		.type = &type_count, AT(conf, caps.peer_connections), .min = 1, .max = 1000000, .flags = KEY_OFF, .off = 0},
	{ROW("caps.client_requests", "number, or off", "1000", "in flight of a client, tunnels too; above it 429"),
		.type = &type_count, AT(conf, caps.client_requests), .min = 1, .max = 1000000, .flags = KEY_OFF, .off = 0},
	{ROW("caps.line", "size", "16k", "of a request's first line, and of a header"),
		.type = &type_size, AT(conf, caps.line), .min = 256, .max = 63 * KB},
	{ROW("caps.head", "size", "64k", "of a request's head"),
		.type = &type_size, AT(conf, caps.head), .min = KB, .max = 256 * KB},
	{ROW("caps.headers", "number", "100", "header lines of a request"),
		.type = &type_count, AT(conf, caps.fields), .min = 8, .max = 1000},
	{ROW("caps.body", "size, or off", "off", "of a request's body"),
		.type = &type_size, AT(conf, caps.body), .min = 0, .max = 1ull << 50, .flags = KEY_OFF, .off = UINT64_MAX},
	{ROW("caps.min_rate", "size, or off", "240", "that a client sends or takes of a body a second, over each timeouts.body"),
		.type = &type_size, AT(conf, caps.min_rate), .min = 1, .max = MB, .flags = KEY_OFF, .off = 0},

	{ROW("drain", "mapping", "", "how weir leaves, from the signal on"), .type = &type_map},
	{ROW("drain.grace", "duration", "5s", "connections are still accepted"),
		.type = &type_duration, AT(conf, drain.grace_us), .min = 0, .max = H},
	{ROW("drain.timeout", "duration", "25s", "what is left is cut off"),
		.type = &type_duration, AT(conf, drain.timeout_us), .min = 0, .max = 24 * H},

	{ROW("reload", "mapping", "", "how a new config takes over"), .type = &type_map},
	{ROW("reload.timeout", "duration, or off", "off", "how long old tunnels and long bodies live on"),
		.type = &type_duration, AT(conf, reload_timeout_us), .min = S, .max = 7 * 24 * H, .flags = KEY_OFF, .off = (uint64_t)USEC_NEVER},

	{ROW("health", "mapping", "", "the load balancer's check of weir"), .type = &type_map},
	{ROW("health.path", "path", "/healthz", "answered by weir itself where no forwarding header came"),
		.type = &type_health_path, AT(conf, health_path)},

	{ROW("admin", "mapping", "", "for operators and their tools"), .type = &type_map},
	{ROW("admin.socket", "path, or off", "/run/weir/admin.sock", "the socket of weirctl"),
		.type = &type_path, AT(conf, admin.socket)},
	{ROW("admin.mode", "mode", "0660", "of the socket"), .type = &type_mode, AT(conf, admin.mode)},
	{ROW("admin.http", "address, or off", "127.0.0.1:9145", "/metrics, /status and /status.json, read-only"),
		.type = &type_admin_http, AT(conf, admin.http)},
	{ROW("admin.allow", "list", "", "who may read them besides this machine; " NETWORKS),
		.type = &type_netlist, AT(conf, admin.http_allow), ALSO(conf, admin.allow_text)},

	{ROW("log", "mapping", "", "what weir writes"), .type = &type_map},
	{ROW("log.access", "stdout, path or off", "stdout", "the access log, a JSON object a line"),
		.type = &type_access_log, AT(conf, log.access)},
	{ROW("log.level", "word: debug, info, warn or error", "info", "of weir's own log, on stderr"),
		.type = &type_word, AT(conf, log.level), .extra = level_words},
	{ROW("log.server", "text", "edge", "the `server` field of the access log"),
		.type = &type_text, AT(conf, log.server), .fits = scalar_is_printable, .max = 64, .expected = "visible ASCII"},
	{ROW("log.user_header", "header name", "", "a response header that names the user: logged as visitor, and stripped"),
		.type = &type_lower, AT(conf, log.user_header), .fits = scalar_is_token, .expected = "a header's name such as X-User-Id"},
	{ROW("log.redact", "list", "token, code, password, secret, key, signature", "query values written as ***"),
		.type = &type_texts, ITEMS(conf, log.redact, log.redacts), .fits = is_query_name, .max = 256,
		.expected = "the name of a query parameter"},
	{ROW("log.refusals", "rate, or off", "10/s", "lines for refused requests; beyond it they are folded"),
		.type = &type_rate, AT(conf, log.refusals)},
};
/* clang-format on */

#define KEYS (sizeof(keys) / sizeof(keys[0]))
const unsigned keys_n = KEYS;

const struct conf_key_row *conf_keys(unsigned *n)
{
	static struct conf_key_row rows[KEYS];
	for (unsigned i = 0; i < KEYS; i++)
		rows[i] = keys[i].row;
	*n = KEYS;
	return rows;
}
