# SPDX-License-Identifier: MIT
"""What was once wrong on the way of the bytes, each under a name of its own."""
import os
import resource
import signal
import socket
import ssl
import threading
import time

import pytest

from weirlib import base_config, util, wait_for
from weirlib.client import ProtocolError, build
from weirlib.origin import pattern
from weirlib.tls import Authority, Channel
from weirlib.weir import SANITIZED


def upstream(*origins, **more):
    return {"main": dict({"servers": [o if isinstance(o, str) else o.address for o in origins]}, **more)}


def small_buffers(origin, n=8192):
    """Connections accepted from now on take few bytes before their reader does."""
    origin.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, n)


def failures(weir):
    return weir.metric("weir_upstream_failures_total")


def settled(weir):
    """Nothing is open, served or pooled any more."""
    def done():
        m = weir.metrics()
        gauges = ("weir_connections", "weir_requests_active", "weir_upstream_pooled_connections")
        return not any(v for (name, _), v in m.items() if name in gauges)
    wait_for(done, 8, "all gauges are back at 0")
    assert not any(s["in_flight"] for s in servers(weir)), servers(weir)


def servers(weir):
    return weir.ctl("upstreams", json=True)["upstreams"]


class Stopped:
    """A worker that sees nothing of what happens inside the block, and then all of it in one turn of its loop."""

    def __init__(self, weir):
        self.pid, = weir.workers()

    def __enter__(self):
        os.kill(self.pid, signal.SIGSTOP)
        wait_for(lambda: util.stat_fields(self.pid)[0] in "Tt", 15, "the worker is stopped")
        return self

    def __exit__(self, *exc):
        os.kill(self.pid, signal.SIGCONT)


# A second try

@pytest.mark.parametrize("half", [b"H", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nX-Half: 1\r\nContent-Length: 700\r\n",
                                  b"HTTP/1.1 200 OK\r\nX-Half: " + b"a" * 9000])
@pytest.mark.parametrize("ending", ["close", "reset"])
def test_second_try_forgets_the_half_head_of_the_first(origins, start, half, ending):
    def script(conn):
        conn.read_request()
        if conn.number % 2:
            conn.send(half)
            time.sleep(0.05)    # a reset would overtake it
            getattr(conn, ending)()
        else:
            conn.respond(200, b"ok", [("Connection", "close")])
    origin = origins(script=script)
    weir = start(base_config(origin, workers=1))
    for _ in range(4):
        res = weir.get()
        assert (res.status, res.body, res.get("X-Half")) == (200, b"ok", None)
    took = [e["upstreamMs"] for e in weir.wait_log(n=4)]
    assert all(0 <= ms < 1000 for ms in took), took
    assert all(s["latency_ms"] < 1000 for s in servers(weir)), servers(weir)


