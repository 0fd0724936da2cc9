# SPDX-License-Identifier: MIT
"""Clients that send and take as slowly as they can, and those that only look like it."""
import socket
import threading
import time

import pytest

from weirlib import base_config, free_port, wait_for
from weirlib.client import ProtocolError, build
from weirlib.origin import pattern
from weirlib.tls import Authority, connect, context


class Drip:
    """Sends a piece every `every` seconds until it is stopped or the connection is gone."""

    def __init__(self, sock, piece, every):
        self.sock, self.piece, self.every, self.stopped = sock, piece, every, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.stopped.set()
        self.thread.join()

    def run(self):
        while not self.stopped.wait(self.every):
            try:
                self.sock.sendall(self.piece)
            except OSError:
                return


def noted(weir):
    """What the access log says of the one response, which did not reach the client whole."""
    entry, = weir.wait_log(lambda e: e["status"] == 200, timeout=10)
    return entry["note"]


def ended(weir, reason):
    return weir.metric("weir_connections_closed_total", reason=reason)


# Bodies

@pytest.mark.parametrize("framing, piece", [("Content-Length: 100000", b"x"),
                                            ("Transfer-Encoding: chunked", b"1\r\nx\r\n")])
def test_dripping_body_is_cut_off(origins, start, framing, piece):
    """A byte now and then starts no time anew: the body must come with caps.min_rate."""
    def script(conn):
        conn.read_head()
        assert conn.wait_closed(20), "the upstream connection must not stay"
    origin = origins(script=script)
    weir = start(base_config(origin, timeouts={"body": "600ms"}, caps={"min_rate": "1k"}))
    with weir.client() as c:
        c.send(build("POST", "/", [tuple(framing.split(": "))]))
        with Drip(c.sock, piece, 0.05):
            res = c.read_response()
    assert res.status == 408 and "too slowly" in res.text()
    wait_for(lambda: ended(weir, "too_slow") == 1, 10)
    assert ended(weir, "body_timeout") == 0
    assert origin.errors == []


def test_stalled_body_is_told_apart(origins, start):
    def script(conn):
        conn.read_head()
        conn.wait_closed(20)
    weir = start(base_config(origins(script=script), timeouts={"body": "400ms"}))
    with weir.client() as c:
        c.send(build("POST", "/", [("Content-Length", "10")]))
        assert c.read_response().status == 408
    wait_for(lambda: ended(weir, "body_timeout") == 1, 10)
    assert ended(weir, "too_slow") == 0


@pytest.mark.parametrize("min_rate", ["100", "off"])
def test_body_above_the_rate_takes_the_time_it_takes(origin, start, min_rate):
    """It lasts for several times timeouts.body, in pieces that are no quota by themselves."""
    weir = start(base_config(origin, timeouts={"body": "400ms"}, caps={"min_rate": min_rate}))
    with weir.client() as c:
        c.send(build("POST", "/echo", [("Content-Length", "600")]))
        for _ in range(30):
            time.sleep(0.05)    # the pace is what is tested: 400 bytes a second
            c.send(b"x" * 20)
        assert c.read_response().body == b"x" * 600


def test_time_that_the_origin_takes_is_not_the_clients(origins, start):
    """The upload waits for an origin that reads nothing for longer than timeouts.body."""
    go = threading.Event()

    def script(conn):
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        req = conn.read_head()
        go.wait(20)
        conn.read_body(req)
        conn.respond(200, b"%d" % len(req.body))
    weir = start(base_config(origins(script=script), timeouts={"body": "300ms"}, caps={"min_rate": "1m"}))
    size = 8 << 20
    with weir.client(timeout=30) as c:
        sender = threading.Thread(target=lambda: c.send(build("POST", "/", [("Content-Length", str(size))]) +
                                                        pattern(size)))
        sender.start()
        time.sleep(1)    # several times timeouts.body
        go.set()
        sender.join()
        assert c.read_response().body == b"%d" % size


