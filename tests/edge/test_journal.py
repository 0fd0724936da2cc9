# SPDX-License-Identifier: MIT
"""Outages and losses of Redis are no amnesty: what weirs admit alone is carried, what Redis forgot is told again.

`used` is what Redis itself has in a client's list; `admitted` is what the client saw. The bounds are those of the README.
"""
import re
import select
import socket
import threading
import time

import pytest

from test_limit_redis import config, pair, ports, timed, wait_store    # noqa: F401: pair is a fixture
from weirlib import wait_for
from weirlib.limits import admitted, volley

CLIENT = "203.0.113.1"


def in_list(redis, client=CLIENT, policy="default", window=60000):
    return int(redis.cli("LLEN", "weir:1:%s:%d:{%s}" % (policy, window, client)))


def marks(redis):
    return [redis.cli("GET", key) for key in sorted(redis.cli("--scan", "--pattern", "*:mark:*").split())]


def oks(statuses):
    assert set(statuses) <= {200, 429}
    return statuses.count(200)


def shares(limit, weirs):
    """What all weirs together may admit while they are alone."""
    return weirs * -(-limit // weirs)


# Outages

def test_an_outage_counts_when_it_is_over(pair, redis):    # noqa: F811
    """Of two weirs each admits its share meanwhile; afterwards Redis knows of each admission, and of no other."""
    weirs = pair(requests=20, timeout="100ms")
    clients = ["203.0.113.%d" % i for i in range(1, 9)]
    redis.cli("SAVE")
    redis.kill()
    for w in weirs:
        wait_store(w, good=False)
    seen = {c: 0 for c in clients}
    for i, c in enumerate(clients):
        for w in weirs:
            seen[c] += oks(timed(w, 1 + 2 * i, c)[0])
    assert seen[clients[-1]] == shares(20, 2)
    redis.start()
    for w in weirs:
        wait_store(w, timeout=10)
    # who asks at once is asked for what this weir admitted; what the others did follows within the second
    more = oks(timed(weirs[0], 25, clients[5])[0])
    assert more <= 20 - shares(20, 2) // 2
    seen[clients[5]] += more
    wait_for(lambda: all(in_list(redis, c) == seen[c] for c in clients), 15, "all is carried")
    assert oks(timed(weirs[1], 5, clients[-1])[0]) == 0
    assert weirs[0].metric("weir_journal_carried_total") > 0
    time.sleep(0.5)
    assert all(in_list(redis, c) == seen[c] for c in clients), "nothing is carried twice"


def test_an_outage_under_load(pair, redis):    # noqa: F811
    """In all: the limit, and the shares of those that were cut off. Afterwards: nobody, until the window has passed."""
    weirs = pair(requests=60, timeout="50ms")
    clients = ["203.0.113.%d" % i for i in range(1, 5)]
    shots = {c: [] for c in clients}
    stop = threading.Event()

    def load(c):
        while not stop.is_set():
            shots[c] += volley(ports(weirs), 8, c, threads=2)
            time.sleep(0.05)
    threads = [threading.Thread(target=load, args=(c,)) for c in clients]
    for t in threads:
        t.start()
    try:
        wait_for(lambda: all(len(admitted(shots[c])) >= 10 for c in clients), 10)
        redis.kill()
        wait_for(lambda: all(len(shots[c]) >= 120 for c in clients), 20)
        redis.start()
        for w in weirs:
            wait_store(w, timeout=10)
        wait_for(lambda: not any(oks(timed(w, 3, c)[0]) for w in weirs for c in clients), 15, "exact again")
    finally:
        stop.set()
        for t in threads:
            t.join()
    for c in clients:
        total = len(admitted(shots[c]))
        wait_for(lambda c=c, total=total: in_list(redis, c) >= total, 15, "all is carried")
        assert 60 <= total <= 60 + shares(60, 2), total
        assert {s.status for s in shots[c]} <= {200, 429}
        # Redis knows of each, and of those that were asked of it in the moment of the cut, but for the client's sake twice
        assert total <= in_list(redis, c) <= total + 16


def test_what_was_allowed_counts(start, origin, redis):
    """on_failure: allow lets everybody in; the limit is what is counted of it."""
    weir = start(config(origin, redis, requests=5, timeout="50ms", on_failure="allow"))
    wait_store(weir)
    redis.kill()
    wait_store(weir, good=False)
    assert timed(weir, 20)[0] == [200] * 20
    redis.start()
    wait_store(weir, timeout=10)
    assert timed(weir, 3)[0] == [429] * 3
    assert in_list(redis) == 5


def test_a_lift_is_not_journalled(start, origin, redis):
    """What came under a lift never counts: not during an outage, not after it, not when Redis forgets."""
    weir = start(config(origin, redis, requests=5, timeout="50ms"))
    wait_store(weir)
    assert timed(weir, 2)[0] == [200] * 2
    weir.ctl("limits", "lift", "--for", "10m", "--reason", "test", "--everyone")
    assert timed(weir, 10)[0] == [200] * 10
    redis.kill()
    wait_store(weir, good=False)
    assert timed(weir, 10)[0] == [200] * 10
    redis.start()
    wait_store(weir, timeout=10)
    weir.ctl("limits", "restore")
    assert timed(weir, 5)[0] == [200] * 3 + [429] * 2, "what was admitted before the lift counts, and nothing else"


# Losses

@pytest.mark.parametrize("how", ["killed", "FLUSHALL", "killed in the middle"])
def test_a_redis_that_forgot_is_told_again(pair, redis, how):    # noqa: F811
    weirs = pair(requests=20, timeout="500ms")
    seen = [len(admitted(volley(ports(weirs), 14, CLIENT, threads=2))), 0]
    full = "203.0.113.2"
    assert len(admitted(volley(ports(weirs), 40, full, threads=4))) == 20
    lost = 0
    if how == "FLUSHALL":
        redis.cli("FLUSHALL")
    else:
        if how == "killed in the middle":    # questions are written, and never answered
            redis.freeze()
            for w in weirs:
                lost += oks(timed(w, 1)[0])
        redis.kill()
        redis.start()
        for w in weirs:
            wait_store(w, timeout=10)
    wait_for(lambda: in_list(redis) == 14 + lost and in_list(redis, full) == 20, 15, "it knows again")
    assert oks(timed(weirs[0], 3, full)[0]) == 0
    seen[1] = len(admitted(volley(ports(weirs), 20, CLIENT, threads=2)))
    assert seen[0] + lost + seen[1] == 20
    wait_for(lambda: sum(w.metric("weir_journal_replayed_total") for w in weirs) >= 34, 15)
    assert "lost data" in weirs[0].ctl("events") + weirs[1].ctl("events")


def test_flushed_under_load(pair, redis):    # noqa: F811
    """Until the loss is noticed, a fifth of a second, there may be up to the limit more; then none."""
    weirs = pair(requests=40)
    shots, stop = [], threading.Event()

    def load():
        while not stop.is_set():
            shots.extend(volley(ports(weirs), 10, CLIENT, threads=2))
    thread = threading.Thread(target=load)
    thread.start()
    try:
        wait_for(lambda: len(shots) > 200, 10)
        assert len(admitted(shots)) == 40
        redis.cli("FLUSHALL")
        wait_for(lambda: in_list(redis) >= 40, 15, "it knows again")
        time.sleep(0.3)
        count = len(admitted(shots))
        time.sleep(0.5)
        assert len(admitted(shots)) == count
    finally:
        stop.set()
        thread.join()
    assert len(admitted(shots)) <= 80


def test_a_restart_with_its_data_counts_nearly_nothing_twice(start, origin, closing):
    """What the mark says was saved is not told again, but for the tick that it falls into: a 64th of the window."""
    from weirlib import RedisServer
    redis = closing.add(RedisServer(args=["--appendonly", "yes", "--appendfsync", "always"]))
    weir = start(config(origin, redis, requests=30, window="16s", timeout="100ms"))
    wait_store(weir)
    assert timed(weir, 10)[0] == [200] * 10
    time.sleep(0.5)    # two ticks of 250 ms
    before = marks(redis)
    wait_for(lambda: marks(redis) != before, 10, "a mark says that they are saved")
    assert timed(weir, 1)[0] == [200]
    redis.kill()
    redis.start()
    wait_store(weir, timeout=10)
    time.sleep(0.5)
    assert 11 <= in_list(redis, window=16000) <= 12


# A network between

class Wire:
    """Passes bytes between weirs and Redis. Muted, what Redis says is dropped; cut, all connections end."""

    def __init__(self, to, on_request=None):
        self.to, self.on_request, self.muted = to, on_request, False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.pairs, self.ended = [], False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.ended:
            socks = [self.listener] + [s for p in list(self.pairs) for s in p]
            try:
                ready = select.select(socks, [], [], 0.02)[0]
            except (OSError, ValueError):
                continue
            for s in ready:
                if s is self.listener:
                    a = s.accept()[0]
                    try:
                        self.pairs.append((a, socket.create_connection(("127.0.0.1", self.to), 1)))
                    except OSError:
                        a.close()
                else:
                    self._pass(s)

    def _pass(self, s):
        pair = next((p for p in self.pairs if s in p), None)
        if not pair:
            return
        try:
            data = s.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._end(pair)
        elif s is pair[0]:
            if self.on_request:
                self.on_request(self, data)
            pair[1].sendall(data)
        elif not self.muted:
            pair[0].sendall(data)

    def _end(self, pair):
        self.pairs.remove(pair)
        for s in pair:
            s.close()

    def cut(self):
        for p in list(self.pairs):
            for s in p:
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def close(self):
        self.ended = True
        self.thread.join()
        self.listener.close()
        for p in self.pairs:
            for s in p:
                s.close()

    @property
    def url(self):
        return "redis://127.0.0.1:%d/0" % self.port


def test_a_carry_whose_answer_is_lost_counts_once(start, origin, redis, closing):
    carries = []

    def on_request(wire, data):
        found = re.findall(rb"\r\n\d+(?: \d+:\d+)+\r\n", data)
        if found:
            carries.append(found)
            if len(carries) == 1:
                wire.muted = True
    wire = closing.add(Wire(redis.port, on_request))
    c = config(origin, redis, requests=20, timeout="300ms")
    c["rate_limit"]["redis"]["url"] = wire.url
    c["workers"] = 1
    weir = start(c)
    wait_store(weir)
    redis.cli("SAVE")
    redis.kill()
    wait_store(weir, good=False)
    assert timed(weir, 7)[0] == [200] * 7
    redis.start()
    wait_for(lambda: carries, 10, "a carry was sent")
    wait_for(lambda: in_list(redis) == 7, 15, "and taken")
    wire.cut()
    wire.muted = False
    wait_for(lambda: len(carries) > 1, 10, "and sent again")
    wait_store(weir, timeout=10)
    time.sleep(0.5)
    assert in_list(redis) == 7
    assert oks(timed(weir, 20)[0]) == 13


def test_questions_cut_off_in_the_middle_may_count_twice(start, origin, redis, closing):
    """Redis granted and nobody heard: the weir admits by itself, and carries it. The error is against the client, and no
    more than what was under way."""
    wire = closing.add(Wire(redis.port))
    c = config(origin, redis, requests=40, timeout="300ms")
    c["rate_limit"]["redis"]["url"] = wire.url
    weir = start(c)
    wait_store(weir)
    assert timed(weir, 3)[0] == [200] * 3
    wire.muted = True
    seen = 3 + oks(timed(weir, 4)[0])
    assert seen == 7
    wire.cut()
    wire.muted = False
    wait_store(weir, timeout=10)
    wait_for(lambda: in_list(redis) >= seen, 15)
    time.sleep(0.5)
    assert seen <= in_list(redis) <= seen + 4
