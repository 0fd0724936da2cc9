# SPDX-License-Identifier: MIT
"""A client that writes raw bytes, and reads responses with a parser that forgives nothing."""
import json
import re
import socket
import struct
import time

from . import websocket

STATUS_LINE = re.compile(rb"HTTP/(1\.[01]) ([1-5]\d\d) ([^\r\n\0]*)\Z")
FIELD_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\r\n\0]*?)[ \t]*\Z")


class ProtocolError(AssertionError):
    pass


class Response:
    def __init__(self, version, status, reason, headers):
        self.version, self.status, self.reason, self.headers = version, status, reason, headers
        self.body, self.trailers, self.interim, self.raw_head = b"", [], [], b""
        self.framing = None

    def get(self, name, default=None):
        values = self.get_all(name)
        return values[0] if values else default

    def get_all(self, name):
        return [v for n, v in self.headers if n.lower() == name.lower()]

    def one(self, name):
        values = self.get_all(name)
        assert len(values) == 1, "%s should be there once: %r" % (name, self.headers)
        return values[0]

    def json(self):
        return json.loads(self.body)

    def text(self):
        return self.body.decode(errors="replace")

    def closes(self):
        return any("close" in v.lower() for v in self.get_all("Connection"))

    def __repr__(self):
        return "<%d %s %r %r>" % (self.status, self.reason, self.headers, self.body[:300])


def parse_head(head):
    lines = head.split(b"\r\n")
    m = STATUS_LINE.match(lines[0])
    if not m:
        raise ProtocolError("not a status line: %r" % lines[0][:200])
    headers = []
    for line in lines[1:]:
        f = FIELD_LINE.match(line)
        if not f:
            raise ProtocolError("not a header line: %r" % line[:200])
        headers.append((f[1].decode("latin-1"), f[2].decode("latin-1")))
    res = Response(m[1].decode(), int(m[2]), m[3].decode("latin-1"), headers)
    res.raw_head = head
    return res


