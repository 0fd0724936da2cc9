# SPDX-License-Identifier: MIT
"""Fixtures of the edge tests. Whatever they start is ended by its id, and looked over, when the test is done."""
import os
import signal
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from weirlib import Origin, RedisServer, Weir, base_config, util, weir, weir_bin    # noqa: E402
from weirlib.tls import Authority    # noqa: E402


def pytest_configure(config):
    util.become_subreaper()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus):
    """Nothing may outlive the run: what does is named, ended, and makes the run fail."""
    left = util.children(os.getpid())
    for pid in left:
        print("\nleft behind: %d %s" % (pid, util.command_line(pid)), file=sys.stderr)
        os.kill(pid, signal.SIGKILL)
    if left and exitstatus == 0:
        session.exitstatus = 1


@pytest.fixture(scope="session", autouse=True)
def built():
    if not os.access(weir_bin(), os.X_OK) or not os.access(weir_bin("weirctl"), os.X_OK):
        pytest.exit("no weir and weirctl in %s: run make first" % weir.BIN, 2)


class Closer:
    """Ends what was started in reverse order, and fails with all that went wrong on the way."""

    def __init__(self):
        self.things = []

    def add(self, thing):
        self.things.append(thing)
        return thing

    def finish(self):
        trouble = [t for t in (thing.close() for thing in reversed(self.things)) if t]
        if trouble:
            pytest.fail("\n".join(trouble), pytrace=False)


def _closing():
    closer = Closer()
    try:
        yield closer
    finally:
        closer.finish()


closing = pytest.fixture(_closing)
module_closing = pytest.fixture(_closing, scope="module")


@pytest.fixture(autouse=True)
def looked_over():
    """After each test the running weirs must not have crashed, nor a sanitizer have complained."""
    yield
    trouble = [t for t in (w.look_over() for w in list(weir.LIVE)) if t]
    if trouble:
        pytest.fail("\n".join(trouble), pytrace=False)


@pytest.fixture
def start(closing):
    """start(config or dict, **options of Weir) runs a weir for this test."""
    return lambda config, **kw: _started(closing, config, **kw)


@pytest.fixture(scope="module")
def module_start(module_closing):
    return lambda config, **kw: _started(module_closing, config, **kw)


def _started(closing, config, **kw):
    """Registered before it is ready, so that one that never gets ready is ended too."""
    w = Weir.__new__(Weir)
    closing.add(w)
    w.closed = True
    w.__init__(config, **kw)
    return w


@pytest.fixture
def origin(closing):
    return closing.add(Origin())


@pytest.fixture
def origins(closing):
    """origins(**options) makes one more origin."""
    return lambda name="origin", **kw: closing.add(Origin(name, **kw))


@pytest.fixture
def redis(closing):
    return closing.add(RedisServer())


@pytest.fixture(scope="module")
def authority(module_closing):
    """Who signs the certificates of a file's tests."""
    return module_closing.add(Authority())


@pytest.fixture
def proxy(start, origin):
    """The plain case: one origin, one site for all hosts."""
    return start(base_config(origin))
