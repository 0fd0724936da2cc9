# SPDX-License-Identifier: MIT
"""`weir -t`: every error at its place, all at once, before any socket is touched."""
import os
import re
import subprocess

import pytest

from weirlib import base_config, free_port, run_dir, to_yaml, weir_bin
from weirlib.util import remove_dir
from weirlib.weir import SANITIZER_ENV

# A good config; the cases replace or add to its sections. `#!` marks the line where the error is to be told.
GOOD = {
    "listen": "listen: [{address: \"127.0.0.1:8080\"}]",
    "client_ip": "client_ip: {trusted_proxies: [10.0.0.0/24]}",
    "rate_limit": "rate_limit:\n  policies:\n    default: {requests: 1000, window: 60s}",
    "upstreams": "upstreams:\n  main: {servers: [\"127.0.0.1:9000\"]}",
    "sites": "sites:\n  - {hosts: [example.com], upstream: main}",
}


def text_of(**sections):
    merged = dict(GOOD, **sections)
    return "\n".join(v for v in merged.values() if v) + "\n"


def site(line):
    return {"sites": "sites:\n  - hosts: [example.com]\n    upstream: main\n    " + line}


def policies(*lines):
    return {"rate_limit": "rate_limit:\n  policies:\n    " + "\n    ".join(lines)}


def limit(*lines):
    return {"rate_limit": "rate_limit:\n  policies:\n    default: {requests: 1000, window: 60s}\n  " + "\n  ".join(lines)}


def redis(*lines):
    return limit("store: redis", "redis:", *["  " + l for l in lines])


def upstream(*lines):
    return {"upstreams": "upstreams:\n  main:\n    " + "\n    ".join(lines)}


def also(line, name="extra"):
    return {name: line}


