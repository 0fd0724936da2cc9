# SPDX-License-Identifier: MIT
"""Responses to the letter of RFC 9110 and 9112: raw bytes of an origin, and what the client makes of them."""
import email.utils
import random
import threading
import time

import pytest

from weirlib import Origin, RawClient, base_config, wait_for
from weirlib.client import ProtocolError, build
from weirlib.origin import pattern

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"


def said(head, body=b"", *fields):
    return head + b"\r\n" + b"".join(f + b"\r\n" for f in fields) + b"\r\n" + body


class Says:
    """An origin that answers a request for /said with the bytes in `bytes`, then does `ending`; any other with its path."""

    def __init__(self):
        self.bytes, self.ending = b"", None

    def __call__(self, conn):
        while True:
            req = conn.read_request()
            if req.path != "/said":
                conn.respond(200, req.path.encode())
                continue
            conn.send(self.bytes)
            if self.ending:
                getattr(conn, self.ending)()
                conn.wait_closed(5)
                return


@pytest.fixture(scope="module")
def shared(module_start, module_closing):
    says = Says()
    origin = module_closing.add(Origin(script=says))
    weir = module_start(base_config(origin, workers=1, upstreams={
        "main": {"servers": [origin.address], "timeouts": {"response": "5s", "idle": "5s"}}},
        sites=[{"hosts": ["ws.example"], "upstream": "main", "upgrade": ["websocket", "other"]}, {"hosts": ["*"], "upstream": "main"}]))
    weir.says, weir.origin = says, origin
    return weir


@pytest.fixture
def weir(shared):
    shared.says.bytes, shared.says.ending = b"", None
    shared.origin.clear()
    shared.origin.errors.clear()
    return shared


def ask(weir, data, ending=None, method="POST", **kw):
    """The answer to a request that the origin answers with `data`, and that of the next one behind it."""
    weir.says.bytes, weir.says.ending = data, ending
    with weir.client() as c:
        res = c.request(method, "/said", **kw)
        if not res.closes():
            assert c.request("GET", "/next").body == b"/next"
    return res


# Status lines (RFC 9112, 4)

@pytest.mark.parametrize("line, status, reason", [
    (b"HTTP/1.1 200 OK", 200, "OK"), (b"HTTP/1.1 200 ", 200, ""), (b"HTTP/1.1 200", 200, ""), (b"HTTP/1.0 201 Made", 201, "Made"),
    (b"HTTP/1.7 404 a\tb  c", 404, "a\tb  c"), (b"HTTP/1.1 599 caf\xe9 \xff", 599, "caf\xe9 \xff"), (b"HTTP/1.1 299 " + b"x" * 9000, 299, "x" * 9000)])
def test_status_lines(weir, line, status, reason):
    res = ask(weir, said(line, b"ok", b"Content-Length: 2", b"Connection: keep-alive"))
    assert (res.version, res.status, res.reason.rstrip(" "), res.body) == ("1.1", status, reason, b"ok")


@pytest.mark.parametrize("status", [600, 799, 999])
def test_status_of_no_class_passes_as_it_is(weir, status):
    weir.says.bytes, weir.says.ending = said(b"HTTP/1.1 %d Odd" % status, b"ok", b"Content-Length: 2"), None
    with weir.client() as c:
        c.send(build("GET", "/said"))
        assert c.read_until(b"\r\n") == b"HTTP/1.1 %d Odd" % status
        c.read_until(b"\r\n\r\nok")


@pytest.mark.parametrize("line", [
    b"HTTP/1.1 099 X", b"HTTP/1.1 000 X", b"HTTP/1.1 20 X", b"HTTP/1.1 2000 X", b"HTTP/1.1 2x0 X", b"HTTP/1.1 +20 X", b"HTTP/1.1 -20 X",
    b"HTTP/1.1  200 X", b"HTTP/1.1\t200 X", b"HTTP/1.1 200OK", b"HTTP/1.1 200\tOK", b"HTTP/1.1 200.0", b"HTTP/2.0 200 X", b"HTTP/0.9 200 X",
    b"HTTP/1.10 200 X", b"HTTP/1.x 200 X", b"HTTP/11 200 X", b"http/1.1 200 X", b" HTTP/1.1 200 X", b"\r\nHTTP/1.1 200 X", b"ICY 200 OK",
    b"200 OK", b"HTTP/1.1", b"HTTP/1.1 ", b"HTTP/1.1 200 a\0b", b"HTTP/1.1 200 a\rb", b"HTTP/1.1 200 a\nb", b"HTTP/1.1 200 a\x7fb",
    b"HTTP/1.1 200 OK\r", b"", b"<html>", b"SSH-2.0-OpenSSH_9.2", b"\x15\x03\x01\x00\x02\x02", b"HTTP/1.1 200 " + b"x" * 70000])
