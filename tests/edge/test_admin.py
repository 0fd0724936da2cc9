# SPDX-License-Identifier: MIT
"""weirctl: every command, its JSON, its help, its refusals and its exit status (0 done, 1 refused, 2 usage or none)."""
import json
import os
import re
import signal
import socket
import stat
import subprocess
import time

import pytest

from weirlib import Origin, base_config, http, run_dir, wait_for, weir_bin
from weirlib.client import build
from weirlib.util import remove_dir

CLIENT = "203.0.113.1"
COMMANDS = ["status", "fleet", "events", "limits status", "limits lift", "limits restore", "clients top", "clients show",
            "clients forgive", "explain", "upstreams", "stats", "config show", "reload", "drain", "limits token",
            "clients block", "clients unblock", "clients blocked"]


def config(origin, **more):
    return base_config(
        origin, networks={"office": ["203.0.113.0/24"]},
        rate_limit={"policies": {"default": {"requests": 5, "window": "60s"}, "login": {"requests": 2, "window": "30s"}},
                    "exempt": ["192.0.2.0/24"]},
        sites=[{"hosts": ["api.example"], "upstream": "main", "paths": [
                    {"prefix": "/api/admin/", "allow": ["office"]}, {"prefix": "/login", "rate_limit": "login"}]},
               {"hosts": ["dev.example"], "upstream": "main", "allow": ["office"]}], **more)


@pytest.fixture(scope="module")
def weir(module_start, module_closing):
    origin = module_closing.add(Origin())
    w = module_start(config(origin))
    wait_for(lambda: w.ctl("status", json=True)["workers"] == 2, 15, "both workers serve")
    w.origin = origin
    return w


# Every command

def test_status(weir):
    got = weir.ctl("status", json=True)
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", got["version"])
    assert got["uptime_s"] >= 0 and got["workers"] == 2
    assert isinstance(got["requests_per_s"], (int, float))
    assert got["store"]["kind"] == "memory" and "state" in got["store"] and "latency_ms" in got["store"]
    assert "lifts" in got and "upstreams" in got
    text = weir.ctl("status")
    assert got["version"] in text and "memory" in text


def test_status_without_a_word_about_json_is_for_people(weir):
    with pytest.raises(ValueError):
        json.loads(weir.ctl("status"))


def test_limits_status_empty(weir):
    assert weir.ctl("limits", "status", json=True) == {"lifts": []}
    assert "no" in weir.ctl("limits", "status").lower()


def test_clients_show(weir):
    ip = "203.0.113.40"
    for _ in range(3):
        weir.get(host="api.example", xff=ip)
    got = weir.ctl("clients", "show", ip, json=True)
    assert got["client"] == ip
    (row,) = [r for r in got["policies"] if r["policy"] == "default"]
    assert (row["limit"], row["window_s"], row["used"], row["remaining"]) == (5, 60, 3, 2)
    assert row["retry_after_ms"] == 0 and row["source"] == "memory"
    for _ in range(3):
        weir.get(host="api.example", xff=ip)
    (row,) = [r for r in weir.ctl("clients", "show", ip, json=True)["policies"] if r["policy"] == "default"]
    assert row["remaining"] == 0 and 55000 < row["retry_after_ms"] <= 60000


def test_clients_show_names_an_ipv6_client_by_its_64(weir):
    weir.get(host="api.example", xff="2001:db8:7:8::1234")
    got = weir.ctl("clients", "show", "2001:db8:7:8:ffff::1", json=True)
    assert got["client"].startswith("2001:db8:7:8:")
    assert [r["used"] for r in got["policies"] if r["policy"] == "default"] == [1]


@pytest.mark.parametrize("word", ["forgive", "reset"])
def test_clients_forgive(weir, word):
    ip = "203.0.113.%d" % (50 if word == "forgive" else 51)
    assert [weir.get(host="api.example", xff=ip).status for _ in range(6)] == [200] * 5 + [429]
    weir.ctl("clients", word, ip)
    assert weir.get(host="api.example", xff=ip).status == 200
    assert weir.client_state(ip, "default")["used"] == 1


def test_clients_top(weir):
    for _ in range(5):
        weir.get(host="api.example", xff="203.0.113.60")
    got = weir.ctl("clients", "top", "-n", "50", json=True)
    assert "203.0.113.60" in json.dumps(got)
    one = weir.ctl("clients", "top", "-n", "1", json=True)
    assert len(one["clients"]) == 1
    assert "203.0.113.60" in weir.ctl("clients", "top", "-n", "50")


