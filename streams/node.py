"""One primary as it describes itself, and what is wrong with it whatever is promised."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from redis.exceptions import ResponseError

from streams.connection import Redis
from streams.errors import Unavailable

_CONFIG = ("maxmemory-policy", "appendonly", "appendfsync", "min-replicas-to-write")
OLDEST = (7, 0)
"""The first that lets a script say that it may run in a full Redis."""
ROOM = 0.8
"""Of maxmemory: above this there is too little head-room."""
Word = Literal["ok", "note", "warn", "fail"]
"""`note`: as it should be in development, and not in production."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    word: Word
    says: str
    fix: str = ""
    """What to do about it; empty when it is ok."""


@dataclass(frozen=True, slots=True)
class Node:
    """What one primary says of itself."""

    info: Mapping[str, str]
    config: Mapping[str, str] | None
    """None: CONFIG is forbidden here, as with managed services."""

    def setting(self, name: str) -> str | None:
        """A setting, from CONFIG or else from what INFO says; None when it cannot be seen."""
        if self.config is not None:
            return self.config.get(name)
        if name == "maxmemory-policy":
            return self.info.get("maxmemory_policy")
        if name == "appendonly" and "aof_enabled" in self.info:
            return "yes" if self.info["aof_enabled"] == "1" else "no"
        return None

    @property
    def address(self) -> str:
        return f"port {self.info.get('tcp_port', '?')}"


async def nodes(redis: Redis) -> list[Node]:
    """Every primary. Raises Unavailable."""
    found = []
    for link in await redis.everywhere():
        info, *settings = await link.run(
            (b"INFO", b"everything"), *((b"CONFIG", b"GET", name) for name in _CONFIG)
        )
        if isinstance(info, ResponseError):
            raise Unavailable("Redis does not answer INFO now")
        found.append(Node(fields(info), _config(settings)))
    return found


def _config(replies: Sequence[Any]) -> dict[str, str] | None:
    if any(isinstance(reply, ResponseError) for reply in replies):
        return None
    return {reply[0].decode(): reply[1].decode() for reply in replies if reply}


def fields(info: bytes) -> dict[str, str]:
    """`name:value` lines."""
    lines = (line.partition(":") for line in info.decode().splitlines() if ":" in line)
    return {name: value.strip() for name, _, value in lines}


def version(node: Node) -> Check:
    """Old servers do not know what our scripts say."""
    known = node.info.get("valkey_version") or node.info.get("redis_version", "0.0")
    number = tuple(int(part) for part in known.split(".")[:2])
    if number >= OLDEST:
        return Check("version", "ok", f"Version {known}.")
    return Check("version", "fail", f"Version {known} is too old.", "Update to 7.0 or newer.")


def memory(node: Node) -> Check:
    """How much room is left."""
    used, most = int(node.info.get("used_memory", 0)), int(node.info.get("maxmemory", 0))
    if most == 0:
        fix = "Set maxmemory to 60-70 % of what the machine or container has."
        return Check("memory", "warn", "maxmemory is not set: the kernel may kill Redis.", fix)
    share = used / most
    says = f"{share:.0%} of maxmemory is used."
    if share < ROOM:
        return Check("memory", "ok", says)
    return Check("memory", "fail", says, "Raise maxmemory, or keep ended jobs for less long.")


def copies(node: Node) -> Check:
    """Whether it takes writes, and gets them to its disk."""
    if node.info.get("role") != "master":
        fix = "Connect to the primary, or use a redis+sentinel:// or redis+cluster:// address."
        return Check("role", "fail", "This node is a replica and takes no writes.", fix)
    failed = [
        name
        for name in ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status")
        if node.info.get(name, "ok") != "ok"
    ]
    if failed:
        says = f"{', '.join(failed)}: the last attempt to write to disk failed."
        return Check("disk", "fail", says, "Look at the log of Redis: full disk or permissions?")
    return Check("role", "ok", f"Primary with {node.info.get('connected_slaves', '0')} replicas.")
