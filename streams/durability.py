"""Whether the Redis at hand keeps what the durability level promises (REL-2).

standard    AOF, fsync every second: a power failure can lose the last second
strict      AOF, fsync at every write: what was answered is on disk
replicated  strict, and every submission waits until replicas have it
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from streams.connection import Redis
from streams.errors import CredstreamError
from streams.node import Check, Node, copies, memory, nodes, version
from streams.settings import Level, RedisSettings, address

PATIENCE_S = 3.0


class NotKept(Exception):
    """Redis does not keep what the level promises; the text says what to change."""


def judged(found: Sequence[Node], settings: RedisSettings) -> list[Check]:
    """Every node by what the level of `settings` promises. Pure."""
    return [check for node in found for check in _judged(node, settings)]


def _judged(node: Node, settings: RedisSettings) -> Iterator[Check]:
    yield version(node)
    yield _mode(node, settings)
    yield _policy(node.setting("maxmemory-policy"))
    yield _append_only(node)
    yield _sync(node, settings.durability)
    if settings.durability == "replicated":
        yield _replicas(node, settings.durability_replicas)
        yield _minimum(node)


def _mode(node: Node, settings: RedisSettings) -> Check:
    if node.info.get("redis_mode") == "cluster" and address(settings).kind != "cluster":
        says = "This is a node of a Redis Cluster, and REDIS_URL names it as a single server."
        return Check("mode", "fail", says, "Use redis+cluster:// (or rediss+cluster://).")
    return Check("mode", "ok", f"It is reached as what it is: {address(settings).kind}.")


def _policy(policy: str | None) -> Check:
    if policy == "noeviction":
        return Check("eviction", "ok", "Redis evicts nothing.")
    says = f"maxmemory-policy is {policy}: Redis may throw jobs away when memory is short."
    fix = "Set maxmemory-policy noeviction (CONFIG SET maxmemory-policy noeviction)."
    return Check("eviction", "fail", says, fix)


def _append_only(node: Node) -> Check:
    if node.setting("appendonly") == "yes":
        return Check("append-only file", "ok", "The append-only file is on.")
    if node.config is None:
        says = "CONFIG is forbidden here and INFO shows no append-only file."
        fix = "Make sure that the service keeps every write (its own log, or AOF)."
        return Check("append-only file", "warn", says, fix)
    says = "The append-only file is off: a restart loses jobs."
    fix = "Set appendonly yes (CONFIG SET appendonly yes, then CONFIG REWRITE)."
    return Check("append-only file", "fail", says, fix)


def _sync(node: Node, level: Level) -> Check:
    enough = {"always"} if level != "standard" else {"always", "everysec"}
    sync = node.setting("appendfsync")
    if sync in enough:
        return Check("fsync", "ok", f"appendfsync is {sync}.")
    if sync is None:
        says = "CONFIG is forbidden here: when writes reach the disk cannot be seen."
        return Check("fsync", "warn", says, "Ask the service what a power failure can lose.")
    needed = "always" if level != "standard" else "everysec"
    says = f"appendfsync is {sync}; durability {level} needs {needed}."
    return Check("fsync", "fail", says, f"Set appendfsync {needed} (CONFIG SET appendfsync).")


def _replicas(node: Node, wanted: int) -> Check:
    there = int(node.info.get("connected_slaves", 0))
    if there >= wanted:
        return Check("replicas", "ok", f"{there} replicas are connected.")
    says = f"{there} replicas are connected; DURABILITY_REPLICAS asks for {wanted}."
    fix = "Add replicas, or lower DURABILITY_REPLICAS: until then every submission gets 503."
    return Check("replicas", "fail", says, fix)


def _minimum(node: Node) -> Check:
    least = node.setting("min-replicas-to-write")
    if least is None:
        says = "CONFIG is forbidden here: min-replicas-to-write cannot be seen."
        return Check("split brain", "warn", says, "Ask the service how it fences old primaries.")
    if int(least) >= 1:
        return Check("split brain", "ok", f"A primary without {least} replicas takes no writes.")
    says = "min-replicas-to-write is 0: a primary that was cut off goes on taking writes."
    fix = "Set min-replicas-to-write 1 and min-replicas-max-lag 10."
    return Check("split brain", "fail", says, fix)


@dataclass(frozen=True, slots=True)
class Standing:
    """The level asked for, and what speaks against it."""

    level: Level
    checks: tuple[Check, ...]
    beside: tuple[Check, ...] = ()
    """What else fails: nobody is refused for it."""

    @property
    def wrong(self) -> list[Check]:
        """Everything that an operator should hear of when a process begins."""
        return [check for check in (*self.checks, *self.beside) if check.word != "ok"]

    @property
    def met(self) -> bool:
        return all(check.word != "fail" for check in self.checks)

    def told(self) -> dict[str, object]:
        """For probes: the level, whether it is met, and what is wrong."""
        troubles = [check.says for check in self.checks if check.word != "ok"]
        return {"level": self.level, "met": self.met, "troubles": troubles}


async def standing(redis: Redis) -> Standing:
    """How things stand now. Raises Unavailable."""
    found = await nodes(redis)
    beside = [
        check for node in found for check in (memory(node), copies(node)) if check.word == "fail"
    ]
    checks = judged(found, redis.settings)
    return Standing(redis.settings.durability, tuple(checks), tuple(beside))


async def insist(redis: Redis) -> Standing | None:
    """For a process that begins: how things stand; None when Redis cannot be asked now, for
    which nobody is refused. Raises NotKept, unless DURABILITY_FORCE says to go on."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            found = await standing(redis)
    except (CredstreamError, TimeoutError):
        return None
    if not found.met and not redis.settings.durability_force:
        raise NotKept(refusal(found))
    return found


def refusal(found: Standing) -> str:
    """What to say about a standing that is not met."""
    wrong = [check for check in found.checks if check.word == "fail"]
    lines = [f"  {check.says} {check.fix}" for check in wrong]
    head = f"This Redis does not keep what DURABILITY={found.level} promises:"
    last = "  DURABILITY_FORCE=true starts all the same, for tests and for jobs that may be lost."
    return "\n".join([head, *dict.fromkeys(lines), last])
