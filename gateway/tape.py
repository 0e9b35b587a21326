"""Each event stream is read once per process, whoever listens.

A tape holds the newest entries of one stream. A listener is nothing but a position: what it has
not seen yet it finds on the tape, or, when it lies further back, in Redis. So listeners own no
buffers, a slow one costs the others nothing, and what a broken connection missed is caught up.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Iterator, Sequence

from streams import Redis
from streams.errors import CredstreamError
from streams.live import (
    READ_MOST,
    START,
    Events,
    Happening,
    Page,
    Position,
    Watch,
    read_together,
)

logger = logging.getLogger(__name__)

KEPT = 1_000
LINGER_S = 30.0
"""A stream nobody listens to any more is read this much longer: the next listener may be near."""
PAUSE_S = 0.5
UNBLOCK_AGAIN_S = 0.01
CANCEL_AGAIN_S = 0.1


class Ended(Exception):
    """This gateway shuts down: there will be no more news here."""


class Tape:
    """The newest entries of one stream, as far as this process has read it."""

    def __init__(self, events: Events) -> None:
        self.events = events
        self.head: Position | None = None
        """Read up to here; None while nobody reads."""
        self.ended = False
        self.followers = 0
        self.left_s = 0.0
        """When the last follower went, by the clock of the event loop."""
        self._floor: Position | None = None
        self._entries: deque[Happening] = deque()
        self._news = asyncio.Event()

    def start(self, at: Position) -> None:
        """From here on every entry will be put."""
        self._entries.clear()
        self.head = self._floor = at
        self._wake()

    def stop(self) -> None:
        """Entries may have been missed: what is on the tape does not count any more."""
        self._entries.clear()
        self.head = self._floor = None

    def end(self) -> None:
        """Everybody who waits gets Ended."""
        self.ended = True
        self._wake()

    def put(self, found: Sequence[Happening]) -> None:
        """The entries that follow the head."""
        self._entries.extend(found)
        self.head = found[-1].at
        while len(self._entries) > KEPT:
            self._floor = self._entries.popleft().at
        self._wake()

    async def next(self, after: Position) -> Page:
        """What comes after a position, as soon as there is something. Cancelling loses nothing.

        Raises Ended, Unavailable."""
        while True:
            if self.ended:
                raise Ended
            news = self._news  # taken before looking, so nothing can come unnoticed in between
            found = self._after(after)
            if found:
                return Page(False, found[-1].at, found)
            if found is None:
                page = await self.events.since(after)
                if page.gap or page.found:
                    return page
            await news.wait()

    async def now(self) -> Position:
        """The end of the stream. What ended before is past it; what comes later is after it."""
        return self.head or await self.events.last()

    @contextlib.contextmanager
    def followed(self) -> Iterator[None]:
        """Somebody listens inside the block."""
        self.followers += 1
        try:
            yield
        finally:
            self.followers -= 1
            self.left_s = asyncio.get_running_loop().time()

    @property
    def wanted(self) -> bool:
        """Whether it is worth reading."""
        recent = asyncio.get_running_loop().time() - self.left_s < LINGER_S
        return not self.ended and (self.followers > 0 or recent)

    def _after(self, position: Position) -> list[Happening] | None:
        """None: only Redis knows."""
        if self._floor is None or self.head is None or not self._floor <= position <= self.head:
            return None
        found: list[Happening] = []
        for one in reversed(self._entries):
            if one.at <= position:
                break
            found.append(one)
        found.reverse()
        return found

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


class Reading:
    """One connection, the tapes it fills, and the task that reads as long as one is wanted."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._watch = Watch(redis)
        self._tapes: list[Tape] = []
        self._task: asyncio.Task[None] | None = None
        self._nudge: asyncio.Task[None] | None = None

    def want(self, tape: Tape) -> None:
        """See to it that this tape is read, and soon."""
        if tape not in self._tapes:
            self._tapes.append(tape)
        if self._task is None:
            self._watch = Watch(self._redis)
            self._task = asyncio.create_task(self._run(self._watch))
        elif tape.head is None and (self._nudge is None or self._nudge.done()):
            self._nudge = asyncio.create_task(self._hurry())

    async def close(self) -> None:
        """Stop reading."""
        tasks = {task for task in (self._task, self._nudge) if task is not None}
        while tasks:
            for task in tasks:
                task.cancel()  # again, if need be: `asyncio.wait_for` of Python 3.11 can lose one
            _, tasks = await asyncio.wait(tasks, timeout=CANCEL_AGAIN_S)

    async def _run(self, watch: Watch) -> None:
        try:
            while self._keep_wanted():
                try:
                    await self._round(watch, list(self._tapes))
                except CredstreamError as error:
                    logger.warning("events cannot be read now: %s", error)
                    for tape in self._tapes:
                        tape.stop()
                    await asyncio.sleep(PAUSE_S)
        finally:
            self._task = None  # at once: whoever comes during the next line gets a new one
            for tape in self._tapes:
                tape.stop()
            self._tapes.clear()
            await watch.close()

    def _keep_wanted(self) -> bool:
        for tape in self._tapes:
            if not tape.wanted:
                tape.stop()
        self._tapes = [tape for tape in self._tapes if tape.wanted]
        return bool(self._tapes)

    async def _round(self, watch: Watch, tapes: Sequence[Tape]) -> None:
        after: dict[Events, Position] = {}
        for tape in tapes:
            if tape.head is None:
                tape.start(await tape.events.last())
            after[tape.events] = tape.head or START
        found = await watch.read(after)
        for tape in tapes:
            new = found.get(tape.events)
            if not new:
                continue
            full = len(new) >= READ_MOST
            if full and (await tape.events.since(after[tape.events], 1)).gap:
                tape.stop()  # every follower finds out for itself what it has missed
            else:
                tape.put(new)

    async def _hurry(self) -> None:
        """A wait has begun without the newest tape: end it, as often as it takes."""
        pause_s = UNBLOCK_AGAIN_S
        while any(tape.head is None for tape in self._tapes):
            with contextlib.suppress(CredstreamError):
                await self._watch.unblock()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 1.0)


class Reader:
    """The tapes of a process. One connection fills them all; on a cluster, where one read cannot
    ask for two slots, each has its own. Nothing is read while nobody listens."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._tapes: dict[str | None, Tape] = {}
        self._readings: dict[str | None, Reading] = {}
        self._ended = False

    @contextlib.contextmanager
    def follow(self, queue: str | None) -> Iterator[Tape]:
        """The tape of a queue, or (None) of all queues, being read inside the block."""
        if queue not in self._tapes:
            self._tapes[queue] = Tape(Events(self._redis, queue))
        tape = self._tapes[queue]
        tape.ended = self._ended
        group = None if read_together(self._redis) else queue
        if group not in self._readings:
            self._readings[group] = Reading(self._redis)
        with tape.followed():
            if not self._ended:
                self._readings[group].want(tape)
            yield tape

    def end(self) -> None:
        """Whoever follows a tape gets Ended."""
        self._ended = True
        for tape in self._tapes.values():
            tape.end()

    async def close(self) -> None:
        """Stop reading."""
        self.end()
        for reading in self._readings.values():
            await reading.close()
