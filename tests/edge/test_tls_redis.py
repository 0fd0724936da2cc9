# SPDX-License-Identifier: MIT
"""rediss://: a real redis-server with TLS, for the workers' stores and for control; whom it believes."""
import os
import re
import subprocess

import pytest

from weirlib import RedisServer, base_config, weir_bin
from weirlib.limits import admitted, volley
from weirlib.tls import Authority, server_context
from weirlib.util import free_port, wait_for

CLIENT = "203.0.113.1"
STRANGER = "(unable to get local issuer certificate|self-signed certificate in certificate chain)"


@pytest.fixture
def tls_redis(closing, authority):
    """tls_redis(certificate) runs a server; its .tls is the port with TLS, the plain one is for the test."""
    def run(made, *args):
        port = free_port()
        r = closing.add(RedisServer(args=["--tls-port", port, "--tls-cert-file", made.pem, "--tls-key-file", made.key,
                                          "--tls-ca-cert-file", authority.pem, "--tls-auth-clients", "no", *args]))
        r.tls = port
        return r
    return run


def config(origin, url, requests=50, **redis):
    return base_config(origin, workers=2, rate_limit={
        "store": "redis", "redis": dict({"url": url}, **redis),
        "policies": {"default": {"requests": requests, "window": "60s"}}})


def ready(w):
    return w.metric("weir_store_state", state="ready") == 2


def test_limit_and_fleet(start, origin, tls_redis, authority):
    """Two weirs share a limit exactly, know of each other, and tell each other of lifts: all over TLS."""
    redis = tls_redis(authority.issue("localhost", "127.0.0.1"))
    c = config(origin, "rediss://127.0.0.1:%d/0" % redis.tls, ca=authority.pem, timeout="2s")
    weirs = [start(dict(c)), start(dict(c))]
    for w in weirs:
        wait_for(lambda w=w: ready(w) and w.metric("weir_fleet_size") == 2, 10)
    shots = volley([w.port for w in weirs], 120, CLIENT, threads=8)
    assert len(admitted(shots)) == 50
    weirs[0].lift("--everyone")
    wait_for(lambda: weirs[1].ctl("limits", "status", json=True)["lifts"], 15)
    # each connection has a name, and none of weir's came over the plain port
    def ours():
        return [line for line in redis.cli("CLIENT", "LIST").splitlines() if "name=weir" in line]
    wait_for(lambda: len(ours()) >= 8, 10)
    assert all(line.partition("laddr=")[2].partition(" ")[0].endswith(":%d" % redis.tls) for line in ours()), ours()


def test_by_name(start, origin, tls_redis, authority):
    redis = tls_redis(authority.issue("localhost"))
    w = start(config(origin, "rediss://localhost:%d" % redis.tls, ca=authority.pem))
    wait_for(lambda: ready(w), 10)


def test_reconnects(start, origin, tls_redis, authority):
    redis = tls_redis(authority.issue("127.0.0.1"))
    w = start(config(origin, "rediss://127.0.0.1:%d" % redis.tls, ca=authority.pem))
    wait_for(lambda: ready(w), 10)
    redis.restart()
    wait_for(lambda: ready(w) and w.metric("weir_store_failures_total", kind="closed") > 0, 10)
    assert w.get(xff=CLIENT).status == 200


@pytest.mark.parametrize("names, days, why", [
    (["other.example"], 30, "IP address mismatch"),
    (["127.0.0.1"], -1, "certificate has expired"),
])
def test_not_believed(start, origin, tls_redis, authority, names, days, why):
    redis = tls_redis(authority.issue(*names, days=days))
    w = start(config(origin, "rediss://127.0.0.1:%d" % redis.tls, ca=authority.pem))
    _refused(w, redis, why)


def test_wrong_ca(start, origin, tls_redis, authority):
    redis = tls_redis(authority.issue("127.0.0.1"))
    other = Authority()
    w = start(config(origin, "rediss://127.0.0.1:%d" % redis.tls, ca=other.pem))
    _refused(w, redis, STRANGER)
    other.close()


def test_the_systems_trust(start, origin, tls_redis, authority):
    """Without `ca` it is the system's, which knows nothing of our authority."""
    redis = tls_redis(authority.issue("127.0.0.1"))
    w = start(config(origin, "rediss://127.0.0.1:%d" % redis.tls))
    _refused(w, redis, STRANGER)
    v = start(config(origin, "rediss://127.0.0.1:%d" % redis.tls), env={"SSL_CERT_FILE": authority.pem})
    wait_for(lambda: ready(v), 10)