@pytest.mark.parametrize("body", [b"0\r\n\r\n", b"0\r\nX-Sum: 1\r\n\r\n", b"1\r\na\r\n0\r\n\r\n"])
def test_second_try_is_not_made_without_the_end_of_the_body(origins, start, body):
    """The last chunk went with the first try: another one would have waited for it until the timeout."""
    def script(conn):
        conn.read_request()
        conn.close()
    origin = origins(script=script)
    weir = start(base_config(origin, workers=1))
    with weir.client() as c:
        c.send(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        wait_for(lambda: origin.open_connections() == 1, 15)
        c.send(body)
        assert c.read_response().status == 502
    assert len(origin.requests) == 1


def test_requests_are_counted_once_a_server(origins, start):
    origin = origins()
    weir = start(base_config(origin, workers=1))
    for _ in range(5):
        assert weir.get("/close").status == 200
    assert [s["requests"] for s in servers(weir)] == [5]


# Heads

def narrow_head(start_line, length, lines):
    """A head of exactly that length, with `lines` fields that have no blank behind their colon."""
    left = length - len(start_line) - 2 - 7 * lines
    fields = [b"x%03d:%s" % (i, b"y" * (left // lines + (i < left % lines))) for i in range(lines)]
    head = start_line + b"\r\n".join(fields) + b"\r\n\r\n"
    assert len(head) == length
    return head


@pytest.mark.parametrize("length,lines", [(4016, 100), (16304, 999), (8190, 999)])
@pytest.mark.parametrize("interim", [True, False], ids=["interim", "final"])
def test_blanks_added_behind_colons_find_room(origins, start, length, lines, interim):
    first = b"HTTP/1.1 103 Early\r\n" if interim else b"HTTP/1.1 200\r\nContent-Length:0\r\n"

    def script(conn):
        conn.read_request()
        conn.send(narrow_head(first, length, lines))
        if interim:
            conn.respond(200, b"")
        conn.read_request()
    weir = start(base_config(origins(script=script), workers=1, caps={"headers": 1000}))
    with weir.client() as c:
        res = c.request()
        head = res.interim[0] if interim else res
        assert len([1 for n, _ in head.headers if n.startswith("x")]) == lines


def test_more_interim_responses_than_a_client_is_held_for(origins, start):
    """All of them come in one piece, and nothing comes after them that could wake anybody."""
    def script(conn):
        conn.read_request()
        interim = b"HTTP/1.1 103 Early Hints\r\nLink: </%s>\r\n\r\n" % (b"a" * 6000)
        conn.send(interim * 100 + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        conn.read_request()
    weir = start(base_config(origins(script=script), workers=1))
    for _ in range(3):
        with weir.client(timeout=4) as c:
            res = c.request()
            assert (res.status, res.body, len(res.interim)) == (200, b"ok", 100)


# Whose fault it is when bytes stop

def test_client_that_does_not_read_is_not_the_servers_fault(origin, start):
    weir = start(base_config(origin, workers=1, timeouts={"body": "900ms"},
                             upstreams=upstream(origin, timeouts={"idle": "300ms"})))
    with weir.client(rcvbuf=4096) as c:
        c.send(build("GET", "/bytes/30000000"))
        wait_for(lambda: weir.metric("weir_connections_closed_total", reason="body_timeout") == 1, 15)
    assert failures(weir) == 0
    settled(weir)


def test_server_that_does_not_read_is_not_the_clients_fault(origins, start):
    def script(conn):
        conn.read_head()
        conn.sock.settimeout(5)
        stuck.wait(5)
    stuck, origin = threading.Event(), origins(script=script)
    small_buffers(origin)
    weir = start(base_config(origin, workers=1, timeouts={"body": "300ms"},
                             upstreams=upstream(origin, timeouts={"idle": "900ms"})))
    body = b"x" * 20_000_000
    for request in (build("POST", "/", body=body), build("POST", "/", body=[body[:10_000_000]] * 2)):
        with weir.client() as c:
            sender = threading.Thread(target=quietly, args=(c.send, request))
            sender.start()
            try:
                assert c.read_response().status == 504
            finally:
                c.sock.shutdown(socket.SHUT_RDWR)
                sender.join()
    stuck.set()
    assert failures(weir) == 2
    settled(weir)


def quietly(f, *args):
    try:
        f(*args)
    except OSError:
        pass


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_server_that_reads_slowly_gets_the_whole_upload(origins, start, chunked):
    """Bytes move all the time, for much longer than timeouts.idle allows without any."""
    got = []

    def script(conn):
        conn.read_head()
        n = 0
        while n < size:
            data = conn.sock.recv(20000)
            if not data:
                break
            n += len(data)
            time.sleep(0.02)
        got.append(n)
        conn.respond(200, b"thanks")
        conn.close()
    origin = origins(script=script)
    small_buffers(origin)
    body = os.urandom(5_000_000)
    size = len(body) - 200_000    # the rest is what buffers on the way may hold back
    weir = start(base_config(origin, workers=1, upstreams=upstream(origin, timeouts={"idle": "1s"}),
                             timeouts={"body": "1s"}))
    with weir.client(timeout=30) as c:
        sender = threading.Thread(target=quietly, args=(c.send, build("POST", "/", body=[body] if chunked else body)))
        sender.start()
        assert c.read_response().status == 200
        c.sock.shutdown(socket.SHUT_RDWR)
        sender.join()
    assert got and got[0] >= size


@pytest.mark.parametrize("path", ["/bytes/3000000", "/chunked/3000000"])
def test_client_that_reads_slowly_gets_the_whole_download(origin, start, path):
    """The kernel takes a lot at once, and then nothing for longer than timeouts.body, while the client reads on."""
    weir = start(base_config(origin, workers=1, timeouts={"body": "500ms"},
                             upstreams=upstream(origin, timeouts={"idle": "500ms"})))
    with weir.client(rcvbuf=4096, timeout=30) as c:
        c.send(build("GET", path))
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            c.buf += c.sock.recv(4096)
            time.sleep(0.01)
        assert c.read_response().body == pattern(3_000_000)


def test_reset_behind_half_a_record_of_tls(origins, start, closing):
    """Both come in one edge; the half makes no content, so there is nothing to read and nothing that tells of the end."""
    def script(conn):
        conn.sock = Channel(conn.sock, server)
        conn.read_request()
        with Stopped(weir):
            record = conn.sock.seal(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            conn.sock.sock.sendall(record[:len(record) // 2])
            time.sleep(0.05)    # a reset would overtake it
            conn.reset()
    authority = closing.add(Authority())
    leaf, server = authority.issue("a.example"), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(leaf.pem, leaf.key)
    origin = origins(script=script)
    weir = start(base_config(origin, workers=1, upstreams=upstream(origin, tls={"ca": authority.pem, "name": "a.example"})))
    with weir.client(timeout=5) as c:
        assert c.request("POST", "/").status == 502


# Early answers

def test_unanswered_expect_closes_whatever_the_status(origins, start):
    """The client may leave its body out and go on, so nobody could tell what the next bytes are."""
    def script(conn):
        conn.read_head()
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        conn.wait_closed()
    weir = start(base_config(origins(script=script), timeouts={"body": "1s"}))
    with weir.client() as c:
        c.send(build("POST", "/", [("Expect", "100-continue"), ("Content-Length", "5")]))
        res = c.read_response()
        assert res.status == 200 and res.closes()
        assert c.closed_by_peer(3)


def test_answered_expect_keeps_the_connection(origins, start):
    def script(conn):
        while True:
            conn.read_head()
            conn.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno")
            conn.read_exact(5)
    weir = start(base_config(origins(script=script), workers=1))
    with weir.client() as c:
        for _ in range(3):
            c.send(build("POST", "/", [("Expect", "100-continue"), ("Content-Length", "5")]))
            res = c.read_response()
            assert res.status == 404 and not res.closes()
            c.send(b"12345")


def test_refusal_that_promised_to_keep_the_connection_keeps_it(origin, start):
    """More than 64 KB of the body are here already, less than 64 KB are to come."""
    weir = start(base_config(origin, workers=1, caps={"body": 1000}))
    body = b"x" * 150_000
    for _ in range(5):
        with weir.client() as c:
            with Stopped(weir):
                c.send(build("POST", "/", [("Content-Length", str(len(body)))]) + body[:100_000])
            res = c.read_response()
            assert res.status == 413
            if not res.closes():
                c.send(body[100_000:])
                assert c.request("GET", "/next").status == 200


# Pools

def test_bytes_that_came_before_the_request_are_not_its_response(origins, start):
    """The origin speaks on unasked in the very turn in which the next client's request is written."""
    def script(conn):
        conn.read_request()
        conn.respond(200, b"first")
        go.wait(5)
        quietly(conn.send, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        said.set()
        conn.read_request()
        conn.respond(200, b"second")
    go, said = threading.Event(), threading.Event()
    weir = start(base_config(origins(script=script), workers=1))
    with weir.client() as victim:
        assert weir.get().body == b"first"
        with Stopped(weir):
            victim.send(build("GET", "/next"))
            time.sleep(0.05)    # its event comes first
            go.set()
            assert said.wait(5)
        assert victim.read_response().body != b"evil"
    settled(weir)


def test_writable_pooled_connection_stays_in_the_pool(origins, start):
    """A response in two segments makes two edges; the second may tell no more than that writing is possible."""
    def script(conn):
        while True:
            conn.read_request()
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
            conn.send("ok")
    origin = origins(script=script)
    weir = start(base_config(origin, workers=1))
    with weir.client() as c:
        for _ in range(300):
            assert c.request().status == 200
    assert origin.accepted <= 1


# Shortages

def no_more_descriptors(pid):
    """Returns the limits of before."""
    taken = {int(fd) for fd in os.listdir("/proc/%d/fd" % pid)}
    lowest_free = min(set(range(len(taken) + 1)) - taken)
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest_free, before[1]))
    return before


def test_descriptors_that_ran_out_are_no_servers_fault(origins, start):
    weir = start(base_config([origins("a"), origins("b")], workers=1))
    pid, = weir.workers()
    with weir.client() as c:
        assert c.request("GET", "/close").status == 200
        wait_for(lambda: weir.metric("weir_connections") == 1, 15)
        before = no_more_descriptors(pid)
        for _ in range(8):
            res = c.request("GET", "/close")
            assert res.status == 503 and res.one("Retry-After") == "1", res
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        assert c.request("GET", "/close").status == 200
    assert failures(weir) == 0 and weir.metric("weir_upstream_ejections_total") == 0
    assert weir.metric("weir_memory_shortages_total") >= 8
    settled(weir)


def test_pools_give_their_descriptors_back_when_these_run_out(origins, start):
    one, other = origins("one"), origins("other")
    weir = start(base_config(workers=1, upstreams={
        "one": {"servers": [one.address], "timeouts": {"keepalive": "60s"}}, "other": {"servers": [other.address]}},
        sites=[{"hosts": ["one.example"], "upstream": "one"}, {"hosts": ["other.example"], "upstream": "other"}]))
    pid, = weir.workers()
    with weir.client() as a, weir.client() as b:
        a.send(build("GET", "/slow/100", host="one.example"))
        b.send(build("GET", "/slow/100", host="one.example"))
        assert a.read_response().status == b.read_response().status == 200
        before = no_more_descriptors(pid)
        assert a.request(host="other.example").status == 200
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def test_connections_turned_away_bear_a_request_id(origin, start):
    weir = start(base_config(origin, workers=1, caps={"connections": 5}))
    held = [weir.client() for _ in range(5)]
    try:
        for c in held:
            assert c.request().status == 200
        with weir.client() as c:
            res = c.read_response()
            assert res.status == 503 and res.closes()
            assert (len(res.one("X-Request-Id")), res.one("Retry-After")) == (36, "1")
            assert c.closed_by_peer()
    finally:
        for c in held:
            c.close()
    settled(weir)


@pytest.mark.skipif(SANITIZED, reason="memory is not given back there")
def test_memory_of_a_peak_is_given_back(origin, start):
    """1,500 clients in the middle of a head, and then idle: each costs less than 1 KB again."""
    weir = start(base_config(origin, workers=1))
    clients = [weir.client() for _ in range(1500)]
    try:
        before = weir.workers_rss_kb()
        for c in clients:
            c.send("GET / HT")
        wait_for(lambda: weir.metric("weir_requests_active") == 1500, 10)
        assert weir.workers_rss_kb() - before > 5 * 1500
        for i in range(0, 1500, 50):
            for c in clients[i:i + 50]:
                c.send("TP/1.1\r\nHost: a\r\n\r\n")
            for c in clients[i:i + 50]:
                assert c.read_response().status == 200
        wait_for(lambda: weir.workers_rss_kb() - before < 1500, 15)
    finally:
        for c in clients:
            c.close()


# The log

def test_every_folded_request_is_counted_in_some_line(origin, start):
    """Lines of any length: those that are too long to be kept are kept shorter."""
    weir = start(base_config(origin, workers=1, rate_limit={"policies": {"default": {"requests": 1, "window": "60s"}}}))
    targets = ["/short", "/" + "%22" * 2000 + "?q=" + "%5c" * 2000, "/" + '"' * 9000, "/?" + "\\" * 9000]
    limited = 0
    with weir.client() as c:
        for i in range(200):
            res = c.request("GET", targets[i // 2 % 4], [("X-Forwarded-For", "10.0.0.%d" % (i % 40)),
                                                         ("X-Amzn-Trace-Id", "Root=" + '"' * 400)])
            limited += res.status == 429
    assert limited == 160

    def told():
        return sum(e.get("repeated", 1) for e in weir.log() if e["status"] == 429)
    wait_for(lambda: told() >= limited, 15)
    assert told() == limited
    assert max(len(line) for line in weir.log_text().splitlines()) < 16384
    assert any("repeated" in e for e in weir.log())


# The end

def exits(weir, within):
    began = time.monotonic()
    assert weir.proc.wait(within + 5) == 0
    assert time.monotonic() - began < within


def test_drain_ends_with_the_last_response(start, origins):
    """A response that began before the drain said that the connection stays; it does not, once it is idle."""
    def script(conn):
        conn.read_request()
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        go.wait(10)
        conn.send("cd")
    go, origin = threading.Event(), origins(script=script)
    weir = start(base_config(origin, workers=1, drain={"grace": "100ms", "timeout": "20s"}))
    with weir.client() as c:
        c.send(build())
        origin.wait_requests(1)
        head = c.read_head()
        assert head.status == 200 and not head.closes()
        weir.send_signal(signal.SIGTERM)
        wait_for(lambda: quiet_port(weir.port), 15, "the listener is closed")
        go.set()
        assert c.read_exact(4) == b"abcd"
        exits(weir, 9)


def quiet_port(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) != 0


def test_drain_does_not_wait_for_silent_newcomers(start, origin):
    """Connections that are accepted in the last moment and say nothing."""
    weir = start(base_config(origin, workers=1, drain={"grace": "300ms", "timeout": "20s"}))
    held = []
    with Stopped(weir):
        weir.send_signal(signal.SIGINT)
        time.sleep(0.2)    # the master tells the worker
        for _ in range(5):
            held.append(weir.client())
    try:
        exits(weir, 9)
    finally:
        for c in held:
            c.close()


def test_reset_behind_data_ends_a_lingering_close(start, origin):
    weir = start(base_config(origin, workers=1, sites=[{"hosts": ["known.example"], "upstream": "main"}]))
    c = weir.client()
    c.send(build("POST", "/", [("Content-Length", "1000000")]))
    assert c.read_response().status == 421
    with Stopped(weir):
        c.send(b"x" * 1000)
        c.reset()
    wait_for(lambda: weir.metric("weir_connections") == 0, 3)
