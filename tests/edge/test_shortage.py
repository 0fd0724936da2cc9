# SPDX-License-Identifier: MIT
"""When something runs out: weir sheds what it cannot serve, says so, and is itself again when there is more."""
import collections
import fcntl
import mmap
import os
import resource
import signal
import struct
import subprocess
import sys
import threading
import time

import pytest

from weirlib import base_config, wait_for
from weirlib.client import ProtocolError, build
from weirlib.util import stat_fields
from weirlib.weir import SANITIZED


def limit(pid, what, soft):
    """Returns the limits of before."""
    before = resource.prlimit(pid, what)
    resource.prlimit(pid, what, (soft, before[1]))
    return before


def lines_dropped(weir, log):
    return weir.metric("weir_log_dropped_total", log=log)


# Logs

class Pipe:
    """A pipe that can be stuffed until nobody can write to it, whoever else holds it."""

    def __init__(self):
        self.read_fd, self.write_fd = os.pipe()
        fcntl.fcntl(self.write_fd, fcntl.F_SETPIPE_SZ, 4096)
        self.own = os.open("/proc/self/fd/%d" % self.write_fd, os.O_WRONLY | os.O_NONBLOCK)
        os.set_blocking(self.read_fd, False)

    def close(self):
        for fd in (self.read_fd, self.write_fd, self.own):
            os.close(fd)

    def stuff(self):
        try:
            while True:
                os.write(self.own, b"#")
        except BlockingIOError:
            pass

    def read(self):
        got = b""
        try:
            while True:
                got += os.read(self.read_fd, 65536)
        except BlockingIOError:
            return got.decode()


@pytest.fixture
def pipe():
    p = Pipe()
    yield p
    p.close()


def test_stuck_stderr_leaves_the_access_log_alone(start, origin, pipe):
    weir = start(base_config(origin), stderr=pipe.write_fd)
    wait_for(lambda: "serves on" in pipe.read(), 10)
    pipe.stuff()
    for _ in range(3):
        weir.reload()    # says so in the own log, and in the events
    for i in range(300):
        assert weir.get("/n%d" % i).status == 200
    assert len(weir.wait_log(lambda e: e["path"].startswith("/n"), 300)) == 300
    assert "reload" in weir.ctl("events")
    heard = []
    wait_for(lambda: heard.append(pipe.read()) or "".join(heard).count("config") >= 3, 10)
    pipe.stuff()
    assert weir.term() == 0    # a log that nobody takes is no reason to stay either


def test_a_crash_is_not_held_up_by_a_stuck_stderr(start, origin, pipe):
    """The report of a crash goes straight to stderr."""
    weir = start(base_config(origin, workers=1), stderr=pipe.write_fd, expect_crash=True)
    wait_for(lambda: "serves on" in pipe.read(), 10)
    pipe.stuff()
    pid, = weir.workers()
    os.kill(pid, signal.SIGSEGV)
    wait_for(lambda: len(weir.workers()) == 1 and weir.workers() != [pid] and weir.is_ready(), 20)
    assert weir.get().status == 200


def test_stuck_access_log_leaves_the_own_log_alone(start, origin, tmp_path):
    fifo = str(tmp_path / "access")
    os.mkfifo(fifo)
    os.chmod(fifo, 0o666)
    os.chmod(str(tmp_path), 0o777)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        weir = start(base_config(origin, log={"access": fifo}))
        for i in range(100):
            assert weir.get("/" + "x" * 3000).status == 200
        weir.reload()
        weir.wait_own_log("reload")
        os.rename(fifo, fifo + ".old")
        weir.send_signal(signal.SIGUSR1)    # a file in its place: the writer turns to it
        wait_for(lambda: os.path.exists(fifo), 15)
        assert weir.get("/fresh").status == 200
        wait_for(lambda: "/fresh" in open(fifo).read(), 10)
    finally:
        os.close(reader)


