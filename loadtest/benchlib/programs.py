# SPDX-License-Identifier: MIT
"""The programs of the bench: where each is found, which rows it serves, and the config it gets for a row.

All get the same: one worker, no access log, keep-alive on both sides, up to 64 idle connections to the origin, the client
named by X-Forwarded-For from a trusted peer, a request id made for each request, no body on disk. `bench` gives them
a directory, the origin's and the store's ports, and certificates.
"""
import json
import os
import re
import shutil
import subprocess

from weirlib import free_port, to_yaml

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PEERS = os.path.join(ROOT, "build", "peers")
LIMIT = 1000    # a minute and client
FLOOD_LIMIT = 10


def limit_of(row):
    return FLOOD_LIMIT if row.refused else LIMIT


class Program:
    """callgrind: whether valgrind runs it. `helpers` are further processes that a row needs: (name, argv, env, port)."""
    name, binary, hint, callgrind = "", "", "", True
    limits = (None,)
    kinds = ("requests", "store", "bodies", "handshakes", "idle")
    commands = ("eval", "evalsha", "fcall")    # what asking the store is, in Redis's own counters

    def path(self, bench):
        return shutil.which(self.binary)

    def missing(self, bench):
        return None if self.path(bench) else "%s is not here: %s" % (self.name, self.hint)

    def version(self, bench):
        out = subprocess.run(self.version_command(bench), capture_output=True, text=True, timeout=20)
        found = re.search(r"\d+\.\d+[\w.+~-]*", out.stdout + out.stderr)
        return found[0] if found else "?"

    def version_command(self, bench):
        return [self.path(bench), "-v"]

    def serves(self, row):
        return row.kind in self.kinds and (row.limit in self.limits or row.kind == "exactness")

    def helpers(self, bench, row):
        return []


class Floor(Program):
    name, kinds = "floor", ("requests", "bodies", "idle")

    def path(self, bench):
        return bench.tool("floor")

    def version(self, bench):
        return "of this tree"

    def serves(self, row):
        return super().serves(row) and not row.tls

    def command(self, bench, row, port, alone):
        return [self.path(bench), "-p", str(port), str(bench.origin_port)]


class Weir(Program):
    name, limits = "weir", (None, "memory", "redis", "refuse")
    kinds = Program.kinds + ("exactness",)

    def path(self, bench):
        return os.path.abspath(bench.args.weir)

    def version_command(self, bench):
        return [self.path(bench), "-V"]

    def command(self, bench, row, port, alone):
        limit = {"policies": {"default": {"requests": limit_of(row), "window": "60s"}}}
        if row.limit in ("redis", "refuse"):
            limit.update(store="redis", redis={"url": bench.redis.url, "prefix": "bench-%d:" % port})
        site = {"hosts": ["*"], "upstream": "main"}
        if not row.limit:
            site["rate_limit"] = "off"
        listen = {"address": "127.0.0.1:%d" % port}
        if row.tls:
            cert, key = bench.certificate(row.tls)
            listen["tls"] = {"certificate": cert, "key": key}
        path = bench.write("weir.yaml", to_yaml({
            "listen": [listen], "workers": 1, "client_ip": {"trusted_proxies": ["127.0.0.1/32"]}, "rate_limit": limit,
            "upstreams": {"main": {"servers": ["127.0.0.1:%d" % bench.origin_port]}},
            "sites": [site], "log": {"access": "off"}, "drain": {"grace": "100ms", "timeout": "4s"},
            "admin": {"socket": os.path.join(bench.dir, "admin-%d.sock" % port),
                      "http": "127.0.0.1:%d" % free_port()}}) + "\n")
        return [self.path(bench), "-c", path]


