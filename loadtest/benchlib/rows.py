# SPDX-License-Identifier: MIT
"""What the bench measures, as data: metrics, kinds of rows, rows, and the targets that weir is held against.

A new row is one line of ROWS; a new kind of row is one line of KINDS and a function in measure.py of that name.
"""
import collections

# head: as it stands in the table; form: how a number is written; better: "low" or "high"; means: the legend's text
Metric = collections.namedtuple("Metric", "head form better means")

METRICS = {
    "requests_per_s": Metric("requests/s", "%.0f", "high",
                             "answered, with one CPU for the proxy and the other for client, origin and store"),
    "busy": Metric("busy", "%.0f%%", None,
                   "how much of its CPU the proxy used; below 90% the client or the origin was the bound, and CPU us tells "
                   "more than requests/s"),
    "cpu_us": Metric("CPU us", "%.1f", "low", "user and system time of all the proxy's processes a request, from /proc"),
    "instructions": Metric("instructions", "%.0f", "low",
                           "of user space a request: callgrind, the difference of two runs, so that the start falls out; perf "
                           "for programs that valgrind cannot run, n/a where the CPU's counter is not to be had"),
    "calls": Metric("calls", "%.2f", "low", "system calls a request: strace -c on all the proxy's processes under load"),
    "waits": Metric("waits", "%.2f", "low", "those of them that wait for events: the fewer, the more events come at once, so that "
                                            "they rise when the client is slow"),
    "p50_us": Metric("p50 us", "%.0f", "low", "median response time at the client"),
    "p99_us": Metric("p99 us", "%.0f", "low", "99th percentile of it"),
    "wrk_per_s": Metric("wrk req/s", "%.0f", "high", "the same asked by wrk, as a cross-check of our own client"),
    "store_cpu_us": Metric("store CPU us", "%.1f", "low",
                           "CPU of Redis, and of a limit service where the program needs one, a request"),
    "total_cpu_us": Metric("total CPU us", "%.1f", "low", "proxy and store together"),
    "commands": Metric("commands", "%.4f", "low", "commands that Redis ran a request"),
    "batch": Metric("batch", "%.1f", None, "requests for each time that Redis read"),
    "incr_cpu_us": Metric("INCR us", "%.2f", None,
                          "CPU of the same Redis for a bare INCR script, at weir's own rate and in batches of weir's size"),
    "incr_ratio": Metric("x INCR", "%.2f", "low", "what a decision costs Redis, by what a bare INCR script costs it"),
    "script_cpu_us": Metric("script us", "%.2f", None,
                            "CPU of Redis a decision in long pipelines, with nothing else to do (make cost)"),
    "script_ratio": Metric("script x INCR", "%.2f", "low", "that, by what a bare INCR script costs in the same pipelines"),
    "gb_per_s": Metric("GB/s", "%.2f", "high", "body bytes (10^9) a second through the proxy"),
    "cpu_s_per_gb": Metric("CPU s/GB", "%.3f", "low", "CPU of the proxy for 10^9 body bytes"),
    "handshakes_per_s": Metric("handshakes/s", "%.0f", "high", "connections a second, each with a handshake and one request"),
    "handshake_cpu_us": Metric("CPU us", "%.1f", "low", "CPU of the proxy for such a connection"),
    "handshakes_per_cpu_s": Metric("per CPU s", "%.0f", "high",
                                   "such connections that a second of the proxy's CPU pays for: the client, which pays more, "
                                   "is out of this"),
    "resumed": Metric("resumed", "%.0f%%", None, "handshakes that resumed a session"),
    "p50_idle_us": Metric("p50 us, idle open", "%.0f", "low", "the median with the idle connections open"),
    "p99_idle_us": Metric("p99 us, idle open", "%.0f", "low", "the 99th percentile with the idle connections open"),
    "idle_bytes": Metric("idle bytes", "%.0f", "low", "growth of the resident size a kept connection that is idle"),
    "worst": Metric("worst window", "%.0f", "low", "most admissions of a client within one window, of 50 allowed"),
    "false_refusals": Metric("false refusals", "%.0f", "low", "refusals while fewer than the limit had been admitted"),
    "explained": Metric("explained", "%s", None, "whether an exact sliding window explains all that the clients saw"),
}

KINDS = {
    "requests": ["requests_per_s", "busy", "cpu_us", "instructions", "calls", "waits", "p50_us", "p99_us", "wrk_per_s"],
    "store": ["requests_per_s", "busy", "cpu_us", "store_cpu_us", "total_cpu_us", "instructions", "calls", "waits", "commands", "batch",
              "incr_cpu_us", "incr_ratio", "script_cpu_us", "script_ratio"],
    "bodies": ["gb_per_s", "busy", "cpu_s_per_gb"],
    "handshakes": ["handshakes_per_s", "busy", "handshake_cpu_us", "handshakes_per_cpu_s", "instructions", "resumed"],
    "idle": ["p50_us", "p99_us", "p50_idle_us", "p99_idle_us", "idle_bytes"],
    "exactness": ["worst", "false_refusals", "explained"],
}


