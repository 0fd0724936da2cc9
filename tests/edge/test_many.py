# SPDX-License-Identifier: MIT
"""Thousands of slow or idle connections, and ordinary traffic that goes on beside them."""
import os
import resource
import shutil
import statistics
import threading
import time

import pytest

from weirlib import ROOT, Proc, base_config, free_port, http, run_dir, wait_for
from weirlib.client import build
from weirlib.util import remove_dir
from weirlib.weir import SANITIZED

ORIGIN = os.environ.get("WEIR_ORIGIN", os.path.join(ROOT, "build", "loadtest", "origin"))
SLOWHTTPTEST = shutil.which("slowhttptest")
SLOW = 1000    # connections
SECONDS = 4    # that they come and stay for

pytestmark = pytest.mark.skipif(not os.access(ORIGIN, os.X_OK), reason="%s is not built" % ORIGIN)


@pytest.fixture(scope="module")
def fast_origin():
    directory, port = run_dir("origin"), free_port()
    proc = Proc([ORIGIN, "-p", port], directory, "origin")
    wait_for(lambda: answers(port), 15)
    yield "127.0.0.1:%d" % port
    proc.stop()
    remove_dir(directory)


def answers(port):
    try:
        return http(port, "/bench").status == 200
    except OSError:
        return False


def config(origin, **more):
    many = {"policies": {"default": {"requests": 1000000, "window": "60s"}}}
    return base_config(upstreams={"main": {"servers": [origin]}}, rate_limit=many, **more)


class Ordinary:
    """Clients that go on as if nothing were; `took` and `failed` tell how they fared."""

    def __init__(self, weir):
        self.weir, self.stopped, self.took, self.failed = weir, threading.Event(), [], []
        self.threads = [threading.Thread(target=self.run, args=(kept,)) for kept in (True, True, False)]

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *exc):
        self.stopped.set()
        for t in self.threads:
            t.join()

    def run(self, kept):
        client = self.weir.client(source="127.0.0.77")
        while not self.stopped.wait(0.01):
            began = time.monotonic()
            try:
                if not kept:
                    client.close()
                    client = self.weir.client(source="127.0.0.77")
                status = client.request("GET", "/bench").status
                if status != 200:
                    self.failed.append(status)
            except Exception as e:    # told by the test
                self.failed.append(repr(e))
                client = self.weir.client(source="127.0.0.77")
            self.took.append(time.monotonic() - began)
        client.close()


def attack(weir, mode, path, connections, *options):
    """slowhttptest until its time is over."""
    directory = run_dir("slow")
    argv = [SLOWHTTPTEST, mode, "-c", connections, "-r", connections, "-l", SECONDS, "-i", 1, "-p", 3, "-v", 0,
            "-u", "http://127.0.0.1:%d%s" % (weir.port, path), *options]
    proc = Proc(argv, directory, "slowhttptest")
    try:
        proc.wait(SECONDS + 30)
    finally:
        proc.stop()
        remove_dir(directory)


def ended(weir):
    return {ls["reason"]: weir.metric("weir_connections_closed_total", reason=ls["reason"])
            for ls in weir.metric_labels("weir_connections_closed_total")}


MODES = {    # how, where to, how many, and the reasons that such connections end for
    "headers": ("-H", "/bench", SLOW, [], ["head_timeout"]),
    "body": ("-B", "/bench", SLOW, ["-s", 1000000], ["too_slow", "body_timeout"]),
    # a response must be larger than what kernels hold of it; of more of them the kernel has no memory
    "read": ("-X", "/bytes/2000000", 250, ["-w", 10, "-y", 20, "-n", 1, "-z", 5], ["too_slow", "body_timeout"]),
    "range": ("-R", "/bench", SLOW, [], ["client_closed", "not_kept", "aborted"]),
}


