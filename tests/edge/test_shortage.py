# SPDX-License-Identifier: MIT
"""When something runs out: weir sheds what it cannot serve, says so, and is itself again when there is more."""
import fcntl
import os
import resource
import signal

import pytest

from weirlib import base_config, wait_for


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
        wait_for(lambda: os.path.exists(fifo), 5)
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
    wait_for(lambda: lines_dropped(weir, "access") >= 19, 5)
    weir.wait_own_log("access log: a write failed: File too large")
    assert weir.control() == control
    resource.prlimit(control, resource.RLIMIT_FSIZE, before)
    assert weir.get("/after").status == 200
    weir.wait_own_log("access log: is written again")
    wait_for(lambda: weir.log_text().endswith("}\n") and '"/after"' in weir.log_text(), 5)
    assert lines_dropped(weir, "own") == 0


def test_no_space_left(start, origin):
    weir = start(base_config(origin, log={"access": "/dev/full"}))
    for _ in range(10):
        assert weir.get().status == 200
    wait_for(lambda: lines_dropped(weir, "access") == 10, 5)
    weir.wait_own_log("access log: a write failed: No space left on device")
