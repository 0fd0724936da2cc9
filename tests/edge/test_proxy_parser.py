# SPDX-License-Identifier: MIT
"""Requests that nobody should forward: each gets its status and a closed connection, and the origin sees nothing."""
import pytest

from weirlib import Origin, base_config
from weirlib.client import build


@pytest.fixture(scope="module")
def shared(module_start, module_closing):
    origin = module_closing.add(Origin())
    weir = module_start(base_config(origin, workers=1))
    weir.origin = origin
    return weir


def head(*lines, first="POST /victim HTTP/1.1", host="Host: a.example"):
    return "\r\n".join([first] + ([host] if host else []) + list(lines)) + "\r\n\r\n"


SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n"

BAD = {
    "both lengths": head("Content-Length: 4", "Transfer-Encoding: chunked") + "0\r\n\r\n" + SMUGGLED,
    "both lengths, turned": head("Transfer-Encoding: chunked", "Content-Length: 4") + "0\r\n\r\n" + SMUGGLED,
    "two unequal lengths": head("Content-Length: 4", "Content-Length: 5") + "aaaaa" + SMUGGLED,
    "two equal lengths in a list": head("Content-Length: 4, 4") + "aaaa" + SMUGGLED,
    "length with a sign": head("Content-Length: +4") + "aaaa",
    "negative length": head("Content-Length: -1") + SMUGGLED,
    "length in hex": head("Content-Length: 0x4") + "aaaa",
    "length with a space inside": head("Content-Length: 1 0") + "a" * 10,
    "empty length": head("Content-Length: ") + SMUGGLED,
    "length beyond 64 bits": head("Content-Length: 18446744073709551617") + "a" + SMUGGLED,
    "length of 30 digits": head("Content-Length: " + "9" * 30) + "a",
    "length with a point": head("Content-Length: 4.0") + "aaaa",
    "coding but chunked": head("Transfer-Encoding: gzip") + SMUGGLED,
    "chunked not alone": head("Transfer-Encoding: gzip, chunked") + "0\r\n\r\n",
    "chunked twice": head("Transfer-Encoding: chunked, chunked") + "0\r\n\r\n",
    "chunked in two lines": head("Transfer-Encoding: chunked", "Transfer-Encoding: chunked") + "0\r\n\r\n",
    "identity": head("Transfer-Encoding: identity", "Content-Length: 4") + "aaaa",
    "chunked misspelt": head("Transfer-Encoding: xchunked") + "0\r\n\r\n",
    "chunked in quotes": head("Transfer-Encoding: \"chunked\"") + "0\r\n\r\n",
    "chunked with a parameter": head("Transfer-Encoding: chunked;q=1") + "0\r\n\r\n",
    "chunked after vertical tab": head("Transfer-Encoding: \x0bchunked") + "0\r\n\r\n",
    "empty coding": head("Transfer-Encoding: ") + SMUGGLED,
    "coding in HTTP/1.0": head("Transfer-Encoding: chunked", first="POST / HTTP/1.0") + "0\r\n\r\n",
    "name with underscore": head("Transfer_Encoding: chunked") + "0\r\n\r\n",
    "length with underscore": head("Content_Length: 4") + "aaaa",
    "space before the colon": head("Transfer-Encoding : chunked") + "0\r\n\r\n",
    "tab before the colon": head("Content-Length\t: 4") + "aaaa",
    "line without a colon": head("Content-Length 4") + "aaaa",
    "empty name": head(": value"),
    "name with a space": head("X Y: 1"),
    "name with a slash": head("X/Y: 1"),
    "name with 8 bits": head("X-\xe9: 1"),
    "folded line": head("X-A: 1", " folded"),
    "folded with a tab": head("X-A: 1", "\tfolded"),
    "folded first line": "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "bare LF ends a line": "GET / HTTP/1.1\nHost: a.example\r\n\r\n",
    "bare LF ends a header": "GET / HTTP/1.1\r\nHost: a.example\nX-A: 1\r\n\r\n",
    "bare LF ends the head": "GET / HTTP/1.1\r\nHost: a.example\r\n\n" + SMUGGLED,
    "bare CR in a value": head("X-A: 1\r2"),
    "bare CR in the line": "GET /\rx HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "NUL in a value": head("X-A: 1\0002"),
    "NUL in a name": head("X\000A: 1"),
    "NUL in the target": head(first="GET /a\000b HTTP/1.1"),
    "control in a value": head("X-A: 1\x012"),
    "DEL in a value": head("X-A: 1\x7f"),
    "no host": head(host=None, first="GET / HTTP/1.1"),
    "two hosts": head("Host: b.example", first="GET / HTTP/1.1"),
    "two equal hosts": head("Host: a.example", first="GET / HTTP/1.1"),
    "host with a path": head(host="Host: a.example/x", first="GET / HTTP/1.1"),
    "host with a user": head(host="Host: me@a.example", first="GET / HTTP/1.1"),
    "host with a space": head(host="Host: a.example b.example", first="GET / HTTP/1.1"),
    "host list": head(host="Host: a.example, b.example", first="GET / HTTP/1.1"),
    "host with a bad port": head(host="Host: a.example:80x", first="GET / HTTP/1.1"),
    "space before the method": head(first=" GET / HTTP/1.1"),
    "two spaces in the line": head(first="GET  / HTTP/1.1"),
    "tab in the line": head(first="GET\t/ HTTP/1.1"),
    "space in the target": head(first="GET /a b HTTP/1.1"),
    "space after the version": head(first="GET / HTTP/1.1 "),
    "no version": head(first="GET /"),
    "no target": head(first="GET HTTP/1.1"),
    "method with a colon": head(first="GE:T / HTTP/1.1"),
    "target without a slash": head(first="GET victim HTTP/1.1"),
    "asterisk but not OPTIONS": head(first="GET * HTTP/1.1"),
    "target with a fragment": head(first="GET /a#b HTTP/1.1"),
    "version in lower case": head(first="GET / http/1.1"),
    "version with two digits": head(first="GET / HTTP/1.10"),
    "absolute form with a user": head(first="GET http://me:pw@a.example/ HTTP/1.1"),
    "absolute form without a host": head(first="GET http:///x HTTP/1.1"),
    "length after a vertical tab": head("Content-Length: \x0b4") + "aaaa",
    "length before a form feed": head("Content-Length: 4\x0c") + "aaaa",
    "length before a no-break space": head("Content-Length: 4\xa0") + "aaaa",
    "length in other digits": head("Content-Length: \xef\xbc\x94") + "aaaa",
    "length of 20 digits": head("Content-Length: 00000000000000000004") + "aaaa",
    "length of 2^63": head("Content-Length: 9223372036854775808") + "aaaa",
    "length in two lines, equal": head("Content-Length: 4", "content-length: 4") + "aaaa",
    "length with a comma": head("Content-Length: 4,") + "aaaa",
    "length behind a folded line": head("X-A: 1", " ", "Content-Length: 4") + "aaaa",
    "length folded": head("Content-Length:", " 4") + "aaaa",
    "length with a semicolon": head("Content-Length: 4;") + "aaaa",
    "length in quotes": head("Content-Length: \"4\"") + "aaaa",
    "length of a request without content": head("Content-Length: -0", first="GET / HTTP/1.1") + SMUGGLED,
    "coding with a no-break space": head("Transfer-Encoding: chunked\xa0") + "0\r\n\r\n",
    "coding with a NUL": head("Transfer-Encoding: chunked\0") + "0\r\n\r\n",
    "coding after a bare LF": head("X-A: 1\nTransfer-Encoding: chunked") + "0\r\n\r\n",
    "coding after a bare CR": head("X-A: 1\rTransfer-Encoding: chunked") + "0\r\n\r\n",
    "coding folded": head("Transfer-Encoding:", " chunked") + "0\r\n\r\n",
    "coding folded away": head("Transfer-Encoding: chunked", " , identity") + "0\r\n\r\n",
    "coding and identity in two lines": head("Transfer-Encoding: chunked", "Transfer-Encoding: identity") + "0\r\n\r\n",
    "chunked before another": head("Transfer-Encoding: chunked, identity") + "0\r\n\r\n",
    "chunked in a list of nothing": head("Transfer-Encoding: , chunked ,") + "0\r\n\r\n",
    "chunked and a vertical tab": head("Transfer-Encoding: chunked\x0b") + "0\r\n\r\n",
    "half of chunked": head("Transfer-Encoding: chunk") + "0\r\n\r\n",
    "chunked cut by a space": head("Transfer-Encoding: chu nked") + "0\r\n\r\n",
    "both lengths, the coding named in Connection": head("Connection: Transfer-Encoding", "Content-Length: 4", "Transfer-Encoding: chunked") + "0\r\n\r\n",
    "both lengths, the length named in Connection": head("Connection: Content-Length", "Content-Length: 4", "Transfer-Encoding: chunked") + "0\r\n\r\n",
    "both lengths, the length 0": head("Content-Length: 0", "Transfer-Encoding: chunked") + "0\r\n\r\n" + SMUGGLED,
    "both lengths of a GET": head("Content-Length: 4", "Transfer-Encoding: chunked", first="GET / HTTP/1.1") + "0\r\n\r\n",
    "coding spelt with a dot": head("Transfer.Encoding: chunked") + "0\r\n\r\n",
    "coding spelt with a plus, in capitals": head("TRANSFER+ENCODING: chunked") + "0\r\n\r\n",
    "length with an apostrophe": head("Content'Length: 4") + "aaaa",
    "forwarding with underscores": head("X_Forwarded_For: 6.6.6.6", first="GET / HTTP/1.1"),
    "proxy credentials with underscores": head("Proxy_Authorization: x", first="GET / HTTP/1.1"),
    "space in front of the coding": head(" Transfer-Encoding: chunked") + "0\r\n\r\n",
    "space in front of the first line's field": "POST / HTTP/1.1\r\n Transfer-Encoding: chunked\r\nHost: a.example\r\n\r\n0\r\n\r\n",
    "no-break space before the colon": head("Transfer-Encoding\xa0: chunked") + "0\r\n\r\n",
    "NUL before the colon": head("Transfer-Encoding\0: chunked") + "0\r\n\r\n",
    "colon in front": head(":Transfer-Encoding: chunked") + "0\r\n\r\n",
    "name in quotes": head("\"Transfer-Encoding\": chunked") + "0\r\n\r\n",
    "name with an at": head("Transfer@Encoding: chunked") + "0\r\n\r\n",
    "CR CR LF ends a line": "GET / HTTP/1.1\r\r\nHost: a.example\r\n\r\n",
    "CR CR LF ends the head": "GET / HTTP/1.1\r\nHost: a.example\r\n\r\r\n" + SMUGGLED,
    "LF CR ends a line": "GET / HTTP/1.1\n\rHost: a.example\r\n\r\n",
    "LF LF ends the head": "GET / HTTP/1.1\r\nHost: a.example\n\n" + SMUGGLED,
    "TLS on a plain port": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + "\x00" * 100 + "\r\n\r\n",
    "noise": "\x80\x81\x82\xff\xfe\r\n\r\n",
}