class Nginx(Program):
    name, binary, hint = "nginx", "nginx", "apt-get install nginx"
    limits, kinds = (None, "memory", "refuse"), Program.kinds + ("exactness",)
    modules = ""

    zones = {
        None: ("", ""),
        "memory": ("limit_req_zone $binary_remote_addr zone=c:32m rate=%dr/m;" % LIMIT,
                   "limit_req zone=c burst=%d nodelay; limit_req_status 429;" % LIMIT),
        "refuse": ("limit_req_zone $binary_remote_addr zone=c:32m rate=%dr/m;" % FLOOD_LIMIT,
                   "limit_req zone=c burst=%d nodelay; limit_req_status 429;" % FLOOD_LIMIT),
    }

    config = """
{modules}
daemon off;
user root;
worker_processes 1;
master_process {master};
pid {dir}/nginx.pid;
error_log {dir}/error.log crit;
worker_rlimit_nofile {files};
events {{ worker_connections 22000; }}
http {{
  access_log off;
  client_body_temp_path {dir}/a; proxy_temp_path {dir}/b; fastcgi_temp_path {dir}/c;
  uwsgi_temp_path {dir}/d; scgi_temp_path {dir}/e;
  keepalive_requests 100000000;
  keepalive_timeout 75s;
  client_max_body_size 0;
  proxy_request_buffering off;
  proxy_max_temp_file_size 0;
  set_real_ip_from 127.0.0.1;
  real_ip_header X-Forwarded-For;
  ssl_protocols TLSv1.2 TLSv1.3;
  {zone}
  upstream main {{ server 127.0.0.1:{origin}; keepalive 64; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} {listen} backlog=4096;
    {tls}
    location / {{
      {limit}
      proxy_pass http://main;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Request-Id $request_id;
    }}
  }}
}}
"""

    def limit(self, bench, row):
        return self.zones[row.limit]

    def command(self, bench, row, port, alone):
        zone, limit = self.limit(bench, row)
        listen = tls = ""
        if row.tls:
            listen, tls = "ssl", "ssl_certificate %s; ssl_certificate_key %s; ssl_session_cache shared:s:10m;" % (
                bench.certificate(row.tls))
        path = bench.write(self.name + ".conf", self.config.format(
            dir=bench.dir, port=port, origin=bench.origin_port, zone=zone, limit=limit, files=bench.files,
            master="off" if alone else "on", modules=self.modules, listen=listen, tls=tls))
        return [self.path(bench), "-p", bench.dir, "-e", os.path.join(bench.dir, "error.log"), "-c", path]


class NginxLua(Nginx):
    """What teams build by hand: a fixed window of INCR and EXPIRE over a pooled connection, in Lua. Not exact."""
    name, limits, kinds = "nginx-lua", ("redis",), ("store",)
    commands = ("incr", "expire")
    hint = "apt-get install nginx libnginx-mod-http-lua"
    folder = "/usr/lib/nginx/modules"
    modules = "load_module %s/ndk_http_module.so; load_module %s/ngx_http_lua_module.so;" % (folder, folder)

    lua = """access_by_lua_block {{
        local function ask(sock, ...)
          local words = {{...}}
          local out = {{"*", #words, "\\r\\n"}}
          for _, w in ipairs(words) do
            w = tostring(w)
            out[#out + 1] = "$" .. #w .. "\\r\\n" .. w .. "\\r\\n"
          end
          if not sock:send(out) then return nil end
          local line = sock:receive("*l")
          return line and tonumber(line:sub(2))
        end
        local sock = ngx.socket.tcp()
        sock:settimeout(50)
        if not sock:connect("127.0.0.1", {redis}) then return end
        local key = "lua-{port}:" .. ngx.var.remote_addr
        local n = ask(sock, "INCR", key)
        if n == 1 then ask(sock, "EXPIRE", key, 60) end
        sock:setkeepalive(60000, 64)
        if n and n > {n} then return ngx.exit(429) end
      }}"""

    def missing(self, bench):
        there = self.path(bench) and os.path.exists(os.path.join(self.folder, "ngx_http_lua_module.so"))
        return None if there else "nginx with Lua is not here: " + self.hint

    def limit(self, bench, row):
        return 'lua_socket_log_errors off;', self.lua.format(redis=bench.redis.port, port=bench.salt(), n=limit_of(row))


