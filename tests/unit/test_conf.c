/* SPDX-License-Identifier: MIT */
/* Good configs: defaults, every key there and back, bundles and hashes, hosts, warnings, the files that come
 * along. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/conf_case.h"
#include "tests/unit/tls_case.h"

static char root[4096]; /* where the tests were started */

/* --- defaults --- */

static void test_defaults(void **state)
{
	struct conf *c =
		load_good(MINIMAL "workers: 3\nrate_limit: {store: redis, redis: {url: redis://h}}\n");
	(void)state;
	assert_int_equal(c->listens, 1);
	assert_false(c->listen[0].proxy_protocol);
	assert_int_equal(c->user.n, 0);
	assert_int_equal(c->client_ip.trusted, -1);
	assert_int_equal(c->client_ip.header, CONF_XFF);
	assert_int_equal(c->client_ip.ipv6_prefix, 64);
	assert_true(netmask_empty(&c->deny));
	assert_int_equal(c->networks, 0);
	const struct conf_redis *r = &c->rate_limit.server;
	assert_true(c->rate_limit.redis);
	assert_true(is(r->prefix, "weir:") && is(r->host, "h") && is(r->url, "redis://h:6379/0"));
	assert_int_equal(r->timeout_us, 50 * USEC_PER_MSEC);
	assert_int_equal(r->on_failure, ON_FAILURE_LOCAL);
	assert_int_equal(c->rate_limit.fleet, 1);
	assert_int_equal(c->rate_limit.headers, LIMIT_HEADERS_STANDARD);
	assert_int_equal(c->rate_limit.max_lift_us, 4 * 3600 * USEC_PER_SEC);
	assert_int_equal(c->rate_limit.memory, 64 << 20);
	assert_int_equal(c->cookies.domain.n, 0);
	assert_false(c->cors_set);
	const struct conf_upstream *u = &c->upstream[0];
	assert_int_equal(u->connect_us, 2 * USEC_PER_SEC);
	assert_int_equal(u->response_us, 30 * USEC_PER_SEC);
	assert_int_equal(u->idle_us, 60 * USEC_PER_SEC);
	assert_int_equal(u->keepalive_us, 4 * USEC_PER_SEC);
	assert_int_equal(u->max_requests, 0);
	assert_true(u->via);
	assert_int_equal(c->timeouts.head_us, 10 * USEC_PER_SEC);
	assert_int_equal(c->timeouts.body_us, 30 * USEC_PER_SEC);
	assert_int_equal(c->timeouts.idle_us, 75 * USEC_PER_SEC);
	assert_int_equal(c->timeouts.tunnel_us, 600 * USEC_PER_SEC);
	assert_int_equal(c->caps.connections, 0); /* auto */
	assert_int_equal(conf_connections(c), 20000);
	assert_int_equal(c->caps.line, 16 << 10);
	assert_int_equal(c->caps.head, 64 << 10);
	assert_int_equal(c->caps.fields, 100);
	assert_true(c->caps.body == UINT64_MAX);
	assert_int_equal(c->caps.min_rate, 240);
	assert_int_equal(c->drain.grace_us, 5 * USEC_PER_SEC);
	assert_int_equal(c->drain.timeout_us, 25 * USEC_PER_SEC);
	assert_true(c->reload_timeout_us == USEC_NEVER);
	assert_true(is(c->health_path, "/healthz"));
	assert_true(is(c->admin.socket, "/run/weir/admin.sock"));
	assert_int_equal(c->admin.mode, 0660);
	assert_true(c->admin.http && is(c->admin.http_text, "127.0.0.1:9145"));
	assert_int_equal(c->log.access, ACCESS_LOG_STDOUT);
	assert_int_equal(c->log.level, LOG_INFO);
	assert_true(is(c->log.server, "edge"));
	assert_int_equal(c->log.user_header.n, 0);
	assert_int_equal(c->log.redacts, 6);
	assert_true(is(c->log.redact[0], "token") && is(c->log.redact[5], "signature"));
	assert_int_equal(c->log.refusals, 10);
	assert_int_equal(c->log.refusals_us, USEC_PER_SEC);
	conf_free(c);
}

static void test_site_defaults(void **state)
{
	struct conf *c = load_good(
		"listen: [127.0.0.1:8080]\nupstreams: {api: {servers: [127.0.0.1:9000]}}\n"
		"rate_limit: {policies: {p: {requests: 5, window: 1s}, default: {requests: 9, window: "
		"60s}}}\n"
		"sites: [{hosts: [A.example.com], upstream: api, paths: [{prefix: /x, allow: "
		"[10.0.0.1]}]}, {hosts: [b.c], upstream: api, rate_limit: off}]\n");
	(void)state;
	const struct conf_site *s = &c->site[0];
	assert_true(s->cookies);
	assert_false(s->has_allow);
	assert_int_equal(s->policy, 1);
	assert_int_equal(s->upgrades, 0);
	assert_true(is(s->name, "A.example.com") && is(s->host[0], "a.example.com"));
	assert_int_equal(s->path[0].policy, POLICY_INHERIT);
	assert_true(s->path[0].has_allow);
	assert_non_null(s->rules);
	assert_int_equal(c->site[1].policy, POLICY_OFF);
	assert_null(c->site[1].rules);
	assert_int_equal(c->site[1].id, 1);
	assert_int_equal(c->rate_limit.policy[1].policy.id, 1);
	assert_false(c->rate_limit.policy[0].policy.shadow);
	assert_true(c->rate_limit.policy[0].policy.key != c->rate_limit.policy[1].policy.key);
	conf_free(c);
}

/* --- every key, there and back --- */

struct sample {
	const char *path;
	const char *text;  /* added to MINIMAL, unless it brings sites or upstreams or listen of its own */
	const char *shown; /* a line of what is printed then */
};

#define REST                                                                                                 \
	"upstreams: {api: {servers: [127.0.0.1:9000]}}\nsites: [{hosts: [h], upstream: api, rate_limit: "    \
	"off}]\n"
#define UP_HEAD                                                                                              \
	"listen: [127.0.0.1:80]\nsites: [{hosts: [h], upstream: api, rate_limit: off}]\nupstreams: {api: {"
#define UP_BEFORE UP_HEAD "servers: [127.0.0.1:9000], "
#define UP(more) UP_HEAD more "}}\n"
#define SITE(more)                                                                                           \
	"listen: [127.0.0.1:80]\nnetworks: {office: [10.0.0.0/8]}\n"                                         \
	"rate_limit: {policies: {login: {requests: 1, window: 1s}}}\n"                                       \
	"upstreams: {api: {servers: [127.0.0.1:9000]}, web: {servers: [127.0.0.1:9001]}}\n"                  \
	"sites: [{" more "}]\n"
