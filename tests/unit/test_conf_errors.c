/* SPDX-License-Identifier: MIT */
/* Bad configs: each with all of its errors, their places and their texts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/conf_case.h"

struct bad {
	const char *text;
	const char *errors; /* a line each, without `weir.yaml:`; @ stands for the folder */
};

/* Added to MINIMAL, from its line 4 on. */
static const struct bad added[] = {
	{"reqests: 5\n",
	 "4:1: unknown key `reqests` (expected listen, tls, workers, user, client_ip, networks, "
	 "deny, rate_limit, cookies, cors, upstreams, sites, timeouts, caps, drain, reload, "
	 "health, admin, log)"},
	{"timeouts: {haed: 5s}\n", "4:12: unknown key `haed` (did you mean `head`?)"},
	{"grace: 5s\n", "4:1: unknown key `grace` here (did you mean `drain.grace`?)"},
	{"frobnicate: 1\n",
	 "4:1: unknown key `frobnicate` (expected listen, tls, workers, user, client_ip, networks, "
	 "deny, rate_limit, cookies, cors, upstreams, sites, timeouts, caps, drain, reload, "
	 "health, admin, log)"},
	{"rate_limit: {policies: {p: {reqests: 5, window: 60s}}}\n",
	 "4:29: unknown key `reqests` (did you mean `requests`?)"},
	{"admin: {scoket: /x}\n", "4:9: unknown key `scoket` (did you mean `socket`?)"},
	{"timeouts: 5s\n", "4:11: `timeouts` is a single value (expected `name: value` below it)"},
	{"timeouts: [5s]\n", "4:11: `timeouts` is a list (expected `name: value` below it)"},
	{"timeouts:\n",
	 "4:10: `timeouts` has nothing below it (expected `name: value` below it; leave the key "
	 "out for the default)"},
	{"timeouts: {head: [5s]}\n", "4:18: `head` is a list (expected duration)"},
	{"timeouts: {head: {a: 1}}\n", "4:18: `head` is a mapping (expected duration)"},
	{"timeouts: {head: }\n", "4:18: `head` has no value (expected duration)"},
	{"timeouts: {head: 60}\n",
	 "4:18: `head` is `60` (expected a duration such as 30s, in ms, s, m or h)"},
	{"timeouts: {head: 60 s}\n",
	 "4:18: `head` is `60 s` (expected a duration such as 30s, in ms, s, m or h)"},
	{"timeouts: {head: -1s}\n",
	 "4:18: `head` is `-1s` (expected a duration such as 30s, in ms, s, m or h)"},
	{"timeouts: {head: 0s}\n", "4:18: `head` is `0s` (expected 1ms to 24h)"},
	{"timeouts: {head: 25h}\n", "4:18: `head` is `25h` (expected 1ms to 24h)"},
	{"timeouts: {head: 99999999999999999999s}\n",
	 "4:18: `head` is `99999999999999999999s` (expected a duration such as 30s, in ms, s, m "
	 "or h)"},
	{"workers: 0\n", "4:10: `workers` is `0` (expected auto, or 1 to 64)"},
	{"workers: 65\n", "4:10: `workers` is `65` (expected auto, or 1 to 64)"},
	{"workers: many\n", "4:10: `workers` is `many` (expected auto, or 1 to 64)"},
	{"workers: -1\n", "4:10: `workers` is `-1` (expected auto, or 1 to 64)"},
	{"caps: {connections: 0}\n", "4:21: `connections` is `0` (expected 1 to 1000000, or auto)"},
	{"caps: {connections: 1e6}\n", "4:21: `connections` is `1e6` (expected a whole number, or auto)"},
	{"caps: {line: 64k}\n", "4:14: `line` is `64k` (expected 256 to 63k)"},
	{"caps: {line: 16kb}\n", "4:14: `line` is `16kb` (expected a size such as 64k, in bytes, k, m or g)"},
	{"caps: {line: 32k, head: 16k}\n", "4:14: `line` is above caps.head (expected at most 16k)"},
	{"caps: {headers: 5000}\n", "4:17: `headers` is `5000` (expected 8 to 1000)"},
	{"caps: {body: 1x}\n",
	 "4:14: `body` is `1x` (expected a size such as 64k, in bytes, k, m or g, or off)"},
	{"rate_limit: {fleet: 0}\n", "4:21: `fleet` is `0` (expected 1 to 1000)"},
	{"rate_limit: {store: reddis}\n", "4:21: `store` is `reddis` (expected memory or redis)"},
	{"rate_limit: {headers: maybe}\n", "4:23: `headers` is `maybe` (expected standard, legacy or off)"},
	{"cookies: {retire_host_only: perhaps}\n",
	 "4:29: `retire_host_only` is `perhaps` (expected on or off)"},
	{"log: {level: loud}\n", "4:14: `level` is `loud` (expected debug, info, warn or error)"},
	{"log: {refusals: 10}\n",
	 "4:17: `refusals` is `10` (expected a rate such as 10/s, by s, m or h, or off)"},
	{"log: {refusals: 0/s}\n",
	 "4:17: `refusals` is `0/s` (expected a rate such as 10/s, by s, m or h, or off)"},
	{"log: {access: \"\"}\n", "4:15: `access` is `` (expected stdout, a file's path, or off)"},
	{"log: {user_header: \"X User\"}\n",
	 "4:20: `user_header` is `X User` (expected a header's name such as X-User-Id)"},
	{"log: {redact: token}\n", "4:15: `redact` is a single value (expected a list such as [a, b])"},
	{"log: {redact: [a&b]}\n", "4:16: `redact` has `a&b` (expected the name of a query parameter)"},
	{"admin: {mode: \"0999\"}\n", "4:15: `mode` is `0999` (expected a mode such as \"0660\")"},
	{"admin: {mode: rw}\n", "4:15: `mode` is `rw` (expected a mode such as \"0660\")"},
	{"admin: {socket: /run/weir/}\n", "4:17: `socket` is `/run/weir/` (expected a path, or off)"},
	{"admin: {socket: /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}\n",
	 "4:17: `socket` is `/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	 "aaaaaaaaaaaaa` (expected a path of at most 107 bytes, its folder included)"},
	{"admin: {http: localhost:9145}\n",
	 "4:15: `http` is `localhost:9145` (expected an address such as 127.0.0.1:9145, or off)"},
	{"admin: {http: 0.0.0.0:9145}\n",
	 "4:15: `http` is open to other machines (expected admin.allow with the networks that "
	 "may read, or 127.0.0.1)"},
	{"admin: {http: 127.0.0.1:8080}\n",
	 "1:10: listen address `127.0.0.1:8080` is admin.http's too (expected another port)"},
	{"health: {path: healthz}\n",
	 "4:16: `path` is `healthz` (expected a path such as /healthz, without query and escapes)"},
	{"health: {path: /a?b}\n",
	 "4:16: `path` is `/a?b` (expected a path such as /healthz, without query and escapes)"},
	{"user: \"we ir\"\n", "4:7: `user` is `we ir` (expected a user's name)"},
	{"client_ip: {trusted_proxies: [10.0.0.1/24]}\n",
	 "4:31: `10.0.0.1/24`: has bits set below its prefix (did you mean 10.0.0.0/24?)"},
	{"client_ip: {trusted_proxies: [10.0.0.0/33]}\n",
	 "4:31: `10.0.0.0/33`: the prefix length of an IPv4 network is a number from 0 to 32"},
	{"client_ip: {trusted_proxies: [alb]}\n",
	 "4:31: `trusted_proxies` has `alb` (expected networks such as 10.0.0.0/24 or "
	 "2001:db8::/48, or file:PATH)"},
	{"client_ip: {trusted_proxies: 10.0.0.0/24}\n",
	 "4:30: `trusted_proxies` is a single value (expected a list such as [a, b])"},
	{"client_ip: {ipv6_prefix: 16}\n", "4:26: `ipv6_prefix` is `16` (expected 32 to 128)"},
	{"client_ip: {header: \"X Y\"}\n",
	 "4:21: `header` is `X Y` (expected a header's name such as X-Forwarded-For)"},
	{"client_ip: {trusted_proxies: [10.0.0.0/24], header: CloudFront-Viewer-Address}\n",
	 "4:53: a header of one address is never believed alone (expected client_ip.only_with, "
	 "with the secret that comes beside it)"},
	{"client_ip: {header: Forwarded}\n",
	 "4:21: `header` is read from nobody (expected client_ip.trusted_proxies)"},
	{"client_ip: {trusted_proxies: [10.0.0.0/24], only_with: {header: X-S, value: s}}\n",
	 "4:65: `only_with` does nothing for this header (expected client_ip.header to be one "
	 "of a single address, such as CloudFront-Viewer-Address)"},
	{"client_ip: {trusted_proxies: [10.0.0.0/24], header: X-A, only_with: {header: X-S}}\n",
	 "4:69: `value` is missing (expected the secret)"},
	{"client_ip: {trusted_proxies: [10.0.0.0/24], header: X-A, only_with: {header: X-S, "
	 "value: \"\"}}\n",
	 "4:90: `value` is empty (expected a secret in visible ASCII)"},
	{"client_ip: {trusted_proxies: [10.0.0.0/24], header: X-A, only_with: {header: x-a, "
	 "value: s}}\n",
	 "4:78: `only_with.header` is client_ip.header itself (expected the header of the secret)"},
	{"networks: {office: 203.0.113.0/24}\n",
	 "4:20: `office` is a single value (expected a list such as [a, b])"},
	{"networks: {office: [203.0.113.7/24]}\n",
	 "4:21: `203.0.113.7/24`: has bits set below its prefix (did you mean 203.0.113.0/24?)"},
	{"networks: {9office: [203.0.113.0/24]}\n",
	 "4:12: `9office` is no name for a network (expected letters, digits, - _ and . after a "
	 "letter, 63 at most)"},
	{"networks: {office: [vpn]}\n",
	 "4:21: `office` has `vpn` (expected networks such as 10.0.0.0/24 or 2001:db8::/48, or "
	 "file:PATH)"},
	{"networks: {office: [\"file:nowhere.txt\"]}\n",
	 "4:21: `file:nowhere.txt` cannot be read: No such file or directory (expected a file "
	 "with a network a line)"},
	{"networks: {office: [\"file:\"]}\n", "4:21: `file:` names no file (expected file:PATH)"},
	{"networks: {office: [\"file:bad.txt\"]}\n",
	 "@/bad.txt:4:1: 10.2.0.1/16: has bits set below its prefix (did you mean 10.2.0.0/16?)"},
	{"networks: {office: [10.9.0.0/16]}\n"
	 "deny: [ofice]\n",
	 "5:8: no network is named `ofice` (did you mean `office`?)"},
	{"deny: [nobody]\n",
	 "4:8: no network is named `nobody` (expected one that the config has; it has none)"},
	{"deny: [300.1.2.3]\n",
	 "4:8: `300.1.2.3`: not a network (expected one like 203.0.113.0/24, 2001:db8::/32 or a "
	 "single address)"},
	{"networks: {a: [10.0.0.0/8]}\n"
	 "networks: {b: [10.0.0.0/8]}\n",
	 "5:1: `networks` comes twice (first at line 4; write it once)"},
	{"rate_limit: {store: redis}\n",
	 "4:21: `store: redis` has no server (expected rate_limit.redis.url, such as "
	 "redis://host:6379/0)"},
	{"rate_limit: {redis: {timeout: 50ms}}\n",
	 "4:21: `url` is missing (expected redis://host:port/db, rediss:// for TLS, or unix:///path?db=N)"},
	{"rate_limit: {store: redis, redis: {url: \"http://u:topsecret@h\"}}\n",
	 "4:41: `url` cannot be read (expected redis://host:6379/0, with user:password@ before "
	 "the host where needed, or unix:///path)"},
	{"rate_limit: {store: redis, redis: {url: \"redis://u:top%2@h\"}}\n",
	 "4:41: `url` cannot be read (expected whole %XX escapes before the @, and none of NUL)"},
	{"rate_limit: {store: redis, redis: {url: \"redis://h:99999\"}}\n",
	 "4:41: `url` cannot be read (expected a port from 1 to 65535 after the host)"},
	{"rate_limit: {store: redis, redis: {url: \"redis://h/9999\"}}\n",
	 "4:41: `url` cannot be read (expected a database from 0 to 1023 after the host's `/`)"},
	{"rate_limit: {store: redis, redis: {url: \"redis://user@h\"}}\n",
	 "4:41: a username of Redis without a password (expected rate_limit.redis.password)"},
	{"rate_limit: {store: redis, redis: {url: \"redis://h\", cluster: maybe}}\n",
	 "4:63: `cluster` is `maybe` (expected auto, on or off)"},
	{"rate_limit: {store: redis, redis: {url: \"redis://h/3\", cluster: on}}\n",
	 "4:41: a Redis Cluster has no database 3 (expected the url without it)"},
	{"rate_limit: {store: redis, redis: {url: \"redis://h\", ca: weir.yaml}}\n",
	 "4:58: `ca` does nothing without TLS (expected rate_limit.redis.url to begin rediss://)"},
	{"rate_limit: {store: redis, redis: {url: \"rediss://h\", ca: none.pem}}\n",
	 "4:59: `ca`: none.pem cannot be read: No such file or directory (expected a readable file)"},
	{"rate_limit: {store: redis, redis: {url: \"redis://h\", timeout: 1m}}\n",
	 "4:63: `timeout` is `1m` (expected 1ms to 10s)"},
	{"rate_limit: {store: redis, redis: {url: \"redis://h\", prefix: \"a b\"}}\n",
	 "4:62: `prefix` is `a b` (expected visible ASCII without spaces and braces)"},
	{"rate_limit: {store: redis, redis: {url: \"redis://h\", on_failure: pray}}\n",
	 "4:66: `on_failure` is `pray` (expected local, allow or deny)"},
	{"rate_limit: {lift_key: abc}\n",
	 "4:24: `lift_key` is too short (expected a key of 16 bytes at least, in visible ASCII)"},
	{"rate_limit: {lift_key: []}\n",
	 "4:24: `lift_key` is an empty list (expected a key of 16 bytes at least, in visible ASCII)"},
	{"rate_limit: {lift_key: [0123456789abcdef, \"\"]}\n",
	 "4:43: `lift_key` is empty (expected a key of 16 bytes at least, in visible ASCII)"},
	{"rate_limit: {lift_key: [a, b, c, d, e, f, g, h, i]}\n",
	 "4:24: `lift_key` has 9 items (expected at most 8)"},
	{"rate_limit: {max_block: 0s}\n", "4:25: `max_block` is `0s` (expected 1s to 8784h)"},
	{"rate_limit: {memory: 1k}\n", "4:22: `memory` is `1k` (expected 1m to 64g)"},
	{"rate_limit: {max_lift: 30d}\n",
	 "4:24: `max_lift` is `30d` (expected a duration such as 30s, in ms, s, m or h)"},
	{"rate_limit: {policies: {off: {requests: 5, window: 60s}}}\n",
	 "4:25: `off` is no name for a policy (expected letters, digits, - _ and . after a "
	 "letter, 31 at most, not on or off)"},
	{"rate_limit: {policies: {a b: {requests: 5, window: 60s}}}\n",
	 "4:25: `a b` is no name for a policy (expected letters, digits, - _ and . after a "
	 "letter, 31 at most, not on or off)"},
	{"rate_limit: {policies: {p: {window: 60s}}}\n",
	 "4:28: `requests` is missing (expected how many a client may make in a window)"},
	{"rate_limit: {policies: {p: {requests: 5}}}\n",
	 "4:28: `window` is missing (expected the sliding window)"},
	{"rate_limit: {policies: {p: {requests: 0, window: 60s}}}\n",
	 "4:39: `requests` is `0` (expected 1 to 10000000)"},
	{"rate_limit: {policies: {p: {requests: 10000001, window: 60s}}}\n",
	 "4:39: `requests` is `10000001` (expected 1 to 10000000)"},
	{"rate_limit: {policies: {p: {requests: 5, window: 500ms}}}\n",
	 "4:50: `window` is `500ms` (expected 1s to 24h)"},
	{"rate_limit: {policies: {p: {requests: 5, window: 25h}}}\n",
	 "4:50: `window` is `25h` (expected 1s to 24h)"},
	{"rate_limit: {policies: {p: {requests: 5, window: 60s, mode: shadwo}}}\n",
	 "4:61: `mode` is `shadwo` (expected enforce or shadow)"},
	{"rate_limit: {policies: {p: {requests: 5, window: 60s, for: {vpn: 9}}}}\n",
	 "4:61: no network is named `vpn` (expected one that the config has; it has none)"},
	{"networks: {vpn: [10.9.0.0/16]}\n"
	 "rate_limit: {policies: {p: {requests: 5, window: 60s, for: {vpn: 0}}}}\n",
	 "5:66: `vpn` is `0` (expected 1 to 10000000)"},
	{"rate_limit: {exempt: [office]}\n",
	 "4:23: no network is named `office` (expected one that the config has; it has none)"},
	{"cookies: {domain: localhost, share: {a: {}}}\n",
	 "4:19: `domain` is `localhost` (expected a domain of two labels at least, such as "
	 "example.com)"},
	{"cookies: {domain: .example.com, share: {a: {}}}\n",
	 "4:19: `domain` is `.example.com` (expected a domain such as example.com, without the "
	 "leading dot)"},
	{"cookies: {domain: 10.0.0.1, share: {a: {}}}\n",
	 "4:19: `domain` is `10.0.0.1` (expected a domain of two labels at least, such as "
	 "example.com)"},
	{"cookies: {domain: other.org, share: {a: {}}}\n",
	 "4:19: no site that shares cookies is below `other.org` (expected the domain of the "
	 "sites)"},
	{"cookies: {share: {a: {}}}\n", "4:18: `share` without a domain (expected cookies.domain)"},
	{"cookies: {retire_host_only: on}\n",
	 "4:29: `retire_host_only` without a domain (expected cookies.domain and cookies.share)"},
	{"cookies: {domain: example.com, share: {a: {same_site: None}}}\n",
	 "4:55: `same_site: None` without `secure: on` (browsers drop such cookies)"},
	{"cookies: {domain: example.com, share: {a: {same_site: Laxx}}}\n",
	 "4:55: `same_site` is `Laxx` (expected Strict, Lax, None or off)"},
	{"cookies: {domain: example.com, share: {\"a b\": {}}}\n",
	 "4:40: `a b` is no cookie's name (expected letters, digits and !#$%&'*+-.^_`|~)"},
	{"cookies: {domain: example.com, share: {__Host-a: {}}}\n",
	 "4:40: `__Host-a` can never be shared (remove it: browsers refuse a Domain on __Host- "
	 "names)"},
	{"cors: {}\n", "4:7: `origins` is missing (expected origins such as https://*.example.com)"},
	{"cors: {origins: []}\n",
	 "4:17: `origins` is an empty list (expected one origin at least; remove `cors` for none)"},
	{"cors: {origins: [\"*\"]}\n",
	 "4:18: `origins` has `*` (expected named origins: cookies are allowed to them, which "
	 "browsers refuse for `*`)"},
	{"cors: {origins: [example.com]}\n",
	 "4:18: `origins` has `example.com` (expected an origin such as https://app.example.com "
	 "or https://*.example.com)"},
	{"cors: {origins: [\"https://example.com/\"]}\n",
	 "4:18: `origins` has `https://example.com/` (expected an origin such as "
	 "https://app.example.com or https://*.example.com)"},
	{"cors: {origins: [\"https://example.com:0\"]}\n",
	 "4:18: `origins` has `https://example.com:0` (expected a port from 1 to 65535)"},
	{"a: b: c\n", "4:5: mapping values are not allowed in this context (expected YAML)"},
	{"timeouts: {head: 5s\n",
	 "5:1: did not find expected ',' or '}' while parsing a flow mapping that starts at "
	 "line 4 (expected YAML)"},
	{"timeouts:\n"
	 "\thead: 5s\n",
	 "5:1: a tab (expected spaces for indentation)"},
	{"deny: &x [10.0.0.0/8]\n", "4:7: an anchor or a tag (write the value itself)"},
	{"deny: *x\n", "4:7: an alias or an anchor (write the value itself; a text that starts with * or & "
		       "goes in quotes)"},
	{"log: {server: !!str edge}\n",
	 "4:15: an anchor or a tag (write the value itself; a text that starts with & or ! goes "
	 "in quotes)"},
	{"<<: {deny: []}\n",
	 "4:1: unknown key `<<` (expected listen, tls, workers, user, client_ip, networks, deny, "
	 "rate_limit, cookies, cors, upstreams, sites, timeouts, caps, drain, reload, health, "
	 "admin, log)"},
	{"? [a]\n"
	 ": b\n",
	 "4:3: a key that is no plain text (expected `name: value`)"},
	{"---\n"
	 "listen: []\n",
	 "4:1: a second document (expected one; remove the `---`)"},
	{"log: {server: \"a\\0b\"}\n", "4:15: a NUL byte (expected text)"},
	{"deny: [[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]\n",
	 "4:22: nested too deeply (expected at most 16 levels)"},
	{"log: {server: \"${WEIR_TEST_UNSET}\"}\n",
	 "4:15: `${WEIR_TEST_UNSET}` is not set (expected it in the environment, or a default: "
	 "${WEIR_TEST_UNSET:-value})"},
	{"log: {server: \"${}\"}\n",
	 "4:15: `${}` is no name of a variable (expected ${NAME}, ${NAME:-default} or "
	 "${file:PATH}; write $${ for a plain ${)"},
	{"log: {server: \"${A B}\"}\n",
	 "4:15: `${A B}` is no name of a variable (expected ${NAME}, ${NAME:-default} or "
	 "${file:PATH}; write $${ for a plain ${)"},
	{"log: {server: \"${NAME\"}\n",
	 "4:15: `${` without its `}` (expected ${NAME}; write $${ for a plain ${)"},
	{"log: {server: \"${file:nowhere}\"}\n",
	 "4:15: `${file:nowhere}` cannot be read: No such file or directory (expected a "
	 "readable file)"},
	{"log: {server: \"${file:}\"}\n", "4:15: `${file:}` names no file (expected ${file:PATH})"},
	{"caps: {connections: \"${WEIR_TEST_SECRET}\"}\n",
	 "4:21: `connections` is `${WEIR_TEST_SECRET}` (expected a whole number, or auto)"},
	{"log: {server: \"${WEIR_TEST_UNSET}\", level: loud}\n"
	 "timeouts: {head: 5, body: 6}\n",
	 "4:15: `${WEIR_TEST_UNSET}` is not set (expected it in the environment, or a default: "
	 "${WEIR_TEST_UNSET:-value})\n"
	 "4:44: `level` is `loud` (expected debug, info, warn or error)\n"
	 "5:18: `head` is `5` (expected a duration such as 30s, in ms, s, m or h)\n"
	 "5:27: `body` is `6` (expected a duration such as 30s, in ms, s, m or h)"},
};