CODINGS = ("coding but chunked", "chunked not alone", "chunked in a list of nothing")    # RFC 9112, 6.1: 501 fits a coding that is not understood

BAD_CHUNKS = {
    "sign": "+5\r\nhello\r\n0\r\n\r\n", "hex mark": "0x5\r\nhello\r\n0\r\n\r\n", "space before": " 5\r\nhello\r\n0\r\n\r\n",
    "no size": "\r\nhello\r\n0\r\n\r\n", "no hex": "g\r\nhello\r\n0\r\n\r\n", "bare LF": "5\nhello\r\n0\r\n\r\n",
    "too short": "5\r\nhell\r\n0\r\n\r\n", "too long": "5\r\nhello!\r\n0\r\n\r\n",
    "17 digits": "10000000000000005\r\nhello\r\n0\r\n\r\n", "no CRLF after data": "5\r\nhello0\r\n\r\n",
    "bare LF after data": "5\r\nhello\n0\r\n\r\n", "CR in the size": "5\r\r\nhello\r\n0\r\n\r\n",
    "NUL in an extension": "5;a\0b\r\nhello\r\n0\r\n\r\n", "bare LF in trailers": "0\r\nX-A: 1\n\r\n",
    "2^63": "8000000000000000\r\nhello\r\n0\r\n\r\n", "2^64 - 1": "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "2^64": "10000000000000000\r\nhello\r\n0\r\n\r\n", "2^64 + 5 in zeros": "00000000000000005\r\nhello\r\n0\r\n\r\n",
    "2^64 zeros": "0" * 17 + "\r\n\r\n", "minus 0": "-0\r\n\r\n", "0 in hex": "0x0\r\n\r\n", "space behind": "5 \r\nhello\r\n0\r\n\r\n",
    "tab behind": "5\t\r\nhello\r\n0\r\n\r\n", "space behind 0": "0 \r\n\r\n", "underscore": "1_0\r\nhello\r\n0\r\n\r\n",
    "point": "5.0\r\nhello\r\n0\r\n\r\n", "comma": "5,0\r\nhello\r\n0\r\n\r\n", "quotes": "\"5\"\r\nhello\r\n0\r\n\r\n",
    "no name": "5;\r\nhello\r\n0\r\n\r\n", "no name but a value": "5;=a\r\nhello\r\n0\r\n\r\n", "no value": "5;a=\r\nhello\r\n0\r\n\r\n",
    "space before an extension": "5 ;a\r\nhello\r\n0\r\n\r\n", "space in an extension": "5; a\r\nhello\r\n0\r\n\r\n",
    "space behind an extension": "5;a \r\nhello\r\n0\r\n\r\n", "space around =": "5;a = b\r\nhello\r\n0\r\n\r\n",
    "open quotes": "5;a=\"b\r\nhello\r\n0\r\n\r\n", "text behind quotes": "5;a=\"b\"c\r\nhello\r\n0\r\n\r\n",
    "line end in quotes": "5;a=\"\r\nhello\r\n0\r\n\r\n\"\r\n", "two names": "5;a;;b\r\nhello\r\n0\r\n\r\n", "two =": "5;a=b=c\r\nhello\r\n0\r\n\r\n",
    "bare LF in an extension": "5;a\nhello\r\n0\r\n\r\n", "bare CR in an extension": "5;a\rX\r\nhello\r\n0\r\n\r\n",
    "LF in quotes": "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n", "8 bits in a name": "5;\xe9\r\nhello\r\n0\r\n\r\n",
    "other bytes for CRLF": "5\r\nhelloXX0\r\n\r\n", "CR X for CRLF": "5\r\nhello\rX0\r\n\r\n", "LF LF for CRLF": "5\r\nhello\n\n0\r\n\r\n",
    "bare LF behind 0": "5\r\nhello\r\n0\n\r\n", "bare LF at the end": "0\r\n\n", "bare CR at the end": "0\r\n\rX",
    "CR CR LF at the end": "0\r\n\r\r\n", "CR LF CR X at the end": "0\r\nX-A: 1\r\n\rX", "CRLF in front": "\r\n5\r\nhello\r\n0\r\n\r\n",
    "trailer folded": "0\r\nX-A: 1\r\n 2\r\n\r\n", "trailer without a colon": "0\r\nX-A\r\n\r\n", "trailer with a space": "0\r\nX-A : 1\r\n\r\n",
    "trailer without a name": "0\r\n: 1\r\n\r\n", "trailer with a NUL": "0\r\nX-A: \0\r\n\r\n", "trailer with a bare CR": "0\r\nX-A: 1\r2\r\n\r\n",
    "trailer that is a request": "0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "trailer that begins with a space": "0\r\n X-A: 1\r\n\r\n",
    "extension without end": "5;" + "e" * 100000,
}


