# SPDX-License-Identifier: MIT
"""What the benchmark is made of: the floor, its own client, and the bench itself on a tiny run."""
import http.server
import importlib.machinery
import importlib.util
import json
import os
import shutil
import ssl
import subprocess
import sys
import threading
import types

import pytest

from weirlib import ROOT, Origin, Proc, free_port, run_dir, wait_for, weir_bin
from weirlib.client import http as fetch
from weirlib.util import remove_dir

sys.path.append(os.path.join(ROOT, "loadtest"))

from benchlib import measure, report    # noqa: E402
from benchlib.rows import KINDS, METRICS, ROWS, TARGETS    # noqa: E402

BUILT = os.path.dirname(os.environ.get("WEIR_ORIGIN", os.path.join(ROOT, "build", "loadtest", "origin")))
ORIGIN, FLOOR, LOAD = (os.path.join(BUILT, name) for name in ("origin", "floor", "load"))

pytestmark = pytest.mark.skipif(not all(os.access(p, os.X_OK) for p in (ORIGIN, FLOOR, LOAD)), reason="not built")


def answers(port):
    try:
        return fetch(port, "/bench").status == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def floor():
    """The floor's port; behind it the origin of the load tests."""
    directory, origin, port = run_dir("floor"), free_port(), free_port()
    procs = [Proc([ORIGIN, "-p", origin], directory, "origin"), Proc([FLOOR, "-p", port, origin], directory, "floor")]
    wait_for(lambda: answers(port), 15)
    yield port
    trouble = [t for t in (proc.stop() for proc in reversed(procs)) if t]
    said = "".join(proc.stderr() for proc in procs)
    remove_dir(directory)
    assert not trouble and not said and [p.popen.returncode for p in procs] == [0, 0]


def load(port, *arguments, code=0):
    done = subprocess.run([LOAD, *map(str, arguments), str(port)], capture_output=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL)
    assert done.returncode == code, done.stderr + done.stdout
    return [json.loads(line) for line in done.stdout.splitlines()] if code == 0 else done.stderr


def test_floor_relays_what_it_does_not_understand(floor):
    body = os.urandom(3_000_000)
    assert fetch(floor, "/upload", "POST", body=body).text() == "all of it came\n"
    assert fetch(floor, "/bytes/3000000").body == b"x" * 3_000_000


def test_load_counts_what_it_did(floor):
    (got,) = load(floor, "-n", 500, "-c", 7, "-a", 10)
    assert got["requests"] == 500 and got["statuses"] == {"200": 500} and got["errors"] == 0
    assert got["received"] == 130 * 500
    times = got["latency_us"]
    assert 0 < times["p50"] <= times["p90"] <= times["p99"] <= times["p999"] <= times["max"] < 60e6


def test_load_names_its_clients_by_turns(closing):
    origin = closing.add(Origin())
    load(origin.port, "-n", 6, "-c", 1, "-a", 3, "-H", "X-Other: 1")
    seen = [r.get("X-Forwarded-For") for r in origin.requests]
    assert len(seen) == 6 and seen[:3] == seen[3:] and sorted(seen[:3]) == ["198.18.0.%d" % i for i in range(3)]


def test_load_moves_large_bodies_both_ways(floor):
    (down,) = load(floor, "-n", 20, "-c", 3, "-p", "/bytes/1000000")
    assert down["received"] >= 20_000_000 and down["errors"] == 0
    (up,) = load(floor, "-n", 20, "-c", 3, "-p", "/upload", "-u", 1500000)
    assert up["uploaded"] >= 30_000_000 and up["statuses"] == {"200": 20}


def test_load_keeps_to_a_rate(floor):
    (got,) = load(floor, "-n", 100, "-r", 200)
    assert got["requests"] == 100 and got["seconds"] > 0.45


def test_load_opens_idle_connections_and_connections_for_each_request(floor):
    opened, got = load(floor, "-i", 200, "-n", 100)
    assert opened == {"idle": 200} and got["requests"] == 100 and got["idle_lost"] == 0
    (got,) = load(floor, "-1", "-n", 100)
    assert got["requests"] == 100 and got["errors"] == 0


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *args):
        pass


class TlsServer(http.server.ThreadingHTTPServer):
    """Each connection shakes hands in its own thread."""
    daemon_threads = True

    def __init__(self, context):
        super().__init__(("127.0.0.1", 0), Answer)
        self.context = context

    def finish_request(self, request, client_address):
        with self.context.wrap_socket(request, server_side=True) as s:
            super().finish_request(s, client_address)

    def handle_error(self, request, client_address):
        pass    # a client that was done


@pytest.fixture(scope="module")
def tls_port():
    directory, context = run_dir("tls"), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    cert, key = os.path.join(directory, "c"), os.path.join(directory, "k")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                    "/CN=x", "-out", cert, "-keyout", key], check=True, capture_output=True)
    context.load_cert_chain(cert, key)
    with TlsServer(context) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()
    remove_dir(directory)


def test_load_speaks_tls_with_whole_and_resumed_handshakes(tls_port):
    (kept,) = load(tls_port, "-s", "-n", 50, "-c", 2)
    assert kept["statuses"] == {"200": 50} and kept["handshakes"] == 2 and kept["received"] == 100
    (whole,) = load(tls_port, "-s", "-1", "-n", 20, "-c", 2)
    assert whole["requests"] == 20 and whole["handshakes"] >= 20 and whole["resumed"] == 0 and whole["errors"] == 0
    (resumed,) = load(tls_port, "-s", "-1", "-R", "-n", 20, "-c", 2)
    assert resumed["requests"] == 20 and resumed["resumed"] >= 16 and resumed["errors"] == 0


