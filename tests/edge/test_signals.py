# SPDX-License-Identifier: MIT
"""Signals and dead processes: drain, reload under load, reopened logs, replacements."""
import os
import signal
import threading
import time

import pytest

from weirlib import base_config, http, wait_for
from weirlib.client import ProtocolError, RawClient, build
from weirlib.limits import volley
from weirlib.util import alive, group_members


def config(origin, **more):
    return base_config(origin, **dict({"drain": {"grace": "600ms", "timeout": "6s"}}, **more))


class Load:
    """Clients that keep asking, on kept connections and on new ones; what fails is kept."""

    def __init__(self, port, kept=4, fresh=2):
        self.port, self.stop, self.failures, self.count = port, threading.Event(), [], 0
        self.threads = [threading.Thread(target=self._kept) for _ in range(kept)]
        self.threads += [threading.Thread(target=self._fresh) for _ in range(fresh)]

    def __enter__(self):
        for t in self.threads:
            t.start()
        wait_for(lambda: self.count > 50, 10)
        return self

    def __exit__(self, *exc):
        self.stop.set()
        for t in self.threads:
            t.join()

    def _kept(self):
        while not self.stop.is_set():
            try:
                with RawClient(self.port) as c:
                    while not self.stop.is_set():
                        res = c.request("GET", "/bytes/2000")
                        self._note(res)
                        if res.closes():
                            break
            except (OSError, AssertionError) as e:
                self.failures.append(repr(e))

    def _fresh(self):
        while not self.stop.is_set():
            try:
                self._note(http(self.port, "/fresh"))
            except (OSError, AssertionError) as e:
                self.failures.append(repr(e))

    def _note(self, res):
        self.count += 1
        if res.status != 200:
            self.failures.append("%d" % res.status)


# TERM, QUIT, INT

@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGQUIT])
def test_term_drains(start, origin, sig):
    weir = start(config(origin, drain={"grace": "3s", "timeout": "12s"}))
    with weir.client() as slow, weir.client() as idle:
        assert idle.request().status == 200
        slow.send(build("GET", "/slow/1500"))
        origin.wait_requests(2)
        weir.send_signal(sig)
        wait_for(lambda: weir.get("/healthz").status == 503, 2.5, "draining shows in /healthz")
        res = weir.get("/within-grace")
        assert res.status == 200 and res.closes(), "accepted within the grace, and told to go"
        answer = slow.read_response()
        assert answer.status == 200 and answer.closes()
        assert idle.closed_by_peer(5)
    assert weir.proc.wait(10) == 0
    assert not group_members(weir.proc.pid)
    with pytest.raises(OSError):
        weir.get()


def test_drain_cuts_what_is_left_at_its_timeout(start, origin):
    weir = start(config(origin, drain={"grace": "100ms", "timeout": "1s"}))
    with weir.client() as c:
        c.send(build("GET", "/slow/20000"))
        origin.wait_requests(1)
        began = time.monotonic()
        assert weir.term(10) == 0
        assert 0.5 < time.monotonic() - began < 4
        with pytest.raises((ProtocolError, OSError)):
            c.read_response()


def test_int_drains_without_the_grace(start, origin):
    weir = start(config(origin, drain={"grace": "20s", "timeout": "25s"}))
    began = time.monotonic()
    weir.send_signal(signal.SIGINT)
    assert weir.proc.wait(10) == 0
    assert time.monotonic() - began < 5


def test_second_int_exits_now(start, origin):
    weir = start(config(origin, drain={"grace": "20s", "timeout": "25s"}), expect_crash=True)
    with weir.client() as c:
        c.send(build("GET", "/slow/20000"))
        origin.wait_requests(1)
        weir.send_signal(signal.SIGINT)
        weir.wait_own_log("drain")
        assert weir.proc.running()
        began = time.monotonic()
        weir.send_signal(signal.SIGINT)
        weir.proc.wait(15)
        assert time.monotonic() - began < 8
    wait_for(lambda: not group_members(weir.proc.pid), 15)


