# SPDX-License-Identifier: MIT
"""The checker of exactness is checked: it explains what an exact window did, and convicts all that is none.

The limiters here are models in simulated time, so that nothing depends on this machine's speed.
"""
import itertools
import random
from collections import deque

import pytest

from weirlib.exact import Figures, Seen, explain, figures

MS = 1000
S = 1000 * MS


# Limiters: admit(now) -> bool

class Exact:
    def __init__(self, limit, window):
        self.limit, self.window, self.log = limit, window, deque()

    def admit(self, now):
        while self.log and self.log[0] <= now - self.window:
            self.log.popleft()
        if len(self.log) >= self.limit:
            return False
        self.log.append(now)
        return True


class Fixed:
    def __init__(self, limit, window):
        self.limit, self.window, self.slot, self.used = limit, window, 0, 0

    def admit(self, now):
        if now // self.window != self.slot:
            self.slot, self.used = now // self.window, 0
        if self.used == self.limit:
            return False
        self.used += 1
        return True


class Weighted:
    """Two counters, the older one weighed by what is left of its window."""

    def __init__(self, limit, window):
        self.limit, self.window, self.slot, self.used, self.before = limit, window, 0, 0, 0

    def admit(self, now):
        slot = now // self.window
        if slot != self.slot:
            self.before = self.used if slot == self.slot + 1 else 0
            self.slot, self.used = slot, 0
        part = 1 - (now % self.window) / self.window
        if self.before * part + self.used + 1 > self.limit:
            return False
        self.used += 1
        return True


class Bucket:
    def __init__(self, limit, window):
        self.limit, self.window, self.level, self.at = limit, window, float(limit), 0

    def admit(self, now):
        self.level = min(self.limit, self.level + (now - self.at) * self.limit / self.window)
        self.at = now
        if self.level < 1:
            return False
        self.level -= 1
        return True


# Traffic: moments of sending

