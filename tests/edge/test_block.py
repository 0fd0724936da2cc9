# SPDX-License-Identifier: MIT
"""clients block, unblock, blocked: 403 everywhere, for a time, over the channel that lifts travel on."""
import contextlib
import os
import re
import signal
import time

import pytest

from test_lift import CLIENT, OTHER, fleet, memory, pair, shared_store, statuses    # noqa: F401
from weirlib import base_config, wait_for


def block(weir, cidr=CLIENT, time="5m", reason="a test", **kw):
    return weir.ctl("clients", "block", cidr, "--for", time, "--reason", reason, **kw)


def blocks(weir):
    return weir.ctl("clients", "blocked", json=True)["blocks"]


def test_block_and_unblock(start, origin):
    weir = start(memory(origin))
    assert weir.get(xff=CLIENT).status == 200
    said = block(weir, "203.0.113.0/24", reason="scans for /wp-admin")
    assert re.search(r"blocked 203\.0\.113\.0/24 on 1 of 1 weirs until .* \(id (\w+)\)", said)
    res = weir.get(xff=CLIENT)
    assert res.status == 403 and "blocked" in res.text() and not res.get_all("RateLimit")
    assert weir.get(xff="203.0.113.77").status == 403 and weir.get(xff=OTHER).status == 200
    assert weir.get().status == 200, "nobody is in no network"
    (b,) = blocks(weir)
    assert b["clients"] == ["203.0.113.0/24"] and b["reason"] == "scans for /wp-admin" and b["id"] in said
    assert 290 <= b["remaining_s"] <= 300 and b["uid"] == os.getuid()
    assert weir.metric("weir_blocks_active") == 1 and weir.metric("weir_lift_active") == 0
    assert weir.metric("weir_refusals_total", reason="block") == 2
    (entry, _) = weir.wait_log(lambda e: e["status"] == 403, 2)
    assert entry["lift"] == b["id"] and entry["limit"] == "none"
    assert b["id"] in weir.ctl("status") and weir.ctl("status", json=True)["blocks"][0]["id"] == b["id"]
    weir.ctl("clients", "unblock", "203.0.113.0/24")
    assert weir.get(xff=CLIENT).status == 200
    assert blocks(weir) == [] and weir.metric("weir_blocks_active") == 0
    events = weir.ctl("events")
    assert "scans for /wp-admin" in events and "was ended by" in events


def test_a_block_ends_by_itself(start, origin):
    weir = start(memory(origin))
    block(weir, time="1500ms")
    assert weir.get(xff=CLIENT).status == 403
    wait_for(lambda: weir.get(xff=CLIENT).status == 200, 5, "the block ended")
    assert blocks(weir) == []


def test_blocks_and_lifts_leave_each_other_alone(start, origin):
    weir = start(memory(origin))
    weir.lift("--everyone")
    block(weir)
    block(weir, "198.51.100.0/25")
    assert weir.get(xff=CLIENT).status == weir.get(xff=OTHER).status == 403
    assert "restored 1 lift" in weir.ctl("limits", "restore")
    assert weir.get(xff=CLIENT).status == 403 and len(blocks(weir)) == 2
    one = blocks(weir)[0]["id"]
    assert "unblock" in weir.ctl("limits", "restore", one, code=1)
    assert "ended 2 blocks" in weir.ctl("clients", "unblock")
    assert "No client is blocked" in weir.ctl("clients", "unblock")
    assert weir.get(xff=CLIENT).status == 200


def test_ipv6_and_id(start, origin):
    weir = start(memory(origin))
    block(weir, "2001:db8::/32")
    assert weir.get(xff="2001:db8:1::9").status == 403 and weir.get(xff="2001:db9::1").status == 200
    weir.ctl("clients", "unblock", blocks(weir)[0]["id"])
    assert weir.get(xff="2001:db8:1::9").status == 200


