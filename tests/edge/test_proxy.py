# SPDX-License-Identifier: MIT
"""What an ordinary client and an ordinary origin see: methods, bodies, keep-alive, headers, upgrades."""
import hashlib
import os
import socket
import threading
import time

import pytest

from weirlib import Origin, RawClient, base_config, free_port, http, wait_for
from weirlib.client import ProtocolError, build
from weirlib.origin import pattern
from weirlib.weir import SANITIZED

SITES = [
    {"hosts": ["ws.example"], "upstream": "main", "upgrade": ["websocket"]},
    {"hosts": ["*"], "upstream": "main"},
]


@pytest.fixture(scope="module")
def shared(module_start, module_closing):
    """One weir for all tests that leave it as it was."""
    origin = module_closing.add(Origin())
    weir = module_start(base_config(origin, sites=SITES))
    weir.origin = origin
    return weir


@pytest.fixture
def weir(shared):
    shared.origin.clear()
    return shared


# Methods and bodies

@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE", "M-SEARCH"])
def test_methods_arrive_as_sent(weir, method):
    res = weir.get("/some/path?q=1", method=method)
    assert res.status == 200
    assert (weir.origin.last().method, weir.origin.last().target) == (method, "/some/path?q=1")


def test_head_has_the_length_and_no_body(weir):
    with weir.client() as c:
        res = c.request("HEAD", "/bytes/12345")
        assert (res.status, res.body, res.get("Content-Length")) == (200, b"", "12345")
        assert c.request("GET", "/bytes/5").body == pattern(5)


@pytest.mark.parametrize("n", [0, 1, 1000, 16384, 65537, 3_000_000])
def test_bodies_with_a_length_both_ways(weir, n):
    body = os.urandom(n)
    res = weir.get("/echo", method="POST", body=body)
    assert res.body == body and res.framing == "length"
    assert weir.origin.last().body == body


@pytest.mark.parametrize("chunks", [[b"x"], [b"a" * 10, b"b" * 5000], [b"c" * 70000] * 20, [b"d"] * 500])
def test_chunked_request(weir, chunks):
    res = weir.get("/echo", method="POST", body=chunks)
    assert res.body == b"".join(chunks)
    assert weir.origin.last().body == b"".join(chunks)
    assert not (weir.origin.last().get("Content-Length") and weir.origin.last().get("Transfer-Encoding"))


@pytest.mark.parametrize("n", [0, 9, 10000, 1_000_000])
def test_chunked_response(weir, n):
    with weir.client() as c:
        res = c.request("GET", "/chunked/%d" % n)
        assert res.body == pattern(n) and res.framing == "chunked"
        assert c.request().status == 200


def test_chunked_request_byte_by_byte(weir):
    with weir.client() as c:
        for byte in build("POST", "/echo", [("X-A", "b")], [b"hello", b" ", b"world"]):
            c.send(bytes([byte]))
        assert c.read_response().body == b"hello world"


def test_chunk_extensions_are_dropped(weir):
    with weir.client() as c:
        c.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;name=\"a;b\"\r\nabc\r\n0;x\r\n\r\n")
        assert c.read_response().body == b"abc"


@pytest.mark.parametrize("status", [200, 201, 204, 301, 304, 400, 404, 418, 500, 503, 599])
def test_status_passes_and_the_connection_lives(weir, status):
    with weir.client() as c:
        assert c.request("GET", "/status/%d" % status).status == status
        assert c.request().status == 200


