# SPDX-License-Identifier: MIT
"""A program of its own: weir in a network namespace that has few ports for connections to leave from.

Exit status 77: no namespace can be made here.
"""
import ctypes
import fcntl
import os
import socket
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from weirlib import Origin, Weir, base_config, wait_for    # noqa: E402
from weirlib.client import RawClient, build    # noqa: E402

CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
PORTS = 40


def ports_between(first, last):
    with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as f:
        f.write("%d %d" % (first, last))


def enter():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        sys.exit(77)
    try:
        ports_between(32768, 60999)
    except OSError:
        sys.exit(77)
    with socket.socket() as s:
        fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))


def main():
    enter()
    origin = Origin()
    # Clients come over a unix socket and take no port. Nothing is pooled, as a pool would hide the shortage.
    weir = Weir(base_config([origin], upstreams={"main": {"servers": [origin.address], "timeouts": {"keepalive": "0s"}}}),
                ready=False)
    sock = os.path.join(weir.dir, "weir.sock")
    weir.term()
    weir.write_config(dict(weir.config, listen=[{"address": "127.0.0.1:%d" % weir.port}, {"address": "unix:" + sock}]))
    weir.start()
    ports_between(60000, 60000 + PORTS - 1)
    held = [RawClient(0, sock, timeout=30) for _ in range(PORTS * 3)]
    for c in held:
        c.send(build("GET", "/slow/1500"))
    statuses = [c.read_response().status for c in held]
    assert set(statuses) == {200, 503} and statuses.count(200) <= PORTS, statuses
    assert weir.metric("weir_upstream_failures_total") == 0
    assert weir.metric("weir_upstream_ejections_total") == 0
    for c in held:
        c.close()
    ports_between(32768, 60999)
    wait_for(lambda: RawClient(0, sock).request().status == 200, 10)
    trouble = weir.close()
    origin.close()
    assert not trouble, trouble


main()