class Row:
    """kind: one of KINDS; limit: None, memory, redis or refuse; clients: how many addresses are named; load: more
    options for loadtest/load; tls: None, ecdsa or rsa; connections: of the client."""

    def __init__(self, kind, what, limit=None, clients=0, path="/bench", load=(), tls=None, connections=32, wrk=False):
        self.kind, self.what, self.limit, self.clients, self.path = kind, what, limit, clients, path
        self.load, self.tls, self.connections, self.wrk = list(load), tls, connections, wrk

    @property
    def refused(self):
        return self.limit == "refuse"


ROWS = {
    "pass-through": Row("requests", "no limit", wrk=True),
    "memory": Row("requests", "1,000 a minute and client in the proxy's memory, 10,000 clients", limit="memory", clients=10000),
    "redis": Row("store", "1,000 a minute and client in Redis, 10,000 clients", limit="redis", clients=10000),
    "refusals": Row("store", "one client that floods, and is refused", limit="refuse", clients=1),
    "down-64k": Row("bodies", "responses of 64 KiB, 32 at a time", path="/bytes/65536"),
    "down-1m": Row("bodies", "responses of 1 MiB, 8 at a time", path="/bytes/1048576", connections=8),
    "down-100m": Row("bodies", "responses of 100 MiB, 2 at a time", path="/bytes/104857600", connections=2),
    "up-1m": Row("bodies", "uploads of 1 MiB, 8 at a time", path="/upload", load=["-u", "1048576"], connections=8),
    "up-100m": Row("bodies", "uploads of 100 MiB, 2 at a time", path="/upload", load=["-u", "104857600"], connections=2),
    "tls": Row("requests", "requests on kept TLS connections, no limit", tls="ecdsa"),
    "tls-full": Row("handshakes", "whole handshakes, ECDSA P-256", tls="ecdsa", load=["-1"]),
    "tls-full-rsa": Row("handshakes", "whole handshakes, RSA 2048", tls="rsa", load=["-1"]),
    "tls-resumed": Row("handshakes", "resumed handshakes, ECDSA P-256", tls="ecdsa", load=["-1", "-R"]),
    "idle": Row("idle", "2,000 requests/s on 32 connections, alone and with 10,000 idle connections open"),
    "exactness": Row("exactness", "five kinds of traffic against a limit of 50 in 2 s (loadtest/exactness)", limit="redis"),
}

# One thing that weir is to reach: at most (or at least) `bound`, times what `peer` has where a peer is named.
# peer_metric: what is taken of the peer, where it is another metric.
Target = collections.namedtuple("Target", "row metric op bound peer")


BUSY = 0.7    # a load before the start above which times are not to be trusted
CLIENT_BOUND = 90    # percent of its CPU that the proxy used: below it 32 connections that always ask did not ask enough


def at_most(row, metric, bound, peer=None):
    return Target(row, metric, "<=", bound, peer)


def at_least(row, metric, bound, peer=None):
    return Target(row, metric, ">=", bound, peer)


TARGETS = [
    at_most("pass-through", "instructions", 7000), at_most("pass-through", "calls", 4.2),
    at_most("memory", "instructions", 8000),
    at_most("redis", "instructions", 11000), at_most("redis", "calls", 4.6), at_most("redis", "incr_ratio", 2.8),
    at_most("redis", "script_ratio", 2.8),
    at_most("redis", "total_cpu_us", 0.5, "nginx-lua"),
    at_most("refusals", "instructions", 3500), at_most("refusals", "calls", 2.2), at_most("refusals", "commands", 0.001),
    at_least("refusals", "requests_per_s", 1, "nginx"),
    at_most("idle", "idle_bytes", 1024),
] + [t for row in ("down-64k", "down-1m", "down-100m", "up-1m", "up-100m")
     for t in (at_least(row, "gb_per_s", 1, "nginx"), at_most(row, "cpu_s_per_gb", 1, "nginx"))] + [
    at_least("tls", "requests_per_s", 1, "haproxy"), at_most("tls", "cpu_us", 1, "haproxy"),
] + [at_least(row, metric, 1, "haproxy") for row in ("tls-full", "tls-full-rsa", "tls-resumed")
     for metric in ("handshakes_per_s", "handshakes_per_cpu_s")] + [
    at_most("exactness", "worst", 50), at_most("exactness", "false_refusals", 0),
]


def bound_of(target, results):
    """What the target comes to in this run, or None where the peer was not measured."""
    if not target.peer:
        return target.bound
    peer = results.get(target.row, {}).get(target.peer, {}).get(target.metric)
    return None if peer is None else target.bound * peer


def verdict(target, results):
    """met, not met, not measured; or, for a rate that weir did not reach while it had CPU left, whose fault that was."""
    mine, bound = results.get(target.row, {}).get("weir", {}), bound_of(target, results)
    value = mine.get(target.metric)
    if value is None or bound is None:
        return "not measured"
    if value <= bound if target.op == "<=" else value >= bound:
        return "met"
    if target.metric in ("requests_per_s", "handshakes_per_s") and mine["busy"] < CLIENT_BOUND:
        return "the client was the bound"
    return "not met"


def target_text(target):
    form = METRICS[target.metric].form
    bound = form % target.bound if not target.peer else ("%s's" % target.peer if target.bound == 1 else
                                                         "%g x %s's" % (target.bound, target.peer))
    return "%s %s %s" % (METRICS[target.metric].head, "at most" if target.op == "<=" else "at least", bound)
