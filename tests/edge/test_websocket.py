# SPDX-License-Identifier: MIT
"""WebSocket through weir with a library that people use on both ends (python3-websockets)."""
import asyncio
import contextlib
import http
import os
import sys
import threading

import pytest

from weirlib import base_config, free_port, wait_for
from weirlib.weir import SANITIZED

try:
    import websockets
except ImportError:    # it belongs to the distribution's python, and is not compiled
    sys.path.append("/usr/lib/python3/dist-packages")
    import websockets

HOST = "ws.example"
LIMIT = 32 << 20


class Server:
    """A websockets server in a thread with a loop of its own; the path picks what it does."""

    def __init__(self):
        self.port, self.closed, self.errors = free_port(), [], []
        self.go = threading.Event()
        self.sent = self.open = 0
        self.loop = asyncio.new_event_loop()
        self.stop = self.loop.create_future()
        ready = threading.Event()
        self.thread = threading.Thread(target=self.run, args=(ready,))
        self.thread.start()
        assert ready.wait(10)

    def run(self, ready):
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self.serve(ready))
        self.loop.close()

    async def serve(self, ready):
        async with websockets.serve(self.handle, "127.0.0.1", self.port, max_size=LIMIT, max_queue=4, ping_interval=None,
                                    process_request=self.request, subprotocols=["chat"]):
            ready.set()
            await self.stop

    def close(self):
        self.loop.call_soon_threadsafe(self.stop.set_result, None)
        self.thread.join(10)
        return "\n".join(map(repr, self.errors))

    async def request(self, path, headers):
        if path.startswith("/refused/"):
            return http.HTTPStatus(int(path.rsplit("/", 1)[1])), [], b"not here\n"
        return None

    async def handle(self, ws):
        self.open += 1
        try:
            await getattr(self, ws.path.strip("/").replace("/", "_"))(ws)
        except websockets.ConnectionClosed:
            pass
        except Exception as e:
            self.errors.append(e)
        finally:
            await ws.close()
            self.closed.append((ws.close_code, ws.close_reason))
            self.open -= 1

    async def echo(self, ws):
        async for message in ws:
            await ws.send(message)

    async def chatter(self, ws):
        """Speaks by itself while it listens: 5,000 messages each way at once."""
        async def talk():
            for i in range(5000):
                await ws.send("down %d" % i)
        talking = asyncio.ensure_future(talk())
        for i in range(5000):
            assert await ws.recv() == "up %d" % i
        await talking
        await ws.send("done")

    async def fragments(self, ws):
        whole = b""
        async for message in ws:
            whole += message
            await ws.send(message[i:i + 1000] for i in range(0, len(message), 1000))

    async def pinging(self, ws):
        for i in range(50):
            await (await ws.ping(b"%d" % i))
        await ws.send("pinged")
        await ws.recv()

    async def leaving(self, ws):
        await ws.recv()
        await ws.close(4321, "that is all")

    async def vanishing(self, ws):
        await ws.recv()
        ws.transport.abort()

    async def flood(self, ws):
        block = os.urandom(1 << 20)
        for _ in range(64):
            await ws.send(block)
            self.sent += 1

    async def sink(self, ws):
        await asyncio.get_event_loop().run_in_executor(None, self.go.wait, 20)
        n = 0
        async for message in ws:
            n += len(message)
            if n == 64 << 20:
                await ws.send(str(n))


@pytest.fixture(scope="module")
def served(module_start, module_closing):
    server = module_closing.add(Server())
    weir = module_start(base_config(upstreams={"main": {"servers": ["127.0.0.1:%d" % server.port]}}, workers=1,
                                    sites=[{"hosts": [HOST], "upstream": "main", "upgrade": ["websocket"]}, {"hosts": ["*"], "upstream": "main"}]))
    return weir, server


@pytest.fixture
def ws(served):
    weir, server = served
    wait_for(lambda: server.open == 0, 10)
    server.closed.clear()
    server.go.clear()
    server.sent = 0
    yield served
    assert server.errors == []


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 120))


def connect(weir, path, **options):
    options.setdefault("max_size", LIMIT)
    return websockets.connect("ws://%s%s" % (HOST, path), host="127.0.0.1", port=weir.port, ping_interval=None, **options)


def test_thousands_of_messages_one_by_one(ws):
    async def talk():
        async with connect(ws[0], "/echo") as c:
            for i in range(3000):
                text = "%d %s" % (i, "x" * (i % 300))
                await c.send(text)
                assert await c.recv() == text
    run(talk())
    wait_for(lambda: ws[1].closed == [(1000, "")], 15)


def test_thousands_of_messages_both_ways_at_once(ws):
    async def talk():
        async with connect(ws[0], "/chatter") as c:
            async def say():
                for i in range(5000):
                    await c.send("up %d" % i)
            saying = asyncio.ensure_future(say())
            for i in range(5000):
                assert await c.recv() == "down %d" % i
            await saying
            assert await c.recv() == "done"
    run(talk())


def test_many_clients_at_once(ws):
    async def one(n):
        async with connect(ws[0], "/echo") as c:
            for i in range(40):
                message = os.urandom(1 + n * i)
                await c.send(message)
                assert await c.recv() == message

    async def all_of_them():
        await asyncio.gather(*(one(n) for n in range(50)))
    run(all_of_them())
    wait_for(lambda: len(ws[1].closed) == 50, 10)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 1 << 20, 16 << 20])
