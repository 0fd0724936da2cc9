# SPDX-License-Identifier: MIT
"""The limit with the Redis store: exact over the whole fleet, cheap under a flood, harmless when Redis is not there."""
import threading
import time

import pytest

from weirlib import base_config, wait_for
from weirlib.limits import (admitted, assert_never_more, assert_no_false_refusals, barrage, rate_limit_fields, refused,
                            volley)

CLIENT = "203.0.113.1"
SLACK = 1.0    # of a busy machine, in seconds: what must not wait for Redis would wait for longer


def config(origin, redis, requests=50, window="60s", policies=None, sites=None, limit=None, **redis_more):
    """Redis gets time enough on a busy machine, unless a test is about one that does not answer."""
    return base_config(origin, workers=2, rate_limit=dict(
        {"store": "redis", "redis": dict({"url": redis.url, "timeout": "2s"}, **redis_more),
         "policies": policies or {"default": {"requests": requests, "window": window}}}, **(limit or {})),
        sites=sites or [{"hosts": ["*"], "upstream": "main"}])


@pytest.fixture
def pair(start, origin, redis):
    """pair(**config) runs two weirs on one Redis."""
    def make(*args, **kw):
        c = config(origin, redis, *args, **kw)
        weirs = [start(dict(c)), start(dict(c))]
        for w in weirs:
            wait_store(w)
            wait_for(lambda w=w: w.metric("weir_fleet_size") == 2, 15, "both weirs know of each other")
        return weirs
    return make


def wait_store(weir, good=True, timeout=15.0):
    """Until each worker's store is ready, or none is."""
    def reached():
        ready = weir.metric("weir_store_state", state="ready")
        return ready == len(weir.workers()) if good else ready == 0
    wait_for(reached, timeout, "the workers' stores are %s" % ("ready" if good else "away"))


def ports(weirs):
    return [w.port for w in weirs]


# Exact

@pytest.mark.parametrize("threads", [2, 16, 48])
def test_exactly_the_limit_over_two_weirs(pair, threads):
    weirs = pair(requests=100)
    shots = volley(ports(weirs), 300, CLIENT, threads=threads)
    assert len(admitted(shots)) == 100 and len(refused(shots)) == 200
    other = volley(ports(weirs), 20, "203.0.113.2", threads=2)
    assert len(admitted(other)) == 20


def test_never_more_in_any_window_over_two_weirs(pair):
    weirs = pair(requests=50, window="1s")
    shots = barrage(ports(weirs), CLIENT, threads=12, seconds=4, pause=0.003)
    assert_never_more(shots, 50, 1.0)
    assert_no_false_refusals(shots, 50, 1.0, slack=0.05)
    assert len(admitted(shots)) >= 180


def test_window_slides_over_two_weirs(pair):
    one, two = pair(requests=20, window="2s")
    began = time.monotonic()
    first = volley([one.port], 10, CLIENT, threads=4)
    time.sleep(max(0.0, began + 0.8 - time.monotonic()))
    second = volley([two.port], 15, CLIENT, threads=4)
    assert (len(admitted(first)), len(admitted(second))) == (10, 10)
    time.sleep(max(0.0, max(s.got for s in first) + 2.0 - time.monotonic()))
    third = volley(ports([one, two]), 20, CLIENT, threads=4)
    if max(s.got for s in third) < min(s.sent for s in second) + 2.0:
        assert len(admitted(third)) == 10
    assert_never_more(first + second + third, 20, 2.0)
    assert_no_false_refusals(first + second + third, 20, 2.0, slack=0.05)