def bursty(rnd, limit, window, end):
    t = 0
    while t < end:
        for _ in range(rnd.randint(limit // 2, limit * 2)):
            yield t + rnd.randint(0, 20 * MS)
        t += rnd.choice([window, rnd.randint(window // 4, window)])


def paced(rnd, limit, window, end):
    gap = window / limit / 1.5
    return (int(i * gap) for i in range(int(end / gap)))


def straddling(rnd, limit, window, end):
    """Much around each multiple of the window, and a little all the time."""
    for edge in range(window, end, window):
        for _ in range(limit * 2):
            yield edge + rnd.randint(-100 * MS, 100 * MS)
    yield from range(0, end, window // 40)


def anyhow(rnd, limit, window, end):
    for _ in range(int(3 * limit * end / window)):
        yield rnd.randint(0, end)


def flood(rnd, limit, window, end):
    return range(0, end, window // limit // 20)


TRAFFIC = [bursty, paced, straddling, anyhow, flood]


def record(limiter, sendings, rnd, slow=3 * MS):
    """What clients see of it: each answer takes up to `slow`, the decision falls somewhere in between."""
    flights = []
    for sent in sendings:
        took = rnd.randint(100, slow)
        flights.append((sent + rnd.randint(0, took), sent, sent + took))
    flights.sort()
    return [Seen(sent, got, limiter.admit(at)) for at, sent, got in flights]


def run(limiter, traffic, limit=50, window=2 * S, end=20 * S, seed=1, slow=3 * MS):
    rnd = random.Random(seed)
    return record(limiter, list(traffic(rnd, limit, window, end)), rnd, slow)


@pytest.mark.parametrize("traffic", TRAFFIC)
@pytest.mark.parametrize("slow", [1 * MS, 20 * MS, 300 * MS])
def test_exact_window_is_explained(traffic, slow):
    seen = run(Exact(50, 2 * S), traffic, seed=slow, slow=slow)
    verdict = explain(seen, 50, 2 * S)
    assert verdict, verdict
    assert len(verdict.moments) == sum(s.admitted for s in seen) > 300


def test_a_thousand_a_minute_is_explained():
    seen = run(Exact(1000, 60 * S), bursty, 1000, 60 * S, 300 * S)
    assert sum(not s.admitted for s in seen) > 1000
    verdict = explain(seen, 1000, 60 * S)
    assert verdict, verdict


# Who must be convicted, in which traffic, of what
WRONG = {
    "fixed window": (lambda n, w: Fixed(n, w), [bursty, straddling, anyhow], "over-admission"),
    "weighted counter": (lambda n, w: Weighted(n, w), TRAFFIC, None),
    "token bucket": (lambda n, w: Bucket(n, w), TRAFFIC, "over-admission"),
    "one more": (lambda n, w: Exact(n + 1, w), TRAFFIC, "over-admission"),
    "one less": (lambda n, w: Exact(n - 1, w), TRAFFIC, "false-refusal"),
    # Only traffic that asks within those 10 ms can tell.
    "10 ms short": (lambda n, w: Exact(n, w - 10 * MS), [straddling, anyhow, flood], "over-admission"),
    "10 ms long": (lambda n, w: Exact(n, w + 10 * MS), [straddling, anyhow, flood], "false-refusal"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("limit, window", [(50, 2 * S), (1000, 60 * S)])
def test_is_convicted(name, limit, window):
    make, traffics, kind = WRONG[name]
    for traffic in traffics:
        seen = run(make(limit, window), traffic, limit, window, 5 * window)
        verdict = explain(seen, limit, window)
        assert verdict.kind in ((kind,) if kind else ("over-admission", "false-refusal")), (traffic.__name__, verdict)


def test_single_wrong_verdicts_are_convicted():
    """Of a log that is explained, one admission is made of a refusal in the midst of a full window, and the reverse."""
    seen = run(Exact(50, 2 * S), bursty)
    assert explain(seen, 50, 2 * S)
    rnd = random.Random(7)
    refused = [i for i, s in enumerate(seen) if not s.admitted]
    for i in rnd.sample(refused, 10):
        wrong = list(seen)
        wrong[i] = seen[i]._replace(admitted=True)
        assert not explain(wrong, 50, 2 * S)
    for i in range(5):
        assert explain([*seen[:i], seen[i]._replace(admitted=False), *seen[i + 1:]], 50, 2 * S).kind == "false-refusal"


def test_figures():
    seen = run(Exact(50, 2 * S), anyhow, slow=1 * MS)
    f = figures(seen, 50, 2 * S)
    assert f.worst == 50 and f.false_refusals == 0 and f.admitted + f.refused == len(seen)
    f = figures(run(Fixed(50, 2 * S), straddling, slow=1 * MS), 50, 2 * S)
    assert f.worst > 90
    f = figures(run(Exact(49, 2 * S), anyhow, slow=1 * MS), 50, 2 * S)
    assert f.worst == 49 and f.false_refusals == f.refused > 100
    assert figures([Seen(0, 5, True), Seen(3, 4, True), Seen(6, 9, False)], 2, 6) == Figures(2, 1, 2, 0)


def brute_force(seen, limit, window):
    """Tries all moments, for few requests and small numbers."""
    admitted = [s for s in seen if s.admitted]
    for moments in itertools.product(*(range(s.sent, s.got + 1) for s in admitted)):
        a = sorted(moments)
        if any(a[k + limit] - a[k] < window for k in range(len(a) - limit)):
            continue
        full = {t for k in range(len(a) - limit + 1) for t in range(a[k + limit - 1], a[k] + window + 1)}
        if all(full.intersection(range(s.sent, s.got + 1)) for s in seen if not s.admitted):
            return True
    return False


def test_agrees_with_trying_everything():
    rnd = random.Random(2026)
    explained = 0
    for case in range(4000):
        limit, window = rnd.randint(1, 3), rnd.randint(2, 6)
        seen = []
        for _ in range(rnd.randint(1, 7)):
            sent = rnd.randint(0, 14)
            seen.append(Seen(sent, sent + rnd.randint(0, 4), rnd.random() < 0.6))
        if sum(s.admitted for s in seen) > 5:
            continue
        want, got = brute_force(seen, limit, window), explain(seen, limit, window)
        assert got.kind != "undecided"
        assert bool(got) == want, (case, seen, limit, window, got)
        explained += want
    assert 500 < explained < 3500