def test_upstreams(weir):
    weir.get(host="api.example", xff="203.0.113.61")
    text = json.dumps(weir.ctl("upstreams", json=True))
    assert "main" in text and weir.origin.address in text
    assert weir.origin.address in weir.ctl("upstreams")


def test_upstreams_shows_what_is_in_flight(weir):
    with weir.client() as c:
        c.send(build("GET", "/slow/20000", host="api.example"))
        wait_for(lambda: re.search(r'"(in_flight|active|inflight)": ?1\b', json.dumps(weir.ctl("upstreams", json=True))), 15)
        c.reset()
    wait_for(lambda: weir.metric("weir_requests_active") == 0, 15)


def test_stats_agrees_with_metrics(weir):
    text = weir.ctl("stats")
    assert "weir_requests_total" in text
    assert "weir_requests_total" in json.dumps(weir.ctl("stats", json=True))


def test_config_show(weir):
    text = weir.ctl("config", "show")
    for word in ("api.example", "dev.example", weir.origin.address, "office", "60s", "login"):
        assert word in text, word


def test_config_show_masks_secrets(start, origin):
    weir = start(config(origin, client_ip={"trusted_proxies": ["127.0.0.1/32"], "header": "X-Viewer",
                                           "only_with": {"header": "X-Verify", "value": "hush-hush"}}))
    assert "hush-hush" not in weir.ctl("config", "show") + json.dumps(weir.ctl("config", "show", json=True))


def test_events(weir):
    weir.ctl("clients", "forgive", "203.0.113.99", "--by", "carol")
    text = weir.ctl("events")
    assert "203.0.113.99" in text
    last = weir.ctl("events", "-n", "1", json=True)["events"]
    assert len(last) == 1
    assert re.search(r"  %s\[%d\] +\S" % (last[0]["kind"], last[0]["pid"]), text.splitlines()[-1]), "which process says so"


def test_fleet_of_one(weir):
    got = json.dumps(weir.ctl("fleet", json=True))
    assert weir.config_hash() in got


def test_reload_prints_the_new_hash(start, origin):
    c = config(origin)
    weir = start(c)
    before = weir.config_hash()
    c["timeouts"] = {"head": "9s"}
    said = weir.reload(c)
    wait_for(lambda: weir.config_hash() != before, 15)
    assert weir.config_hash() in said
    assert "reload" in weir.ctl("events").lower()


def test_reload_prints_the_errors(start, origin):
    weir = start(config(origin))
    before = weir.config_hash()
    weir.write_config("listen: []\nnonsense: 1\n")
    said = weir.ctl("reload", code=1)
    assert re.search(r"weir\.yaml:2:1: .*nonsense", said)
    assert weir.config_hash() == before
    assert weir.get(host="api.example").status == 200


def test_drain(start, origin):
    weir = start(config(origin, drain={"grace": "200ms", "timeout": "5s"}))
    weir.ctl("drain")
    assert weir.proc.wait(10) == 0


# explain

def explain(weir, ip, url, *more, method="GET"):
    return weir.ctl("explain", "--from", ip, *more, method, url).lower()


def test_explain(weir):
    ip = "203.0.113.70"
    weir.get(host="api.example", xff=ip)
    before = weir.client_state(ip, "default")["used"]
    text = explain(weir, ip, "http://api.example/x")
    assert ip in text and "api.example" in text and "main" in text and "default" in text
    assert weir.client_state(ip, "default")["used"] == before, "explaining spends nothing"
    for _ in range(4):
        weir.get(host="api.example", xff=ip)
    assert "429" in explain(weir, ip, "http://api.example/x")


@pytest.mark.parametrize("ip, url, word", [
    ("198.51.100.1", "http://dev.example/", "403"), ("198.51.100.1", "http://api.example/api/%61dmin/x", "403"),
    ("203.0.113.71", "http://dev.example/", "office"), ("198.51.100.1", "http://unknown.example/", "421"),
    ("192.0.2.1", "http://api.example/", "exempt"), ("203.0.113.72", "http://api.example/login", "login")])
def test_explain_says_why(weir, ip, url, word):
    assert word in explain(weir, ip, url)


def test_explain_with_headers(weir):
    text = weir.ctl("explain", "--from", "127.0.0.1", "--header", "X-Forwarded-For: 1.2.3.4, 203.0.113.73", "GET",
                    "http://dev.example/")
    assert "203.0.113.73" in text and "403" not in text