def test_retry_after_is_honoured_to_the_moment(pair):
    one, two = pair(requests=10, window="1900ms")
    assert len(admitted(volley([one.port], 10, CLIENT, threads=1))) == 10
    res = two.get(xff=CLIENT)
    answered = time.monotonic()
    assert res.status == 429 and int(res.one("Retry-After")) == 2
    state = two.client_state(CLIENT)
    asked = time.monotonic()
    assert 0 < state["retry_after_ms"] <= 1900 and state["source"] == "redis"
    assert two.get(xff=CLIENT).status == one.get(xff=CLIENT).status == 429
    time.sleep(max(0.0, asked + state["retry_after_ms"] / 1000 + 0.003 - time.monotonic()))
    assert one.get(xff=CLIENT).status == 200, "the moment that was told did not hold"
    time.sleep(max(0.0, answered + 2 - time.monotonic()))
    assert two.get(xff=CLIENT).status == 200


def test_never_early(pair):
    """Nobody is admitted before the oldest admission left the window, however often they ask."""
    one, two = pair(requests=5, window="1s")
    first = volley([one.port], 5, CLIENT, threads=1)
    oldest = min(s.sent for s in first)
    shots = barrage(ports([one, two]), CLIENT, threads=4, seconds=1.6)
    again = admitted(shots)
    assert again and min(s.got for s in again) >= oldest + 1.0


# Cheap

def test_a_flood_costs_redis_nothing(pair, redis):
    one, two = pair(requests=20)
    assert len(admitted(volley(ports([one, two]), 60, CLIENT, threads=4))) == 20
    volley(ports([one, two]), 40, CLIENT, threads=8)    # now every worker has heard of the refusal
    before = redis.decisions()
    shots = volley(ports([one, two]), 3000, CLIENT, threads=8)
    assert len(refused(shots)) == 3000
    assert redis.decisions() - before <= 2


def test_one_decision_serves_requests_that_wait_together(pair, redis):
    one, _ = pair(requests=100000)
    before = redis.decisions()
    shots = barrage([one.port], CLIENT, threads=32, count=2000)
    assert len(admitted(shots)) == 2000
    assert redis.decisions() - before <= 2000
    assert one.client_state(CLIENT)["used"] == 2000


def test_keys_bear_the_prefix_and_expire(pair, redis):
    one, _ = pair(requests=5, window="20s", prefix="shop:")
    one.get(xff=CLIENT)
    keys = redis.cli("--scan").split()
    assert keys and all(k.startswith("shop:") for k in keys)
    mine = [k for k in keys if CLIENT in k]
    assert mine and all(0 < int(redis.cli("PTTL", k)) <= 100000 for k in mine)
    assert all("{" in k for k in mine), "the client is the hash tag"


def test_prefixes_keep_environments_apart(start, origin, redis):
    a = start(config(origin, redis, requests=3, prefix="a:"))
    b = start(config(origin, redis, requests=3, prefix="b:"))
    assert [a.get(xff=CLIENT).status for _ in range(4)] == [200] * 3 + [429]
    assert [b.get(xff=CLIENT).status for _ in range(4)] == [200] * 3 + [429]


# Policies

def test_all_or_nothing_over_two_weirs(pair):
    weirs = pair(policies={"default": {"requests": 30, "window": "60s"}, "login": {"requests": 5, "window": "60s"}},
                 sites=[{"hosts": ["*"], "upstream": "main", "paths": [{"prefix": "/login", "rate_limit": "login"}]}])
    shots = volley(ports(weirs), 40, CLIENT, target="/login", threads=8)
    assert len(admitted(shots)) == 5
    now, policy = rate_limit_fields(shots[0].res)
    assert set(now) == {"default", "login"} and policy["login"] == {"q": 5, "w": 60}
    shots = volley(ports(weirs), 40, CLIENT, target="/", threads=8)
    assert len(admitted(shots)) == 25, "a refusal by login used something of default"


