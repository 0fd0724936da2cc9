# SPDX-License-Identifier: MIT
"""The scripted origin.

In its normal mode it serves HTTP/1.1 with keep-alive, records every request as raw bytes, and is steered by the path:
/status/NNN  /bytes/N  /chunked/N  /slow/MS  /set-cookie?c=...  /headers  /close  /echo  /ws  (anywhere in the path).
With a script, a callable that is handed each connection (OriginConn), it sends any bytes at any time.
"""
import json
import re
import socket
import struct
import threading
import time
import urllib.parse

from . import websocket
from .util import free_port, wait_for

BLOCK = b"0123456789abcdef" * 4096


def pattern(n, offset=0):
    """n bytes of a pattern whose place can be told, so that a lost or doubled piece shows."""
    start = offset % 16
    return (BLOCK[:16] * (n // 16 + 2))[start:start + n]


class Request:
    def __init__(self, head, conn, n):
        lines = head.split(b"\r\n")
        self.raw, self.conn, self.nth = head + b"\r\n\r\n", conn, n
        self.line = lines[0].decode("latin-1")
        self.method, self.target, self.version = (self.line.split(" ") + ["", ""])[:3]
        self.headers = []
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            self.headers.append((name.decode("latin-1"), value.strip(b" \t").decode("latin-1")))
        self.body, self.trailers, self.at = b"", [], time.monotonic()

    @property
    def path(self):
        return self.target.partition("?")[0]

    @property
    def query(self):
        return urllib.parse.parse_qs(self.target.partition("?")[2], keep_blank_values=True)

    def get(self, name, default=None):
        values = self.get_all(name)
        return values[0] if values else default

    def get_all(self, name):
        return [v for n, v in self.headers if n.lower() == name.lower()]

    def names(self):
        return [n.lower() for n, _ in self.headers]

    def __repr__(self):
        return "<%s %r body %d>" % (self.line, self.headers, len(self.body))


class OriginConn:
    """One connection as a script sees it."""

    def __init__(self, sock, origin, number):
        self.sock, self.origin, self.number, self.buf, self.count = sock, origin, number, b"", 0
        self.bytes_in = 0

    def recv(self, n=65536):
        data = self.sock.recv(n)
        self.bytes_in += len(data)
        return data

    def read_until(self, mark):
        while mark not in self.buf:
            data = self.recv()
            if not data:
                raise EOFError
            self.buf += data
        head, _, self.buf = self.buf.partition(mark)
        return head

    def read_exact(self, n):
        parts, have = [self.buf], len(self.buf)
        while have < n:
            data = self.recv(min(1 << 18, max(4096, n - have)))
            if not data:
                raise EOFError
            parts.append(data)
            have += len(data)
        whole = b"".join(parts)
        self.buf = whole[n:]
        return whole[:n]

    def read_head(self):
        """The next request without its body, recorded; EOFError when there is none."""
        self.count += 1
        req = Request(self.read_until(b"\r\n\r\n"), self.number, self.count)
        self.origin.requests.append(req)
        return req

    def read_body(self, req):
        if "chunked" in (req.get("Transfer-Encoding") or "").lower():
            parts = []
            while True:
                n = int(self.read_until(b"\r\n").partition(b";")[0], 16)
                if n == 0:
                    break
                parts.append(self.read_exact(n))
                assert self.read_exact(2) == b"\r\n"
            while True:
                line = self.read_until(b"\r\n")
                if not line:
                    break
                name, _, value = line.partition(b":")
                req.trailers.append((name.decode(), value.strip().decode("latin-1")))
            req.body = b"".join(parts)
        elif req.get("Content-Length"):
            req.body = self.read_exact(int(req.get("Content-Length")))
        return req

    def read_request(self):
        return self.read_body(self.read_head())

    def send(self, data):
        self.sock.sendall(data.encode("latin-1") if isinstance(data, str) else data)

    def respond(self, status=200, body=b"", headers=(), reason="X"):
        lines = ["HTTP/1.1 %d %s" % (status, reason), "Content-Length: %d" % len(body)]
        lines += ["%s: %s" % h for h in headers]
        self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self):
        self.sock.close()

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)

    def wait_closed(self, timeout=5.0):
        """True when the other side closes or resets within `timeout`; what it sends before is dropped."""
        self.sock.settimeout(timeout)
        try:
            while self.recv():
                pass
            return True
        except socket.timeout:
            return False
        except OSError:
            return True


