# SPDX-License-Identifier: MIT
"""Conditions, ports, directories and processes.

Each process gets a group of its own and is ended by its id; what is left of its group afterwards is told, ended,
and counts as a failure (see Proc.stop).
"""
import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)
_given_ports = set()


def become_subreaper():
    """Orphans of our processes become our children, so that none can be lost sight of."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def wait_for(cond, timeout=15.0, what=None, every=0.01):
    """Polls until cond() is true, and returns that value; AssertionError when the time is over."""
    end = time.monotonic() + timeout
    while True:
        value = cond()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("not within %.1f s: %s" % (timeout, what or getattr(cond, "__name__", cond)))
        time.sleep(every)


def free_port(host="127.0.0.1"):
    """A port below the range of outgoing connections, so that no client's own port can take it first."""
    while True:
        port = random.randint(20000, 32000)
        if port in _given_ports:
            continue
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind((host, port))
            except OSError:
                continue
        _given_ports.add(port)
        return port


def run_dir(name="weir"):
    """A directory that processes of other users can reach and write to (weir drops its privileges)."""
    path = tempfile.mkdtemp(prefix="%s-edge-" % name)
    os.chmod(path, 0o777)
    return path


def remove_dir(path):
    shutil.rmtree(path, ignore_errors=True)


def stat_fields(pid):
    """The fields of /proc/PID/stat from the state on, or None for a process that is gone."""
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rpartition(")")[2].split()
    except OSError:
        return None


def alive(pid):
    fields = stat_fields(pid)
    return fields is not None and fields[0] not in "ZX"


def children(pid):
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = stat_fields(int(name))
            if fields and int(fields[1]) == pid and fields[0] not in "ZX":
                found.append(int(name))
    return sorted(found)


def group_members(pgid):
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = stat_fields(int(name))
            if fields and int(fields[2]) == pgid and fields[0] not in "ZX":
                found.append(int(name))
    return found


def command_line(pid):
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as f:
            return f.read().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def rss_kb(pid):
    try:
        with open("/proc/%d/status" % pid) as f:
            for line in f:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0


def reap_orphans():
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return


def _child_setup():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class Proc:
    """A process in a group of its own, its output in files of `dir`; or stderr in a descriptor that was given."""

    def __init__(self, argv, dir, name, env=None, stderr=None, before_exec=None):
        self.argv, self.dir, self.name = [str(a) for a in argv], dir, name
        self.stdout_path = os.path.join(dir, name + ".stdout")
        self.stderr_path = os.path.join(dir, name + ".stderr")
        full_env = dict(os.environ, LC_ALL="C", **(env or {}))
        with open(self.stdout_path, "ab") as out, open(self.stderr_path, "ab") as err:
            self.popen = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=out,
                                          stderr=err if stderr is None else stderr, cwd=dir,
                                          env=full_env, start_new_session=True,
                                          preexec_fn=lambda: (_child_setup(), before_exec and before_exec()))
        self.pid = self.popen.pid

    def running(self):
        return self.popen.poll() is None

    def send_signal(self, sig):
        if self.running():
            os.kill(self.pid, sig)

    def wait(self, timeout=10):
        return self.popen.wait(timeout)

    def stop(self, timeout=8.0, sig=signal.SIGTERM):
        """Ends it: by `sig`, and by KILL if that was not enough. Returns what had to be killed, as text."""
        trouble = []
        if self.running():
            os.kill(self.pid, signal.SIGCONT)
            os.kill(self.pid, sig)
            try:
                self.popen.wait(timeout)
            except subprocess.TimeoutExpired:
                trouble.append("%s (pid %d) did not end within %.0f s" % (self.name, self.pid, timeout))
                os.kill(self.pid, signal.SIGKILL)
                self.popen.wait()
        try:
            wait_for(lambda: not group_members(self.pid), 5)
        except AssertionError:
            for pid in group_members(self.pid):
                trouble.append("%s left pid %d behind: %s" % (self.name, pid, command_line(pid)))
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        return "; ".join(trouble)

    def stdout(self):
        return _read(self.stdout_path)

    def stderr(self):
        return _read(self.stderr_path)


def _read(path):
    try:
        with open(path, "rb") as f:
            return f.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
