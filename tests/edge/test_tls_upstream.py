# SPDX-License-Identifier: MIT
"""TLS towards upstreams: who is believed, what is shown and asked for, sessions, and what goes wrong."""
import re
import socket
import ssl
import struct
import threading

import pytest

from weirlib import base_config, websocket
from weirlib.origin import pattern
from weirlib.tls import Authority, server_context
from weirlib.util import wait_for


@pytest.fixture(scope="module")
def stranger(module_closing):
    return module_closing.add(Authority())


@pytest.fixture(scope="module")
def leaf(authority):
    return authority.issue("origin.example", "127.0.0.1")


def upstream(origin, tls, **more):
    return base_config(origin, upstreams={"main": dict({"servers": [origin.address], "tls": tls}, **more)})


@pytest.fixture
def serve(start, origins):
    """serve(context of the origin, what the config says of tls): a weir before such an origin."""
    def run(ctx, tls, script=None, workers=1, **more):
        origin = origins(tls=ctx, script=script)
        w = start(dict(upstream(origin, tls, **more), workers=workers))
        w.origin = origin
        return w
    return run


# Who is believed


def test_by_name(serve, authority, leaf):
    seen = []
    ctx = server_context(leaf, alpn=["http/1.1"])
    ctx.sni_callback = lambda sock, name, c: seen.append(name)
    w = serve(ctx, {"ca": authority.pem, "name": "origin.example"})
    assert w.get("/bytes/1000").body == pattern(1000)
    assert seen == ["origin.example"]


def test_by_address(serve, authority, leaf):
    """Without a name the certificate must bear the server's address, and no name is asked for (RFC 6066, 3)."""
    seen = []
    ctx = server_context(leaf)
    ctx.sni_callback = lambda sock, name, c: seen.append(name)
    w = serve(ctx, {"ca": authority.pem})
    assert w.get("/bytes/10").body == pattern(10)
    assert seen == [None]


@pytest.mark.parametrize("names, tls, days, why", [
    (["other.example"], {"name": "origin.example"}, 30, "hostname mismatch"),
    (["origin.example"], {}, 30, "IP address mismatch"),
    (["*.example"], {"name": "a.b.example"}, 30, "hostname mismatch"),
    (["origin.example"], {"name": "origin.example"}, -1, "certificate has expired"),
])
def test_not_believed(serve, authority, names, tls, days, why):
    w = serve(server_context(authority.issue(*names, days=days)), dict(tls, ca=authority.pem))
    _refused(w, why)


def test_strangers_certificate(serve, authority, stranger):
    w = serve(server_context(stranger.issue("origin.example")), {"ca": authority.pem, "name": "origin.example"})
    _refused(w, "unable to get local issuer certificate")


def test_self_signed_and_the_systems_trust(serve, authority):
    """Without `ca` it is the system's certificates that count."""
    w = serve(server_context(authority), {"name": "authority"})
    _refused(w, "self-signed certificate")


def _refused(w, why):
    res = w.get("/")
    assert res.status == 502 and "certificate is not to be trusted" in res.text(), res.text()
    assert w.metric("weir_upstream_failures_total", kind="untrusted", upstream="main") >= 1
    assert w.metric("weir_upstream_failures_total") == w.metric("weir_upstream_failures_total", kind="untrusted")
    w.wait_own_log("upstream main: no TLS with server 127.0.0.1:[0-9]+: " + re.escape(why))
    assert not w.origin.requests


def test_verify_off(serve, stranger):
    w = serve(server_context(stranger.issue("whoever.example")), {"verify": "off"})
    assert w.get("/bytes/10").body == pattern(10)


# What is shown


def test_client_certificate(serve, authority, leaf):
    own = authority.issue("weir.example")
    w = serve(server_context(leaf, client_ca=authority),
              {"ca": authority.pem, "certificate": own.pem, "key": own.key})
    for _ in range(3):
        assert w.get("/bytes/10").body == pattern(10)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_client_certificate_that_is_missing(serve, authority, leaf, version):
    w = serve(server_context(leaf, client_ca=authority, version=version), {"ca": authority.pem})
    assert w.get("/").status == 502
    assert not w.origin.requests


# Bytes


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_bodies_and_reuse(serve, authority, leaf, version):
    w = serve(server_context(leaf, version=version), {"ca": authority.pem})
    with w.client() as c:
        for n in (0, 1, 16384, 16385, 3 << 20):
            assert c.request("GET", "/bytes/%d" % n).body == pattern(n)
        body = pattern(2 << 20)
        assert c.request("POST", "/echo", [], body).body == body
        assert c.request("GET", "/chunked/100000").body == pattern(100000)
    assert w.origin.accepted == 1


