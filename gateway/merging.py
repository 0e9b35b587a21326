"""One stream of the events of all queues, made while somebody listens to it.

Positions in several streams cannot be told by one id: entries of two queues may have the same id,
and on a cluster, after a failover or when a clock is set back, a later entry may have a smaller
one. So the entries of the queues are brought into one stream, where each has its place for good.
A script compares how far a queue has been brought before it adds to it, so any number of gateways
can do this at once and every entry still comes once, whoever dies in the middle.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

from gateway.tape import PAUSE_S, Ended, Reader, Tape
from streams import Redis
from streams.errors import CredstreamError
from streams.live import Events, Page, Position, merge, merged_up_to

logger = logging.getLogger(__name__)

Names = Callable[[], Awaitable[Iterable[str]]]
LOOK_AGAIN_S = 2.0
"""How soon a queue that is new joins."""


class Merger:
    """Brings the queues together while someone is inside `listening`."""

    def __init__(self, redis: Redis, reader: Reader, names: Names) -> None:
        self._redis = redis
        self._reader = reader
        self._names = names
        self._listeners = 0
        self._task: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def listening(self, after: Position | None) -> AsyncIterator[tuple[Tape, Position]]:
        """The tape of all queues and where to begin: at `after`, or now. Raises Unavailable."""
        self._listeners += 1
        try:
            with self._reader.follow(None) as tape:
                if after is None:
                    # What happened while nobody listened has its place before now.
                    await self._catch_up()
                    after = await tape.events.last()
                if self._task is None:
                    self._task = asyncio.create_task(self._run())
                yield tape, after
        finally:
            self._listeners -= 1
            if self._listeners == 0 and self._task is not None:
                self._task.cancel()
                self._task = None

    async def close(self) -> None:
        """Stop merging."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _catch_up(self) -> None:
        await asyncio.gather(*(self._bring(name) for name in await self._names()))

    async def _bring(self, queue: str) -> None:
        """All that is there now."""
        events = Events(self._redis, queue)
        at = await merged_up_to(self._redis, queue)
        page = await events.since(at)
        while page.gap or page.found:
            at = await merge(self._redis, queue, at, page)
            page = await events.since(at)

    async def _run(self) -> None:
        """One task per queue, also for those that come later."""
        async with asyncio.TaskGroup() as group:
            known: set[str] = set()
            while self._listeners:
                with contextlib.suppress(CredstreamError):
                    for name in set(await self._names()) - known:
                        known.add(name)
                        group.create_task(self._follow(name))
                await asyncio.sleep(LOOK_AGAIN_S)

    async def _follow(self, queue: str) -> None:
        with self._reader.follow(queue) as tape, contextlib.suppress(Ended):
            while self._listeners:  # a cancellation can get lost while connecting
                try:
                    at = await merged_up_to(self._redis, queue)
                    while self._listeners:
                        page: Page = await tape.next(at)
                        at = await merge(self._redis, queue, at, page)
                except CredstreamError as error:
                    logger.warning("queue %s: its events do not join the others: %s", queue, error)
                    await asyncio.sleep(PAUSE_S)