#define REDIS(more) "rate_limit: {store: redis, redis: {url: \"redis://h\", " more "}}\n"
#define POLICY(more) "networks: {vpn: [10.9.0.0/16]}\nrate_limit: {policies: {p: {" more "}}}\n"
#define TRUST "trusted_proxies: [10.0.0.0/24]"
#define SHARE(more) "cookies: {domain: example.com, share: {sid: {" more "}}}\n"

static const struct sample samples[] = {
	{"listen[].address", "listen: [\"[::1]:81\", {address: \"unix:/run/w.sock\"}]\n" REST,
	 "  - address: unix:/run/w.sock\n"},
	{"listen[].proxy_protocol",
	 "listen: [{address: 0.0.0.0:81, proxy_protocol: on}]\nclient_ip: {" TRUST "}\n" REST,
	 "    proxy_protocol: on\n"},
	{"listen[].tls[].certificate",
	 "listen: [{address: 0.0.0.0:81, tls: {certificate: c.pem, key: k.pem}}]\n" REST,
	 "    tls:\n      - certificate: /tmp/weir-conf-"},
	{"listen[].tls[].key",
	 "listen: [{address: 0.0.0.0:81, tls: [{certificate: c.pem, key: k.pem}, {certificate: c.pem, key: "
	 "k.pem}]}]\n" REST,
	 "        key: /tmp/weir-conf-"},
	{"tls.tickets", "tls: {tickets: off}\n", "tls:\n  tickets: off\n"},
	{"workers", "workers: 7\n", "workers: 7\n"},
	{"user", "user: _weir\n", "user: \"_weir\"\n"},
	{"client_ip.trusted_proxies", "client_ip: {trusted_proxies: [10.0.0.0/24, \"file:list\"]}\n",
	 "  trusted_proxies: [10.0.0.0/24, file:list]\n"},
	{"client_ip.header", "client_ip: {" TRUST ", header: forwarded}\n", "  header: Forwarded\n"},
	{"client_ip.only_with.header",
	 "client_ip: {" TRUST
	 ", header: CloudFront-Viewer-Address, only_with: {header: X-Key, value: k3y}}\n",
	 "  header: cloudfront-viewer-address\n  only_with:\n    header: x-key\n    value: \"***\"\n"},
	{"client_ip.only_with.value",
	 "client_ip: {" TRUST ", header: X-A, only_with: {header: X-Key, value: k3y}}\n",
	 "    value: \"***\"\n"},
	{"client_ip.ipv6_prefix", "client_ip: {ipv6_prefix: 48}\n", "  ipv6_prefix: 48\n"},
	{"networks.*", "networks: {office: [10.0.0.0/8, \"2001:db8::/32\"]}\n",
	 "networks:\n  office: [10.0.0.0/8, 2001:db8::/32]\n"},
	{"deny", "networks: {bad: [10.0.0.0/8]}\ndeny: [bad, 192.0.2.1]\n", "deny: [bad, 192.0.2.1]\n"},
	{"rate_limit.store", "rate_limit: {store: redis, redis: {url: redis://h}}\n", "  store: redis\n"},
	{"rate_limit.redis.url", "rate_limit: {store: redis, redis: {url: \"redis://[::1]:7000/3\"}}\n",
	 "    url: \"redis://[::1]:7000/3\"\n"},
	{"rate_limit.redis.username", REDIS("username: joe, password: s"), "    username: joe\n"},
	{"rate_limit.redis.password", REDIS("password: s"), "    password: \"***\"\n"},
	{"rate_limit.redis.ca", "rate_limit: {store: redis, redis: {url: \"rediss://h:7\", ca: c.pem}}\n",
	 "    url: rediss://h:7/0\n    ca: /tmp/weir-conf-"},
	{"rate_limit.redis.prefix", REDIS("prefix: \"w:2:\""), "    prefix: \"w:2:\"\n"},
	{"rate_limit.redis.cluster", REDIS("cluster: no"), "    cluster: off\n"},
	{"rate_limit.redis.cluster", REDIS("cluster: true"), "    cluster: on\n"},
	{"rate_limit.redis.timeout", REDIS("timeout: 20ms"), "    timeout: 20ms\n"},
	{"rate_limit.redis.on_failure", REDIS("on_failure: deny"), "    on_failure: deny\n"},
	{"rate_limit.fleet", "rate_limit: {store: redis, fleet: 4, redis: {url: redis://h}}\n",
	 "  fleet: 4\n"},
	{"rate_limit.policies.*.requests", POLICY("requests: 10000000, window: 1s"),
	 "      requests: 10000000\n"},
	{"rate_limit.policies.*.window", POLICY("requests: 7, window: 24h"), "      window: 24h\n"},
	{"rate_limit.policies.*.for.*", POLICY("requests: 7, window: 1m, for: {vpn: 5000}"),
	 "      for:\n        vpn: 5000\n"},
	{"rate_limit.policies.*.mode", POLICY("requests: 7, window: 1m, mode: shadow"),
	 "      mode: shadow\n"},
	{"rate_limit.exempt", "rate_limit: {exempt: [10.1.0.0/16]}\n", "  exempt: [10.1.0.0/16]\n"},
	{"rate_limit.headers", "rate_limit: {headers: no}\n", "  headers: off\n"},
	{"rate_limit.max_lift", "rate_limit: {max_lift: 90m}\n", "  max_lift: 90m\n"},
	{"rate_limit.max_block", "rate_limit: {max_block: 48h}\n", "  max_block: 48h\n"},
	{"rate_limit.lift_key", "rate_limit: {lift_key: [0123456789abcdef, fedcba9876543210]}\n",
	 "  lift_key: [\"****************\", \"****************\"]\n"},
	{"rate_limit.memory", "rate_limit: {memory: 2g}\n", "  memory: 2g\n"},
	{"cookies.domain", SHARE(""), "  domain: example.com\n"},
	{"cookies.share.*.secure", SHARE("secure: yes"), "    sid:\n      secure: on\n"},
	{"cookies.share.*.http_only", SHARE("http_only: true"), "      http_only: on\n"},
	{"cookies.share.*.same_site", SHARE("secure: on, same_site: none"), "      same_site: None\n"},
	{"cookies.retire_host_only", "cookies: {domain: example.com, share: {a: {}}, retire_host_only: on}\n",
	 "  retire_host_only: on\n"},
	{"cors.origins", "cors: {origins: [\"HTTPS://*.Example.com:444\", \"http://[::1]:80\"]}\n",
	 "  origins: [\"https://*.example.com:444\", \"http://[::1]:80\"]\n"},
	{"upstreams.*.servers", UP("servers: [10.0.0.1:80, \"[::1]:81\", \"unix:/a b\"]"),
	 "    servers: [10.0.0.1:80, \"[::1]:81\", \"unix:/a b\"]\n"},
	{"upstreams.*.tls.verify", UP("servers: [10.0.0.1:80], tls: {verify: off}"),
	 "    tls:\n      verify: off\n"},
	{"upstreams.*.tls.ca", UP("servers: [10.0.0.1:80], tls: {ca: c.pem}"), "      ca: /tmp/weir-conf-"},
	{"upstreams.*.tls.name", UP("servers: [10.0.0.1:80], tls: {name: A.example, ca: c.pem}"),
	 "      name: a.example\n"},
	{"upstreams.*.tls.certificate",
	 UP("servers: [10.0.0.1:80], tls: {ca: c.pem, certificate: c.pem, key: k.pem}"),
	 "      certificate: /tmp/weir-conf-"},
	{"upstreams.*.tls.key",
	 UP("servers: [10.0.0.1:80], tls: {ca: c.pem, certificate: c.pem, key: k.pem}"),
	 "      key: /tmp/weir-conf-"},
	{"upstreams.*.timeouts.connect", UP("servers: [10.0.0.1:80], timeouts: {connect: 1500ms}"),
	 "      connect: 1500ms\n"},
	{"upstreams.*.timeouts.response", UP("servers: [10.0.0.1:80], timeouts: {response: 1h}"),
	 "      response: 1h\n"},
	{"upstreams.*.timeouts.idle", UP("servers: [10.0.0.1:80], timeouts: {idle: 121s}"),
	 "      idle: 121s\n"},
	{"upstreams.*.timeouts.keepalive", UP("servers: [10.0.0.1:80], timeouts: {keepalive: 0s}"),
	 "      keepalive: 0s\n"},
	{"upstreams.*.max_requests", UP("servers: [10.0.0.1:80], max_requests: 500"),
	 "    max_requests: 500\n"},
	{"upstreams.*.pool", UP("servers: [10.0.0.1:80], pool: 8"), "    pool: 8\n"},
	{"upstreams.*.pool", UP("servers: [10.0.0.1:80], pool: off"), "    pool: off\n"},
	{"upstreams.*.via", UP("servers: [10.0.0.1:80], via: off"), "    via: off\n"},
	{"sites[].hosts", SITE("hosts: [\"*\", \"*.X.com\", y.com., \"[2001:DB8::0]\"], upstream: api"),
	 "  - hosts: [\"*\", \"*.x.com\", y.com, \"[2001:db8::]\"]\n"},
	{"sites[].upstream", SITE("hosts: [h], upstream: web"), "    upstream: web\n"},
	{"sites[].allow", SITE("hosts: [h], upstream: web, allow: [office, 10.0.0.7, \"file:list\"]"),
	 "    allow: [office, 10.0.0.7, file:list]\n"},
	{"sites[].rate_limit", SITE("hosts: [h], upstream: web, rate_limit: login"),
	 "    rate_limit: login\n"},
	{"sites[].cookies", SITE("hosts: [h], upstream: web, cookies: off"), "    cookies: off\n"},
	{"sites[].upgrade", SITE("hosts: [h], upstream: web, upgrade: [WebSocket]"),
	 "    upgrade: [websocket]\n"},
	{"sites[].paths[].prefix",
	 SITE("hosts: [h], upstream: web, paths: [{prefix: /a/, rate_limit: login}]"),
	 "    paths:\n      - prefix: /a/\n        rate_limit: login\n"},
	{"sites[].paths[].allow", SITE("hosts: [h], upstream: web, paths: [{prefix: /a, allow: [office]}]"),
	 "        allow: [office]\n"},
	{"sites[].paths[].rate_limit",
	 SITE("hosts: [h], upstream: web, paths: [{prefix: /a, rate_limit: off}]"),
	 "        rate_limit: off\n"},
	{"timeouts.head", "timeouts: {head: 1ms}\n", "  head: 1ms\n"},
	{"timeouts.body", "timeouts: {body: 59s}\n", "  body: 59s\n"},
	{"timeouts.idle", "timeouts: {idle: 24h}\n", "  idle: 24h\n"},
	{"timeouts.tunnel", "timeouts: {tunnel: 1h}\n", "  tunnel: 1h\n"},
	{"caps.connections", "caps: {connections: 1000000}\n", "  connections: 1000000\n"},
	{"caps.line", "caps: {line: 63k}\n", "  line: 63k\n"},
	{"caps.head", "caps: {head: 100000}\n", "  head: 100000\n"},
	{"caps.headers", "caps: {headers: 1000}\n", "  headers: 1000\n"},
	{"caps.body", "caps: {body: 5g}\n", "  body: 5g\n"},
	{"caps.connections", "caps: {connections: auto}\n", "  connections: auto\n"},
	{"caps.peer_connections", "caps: {peer_connections: 50}\n", "  peer_connections: 50\n"},
	{"caps.peer_connections", "caps: {peer_connections: off}\n", "  peer_connections: off\n"},
	{"caps.client_requests", "caps: {client_requests: 50}\n", "  client_requests: 50\n"},
	{"caps.client_requests", "caps: {client_requests: off}\n", "  client_requests: off\n"},
	{"caps.min_rate", "caps: {min_rate: 1k}\n", "  min_rate: 1k\n"},
	{"caps.min_rate", "caps: {min_rate: off}\n", "  min_rate: off\n"},
	{"drain.grace", "drain: {grace: 0s}\n", "  grace: 0s\n"},
	{"drain.timeout", "drain: {timeout: 30s}\n", "  timeout: 30s\n"},
	{"reload.timeout", "reload: {timeout: 10m}\n", "reload:\n  timeout: 10m\n"},
	{"health.path", "health: {path: /edge/health}\n", "  path: /edge/health\n"},
	{"admin.socket", "admin: {socket: off}\n", "  socket: off\n"},
	{"admin.mode", "admin: {mode: 0600}\n", "  mode: \"0600\"\n"},
	{"admin.http", "admin: {http: \"[::1]:99\"}\n", "  http: \"[::1]:99\"\n"},
	{"admin.allow", "admin: {http: 0.0.0.0:99, allow: [10.0.0.0/8]}\n", "  allow: [10.0.0.0/8]\n"},
	{"log.access", "log: {access: \"/var/log/a b.log\"}\n", "  access: \"/var/log/a b.log\"\n"},
	{"log.level", "log: {level: DEBUG}\n", "  level: debug\n"},
	{"log.server", "log: {server: \"a $${x} \\\" \\\\ #\"}\n", "  server: \"a $${x} \\\" \\\\ #\"\n"},
	{"log.user_header", "log: {user_header: X-User}\n", "  user_header: x-user\n"},
	{"log.redact", "log: {redact: []}\n", "  redact: []\n"},
	{"log.refusals", "log: {refusals: 100/m}\n", "  refusals: 100/m\n"},
};