def test_pool_survives_tickets(serve, authority, leaf):
    """TLS 1.3 says its tickets when it likes: they are no reason to close an idle connection."""
    w = serve(server_context(leaf), {"ca": authority.pem})
    for _ in range(10):
        assert w.get("/bytes/3").body == pattern(3)
    assert w.origin.accepted == 1


def test_sessions_are_resumed(serve, authority, leaf):
    reused = []

    def script(conn):
        reused.append(conn.sock.session_reused)
        conn.read_head()
        conn.sock.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
        conn.sock.unwrap()

    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        reused.clear()
        w = serve(server_context(leaf, version=version), {"ca": authority.pem}, script=script)
        for _ in range(4):
            assert w.get("/").body == b"ok"
        assert reused == [False, True, True, True], version


def test_websocket(start, origins, authority, leaf):
    origin = origins(tls=server_context(leaf))
    config = upstream(origin, {"ca": authority.pem})
    config["sites"][0]["upgrade"] = ["websocket"]
    w = start(config)
    with w.client() as c:
        c.send(b"GET /ws HTTP/1.1\r\nHost: test.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
               b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        head = b""
        while b"\r\n\r\n" not in head:
            head += c.sock.recv(1)
        assert head.startswith(b"HTTP/1.1 101")
        for n in (5, 70000):
            payload = pattern(n)
            c.sock.sendall(websocket.encode(websocket.BINARY, payload, mask=b"mask"))
            opcode, got, _ = websocket.read_frame(lambda k: _exactly(c.sock, k))
            assert opcode == websocket.BINARY and got == payload


def _exactly(sock, n):
    data = b""
    while len(data) < n:
        piece = sock.recv(n - len(data))
        assert piece
        data += piece
    return data


# Ends


HEAD_UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"


def test_body_until_close_with_goodbye(serve, authority, leaf):
    def script(conn):
        conn.read_head()
        conn.sock.sendall(HEAD_UNTIL_CLOSE + b"whole")
        conn.sock.unwrap()
    w = serve(server_context(leaf), {"ca": authority.pem}, script=script)
    assert w.get("/").body == b"whole"


@pytest.mark.parametrize("how", ["fin", "reset"])
def test_body_until_close_that_is_cut(serve, authority, leaf, how):
    """No close_notify: somebody may have cut it, so it must not look whole (RFC 9112, 9.8)."""
    def script(conn):
        conn.read_head()
        conn.sock.sendall(HEAD_UNTIL_CLOSE + b"half")
        if how == "reset":
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        socket.socket.close(conn.sock)
    w = serve(server_context(leaf), {"ca": authority.pem}, script=script)
    with pytest.raises((AssertionError, ConnectionError, EOFError)):
        w.get("/")
    wait_for(lambda: w.metric("weir_connections_closed_total", reason="upstream") == 1)


def test_closed_without_goodbye_before_the_response(serve, authority, leaf):
    def script(conn):
        conn.read_head()
        socket.socket.close(conn.sock)
    w = serve(server_context(leaf), {"ca": authority.pem}, script=script)
    assert w.get("/").status == 502


# The handshake


def test_plain_server(start, origins, authority):
    def script(conn):
        conn.recv()
        conn.sock.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
    w = start(upstream(origins(script=script), {"ca": authority.pem}))
    res = w.get("/")
    assert res.status == 502 and "TLS handshake" in res.text()
    assert w.metric("weir_upstream_failures_total", kind="tls") >= 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_tls_only(serve, authority, leaf):
    ctx = server_context(leaf)
    ctx.set_ciphers("ALL:@SECLEVEL=0")
    ctx.minimum_version = ssl.TLSVersion.TLSv1
    ctx.maximum_version = ssl.TLSVersion.TLSv1_1
    w = serve(ctx, {"ca": authority.pem})
    assert w.get("/").status == 502
    assert w.metric("weir_upstream_failures_total", kind="tls") >= 1


def test_silent_server(start, authority):
    """timeouts.connect is for the handshake too."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = base_config(upstreams={"main": {"servers": ["127.0.0.1:%d" % listener.getsockname()[1]],
                                                 "tls": {"ca": authority.pem}, "timeouts": {"connect": "300ms"}}})
        w = start(config)
        held = []
        threading.Thread(target=lambda: held.extend(listener.accept()[0] for _ in range(2)), daemon=True).start()
        res = w.get("/")
        assert res.status == 504
        assert w.metric("weir_upstream_failures_total", kind="connect_timeout") >= 1
        for s in held:
            s.close()


def test_second_server_takes_over(start, origins, authority, stranger, leaf):
    good = origins(tls=server_context(leaf))
    bad = origins(tls=server_context(stranger.issue("127.0.0.1")))
    w = start(base_config(upstreams={"main": {"servers": [bad.address, good.address], "tls": {"ca": authority.pem}}}))
    for _ in range(6):
        assert w.get("/bytes/4").body == pattern(4)
    assert not bad.requests