def test_explain_agrees_with_what_happens(weir):
    for ip, host, path in [("203.0.113.74", "dev.example", "/"), ("198.51.100.74", "dev.example", "/"),
                           ("198.51.100.74", "api.example", "/api/admin"), ("198.51.100.74", "api.example", "//api//ADMIN"),
                           ("198.51.100.74", "nowhere.example", "/"), ("198.51.100.74", "api.example", "/x%")]:
        status = weir.get(path, host=host, xff=ip).status
        text = explain(weir, ip, "http://%s%s" % (host, path))
        if status != 200:
            assert str(status) in text, (ip, host, path, status, text)
        else:
            assert not re.search(r"\b(400|403|421|429)\b", text), text


# Help, mistypes, refusals, exit status

def test_help_lists_every_command(weir):
    text = weir.ctl("help")
    for command in COMMANDS:
        assert command in text, command


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(weir, command):
    text = weir.ctl("help", *command.split())
    assert command in text and len(text) > 40
    assert "--for" in text if command == "limits lift" else True


@pytest.mark.parametrize("typed, meant", [
    ("statsu", "status"), ("limits lfit", "limits lift"), ("limit status", "limits status"), ("upstream", "upstreams"),
    ("clients shwo", "clients show"), ("reloda", "reload"), ("config sho", "config show"), ("drian", "drain"),
    ("STATUS", "status")])
def test_mistyped_commands_are_suggested(weir, typed, meant):
    run = weir.run_ctl(*typed.split())
    assert run.returncode == 2 or (typed == "STATUS" and run.returncode == 0)
    assert meant in run.stderr + run.stdout if run.returncode else True


def test_mistyped_option_is_suggested(weir):
    run = weir.run_ctl("limits", "lift", "--fro", "5m", "--reason", "x", "--everyone")
    assert run.returncode == 2 and "--for" in run.stderr + run.stdout


@pytest.mark.parametrize("args", [
    [], ["nonsense"], ["limits"], ["clients"], ["clients", "show"], ["status", "extra"], ["limits", "lift", "--for"],
    ["clients", "top", "-n"], ["clients", "top", "-n", "many"], ["explain", "GET", "http://x/"], ["--nonsense", "status"]])
def test_usage_errors_exit_2(weir, args):
    run = weir.run_ctl(*args)
    assert run.returncode == 2, run
    assert (run.stderr + run.stdout).strip()


@pytest.mark.parametrize("args", [
    ["clients", "show", "host.name"], ["clients", "forgive", "300.1.1.1"], ["limits", "restore", "none"],
    ["explain", "--from", "nowhere", "GET", "http://x/"]])
def test_refusals_exit_1_or_2_and_say_why(weir, args):
    run = weir.run_ctl(*args)
    assert run.returncode in (1, 2), run
    wrong = {"clients": args[-1], "limits": "none", "explain": "nowhere"}[args[0]]
    assert wrong in run.stderr + run.stdout


def test_errors_in_json(weir):
    run = weir.run_ctl("limits", "restore", "none", json=True)
    assert run.returncode == 1
    assert "none" in json.loads(run.stdout or run.stderr)["error"]
    run = weir.run_ctl("limits", "lift", "--for", "5", "--reason", "x", "--everyone", json=True)
    assert run.returncode in (1, 2) and json.loads(run.stdout or run.stderr)["error"]


def test_json_may_stand_at_either_end(weir):
    run = weir.run_ctl("limits", "status", "--json")
    assert run.returncode == 0 and json.loads(run.stdout) == {"lifts": []}


def test_no_weir_at_the_socket(weir):
    run = weir.run_ctl("status", sock="/tmp/no-such-weir.sock")
    assert run.returncode == 2 and "/tmp/no-such-weir.sock" in run.stderr


def test_weirctl_alone_knows_its_help():
    run = subprocess.run([weir_bin("weirctl"), "--help"], capture_output=True, text=True, timeout=10)
    assert run.returncode == 0 and "limits lift" in run.stdout
    run = subprocess.run([weir_bin("weirctl")], capture_output=True, text=True, timeout=10)
    assert run.returncode == 2