class Origin:
    def __init__(self, name="origin", script=None, port=None, host="127.0.0.1", keepalive_header=None,
                 tls=None):
        """tls: the ssl.SSLContext that connections are wrapped with, as a server."""
        self.name, self.script, self.host = name, script, host
        self.keepalive_header, self.tls = keepalive_header, tls
        self.port = port or free_port()
        self.requests, self.conns, self.errors, self.events = [], [], [], []
        self.lock = threading.Lock()
        self.accepted = 0
        self.listener = None
        self.listen()

    @property
    def address(self):
        return "%s:%d" % (self.host, self.port)

    def listen(self):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((self.host, self.port))
        self.listener.listen(512)
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def stop_listening(self):
        """New connections are refused from here on; open ones live."""
        if self.listener:
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
            self.listener = None

    def drop_connections(self):
        with self.lock:
            conns, self.conns = self.conns, []
        for c in conns:
            try:
                c.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.stop_listening()
        self.drop_connections()

    def clear(self):
        self.requests.clear()

    def wait_requests(self, n, timeout=15.0):
        wait_for(lambda: len(self.requests) >= n, timeout, "%d requests at %s" % (n, self.name))
        return self.requests

    def open_connections(self):
        with self.lock:
            return len(self.conns)

    def last(self):
        return self.requests[-1]

    def _accept(self, listener):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.accepted += 1
                conn = OriginConn(sock, self, self.accepted)
                self.conns.append(conn)
            threading.Thread(target=self._run, args=(conn,), daemon=True).start()

    def _run(self, conn):
        try:
            if self.tls:
                conn.sock = self.tls.wrap_socket(conn.sock, server_side=True, suppress_ragged_eofs=False)
            (self.script or self._serve)(conn)
        except (EOFError, OSError):
            pass
        except BaseException as e:    # told by Origin.errors; a test asserts that it is empty where it matters
            self.errors.append(e)
        finally:
            conn.close()
            with self.lock:
                if conn in self.conns:
                    self.conns.remove(conn)

    # The normal mode

    def _serve(self, conn):
        while self._answer(conn):
            pass

    def _answer(self, conn):
        req = conn.read_head()
        if (req.get("Expect") or "").lower() == "100-continue":
            conn.send("HTTP/1.1 100 Continue\r\n\r\n")
        conn.read_body(req)
        upgrade = (req.get("Upgrade") or "").lower()
        if "/ws" in req.path and upgrade == "websocket":
            return self._websocket(conn, req)
        close = "close" in (req.get("Connection") or "").lower() or "/close" in req.path
        slow = re.search(r"/slow/(\d+)", req.path)
        if slow:
            time.sleep(int(slow[1]) / 1000)
        status, headers, body = self._content(req)
        headers = [("X-Origin", self.name), *headers]
        if self.keepalive_header:
            headers.append(("Keep-Alive", self.keepalive_header))
        if close:
            headers.append(("Connection", "close"))
        self._write(conn, req, status, headers, body)
        return not close

    def _content(self, req):
        """(status, headers, body); a body that is a list goes out in chunks."""
        path = req.path
        m = re.search(r"/status/(\d{3})", path)
        if m:
            return int(m[1]), [], b"status %s\n" % m[1].encode()
        m = re.search(r"/bytes/(\d+)", path)
        if m:
            return 200, [("Content-Type", "application/octet-stream")], pattern(int(m[1]))
        m = re.search(r"/chunked/(\d+)", path)
        if m:
            whole = pattern(int(m[1]))
            return 200, [], [whole[i:i + 10000] for i in range(0, len(whole), 10000)]
        if "/set-cookie" in path:
            return 200, [("Set-Cookie", c) for c in req.query.get("c", [])], b"cookies\n"
        if "/headers" in path:
            return 200, [("Content-Type", "application/json")], json.dumps(req.headers).encode()
        if "/respond-with" in path:
            return 200, [tuple(h.split(":", 1)) for h in req.query.get("h", [])], b"as asked\n"
        if "/page" in path:
            return 200, [("Content-Type", "text/html"), ("Cache-Control", "no-store")], \
                b"<!doctype html><title>page</title><p id=who>" + self.name.encode()
        if "/echo" in path:
            return 200, [("Content-Type", "application/octet-stream")], req.body
        return 200, [("Content-Type", "text/plain")], b"%s %s\n" % (self.name.encode(), req.target.encode("latin-1"))

    def _write(self, conn, req, status, headers, body):
        lines = ["HTTP/1.1 %d Status" % status]
        bodyless = status in (204, 304)
        if isinstance(body, list):
            lines.append("Transfer-Encoding: chunked")
        elif not bodyless:
            lines.append("Content-Length: %d" % len(body))
        lines += ["%s: %s" % h for h in headers]
        conn.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" +
                  (b"" if req.method == "HEAD" or bodyless or isinstance(body, list) else body))
        if isinstance(body, list) and req.method != "HEAD" and not bodyless:
            for piece in body:
                conn.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            conn.send(b"0\r\n\r\n")

    def _websocket(self, conn, req):
        conn.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                  "Sec-WebSocket-Accept: %s\r\n\r\n" % websocket.accept_key(req.get("Sec-WebSocket-Key")))
        while True:
            opcode, payload, masked = websocket.read_frame(conn.read_exact)
            if not masked:
                raise AssertionError("a client's frame came without its mask")
            if opcode == websocket.CLOSE:
                conn.send(websocket.encode(websocket.CLOSE, payload))
                return False
            conn.send(websocket.encode(websocket.PONG if opcode == websocket.PING else opcode, payload))
