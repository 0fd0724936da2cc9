# SPDX-License-Identifier: MIT
"""The program under test: a config written from Python, started, asked, and looked over for crashes.

WEIR_BIN names the folder of another build (build/address-undefined); the default is the project's root.
"""
import json
import os
import re
import signal
import socket
import subprocess
import time

from .client import RawClient, http
from .util import Proc, alive, children, free_port, remove_dir, rss_kb, run_dir, wait_for

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
BIN = os.path.abspath(os.path.join(ROOT, os.environ.get("WEIR_BIN", ".")))
SANITIZED = "address" in os.path.basename(BIN) or "undefined" in os.path.basename(BIN)
SANITIZER = re.compile(r"ERROR: AddressSanitizer|runtime error:|LeakSanitizer|ERROR: ThreadSanitizer")
CRASH = re.compile(r"was killed by SIG|ended with exit code [1-9]|backtrace|Assertion .* failed")
SANITIZER_ENV = {"ASAN_OPTIONS": "abort_on_error=0:exitcode=99:detect_leaks=1:disable_coredump=1",
                 "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1", "LSAN_OPTIONS": "exitcode=99"}
LIVE = []    # every Weir that runs, for the look-over after each test


def weir_bin(name="weir"):
    return os.path.join(BIN, name)


# YAML

PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*\Z|\d+(?:\.\d+)?[a-z]*\Z")


def _scalar(value):
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    value = str(value)
    return value if PLAIN.match(value) else json.dumps(value)


def _flow(value):
    if isinstance(value, dict):
        return "{" + ", ".join("%s: %s" % (_scalar(k), _flow(v)) for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_flow(v) for v in value) + "]"
    return _scalar(value)


def to_yaml(config, depth=0):
    """Blocks for mappings, a line an item for lists of mappings, the flow style for the rest."""
    pad, lines = "  " * depth, []
    for key, value in config.items():
        if isinstance(value, dict) and value and depth < 3:
            lines += ["%s%s:" % (pad, _scalar(key)), to_yaml(value, depth + 1)]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            lines.append("%s%s:" % (pad, _scalar(key)))
            lines += ["%s  - %s" % (pad, _flow(item)) for item in value]
        else:
            lines.append("%s%s: %s" % (pad, _scalar(key), _flow(value)))
    return "\n".join(lines)


def base_config(origin=None, **more):
    """A config with one upstream and one site for every host; keys given replace those of the base.

    127.0.0.1 is the trusted proxy: without X-Forwarded-For its requests are nobody's, and not limited. Other
    addresses of 127.0.0.0/8 are clients themselves.
    """
    config = {
        "workers": 2,
        "client_ip": {"trusted_proxies": ["127.0.0.1/32"]},
        "rate_limit": {"policies": {"default": {"requests": 1000, "window": "60s"}}},
        "upstreams": {"main": {"servers": [o.address for o in _list(origin)] or ["127.0.0.1:9"]}},
        "sites": [{"hosts": ["*"], "upstream": "main"}],
        "drain": {"grace": "100ms", "timeout": "4s"},
    }
    config.update(more)
    return config


def _list(x):
    return [] if x is None else list(x) if isinstance(x, (list, tuple)) else [x]


class Refused(AssertionError):
    """weirctl or weir ended with another status than the one expected."""