def test_shadow_and_exempt_and_for(start, origin, redis):
    c = config(origin, redis, policies={"default": {"requests": 5, "window": "60s", "for": {"vpn": 12}},
                                        "quiet": {"requests": 2, "window": "60s", "mode": "shadow"}},
               sites=[{"hosts": ["quiet.example"], "upstream": "main", "rate_limit": "quiet"},
                      {"hosts": ["*"], "upstream": "main"}], limit={"exempt": ["office"]})
    c["networks"] = {"vpn": ["198.51.100.0/24"], "office": ["192.0.2.0/24"]}
    weir = start(c)
    wait_store(weir)
    assert len(admitted(volley([weir.port], 20, CLIENT, threads=4))) == 5
    assert len(admitted(volley([weir.port], 20, "198.51.100.1", threads=4))) == 12
    before = redis.decisions()
    shots = volley([weir.port], 20, "192.0.2.1", threads=4)
    assert len(admitted(shots)) == 20 and not shots[0].res.get_all("RateLimit")
    assert redis.decisions() == before, "exempt clients cost Redis nothing"
    assert len(admitted(volley([weir.port], 10, CLIENT, host="quiet.example", threads=2))) == 10
    assert weir.metric("weir_shadow_refusals_total") == 8


def test_the_busiest_tell_how_often_they_were_refused(start, origin, redis):
    """By Redis, by the table that remembers what Redis said, and in shadow, where nobody is refused."""
    weir = start(config(origin, redis, policies={"default": {"requests": 5, "window": "60s"},
                                                 "quiet": {"requests": 2, "window": "60s", "mode": "shadow"}},
                        sites=[{"hosts": ["quiet.example"], "upstream": "main", "rate_limit": "quiet"},
                               {"hosts": ["*"], "upstream": "main"}]))
    wait_store(weir)
    volley([weir.port], 12, CLIENT, threads=1)
    volley([weir.port], 6, "198.51.100.1", host="quiet.example", threads=1)
    rows = {row["client"]: row for row in weir.ctl("clients", "top", "-n", "10", json=True)["clients"]}
    assert (rows[CLIENT]["used"], rows[CLIENT]["refused"]) == (5, 7)
    assert (rows["198.51.100.1"]["used"], rows["198.51.100.1"]["refused"]) == (2, 4)


def test_lowered_limit_holds_for_what_was_admitted(start, origin, redis):
    c = config(origin, redis, requests=10)
    weir = start(c)
    wait_store(weir)
    assert len(admitted(volley([weir.port], 8, CLIENT, threads=1))) == 8
    weir.reload(config(origin, redis, requests=6))
    wait_store(weir)
    assert weir.get(xff=CLIENT).status == 429
    weir.reload(config(origin, redis, requests=9))
    wait_store(weir)
    assert [weir.get(xff=CLIENT).status for _ in range(2)] == [200, 429]


def test_a_reload_under_load_keeps_the_count(start, origin, redis):
    """A new worker decides nothing on its own while Redis answers."""
    c = config(origin, redis, requests=300)
    weir = start(c)
    wait_store(weir)
    shots, stop = [], threading.Event()

    def load():
        while not stop.is_set():
            shots.extend(volley([weir.port], 20, CLIENT, threads=2))
    thread = threading.Thread(target=load)
    thread.start()
    try:
        for i in range(3):
            c["caps"] = {"headers": 80 + i}
            weir.reload(c)
    finally:
        wait_for(lambda: len(refused(shots)) > 20, 10)
        stop.set()
        thread.join()
    assert len(admitted(shots)) == 300
    assert weir.client_state(CLIENT)["used"] == 300


# Faults: never a 5xx, never long

def timed(weir, n, xff=CLIENT):
    took, statuses = [], []
    with weir.client() as c:
        for _ in range(n):
            began = time.monotonic()
            statuses.append(c.request("GET", "/", [("X-Forwarded-For", xff)]).status)
            took.append(time.monotonic() - began)
    return statuses, took


def test_redis_killed_and_back(pair, redis):
    one, two = pair(requests=20, timeout="100ms")
    assert len(admitted(volley([one.port], 5, CLIENT, threads=1))) == 5
    redis.kill()
    statuses, took = timed(one, 30, "203.0.113.7")
    assert set(statuses) <= {200, 429} and 429 in statuses
    assert max(took) < 0.1 + SLACK
    # the local share: this weir's part of the limit, never more than the limit over both
    statuses_two, _ = timed(two, 30, "203.0.113.7")
    assert set(statuses_two) <= {200, 429}
    assert statuses.count(200) + statuses_two.count(200) <= 20
    assert statuses.count(200) >= 10
    wait_store(one, good=False)
    assert one.metric("weir_store_failures_total") >= 1
    redis.start()
    wait_store(one, timeout=10)
    wait_store(two, timeout=10)
    shots = volley(ports([one, two]), 60, "203.0.113.8", threads=8)
    assert len(admitted(shots)) == 20, "exact again"
    assert "store" in one.ctl("events").lower() or "redis" in one.ctl("events").lower()


