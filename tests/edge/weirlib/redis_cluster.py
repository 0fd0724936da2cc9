# SPDX-License-Identifier: MIT
"""A Redis Cluster on loopback: three masters and, if wanted, three replicas.

It is formed by hand, which is quicker than redis-cli.
"""
import re
import subprocess
import time

from .redis import RedisServer
from .util import free_port, wait_for

SLOTS = 16384
NODE_TIMEOUT_MS = 1500
BUS_ABOVE = 10000    # by how much the port of the nodes among themselves is above the clients', if it cannot be named


def has_bus_port():
    """Whether the port of the nodes among themselves can be named: since 7.0."""
    version = subprocess.run(["redis-server", "--version"], capture_output=True, text=True).stdout
    return not re.search(r"v=[1-6]\.", version)


def node_args(bus, more=()):
    return ["--cluster-enabled", "yes", *(["--cluster-port", str(bus)] if bus else []), "--cluster-config-file", "nodes.conf",
            "--cluster-node-timeout", str(NODE_TIMEOUT_MS), "--cluster-replica-validity-factor", "0",
            "--cluster-require-full-coverage", "no", "--repl-diskless-sync-delay", "0", *more]


class RedisCluster:
    def __init__(self, args=(), replicas=True):
        self.nodes = []
        try:
            for _ in range(6 if replicas else 3):
                bus, more = free_port(), args() if callable(args) else args
                if has_bus_port():
                    self.nodes.append(RedisServer(args=node_args(bus, more)))
                else:
                    self.nodes.append(RedisServer(port=bus - BUS_ABOVE, args=node_args(0, more)))
            self._form()
        except BaseException:
            self.close()
            raise

    def _form(self):
        first = self.nodes[0]
        share = SLOTS // 3 + 1
        for i, node in enumerate(self.nodes):
            node.cli("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
            bus = node.port + BUS_ABOVE
            if "--cluster-port" in node.args:
                bus = node.args[node.args.index("--cluster-port") + 1]
            if i:
                first.cli("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
            if i < 3:
                node.cli("CLUSTER", "ADDSLOTS", *range(i * share, min(SLOTS, (i + 1) * share)))
        wait_for(lambda: all(len(self.view(n)) == len(self.nodes) for n in self.nodes), 20, "all know each other")
        for i, node in enumerate(self.nodes[3:]):
            node.cli("CLUSTER", "REPLICATE", self.id(self.nodes[i]))
        wait_for(self.well, 30, "the cluster is formed")

    def well(self):
        for node in self.running():
            if "cluster_state:ok" not in node.cli("CLUSTER", "INFO") or "cluster_slots_ok:16384" not in node.cli(
                    "CLUSTER", "INFO"):
                return False
            repl = node.info("replication")
            if repl["role"] == "slave" and repl["master_link_status"] != "up":
                return False
        view = self.view(self.running()[0])
        return all(role_of(v) in ("master", "slave") and v["link"] == "connected" for v in view.values())

    def running(self):
        return [n for n in self.nodes if n.proc and n.proc.running()]

    def view(self, node):
        """What that node says of all: {id: {"port", "flags", "slots", "link"}}."""
        out = {}
        for line in node.cli("CLUSTER", "NODES").splitlines():
            f = line.split()
            out[f[0]] = {"port": int(f[1].split("@")[0].rpartition(":")[2]), "flags": f[2].split(","), "master": f[3],
                         "link": f[7], "slots": f[8:]}
        return out

    def id(self, node):
        return node.cli("CLUSTER", "MYID")

    def by_port(self, port):
        return next(n for n in self.nodes if n.port == port)

    def masters(self):
        view = self.view(self.running()[0])
        return [self.by_port(v["port"]) for v in view.values() if role_of(v) == "master" and v["slots"]]

    def slot(self, key):
        return int(self.running()[0].cli("CLUSTER", "KEYSLOT", key))

    def master_of(self, key):
        slot = self.slot(key)
        for v in self.view(self.running()[0]).values():
            for r in v["slots"]:
                lo, _, hi = r.partition("-")
                if not r.startswith("[") and int(lo) <= slot <= int(hi or lo):
                    return self.by_port(v["port"])
        raise AssertionError("nobody has slot %d" % slot)

    def replica_of(self, master):
        mine = self.id(master)
        for v in self.view(self.running()[0]).values():
            if v["master"] == mine:
                return self.by_port(v["port"])
        raise AssertionError("no replica of port %d" % master.port)

    def failover(self, replica):
        """A planned one; asked for again where a busy machine let it time out."""
        asked = [0.0]

        def done():
            if time.monotonic() - asked[0] > 3:
                asked[0] = time.monotonic()
                replica.cli("CLUSTER", "FAILOVER")
            return replica.info("replication")["role"] == "master"
        wait_for(done, 20, "the replica is master")

    @property
    def url(self):
        return self.nodes[0].url

    def cli_everywhere(self, *args):
        return [n.cli(*args) for n in self.running()]

    def decisions(self):
        return sum(n.decisions() for n in self.running())

    def close(self):
        return "\n".join(t for t in [n.close() for n in self.nodes] if t)


def role_of(view):
    for role in ("fail", "fail?", "handshake", "noaddr"):
        if role in view["flags"]:
            return role
    return "master" if "master" in view["flags"] else "slave"


class Resharding:
    """Moves a slot with all its keys from its master to another, step by step as an operator's tool would."""

    def __init__(self, cluster, slot, source, target):
        self.cluster, self.slot, self.source, self.target = cluster, slot, source, target
        self.source_id, self.target_id = cluster.id(source), cluster.id(target)

    def begin(self):
        self.target.cli("CLUSTER", "SETSLOT", self.slot, "IMPORTING", self.source_id)
        self.source.cli("CLUSTER", "SETSLOT", self.slot, "MIGRATING", self.target_id)

    def move_keys(self):
        while keys := self.source.cli("CLUSTER", "GETKEYSINSLOT", self.slot, 100).split():
            self.source.cli("MIGRATE", "127.0.0.1", self.target.port, "", 0, 5000, "KEYS", *keys)

    def end(self):
        for node in [self.target, self.source, *self.cluster.masters()]:
            node.cli("CLUSTER", "SETSLOT", self.slot, "NODE", self.target_id)

    def all(self):
        self.begin()
        self.move_keys()
        self.end()