def test_response_that_ends_with_the_connection(origins, start):
    def script(conn):
        conn.read_request()
        conn.send("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + "x" * 100000)
    weir = start(base_config(origins(script=script)))
    res = weir.get()
    assert res.body == b"x" * 100000
    assert res.framing in ("chunked", "close")


# Connections

def test_pipelined_requests_are_answered_in_order(weir):
    with weir.client() as c:
        paths = ["/slow/200"] + ["/p/%d" % i for i in range(30)]
        c.send(b"".join(build("GET", p) for p in paths))
        for p in paths:
            assert c.read_response().body == b"origin %s\n" % p.encode()


def test_pipelined_behind_bodies(weir):
    with weir.client() as c:
        c.send(build("POST", "/echo", body=b"one" * 30000) + build("POST", "/echo", body=[b"two"]) + build("GET", "/x"))
        assert c.read_response().body == b"one" * 30000
        assert c.read_response().body == b"two"
        assert c.read_response().status == 200


def test_both_sides_are_kept_alive(origin, start):
    weir = start(base_config(origin))
    before = origin.accepted
    with weir.client() as c:
        for i in range(100):
            assert c.request("GET", "/%d" % i).status == 200
    assert origin.accepted - before <= 1
    assert {r.conn for r in origin.requests[-100:]} == {origin.requests[-1].conn}


def test_pool_is_shared_by_the_clients_of_a_worker(origin, start):
    weir = start(base_config(origin, workers=1))
    for i in range(50):
        assert weir.get().status == 200
    assert origin.accepted == 1


def test_origin_keep_alive_header_lowers_the_pool_time(origins, start):
    origin = origins(keepalive_header="timeout=1, max=100")
    weir = start(base_config(origin, upstreams={"main": {"servers": [origin.address],
                                                         "timeouts": {"keepalive": "50s"}}}))
    assert weir.get().status == 200
    assert origin.open_connections() == 1
    wait_for(lambda: origin.open_connections() == 0, 15, "weir closes the pooled connection first")
    assert weir.get().status == 200


def test_pool_time_is_kept(origin, start):
    weir = start(base_config(origin, upstreams={"main": {"servers": [origin.address],
                                                         "timeouts": {"keepalive": "300ms"}}}))
    assert weir.get().status == 200
    wait_for(lambda: origin.open_connections() == 0, 3, "the pooled connection closes after 300 ms")


def test_http_1_0_closes(weir):
    with weir.client() as c:
        res = c.request(version="1.0")
        assert res.status == 200 and res.framing in ("length", "close")
        assert c.closed_by_peer()


def test_http_1_0_kept_alive_when_asked(weir):
    with weir.client() as c:
        for _ in range(3):
            res = c.request(version="1.0", headers=[("Connection", "keep-alive")])
            assert res.status == 200 and res.get("Connection", "").lower() == "keep-alive"


def test_http_1_0_gets_no_chunks(weir):
    with weir.client() as c:
        res = c.request("GET", "/chunked/50000", version="1.0")
        assert res.framing in ("close", "length") and res.body == pattern(50000)


def test_close_is_honoured(weir):
    with weir.client() as c:
        res = c.request(headers=[("Connection", "close")])
        assert res.status == 200 and res.closes()
        assert c.closed_by_peer()


def test_origin_close_is_not_the_clients(weir):
    with weir.client() as c:
        assert not c.request("GET", "/close").closes()
        assert c.request().status == 200


def test_higher_minor_version_is_served_as_1_1(weir):
    with weir.client() as c:
        c.send("GET / HTTP/1.9\r\nHost: a\r\n\r\n")
        assert c.read_response().version == "1.1"
    assert weir.origin.last().version == "HTTP/1.1"


def test_half_closed_client_gets_its_answer(weir):
    with weir.client() as c:
        c.send(build("GET", "/slow/100"))
        c.half_close()
        assert c.read_response().status == 200


def test_an_empty_line_before_a_request_is_passed_over(weir):
    with weir.client() as c:
        c.send(b"\r\n" + build("GET", "/a"))
        assert c.read_response().status == 200


def test_idle_connection_is_closed_silently(start, origin):
    weir = start(base_config(origin, timeouts={"idle": "400ms"}))
    with weir.client() as c:
        assert c.request().status == 200
        began = time.monotonic()
        assert c.closed_by_peer(3) and c.buf == b""
        assert 0.3 < time.monotonic() - began < 2


def test_many_connections_at_once(start, origin):
    weir = start(base_config(origin))
    clients = [weir.client() for _ in range(300)]
    try:
        for i, c in enumerate(clients):
            c.send(build("GET", "/n/%d" % i))
        for i, c in enumerate(clients):
            assert c.read_response().body == b"origin /n/%d\n" % i
    finally:
        for c in clients:
            c.close()
    wait_for(lambda: weir.metric("weir_connections") <= 1, 15, "connections are counted down")


def test_ipv6_and_unix_listeners(origin, start):
    port = free_port("::1")
    path = "/tmp/weir-edge-%d.sock" % port
    main = free_port()
    try:
        start(base_config(origin, listen=[{"address": "127.0.0.1:%d" % main}, {"address": "[::1]:%d" % port},
                                          {"address": "unix:" + path}]), port=main)
        assert http(port, addr="::1").status == 200
        assert http(0, addr=path).status == 200
    finally:
        if os.path.exists(path):
            os.unlink(path)


# Streaming

BOUND_KB = 8192 if not SANITIZED else 1 << 20    # the sanitizer keeps what was freed


def grown_kb(weir, before):
    return weir.workers_rss_kb() - before


def test_upload_is_held_back_by_a_slow_origin(origins, start):
    go, total = threading.Event(), 64 << 20
    got = hashlib.sha256()

    def script(conn):
        req = conn.read_head()
        go.wait(20)
        left = int(req.get("Content-Length"))
        while left:
            piece = conn.buf or conn.recv(1 << 18)
            conn.buf = b""
            got.update(piece)
            left -= len(piece)
        conn.respond(200, b"done")
    weir = start(base_config(origins(script=script), caps={"body": "off"}))
    before = weir.workers_rss_kb()
    assert before > 0
    block, sent = os.urandom(1 << 20), hashlib.sha256()
    with weir.client() as c:
        c.send(build("POST", "/up", [("Content-Length", str(total))]))
        c.sock.settimeout(1.0)
        out = 0
        try:
            while out < total:
                n = c.sock.send(block[out % len(block):])
                sent.update(block[out % len(block):][:n])
                out += n
        except socket.timeout:
            pass
        assert out < 40 << 20, "weir took %d MB that nobody had read" % (out >> 20)
        assert grown_kb(weir, before) < BOUND_KB
        go.set()
        c.sock.settimeout(20)
        while out < total:
            n = c.sock.send(block[out % len(block):])
            sent.update(block[out % len(block):][:n])
            out += n
        assert c.read_response().body == b"done"
    assert got.digest() == sent.digest()
    assert grown_kb(weir, before) < BOUND_KB


@pytest.mark.parametrize("path", ["/bytes/67108864", "/chunked/67108864"])
def test_download_is_held_back_by_a_slow_client(start, origin, path):
    weir = start(base_config(origin))
    before = weir.workers_rss_kb()
    with RawClient(weir.port, rcvbuf=65536) as c:
        c.send(build("GET", path))
        c.read_until(b"\r\n\r\n")
        peak = [0]

        def settled():
            now = grown_kb(weir, before)
            peak[0], last = max(peak[0], now), peak[0]
            return now <= last
        wait_for(settled, 15)
        assert peak[0] < BOUND_KB
        c.sock.settimeout(20)
        n = len(c.buf)
        while n < 67108864 - 65536:
            n += len(c.sock.recv(1 << 20))
    assert weir.get().status == 200


def test_large_download_is_whole(weir):
    res = weir.get("/bytes/20000000", timeout=30)
    assert hashlib.sha256(res.body).digest() == hashlib.sha256(pattern(20_000_000)).digest()


def test_response_streams_before_it_is_complete(origins, start):
    go = threading.Event()

    def script(conn):
        conn.read_request()
        conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        go.wait(10)
        conn.send("6\r\nsecond\r\n0\r\n\r\n")
    weir = start(base_config(origins(script=script)))
    with weir.client() as c:
        c.send(build())
        c.read_head()
        c.read_until(b"first")
        go.set()
        assert b"second" in c.read_until(b"0\r\n\r\n")


def test_request_body_streams_before_it_is_complete(origins, start):
    seen = threading.Event()

    def script(conn):
        conn.read_head()
        assert conn.read_until(b"first") is not None
        seen.set()
        conn.read_until(b"0\r\n\r\n")
        conn.respond(200)
    weir = start(base_config(origins(script=script)))
    with weir.client() as c:
        c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        assert seen.wait(5)
        c.send("6\r\nsecond\r\n0\r\n\r\n")
        assert c.read_response().status == 200


# Expect and 1xx

def test_expect_100_continue_passes(weir):
    with weir.client() as c:
        c.send(build("POST", "/echo", [("Expect", "100-continue"), ("Content-Length", "5")]))
        assert c.read_head().status == 100
        c.send(b"hello")
        res = c.read_response()
        assert (res.status, res.body) == (200, b"hello")
        assert c.request().status == 200


def test_expect_answered_with_a_refusal(origins, start):
    def script(conn):
        conn.read_head()
        conn.respond(417, b"no")
        conn.wait_closed(3)
    origin = origins(script=script)
    weir = start(base_config(origin))
    with weir.client() as c:
        c.send(build("POST", "/", [("Expect", "100-continue"), ("Content-Length", "500000")]))
        res = c.read_response()
        assert res.status == 417 and not res.interim
        assert c.closed_by_peer() or res.closes()


def test_early_hints_pass_in_order(origins, start):
    def script(conn):
        while True:
            conn.read_request()
            conn.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
                      "HTTP/1.1 103 Early Hints\r\nLink: </b.css>; rel=preload\r\n\r\n")
            conn.respond(200, b"page")
    weir = start(base_config(origins(script=script)))
    res = weir.get()
    assert [(i.status, i.get("Link")) for i in res.interim] == [(103, "</a.css>; rel=preload"),
                                                                (103, "</b.css>; rel=preload")]
    assert res.body == b"page"
    with weir.client() as c:    # RFC 9110, 15.2: none to a client of 1.0
        assert c.request(version="1.0").interim == []