static void write_certificate(void)
{
	struct made m = make_certificate((struct making){.san = "DNS:a.example"});
	write_file("c.pem", m.certificate);
	write_file("k.pem", m.key);
	free_made(&m);
}

static const struct sample *sample_of(const char *path)
{
	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++)
		if (strcmp(samples[i].path, path) == 0)
			return &samples[i];
	return NULL;
}

static char *complete(const struct sample *s)
{
	char *text = NULL;
	bool whole = strstr(s->text, "sites:") != NULL;
	assert_true(asprintf(&text, "%s%s", whole ? "" : MINIMAL, s->text) > 0);
	return text;
}

static bool is_container(const char *type)
{
	return strncmp(type, "mapping", 7) == 0;
}

static void test_every_key_round_trips(void **state)
{
	unsigned n;
	const struct conf_key_row *row = conf_keys(&n);
	(void)state;
	write_file("list", "10.7.0.0/16\n");
	write_certificate();
	for (unsigned i = 0; i < n; i++) {
		if (is_container(row[i].type) || strcmp(row[i].type, "not built yet") == 0 ||
		    strcmp(row[i].path, "listen") == 0 || strcmp(row[i].path, "sites") == 0 ||
		    strcmp(row[i].path, "sites[].paths") == 0 || strcmp(row[i].path, "listen[].tls") == 0)
			continue;
		const struct sample *s = sample_of(row[i].path);
		if (!s)
			fail_msg("no sample of the key %s", row[i].path);
		char *text = complete(s);
		struct conf *c = load_good(text);
		char *once = printed(c);
		if (!strstr(once, s->shown))
			fail_msg("%s: expected\n%sin\n%s", s->path, s->shown, once);
		struct conf *again = load_good(once);
		char *twice = printed(again);
		if (strcmp(once, twice) != 0)
			fail_msg("%s: once\n%stwice\n%s", s->path, once, twice);
		conf_free(c);
		conf_free(again);
		free(once);
		free(twice);
		free(text);
	}
}