static const struct bad whole[] = {
	{"listen: [127.0.0.1:8080]\n"
	 "upstreams: {api: {server: [127.0.0.1:9000]}}\n"
	 "sites: [{hosts: [a.com], upstream: api}]\n",
	 "2:19: unknown key `server` (did you mean `servers`?)"},
	{"listen: [127.0.0.1:8080]\n"
	 "upstreams: {api: {servers: [127.0.0.1:9000]}}\n"
	 "sites:\n"
	 "  - hosts: [a.com]\n"
	 "    upstream: api\n"
	 "    path: []\n",
	 "6:5: unknown key `path` (did you mean `paths`?)"},
	{"listen: [127.0.0.1:8080]\n"
	 "sites: [{hosts: [a.com], upstream: api}]\n"
	 "upstreams:\n"
	 "  api: {servers: []}\n",
	 "4:18: `servers` is an empty list (expected one server at least)"},
	{"listen: [127.0.0.1:8080]\n"
	 "sites: [{hosts: [a.com], upstream: api}]\n"
	 "upstreams:\n"
	 "  api: {}\n",
	 "4:8: `servers` is missing (expected addresses such as 10.0.1.10:8080 or unix:/path)"},
	{"listen: [127.0.0.1:8080]\n"
	 "sites: [{hosts: [a.com], upstream: api}]\n"
	 "upstreams:\n"
	 "  api: {servers: [app.internal:80]}\n",
	 "4:19: `app.internal:80` is a name, and discovery by name is not built yet (expected "
	 "an address such as 10.0.1.10:8080)"},
	{"listen: [127.0.0.1:8080]\n"
	 "sites: [{hosts: [a.com], upstream: api}]\n"
	 "upstreams:\n"
	 "  api: {servers: [10.0.0.1]}\n",
	 "4:19: `servers` has `10.0.0.1` (expected an address such as 10.0.1.10:8080, "
	 "[2001:db8::1]:8080 or unix:/path)"},
	{"listen: [127.0.0.1:8080]\n"
	 "sites: [{hosts: [a.com], upstream: api}]\n"
	 "upstreams:\n"
	 "  api: {servers: [10.0.0.1:80, \"10.0.0.1:80\"]}\n",
	 "4:32: server `10.0.0.1:80` comes twice (write it once)"},
	{"listen: [127.0.0.1:8080]\n"
	 "sites: [{hosts: [a.com], upstream: api}]\n"
	 "upstreams:\n"
	 "  api: {servers: [127.0.0.1:8080]}\n",
	 "4:19: server `127.0.0.1:8080` is weir's own listen address (requests would go in "
	 "circles)"},
	{"listen: [127.0.0.1:8080]\n"
	 "sites: [{hosts: [a.com], upstream: api}]\n"
	 "upstreams:\n"
	 "  api: {servers: [10.0.0.1:80], health: {path: /}}\n",
	 "4:33: health is not built yet (remove it; servers that fail requests are ejected "
	 "without it)"},
	{"listen: [127.0.0.1:8080]\n"
	 "sites: [{hosts: [a.com], upstream: api}]\n"
	 "upstreams:\n"
	 "  api: {discover: srv:api.internal}\n",
	 "4:8: `servers` is missing (expected addresses such as 10.0.1.10:8080 or unix:/path)\n"
	 "4:9: discover is not built yet (list the servers' addresses under `servers`)"},
	{"listen: [127.0.0.1:8080]\n"
	 "sites: [{hosts: [a.com], upstream: api}]\n"
	 "upstreams:\n"
	 "  api: {servers: [10.0.0.1:80], tls: on}\n",
	 "4:38: `tls` is a single value (expected `name: value` below it)"},
	{"listen: [127.0.0.1:8080]\n"
	 "sites: [{hosts: [a.com], upstream: api}]\n"
	 "upstreams:\n"
	 "  api: {servers: [10.0.0.1:80], max_requests: 0}\n",
	 "4:47: `max_requests` is `0` (expected 1 to 1000000, or off)"},
	{"listen: [127.0.0.1:8080]\n"
	 "sites: [{hosts: [a.com], upstream: api}]\n"
	 "upstreams:\n"
	 "  api: {servers: [10.0.0.1:80], timeouts: {idle: forever}}\n",
	 "4:50: `idle` is `forever` (expected a duration such as 30s, in ms, s, m or h)"},
	{"listen: [127.0.0.1:8080]\n"
	 "sites: [{hosts: [a.com], upstream: api}]\n"
	 "upstreams:\n"
	 "  a/i: {servers: [10.0.0.1:80]}\n",
	 "2:36: no upstream is named `api` (expected one that the config has; it has none)\n"
	 "4:3: `a/i` is no name for an upstream (expected letters, digits, - _ and . after a "
	 "letter, 63 at most)"},
	{"listen: [127.0.0.1:8080]\n"
	 "sites: [{hosts: [a.com], upstream: api}]\n",
	 "1:1: `upstreams` is missing (expected the services behind weir, by name)\n"
	 "2:36: no upstream is named `api` (expected one that the config has; it has none)"},
	{"listen: [127.0.0.1:8080]\n"
	 "upstreams: {}\n"
	 "sites: [{hosts: [a.com], upstream: api}]\n",
	 "2:12: `upstreams` is empty (expected mapping of upstreams)\n"
	 "3:36: no upstream is named `api` (expected one that the config has; it has none)"},
	{"upstreams: {api: {servers: [127.0.0.1:9000]}}\n"
	 "sites: [{hosts: [example.com], upstream: api}]\n",
	 "1:1: `listen` is missing (expected the addresses that weir accepts connections on)"},
	{"upstreams: {api: {servers: [127.0.0.1:9000]}}\n"
	 "sites: [{hosts: [example.com], upstream: api}]\n"
	 "listen: []\n",
	 "3:9: `listen` is an empty list (expected one address at least)"},
	{"upstreams: {api: {servers: [127.0.0.1:9000]}}\n"
	 "sites: [{hosts: [example.com], upstream: api}]\n"
	 "listen: 0.0.0.0:80\n",
	 "3:9: `listen` is a single value (expected a list such as [a, b])"},
	{"upstreams: {api: {servers: [127.0.0.1:9000]}}\n"
	 "sites: [{hosts: [example.com], upstream: api}]\n"
	 "listen: [8080]\n",
	 "3:10: `address` is `8080` (expected an address such as 0.0.0.0:8080, [::]:8080 or "
	 "unix:/path)"},
	{"upstreams: {api: {servers: [127.0.0.1:9000]}}\n"
	 "sites: [{hosts: [example.com], upstream: api}]\n"
	 "listen: [0.0.0.0:0]\n",
	 "3:10: `address` is `0.0.0.0:0` (expected an address such as 0.0.0.0:8080, [::]:8080 "
	 "or unix:/path)"},
	{"upstreams: {api: {servers: [127.0.0.1:9000]}}\n"
	 "sites: [{hosts: [example.com], upstream: api}]\n"
	 "listen: [0.0.0.0:80, {address: 0.0.0.0:80}]\n",
	 "3:32: listen address `0.0.0.0:80` is given twice (write it once)"},
	{"upstreams: {api: {servers: [127.0.0.1:9000]}}\n"
	 "sites: [{hosts: [example.com], upstream: api}]\n"
	 "listen: [{address: 0.0.0.0:80, tls: {certificate: a}}]\n",
	 "3:37: `key` is missing (expected a PEM file: its private key, without a passphrase)\n"
	 "3:51: `certificate`: a cannot be read: No such file or directory (expected a readable file)"},
	{"upstreams: {api: {servers: [127.0.0.1:9000]}}\n"
	 "sites: [{hosts: [example.com], upstream: api}]\n"
	 "listen: [{address: 0.0.0.0:80, tls: []}]\n",
	 "3:37: `tls` is an empty list (expected one certificate at least; remove `tls` to serve plain "
	 "HTTP)"},
	{"upstreams: {api: {servers: [127.0.0.1:9000]}}\n"
	 "sites: [{hosts: [example.com], upstream: api}]\n"
	 "listen: [{proxy_protocol: on}]\n",
	 "3:10: `address` is missing (expected 0.0.0.0:8080, [::]:8080 or unix:/path)\n"
	 "3:27: `proxy_protocol` is on and nobody is trusted to send it (expected "
	 "client_ip.trusted_proxies)"},
	{"upstreams: {api: {servers: [127.0.0.1:9000]}}\n"
	 "sites: [{hosts: [example.com], upstream: api}]\n"
	 "listen: [{address: 0.0.0.0:80, proxy_protocol: on}]\n",
	 "3:48: `proxy_protocol` is on and nobody is trusted to send it (expected "
	 "client_ip.trusted_proxies)"},
	{"upstreams: {api: {servers: [127.0.0.1:9000]}}\n"
	 "sites: [{hosts: [example.com], upstream: api}]\n"
	 "listen: [{address: 0.0.0.0:80, proxy_protocol: v2}]\n",
	 "3:48: `proxy_protocol` is `v2` (expected on or off)"},
	{"upstreams: {api: {servers: [127.0.0.1:9000]}}\n"
	 "sites: [{hosts: [example.com], upstream: api}]\n"
	 "listen: [\"unix:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"]\n",
	 "3:10: `address` is `unix:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	 "aaaaaaaaaaaaaa` (expected unix: and a path of at most 107 bytes)"},
	{"upstreams: {api: {servers: [127.0.0.1:9000]}}\n"
	 "sites: [{hosts: [example.com], upstream: api}]\n"
	 "listen: [example.com:80]\n",
	 "3:10: `address` is `example.com:80` (expected an address such as 0.0.0.0:8080, "
	 "[::]:8080 or unix:/path)"},
	{"listen: [127.0.0.1:8080]\n"
	 "upstreams: {api: {servers: [127.0.0.1:9000]}, api-dev: {servers: [127.0.0.1:9001]}}\n"
	 "networks: {office: [203.0.113.0/24]}\n"
	 "rate_limit: {policies: {default: {requests: 10, window: 1s}, login: {requests: 1, "
	 "window: 1s}, a: {requests: 1, window: 1s}, b: {requests: 1, window: 1s}, c: "
	 "{requests: 1, window: 1s}}}\n"
	 "sites:\n"
	 "  []\n",
	 "6:3: `sites` is an empty list (expected one site at least)"},
	{"listen: [127.0.0.1:8080]\n"
	 "upstreams: {api: {servers: [127.0.0.1:9000]}, api-dev: {servers: [127.0.0.1:9001]}}\n"
	 "networks: {office: [203.0.113.0/24]}\n"
	 "rate_limit: {policies: {default: {requests: 10, window: 1s}, login: {requests: 1, "
	 "window: 1s}, a: {requests: 1, window: 1s}, b: {requests: 1, window: 1s}, c: "
	 "{requests: 1, window: 1s}}}\n"
	 "sites:\n"
	 "  - {hosts: [a.com]}\n",
	 "6:5: `upstream` is missing (expected the name of the upstream that serves it)"},
	{"listen: [127.0.0.1:8080]\n"
	 "upstreams: {api: {servers: [127.0.0.1:9000]}, api-dev: {servers: [127.0.0.1:9001]}}\n"
	 "networks: {office: [203.0.113.0/24]}\n"
	 "rate_limit: {policies: {default: {requests: 10, window: 1s}, login: {requests: 1, "
	 "window: 1s}, a: {requests: 1, window: 1s}, b: {requests: 1, window: 1s}, c: "
	 "{requests: 1, window: 1s}}}\n"
	 "sites:\n"
	 "  - {upstream: api}\n",
	 "6:5: `hosts` is missing (expected names, addresses, \"*.example.com\", or \"*\" for "
	 "the rest)"},
	{"listen: [127.0.0.1:8080]\n"
	 "upstreams: {api: {servers: [127.0.0.1:9000]}, api-dev: {servers: [127.0.0.1:9001]}}\n"
	 "networks: {office: [203.0.113.0/24]}\n"
	 "rate_limit: {policies: {default: {requests: 10, window: 1s}, login: {requests: 1, "
	 "window: 1s}, a: {requests: 1, window: 1s}, b: {requests: 1, window: 1s}, c: "
	 "{requests: 1, window: 1s}}}\n"
	 "sites:\n"
	 "  - {hosts: [a.com], upstream: apii}\n",
	 "6:32: no upstream is named `apii` (did you mean `api`?)"},
	{"listen: [127.0.0.1:8080]\n"
	 "upstreams: {api: {servers: [127.0.0.1:9000]}, api-dev: {servers: [127.0.0.1:9001]}}\n"
	 "networks: {office: [203.0.113.0/24]}\n"
	 "rate_limit: {policies: {default: {requests: 10, window: 1s}, login: {requests: 1, "
	 "window: 1s}, a: {requests: 1, window: 1s}, b: {requests: 1, window: 1s}, c: "
	 "{requests: 1, window: 1s}}}\n"
	 "sites:\n"
	 "  - {hosts: [a.com], upstream: grafana}\n",
	 "6:32: no upstream is named `grafana` (expected one of api, api-dev)"},
	{"listen: [127.0.0.1:8080]\n"
	 "upstreams: {api: {servers: [127.0.0.1:9000]}, api-dev: {servers: [127.0.0.1:9001]}}\n"
	 "networks: {office: [203.0.113.0/24]}\n"
	 "rate_limit: {policies: {default: {requests: 10, window: 1s}, login: {requests: 1, "
	 "window: 1s}, a: {requests: 1, window: 1s}, b: {requests: 1, window: 1s}, c: "
	 "{requests: 1, window: 1s}}}\n"
	 "sites:\n"
	 "  - {hosts: [], upstream: api}\n",
	 "6:13: `hosts` is an empty list (expected one host at least)"},
	{"listen: [127.0.0.1:8080]\n"
	 "upstreams: {api: {servers: [127.0.0.1:9000]}, api-dev: {servers: [127.0.0.1:9001]}}\n"
	 "networks: {office: [203.0.113.0/24]}\n"
	 "rate_limit: {policies: {default: {requests: 10, window: 1s}, login: {requests: 1, "
	 "window: 1s}, a: {requests: 1, window: 1s}, b: {requests: 1, window: 1s}, c: "
	 "{requests: 1, window: 1s}}}\n"
	 "sites:\n"
	 "  - {hosts: [a.com, A.com.], upstream: api}\n",
	 "6:21: host `a.com` is named twice (first at weir.yaml:6:14; a host belongs to one site)"},
	{"listen: [127.0.0.1:8080]\n"
	 "upstreams: {api: {servers: [127.0.0.1:9000]}, api-dev: {servers: [127.0.0.1:9001]}}\n"
	 "networks: {office: [203.0.113.0/24]}\n"
	 "rate_limit: {policies: {default: {requests: 10, window: 1s}, login: {requests: 1, "
	 "window: 1s}, a: {requests: 1, window: 1s}, b: {requests: 1, window: 1s}, c: "
	 "{requests: 1, window: 1s}}}\n"
	 "sites:\n"
	 "  - {hosts: [a.com], upstream: api}\n"
	 "  - {hosts: [b.com, a.com], upstream: api-dev}\n",
	 "7:21: host `a.com` is named twice (first at weir.yaml:6:14; a host belongs to one site)"},
	{"listen: [127.0.0.1:8080]\n"
	 "upstreams: {api: {servers: [127.0.0.1:9000]}, api-dev: {servers: [127.0.0.1:9001]}}\n"
	 "networks: {office: [203.0.113.0/24]}\n"
	 "rate_limit: {policies: {default: {requests: 10, window: 1s}, login: {requests: 1, "
	 "window: 1s}, a: {requests: 1, window: 1s}, b: {requests: 1, window: 1s}, c: "
	 "{requests: 1, window: 1s}}}\n"
	 "sites:\n"
	 "  - {hosts: [\"a.*.com\"], upstream: api}\n",
	 "6:14: `a.*.com` is no host (expected a wildcard as the first whole label, such as "
	 "\"*.example.com\", or \"*\" alone)"},
	{"listen: [127.0.0.1:8080]\n"
	 "upstreams: {api: {servers: [127.0.0.1:9000]}, api-dev: {servers: [127.0.0.1:9001]}}\n"
	 "networks: {office: [203.0.113.0/24]}\n"
	 "rate_limit: {policies: {default: {requests: 10, window: 1s}, login: {requests: 1, "
	 "window: 1s}, a: {requests: 1, window: 1s}, b: {requests: 1, window: 1s}, c: "
	 "{requests: 1, window: 1s}}}\n"
	 "sites:\n"
	 "  - {hosts: [\"*a.com\"], upstream: api}\n",
	 "6:14: `*a.com` is no host (expected a wildcard as the first whole label, such as "
	 "\"*.example.com\", or \"*\" alone)"},
	{"listen: [127.0.0.1:8080]\n"
	 "upstreams: {api: {servers: [127.0.0.1:9000]}, api-dev: {servers: [127.0.0.1:9001]}}\n"
	 "networks: {office: [203.0.113.0/24]}\n"
	 "rate_limit: {policies: {default: {requests: 10, window: 1s}, login: {requests: 1, "
	 "window: 1s}, a: {requests: 1, window: 1s}, b: {requests: 1, window: 1s}, c: "
	 "{requests: 1, window: 1s}}}\n"
	 "sites:\n"
	 "  - {hosts: [\"*.*.com\"], upstream: api}\n",
	 "6:14: `*.*.com` is no host (expected a wildcard as the first whole label, such as "
	 "\"*.example.com\", or \"*\" alone)"},
	{"listen: [127.0.0.1:8080]\n"
	 "upstreams: {api: {servers: [127.0.0.1:9000]}, api-dev: {servers: [127.0.0.1:9001]}}\n"
	 "networks: {office: [203.0.113.0/24]}\n"
	 "rate_limit: {policies: {default: {requests: 10, window: 1s}, login: {requests: 1, "
	 "window: 1s}, a: {requests: 1, window: 1s}, b: {requests: 1, window: 1s}, c: "
	 "{requests: 1, window: 1s}}}\n"
	 "sites:\n"
	 "  - {hosts: [*.a.com], upstream: api}\n",
	 "6:15: an alias or an anchor (write the value itself; a text that starts with * or & "
	 "goes in quotes)"},
	{"listen: [127.0.0.1:8080]\n"
	 "upstreams: {api: {servers: [127.0.0.1:9000]}, api-dev: {servers: [127.0.0.1:9001]}}\n"
	 "networks: {office: [203.0.113.0/24]}\n"
	 "rate_limit: {policies: {default: {requests: 10, window: 1s}, login: {requests: 1, "
	 "window: 1s}, a: {requests: 1, window: 1s}, b: {requests: 1, window: 1s}, c: "
	 "{requests: 1, window: 1s}}}\n"
	 "sites:\n"
	 "  - {hosts: [\"*.\"], upstream: api}\n",
	 "6:14: `*.` is no host (expected a wildcard as the first whole label, such as "
	 "\"*.example.com\", or \"*\" alone)"},
	{"listen: [127.0.0.1:8080]\n"
	 "upstreams: {api: {servers: [127.0.0.1:9000]}, api-dev: {servers: [127.0.0.1:9001]}}\n"
	 "networks: {office: [203.0.113.0/24]}\n"
	 "rate_limit: {policies: {default: {requests: 10, window: 1s}, login: {requests: 1, "
	 "window: 1s}, a: {requests: 1, window: 1s}, b: {requests: 1, window: 1s}, c: "
	 "{requests: 1, window: 1s}}}\n"
	 "sites:\n"
	 "  - {hosts: [\"a.com:80\"], upstream: api}\n",
	 "6:14: `a.com:80` is no host (expected a host without port)"},
	{"listen: [127.0.0.1:8080]\n"
	 "upstreams: {api: {servers: [127.0.0.1:9000]}, api-dev: {servers: [127.0.0.1:9001]}}\n"
	 "networks: {office: [203.0.113.0/24]}\n"
	 "rate_limit: {policies: {default: {requests: 10, window: 1s}, login: {requests: 1, "
	 "window: 1s}, a: {requests: 1, window: 1s}, b: {requests: 1, window: 1s}, c: "
	 "{requests: 1, window: 1s}}}\n"
	 "sites:\n"
	 "  - {hosts: [\"http://a.com\"], upstream: api}\n",
	 "6:14: `http://a.com` is no host (expected a host alone, without scheme and path)"},
	{"listen: [127.0.0.1:8080]\n"
	 "upstreams: {api: {servers: [127.0.0.1:9000]}, api-dev: {servers: [127.0.0.1:9001]}}\n"
	 "networks: {office: [203.0.113.0/24]}\n"
	 "rate_limit: {policies: {default: {requests: 10, window: 1s}, login: {requests: 1, "
	 "window: 1s}, a: {requests: 1, window: 1s}, b: {requests: 1, window: 1s}, c: "
	 "{requests: 1, window: 1s}}}\n"
	 "sites:\n"
	 "  - {hosts: [\"::1\"], upstream: api}\n",
	 "6:14: `::1` is no host (expected brackets around an IPv6 address)"},
	{"listen: [127.0.0.1:8080]\n"
	 "upstreams: {api: {servers: [127.0.0.1:9000]}, api-dev: {servers: [127.0.0.1:9001]}}\n"
	 "networks: {office: [203.0.113.0/24]}\n"
	 "rate_limit: {policies: {default: {requests: 10, window: 1s}, login: {requests: 1, "
	 "window: 1s}, a: {requests: 1, window: 1s}, b: {requests: 1, window: 1s}, c: "
	 "{requests: 1, window: 1s}}}\n"
	 "sites:\n"
	 "  - {hosts: [a..com], upstream: api}\n",
	 "6:14: `a..com` is no host (expected a host such as example.com or \"*.example.com\", "
	 "in ASCII (xn--... for other letters))"},
	{"listen: [127.0.0.1:8080]\n"
	 "upstreams: {api: {servers: [127.0.0.1:9000]}, api-dev: {servers: [127.0.0.1:9001]}}\n"
	 "networks: {office: [203.0.113.0/24]}\n"
	 "rate_limit: {policies: {default: {requests: 10, window: 1s}, login: {requests: 1, "
	 "window: 1s}, a: {requests: 1, window: 1s}, b: {requests: 1, window: 1s}, c: "
	 "{requests: 1, window: 1s}}}\n"
	 "sites:\n"
	 "  - {hosts: [büro.de], upstream: api}\n",
	 "6:14: `büro.de` is no host (expected a host such as example.com or \"*.example.com\", "
	 "in ASCII (xn--... for other letters))"},
	{"listen: [127.0.0.1:8080]\n"
	 "upstreams: {api: {servers: [127.0.0.1:9000]}, api-dev: {servers: [127.0.0.1:9001]}}\n"
	 "networks: {office: [203.0.113.0/24]}\n"
	 "rate_limit: {policies: {default: {requests: 10, window: 1s}, login: {requests: 1, "
	 "window: 1s}, a: {requests: 1, window: 1s}, b: {requests: 1, window: 1s}, c: "
	 "{requests: 1, window: 1s}}}\n"
	 "sites:\n"
	 "  - {hosts: [a.com], upstream: api, allow: []}\n",
	 "6:44: `allow` is an empty list (expected one network at least, as nobody could enter; "
	 "remove it to let everybody in)"},
	{"listen: [127.0.0.1:8080]\n"
	 "upstreams: {api: {servers: [127.0.0.1:9000]}, api-dev: {servers: [127.0.0.1:9001]}}\n"
	 "networks: {office: [203.0.113.0/24]}\n"
	 "rate_limit: {policies: {default: {requests: 10, window: 1s}, login: {requests: 1, "
	 "window: 1s}, a: {requests: 1, window: 1s}, b: {requests: 1, window: 1s}, c: "
	 "{requests: 1, window: 1s}}}\n"
	 "sites:\n"
	 "  - {hosts: [a.com], upstream: api, allow: [ofice]}\n",
	 "6:45: no network is named `ofice` (did you mean `office`?)"},
	{"listen: [127.0.0.1:8080]\n"
	 "upstreams: {api: {servers: [127.0.0.1:9000]}, api-dev: {servers: [127.0.0.1:9001]}}\n"
	 "networks: {office: [203.0.113.0/24]}\n"
	 "rate_limit: {policies: {default: {requests: 10, window: 1s}, login: {requests: 1, "
	 "window: 1s}, a: {requests: 1, window: 1s}, b: {requests: 1, window: 1s}, c: "
	 "{requests: 1, window: 1s}}}\n"
	 "sites:\n"
	 "  - {hosts: [a.com], upstream: api, allow: office}\n",
	 "6:44: `allow` is a single value (expected a list such as [a, b])"},
	{"listen: [127.0.0.1:8080]\n"
	 "upstreams: {api: {servers: [127.0.0.1:9000]}, api-dev: {servers: [127.0.0.1:9001]}}\n"
	 "networks: {office: [203.0.113.0/24]}\n"
	 "rate_limit: {policies: {default: {requests: 10, window: 1s}, login: {requests: 1, "
	 "window: 1s}, a: {requests: 1, window: 1s}, b: {requests: 1, window: 1s}, c: "
	 "{requests: 1, window: 1s}}}\n"
	 "sites:\n"
	 "  - {hosts: [a.com], upstream: api, rate_limit: logni}\n",
	 "6:49: no policy is named `logni` (did you mean `login`?)"},
	{"listen: [127.0.0.1:8080]\n"
	 "upstreams: {api: {servers: [127.0.0.1:9000]}, api-dev: {servers: [127.0.0.1:9001]}}\n"
	 "networks: {office: [203.0.113.0/24]}\n"
	 "rate_limit: {policies: {default: {requests: 10, window: 1s}, login: {requests: 1, "
	 "window: 1s}, a: {requests: 1, window: 1s}, b: {requests: 1, window: 1s}, c: "
	 "{requests: 1, window: 1s}}}\n"
	 "sites:\n"
	 "  - {hosts: [a.com], upstream: api, cookies: maybe}\n",
	 "6:46: `cookies` is `maybe` (expected on or off)"},
	{"listen: [127.0.0.1:8080]\n"
	 "upstreams: {api: {servers: [127.0.0.1:9000]}, api-dev: {servers: [127.0.0.1:9001]}}\n"
	 "networks: {office: [203.0.113.0/24]}\n"
	 "rate_limit: {policies: {default: {requests: 10, window: 1s}, login: {requests: 1, "
	 "window: 1s}, a: {requests: 1, window: 1s}, b: {requests: 1, window: 1s}, c: "
	 "{requests: 1, window: 1s}}}\n"
	 "sites:\n"
	 "  - {hosts: [a.com], upstream: api, upgrade: [h2c]}\n",
	 "6:47: `h2c` is never forwarded (remove it: requests inside of it would walk around "
	 "every rule)"},
	{"listen: [127.0.0.1:8080]\n"
	 "upstreams: {api: {servers: [127.0.0.1:9000]}, api-dev: {servers: [127.0.0.1:9001]}}\n"
	 "networks: {office: [203.0.113.0/24]}\n"
	 "rate_limit: {policies: {default: {requests: 10, window: 1s}, login: {requests: 1, "
	 "window: 1s}, a: {requests: 1, window: 1s}, b: {requests: 1, window: 1s}, c: "
	 "{requests: 1, window: 1s}}}\n"
	 "sites:\n"
	 "  - {hosts: [a.com], upstream: api, upgrade: [\"web socket\"]}\n",
	 "6:47: `upgrade` has `web socket` (expected a protocol's name such as websocket)"},
	{"listen: [127.0.0.1:8080]\n"
	 "upstreams: {api: {servers: [127.0.0.1:9000]}, api-dev: {servers: [127.0.0.1:9001]}}\n"
	 "networks: {office: [203.0.113.0/24]}\n"
	 "rate_limit: {policies: {default: {requests: 10, window: 1s}, login: {requests: 1, "
	 "window: 1s}, a: {requests: 1, window: 1s}, b: {requests: 1, window: 1s}, c: "
	 "{requests: 1, window: 1s}}}\n"
	 "sites:\n"
	 "  - {hosts: [a.com], upstream: api, paths: [{prefix: api, allow: [office]}]}\n",
	 "6:54: prefix `api` is refused (a prefix starts with a slash)"},
	{"listen: [127.0.0.1:8080]\n"
	 "upstreams: {api: {servers: [127.0.0.1:9000]}, api-dev: {servers: [127.0.0.1:9001]}}\n"
	 "networks: {office: [203.0.113.0/24]}\n"
	 "rate_limit: {policies: {default: {requests: 10, window: 1s}, login: {requests: 1, "
	 "window: 1s}, a: {requests: 1, window: 1s}, b: {requests: 1, window: 1s}, c: "
	 "{requests: 1, window: 1s}}}\n"
	 "sites:\n"
	 "  - {hosts: [a.com], upstream: api, paths: [{prefix: /a%20b, allow: [office]}]}\n",
	 "6:54: prefix `/a%20b` is refused (a prefix is written decoded, without %)"},
	{"listen: [127.0.0.1:8080]\n"
	 "upstreams: {api: {servers: [127.0.0.1:9000]}, api-dev: {servers: [127.0.0.1:9001]}}\n"
	 "networks: {office: [203.0.113.0/24]}\n"
	 "rate_limit: {policies: {default: {requests: 10, window: 1s}, login: {requests: 1, "
	 "window: 1s}, a: {requests: 1, window: 1s}, b: {requests: 1, window: 1s}, c: "
	 "{requests: 1, window: 1s}}}\n"
	 "sites:\n"
	 "  - {hosts: [a.com], upstream: api, paths: [{prefix: /a/../b, allow: [office]}]}\n",
	 "6:54: prefix `/a/../b` is refused (a prefix has no dot segments)"},
	{"listen: [127.0.0.1:8080]\n"
	 "upstreams: {api: {servers: [127.0.0.1:9000]}, api-dev: {servers: [127.0.0.1:9001]}}\n"
	 "networks: {office: [203.0.113.0/24]}\n"
	 "rate_limit: {policies: {default: {requests: 10, window: 1s}, login: {requests: 1, "
	 "window: 1s}, a: {requests: 1, window: 1s}, b: {requests: 1, window: 1s}, c: "
	 "{requests: 1, window: 1s}}}\n"
	 "sites:\n"
	 "  - {hosts: [a.com], upstream: api, paths: [{prefix: /a, allow: [office]}, {prefix: "
	 "/a/, rate_limit: login}]}\n",
	 "6:85: prefix `/a/` is refused (the same prefix is given twice)"},
	{"listen: [127.0.0.1:8080]\n"
	 "upstreams: {api: {servers: [127.0.0.1:9000]}, api-dev: {servers: [127.0.0.1:9001]}}\n"
	 "networks: {office: [203.0.113.0/24]}\n"
	 "rate_limit: {policies: {default: {requests: 10, window: 1s}, login: {requests: 1, "
	 "window: 1s}, a: {requests: 1, window: 1s}, b: {requests: 1, window: 1s}, c: "
	 "{requests: 1, window: 1s}}}\n"
	 "sites:\n"
	 "  - {hosts: [a.com], upstream: api, paths: [{prefix: /a}]}\n",
	 "6:54: prefix `/a` has no rule (expected allow or rate_limit beside it)"},
	{"listen: [127.0.0.1:8080]\n"
	 "upstreams: {api: {servers: [127.0.0.1:9000]}, api-dev: {servers: [127.0.0.1:9001]}}\n"
	 "networks: {office: [203.0.113.0/24]}\n"
	 "rate_limit: {policies: {default: {requests: 10, window: 1s}, login: {requests: 1, "
	 "window: 1s}, a: {requests: 1, window: 1s}, b: {requests: 1, window: 1s}, c: "
	 "{requests: 1, window: 1s}}}\n"
	 "sites:\n"
	 "  - {hosts: [a.com], upstream: api, paths: [{prefix: /a, allow: []}]}\n",
	 "6:65: `allow` is an empty list (expected one network at least, as nobody could enter; "
	 "remove it to let everybody in)"},
	{"listen: [127.0.0.1:8080]\n"
	 "upstreams: {api: {servers: [127.0.0.1:9000]}, api-dev: {servers: [127.0.0.1:9001]}}\n"
	 "networks: {office: [203.0.113.0/24]}\n"
	 "rate_limit: {policies: {default: {requests: 10, window: 1s}, login: {requests: 1, "
	 "window: 1s}, a: {requests: 1, window: 1s}, b: {requests: 1, window: 1s}, c: "
	 "{requests: 1, window: 1s}}}\n"
	 "sites:\n"
	 "  - {hosts: [a.com], upstream: api, paths: [{allow: [office]}]}\n",
	 "6:45: `prefix` is missing (expected what the path starts with, on segment boundaries)"},
	{"listen: [127.0.0.1:8080]\n"
	 "upstreams: {api: {servers: [127.0.0.1:9000]}, api-dev: {servers: [127.0.0.1:9001]}}\n"
	 "networks: {office: [203.0.113.0/24]}\n"
	 "rate_limit: {policies: {default: {requests: 10, window: 1s}, login: {requests: 1, "
	 "window: 1s}, a: {requests: 1, window: 1s}, b: {requests: 1, window: 1s}, c: "
	 "{requests: 1, window: 1s}}}\n"
	 "sites:\n"
	 "  - {hosts: [a.com], upstream: api, paths: [{prefix: /1, rate_limit: a}, {prefix: /2, "
	 "rate_limit: b}, {prefix: /3, rate_limit: c}, {prefix: /4, rate_limit: login}]}\n",
	 "6:157: a fifth policy on one site (expected at most 4 with the site's own, as more "
	 "could apply to one request)"},
	{"listen: [127.0.0.1:8080]\n"
	 "upstreams: {api: {servers: [127.0.0.1:9000]}, api-dev: {servers: [127.0.0.1:9001]}}\n"
	 "networks: {office: [203.0.113.0/24]}\n"
	 "rate_limit: {policies: {default: {requests: 10, window: 1s}, login: {requests: 1, "
	 "window: 1s}, a: {requests: 1, window: 1s}, b: {requests: 1, window: 1s}, c: "
	 "{requests: 1, window: 1s}}}\n"
	 "sites:\n"
	 "  - a.com\n",
	 "6:5: an item of `sites` is a single value (expected `name: value` below it)"},
	{"", " is empty (expected listen, upstreams and sites)"},
	{"# nothing\n", " is empty (expected listen, upstreams and sites)"},
	{"- a\n", "1:1: not a config (expected `name: value` lines such as listen, upstreams and sites)"},
	{"just text\n",
	 "1:1: not a config (expected `name: value` lines such as listen, upstreams and sites)"},
	{"@\n", "1:1: a value cannot start with this (put it in quotes)"},
};

