# SPDX-License-Identifier: MIT
"""Caps on what one peer or one client may hold at a time, and on idle connections to a server."""
import os
import signal
import threading

import pytest

from weirlib import base_config, free_port, wait_for
from weirlib.client import RawClient, build

WS_SITE = [{"hosts": ["*"], "upstream": "main", "upgrade": ["websocket"]}]


def refused(weir, reason="in_flight"):
    return weir.metric("weir_refusals_total", reason=reason)


@pytest.fixture
def held():
    clients = []
    yield clients
    for c in clients:
        c.reset()    # after a FIN its response would still be waited for


# Connections of a peer

def test_connections_of_a_peer_are_capped_over_all_workers(origin, start, held):
    weir = start(base_config(origin, caps={"peer_connections": 20}))
    for _ in range(20):
        held.append(weir.client(source="127.0.0.5"))
        assert held[-1].request().status == 200
    for _ in range(5):
        with weir.client(source="127.0.0.5") as c:
            res = c.read_response()
            assert (res.status, res.one("Retry-After")) == (503, "1") and res.closes()
    assert weir.get(source="127.0.0.6").status == 200    # another peer
    assert weir.metric("weir_connections_closed_total", reason="peer_full") == 5
    weir.wait_own_log("caps.peer_connections")
    held.pop().close()
    wait_for(lambda: weir.get(source="127.0.0.5").status == 200, 15, "room again")
    assert held[0].request().status == 200


def test_trusted_proxies_hold_as_many_as_they_like(origin, start, held):
    weir = start(base_config(origin, caps={"peer_connections": 5}))
    for _ in range(30):
        held.append(weir.client())
        assert held[-1].request(headers=[("X-Forwarded-For", "203.0.113.1")]).status == 200
    assert weir.metric("weir_connections_closed_total", reason="peer_full") == 0


def test_peers_named_by_proxy_protocol_are_capped(origin, start, held):
    port, named = free_port(), free_port()
    start(base_config(origin, caps={"peer_connections": 3}, listen=[
        {"address": "127.0.0.1:%d" % port}, {"address": "127.0.0.1:%d" % named, "proxy_protocol": True}]), port=port)

    def connect(source):
        c = RawClient(named)
        held.append(c)
        return c.send("PROXY TCP4 %s 127.0.0.1 4000 80\r\n" % source)
    for _ in range(3):
        assert connect("203.0.113.1").request().status == 200
    c = connect("203.0.113.1")
    assert c.read_response().status == 503
    assert connect("203.0.113.2").request().status == 200


def test_places_of_a_killed_worker_are_free_again(origin, start, held):
    weir = start(base_config(origin, workers=1, caps={"peer_connections": 3, "client_requests": 3}), expect_crash=True)
    for _ in range(3):
        held.append(weir.client(source="127.0.0.5"))
        held[-1].send(build("GET", "/slow/20000"))
    origin.wait_requests(3)
    worker, = weir.workers()
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: weir.workers() and worker not in weir.workers() and weir.is_ready(), 15)
    for _ in range(3):
        held.append(weir.client(source="127.0.0.5"))
        assert held[-1].request().status == 200


# Requests in flight of a client

def in_flight(weir, client, n, held):
    for _ in range(n):
        c = weir.client()
        held.append(c)
        c.send(build("GET", "/slow/20000", [("X-Forwarded-For", client)]))


def test_requests_in_flight_of_a_client_are_capped(origin, start, held):
    weir = start(base_config(origin, caps={"client_requests": 6}))
    in_flight(weir, "203.0.113.1", 6, held)
    origin.wait_requests(6)
    assert weir.ctl("clients", "show", "203.0.113.1", json=True)["in_flight"] == 6
    assert "6 requests of it are in flight here" in weir.ctl("clients", "show", "203.0.113.1")
    before = weir.client_state("203.0.113.1")["used"]
    with weir.client() as c:
        for _ in range(3):
            res = c.request(headers=[("X-Forwarded-For", "203.0.113.1")])
            assert (res.status, res.one("Retry-After")) == (429, "1")
            assert "being served" in res.text()
    assert refused(weir) == 3 and weir.client_state("203.0.113.1")["used"] == before
    assert weir.metric("weir_requests_total", verdict="crowded") == 3
    assert weir.get(xff="203.0.113.2").status == 200
    assert weir.get().status == 200    # nobody is held to nothing
    (e, *_) = weir.wait_log(lambda e: e["status"] == 429)
    assert e["limit"] == "none" and "being served" in e["note"]
    held.pop().reset()
    wait_for(lambda: weir.get(xff="203.0.113.1").status == 200, 15, "room again")


