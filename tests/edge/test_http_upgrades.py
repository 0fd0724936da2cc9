# SPDX-License-Identifier: MIT
"""Switching protocols to the letter (RFC 9110, 7.8): who may, h2c smuggling in its known forms, and the tunnel itself."""
import hashlib
import os
import socket
import threading
import time

import pytest

from weirlib import Origin, base_config, wait_for
from weirlib.client import ProtocolError, build
from weirlib.weir import SANITIZED

SITES = [
    {"hosts": ["ws.example"], "upstream": "main", "upgrade": ["websocket", "irc"],
     "paths": [{"prefix": "/guarded", "allow": ["192.0.2.0/24"]}]},
    {"hosts": ["*"], "upstream": "main"},
]
SWITCHED = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: %s\r\nConnection: Upgrade\r\n\r\n"
GUARDED = build("GET", "/guarded/x", host="ws.example")
SETTINGS = "AAMAAABkAARAAAAAAAIAAAAA"


def eager(conn):
    """An origin that agrees to whatever it is asked for, and then repeats what it hears."""
    while True:
        req = conn.read_request()
        asked = req.get("Upgrade")
        if not asked:
            conn.respond(200, req.path.encode())
            continue
        conn.send(SWITCHED % asked.split(",")[0].strip())
        data, conn.buf = conn.buf, b""
        while True:
            if data:
                conn.send(b"<" + data + b">")
            data = conn.recv()
            if not data:
                return


@pytest.fixture(scope="module")
def shared(module_start, module_closing):
    origin = module_closing.add(Origin(script=eager))
    weir = module_start(base_config(origin, workers=1, sites=SITES))
    weir.origin = origin
    return weir


@pytest.fixture
def weir(shared):
    shared.origin.clear()
    return shared


@pytest.fixture(scope="module")
def stage(module_start, module_closing):
    """One weir whose origin plays the script that a test hands in."""
    origin = module_closing.add(Origin(script=lambda conn: stage_weir.script(conn)))
    stage_weir = module_start(base_config(origin, workers=1, sites=SITES))
    stage_weir.origin = origin
    return stage_weir


@pytest.fixture
def play(stage):
    def begin(script):
        wait_for(lambda: stage.origin.open_connections() == 0, 10)
        stage.origin.clear()
        stage.script = script
        return stage
    return begin


def asking(*fields, host="ws.example", first="GET /x HTTP/1.1"):
    return "\r\n".join((first, "Host: " + host) + fields).encode("latin-1") + b"\r\n\r\n"


WEBSOCKET = asking("Upgrade: websocket", "Connection: Upgrade")


# Who may (RFC 9110, 7.8)

@pytest.mark.parametrize("fields, token", [
    (["Upgrade: websocket", "Connection: Upgrade"], "websocket"), (["upgrade: WebSocket", "connection: uPGRADE"], "WebSocket"),
    (["Upgrade: irc", "Connection: keep-alive, Upgrade"], "irc"), (["Upgrade: foo/1, irc , websocket", "Connection: upgrade"], "irc"),
    (["Upgrade: foo", "Upgrade: websocket", "Connection: x", "Connection: upgrade"], "websocket"),
    (["Upgrade: ,, websocket ,", "Connection: ,upgrade,"], "websocket")])
def test_the_first_token_that_the_site_lists_goes_on_alone(weir, fields, token):
    with weir.client() as c:
        c.send(asking(*fields) + b"hello")
        res = c.read_head()
        assert (res.status, res.get_all("Upgrade"), res.get_all("Connection")) == (101, [token], ["upgrade"])
        assert c.read_exact(7) == b"<hello>"
    seen = weir.origin.last()
    assert (seen.get_all("Upgrade"), seen.get_all("Connection")) == ([token], ["upgrade"])


