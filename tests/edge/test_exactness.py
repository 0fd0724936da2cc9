# SPDX-License-Identifier: MIT
"""The promise, proven: what clients see of any number of weirs is what one exact window would have done.

weirlib/exact.py decides; test_exact_checker.py shows that it convicts what is no exact window. WEIR_LONG=1 adds
1,000 requests in 60 s.
"""
import os
import random

import pytest

from test_exact_checker import MS, TRAFFIC
from test_limit_redis import config, wait_store
from weirlib import base_config, wait_for
from weirlib.exact import explain
from weirlib.redis_cluster import RedisCluster
from weirlib.shooter import Planned, shoot

SIZES = [(50, 2, 9)] + ([(1000, 60, 190)] if os.environ.get("WEIR_LONG") else [])


def plan_of(ports, limit, window, seconds, seed):
    """Each kind of traffic is a client of its own; each request goes to a weir drawn by lot."""
    rnd, plan = random.Random(seed), []
    for i, traffic in enumerate(TRAFFIC):
        for at in traffic(rnd, limit, window * 1000 * MS, seconds * 1000 * MS):
            plan.append(Planned(max(0, at) / 1e6, "203.0.113.%d" % (i + 1), rnd.choice(ports)))
    return plan


def judge(report, limit, window):
    assert set(report.statuses) == {200, 429}, dict(report.statuses)
    for i, traffic in enumerate(TRAFFIC):
        seen = report.seen["203.0.113.%d" % (i + 1)]
        verdict = explain(seen, limit, window * 1000 * MS)
        assert verdict, (traffic.__name__, verdict)
        assert sum(s.admitted for s in seen) > limit and not all(s.admitted for s in seen)
    # The last is the flood: its log would tell of a window that is off by a little.
    for off in (-10 * MS, 10 * MS):
        assert not explain(seen, limit, window * 1000 * MS + off)


def prove(start, origin, redis, weirs, limit, window, seconds):
    """Over so many weirs on this Redis, or cluster. It gets time enough to answer: the promise asks for that."""
    fleet = [start(config(origin, redis, requests=limit, window="%ds" % window, timeout="2s")) for _ in range(weirs)]
    for w in fleet:
        wait_store(w, timeout=10)
        wait_for(lambda w=w: w.metric("weir_fleet_size") == weirs, 10, "all weirs know of each other")
    report = shoot(plan_of([w.port for w in fleet], limit, window, seconds, seed=weirs))
    assert all(w.metric("weir_store_decisions_total", source="local") == 0 for w in fleet)
    judge(report, limit, window)


@pytest.mark.parametrize("weirs", [1, 2, 5])
@pytest.mark.parametrize("limit, window, seconds", SIZES)
def test_one_redis(start, origin, redis, weirs, limit, window, seconds):
    prove(start, origin, redis, weirs, limit, window, seconds)


@pytest.mark.parametrize("limit, window, seconds", SIZES)
def test_cluster(start, origin, closing, limit, window, seconds):
    prove(start, origin, closing.add(RedisCluster(replicas=False)), 3, limit, window, seconds)


@pytest.mark.parametrize("limit, window, seconds", SIZES)
def test_memory(start, origin, limit, window, seconds):
    w = start(base_config(origin, workers=2, rate_limit={
        "policies": {"default": {"requests": limit, "window": "%ds" % window}}}))
    judge(shoot(plan_of([w.port], limit, window, seconds, seed=7)), limit, window)