/* Where a key is written: what stands before and after it. */
struct frame {
	const char *prefix, *before, *after;
};

static const struct frame frames[] = {
	{"listen[].", "listen: [{address: 127.0.0.1:8080, ", "}]\n" REST},
	{"upstreams.*.tls.", UP_BEFORE "tls: {ca: c.pem, ", "}}}\n"},
	{"upstreams.*.", UP_BEFORE, "}}\n"},
	{"sites[].",
	 "listen: [127.0.0.1:80]\nupstreams: {api: {servers: [127.0.0.1:9000]}}\nsites: [{hosts: [h], "
	 "upstream: api, ",
	 "}]\n"},
	{"rate_limit.policies.*.", MINIMAL "rate_limit: {policies: {p: {requests: 1, window: 1s, ", "}}}\n"},
	{"rate_limit.redis.", MINIMAL "rate_limit: {store: redis, redis: {url: redis://h, ", "}}\n"},
	{"cookies.share.*.", MINIMAL "cookies: {domain: example.com, share: {c: {", "}}}\n"},
	{"", MINIMAL, "\n"},
};

static const struct frame *frame_of(const char *path)
{
	const struct frame *f = frames;
	while (strncmp(path, f->prefix, strlen(f->prefix)) != 0)
		f++;
	return f;
}

/* `a.b: value` as `a: {b: value}`, in its frame. */
static char *write_in_frame(const struct frame *f, const struct conf_key_row *row)
{
	bool list = strcmp(row->type, "list") == 0;
	const char *name = row->path + strlen(f->prefix), *dot = strchr(name, '.');
	const char *open = list ? "[" : "\"", *close = list ? "]" : "\"";
	char *text = NULL;
	int n;
	if (!dot)
		n = asprintf(&text, "%s%s: %s%s%s%s", f->before, name, open, row->initial, close, f->after);
	else
		n = asprintf(&text, "%s%.*s: {%s: %s%s%s}%s", f->before, (int)(dot - name), name, dot + 1,
			     open, row->initial, close, f->after);
	assert_true(n > 0);
	return text;
}

/* Writing a key's documented default changes nothing. */
static void test_documented_defaults(void **state)
{
	unsigned n, tried = 0;
	const struct conf_key_row *row = conf_keys(&n);
	(void)state;
	write_certificate();
	for (unsigned i = 0; i < n; i++) {
		if (!row[i].initial[0])
			continue;
		const struct frame *f = frame_of(row[i].path);
		char *with = write_in_frame(f, &row[i]), *without;
		assert_true(asprintf(&without, "%s%s", f->before, f->after) > 0);
		struct conf *a = load_good(with), *b = load_good(without);
		char *x = printed(a), *y = printed(b);
		if (strcmp(x, y) != 0)
			fail_msg("%s: with its default\n%swithout it\n%s", row[i].path, x, y);
		conf_free(a);
		conf_free(b);
		free(x);
		free(y);
		free(with);
		free(without);
		tried++;
	}
	assert_true(tried >= 46);
}

/* --- words, references --- */

static void test_words(void **state)
{
	static const char *const on[] = {"on", "yes", "true", "True", "ON", "\"on\""};
	static const char *const off[] = {"off", "no", "false", "FALSE", "'off'"};
	(void)state;
	for (size_t i = 0; i < sizeof(on) / sizeof(on[0]); i++) {
		char *text = NULL;
		assert_true(asprintf(&text,
				     MINIMAL
				     "cookies: {domain: example.com, share: {a: {}}, retire_host_only: %s}\n",
				     on[i]) > 0);
		struct conf *c = load_good(text);
		assert_true(c->cookies.retire_host_only);
		conf_free(c);
		free(text);
	}
	for (size_t i = 0; i < sizeof(off) / sizeof(off[0]); i++) {
		char *text = NULL;
		assert_true(asprintf(&text, MINIMAL "log: {access: %s}\nreload: {timeout: %s}\n", off[i],
				     off[i]) > 0);
		struct conf *c = load_good(text);
		assert_int_equal(c->log.access, ACCESS_LOG_OFF);
		assert_true(c->reload_timeout_us == USEC_NEVER);
		conf_free(c);
		free(text);
	}
}

static void expect_expanded(const char *written, const char *want)
{
	char *text = NULL;
	assert_true(asprintf(&text, "%slog: {server: \"%s\"}\n", MINIMAL, written) > 0);
	struct conf *c = load_good(text);
	if (!is(c->log.server, want))
		fail_msg("%s became `%.*s`, not `%s`", written, (int)c->log.server.n, c->log.server.p, want);
	conf_free(c);
	free(text);
}

static void test_references(void **state)
{
	(void)state;
	write_file("line", "one\n");
	write_file("lines", "one");
	write_file("dos", "one\r\n");
	setenv("WEIR_TEST_A", "x: {y}", 1);
	setenv("WEIR_TEST_EMPTY", "", 1);
	setenv("WEIR_TEST_NESTED", "${WEIR_TEST_A}", 1);
	expect_expanded("${WEIR_TEST_A}", "x: {y}"); /* never becomes YAML */
	expect_expanded("<${WEIR_TEST_A}-${WEIR_TEST_A}>", "<x: {y}-x: {y}>");
	expect_expanded("${WEIR_TEST_NESTED}", "${WEIR_TEST_A}"); /* once */
	expect_expanded("a${WEIR_TEST_EMPTY}b", "ab");
	expect_expanded("${WEIR_TEST_EMPTY:-x}", "x");
	expect_expanded("${WEIR_TEST_NONE:-}z", "z");
	expect_expanded("${WEIR_TEST_NONE:-a:-b}", "a:-b");
	expect_expanded("${file:line}${file:lines}${file:dos}", "oneoneone");
	expect_expanded("$${WEIR_TEST_A}", "${WEIR_TEST_A}");
	expect_expanded("$$${WEIR_TEST_A}", "$${WEIR_TEST_A}");
	expect_expanded("$ $x $$ }{ $", "$ $x $$ }{ $");
}

