# SPDX-License-Identifier: MIT
"""Listeners with TLS: real curl, openssl s_client and Python's ssl as clients."""
import concurrent.futures
import os
import re
import select
import signal
import socket
import ssl
import struct
import subprocess
import threading
from contextlib import suppress

import pytest

from weirlib import base_config, http
from weirlib.client import RawClient
from weirlib.origin import pattern
from weirlib.tls import connect, context, openssl, s_client
from weirlib.util import free_port, wait_for

GET = b"GET /%s HTTP/1.1\r\nHost: a.example\r\n\r\n"


@pytest.fixture(scope="module")
def leaf(authority):
    return authority.issue("a.example", "127.0.0.1")


def tls_config(origin, certificates, port, plain, **more):
    """A listener with TLS beside the plain one."""
    listen = [{"address": "127.0.0.1:%d" % plain}, dict({"address": "127.0.0.1:%d" % port, "tls": certificates},
                                                       **more.pop("listener", {}))]
    return base_config(origin, listen=listen, **more)


@pytest.fixture
def serve(start, origin):
    """serve(tls, **config) runs a weir; its .tls is the port with TLS."""
    def run(certificates, **more):
        port, plain = free_port(), free_port()
        w = start(tls_config(origin, certificates, port, plain, **more), port=plain)
        w.tls = port
        return w
    return run


def ask(conn, target="", more=b""):
    """One request on a connection: the response's head, and its body by Content-Length."""
    conn.sendall(b"GET /%s HTTP/1.1\r\nHost: a.example\r\n%s\r\n" % (target.encode(), more))
    data = b""
    while b"\r\n\r\n" not in data:
        piece = conn.recv(65536)
        assert piece, data
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    n = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
    while len(body) < n:
        piece = conn.recv(1 << 18)
        assert piece
        body += piece
    return head, body


def shown(port, name, ctx=None):
    """The serial number of the certificate that is shown for a name, and the kind of its key."""
    with connect(port, ctx or context(), name) as c:
        der = c.getpeercert(binary_form=True)
    text = openssl("x509", "-inform", "DER", "-noout", "-serial", "-text", data=der).stdout.decode()
    kind = "EC" if "id-ecPublicKey" in text else "RSA"
    return re.search(r"serial=(\w+)", text)[1], kind


def serial(made):
    return re.search(r"serial=(\w+)", openssl("x509", "-in", made.pem, "-noout", "-serial").stdout.decode())[1]


# Requests


def test_curl(serve, origin, authority, leaf):
    w = serve(leaf.yaml)
    for version in ("--tlsv1.2", "--tlsv1.3"):
        run = subprocess.run(["curl", "-sS", "--cacert", authority.pem, version, "--tls-max", version[-3:], "--resolve",
                              "a.example:%d:127.0.0.1" % w.tls, "https://a.example:%d/bytes/1000" % w.tls],
                             capture_output=True, timeout=20)
        assert run.stdout == pattern(1000), run.stderr
    assert origin.requests[-1].get("X-Forwarded-Proto") == "https"
    w.wait_log(lambda e: e["path"] == "/bytes/1000", 2)


def test_forwarded_proto(serve, origin, leaf):
    """What a trusted peer says of the scheme is believed; of others it is what they really speak."""
    w = serve(leaf.yaml)
    with connect(w.tls, context()) as c:
        ask(c, more=b"X-Forwarded-Proto: http\r\n")
        assert origin.requests[-1].get("X-Forwarded-Proto") == "http"
    with connect(w.tls, context(), source="127.0.0.9") as c:
        ask(c, more=b"X-Forwarded-Proto: http\r\n")
        assert origin.requests[-1].get("X-Forwarded-Proto") == "https"
    w.get("/", source="127.0.0.9", headers={"X-Forwarded-Proto": "https"})
    assert origin.requests[-1].get("X-Forwarded-Proto") == "http"


def test_many_requests_on_one_connection(serve, leaf):
    w = serve(leaf.yaml)
    with connect(w.tls, context()) as c:
        for n in (0, 1, 100, 16384, 16385, 70000):
            _, body = ask(c, "bytes/%d" % n)
            assert body == pattern(n)
        c.sendall(b"".join(GET % b"bytes/7" for _ in range(20)))    # pipelined, in one record
        data = b""
        while data.count(pattern(7)) < 20:
            piece = c.recv(65536)
            assert piece
            data += piece