class Weir:
    def __init__(self, config, env=None, access="file", ready=True, expect_crash=False, admin=True, name="weir",
                 log=None, port=None, stderr=None, before_exec=None):
        self.port = port or free_port()
        self.admin_port = free_port()
        self.dir = run_dir(name)
        self.expect_crash, self.env, self.stderr_fd = expect_crash, dict(env or {}), stderr
        self.before_exec = before_exec
        self.socket_path = os.path.join(self.dir, "admin.sock")
        self.config_path = os.path.join(self.dir, "weir.yaml")
        self.access_path = os.path.join(self.dir, "access.log")
        self.access_stdout = access == "stdout"
        self.health_path = "/healthz"
        self.seen_stderr, self.proc, self.closed = 0, None, False
        self.extra_log, self.admin = dict(log or {}), admin
        self.write_config(config)
        self.start(ready)

    def write_config(self, config):
        """A dict is completed by listen, admin and log where it has none; text is written as it is."""
        if isinstance(config, dict):
            config = dict(config)
            config.setdefault("listen", [{"address": "127.0.0.1:%d" % self.port}])
            if self.admin:
                config.setdefault("admin", {"socket": self.socket_path, "http": "127.0.0.1:%d" % self.admin_port})
            log = dict(self.extra_log, **config.get("log", {}))
            log.setdefault("access", "stdout" if self.access_stdout else self.access_path)
            config["log"] = log
            self.health_path = config.get("health", {}).get("path", "/healthz")
            self.config = config
            config = to_yaml(config) + "\n"
        with open(self.config_path, "w") as f:
            f.write(config)

    def start(self, ready=True):
        self.proc = Proc([weir_bin(), "-c", self.config_path], self.dir, "weir", dict(SANITIZER_ENV, **self.env),
                         self.stderr_fd, self.before_exec)
        LIVE.append(self)
        if ready:
            try:
                wait_for(self.is_ready, 30, "weir answers its health check")
            except AssertionError as e:
                raise AssertionError("%s\n%s" % (e, self.stderr()[-3000:])) from None
            if self.expect_crash and self.stderr_fd is None:
                self.wait_own_log("serves on")    # until then a process that dies ends the whole weir

    def is_ready(self):
        if not self.proc.running():
            raise AssertionError("weir ended with status %s:\n%s" % (self.proc.popen.returncode,
                                                                     self.stderr()[-3000:]))
        try:
            if http(self.port, self.health_path, timeout=1).status != 200:
                return False
            if self.admin:
                with socket.socket(socket.AF_UNIX) as s:
                    s.connect(self.socket_path)
            return True
        except (OSError, AssertionError):
            return False

    # Requests

    def get(self, target="/", **kw):
        return http(self.port, target, **kw)

    def client(self, **kw):
        return RawClient(self.port, **kw)

    # The admin socket

    def run_ctl(self, *args, json=False, env=None, sock=None):
        argv = [weir_bin("weirctl"), "-s", sock or self.socket_path]
        argv += (["--json"] if json else []) + [str(a) for a in args]
        return subprocess.run(argv, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL,
                              env=dict(os.environ, LC_ALL="C", **SANITIZER_ENV, **(env or {})))

    def ctl(self, *args, json=False, code=0, env=None):
        """What weirctl printed; with json=True, read as JSON. Another exit status than `code` fails the test."""
        run = self.run_ctl(*args, json=json, env=env)
        if run.returncode != code:
            raise Refused("weirctl %s: exit %d, not %d\n%s%s" % (" ".join(map(str, args)), run.returncode, code,
                                                                 run.stdout, run.stderr))
        if json:
            return _json.loads(run.stdout)
        return run.stdout + run.stderr if code else run.stdout

    def lift(self, *args, minutes="5m", reason="a test"):
        return self.ctl("limits", "lift", "--for", minutes, "--reason", reason, *args)

    def client_state(self, ip, policy=None):
        """A row of `clients show`: that of `policy`, or the only one."""
        rows = self.ctl("clients", "show", ip, json=True)["policies"]
        if policy:
            rows = [r for r in rows if r["policy"] == policy]
        assert len(rows) == 1, rows
        return rows[0]

    def reload(self, config=None, code=0):
        if config is not None:
            self.write_config(config)
        return self.ctl("reload", code=code)

    def config_hash(self):
        return self.metric_labels("weir_config_info")[0]["hash"]

    # Metrics

    def metrics_text(self):
        res = http(self.admin_port, "/metrics", host="localhost")
        assert res.status == 200, res
        return res.text()

    def metrics(self):
        """
        {(name, ((label, value), ...)): value}. A response is counted just after it was sent: requests that are under
        way get a moment to be over, as the one whose response a test has in its hands may be.
        """
        for _ in range(3):
            found = self._samples()
            if not found.get(("weir_requests_active", ())):
                break
            time.sleep(0.01)
        return found

    def _samples(self):
        found = {}
        for line in self.metrics_text().splitlines():
            if line and not line.startswith("#"):
                m = re.fullmatch(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)", line)
                assert m, "not a sample: %r" % line
                labels = re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', m[2] or "")
                found[m[1], tuple(labels)] = float(m[3])
        return found

    def metric(self, name, **labels):
        """The sum over all samples of that name which bear these labels."""
        return sum(v for (n, ls), v in self.metrics().items()
                   if n == name and all(dict(ls).get(k) == w for k, w in labels.items()))

    def metric_labels(self, name):
        return [dict(ls) for (n, ls) in self.metrics() if n == name]

    # Logs

    def stderr(self):
        return self.proc.stderr()

    def own_log(self):
        """weir's own log: an object a line; what is no JSON comes as {"text": line}."""
        entries = []
        for line in self.stderr().splitlines():
            try:
                entry = _json.loads(line)
                entries.append(entry if isinstance(entry, dict) else {"text": line})
            except ValueError:
                entries.append({"text": line})
        return entries

    def wait_own_log(self, pattern, timeout=15.0):
        return wait_for(lambda: re.search(pattern, self.stderr(), re.I), timeout, "own log says %r" % pattern)

    def log_text(self):
        if self.access_stdout:
            return self.proc.stdout()
        try:
            with open(self.access_path, encoding="utf-8", errors="strict") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def log(self):
        text = self.log_text()
        whole = text[:text.rfind("\n") + 1]
        return [_json.loads(line) for line in whole.splitlines()]

    def wait_log(self, pred=None, n=1, timeout=15.0):
        """The access-log entries for which pred holds, once there are n of them."""
        def found():
            entries = [e for e in self.log() if pred is None or pred(e)]
            return entries if len(entries) >= n else None
        return wait_for(found, timeout, "%d matching access-log lines" % n)

    # Processes

    def children(self):
        return children(self.proc.pid)

    def control(self):
        """The child that listens at the admin socket."""
        found = [p for p in self.children() if _holds_unix(p, self.socket_path)]
        return found[0] if len(found) == 1 else None

    def workers(self):
        control = self.control()
        return [p for p in self.children() if p != control]

    def workers_rss_kb(self):
        return sum(rss_kb(p) for p in self.workers())

    def send_signal(self, sig):
        self.proc.send_signal(sig)

    def hup(self):
        self.send_signal(signal.SIGHUP)

    def term(self, timeout=20):
        """TERM, and the exit status."""
        self.send_signal(signal.SIGTERM)
        return self.proc.wait(timeout)

    # The end

    def look_over(self):
        """What is wrong in stderr since the last look, or None."""
        text = self.stderr()
        fresh, self.seen_stderr = text[self.seen_stderr:], len(text)
        if SANITIZER.search(fresh):
            return "a sanitizer complained:\n" + fresh[-8000:]
        if not self.expect_crash and CRASH.search(fresh):
            return "a process crashed:\n" + fresh[-8000:]
        return None

    def close(self):
        """INT drains without the grace. Returns what was wrong, or an empty text."""
        if self.closed or not self.proc:
            return ""
        self.closed = True
        trouble = []
        ended_before = not self.proc.running()
        left = self.proc.stop(15, signal.SIGINT) if not ended_before else self.proc.stop(1)
        if left:
            trouble.append(left + "\n" + self.stderr()[-2000:])
        complaint = self.look_over()
        if complaint:
            trouble.append(complaint)
        code = self.proc.popen.returncode
        if not ended_before and code != 0 and not trouble:
            trouble.append("weir ended with status %s after INT\n%s" % (code, self.stderr()[-3000:]))
        if self in LIVE:
            LIVE.remove(self)
        remove_dir(self.dir)
        return "\n".join(trouble)


def _holds_unix(pid, path):
    with open("/proc/net/unix") as f:
        inodes = {line.split()[6] for line in f if line.rstrip().endswith(" " + path)}
    try:
        for fd in os.listdir("/proc/%d/fd" % pid):
            try:
                link = os.readlink("/proc/%d/fd/%s" % (pid, fd))
            except OSError:
                continue
            if link.startswith("socket:[") and link[8:-1] in inodes:
                return True
    except OSError:
        pass
    return False


def gone(pid):
    return not alive(pid)


_json = json    # the methods above have a parameter of that name
