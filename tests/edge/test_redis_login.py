# SPDX-License-Identifier: MIT
"""How weir comes in to a Redis: the README's ACL line to the letter, odd passwords, files, databases; and what it says
of a Redis that is not set up as it should be."""
import os
import re
from urllib.parse import quote

import pytest

from weirlib import ROOT, RedisServer, base_config, run_dir, wait_for
from weirlib.limits import admitted, volley
from weirlib.redis_cluster import RedisCluster, Resharding
from weirlib.util import remove_dir

ODD = "p#w@:/?%41 \"'{}é"
CLIENT = "203.0.113.1"


def config(origin, url, requests=5, **redis):
    return base_config(origin, workers=2, rate_limit={
        "store": "redis", "redis": dict({"url": url, "timeout": "2s"}, **redis),
        "policies": {"default": {"requests": requests, "window": "60s"},
                     "login": {"requests": 3, "window": "60s"}}},
        sites=[{"hosts": ["*"], "upstream": "main", "paths": [{"prefix": "/login", "rate_limit": "login"}]}])


def wait_ready(weir, timeout=20):
    wait_for(lambda: weir.metric("weir_store_state", state="ready") == len(weir.workers()), timeout,
             "the workers' stores are ready")


def acl_line(password, page="README.md"):
    with open(os.path.join(ROOT, page), encoding="utf-8") as f:
        line = re.search(r"^ *ACL SETUSER .*$", f.read(), re.M)
    words = line[0].split()
    assert ">PASSWORD" in words
    return [">" + password if w == ">PASSWORD" else w for w in words]


def use_all(weirs, clients):
    """Whatever weir asks of its store."""
    one, two = weirs
    for client in clients:
        assert len(admitted(volley([w.port for w in weirs], 12, client, threads=4))) == 5
        wait_for(lambda c=client: one.client_state(c, "default")["source"] == "redis", 15, "control reaches its node")
        one.ctl("clients", "forgive", client)
        assert [one.get("/login", xff=client).status for _ in range(4)] == [200] * 3 + [429]
    assert "2 of 2 weirs" in one.ctl("limits", "lift", "--for", "1m", "--reason", "test", "--client", "192.0.2.1")
    assert "2 of 2 weirs" in two.ctl("limits", "restore")
    assert "2 of 2 weirs" in one.ctl("clients", "block", "192.0.2.2/32", "--for", "1m", "--reason", "test")
    wait_for(lambda: two.get(xff="192.0.2.2").status == 403, 15)
    one.ctl("clients", "unblock", "192.0.2.2/32")
    for w in weirs:
        wait_for(lambda w=w: w.ctl("status", json=True)["store"]["nodes"][0]["version"], 15)
        assert "NOPERM" not in w.stderr() and "lacks a command" not in w.stderr()


def pair_of(start, origin, url, **redis):
    weirs = [start(config(origin, url, **redis)) for _ in range(2)]
    for w in weirs:
        wait_ready(w)
        wait_for(lambda w=w: w.metric("weir_fleet_size") == 2, 15)
    return weirs


def test_the_acl_line_of_the_readme_is_enough(start, origin, redis):
    assert acl_line("secret") == acl_line("secret", "docs/redis.md")
    assert redis.cli(*acl_line("secret")) == "OK"
    redis.cli("ACL", "LOG", "RESET")
    use_all(pair_of(start, origin, redis.url, username="weir", password="secret"), [CLIENT])
    assert redis.cli("ACL", "LOG") == "", "nothing was denied"
    assert "weir" in redis.cli("CLIENT", "LIST")


def test_the_acl_line_is_enough_in_a_cluster(start, origin, closing):
    cluster = closing.add(RedisCluster(replicas=False))
    cluster.cli_everywhere(*acl_line("secret"))
    weirs = pair_of(start, origin, cluster.url, username="weir", password="secret")
    use_all(weirs, ["203.0.113.%d" % i for i in range(1, 5)])
    # A slot moves, so that MOVED and ASKING are met too.
    source = cluster.master_of("{%s}" % CLIENT)
    target = next(m for m in cluster.masters() if m is not source)
    move = Resharding(cluster, cluster.slot("{%s}" % CLIENT), source, target)
    move.begin()
    weirs[0].ctl("clients", "forgive", CLIENT)
    assert len(admitted(volley([weirs[0].port], 12, CLIENT, threads=1))) == 5
    move.move_keys()
    move.end()
    weirs[0].ctl("clients", "forgive", CLIENT)
    assert len(admitted(volley([weirs[1].port], 12, CLIENT, threads=1))) == 5
    assert cluster.cli_everywhere("ACL", "LOG") == [""] * 3