static void test_relative_paths(void **state)
{
	(void)state;
	assert_int_equal(mkdir("sub", 0700), 0);
	write_file("sub/nets", "192.0.2.0/24 # a comment\n\n# another\n");
	write_file("sub/weir.yaml",
		   MINIMAL "deny: [\"file:nets\"]\nadmin: {socket: run/a.sock}\nlog: {access: a.log}\n");
	struct conf_bundle *b = conf_bundle_new("sub/weir.yaml");
	struct conf_notes notes = {0};
	struct conf *c = conf_load(b, &notes);
	char want[256], *folder = realpath("sub", NULL);
	assert_non_null(c);
	assert_non_null(folder);
	snprintf(want, sizeof(want), "%s/run/a.sock", folder);
	assert_true(is(c->admin.socket, want));
	snprintf(want, sizeof(want), "%s/a.log", folder);
	assert_true(is(c->log.path, want));
	free(folder);
	struct addr in = addr_v4(192, 0, 2, 9), out = addr_v4(192, 0, 3, 9);
	assert_true(netmask_any(netset_lookup(c->nets, &in), &c->deny));
	assert_false(netmask_any(netset_lookup(c->nets, &out), &c->deny));
	conf_free(c);
	conf_notes_free(&notes);
	conf_bundle_free(b);
}

/* --- secrets --- */

static void test_secrets_are_masked(void **state)
{
	struct conf *c = load_good(
		MINIMAL
		"rate_limit: {store: redis, redis: {url: \"redis://joe:hunter%322@h\"}}\n"
		"client_ip: {trusted_proxies: [10.0.0.0/24], header: X-A, only_with: {header: X-K, value: "
		"hunter2}}\n");
	(void)state;
	char *text = printed(c);
	assert_true(is(c->rate_limit.server.password, "hunter22"));
	assert_true(is(c->rate_limit.server.username, "joe"));
	assert_true(is(c->rate_limit.server.url, "redis://h:6379/0"));
	assert_null(strstr(text, "hunter"));
	assert_non_null(strstr(text, "    password: \"***\"\n"));
	struct conf *again = load_good(text);
	assert_true(is(again->rate_limit.server.password, "***"));
	assert_true(is(again->client_ip.only_with_value, "***"));
	assert_true(is(again->rate_limit.server.username, "joe"));
	conf_free(again);
	conf_free(c);
	free(text);
}

static void test_keys_go_before_the_url(void **state)
{
	struct conf *c =
		load_good(MINIMAL "rate_limit: {store: redis, redis: {password: p2, username: u2, url: "
				  "\"redis://u1:p1@h:1/2\"}}\n");
	const struct conf_redis *r = &c->rate_limit.server;
	(void)state;
	assert_true(is(r->username, "u2") && is(r->password, "p2"));
	assert_int_equal(r->port, 1);
	assert_int_equal(r->db, 2);
	conf_free(c);
}

/* --- bundles and hashes --- */

static const char bundled[] =
	MINIMAL "deny: [\"file:list\"]\nlog: {server: \"${WEIR_TEST_NAME}${file:part}\"}\nworkers: auto\n";

static struct conf *load_bundle(struct conf_bundle *b)
{
	struct conf_notes notes = {0};
	struct conf *c = conf_load(b, &notes);
	conf_notes_free(&notes);
	return c;
}

static void write_bundled(void)
{
	write_file("weir.yaml", bundled);
	write_file("list", "10.7.0.0/16\n");
	write_file("part", "-b\n");
	setenv("WEIR_TEST_NAME", "a", 1);
}

static void test_bundle_travels(void **state)
{
	size_t n;
	(void)state;
	write_bundled();
	struct conf_bundle *b = conf_bundle_new("weir.yaml");
	struct conf *c = load_bundle(b);
	assert_non_null(c);
	assert_true(is(c->log.server, "a-b"));
	assert_true(c->workers >= 1 && c->workers <= CONF_WORKERS_MAX);
	const void *bytes = conf_bundle_bytes(b, &n);
	unlink("weir.yaml");
	unlink("list");
	unlink("part");
	unsetenv("WEIR_TEST_NAME");
	assert_int_equal(chdir("/"), 0);
	struct conf_bundle *child = conf_bundle_parse(bytes, n);
	struct conf *d = load_bundle(child);
	assert_non_null(d);
	assert_string_equal(c->hash, d->hash);
	char *x = printed(c), *y = printed(d);
	assert_string_equal(x, y);
	assert_int_equal(chdir(case_folder), 0);
	free(x);
	free(y);
	conf_free(c);
	conf_free(d);
	conf_bundle_free(b);
	conf_bundle_free(child);
}

/* A child reads nothing by itself, not even what is there. */
static void test_child_reads_nothing(void **state)
{
	size_t n;
	(void)state;
	write_bundled();
	struct conf_bundle *b = conf_bundle_new("weir.yaml");
	const void *bytes = conf_bundle_bytes(b, &n); /* nothing was asked for yet */
	struct conf_bundle *child = conf_bundle_parse(bytes, n);
	assert_non_null(child);
	assert_null(load_bundle(child));
	conf_bundle_free(child);
	conf_bundle_free(b);
}

static void test_damaged_bundles(void **state)
{
	size_t n;
	(void)state;
	write_bundled();
	struct conf_bundle *b = conf_bundle_new("weir.yaml");
	struct conf *c = load_bundle(b);
	const unsigned char *bytes = conf_bundle_bytes(b, &n);
	unsigned char *copy = malloc(n + 8);
	assert_null(conf_bundle_parse("", 0));
	for (size_t cut = 0; cut < n; cut++) {
		memcpy(copy, bytes, cut);
		struct conf_bundle *d = conf_bundle_parse(copy, cut);
		if (d) /* cut between two entries: then something is missing */
			assert_null(load_bundle(d));
		conf_bundle_free(d);
	}
	for (size_t at = 0; at < n; at++) {
		memcpy(copy, bytes, n);
		copy[at] ^= (unsigned char)(1 + at * 37 % 255);
		struct conf_bundle *d = conf_bundle_parse(copy, n);
		struct conf *e =
			d ? load_bundle(d) : NULL; /* whatever it says, it is read within its bytes */
		conf_free(e);
		conf_bundle_free(d);
	}
	memcpy(copy, bytes, n);
	memset(copy + n, 0, 8);
	assert_null(conf_bundle_parse(copy, n + 8));
	free(copy);
	conf_free(c);
	conf_bundle_free(b);
}