BAD = {
    # the text itself
    "not YAML": (also("a: [1, 2 #!\nb: }"), "."),
    "a tab for indentation": (also("drain:\n\tgrace: 5s #!"), "."),
    "a list at the top": ({k: "" for k in GOOD} | {"all": "- a #!"}, "name: value"),
    "a key twice": (also("workers: 1\nworkers: 2 #!"), "workers"),
    "an alias that is not known": (also("deny: *nowhere #!"), "nowhere|anchor|alias"),
    # keys
    "unknown key": (also("wrokers: 2 #!"), "wrokers.*workers"),
    "unknown key below": (also("timeouts:\n  haed: 10s #!"), "haed.*head"),
    "unknown key of a site": (site("upstraem: x #!"), "upstraem.*upstream"),
    "unknown key of a policy": (policies("default: {requests: 1, windwo: 60s} #!"), "windwo.*window"),
    "unknown key of a server list": (upstream("server: [\"127.0.0.1:9000\"] #!"), "server.*servers"),
    # types
    "word for a number": (also("workers: many #!"), "many"),
    "list for a mapping": (also("timeouts: [1] #!"), "timeouts"),
    "mapping for a list": ({"sites": "sites: {hosts: [a]} #!"}, "sites"),
    "scalar for a list": (site("allow: office #!"), "allow|office"),
    "negative number": (also("workers: -1 #!"), "-1"),
    "zero workers": (also("workers: 0 #!"), "0"),
    "fraction": (also("workers: 1.5 #!"), "1.5"),
    "number too large": (policies("default: {requests: 99999999999999999999, window: 60s} #!"), "requests|99999"),
    "duration without a unit": (also("timeouts: {head: 10} #!"), "10"),
    "duration with a wrong unit": (also("timeouts: {head: 10d} #!"), "10d"),
    "duration with a blank": (also("timeouts: {head: 10 s} #!"), "10 s"),
    "size with a wrong unit": (also("caps: {line: 16g} #!"), "16g"),
    "word that is none of them": (also("log: {level: loud} #!"), "loud.*info|info.*loud"),
    "neither on nor off": (also("cookies: {domain: example.com, retire_host_only: maybe} #!"), "maybe"),
    "mode that is no mode": (also("admin: {socket: /tmp/w.sock, mode: \"rw\"} #!"), "rw"),
    # listen
    "no listener": ({"listen": "listen: [] #!"}, "listen"),
    "address without a port": ({"listen": "listen: [{address: 127.0.0.1}] #!"}, "127.0.0.1"),
    "port out of range": ({"listen": "listen: [{address: \"127.0.0.1:70000\"}] #!"}, "70000"),
    "name for an address": ({"listen": "listen: [{address: \"localhost:80x\"}] #!"}, "localhost"),
    "listener twice": ({"listen": "listen:\n  - {address: \"127.0.0.1:8080\"}\n  - {address: \"127.0.0.1:8080\"} #!"}, "8080"),
    # networks
    "bad CIDR": ({"client_ip": "client_ip: {trusted_proxies: [10.0.0.0/33]} #!"}, "10.0.0.0/33"),
    "bad address": ({"client_ip": "client_ip: {trusted_proxies: [10.0.0]} #!"}, "10.0.0"),
    "host bits set": (also("networks: {n: [10.0.0.1/8]} #!"), "10.0.0.1/8"),
    "unknown network": (site("allow: [ofice] #!"), "ofice"),
    "empty allow": (site("allow: [] #!"), "allow"),
    "missing file": (also("deny: [\"file:/no/such/list\"] #!"), "/no/such/list"),
    "prefix length out of range": ({"client_ip": "client_ip: {trusted_proxies: [10.0.0.0/24], ipv6_prefix: 129} #!"}, "129"),
    "only_with without a value": ({"client_ip": "client_ip: {header: X-C, only_with: {header: X-A}} #!"}, "value|only_with"),
    "header that is no header": ({"client_ip": "client_ip: {header: \"X Y\"} #!"}, "X Y"),
    # limits
    "policy without requests": (policies("default: {window: 60s} #!"), "requests"),
    "policy without a window": (policies("default: {requests: 5} #!"), "window"),
    "limit of zero": (policies("default: {requests: 0, window: 60s} #!"), "0"),
    "window of zero": (policies("default: {requests: 5, window: 0s} #!"), "0s|window"),
    "unknown policy": (site("rate_limit: nosuch #!"), "nosuch"),
    "unknown policy of a path": (site("paths: [{prefix: /x, rate_limit: nosuch}] #!"), "nosuch"),
    "unknown mode": (policies("default: {requests: 5, window: 60s, mode: silent} #!"), "silent"),
    "for an unknown network": (policies("default: {requests: 5, window: 60s, for: {mars: 10}} #!"), "mars"),
    "policy named off": (policies("off: {requests: 5, window: 60s} #!", "default: {requests: 1, window: 1s}"), "off"),
    "unknown store": (limit("store: mysql #!"), "mysql"),
    "redis without a url": ({"rate_limit": "rate_limit:\n  store: redis #!\n  policies: {default: {requests: 1, window: 1s}}"}, "url|redis"),
    "url of another kind": (redis("url: http://127.0.0.1 #!"), "url.*redis://"),
    "url with a bad port": (redis("url: redis://127.0.0.1:0x1/0 #!"), "0x1|url"),
    "unknown on_failure": (redis("url: redis://127.0.0.1/0", "on_failure: panic #!"), "panic"),
    "unknown exempt": (limit("exempt: [nobody] #!"), "nobody"),
    "unknown headers": (limit("headers: fancy #!"), "fancy"),
    # upstreams and sites
    "no upstreams": ({"upstreams": "", "sites": "sites:\n  - {hosts: [example.com], upstream: main} #!"}, "main|upstream"),
    "unknown upstream": ({"sites": "sites:\n  - {hosts: [example.com], upstream: mian} #!"}, "mian"),
    "site without an upstream": ({"sites": "sites:\n  - {hosts: [example.com]} #!"}, "upstream"),
    "site without hosts": ({"sites": "sites:\n  - {upstream: main} #!"}, "hosts"),
    "empty hosts": ({"sites": "sites:\n  - {hosts: [], upstream: main} #!"}, "hosts"),
    "no servers": (upstream("servers: [] #!"), "servers"),
    "server without a port": (upstream("servers: [\"127.0.0.1\"] #!"), "127.0.0.1"),
    "host twice": ({"sites": "sites:\n  - {hosts: [example.com], upstream: main}\n  - {hosts: [EXAMPLE.com.], upstream: main} #!"},
                   "(?i)example.com"),
    "host with a port": ({"sites": "sites:\n  - {hosts: [\"example.com:80\"], upstream: main} #!"}, "example.com:80"),
    "wildcard in the middle": ({"sites": "sites:\n  - {hosts: [\"a.*.com\"], upstream: main} #!"}, r"a\.\*\.com"),
    "host with a path": ({"sites": "sites:\n  - {hosts: [example.com/x], upstream: main} #!"}, "example.com/x"),
    "prefix without a slash": (site("paths: [{prefix: api, allow: [10.0.0.0/8]}] #!"), "api"),
    "prefix twice": (site("paths:\n      - {prefix: /x, rate_limit: default}\n      - {prefix: /x, rate_limit: off} #!"), "/x"),
    "path rule that says nothing": (site("paths: [{prefix: /x}] #!"), "/x|allow|rate_limit"),
    "h2c as an upgrade": (site("upgrade: [h2c] #!"), "h2c"),
    # cookies, cors, the rest
    "cookie domain that is a label": (also("cookies: {domain: com, share: {s: {}}} #!"), "com"),
    "cookie domain with a port": (also("cookies: {domain: \"example.com:80\", share: {s: {}}} #!"), "example.com:80"),
    "shared __Host- name": (also("cookies: {domain: example.com, share: {__Host-s: {}}} #!"), "__Host-"),
    "unknown SameSite": (also("cookies: {domain: example.com, share: {s: {same_site: Often}}} #!"), "Often"),
    "origin without a scheme": (also("cors: {origins: [example.com]} #!"), "example.com"),
    "origin of all": (also("cors: {origins: [\"*\"]} #!"), r"\*"),
    "variable that is not set": (also("user: \"${WEIR_NO_SUCH_VARIABLE}\" #!"), "WEIR_NO_SUCH_VARIABLE"),
    "file that is not there": (also("user: \"${file:/no/such/file}\" #!"), "/no/such/file"),
    "variable without an end": (also("user: \"${HOME\" #!"), "HOME|\\$\\{"),
    "health path without a slash": (also("health: {path: healthz} #!"), "healthz"),
    "refusals without a time": (also("log: {refusals: 10} #!"), "10"),
    "a file that cannot be read": (also("deny: [\"file:/proc/self/mem\"] #!"), "/proc/self/mem.*(Input/output error|cannot)"),
    "lift_key that is short": (limit("lift_key: fifteen-bytes-x #!"), "lift_key.*too short.*16 bytes"),
    "lift_key of spaces and letters beyond ASCII": (limit("lift_key: \"schl\u00fcssel, der lang ist\" #!"), "other bytes"),
    "lift_key list with a short one": (limit("lift_key: [\"0123456789abcdef\", short] #!"), "lift_key.*too short"),
    "lift_key as a mapping": (limit("lift_key: {a: b} #!"), "lift_key"),
    "max_block without a unit": (limit("max_block: 10 #!"), "max_block.*duration"),
    "admin http for all without allow": (also("admin: {http: \"0.0.0.0:9145\"} #!"), "allow|0.0.0.0"),
}