class RawClient:
    """One connection. `source` binds it to an address of 127.0.0.0/8, so that many peers can be played."""

    def __init__(self, port, host="127.0.0.1", source=None, timeout=10.0, rcvbuf=None):
        if host.startswith("/"):
            self.sock = socket.socket(socket.AF_UNIX)
        else:
            self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.sock.settimeout(timeout)
        if source:
            self.sock.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
            self.sock.bind((source, 0))
        self.sock.connect(host if host.startswith("/") else (host, port))
        self.buf = b""
        self.eof = False

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data.encode("latin-1") if isinstance(data, str) else data)
        return self

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        """Closes with a RST in place of a FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    # Reading

    def fill(self):
        """Reads once more; False at the end of the stream."""
        if self.eof:
            return False
        data = self.sock.recv(65536)
        if not data:
            self.eof = True
            return False
        self.buf += data
        return True

    def read_exact(self, n):
        parts, have = [self.buf], len(self.buf)
        while have < n:
            data = self.sock.recv(min(1 << 20, max(4096, n - have)))
            if not data:
                self.eof = True
                self.buf = b"".join(parts)
                raise ProtocolError("stream ended after %d of %d bytes" % (have, n))
            parts.append(data)
            have += len(data)
        whole = b"".join(parts)
        self.buf = whole[n:]
        return whole[:n]

    def read_until(self, mark, limit=1 << 20):
        while mark not in self.buf:
            if len(self.buf) > limit:
                raise ProtocolError("no %r within %d bytes" % (mark, limit))
            if not self.fill():
                raise ProtocolError("stream ended while waiting for %r; so far %r" % (mark, self.buf[:500]))
        head, _, self.buf = self.buf.partition(mark)
        return head

    def read_to_close(self):
        """All that still comes. A reset is an error here, as it is for whoever waits for the answer."""
        while self.fill():
            pass
        data, self.buf = self.buf, b""
        return data

    def closed_by_peer(self, timeout=5.0):
        """True when the peer closes within `timeout` without sending more."""
        self.sock.settimeout(timeout)
        try:
            return not self.fill()
        except socket.timeout:
            return False
        except ConnectionResetError:
            return True

    def open_and_silent(self, timeout=0.1):
        self.sock.settimeout(timeout)
        try:
            self.fill()
            return False
        except socket.timeout:
            return True
        finally:
            self.sock.settimeout(10)

    def read_head(self):
        return parse_head(self.read_until(b"\r\n\r\n"))

    def read_response(self, method="GET"):
        """The next final response, strictly framed; 1xx responses before it stand in `interim`."""
        interim = []
        while True:
            res = self.read_head()
            if res.status == 101 or res.status >= 200:
                break
            interim.append(res)
        res.interim = interim
        self._read_body(res, method)
        return res

    def _read_body(self, res, method):
        lengths, codings = res.get_all("Content-Length"), res.get_all("Transfer-Encoding")
        if lengths and codings:
            raise ProtocolError("both Content-Length and Transfer-Encoding: %r" % res)
        if len(lengths) > 1 or (lengths and not re.fullmatch(r"\d+", lengths[0])):
            raise ProtocolError("bad Content-Length: %r" % lengths)
        if codings and (len(codings) > 1 or codings[0].lower() != "chunked"):
            raise ProtocolError("bad Transfer-Encoding: %r" % codings)
        if method == "HEAD" or res.status in (101, 204, 304):
            res.framing = "none"
        elif codings:
            res.framing = "chunked"
            self._read_chunks(res)
        elif lengths:
            res.framing = "length"
            res.body = self.read_exact(int(lengths[0]))
        else:
            res.framing = "close"
            res.body = self.read_to_close()

    def _read_chunks(self, res):
        parts = []
        while True:
            line = self.read_until(b"\r\n")
            if not re.fullmatch(rb"[0-9a-fA-F]+(?:[ \t]*;.*)?", line):
                raise ProtocolError("bad chunk size: %r" % line[:100])
            n = int(line.partition(b";")[0], 16)
            if n == 0:
                break
            parts.append(self.read_exact(n))
            if self.read_exact(2) != b"\r\n":
                raise ProtocolError("chunk without its CRLF")
        res.body = b"".join(parts)
        while True:
            line = self.read_until(b"\r\n")
            if not line:
                return
            f = FIELD_LINE.match(line)
            if not f:
                raise ProtocolError("bad trailer: %r" % line[:200])
            res.trailers.append((f[1].decode(), f[2].decode("latin-1")))

    # Conveniences

    def request(self, method="GET", target="/", headers=(), body=None, host="test.example", version="1.1"):
        """Sends one request and reads its response; the connection stays as the response leaves it."""
        self.send(build(method, target, headers, body, host, version))
        return self.read_response(method)

    def ws_open(self, target="/ws", host="test.example", headers=()):
        key = websocket.new_key()
        res = self.request("GET", target, [("Upgrade", "websocket"), ("Connection", "Upgrade"),
                                           ("Sec-WebSocket-Key", key), ("Sec-WebSocket-Version", "13"),
                                           *pairs(headers)], host=host)
        if res.status == 101:
            assert res.one("Sec-WebSocket-Accept") == websocket.accept_key(key)
        return res

    def ws_send(self, payload, opcode=websocket.TEXT):
        self.send(websocket.encode(opcode, payload, mask=True))

    def ws_read(self):
        opcode, payload, masked = websocket.read_frame(self.read_exact)
        assert not masked
        return opcode, payload


def pairs(headers):
    return list(headers.items()) if isinstance(headers, dict) else list(headers)


def build(method="GET", target="/", headers=(), body=None, host="test.example", version="1.1"):
    """The bytes of a request. A body of bytes gets a Content-Length; a list of them goes out in chunks."""
    lines = ["%s %s HTTP/%s" % (method, target, version)]
    if host is not None:
        lines.append("Host: %s" % host)
    lines += ["%s: %s" % h for h in pairs(headers)]
    payload = b""
    if isinstance(body, (list, tuple)):
        lines.append("Transfer-Encoding: chunked")
        payload = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in body) + b"0\r\n\r\n"
    elif body is not None:
        lines.append("Content-Length: %d" % len(body))
        payload = body
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + payload


def http(port, target="/", method="GET", headers=(), body=None, host="test.example", source=None, xff=None,
         timeout=10.0, addr="127.0.0.1"):
    """One request on a connection of its own. `xff` names the client, as a load balancer would."""
    headers = pairs(headers)
    if xff:
        headers.append(("X-Forwarded-For", xff))
    start = time.monotonic()
    with RawClient(port, addr, source=source, timeout=timeout) as c:
        res = c.request(method, target, headers, body, host)
    res.took = time.monotonic() - start
    return res
