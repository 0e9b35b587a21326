"""How Redis is: memory, persistence, and the settings that lose jobs when they are wrong."""

from dataclasses import dataclass

from streams import keys
from streams.connection import Redis


@dataclass(frozen=True, slots=True)
class Health:
    """What INFO says, of the node that answers first; sizes in bytes."""

    version: str
    used_bytes: int
    most_bytes: int
    """0: no limit is set."""
    policy: str
    appends: bool
    """AOF is on."""
    append_failed: bool
    save_failed: bool
    role: str
    replicas: int

    @property
    def share(self) -> float | None:
        """Of the memory limit; None without one."""
        return self.used_bytes / self.most_bytes if self.most_bytes else None

    @property
    def troubles(self) -> list[str]:
        """What an operator should change, in words."""
        found = []
        if self.policy != "noeviction":
            found.append(f"maxmemory-policy is {self.policy}: jobs can be evicted")
        if not self.appends:
            found.append("AOF is off: a restart can lose jobs")
        if self.append_failed:
            found.append("the last write of the AOF failed")
        if self.save_failed:
            found.append("the last snapshot failed")
        return found


async def health(redis: Redis) -> Health:
    """Raises Unavailable."""
    info = _fields(await redis.command("INFO", key=keys.PROBE))
    name = "valkey_version" if "valkey_version" in info else "redis_version"
    return Health(
        version=f"{name.partition('_')[0].capitalize()} {info.get(name, '')}",
        used_bytes=int(info.get("used_memory", 0)),
        most_bytes=int(info.get("maxmemory", 0)),
        policy=info.get("maxmemory_policy", "noeviction"),
        appends=info.get("aof_enabled") == "1",
        append_failed=info.get("aof_last_write_status", "ok") != "ok",
        save_failed=info.get("rdb_last_bgsave_status", "ok") != "ok",
        role=info.get("role", ""),
        replicas=int(info.get("connected_slaves", 0)),
    )


def _fields(text: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in text.decode().splitlines() if ":" in line)
    return {name: value.strip() for name, _, value in lines}