# What later versions will build is refused now, and never silently accepted.
UNBUILT = {
    "discover": (upstream("discover: \"srv:a.internal\" #!"), "discover"),
    "health": (upstream("servers: [\"127.0.0.1:9000\"]", "health: {path: /h, interval: 10s} #!"), "health"),
}


def check(text, *options, directory=None, env=None):
    d = directory or run_dir("conf")
    try:
        path = os.path.join(d, "weir.yaml")
        with open(path, "w") as f:
            f.write(text)
        run = subprocess.run([weir_bin(), "-t", "-c", path, *options], capture_output=True, text=True, timeout=20,
                             env=dict(os.environ, LC_ALL="C", **SANITIZER_ENV, **(env or {})))
        run.path = path
        return run
    finally:
        if not directory:
            remove_dir(d)


def complaints(run):
    """[(line, column, text)] of what was told in the form FILE:LINE:COL: ..."""
    found = []
    for line in (run.stderr + run.stdout).splitlines():
        m = re.match(re.escape(run.path) + r":(\d+):(\d+): (.+)", line)
        if m:
            found.append((int(m[1]), int(m[2]), m[3]))
    return found


def marked_line(text):
    return next(i for i, l in enumerate(text.splitlines(), 1) if "#!" in l)


@pytest.mark.parametrize("name", BAD)
def test_error_at_its_place(name):
    sections, words = BAD[name]
    text = text_of(**sections)
    run = check(text)
    assert run.returncode == 1, run
    told = complaints(run)
    assert told, run.stderr + run.stdout
    here = [t for line, _, t in told if line == marked_line(text)]
    if name in ("not YAML", "a tab for indentation"):
        assert told
        return
    assert here, "line %d is not among %r" % (marked_line(text), told)
    assert any(re.search(words, t) for t in here), here
    assert all(column >= 1 for _, column, _ in told)


@pytest.mark.parametrize("name", UNBUILT)
def test_what_is_not_built_is_refused(name):
    sections, words = UNBUILT[name]
    text = text_of(**sections)
    run = check(text)
    assert run.returncode == 1
    assert [t for line, _, t in complaints(run) if line == marked_line(text) and re.search(words, t)], run.stderr