class HAProxy(Program):
    name, binary, hint = "haproxy", "haproxy", "apt-get install haproxy"
    limits, kinds = (None, "memory", "refuse"), Program.kinds + ("exactness",)

    config = """
global
  maxconn {maxconn}
  nbthread 1
  ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
  mode http
  timeout connect 2s
  timeout client 75s
  timeout server 30s
  timeout http-keep-alive 75s
frontend edge
  bind 127.0.0.1:{port} {tls} backlog 4096
  http-request set-header X-Request-Id %[uuid]
  {limit}
  default_backend main
backend main
  http-reuse always
  server o 127.0.0.1:{origin} pool-max-conn 64
"""
    track = """stick-table type ip size 200k expire 60s store http_req_rate(60s)
  http-request track-sc0 req.hdr_ip(X-Forwarded-For,-1)
  http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt {n} }}"""

    def command(self, bench, row, port, alone):
        tls = ""
        if row.tls:
            cert, key = bench.certificate(row.tls)
            with open(cert) as c, open(key) as k:
                tls = "ssl crt " + bench.write("haproxy-%s.pem" % row.tls, c.read() + k.read())
        path = bench.write("haproxy.cfg", self.config.format(
            port=port, origin=bench.origin_port, maxconn=(bench.files - 200) // 2, tls=tls,
            limit=self.track.format(n=limit_of(row)) if row.limit else ""))
        return [self.path(bench), "-db", "-f", path]


class Envoy(Program):
    """With envoyproxy/ratelimit as its limiter; its CPU counts with the store's."""
    name, limits, kinds, callgrind = "envoy", (None, "redis"), ("requests", "store", "bodies"), False
    hint = "loadtest/peers envoy, or make bench PEERS=all"
    commands = ("incrby", "expire")
    service = os.path.join(PEERS, "bin", "ratelimit")

    def path(self, bench):
        return next((p for p in (os.path.join(PEERS, "envoy", "envoy", "_bin", "envoy"), shutil.which("envoy"))
                     if p and os.access(p, os.X_OK)), None)

    def version_command(self, bench):
        return [self.path(bench), "--version"]

    def serves(self, row):
        return super().serves(row) and not row.tls and (row.limit is None or os.access(self.service, os.X_OK))

    def helpers(self, bench, row):
        if not row.limit:
            return []
        self.grpc, http_port, debug = free_port(), free_port(), free_port()
        bench.write("runtime/ratelimit/config/bench.yaml", to_yaml({"domain": "bench", "descriptors": [
            {"key": "client", "rate_limit": {"unit": "minute", "requests_per_unit": limit_of(row)}}]}) + "\n")
        env = {"REDIS_SOCKET_TYPE": "tcp", "REDIS_URL": "127.0.0.1:%d" % bench.redis.port, "USE_STATSD": "false",
               "LOG_LEVEL": "error", "RUNTIME_ROOT": os.path.join(bench.dir, "runtime"), "RUNTIME_SUBDIRECTORY": "ratelimit",
               "RUNTIME_WATCH_ROOT": "false", "RUNTIME_IGNOREDOTFILES": "true", "GRPC_PORT": str(self.grpc),
               "PORT": str(http_port), "DEBUG_PORT": str(debug), "GRPC_HOST": "127.0.0.1", "HOST": "127.0.0.1",
               "DEBUG_HOST": "127.0.0.1", "CACHE_KEY_PREFIX": "envoy-%d:" % bench.salt()}
        return [("ratelimit", [self.service], env, self.grpc)]

    def command(self, bench, row, port, alone):
        def cluster(name, to, **more):
            return dict({"name": name, "connect_timeout": "2s", "type": "STATIC", "load_assignment": {
                "cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {
                    "address": "127.0.0.1", "port_value": to}}}}]}]}}, **more)
        kind = "type.googleapis.com/envoy.extensions.filters.http."
        filters, clusters = [], [cluster("main", bench.origin_port)]
        route = {"cluster": "main", "timeout": "0s"}
        if row.limit:
            clusters.append(cluster("limiter", self.grpc, typed_extension_protocol_options={
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": {"http2_protocol_options": {}}}}))
            filters.append({"name": "envoy.filters.http.ratelimit", "typed_config": {
                "@type": kind + "ratelimit.v3.RateLimit", "domain": "bench", "timeout": "0.05s",
                "rate_limit_service": {"transport_api_version": "V3",
                                       "grpc_service": {"envoy_grpc": {"cluster_name": "limiter"}}}}})
            route["rate_limits"] = [{"actions": [{"request_headers": {
                "header_name": "x-forwarded-for", "descriptor_key": "client"}}]}]
        filters.append({"name": "envoy.filters.http.router",
                        "typed_config": {"@type": kind + "router.v3.Router", "suppress_envoy_headers": True}})
        hcm = {"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3."
                        "HttpConnectionManager", "stat_prefix": "edge", "http_filters": filters,
               "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"],
                                                   "routes": [{"match": {"prefix": "/"}, "route": route}]}]}}
        path = bench.write("envoy.json", json.dumps({"static_resources": {"clusters": clusters, "listeners": [{
            "name": "edge", "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
            "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager",
                                            "typed_config": hcm}]}]}]}}))
        return [self.path(bench), "-c", path, "--concurrency", "1", "--disable-hot-restart", "-l", "error"]