def test_drain_finishes_a_download_and_a_tunnel_is_cut(start, origin):
    weir = start(config(origin, sites=[{"hosts": ["*"], "upstream": "main", "upgrade": ["websocket"]}],
                        drain={"grace": "100ms", "timeout": "3s"}))
    with weir.client(rcvbuf=65536) as c, weir.client() as tunnel:
        assert tunnel.ws_open().status == 101
        c.send(build("GET", "/bytes/12000000"))
        c.read_until(b"\r\n\r\n")
        weir.send_signal(signal.SIGTERM)
        body = c.read_exact(12000000)
        assert len(body) == 12000000
        try:
            assert tunnel.closed_by_peer(6)
        except OSError:
            pass
    assert weir.proc.wait(8) == 0


# HUP

def test_reload_under_load_refuses_and_cuts_nothing(start, origin):
    c = config(origin, timeouts={"idle": "2s"})
    weir = start(c)
    with Load(weir.port) as load:
        for i in range(4):
            before = weir.config_hash()
            c["caps"] = {"headers": 90 + i}
            weir.write_config(c)
            weir.hup()
            wait_for(lambda: weir.config_hash() != before, 10, "the new config is in force")
            reached = load.count
            wait_for(lambda: load.count > reached + 50, 10)
    assert load.failures == []
    assert load.count > 200


def test_reload_takes_effect(start, origins):
    one, two = origins("one"), origins("two")
    weir = start(config(one))
    assert weir.get().get("X-Origin") == "one"
    weir.write_config(config(two))
    weir.hup()
    wait_for(lambda: weir.get().get("X-Origin") == "two", 10)


def test_reload_lets_a_running_request_finish(start, origin):
    weir = start(config(origin))
    with weir.client() as c, weir.client() as upload:
        c.send(build("GET", "/slow/1000"))
        upload.send(build("POST", "/echo", [("Content-Length", "10")]) + b"first")
        origin.wait_requests(2)
        weir.reload(config(origin, caps={"headers": 77}))
        upload.send(b"secnd")
        assert upload.read_response().body == b"firstsecnd"
        assert c.read_response().status == 200


def test_old_workers_leave(start, origin):
    weir = start(config(origin, timeouts={"idle": "1s"}))
    old = weir.workers()
    assert len(old) == 2
    with weir.client() as c:
        assert c.request().status == 200
        weir.reload(config(origin, caps={"headers": 78}, timeouts={"idle": "1s"}))
        wait_for(lambda: not any(alive(p) for p in old), 20, "the old workers are gone")
        assert c.closed_by_peer()
    assert len(weir.workers()) == 2


def test_kept_connection_is_told_to_close_after_a_reload(start, origin):
    weir = start(config(origin, timeouts={"idle": "20s"}))
    with weir.client() as c:
        assert not c.request().closes()
        weir.reload(config(origin, caps={"headers": 79}, timeouts={"idle": "20s"}))
        res = c.request()
        assert res.status == 200 and res.closes()


def test_tunnel_lives_through_a_reload(start, origin):
    sites = [{"hosts": ["*"], "upstream": "main", "upgrade": ["websocket"]}]
    weir = start(config(origin, sites=sites))
    with weir.client() as c:
        assert c.ws_open().status == 101
        weir.reload(config(origin, sites=sites, caps={"headers": 80}))
        for i in range(5):
            c.ws_send(b"still %d" % i)
            assert c.ws_read() == (1, b"still %d" % i)