def test_exempt_and_allowed_clients_are_blocked_too(start, origin):
    c = base_config(origin, networks={"office": ["203.0.113.0/24"]}, sites=[
        {"hosts": ["*"], "upstream": "main", "allow": ["office"]}],
        rate_limit={"policies": {"default": {"requests": 5, "window": "60s"}}, "exempt": ["office"]})
    weir = start(c)
    assert weir.get(xff=CLIENT).status == 200
    block(weir)
    assert weir.get(xff=CLIENT).status == 403
    told = weir.ctl("explain", "--from", CLIENT, "GET", "http://test.example/", json=True)
    assert told["status"] == 403 and blocks(weir)[0]["id"] in told["why"]


@pytest.mark.parametrize("args, words", [
    (["203.0.113.1", "--reason", "x"], "--for"),
    (["203.0.113.1", "--for", "1h"], "--reason"),
    (["203.0.113.1", "--for", "1h", "--reason", " "], "reason"),
    (["203.0.113.1", "--for", "1", "--reason", "x"], "duration|unit"),
    (["203.0.113.1", "--for", "200h", "--reason", "x"], "168h|max_block"),
    (["203.0.113.0/33", "--for", "1h", "--reason", "x"], "203.0.113.0/33"),
    (["203.0.113.1/24", "--for", "1h", "--reason", "x"], "203.0.113.1/24"),
    (["host.name", "--for", "1h", "--reason", "x"], "host.name"),
    (["0.0.0.0/0", "--for", "1h", "--reason", "x"], "wider"),
    (["10.0.0.0/7", "--for", "1h", "--reason", "x"], "wider|10.0.0.0/7"),
    (["::/0", "--for", "1h", "--reason", "x"], "wider"),
    (["--for", "1h", "--reason", "x"], "CIDR"),
])
def test_refused_blocks(module_weir, args, words):
    run = module_weir.run_ctl("clients", "block", *args)
    assert run.returncode in (1, 2) and re.search(words, run.stdout + run.stderr), run
    assert blocks(module_weir) == []


@pytest.fixture(scope="module")
def module_weir(module_start):
    return module_start(base_config())


@pytest.mark.parametrize("what, words", [
    ("203.0.113.9", "no block of its own.*203.0.113.0/24"), ("192.0.2.1", "no such block"), ("ffffffff", "no such block"),
    ("nonsense", "no such block")])
def test_unblock_of_what_is_not_there(start, origin, what, words):
    weir = start(memory(origin))
    block(weir, "203.0.113.0/24")
    assert re.search(words, weir.ctl("clients", "unblock", what, code=1))
    assert len(blocks(weir)) == 1


def test_block_lives_through_a_reload_and_dead_processes(start, origin):
    weir = start(memory(origin), expect_crash=True)
    block(weir)
    weir.reload()
    assert weir.get(xff=CLIENT).status == 403
    for pid in [*weir.workers(), weir.control()]:
        with contextlib.suppress(ProcessLookupError):    # one of before the reload may be ending
            os.kill(pid, signal.SIGKILL)
    wait_for(lambda: weir.run_ctl("clients", "blocked").returncode == 0, 15)
    wait_for(lambda: asks(weir) == 403, 15)
    assert len(blocks(weir)) == 1


def asks(weir):
    try:
        return weir.get(xff=CLIENT).status
    except (OSError, AssertionError):
        return None


def test_block_reaches_every_weir_and_is_never_resurrected(pair, redis):    # noqa: F811
    one, two = pair()
    assert "on 2 of 2 weirs" in block(one, "203.0.113.0/24")
    assert statuses(two, 3) == [403] * 3
    redis.restart()    # without data: whoever knows the block puts it back
    wait_for(lambda: [k for k in redis.cli("--scan").split() if "lift:" in k], 10)
    wait_for(lambda: len(fleet(two)) == 2, 10)
    assert statuses(one, 2) == statuses(two, 2) == [403] * 2
    assert "on 2 of 2 weirs" in two.ctl("clients", "unblock", "203.0.113.0/24")
    assert statuses(one, 2) == [200] * 2
    until = time.monotonic() + 2.5    # polls and heartbeats pass
    while time.monotonic() < until:
        assert blocks(one) == [] and blocks(two) == []
        time.sleep(0.2)


def test_new_weir_knows_the_block_before_its_first_request(pair, start, origin, redis):    # noqa: F811
    one, _ = pair()
    block(one)
    assert start(shared_store(origin, redis)).get(xff=CLIENT).status == 403