def test_early_response_ends_an_upload(origins, start):
    def script(conn):
        conn.read_head()
        conn.respond(409, b"no need", [("Connection", "close")])
        conn.wait_closed(5)
    weir = start(base_config(origins(script=script), caps={"body": "off"}))
    with weir.client() as c:
        c.send(build("POST", "/", [("Content-Length", "100000000")]) + b"x" * 100000)
        res = c.read_response()
        assert (res.status, res.body) == (409, b"no need")
        assert res.closes()


# Upgrades

def test_websocket_tunnel(weir):
    with weir.client() as c:
        assert c.ws_open("/ws", host="ws.example").status == 101
        for payload in (b"", b"hello", b"x" * 125, b"y" * 65535, b"z" * 1_000_000):
            c.ws_send(payload)
            assert c.ws_read() == (1, payload)
        c.ws_send(b"are you there", opcode=9)
        assert c.ws_read() == (10, b"are you there")
        c.ws_send(b"\x03\xe8", opcode=8)
        assert c.ws_read() == (8, b"\x03\xe8")
        assert c.closed_by_peer()
    assert weir.origin.last().get("Upgrade").lower() == "websocket"
    assert "upgrade" in weir.origin.last().get("Connection").lower()


def test_bytes_sent_with_the_upgrade_reach_the_tunnel(origins, start):
    def script(conn):
        conn.read_head()
        conn.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello at once")
        conn.send(b"got " + conn.read_exact(5))
    weir = start(base_config(origins(script=script), sites=SITES))
    with weir.client() as c:
        c.send(build("GET", "/ws", [("Upgrade", "websocket"), ("Connection", "Upgrade")], host="ws.example"))
        assert c.read_head().status == 101
        c.send(b"12345")
        assert c.read_to_close() == b"hello at oncegot 12345"


