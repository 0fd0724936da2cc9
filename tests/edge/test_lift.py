# SPDX-License-Identifier: MIT
"""The lift: by scope, for a time, everywhere at once, and never for longer than was said."""
import re
import time

import pytest

from weirlib import base_config, wait_for
from weirlib.limits import admitted, refused, volley

CLIENT, OTHER = "203.0.113.1", "198.51.100.1"
SITES = [{"hosts": ["api.example"], "upstream": "main"}, {"hosts": ["*"], "upstream": "main"}]


def memory(origin, requests=3, window="60s", **more):
    return base_config(origin, sites=SITES, rate_limit=dict({"policies": {"default": {
        "requests": requests, "window": window}}}, **more))


def shared_store(origin, redis, requests=3, window="60s", **more):
    return base_config(origin, sites=SITES, rate_limit=dict({
        "store": "redis", "redis": {"url": redis.url, "timeout": "2s"},
        "policies": {"default": {"requests": requests, "window": window}}}, **more))


def spend(weir, n=3, xff=CLIENT, host="test.example"):
    assert [weir.get(xff=xff, host=host).status for _ in range(n + 1)] == [200] * n + [429]


def statuses(weir, n=5, xff=CLIENT, host="test.example"):
    return [weir.get(xff=xff, host=host).status for _ in range(n)]


def lifts(weir):
    return weir.ctl("limits", "status", json=True)["lifts"]


# One weir

def test_lift_and_restore(start, origin):
    weir = start(memory(origin))
    spend(weir)
    said = weir.lift("--everyone", reason="the drill")
    assert re.search(r"lifted on 1 of 1 weirs until .* \(id (\w+)\)", said)
    shots = volley([weir.port], 50, CLIENT, threads=4)
    assert len(admitted(shots)) == 50 and not shots[0].res.get_all("RateLimit")
    (lift,) = lifts(weir)
    assert lift["reason"] == "the drill" and lift["clients"] == [] and lift["sites"] == [] and lift["shadow"] is False
    assert 290 <= lift["remaining_s"] <= 300 and lift["id"] in said
    assert weir.metric("weir_lift_active") == 1
    weir.ctl("limits", "restore", lift["id"])
    assert weir.get(xff=CLIENT).status == 429, "what was admitted before the lift still counts"
    assert lifts(weir) == [] and weir.metric("weir_lift_active") == 0


def test_what_was_admitted_under_a_lift_never_counts(start, origin):
    weir = start(memory(origin))
    weir.lift("--everyone")
    assert statuses(weir, 20) == [200] * 20
    weir.ctl("limits", "restore")
    assert weir.client_state(CLIENT)["used"] == 0
    spend(weir)


def test_lift_ends_by_itself(start, origin):
    weir = start(memory(origin))
    spend(weir)
    began = time.monotonic()
    weir.lift("--everyone", minutes="2s")
    lifted = time.monotonic()
    assert statuses(weir) == [200] * 5
    wait_for(lambda: weir.get(xff=CLIENT).status == 429, 15, "the lift ended")
    assert 1.9 < time.monotonic() - began and time.monotonic() - lifted < 5
    assert lifts(weir) == []


def test_scope_of_clients(start, origin):
    weir = start(memory(origin))
    weir.lift("--client", "203.0.113.0/24", "--client", "2001:db8::/32")
    assert statuses(weir, 10) == [200] * 10
    assert statuses(weir, 10, "2001:db8::5") == [200] * 10
    spend(weir, xff=OTHER)
    assert sorted(lifts(weir)[0]["clients"]) == ["2001:db8::/32", "203.0.113.0/24"]


def test_scope_of_sites(start, origin):
    weir = start(memory(origin))
    weir.lift("--site", "api.example")
    assert statuses(weir, 10, host="api.example") == [200] * 10
    spend(weir)
    assert lifts(weir)[0]["sites"] == ["api.example"]


def test_scope_of_both_is_where_they_meet(start, origin):
    weir = start(memory(origin))
    weir.lift("--client", "203.0.113.0/24", "--site", "api.example")
    assert statuses(weir, 10, host="api.example") == [200] * 10
    spend(weir)
    spend(weir, xff=OTHER, host="api.example")


def test_lifts_stand_side_by_side(start, origin):
    weir = start(memory(origin))
    weir.lift("--client", "203.0.113.0/24", reason="one")
    weir.lift("--client", "198.51.100.0/24", reason="two")
    one, two = sorted(lifts(weir), key=lambda l: l["reason"])
    assert one["id"] != two["id"]
    weir.ctl("limits", "restore", one["id"])
    spend(weir)
    assert statuses(weir, 10, OTHER) == [200] * 10
    weir.ctl("limits", "restore")
    assert lifts(weir) == []
    spend(weir, xff=OTHER)


