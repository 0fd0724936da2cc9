# SPDX-License-Identifier: MIT
"""The limit with the memory store: exact over the workers of one weir."""
import math
import re
import time

import pytest

from weirlib import base_config, http, wait_for
from weirlib.limits import (admitted, assert_never_more, assert_no_false_refusals, barrage, rate_limit_fields, refused,
                            volley)


def limits(origin, requests=10, window="60s", sites=None, workers=2, policies=None, **more):
    return base_config(origin, workers=workers, rate_limit=dict(
        {"policies": policies or {"default": {"requests": requests, "window": window}}}, **more),
        sites=sites or [{"hosts": ["*"], "upstream": "main"}])


def test_exactly_the_limit_is_admitted_across_workers(start, origin):
    weir = start(limits(origin, 100))
    shots = volley([weir.port], 300, "203.0.113.1", threads=32)
    assert len(admitted(shots)) == 100 and len(refused(shots)) == 200
    assert len(origin.requests) == 100
    assert weir.get(xff="203.0.113.2").status == 200


def test_no_window_holds_more_and_none_is_refused_early(start, origin):
    weir = start(limits(origin, 40, "1s"))
    shots = barrage([weir.port], "203.0.113.1", threads=8, seconds=3.5, pause=0.004)
    assert_never_more(shots, 40, 1.0)
    assert_no_false_refusals(shots, 40, 1.0)
    assert len(admitted(shots)) >= 120


def test_window_slides(start, origin):
    """Two bursts a third of a window apart: what frees is the first, when its own window is over, and no more."""
    weir = start(limits(origin, 20, "1500ms"))
    began = time.monotonic()
    first = volley([weir.port], 10, "203.0.113.1", threads=4)
    time.sleep(max(0.0, began + 0.6 - time.monotonic()))
    second = volley([weir.port], 20, "203.0.113.1", threads=4)
    assert len(admitted(first)) == 10 and len(admitted(second)) == 10
    time.sleep(max(0.0, max(s.got for s in first) + 1.5 - time.monotonic()))
    third = volley([weir.port], 20, "203.0.113.1", threads=4)
    if max(s.got for s in third) < min(s.sent for s in second) + 1.5:
        assert len(admitted(third)) == 10
    assert_never_more(first + second + third, 20, 1.5)
    assert_no_false_refusals(first + second + third, 20, 1.5)


def test_refusal_says_all_it_should(start, origin):
    weir = start(limits(origin, 3, "30s"))
    for left in (2, 1, 0):
        res = weir.get(xff="203.0.113.1")
        now, policy = rate_limit_fields(res)
        assert policy["default"]["q"] == 3 and policy["default"]["w"] == 30
        assert now["default"]["r"] == left
    res = weir.get(xff="203.0.113.1")
    assert res.status == 429
    assert re.fullmatch(r"\d+", res.one("Retry-After")) and 28 <= int(res.one("Retry-After")) <= 30
    now, policy = rate_limit_fields(res)
    assert now["default"]["r"] == 0 and 28 <= now["default"]["t"] <= 30
    assert res.one("Content-Type") == "application/problem+json"
    body = res.json()
    assert body["status"] == 429 and res.one("X-Request-Id") in res.text()


def test_retry_after_is_true_to_the_moment(start, origin):
    weir = start(limits(origin, 5, "1900ms"))
    for _ in range(5):
        assert weir.get(xff="203.0.113.1").status == 200
    res = weir.get(xff="203.0.113.1")
    answered = time.monotonic()
    state = weir.client_state("203.0.113.1")
    asked = time.monotonic()
    assert res.status == 429 and int(res.one("Retry-After")) == 2
    assert 0 < state["retry_after_ms"] <= 1900
    assert math.ceil(state["retry_after_ms"] / 1000) <= int(res.one("Retry-After"))
    time.sleep(max(0.0, asked + state["retry_after_ms"] / 1000 + 0.002 - time.monotonic()))
    assert weir.get(xff="203.0.113.1").status == 200, "the moment that was told did not hold"
    time.sleep(max(0.0, answered + 2 - time.monotonic()))
    assert weir.get(xff="203.0.113.1").status == 200


def test_refused_requests_do_not_count(start, origin):
    weir = start(limits(origin, 5, "1s"))
    for _ in range(5):
        assert weir.get(xff="203.0.113.1").status == 200
    end = time.monotonic() + 0.7
    while time.monotonic() < end:
        weir.get(xff="203.0.113.1")
    wait_for(lambda: weir.get(xff="203.0.113.1").status == 200, 15, "a client that keeps knocking is admitted")


