# SPDX-License-Identifier: MIT
"""Who the client is: read from the right of X-Forwarded-For, past trusted hops, never further than can be trusted."""
import os
import socket
import struct

import pytest

from weirlib import Origin, base_config
from weirlib.client import build

TRUSTED = ["127.0.0.1/32", "10.0.0.0/24", "2001:db8:ffff::/48"]


@pytest.fixture(scope="module")
def shared(module_start, module_closing):
    origin = module_closing.add(Origin())
    weir = module_start(base_config(origin, client_ip={"trusted_proxies": TRUSTED}))
    weir.origin = origin
    return weir


def seen_by_origin(weir):
    req = weir.origin.last()
    return req.get("X-Real-IP"), req.get("X-Forwarded-For")


CASES = [
    # X-Forwarded-For as it came, the client, what goes on
    ("203.0.113.9", "203.0.113.9", "203.0.113.9"),
    ("1.2.3.4, 203.0.113.9", "203.0.113.9", "203.0.113.9"),
    ("1.2.3.4, 203.0.113.9, 10.0.0.7", "203.0.113.9", "203.0.113.9, 10.0.0.7"),
    ("203.0.113.9, 10.0.0.7, 10.0.0.8", "203.0.113.9", "203.0.113.9, 10.0.0.7, 10.0.0.8"),
    ("10.0.0.5, 10.0.0.7", "10.0.0.5", "10.0.0.5, 10.0.0.7"),
    ("203.0.113.9:4711", "203.0.113.9", None),
    ("[2001:db8:5::1]:4711", "2001:db8:5::1", None),
    ("[2001:db8:5::1]", "2001:db8:5::1", None),
    ("2001:db8:5::1", "2001:db8:5::1", None),
    ("::ffff:203.0.113.9", "203.0.113.9", None),
    ("  203.0.113.9  ", "203.0.113.9", "203.0.113.9"),
    ("1.1.1.1,203.0.113.9,10.0.0.7", "203.0.113.9", None),
    ("203.0.113.9, 2001:db8:ffff::1", "203.0.113.9", None),
    # an entry that cannot be read ends the walk: the nearest readable hop to its right is the client
    ("203.0.113.9, unknown, 10.0.0.7", "10.0.0.7", "10.0.0.7"),
    ("203.0.113.9, _hidden, 198.51.100.3, 10.0.0.7", "198.51.100.3", "198.51.100.3, 10.0.0.7"),
    ("203.0.113.9, 010.0.0.7, 10.0.0.8", "10.0.0.8", None),
    ("203.0.113.9, 10.0.0.7x, 10.0.0.8", "10.0.0.8", None),
]


@pytest.mark.parametrize("xff, client, onward", CASES)
def test_x_forwarded_for(shared, xff, client, onward):
    assert shared.get(xff=xff).status == 200
    ip, passed = seen_by_origin(shared)
    assert ip == client
    if onward:    # the client, the trusted hops after it, and the peer
        assert passed == onward + ", 127.0.0.1"
    assert "1.2.3.4" not in passed


def test_several_lines_count_as_one_list(shared):
    shared.get(headers=[("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-For", "198.51.100.3, 10.0.0.7")])
    assert seen_by_origin(shared)[0] == "198.51.100.3"
    assert len(shared.origin.last().get_all("X-Forwarded-For")) == 1


def test_a_stranger_names_only_itself(shared):
    shared.get(source="127.0.0.77", xff="203.0.113.9")
    assert seen_by_origin(shared) == ("127.0.0.77", "127.0.0.77")


def test_thirty_one_hops_are_read(shared):
    hops = ["203.0.113.9"] + ["10.0.0.%d" % i for i in range(1, 31)]
    shared.get(xff=", ".join(hops))
    assert seen_by_origin(shared)[0] == "203.0.113.9"


@pytest.mark.parametrize("xff", ["x" * 9000, "," * 5000, "1.1.1.1," * 1500 + "203.0.113.9", "\x80\xff", "1.1.1.1 " * 500])
def test_monstrous_lists_do_no_harm(shared, xff):
    assert shared.get(xff=xff).status == 200
    ip = seen_by_origin(shared)[0]
    assert ip in (None, "203.0.113.9")


@pytest.mark.parametrize("xff", [None, "unknown", "203.0.113.9, unknown"])
def test_nobody_is_not_limited_and_enters_nothing(start, origin, xff):
    weir = start(base_config(origin, rate_limit={"policies": {"default": {"requests": 3, "window": "60s"}}},
                             sites=[{"hosts": ["guarded.example"], "upstream": "main", "allow": ["0.0.0.0/0", "::/0"]},
                                    {"hosts": ["*"], "upstream": "main"}]))
    before = weir.metric("weir_client_unnamed_total")
    for _ in range(8):
        res = weir.get(xff=xff)
        assert res.status == 200 and not res.get_all("RateLimit")
    assert weir.get(xff=xff, host="guarded.example").status == 403
    assert weir.metric("weir_client_unnamed_total") - before == 9