def test_tunnel_passes_a_half_close(origins, start):
    def script(conn):
        conn.read_head()
        conn.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        data = conn.buf
        while True:
            more = conn.recv()
            if not more:
                break
            data += more
        conn.send(b"all %d" % len(data))
    weir = start(base_config(origins(script=script), sites=SITES))
    with weir.client() as c:
        c.send(build("GET", "/ws", [("Upgrade", "websocket"), ("Connection", "Upgrade")], host="ws.example"))
        assert c.read_head().status == 101
        c.send(b"x" * 300000)
        c.half_close()
        assert c.read_to_close() == b"all 300000"


def test_idle_tunnel_is_closed(start, origin):
    weir = start(base_config(origin, sites=SITES, timeouts={"tunnel": "500ms"}))
    with weir.client() as c:
        assert c.ws_open("/ws", host="ws.example").status == 101
        assert c.closed_by_peer(3)


def test_upgrade_not_allowed_is_stripped_and_served(weir):
    with weir.client() as c:
        res = c.ws_open("/x", host="plain.example")
        assert res.status == 200
    assert "upgrade" not in weir.origin.last().names()
    assert "upgrade" not in (weir.origin.last().get("Connection") or "").lower()


@pytest.mark.parametrize("host", ["ws.example", "plain.example"])
@pytest.mark.parametrize("upgrade", ["h2c", "H2C", "h2c, foo", "TLS/1.2, h2c"])
def test_h2c_never_passes(weir, host, upgrade):
    res = weir.get("/x", host=host, headers=[("Upgrade", upgrade), ("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA"),
                                            ("Connection", "Upgrade, HTTP2-Settings")])
    assert res.status == 200
    assert "h2c" not in weir.origin.last().raw.decode().lower()
    assert "http2-settings" not in weir.origin.last().names()