def test_full_disk_costs_lines_and_nothing_else(start, origin):
    """A file as large as it may be stands for a full disk: EFBIG, and SIGXFSZ for who does not expect it."""
    weir = start(base_config(origin))
    for _ in range(20):    # so that the own log, which is a file too, is far from the limit
        assert weir.get("/" + "x" * 2000).status == 200
    weir.wait_log(None, 20)
    control = weir.control()
    before = limit(control, resource.RLIMIT_FSIZE, os.path.getsize(weir.access_path) + 100)
    for _ in range(20):
        assert weir.get("/lost").status == 200
    wait_for(lambda: lines_dropped(weir, "access") >= 19, 15)
    weir.wait_own_log("access log: a write failed: File too large")
    assert weir.control() == control
    resource.prlimit(control, resource.RLIMIT_FSIZE, before)
    assert weir.get("/after").status == 200
    weir.wait_own_log("access log: is written again")
    wait_for(lambda: weir.log_text().endswith("}\n") and '"/after"' in weir.log_text(), 15)
    assert lines_dropped(weir, "own") == 0


def test_no_space_left(start, origin):
    weir = start(base_config(origin, log={"access": "/dev/full"}))
    for _ in range(10):
        assert weir.get().status == 200
    wait_for(lambda: lines_dropped(weir, "access") == 10, 15)
    weir.wait_own_log("access log: a write failed: No space left on device")


# Descriptors

def cpu_s(pid):
    fields = stat_fields(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_fds(pid, n):
    """Leaves a process `n` descriptors to open. Returns the limits of before."""
    taken = {int(fd) for fd in os.listdir("/proc/%d/fd" % pid)}
    free = sorted(set(range(len(taken) + n + 1)) - taken)
    return limit(pid, resource.RLIMIT_NOFILE, free[n])


def open_files(pid):
    return len(os.listdir("/proc/%d/fd" % pid))


def whole(weir, pid=None, files=None):
    """All is well again, and nothing was left behind: not a descriptor where a worker and its count are given."""
    def all_well():
        with weir.client() as c:
            return all(c.request("GET", "/close").status == 200 for _ in range(5))
    wait_for(all_well, 10, "requests are served again")
    wait_for(lambda: weir.metric("weir_requests_active") == 0 and weir.metric("weir_connections") == 0, 10)
    assert weir.metric("weir_process_crashes_total") == 0
    if pid:
        wait_for(lambda: open_files(pid) <= files, 10, "as many descriptors as before")


@pytest.mark.parametrize("left", [0, 1, 7])
def test_connections_without_a_descriptor_are_shed(origin, start, left):
    weir = start(base_config(origin, workers=1))
    pid, = weir.workers()
    wait_for(lambda: weir.metric("weir_connections") == 0, 15)
    files = open_files(pid)
    before, held = free_fds(pid, left), []
    try:
        for _ in range(left):
            held.append(weir.client())
        wait_for(lambda: weir.metric("weir_connections") == left, 15)
        for _ in range(70):    # more than are accepted in a turn
            with weir.client() as c:
                res = c.read_response()
                assert (res.status, res.one("Retry-After")) == (503, "1") and res.one("X-Request-Id")
        cpu = cpu_s(pid)
        wait_for(lambda: weir.metric("weir_connections_closed_total", reason="overload") == 70, 15)
        time.sleep(0.5)
        assert cpu_s(pid) - cpu < 0.2, "it spins"
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        for c in held:
            c.close()
    weir.wait_own_log("no connection can be served: Too many open files")
    whole(weir, pid, files)


def test_queue_is_left_alone_when_even_the_reserve_is_gone(origin, start):
    """A limit below what is open: nothing can be had back, and the worker must not spin on its listener."""
    weir = start(base_config(origin, workers=1))
    pid, = weir.workers()
    with weir.client() as kept:
        assert kept.request("GET", "/kept").status == 200
        before = limit(pid, resource.RLIMIT_NOFILE, 3)
        waiting = []
        try:
            for _ in range(20):
                waiting.append(weir.client().send(build()))
            cpu = cpu_s(pid)
            time.sleep(1)
            assert cpu_s(pid) - cpu < 0.3, "it spins"
            res = kept.request("GET", "/kept")
            assert res.status in (200, 503)
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        for c in waiting:    # they were left in the queue, and are served now
            assert c.read_response().status == 200
            c.close()
    whole(weir)


def limited_to(files):
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))