@pytest.mark.parametrize("ending", [None, "half_close"])
def test_bad_status_lines_get_502(weir, line, ending):
    res = ask(weir, said(line, b"ok", b"Content-Length: 2"), ending)
    assert res.status == 502 and res.one("X-Request-Id")
    wait_for(lambda: weir.origin.open_connections() <= 1, 15)


# Lengths and codings (RFC 9112, 6)

BAD_FRAMING = {
    "length with a sign": [b"Content-Length: +2"], "negative length": [b"Content-Length: -2"], "hex length": [b"Content-Length: 0x2"],
    "length with a point": [b"Content-Length: 2.0"], "empty length": [b"Content-Length: "], "length of 2^63": [b"Content-Length: 9223372036854775808"],
    "length of 2^64 + 2": [b"Content-Length: 18446744073709551618"], "length of 40 digits": [b"Content-Length: " + b"0" * 39 + b"2"],
    "two lengths": [b"Content-Length: 2", b"Content-Length: 3"], "two equal lengths": [b"Content-Length: 2", b"Content-Length: 2"],
    "a list of lengths": [b"Content-Length: 2, 2"], "length folded": [b"Content-Length:", b" 2"], "length with a space": [b"Content-Length: 1 2"],
    "space before the colon": [b"Content-Length : 2"], "both lengths": [b"Content-Length: 2", b"Transfer-Encoding: chunked"],
    "both lengths, turned": [b"Transfer-Encoding: chunked", b"Content-Length: 2"], "another coding": [b"Transfer-Encoding: gzip"],
    "two codings": [b"Transfer-Encoding: gzip, chunked"], "chunked twice": [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
    "chunked, chunked": [b"Transfer-Encoding: chunked, chunked"], "identity": [b"Transfer-Encoding: identity"],
    "empty coding": [b"Transfer-Encoding:"], "chunked with a parameter": [b"Transfer-Encoding: chunked;q=1"],
    "chunked and a vertical tab": [b"Transfer-Encoding: chunked\x0b"], "misspelt coding": [b"Transfer-Encoding: xchunked"],
    "NUL in a value": [b"Content-Length: 2", b"X-A: a\0b"], "NUL in a name": [b"Content-Length: 2", b"X\0A: b"],
    "bare CR in a value": [b"Content-Length: 2", b"X-A: a\rSet-Cookie: x=y"], "bare LF in a value": [b"Content-Length: 2", b"X-A: a\nSet-Cookie: x=y"],
    "control in a value": [b"Content-Length: 2", b"X-A: a\x08b"], "DEL in a value": [b"Content-Length: 2", b"X-A: a\x7fb"],
    "folded line": [b"Content-Length: 2", b"X-A: a", b"\tb"], "folded first line": [b" X-A: a", b"Content-Length: 2"],
    "no colon": [b"Content-Length: 2", b"X-A"], "no name": [b"Content-Length: 2", b": a"], "space in a name": [b"Content-Length: 2", b"X A: b"],
    "slash in a name": [b"Content-Length: 2", b"X/A: b"], "CR CR LF": [b"Content-Length: 2\r"], "two hosts": [b"Content-Length: 2", b"Host: a", b"Host: b"],
    "a line of 70 KB": [b"Content-Length: 2", b"X-A: " + b"a" * 70000], "too many lines": [b"Content-Length: 2"] + [b"X: 1"] * 1500,
    "too long a head": [b"Content-Length: 2"] + [b"X: " + b"a" * 15000] * 30,
}


@pytest.mark.parametrize("name", BAD_FRAMING)
def test_bad_framing_gets_502_and_nothing_behind_it(weir, name):
    for ending in (None, "half_close"):
        res = ask(weir, said(b"HTTP/1.1 200 OK", b"ok" + EVIL, *BAD_FRAMING[name]), ending)
        assert res.status == 502 and b"evil" not in res.body and res.get("Set-Cookie") is None
    wait_for(lambda: weir.origin.open_connections() <= 1, 15)


@pytest.mark.parametrize("status", [100, 103, 204])
@pytest.mark.parametrize("field", [b"Content-Length: 4", b"Transfer-Encoding: chunked"])
def test_body_announced_where_none_can_be_gets_502(weir, status, field):
    res = ask(weir, said(b"HTTP/1.1 %d X" % status, b"evil", field) + OK)
    assert res.status == 502 and not res.interim


@pytest.mark.parametrize("data", [b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"])
def test_coding_of_http_1_0_gets_502(weir, data):
    assert ask(weir, data).status == 502


@pytest.mark.parametrize("field, body", [
    (b"Content-Length:\t2 \t", b"ok"), (b"content-length:0002", b"ok"), (b"Transfer-Encoding:\tchunked ", b"2\r\nok\r\n0\r\n\r\n"),
    (b"TRANSFER-ENCODING: Chunked", b"0002;a=\"b\\\"\"\r\nok\r\n000;x\r\nX-T: 1\r\n\r\n")])
def test_legal_framing(weir, field, body):
    assert ask(weir, said(b"HTTP/1.1 200 OK", body, field)).body == b"ok"


BAD_CHUNKS = {
    "sign": b"+2\r\nok\r\n0\r\n\r\n", "hex mark": b"0x2\r\nok\r\n0\r\n\r\n", "space": b"2 \r\nok\r\n0\r\n\r\n", "no size": b"\r\nok\r\n0\r\n\r\n",
    "2^63": b"8000000000000000\r\nok", "2^64 + 2": b"10000000000000002\r\nok\r\n0\r\n\r\n", "17 digits": b"00000000000000002\r\nok\r\n0\r\n\r\n",
    "bare LF": b"2\nok\r\n0\r\n\r\n", "too short": b"3\r\nok\r\n0\r\n\r\n", "too long": b"1\r\nok\r\n0\r\n\r\n", "bare LF behind": b"2\r\nok\n0\r\n\r\n",
    "bare CR": b"2\r\nok\r0\r\n\r\n", "NUL in an extension": b"2;\0\r\nok\r\n0\r\n\r\n", "long extension": b"2;" + b"a" * 5000 + b"\r\nok\r\n0\r\n\r\n",
    "bare LF at the end": b"2\r\nok\r\n0\r\n\n", "trailer with a NUL": b"2\r\nok\r\n0\r\nX-A: \0\r\n\r\n", "trailer folded": b"2\r\nok\r\n0\r\nX-A: 1\r\n 2\r\n\r\n",
    "trailer with a bare CR": b"2\r\nok\r\n0\r\nX-A: 1\rX-B: 2\r\n\r\n", "trailer without a colon": b"2\r\nok\r\n0\r\nX-A\r\n\r\n",
    "a response for a trailer": b"2\r\nok\r\n0\r\n" + EVIL, "no end": b"2\r\nok\r\n",
}


@pytest.mark.parametrize("name", BAD_CHUNKS)
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_bad_chunks_cut_the_connection(weir, name, version):
    """The head is out, so there is no second response: the client must see that the first one is not whole."""
    weir.says.bytes, weir.says.ending = said(b"HTTP/1.1 200 OK", BAD_CHUNKS[name] + EVIL, b"Transfer-Encoding: chunked"), "half_close"
    with weir.client() as c:
        c.send(build("POST", "/said", version=version) + build("GET", "/next"))
        with pytest.raises((ProtocolError, ConnectionResetError)) as failure:
            c.read_response()
            pytest.fail("it looked whole")
        assert "ended" in str(failure.value) or failure.type is ConnectionResetError
        assert b"evil" not in c.buf and b"/next" not in c.buf
    wait_for(lambda: weir.origin.open_connections() <= 1, 15)


# Responses without a body (RFC 9112, 6.3)

@pytest.mark.parametrize("method, data, length", [
    ("HEAD", said(b"HTTP/1.1 200 OK", b"", b"Content-Length: 1234"), "1234"), ("HEAD", said(b"HTTP/1.1 200 OK", b""), None),
    ("HEAD", said(b"HTTP/1.1 200 OK", b"", b"Transfer-Encoding: chunked"), None), ("HEAD", said(b"HTTP/1.1 404 No", b"", b"Content-Length: 9"), "9"),
    ("GET", said(b"HTTP/1.1 304 Same", b"", b"Content-Length: 77", b"ETag: \"x\""), "77"), ("GET", said(b"HTTP/1.1 304 Same", b""), None),
    ("GET", said(b"HTTP/1.1 204 None", b""), None), ("POST", said(b"HTTP/1.1 204 None", b"", b"Content-Length: 0"), None),
    ("HEAD", said(b"HTTP/1.1 304 Same", b"", b"Transfer-Encoding: chunked"), None), ("POST", said(b"HTTP/1.1 205 Reset", b"", b"Content-Length: 0"), "0")])
def test_responses_without_a_body(weir, method, data, length):
    before = weir.origin.accepted
    for _ in range(3):
        time.sleep(0.06)    # its connection rests for a moment: see below
        res = ask(weir, data, method=method)
        assert res.body == b"" and res.get_all("Content-Length") == ([length] if length else [])
        assert not res.get("Transfer-Encoding") and not res.closes()
    assert weir.origin.accepted - before <= 2, "such a connection may be used again"


@pytest.mark.parametrize("method, head", [
    ("HEAD", said(b"HTTP/1.1 200 OK", b"", b"Content-Length: %d" % len(EVIL))), ("GET", said(b"HTTP/1.1 304 Same")),
    ("GET", said(b"HTTP/1.1 204 None")), ("HEAD", said(b"HTTP/1.1 200 OK", b"", b"Transfer-Encoding: chunked")),
    ("GET", said(b"HTTP/1.1 200 OK", b"", b"Content-Length: 0")), ("GET", OK), ("GET", said(b"HTTP/1.1 200 OK", b"2\r\nok\r\n0\r\n\r\n", b"Transfer-Encoding: chunked"))])
@pytest.mark.parametrize("late", [False, True])
def test_bytes_behind_a_response_are_nobodys(weir, method, head, late):
    """Sent in spite of all: with the response, or when its connection is in the pool."""
    for _ in range(5):
        with weir.client() as c:
            weir.says.bytes = head if late else head + EVIL
            res = c.request(method, "/said")
            assert res.status < 500 and b"evil" not in res.body
            if late:
                for conn in list(weir.origin.conns):
                    conn.send(EVIL)
            wait_for(lambda: weir.origin.open_connections() == 0, 15, "a connection with surplus bytes is closed")
            assert c.request("GET", "/next").body == b"/next"
        wait_for(lambda: weir.metric("weir_connections") == 0, 15)


@pytest.mark.parametrize("method, head", [
    ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"), ("DELETE", b"HTTP/1.1 204 None\r\n\r\n"), ("PURGE", b"HTTP/1.1 304 Same\r\n\r\n")])
def test_body_that_comes_late_where_none_should_be_is_nobodys(start, origins, method, head):
    """A common mistake of origins, in a write of its own; meanwhile others want a connection."""
    def script(conn):
        while True:
            req = conn.read_request()
            if req.method == method:
                conn.send(head)
                time.sleep(0.002)
                conn.send(EVIL)
            else:
                conn.respond(200, req.path.encode())
    weir = start(base_config(origins(script=script), workers=1))
    wrong, over = [], threading.Event()

    def others(n):
        with weir.client() as c:
            while not over.is_set():
                res = c.request("GET", "/%d" % n)
                if (res.status, res.body) != (200, b"/%d" % n):
                    wrong.append(res)
                    return
    threads = [threading.Thread(target=others, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    with weir.client() as c:
        for _ in range(100):
            assert c.request(method, "/").status < 400
    over.set()
    for t in threads:
        t.join()
    assert wrong == []


def test_surplus_bytes_behind_a_buffer_that_is_full_to_the_brim(weir):
    """They are still in the socket then, and nothing tells of them any more."""
    with weir.client() as c:
        for total in (*range(4040, 4100), *range(16330, 16400)):    # where the block that a response is read into ends
            n = total - len("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
            weir.says.bytes = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (n, b"x" * n) + EVIL
            assert c.request("GET", "/said").body == b"x" * n
            assert c.request("GET", "/next").body == b"/next"


def test_surplus_bytes_among_many_clients_and_pooled_connections(start, origins):
    """Half of the responses have another one behind them; everybody gets his own, and only that."""
    def script(conn):
        rnd = random.Random(conn.number)
        while True:
            req = conn.read_request()
            body = req.target.encode()
            data = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), b"" if req.method == "HEAD" else body)
            if rnd.random() < 0.2:
                data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + (
                    b"" if req.method == "HEAD" else b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
            if rnd.random() < 0.5:
                data += rnd.choice([EVIL, EVIL * 50, b"\r\n", b"x", b"HTTP/1.1 200", said(b"HTTP/1.1 103 Early", b"", b"X-Evil: 1") + EVIL])
            conn.send(data)
    origin = origins(script=script)
    weir = start(base_config(origin, upstreams={"main": {"servers": [origin.address], "timeouts": {"keepalive": "20s"}}}))
    wrong = []

    def client(n):
        with weir.client(timeout=30) as c:
            for i in range(40):
                method = "HEAD" if (n + i) % 5 == 0 else "GET"
                res = c.request(method, "/%d/%d" % (n, i))
                if res.status != 200 or res.interim or res.body != (b"" if method == "HEAD" else b"/%d/%d" % (n, i)):
                    wrong.append((n, i, res))

    threads = [threading.Thread(target=client, args=(n,)) for n in range(30)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []
    assert len(origin.requests) == 1200 and origin.accepted > 100


# Bodies that end with the connection (RFC 9112, 6.3, 8)

@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK"])
@pytest.mark.parametrize("version, framing", [("1.1", "chunked"), ("1.0", "close")])
@pytest.mark.parametrize("n", [0, 1, 400_000])
def test_body_that_ends_with_the_connection(weir, head, version, framing, n):
    weir.says.bytes, weir.says.ending = said(head, pattern(n), b"Connection: keep-alive"), "half_close"
    with weir.client() as c:
        res = c.request("GET", "/said", version=version)
        assert (res.body, res.framing) == (pattern(n), framing)
        assert res.closes() == (version == "1.0")
        if version == "1.1":
            assert c.request("GET", "/next").body == b"/next"


def test_body_that_should_end_with_the_connection_and_is_reset(weir):
    weir.says.bytes, weir.says.ending = said(b"HTTP/1.1 200 OK", b"half"), "reset"
    for version in ("1.1", "1.0"):
        with weir.client() as c:
            with pytest.raises((ProtocolError, ConnectionResetError)):
                res = c.request("POST", "/said", version=version)
                if res.status != 502:    # the reset may come before weir has read anything
                    pytest.fail("it looked whole: %r" % res)
                raise ProtocolError


@pytest.mark.parametrize("fields, reused", [([], False), ([b"Connection: keep-alive"], True), ([b"Connection: Keep-Alive", b"Keep-Alive: timeout=5"], True),
                                            ([b"Keep-Alive: timeout=5"], False), ([b"Connection: keep-alive, close"], False)])
def test_connections_of_http_1_0_origins(weir, fields, reused):
    weir.says.bytes = said(b"HTTP/1.0 200 OK", b"ok", b"Content-Length: 2", *fields)
    with weir.client() as c:
        for _ in range(3):
            assert c.request("GET", "/said").body == b"ok"
    assert (len({r.conn for r in weir.origin.requests}) == 1) == reused


@pytest.mark.parametrize("value, reused", [(b"close", False), (b"x, CLOSE", False), (b"keep-alive", True), (b"a b", False), (b"", True)])
def test_connection_of_a_response(weir, value, reused):
    weir.says.bytes = said(b"HTTP/1.1 200 OK", b"ok", b"Content-Length: 2", b"Connection: x-other", b"Connection: " + value, b"X-Other: 1")
    with weir.client() as c:
        for _ in range(3):
            res = c.request("GET", "/said")
            assert res.body == b"ok" and not res.closes() and not res.get("X-Other")
    assert (len({r.conn for r in weir.origin.requests}) == 1) == reused


# Interim responses (RFC 9110, 15.2)

def test_interim_responses_pass_in_order(weir):
    data = said(b"HTTP/1.1 100 Continue") + said(b"HTTP/1.1 102 Processing") + \
        said(b"HTTP/1.1 103 Early Hints", b"", b"Link: </a>", b"Connection: X-Hop", b"X-Hop: 1", b"Keep-Alive: timeout=1", b"Set-Cookie: a=b") + \
        said(b"HTTP/1.1 199 ") + OK
    res = ask(weir, data, method="GET")
    assert [i.status for i in res.interim] == [100, 102, 103, 199] and res.body == b"ok"
    assert res.interim[2].headers == [("Link", "</a>"), ("Set-Cookie", "a=b")]
    with weir.client() as c:
        res = c.request("GET", "/said", version="1.0")
        assert res.interim == [] and res.body == b"ok"


def test_interim_response_does_not_tell_who_the_user_is(start, origins):
    def script(conn):
        conn.read_request()
        conn.send(said(b"HTTP/1.1 103 Early Hints", b"", b"x-user-id: u-42", b"Link: </a>") + OK)
    weir = start(base_config(origins(script=script), log={"user_header": "X-User-Id"}))
    assert weir.get().interim[0].headers == [("Link", "</a>")]
    assert weir.wait_log()[0]["visitor"]["userId"] == "u-42"


def test_trailers_do_not_tell_who_the_user_is(start, origins):
    def script(conn):
        conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"
                  b"X-Sum: 1\r\nx-uSER-id: u-42\r\nX-User-Idle: 2\r\n\r\n")
    weir = start(base_config(origins(script=script), log={"user_header": "X-User-Id"}))
    with weir.client() as c:
        res = c.request("GET", "/", headers=[("TE", "trailers")])
    assert res.body == b"a" and res.trailers == [("X-Sum", "1"), ("X-User-Idle", "2")]


@pytest.mark.parametrize("n, status", [(100, 200), (101, 502), (5000, 502)])
def test_interim_responses_are_bounded_in_number(weir, n, status):
    for version in ("1.1", "1.0"):
        weir.says.bytes = said(b"HTTP/1.1 103 Early Hints", b"", b"Link: </a>") * n + OK
        with weir.client() as c:
            res = c.request("POST", "/said", version=version)
            assert res.status == status and len(res.interim) == (min(n, 100) if version == "1.1" else 0)


def test_interim_responses_do_not_push_the_timeout(start, origins):
    def script(conn):
        conn.read_request()
        while True:
            conn.send("HTTP/1.1 102 Processing\r\n\r\n")
            time.sleep(0.05)
    origin = origins(script=script)
    weir = start(base_config(origin, upstreams={"main": {"servers": [origin.address], "timeouts": {"response": "400ms"}}}))
    res = weir.get()
    assert res.status == 504 and 1 <= len(res.interim) < 50


@pytest.mark.parametrize("ending", ["half_close", "reset"])
def test_origin_that_ends_behind_an_interim_response(weir, ending):
    weir.says.bytes, weir.says.ending = said(b"HTTP/1.1 103 Early", b"", b"Link: </a>"), ending
    with weir.client() as c:
        assert c.request("POST", "/said").status == 502
        assert c.request("GET", "/next").body == b"/next"


@pytest.mark.parametrize("fields", [[], [b"Upgrade: websocket", b"Connection: Upgrade"], [b"Upgrade: h2c", b"Connection: Upgrade"]])
@pytest.mark.parametrize("before", [b"", said(b"HTTP/1.1 100 Continue")])
def test_unasked_101_gets_502(weir, fields, before):
    res = ask(weir, before + said(b"HTTP/1.1 101 Switching Protocols", EVIL, *fields))
    assert res.status == 502


# What weir adds, and what stops here

def test_date_is_added_where_there_is_none(weir):
    """RFC 9110, 6.6.1."""
    res = ask(weir, said(b"HTTP/1.1 103 Early") + OK)
    assert abs(email.utils.parsedate_to_datetime(res.one("Date")).timestamp() - time.time()) < 5
    assert res.interim[0].get("Date") is None
    res = ask(weir, said(b"HTTP/1.1 200 OK", b"", b"Content-Length: 0", b"date: Sun, 06 Nov 1994 08:49:37 GMT"))
    assert res.one("Date") == "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize("host, fields, upgrade", [
    ("ws.example", [b"Upgrade: websocket"], ["websocket"]), ("ws.example", [b"Upgrade: h2c, WebSocket , TLS/1.3", b"Upgrade: other"], ["WebSocket,other"]),
    ("ws.example", [b"Upgrade: h2c"], []), ("ws.example", [], []), ("plain.example", [b"Upgrade: websocket"], [])])
def test_upgrade_required_names_what_the_site_lists(weir, host, fields, upgrade):
    """RFC 9110, 15.5.22; of another response Upgrade stops here."""
    fields = [b"Content-Length: 0", b"Connection: upgrade"] + fields
    res = ask(weir, said(b"HTTP/1.1 426 Upgrade Required", b"", *fields), host=host)
    assert (res.status, res.get_all("Upgrade"), res.get_all("Connection")) == (426, upgrade, ["upgrade"] if upgrade else [])
    res = ask(weir, said(b"HTTP/1.1 200 OK", b"", *fields), host=host)
    assert not res.get("Upgrade") and not res.get("Connection")


def test_forbidden_trailers_of_a_response_stop(weir):
    names = ["Content-Length", "Transfer-Encoding", "Connection", "Set-Cookie", "WWW-Authenticate", "Content-Type", "Content-Encoding", "Location",
             "Cache-Control", "X-Request-Id", "RateLimit", "Host", "Age", "Vary", "Date", "Proxy-Authenticate"]
    trailers = [b"%s: 1" % n.encode() for n in names] + [b"X-Sum: 1", b"Server-Timing: a;dur=1"]
    res = ask(weir, said(b"HTTP/1.1 200 OK", b"2\r\nok\r\n0\r\n" + b"\r\n".join(trailers) + b"\r\n\r\n", b"Transfer-Encoding: chunked"))
    assert res.trailers == [("X-Sum", "1"), ("Server-Timing", "a;dur=1")]
    with weir.client() as c:
        res = c.request("GET", "/said", version="1.0")
        assert res.body == b"ok" and res.framing == "close"
    res = ask(weir, said(b"HTTP/1.1 200 OK", b"2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n", b"Transfer-Encoding: chunked", b"Connection: x-sum"))
    assert res.body == b"ok" and res.trailers == []


# Aborts at every byte

WHOLE = [said(b"HTTP/1.1 200 OK", b"hello", b"Content-Length: 5"),
         said(b"HTTP/1.1 200 OK", b"3;e=f\r\nhel\r\n2\r\nlo\r\n0\r\nX-Sum: 1\r\n\r\n", b"Transfer-Encoding: chunked"),
         said(b"HTTP/1.1 103 Early", b"", b"Link: </a>") + said(b"HTTP/1.1 200 OK", b"hello", b"Content-Length: 5")]


@pytest.mark.parametrize("whole", WHOLE, ids=["length", "chunked", "interim"])
@pytest.mark.parametrize("ending", ["half_close", "reset"])
def test_origin_that_ends_at_every_byte(weir, whole, ending):
    head = whole.rindex(b"\r\n\r\n", 0, whole.index(b"hel")) + 4
    weir.says.ending = ending
    for cut in range(len(whole)):
        weir.says.bytes = whole[:cut]
        with weir.client() as c:
            c.send(build("POST", "/said"))
            try:
                res = c.read_response()
            except (ProtocolError, ConnectionResetError):
                assert cut >= head, "a response that had not begun becomes a 502"
                continue
            assert res.status == 502 and (cut < head or ending == "reset"), (cut, res)
    weir.says.bytes = whole
    if ending == "half_close":
        assert weir.get("/said", method="POST").body == b"hello"
    wait_for(lambda: weir.metric("weir_connections") == 0 and weir.metric("weir_requests_active") == 0, 10)
    assert not any(s["in_flight"] for s in weir.ctl("upstreams", json=True)["upstreams"])


@pytest.mark.parametrize("whole", WHOLE, ids=["length", "chunked", "interim"])
def test_responses_in_every_split(start, origins, whole):
    cut = [1]

    def script(conn):
        while True:
            conn.read_request()
            conn.send(whole[:cut[0]])
            time.sleep(0.001)
            conn.send(whole[cut[0]:])
    weir = start(base_config(origins(script=script), workers=1))
    with weir.client() as c:
        for cut[0] in range(1, len(whole)):
            res = c.request("GET", "/%d" % cut[0])
            assert (res.status, res.body) == (200, b"hello")
            assert res.trailers == ([("X-Sum", "1")] if b"X-Sum" in whole else [])


def test_client_that_leaves_before_the_response_frees_the_origin(start, origins):
    """At any time: while it thinks, in the middle of its head, and of its body."""
    seen = []

    def script(conn):
        conn.read_request()
        conn.send(part)
        if conn.wait_closed(10):
            seen.append(conn.number)
    origin = origins(script=script)
    weir = start(base_config(origin, workers=1))
    for i, part in enumerate([b"", b"HTTP/1.1 200", OK[:-1], said(b"HTTP/1.1 200 OK", b"5\r\nhe", b"Transfer-Encoding: chunked")]):
        c = RawClient(weir.port)
        c.send(build())
        origin.wait_requests(i + 1)
        if part.endswith(b"o") or b"he" in part:
            c.read_head()
        c.reset()
        wait_for(lambda: len(seen) == i + 1, 10)
