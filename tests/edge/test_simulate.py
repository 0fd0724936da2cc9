# SPDX-License-Identifier: MIT
"""loadtest/simulate: bounds that hold for any traffic, bad input, and the model beside real weirs and a real Redis."""
import json
import os
import subprocess

import pytest

from weirlib.weir import ROOT, SANITIZED

SIMULATE = os.path.join(ROOT, "loadtest", "simulate")


def run(*args, code=0):
    done = subprocess.run([SIMULATE, *map(str, args)], capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def one(*args):
    rows = json.loads(run("--json", *args))
    assert len(rows) == 1
    return rows[0]


def test_clients_below_their_limit_are_asked_for_each_time():
    r = one("--weirs", 4, "--clients", 100000, "--requests", 1000, "--zipf", 0)
    assert 990 <= r["asked_s"] <= 1010 and 990 <= r["admitted_s"] <= 1010
    assert 40000 <= r["keys"] <= 60000 and r["shards"] == 1


def test_a_flood_costs_hardly_more_than_the_limit():
    r = one("--weirs", 10, "--clients", 1, "--requests", 20000)
    full = 1000 / 60
    assert 0.9 * full <= r["admitted_s"] <= 1.01 * full
    assert r["asked_s"] < 3 * full and r["refused_unasked_s"] > 19900


def test_more_traffic_needs_more_shards():
    small = one("--weirs", 100, "--clients", 1000000, "--requests", 50000)
    large = one("--weirs", 100, "--clients", 1000000, "--requests", 500000)
    assert small["shards"] < large["shards"] and small["memory_mb"] < large["memory_mb"]
    assert 1.0 <= large["worst_shard"] < 2.0


@pytest.mark.parametrize("args, said", [
    (["--weirs", "0"], "--weirs 0"), (["--weirs", "99999"], "1 to 10000"), (["--clients", "0"], "--clients 0"),
    (["--limit", "0"], "--limit 0"), (["--zipf", "nan"], "--zipf nan"), (["--zipf=-1"], "--zipf -1"), (["--window", "x"], "--window"), (["--clients", "200000000"], "at most"),
])
def test_bad_input_is_told(args, said):
    assert said in run(*args, code=2)


@pytest.mark.skipif(SANITIZED, reason="a sanitized weir is too slow for the check's rate")
def test_model_agrees_with_real_weirs():
    run("--check")
