"""Debian's Redis as Sentinel trio and as Cluster of 3 + 3, with TLS and the ACLs that ship."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis_tls
from processes import end, eventually, free_ports, spawn
from redis import Redis
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import RedisError
from redis.retry import Retry
from redis_secured import ADMIN, USER, password_of, users
from redis_servers import Options, Server, redis7_binary, temporary_folder

SLOTS = 16_384
MASTER = "mymaster"
DOWN_AFTER_MS = 2_000
"""How long a primary must be silent until it counts as gone, in both topologies."""
STAND_S = 40.0


@dataclass
class Deployment:
    """Servers with replicas. `url` and `files` are what Credstream is given."""

    url: str
    folder: Path
    primaries: list[Server]
    replicas: list[Server]

    def files(self) -> dict[str, str]:
        """The environment beside REDIS_URL: everything secret is in files."""
        return {
            "REDIS_TLS_CA_FILE": str(self.folder / "ca.pem"),
            "REDIS_PASSWORD_FILE": str(self.folder / "password"),
            "REDIS_SENTINEL_USERNAME": USER,
            "REDIS_SENTINEL_PASSWORD_FILE": str(self.folder / "password"),
        }

    def primary_of(self, key: str) -> Server:
        """Who serves a key before anything is killed."""
        if len(self.primaries) == 1:
            return self.primaries[0]
        return self.primaries[key_slot(key.encode()) * len(self.primaries) // SLOTS]

    def heir_of(self, primary: Server) -> Server:
        """The replica that takes over."""
        return self.replicas[self.primaries.index(primary)]

    def refused(self) -> list[str]:
        """What the ACLs of the servers that live have refused."""
        found = []
        for server in (*self.primaries, *self.replicas):
            if server.process is not None and server.process.poll() is None:
                with server.client() as client:
                    log = client.execute_command("ACL", "LOG")
                found += [f"{one['username']} {one['reason']} {one['object']}" for one in log]
        return found


def _server(stack: ExitStack, folder: Path, port: int, extra: tuple[str, ...]) -> Server:
    own = stack.enter_context(temporary_folder())
    words = (
        *("--tls-port", str(port), *redis_tls.words(folder)),
        *("--masteruser", "replica", "--masterauth", password_of("replica"), *extra),
    )
    options = Options(
        appendfsync="everysec", acl=users(), username=ADMIN, password="admin", extra=words
    )
    server = Server(redis7_binary(), own, options, port=port)
    stack.callback(server.stop)
    server.start()
    return server


@contextmanager
def _prepared() -> Iterator[tuple[ExitStack, Path]]:
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        redis_tls.certify(redis_tls.authority(folder), folder)
        (folder / "password").write_text(password_of(USER))
        yield stack, folder


@contextmanager
def sentinels() -> Iterator[Deployment]:
    """A primary, a replica and three sentinels."""
    with _prepared() as (stack, folder):
        ports = free_ports(5)
        follow = ("--replicaof", "127.0.0.1", str(ports[0]))
        primary = _server(stack, folder, ports[0], ())
        replica = _server(stack, folder, ports[1], follow)
        for port in ports[2:]:
            own = stack.enter_context(temporary_folder())
            (own / "users.acl").write_text(users("sentinel.acl"))
            config = own / "sentinel.conf"
            config.write_text(_sentinel(own, folder, port, ports[0]))
            watcher = spawn([redis7_binary(), config, "--sentinel"], cwd=own)
            stack.callback(end, watcher)
        hosts = ",".join(f"localhost:{port}" for port in ports[2:])
        url = f"rediss+sentinel://{USER}@{hosts}/{MASTER}"
        for port in ports[2:]:
            eventually(
                lambda port=port: _knows_all(folder, port),
                within_s=STAND_S,
                what="the sentinels know everyone",
            )
        eventually(
            lambda: "master_link_status:up" in _info(replica),
            within_s=STAND_S,
            what="the replica follows",
        )
        yield Deployment(url, folder, [primary], [replica])


def _sentinel(own: Path, tls: Path, port: int, primary: int) -> str:
    watcher = f'"{password_of("sentinel")}"'
    return f"""port 0
tls-port {port}
bind 127.0.0.1
dir {own}
tls-cert-file {tls}/redis.crt
tls-key-file {tls}/redis.key
tls-ca-cert-file {tls}/ca.pem
tls-auth-clients optional
tls-replication yes
aclfile {own}/users.acl
sentinel sentinel-user sentinel
sentinel sentinel-pass {watcher}
sentinel monitor {MASTER} 127.0.0.1 {primary} 2
sentinel auth-user {MASTER} sentinel
sentinel auth-pass {MASTER} {watcher}
sentinel down-after-milliseconds {MASTER} {DOWN_AFTER_MS}
sentinel failover-timeout {MASTER} 6000
"""


def _knows_all(folder: Path, port: int) -> bool:
    login = {"username": ADMIN, "password": "admin", "retry": Retry(NoBackoff(), 0)}
    try:
        with Redis(port=port, ssl=True, ssl_ca_certs=str(folder / "ca.pem"), **login) as client:
            told = client.sentinel_master(MASTER)
    except (RedisError, OSError):
        return False
    return (told["num-slaves"], told["num-other-sentinels"]) == (1, 2)


@contextmanager
def cluster_3_3() -> Iterator[Deployment]:
    """Three primaries and a replica of each."""
    with _prepared() as (stack, folder):
        free = free_ports(12)
        ports, buses = free[:6], free[6:]
        nodes = []
        for port, bus in zip(ports, buses, strict=True):
            extra = (
                *("--cluster-enabled", "yes", "--cluster-port", str(bus)),
                *("--cluster-node-timeout", str(DOWN_AFTER_MS), "--tls-cluster", "yes"),
            )
            nodes.append(_server(stack, folder, port, extra))
        primaries, replicas = nodes[:3], nodes[3:]
        for number, node in enumerate(primaries):
            bounds = [SLOTS * one // 3 for one in (number, number + 1)]
            _tell(node, "CLUSTER", "ADDSLOTSRANGE", bounds[0], bounds[1] - 1)
        for number, node in enumerate(nodes):
            _tell(node, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node, bus in zip(nodes[1:], buses[1:], strict=True):
            _tell(nodes[0], "CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        eventually(lambda: _agreed(nodes), within_s=STAND_S, what="all nodes know each other")
        for primary, replica in zip(primaries, replicas, strict=True):
            _tell(replica, "CLUSTER", "REPLICATE", _tell(primary, "CLUSTER", "MYID"))
        eventually(
            lambda: all("master_link_status:up" in _info(one) for one in replicas),
            within_s=STAND_S,
            what="the replicas follow",
        )
        eventually(lambda: _agreed(nodes), within_s=STAND_S, what="cluster_state:ok everywhere")
        hosts = ",".join(f"localhost:{port}" for port in ports[:3])
        yield Deployment(f"rediss+cluster://{USER}@{hosts}", folder, primaries, replicas)


def _tell(node: Server, *words: Any) -> Any:
    with node.client() as client:
        answer = client.execute_command(*words)
    return answer.decode() if isinstance(answer, bytes) else answer


def _info(node: Server) -> str:
    with node.client() as client:
        raw = client.info("replication")
    return "\n".join(f"{name}:{value}" for name, value in raw.items())


def _agreed(nodes: list[Server]) -> bool:
    def well(node: Server) -> bool:
        told = str(_tell(node, "CLUSTER", "INFO")).split()
        return {"cluster_state:ok", f"cluster_known_nodes:{len(nodes)}"} <= set(told)

    return all(well(node) for node in nodes)
