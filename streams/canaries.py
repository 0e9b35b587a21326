"""A share of the dead letters of one cause, sent first to see whether the cause is gone."""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from schemas.job import State
from streams import keys
from streams.connection import Redis
from streams.outcomes import states
from streams.store import Store

KEEP_MS = 24 * 3_600_000
"""How long a canary is remembered."""


@dataclass(frozen=True, slots=True)
class Canary:
    """What was sent, and for which cause."""

    id: str
    queue: str
    fingerprint: str
    jobs: Sequence[str]
    """Those that really run again."""
    by: str
    at_ms: int
    """By the clock of the gateway."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where its jobs are now."""

    completed: int
    failed: int
    gone: int
    """Not kept, or removed: nobody can tell how they ended."""
    running: int

    @property
    def total(self) -> int:
        return self.completed + self.failed + self.gone + self.running

    @property
    def verdict(self) -> str:
        """`running`, `passed` (every job completed, or was dropped after it had), `failed`."""
        if self.failed:
            return "failed"
        return "running" if self.running else "passed"


async def keep(redis: Redis, canary: Canary) -> None:
    """Remember it for a day. May be repeated. Raises Unavailable."""
    at = keys.canary(canary.queue, canary.id)
    text = orjson.dumps(
        {
            "fingerprint": canary.fingerprint,
            "jobs": list(canary.jobs),
            "by": canary.by,
            "at": canary.at_ms,
        }
    )
    await redis.command("SET", at["canary"], text, "PX", KEEP_MS, key=at.prefix)


async def find(redis: Redis, queue: str, canary_id: str) -> Canary | None:
    """One that is remembered. Raises Unavailable."""
    at = keys.canary(queue, canary_id)
    stored = await redis.command("GET", at["canary"], key=at.prefix)
    if stored is None:
        return None
    said = orjson.loads(stored)
    return Canary(canary_id, queue, said["fingerprint"], said["jobs"], said["by"], said["at"])


async def progress(redis: Redis, canary: Canary) -> Progress:
    """How far it is. Raises Unavailable."""
    found = await states(Store(redis, canary.queue), canary.jobs)
    completed, failed = found.count(State.COMPLETED), found.count(State.FAILED)
    gone = found.count(None)
    return Progress(completed, failed, gone, len(found) - completed - failed - gone)
