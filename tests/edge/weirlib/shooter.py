# SPDX-License-Identifier: MIT
"""Requests at planned moments from one thread, each stamped with the real-time clock just before it was sent and
just after its answer was read. One thread, since threads of Python wait for each other longer than a proxy takes."""
import heapq
import re
import selectors
import socket
import time
from collections import defaultdict, namedtuple

from .client import build
from .exact import Seen

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.I)
Planned = namedtuple("Planned", "at client port")    # seconds from the start; any order


def now_us():
    return time.clock_gettime_ns(time.CLOCK_REALTIME) // 1000


class _Connection:
    def __init__(self, port):
        self.port, self.data = port, b""
        self.sock = socket.create_connection(("127.0.0.1", port), 10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)

    def answer(self):
        """The status, once the response is whole; 0 when the connection was lost."""
        try:
            more = self.sock.recv(65536)
        except BlockingIOError:
            return None
        except OSError:
            return 0
        if not more:
            return 0
        self.data += more
        head = self.data.find(b"\r\n\r\n")
        if head < 0:
            return None
        length = LENGTH.search(self.data, 0, head + 2)
        assert length, "a response without Content-Length: %r" % self.data[:200]
        if len(self.data) < head + 4 + int(length[1]):
            return None
        status, self.closes = int(self.data[9:12]), b"\r\nconnection: close" in self.data[:head].lower()
        self.data = b""
        return status


class Report:
    def __init__(self):
        self.seen = defaultdict(list)    # by client: exact.Seen, of 200 and 429
        self.statuses = defaultdict(int)    # 0: the connection was lost before the answer
        self.lost = []    # (client, sent): nobody knows whether it was admitted
        self.took = []    # seconds


def shoot(plan, host="test.example", target="/", connections=64, answers_within=10.0):
    """Carries out the plan. A request that finds all its port's connections busy goes out as soon as one is free."""
    plan = sorted(plan)
    bytes_of = {c: build("GET", target, [("X-Forwarded-For", c)], host=host) for c in {p.client for p in plan}}
    report, free, busy, open_at = Report(), defaultdict(list), {}, defaultdict(int)
    late, selector = defaultdict(list), selectors.EpollSelector()

    def send(planned):
        if free[planned.port]:
            c = free[planned.port].pop()
        elif open_at[planned.port] < connections:
            c = _Connection(planned.port)
            open_at[planned.port] += 1
            selector.register(c.sock, selectors.EVENT_READ, c)
        else:
            heapq.heappush(late[planned.port], planned)
            return
        sent = now_us()
        try:
            c.sock.send(bytes_of[planned.client])
        except OSError:
            drop(c)
            report.statuses[0] += 1
            return
        busy[c] = planned.client, sent

    def drop(c):
        selector.unregister(c.sock)
        c.sock.close()
        open_at[c.port] -= 1

    def answered(c, status):
        got = now_us()
        client, sent = busy.pop(c, (None, None))
        if client is None or not status or c.closes:
            drop(c)
        else:
            free[c.port].append(c)
        if client is None:
            free[c.port] = [f for f in free[c.port] if f is not c]
            return
        report.statuses[status] += 1
        report.took.append((got - sent) / 1e6)
        if status in (200, 429):
            report.seen[client].append(Seen(sent, got, status == 200))
        else:
            report.lost.append((client, sent))
        if late[c.port]:
            send(heapq.heappop(late[c.port]))

    start, i = time.monotonic(), 0
    while i < len(plan) or busy:
        now = time.monotonic() - start
        if i < len(plan):
            wait = max(0.0, plan[i].at - now)
        else:
            assert now < plan[-1].at + answers_within, "%d requests were not answered" % len(busy)
            wait = 0.1
        for key, _ in selector.select(wait if wait > 0.0005 else 0):
            status = key.data.answer()
            if status is not None:
                answered(key.data, status)
        now = time.monotonic() - start
        while i < len(plan) and plan[i].at <= now:
            send(plan[i])
            i += 1
    for key in list(selector.get_map().values()):
        drop(key.data)
    selector.close()
    return report
