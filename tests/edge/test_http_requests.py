# SPDX-License-Identifier: MIT
"""Requests to the letter of RFC 9110 and 9112: raw bytes in, and what the origin sees of them."""
import socket
import threading
import time

import pytest

from weirlib import Origin, base_config, wait_for
from weirlib.client import ProtocolError, build

SITES = [
    {"hosts": ["guarded.example"], "upstream": "main", "allow": ["192.0.2.0/24"]},
    {"hosts": ["plain.example"], "upstream": "plain"},
    {"hosts": ["*"], "upstream": "main"},
]
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n"


@pytest.fixture(scope="module")
def shared(module_start, module_closing):
    origin = module_closing.add(Origin())
    weir = module_start(base_config(origin, workers=1, sites=SITES, upstreams={
        "main": {"servers": [origin.address]}, "plain": {"servers": [origin.address], "via": "off"}}))
    weir.origin = origin
    return weir


@pytest.fixture
def weir(shared):
    """An aborted request may still be on its way to the origin when its test is over."""
    wait_for(lambda: shared.origin.open_connections() == shared.metric("weir_upstream_pooled_connections"), 10)
    shared.origin.clear()
    return shared


def lines(*fields, first="POST /echo HTTP/1.1", host="Host: a.example"):
    return "\r\n".join([first] + ([host] if host else []) + list(fields)).encode("latin-1") + b"\r\n\r\n"


def targets(weir):
    return [r.target for r in weir.origin.requests]


# Targets (RFC 9112, 3.2)

@pytest.mark.parametrize("target, path, host", [
    ("http://b.example/p?q=1", "/p?q=1", "b.example"),
    ("http://b.example", "/", "b.example"),
    ("http://b.example?x", "/?x", "b.example"),
    ("HTTP://B.Example:8080/p", "/p", "B.Example:8080"),
    ("http://b.example:/p", "/p", "b.example:"),
    ("https://b.example/p", "/p", "b.example"),
    ("http://[2001:db8::1]:80/p", "/p", "[2001:db8::1]:80"),
    ("http://b.example//evil.example/", "//evil.example/", "b.example"),
])
def test_absolute_form_goes_on_in_origin_form(weir, target, path, host):
    with weir.client() as c:
        c.send("GET %s HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-Host: evil.example\r\n\r\n" % target)
        assert c.read_response().status == 200
    seen = weir.origin.last()
    assert (seen.target, seen.get_all("Host"), seen.get_all("X-Forwarded-Host")) == (path, [host], [host])


@pytest.mark.parametrize("target", ["//evil.example/x", "/http://evil.example/", "/a@b", "/a|b[c]{d}^`\"<>", "/.;/x", "/?"])
def test_origin_form_goes_on_as_written(weir, target):
    assert weir.get(target).status == 200
    assert targets(weir) == [target] and weir.origin.last().get("Host") == "test.example"


@pytest.mark.parametrize("target", [
    "http://me@b.example/", "http://me:pw@b.example/", "http://b.example@evil.example/", "http://b.example\\@evil/",
    "http://b.example%40evil/", "http:///x", "http://", "http://?x", "http://:80/", "http:/b.example/", "http:b.example",
    "ftp://b.example/", "ws://b.example/", "httpss://b.example/", "http://b.example:65536/", "http://b.example:8x/",
    "http://b.example:80:80/", "http://[::1/", "http://[::g]/", "http://b..example/", "http://b.example#f", "b.example:80",
    "b.example", "?x", "#", "*", "/a\x80", "/a\xc3\xa9"])
def test_targets_that_are_none(weir, target):
    with weir.client() as c:
        c.send(lines(first="GET %s HTTP/1.1" % target) + SMUGGLED)
        assert c.read_response().status == 400
        assert c.read_to_close() == b""
    assert targets(weir) == []


@pytest.mark.parametrize("host", [None, "Host: ", "Host: a b", "Host: a.example\r\nHost: a.example"])
def test_absolute_form_still_needs_a_sound_host(weir, host):
    with weir.client() as c:
        c.send(lines(first="GET http://a.example/ HTTP/1.1", host=host))
        assert c.read_response().status == 400
    assert targets(weir) == []