@pytest.mark.parametrize("path", ["/status/500", "/status/404", "/bytes/1"])
def test_what_the_origin_answers_does_not_matter(start, origin, path):
    weir = start(limits(origin, 2))
    assert weir.get(path, xff="203.0.113.1").status == weir.get(path, xff="203.0.113.1").status
    assert weir.get(path, xff="203.0.113.1").status == 429


# Policies

def policies_config(origin):
    return limits(origin, policies={"default": {"requests": 10, "window": "60s"},
                                    "login": {"requests": 3, "window": "60s"},
                                    "extra": {"requests": 5, "window": "30s"}},
                  sites=[{"hosts": ["a.example", "b.example"], "upstream": "main", "paths": [
                      {"prefix": "/login", "rate_limit": "login"}, {"prefix": "/static/", "rate_limit": "off"}]},
                      {"hosts": ["c.example"], "upstream": "main", "rate_limit": "default"},
                      {"hosts": ["d.example"], "upstream": "main", "rate_limit": "off"},
                      {"hosts": ["e.example"], "upstream": "main", "rate_limit": "extra"}])


def test_sites_with_one_policy_share_its_window(start, origin):
    weir = start(policies_config(origin))
    for host in ("a.example", "b.example", "c.example"):
        for _ in range(3):
            assert weir.get(host=host, xff="203.0.113.1").status == 200
    assert weir.get(host="c.example", xff="203.0.113.1").status == 200
    for host in ("a.example", "b.example", "c.example"):
        assert weir.get(host=host, xff="203.0.113.1").status == 429
    assert weir.get(host="e.example", xff="203.0.113.1").status == 200


def test_off_limits_nobody_and_says_nothing(start, origin):
    weir = start(policies_config(origin))
    for _ in range(30):
        res = weir.get(host="d.example", xff="203.0.113.1")
        assert res.status == 200 and not res.get_all("RateLimit") and not res.get_all("RateLimit-Policy")
    for _ in range(30):
        assert weir.get("/static/x.css", host="a.example", xff="203.0.113.1").status == 200


@pytest.mark.parametrize("path", ["/static/../x", "/static/%2e%2e/x", "/static\\..\\x", "//static//..//x"])
def test_off_holds_only_where_every_reading_falls_under_it(start, origin, path):
    weir = start(policies_config(origin))
    statuses = [weir.get(path, host="a.example", xff="203.0.113.1").status for _ in range(12)]
    assert statuses == [200] * 10 + [429] * 2


@pytest.mark.parametrize("path", ["/login", "/%6cogin", "//login", "/x/../login", "/LOGIN", "/login;x"])
def test_a_tightening_rule_holds_in_any_reading(start, origin, path):
    weir = start(policies_config(origin))
    statuses = [weir.get(path, host="a.example", xff="203.0.113.1").status for _ in range(5)]
    assert statuses == [200] * 3 + [429] * 2


def test_all_policies_admit_or_none_is_charged(start, origin):
    weir = start(policies_config(origin))
    res = weir.get("/login", host="a.example", xff="203.0.113.1")
    now, policy = rate_limit_fields(res)
    assert set(now) == set(policy) == {"default", "login"}
    assert now["default"]["r"] == 9 and now["login"]["r"] == 2
    for _ in range(2):
        assert weir.get("/login", host="a.example", xff="203.0.113.1").status == 200
    for _ in range(20):    # refused by login: nothing of default may be used up
        assert weir.get("/login", host="a.example", xff="203.0.113.1").status == 429
    assert weir.client_state("203.0.113.1", "default")["used"] == 3
    for _ in range(7):
        assert weir.get("/", host="a.example", xff="203.0.113.1").status == 200
    assert weir.get("/", host="a.example", xff="203.0.113.1").status == 429
    assert weir.client_state("203.0.113.1", "login")["used"] == 3


def test_more_for_a_network(start, origin):
    config = limits(origin, policies={"default": {"requests": 3, "window": "60s", "for": {"vpn": 8}}})
    config["networks"] = {"vpn": ["198.51.100.0/24"]}
    weir = start(config)
    assert [weir.get(xff="198.51.100.7").status for _ in range(9)] == [200] * 8 + [429]
    assert [weir.get(xff="203.0.113.1").status for _ in range(4)] == [200] * 3 + [429]
    assert rate_limit_fields(weir.get(xff="198.51.100.8"))[1]["default"]["q"] == 8


def test_exempt_is_not_limited_and_told_nothing(start, origin):
    config = limits(origin, 2, exempt=["office"])
    config["networks"] = {"office": ["203.0.113.0/24"]}
    weir = start(config)
    for _ in range(10):
        res = weir.get(xff="203.0.113.1")
        assert res.status == 200 and not res.get_all("RateLimit")
    wait_for(lambda: weir.metric("weir_requests_total", verdict="exempt") == 10, 15)
    weir.wait_log(lambda e: e["limit"] == "exempt", 10)


