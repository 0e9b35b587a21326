"""Waiting until replicas have what was written (durability `replicated`)."""

import asyncio
from dataclasses import dataclass

from redis.exceptions import ResponseError

from streams.errors import NotDurable
from streams.keys import Keys
from streams.link import Link
from streams.scripts import RECORDS


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The answer to one WAIT: the run id of the primary, and how many replicas have caught up."""

    run_id: str
    replicas: int


class ReplicaWaiter:
    """Waits for the replicas of one primary, with one WAIT at a time for all callers.

    WAIT holds up its connection and concerns the writes of that connection only. So it has one of
    its own and writes a marker there first: a replica that has the marker has everything that was
    written on this primary before, by whomever. A call that comes while a WAIT is under way shares
    the next one, so it returns within twice the time limit.
    """

    def __init__(self, link: Link, wanted: int, limit_ms: int) -> None:
        self._link = link
        self._wanted, self._limit_ms = wanted, limit_ms
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[Acknowledged] | None = None
        self._running: set[asyncio.Task[Acknowledged]] = set()

    async def wait(self, keys: Keys) -> Acknowledged:
        """Return when enough replicas have what was written before, or after the time limit.
        `keys`: those of a queue on this primary. Raises Unavailable, NotDurable."""
        if self._next is None:
            self._next = task = asyncio.create_task(self._ask(keys))
            self._running.add(task)
            task.add_done_callback(self._forget)
        return await asyncio.shield(self._next)

    async def close(self) -> None:
        """Close the connection; calls under way raise Lost."""
        await self._link.close()

    async def _ask(self, keys: Keys) -> Acknowledged:
        async with self._turn:
            self._next = None  # writes from here on may come after the marker
            (written,) = await self._link.run(RECORDS["replication_mark"].command(keys))
            run_id = self._link.run_id
            if isinstance(written, ResponseError):
                raise NotDurable(f"the primary does not take the marker of a WAIT: {written}")
            (count,) = await self._link.send((b"WAIT", self._wanted, self._limit_ms))
            if isinstance(count, ResponseError) or self._link.run_id != run_id:
                raise NotDurable("the primary changed while replicas were waited for")
            return Acknowledged(run_id, int(count))

    def _forget(self, task: asyncio.Task[Acknowledged]) -> None:
        self._running.discard(task)
        if self._next is task:
            self._next = None
        if not task.cancelled():
            task.exception()  # callers may have been cancelled: then nobody else looks at it