def test_redis_frozen_answers_within_the_timeout(pair, redis):
    one, _ = pair(requests=1000, timeout="100ms")
    assert one.get(xff=CLIENT).status == 200
    redis.freeze()
    try:
        statuses, took = timed(one, 40)
        assert set(statuses) == {200}
        assert max(took) < 0.1 + SLACK
        assert sum(t >= 0.1 for t in took) <= 10, "the breaker stops asking"
    finally:
        redis.thaw()
    wait_store(one, timeout=10)
    assert one.get(xff=CLIENT).status == 200
    res = one.wait_log(lambda e: e["source"] == "local")
    assert res


def test_thawed_redis_spends_nothing_on_what_was_decided(pair, redis):
    one, two = pair(requests=30, timeout="50ms")
    one.get(xff="203.0.113.50")
    redis.freeze()
    try:
        statuses, _ = timed(one, 5)
        assert statuses == [200] * 5
        time.sleep(0.3)    # the deadline that the questions carry must be over when Redis wakes
    finally:
        redis.thaw()
    wait_store(one, timeout=10)
    # what was decided meanwhile is carried, and nothing else is counted
    wait_for(lambda: two.client_state(CLIENT)["used"] == 5, 10)
    time.sleep(0.3)
    assert two.client_state(CLIENT)["used"] == 5


def test_weir_starts_without_redis(start, origin, redis):
    redis.kill()
    weir = start(config(origin, redis, requests=10, timeout="50ms"))
    statuses, took = timed(weir, 15)
    assert set(statuses) <= {200, 429} and statuses[0] == 200
    assert max(took) < 0.05 + SLACK
    redis.start()
    wait_store(weir, timeout=10)
    assert len(admitted(volley([weir.port], 30, "203.0.113.9", threads=4))) == 10


@pytest.mark.parametrize("on_failure, wanted", [("allow", {200}), ("deny", {429})])
def test_on_failure(start, origin, redis, on_failure, wanted):
    weir = start(config(origin, redis, requests=5, timeout="50ms", on_failure=on_failure))
    wait_store(weir)
    assert weir.get(xff=CLIENT).status == 200
    redis.kill()
    wait_store(weir, good=False)
    statuses, _ = timed(weir, 20, "203.0.113.3")
    assert set(statuses) == wanted


def test_local_window_starts_from_what_redis_said(start, origin, redis):
    weir = start(config(origin, redis, requests=10, timeout="50ms"))
    wait_store(weir)
    statuses, _ = timed(weir, 8)
    assert statuses == [200] * 8
    redis.kill()
    wait_store(weir, good=False)
    statuses, _ = timed(weir, 10)
    assert statuses.count(200) <= 2


@pytest.mark.parametrize("args, config_more, word", [
    (["--requirepass", "right"], {"password": "wrong"}, "password|auth|WRONGPASS"),
    (["--requirepass", "right"], {}, "password|auth"),
])
def test_wrong_password_is_said_loudly_and_harms_nobody(start, origin, closing, args, config_more, word):
    from weirlib import RedisServer
    redis = closing.add(RedisServer(args=args))
    weir = start(config(origin, redis, requests=10, timeout="50ms", **config_more))
    statuses, took = timed(weir, 15)
    assert set(statuses) <= {200, 429} and statuses[0] == 200 and max(took) < 0.05 + SLACK
    weir.wait_own_log(word)