@pytest.mark.parametrize("fields, first, host", [
    (["Upgrade: websocket"], "GET /x HTTP/1.1", "ws.example"), (["Connection: Upgrade"], "GET /x HTTP/1.1", "ws.example"),
    (["Upgrade: websocket", "Connection: close"], "GET /x HTTP/1.1", "ws.example"), (["Upgrade: foo", "Connection: Upgrade"], "GET /x HTTP/1.1", "ws.example"),
    (["Upgrade: websocket/13", "Connection: Upgrade"], "GET /x HTTP/1.1", "ws.example"), (["Upgrade: websockets", "Connection: Upgrade"], "GET /x HTTP/1.1", "ws.example"),
    (["Upgrade: web socket", "Connection: Upgrade"], "GET /x HTTP/1.1", "ws.example"), (["Upgrade: \"websocket\"", "Connection: Upgrade"], "GET /x HTTP/1.1", "ws.example"),
    (["Upgrade: websocket;q=1", "Connection: Upgrade"], "GET /x HTTP/1.1", "ws.example"), (["Upgrade:", "Connection: Upgrade"], "GET /x HTTP/1.1", "ws.example"),
    (["Upgrade: websocket", "Connection: Upgrade"], "GET /x HTTP/1.0", "ws.example"), (["Upgrade: websocket", "Connection: Upgrade"], "GET /x HTTP/1.1", "plain.example"),
    (["Upgrade: websocket", "Connection: Upgrade", "Content-Length: 3"], "POST /x HTTP/1.1", "ws.example"),
    (["Upgrade: websocket", "Connection: Upgrade", "Transfer-Encoding: chunked"], "POST /x HTTP/1.1", "ws.example")])
def test_otherwise_the_request_is_served_as_usual(weir, fields, first, host):
    with weir.client() as c:
        c.send(asking(*fields, first=first, host=host) + (b"abc" if "Content-Length: 3" in fields else b"3\r\nabc\r\n0\r\n\r\n" if first[0] == "P" else b""))
        assert c.read_response().status == 200
        if "1.0" not in first and "close" not in str(fields):
            c.send(GUARDED)
            assert c.read_response().status == 403, "what follows is a request, and judged as one"
    assert not {"upgrade", "connection"} & set(weir.origin.last().names())


# h2c: a tunnel of requests that no rule would see

H2C = {
    "as in RFC 7540": ["Upgrade: h2c", "HTTP2-Settings: " + SETTINGS, "Connection: Upgrade, HTTP2-Settings"],
    "without the option for its settings": ["Upgrade: h2c", "HTTP2-Settings: " + SETTINGS, "Connection: Upgrade"],
    "without the option for the upgrade": ["Upgrade: h2c", "HTTP2-Settings: " + SETTINGS, "Connection: HTTP2-Settings"],
    "without settings": ["Upgrade: h2c", "Connection: Upgrade"], "without any option": ["Upgrade: h2c", "HTTP2-Settings: " + SETTINGS],
    "in capitals": ["UPGRADE: H2C", "HTTP2-SETTINGS: " + SETTINGS, "CONNECTION: UPGRADE, HTTP2-SETTINGS"],
    "behind websocket": ["Upgrade: websocket, h2c", "HTTP2-Settings: " + SETTINGS, "Connection: Upgrade, HTTP2-Settings"],
    "before websocket": ["Upgrade: h2c, websocket", "HTTP2-Settings: " + SETTINGS, "Connection: Upgrade, HTTP2-Settings"],
    "in a second line": ["Upgrade: websocket", "Upgrade: h2c", "HTTP2-Settings: " + SETTINGS, "Connection: Upgrade, HTTP2-Settings"],
    "in a first line": ["Upgrade: h2c", "Upgrade: websocket", "HTTP2-Settings: " + SETTINGS, "Connection: Upgrade", "Connection: HTTP2-Settings"],
    "in two lines": ["Upgrade: h2c", "upgrade: h2c", "HTTP2-Settings: " + SETTINGS, "Connection: Upgrade"],
    "in a list of nothing": ["Upgrade: ,h2c,", "Connection: ,Upgrade,"], "with tabs": ["Upgrade:\th2c\t", "Connection:\tUpgrade\t"],
    "in quotes": ["Upgrade: \"h2c\"", "Connection: Upgrade"], "with a version": ["Upgrade: h2c/2", "Connection: Upgrade"],
    "by another name": ["Upgrade: HTTP/2.0, h2", "Connection: Upgrade"], "old drafts": ["Upgrade: h2c-14, h2c-17", "Connection: Upgrade"],
    "by way of another field": ["Upgrade: websocket", "X-Upgrade: h2c", "Connection: Upgrade, X-Upgrade"],
    "named away": ["Upgrade: h2c", "Connection: Upgrade, Upgrade, Connection"],
    "settings without an upgrade": ["HTTP2-Settings: " + SETTINGS, "Connection: keep-alive"],
    "settings twice": ["Upgrade: h2c", "HTTP2-Settings: " + SETTINGS, "HTTP2-Settings: " + SETTINGS, "Connection: Upgrade"],
}