def test_only_the_allowed_token_passes(weir):
    with weir.client() as c:
        res = c.request("GET", "/ws", [("Upgrade", "h2c, websocket"), ("Connection", "Upgrade"),
                                       ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
                                       ("Sec-WebSocket-Version", "13")], host="ws.example")
        assert res.status == 101
    assert weir.origin.last().get_all("Upgrade") == ["websocket"]


def test_http2_preface_is_refused(weir):
    with weir.client() as c:
        c.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert c.read_response().status in (400, 505)
        assert c.closed_by_peer()
    assert weir.origin.requests == []


# Headers

def test_hop_by_hop_headers_stop(weir):
    weir.get(headers=[("Connection", "X-One, keep-alive, x-two"), ("X-One", "1"), ("X-Two", "2"), ("X-Three", "3"),
                      ("Keep-Alive", "timeout=99"), ("Proxy-Connection", "keep-alive"), ("TE", "gzip")])
    names = weir.origin.last().names()
    assert "x-three" in names
    for name in ("x-one", "x-two", "keep-alive", "proxy-connection"):
        assert name not in names
    assert "gzip" not in (weir.origin.last().get("TE") or "")


def test_hop_by_hop_headers_of_the_response_stop(origins, start):
    def script(conn):
        while True:
            conn.read_request()
            conn.respond(200, b"x", [("Connection", "X-One"), ("X-One", "1"), ("X-Two", "2"),
                                     ("Keep-Alive", "timeout=5"), ("Proxy-Connection", "close")])
    weir = start(base_config(origins(script=script)))
    res = weir.get()
    names = [n.lower() for n, _ in res.headers]
    assert "x-two" in names and not {"x-one", "keep-alive", "proxy-connection"} & set(names)


@pytest.mark.parametrize("name", ["X-Forwarded-For", "X-Real-IP", "X-Request-Id", "X-Forwarded-Proto",
                                  "X-Forwarded-Host", "Host"])
def test_connection_never_names_away_what_weir_sets(weir, name):
    assert weir.get(headers=[("Connection", name)], xff="203.0.113.7").status == 200
    assert name.lower() in weir.origin.last().names()


