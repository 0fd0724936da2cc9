# SPDX-License-Identifier: MIT
"""A Redis Cluster of three masters and three replicas: exact while slots move and masters change, never a 5xx."""
import re
import threading

import pytest

from weirlib import base_config, free_port, wait_for
from weirlib.limits import admitted, refused, volley
from weirlib.redis_cluster import RedisCluster, Resharding, has_bus_port
from weirlib.tls import Authority


@pytest.fixture(scope="module")
def cluster(module_closing):
    return module_closing.add(RedisCluster())


@pytest.fixture(autouse=True)
def whole_again(cluster):
    """Each test finds six nodes in good health, and empty."""
    for node in cluster.masters():
        node.cli("FLUSHALL")
    yield
    for node in cluster.nodes:
        if not node.proc.running():
            node.start()
    cluster.cli_everywhere("CONFIG", "SET", "cluster-replica-no-failover", "no")
    wait_for(cluster.well, 30, "the cluster is well again")
    cluster.cli_everywhere("CONFIG", "SET", "cluster-preferred-endpoint-type", "ip")


def config(origin, url, requests=50, window="60s", policies=None, sites=None, **redis):
    return base_config(origin, workers=2, rate_limit={
        "store": "redis", "redis": dict({"url": url}, **redis),
        "policies": policies or {"default": {"requests": requests, "window": window}}},
        sites=sites or [{"hosts": ["*"], "upstream": "main"}])


def wait_ready(weir, timeout=20):
    wait_for(lambda: weir.metric("weir_store_state", state="ready") == len(weir.workers()), timeout,
             "each worker reaches all nodes")


@pytest.fixture
def pair(start, origin, cluster):
    def make(**kw):
        url, kw = kw.pop("url", cluster.url), {"timeout": "2s", **kw}    # time enough for a busy machine
        weirs = [start(config(origin, url, **kw)) for _ in range(2)]
        for w in weirs:
            wait_ready(w)
            wait_for(lambda w=w: w.metric("weir_fleet_size") == 2, 15, "both weirs know of each other")
        return weirs
    return make


def ports(weirs):
    return [w.port for w in weirs]


def clients_by_master(cluster, n, net="203.0.113"):
    """{port of a master: n clients whose slots it has}"""
    found = {m.port: [] for m in cluster.masters()}
    for i in range(1, 255):
        client = "%s.%d" % (net, i)
        mine = found[cluster.master_of("{%s}" % client).port]
        if len(mine) < n:
            mine.append(client)
        if all(len(f) == n for f in found.values()):
            return found
    raise AssertionError("no such clients")


def assert_asks_redis(weir, clients):
    """Control has a map of its own, which may be a moment behind the workers'."""
    for c in clients:
        wait_for(lambda c=c: weir.client_state(c)["source"] == "redis", 10, "control reaches the node of " + c)


class Load:
    """Requests of some clients without end, until stopped; all that came back."""

    def __init__(self, weirs, clients):
        self.shots, self.stop = {c: [] for c in clients}, threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(ports(weirs), c)) for c in clients]

    def _run(self, where, client):
        while not self.stop.is_set():
            self.shots[client].extend(volley(where, 10, client, threads=2))

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *exc):
        self.stop.set()
        for t in self.threads:
            t.join()

    def statuses(self):
        return {s.status for shots in self.shots.values() for s in list(shots)}

    def count(self, client):
        return len(self.shots[client])


def test_one_limit_over_all_nodes(pair, cluster):
    weirs = pair(requests=30)
    for port, clients in clients_by_master(cluster, 2, "192.0.2").items():
        for client in clients:
            shots = volley(ports(weirs), 60, client, threads=8)
            assert len(admitted(shots)) == 30 and len(refused(shots)) == 30
            keys = cluster.by_port(port).cli("--scan", "--pattern", "*%s*" % client).split()
            assert keys, "the client's window is where his slot is"
            assert weirs[0].client_state(client)["used"] == 30
            assert weirs[1].client_state(client)["source"] == "redis"
    status = weirs[0].ctl("status", json=True)
    assert status["store"]["cluster"] is True and status["store"]["state"] == "ready"
    assert {n["state"] for n in status["store"]["nodes"]} == {"ready"} and len(status["store"]["nodes"]) == 3
    assert weirs[0].ctl("status").count("  node ") == 3


def test_commands_find_the_right_node(pair, cluster):
    one, two = pair(requests=3)
    for clients in clients_by_master(cluster, 1, "198.51.100").values():
        assert [one.get(xff=clients[0]).status for _ in range(4)] == [200, 200, 200, 429]
        one.ctl("clients", "forgive", clients[0])
        wait_for(lambda c=clients[0]: two.get(xff=c).status == 200, 15, "forgiven on the other weir too")
    out = one.ctl("limits", "lift", "--for", "1m", "--reason", "test", "--everyone")
    assert "2 of 2 weirs" in out
    assert [two.get(xff="198.51.100.250").status for _ in range(5)] == [200] * 5
    assert "2 of 2 weirs" in two.ctl("limits", "restore")


