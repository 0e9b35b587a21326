"""Dead letters by cause: what failed the same way at the same place is one cause.

A message is reduced to its shape: what differs from job to job (numbers, ids, addresses, quoted
text) becomes a sign. The fingerprint of a cause is made of queue, name of the job, class of the
error and that shape. Pure, apart from the cache.
"""

import asyncio
import hashlib
import logging
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from functools import cache, lru_cache

from aiohttp import web

from schemas.job import State
from streams.causes import Death, Deaths, deaths, version
from streams.outcomes import owners, states
from streams.store import Store

logger = logging.getLogger(__name__)

Place = tuple[str, int, str | None]
"""Queue, how many dead letters, whose."""

SCAN_JOBS = 10_000
"""Dead letters of one queue that are looked at: the newest."""
SCAN_ALL_JOBS = 20_000
"""The same for all queues together."""
OWN_JOBS = 2_000
"""Those of one queue that are looked at for an organization: whose each is must be read."""
FIRST_JOBS = 2_000
"""Those a page waits for, when a queue is looked at for the first time; the rest follows."""
OWNER_JOBS = 100
"""Jobs whose owner is asked for at once: payloads can be large."""
INLINE_JOBS = 300
"""More than these are grouped in a thread: the patterns take their time."""
OWNERS_KEPT = 50_000
CAUSES_KEPT = 64
SHAPE_CHARS = 240
_VARYING = (
    ("did", "did:", r"did:[a-z0-9]+:[^\s\"'<>,;)]+"),
    ("url", "://", r"https?://[^\s\"'<>)]+"),
    ("address", "@", r"[\w.+-]+@[\w-]+\.[\w.-]+"),
    ("id", "-", r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"),
    ("time", ":", r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d[\d:.Z+]*"),
    ("text", '"', r"\"[^\"]{0,400}\""),
    ("quote", "'", r"'[^']{0,400}'"),
    ("hex", "", r"\b(?=[0-9a-f]*\d)[0-9a-f]{8,}\b"),
    ("number", "", r"(?<!HTTP )(?<!status )(?!\A)\b\d+(?:\.\d+)*"),
)
"""What varies: its name, what a message must contain for it to be there, and its pattern. Most
messages need a few of them only, which makes ten thousand messages three times as fast."""
_SIGNS = {"number": "#", "text": '"..."', "quote": '"..."'}
_HOST = re.compile(r"(https?://[^/?#]*)", re.IGNORECASE)


@dataclass(slots=True)
class Cause:
    """Dead letters that have the same fingerprint."""

    fingerprint: str
    queue: str
    name: str
    code: str
    reason: str
    shape: str
    example: str
    """The message of the newest."""
    last_ms: int
    first_ms: int
    jobs: list[str] = field(default_factory=list)
    """Ids, newest first."""
    ends_ms: list[int] = field(default_factory=list)
    """When each of them died."""

    @property
    def count(self) -> int:
        return len(self.jobs)


@dataclass(frozen=True, slots=True)
class Causes:
    """The causes of one queue, the most frequent first."""

    version: tuple[int, str]
    causes: list[Cause]
    scanned: int

    @property
    def total(self) -> int:
        """All dead letters, also those that were not looked at."""
        return self.version[0]


@lru_cache(maxsize=20_000)
def shape_of(message: str) -> str:
    """What stays of a message when everything that varies is taken out of it."""
    text = message[: 2 * SHAPE_CHARS]
    low = text.lower()
    there = tuple(sign in low for _, sign, _ in _VARYING)
    return _pattern(there).sub(_sign, text)[:SHAPE_CHARS].strip()


@cache
def _pattern(there: tuple[bool, ...]) -> re.Pattern[str]:
    """Of those that can occur, in their order."""
    parts = (
        f"(?P<{name}>{text})"
        for (name, _, text), is_there in zip(_VARYING, there, strict=True)
        if is_there
    )
    return re.compile("|".join(parts), re.IGNORECASE)


def _sign(found: re.Match[str]) -> str:
    kind = found.lastgroup or ""
    if kind == "url":
        host = _HOST.match(found[0])
        return f"{host[1]}/..." if host else "[url]"
    return _SIGNS.get(kind) or f"[{kind}]"


def fingerprint_of(queue: str, death: Death) -> str:
    """12 hex digits."""
    parts = (queue, death.name, death.code, shape_of(death.message))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def group(queue: str, found: Iterable[Death]) -> list[Cause]:
    """The causes of deaths that come newest first."""
    causes: dict[tuple[str, str, str], Cause] = {}
    for death in found:
        place = (death.name, death.code, shape_of(death.message))
        cause = causes.get(place)
        if cause is None:
            cause = causes[place] = Cause(
                fingerprint_of(queue, death),
                queue,
                death.name,
                death.code,
                death.reason,
                place[2],
                death.message,
                death.at_ms,
                death.at_ms,
            )
        cause.jobs.append(death.job_id)
        cause.ends_ms.append(death.at_ms)
        cause.first_ms = min(cause.first_ms, death.at_ms)
    return sorted(causes.values(), key=lambda cause: (-cause.count, -cause.last_ms))


class Library:
    """Causes per queue and organization, read again only when the dead letters have changed."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Place, Causes] = OrderedDict()
        self._reading: dict[Place, asyncio.Lock] = {}
        self._following: dict[Place, asyncio.Task[Causes]] = {}
        self._owners: OrderedDict[tuple[str, str, int], str | None] = OrderedDict()
        """By queue, job and time of death: an id may be somebody else's later."""

    async def of(
        self, store: Store, most: int = SCAN_JOBS, own: str | None = None, *, first: bool = False
    ) -> Causes:
        """The causes among the newest `most` dead letters; `own`: among those of this organization
        in the newest `OWN_JOBS`. `first`: fewer will do if none are known yet, and the rest is read
        meanwhile. Raises Unavailable."""
        if own is not None:
            most = min(most, OWN_JOBS)
        place = (store.keys.tag, most, own)
        async with self._reading.setdefault(place, asyncio.Lock()):
            kept = self._kept.get(place)
            if kept is None and first and most > FIRST_JOBS and place not in self._following:
                kept = await self._read(store, FIRST_JOBS, own)
                if kept.scanned < min(kept.total, most):
                    self._follow(store, place)
                    return kept
            if kept is None or kept.version != await version(store):
                kept = await self._read(store, most, own)
            self._keep(place, kept)
            return kept

    async def cause(self, store: Store, fingerprint: str, own: str | None) -> Cause | None:
        """One of them with all its jobs; None: nothing lies there for this cause any more."""
        found = (await self.of(store, own=own)).causes
        return next((cause for cause in found if cause.fingerprint == fingerprint), None)

    async def living(self, _app: web.Application) -> AsyncIterator[None]:
        """For `cleanup_ctx` of the application."""
        yield
        for task in self._following.values():
            task.cancel()
        await asyncio.gather(*self._following.values(), return_exceptions=True)

    def _follow(self, store: Store, place: Place) -> None:
        if place not in self._following:
            task = asyncio.create_task(self.of(store, place[1], place[2]))
            self._following[place] = task
            task.add_done_callback(lambda done: self._followed(place, done))

    def _followed(self, place: Place, task: asyncio.Task[Causes]) -> None:
        del self._following[place]
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.warning("the dead letters of %s cannot be read: %s", place[0], error)

    def _keep(self, place: Place, kept: Causes) -> None:
        self._kept[place] = kept
        self._kept.move_to_end(place)
        while len(self._kept) > CAUSES_KEPT:
            old, _ = self._kept.popitem(last=False)
            if not self._reading[old].locked():
                del self._reading[old]

    async def _read(self, store: Store, most: int, own: str | None) -> Causes:
        read = await deaths(store, most)
        found = read.found if own is None else await self._of(store, read, own)
        tag = store.keys.tag
        if len(found) < INLINE_JOBS:
            causes = group(tag, found)
        else:
            causes = await asyncio.to_thread(group, tag, found)
        return Causes(read.version, causes, len(read.found))

    async def _of(self, store: Store, read: Deaths, own: str) -> list[Death]:
        """Those of an organization."""
        queue = store.keys.tag
        unknown = [d for d in read.found if (queue, d.job_id, d.at_ms) not in self._owners]
        for at in range(0, len(unknown), OWNER_JOBS):
            part = unknown[at : at + OWNER_JOBS]
            whose = await owners(store, [death.job_id for death in part])
            for death, owner in zip(part, whose, strict=True):
                self._owners[queue, death.job_id, death.at_ms] = owner
        found = [d for d in read.found if self._owners.get((queue, d.job_id, d.at_ms)) == own]
        while len(self._owners) > OWNERS_KEPT:
            self._owners.popitem(last=False)
        if unknown and await version(store) != read.version:
            # An id that was free for a moment may be another's: what died is there, or it is not.
            now = await states(store, [death.job_id for death in found])
            found = [d for d, state in zip(found, now, strict=True) if state is State.FAILED]
        return found


LIBRARY = web.AppKey("causes", Library)
