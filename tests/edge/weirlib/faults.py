# SPDX-License-Identifier: MIT
"""A network between weir and its Redis that does what networks do: cut, slow, silent, and worse."""
import selectors
import socket
import struct
import threading
import time

from .util import free_port

RESET = struct.pack("ii", 1, 0)


class FaultProxy:
    """
    Relays TCP from a port of its own to `target`, as its mode says:

    pass      as it comes
    slow      each piece `delay` seconds later, in either direction
    cut       connections are reset, new ones too
    hole      connections stand and new ones are taken, and nothing comes through
    garbage   what the server says is replaced by other bytes

    A change of mode or target holds for connections that stand; `target` only for new ones.
    """

    def __init__(self, target):
        self.port, self.target, self.mode, self.delay, self.closed = free_port(), target, "pass", 0.0, False
        self.pairs, self.lock = [], threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", self.port), backlog=256)
        self.listener.settimeout(0.05)
        self.threads = [threading.Thread(target=self._accept, daemon=True), threading.Thread(target=self._relay, daemon=True)]
        for t in self.threads:
            t.start()

    @property
    def url(self):
        return "redis://127.0.0.1:%d/0" % self.port

    def set(self, mode, delay=0.0):
        self.delay, self.mode = delay, mode
        if mode == "cut":
            self.cut()

    def repoint(self, target):
        """The name now means another server: who is connected stays where he is until that ends."""
        self.target = target

    def cut(self):
        with self.lock:
            pairs, self.pairs = self.pairs, []
        for pair in pairs:
            pair.reset()

    def close(self):
        self.closed = True
        for t in self.threads:
            t.join()
        self.cut()
        self.listener.close()

    def _accept(self):
        while not self.closed:
            try:
                client, _ = self.listener.accept()
            except TimeoutError:
                continue
            if self.mode == "cut":
                _reset(client)
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self.target), 1) if self.mode != "hole" else None
            except OSError:
                _reset(client)
                continue
            with self.lock:
                self.pairs.append(_Pair(client, server))

    def _relay(self):
        while not self.closed:
            with self.lock:
                pairs = list(self.pairs)
            moved = False
            for pair in pairs:
                moved |= pair.move(self)
                if pair.over:
                    with self.lock:
                        if pair in self.pairs:
                            self.pairs.remove(pair)
                    pair.reset()
            if not moved:
                _wait([s for p in pairs for s in p.sockets()] if self.mode != "hole" else [], 0.001 if self.delay else 0.02)


def _wait(socks, timeout):
    with selectors.DefaultSelector() as selector:
        for s in socks:
            try:
                selector.register(s, selectors.EVENT_READ)
            except (ValueError, KeyError):
                return
        if selector.get_map():
            selector.select(timeout)
        else:
            time.sleep(timeout)


def _reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()


class _Pair:
    def __init__(self, client, server):
        self.client, self.server, self.over = client, server, False
        self.queue = []    # (due, to, bytes), in order
        for s in self.sockets():
            s.setblocking(False)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def sockets(self):
        return [s for s in (self.client, self.server) if s is not None]

    def reset(self):
        for s in self.sockets():
            try:
                _reset(s)
            except OSError:
                pass

    def move(self, proxy):
        """Whether anything moved."""
        if proxy.mode == "hole" or self.server is None:
            self.over = self.server is None and proxy.mode != "hole"
            return False
        moved = False
        for source, to in ((self.client, self.server), (self.server, self.client)):
            data = self._read(source)
            if data:
                moved = True
                if proxy.mode == "garbage" and source is self.server:
                    data = b"\x00HTTP/1.1 200 OK\r\n\r\n" + data[::-1]
                self.queue.append((time.monotonic() + (proxy.delay if proxy.mode == "slow" else 0.0), to, data))
        while self.queue and self.queue[0][0] <= time.monotonic():
            _, to, data = self.queue[0]
            try:
                sent = to.send(data)
            except BlockingIOError:
                break
            except OSError:
                self.over = True
                break
            moved = True
            self.queue[0] = (0.0, to, data[sent:])
            if sent == len(data):
                self.queue.pop(0)
        return moved

    def _read(self, sock):
        try:
            data = sock.recv(1 << 16)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            self.over = not self.queue
        return data
