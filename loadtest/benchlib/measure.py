# SPDX-License-Identifier: MIT
"""How the bench measures: what it sets up, and for each kind of row a function that fills in what is timed, and one that
fills in what is counted, which holds still.

The proxy, and a limit service that it needs, have the first CPU; the client, the origin and Redis share the others.
What a program cannot do raises Skip: the bench says so and goes on.
"""
import collections
import contextlib
import glob
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time

from weirlib import RedisServer, free_port, run_dir, wait_for
from weirlib.util import Proc, group_members, remove_dir, rss_kb

from .programs import ROOT

IDLE = 10000
IDLE_RATE = 2000    # requests a second beside the idle connections
FEW, MANY = 400, 2400    # requests of the two runs under callgrind; of handshakes a twentieth
KNOWN = 100    # addresses in them: each is known when the counting starts to differ


class Skip(Exception):
    pass


def say(text):
    print("  " + text, file=sys.stderr, flush=True)


class Running:
    """A program that serves a row, with what it needs beside it."""

    def __init__(self, proc, port, helpers, row):
        self.proc, self.port, self.helpers, self.row = proc, port, helpers, row

    @property
    def pid(self):
        return self.proc.pid


class Bench:
    def __init__(self, args):
        self.args = args
        self.dir = run_dir("bench")
        self.origin_port = free_port()
        self.cpus = sorted(os.sched_getaffinity(0))
        self.procs, self.certificates = [], {}
        self.files = raise_files()
        self.redis = None
        self.run([self.tool("origin"), "-p", str(self.origin_port)], "origin", proxy=False)
        wait_for(lambda: answers(self.origin_port), 10, "the origin answers")

    def tool(self, name):
        """One of the programs of loadtest/, built beside the origin."""
        return os.path.join(os.path.dirname(os.path.abspath(self.args.origin)), name)

    def salt(self):
        return random.randrange(1 << 30)

    @contextlib.contextmanager
    def on(self, proxy):
        """What is started in here runs on the proxy's CPU, or on the others."""
        if len(self.cpus) > 1:
            os.sched_setaffinity(0, self.cpus[:1] if proxy else self.cpus[1:])
        try:
            yield
        finally:
            os.sched_setaffinity(0, self.cpus)

    def run(self, argv, name, proxy=True, env=None):
        with self.on(proxy):
            self.procs.append(Proc(argv, self.dir, name, env))
        return self.procs[-1]

    def start_redis(self):
        if self.redis is None:
            if not shutil.which("redis-server"):
                raise Skip("redis-server is not here")
            with self.on(False):
                self.redis = RedisServer()
        self.redis.cli("FLUSHALL")

    def end(self, proc, timeout=8):
        self.procs.remove(proc)
        trouble = proc.stop(timeout)
        if trouble:
            say(trouble)

    def close(self):
        for proc in list(reversed(self.procs)):
            self.end(proc)
        if self.redis:
            self.redis.close()
        remove_dir(self.dir)

    def write(self, name, text):
        path = os.path.join(self.dir, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write(text)
        return path

    def certificate(self, kind):
        """(certificate, key), self-signed, made once."""
        if kind not in self.certificates:
            paths = tuple(os.path.join(self.dir, "%s.%s" % (kind, end)) for end in ("crt", "key"))
            new = ["-newkey", "rsa:2048"] if kind == "rsa" else ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
            subprocess.run(["openssl", "req", "-x509", *new, "-nodes", "-days", "2", "-subj", "/CN=bench.example", "-addext",
                            "subjectAltName=DNS:bench.example", "-out", paths[0], "-keyout", paths[1]],
                           check=True, capture_output=True)
            for path in paths:
                os.chmod(path, 0o644)
            self.certificates[kind] = paths
        return self.certificates[kind]

    def start(self, program, row, prefix=(), alone=False, timeout=15):
        if row.limit in ("redis", "refuse"):
            self.start_redis()
        port, helpers = free_port(), []
        for name, argv, env, helper_port in program.helpers(self, row):
            helpers.append(self.run(argv, name, env=env))
            self.await_up(helpers[-1], lambda p=helper_port: listens(p), timeout)
        argv = program.command(self, row, port, alone)
        if program.name == "weir":
            self.check_config(argv)
        running = Running(self.run(list(prefix) + argv, program.name), port, helpers, row)
        self.await_up(running.proc, lambda: answers(port, row.tls), timeout)
        return running

    def check_config(self, argv):
        check = subprocess.run([argv[0], "-t", *argv[1:]], capture_output=True, text=True, timeout=20)
        if check.returncode != 0:
            raise Skip("this weir does not take the row's config: " + (check.stderr + check.stdout).strip().split("\n")[0])

    def await_up(self, proc, condition, timeout):
        def up():
            if not proc.running():
                raise Skip("%s ended at once: %s" % (proc.name, (proc.stderr() + proc.stdout())[-800:]))
            return condition()
        try:
            wait_for(up, timeout)
        except AssertionError:
            raise Skip("%s did not answer within %d s: %s" % (proc.name, timeout, proc.stderr()[-800:])) from None

    def stop(self, running, timeout=8):
        for proc in [running.proc] + running.helpers:
            self.end(proc, timeout)

    @contextlib.contextmanager
    def serving(self, program, row):
        running = self.start(program, row)
        try:
            yield running
        finally:
            self.stop(running)

    # The client

    def load_command(self, running, *options, clients=None):
        row = running.row
        clients = row.clients if clients is None else clients
        return [self.tool("load"), *map(str, options), "-p", row.path, "-a", str(clients), *row.load,
                *(["-s"] if row.tls else []), str(running.port)]

    def load(self, running, *options, clients=None, timeout=120):
        """What loadtest/load counted. A run in which the wrong thing was answered measures nothing."""
        with self.on(False):
            done = subprocess.run(self.load_command(running, "-c", running.row.connections, *options, clients=clients),
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
        return self.checked(running, done.returncode, done.stdout, done.stderr)

    def checked(self, running, code, out, err):
        got = json.loads(out.splitlines()[-1]) if code == 0 else {}
        good = got.get("statuses", {}).get("429" if running.row.refused else "200", 0)
        if code or got["errors"] or good < sum(got["statuses"].values()) * (0.9 if running.row.refused else 1):
            raise Skip("not what was to be measured: %s" % (err.strip() or got))
        return got

    def warm(self, running):
        """Connections pooled, clients known."""
        if running.row.kind in ("requests", "store", "idle"):
            self.load(running, "-d", 1)
        else:
            self.load(running, "-n", 2 * running.row.connections)


def raise_files():
    """As many descriptors as may be had, up to what 20,000 connections through a proxy take; they are inherited."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (50000, hard):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
            return wanted
    return soft


def listens(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def answers(port, tls=None):
    """Whether the benchmark's path is served there; the probe names no client."""
    context = ssl._create_unverified_context() if tls else None
    try:
        with socket.create_connection(("127.0.0.1", port), 2) as s:
            c = context.wrap_socket(s) if tls else s
            c.sendall(b"GET /bench HTTP/1.1\r\nHost: bench.example\r\n\r\n")
            return c.recv(4096)[9:12] in (b"200", b"429")
    except OSError:
        return False


def cpu_us(*pgids):
    """CPU of all threads of all processes of these groups, to the nanosecond."""
    total = 0
    for pgid in pgids:
        for pid in group_members(pgid):
            for path in glob.glob("/proc/%d/task/*/schedstat" % pid):
                with contextlib.suppress(OSError), open(path) as f:
                    total += int(f.read().split()[0])
    return total / 1000


def memory_kb(pgid):
    return sum(rss_kb(pid) for pid in group_members(pgid))


# Kinds of rows: requests, with and without a store

def requests(bench, program, row, result):
    with bench.serving(program, row) as running:
        bench.warm(running)
        before = cpu_us(running.pid)
        got = bench.load(running, "-d", bench.args.seconds)
        note_speed(result, got, cpu_us(running.pid) - before)
    if row.wrk and shutil.which("wrk") and not bench.args.quick:
        wrk(bench, program, row, result)


def counts(bench, program, row, result):
    """What a request takes, whatever else the machine does."""
    if not bench.args.no_calls:
        calls(bench, program, row, result)
    if not bench.args.no_instructions:
        instructions(bench, program, row, result)


def note_speed(result, got, cpu):
    result["requests_per_s"] = got["requests"] / got["seconds"]
    result["cpu_us"] = cpu / got["requests"]
    result["busy"] = cpu / got["seconds"] / 1e4
    result["p50_us"], result["p99_us"] = got["latency_us"]["p50"], got["latency_us"]["p99"]


def store(bench, program, row, result):
    with bench.serving(program, row) as running:
        bench.warm(running)
        beside = [bench.redis.proc.pid] + [h.pid for h in running.helpers]
        proxy, others = cpu_us(running.pid), cpu_us(*beside)
        commands, reads = asked(bench, program), bench.redis.info("stats")["total_reads_processed"]
        got = bench.load(running, "-d", bench.args.seconds)
        proxy, others = cpu_us(running.pid) - proxy, cpu_us(*beside) - others
        commands = asked(bench, program) - commands
        reads = int(bench.redis.info("stats")["total_reads_processed"]) - int(reads)
    note_speed(result, got, proxy)
    if program.name == "weir" or not row.refused:
        result["commands"] = commands / got["requests"]
        result["store_cpu_us"] = others / got["requests"]
        result["total_cpu_us"] = result["cpu_us"] + result["store_cpu_us"]
    if not row.refused:
        result["batch"] = got["requests"] / max(reads, 1)
        if program.name == "weir":
            result["incr_cpu_us"] = incr_cost(bench, got["requests"] / got["seconds"], result["batch"])
            result["incr_ratio"] = result["store_cpu_us"] / result["incr_cpu_us"]


def store_counts(bench, program, row, result):
    counts(bench, program, row, result)
    if program.name == "weir" and not row.refused:
        script_cost(bench, result)


def asked(bench, program):
    return bench.redis.calls(*program.commands)


INCR = ("local n = redis.call('INCR', KEYS[1]) if n == 1 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end return n")


def incr_cost(bench, rate, batch):
    """CPU us of Redis a bare INCR script, asked at this rate and in batches of this size on average."""
    seconds = min(bench.args.seconds, 3)
    sha = bench.redis.cli("SCRIPT", "LOAD", INCR)
    keys = ["incr:{198.18.%d.%d}:default" % divmod(i, 256) for i in range(10000)]
    form = "*4\r\n$7\r\nEVALSHA\r\n$40\r\n%s\r\n$1\r\n1\r\n$%d\r\n%s\r\n$2\r\n60\r\n"
    words = [(form % (sha, len(k), k)).encode() for k in keys]
    with bench.on(False), socket.create_connection(("127.0.0.1", bench.redis.port)) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ask(s, words)    # every client is known
        twice, sent, due = words + words, 0, 0.0
        before, start = cpu_us(bench.redis.proc.pid), time.monotonic()
        while sent < rate * seconds:
            wait = start + sent / rate - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            due += max(batch, 1)
            n, at = int(due) - sent, sent % len(words)
            ask(s, twice[at:at + n])
            sent += n
        return (cpu_us(bench.redis.proc.pid) - before) / sent


def script_cost(bench, result):
    """The same ratio with Redis doing nothing else: long pipelines, turn by turn (loadtest/script_cost.c)."""
    if bench.args.quick or not os.access(bench.tool("script_cost"), os.X_OK):
        return
    with bench.on(False):
        out = subprocess.run([bench.tool("script_cost"), "200000"], capture_output=True, text=True, timeout=120).stdout
    found = re.search(r"^granted +([\d.]+) us .* x([\d.]+)", out, re.M)
    if found:
        result["script_cpu_us"], result["script_ratio"] = float(found[1]), float(found[2])


def ask(s, words):
    s.sendall(b"".join(words))
    left = len(words)
    while left > 0:
        left -= s.recv(1 << 20).count(b"\n")


def calls(bench, program, row, result):
    with bench.serving(program, row) as running:
        bench.warm(running)
        out = os.path.join(bench.dir, "strace.out")
        argv = ["strace", "-c", "-f", "-o", out] + [a for pid in group_members(running.pid) for a in ("-p", str(pid))]
        strace = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        wait_for(lambda: strace.poll() is not None or traced(running.pid, strace.pid), 10, "strace is attached")
        if strace.poll() is None:
            got = bench.load(running, "-d", max(1, bench.args.seconds // 2))
            strace.send_signal(signal.SIGINT)
            strace.wait(20)
            with open(out) as f:
                counted = {name: int(n) for n, name in re.findall(r"^ *[\d.]+ +\S+ +\S+ +(\d+) .*?(\w+)$", f.read(), re.M)}
            result["calls"] = counted["total"] / got["requests"]
            result["waits"] = sum(counted.get(name, 0) for name in WAITS) / got["requests"]
        else:
            say("strace cannot attach: %s" % strace.stderr.read().decode().strip())
        strace.stderr.close()


WAITS = ("epoll_wait", "epoll_pwait", "epoll_pwait2")


def traced(pgid, tracer):
    for pid in group_members(pgid):
        with open("/proc/%d/status" % pid) as f:
            if "TracerPid:\t%d\n" % tracer not in f.read():
                return False
    return True


def instructions(bench, program, row, result):
    if not program.callgrind:
        result["instructions"] = perf_instructions(bench, program, row)
        return
    few, many = (n // 20 if row.kind == "handshakes" else n for n in (FEW, MANY))
    counts = [callgrind(bench, program, row, n) for n in (few, many)]
    if None not in counts:
        result["instructions"] = (counts[1] - counts[0]) / (many - few)


def perf_instructions(bench, program, row):
    """Of all threads under load, by the CPU's own counter; None where perf or the counter is not to be had."""
    if not shutil.which("perf"):
        return None
    with bench.serving(program, row) as running:
        bench.warm(running)
        perf = subprocess.Popen(["perf", "stat", "-x", ",", "-e", "instructions:u", "-p",
                                 ",".join(map(str, group_members(running.pid)))], stderr=subprocess.PIPE, text=True)
        got = bench.load(running, "-d", max(1, bench.args.seconds // 2))
        perf.send_signal(signal.SIGINT)
        count = perf.communicate(timeout=20)[1].split(",")[0].strip()
    return int(count) / got["requests"] if count.isdigit() else None


def callgrind(bench, program, row, n):
    """All instructions of the process that executed most: the worker, whose work grows with n."""
    pattern = os.path.join(bench.dir, "callgrind.%s.%d" % (program.name, n))
    running = bench.start(program, row, ["valgrind", "--tool=callgrind", "--trace-children=yes", "--log-file=/dev/null",
                                         "--callgrind-out-file=%s.%%p" % pattern], alone=True, timeout=90)
    bench.load(running, "-c", 8, "-n", n, "-d", 300, clients=min(row.clients, KNOWN), timeout=310)
    bench.stop(running, 60)
    totals = []
    for path in glob.glob(pattern + ".*"):
        with open(path, errors="replace") as f:
            found = re.search(r"^(?:summary|totals): (\d+)", f.read(), re.M)
        totals.append(int(found[1]) if found else 0)
        os.unlink(path)
    if not totals:
        say("callgrind left no file for %s" % program.name)
    return max(totals, default=None)


def wrk(bench, program, row, result):
    with bench.serving(program, row) as running:
        with bench.on(False):
            out = subprocess.run(["wrk", "-t1", "-c%d" % row.connections, "-d%ds" % max(1, bench.args.seconds // 2),
                                  "http://127.0.0.1:%d%s" % (running.port, row.path)], capture_output=True, text=True).stdout
        found = re.search(r"Requests/sec: +([\d.]+)", out)
        if found and "Non-2xx" not in out:
            result["wrk_per_s"] = float(found[1])


# Bodies, handshakes, idle connections, exactness

def bodies(bench, program, row, result):
    with bench.serving(program, row) as running:
        bench.warm(running)
        before = cpu_us(running.pid)
        got = bench.load(running, "-d", max(1, bench.args.seconds * 3 // 5))
        cpu, gb = cpu_us(running.pid) - before, (got["received"] + got["uploaded"]) / 1e9
    result["gb_per_s"] = gb / got["seconds"]
    result["cpu_s_per_gb"] = cpu / 1e6 / gb
    result["busy"] = cpu / got["seconds"] / 1e4


def handshakes(bench, program, row, result):
    with bench.serving(program, row) as running:
        bench.warm(running)
        before = cpu_us(running.pid)
        got = bench.load(running, "-d", max(1, bench.args.seconds * 3 // 5))
        cpu = cpu_us(running.pid) - before
    result["handshakes_per_s"] = got["requests"] / got["seconds"]
    result["handshake_cpu_us"] = cpu / got["requests"]
    result["handshakes_per_cpu_s"] = got["requests"] / cpu * 1e6
    result["busy"] = cpu / got["seconds"] / 1e4
    result["resumed"] = 100.0 * got["resumed"] / max(1, got["handshakes"])


def handshake_counts(bench, program, row, result):
    if not bench.args.no_instructions:
        instructions(bench, program, row, result)


def idle(bench, program, row, result):
    n = min(IDLE, (bench.files - 500) // 2)
    with bench.serving(program, row) as running:
        bench.load(running, "-i", 200, "-n", 100)    # what the first connections bring along is not theirs
        got = bench.load(running, "-r", IDLE_RATE, "-d", bench.args.seconds)
        result["p50_us"], result["p99_us"] = got["latency_us"]["p50"], got["latency_us"]["p99"]
        before = memory_kb(running.pid)
        with bench.on(False):
            client = subprocess.Popen(bench.load_command(running, "-c", row.connections, "-i", n, "-r", IDLE_RATE,
                                                         "-d", bench.args.seconds),
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        opened = client.stdout.readline()
        result["idle_bytes"] = (memory_kb(running.pid) - before) * 1024 / n
        out, err = client.communicate("\n", timeout=bench.args.seconds + 60)
        got = bench.checked(running, client.returncode, opened + out, err)
        if got["idle_lost"]:
            raise Skip("%d of %d idle connections were closed" % (got["idle_lost"], n))
        result["p50_idle_us"], result["p99_idle_us"] = got["latency_us"]["p50"], got["latency_us"]["p99"]


def exactness(bench, program, row, result):
    done = subprocess.run([os.path.join(ROOT, "loadtest", "exactness"), "--programs", program.name, "--json"],
                          capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise Skip(done.stderr.strip()[-300:])
    rows = json.loads(done.stdout)
    result["worst"] = max(r["worst"] for r in rows)
    result["false_refusals"] = sum(r["false_refusals"] for r in rows)
    result["explained"] = "yes" if all(r["verdict"] == "explained" for r in rows) else "no"


def nothing(bench, program, row, result):
    pass


# A kind's two functions: what is timed, in rounds, and what is counted once
Kind = collections.namedtuple("Kind", "timed counted")

KINDS = {
    "requests": Kind(requests, counts),
    "store": Kind(store, store_counts),
    "bodies": Kind(bodies, nothing),
    "handshakes": Kind(handshakes, handshake_counts),
    "idle": Kind(idle, nothing),
    "exactness": Kind(nothing, exactness),
}