static void hash_of(const char *path, char out[CONF_HASH])
{
	struct conf_bundle *b = conf_bundle_new(path);
	struct conf *c = load_bundle(b);
	assert_non_null(c);
	memcpy(out, c->hash, CONF_HASH);
	assert_int_equal(strlen(out), 16);
	assert_int_equal(strspn(out, "0123456789abcdef"), 16);
	conf_free(c);
	conf_bundle_free(b);
}

static void test_hash(void **state)
{
	char first[CONF_HASH], next[CONF_HASH];
	(void)state;
	write_bundled();
	hash_of("weir.yaml", first);
	hash_of("./weir.yaml", next);
	assert_string_equal(first, next);
	assert_int_equal(mkdir("copy", 0700), 0);
	assert_int_equal(system("cp weir.yaml list part copy"), 0);
	hash_of("copy/weir.yaml", next);
	assert_string_equal(first, next); /* the same config elsewhere is the same */
	write_file("list", "10.8.0.0/16\n");
	hash_of("weir.yaml", next);
	assert_string_not_equal(first, next);
	write_bundled();
	write_file("part", "-c\n");
	hash_of("weir.yaml", next);
	assert_string_not_equal(first, next);
	write_bundled();
	setenv("WEIR_TEST_NAME", "b", 1);
	hash_of("weir.yaml", next);
	assert_string_not_equal(first, next);
	write_bundled();
	hash_of("weir.yaml", next);
	assert_string_equal(first, next);
}

/* --- hosts --- */

static const char *site_name(const struct conf *c, const char *host)
{
	const struct conf_site *s = conf_site_of(c, str_of(host));
	return s ? s->name.p : "none";
}

#define SITES "listen: [127.0.0.1:80]\nupstreams: {api: {servers: [127.0.0.1:9000]}}\nsites:\n"
#define HOST(name) "  - {hosts: [\"" name "\"], upstream: api, rate_limit: off}\n"

static void test_site_of(void **state)
{
	struct conf *c = load_good(SITES HOST("example.com") HOST("*.example.com") HOST("*.dev.example.com")
					   HOST("a.dev.example.com") HOST("localhost") HOST("127.0.0.1")
						   HOST("[::1]"));
	(void)state;
	assert_string_equal(site_name(c, "example.com"), "example.com");
	assert_string_equal(site_name(c, "www.example.com"), "*.example.com");
	assert_string_equal(site_name(c, "a.b.c.example.com"), "*.example.com");
	assert_string_equal(site_name(c, "dev.example.com"), "*.example.com");
	assert_string_equal(site_name(c, "b.dev.example.com"), "*.dev.example.com");
	assert_string_equal(site_name(c, "x.b.dev.example.com"), "*.dev.example.com");
	assert_string_equal(site_name(c, "a.dev.example.com"), "a.dev.example.com");
	assert_string_equal(site_name(c, "x.a.dev.example.com"), "*.dev.example.com");
	assert_string_equal(site_name(c, "xexample.com"), "none");
	assert_string_equal(site_name(c, ".example.com"), "none");
	assert_string_equal(site_name(c, "com"), "none");
	assert_string_equal(site_name(c, ""), "none");
	assert_string_equal(site_name(c, "*"), "none");
	assert_string_equal(site_name(c, "*.example.com"), "none");
	assert_string_equal(site_name(c, "localhost"), "localhost");
	assert_string_equal(site_name(c, "127.0.0.1"), "127.0.0.1");
	assert_string_equal(site_name(c, "[::1]"), "[::1]");
	conf_free(c);
	c = load_good(SITES HOST("*") HOST("*.example.com") HOST("b.org"));
	assert_string_equal(site_name(c, "example.com"), "*");
	assert_string_equal(site_name(c, "a.example.com"), "*.example.com");
	assert_string_equal(site_name(c, "b.org"), "b.org");
	assert_string_equal(site_name(c, "a.b.org"), "*");
	assert_string_equal(site_name(c, "[::1]"), "*");
	assert_string_equal(site_name(c, ""), "*");
	conf_free(c);
	c = load_good(SITES HOST("*") HOST("b.org"));
	assert_string_equal(site_name(c, "b.org"), "b.org");
	assert_string_equal(site_name(c, "a.b.org"), "*");
	assert_string_equal(site_name(c, "*"), "*");
	conf_free(c);
}

/* The slow and plain way. */
static const struct conf_site *slow_site_of(const struct conf *c, struct str host)
{
	const struct conf_site *best = NULL;
	size_t length = 0;
	for (unsigned i = 0; i < c->hosts; i++) {
		struct str p = c->host[i].name;
		if (str_eq(p, host))
			return c->host[i].site;
		bool wild = p.p[0] == '*', rest = p.n == 1;
		bool fits = wild && !rest && host.n > p.n - 1 &&
			    memcmp(host.p + host.n - (p.n - 1), p.p + 1, p.n - 1) == 0;
		if ((fits || (rest && wild)) && p.n > length) {
			best = c->host[i].site;
			length = p.n;
		}
	}
	return best;
}

static void make_host(char *out, unsigned *seed, unsigned labels)
{
	*out = '\0';
	for (unsigned i = 0; i < labels; i++) {
		*seed = *seed * 1103515245 + 12345;
		strcat(out, i ? "." : "");
		strncat(out, &"a-b+c0d"[*seed >> 16 & 3 ? (*seed >> 18) % 2 * 2 : 6], 1);
	}
}

static void test_site_of_against_the_slow_way(void **state)
{
	unsigned seed = 7, found = 0;
	char *text = NULL, host[64];
	size_t n;
	(void)state;
	FILE *f = open_memstream(&text, &n);
	fputs(SITES, f);
	char seen[120][72];
	unsigned sites = 0;
	while (sites < 120) {
		make_host(host, &seed, 1 + seed % 6);
		char pattern[72];
		snprintf(pattern, sizeof(pattern), "%s%s", seed >> 9 & 1 ? "*." : "", host);
		bool known = false;
		for (unsigned i = 0; i < sites && !known; i++)
			known = strcmp(seen[i], pattern) == 0;
		if (known)
			continue;
		strcpy(seen[sites++], pattern);
		fprintf(f, HOST("%s"), pattern);
	}
	fclose(f);
	struct conf *c = load_good(text);
	for (unsigned i = 0; i < 20000; i++) {
		make_host(host, &seed, 1 + (seed >> 3) % 8);
		const struct conf_site *got = conf_site_of(c, str_of(host)),
				       *want = slow_site_of(c, str_of(host));
		if (got != want)
			fail_msg("%s: %s, not %s", host, got ? got->name.p : "none",
				 want ? want->name.p : "none");
		found += got != NULL;
	}
	assert_true(found > 1000 && found < 20000);
	conf_free(c);
	free(text);
}