def test_shadow_lift_counts_and_refuses_nobody(start, origin):
    weir = start(memory(origin))
    weir.lift("--everyone", "--shadow")
    assert statuses(weir, 10) == [200] * 10
    assert weir.metric("weir_shadow_refusals_total") == 7
    assert lifts(weir)[0]["shadow"] is True
    weir.ctl("limits", "restore")
    assert weir.get(xff=CLIENT).status == 429


def test_lift_is_in_the_access_log(start, origin):
    weir = start(memory(origin))
    weir.lift("--everyone")
    (lift,) = lifts(weir)
    weir.get(xff=CLIENT)
    (entry,) = weir.wait_log(lambda e: e["ip"] == CLIENT)
    assert entry["limit"] == "lifted" and entry["lift"] == lift["id"]
    assert weir.metric("weir_requests_total", verdict="lifted") == 1


def test_lift_lives_through_a_reload_and_a_dead_worker(start, origin):
    import os
    import signal
    weir = start(memory(origin), expect_crash=True)
    weir.lift("--everyone")
    weir.reload()
    assert statuses(weir, 10) == [200] * 10
    for pid in weir.workers():
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: healthy(weir), 15)
    assert statuses(weir, 10) == [200] * 10
    os.kill(weir.control(), signal.SIGKILL)
    wait_for(lambda: weir.run_ctl("limits", "status").returncode == 0, 15)
    assert len(lifts(weir)) == 1
    assert statuses(weir, 10) == [200] * 10


def healthy(weir):
    try:
        return weir.get("/healthz").status == 200
    except (OSError, AssertionError):
        return False


def test_whoever_lifted_is_logged(start, origin):
    import os
    weir = start(memory(origin))
    weir.lift("--everyone", "--by", "ann", reason="drill 7")
    (lift,) = lifts(weir)
    assert lift["by"] == "ann" and lift["uid"] == os.getuid()
    weir.wait_own_log("drill 7")
    line = [e for e in weir.own_log() if "drill 7" in str(e)][0]
    assert "ann" in str(line) and re.search(r"uid\W+%d\b" % os.getuid(), str(line))
    assert "drill 7" in weir.ctl("events")
    weir.ctl("limits", "restore", lift["id"], env={"WEIR_BY": "bob"})
    weir.wait_own_log("bob")


@pytest.mark.parametrize("args, words", [
    (["--reason", "x", "--everyone"], "--for"),
    (["--for", "5m", "--everyone"], "--reason"),
    (["--for", "5m", "--reason", "", "--everyone"], "reason"),
    (["--for", "5m", "--reason", "x"], "--everyone|--client|--site|scope"),
    (["--for", "5", "--reason", "x", "--everyone"], "unit|expected a duration"),
    (["--for", "5x", "--reason", "x", "--everyone"], "unit|ms, s, m|duration"),
    (["--for", "0s", "--reason", "x", "--everyone"], "for|above 0|at least"),
    (["--for", "-5m", "--reason", "x", "--everyone"], "for"),
    (["--for", "5h", "--reason", "x", "--everyone"], "4h|max_lift"),
    (["--for", "99999999999h", "--reason", "x", "--everyone"], "4h|max_lift|large|for"),
    (["--for", "5m", "--reason", "x", "--site", "nowhere.example.org"], "nowhere.example.org"),
    (["--for", "5m", "--reason", "x", "--client", "203.0.113.0/33"], "203.0.113.0/33"),
    (["--for", "5m", "--reason", "x", "--client", "host.name"], "host.name"),
    (["--for", "5m", "--reason", "x", "--everyone", "--client", "203.0.113.0/24"], "everyone"),
])
def test_refused_lifts(strict, args, words):
    run = strict.run_ctl("limits", "lift", *args)
    assert run.returncode in (1, 2), run
    assert re.search(words, run.stdout + run.stderr), run
    assert lifts(strict) == []


@pytest.fixture(scope="module")
def strict(module_start):
    return module_start(base_config(sites=[{"hosts": ["api.example", "shop.example"], "upstream": "main"}],
                                    rate_limit={"policies": {"default": {"requests": 3, "window": "60s"}}, "max_lift": "4h"}))


def test_max_lift_is_the_configs(start, origin):
    weir = start(memory(origin, max_lift="10s"))
    run = weir.run_ctl("limits", "lift", "--for", "11s", "--reason", "x", "--everyone")
    assert run.returncode == 1 and "10s" in run.stdout + run.stderr
    weir.lift("--everyone", minutes="10s")


def test_restore_of_what_is_not_there(start, origin):
    weir = start(memory(origin))
    run = weir.run_ctl("limits", "restore", "ffff")
    assert run.returncode == 1 and "ffff" in run.stdout + run.stderr


# Two weirs on one Redis

def fleet(weir):
    return weir.ctl("fleet", json=True)["weirs"]