def test_tunnels_count_as_requests_in_flight(origin, start, held):
    weir = start(base_config(origin, sites=WS_SITE, caps={"client_requests": 2}))
    for _ in range(2):
        held.append(weir.client(source="127.0.0.9"))
        assert held[-1].ws_open().status == 101
    assert weir.get(source="127.0.0.9").status == 429
    held.pop().close()
    wait_for(lambda: weir.get(source="127.0.0.9").status == 200, 15)


def test_exempt_and_lifted_clients_are_not_held_to_it(origin, start, held):
    rate = {"policies": {"default": {"requests": 1000, "window": "60s"}}, "exempt": ["198.51.100.0/24"]}
    weir = start(base_config(origin, rate_limit=rate, caps={"client_requests": 2}))
    in_flight(weir, "198.51.100.1", 3, held)
    in_flight(weir, "203.0.113.1", 2, held)
    origin.wait_requests(5)
    assert weir.get(xff="198.51.100.1").status == 200
    assert weir.get(xff="203.0.113.1").status == 429
    weir.lift("--client", "203.0.113.1/32")
    wait_for(lambda: weir.get(xff="203.0.113.1").status == 200, 15)


def test_cap_is_kept_exactly_under_fire(origins, start):
    """As many at a time as may be, over two workers, and never more."""
    state, lock, go = {"now": 0, "most": 0}, threading.Lock(), threading.Event()

    def script(conn):
        while True:
            conn.read_request()
            with lock:
                state["now"] += 1
                state["most"] = max(state["most"], state["now"])
            go.wait(0.02)
            with lock:
                state["now"] -= 1
            conn.respond(200, b"x")
    weir = start(base_config(origins(script=script), caps={"client_requests": 8},
                             rate_limit={"policies": {"default": {"requests": 1000000, "window": "60s"}}}))
    seen = []

    def client():
        with weir.client(source="127.0.0.7") as c:
            for _ in range(40):
                seen.append(c.request().status)
    threads = [threading.Thread(target=client) for _ in range(24)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert set(seen) == {200, 429} and len(seen) == 24 * 40
    assert state["most"] <= 8
    for _ in range(8):
        assert weir.get(source="127.0.0.7").status == 200


# Pools

def test_idle_connections_to_a_server_are_capped(origin, start, held):
    weir = start(base_config(origin, workers=1, upstreams={
        "main": {"servers": [origin.address], "pool": 3, "timeouts": {"keepalive": "60s"}}}))
    for _ in range(10):
        held.append(weir.client())
        held[-1].send(build("GET", "/slow/200"))
    for c in held:
        assert c.read_response().status == 200
    wait_for(lambda: weir.metric("weir_upstream_pooled_connections") == 3, 15)
    assert weir.metric("weir_upstream_pool_full_total") == 7
    wait_for(lambda: origin.open_connections() == 3, 15)
    for c in held:
        assert c.request().status == 200
    assert origin.accepted == 10


@pytest.mark.parametrize("methods", [["HEAD", "HEAD", "GET"], ["GET", "HEAD", "GET"], ["HEAD", "GET", "HEAD"], ["HEAD", "HEAD", "HEAD"]])
def test_a_full_pool_lets_the_one_go_that_is_idle_for_longest(origins, start, held, methods):
    """Whether it rested before it could be used again, as after HEAD, or not."""
    go, numbers, closed = [threading.Event() for _ in methods], {}, []

    def script(conn):
        req = conn.read_head()
        i = int(req.path[1:])
        numbers[i] = conn
        go[i].wait(20)
        conn.respond(200, b"" if methods[i] == "HEAD" else b"x")
        if conn.wait_closed(20):
            closed.append(i)
    origin = origins(script=script)
    weir = start(base_config(origin, workers=1, upstreams={
        "main": {"servers": [origin.address], "pool": 2, "timeouts": {"keepalive": "60s"}}}))
    for i, method in enumerate(methods):
        held.append(weir.client())
        held[-1].send(build(method, "/%d" % i))
        wait_for(lambda i=i: i in numbers, 10)
    for i, method in enumerate(methods):
        go[i].set()
        assert held[i].read_response(method).status == 200
        wait_for(lambda i=i: weir.metric("weir_upstream_pooled_connections") == min(i + 1, 2), 10)
    wait_for(lambda: closed, 10)
    assert closed == [0]