def test_slots_move_under_load(pair, cluster):
    """Exactly the limit, though the client's slot goes to another master and back while he asks."""
    policies = {"default": {"requests": 400, "window": "60s"}, "login": {"requests": 400, "window": "60s"}}
    weirs = pair(policies=policies, sites=[{"hosts": ["*"], "upstream": "main",
                                            "paths": [{"prefix": "/", "rate_limit": "login"}]}])
    client = "203.0.113.77"
    source = cluster.master_of("{%s}" % client)
    target = next(m for m in cluster.masters() if m is not source)
    slot = cluster.slot("{%s}" % client)
    with Load(weirs, [client]) as load:
        for a, b in ((source, target), (target, source)):
            seen = load.count(client)
            move = Resharding(cluster, slot, a, b)
            move.begin()
            wait_for(lambda: load.count(client) > seen + 30, 10)
            move.move_keys()
            wait_for(lambda: load.count(client) > seen + 60, 10)
            move.end()
            wait_for(lambda: load.count(client) > seen + 90, 10)
        wait_for(lambda: len(refused(load.shots[client])) > 20, 20)
    assert load.statuses() == {200, 429}
    assert len(admitted(load.shots[client])) == 400
    assert sum(w.metric("weir_store_failures_total", kind="moved") or 0 for w in weirs) > 0


def test_a_planned_failover_under_load(pair, cluster):
    """CLUSTER FAILOVER loses nothing: exact all through it, though the questions meet a MOVED."""
    weirs = pair(requests=300, timeout="10s")    # while masters change questions wait
    client = "203.0.113.91"
    replica = cluster.replica_of(cluster.master_of("{%s}" % client))
    with Load(weirs, [client]) as load:
        wait_for(lambda: load.count(client) > 50, 10)
        cluster.failover(replica)
        wait_for(lambda: cluster.master_of("{%s}" % client) is replica, 10)
        wait_for(lambda: len(refused(load.shots[client])) > 20, 20)
    assert load.statuses() == {200, 429}
    assert len(admitted(load.shots[client])) == 300
    for w in weirs:
        wait_ready(w)
    shots = volley(ports(weirs), 400, "203.0.113.92", threads=8)
    assert len(admitted(shots)) == 300


def test_a_master_that_dies_takes_only_its_slots(pair, cluster):
    weirs = pair(requests=100000, timeout="100ms")
    by_master = clients_by_master(cluster, 1)
    victim = cluster.masters()[0]
    replica = cluster.replica_of(victim)
    replica.cli("CONFIG", "SET", "cluster-replica-no-failover", "yes")    # until all was looked at
    lost = by_master.pop(victim.port)[0]
    others = [c[0] for c in by_master.values()]
    with Load(weirs, [lost, *others]) as load:
        wait_for(lambda: all(load.count(c) > 20 for c in load.shots), 10)
        victim.kill()
        wait_for(lambda: all(w.metric("weir_store_state", state="degraded") == 2 for w in weirs), 15)
        assert_asks_redis(weirs[0], others)
        wait_for(lambda: weirs[0].client_state(lost)["source"] == "local", 10)
        assert weirs[0].get(xff=lost).status == 200
        replica.cli("CONFIG", "SET", "cluster-replica-no-failover", "no")
        for w in weirs:
            wait_ready(w, 20)
        seen = {c: load.count(c) for c in load.shots}
        wait_for(lambda: all(load.count(c) > seen[c] + 20 for c in load.shots), 10)
    assert load.statuses() == {200}
    new = [c for cs in clients_by_master(cluster, 2, "198.51.100").values() for c in cs]
    assert_asks_redis(weirs[1], [lost, *others, *new])
    assert_asks_redis(weirs[0], others)
    events = weirs[0].ctl("events")
    assert re.search(r"store node 127\.0\.0\.1:%d ready -> connecting" % victim.port, events)
    assert re.search(r"store ready -> degraded: 2 of 3 nodes answer", events)
    used = sum(s.status == 200 for s in load.shots[others[0]])
    wait_for(lambda: weirs[0].client_state(others[0])["used"] == used, 10, "the other nodes' clients were exact all the time")


def test_a_frozen_master_takes_only_its_slots(pair, cluster):
    weirs = pair(requests=1000, timeout="60ms")
    by_master = clients_by_master(cluster, 1)
    victim = cluster.masters()[0]
    lost, other = by_master.pop(victim.port)[0], by_master.popitem()[1][0]
    victim.freeze()
    try:
        shots = volley(ports(weirs), 40, lost, threads=2) + volley(ports(weirs), 40, other, threads=2)
        assert {s.status for s in shots} == {200}
        assert max(s.got - s.sent for s in shots) < 0.06 + 1.0    # a busy machine's second
        assert_asks_redis(weirs[1], [other])
        wait_for(lambda: weirs[1].client_state(other)["used"] == 40, 10)
        for w in weirs:
            wait_ready(w, 20)    # the replica is promoted
    finally:
        victim.thaw()
    assert_asks_redis(weirs[0], [lost])