/* What was expected, as it is printed: each line with its file. */
static char *full_errors(const char *errors)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);
	for (const char *p = errors; *p;) {
		size_t n = strcspn(p, "\n");
		if (*p == '@')
			fprintf(f, "%s%.*s\n", case_folder, (int)n - 1, p + 1);
		else
			fprintf(f, "weir.yaml:%.*s\n", (int)n, p);
		p += n + (p[n] == '\n');
	}
	fclose(f);
	return text;
}

static void expect_errors(const void *text, size_t n, const char *errors)
{
	struct conf_notes notes = {0};
	write_bytes("weir.yaml", text, n);
	struct conf_bundle *b = conf_bundle_new("weir.yaml");
	struct conf *c = conf_load(b, &notes);
	char *got = notes_text(&notes, false), *want = full_errors(errors);
	if (c || strcmp(got, want) != 0)
		fail_msg("of this config:\n%.*s\nexpected:\n%sgot:\n%s", (int)n, (const char *)text, want,
			 got);
	assert_true(notes.errors > 0);
	free(got);
	free(want);
	conf_notes_free(&notes);
	conf_bundle_free(b);
}

static void test_added(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(added) / sizeof(added[0]); i++) {
		char *text = NULL;
		assert_true(asprintf(&text, "%s%s", MINIMAL, added[i].text) > 0);
		expect_errors(text, strlen(text), added[i].errors);
		free(text);
	}
}