def test_nobody_is_warned_about_once(start, origin):
    weir = start(base_config(origin))
    for _ in range(5):
        weir.get()
    weir.wait_own_log("X-Forwarded-For|named no client|names no client|no client")
    words = [e for e in weir.own_log() if "no client" in str(e).lower() or "x-forwarded-for" in str(e).lower()]
    assert len(words) == 1, words


def test_one_ipv6_client_is_its_64(start, origin):
    weir = start(base_config(origin, rate_limit={"policies": {"default": {"requests": 4, "window": "60s"}}}))
    for i in range(4):
        assert weir.get(xff="2001:db8:1:2::%x" % (i + 1)).status == 200
    assert weir.get(xff="2001:db8:1:2:ffff:ffff:ffff:ffff").status == 429
    assert weir.get(xff="2001:db8:1:3::1").status == 200


def test_ipv6_prefix_is_the_configs(start, origin):
    weir = start(base_config(origin, client_ip={"trusted_proxies": ["127.0.0.1/32"], "ipv6_prefix": 56},
                             rate_limit={"policies": {"default": {"requests": 2, "window": "60s"}}}))
    assert [weir.get(xff="2001:db8:1:%x::1" % n).status for n in (0x200, 0x2ff, 0x210, 0x300)] == [200, 200, 429, 200]


def test_mapped_addresses_are_the_same_client(start, origin):
    weir = start(base_config(origin, rate_limit={"policies": {"default": {"requests": 2, "window": "60s"}}}))
    forms = ["203.0.113.9", "::ffff:203.0.113.9", "[::ffff:cb00:7109]:99", "203.0.113.9:80"]
    assert [weir.get(xff=x).status for x in forms] == [200, 200, 429, 429]


@pytest.mark.parametrize("header, client", [
    ("for=203.0.113.9", "203.0.113.9"),
    ("for=1.2.3.4, for=203.0.113.9;proto=https;by=10.0.0.1", "203.0.113.9"),
    ('For="[2001:db8:5::1]:4711"', "2001:db8:5::1"),
    ('for="203.0.113.9:47011";host="a,b;c"', "203.0.113.9"),
    ("for=203.0.113.9, for=10.0.0.7", "203.0.113.9"),
    ("for=203.0.113.9, for=unknown, for=10.0.0.7", "10.0.0.7"),
    ("for=203.0.113.9, for=_secret, for=10.0.0.7", "10.0.0.7"),
])
def test_forwarded_header(start, origin, header, client):
    weir = start(base_config(origin, client_ip={"trusted_proxies": TRUSTED, "header": "Forwarded"}))
    assert weir.get(headers=[("Forwarded", header), ("X-Forwarded-For", "6.6.6.6")]).status == 200
    assert origin.last().get("X-Real-IP") == client
    assert "forwarded" not in origin.last().names()


def test_header_of_one_address_beside_its_secret(start, origin):
    weir = start(base_config(origin, client_ip={
        "trusted_proxies": TRUSTED, "header": "CloudFront-Viewer-Address",
        "only_with": {"header": "X-Origin-Verify", "value": "${ORIGIN_SECRET}"}}), env={"ORIGIN_SECRET": "s3cret"})

    def client(*headers):
        weir.get(headers=[("X-Forwarded-For", "198.51.100.3"), *headers])
        return origin.last().get("X-Real-IP")
    assert client(("CloudFront-Viewer-Address", "203.0.113.9:443"), ("X-Origin-Verify", "s3cret")) == "203.0.113.9"
    assert client(("CloudFront-Viewer-Address", "203.0.113.9:443"), ("X-Origin-Verify", "wrong")) == "198.51.100.3"
    assert client(("CloudFront-Viewer-Address", "203.0.113.9:443")) == "198.51.100.3"
    assert client(("X-Origin-Verify", "s3cret")) == "198.51.100.3"
    assert "s3cret" not in weir.log_text() and "s3cret" not in weir.stderr()
    assert "s3cret" not in weir.ctl("config", "show")


# PROXY protocol

def v2(source, dest=("10.9.9.9", 80), command=1, family=0x11, tlv=b""):
    if family == 0x11:
        addresses = socket.inet_aton(source[0]) + socket.inet_aton(dest[0]) + struct.pack(">HH", source[1], dest[1])
    elif family == 0x21:
        addresses = socket.inet_pton(socket.AF_INET6, source[0]) + socket.inet_pton(socket.AF_INET6, dest[0]) + \
            struct.pack(">HH", source[1], dest[1])
    else:
        addresses = b""
    body = addresses + tlv
    return b"\r\n\r\n\0\r\nQUIT\n" + bytes([0x20 | command, family]) + struct.pack(">H", len(body)) + body