def test_it_goes_on_without_the_server_of_the_url(pair, cluster):
    """The url names one node, a replica; when it is gone the others are asked for the map, and tell the news."""
    first, master, _ = cluster.masters()    # each node names them in an order of its own
    named, replica = cluster.replica_of(first), cluster.replica_of(master)
    weirs = pair(url=named.url, requests=20)
    named.kill()
    cluster.failover(replica)
    wait_for(lambda: master not in cluster.masters(), 10)
    for client in [c[0] for c in clients_by_master(cluster, 1).values()]:
        for w in weirs:
            assert_asks_redis(w, [client])
        shots = volley(ports(weirs), 40, client, threads=4)
        assert len(admitted(shots)) == 20
    assert "2 of 2 weirs" in weirs[0].ctl("limits", "lift", "--for", "1m", "--reason", "test", "--everyone")
    weirs[0].ctl("limits", "restore")


@pytest.mark.skipif("not has_bus_port()", reason="nodes tell host names since Redis 7.0")
@pytest.mark.parametrize("kind", ["hostname", "unknown-endpoint"])
def test_nodes_that_say_their_names_or_nothing(pair, cluster, kind):
    """Announced host names are resolved; where a node does not say where it is it is on the host that was asked."""
    cluster.cli_everywhere("CONFIG", "SET", "cluster-announce-hostname", "localhost")
    wait_for(lambda: all(n.cli("CLUSTER", "NODES").count(",localhost") == len(cluster.nodes) for n in cluster.nodes), 10,
             "every node knows the name of every node")
    cluster.cli_everywhere("CONFIG", "SET", "cluster-preferred-endpoint-type", kind)
    weirs = pair(requests=5)
    for clients in clients_by_master(cluster, 1).values():
        assert len(admitted(volley(ports(weirs), 10, clients[0], threads=4))) == 5
    place = "localhost" if kind == "hostname" else "127.0.0.1"
    wait_for(lambda: {n["address"].partition(":")[0] for n in weirs[0].ctl("status", json=True)["store"]["nodes"]} == {place},
             10, "each node is at " + place)


def test_a_cluster_over_tls(start, origin, closing):
    """Every node is reached over TLS, by the port that it announces for it, and its certificate is checked."""
    ca = closing.add(Authority())
    made = ca.issue("127.0.0.1")
    tls_ports = []

    def args():
        tls_ports.append(free_port())
        return ["--tls-port", str(tls_ports[-1]), "--tls-cluster", "yes", "--tls-cert-file", made.pem,
                "--tls-key-file", made.key, "--tls-ca-cert-file", ca.pem, "--tls-auth-clients", "no"]
    secure = closing.add(RedisCluster(args=args, replicas=False))
    weir = start(config(origin, "rediss://127.0.0.1:%d" % tls_ports[0], requests=5, timeout="2s", ca=ca.pem))
    wait_ready(weir)
    for i in range(1, 10):
        assert len(admitted(volley([weir.port], 8, "203.0.113.%d" % i, threads=2))) == 5
    wait_for(lambda: {int(n["address"].rpartition(":")[2]) for n in weir.ctl("status", json=True)["store"]["nodes"]} ==
             set(tls_ports), 10)
    wait_for(lambda: sum("name=weir" in line for out in secure.cli_everywhere("CLIENT", "LIST")
                         for line in out.splitlines()) >= 9, 10, "two workers and control are at each of three nodes")


def test_a_cluster_that_is_down_is_no_error(pair, cluster):
    """With full coverage asked for, a master that is gone for good takes all with it: CLUSTERDOWN, decided locally."""
    cluster.cli_everywhere("CONFIG", "SET", "cluster-require-full-coverage", "yes")
    weirs = pair(requests=1000)
    victim = cluster.masters()[0]
    cluster.replica_of(victim).kill()
    victim.kill()
    try:
        wait_for(lambda: "cluster_state:fail" in cluster.running()[0].cli("CLUSTER", "INFO"), 15)
        shots = []
        wait_for(lambda: shots.extend(volley(ports(weirs), 20, "203.0.113.%d" % (1 + len(shots) % 200), threads=4)) or
                 weirs[0].metric("weir_store_failures_total", kind="clusterdown") > 0, 15)
        assert {s.status for s in shots} == {200}
    finally:
        cluster.cli_everywhere("CONFIG", "SET", "cluster-require-full-coverage", "no")


def test_cluster_off_says_what_is_wrong(start, origin, cluster):
    weir = start(config(origin, cluster.url, requests=5, cluster="off"))
    statuses = [weir.get(xff="203.0.113.%d" % i).status for i in range(1, 30)]
    assert set(statuses) == {200}
    weir.wait_own_log("rate_limit.redis.cluster is off")


def test_cluster_on_wants_a_cluster(start, origin, redis):
    weir = start(config(origin, redis.url, requests=5, cluster="on"))
    assert [weir.get(xff="203.0.113.1").status for _ in range(7)].count(429) >= 1
    weir.wait_own_log("no node of a Redis Cluster")