static void test_whole(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++)
		expect_errors(whole[i].text, strlen(whole[i].text), whole[i].errors);
}

static void test_bad_bytes(void **state)
{
	static const char latin1[] = MINIMAL "log: {server: \"caf\xe9\"}\n";
	static const char control[] = MINIMAL "log: {server: a\x01z}\n";
	static const char c1[] = MINIMAL "log: {server: a\xc2\x81z}\n";
	static const char nul[] = "listen: [127.0.0.1:8080]\n\0";
	static const char marked[] = "\xef\xbb\xbf" MINIMAL "lgo: {}\n";
	(void)state;
	expect_errors(latin1, sizeof(latin1) - 1, "4:19: byte 0xe9 is not UTF-8 (expected text in UTF-8)");
	expect_errors(control, sizeof(control) - 1, "4:16: control byte 0x01 (expected text)");
	expect_errors(nul, sizeof(nul) - 1, "2:1: control byte 0x00 (expected text)");
	expect_errors(c1, sizeof(c1) - 1, "4:16: a character that YAML does not allow (expected text)");
	expect_errors(marked, sizeof(marked) - 1, "4:1: unknown key `lgo` (did you mean `log`?)");
}

static void test_files(void **state)
{
	static const char text[] = MINIMAL "log: {server: \"${file:secret}\"}\n";
	struct conf_notes notes = {0};
	(void)state;
	write_bytes("secret", "a\0b", 3);
	expect_errors(text, sizeof(text) - 1, "4:15: `${file:secret}` holds a NUL byte (expected text)");
	assert_int_equal(mkdir("folder", 0700), 0);
	expect_errors(MINIMAL "deny: [\"file:folder\"]\n", sizeof(MINIMAL "deny: [\"file:folder\"]\n") - 1,
		      "4:8: `file:folder` cannot be read: not a regular file (expected a file with a network "
		      "a line)");
	struct conf_bundle *b = conf_bundle_new("nowhere.yaml");
	assert_null(conf_load(b, &notes));
	assert_int_equal(notes.errors, 1);
	assert_string_equal(notes.row[0].file, "nowhere.yaml");
	assert_int_equal(notes.row[0].line, 0);
	assert_string_equal(notes.row[0].text,
			    "cannot be read: No such file or directory (expected a config file)");
	conf_notes_free(&notes);
	conf_bundle_free(b);
}

