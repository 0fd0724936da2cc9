# SPDX-License-Identifier: MIT
"""Bodies much larger than any buffer, both ways, with memory flat and each side held by the other's pace.

WEIR_LARGE_MB sets the size of each; `make soak` runs 5 GB each.
"""
import os
import threading
import time
import zlib

import pytest

from weirlib import base_config, wait_for
from weirlib.weir import SANITIZED

BLOCK = bytes(range(256)) * 4095    # no multiple of any buffer's size
MB = int(os.environ.get("WEIR_LARGE_MB", "32" if SANITIZED else "256"))
SIZE = (MB << 20) // len(BLOCK) * len(BLOCK)


class End:
    """One side of a transfer: framing, and counts that the other side can look at."""

    def __init__(self, sock, chunked, stall):
        self.sock, self.chunked, self.stall = sock, chunked, stall
        self.file = sock.makefile("rb", 1 << 20)
        self.sent = self.taken = self.crc = 0

    def head(self):
        lines = iter(self.file.readline, b"\r\n")
        return b"".join(lines)

    def framing(self):
        return b"Transfer-Encoding: chunked\r\n\r\n" if self.chunked else b"Content-Length: %d\r\n\r\n" % SIZE

    def send_body(self):
        while self.sent < SIZE:
            if self.chunked:
                self.sock.sendall(b"%x\r\n" % len(BLOCK))
            self.sock.sendall(BLOCK)
            if self.chunked:
                self.sock.sendall(b"\r\n")
            self.sent += len(BLOCK)
        if self.chunked:
            self.sock.sendall(b"0\r\n\r\n")

    def take(self, n):
        view = memoryview(bytearray(1 << 20))
        while n:
            got = self.file.readinto(view[:min(n, len(view))])
            if not got:
                raise EOFError("after %d bytes" % self.taken)
            self.crc = zlib.crc32(view[:got], self.crc)
            if self.taken <= SIZE // 4 < self.taken + got:
                self.stall()
            self.taken += got
            n -= got

    def take_body(self):
        if not self.chunked:
            self.take(SIZE)
            return
        while True:
            n = int(self.file.readline(), 16)
            if n == 0:
                assert self.file.readline() == b"\r\n"
                return
            self.take(n)
            assert self.file.readline() == b"\r\n"


def whole_crc():
    crc = 0
    for _ in range(SIZE // len(BLOCK)):
        crc = zlib.crc32(BLOCK, crc)
    return crc


def peak_kb(pids):
    """The most memory that each has had so far, summed up."""
    total = 0
    for pid in pids:
        with open("/proc/%d/status" % pid) as f:
            total += next(int(line.split()[1]) for line in f if line.startswith("VmHWM"))
    return total


def settled(count):
    """Waits until a count stands still, and returns it."""
    last = [-1, 0.0]

    def still():
        now = count()
        if now != last[0]:
            last[:] = now, time.monotonic()
        return time.monotonic() - last[1] > 0.3
    wait_for(still, 30)
    return last[0]


def kernel_buffers():
    """Bytes that the kernel may hold of two connections."""
    total = 0
    for name in ("tcp_rmem", "tcp_wmem"):
        with open("/proc/sys/net/ipv4/" + name) as f:
            total += 2 * int(f.read().split()[2])
    return total


class Transfer:
    """A body in one direction, whose taker stops once and looks where the sender comes to a halt."""

    def __init__(self, origins, start, chunked):
        self.chunked, self.sender, self.held = chunked, None, None
        self.origin = origins(script=self.serve)
        self.weir = start(base_config(self.origin, workers=1))
        assert self.weir.get("/small").status == 200
        self.client = self.weir.client(timeout=60)
        self.near = End(self.client.sock, chunked, self.stall)

    def serve(self, conn):
        far = End(conn.sock, self.chunked, self.stall)
        head = far.head()
        if head.startswith(b"GET /down"):
            self.sender = far
            conn.send(b"HTTP/1.1 200 OK\r\n" + far.framing())
            far.send_body()
        elif head.startswith(b"POST"):
            far.take_body()
            self.far_crc = far.crc
            conn.respond(200, b"%d" % far.taken)
        else:
            conn.respond(200, b"small", [("Connection", "close")])
            return
        conn.wait_closed(60)

    def stall(self):
        self.held = settled(lambda: self.sender.sent) - SIZE // 4

    def down(self):
        self.client.send("GET /down HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b" 200 " in self.near.head().split(b"\r\n")[0] + b" "
        self.near.take_body()
        return self.near.crc

    def up(self):
        self.sender = self.near
        self.client.send(b"POST /up HTTP/1.1\r\nHost: a\r\n" + self.near.framing())
        sending = threading.Thread(target=self.near.send_body)
        sending.start()
        head = self.near.head()
        sending.join()
        assert head.startswith(b"HTTP/1.1 200 "), head
        return self.far_crc


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("way", ["down", "up"])
def test_large_body_passes_with_flat_memory(origins, start, way, framing):
    t = Transfer(origins, start, framing == "chunked")
    pids, began = t.weir.workers(), time.monotonic()
    before = peak_kb(pids)
    with t.client:
        assert getattr(t, way)() == whole_crc()
    grown = peak_kb(pids) - before
    took = time.monotonic() - began
    print("\n%s, %s: %d MB in %.1f s, %.0f MB/s, %d KB more memory, %d MB on the way while the taker stood still"
          % (way, framing, SIZE >> 20, took, (SIZE >> 20) / took, grown, t.held >> 20))
    assert t.held < kernel_buffers() + (4 << 20), "it is not held by the other side's pace"
    assert SANITIZED or grown < 2048
    wait_for(lambda: t.weir.metric("weir_requests_active") == 0, 10)
