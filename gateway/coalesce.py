"""Submissions that come at the same time go to Redis together.

One call for many jobs costs little more than a call for one, for Redis and for this process. A
submission that comes alone leaves at once. Only while others stand at the door, which lets in a few
a turn of the event loop, it waits for them, a few turns: its answer would not come sooner, because
the turns are what everybody waits for.
"""

import asyncio
from functools import partial

from gateway.admission import Admission
from streams import Added, NewJob, Queue
from streams.errors import Unavailable

TOGETHER_MAX = 32
WORTH_A_CALL = 16
"""So many do not wait for more."""
TURNS_MAX = 40
"""So many turns nobody waits: enough for a call also where each turn takes in or answers one."""
CALLS_IN_FLIGHT = 2
"""So many calls are under way before submissions wait for one to return."""

Waiting = tuple[NewJob, "asyncio.Future[Added]"]


class Coalescer:
    """The way into one queue for single jobs."""

    def __init__(self, queue: Queue, admission: Admission | None = None) -> None:
        self._queue = queue
        self._admission = admission or Admission()
        self._waiting: list[Waiting] = []
        self._calls: set[asyncio.Task[None]] = set()
        self._is_gathering = False
        self._turns = 0
        """How many turns those who wait have waited for company."""

    async def add(self, job: NewJob) -> Added:
        """Add one job. Raises as `Queue.add`; the faults of others are not this job's."""
        self._queue.check(job)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Added] = loop.create_future()
        self._waiting.append((job, future))
        if len(self._waiting) == 1:
            self._is_gathering, self._turns = True, 0
            loop.call_soon(self._gather)  # with whoever else comes in this turn
        return await future

    def _gather(self) -> None:
        self._turns += 1
        more = self._admission.is_crowded and self._turns < TURNS_MAX
        if more and 0 < len(self._waiting) < WORTH_A_CALL:
            asyncio.get_running_loop().call_soon(self._gather)
        else:
            self._is_gathering = False
            self._leave()

    def _leave(self) -> None:
        while self._waiting and len(self._calls) < CALLS_IN_FLIGHT:
            group = self._waiting[:TOGETHER_MAX]
            del self._waiting[:TOGETHER_MAX]
            call = asyncio.create_task(self._call(group))
            self._calls.add(call)
            call.add_done_callback(self._back)

    def _back(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        if not self._is_gathering:
            self._leave()

    async def _call(self, group: list[Waiting]) -> None:
        try:
            added = await self._queue.add_many([job for job, _ in group], checked=True)
        except Unavailable as error:  # of all of them the same is known, which is nothing
            _fail(group, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody must wait for ever
            if len(group) == 1:
                _fail(group, error)
                return
            for one in group:  # nothing was stored; whose fault it is shows when they go alone
                await self._call([one])
        else:
            for (_, future), answer in zip(group, added, strict=True):
                self._admission.goes_on(partial(_answer, future, answer))


def _answer(future: "asyncio.Future[Added]", added: Added) -> None:
    if not future.done():  # done: its request was cancelled
        future.set_result(added)


def _fail(group: list[Waiting], error: Exception) -> None:
    for _, future in group:
        if not future.done():
            future.set_exception(error)