def test_right_password_from_the_environment(start, origin, closing):
    from weirlib import RedisServer
    redis = closing.add(RedisServer(args=["--requirepass", "open-sesame"]))
    weir = start(config(origin, redis, requests=10, password="${REDIS_PASSWORD}"), env={"REDIS_PASSWORD": "open-sesame"})
    wait_store(weir)
    assert len(admitted(volley([weir.port], 20, CLIENT, threads=2))) == 10
    for text in (weir.stderr(), weir.ctl("config", "show"), weir.metrics_text(), weir.ctl("status")):
        assert "open-sesame" not in text


@pytest.mark.parametrize("setup", [
    ["CONFIG", "SET", "maxmemory", "1"],
    ["CONFIG", "SET", "min-replicas-to-write", "3"],
    ["REPLICAOF", "127.0.0.1", "1"],
], ids=["out of memory", "too few replicas", "read-only"])
def test_redis_that_refuses_writes(start, origin, redis, setup):
    weir = start(config(origin, redis, requests=10, timeout="100ms"))
    wait_store(weir)
    redis.cli(*setup)
    statuses, took = timed(weir, 20)
    assert set(statuses) <= {200, 429} and statuses[0] == 200 and 429 in statuses
    assert max(took) < 0.1 + SLACK
    assert weir.metric("weir_store_failures_total") >= 1


@pytest.mark.parametrize("name, value", [("maxmemory", "1"), ("min-replicas-to-write", "3")])
def test_writes_that_are_taken_again_are_noticed_without_requests(start, origin, redis, name, value):
    """Each worker finds out by a write of its own."""
    weir = start(config(origin, redis, requests=10, timeout="50ms"))
    wait_store(weir)
    redis.cli("CONFIG", "SET", name, value)

    def opened():
        weir.get(xff="203.0.113.99")
        return weir.metric("weir_store_state", state="ready") == 0
    wait_for(opened, 15)
    redis.cli("CONFIG", "SET", name, "0")
    wait_store(weir)
    weir.wait_own_log("store .* -> ready: it takes writes again")
    assert len(admitted(volley([weir.port], 20, CLIENT, threads=4))) == 10 and redis.decisions() > 0


def test_keys_of_another_kind_are_no_outage(start, origin, redis):
    """Somebody wrote a string where a client's list should be."""
    weir = start(config(origin, redis, requests=10))
    wait_store(weir)
    weir.get(xff=CLIENT)
    for key in redis.cli("--scan").split():
        if CLIENT in key:
            redis.cli("SET", key, "nonsense")
    statuses, _ = timed(weir, 5)
    assert set(statuses) <= {200, 429}
    assert timed(weir, 3, "203.0.113.77")[0] == [200] * 3


def test_scripts_flushed_are_loaded_again(start, origin, redis):
    weir = start(config(origin, redis, requests=10))
    wait_store(weir)
    assert weir.get(xff=CLIENT).status == 200
    redis.cli("SCRIPT", "FLUSH")
    assert len(admitted(volley([weir.port], 30, CLIENT, threads=4))) == 9


def test_unix_socket(start, origin, closing):
    import os
    from weirlib import RedisServer
    path = "/tmp/weir-edge-redis-%d.sock" % os.getpid()
    redis = closing.add(RedisServer(args=["--unixsocket", path, "--unixsocketperm", "777"]))
    c = config(origin, redis, requests=10)
    c["rate_limit"]["redis"]["url"] = "unix://" + path
    weir = start(c)
    wait_store(weir)
    assert len(admitted(volley([weir.port], 30, CLIENT, threads=4))) == 10
    assert redis.decisions() > 0


def test_the_log_says_where_the_decision_came_from(start, origin, redis):
    weir = start(config(origin, redis, requests=2))
    wait_store(weir)
    for _ in range(3):
        weir.get(xff=CLIENT)
    entries = weir.wait_log(lambda e: e["ip"] == CLIENT, 3)
    assert sorted((e["limit"], e["policy"]) for e in entries) == [("limited", "default")] + [("ok", "default")] * 2
    assert {e["source"] for e in entries if e["limit"] == "ok"} == {"redis"}
