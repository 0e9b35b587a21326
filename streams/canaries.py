"""A share of the dead letters of one cause, sent first to see whether the cause is gone.

One that is to go on by itself is in a set until it has: gateways look there. Whoever goes on with
it holds its lease, and writes down beforehand up to when jobs must have died, so that another
gateway can end what one has begun, and sends nothing again that has died again meanwhile.
"""

import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

import orjson

from schemas.job import State
from streams import keys
from streams.connection import Redis
from streams.outcomes import states
from streams.store import Store, change

KEEP_MS = 24 * 3_600_000
"""How long a canary is remembered."""
LEASE_MS = 60_000
"""After that another gateway goes on with what one has begun; counted anew with each note."""


class LeaseLost(Exception):
    """Another gateway decides about this canary by now: leave it alone."""


class Outcome(StrEnum):
    """How it ended for a canary that goes on by itself."""

    NONE = ""
    """Not yet."""
    SENT = "sent"
    """It has passed, and the rest runs again."""
    FAILED = "failed"
    """A job of it died again: the rest stays."""
    HELD = "held"
    """Somebody took it over."""
    UNSURE = "unsure"
    """It has not failed, but not every job of it was seen to complete."""
    REFUSED = "refused"
    """The key that sent it was revoked, or may not redrive any more."""


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
    organization_id: str | None = None
    """Whose dead letters they are; None: everybody's."""
    key_id: str | None = None
    """The API key of who sent it."""
    goes_on: bool = False
    """By itself, when it has passed."""
    outcome: str = Outcome.NONE
    until_ms: int | None = None
    """It goes on, with jobs that had died by then (clock of Redis)."""
    sent: int = 0
    """Of the rest, up to now."""


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

    @property
    def is_sure(self) -> bool:
        """Every job was seen to complete."""
        return 0 < self.completed == self.total


async def keep(redis: Redis, canary: Canary) -> None:
    """Remember it for a day. May be repeated. Raises Unavailable."""
    at = keys.canary(canary.queue, canary.id)
    await _list(redis, canary)
    await redis.command("SET", at["canary"], _packed(canary), "PX", KEEP_MS, key=at.prefix)
    await _list(redis, canary)  # again: who looked in between found nothing and struck it out


async def find(redis: Redis, queue: str, canary_id: str) -> Canary | None:
    """One that is remembered. Raises Unavailable."""
    at = keys.canary(queue, canary_id)
    stored = await redis.command("GET", at["canary"], key=at.prefix)
    if stored is None:
        return None
    return Canary(canary_id, queue, **orjson.loads(stored))


async def progress(redis: Redis, canary: Canary) -> Progress:
    """How far it is. Raises Unavailable."""
    found = await states(Store(redis, canary.queue), canary.jobs)
    completed, failed = found.count(State.COMPLETED), found.count(State.FAILED)
    gone = found.count(None)
    return Progress(completed, failed, gone, len(found) - completed - failed - gone)


async def unended(redis: Redis) -> list[tuple[str, str]]:
    """Queue and id of those that go on by themselves and have not yet. Raises Unavailable."""
    listed = keys.canaries()
    names = await redis.command("SMEMBERS", listed["canaries"], key=listed.prefix)
    parts = (name.decode().partition(" ") for name in names)
    return [(queue, canary_id) for canary_id, _, queue in parts]


async def forget(redis: Redis, queue: str, canary_id: str) -> None:
    """Not looked at any more. May be repeated. Raises Unavailable."""
    listed = keys.canaries()
    await redis.command("SREM", listed["canaries"], f"{canary_id} {queue}", key=listed.prefix)


async def lease(redis: Redis, canary: Canary) -> str | None:
    """The right to decide about it, for a minute; None: another has it. Raises Unavailable."""
    at, token = keys.canary(canary.queue, canary.id), secrets.token_hex(8)
    reply = await change(redis, at, "canary_take", token=token, lease_ms=LEASE_MS)
    return token if reply[0] == b"OK" else None


async def release(redis: Redis, canary: Canary, token: str) -> None:
    """Give it back, unless it is another's by now. May be repeated. Raises Unavailable."""
    at = keys.canary(canary.queue, canary.id)
    await change(redis, at, "canary_release", token=token)


async def begin(redis: Redis, canary: Canary, token: str) -> Canary:
    """It goes on from here, or went on before: jobs must have died by then.

    Raises LeaseLost, Unavailable."""
    if canary.until_ms is not None:
        return canary
    seconds, micros = await redis.command("TIME", key=keys.PROBE)
    until_ms = int(seconds) * 1_000 + int(micros) // 1_000
    return await note(redis, replace(canary, until_ms=until_ms), token)


async def note(redis: Redis, canary: Canary, token: str) -> Canary:
    """Write down how far it is, and hold the lease on; what has ended is not looked at any more.

    Raises LeaseLost, Unavailable."""
    at = keys.canary(canary.queue, canary.id)
    said = _packed(canary)
    reply = await change(redis, at, "canary_note", token=token, said=said, lease_ms=LEASE_MS)
    if reply[0] == b"LOST":
        raise LeaseLost(canary.id)
    if canary.outcome:
        await forget(redis, canary.queue, canary.id)
    return canary


async def _list(redis: Redis, canary: Canary) -> None:
    if canary.goes_on:
        listed, name = keys.canaries(), f"{canary.id} {canary.queue}"
        await redis.command("SADD", listed["canaries"], name, key=listed.prefix)


def _packed(canary: Canary) -> bytes:
    said = asdict(canary)
    del said["id"], said["queue"]
    return orjson.dumps(said)