@pytest.fixture(scope="module")
def proxied(module_start, module_closing):
    from weirlib import free_port
    origin, port = module_closing.add(Origin()), free_port()
    weir = module_start(base_config(origin, client_ip={"trusted_proxies": ["127.0.0.1/32"]},
                                    listen=[{"address": "127.0.0.1:%d" % port, "proxy_protocol": "on"}]), ready=False,
                        port=port)
    weir.origin = origin
    from weirlib import wait_for

    def up():
        assert weir.proc.running(), weir.stderr()
        try:
            return with_prefix(weir, b"PROXY TCP4 203.0.113.9 10.0.0.1 1 80\r\n").status == 200
        except OSError:
            return False
    wait_for(up, 15)
    return weir


def with_prefix(weir, prefix, **kw):
    with weir.client(**kw) as c:
        c.send(prefix + build())
        return c.read_response()


@pytest.mark.parametrize("prefix, client", [
    (b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 80\r\n", "203.0.113.9"),
    (b"PROXY TCP6 2001:db8:5::1 2001:db8::2 4711 80\r\n", "2001:db8:5::1"),
    (v2(("203.0.113.10", 4711)), "203.0.113.10"),
    (v2(("2001:db8:5::2", 4711), ("2001:db8::2", 80), family=0x21), "2001:db8:5::2"),
    (v2(("203.0.113.11", 4711), tlv=b"\x04\x00\x05abcde"), "203.0.113.11"),
])
def test_proxy_protocol_names_the_peer(proxied, prefix, client):
    assert with_prefix(proxied, prefix).status == 200
    assert proxied.origin.last().get("X-Real-IP") == client


@pytest.mark.parametrize("prefix", [b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n",
                                    v2(None, command=0, family=0)])
def test_unknown_and_local_mean_the_real_peer(proxied, prefix):
    with proxied.client() as c:
        c.send(prefix + build(headers=[("X-Forwarded-For", "203.0.113.99")]))
        assert c.read_response().status == 200
    assert proxied.origin.last().get("X-Real-IP") == "203.0.113.99"


def test_proxy_protocol_byte_by_byte(proxied):
    with proxied.client() as c:
        for byte in v2(("203.0.113.12", 4711)) + build():
            c.send(bytes([byte]))
        assert c.read_response().status == 200
    assert proxied.origin.last().get("X-Real-IP") == "203.0.113.12"


@pytest.mark.parametrize("prefix", [b"", b"PROXY TCP4 999.0.113.9 10.0.0.1 4711 80\r\n", b"PROXY TCP4 1.2.3.4\r\n",
                                    b"PROXY TCP9 1.2.3.4 1.2.3.4 1 2\r\n", b"PROXY " + b"x" * 200,
                                    b"\r\n\r\n\0\r\nQUIT\n\x31\x11\x00\x0c" + b"\0" * 12])
def test_without_a_good_prefix_nothing_is_served(proxied, prefix):
    before = len(proxied.origin.requests)
    with proxied.client() as c:
        c.send(prefix + build())
        c.sock.settimeout(5)
        try:
            answer = c.read_to_close()
        except ConnectionResetError:
            answer = b""
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
    assert len(proxied.origin.requests) == before


def test_prefix_of_a_stranger_is_refused(proxied):
    before = len(proxied.origin.requests)
    with proxied.client(source="127.0.0.8") as c:
        try:
            c.send(b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 80\r\n" + build())
            answer = c.read_to_close()
        except OSError:
            answer = b""
    assert not answer.startswith(b"HTTP/1.1 200")
    assert len(proxied.origin.requests) == before


# Lists in files

def test_file_of_trusted_proxies_is_read_again_on_reload(start, origin):
    path = "/tmp/weir-edge-list-%d" % os.getpid()
    try:
        with open(path, "w") as f:
            f.write("# trusted\n127.0.0.1/32\n")
        os.chmod(path, 0o644)
        weir = start(base_config(origin, client_ip={"trusted_proxies": ["file:" + path]}))
        weir.get(xff="203.0.113.9", source="127.0.0.2")
        assert origin.last().get("X-Real-IP") == "127.0.0.2"
        with open(path, "a") as f:
            f.write("127.0.0.2\n\n")
        weir.reload()
        weir.get(xff="203.0.113.9", source="127.0.0.2")
        assert origin.last().get("X-Real-IP") == "203.0.113.9"
    finally:
        os.unlink(path)
