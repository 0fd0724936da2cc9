# SPDX-License-Identifier: MIT
"""A real redis-server in a directory of its own: killed, frozen and restarted on the same port as a test likes."""
import shutil
import signal
import socket
import subprocess
import threading

from .util import Proc, free_port, remove_dir, run_dir, wait_for

HAVE = shutil.which("redis-server") is not None


class RedisServer:
    def __init__(self, port=None, args=()):
        self.port = port or free_port()
        self.args = list(args)
        self.cli_args = []
        self.dir = run_dir("redis")
        self.proc = None
        self.start()

    @property
    def url(self):
        return "redis://127.0.0.1:%d/0" % self.port

    def start(self):
        self.proc = Proc(["redis-server", "--port", self.port, "--bind", "127.0.0.1", "--save", "",
                          "--appendonly", "no", "--dir", self.dir, "--maxmemory-policy", "noeviction", *self.args],
                         self.dir, "redis")
        wait_for(self.ready, 15, "redis-server answers PING")

    def ready(self):
        assert self.proc.running(), "redis-server ended: " + self.proc.stdout()[-1000:]
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as s:
                s.sendall(b"PING\r\n")
                return s.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def stop(self):
        """SHUTDOWN as an operator would."""
        return self.proc.stop()

    def kill(self):
        self.proc.send_signal(signal.SIGKILL)
        self.proc.wait()

    def freeze(self):
        self.proc.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.proc.send_signal(signal.SIGCONT)

    def restart(self):
        if self.proc.running():
            self.proc.stop()
        self.start()

    def close(self):
        if self.proc.running():
            self.proc.send_signal(signal.SIGCONT)
        trouble = self.proc.stop()
        remove_dir(self.dir)
        return trouble

    def cli(self, *args):
        """redis-cli's answer, as text."""
        run = subprocess.run(["redis-cli", "-p", str(self.port), *self.cli_args, *map(str, args)], capture_output=True, text=True,
                             timeout=10)
        assert run.returncode == 0, run.stderr
        return run.stdout.strip()

    def info(self, section):
        fields = {}
        for line in self.cli("INFO", section).splitlines():
            key, colon, value = line.strip().partition(":")
            if colon:
                fields[key] = value
        return fields

    def calls(self, *commands):
        """How often these commands ran, after INFO commandstats; all of them when none is named."""
        total = 0
        for key, value in self.info("commandstats").items():
            name = key.replace("cmdstat_", "")
            if not commands or name.partition("|")[0] in commands:
                total += int(dict(f.split("=") for f in value.split(","))["calls"])
        return total

    def decisions(self):
        """Loaded scripts run so far: what asking for admissions costs. Heartbeats and marks are EVAL."""
        return self.calls("evalsha", "fcall", "evalsha_ro", "fcall_ro")

    def monitor(self):
        return Monitor(self.port)


class Monitor:
    """What MONITOR shows while the block runs."""

    def __init__(self, port):
        self.port, self.lines = port, []

    def __enter__(self):
        self.sock = socket.create_connection(("127.0.0.1", self.port), 5)
        self.sock.sendall(b"MONITOR\r\n")
        assert self.sock.recv(5).startswith(b"+OK")
        self.sock.settimeout(None)
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()
        return self

    def _read(self):
        data = b""
        try:
            while True:
                more = self.sock.recv(65536)
                if not more:
                    return
                data += more
                *whole, data = data.split(b"\r\n")
                self.lines += [line.decode(errors="replace") for line in whole]
        except OSError:
            pass

    def __exit__(self, *exc):
        self.sock.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.sock.close()