def test_load_says_what_it_cannot_do(floor):
    assert "usage" in load(floor, "-R", code=2) and "usage" in load(floor, "-s", "-u", 5, code=2)
    assert "expected a number" in load(0, code=2)
    assert "failed" in load(free_port(), "-d", 1, code=1)


# The bench

def bench_program():
    loader = importlib.machinery.SourceFileLoader("bench", os.path.join(ROOT, "loadtest", "bench"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("bench", loader))
    loader.exec_module(module)
    return module


def test_programs_run_by_turns_and_the_median_counts(monkeypatch):
    bench, ran, results, skipped = bench_program(), [], {}, []
    times = {"a": [5, 1, 3], "b": [], "c": [2, 9, 4]}

    def timed(_, program, row, result):
        ran.append(program.name)
        if not times[program.name]:
            raise measure.Skip("it cannot")
        result["cpu_us"] = times[program.name].pop(0)

    def counted(_, program, row, result):
        ran.append("count " + program.name)
        result["calls"] = 4.1
    monkeypatch.setitem(measure.KINDS, ROWS["redis"].kind, measure.Kind(timed, counted))
    programs = [types.SimpleNamespace(name=name) for name in "abc"]
    bench.run_row(types.SimpleNamespace(args=types.SimpleNamespace(rounds=3), dir="/x"), "redis", programs, results, skipped)
    assert ran == ["a", "b", "c", "c", "a", "a", "c", "count a", "count c"]
    assert results == {"a": {"cpu_us": 3, "calls": 4.1}, "c": {"cpu_us": 4, "calls": 4.1}}
    assert skipped == ["b in row redis: it cannot"]


def test_every_row_target_and_column_is_known():
    assert all(row.kind in KINDS for row in ROWS.values()) and set(KINDS) == set(measure.KINDS)
    assert all(key in METRICS for keys in KINDS.values() for key in keys)
    assert all(t.row in ROWS and t.metric in KINDS[ROWS[t.row].kind] for t in TARGETS)


def test_tables_say_what_is_met_and_what_is_not():
    results = {"pass-through": {"floor": {"instructions": 84.0, "calls": 4.1}, "weir": {"instructions": 6000.0, "calls": 4.5},
                                "envoy": {"instructions": None, "calls": 9.0}},
               "redis": {"weir": {"total_cpu_us": 20.0}, "nginx-lua": {"total_cpu_us": 50.0}}}
    meta = {"machine": report.machine(), "seconds": 1, "rounds": 1, "versions": {"weir": "0"}}
    text = report.markdown(meta, results, ["haproxy is not here"])
    lines = [line for line in text.splitlines() if line.startswith("|")]

    def has(*cells):
        return any(all(c in line for c in cells) for line in lines)
    assert has("instructions at most 7000", "| 6000 |", "met") and has("calls at most 4.20", "| 4.50 |", "**not met**")
    assert has("total CPU us at most 0.5 x nginx-lua's", "| 20.0 | 25.0 | met |")
    assert has("| floor | 84 (x0.01)") and has("| envoy | n/a | 9.00 (x2.00)") and "- haproxy is not here" in text


@pytest.mark.parametrize("program, option, value, said", [
    ("bench", "--rounds", "0", "expected at least 1"), ("bench", "--seconds", "0", "expected at least 1"),
    ("bench", "--rows", "", "expected some of"), ("bench", "--programs", "", "expected some of"),
    ("bench", "--out", "/proc/none", "bench: --out: "), ("bench", "--plot", "/proc/none", "bench: --plot /proc/none: "),
    ("bench", "--plot", "/dev/null", "bench: --plot /dev/null: "),
    ("exactness", "--seconds", "0", "expected 1 at least"), ("exactness", "--weirs", "0", "expected 1 at least")])
def test_options_that_cannot_be_are_refused_before_anything_runs(program, option, value, said):
    done = subprocess.run([os.path.join(ROOT, "loadtest", program), option, value], capture_output=True, text=True, timeout=20,
                          stdin=subprocess.DEVNULL)
    assert done.returncode in (1, 2) and said in done.stderr and "Traceback" not in done.stderr, done.stderr


@pytest.mark.skipif(not shutil.which("redis-server"), reason="redis-server is missing")
def test_benchmark_in_its_shortest_form():
    """The speed of a sanitizer's build means nothing; that the rows come out does."""
    directory = run_dir("bench")
    try:
        run = subprocess.run([os.path.join(ROOT, "loadtest", "bench"), "--quick", "--seconds", "1", "--programs", "floor,weir",
                              "--rows", "redis,refusals,down-1m", "--no-calls", "--weir", weir_bin(), "--origin", ORIGIN,
                              "--out", directory], capture_output=True, text=True, timeout=90)
        assert run.returncode == 0, run.stdout + run.stderr
        with open(os.path.join(directory, "bench.json")) as f:
            rows = json.load(f)["rows"]
        assert rows["redis"]["weir"]["requests_per_s"] > 100 and rows["redis"]["weir"]["incr_ratio"] > 0
        # some dozen questions of as many clients share a command, and each command asks for 32 at most
        assert 1 / 32 <= rows["redis"]["weir"]["commands"] <= 1.1
        assert rows["refusals"]["weir"]["commands"] < 0.01
        assert rows["down-1m"]["floor"]["gb_per_s"] > 0 and rows["down-1m"]["weir"]["cpu_s_per_gb"] > 0
        with open(os.path.join(directory, "bench.md")) as f:
            assert "### redis" in f.read()
        if subprocess.run(["/usr/bin/python3", "-c", "import matplotlib"], capture_output=True).returncode == 0:
            assert os.path.getsize(os.path.join(directory, "bench.svg")) > 1000
    finally:
        remove_dir(directory)
