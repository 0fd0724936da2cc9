# SPDX-License-Identifier: MIT
"""Slow, broken and absent peers: timeouts, 502, 503, 504, retries, ejection."""
import socket
import threading
import time

import pytest

from weirlib import base_config, free_port, wait_for
from weirlib.client import ProtocolError, build


def upstream(*origins, **more):
    return {"main": dict({"servers": [o if isinstance(o, str) else o.address for o in origins]}, **more)}


def took(since):
    return time.monotonic() - since


# Slow clients

def test_head_too_slow_gets_408(origin, start):
    weir = start(base_config(origin, timeouts={"head": "400ms"}))
    began = time.monotonic()
    with weir.client() as c:
        c.send("GET / HTTP/1.1\r\nHost: a")
        assert c.read_response().status == 408
        assert c.closed_by_peer()
    assert 0.35 < took(began) < 2
    assert origin.requests == []


def test_trickled_head_does_not_push_the_timeout(origin, start):
    weir = start(base_config(origin, timeouts={"head": "500ms"}))
    began, stop = time.monotonic(), threading.Event()
    with weir.client() as c:
        c.send("GET / HTTP/1.1\r\nX-A: ")

        def trickle():
            while not stop.wait(0.05):
                try:
                    c.send("a")
                except OSError:
                    return
        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            assert c.read_response().status == 408
        finally:
            stop.set()
            thread.join()
    assert took(began) < 2


def test_body_too_slow_gets_408(origins, start):
    def script(conn):
        conn.read_head()
        assert conn.wait_closed(10), "the upstream connection must not go back to the pool"
    origin = origins(script=script)
    weir = start(base_config(origin, timeouts={"body": "400ms"}))
    began = time.monotonic()
    with weir.client() as c:
        c.send(build("POST", "/", [("Content-Length", "10")]) + b"half")
        assert c.read_response().status == 408
        assert c.closed_by_peer()
    assert 0.35 < took(began) < 3
    wait_for(lambda: origin.open_connections() == 0, 3)
    assert origin.errors == []


@pytest.mark.parametrize("min_rate", ["2", "off"])
def test_a_body_that_keeps_coming_is_not_too_slow(origin, start, min_rate):
    weir = start(base_config(origin, timeouts={"body": "500ms"}, caps={"min_rate": min_rate}))
    with weir.client() as c:
        c.send(build("POST", "/echo", [("Content-Length", "10")]))
        for _ in range(10):
            time.sleep(0.1)    # the pace is what is tested
            c.send(b"x")
        assert c.read_response().body == b"x" * 10


# Slow and broken origins

def test_origin_too_slow_gets_504(origin, start):
    weir = start(base_config(origin, upstreams=upstream(origin, timeouts={"response": "400ms"})))
    with weir.client() as c:
        began = time.monotonic()
        assert c.request("GET", "/slow/5000").status == 504
        assert 0.35 < took(began) < 2
        assert c.request("GET", "/x").status == 200


def test_origin_that_stops_in_the_middle_is_cut(origins, start):
    def script(conn):
        conn.read_request()
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
        conn.wait_closed(10)
    weir = start(base_config(upstreams=upstream(origins(script=script), timeouts={"idle": "400ms"})))
    with weir.client() as c:
        c.send(build())
        with pytest.raises((ProtocolError, ConnectionResetError)):
            c.read_response()


