"""The duties that keep a queue in order. Each is a verb that any number of pods may call at any
time: within `interval_ms` of another's call it answers SKIP and does nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from schemas.spec import QueueSpec
from streams.connection import Redis
from streams.record import Header
from streams.sanitize import clean_text
from streams.scripts import Argument
from streams.sealing import FLAG
from streams.store import Store

MOVES_A_CALL = 250


@dataclass(frozen=True, slots=True)
class Done:
    """What a verb did. `more`: call again at once."""

    count: int
    more: bool = False
    skipped: bool = False


@dataclass(frozen=True, slots=True)
class Due:
    """Which duties of a queue have work, and in how many ms it is worth asking again."""

    duties: tuple[str, ...]
    next_ms: int


@dataclass(frozen=True, slots=True)
class Owed:
    """An outbox entry. `value` is the result, or the last error of a job that failed."""

    entry: bytes
    job_id: str
    added: str
    """When the job was added: epoch ms, as its header says."""
    ending: int
    to: Mapping[str, Any]
    event: str
    value: Any
    fault: str = ""
    """Why the entry cannot be read; then it has neither a destination nor a value."""
    is_sealed: bool = False
    """Whether the job is, and with it the value of its completion."""


class Upkeep:
    """The verbs, for one queue."""

    def __init__(self, spec: QueueSpec, redis: Redis) -> None:
        self.spec = spec
        self.redis = redis
        self.store = Store(redis, spec.name)

    async def due(self, intervals_ms: Mapping[str, int], idle_ms: int) -> Due:
        """The duties that have work now, and when to ask again: after `idle_ms` at the latest.
        `intervals_ms`: of promote, reclaim, prune and sweep."""
        keep = self.spec.retention
        reply = await self.store.call(
            "upkeep",
            promote_ms=intervals_ms["promote"],
            reclaim_ms=intervals_ms["reclaim"],
            prune_ms=intervals_ms["prune"],
            sweep_ms=intervals_ms["sweep"],
            completed_ms=_limit(keep.completed_ms),
            completed_count=_limit(keep.completed_count),
            failed_ms=_limit(keep.failed_ms),
            failed_count=_limit(keep.failed_count),
            idle_ms=idle_ms,
        )
        return Due(tuple(name.decode() for name in reply[3:]), int(reply[2]))

    async def promote(self, interval_ms: int = 0) -> Done:
        """Delayed jobs that are due become waiting, the most urgent first, at most 100 a call."""
        reply = await self.store.call("promote", interval_ms=interval_ms)
        return Done(reply[1], bool(reply[2]), reply[0] == b"SKIP")

    async def reclaim(self, interval_ms: int = 0) -> Done:
        """Jobs of workers that fell silent for the queue's lease return to waiting."""
        reply = await self.store.call(
            "reclaim",
            lease_ms=self.spec.lease_ms,
            max_stalls=self.spec.max_stalls,
            interval_ms=interval_ms,
            most=MOVES_A_CALL,
        )
        _, count, more, stalled, cancelled = reply
        tally, name = self.redis.tally, self.spec.name
        tally.stalled[name] += count
        tally.buried[name, "stalled"] += stalled
        tally.buried[name, "cancelled"] += cancelled
        return Done(count, bool(more), reply[0] == b"SKIP")

    async def prune(self, interval_ms: int = 0) -> Done:
        """Ended jobs past their retention disappear."""
        keep = self.spec.retention
        reply = await self.store.call(
            "prune",
            completed_ms=_limit(keep.completed_ms),
            completed_count=_limit(keep.completed_count),
            failed_ms=_limit(keep.failed_ms),
            failed_count=_limit(keep.failed_count),
            interval_ms=interval_ms,
        )
        return Done(reply[1], bool(reply[2]), reply[0] == b"SKIP")

    async def sweep(self, interval_ms: int = 0) -> Done:
        """Orphaned entries return to waiting; consumers of workers long gone disappear."""
        silent_ms = max(60_000, 2 * self.spec.lease_ms)
        reply = await self.store.call(
            "sweep", silent_ms=silent_ms, idle_ms=10 * silent_ms, interval_ms=interval_ms
        )
        return Done(reply[1], bool(reply[3]), reply[0] == b"SKIP")

    async def owed(self, after: bytes = b"", most: int = 100) -> tuple[list[Owed], bool]:
        """The oldest endings behind entry `after` whose callbacks are not queued yet, about 1 MiB
        of them, and whether there are more."""
        begin = b"(" + after if after else b"-"
        _, more, found = await self.store.call("outbox", begin=begin, most=most)
        return [_owed(entry, flat) for entry, flat in found], bool(more)

    async def acknowledge(self, queued: Sequence[tuple[Owed, str]]) -> None:
        """Delete outbox entries whose callbacks are queued, each with its callback's id, which a
        job that is still there keeps. May be repeated."""
        words = [word for owed, callback in queued for word in (owed.entry, owed.job_id, callback)]
        await self.store.call("acknowledge", words)

    async def forward(self, args: Sequence[Argument]) -> list[Any]:
        """`add` for the relay: deterministic ids, may be repeated, works in a full Redis."""
        return await self.store.add(args, forward=True)

    async def refuse(self, job_id: str, body: bytes, message: str) -> None:
        """A callback that cannot be queued becomes a dead letter (reason `callback`)."""
        await self.store.call(
            "refuse", id=job_id, body=body, message=orjson.dumps(clean_text(message, 2_000))
        )
        self.redis.tally.buried[self.spec.name, "callback"] += 1


def _limit(value: int | None) -> int | str:
    return "" if value is None else value


def _owed(entry: bytes, flat: Sequence[bytes]) -> Owed:
    record = dict(zip(flat[::2], flat[1::2], strict=True))
    job_id = clean_text(record.get(b"j", b"").decode(errors="replace"), 256)
    try:
        return _parse(entry, job_id, record)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        fault = f"the outbox entry is damaged: {type(error).__name__} {clean_text(error, 200)}"
        return Owed(entry, job_id, "", 0, {}, "failed", None, fault)


def _parse(entry: bytes, job_id: str, record: Mapping[bytes, bytes]) -> Owed:
    if b"o" in record:
        owed = orjson.loads(record[b"o"])
        if not isinstance(owed["to"], dict) or not isinstance(owed["event"], str):
            raise TypeError("to must be an object and event a text")
        header = Header.parse(record[b"h"])
        about = (entry, job_id, header.added, owed["ending"], owed["to"], owed["event"])
        return Owed(*about, owed["value"], is_sealed=FLAG in header.flags)
    header = Header.parse(record[b"h"])
    error = orjson.loads(record[b"x"])[-1]
    to = orjson.loads(record[b"c"])
    return Owed(entry, job_id, header.added, header.endings, to, "failed", error)