@pytest.mark.parametrize("name", H2C)
@pytest.mark.parametrize("host", ["ws.example", "plain.example"])
@pytest.mark.parametrize("first", ["GET /x HTTP/1.1", "OPTIONS /x HTTP/1.1", "POST /x HTTP/1.1"])
def test_h2c_never_reaches_an_origin(weir, name, host, first):
    with weir.client() as c:
        c.send(asking(*H2C[name], host=host, first=first))
        res = c.read_head()
        assert res.status == 200 or (res.status, res.get_all("Upgrade")) == (101, ["websocket"])
    raw = weir.origin.last().raw.lower()
    assert b"h2" not in raw and b"http2" not in raw and b"http/2" not in raw
    assert weir.origin.last().get_all("Upgrade") in ([], ["websocket"])


@pytest.mark.parametrize("fields", [
    ["Upgrade : h2c", "Connection: Upgrade"], ["Upgrade:", " h2c", "Connection: Upgrade"], [" Upgrade: h2c", "Connection: Upgrade"],
    ["Upgrade: websocket\0h2c", "Connection: Upgrade"], ["Upgrade: websocket\rUpgrade: h2c", "Connection: Upgrade"],
    ["Upgrade: websocket\nUpgrade: h2c", "Connection: Upgrade"], ["HTTP2_Settings: " + SETTINGS, "Upgrade: h2c", "Connection: Upgrade"],
    ["Upgrade: h2c", "Connection: Upgrade HTTP2-Settings"]])
def test_h2c_in_a_malformed_request(weir, fields):
    with weir.client() as c:
        c.send(asking(*fields) + GUARDED)
        assert c.read_response().status == 400
        assert c.read_to_close() == b""
    assert weir.origin.requests == []


def test_h2_by_prior_knowledge(weir):
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
    for before in (b"", build("GET", "/first", host="ws.example")):
        with weir.client() as c:
            c.send(before + preface)
            if before:
                assert c.read_response().status == 200
            assert c.read_response().status in (400, 505)
            assert c.read_to_close() == b""
    assert [r.target for r in weir.origin.requests] == ["/first"]


# What the origin answers

@pytest.mark.parametrize("head", [
    SWITCHED % "h2c", SWITCHED % "irc", SWITCHED % "websocket, h2c", SWITCHED % "websocket\r\nUpgrade: h2c", SWITCHED % "websocket/13", SWITCHED % "",
    "HTTP/1.1 101 X\r\nConnection: Upgrade\r\n\r\n", "HTTP/1.1 101 X\r\nUpgrade: websocket\r\n\r\n", "HTTP/1.0 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: close\r\n\r\n", "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 9\r\n\r\n"])
def test_101_that_was_not_agreed_on_gets_502(play, head):
    def script(conn):
        req = conn.read_head()
        assert req.target == "/x"
        conn.send(head + "evil")
        closed.append(conn.wait_closed(5))
    closed = []
    weir = play(script)
    with weir.client() as c:
        c.send(WEBSOCKET + GUARDED)
        assert c.read_response().status == 502
        assert c.read_response().status == 403
    wait_for(lambda: closed == [True], 15)