@pytest.mark.parametrize("bad", ["nonsense: 1\n", "listen: [\n", "", "sites: 5\n", "\x00\x01\x02", "a: &a [*a]\n"])
def test_bad_reload_changes_nothing(start, origin, bad):
    c = config(origin)
    weir = start(c)
    before, pids = weir.config_hash(), weir.workers()
    with open(weir.config_path, "w") as f:
        f.write(bad)
    with Load(weir.port, 2, 1) as load:
        weir.hup()
        weir.wait_own_log(r"weir\.yaml")
    assert load.failures == []
    assert weir.config_hash() == before and weir.workers() == pids
    weir.write_config(c)
    weir.hup()
    wait_for(lambda: weir.workers() != pids, 10, "a good file is taken again")


def test_reload_with_more_and_fewer_workers(start, origin):
    weir = start(config(origin, workers=1, timeouts={"idle": "1s"}))
    with Load(weir.port, 3, 2) as load:
        for n in (3, 2, 1, 2):
            c = config(origin, workers=n, timeouts={"idle": "1s"})
            weir.write_config(c)
            before = weir.config_hash()
            weir.hup()
            wait_for(lambda: weir.config_hash() != before, 10)
            wait_for(lambda: len(weir.workers()) == n, 10)
    assert load.failures == []


def test_reload_that_adds_and_drops_a_listener(start, origin):
    from weirlib import free_port
    c, extra = config(origin), free_port()
    weir = start(c)
    c["listen"] = [{"address": "127.0.0.1:%d" % weir.port}, {"address": "127.0.0.1:%d" % extra}]
    weir.reload(c)
    wait_for(lambda: reachable(extra), 15)
    assert http(extra).status == 200
    c["listen"] = [{"address": "127.0.0.1:%d" % weir.port}]
    weir.reload(c)
    wait_for(lambda: not reachable(extra), 10, "the dropped listener closes")
    assert weir.get().status == 200


def reachable(port):
    try:
        return http(port, timeout=2).status == 200
    except (OSError, AssertionError):
        return False


def test_counters_do_not_fall_back_with_a_reload(start, origin):
    weir = start(config(origin, timeouts={"idle": "500ms"}))
    volley([weir.port], 200, None, threads=4)
    before = weir.metric("weir_requests_total")
    assert before >= 200
    old = weir.workers()
    weir.reload(config(origin, caps={"headers": 81}, timeouts={"idle": "500ms"}))
    assert weir.metric("weir_requests_total") >= before
    wait_for(lambda: not any(alive(p) for p in old), 20)
    assert weir.metric("weir_requests_total") >= before


def test_many_hups_at_once(start, origin):
    weir = start(config(origin))
    for _ in range(20):
        weir.hup()
    wait_for(lambda: reachable(weir.port), 15)
    wait_for(lambda: len([p for p in weir.workers()]) <= 4, 10)
    assert weir.get().status == 200


# Dead processes

def test_killed_worker_is_replaced(start, origin):
    weir = start(config(origin, rate_limit={"policies": {"default": {"requests": 5, "window": "60s"}}}), expect_crash=True)
    for _ in range(4):
        assert weir.get(xff="203.0.113.1").status == 200
    count = weir.metric("weir_requests_total")
    victim = weir.workers()[0]
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: len(weir.workers()) == 2 and victim not in weir.workers(), 4, "a worker comes at once")
    wait_for(lambda: all(reachable(weir.port) for _ in range(8)), 15)
    statuses = [weir.get(xff="203.0.113.1").status for _ in range(3)]
    assert statuses == [200, 429, 429], "the window lives in shared memory"
    assert weir.metric("weir_requests_total") >= count
    assert weir.metric("weir_process_crashes_total") >= 1
    weir.wait_own_log("SIGKILL|signal 9|killed")
    assert str(victim) in weir.ctl("events") or "worker" in weir.ctl("events")


def test_dead_worker_takes_only_its_own_connections(start, origin):
    weir = start(config(origin), expect_crash=True)
    clients = [weir.client(timeout=10) for _ in range(40)]
    try:
        for c in clients:
            assert c.request().status == 200
        os.kill(weir.workers()[0], signal.SIGKILL)
        lived = 0
        for c in clients:
            try:
                lived += c.request().status == 200
            except (OSError, AssertionError):
                pass
        assert 5 <= lived <= 35
    finally:
        for c in clients:
            c.close()
    wait_for(lambda: reachable(weir.port), 15)