@pytest.mark.parametrize("ending", ["close", "reset"])
@pytest.mark.parametrize("framing", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
def test_broken_body_never_looks_whole(origins, start, framing, ending):
    def script(conn):
        conn.read_request()
        conn.send("HTTP/1.1 200 OK\r\n%s\r\n\r\n4\r\nhalf\r\n" % framing)
        getattr(conn, ending)()
    weir = start(base_config(origins(script=script)))
    with weir.client() as c:
        c.send(build())
        with pytest.raises((ProtocolError, ConnectionResetError)):
            c.read_response()


def test_connect_refused_gets_502(start):
    weir = start(base_config(upstreams=upstream("127.0.0.1:%d" % free_port())))
    for _ in range(5):
        assert weir.get().status == 502    # an only server is tried again, ejected or not


def test_connect_without_an_answer_gets_504(start):
    """A listener whose queue is full drops what comes."""
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    stuffed = []
    try:
        for _ in range(4):
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex(full.getsockname())
            stuffed.append(s)
        weir = start(base_config(upstreams=upstream("127.0.0.1:%d" % full.getsockname()[1],
                                                    timeouts={"connect": "300ms"})))
        began = time.monotonic()
        assert weir.get().status == 504
        assert took(began) < 3
    finally:
        for s in stuffed + [full]:
            s.close()


BAD_RESPONSES = {
    "nothing": b"", "noise": b"\x80\x81\xff\r\n\r\n", "no status": b"HTTP/1.1\r\n\r\n",
    "status of two digits": b"HTTP/1.1 20 OK\r\n\r\n", "status of letters": b"HTTP/1.1 abc OK\r\n\r\n",
    "status below 100": b"HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n",
    "HTTP/2": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "both lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "length with a sign": b"HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc",
    "space before the colon": b"HTTP/1.1 200 OK\r\nX-A : 1\r\nContent-Length: 0\r\n\r\n",
    "NUL": b"HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 0\r\n\r\n",
    "bare CR": b"HTTP/1.1 200 OK\r\nX-A: a\rb\r\nContent-Length: 0\r\n\r\n",
    "a header without end": b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 300000,
    "half a head": b"HTTP/1.1 200 OK\r\nX-A: 1\r\n",
    "an unasked 101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "another coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
}


@pytest.fixture(scope="module")
def broken(module_start, module_closing):
    from weirlib import Origin
    holder = {}

    def script(conn):
        conn.read_request()
        conn.send(holder["bytes"])
        conn.half_close()
        conn.wait_closed(3)
    weir = module_start(base_config(module_closing.add(Origin(script=script))))
    weir.holder = holder
    return weir


@pytest.mark.parametrize("name", BAD_RESPONSES)
def test_bad_response_gets_502(broken, name):
    broken.holder["bytes"] = BAD_RESPONSES[name]
    with broken.client() as c:
        res = c.request("POST", "/", body=b"x")
        assert res.status == 502, res
        assert res.one("X-Request-Id")


def test_surplus_bytes_are_nobodys_response(origins, start):
    """What an origin sends after its response must not become the answer to somebody else's request."""
    def script(conn):
        conn.read_request()
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        try:
            conn.read_request()
            conn.respond(200, b"second")
        except EOFError:
            pass
    weir = start(base_config(origins(script=script), workers=1))
    for _ in range(10):
        assert weir.get().body == b"ok"


def test_client_that_leaves_takes_its_request_along(origins, start):
    gone = threading.Event()

    def script(conn):
        conn.read_request()
        if conn.wait_closed(15):
            gone.set()
    origin = origins(script=script)
    weir = start(base_config(origin))
    c = weir.client()
    c.send(build("GET", "/slow"))
    origin.wait_requests(1)
    c.reset()
    assert gone.wait(15), "the origin still works for a client that reset its connection"


# Retries

def breaker(origin_log, how):
    def script(conn):
        conn.read_request()
        origin_log.append(1)
        getattr(conn, how)()
    return script


@pytest.mark.parametrize("how", ["close", "reset"])
def test_idempotent_requests_go_to_another_server(origins, start, how):
    broken = origins("broken", script=breaker([], how))
    good = origins("good")
    weir = start(base_config(upstreams=upstream(broken, good), workers=1))
    for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE"):
        for _ in range(2):
            assert weir.get("/x", method=method).get("X-Origin") == "good", method
    assert len(broken.requests) >= 1


def test_a_post_that_was_read_is_not_repeated(origins, start):
    broken, good = origins("broken", script=breaker([], "close")), origins("good")
    weir = start(base_config(upstreams=upstream(broken, good), workers=1))
    answers = [weir.get("/pay", method="POST", body=b"%d" % i) for i in range(4)]
    failed = [a for a in answers if a.status == 502]
    assert len(failed) == len(broken.requests) >= 1
    bodies = [r.body for r in broken.requests + good.requests]
    assert len(bodies) == len(set(bodies)), "a POST was sent twice: %r" % bodies


def test_a_refused_connection_repeats_even_a_post(origins, start):
    good = origins("good")
    weir = start(base_config(upstreams=upstream("127.0.0.1:%d" % free_port(), good), workers=1))
    for i in range(6):
        assert weir.get("/pay", method="POST", body=b"%d" % i).status == 200
    assert [r.body for r in good.requests] == [b"%d" % i for i in range(6)]


def test_stale_pooled_connection_is_replaced(origins, start):
    """An origin that resets what it kept alive: the request goes out again on a fresh connection."""
    def script(conn):
        conn.read_request()
        conn.respond(200, b"%d" % conn.number)
        conn.read_head()
        conn.reset()
    origin = origins(script=script)
    weir = start(base_config(origin, workers=1))
    for _ in range(6):
        assert weir.get().status == 200
    assert weir.metric("weir_upstream_retries_total") >= 1


# Servers of an upstream

def test_round_robin(origins, start):
    made = [origins("o%d" % i) for i in range(3)]
    weir = start(base_config(upstreams=upstream(*made), workers=1))
    for _ in range(30):
        assert weir.get().status == 200
    assert [len(o.requests) for o in made] == [10, 10, 10]


def test_failing_server_is_ejected_and_said_so(origins, start):
    good, port = origins("good"), free_port()
    weir = start(base_config(upstreams=upstream("127.0.0.1:%d" % port, good), workers=1))
    for _ in range(40):
        assert weir.get().status == 200
    wait_for(lambda: weir.metric("weir_upstream_ejections_total") >= 1, 15)
    assert "ejected" in weir.ctl("upstreams")
    assert "127.0.0.1:%d" % port in weir.ctl("events")
    refused = weir.metric("weir_upstream_connect_failures_total")
    for _ in range(20):
        assert weir.get().status == 200
    assert weir.metric("weir_upstream_connect_failures_total") - refused <= 2


def test_when_all_are_ejected_all_are_tried(origins, start):
    from weirlib import Origin
    ports = [free_port(), free_port()]
    weir = start(base_config(upstreams=upstream(*["127.0.0.1:%d" % p for p in ports]), workers=1))
    for _ in range(20):
        assert weir.get().status in (502, 503)
    back = Origin("back", port=ports[0])
    try:
        wait_for(lambda: weir.get().status == 200, 5, "a server that came back is used at once")
    finally:
        back.close()


def test_requests_in_flight_are_capped(origin, start):
    weir = start(base_config(origin, workers=1, upstreams=upstream(origin, max_requests=2)))
    with weir.client() as a, weir.client() as b:
        a.send(build("GET", "/slow/1000"))
        b.send(build("GET", "/slow/1000"))
        origin.wait_requests(2)
        res = weir.get()
        assert res.status == 503 and res.one("Retry-After") == "1"
        assert a.read_response().status == b.read_response().status == 200
    assert weir.get().status == 200


def test_connections_are_capped(origin, start):
    weir = start(base_config(origin, workers=1, caps={"connections": 20}))
    held = []
    try:
        for _ in range(20):
            c = weir.client(timeout=2)
            held.append(c)
            try:
                if c.request().status != 200:
                    break
            except (OSError, ProtocolError):
                break
        extra = weir.client(timeout=2)
        held.append(extra)
        try:
            extra.send(build())
            assert extra.closed_by_peer(2) or extra.read_response().status == 503
        except OSError:
            pass
        assert weir.metric("weir_connections") <= 20
    finally:
        for c in held:
            c.close()
    wait_for(lambda: weir.get().status == 200, 15, "room again")


def test_an_upgrade_is_not_repeated_after_bytes_flowed(origins, start):
    def script(conn):
        conn.read_head()
        conn.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        conn.close()
    origin = origins(script=script)
    weir = start(base_config(origin, sites=[{"hosts": ["*"], "upstream": "main", "upgrade": ["websocket"]}]))
    with weir.client() as c:
        c.send(build("GET", "/ws", [("Upgrade", "websocket"), ("Connection", "Upgrade")]))
        assert c.read_head().status == 101
        assert c.closed_by_peer()
    assert len(origin.requests) == 1