@pytest.mark.parametrize("status", [200, 204, 302, 400, 401, 403, 426, 500])
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_refused_upgrade_leaves_http(play, status, framing):
    """The client behaves as if it had its tunnel: what it sends are requests to weir, and judged as such."""
    def script(conn):
        conn.read_head()
        if framing == "length" or status == 204:
            conn.send("HTTP/1.1 %d X\r\n%s\r\n" % (status, "" if status == 204 else "Content-Length: 2\r\n") + ("" if status == 204 else "no"))
        elif framing == "chunked":
            conn.send("HTTP/1.1 %d X\r\nTransfer-Encoding: chunked\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n2\r\nno\r\n0\r\n\r\n" % status)
        else:
            conn.send("HTTP/1.1 %d X\r\n\r\nno" % status)
            conn.half_close()
        conn.read_head()
        conn.respond(200, b"next")
    weir = play(script)
    with weir.client() as c:
        c.send(WEBSOCKET + GUARDED)
        res = c.read_response()
        assert (res.status, res.body) == (status, b"" if status == 204 else b"no")
        assert res.get_all("Upgrade") == (["websocket"] if (status, framing) == (426, "chunked") else [])
        assert c.read_response().status == 403
        c.send(GUARDED)
        assert c.read_response().status == 403
    assert [(r.target, r.get("Upgrade")) for r in weir.origin.requests] == [("/x", "websocket")]
    with weir.client() as c:
        c.send(WEBSOCKET + b"\x81\x05hello")    # a frame is no request
        assert c.read_response().status in (status, 200)
        assert c.read_response().status == 400
        assert c.read_to_close() == b""


# The tunnel

def agree(conn, early=b""):
    conn.read_head()
    conn.send((SWITCHED % "websocket").encode() + early)


def test_bytes_sent_before_the_101_wait_for_it(start, origins):
    """The origin has not agreed yet: for it they would be HTTP."""
    def script(conn):
        conn.read_head()
        early.append(conn.buf)
        conn.sock.settimeout(0.2)
        try:
            early.append(conn.recv())
        except socket.timeout:
            pass
        conn.sock.settimeout(10)
        conn.send((SWITCHED % "websocket").encode() + b"first")
        conn.send(b"got " + conn.read_exact(300_000)[-5:])
    early = []
    weir = start(base_config(origins(script=script), sites=SITES, workers=1))
    with weir.client() as c:
        sender = threading.Thread(target=c.send, args=(WEBSOCKET + GUARDED + b"x" * (300_000 - len(GUARDED) - 5) + b"hello",))
        sender.start()
        assert c.read_head().status == 101
        assert c.read_to_close() == b"firstgot hello"
        sender.join()
    assert early == [b""]


def test_each_side_may_end_first(start, origins):
    def script(conn):
        agree(conn)
        if conn.number % 2:
            conn.send(b"bye")
            conn.half_close()
        data = b""
        while True:
            more = conn.recv()
            if not more:
                break
            data += more
        got.append(data)
        if conn.number % 2 == 0:
            conn.send(b"heard %d" % len(data))
    got = []
    weir = start(base_config(origins(script=script), sites=SITES, workers=1))
    for _ in range(3):
        with weir.client() as c:    # the origin ends first; the client still speaks
            c.send(WEBSOCKET)
            assert c.read_head().status == 101
            assert c.read_to_close() == b"bye"
            c.send(b"x" * 200_000)
            c.half_close()
            wait_for(lambda: b"x" * 200_000 in got, 10)
            got.clear()
        with weir.client() as c:    # the client ends first, even with its request; the origin still answers
            c.send(WEBSOCKET + b"y" * 50_000)
            c.half_close()
            assert c.read_head().status == 101
            assert c.read_to_close() == b"heard 50000"
        got.clear()
    wait_for(lambda: weir.metric("weir_connections") == 0 and weir.metric("weir_requests_active") == 0, 15)
    assert weir.metric("weir_connections_closed_total", reason="tunnel_closed") == 6


@pytest.mark.parametrize("who", ["client", "origin"])
def test_a_reset_of_one_side_ends_the_other(start, origins, who):
    def script(conn):
        agree(conn, b"early")
        if who == "origin":
            conn.recv()
            conn.reset()
        else:
            ended.append(conn.wait_closed(10))
    ended = []
    weir = start(base_config(origins(script=script), sites=SITES, workers=1))
    c = weir.client()
    c.send(WEBSOCKET)
    assert c.read_head().status == 101
    assert c.read_exact(5) == b"early"
    if who == "client":
        c.reset()
        wait_for(lambda: ended == [True], 15)
    else:
        c.send(b"x")
        assert c.closed_by_peer(5)
        c.close()
    wait_for(lambda: weir.metric("weir_requests_active") == 0, 15)