def test_time_in_which_weir_connects_once_more_is_not_the_clients(start):
    """The server closes, and takes no other connection for longer than timeouts.body: nobody reads from the client."""
    server, stuffing = socket.create_server(("127.0.0.1", 0), backlog=0), []
    weir = start(base_config(timeouts={"body": "500ms"}, upstreams={
        "main": {"servers": ["127.0.0.1:%d" % server.getsockname()[1]], "timeouts": {"connect": "30s"}}}))
    with server, weir.client(timeout=60) as c:
        c.send(build("PUT", "/", [("Content-Length", "5")]))
        first, _ = server.accept()
        for _ in range(4):
            stuffing.append(socket.socket())
            stuffing[-1].setblocking(False)
            stuffing[-1].connect_ex(server.getsockname())
        first.close()
        wait_for(lambda: weir.metric("weir_upstream_retries_total") == 1, 10)
        time.sleep(1)    # twice timeouts.body
        for s in stuffing:
            s.close()
        c.send(b"hello")
        server.settimeout(30)
        while True:
            conn, _ = server.accept()
            with conn:
                got = conn.recv(4096)
                while got and not got.endswith(b"hello"):
                    got += conn.recv(4096)
                if got:
                    conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    break
        assert c.read_response().body == b"ok"


# Responses

def slow_reader(weir, target, rcvbuf=4096):
    c = weir.client(rcvbuf=rcvbuf, timeout=20)
    c.send(build("GET", target))
    return c


def test_dripping_reader_is_cut_off(origin, start):
    """It takes a little of a large response now and then."""
    weir = start(base_config(origin, timeouts={"body": "600ms"}, caps={"min_rate": "1m"}))
    with slow_reader(weir, "/bytes/30000000") as c:
        def take():
            try:
                return not c.sock.recv(3000)
            except ConnectionResetError:
                return True
        wait_for(lambda: take() or ended(weir, "too_slow"), 20, every=0.05)
        wait_for(lambda: ended(weir, "too_slow") == 1, 10)
    assert noted(weir) == "the client was slower than caps.min_rate"
    wait_for(lambda: weir.metric("weir_requests_active") == 0, 15)
    wait_for(lambda: origin.open_connections() == 0, 15)


def test_reader_that_takes_nothing_is_told_apart(origin, start):
    weir = start(base_config(origin, timeouts={"body": "400ms"}))
    with slow_reader(weir, "/bytes/30000000"):
        wait_for(lambda: ended(weir, "body_timeout") == 1, 10)
    assert noted(weir) == "nothing moved to or from the client for timeouts.body"
    assert ended(weir, "too_slow") == 0


def test_reader_that_leaves_is_noted(origin, start):
    weir = start(base_config(origin))
    with slow_reader(weir, "/bytes/30000000"):
        pass
    assert noted(weir) == "the client closed the connection"


@pytest.mark.parametrize("head, body", [("Content-Length: 60", "abc"), ("Transfer-Encoding: chunked", "3\r\nabc\r\n")])
def test_response_that_its_origin_leaves_is_noted(origins, start, head, body):
    def script(conn):
        conn.read_request()
        conn.send("HTTP/1.1 200 OK\r\n%s\r\n\r\n%s" % (head, body))
        conn.close()
    weir = start(base_config(origins(script=script)))
    with weir.client() as c:
        c.send(build("GET", "/"))
        assert c.read_head().status == 200
    assert noted(weir) == "the upstream did not end its response"


def test_whole_responses_have_no_note(origin, start):
    weir = start(base_config(origin))
    with weir.client() as c:
        assert c.request().status == 200
        assert c.request(target="/bytes/3000000").status == 200
    assert all("note" not in e for e in weir.wait_log(lambda e: e["status"] == 200, n=2))


def test_slow_reader_above_the_rate_gets_all(origin, start):
    size = 8 << 20
    weir = start(base_config(origin, timeouts={"body": "400ms"}, caps={"min_rate": "1k"}))
    with slow_reader(weir, "/bytes/%d" % size, rcvbuf=65536) as c:
        res, got = c.read_head(), 0
        got += len(c.buf)
        while got < size:
            time.sleep(0.02)    # the pace is what is tested
            data = c.sock.recv(65536)
            if not data:
                raise ProtocolError("cut after %d bytes" % got)
            got += len(data)
    assert res.status == 200 and got == size