/* A secret never stands in a message, wherever it was put. */
static void test_secrets_in_errors(void **state)
{
	static const char *const lines[] = {
		"rate_limit: {store: redis, redis: {url: \"redis://u:${WEIR_TEST_SECRET}@h:x\"}}\n",
		"rate_limit: {store: redis, redis: {url: \"${WEIR_TEST_SECRET}\"}}\n",
		"rate_limit: {store: redis, redis: {url: \"redis://u:hunter2@h:x\"}}\n",
		"rate_limit: {store: \"${WEIR_TEST_SECRET}\"}\n",
		"deny: [\"${WEIR_TEST_SECRET}\"]\n",
		"deny: [\"file:${WEIR_TEST_SECRET}\"]\n",
		"workers: \"${WEIR_TEST_SECRET}\"\n",
		"cors: {origins: [\"${WEIR_TEST_SECRET}\"]}\n",
		"user: \"${WEIR_TEST_SECRET} x\"\n",
		"listen: [\"${WEIR_TEST_SECRET}\"]\n",
	};
	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct conf_notes notes = {0};
		char *text = NULL;
		assert_true(asprintf(&text, "%s%s", MINIMAL, lines[i]) > 0);
		write_file("weir.yaml", text);
		struct conf_bundle *b = conf_bundle_new("weir.yaml");
		assert_null(conf_load(b, &notes));
		char *got = notes_text(&notes, false);
		assert_true(notes.errors > 0);
		assert_null(strstr(got, "hunter2"));
		free(got);
		free(text);
		conf_notes_free(&notes);
		conf_bundle_free(b);
	}
}