@pytest.mark.parametrize("where", ["url", "keys", "environment", "default user"])
def test_a_password_of_any_characters(start, origin, redis, where):
    user = "default" if where == "default user" else "o@d:#u"
    assert redis.cli("ACL", "SETUSER", user, "on", "resetkeys", "~weir:*", "allchannels", "+@all", ">" + ODD) == "OK"
    if user == "default":
        redis.cli_args = ["-a", ODD, "--no-auth-warning"]
    place = "127.0.0.1:%d/0" % redis.port
    keys, env, url = {"username": user, "password": ODD}, {}, "redis://" + place
    if where == "url":
        keys, url = {}, "redis://%s:%s@%s" % (quote(user, safe=""), quote(ODD, safe=""), place)
    elif where == "environment":
        keys, env = {"username": user, "password": "${REDIS_PASSWORD}"}, {"REDIS_PASSWORD": ODD}
    elif where == "default user":
        keys, url = {}, "redis://:%s@%s" % (quote(ODD, safe=""), place)
    weir = start(config(origin, url, **keys), env=env)
    wait_ready(weir)
    assert len(admitted(volley([weir.port], 10, CLIENT, threads=2))) == 5
    for text in (weir.stderr(), weir.ctl("config", "show"), weir.ctl("status"), weir.metrics_text()):
        assert ODD not in text and quote(ODD, safe="") not in text


def test_a_password_file_is_read_again_on_reload(start, origin, redis):
    redis.cli("ACL", "SETUSER", "weir", "on", ">first", "~weir:*", "allchannels", "+@all")
    d = run_dir("password")
    try:
        path = os.path.join(d, "password")
        with open(path, "w") as f:
            f.write("first\n")
        os.chmod(path, 0o644)
        c = config(origin, redis.url, username="weir", password="${file:%s}" % path)
        weir = start(c)
        wait_ready(weir)
        assert weir.get(xff=CLIENT).status == 200
        redis.cli("ACL", "SETUSER", "weir", "resetpass", ">second")
        redis.cli("CLIENT", "KILL", "USER", "weir")
        weir.wait_own_log("refuses rate_limit.redis.username and password")
        wait_for(lambda: weir.metric("weir_store_failures_total", kind="wrongpass") > 0, 15)
        with open(path, "w") as f:
            f.write("second\n")
        weir.reload()
        wait_ready(weir)
        wait_for(lambda: weir.client_state(CLIENT, "default")["source"] == "redis", 15, "control logs in anew too")
    finally:
        remove_dir(d)


def test_status_tells_of_the_workers_that_serve(start, origin, redis):
    """A worker of before the reload that a kept connection holds comes in no more with its password."""
    redis.cli("ACL", "SETUSER", "weir", "on", ">right", "~weir:*", "allchannels", "+@all")
    weir = start(config(origin, redis.url, username="weir", password="wrong"))
    kept = [weir.client() for _ in range(16)]
    for client in kept:
        assert client.request().status in (200, 429)
    wait_for(lambda: weir.ctl("status", json=True)["store"]["state"] == "connecting", 15)
    weir.reload(config(origin, redis.url, username="weir", password="right"))
    wait_for(lambda: weir.ctl("status", json=True)["store"]["state"] == "ready", 15, "those who serve are ready")
    assert weir.metric("weir_store_state", state="connecting") > 0, "others are still there"
    assert weir.metric("weir_store_state", state="ready") == 2
    for client in kept:
        client.close()
    wait_ready(weir)


def test_a_database_of_its_own(start, origin, redis):
    weir = start(config(origin, "redis://127.0.0.1:%d/7" % redis.port))
    wait_ready(weir)
    assert len(admitted(volley([weir.port], 10, CLIENT, threads=2))) == 5
    assert redis.cli("-n", 0, "DBSIZE") == "0" and int(redis.cli("-n", 7, "DBSIZE")) > 1


# What it says of a Redis that may forget

def test_a_policy_that_may_evict_is_warned_of(start, origin, closing):
    redis = closing.add(RedisServer(args=["--maxmemory", "3mb", "--maxmemory-policy", "allkeys-lru"]))
    weir = start(config(origin, redis.url))
    wait_ready(weir)
    place = "127.0.0.1:%d" % redis.port
    wait_for(lambda: "maxmemory-policy of %s is allkeys-lru" % place in weir.ctl("status"), 15)
    assert weir.metric("weir_store_may_evict") == 1 and weir.metric("weir_store_evicted_keys") == 0
    redis.cli("EVAL", "for i = 1, 200 do redis.call('SET', 'filler' .. i, string.rep('x', 100000)) end", 0)
    redis.cli("SET", "one more", "x")
    assert int(redis.info("stats")["evicted_keys"]) > 0
    wait_for(lambda: weir.metric("weir_store_evicted_keys") > 0, 20, every=0.2)
    assert re.search(place + r" has evicted \d+ keys", weir.ctl("status"))
    store = weir.ctl("status", json=True)["store"]
    assert store["nodes"][0]["maxmemory_policy"] == "allkeys-lru" and len(store["warnings"]) == 2


def test_noeviction_is_not_warned_of(start, origin, redis):
    weir = start(config(origin, redis.url))
    wait_ready(weir)
    store = wait_for(lambda: (s := weir.ctl("status", json=True)["store"])["nodes"][0]["version"] and s, 15)
    assert store["warnings"] == [] and store["nodes"][0]["maxmemory_policy"] == "noeviction"
    assert "WARNING" not in weir.ctl("status")
    assert store["workers"] == {"connecting": 0, "ready": 2, "degraded": 0, "open": 0, "probing": 0}
