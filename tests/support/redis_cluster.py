"""A small Redis Cluster, and moving its slots step by step while a test looks."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from processes import eventually, free_ports
from redis import RedisCluster
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import ResponseError
from redis.retry import Retry
from redis_servers import Server, running, valkey_binary

SLOTS = 16_384
MIGRATE_MS = 5_000


@dataclass
class Cluster:
    """Masters without replicas; slots are shared out evenly."""

    nodes: list[Server]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"redis+cluster://{hosts}"

    def client(self) -> Any:
        """A plain redis-py cluster client (answers are bytes)."""
        never = Retry(NoBackoff(), 0)
        return RedisCluster(host="127.0.0.1", port=self.nodes[0].port, retry=never)

    def flush(self) -> None:
        """Empty every node."""
        for node in self.nodes:
            with node.client() as client:
                client.execute_command("FLUSHALL", "SYNC")

    def ask(self, node: int, *words: Any) -> Any:
        """Say one command to one node."""
        with self.nodes[node].client() as client:
            return client.execute_command(*words)

    def id_of(self, node: int) -> str:
        """The cluster's name of a node."""
        answer: bytes = self.ask(node, "CLUSTER", "MYID")
        return answer.decode()

    def owner(self, slot: int) -> int:
        """Which node serves a slot, as the nodes themselves say."""
        for index, node in enumerate(self.nodes):
            for start, stop, master in self._ranges(index):
                if start <= slot <= stop and master == node.port:
                    return index
        raise LookupError(f"nobody serves slot {slot}")

    def _ranges(self, node: int) -> Iterator[tuple[int, int, int]]:
        with self.nodes[node].client() as client:
            raw = client.connection_pool.get_connection()
            try:
                raw.send_command("CLUSTER", "SLOTS")
                for start, stop, master, *_ in raw.read_response():
                    yield int(start), int(stop), int(master[1])
            finally:
                client.connection_pool.release(raw)


@contextmanager
def cluster(n: int = 3, *, binary: Path | None = None, **options: Any) -> Iterator[Cluster]:
    """`n` masters that agree (cluster_state:ok) for the length of the block."""
    with ExitStack() as stack:
        nodes = []
        words = ("--cluster-enabled", "yes", "--cluster-node-timeout", "5000")
        words = (*words, *options.pop("extra", ()))
        for bus in free_ports(n):
            extra = (*words, "--cluster-port", str(bus))
            server = running(binary or valkey_binary(), tcp=True, extra=extra, **options)
            nodes.append((stack.enter_context(server), bus))
        made = Cluster([node for node, _ in nodes])
        _introduce(made, [bus for _, bus in nodes])
        yield made


@contextmanager
def replica(of: Cluster, node: int) -> Iterator[Server]:
    """A replica of a master, which has its data, for the length of the block."""
    (bus,) = free_ports(1)
    extra = ("--cluster-enabled", "yes", "--cluster-node-timeout", "5000")
    extra = (*extra, "--cluster-port", str(bus))
    with running(valkey_binary(), tcp=True, extra=extra) as server, server.client() as client:

        def is_in_step() -> bool:
            try:
                client.execute_command("CLUSTER", "REPLICATE", of.id_of(node))
            except ResponseError:  # it has not met the master yet
                return False
            return bool(client.info("replication")["master_link_status"] == "up")

        of.ask(node, "CLUSTER", "MEET", "127.0.0.1", server.port, bus)
        eventually(is_in_step, within_s=20, what="the replica has the master's data")
        yield server


def _introduce(made: Cluster, buses: Sequence[int]) -> None:
    count = len(made.nodes)
    bounds = [SLOTS * index // count for index in range(count + 1)]
    for index in range(count):
        made.ask(index, "CLUSTER", "ADDSLOTSRANGE", bounds[index], bounds[index + 1] - 1)
        made.ask(index, "CLUSTER", "SET-CONFIG-EPOCH", index + 1)
    for node, bus in zip(made.nodes[1:], buses[1:], strict=True):
        made.ask(0, "CLUSTER", "MEET", "127.0.0.1", node.port, bus)
    eventually(lambda: _agreed(made), within_s=20, what="cluster_state:ok on every node")


def _agreed(made: Cluster) -> bool:
    wanted = (b"cluster_state:ok", f"cluster_known_nodes:{len(made.nodes)}".encode())
    for index in range(len(made.nodes)):
        told = made.ask(index, "CLUSTER", "INFO")
        lines = told if isinstance(told, bytes) else _joined(told)
        if not all(line in lines.split() for line in wanted):
            return False
    return True


def _joined(info: dict[str, str]) -> bytes:
    return "\n".join(f"{name}:{value}" for name, value in info.items()).encode()


@dataclass
class SlotMove:
    """A slot on its way to another node, at the pace of the test.

    Between `begin` and `finish` the old owner answers ASK for keys that have gone, and TRYAGAIN
    to a command whose keys are on both sides.
    """

    cluster: Cluster
    slot: int
    to: int
    source: int = field(init=False)

    def __post_init__(self) -> None:
        self.source = self.cluster.owner(self.slot)

    def begin(self) -> None:
        """IMPORTING at the target, then MIGRATING at the source."""
        here, there = (self.cluster.id_of(node) for node in (self.source, self.to))
        self.cluster.ask(self.to, "CLUSTER", "SETSLOT", self.slot, "IMPORTING", here)
        self.cluster.ask(self.source, "CLUSTER", "SETSLOT", self.slot, "MIGRATING", there)

    def keys(self) -> list[bytes]:
        """The keys that have not moved yet."""
        found: list[bytes] = self.cluster.ask(
            self.source, "CLUSTER", "GETKEYSINSLOT", self.slot, 10_000
        )
        return found

    def move(self, *keys: bytes | str) -> None:
        """MIGRATE these keys to the target."""
        port = self.cluster.nodes[self.to].port
        where = ("127.0.0.1", port, "", 0, MIGRATE_MS)
        self.cluster.ask(self.source, "MIGRATE", *where, "KEYS", *keys)

    def finish(self) -> None:
        """Move what is left and tell every node who owns the slot now."""
        if left := self.keys():
            self.move(*left)
        owner = self.cluster.id_of(self.to)
        others = [n for n in range(len(self.cluster.nodes)) if n not in {self.to, self.source}]
        for node in (self.to, self.source, *others):
            self.cluster.ask(node, "CLUSTER", "SETSLOT", self.slot, "NODE", owner)


def move_slot(cluster: Cluster, slot: int, to: int, *, keys_per_step: int = 1) -> Iterator[int]:
    """Move a slot, stopping before the first key, after every step and after the end.

    Yields how many keys are still at the source; -1 when the slot has its new owner:

        for left in move_slot(cluster, slot, to=1):
            ...  # anything a client may do while a slot is on its way
    """
    move = SlotMove(cluster, slot, to)
    move.begin()
    while keys := move.keys():
        yield len(keys)
        move.move(*keys[:keys_per_step])
    yield 0
    move.finish()
    yield -1


def slot_of(key: str) -> int:
    """The slot of a key (its hash tag, if it has one)."""
    return key_slot(key.encode())
