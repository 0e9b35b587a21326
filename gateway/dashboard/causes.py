"""Dead letters by cause: what failed the same way at the same place is one cause.

A message is reduced to its shape: what differs from job to job (numbers, ids, addresses, quoted
text) becomes a sign. The fingerprint of a cause is made of queue, name of the job, class of the
error and that shape. Pure, apart from the cache.
"""

import asyncio
import hashlib
import re
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from streams.causes import Death, deaths, version
from streams.store import Store

SCAN_JOBS = 10_000
"""Dead letters of one queue that are looked at: the newest."""
SCAN_ALL_JOBS = 20_000
"""The same for all queues together."""
QUEUES_KEPT = 32
SHAPE_CHARS = 240
_VARYING = re.compile(
    r"(?P<did>did:[a-z0-9]+:[^\s\"'<>,;)]+)"
    r"|(?P<url>https?://[^\s\"'<>)]+)"
    r"|(?P<address>[\w.+-]+@[\w-]+\.[\w.-]+)"
    r"|(?P<id>\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b)"
    r"|(?P<time>\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d[\d:.Z+]*)"
    r"|(?P<text>\"[^\"]{0,400}\"|'[^']{0,400}')"
    r"|(?P<hex>\b(?=[0-9a-f]*\d)[0-9a-f]{8,}\b)"
    r"|(?P<number>(?<!HTTP )(?<!status )(?!\A)\b\d+(?:\.\d+)*)",
    re.IGNORECASE,
)
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
    return _VARYING.sub(_sign, message[: 2 * SHAPE_CHARS])[:SHAPE_CHARS].strip()


def _sign(found: re.Match[str]) -> str:
    kind = found.lastgroup
    if kind == "url":
        host = _HOST.match(found[0])
        return f"{host[1]}/..." if host else "[url]"
    return {"number": "#", "text": '"..."'}.get(kind or "", f"[{kind}]")


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
        cause.first_ms = min(cause.first_ms, death.at_ms)
    return sorted(causes.values(), key=lambda cause: (-cause.count, -cause.last_ms))


class Library:
    """Causes per queue, read again only when its dead letters have changed."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, int], Causes] = OrderedDict()
        self._reading: dict[tuple[str, int], asyncio.Lock] = {}

    async def of(self, store: Store, most: int = SCAN_JOBS) -> Causes:
        """Raises Unavailable."""
        place = (store.keys.tag, most)
        async with self._reading.setdefault(place, asyncio.Lock()):
            kept = self._kept.get(place)
            if kept is None or kept.version != await version(store):
                read = await deaths(store, most)
                kept = Causes(read.version, group(store.keys.tag, read.found), len(read.found))
                self._kept[place] = kept
            self._kept.move_to_end(place)
            while len(self._kept) > QUEUES_KEPT:
                old, _ = self._kept.popitem(last=False)
                self._reading.pop(old, None)
            return kept