def test_shadow_counts_and_refuses_nobody(start, origin):
    weir = start(limits(origin, policies={"default": {"requests": 3, "window": "60s", "mode": "shadow"}}))
    for _ in range(10):
        assert weir.get(xff="203.0.113.1").status == 200
    assert weir.metric("weir_shadow_refusals_total") == 7
    assert len(weir.wait_log(lambda e: e["limit"] == "shadow", 7)) == 7
    assert weir.client_state("203.0.113.1")["used"] == 3


def test_legacy_headers(start, origin):
    weir = start(limits(origin, 2, headers="legacy"))
    res = weir.get(xff="203.0.113.1")
    assert res.one("X-RateLimit-Limit") == "2" and res.one("X-RateLimit-Remaining") == "1"
    assert int(res.one("X-RateLimit-Reset")) > 0
    assert not res.get_all("RateLimit")
    weir.get(xff="203.0.113.1")
    res = weir.get(xff="203.0.113.1")
    assert res.status == 429 and res.one("X-RateLimit-Remaining") == "0" and res.one("Retry-After")


def test_headers_off(start, origin):
    weir = start(limits(origin, 1, headers="off"))
    assert not [n for n, _ in weir.get(xff="203.0.113.1").headers if "ratelimit" in n.lower()]
    res = weir.get(xff="203.0.113.1")
    assert res.status == 429 and res.one("Retry-After")
    assert not [n for n, _ in res.headers if "ratelimit" in n.lower()]


def test_origin_cannot_speak_for_the_limit(start, origin):
    """A RateLimit header of the origin must not stand beside weir's own."""
    weir = start(limits(origin, 5))
    res = weir.get("/respond-with?h=RateLimit:%22x%22;r=1&h=RateLimit-Policy:%22x%22;q=1", xff="203.0.113.1")
    assert len(res.get_all("RateLimit")) == 1 and '"default"' in res.one("RateLimit")


# Clients and crowds

def test_many_clients_each_have_their_own_window(start, origin):
    weir = start(limits(origin, 2))
    with weir.client() as c:
        for round_ in range(3):
            for i in range(500):
                res = c.request("GET", "/", [("X-Forwarded-For", "10.1.%d.%d" % (i // 250, i % 250))])
                assert res.status == (200 if round_ < 2 else 429)


def test_refusals_keep_the_connection(start, origin):
    weir = start(limits(origin, 1))
    with weir.client() as c:
        for i in range(50):
            res = c.request("POST", "/", [("X-Forwarded-For", "203.0.113.1")], body=b"x" * 100)
            assert res.status == (200 if i == 0 else 429) and not res.closes()
    assert len(origin.requests) == 1


def test_limit_of_one_and_limit_of_many(start, origin):
    weir = start(limits(origin, policies={"default": {"requests": 1, "window": "1s"},
                                          "huge": {"requests": 100000, "window": "60s"}},
                        sites=[{"hosts": ["one.example"], "upstream": "main"},
                               {"hosts": ["huge.example"], "upstream": "main", "rate_limit": "huge"}]))
    shots = barrage([weir.port], "203.0.113.1", host="one.example", threads=4, seconds=2.8)
    assert_never_more(shots, 1, 1.0)
    assert len(admitted(shots)) == 3
    shots = volley([weir.port], 2000, "203.0.113.1", host="huge.example")
    assert len(admitted(shots)) == 2000
    assert weir.client_state("203.0.113.1", "huge")["used"] == 2000


def test_health_check_is_never_limited(start, origin):
    weir = start(limits(origin, 1))
    for _ in range(20):
        assert http(weir.port, "/healthz", source="127.0.0.44").status == 200
    assert weir.get(source="127.0.0.44").status == 200
    assert weir.get(source="127.0.0.44").status == 429


def test_windows_live_through_a_reload(start, origin):
    config = limits(origin, 5)
    weir = start(config)
    for _ in range(4):
        assert weir.get(xff="203.0.113.1").status == 200
    config["log"] = {"level": "debug"}
    weir.reload(config)
    assert weir.get(xff="203.0.113.1").status == 200
    assert weir.get(xff="203.0.113.1").status == 429
    config["rate_limit"]["policies"] = {"another": {"requests": 9, "window": "10s"},
                                        "default": {"requests": 7, "window": "60s"}}
    weir.reload(config)    # keyed by name, not by place; a higher limit goes on from what was used
    assert [weir.get(xff="203.0.113.1").status for _ in range(3)] == [200, 200, 429]
