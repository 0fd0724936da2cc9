# SPDX-License-Identifier: MIT
"""What operators see: the access log, request ids, metrics, health."""
import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest

from weirlib import Origin, Proc, base_config, free_port, http, run_dir, wait_for, weir_bin
from weirlib.limits import volley
from weirlib.util import remove_dir
from weirlib.weir import SANITIZER_ENV

CLIENT = "203.0.113.1"
FIELDS = ["server", "path", "method", "traceId", "ip", "layer", "visitor", "time", "duration", "context",
          "requestId", "host", "status", "bytes", "durationMs", "upstream", "upstreamMs", "policy", "limit", "source",
          "lift", "client", "peer"]


@pytest.fixture(scope="module")
def shared(module_start, module_closing):
    origin = module_closing.add(Origin())
    weir = module_start(base_config(origin, log={"server": "edge-7", "user_header": "X-User-Id"}))
    weir.origin = origin
    return weir


def entry(weir, target, pred=None, **kw):
    """The access-log line of one request to a target that is its own mark."""
    res = weir.get(target, **kw)
    path = target.partition("?")[0]
    (found,) = weir.wait_log(lambda e: e["path"] == path)
    return res, found


# The access log

def test_fields_and_their_order(shared):
    res, e = entry(shared, "/api/monthly-tasks?month=7", method="POST", body=b"12345", xff=CLIENT, host="shop.example")
    assert list(e)[:len(FIELDS)] == FIELDS
    assert (e["server"], e["layer"], e["method"]) == ("edge-7", "EDGE", "POST")
    assert e["path"] == "/api/monthly-tasks" and e["context"] == {"args": "month=7", "result": None}
    assert e["visitor"] == {"userId": None, "role": "GUEST"}
    assert e["ip"] == CLIENT and e["peer"] == "127.0.0.1"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}", e["time"])
    assert re.fullmatch(r"\d+ms", e["duration"]) and isinstance(e["durationMs"], (int, float))
    assert e["requestId"] == res.one("X-Request-Id") == e["traceId"]
    assert (e["host"], e["status"], e["upstream"]) == ("shop.example", 200, "main")
    assert e["bytes"] >= len(res.body) and e["upstreamMs"] is not None
    assert (e["policy"], e["limit"], e["source"]) == ("default", "ok", "memory")
    assert e["lift"] is None and CLIENT in str(e["client"])