@pytest.mark.parametrize("args, code, said", [
    (["help", "limits"], 0, "limits restore"), (["help", "limits", "lift"], 0, "--everyone"), (["limits", "--help"], 0, "limits token"),
    (["help", "foo"], 2, "unknown command `foo`"), (["foo", "--help"], 2, "unknown command `foo`"),
    (["help", "limits", "lfit"], 2, "did you mean `limits lift`"), (["--json", "help", "foo"], 2, '"error"'),
    (["help", "clients", "--json"], 0, '"help"')], ids=lambda a: "-".join(a) if isinstance(a, list) else None)
def test_help_needs_no_weir(weir, args, code, said):
    run = subprocess.run([weir_bin("weirctl"), "-s", "/tmp/no-such-weir.sock", *args], capture_output=True, text=True, timeout=10)
    assert run.returncode == code and said in (run.stdout if code == 0 or "--json" in args else run.stderr), run
    if args[0] == "help":    # and over the socket it is the same
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(weir.socket_path)
            s.sendall(" ".join(args).encode() + b"\n")
            answer = s.makefile().read()
        assert answer.startswith("usage\n" if code else "ok\n") and said in answer


# The socket itself

def test_socket_mode(start, origin):
    weir = start(config(origin))
    assert stat.S_IMODE(os.stat(weir.socket_path).st_mode) == 0o660
    assert stat.S_ISSOCK(os.stat(weir.socket_path).st_mode)


def test_socket_mode_is_the_configs(start, origin):
    d = run_dir("socket")
    try:
        path = os.path.join(d, "a.sock")
        weir = start(config(origin, admin={"socket": path, "mode": "0600", "http": "off"}), ready=False)
        wait_for(lambda: os.path.exists(path), 15)
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        wait_for(lambda: weir.run_ctl("status", sock=path).returncode == 0, 10)
        weir.term()
        assert not os.path.exists(path), "the socket goes with its weir"
    finally:
        remove_dir(d)


def test_stale_socket_is_taken_over(start, origin):
    weir = start(config(origin))
    path = weir.socket_path
    weir.send_signal(signal.SIGKILL)
    weir.proc.wait()
    wait_for(lambda: not group_alive(weir), 20, "orphans leave with their master")
    weir.start()
    assert weir.ctl("status") and os.path.exists(path)


def group_alive(weir):
    from weirlib.util import group_members
    return group_members(weir.proc.pid)


def test_noise_on_the_socket_does_no_harm(weir):
    for noise in (b"", b"\n", b"\0" * 100, b"\xff" * 10000, b"status", b"x" * 200000 + b"\n", b"\n" * 5000, b"{}{}{}\n"):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(3)
            s.connect(weir.socket_path)
            try:
                s.sendall(noise)
                s.shutdown(socket.SHUT_WR)
                while s.recv(65536):
                    pass
            except OSError:
                pass
    assert weir.ctl("status", json=True)["workers"] == 2


def test_a_mute_caller_holds_nobody_up(weir):
    held = []
    try:
        for _ in range(20):
            s = socket.socket(socket.AF_UNIX)
            s.connect(weir.socket_path)
            held.append(s)
        began = time.monotonic()
        assert weir.ctl("status")
        assert time.monotonic() - began < 5
    finally:
        for s in held:
            s.close()


def test_reason_with_odd_characters_survives(weir):
    reason = "quotes \" ' and \\ and ünï and ${X} and a, comma"
    weir.ctl("limits", "lift", "--for", "1m", "--reason", reason, "--client", "192.0.2.77/32")
    (lift,) = weir.ctl("limits", "status", json=True)["lifts"]
    weir.ctl("limits", "restore", lift["id"])
    assert lift["reason"] == reason
    run = weir.run_ctl("limits", "lift", "--for", "1m", "--reason", "two\nlines", "--client", "192.0.2.77/32")
    assert run.returncode in (1, 2)


# The admin's HTTP

def test_status_pages(weir):
    page = http(weir.admin_port, "/status", host="localhost")
    assert page.status == 200 and "html" in page.get("Content-Type", "")
    got = http(weir.admin_port, "/status.json", host="localhost").json()
    assert got["workers"] == 2 and got["store"]["kind"] == "memory"


@pytest.mark.parametrize("method, path, statuses", [("POST", "/status.json", (400, 403, 404, 405, 501)),
                                                    ("GET", "/nonsense", (404,)), ("DELETE", "/metrics", (400, 404, 405, 501))])
def test_admin_http_is_read_only(weir, method, path, statuses):
    assert http(weir.admin_port, path, method=method, host="localhost", body=b"" if method != "GET" else None).status in statuses