/* --- limits and paths --- */

static uint32_t limit_for(const struct conf *c, struct addr a)
{
	return conf_policy_limit(&c->rate_limit.policy[0], netset_lookup(c->nets, &a));
}

static void test_policy_limit(void **state)
{
	struct conf *c = load_good(
		MINIMAL "networks: {big: [10.0.0.0/8], small: [10.1.0.0/16], low: [192.0.2.0/24]}\n"
			"rate_limit: {policies: {p: {requests: 100, window: 1s, for: {big: 500, small: "
			"300, low: 5}}}}\n");
	(void)state;
	assert_int_equal(limit_for(c, addr_v4(10, 2, 0, 1)), 500);
	assert_int_equal(limit_for(c, addr_v4(10, 1, 0, 1)), 500);
	assert_int_equal(limit_for(c, addr_v4(192, 0, 2, 1)), 5);
	assert_int_equal(limit_for(c, addr_v4(192, 0, 3, 1)), 100);
	conf_free(c);
}

static void test_allow(void **state)
{
	struct conf *c =
		load_good(SITE("hosts: [h], upstream: api, allow: [office, 192.0.2.7, \"2001:db8::/32\"], "
			       "paths: [{prefix: /x/, allow: [192.0.2.0/24]}]"));
	struct addr office = addr_v4(10, 1, 1, 1), one = addr_v4(192, 0, 2, 7), two = addr_v4(192, 0, 2, 8);
	struct addr six;
	struct path_match m;
	const char *why;
	(void)state;
	assert_true(addr_parse(STR("2001:db8::5"), &six));
	const struct conf_site *s = &c->site[0];
	assert_true(netmask_any(netset_lookup(c->nets, &office), &s->allow));
	assert_true(netmask_any(netset_lookup(c->nets, &one), &s->allow));
	assert_false(netmask_any(netset_lookup(c->nets, &two), &s->allow));
	assert_true(netmask_any(netset_lookup(c->nets, &six), &s->allow));
	assert_true(netmask_any(netset_lookup(c->nets, &two), &s->path[0].allow));
	assert_int_equal(path_rules_match(s->rules, STR("/x/y"), &m, &why), PATH_READ);
	assert_int_equal(m.any, 1);
	conf_free(c);
}

/* The key is what windows are found by after a reload: of name and window, not of place and limit. */
static void test_policy_keys(void **state)
{
	struct conf *a =
		load_good(MINIMAL "rate_limit: {policies: {x: {requests: 1, window: 1s}, p: {requests: 5, "
				  "window: 60s}}}\n");
	struct conf *b =
		load_good(MINIMAL "rate_limit: {policies: {p: {requests: 9, window: 1m}, q: {requests: 9, "
				  "window: 1m}, x: {requests: 1, window: 2s}}}\n");
	(void)state;
	assert_true(a->rate_limit.policy[1].policy.key == b->rate_limit.policy[0].policy.key);
	assert_true(b->rate_limit.policy[1].policy.key != b->rate_limit.policy[0].policy.key);
	assert_true(a->rate_limit.policy[0].policy.key != b->rate_limit.policy[2].policy.key);
	conf_free(a);
	conf_free(b);
}

/* --- warnings --- */

struct warned {
	const char *text;
	const char *warnings; /* all of them, as printed, without `weir.yaml:` */
};

static const struct warned warned[] = {
	{MINIMAL, ""},
	{MINIMAL "timeouts: {idle: 60s}\n", "4:18: warning: idle connections end after 60s: the ALB still "
					    "sends on them up to its own 60 s, and answers "
					    "502 (75s is safe)\n"},
	{MINIMAL "timeouts: {idle: 61s}\n", ""},
	{MINIMAL "drain: {timeout: 31s}\n", "4:18: warning: draining may take 31s: ECS kills a task 30 s "
					    "after TERM unless its stopTimeout is longer\n"},
	{MINIMAL "timeouts: {body: 60s}\n",
	 "4:18: warning: 60s for a body that stalls: the ALB gives up after 60 s "
	 "first and answers 502 or 504 (stay below 60s)\n"},
	{UP("servers: [10.0.0.1:80], timeouts: {response: 2m, keepalive: 5s}"),
	 "3:64: warning: 2m for a response: the ALB gives up after 60 s first and answers 504 (stay below "
	 "60s)\n"
	 "3:79: warning: 5s in the pool: Node.js and others close idle connections after 5 s, and a request "
	 "sent at "
	 "that moment becomes a 502 (stay below the server's own time)\n"},
	{MINIMAL
	 "client_ip: {trusted_proxies: [10.0.0.0/15, 172.16.0.0/16, \"2001:db0::/31\", \"2001:db8::/32\"]}\n",
	 "4:31: warning: trusted range 10.0.0.0/15 is wider than /16: whoever is in it can claim any address "
	 "(trust "
	 "the load balancer's subnets only)\n"
	 "4:59: warning: trusted range 2001:db0::/31 is wider than /32: whoever is in it can claim any "
	 "address (trust "
	 "the load balancer's subnets only)\n"},
	{MINIMAL "client_ip: {trusted_proxies: [10.0.0.0/24]}\nnetworks: {office: [10.0.0.128/25]}\n",
	 "5:21: warning: 10.0.0.128/25 is trusted as a proxy and part of network `office`: clients there can "
	 "claim any "
	 "address\n"},
	{MINIMAL "client_ip: {trusted_proxies: [10.0.0.128/25]}\nnetworks: {office: [10.0.0.0/24], vpn: "
		 "[10.1.0.0/24]}\n",
	 "4:31: warning: 10.0.0.128/25 is trusted as a proxy and part of network `office`: clients there can "
	 "claim any "
	 "address\n"},
	{MINIMAL "networks: {office: []}\n", "4:20: warning: network `office` is empty: nobody is in it\n"},
	{MINIMAL "rate_limit: {fleet: 3}\n",
	 "4:21: warning: each of 3 weirs counts for itself with store: memory "
	 "(store: redis shares the limit)\n"},
	{MINIMAL "rate_limit: {redis: {url: redis://h}}\n",
	 "4:27: warning: rate_limit.redis is not used while rate_limit.store is memory\n"},
	{MINIMAL "cookies: {domain: example.com}\n",
	 "4:19: warning: no cookie is shared (cookies.share names none)\n"},
	{"listen: [127.0.0.1:80]\nupstreams: {api: {servers: [127.0.0.1:9000]}}\nsites:\n"
	 "  - {hosts: [example.com], upstream: api, rate_limit: off}\n"
	 "  - {hosts: [dev.example.com], upstream: api, rate_limit: off, allow: [10.0.0.0/8]}\n"
	 "  - {hosts: [ci.example.com], upstream: api, rate_limit: off, allow: [10.0.0.0/8], cookies: off}\n"
	 "  - {hosts: [other.org], upstream: api, rate_limit: off, allow: [10.0.0.0/8]}\n"
	 "cookies: {domain: example.com, share: {sid: {}}}\n",
	 "5:5: warning: site `dev.example.com` is guarded by allow and shares its cookies with the public "
	 "sites "
	 "(cookies: off keeps them apart)\n"},
	{"listen: [127.0.0.1:80]\nupstreams: {api: {servers: [127.0.0.1:9000]}}\n"
	 "sites: [{hosts: [a], upstream: api}, {hosts: [b], upstream: api}]\n",
	 "3:9: warning: site `a` is not limited: no policy is named `default` (write `rate_limit: off` if "
	 "that is "
	 "meant)\n"},
	{MINIMAL "admin: {mode: \"0666\"}\n",
	 "4:15: warning: mode 0666 lets every user of this machine lift the "
	 "limits (0660 keeps it to a group)\n"},
};

