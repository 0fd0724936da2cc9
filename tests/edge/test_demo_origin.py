# SPDX-License-Identifier: MIT
"""The small origin of the demo, the load tests and the benchmark."""
import os
import re
import time

import pytest

from weirlib import ROOT, Proc, RawClient, free_port, http, run_dir, wait_for
from weirlib.client import build
from weirlib.util import remove_dir

ORIGIN = os.environ.get("WEIR_ORIGIN", os.path.join(ROOT, "build", "loadtest", "origin"))

pytestmark = pytest.mark.skipif(not os.access(ORIGIN, os.X_OK), reason="%s is not built" % ORIGIN)


@pytest.fixture(scope="module")
def ports():
    directory, made = run_dir("origin"), (free_port(), free_port())
    proc = Proc([ORIGIN, "-n", "api", "-p", made[0], "-n", "dev", "-p", made[1]], directory, "origin")
    wait_for(lambda: answers(made[1]), 15)
    yield made
    trouble = proc.stop()
    left = proc.stderr()
    remove_dir(directory)
    assert not trouble and proc.popen.returncode == 0 and not left


def answers(port):
    try:
        return http(port, "/api/health-check").status == 200
    except OSError:
        return False


def test_each_port_has_its_name(ports):
    assert [http(p, "/api/x").json()["server"] for p in ports] == ["api", "dev"]


def test_the_benchmarks_answer_is_what_it_says(ports):
    res = http(ports[0], "/bench")
    assert len(res.body) == 130 and res.json()["ok"] is True


@pytest.mark.parametrize("n", [0, 1, 65536, 65537, 20_000_000])
def test_bytes(ports, n):
    assert len(http(ports[0], "/bytes/%d" % n).body) == n


def test_pages_and_statuses(ports):
    assert "<h1>dev</h1>" in http(ports[1], "/").text()
    assert http(ports[0], "/status/503").status == 503
    assert http(ports[0], "/status/204").framing == "none"
    assert http(ports[0], "/nothing").status == 404
    assert http(ports[0], "/bytes/500", method="HEAD").one("Content-Length") == "500"
    assert "X-Mark: here" in http(ports[0], "/headers", headers=[("X-Mark", "here")]).text()


def test_login_and_logout(ports):
    session, csrf = http(ports[0], "/login").get_all("Set-Cookie")
    assert re.fullmatch(r"session=[0-9a-f]{24}; Path=/; HttpOnly", session) and csrf.startswith("csrf_token=")
    assert all("Max-Age=0" in c for c in http(ports[0], "/logout").get_all("Set-Cookie"))
    assert "session=abc" in http(ports[0], "/whoami", headers=[("Cookie", "session=abc")]).text()


def test_pipelined_bodies_and_waits(ports):
    with RawClient(ports[0]) as c:
        c.send((build("GET", "/bytes/100000") + build("POST", "/bench", body=b"hello") + build("GET", "/slow/5") +
                build("POST", "/bench", body=[b"a" * 5000, b"b"])) * 20)
        for _ in range(20):
            assert len(c.read_response().body) == 100000
            assert [len(c.read_response().body) for _ in range(3)] == [130, 17, 130]


def test_byte_by_byte_and_http_1_0(ports):
    with RawClient(ports[0]) as c:
        for byte in build("POST", "/api/q", body=[b"abc"]) + b"GET /bench HTTP/1.0\r\n\r\n":
            c.send(bytes([byte]))
        assert c.read_response().status == 200
        assert c.read_response().closes() and c.closed_by_peer()


def test_slow_takes_its_time(ports):
    began = time.monotonic()
    http(ports[0], "/slow/200")
    assert 0.2 <= time.monotonic() - began < 5


def test_websocket_echo(ports):
    with RawClient(ports[0]) as c:
        assert c.ws_open("/ws").status == 101
        for n in (0, 1, 125, 126, 30000):
            c.ws_send(b"q" * n)
            assert c.ws_read() == (1, b"q" * n)
        c.ws_send(b"p", opcode=9)
        assert c.ws_read() == (10, b"p")
        c.ws_send(b"\x03\xe8", opcode=8)
        assert c.ws_read()[0] == 8 and c.closed_by_peer()
    assert http(ports[0], "/ws").status == 426


@pytest.mark.parametrize("noise", [b"GET /\r\n\r\n", b"\x00\xff\r\n\r\n", b"x" * 40000,
                                   b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"z" * 200])
def test_noise_closes(ports, noise):
    with RawClient(ports[0]) as c:
        try:
            c.send(noise)
            c.read_to_close()
        except OSError:
            pass
    assert answers(ports[0])