@pytest.fixture
def pair(start, origin, redis):
    def make(**kw):
        weirs = [start(shared_store(origin, redis, **kw)), start(shared_store(origin, redis, **kw))]
        for w in weirs:
            wait_for(lambda w=w: len(fleet(w)) == 2, 15, "both weirs know of each other")
        return weirs
    return make


def both(weirs, n, xff=CLIENT):
    return volley([w.port for w in weirs], n, xff, threads=4)


def test_lift_reaches_every_weir_within_a_second(pair):
    one, two = pair()
    assert len(refused(both([one, two], 10))) == 7
    said = one.lift("--everyone")
    assert "lifted on 2 of 2 weirs" in said, "it waits for 2 s, and tells how many know by then"
    assert statuses(two, 10) == [200] * 10, "the local refusals are cleared too"
    assert statuses(one, 10) == [200] * 10
    assert lifts(two)[0]["id"] == lifts(one)[0]["id"]
    two.ctl("limits", "restore", lifts(two)[0]["id"])
    wait_for(lambda: one.get(xff=CLIENT).status == 429, 5, "restored everywhere")
    assert two.get(xff=CLIENT).status == 429
    assert lifts(one) == lifts(two) == []


def test_lift_costs_redis_no_decisions(pair, redis):
    one, two = pair()
    one.lift("--everyone")
    before = redis.decisions()
    assert len(admitted(both([one, two], 500))) == 500
    assert redis.decisions() - before <= 20


def test_new_weir_knows_the_lift_before_its_first_request(pair, start, origin, redis):
    one, _ = pair()
    one.lift("--everyone")
    three = start(shared_store(origin, redis))
    assert statuses(three, 10) == [200] * 10


def test_tombstone_beats_a_weir_that_missed_the_restore(pair, redis):
    """A restored lift stays ended, although weirs put lifts they know back into a store that lost them."""
    one, two = pair()
    one.lift("--everyone")
    assert statuses(two, 5) == [200] * 5
    one.ctl("limits", "restore")
    wait_for(lambda: lifts(two) == [], 15)
    until = time.monotonic() + 2.5    # polls and heartbeats pass
    while time.monotonic() < until:
        assert lifts(one) == [] and lifts(two) == []
        time.sleep(0.2)


def test_lift_with_the_store_away_holds_here_and_spreads_later(pair, redis):
    one, two = pair()
    redis.kill()
    wait_for(lambda: one.ctl("status", json=True)["store"]["state"] != "ready", 15)
    said = one.lift("--everyone")
    assert re.search(r"1 of|this weir|here", said)
    assert statuses(one, 10) == [200] * 10
    redis.start()
    wait_for(lambda: len(lifts(two)) == 1, 10, "the lift spreads when the store is back")
    assert statuses(two, 10) == [200] * 10


def test_store_that_lost_its_memory_gets_the_lift_back(pair, redis):
    one, two = pair()
    one.lift("--everyone")
    redis.restart()
    wait_for(lambda: [k for k in redis.cli("--scan").split() if "lift" in k], 10, "a lift is in the store again")
    assert statuses(one, 10) == statuses(two, 10) == [200] * 10
    assert len(lifts(one)) == len(lifts(two)) == 1


def test_lift_ends_everywhere_by_itself(pair):
    one, two = pair()
    one.lift("--everyone", minutes="4s")
    assert statuses(two, 5) == [200] * 5
    wait_for(lambda: lifts(one) == [] and lifts(two) == [], 15)
    assert len(admitted(both([one, two], 10))) == 3


def test_forgive_clears_the_window_everywhere(pair):
    one, two = pair()
    assert len(admitted(both([one, two], 20))) == 3
    two.ctl("clients", "forgive", CLIENT)
    wait_for(lambda: one.client_state(CLIENT)["used"] == 0, 15)
    shots = both([one, two], 20)
    assert len(admitted(shots)) == 3


def test_fleet_shows_every_weir(pair):
    one, two = pair()
    rows = fleet(one)
    assert len(rows) == 2
    assert len({r.get("id") or r.get("weir") or str(r) for r in rows}) == 2
    assert one.metric("weir_fleet_size") == 2
    assert two.term() == 0
    wait_for(lambda: one.metric("weir_fleet_size") == 1, 15, "a weir that left is forgotten")


def test_lift_outlives_every_weir(pair, start, origin, redis):
    """All weirs end and others begin: the lift goes on, for the time that is left of it."""
    one, two = pair()
    one.lift("--everyone", minutes="90s")
    (lift,) = wait_for(lambda: lifts(two), 15)
    assert one.term() == two.term() == 0
    three = start(shared_store(origin, redis))
    assert statuses(three, 10) == [200] * 10
    assert lifts(three)[0]["id"] == lift["id"] and lifts(three)[0]["remaining_s"] <= lift["remaining_s"]
    three.ctl("limits", "restore")
    assert lifts(three) == []
    assert lifts(start(shared_store(origin, redis))) == []