@pytest.mark.parametrize("compression", [None, "deflate"])
def test_frames_of_every_length(ws, size, compression):
    message = os.urandom(size) if compression is None else (b"squeeze me " * (size // 11 + 1))[:size]

    async def talk():
        async with connect(ws[0], "/echo", compression=compression) as c:
            for _ in range(2):
                await c.send(message)
                assert await c.recv() == message
            return c.extensions
    assert bool(run(talk())) == (compression is not None), "what is agreed on passes"


def test_fragmented_messages(ws):
    async def talk():
        async with connect(ws[0], "/fragments", compression=None) as c:
            for n in (0, 1, 999, 1001, 250_000):
                message = os.urandom(n)
                await c.send([message[i:i + 700] for i in range(0, n, 700)] or [b""])
                if n:
                    assert await c.recv() == message
    run(talk())


def test_pings_of_both_sides(ws):
    async def talk():
        async with connect(ws[0], "/pinging") as c:
            for i in range(50):
                await (await c.ping(b"mine %d" % i))
            assert await c.recv() == "pinged"
            await c.send("thanks")
    run(talk())


def test_subprotocol_and_origin_pass(ws):
    async def talk():
        async with connect(ws[0], "/echo", subprotocols=["none", "chat"], origin="https://page.example") as c:
            return c.subprotocol
    assert run(talk()) == "chat"


def test_close_handshake_of_either_side(ws):
    async def client_first():
        async with connect(ws[0], "/echo") as c:
            await c.send("x")
            await c.recv()
            await c.close(4000, "enough")
            return c.close_code, c.close_reason

    async def server_first():
        async with connect(ws[0], "/leaving") as c:
            await c.send("x")
            with contextlib.suppress(websockets.ConnectionClosed):
                await c.recv()
            await c.wait_closed()
            return c.close_code, c.close_reason
    assert run(client_first()) == (4000, "enough")
    assert run(server_first()) == (4321, "that is all")
    wait_for(lambda: sorted(ws[1].closed) == [(4000, "enough"), (4321, "that is all")], 15)
    wait_for(lambda: ws[0].metric("weir_requests_active") == 0, 15)


def test_a_side_that_vanishes_is_told(ws):
    async def server_vanishes():
        async with connect(ws[0], "/vanishing") as c:
            await c.send("x")
            with pytest.raises(websockets.ConnectionClosed):
                await c.recv()
            return c.close_code

    async def client_vanishes():
        c = await connect(ws[0], "/echo")
        await c.send("x")
        await c.recv()
        c.transport.abort()
    assert run(server_vanishes()) == 1006
    run(client_vanishes())
    wait_for(lambda: len(ws[1].closed) == 2, 15)
    assert {code for code, _ in ws[1].closed} == {1006}


@pytest.mark.parametrize("status", [200, 401, 403, 503])
def test_refusals_pass(ws, status):
    async def talk():
        with pytest.raises(websockets.InvalidStatusCode) as e:
            await connect(ws[0], "/refused/%d" % status)
        return e.value.status_code
    assert run(talk()) == status


def test_plain_request_learns_of_the_upgrade(ws):
    """The library's own answer to what is no handshake."""
    res = ws[0].get("/echo", host=HOST)
    assert (res.status, res.get_all("Upgrade")) == (426, ["websocket"])


def test_site_without_upgrade_tunnels_nothing(ws):
    async def talk():
        with pytest.raises(websockets.InvalidStatusCode) as e:
            await websockets.connect("ws://other.example/echo", host="127.0.0.1", port=ws[0].port)
        return e.value.status_code
    assert run(talk()) == 426


BOUND_KB = 2048 if not SANITIZED else 1 << 20    # the sanitizer keeps what was freed


def test_reader_that_rests_holds_its_server_back(ws):
    weir, server = ws
    before = weir.workers_rss_kb()

    async def talk():
        async with connect(weir, "/flood", compression=None, max_queue=1) as c:
            last = -1
            while server.sent != last or last <= 0:    # until nothing moves any more
                last = server.sent
                await asyncio.sleep(0.3)
            assert last < 40
            grown = weir.workers_rss_kb() - before
            n = 0
            async for message in c:
                n += len(message)
            return grown, n
    grown, n = run(talk())
    assert n == 64 << 20 and grown < BOUND_KB
    assert weir.workers_rss_kb() - before < BOUND_KB


def test_server_that_rests_holds_its_client_back(ws):
    weir, server = ws
    before = weir.workers_rss_kb()
    sent = [0]

    async def talk():
        async with connect(weir, "/sink", compression=None) as c:
            block = os.urandom(1 << 20)

            async def push():
                for _ in range(64):
                    await c.send(block)
                    sent[0] += 1
            pushing = asyncio.ensure_future(push())
            last = -1
            while sent[0] != last or last <= 0:
                last = sent[0]
                await asyncio.sleep(0.3)
            assert last < 40
            grown = weir.workers_rss_kb() - before
            server.go.set()
            await pushing
            return grown, await c.recv()
    grown, total = run(talk())
    assert total == str(64 << 20) and grown < BOUND_KB