def _refused(w, redis, why):
    """The store stays away and says so; requests are decided without it, and none of its secrets is sent."""
    wait_for(lambda: w.metric("weir_store_failures_total", kind="untrusted") >= 1, 10)
    w.wait_own_log("redis 127.0.0.1:%d: untrusted: %s" % (redis.tls, why))
    w.wait_own_log("rate limit store: the server's certificate is not to be trusted")
    assert not ready(w)
    assert w.get(xff=CLIENT).status == 200
    assert "name=weir" not in redis.cli("CLIENT", "LIST")


def test_plain_server(start, origin, redis, authority):
    w = start(config(origin, "rediss://127.0.0.1:%d" % redis.port, ca=authority.pem))
    wait_for(lambda: w.metric("weir_store_failures_total", kind="tls") >= 1
             or w.metric("weir_store_failures_total", kind="timeout") >= 1, 10)
    assert w.get(xff=CLIENT).status == 200


def test_plain_url_to_a_tls_port(start, origin, tls_redis, authority):
    redis = tls_redis(authority.issue("127.0.0.1"))
    w = start(config(origin, "redis://127.0.0.1:%d" % redis.tls))
    wait_for(lambda: w.metric("weir_store_failures_total") >= 1, 10)
    assert not ready(w) and w.get(xff=CLIENT).status == 200


def test_reload_to_another_ca(start, origin, tls_redis, authority):
    """Control connects anew where only the CA has changed."""
    redis = tls_redis(authority.issue("127.0.0.1"))
    other = Authority()
    w = start(config(origin, "rediss://127.0.0.1:%d" % redis.tls, ca=other.pem))
    _refused(w, redis, STRANGER)
    w.reload(config(origin, "rediss://127.0.0.1:%d" % redis.tls, ca=authority.pem))
    wait_for(lambda: ready(w) and w.metric("weir_fleet_size") == 1, 10)
    other.close()


# weir -t --live


def check_live(dir, text):
    path = os.path.join(dir, "live.yaml")
    with open(path, "w") as f:
        f.write(text)
    run = subprocess.run([weir_bin(), "-t", "--live", "-c", path], capture_output=True, text=True, timeout=30)
    return run.returncode, run.stdout, run.stderr


LIVE = """listen: [{address: "127.0.0.1:1", tls: {certificate: %(pem)s, key: %(key)s}}]
upstreams: {main: {servers: ["127.0.0.1:%(up)d"], tls: {ca: %(ca)s, name: %(name)s}}}
sites: [{hosts: ["*"], upstream: main, rate_limit: off}]
rate_limit: {store: redis, redis: {url: "rediss://127.0.0.1:%(redis)d/0", ca: %(ca)s}}
"""


def test_live_check(origins, tls_redis, authority):
    made = authority.issue("origin.example", "127.0.0.1")
    redis, origin, other = tls_redis(made), origins(tls=server_context(made)), Authority()
    facts = {"pem": made.pem, "key": made.key, "up": origin.port, "ca": authority.pem, "name": "origin.example",
             "redis": redis.tls}
    code, out, err = check_live(authority.dir, LIVE % facts)
    assert code == 0, err
    assert "redis rediss://127.0.0.1:%d/0 answers" % redis.tls in out
    assert "server 127.0.0.1:%d of upstream main speaks TLS, and is who it should be" % origin.port in out
    assert re.search(r"certificate of 127.0.0.1:1: ECDSA until \d{4}-\d\d-\d\d, for origin.example\n", out)
    code, out, err = check_live(authority.dir, LIVE % dict(facts, name="b.example"))
    assert code == 1 and "server 127.0.0.1:%d: hostname mismatch" % origin.port in err
    code, out, err = check_live(authority.dir, LIVE % dict(facts, ca=other.pem))
    assert code == 1 and re.search(r"upstreams.main: server [0-9.:]+: " + STRANGER, err)
    assert re.search(r"rate_limit.redis.url: rediss://127.0.0.1:\d+/0: " + STRANGER, err)
    code, out, err = check_live(authority.dir, LIVE % dict(facts, up=free_port(), redis=redis.port))
    assert code == 1 and "Connection refused" in err and "rate_limit.redis.url: rediss://" in err
    other.close()