def test_crashed_worker_tells_its_signal(start, origin):
    weir = start(config(origin), expect_crash=True)
    os.kill(weir.workers()[0], signal.SIGSEGV)
    weir.wait_own_log("SIGSEGV|signal 11|segmentation")
    wait_for(lambda: len(weir.workers()) == 2, 20)


def test_silent_worker_is_aborted_and_replaced(start, origin):
    weir = start(config(origin), expect_crash=True)
    wait_for(lambda: weir.ctl("status", json=True)["workers"] == 2, 15, "a worker that starts has more time")
    victim = weir.workers()[0]
    os.kill(victim, signal.SIGSTOP)
    wait_for(lambda: not alive(victim), 20, "a worker that is silent for 5 s is aborted")
    wait_for(lambda: len(weir.workers()) == 2, 15)
    wait_for(lambda: all(reachable(weir.port) for _ in range(6)), 15)


def test_killed_control_is_replaced(start, origin):
    weir = start(config(origin), expect_crash=True)
    volley([weir.port], 100, None, threads=2)
    count = weir.metric("weir_requests_total")
    weir.lift("--everyone")
    victim = weir.control()
    with Load(weir.port) as load:
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: weir.control() not in (None, victim), 15)
        wait_for(lambda: weir.run_ctl("status").returncode == 0, 15)
    assert load.failures == [], "clients notice nothing"
    assert len(weir.ctl("limits", "status", json=True)["lifts"]) == 1
    assert weir.metric("weir_requests_total") >= count + load.count
    weir.get("/after-control")
    weir.wait_log(lambda e: e["path"] == "/after-control")


def test_killed_master_leaves_nobody_behind(start, origin):
    weir = start(config(origin, drain={"grace": "100ms", "timeout": "2s"}), expect_crash=True)
    assert weir.get().status == 200
    weir.send_signal(signal.SIGKILL)
    weir.proc.wait()
    wait_for(lambda: not group_members(weir.proc.pid), 20, "children leave with their master")


def test_from_the_answer_of_a_reload_on_every_connection_meets_the_new_config(start, origin):
    """However many connections come: none after the answer is served by a worker of the old config."""
    hosts = [[{"hosts": ["a.example"], "upstream": "main"}], [{"hosts": ["b.example"], "upstream": "main"}]]
    weir = start(base_config(origin, workers=4, sites=hosts[0]))
    for turn in range(1, 7):
        weir.reload(base_config(origin, workers=4, sites=hosts[turn % 2]))
        wanted, gone = ("b.example", "a.example") if turn % 2 else ("a.example", "b.example")
        assert {weir.get(host=gone).status for _ in range(20)} == {421}
        assert {weir.get(host=wanted).status for _ in range(20)} == {200}


def test_the_answer_of_a_reload_waits_for_old_workers_to_hear_of_it(start, origin):
    weir = start(base_config(origin, workers=2))
    old, began = weir.workers()[0], time.monotonic()
    os.kill(old, signal.SIGSTOP)
    going_on = threading.Timer(1.0, os.kill, (old, signal.SIGCONT))
    going_on.start()
    try:
        weir.reload()
        assert time.monotonic() - began >= 1.0
    finally:
        going_on.join()
    wait_for(lambda: not alive(old), 15)


def test_a_stuck_old_worker_does_not_hold_a_reload_up_for_long(start, origin):
    weir = start(base_config(origin, workers=2), expect_crash=True)
    old = weir.workers()[0]
    os.kill(old, signal.SIGSTOP)
    try:
        weir.reload()
        assert weir.get().status == 200
    finally:
        os.kill(old, signal.SIGCONT)