def test_forwarded_headers(weir):
    res = weir.get("/headers", host="shop.example", xff="203.0.113.7", headers=[
        ("X-Forwarded-Proto", "https"), ("Forwarded", "for=1.1.1.1"), ("X-Real-IP", "1.1.1.1"),
        ("X-Forwarded-Host", "evil.example"), ("X-Amzn-Trace-Id", "Root=1-67891233-abcdef012345678912345678"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")])
    seen = weir.origin.last()
    assert seen.get_all("X-Forwarded-For") == ["203.0.113.7, 127.0.0.1"]
    assert seen.get_all("X-Real-IP") == ["203.0.113.7"]
    assert seen.get_all("X-Forwarded-Proto") == ["https"]
    assert seen.get_all("X-Forwarded-Host") == ["shop.example"]
    assert seen.get_all("Host") == ["shop.example"]
    assert seen.get_all("Forwarded") == []
    assert seen.get_all("X-Amzn-Trace-Id") == ["Root=1-67891233-abcdef012345678912345678"]
    assert seen.get_all("traceparent") == ["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"]
    assert seen.get_all("X-Request-Id") == [res.one("X-Request-Id")]


def test_forwarded_proto_of_a_stranger_is_not_believed(weir):
    weir.get(source="127.0.0.5", headers=[("X-Forwarded-Proto", "https"), ("X-Forwarded-For", "9.9.9.9")])
    assert weir.origin.last().get_all("X-Forwarded-Proto") == ["http"]
    assert weir.origin.last().get_all("X-Forwarded-For") == ["127.0.0.5"]


@pytest.mark.parametrize("lines, proto", [
    (["http", "https"], "https"), (["https", "http"], "http"), (["https, http"], "http"), (["http", "http ,HTTPS"], "https"),
    (["https", "ftp"], "http"), (["https,"], "http"), (["https", ""], "http"), (["https http"], "http")])
def test_forwarded_proto_is_the_last_word_of_the_trusted_peer(weir, lines, proto):
    """What stands left of it came through the peer, and may be the client's."""
    assert weir.get(headers=[("X-Forwarded-Proto", line) for line in lines], xff="203.0.113.7").status == 200
    assert weir.origin.last().get_all("X-Forwarded-Proto") == [proto]


def test_headers_keep_their_order_repeats_and_bytes(weir):
    weir.get(headers=[("X-B", "2"), ("X-A", "1"), ("X-B", "3"), ("X-Bytes", "caf\xe9 \xff"), ("X-Empty", ""),
                      ("Cookie", "a=1"), ("Cookie", "b=2"), ("X-Long", "v" * 8000)])
    seen = weir.origin.last()
    assert seen.get_all("X-B") == ["2", "3"]
    assert seen.get_all("X-Bytes") == ["caf\xe9 \xff"]
    assert seen.get_all("X-Empty") == [""]
    assert "; ".join(seen.get_all("Cookie")) == "a=1; b=2"
    assert seen.get("X-Long") == "v" * 8000
    order = [n for n in seen.names() if n in ("x-b", "x-a", "x-bytes")]
    assert order == ["x-b", "x-a", "x-b", "x-bytes"]


def test_trailers_pass_both_ways_and_the_forbidden_do_not(origins, start):
    def script(conn):
        while True:
            conn.read_request()
            conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nhi\r\n0\r\n"
                      "X-Sum: 42\r\nContent-Length: 7\r\nSet-Cookie: a=b\r\n\r\n")
    origin = origins(script=script)
    weir = start(base_config(origin))
    with weir.client() as c:
        c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n"
               "X-Req-Sum: 41\r\nHost: evil\r\nX-Forwarded-For: 6.6.6.6\r\nTransfer-Encoding: chunked\r\n\r\n")
        res = c.read_response()
        assert ("X-Sum", "42") in res.trailers
        assert not {"content-length", "set-cookie"} & {n.lower() for n, _ in res.trailers}
    assert ("X-Req-Sum", "41") in origin.last().trailers
    assert not {"host", "x-forwarded-for", "transfer-encoding"} & {n.lower() for n, _ in origin.last().trailers}


# Hosts and targets

@pytest.fixture(scope="module")
def routed(module_start, module_closing):
    names = ["exact", "deep", "wide"]
    made = {n: module_closing.add(Origin(n)) for n in names}
    weir = module_start(base_config(
        upstreams={n: {"servers": [o.address]} for n, o in made.items()},
        sites=[{"hosts": ["a.example.com", "localhost", "10.1.2.3", "[2001:db8::1]"], "upstream": "exact"},
               {"hosts": ["*.dev.example.com"], "upstream": "deep"},
               {"hosts": ["*.example.com"], "upstream": "wide"}]))
    weir.made = made
    return weir


@pytest.mark.parametrize("host, name", [
    ("a.example.com", "exact"), ("A.Example.COM", "exact"), ("a.example.com.", "exact"), ("a.example.com:8443", "exact"),
    ("localhost", "exact"), ("10.1.2.3", "exact"), ("[2001:db8::1]:80", "exact"), ("b.example.com", "wide"),
    ("x.y.z.example.com", "wide"), ("x.dev.example.com", "deep"), ("q.x.dev.example.com", "deep"),
    ("dev.example.com", "wide"), ("example.com", None), ("nowhere.test", None), ("aexample.com", None),
    ("a.example.com.evil.test", None)])
def test_hosts(routed, host, name):
    before = {n: len(o.requests) for n, o in routed.made.items()}
    res = routed.get("/", host=host)
    if name is None:
        assert res.status == 421
        assert {n: len(o.requests) for n, o in routed.made.items()} == before
    else:
        assert res.get("X-Origin") == name
        assert routed.made[name].last().get("Host") == host


def test_authority_of_the_absolute_form_wins_over_host(routed):
    with routed.client() as c:
        c.send("GET http://x.dev.example.com/path?q HTTP/1.1\r\nHost: a.example.com\r\n\r\n")
        assert c.read_response().get("X-Origin") == "deep"
    seen = routed.made["deep"].last()
    assert seen.target == "/path?q" and seen.get_all("Host") == ["x.dev.example.com"]


def test_absolute_form_without_a_path(routed):
    with routed.client() as c:
        c.send("GET http://a.example.com HTTP/1.1\r\nHost: a.example.com\r\n\r\n")
        assert c.read_response().status == 200
    assert routed.made["exact"].last().target == "/"


def test_options_asterisk_is_weirs_own(weir):
    with weir.client() as c:
        res = c.request("OPTIONS", "*")
        assert res.status == 204 and "GET" in res.one("Allow")
        assert c.request().status == 200
    assert len(weir.origin.requests) == 1


@pytest.mark.parametrize("line", ["CONNECT a.example:443 HTTP/1.1", "TRACE / HTTP/1.1"])
def test_connect_and_trace_get_405(weir, line):
    with weir.client() as c:
        c.send("%s\r\nHost: a.example\r\n\r\n" % line)
        assert c.read_response().status == 405
    assert weir.origin.requests == []


@pytest.mark.parametrize("version", ["HTTP/2.0", "HTTP/0.9", "HTTP/3.0"])
def test_other_versions_get_505(weir, version):
    with weir.client() as c:
        c.send("GET / %s\r\nHost: a\r\n\r\n" % version)
        assert c.read_response().status == 505
        assert c.closed_by_peer()
    assert weir.origin.requests == []


@pytest.mark.parametrize("target", ["/a%0Ab", "/%", "/a//b/../c", "/a;b=c", "/caf%C3%A9", "/a\\b", "/?a=/../..", "/%2e%2e/x"])
def test_odd_paths_pass_as_written_where_no_rules_are(weir, target):
    assert weir.get(target).status == 200
    assert weir.origin.last().target == target


# Early answers

def test_refused_with_a_small_body_keeps_the_connection(origin, start):
    weir = start(base_config(origin, sites=[{"hosts": ["*"], "upstream": "main", "allow": ["192.0.2.0/24"]}]))
    with weir.client(source="127.0.0.9") as c:
        for body in (b"x" * 10, b"x" * 60000, [b"y" * 100]):
            assert c.request("POST", "/", body=body).status == 403
        c.send(build("POST", "/", [("Content-Length", "60000")]))
        assert c.read_response().status == 403
        c.send(b"z" * 60000)
        assert c.request().status == 403
    assert origin.requests == []


def test_refused_with_a_long_body_closes_gently(origin, start):
    weir = start(base_config(origin, sites=[{"hosts": ["*"], "upstream": "main", "allow": ["192.0.2.0/24"]}]))
    for _ in range(5):
        with weir.client(source="127.0.0.9") as c:
            c.send(build("POST", "/", [("Content-Length", "1000000")]))
            for _ in range(10):
                c.send(b"x" * 50000)    # what is unread when the socket closes would make a reset of the answer
            res = c.read_response()
            assert res.status == 403 and res.closes()
    assert origin.requests == []


def test_refused_with_an_unanswered_expect_closes(origin, start):
    weir = start(base_config(origin, sites=[{"hosts": ["*"], "upstream": "main", "allow": ["192.0.2.0/24"]}]))
    with weir.client(source="127.0.0.9") as c:
        c.send(build("POST", "/", [("Content-Length", "10"), ("Expect", "100-continue")]))
        res = c.read_response()
        assert res.status == 403 and res.closes() and not res.interim
        assert c.closed_by_peer()


def test_body_above_the_cap_gets_413(origin, start):
    weir = start(base_config(origin, caps={"body": "100k"}))
    assert weir.get("/echo", method="POST", body=b"x" * 102400).status == 200
    with weir.client() as c:
        c.send(build("POST", "/echo", [("Content-Length", "102401")]))
        res = c.read_response()
        assert res.status == 413 and res.closes()
    with weir.client() as c:
        c.send(build("POST", "/echo", [("Transfer-Encoding", "chunked")]))
        c.send((b"8000\r\n" + b"x" * 32768 + b"\r\n") * 4)
        try:
            assert c.read_response().status == 413
        except ProtocolError as e:    # its head had gone to the origin already; then only a cut is left
            assert "ended" in str(e)
    assert weir.get().status == 200
