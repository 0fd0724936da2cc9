# SPDX-License-Identifier: MIT
"""Headless Chromium through chromedriver, in the W3C WebDriver protocol and nothing else."""
import http.client
import json
import shutil

from .util import Proc, free_port, remove_dir, run_dir, wait_for

HAVE = shutil.which("chromedriver") is not None and shutil.which("chromium") is not None


class Browser:
    def __init__(self, host_rules):
        self.dir = run_dir("browser")
        self.port = free_port()
        self.proc = Proc(["chromedriver", "--port=%d" % self.port], self.dir, "chromedriver", {"HOME": self.dir})
        self.session = None
        wait_for(self._ready, 20, "chromedriver is ready", every=0.05)
        args = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
                "--disable-dev-shm-usage", "--no-proxy-server", "--user-data-dir=%s/profile" % self.dir,
                "--host-resolver-rules=%s" % host_rules]
        value = self._call("POST", "/session", {"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": {"binary": shutil.which("chromium"), "args": args},
            "timeouts": {"script": 15000, "pageLoad": 15000}}}})
        self.session = value["sessionId"]

    def _ready(self):
        try:
            return self._call("GET", "/status")["ready"]
        except OSError:
            return False

    def _call(self, method, path, body=None):
        conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            conn.request(method, path, None if body is None else json.dumps(body),
                         {"Content-Type": "application/json"})
            answer = json.loads(conn.getresponse().read())
        finally:
            conn.close()
        value = answer["value"]
        if isinstance(value, dict) and "error" in value:
            raise AssertionError("WebDriver %s: %s" % (value["error"], value["message"]))
        return value

    def _in(self, method, path, body=None):
        return self._call(method, "/session/%s%s" % (self.session, path), body)

    def open(self, url):
        self._in("POST", "/url", {"url": url})

    def script(self, source, *args):
        """The value that the script returns."""
        return self._in("POST", "/execute/sync", {"script": source, "args": list(args)})

    def script_async(self, source, *args):
        """The value handed to the callback, which is the script's last argument."""
        return self._in("POST", "/execute/async", {"script": source, "args": list(args)})

    def cookies(self):
        """Those that go to the page that is open, by name; a name that is there twice is a list."""
        found = {}
        for c in self._in("GET", "/cookie"):
            if c["name"] in found:
                before = found[c["name"]]
                found[c["name"]] = (before if isinstance(before, list) else [before]) + [c]
            else:
                found[c["name"]] = c
        return found

    def close(self):
        if self.session:
            try:
                self._in("DELETE", "")
            except (OSError, AssertionError):
                pass
        trouble = self.proc.stop()
        remove_dir(self.dir)
        return trouble