class Traefik(Program):
    """A token bucket in memory or, as a script, in Redis."""
    name, limits, kinds, callgrind = "traefik", (None, "memory", "redis", "refuse"), ("requests", "store", "bodies"), False
    hint = "loadtest/peers traefik, or make bench PEERS=all"

    def path(self, bench):
        return next((p for p in (os.path.join(PEERS, "bin", "traefik"), shutil.which("traefik"))
                     if p and os.access(p, os.X_OK)), None)

    def version_command(self, bench):
        return [self.path(bench), "version"]

    def version(self, bench):
        version = os.path.join(PEERS, "traefik.version")
        if os.path.exists(version):
            with open(version) as f:
                return f.read().strip()
        return super().version(bench)

    def serves(self, row):
        return super().serves(row) and not row.tls

    def command(self, bench, row, port, alone):
        http = {"routers": {"all": {"rule": "PathPrefix(`/`)", "service": "main", "entryPoints": ["edge"]}},
                "services": {"main": {"loadBalancer": {"servers": [{"url": "http://127.0.0.1:%d" % bench.origin_port}]}}}}
        if row.limit:
            limit = {"average": limit_of(row), "period": "1m", "burst": limit_of(row),
                     "sourceCriterion": {"ipStrategy": {"depth": 1}}}
            if row.limit == "redis":
                limit["redis"] = {"endpoints": ["127.0.0.1:%d" % bench.redis.port]}
            http["routers"]["all"]["middlewares"] = ["limit"]
            http["middlewares"] = {"limit": {"rateLimit": limit}}
        dynamic = bench.write("traefik-dynamic.yaml", json.dumps({"http": http}))
        path = bench.write("traefik.yaml", json.dumps({
            "global": {"checkNewVersion": False, "sendAnonymousUsage": False}, "log": {"level": "ERROR"},
            "entryPoints": {"edge": {"address": "127.0.0.1:%d" % port, "forwardedHeaders": {"trustedIPs": ["127.0.0.1/32"]},
                                     "transport": {"respondingTimeouts": {"readTimeout": "0s"}}}},
            "providers": {"file": {"filename": dynamic, "watch": False}}}))
        return [self.path(bench), "--configFile=" + path]


PROGRAMS = {p.name: p for p in (Floor(), Weir(), Nginx(), HAProxy(), NginxLua(), Envoy(), Traefik())}