/* Thousands of errors are counted, and the first of them shown. */
static void test_many_errors(void **state)
{
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);
	struct conf_notes notes = {0};
	(void)state;
	fputs(MINIMAL "deny:\n", f);
	for (int i = 0; i < 3000; i++)
		fprintf(f, "  - nobody%d\n", i);
	fclose(f);
	write_file("weir.yaml", text);
	struct conf_bundle *b = conf_bundle_new("weir.yaml");
	assert_null(conf_load(b, &notes));
	assert_int_equal(notes.errors, 3000);
	assert_int_equal(notes.rows, 200);
	char *got = notes_text(&notes, false);
	assert_non_null(strstr(got, "weir.yaml:5:5: no network is named `nobody0`"));
	free(got);
	free(text);
	conf_notes_free(&notes);
	conf_bundle_free(b);
}

static void test_too_many_keys(void **state)
{
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);
	(void)state;
	for (int i = 0; i < 5000; i++)
		fprintf(f, "k%d: 1\n", i);
	fclose(f);
	expect_errors(text, n, "4097:1: too many keys (expected at most 4096 here)");
	free(text);
}

/* 256 lists is what a set holds; sites that write their networks out have a list each. */
static void test_too_many_lists(void **state)
{
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);
	(void)state;
	fputs("listen: [127.0.0.1:8080]\nupstreams: {api: {servers: [127.0.0.1:9000]}}\nsites:\n", f);
	for (int i = 0; i < 257; i++)
		fprintf(f, "  - {hosts: [h%d], upstream: api, rate_limit: off, allow: [10.0.%d.0/24]}\n", i,
			i % 256);
	fclose(f);
	expect_errors(
		text, n,
		"260:61: too many lists of networks (expected at most 256; name those that are alike under "
		"`networks`)");
	free(text);
}

static int enter(void **state)
{
	if (enter_folder(state) != 0 || setenv("WEIR_TEST_SECRET", "hunter2", 1) != 0 ||
	    unsetenv("WEIR_TEST_UNSET") != 0)
		return -1;
	write_file("bad.txt", "# office\n10.1.0.0/16\n\n10.2.0.1/16\n");
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_added),
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_bad_bytes),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_secrets_in_errors),
		cmocka_unit_test(test_many_errors),
		cmocka_unit_test(test_too_many_keys),
		cmocka_unit_test(test_too_many_lists),
	};
	return cmocka_run_group_tests(tests, enter, leave_folder);
}