def test_stream_that_its_origin_feeds_slowly_goes_on(origins, start):
    """Server-sent events: the client takes all there is, at once."""
    def script(conn):
        conn.read_request()
        conn.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(5):
            time.sleep(0.2)
            conn.send("3\r\n:\r\n\r\n")
        conn.send("0\r\n\r\n")
    weir = start(base_config(origins(script=script), timeouts={"body": "300ms"}, caps={"min_rate": "1m"}))
    with weir.client() as c:
        assert c.request().body == b":\r\n" * 5


def test_long_poll_waits(origin, start):
    weir = start(base_config(origin, timeouts={"body": "300ms"}, caps={"min_rate": "1m"}))
    assert weir.get("/slow/1500", method="POST", body=b"x" * 5000).status == 200


def test_quiet_tunnel_stays(origin, start):
    weir = start(base_config(origin, timeouts={"body": "300ms"}, caps={"min_rate": "1m"},
                             sites=[{"hosts": ["*"], "upstream": "main", "upgrade": ["websocket"]}]))
    with weir.client() as c:
        assert c.ws_open().status == 101
        for i in range(3):
            time.sleep(0.5)
            c.ws_send(b"%d" % i)
            assert c.ws_read()[1] == b"%d" % i


# Heads

def test_ends_of_slow_and_bad_heads_are_told_apart(origin, start):
    weir = start(base_config(origin, timeouts={"head": "300ms"}))
    with weir.client() as c:
        c.send("GET / HTTP/1.1\r\nHost: a")
        assert c.read_response().status == 408
    with weir.client() as c:
        c.send("GET / HTTP/1.1\r\nHost : a\r\n\r\n")
        assert c.read_response().status == 400
    wait_for(lambda: ended(weir, "head_timeout") == 1 and ended(weir, "malformed") == 1, 10)


# Over TLS

@pytest.fixture
def tls_weir(start, origin, closing):
    """tls_weir(**config) runs a weir with a TLS listener, and gives it and a function that connects there."""
    ca = closing.add(Authority())
    leaf = ca.issue("a.example", "127.0.0.1")

    def run(**more):
        port, plain = free_port(), free_port()
        listen = [{"address": "127.0.0.1:%d" % plain}, {"address": "127.0.0.1:%d" % port, "tls": leaf.yaml}]
        return start(base_config(origin, listen=listen, **more), port=plain), lambda: connect(port, context(ca))
    return run


def test_dripping_body_over_tls_is_cut_off(tls_weir):
    weir, conn = tls_weir(timeouts={"body": "600ms"}, caps={"min_rate": "1k"})
    with conn() as c:
        c.sendall(build("POST", "/echo", [("Content-Length", "100000")]))
        with Drip(c, b"x", 0.05):
            assert c.recv(4096).startswith(b"HTTP/1.1 408 ")
    wait_for(lambda: ended(weir, "too_slow") == 1, 10)


def test_dripping_reader_over_tls_is_cut_off(tls_weir):
    weir, conn = tls_weir(timeouts={"body": "600ms"}, caps={"min_rate": "1m"})
    with conn() as c:
        c.sendall(build("GET", "/bytes/60000000"))

        def take():
            try:
                return not c.recv(5000)
            except OSError:
                return True
        wait_for(lambda: take() or ended(weir, "too_slow"), 20, every=0.05)
        wait_for(lambda: ended(weir, "too_slow") == 1, 10)


def test_dripping_handshake_is_cut_off(tls_weir):
    """A byte now and then of what looks like the beginning of TLS."""
    weir, conn = tls_weir(timeouts={"head": "500ms"})
    port = int(weir.config["listen"][1]["address"].rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        with Drip(s, b"\x00", 0.05):
            wait_for(lambda: ended(weir, "handshake_timeout") == 1, 10)