@pytest.mark.skipif(not SLOWHTTPTEST, reason="slowhttptest is not here")
@pytest.mark.parametrize("mode", MODES)
def test_slow_clients_are_ended_and_no_others_feel_them(fast_origin, origin, start, mode):
    option, path, connections, more, reasons = MODES[mode]
    patient = origin.address if mode == "body" else fast_origin    # it reads a body before it answers
    weir = start(config(patient, timeouts={"head": "1s", "body": "1s", "idle": "2s"},
                        caps={"peer_connections": "off"}))
    with Ordinary(weir) as ordinary:
        attack(weir, option, path, connections, *more)
    assert not ordinary.failed, ordinary.failed[:5]
    assert len(ordinary.took) > 50 and statistics.median(ordinary.took) < 0.5
    wait_for(lambda: weir.metric("weir_requests_active") == 0, 10)
    wait_for(lambda: weir.metric("weir_connections") == 0, 10)
    assert sum(ended(weir)[r] for r in reasons) >= connections * 0.5, ended(weir)


@pytest.mark.skipif(not SLOWHTTPTEST, reason="slowhttptest is not here")
def test_a_slow_peer_holds_no_more_than_its_cap(fast_origin, start):
    """With nobody trusted each peer stands for itself."""
    weir = start(config(fast_origin, client_ip={"trusted_proxies": ["192.0.2.0/24"]}, caps={"peer_connections": 200}))
    most = []
    with Ordinary(weir) as ordinary:
        watch = threading.Thread(target=attack, args=(weir, "-H", "/bench", SLOW))
        watch.start()
        while watch.is_alive():
            most.append(weir.metric("weir_connections"))
            watch.join(0.2)
    assert not ordinary.failed, ordinary.failed[:5]
    assert 150 <= max(most) <= 200 + 10
    assert ended(weir)["peer_full"] >= SLOW * 0.5


# Idle

IDLE = 1000 if SANITIZED else 10000


def more_files(n):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < n:
        if hard != resource.RLIM_INFINITY and hard < n:
            pytest.skip("%d open files are allowed, %d are needed" % (hard, n))
        resource.setrlimit(resource.RLIMIT_NOFILE, (n, hard))


def ran_ns(pids):
    total = 0
    for pid in pids:
        with open("/proc/%d/schedstat" % pid) as f:
            total += int(f.read().split()[0])
    return total


def cost_ns(weir, requests=3000):
    """CPU time of the workers for a request, at best of three."""
    best = None
    for _ in range(3):
        with weir.client(source="127.0.0.77") as c:
            before = ran_ns(weir.workers())
            for _ in range(requests // 3):
                assert c.request("GET", "/bench").status == 200
            spent = (ran_ns(weir.workers()) - before) / (requests // 3)
        best = spent if best is None else min(best, spent)
    return best


@pytest.mark.skipif(not os.path.exists("/proc/self/schedstat"), reason="the kernel does not tell")
def test_idle_connections_cost_others_nothing(fast_origin, start):
    """What a request costs is the same with 10,000 idle connections beside it: nothing goes over all of them."""
    more_files(IDLE + 1000)
    weir = start(config(fast_origin, timeouts={"idle": "10m"}, caps={"connections": 2 * IDLE}))
    alone, idle = cost_ns(weir), []
    try:
        for _ in range(IDLE // 100):
            idle += [weir.client().send(build("GET", "/bench")) for _ in range(100)]
            for c in idle[-100:]:
                assert c.read_response().status == 200
        wait_for(lambda: weir.metric("weir_connections") == IDLE, 15)
        beside = cost_ns(weir)
        assert beside < 2 * alone, "%d ns a request beside %d idle connections, %d ns alone" % (beside, IDLE, alone)
        before = ran_ns(weir.workers())
        time.sleep(1)
        assert ran_ns(weir.workers()) - before < 100e6, "they are looked at without being asked"
        for c in idle[::500]:
            c.send(build("GET", "/bench"))
            assert c.read_response().status == 200
    finally:
        for c in idle:
            c.close()
    wait_for(lambda: weir.metric("weir_connections") == 0, 20)