def test_https_target_of_a_stranger_without_tls(weir):
    """RFC 9110, 7.4; a trusted proxy may have taken the TLS off."""
    with weir.client(source="127.0.0.5") as c:
        c.send(lines(first="GET https://a.example/ HTTP/1.1"))
        assert c.read_response().status == 421
        c.send(lines(first="GET http://a.example/ HTTP/1.1"))
        assert c.read_response().status == 200
    assert len(targets(weir)) == 1


@pytest.mark.parametrize("first", ["OPTIONS * HTTP/1.1", "OPTIONS http://a.example HTTP/1.1", "OPTIONS * HTTP/1.0"])
def test_options_of_the_server_as_a_whole(weir, first):
    with weir.client() as c:
        c.send(lines(first=first))
        res = c.read_response()
        assert res.status == 204 and "OPTIONS" in res.one("Allow") and not res.get("Content-Length")
    assert targets(weir) == []


def test_connect_is_never_a_tunnel(weir):
    """RFC 9110, 9.3.6: what follows a refused CONNECT is HTTP again."""
    with weir.client() as c:
        c.send(b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n" + lines(first="GET /next HTTP/1.1"))
        res = c.read_response()
        assert res.status == 405 and "CONNECT" not in res.one("Allow")
        assert c.read_response().status == 200
    assert targets(weir) == ["/next"]


# Hosts (RFC 9112, 3.2 and RFC 9110, 7.2)

@pytest.mark.parametrize("host", [
    "", "a.example:80:80", "a.example:x", "a.example:-1", "a.example:65536", "a.example:080x", ":80", "[::1", "::1", "[::1]x",
    "[::1]:x", "[fe80::1%25eth0]", "[v1.x]", "a..example", ".a.example", "a.example..", "a.example%00", "a.example%2eb", "a/b", "a?b",
    "a#b", "a;b", "a,b", "a b", "a\tb", "me@a.example", "me:pw@a.example", "a\\b", "caf\xe9.example", "a\x7f", "http://a.example",
    "\"a.example\"", "a.example|b", "a" * 256])
def test_hosts_that_are_none(weir, host):
    with weir.client() as c:
        c.send(lines(first="GET / HTTP/1.1", host="Host: " + host) + SMUGGLED)
        assert c.read_response().status == 400
        assert c.read_to_close() == b""
    assert targets(weir) == []


@pytest.mark.parametrize("fields", [
    ("hOsT: b.example",), ("Host:",), ("Host: a.example",), ("X-A: 1", "HOST: a.example"), ("Host : b.example",),
    (" Host: b.example",), ("\tHost: b.example",), ("X-A: 1\rHost: b.example",), ("X-A: 1\nHost: b.example",)])
def test_a_second_host_in_any_form(weir, fields):
    with weir.client() as c:
        c.send(lines(*fields, first="GET / HTTP/1.1") + SMUGGLED)
        assert c.read_response().status == 400
        assert c.read_to_close() == b""
    assert targets(weir) == []


def test_host_is_not_taken_from_elsewhere(weir):
    names = ("X-Forwarded-Host", "X-Host", "X-Original-Host", "Forwarded")
    values = ["guarded.example"] * 3 + ["host=guarded.example"]
    assert weir.get(headers=list(zip(names, values))).status == 200
    assert weir.get(host="guarded.example", headers=[(n, "a.example") for n in names[:3]]).status == 403


# Versions (RFC 9112, 2.3 and RFC 9110, 2.5)

@pytest.mark.parametrize("version, status", [
    ("1.2", 200), ("1.9", 200), ("1.10", 400), ("1.32", 400), ("01.1", 400), ("1.", 400), (".1", 400), ("1", 400), ("1.1.1", 400),
    ("1,1", 400), ("1.1x", 400), ("1.-1", 400), ("1.\xb2", 400), ("2.0", 505), ("2.1", 505), ("0.9", 505), ("9.9", 505), ("0.0", 505)])
def test_versions(weir, version, status):
    with weir.client() as c:
        c.send(lines(first="GET /v HTTP/%s" % version))
        res = c.read_response()
        assert res.status == status and res.version == "1.1"
        if status != 200:
            assert c.read_to_close() == b""
    assert targets(weir) == (["/v"] if status == 200 else [])
    assert all(r.version == "HTTP/1.1" for r in weir.origin.requests)


@pytest.mark.parametrize("data", [b"GET /\r\n", b"GET /\r\n\r\n", b"GET\r\n\r\n", b"GET / \r\n\r\n", b"GET / HTTP/1.1", b"GET / HTTP/1.1\r\n\n",
                                  b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\n" + SMUGGLED,
                                  b"\x00" + SMUGGLED, b"\xef\xbb\xbf" + SMUGGLED, b" " + SMUGGLED])
def test_what_is_no_request_of_ours(weir, data):
    with weir.client() as c:
        c.send(data)
        c.half_close()
        answer = c.read_to_close()
        assert answer == b"" or answer.split()[1] in (b"400", b"505"), answer
        assert answer.count(b"HTTP/1.1 ") <= 1
    assert targets(weir) == []


def test_http_1_0_needs_a_host_to_be_routed(weir):
    with weir.client() as c:
        c.send("GET / HTTP/1.0\r\n\r\n")
        assert c.read_response().status == 421
        assert c.closed_by_peer()
    assert targets(weir) == []


# Lengths and white space (RFC 9112, 5 and 6)

@pytest.mark.parametrize("field", ["Content-Length:5", "Content-Length:\t5", "Content-Length: \t 5 \t ", "content-LENGTH: 05",
                                   "Content-Length: 0000000000000000005"])
def test_legal_lengths_are_served(weir, field):
    with weir.client() as c:
        c.send(lines(field) + b"hello" + lines(first="GET /next HTTP/1.1"))
        assert c.read_response().body == b"hello"
        assert c.read_response().status == 200
    assert weir.origin.requests[0].get_all("Content-Length") == ["5"]
    assert targets(weir) == ["/echo", "/next"]


@pytest.mark.parametrize("field", ["Transfer-Encoding:chunked", "Transfer-Encoding:\tchunked\t", "transfer-encoding: CHUNKED"])
@pytest.mark.parametrize("chunks", [
    b"5\r\nhello\r\n0\r\n\r\n", b"0005\r\nhello\r\n00\r\n\r\n", b"0000000000000005\r\nhello\r\n0000000000000000\r\n\r\n",
    b"1\r\nh\r\n4;a=b;c;d=\"\\\"e;\\\\\"\r\nello\r\n0;last\r\n\r\n", b"5\r\nhello\r\n0\r\nX-Sum:1\r\nX-Empty:\r\n\r\n"])
def test_legal_chunks_are_served(weir, field, chunks):
    with weir.client() as c:
        c.send(lines(field) + chunks + lines(first="GET /next HTTP/1.1"))
        assert c.read_response().body == b"hello"
        assert c.read_response().status == 200
    assert weir.origin.requests[0].get_all("Transfer-Encoding") == ["chunked"]
    assert targets(weir) == ["/echo", "/next"]


def test_chunk_sizes_in_capitals(weir):
    body = b"x" * 0xabc
    with weir.client() as c:
        c.send(lines("Transfer-Encoding: chunked") + b"ABC\r\n" + body + b"\r\n0\r\n\r\n")
        assert c.read_response().body == body


@pytest.mark.parametrize("field", ["Connection: Content-Length", "Connection: Transfer-Encoding", "Connection: Host, Connection",
                                   "Connection: close, Content-Length, Transfer-Encoding"])
@pytest.mark.parametrize("chunked", [False, True])
def test_framing_is_never_named_away(weir, field, chunked):
    data = lines(field, "Transfer-Encoding: chunked") + b"%x\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED) if chunked else \
        lines(field, "Content-Length: %d" % len(SMUGGLED)) + SMUGGLED
    with weir.client() as c:
        c.send(data)
        assert c.read_response().body == SMUGGLED
    assert targets(weir) == ["/echo"]
    assert weir.origin.last().get("Host") == "a.example"


def test_extensions_of_one_message_are_bounded(weir):
    def chunks(n, bytes_each):
        return b"".join(b"1;" + b"e" * (bytes_each - 1) + b"\r\nx\r\n" for _ in range(n)) + b"0\r\n\r\n"
    with weir.client() as c:
        c.send(lines("Transfer-Encoding: chunked") + chunks(40, 100))
        assert c.read_response().body == b"x" * 40
        c.send(lines("Transfer-Encoding: chunked") + chunks(42, 100) + SMUGGLED)
        assert c.read_response().status == 400
        assert c.read_to_close() == b""
    assert "/smuggled" not in targets(weir)


# What stands behind a request that weir answers itself is content, then the next request (CL.0)

@pytest.mark.parametrize("first, host, status", [
    ("GET /healthz", "a.example", 200), ("OPTIONS *", "a.example", 204), ("TRACE /", "a.example", 405),
    ("POST /", "guarded.example", 403), ("OPTIONS /x", "a.example", 204)])
@pytest.mark.parametrize("chunked", [False, True])
def test_content_of_requests_answered_by_weir_is_no_request(weir, first, host, status, chunked):
    fields = ["Transfer-Encoding: chunked"] if chunked else ["Content-Length: %d" % len(SMUGGLED)]
    if first == "OPTIONS /x":
        fields.append("Max-Forwards: 0")
    content = b"%x\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED) if chunked else SMUGGLED
    with weir.client(source="127.0.0.9") as c:
        c.send(lines(*fields, first=first + " HTTP/1.1", host="Host: " + host) + content + lines(first="GET /next HTTP/1.1"))
        assert c.read_response().status == status
        assert c.read_response().body == b"origin /next\n"
        assert c.open_and_silent(0.05)
    assert targets(weir) == ["/next"]


# Pipelines (RFC 9112, 9.3.2)

def test_requests_behind_a_refused_one_are_judged_by_themselves(weir):
    with weir.client(source="127.0.0.9") as c:
        c.send(build("GET", "/1") + build("GET", "/2", host="guarded.example") + build("GET", "/3") +
               build("GET", "/4", host="guarded.example"))
        assert [c.read_response().status for _ in range(4)] == [200, 403, 200, 403]
    assert targets(weir) == ["/1", "/3"]


@pytest.mark.parametrize("first, status", [
    (build("GET", "/1", [("Connection", "close")]), 200), (build("GET", "/1", [("Connection", "keep-alive"), ("Connection", "x, Close")]), 200),
    (build("GET", "/1", version="1.0"), 200), (build("GET", "/1", [("Expect", "something")]), 417),
    (b"GET /1 HTTP/2.0\r\n\r\n", 505), (b"G" * 40 + b" /1 HTTP/1.1\r\n\r\n", 501)])
def test_nothing_is_served_behind_the_last_request(weir, first, status):
    with weir.client() as c:
        c.send(first + SMUGGLED)
        res = c.read_response()
        assert res.status == status and res.closes()
        assert c.read_to_close() == b""
    assert "/smuggled" not in targets(weir)


# Fields of one connection (RFC 9110, 7.6.1)

def test_options_of_all_connection_lines_count(weir):
    with weir.client() as c:
        res = c.request(headers=[("Connection", "X-One"), ("X-One", "1"), ("connection", ", ,x-two ,"), ("X-Two", "2"),
                                 ("Connection", ""), ("X-TWO", "3"), ("CONNECTION", "close"), ("X-Three", "4")])
        assert res.status == 200 and res.closes()
        assert c.closed_by_peer()
    names = weir.origin.last().names()
    assert "x-three" in names and not {"x-one", "x-two", "connection"} & set(names)


@pytest.mark.parametrize("value, status", [(",".join(["x"] * 64), 200), (",".join(["x"] * 65), 400), ("a b", 400), ("\"close\"", 400)])
def test_options_of_connection_are_tokens_and_few(weir, value, status):
    assert weir.get(headers=[("Connection", value)]).status == status


def test_credentials_for_a_proxy_stop_here(weir):
    weir.get(headers=[("Proxy-Authorization", "Basic eA=="), ("Proxy-Authenticate", "Basic"), ("Authorization", "Bearer x"),
                      ("Proxy", "http://evil.example")])
    names = weir.origin.last().names()
    assert "authorization" in names and not {"proxy-authorization", "proxy-authenticate", "proxy"} & set(names)


@pytest.mark.parametrize("te, passes", [
    (["trailers"], True), (["gzip, Trailers"], True), (["gzip;q=0.5", "trailers"], True), (["gzip"], False), (["trailers;q=1"], False),
    (["xtrailers"], False), ([], False)])
def test_te_says_no_more_than_trailers(weir, te, passes):
    """RFC 9110, 10.1.4: of codings weir speaks for itself; trailers are for the client behind it."""
    weir.get(headers=[("Connection", "TE")] + [("TE", v) for v in te])
    seen = weir.origin.last()
    assert (seen.get_all("TE"), seen.get_all("Connection")) == ((["trailers"], ["TE"]) if passes else ([], []))


def test_te_of_http_1_0_stops_here(weir):
    with weir.client() as c:
        assert c.request(version="1.0", headers=[("TE", "trailers")]).status == 200
    assert weir.origin.last().get_all("TE") == []


# Via and Max-Forwards (RFC 9110, 7.6.2 and 7.6.3)

def test_via(weir):
    with weir.client() as c:
        c.request(headers=[("Via", "1.0 cache.example, 1.1 other"), ("via", "1.1 third")])
    assert weir.origin.last().get_all("Via") == ["1.0 cache.example, 1.1 other", "1.1 third", "1.1 weir"]
    with weir.client() as c:
        assert c.request(version="1.0").get("Via") is None
    assert weir.origin.last().get_all("Via") == ["1.0 weir"]
    weir.get(host="plain.example", headers=[("Via", "1.1 x")])
    assert weir.origin.last().get_all("Via") == ["1.1 x"]


@pytest.mark.parametrize("value, forwarded", [("1", "0"), ("10", "9"), ("0010", "9"), ("255", "254"), ("256", "254"), ("9" * 40, "254")])
def test_max_forwards_of_options_is_counted_down(weir, value, forwarded):
    assert weir.get("/x", method="OPTIONS", headers=[("Max-Forwards", value)]).status == 200
    assert weir.origin.last().get_all("Max-Forwards") == [forwarded]


@pytest.mark.parametrize("values, status", [(["0"], 204), (["00"], 204), (["-1"], 400), (["x"], 400), ([""], 400), (["5", "0"], 400)])
def test_max_forwards_that_ends_here(weir, values, status):
    assert weir.get("/x", method="OPTIONS", headers=[("Max-Forwards", v) for v in values]).status == status
    assert targets(weir) == []


def test_max_forwards_of_other_methods_is_left_alone(weir):
    assert weir.get("/x", headers=[("Max-Forwards", "0")]).status == 200
    assert weir.origin.last().get_all("Max-Forwards") == ["0"]


# Trailers (RFC 9110, 6.5)

FORBIDDEN = """Host Content-Length Transfer-Encoding Connection Keep-Alive Proxy-Connection Upgrade HTTP2-Settings TE Trailer
Authorization Proxy-Authorization Proxy-Authenticate WWW-Authenticate Cookie Set-Cookie Forwarded X-Forwarded-For X-Forwarded-Proto
X-Forwarded-Host X-Forwarded-Port X-Real-IP X-Request-Id X-Weir-Lift X-Amzn-Trace-Id traceparent Via Expect Max-Forwards Range
If-Match If-None-Match If-Modified-Since If-Unmodified-Since If-Range Cache-Control Pragma Content-Type Content-Encoding
Content-Range Age Date Expires Location Vary Retry-After Origin RateLimit X_Forwarded_For Transfer_Encoding Content.Length
X_REAL_IP Proxy X-Original-URL X-Rewrite-URL""".split()


def test_trailers_that_would_change_the_message_are_dropped(weir):
    trailers = "".join("%s: 1\r\n" % n for n in FORBIDDEN[:len(FORBIDDEN) // 2]) + "X-Sum: 42\r\n" + \
        "".join("%s: 1\r\n" % n.upper() for n in FORBIDDEN[len(FORBIDDEN) // 2:])
    with weir.client() as c:
        c.send(lines("Transfer-Encoding: chunked", "Trailer: X-Sum") + b"1\r\na\r\n0\r\n" + trailers.encode() + b"\r\n")
        assert c.read_response().body == b"a"
        assert c.request("GET", "/next").status == 200
    seen = weir.origin.requests[0]
    assert seen.trailers == [("X-Sum", "42")] and seen.get("Trailer") == "X-Sum"


@pytest.mark.parametrize("connection, passes", [("X-Sum", False), ("x-other", False), ("TE", True), ("keep-alive", True)])
def test_trailers_may_be_named_in_connection(weir, connection, passes):
    """RFC 9110, 7.6.1: what is named there is removed from the trailers too."""
    with weir.client() as c:
        c.send(lines("Connection: " + connection, "Transfer-Encoding: chunked") + b"1\r\na\r\n0\r\nX-Sum: 42\r\n\r\n")
        assert c.read_response().status == 200
    assert weir.origin.last().trailers == ([("X-Sum", "42")] if passes else [])


# Expect (RFC 9110, 10.1.1)

def expecting(start, origins, script, **config):
    origin = origins(script=script)
    main = {"servers": [origin.address], "timeouts": {"keepalive": "500ms"}}
    return start(base_config(origin, workers=1, upstreams={"main": main}, **config)), origin


def test_expect_goes_on_only_where_it_may_be_answered(weir):
    with weir.client() as c:
        for fields in (["Expect: 100-continue"], ["Expect: 100-Continue", "Content-Length: 0"]):
            c.send(lines(*fields))
            res = c.read_response()
            assert res.status == 200 and not res.interim and not res.closes()
            assert "expect" not in weir.origin.last().names()
        c.send(lines("Expect: 100-continue", "Content-Length: 2", "Connection: keep-alive", first="POST /echo HTTP/1.0") + b"hi")
        res = c.read_response()
        assert (res.body, res.interim, weir.origin.last().names().count("expect")) == (b"hi", [], 0)
        c.send(lines("Expect: 100-CONTINUE", "Transfer-Encoding: chunked"))
        assert c.read_head().status == 100
        c.send("2\r\nhi\r\n0\r\n\r\n")
        assert c.read_response().body == b"hi"


@pytest.mark.parametrize("value", ["", "100", "100-continue, 100-continue", "100-continue;x=1", "200-ok", "\"100-continue\""])
def test_other_expectations_get_417(weir, value):
    with weir.client() as c:
        c.send(lines("Expect: " + value, "Content-Length: %d" % len(SMUGGLED)) + SMUGGLED)
        res = c.read_response()
        assert res.status == 417 and res.closes()
        assert c.read_to_close() == b""
    assert targets(weir) == []


def test_origin_that_never_continues_gets_the_body_anyway(start, origins):
    def script(conn):
        while True:
            req = conn.read_head()
            conn.respond(200, conn.read_body(req).body)
    weir, origin = expecting(start, origins, script)
    with weir.client() as c:
        for _ in range(3):
            c.send(lines("Expect: 100-continue", "Content-Length: 5"))
            origin.wait_requests(1)
            assert c.open_and_silent(0.1)    # as long as the client waits; it may go on by itself
            c.send("hello")
            res = c.read_response()
            assert (res.status, res.body, res.interim) == (200, b"hello", [])
            assert not res.closes(), "the body came, so the next request is where it should be"


def test_client_that_waits_for_ever_gets_408(start, origins):
    weir, origin = expecting(start, origins, lambda conn: (conn.read_head(), conn.wait_closed(10)), timeouts={"body": "400ms"})
    with weir.client() as c:
        c.send(lines("Expect: 100-continue", "Content-Length: 5"))
        res = c.read_response()
        assert res.status == 408 and res.closes()
    wait_for(lambda: origin.open_connections() == 0, 15)


@pytest.mark.parametrize("status", [200, 401, 413, 417])
@pytest.mark.parametrize("sends_on", [False, True])
def test_origin_that_refuses_to_continue(start, origins, status, sends_on):
    """The client may then leave its body out, or send it: nobody can tell, so the connection closes."""
    def script(conn):
        conn.read_head()
        conn.respond(status, b"no")
        assert conn.wait_closed(10), "a connection with half a request is not used again"
    weir, origin = expecting(start, origins, script)
    with weir.client() as c:
        c.send(lines("Expect: 100-continue", "Content-Length: %d" % len(SMUGGLED)))
        res = c.read_response()
        assert (res.status, res.body) == (status, b"no") and res.closes()
        if sends_on:
            c.send(SMUGGLED)
        assert c.read_to_close() == b""
    assert [r.target for r in origin.requests] == ["/echo"] and origin.errors == []


# Early responses (RFC 9112, 7.5 and 9.6)

@pytest.mark.parametrize("status, total, keeps", [(200, 50_000, True), (409, 50_000, True), (200, 30_000_000, False), (409, 30_000_000, False)])
@pytest.mark.parametrize("origin_closes", [False, True])
@pytest.mark.parametrize("answer", [b"short", b"long" * 100_000])
def test_early_response_while_the_body_flows(start, origins, status, total, keeps, origin_closes, answer):
    def script(conn):
        conn.read_head()
        conn.respond(status, answer, [("Connection", "close")] if origin_closes else [])
        if origin_closes:
            conn.half_close()    # a close with bytes unread would be a reset, and take the answer along
        assert conn.wait_closed(10), "who answered half a request gets no other one"
    weir, origin = expecting(start, origins, script, caps={"body": "off"})
    with weir.client(timeout=20) as c:
        c.send(lines("Content-Length: %d" % total) + b"x" * 10_000)
        res = c.read_response()
        assert (res.status, res.body) == (status, answer)
        if keeps and not res.closes():
            c.send(b"x" * (total - 10_000) + build("GET", "/next"))
            assert c.read_response().body == answer
        else:
            left = threading.Thread(target=send_quietly, args=(c, b"x" * (total - 10_000) + SMUGGLED))
            left.start()
            try:
                assert c.read_to_close() == b""
            except ConnectionResetError:
                pass    # more than 64 KB were left
            c.sock.close()
            left.join()
    wait_for(lambda: origin.open_connections() == 0, 10)
    assert "/smuggled" not in [r.target for r in origin.requests] and origin.errors == []
    assert len({r.conn for r in origin.requests}) == len(origin.requests)


def send_quietly(c, data):
    try:
        c.send(data)
    except OSError:
        pass


def test_client_that_stops_at_an_early_response_gets_all_of_it(start, origins):
    """RFC 9112, 9.5: it ceases to send once it sees the error; a half-close is how it says so."""
    def script(conn):
        conn.read_head()
        conn.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 300005\r\n\r\nfirst")
        go.wait(10)
        time.sleep(0.05)
        conn.send(b"x" * 300_000)
        conn.wait_closed(10)
    for framing in ("Content-Length: 1000000", "Transfer-Encoding: chunked"):
        go = threading.Event()
        weir, origin = expecting(start, origins, script)
        with weir.client() as c:
            c.send(lines(framing) + b"1000\r\n" + b"y" * 4096 + b"\r\n")
            c.read_until(b"first")
            c.half_close()
            go.set()
            assert c.read_to_close() == b"x" * 300_000
        wait_for(lambda: weir.metric("weir_connections_closed_total", reason="aborted") == 0 and
                 weir.metric("weir_connections") == 0, 5)
        wait_for(lambda: origin.open_connections() == 0, 15)


def test_origin_that_answers_before_the_body_gets_no_second_request(start, origins):
    """CL.0: it would take the body, whose bytes a client chose, for the next request of somebody else."""
    def script(conn):
        if conn.read_head().target == "/echo":
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nearly")
            conn.read_exact(len(body))    # now weir has sent all of it, before the response is over
            conn.send("end")
            conn.read_head()
        conn.respond(200, b"later")
    weir, origin = expecting(start, origins, script)
    body = b"x" * 10_000
    with weir.client() as c:
        c.send(lines("Content-Length: %d" % len(body)) + body[:5000])
        c.read_until(b"early")
        c.send(body[5000:])
        assert c.read_exact(3) == b"end"
        assert c.request("GET", "/next").status == 200
    assert [(r.target, r.conn) for r in origin.requests if r.target in ("/echo", "/next")] == [("/echo", 1), ("/next", 2)]


# Half-closed clients (RFC 9112, 9.6)

@pytest.mark.parametrize("data, answers", [
    (build("GET", "/slow/100"), 1), (build("POST", "/slow/100/echo", body=b"hi"), 1), (build("POST", "/echo", body=[b"hi"]), 1),
    (build("GET", "/slow/50") * 3, 3), (build("GET", "/x") + b"GET /half", 1), (build("GET", "/x") + lines("Content-Length: 9"), 1),
    (b"", 0), (b"GET / HT", 0), (lines("Content-Length: 5") + b"abc", 0), (lines("Transfer-Encoding: chunked") + b"5\r\nab", 0)])
def test_half_closed_client_gets_what_it_asked_for(weir, data, answers):
    with weir.client() as c:
        c.send(data)
        c.half_close()
        for _ in range(answers):
            assert c.read_response().status == 200
        assert c.read_to_close() == b""
    wait_for(lambda: weir.metric("weir_requests_active") == 0, 15)


# Aborts at every byte

ABORTED = lines("Transfer-Encoding: chunked", "Connection: X-A", "X-A: 1", "Expect: 100-continue") + b"3;e=\"x\"\r\nabc\r\n1\r\nd\r\n0\r\nX-Sum: 1\r\n\r\n"


@pytest.mark.parametrize("ending", ["close", "reset", "half_close"])
def test_client_that_leaves_at_every_byte_of_its_request(weir, ending):
    clients = []
    for cut in range(len(ABORTED) + 1):
        c = weir.client()
        c.send(ABORTED[:cut])
        clients.append(c)
        if cut % 2:
            wait_for(lambda: weir.metric("weir_requests_active") <= 2, 5) if cut % 32 == 31 else None
        getattr(c, ending)()
    if ending == "half_close":
        for c in clients:
            try:
                answer = c.read_to_close()
                assert answer.count(b"HTTP/1.1 200") <= 1
            finally:
                c.close()
    settled(weir)
    assert {r.target for r in weir.origin.requests} <= {"/echo"}
    assert [r.trailers for r in weir.origin.requests if r.trailers] == [[("X-Sum", "1")]] * sum(
        1 for r in weir.origin.requests if r.trailers)
    assert weir.get("/sentinel").status == 200


@pytest.mark.parametrize("path, head", [("/bytes/300", "GET"), ("/chunked/300", "GET"), ("/bytes/300", "HEAD")])
def test_client_that_leaves_at_every_byte_of_its_response(weir, path, head):
    with weir.client() as c:
        whole = c.request(head, path)
        size = len(whole.raw_head) + 4 + len(whole.body)
    for cut in range(0, size, 3):
        with weir.client(rcvbuf=2048) as c:
            c.send(build(head, path) * 2)
            if cut:
                c.read_exact(min(cut, size))
            c.reset()
    settled(weir)
    assert weir.get("/sentinel").status == 200


def settled(weir):
    wait_for(lambda: weir.metric("weir_connections") == 0 and weir.metric("weir_requests_active") == 0, 10, "all are gone")


@pytest.mark.parametrize("fields", [[], ["Content-Length: 12"], ["Transfer-Encoding: chunked"]])
def test_requests_in_every_split(weir, fields):
    content = b"hello, world" if fields and "Length" in fields[0] else b"c\r\nhello, world\r\n0\r\n\r\n" if fields else b""
    data = lines(*fields) + content
    for cut in range(1, len(data)):
        with weir.client() as c:
            c.send(data[:cut])
            c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            c.send(data[cut:])
            assert c.read_response().body == (b"hello, world" if fields else b"")


def test_nothing_follows_a_protocol_error(weir):
    """However the bytes behind it look, there is one answer and the end."""
    for tail in (SMUGGLED * 3, b"\r\n\r\n" + SMUGGLED, b"0\r\n\r\n" + SMUGGLED):
        with weir.client() as c:
            c.send(lines("Content-Length: x") + tail)
            assert c.read_response().status == 400
            try:
                assert c.read_to_close() == b""
            except (ConnectionResetError, ProtocolError):
                pass
    assert targets(weir) == []
