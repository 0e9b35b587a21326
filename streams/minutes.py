"""What a queue has done in each minute of the last day: counts, and how long things took.

One hash per queue, a ring with a slot for each minute of a day, so it cannot grow: at most 1,440
fields of some 100 to 300 bytes, and gone a day after the last job. Durations are counted in classes
whose bounds double, which makes a percentile right to within its class; workers add to the running
minute every few seconds (`consumers.hooks.minutes`).
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from streams import keys
from streams.connection import Lost, Redis
from streams.store import Store

DAY_MIN = 1_440
CLASSES = 28
"""Class 0 is below 1 ms, class n from 2**(n-1) to 2**n ms; the last begins at 18 hours."""
_KEEP_MS = DAY_MIN * 60_000
COMPLETED, FAILED, RETRIED, WAIT, RUN = "c", "f", "r", "w", "d"


def class_of(ms: float) -> int:
    """The class a duration belongs to."""
    return min(max(int(ms), 0).bit_length(), CLASSES - 1)


@dataclass(slots=True)
class Tally:
    """What was seen in some time."""

    counts: Counter[str] = field(default_factory=Counter)
    """By `c`ompleted, `f`ailed, `r`etried; `w<class>` waits and `d<class>` runs."""

    @property
    def completed(self) -> int:
        return self.counts[COMPLETED]

    @property
    def failed(self) -> int:
        return self.counts[FAILED]

    @property
    def retried(self) -> int:
        return self.counts[RETRIED]

    @property
    def ended(self) -> int:
        return self.completed + self.failed

    def share_failed(self) -> float | None:
        """Of the jobs that ended; None when none did."""
        return self.failed / self.ended if self.ended else None

    def percentile(self, kind: str, share: float) -> float | None:
        """How long (ms) that share of the waits (`w`) or runs (`d`) took at most; None: there were
        none. Within a class the durations are taken to be spread evenly."""
        sizes = [self.counts[f"{kind}{number}"] for number in range(CLASSES)]
        rank = share * sum(sizes)
        if not rank:
            return None
        low, high = 0.0, 1.0
        for size in sizes:
            if size >= rank:
                return low + (high - low) * rank / size
            rank -= size
            low, high = high, high * 2
        return low


class Minutes:
    """The ring of one queue. Every verb may raise Unavailable."""

    def __init__(self, redis: Redis, queue: str) -> None:
        self._store = Store(redis, queue)
        self._key = self._store.keys["minutes"]

    async def add(self, counts: Mapping[str, int]) -> None:
        """Add to the running minute, by the clock of Redis. Not repeated when the reply is lost: a
        chart that lacks a moment is better than one that shows it twice."""
        flat = [item for pair in counts.items() for item in pair]
        with suppress(Lost):  # not told to the caller either, who would add them again
            await self._store.once("tick", flat, keep_ms=_KEEP_MS)

    async def last(self, count: int, step: int = 1) -> tuple[int, list[Tally]]:
        """The last `count` whole minutes (less than a day), `step` of them in each tally, oldest
        first, without the step that still runs; and the epoch minute in which the first begins."""
        return (await of_queues(self._store.redis, [self._store.keys.tag], count, step))[0]


async def of_queues(
    redis: Redis, queues: Sequence[str], count: int, step: int = 1
) -> list[tuple[int, list[Tally]]]:
    """`Minutes.last` for many queues. Raises Unavailable."""
    now = int((await redis.command("TIME", key=keys.PROBE))[0]) // 60
    first = now // step * step - count
    slots = [minute % DAY_MIN for minute in range(first, first + count)]
    places = [keys.QueueKeys(queue) for queue in queues]
    rings = await asyncio.gather(
        *(redis.command("HMGET", at["minutes"], *slots, key=at.prefix) for at in places)
    )
    return [(first, _read(ring, first, step)) for ring in rings]


def _read(stored: Sequence[bytes | None], first: int, step: int) -> list[Tally]:
    tallies = [Tally() for _ in range(len(stored) // step)]
    for place, text in enumerate(stored):
        if text is None:
            continue
        minute, _, rest = text.decode().partition(" ")
        if int(minute) != first + place:
            continue  # the same minute of another day
        counts = tallies[place // step].counts
        for item in rest.split(" "):
            name, _, count = item.partition(":")
            counts[name] += int(count)
    return tallies