def test_large_bodies_both_ways(serve, origin, leaf):
    w = serve(leaf.yaml)
    n = 6 << 20
    body = pattern(n)
    unsent = memoryview(b"POST /echo HTTP/1.1\r\nHost: a.example\r\nContent-Length: %d\r\n\r\n" % n + body)
    with connect(w.tls, context(), timeout=30) as c:
        c.setblocking(False)    # one thread: an SSLSocket is not for two at once
        data = bytearray()
        head = None
        while head is None or len(data) < head + n:
            moved = 0
            with suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                moved = c.send(unsent[:65536]) if unsent else 0
                unsent = unsent[moved:]
            with suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                piece = c.recv(3000 if len(data) < 300000 else 1 << 18)    # slowly at first
                assert piece
                data += piece
                moved += len(piece)
            if head is None and b"\r\n\r\n" in data:
                head = data.index(b"\r\n\r\n") + 4
            if not moved:
                assert any(select.select([c], [c] if unsent else [], [], 30))
    assert data[head:] == body


# Who is shown what


def test_certificate_by_name(serve, authority, leaf):
    other, wild = authority.issue("b.example"), authority.issue("*.w.example", "w.example")
    exact = authority.issue("x.w.example")
    w = serve([m.yaml for m in (leaf, other, wild, exact)])
    trusting = context(authority)
    for name, made in (("a.example", leaf), ("b.example", other), ("B.EXAMPLE", other), ("q.w.example", wild),
                       ("w.example", wild), ("x.w.example", exact)):
        assert shown(w.tls, name, trusting)[0] == serial(made), name
    for name in ("unknown.example", "a.b.w.example", None):
        assert shown(w.tls, name)[0] == serial(leaf), name


@pytest.mark.parametrize("kind", ["RSA", "RSA-PSS"])
def test_ecdsa_goes_before_rsa(serve, authority, kind):
    rsa, ec = authority.issue("a.example", kind=kind), authority.issue("a.example")
    w = serve([rsa.yaml, ec.yaml])
    assert shown(w.tls, "a.example")[1] == "EC"
    assert shown(w.tls, None)[1] == "EC"
    old = context(version=ssl.TLSVersion.TLSv1_2, ciphers="ECDHE-RSA-AES128-GCM-SHA256")
    assert shown(w.tls, "a.example", old) == (serial(rsa), "RSA")


def test_alpn(serve, leaf):
    w = serve(leaf.yaml)
    with connect(w.tls, context(alpn=["h2", "http/1.1"])) as c:
        assert c.selected_alpn_protocol() == "http/1.1"
        ask(c)
    with connect(w.tls, context()) as c:
        assert c.selected_alpn_protocol() is None
        ask(c)
    with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
        connect(w.tls, context(alpn=["h2", "spdy/3"]))


# What is refused