def test_few_descriptors_from_the_start(origin, start):
    """caps.connections: auto fits itself to the limit; what is above it is turned away, and all else served."""
    weir = start(base_config(origin, workers=2), before_exec=limited_to(400))
    weir.wait_own_log(r"caps.connections is 336: each of 2 workers may open 400 files")
    assert [e["level"] for e in weir.own_log() if "caps.connections" in e.get("message", "")] == ["info"]
    held = []
    try:
        for _ in range(400):
            held.append(weir.client().send(build()))
        statuses = [c.read_response().status for c in held]
        assert statuses.count(200) >= 300 and set(statuses) == {200, 503}, statuses
        assert weir.metric("weir_connections") <= 336
        weir.wait_own_log("connections are turned away: .*, caps.connections is 336")
    finally:
        for c in held:
            c.close()
    whole(weir)


def test_a_cap_that_does_not_fit_is_warned_of(origin, start):
    weir = start(base_config(origin, caps={"connections": 5000}), before_exec=limited_to(400))
    weir.wait_own_log(r"caps.connections is lowered from 5000 to 336: .*raise the limit with `ulimit -n`")
    whole(weir)


# Memory

@pytest.mark.skipif(SANITIZED, reason="a sanitizer's own memory is in the way")
def test_memory_that_ran_out_sheds_and_comes_back(origin, start):
    weir = start(base_config(origin, workers=1))
    pid, = weir.workers()
    whole(weir)
    with open("/proc/%d/statm" % pid) as f:
        size = int(f.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    before, held = limit(pid, resource.RLIMIT_AS, size + (1 << 20)), []
    try:
        for i in range(600):    # each holds a head that is not complete: a few KB
            c = weir.client()
            held.append(c)
            try:
                c.send(b"GET / HTTP/1.1\r\nX-Long: " + b"x" * 6000)
            except OSError:
                pass
        wait_for(lambda: weir.metric("weir_memory_shortages_total") >= 100, 10)
        shed = [c for c in held if answered(c)]
        assert shed and any(c.buf.startswith(b"HTTP/1.1 503") for c in shed)
        cpu = cpu_s(pid)
        time.sleep(0.5)
        assert cpu_s(pid) - cpu < 0.2, "it spins"
    finally:
        resource.prlimit(pid, resource.RLIMIT_AS, before)
        for c in held:
            c.reset()
    assert weir.workers() == [pid]
    whole(weir)


@pytest.mark.skipif(SANITIZED, reason="a sanitizer's own memory is in the way")
def test_memory_that_runs_out_under_responses_is_no_servers_fault(origin, start):
    """Nobody reads, so that each response wants memory of its own."""
    weir = start(base_config(origin, workers=1))
    pid, = weir.workers()
    whole(weir)
    held = [weir.client() for _ in range(300)]
    wait_for(lambda: weir.metric("weir_connections") == 300, 10)
    with open("/proc/%d/statm" % pid) as f:
        size = int(f.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    before = limit(pid, resource.RLIMIT_AS, size + (1 << 20))
    try:
        for c in held:
            c.send(build("GET", "/bytes/8000000"))
        wait_for(lambda: weir.metric("weir_memory_shortages_total") >= 100, 10)
    finally:
        resource.prlimit(pid, resource.RLIMIT_AS, before)
        for c in held:
            c.reset()
    assert weir.metric("weir_upstream_failures_total") == 0 and weir.workers() == [pid]
    whole(weir)


@pytest.mark.skipif(SANITIZED, reason="a sanitizer's own memory is in the way")
def test_a_head_that_grows_when_memory_ran_out_is_answered(origin, start):
    weir = start(base_config(origin, workers=1))
    pid, = weir.workers()
    held = [weir.client().send(b"GET / HTTP/1.1\r\nHost: a.example\r\nX-Long: " + b"x" * 1000) for _ in range(300)]
    wait_for(lambda: weir.metric("weir_connections") == 300, 10)
    with open("/proc/%d/statm" % pid) as f:
        size = int(f.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    before = limit(pid, resource.RLIMIT_AS, size + (256 << 10))
    try:
        for c in held:
            c.send(b"x" * 12000)
        wait_for(lambda: weir.metric("weir_connections_closed_total", reason="overload") >= 50, 20)
        assert weir.metric("weir_connections_closed_total", reason="aborted") == 0, "it was not the client that went"
        weir.wait_own_log("memory ran out for a connection")
    finally:
        resource.prlimit(pid, resource.RLIMIT_AS, before)
        for c in held:
            c.reset()
    whole(weir)


def answered(c):
    """The connection has brought something, or is over."""
    c.sock.setblocking(False)
    try:
        return not c.fill() or bool(c.buf)
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


# Ports

def test_ports_that_ran_out_are_no_servers_fault(tmp_path):
    """In a network of its own, where connections have 40 ports to leave from."""
    run = subprocess.run([sys.executable, os.path.join(os.path.dirname(__file__), "weirlib", "few_ports.py")],
                         capture_output=True, text=True, timeout=60)
    if run.returncode == 77:
        pytest.skip("no network namespace can be made here")
    assert run.returncode == 0, run.stdout + run.stderr


class Failing:
    """malloc and its like fail every so many calls in one process, from when they are told to (failing.c)."""

    def __init__(self, tmp_path):
        source = os.path.join(os.path.dirname(__file__), "weirlib", "failing.c")
        self.library, path = str(tmp_path / "failing.so"), str(tmp_path / "every")
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", self.library, source], check=True)
        with open(path, "wb") as f:
            f.truncate(4096)
        os.chmod(str(tmp_path), 0o777)
        os.chmod(path, 0o666)
        with open(path, "r+b") as f:
            self.shared = mmap.mmap(f.fileno(), 4096)
        self.env = {"LD_PRELOAD": self.library, "LD_WEIR_FAILING": path}

    def every(self, n, pid):
        self.shared[:8] = struct.pack("II", n, pid)

    def failed(self):
        return struct.unpack("I", self.shared[8:12])[0]


def mixed_traffic(weir, seconds):
    """All that takes memory, from many connections at a time. Counts the answers by status; 0: none came whole."""
    statuses, until, lock = collections.Counter(), time.monotonic() + seconds, threading.Lock()

    def one(kind):
        with weir.client(source="127.0.0.8", timeout=10) as c:
            if kind == 0:
                return c.request("GET", "/bytes/300000").status
            if kind == 1:
                return c.request("POST", "/echo", body=[b"x" * 30000] * 4).status
            if kind == 2:
                return c.request("POST", "/echo", body=b"y" * 100000).status
            if kind == 3:
                c.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + b"z" * 9000)
                return c.send(b"z" * 3000 + b"\r\n\r\n").read_response().status
            if kind == 4:
                return c.request("GET", "/chunked/100000").status
            res = c.ws_open()
            if res.status == 101:
                c.ws_send(b"w" * 40000)
                assert c.ws_read()[1] == b"w" * 40000
            return res.status

    def client(n):
        while time.monotonic() < until:
            try:
                status = one(n % 6)
            except (OSError, ProtocolError, EOFError):
                status = 0
            with lock:
                statuses[status] += 1
            n += 1
    threads = [threading.Thread(target=client, args=(n,)) for n in range(24)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return statuses


@pytest.mark.skipif(SANITIZED, reason="a sanitizer has the place of malloc")
def test_memory_that_fails_anywhere(origin, redis, start, tmp_path):
    """Each place that asks for memory is denied it at some time: no crash, nothing lost, nothing left behind."""
    failing = Failing(tmp_path)
    many = {"policies": {"default": {"requests": 1000000, "window": "60s"}}, "store": "redis",
            "redis": {"url": "redis://127.0.0.1:%d/0" % redis.port}}
    weir = start(base_config(origin, workers=1, rate_limit=many,
                             sites=[{"hosts": ["*"], "upstream": "main", "upgrade": ["websocket"]}]), env=failing.env)
    pid, = weir.workers()
    files = open_files(pid)
    for every in (2, 3, 7, 20):
        failing.every(every, pid)
        statuses = mixed_traffic(weir, 1)
        failing.every(0, pid)
        assert set(statuses) <= {0, 101, 200, 502, 503, 504}, statuses
        assert weir.workers() == [pid]
        whole(weir)
    whole(weir, pid, files)
    assert failing.failed() > 100
    assert weir.metric("weir_memory_shortages_total") > 10
    assert set(mixed_traffic(weir, 0.5)) == {101, 200}