def assert_sees_only_the_sentinel(weir):
    weir.get("/sentinel")
    assert [r.target for r in weir.origin.requests] == ["/sentinel"]


@pytest.mark.parametrize("name", BAD)
def test_malformed_gets_400_and_a_closed_connection(shared, name):
    shared.origin.clear()
    with shared.client() as c:
        c.send(BAD[name])
        res = c.read_response("POST")
        assert res.status == 400 or (name in CODINGS and res.status == 501), res
        assert res.one("X-Request-Id")
        assert c.read_to_close() == b"", "nothing may be answered after a malformed request"
    assert_sees_only_the_sentinel(shared)


@pytest.mark.parametrize("name", BAD_CHUNKS)
def test_bad_chunks_never_reach_the_origin_as_a_request(shared, name):
    shared.origin.clear()
    with shared.client() as c:
        c.send(head("Transfer-Encoding: chunked") + BAD_CHUNKS[name] + SMUGGLED)
        c.sock.settimeout(5)
        res = c.read_response("POST")
        assert res.status == 400, res
        assert c.read_to_close() == b""
    shared.get("/sentinel")
    assert "/smuggled" not in [r.target for r in shared.origin.requests]
    assert all(b"smuggled" not in r.body for r in shared.origin.requests)


@pytest.mark.parametrize("data, status", [
    ("GET /" + "a" * 17000 + " HTTP/1.1\r\nHost: a.example\r\n\r\n", 414),
    ("GET /" + "a" * 17000, 414),
    ("GET / HTTP/1.1\r\nHost: a.example\r\nX-A: " + "b" * 17000 + "\r\n\r\n", 431),
    ("GET / HTTP/1.1\r\nHost: a.example\r\nX-A: " + "b" * 17000, 431),
    ("GET / HTTP/1.1\r\nHost: a.example\r\n" + "".join("X-%d: %s\r\n" % (i, "c" * 8000) for i in range(9)) + "\r\n", 431),
    ("GET / HTTP/1.1\r\nHost: a.example\r\n" + "".join("X-%d: 1\r\n" % i for i in range(101)) + "\r\n", 431),
], ids=["line", "line unfinished", "header", "header unfinished", "head", "count"])
def test_too_long(shared, data, status):
    shared.origin.clear()
    with shared.client() as c:
        c.send(data)
        assert c.read_response().status == status
        assert c.closed_by_peer()
    shared.get("/sentinel")
    late = "/victim"    # the head of a request with bad chunks, of the test before
    assert [r.target for r in shared.origin.requests if r.target != late] == ["/sentinel"]