def test_all_errors_are_told_at_once():
    text = text_of(sites="sites:\n  - {hosts: [a.example], upstream: nosuch}\n  - {hosts: [], upstream: main}",
                   extra="wrokers: 1\ntimeouts: {head: 10}\nlog: {level: loud}")
    lines = {line for line, _, _ in complaints(check(text))}
    assert len(lines) == 5


def test_columns_point_at_the_word():
    text = text_of(extra="timeouts: {head: 10s, haed: 10s}")
    ((_, column, _),) = complaints(check(text))
    assert column == 23


def test_good_config_prints_the_hosts():
    run = check(to_yaml(base_config(listen=[{"address": "127.0.0.1:%d" % free_port()}],
                                    networks={"office": ["203.0.113.0/24"]}, sites=[
        {"hosts": ["api.example", "*.api.example"], "upstream": "main"},
        {"hosts": ["dev.example"], "upstream": "main", "allow": ["office"], "rate_limit": "off"}])) + "\n")
    assert run.returncode == 0, run.stderr
    rows = {h: next(l for l in run.stdout.splitlines() if l.split()[:1] == [h])
            for h in ("api.example", "*.api.example", "dev.example")}
    assert "main" in rows["api.example"] and "default" in rows["api.example"]
    assert "office" in rows["dev.example"] and "off" in rows["dev.example"]
    assert re.search(r"memory", run.stdout, re.I)


WARNINGS = {
    "idle below the load balancer's": (also("timeouts: {idle: 60s} #!"), "60"),
    "drain beyond 30 s": (also("drain: {grace: 5s, timeout: 45s} #!"), "45s|30"),
    "trusted wider than /16": ({"client_ip": "client_ip: {trusted_proxies: [10.0.0.0/8]} #!"}, "10.0.0.0/8|/16"),
    "trusted overlapping a network": ({"client_ip": "client_ip: {trusted_proxies: [10.0.0.0/24]}",
                                       "extra": "networks: {office: [10.0.0.0/25]} #!"}, "office|overlap|10.0.0"),
    "memory on a fleet": (limit("fleet: 3 #!"), "memory"),
    "cookies shared by a guarded site": ({"sites": "sites:\n  - {hosts: [a.example.com], upstream: main, allow: [10.0.0.0/8]} #!",
                                          "extra": "cookies: {domain: example.com, share: {s: {}}}"}, "cookies|allow"),
}


@pytest.mark.parametrize("name", WARNINGS)
def test_warnings(name):
    sections, words = WARNINGS[name]
    text = text_of(**sections)
    run = check(text)
    assert run.returncode == 0, run.stderr
    assert [t for _, _, t in complaints(run) if re.search(words, t)], run.stderr + run.stdout
    assert check(text, "--strict").returncode == 1


def test_no_warnings_for_the_plain_case():
    run = check(text_of())
    assert run.returncode == 0 and complaints(run) == []
    assert check(text_of(), "--strict").returncode == 0


@pytest.mark.parametrize("value, ok", [("on", True), ("off", True), ("true", True), ("false", True), ("On", None),
                                       ("perhaps", False), ("1", False), ("\"on\"", True)])
def test_on_and_off(value, ok):
    run = check(text_of(extra="cookies: {domain: example.com, share: {s: {}}, retire_host_only: %s}" % value))
    if ok is not None:
        assert (run.returncode == 0) == ok, run.stderr


def test_variables_and_files():
    d = run_dir("conf")
    try:
        with open(os.path.join(d, "name"), "w") as f:
            f.write("edge-from-file\n")
        text = text_of(extra="log: {server: \"${file:%s/name}-${WEIR_TEST_WORD}-${WEIR_TEST_NONE:-default}\"}" % d)
        assert check(text, env={"WEIR_TEST_WORD": "w"}).returncode == 0
        run = check(text)
        assert run.returncode == 1 and "WEIR_TEST_WORD" in run.stderr
    finally:
        remove_dir(d)


def test_a_variable_cannot_bring_structure_along():
    """Variables are taken inside scalars, after YAML is parsed."""
    text = text_of(extra="log: {server: \"${WEIR_TEST_WORD}\"}")
    assert check(text, env={"WEIR_TEST_WORD": "x}\nwrokers: 1"}).returncode in (0, 1)
    run = check(text, env={"WEIR_TEST_WORD": "a, level: loud"})
    assert "loud" not in "".join(t for _, _, t in complaints(run) if "level" in t and "expected" in t)


