# SPDX-License-Identifier: MIT
"""Clients and origins that do anything at any time, by a seed: whatever happens, nobody gets another one's bytes.

Each request bears a number, and each byte of its content and of its response's tells it. Both ends parse strictly. A
client may see a cut connection or an answer of weir's own; never a response out of turn, nor a timeout, as nobody is slow.
WEIR_CHAOS_S makes it longer, WEIR_CHAOS_SEED repeats a run (as far as threads and sockets do).
"""
import os
import random
import socket
import ssl
import threading
import time

import pytest

from weirlib import Origin, base_config, free_port, wait_for
from weirlib.client import ProtocolError, RawClient
from weirlib.tls import Authority, Channel, context

SECONDS = float(os.environ.get("WEIR_CHAOS_S", 5))
SEED = int(os.environ.get("WEIR_CHAOS_SEED", 0)) or random.SystemRandom().randrange(1, 1 << 31)
OWN = (400, 502, 503)
SMUGGLED = b"\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


def content(number, n, what=b"c"):
    """n bytes, which look like a request to whoever is out of step."""
    unit = b"[%s%d]" % (what, number) + SMUGGLED
    return (unit * (n // len(unit) + 1))[:n]


def sizes(rnd):
    return rnd.choice([0, 1, rnd.randrange(100), rnd.randrange(5000), rnd.randrange(70_000), rnd.randrange(400_000) if rnd.random() < 0.2 else 10])


def chunked(rnd, body, trailers=b""):
    out, at = [], 0
    while at < len(body):
        n = min(len(body) - at, rnd.choice([1, 7, 100, 5000, 70_000]))
        ext = rnd.choice([b"", b"", b";a", b";a=b", b";q=\"\\\"x\""]) if len(out) < 100 else b""
        out.append(b"%x%s\r\n" % (n, ext) + body[at:at + n] + b"\r\n")
        at += n
    return b"".join(out) + b"0\r\n" + trailers + b"\r\n"


class Lazy:
    """A socket whose owner reads little, and late."""

    def __init__(self, sock, rnd):
        self.sock, self.rnd, self.rests = sock, rnd, 30

    def recv(self, n):
        if self.rests and self.rnd.random() < 0.3:
            self.rests -= 1
            time.sleep(self.rnd.random() * 0.005)
        return self.sock.recv(min(n, self.rnd.choice([1, 100, 4096, n, n])))

    def __getattr__(self, name):
        return getattr(self.sock, name)


def dribble(rnd, send, data, surplus=b""):
    """Sends data in a few pieces. What is surplus goes in one with its last byte: later it would be an answer to what came since."""
    end = len(data) - 1 if surplus and data else len(data)
    cuts = sorted(rnd.randrange(end) for _ in range(rnd.choice([0, 0, 0, 1, 2, 5]))) if end > 0 else []
    at = 0
    for cut in cuts + [end]:
        if cut > at:
            send(data[at:cut])
            if cut < end and rnd.random() < 0.5:
                time.sleep(rnd.random() * 0.003)
            at = cut
    if data[at:] + surplus:
        send(data[at:] + surplus)


class Chaos:
    def __init__(self):
        self.wrong, self.answers, self.cuts, self.own = [], 0, 0, 0
        self.tunnels = 0
        self.client_tls = self.origin_tls = None    # contexts
        self.lock = threading.Lock()

    def fail(self, *what):
        with self.lock:
            self.wrong.append(what)

    # The origin's part

    def origin(self, conn):
        conn.sock.settimeout(20)
        if self.origin_tls:
            conn.sock = Channel(conn.sock, self.origin_tls)
        if conn.number % 5 == 0:
            conn.sock = Lazy(conn.sock, random.Random(conn.number))
        while True:
            req = conn.read_head()
            number = int(req.get("X-Number") or -1)
            if number < 0 or not req.path.startswith("/n/") or req.path != "/n/%d" % number:
                self.fail("the origin got a request that nobody sent", req, conn.buf[:200])
                return
            rnd = random.Random("%d %d" % (SEED, number))
            if not self.respond(conn, req, rnd, number) or rnd.random() < 0.1:    # unannounced, as a restart would
                return

    def read(self, conn, req, number):
        conn.read_body(req)
        if req.body != content(number, len(req.body)):
            self.fail("the origin got a wrong body", number, req, req.body[:100])
        if not {n.lower() for n, _ in req.trailers} <= {"x-sum"}:
            self.fail("the origin got trailers that may not pass", number, req.trailers)

    def respond(self, conn, req, rnd, number):
        way = rnd.choice(["usual"] * 8 + ["early", "early", "cut", "reset", "surplus", "bad", "http/1.0", "until close"])
        if req.get("Upgrade"):
            return self.tunnel(conn, rnd, number)
        if req.get("Expect") and rnd.random() < 0.7:
            conn.send("HTTP/1.1 100 Continue\r\n\r\n")
        if way != "early":
            self.read(conn, req, number)
        for _ in range(rnd.choice([0, 0, 0, 1, 3])):
            conn.send(b"HTTP/1.1 103 Early Hints\r\nX-Number: %d\r\n\r\n" % number)
        data = self.message(req, rnd, number, way)
        if way in ("cut", "reset"):
            data = data[:rnd.randrange(len(data))]
        surplus = b"HTTP/1.1 200 OK\r\nX-Number: -7\r\nContent-Length: 4\r\n\r\nevil" * rnd.randrange(1, 30) if way == "surplus" else b""
        dribble(rnd, conn.send, data, surplus)
        if way == "reset":
            conn.reset()
        if way == "early" and rnd.random() < 0.7:
            self.read(conn, req, number)    # it takes the rest of it after all
        elif way not in ("usual", "surplus", "bad"):
            if way != "reset":
                conn.half_close()
            conn.wait_closed(15)
            return False
        return True

    def message(self, req, rnd, number, way):
        body = content(number, sizes(rnd), b"s")
        fields = b"X-Number: %d\r\n" % number
        status = rnd.choice([200, 200, 200, 404, 500, 204, 304])
        if way == "bad":
            return rnd.choice([b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", b"HTTP/1.1 2000 OK\r\n\r\n", b"x" * 100,
                               b"HTTP/1.1 200 OK\r\nX: \0\r\n\r\n", b"HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\nevil",
                               b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Number: %d\r\n\r\n-1\r\nevil" % number])
        bare = req.method == "HEAD" or status in (204, 304)
        if way == "until close" or way == "http/1.0":
            version = b"1.0" if way == "http/1.0" else b"1.1"
            return b"HTTP/%s 200 OK\r\n%s\r\n" % (version, fields) + (b"" if req.method == "HEAD" else body)
        if rnd.random() < 0.5 and status != 204:
            head = b"HTTP/1.1 %d X\r\n%sTransfer-Encoding: chunked\r\n\r\n" % (status, fields)
            return head + (b"" if bare else chunked(rnd, body, rnd.choice([b"", b"X-Sum: 1\r\nSet-Cookie: evil\r\n"])))
        length = b"" if status == 204 else b"Content-Length: %d\r\n" % len(body)
        return b"HTTP/1.1 %d X\r\n%s%s\r\n" % (status, length, fields) + (b"" if bare else body)

    def tunnel(self, conn, rnd, number):
        if rnd.random() < 0.3:
            conn.send(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\nX-Number: %d\r\n\r\n" % number)
            return True
        conn.send(b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\nX-Number: %d\r\n\r\n" % number)
        data, conn.buf = conn.buf, b""
        while True:
            if data:
                conn.send(data)
            if rnd.random() < 0.02:
                return False
            data = conn.recv()
            if not data:
                return False

    # The client's part

    def request(self, rnd, number):
        """(head, body, method, kind): of kind `wait` are those that wait a little for a 100."""
        method = rnd.choice(["GET", "GET", "POST", "PUT", "HEAD", "PURGE"])
        version = "1.0" if rnd.random() < 0.1 else "1.1"
        fields = ["Host: a.example", "X-Number: %d" % number]
        body, wait = b"", False
        if rnd.random() < 0.05:
            fields += ["Upgrade: websocket", "Connection: upgrade"]
            return ("GET /n/%d HTTP/1.1\r\n%s\r\n\r\n" % (number, "\r\n".join(fields))).encode(), b"", "GET", "upgrade"
        if method in ("POST", "PUT") or rnd.random() < 0.1:
            whole = content(number, sizes(rnd))
            if rnd.random() < 0.5 and version == "1.1":
                fields.append("Transfer-Encoding: chunked")
                body = chunked(rnd, whole, rnd.choice([b"", b"X-Sum: 2\r\nHost: evil\r\n"]))
            else:
                fields.append("Content-Length: %d" % len(whole))
                body = whole
            if rnd.random() < 0.2:
                fields.append("Expect: 100-continue")
                wait = rnd.random() < 0.5
        if rnd.random() < 0.1:
            fields.append("Connection: close")
        rnd.shuffle(fields)
        head = ("%s /n/%d HTTP/%s\r\n%s\r\n\r\n" % (method, number, version, "\r\n".join(fields))).encode()
        return head, body, method, "wait" if wait else ""

    def client(self, weir, name, until):
        rnd = random.Random("%d client %s" % (SEED, name))
        serial = 0
        lazy = random.Random(name)
        while time.monotonic() < until and not self.wrong:
            asked = []
            with RawClient(weir.way_in, timeout=20, rcvbuf=rnd.choice([None, None, 4096])) as c:
                if self.client_tls:
                    c.sock = Channel(c.sock, self.client_tls, "a.example")
                if name % 4 == 0:
                    c.sock = Lazy(c.sock, lazy)
                try:
                    for _ in range(rnd.randrange(1, 5)):
                        serial += 1
                        number = name * 1_000_000 + serial
                        asked.append((number, *self.request(rnd, number)))
                    self.converse(c, rnd, asked)
                except (OSError, ProtocolError) as e:
                    if isinstance(e, socket.timeout) or (isinstance(e, ProtocolError) and "ended" not in str(e)):
                        self.fail("client", name, asked[0][0], repr(e))
                    self.cuts += 1

    def converse(self, c, rnd, asked):
        leaves = rnd.choice([None] * 6 + ["reset", "close", "half_close"])
        if rnd.random() < 0.5 and not any(kind == "upgrade" for *_, kind in asked):
            self.pipeline(c, rnd, asked, leaves)
            return
        for number, head, body, method, kind in asked:
            if leaves and rnd.random() < 0.3:
                self.leave(c, rnd, head + body, leaves)
                return
            sender = self.sender(c, rnd, [(head, body, kind)])
            over = self.speak(c, rnd, number) if kind == "upgrade" else self.answer(c, number, method)
            if over:
                return
            sender.join()

    def pipeline(self, c, rnd, asked, leaves):
        """All at once; who leaves does it at any time, with requests and responses half way."""
        self.sender(c, rnd, [(head, body, kind) for _, head, body, _, kind in asked])
        for number, _, _, method, _ in asked:
            if leaves in ("reset", "close") and rnd.random() < 0.3:
                getattr(c, leaves)()
                return
            if self.answer(c, number, method):
                return

    def leave(self, c, rnd, data, how):
        dribble(rnd, c.send, data[:rnd.randrange(len(data) + 1)])
        getattr(c, how)()
        if how == "half_close":
            c.read_to_close()

    def sender(self, c, rnd, requests):
        """Besides reading, as both may be held back; an error is met by the reader."""
        own = random.Random(rnd.random())

        def go():
            try:
                for head, body, kind in requests:
                    if kind == "wait":
                        c.send(head)
                        time.sleep(own.random() * 0.01)
                        dribble(own, c.send, body)
                    else:
                        dribble(own, c.send, head + body)
            except OSError:
                pass
        thread = threading.Thread(target=go, daemon=True)
        thread.start()
        return thread

    def answer(self, c, number, method):
        """True when the connection is over."""
        res = c.read_response(method)
        self.check(res, number)
        return res.closes() or res.framing == "close"

    def check(self, res, number):
        for part in [*res.interim, res]:
            said = part.get("X-Number")
            if said is None and (part.status in OWN or part.status == 100):
                continue
            if said != str(number):
                self.fail("a response out of turn", number, part, part.body[:100])
                return
        if res.get("X-Number") and res.body != content(number, len(res.body), b"s"):
            self.fail("a wrong body", number, res, res.body[:100])
        if any(n.lower() != "x-sum" for n, _ in res.trailers):
            self.fail("trailers that may not pass", number, res.trailers)
        with self.lock:
            self.answers += 1
            self.own += res.get("X-Number") is None

    def speak(self, c, rnd, number):
        """Upgrades: True when there was a tunnel."""
        res = c.read_response()
        self.check(res, number)
        if res.status != 101:
            return res.closes()
        self.tunnels += 1
        for i in range(rnd.randrange(6)):
            said = b"<%d.%d>" % (number, i) * rnd.choice([1, 10, 3000])
            c.send(said)
            heard = c.read_exact(len(said))
            if heard != said:
                self.fail("a wrong echo", number, heard[:100])
        if rnd.random() < 0.5:
            c.half_close()
            if c.read_to_close():
                self.fail("more than was said", number)
        return True


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_nobody_gets_anothers_bytes(start, closing, tls):
    chaos, plain, way_in = Chaos(), free_port(), free_port()
    listen, towards = {"address": "127.0.0.1:%d" % way_in}, {}
    if tls:
        authority = closing.add(Authority())
        leaf = authority.issue("a.example")
        chaos.client_tls, chaos.origin_tls = context(authority), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        chaos.origin_tls.load_cert_chain(leaf.pem, leaf.key)
        listen["tls"], towards["tls"] = [leaf.yaml], {"ca": authority.pem, "name": "a.example"}
    made = [closing.add(Origin("chaos%d" % i, script=chaos.origin)) for i in range(2)]
    weir = start(base_config(made, workers=2, listen=[{"address": "127.0.0.1:%d" % plain}, listen], sites=[{"hosts": ["*"], "upstream": "main", "upgrade": ["websocket"]}],
                             upstreams={"main": {**towards, "servers": [o.address for o in made], "timeouts": {"response": "10s", "idle": "10s", "keepalive": "2s"}}},
                             timeouts={"body": "10s", "head": "10s"}), port=plain)
    weir.way_in = way_in
    until = time.monotonic() + SECONDS
    clients = [threading.Thread(target=chaos.client, args=(weir, n, until)) for n in range(1, 17)]
    for t in clients:
        t.start()
    for _ in range(2):
        time.sleep(SECONDS / 3)
        weir.reload()
    for t in clients:
        t.join()
    assert chaos.wrong == [], "seed %d: %r" % (SEED, chaos.wrong[:3])
    assert chaos.answers > 50 and chaos.answers > 2 * chaos.own, (SEED, vars(chaos))
    wait_for(lambda: weir.metric("weir_connections") == 0 and weir.metric("weir_requests_active") == 0, 20, "seed %d: all are gone" % SEED)
    assert not any(s["in_flight"] for s in weir.ctl("upstreams", json=True)["upstreams"]), SEED
    for o in made:
        trouble = [e for e in o.errors if not isinstance(e, (OSError, EOFError))]
        assert trouble == [], "seed %d: %r" % (SEED, trouble[:3])
    print("seed %d: %d answers, %d of weir's own, %d cut, %d tunnels" % (SEED, chaos.answers, chaos.own, chaos.cuts, chaos.tunnels))