static void test_warnings(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(warned) / sizeof(warned[0]); i++) {
		struct conf_notes notes = {0};
		write_file("weir.yaml", warned[i].text);
		struct conf_bundle *b = conf_bundle_new("weir.yaml");
		struct conf *c = conf_load(b, &notes);
		char *got = notes_text(&notes, true), *p = got;
		if (!c)
			fail_with_notes(&notes);
		for (const char *want = warned[i].warnings; *want || *p;) {
			size_t n = strcspn(want, "\n"), m = strcspn(p, "\n");
			if (m != n + 10 || strncmp(p, "weir.yaml:", 10) != 0 || strncmp(p + 10, want, n) != 0)
				fail_msg("of\n%sexpected\n%s\ngot\n%s", warned[i].text, warned[i].warnings,
					 got);
			want += n + 1;
			p += m + 1;
		}
		free(got);
		conf_free(c);
		conf_notes_free(&notes);
		conf_bundle_free(b);
	}
}

/* --- the files that come along, and the table of hosts --- */

static void expect_clean(const char *name)
{
	char path[4200];
	struct conf_notes notes = {0};
	snprintf(path, sizeof(path), "%s/conf/%s", root, name);
	struct conf_bundle *b = conf_bundle_new(path);
	struct conf *c = conf_load(b, &notes);
	if (!c || notes.rows)
		fail_with_notes(&notes);
	assert_true(c->sites >= 4 && c->rate_limit.redis && c->cors_set && c->cookies.shares);
	char *once = printed(c);
	struct conf *again = load_good(once);
	char *twice = printed(again);
	assert_string_equal(once, twice);
	free(once);
	free(twice);
	conf_free(again);
	conf_free(c);
	conf_bundle_free(b);
}

static void test_examples(void **state)
{
	(void)state;
	unsetenv("DEMO_REDIS_PORT");
	unsetenv("DEMO_PORT");
	expect_clean("demo.yaml");
	expect_clean("example.yaml");
}

static void test_host_table(void **state)
{
	struct conf *c = load_good(
		"listen: [127.0.0.1:80]\n"
		"networks: {office: [10.0.0.0/8]}\n"
		"rate_limit: {memory: 1m, policies: {default: {requests: 1000, window: 60s}, login: "
		"{requests: 5, window: 90m, mode: shadow}}}\n"
		"upstreams: {api: {servers: [127.0.0.1:9000]}}\n"
		"sites:\n"
		"  - hosts: [example.com, www.example.com]\n"
		"    upstream: api\n"
		"    paths: [{prefix: /admin, allow: [office]}, {prefix: /login, rate_limit: login}]\n"
		"  - {hosts: [dev.example.com], upstream: api, allow: [office, 192.0.2.1], rate_limit: "
		"off}\n"
		"caps: {connections: 16, head: 64k}\n");
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);
	(void)state;
	conf_print_hosts(c, f);
	fclose(f);
	const char *memory =
		strstr(text, "\nmemory at worst: 1m for the table of clients, 1 MB for the heads of 16 "
			     "connections\n  default: ");
	assert_non_null(memory);
	assert_int_equal(strncmp(text,
				 "HOST             UPSTREAM  WHO MAY ENTER      POLICY\n"
				 "example.com      api       everybody          default: 1000 in 60s\n"
				 "www.example.com  api       everybody          default: 1000 in 60s\n"
				 "  + /admin                 office\n"
				 "  + /login                                    login: 5 in 90m (shadow)\n"
				 "dev.example.com  api       office, 192.0.2.1  off\n"
				 "\n",
				 (size_t)(memory - text) + 1),
			 0);
	free(text);
	conf_free(c);
}

/* As large as it may get: it loads, and in no more than a moment. */
static void test_large(void **state)
{
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);
	(void)state;
	fputs("listen: [127.0.0.1:80]\nnetworks: {big: [\"file:big\"]}\nupstreams: {api: {servers: "
	      "[127.0.0.1:9000]}}\n"
	      "rate_limit: {policies: {default: {requests: 1, window: 1s}}}\nsites:\n",
	      f);
	for (int i = 0; i < CONF_SITES_MAX; i++) {
		fprintf(f, "  - hosts: [h%d.example.com]\n    upstream: api\n    paths:\n", i);
		for (int j = 0; j < CONF_PATHS_MAX; j++)
			fprintf(f, "      - {prefix: /p%d, allow: [big]}\n", j);
	}
	fclose(f);
	f = fopen("big", "we");
	for (int i = 0; i < 10000; i++)
		fprintf(f, "10.%d.%d.0/24\n", i / 256, i % 256);
	fclose(f);
	usec_t start = clock_mono();
	struct conf *c = load_good(text);
	assert_int_equal(c->sites, CONF_SITES_MAX);
	assert_int_equal(c->site[511].paths, CONF_PATHS_MAX);
	assert_true(clock_mono() - start < 20 * USEC_PER_SEC);
	conf_free(c);
	free(text);
}

static int enter(void **state)
{
	return getcwd(root, sizeof(root)) ? enter_folder(state) : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_site_defaults),
		cmocka_unit_test(test_every_key_round_trips),
		cmocka_unit_test(test_documented_defaults),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_references),
		cmocka_unit_test(test_relative_paths),
		cmocka_unit_test(test_secrets_are_masked),
		cmocka_unit_test(test_keys_go_before_the_url),
		cmocka_unit_test(test_bundle_travels),
		cmocka_unit_test(test_child_reads_nothing),
		cmocka_unit_test(test_damaged_bundles),
		cmocka_unit_test(test_hash),
		cmocka_unit_test(test_site_of),
		cmocka_unit_test(test_site_of_against_the_slow_way),
		cmocka_unit_test(test_policy_limit),
		cmocka_unit_test(test_allow),
		cmocka_unit_test(test_policy_keys),
		cmocka_unit_test(test_warnings),
		cmocka_unit_test(test_examples),
		cmocka_unit_test(test_host_table),
		cmocka_unit_test(test_large),
	};
	return cmocka_run_group_tests(tests, enter, leave_folder);
}