def test_tunnel_has_a_timeout_of_its_own(start, origins):
    """Neither the origin's times nor the body's hold in it; bytes of either side start its own anew."""
    def script(conn):
        agree(conn)
        for _ in range(6):
            time.sleep(0.2)
            conn.send(b".")
        conn.recv()
        ended.append(conn.wait_closed(10))
    ended, origin = [], origins(script=script)
    weir = start(base_config(origin, sites=SITES, workers=1, timeouts={"tunnel": "900ms", "body": "100ms", "idle": "100ms", "head": "100ms"},
                             upstreams={"main": {"servers": [origin.address], "timeouts": {"response": "300ms", "idle": "100ms"}}}))
    with weir.client() as c:
        c.send(WEBSOCKET)
        assert c.read_head().status == 101
        assert c.read_exact(6) == b"......"
        time.sleep(0.4)
        c.send(b"x")
        began = time.monotonic()
        assert c.closed_by_peer(10)
        assert time.monotonic() - began > 0.7
    wait_for(lambda: ended == [True], 15)
    assert weir.metric("weir_connections_closed_total", reason="tunnel_timeout") == 1


BOUND_KB = 2048 if not SANITIZED else 1 << 20    # the sanitizer keeps what was freed


@pytest.mark.parametrize("down", [True, False], ids=["down", "up"])
def test_tunnel_is_held_back_by_a_slow_reader(start, origins, down):
    """48 MB one way while the reader rests, and little words the other way all the time; nothing piles up in weir."""
    total, block = 48 << 20, os.urandom(1 << 20)
    go, sent, done = threading.Event(), [0], []

    def push(send):
        while sent[0] < total:
            send(block)
            sent[0] += len(block)

    def pull(sock, first=b""):
        digest, n = hashlib.sha256(first), len(first)
        while n < total:
            data = sock.recv(1 << 18)
            if not data:
                break
            digest.update(data)
            n += len(data)
        done.append(digest.digest())

    def script(conn):
        agree(conn)
        if down:
            push(conn.send)
        else:
            go.wait(20)
            pull(conn.sock)
        conn.wait_closed(20)
    weir = start(base_config(origins(script=script), sites=SITES, workers=1))
    before = weir.workers_rss_kb()
    with weir.client(timeout=30) as c:
        c.send(WEBSOCKET)
        assert c.read_head().status == 101
        worker = None
        if not down:
            worker = threading.Thread(target=push, args=(c.send,))
            worker.start()
        last = [-1]

        def stuck():
            was, last[0] = last[0], sent[0]
            return was == last[0] > 0
        wait_for(stuck, 10, every=0.3)
        assert sent[0] < 40 << 20 and weir.workers_rss_kb() - before < BOUND_KB
        go.set()
        if down:
            c.send(b"still here")    # the other way is open
            pull(c.sock, c.buf)
        else:
            worker.join(30)
        wait_for(lambda: done, 20)
        assert weir.workers_rss_kb() - before < BOUND_KB
    digest = hashlib.sha256()
    for _ in range(total // len(block)):
        digest.update(block)
    assert done == [digest.digest()]


def test_a_101_in_every_split_and_cut(start, origins):
    head = (SWITCHED % "websocket").encode()
    cut, whole = [0], [True]

    def script(conn):
        conn.read_head()
        conn.send(head[:cut[0]])
        if whole[0]:
            time.sleep(0.001)
            conn.send(head[cut[0]:] + b"hi")
    weir = start(base_config(origins(script=script), sites=SITES, workers=1))
    for whole[0] in (True, False):
        for cut[0] in range(len(head)):
            with weir.client() as c:
                c.send(asking("Upgrade: websocket", "Connection: Upgrade", first="PURGE /x HTTP/1.1"))
                if whole[0]:
                    assert c.read_head().status == 101
                    assert c.read_to_close() == b"hi"
                else:
                    assert c.read_response().status == 502
    wait_for(lambda: weir.metric("weir_requests_active") == 0, 15)


def test_tunnels_do_not_come_back_to_the_pool(weir):
    before = weir.origin.accepted
    for i in range(5):
        with weir.client() as c:
            c.send(WEBSOCKET)
            assert c.read_head().status == 101
            c.half_close()
            with pytest.raises(ProtocolError):
                c.read_head()
        assert weir.get("/plain").body == b"/plain"
    assert weir.origin.accepted - before >= 5
