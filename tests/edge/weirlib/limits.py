# SPDX-License-Identifier: MIT
"""Many clients' worth of requests at once, and what an exact sliding window must be true of."""
import re
import threading
import time

from .client import RawClient, build


class Shot:
    """One request: when it was sent and answered (monotonic seconds), and with what."""

    def __init__(self, sent, got, res):
        self.sent, self.got, self.status, self.res = sent, got, res.status, res


def volley(ports, n, xff, target="/", headers=(), host="test.example", threads=16):
    """n requests spread over the ports on `threads` connections, all at once."""
    return barrage(ports, xff, target, headers, host, threads, count=n)


def barrage(ports, xff, target="/", headers=(), host="test.example", threads=16, count=None, seconds=None, pause=0.0):
    shots, errors, lock = [], [], threading.Lock()
    left = [count if count is not None else 1 << 30]
    end = time.monotonic() + seconds if seconds else None
    start = threading.Barrier(threads)
    data = build("GET", target, list(headers) + ([("X-Forwarded-For", xff)] if xff else []), host=host)

    def next_one():
        with lock:
            left[0] -= 1
            return left[0] >= 0 and not (end and time.monotonic() >= end)

    def one(port):
        c = None
        try:
            c = RawClient(port, timeout=15)
            start.wait()
            while next_one():
                sent = time.monotonic()
                c.send(data)
                res = c.read_response()
                with lock:
                    shots.append(Shot(sent, time.monotonic(), res))
                if res.closes():
                    c.close()
                    c = RawClient(port, timeout=15)
                if pause:
                    time.sleep(pause)
        except BaseException as e:
            errors.append(e)
            start.abort()
        finally:
            if c:
                c.close()
    workers = [threading.Thread(target=one, args=(ports[i % len(ports)],)) for i in range(threads)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    if errors:
        raise errors[0]
    return sorted(shots, key=lambda s: s.sent)


def admitted(shots):
    return [s for s in shots if s.status == 200]


def refused(shots):
    return [s for s in shots if s.status == 429]


def assert_never_more(shots, limit, window):
    """No limit + 1 admissions can have happened within one window. Each happened between sent and got."""
    ok = sorted(admitted(shots), key=lambda s: s.got)
    for i in range(len(ok) - limit):
        group = ok[i:i + limit + 1]
        spread = group[-1].got - min(s.sent for s in group)
        assert spread >= window, "%d admissions within %.3f s (window %.3f s)" % (limit + 1, spread, window)


def assert_no_false_refusals(shots, limit, window, slack=0.0):
    """Whatever was refused had `limit` admissions that could have been within the window before it."""
    ok = admitted(shots)
    for s in refused(shots):
        possible = sum(1 for a in ok if a.sent < s.got and a.got > s.sent - window - slack)
        assert possible >= limit, "refused with %d of %d admitted in the window" % (possible, limit)


def rate_limit_fields(res):
    """{policy: {"r": .., "t": ..}} of RateLimit, and {policy: {"q": .., "w": ..}} of RateLimit-Policy."""
    return _parse(res.one("RateLimit")), _parse(res.one("RateLimit-Policy"))


def _parse(text):
    found = {}
    for item in text.split(","):
        m = re.fullmatch(r'\s*"([^"]+)"((?:;[a-z]+=[^;,]+)*)\s*', item)
        assert m, "not an item with parameters: %r in %r" % (item, text)
        found[m[1]] = {k: int(v) for k, v in re.findall(r";([a-z]+)=(\d+)", m[2])}
    return found