def test_as_long_as_the_load_balancer_allows_passes(shared):
    shared.origin.clear()
    lines = [("X-%d" % i, "c" * 15000) for i in range(4)]
    with shared.client() as c:
        assert c.request("GET", "/" + "a" * 16000).status == 200
        assert c.request("GET", "/", lines).status == 200
        assert c.request("GET", "/", [("X-%d" % i, "1") for i in range(95)]).status == 200
    assert shared.origin.requests[1].get("X-3") == "c" * 15000


def test_caps_are_the_configs(start, origin):
    weir = start(base_config(origin, caps={"line": "1k", "head": "2k", "headers": 10}))
    assert weir.get("/" + "a" * 900).status == 200
    assert weir.get("/" + "a" * 1100).status == 414
    assert weir.get("/", headers=[("X-A", "b" * 1100)]).status == 431
    assert weir.get("/", headers=[("X-%d" % i, "b" * 300) for i in range(8)]).status == 431
    assert weir.get("/", headers=[("X-%d" % i, "b") for i in range(12)]).status == 431


def test_requests_before_a_malformed_one_are_answered(shared):
    shared.origin.clear()
    with shared.client() as c:
        c.send(build("GET", "/first") + build("GET", "/second") + b"GET / nonsense\r\n\r\n" + build("GET", "/never"))
        assert c.read_response().status == 200
        assert c.read_response().status == 200
        assert c.read_response().status == 400
        assert c.read_to_close() == b""
    assert [r.target for r in shared.origin.requests] == ["/first", "/second"]


def test_malformed_in_two_pieces(shared):
    """Cut at every place, a malformed head is refused just the same."""
    shared.origin.clear()
    data = head("X-A: 1\r2").encode("latin-1")
    for cut in range(1, len(data)):
        with shared.client() as c:
            c.send(data[:cut])
            try:
                c.send(data[cut:])
            except OSError:
                pass
            assert c.read_response().status == 400
    assert_sees_only_the_sentinel(shared)
