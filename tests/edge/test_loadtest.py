# SPDX-License-Identifier: MIT
"""The load-test runner with the real tools: it lifts, runs, restores whatever happens, and sums up."""
import os
import re
import shutil
import signal
import subprocess

import pytest

from weirlib import ROOT, Proc, base_config, run_dir, wait_for, weir_bin
from weirlib.util import remove_dir

RUN = os.path.join(ROOT, "loadtest", "run")
needs = {tool: pytest.mark.skipif(not shutil.which(tool), reason="%s is not installed" % tool) for tool in ("wrk", "k6")}


@pytest.fixture
def weir(start, origin):
    return start(base_config(origin, rate_limit={"policies": {"default": {"requests": 10, "window": "60s"}}},
                             log={"access": "off"}))


def arguments(weir, *more):
    return [RUN, "--url", "http://127.0.0.1:%d/x" % weir.port, "--socket", weir.socket_path, "--weirctl", weir_bin("weirctl"),
            "--metrics", "http://127.0.0.1:%d/metrics" % weir.admin_port, *more]


def run(weir, *more, code=0, env=None):
    done = subprocess.run(arguments(weir, *more), capture_output=True, text=True, timeout=60,
                          env=dict(os.environ, **(env or {})))
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def lifts(weir):
    return weir.ctl("limits", "status", json=True)["lifts"]


def number(text, pattern):
    m = re.search(pattern, text)
    assert m, text
    return int(m[1])


SCENARIOS = [pytest.param(tool, scenario, marks=needs[tool]) for tool in ("wrk", "k6")
             for scenario in ("steady", "ramp", "spike", "many")]


@pytest.mark.parametrize("tool, scenario", SCENARIOS)
def test_session_is_lifted_and_restored(weir, tool, scenario):
    text = run(weir, "--tool", tool, "--scenario", scenario, "--duration", "2", "--connections", "4", "--rate", "60",
               "--clients", "50")
    assert number(text, r"requests +(\d+) in") > 20
    assert re.search(r"p50 [\d.]+ ms.* p99 [\d.]+ ms", text)
    assert "refusals   0 (" in text and "restored" in text
    assert re.search(r"weir says .*lifted \d+", text)
    assert lifts(weir) == []
    assert weir.get(xff="198.18.0.1").status == 200


@pytest.mark.parametrize("tool", [pytest.param(t, marks=needs[t]) for t in ("wrk", "k6")])
def test_flood_shows_what_the_limit_would_do(weir, tool):
    text = run(weir, "--tool", tool, "--scenario", "flood", "--duration", "1", "--connections", "4")
    assert "refusals   0 (" in text
    assert number(text, r"would have been refused by default (\d+)") > 0
    assert lifts(weir) == []


@needs["wrk"]
def test_flood_with_the_limits_in_force(weir):
    text = run(weir, "--tool", "wrk", "--scenario", "flood", "--duration", "1", "--connections", "4", "--lift", "off")
    assert number(text, r"200: (\d+)") == 10
    assert number(text, r"429: (\d+)") > 100
    assert "limited" in text and lifts(weir) == []


@pytest.mark.parametrize("sig, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.parametrize("tool", [pytest.param(t, marks=needs[t]) for t in ("wrk", "k6")])
def test_interrupted_session_is_restored(weir, tool, sig, code):
    directory = run_dir("runner")
    proc = Proc(arguments(weir, "--tool", tool, "--duration", "60"), directory, "runner")
    try:
        wait_for(lambda: lifts(weir), 10)
        wait_for(lambda: weir.metric("weir_requests_total") > 20, 10)
        proc.send_signal(sig)
        assert proc.wait(20) == code, proc.stdout() + proc.stderr()
        assert lifts(weir) == []
        assert "interrupted" in proc.stdout() and "restored" in proc.stdout()
    finally:
        trouble = proc.stop()
        remove_dir(directory)
    assert not trouble


@needs["wrk"]
def test_failed_tool_is_restored(weir):
    directory = run_dir("fake")
    try:
        with open(os.path.join(directory, "wrk"), "w") as f:
            f.write("#!/bin/sh\necho broken\nexit 7\n")
        os.chmod(os.path.join(directory, "wrk"), 0o755)
        text = run(weir, "--tool", "wrk", code=1, env={"PATH": directory + ":" + os.environ["PATH"]})
        assert "status 7" in text and "broken" in text
        assert lifts(weir) == []
    finally:
        remove_dir(directory)


@needs["wrk"]
def test_refused_lift_runs_nothing(weir):
    text = run(weir, "--tool", "wrk", "--duration", "10h", code=1)
    assert "4h" in text or "max_lift" in text
    assert weir.metric("weir_requests_total") == 0


@needs["wrk"]
def test_other_lifts_are_left_alone(weir):
    weir.lift("--client", "192.0.2.0/24", reason="somebody else's")
    run(weir, "--tool", "wrk", "--duration", "1", "--connections", "2")
    assert [l["reason"] for l in lifts(weir)] == ["somebody else's"]


@needs["wrk"]
def test_lift_is_scoped_and_says_why(weir):
    directory = run_dir("runner")
    proc = Proc(arguments(weir, "--tool", "wrk", "--duration", "30", "--reason", "before the sale"), directory, "runner")
    try:
        (lift,) = wait_for(lambda: lifts(weir), 10)
        assert lift["clients"] == ["198.18.0.0/15"] and "before the sale" in lift["reason"]
        assert lift["remaining_s"] <= 90
        statuses = [weir.get(xff="203.0.113.5").status for _ in range(12)]
        assert statuses == [200] * 10 + [429] * 2
    finally:
        trouble = proc.stop(20)
        remove_dir(directory)
    assert not trouble and lifts(weir) == []


@needs["wrk"]
def test_no_weir(weir):
    assert "make run" in run(weir, "--url", "http://127.0.0.1:1/", code=1)


def test_without_k6_it_says_how_to_get_it(weir):
    text = run(weir, "--tool", "k6", code=3, env={"PATH": "/nowhere"}) if os.access("/usr/bin/python3", os.X_OK) else ""
    assert "go install go.k6.io/k6@latest" in text