def test_time_is_utc_and_now(shared):
    _, e = entry(shared, "/time")
    stamp = time.mktime(time.strptime(e["time"][:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone
    assert abs(stamp - time.time()) < 5


def test_no_query_is_null_and_an_empty_one_too_or_empty(shared):
    assert entry(shared, "/noquery")[1]["context"]["args"] is None
    assert entry(shared, "/emptyquery?")[1]["context"]["args"] in (None, "")


@pytest.mark.parametrize("headers, trace", [
    ([("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")], "0af7651916cd43dd8448eb211c80319c"),
    ([("X-Amzn-Trace-Id", "Self=1-67891234-12456789abcdef012345678a;Root=1-67891233-abcdef012345678912345678")],
     "1-67891233-abcdef012345678912345678"),
    ([("traceparent", "00-0af7651916cd43dd8448eb211c80319d-b7ad6b7169203331-01"),
      ("X-Amzn-Trace-Id", "Root=1-67891233-abcdef012345678912345679")], "0af7651916cd43dd8448eb211c80319d"),
    ([("traceparent", "nonsense\"}")], None), ([("traceparent", "00-00000000000000000000000000000000-b7ad6b7169203331-01")], None),
])
def test_trace_id(shared, headers, trace):
    res, e = entry(shared, "/trace-%d" % abs(hash(str(headers))), headers=headers)
    assert e["traceId"] == (trace or res.one("X-Request-Id"))


def test_user_header_is_logged_and_stripped(shared):
    res, e = entry(shared, "/respond-with/user?h=X-User-Id:u-42")
    assert e["visitor"]["userId"] == "u-42"
    assert res.get_all("X-User-Id") == []


def test_a_client_cannot_claim_to_be_a_user(shared):
    _, e = entry(shared, "/claims", headers=[("X-User-Id", "admin")])
    assert e["visitor"]["userId"] is None


@pytest.mark.parametrize("query, logged", [
    ("token=abc&x=1", "token=***&x=1"), ("x=1&password=p%26q", "x=1&password=***"), ("TOKEN=abc", "TOKEN=***"),
    ("code=1&code=2", "code=***&code=***"), ("%74oken=abc", None), ("to%6Ben=abc", None), ("tokens=abc", "tokens=abc"),
    ("token", "token"), ("a[token]=abc", None), ("x=1&token=", None),
    ("secret=a;b&key=c", None), ("signature=" + "s" * 3000, "signature=***")])
def test_redaction(shared, query, logged):
    path = "/redact-%d" % abs(hash(query))
    _, e = entry(shared, path + "?" + query)
    if logged is not None:
        assert e["context"]["args"] == logged
    else:
        assert "abc" not in e["context"]["args"] and "=c" not in e["context"]["args"]


def test_redaction_is_not_the_origins(shared):
    shared.get("/redacted?token=abc")
    assert shared.origin.last().target == "/redacted?token=abc"


@pytest.mark.parametrize("target", ["/quote\"s", "/back\\slash", "/%0A%22%7D", "/utf8-\xc3\xa9", "/latin-\xe9", "/del%7f"])
def test_odd_bytes_make_valid_lines(shared, target):
    res = shared.get(target)
    (e,) = shared.wait_log(lambda e: e["requestId"] == res.one("X-Request-Id"))
    assert e["status"] == res.status


def test_lines_stay_short(shared):
    res = shared.get("/" + "p" * 7000 + "?" + "q" * 7000, headers=[("traceparent", "x" * 5000), ("User-Agent", "u" * 8000)])
    shared.wait_log(lambda e: e["requestId"] == res.one("X-Request-Id"))
    assert max(len(line.encode()) for line in shared.log_text().splitlines()) < 16384


def test_own_answers_are_logged(start, origin):
    weir = start(base_config(origin, sites=[{"hosts": ["a.example"], "upstream": "main", "allow": ["192.0.2.0/24"]}]))
    assert weir.get("/x", host="a.example", xff=CLIENT).status == 403
    assert weir.get("/y", host="b.example", xff=CLIENT).status == 421
    with weir.client() as c:
        c.send("GET / HTTP/1.1\r\nBad Header: x\r\n\r\n")
        assert c.read_response().status == 400
    entries = weir.wait_log(None, 3)
    assert sorted(e["status"] for e in entries) == [400, 403, 421]
    assert all(e["upstream"] is None for e in entries)


def test_refusals_are_folded(start, origin):
    weir = start(base_config(origin, rate_limit={"policies": {"default": {"requests": 5, "window": "60s"}}},
                             log={"refusals": "10/s"}))
    shots = volley([weir.port], 2000, CLIENT, threads=8)
    refusals = sum(1 for s in shots if s.status == 429)
    assert refusals == 1995

    def told():
        entries = [e for e in weir.log() if e["limit"] == "limited"]
        total = sum(e.get("repeated", 1) for e in entries)
        return entries if total >= refusals else None
    entries = wait_for(told, 15, "each refusal is in some line")
    assert sum(e.get("repeated", 1) for e in entries) == refusals
    span = max(s.got for s in shots) - shots[0].sent
    assert len(entries) <= 10 * (span + 2) + 10
    assert any(e.get("repeated", 1) > 1 for e in entries)
    assert len([e for e in weir.log() if e["limit"] == "ok"]) == 5


def test_stdout_is_the_default_place(start, origin):
    weir = start(base_config(origin), access="stdout")
    weir.get("/to-stdout")
    weir.wait_log(lambda e: e["path"] == "/to-stdout")


def test_access_log_off(start, origin):
    weir = start(base_config(origin, log={"access": "off"}))
    for _ in range(20):
        assert weir.get().status == 200
    weir.term()
    assert weir.proc.stdout() == "" and not os.path.exists(weir.access_path)


def test_whole_lines_from_several_workers(start, origin):
    weir = start(base_config(origin, workers=3))
    shots = volley([weir.port], 3000, None, target="/" + "x" * 900, threads=24)
    assert len(shots) == 3000
    assert len(weir.wait_log(None, 3000, timeout=10)) == 3000    # each was valid JSON


def test_a_log_that_nobody_reads_holds_nobody_up(start, origin):
    fifo = run_dir("fifo")
    path = os.path.join(fifo, "access")
    os.mkfifo(path)
    os.chmod(path, 0o666)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        weir = start(base_config(origin, log={"access": path}))
        for _ in range(4):
            shots = volley([weir.port], 3000, None, target="/" + "x" * 3000, threads=8)
            assert all(s.status == 200 for s in shots)
            assert max(s.got - s.sent for s in shots) < 2
            if weir.metric("weir_log_dropped_total") > 0:
                break
        assert weir.metric("weir_log_dropped_total") > 0
    finally:
        os.close(reader)
        remove_dir(fifo)


def test_usr1_reopens_the_log(start, origin):
    weir = start(base_config(origin))
    weir.get("/before")
    weir.wait_log(lambda e: e["path"] == "/before")
    os.rename(weir.access_path, weir.access_path + ".1")
    weir.send_signal(signal.SIGUSR1)
    wait_for(lambda: os.path.exists(weir.access_path), 15)
    weir.get("/after")
    weir.wait_log(lambda e: e["path"] == "/after")
    with open(weir.access_path + ".1") as f:
        assert "/after" not in f.read()


def test_own_log_is_json_when_stderr_is_no_terminal(shared):
    lines = [l for l in shared.stderr().splitlines() if l]
    assert lines and all(isinstance(json.loads(l), dict) for l in lines)


# Request ids

@pytest.mark.parametrize("kw", [
    dict(target="/x"), dict(target="/status/404"), dict(target="/healthz"), dict(target="*", method="OPTIONS"),
    dict(target="/", method="TRACE"), dict(target="/" + "a" * 20000), dict(target="/", host="bad host")])
def test_every_response_bears_a_request_id(shared, kw):
    res = shared.get(**kw)
    assert re.fullmatch(r"[0-9A-Za-z_-]{8,64}", res.one("X-Request-Id"))


def test_request_ids_differ_and_reach_the_origin(shared):
    ids = {shared.get("/id").one("X-Request-Id") for _ in range(50)}
    assert len(ids) == 50
    assert shared.origin.last().get("X-Request-Id") in ids


def test_request_id_of_the_origin_does_not_stand_beside_ours(shared):
    res = shared.get("/respond-with?h=X-Request-Id:theirs")
    assert len(res.get_all("X-Request-Id")) == 1


def test_own_answers_repeat_the_id_in_the_body(shared):
    res = shared.get("/", method="TRACE")
    assert res.one("X-Request-Id") in res.text()


# Metrics

def test_promtool_accepts_the_metrics(shared):
    if not shutil.which("promtool"):
        pytest.skip("promtool (package prometheus) is not installed")
    shared.get("/m", xff=CLIENT)
    run = subprocess.run(["promtool", "check", "metrics"], input=shared.metrics_text(), capture_output=True, text=True)
    assert run.returncode == 0 and run.stderr.strip() == "", run.stderr + run.stdout


NAMES = ["weir_requests_total", "weir_responses_total", "weir_store_state", "weir_lift_active", "weir_connections",
         "weir_client_table_used", "weir_fleet_size", "weir_config_info", "weir_log_dropped_total",
         "weir_client_unnamed_total"]


@pytest.mark.parametrize("name", NAMES)
def test_metrics_of_the_contract_are_there(shared, name):
    assert name in {n for n, _ in shared.metrics()} or re.search(r"^# TYPE %s " % name, shared.metrics_text(), re.M)


def test_metrics_all_bear_the_name(shared):
    assert all(n.startswith("weir_") for n, _ in shared.metrics())


def test_counts_are_right(start, origin):
    weir = start(base_config(origin, rate_limit={"policies": {"default": {"requests": 5, "window": "60s"}}},
                             sites=[{"hosts": ["a.example", "b.example"], "upstream": "main"},
                                    {"hosts": ["c.example"], "upstream": "main", "allow": ["192.0.2.0/24"]}]))
    for _ in range(8):
        weir.get("/status/201", host="b.example", xff=CLIENT)
    for _ in range(3):
        weir.get(host="c.example", xff=CLIENT)
    assert weir.metric("weir_requests_total", site="a.example") == 8
    assert weir.metric("weir_requests_total", site="a.example", verdict="limited") == 3
    assert weir.metric("weir_requests_total", site="a.example", verdict="ok") == 5
    assert weir.metric("weir_responses_total", site="a.example", upstream="main", code="201") == 5 or \
        weir.metric("weir_responses_total", site="a.example", upstream="main", code="2xx") == 5
    assert weir.metric("weir_refusals_total", site="a.example", policy="default") == 3
    assert weir.metric("weir_refusals_total", site="c.example") == 3
    assert weir.metric("weir_upstream_latency_seconds_count") == 5
    assert weir.metric("weir_added_latency_seconds_count") >= 5
    assert weir.metric("weir_client_table_used") >= 1
    assert "b.example" not in weir.metrics_text(), "the site is the config's first host"


def test_histograms_are_cumulative(shared):
    shared.get("/slow/20")
    rows = [(dict(ls), v) for (n, ls), v in shared.metrics().items() if n == "weir_upstream_latency_seconds_bucket"]
    groups = {}
    for labels, v in rows:
        le = float(labels.pop("le").replace("+Inf", "inf"))
        groups.setdefault(tuple(sorted(labels.items())), []).append((le, v))
    assert groups
    for buckets in groups.values():
        counts = [v for _, v in sorted(buckets)]
        assert counts == sorted(counts)


def test_hosts_of_strangers_make_no_metrics(shared):
    before = len(shared.metrics())
    for i in range(50):
        shared.get(host="h%d.example" % i, method="M%d" % i)
    assert len(shared.metrics()) <= before + 10


def test_prometheus_scrapes(shared):
    if not shutil.which("prometheus"):
        pytest.skip("prometheus is not installed")
    directory, port = run_dir("prometheus"), free_port()
    with open(os.path.join(directory, "p.yml"), "w") as f:
        f.write("global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n- job_name: weir\n"
                "  static_configs: [{targets: ['127.0.0.1:%d']}]\n" % shared.admin_port)
    proc = Proc(["prometheus", "--config.file=p.yml", "--storage.tsdb.path=%s/data" % directory,
                 "--web.listen-address=127.0.0.1:%d" % port, "--log.level=warn"], directory, "prometheus")
    try:
        def ask(query):
            try:
                got = http(port, "/api/v1/query?query=" + query, host="localhost")
            except OSError:
                return None
            return got.json()["data"]["result"] if got.status == 200 else None
        wait_for(lambda: ask("up"), 30, "prometheus answers", every=0.2)
        wait_for(lambda: [r for r in ask("up") if r["value"][1] == "1"], 10, "weir is up in prometheus", every=0.2)
        shared.get("/scraped", xff=CLIENT)
        (row,) = wait_for(lambda: ask("sum(weir_requests_total)"), 10, every=0.2)
        assert float(row["value"][1]) > 0
    finally:
        trouble = proc.stop()
        remove_dir(directory)
    assert not trouble


# Health

def test_healthz_is_weirs_own(start, origin):
    weir = start(base_config(origin, sites=[{"hosts": ["a.example"], "upstream": "main"}]))
    for host in ("a.example", "nowhere.example", "10.0.0.5", None):
        assert weir.get("/healthz", host=host, **({} if host else {"headers": [("Host", "x")]})).status == 200
    assert origin.requests == []
    assert weir.get("/healthz", host="a.example", xff=CLIENT).status == 200
    assert origin.last().target == "/healthz", "a client's /healthz through the load balancer is the site's"
    weir.get("/mark", host="a.example")
    weir.wait_log(n=2)
    assert sorted(e["path"] for e in weir.log()) == ["/healthz", "/mark"]


def test_health_path_is_the_configs(start, origin):
    weir = start(base_config(origin, health={"path": "/-/alive"}))
    assert weir.get("/-/alive").status == 200 and origin.requests == []
    weir.get("/healthz")
    assert origin.last().target == "/healthz"


def test_healthz_depends_on_nobody(start, redis):
    weir = start(base_config(rate_limit={"store": "redis", "redis": {"url": redis.url}}))
    redis.kill()
    for _ in range(5):
        assert weir.get("/healthz").status == 200


def test_healthcheck_command(start, origin):
    weir = start(base_config(origin))

    def check():
        return subprocess.run([weir_bin(), "--healthcheck", "-c", weir.config_path], capture_output=True, text=True,
                              timeout=10, env=dict(os.environ, **SANITIZER_ENV))
    assert check().returncode == 0
    weir.term()
    run = check()
    assert run.returncode == 1 and run.stderr.strip()