def test_versions_and_ciphers(serve, authority, leaf):
    rsa = authority.issue("a.example", kind="RSA")
    w = serve([leaf.yaml, rsa.yaml])
    for version, taken in (("-ssl3", False), ("-tls1", False), ("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)):
        text = s_client(w.tls, version, "-cipher", "ALL:@SECLEVEL=0")
        assert ("Cipher is (NONE)" not in text and "New, TLSv1" in text) == taken, (version, text[-600:])
    names = openssl("ciphers", "-tls1_2", "ALL:COMPLEMENTOFALL:@SECLEVEL=0").stdout.decode().strip().split(":")
    names = [n for n in names if not n.startswith("TLS_")]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        taken = pool.map(lambda n: _takes(w.tls, n), names)
    taken = {n for n, yes in zip(names, taken) if yes}
    assert taken == {"ECDHE-%s-%s" % (k, c) for k in ("ECDSA", "RSA") for c in
                     ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")}


def _takes(port, cipher):
    try:
        ctx = context(version=ssl.TLSVersion.TLSv1_2, ciphers=cipher + ":@SECLEVEL=0")
    except ssl.SSLError:
        return False
    try:
        with connect(port, ctx) as c:
            return c.cipher()[0] == cipher
    except (ssl.SSLError, ConnectionError):
        return False


def test_renegotiation_is_refused(serve, leaf):
    w = serve(leaf.yaml)
    text = s_client(w.tls, "-tls1_2", data=b"R\n")
    assert "no renegotiation" in text or "unexpected message" in text, text[-800:]
    with connect(w.tls, context()) as c:
        ask(c)


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", b"OPTIONS * HTTP/1.0\r\n\r\n"])
def test_plain_http_on_a_tls_port(serve, leaf, said):
    w = serve(leaf.yaml)
    with RawClient(w.tls) as c:
        c.sock.sendall(said)
        data = b""
        while True:
            piece = c.sock.recv(4096)
            if not piece:
                break
            data += piece
    assert data.startswith(b"HTTP/1.1 400 ") and b"HTTPS" in data
    wait_for(lambda: w.metric("weir_tls_handshakes_total", result="failed") == 1)
    wait_for(lambda: w.metric("weir_connections_closed_total", reason="handshake") == 1)


def test_garbage(serve, leaf):
    w = serve(leaf.yaml)
    hello = client_hello()
    for said in (b"\0" * 64, os.urandom(300), b"\x16\x03\x01\xff\xff" + b"x" * 100, hello[:60] + os.urandom(400),
                 b"SSH-2.0-OpenSSH_9\r\n", b"\x80\x2e\x01\x00\x02" + b"\0" * 60, hello[:5] + b"\x02" + hello[6:]):
        with socket.create_connection(("127.0.0.1", w.tls), 10) as s:
            s.sendall(said)
            s.shutdown(socket.SHUT_WR)
            try:
                while s.recv(4096):
                    pass
            except ConnectionError:
                pass
    with connect(w.tls, context()) as c:
        ask(c)
    wait_for(lambda: w.metric("weir_connections_closed_total", reason="handshake") == 7)


def client_hello(name="a.example"):
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    obj = context().wrap_bio(into, out, server_hostname=name)
    try:
        obj.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return out.read()


def test_stalls_in_the_hello(serve, leaf):
    """Whatever byte of its hello a client stops at, it is closed when the time for a head is over."""
    w = serve(leaf.yaml, timeouts={"head": "300ms"})
    hello = client_hello()
    socks = []
    for n in range(0, len(hello)):
        s = socket.create_connection(("127.0.0.1", w.tls), 10)
        s.sendall(hello[:n])
        socks.append(s)
    for s in socks:
        s.settimeout(10)
        try:
            assert s.recv(4096) == b""
        except ConnectionError:
            pass
        s.close()
    assert wait_for(lambda: w.metric("weir_connections_closed_total", reason="handshake_timeout") == len(hello))
    with connect(w.tls, context()) as c:
        ask(c)


def test_hello_in_single_bytes(serve, leaf):
    w = serve(leaf.yaml)
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    obj = context().wrap_bio(into, out, server_hostname="a.example")
    with socket.create_connection(("127.0.0.1", w.tls), 10) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            try:
                obj.do_handshake()
                break
            except ssl.SSLWantReadError:
                for byte in out.read():
                    s.sendall(bytes([byte]))
                into.write(s.recv(65536))
        for byte in out.read():
            s.sendall(bytes([byte]))
        obj.write(GET % b"bytes/5")
        for byte in out.read():
            s.sendall(bytes([byte]))
        data = b""
        while pattern(5) not in data:
            into.write(s.recv(65536))
            try:
                data += obj.read(65536)
            except ssl.SSLWantReadError:
                pass


# Ends


def test_half_close(serve, leaf):
    """close_notify after a request: its response comes all the same."""
    w = serve(leaf.yaml)
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    obj = context().wrap_bio(into, out, server_hostname="a.example")
    with socket.create_connection(("127.0.0.1", w.tls), 10) as s:
        while True:
            try:
                obj.do_handshake()
                break
            except ssl.SSLWantReadError:
                s.sendall(out.read())
                into.write(s.recv(65536))
        obj.write(GET % b"slow/200/bytes/9")
        try:
            obj.unwrap()
        except ssl.SSLWantReadError:
            pass
        s.sendall(out.read())
        s.shutdown(socket.SHUT_WR)
        raw = b""
        while True:
            piece = s.recv(65536)
            if not piece:
                break
            raw += piece
    assert len(raw) > 200    # tickets alone would be shorter or equal: the response is encrypted in there
    wait_for(lambda: [e for e in w.log() if e["status"] == 200 and e["bytes"] == 9])


def test_goodbye_is_said(serve, leaf):
    """Responses that end the connection end with close_notify: unexpected_eof would raise."""
    w = serve(leaf.yaml, timeouts={"idle": "300ms"})
    with connect(w.tls, context()) as c:
        c.sendall(b"GET /bytes/3 HTTP/1.0\r\nHost: a.example\r\n\r\n")
        data = b""
        while True:
            piece = c.recv(65536)
            if not piece:
                break
            data += piece
        assert data.endswith(pattern(3))
    with connect(w.tls, context()) as c:
        ask(c)
        assert c.recv(100) == b""    # idle for too long


def test_cut_response_does_not_look_whole(serve, start, origins, leaf):
    """The origin breaks off a body that ends with the connection's end, towards a client of HTTP/1.0."""
    def script(conn):
        conn.read_head()
        conn.sock.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        conn.sock.close()
    cutter = origins(script=script)
    port, plain = free_port(), free_port()
    start(tls_config(cutter, leaf.yaml, port, plain), port=plain)
    with connect(port, context()) as c:
        c.sendall(b"GET / HTTP/1.0\r\nHost: a.example\r\n\r\n")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            while c.recv(65536):
                pass


def test_drain_cuts_a_body_that_ends_with_the_connection(serve, start, origins, leaf):
    """What drain.timeout cuts off must not look whole either, with TLS or without."""
    def script(conn):
        conn.read_head()
        conn.sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        conn.recv()
    waiter = origins(script=script)
    port, plain = free_port(), free_port()
    w = start(tls_config(waiter, leaf.yaml, port, plain, drain={"grace": "0s", "timeout": "300ms"}), port=plain)
    with connect(port, context()) as c, RawClient(plain) as p:
        for s in (c, p.sock):
            s.sendall(b"GET / HTTP/1.0\r\nHost: a.example\r\n\r\n")
            data = b""
            while b"hello" not in data:
                data += s.recv(65536)
        w.send_signal(15)
        for s in (c, p.sock):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                while s.recv(65536):
                    pass


def test_request_cut_without_goodbye(serve, origin, leaf):
    w = serve(leaf.yaml)
    c = connect(w.tls, context())
    c.sendall(b"POST /echo HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1000\r\n\r\n" + b"x" * 500)
    socket.socket.shutdown(c, socket.SHUT_WR)
    wait_for(lambda: w.metric("weir_connections_closed_total", reason="aborted") == 1)
    c.close()


# Resumption


def session_of(port, ctx, session=None):
    with connect(port, ctx, session=session) as c:
        ask(c)
        return c.session_reused, c.session


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_resumption_across_workers(serve, leaf, version):
    w = serve(leaf.yaml, workers=4)
    ctx = context(version=version)
    _, session = session_of(w.tls, ctx)
    for _ in range(24):    # the kernel spreads these over the workers
        reused, session = session_of(w.tls, ctx, session)
        assert reused
    assert w.metric("weir_tls_handshakes_total", result="resumed") == 24
    assert w.metric("weir_tls_handshakes_total", result="full") == 1


def test_resumption_after_a_reload_and_a_crash(start, origin, leaf):
    port, plain = free_port(), free_port()
    w = start(tls_config(origin, leaf.yaml, port, plain, workers=1), port=plain, expect_crash=True)
    ctx = context()
    _, session = session_of(port, ctx)
    w.reload()
    reused, session = session_of(port, ctx, session)
    assert reused
    old = w.workers()
    os.kill(old[-1], 9)
    wait_for(lambda: w.workers() and w.workers() != old and w.is_ready(), 10)
    reused, _ = session_of(port, ctx, session)
    assert reused


def test_ticket_keys_rotate(serve, leaf):
    """A ticket is good for one period at least, and for two at most."""
    w = serve(leaf.yaml, tls={"tickets": "1s"})
    ctx = context(version=ssl.TLSVersion.TLSv1_2)
    _, session = session_of(w.tls, ctx)
    assert session_of(w.tls, ctx, session)[0]
    wait_for(lambda: not session_of(w.tls, ctx, session)[0], 10, every=0.3)
    assert w.metric("weir_tls_handshakes_total", result="failed") == 0


def test_tickets_off(serve, leaf):
    w = serve(leaf.yaml, tls={"tickets": "off"})
    ctx = context(version=ssl.TLSVersion.TLSv1_2)
    _, session = session_of(w.tls, ctx)
    assert not session_of(w.tls, ctx, session)[0]
    with connect(w.tls, context()) as c:
        ask(c)


# PROXY protocol, unix sockets


def test_proxy_protocol_before_tls(serve, origin, leaf):
    w = serve(leaf.yaml, listener={"proxy_protocol": "on"})
    header = b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n"
    with connect(w.tls, context(), first=header) as c:
        ask(c)
    assert origin.requests[-1].get("X-Forwarded-For") == "203.0.113.7"
    assert origin.requests[-1].get("X-Forwarded-Proto") == "https"
    with socket.create_connection(("127.0.0.1", w.tls), 10) as s:    # in one piece with the hello
        s.sendall(header + client_hello())
        assert s.recv(1) == b"\x16"
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connect(w.tls, context())


# Reload


def test_handed_on_to_a_worker_of_another_config(start, origin, leaf):
    """One worker stands still, so that the other hands it connections, which its successor takes after a reload."""
    port, plain = free_port(), free_port()
    config = tls_config(origin, leaf.yaml, port, plain, workers=2)
    w = start(config, port=plain, expect_crash=True)
    still = w.workers()[0]
    os.kill(still, signal.SIGSTOP)
    try:
        conns = [socket.create_connection(("127.0.0.1", plain), 30) for _ in range(300)]
        wait_for(lambda: w.metric("weir_connections_handed_over_total") >= 1, 30)
        w.reload(dict(config, listen=config["listen"][::-1]))
    finally:
        os.kill(still, signal.SIGCONT)
    for c in conns:
        head, _ = ask(c)
        assert head.startswith(b"HTTP/1.1 200"), head
        c.close()


def test_reload_of_certificates_under_load(serve, authority, leaf, origin):
    """New certificates without one lost request: who is connected stays, who comes sees the new one."""
    first, second = authority.issue("a.example", name="live"), authority.issue("a.example")
    w = serve({"certificate": first.pem, "key": first.key})
    trusting, stop, done, failures, serials = context(authority), threading.Event(), [0], [], set()

    def client():
        while not stop.is_set():
            try:
                with connect(w.tls, trusting) as c:
                    serials.add(c.getpeercert()["serialNumber"])
                    for _ in range(5):
                        head, body = ask(c, "bytes/2000")
                        assert head.startswith(b"HTTP/1.1 200") and body == pattern(2000)
                        done[0] += 1
                        if b"onnection: close" in head:
                            break
            except Exception as e:    # whatever it is, it was lost
                failures.append(repr(e))
                return

    threads = [threading.Thread(target=client) for _ in range(4)]
    for t in threads:
        t.start()
    wait_for(lambda: done[0] > 40, 20)
    for path, of in ((first.pem, second.pem), (first.key, second.key)):
        with open(of, "rb") as f, open(path + ".new", "wb") as g:
            g.write(f.read())
        os.replace(path + ".new", path)
    os.chmod(first.key, 0o644)
    w.reload()
    mark = done[0]
    wait_for(lambda: done[0] > mark + 40 or failures, 20)
    stop.set()
    for t in threads:
        t.join()
    assert not failures
    assert len(serials) == 2
    assert shown(w.tls, "a.example")[0] == serial(second)


def test_reload_tells_of_a_certificate_that_has_expired(serve, authority):
    live, old = authority.issue("a.example", name="live2"), authority.issue("a.example", days=-1)
    w = serve({"certificate": live.pem, "key": live.key})
    assert "warning" not in w.ctl("reload")
    for to, made in ((live.pem, old.pem), (live.key, old.key)):
        with open(made) as f, open(to, "w") as t:
            t.write(f.read())
    said = w.ctl("reload")
    assert re.search(r"^reloaded: .*\nwarning: .*weir\.yaml:\d+:\d+: `certificate`: .* has expired on ", said)
    told = w.ctl("reload", json=True)
    assert told["hash"] == w.config_hash() and "has expired" in told["warnings"][0]


def test_reload_refuses_a_key_that_does_not_fit(serve, authority, leaf):
    other = authority.issue("a.example")
    w = serve(leaf.yaml)
    config = dict(w.config)
    config["listen"] = [config["listen"][0], dict(config["listen"][1], tls={"certificate": leaf.pem, "key": other.key})]
    said = w.reload(config, code=1)
    assert "does not fit the certificate" in said and ":" in said
    with connect(w.tls, context(authority)) as c:
        ask(c)


# Secrets, health


def test_no_key_in_logs_or_in_what_is_shown(serve, leaf):
    w = serve(leaf.yaml, log={"level": "debug"})
    with connect(w.tls, context()) as c:
        ask(c)
    with open(leaf.key) as f:
        body = "".join(f.read().splitlines()[1:-1])
    shown_text = w.ctl("config", "show")
    assert leaf.pem in shown_text and leaf.key in shown_text
    for text in (shown_text, w.stderr(), w.log_text(), w.metrics_text()):
        assert "PRIVATE KEY" not in text and body[:32] not in text


def test_healthcheck_over_tls(start, origin, leaf):
    from weirlib.weir import weir_bin
    port = free_port()
    w = start(base_config(origin, listen=[{"address": "127.0.0.1:%d" % port, "tls": leaf.yaml}]), ready=False, port=port)
    run = [weir_bin(), "--healthcheck", "-c", w.config_path]
    wait_for(lambda: subprocess.run(run, capture_output=True, timeout=20).returncode == 0, 15)