def test_secrets_stay_out_of_messages():
    run = check(text_of(**redis("url: redis://127.0.0.1:6379/0", "password: [\"s3cret\"]")))
    assert run.returncode == 1 and "s3cret" not in run.stderr + run.stdout


def test_missing_file_is_named():
    run = subprocess.run([weir_bin(), "-t", "-c", "/no/such/weir.yaml"], capture_output=True, text=True, timeout=10)
    assert run.returncode == 1 and "/no/such/weir.yaml" in run.stderr


@pytest.mark.parametrize("options", [["-c"], ["--nonsense"], [], ["-t"], ["-c", "a", "extra"]])
def test_usage(options):
    run = subprocess.run([weir_bin(), *options], capture_output=True, text=True, timeout=10)
    assert run.returncode == 2 and "usage" in (run.stderr + run.stdout).lower()


@pytest.mark.parametrize("options, named", [(["-t", "-c", "a", "foo"], "not expected: foo"), (["foo", "-t"], "not expected: foo"),
                                            (["-t", "--strict=1"], "--strict"), (["-tx"], "'x'")])
def test_usage_names_what_is_wrong(options, named):
    run = subprocess.run([weir_bin(), *options], capture_output=True, text=True, timeout=10)
    assert run.returncode == 2 and named in run.stderr.partition("usage")[0]


def test_version():
    run = subprocess.run([weir_bin(), "-V"], capture_output=True, text=True, timeout=10)
    assert run.returncode == 0
    for word in (r"weir \d+\.\d+\.\d+", "libevent", "OpenSSL", "hiredis", "libyaml"):
        assert re.search(word, run.stdout, re.I), word


def test_start_with_a_bad_config_touches_no_socket():
    port = free_port()
    d = run_dir("conf")
    try:
        path = os.path.join(d, "weir.yaml")
        with open(path, "w") as f:
            f.write(text_of(listen="listen: [{address: \"127.0.0.1:%d\"}]" % port, extra="wrokers: 1"))
        strace = subprocess.run(["strace", "-f", "-e", "trace=bind,listen", weir_bin(), "-c", path], capture_output=True,
                                text=True, timeout=20) if os.path.exists("/usr/bin/strace") and "address" not in weir_bin() else \
            subprocess.run([weir_bin(), "-c", path], capture_output=True, text=True, timeout=20)
        assert strace.returncode == 1 and "wrokers" in strace.stderr
        assert "bind(" not in strace.stderr
    finally:
        remove_dir(d)


@pytest.mark.parametrize("what", ["port in use", "socket in no directory", "log in no directory", "port of the admin"])
def test_what_cannot_be_opened_is_named(what):
    import socket
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    port = taken.getsockname()[1]
    sections, word = {
        "port in use": ({"listen": "listen: [{address: \"127.0.0.1:%d\"}]" % port}, "127.0.0.1:%d" % port),
        "socket in no directory": (also("admin: {socket: /no/such/dir/admin.sock}"), "/no/such/dir/admin.sock"),
        "log in no directory": (also("log: {access: /no/such/dir/access.log}"), "/no/such/dir/access.log"),
        "port of the admin": (also("admin: {http: \"127.0.0.1:%d\"}" % port), "127.0.0.1:%d" % port)}[what]
    sections = dict({"listen": "listen: [{address: \"127.0.0.1:%d\"}]" % free_port()}, **sections)
    d = run_dir("conf")
    try:
        path = os.path.join(d, "weir.yaml")
        with open(path, "w") as f:
            f.write(text_of(**sections))
        run = subprocess.run([weir_bin(), "-c", path], capture_output=True, text=True, timeout=20)
        assert run.returncode not in (0, None) and word in run.stderr, run
    finally:
        taken.close()
        remove_dir(d)


@pytest.mark.parametrize("text", ["", "\n\n# nothing\n", "~\n", "5\n", "a\n", "[]\n", "{}\n"])
def test_empty_and_odd_files(text):
    run = check(text)
    assert run.returncode == 1 and run.stderr.strip()


def test_deep_and_wide_files_do_no_harm():
    assert check("a: " + "[" * 5000 + "]" * 5000 + "\n").returncode == 1
    assert check("".join("k%d: 1\n" % i for i in range(20000))).returncode == 1
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        "%s: &%s [%s]\n" % (b, b, ", ".join(["*" + a] * 9)) for a, b in zip("abcdefgh", "bcdefghi"))
    assert check(bomb).returncode == 1
