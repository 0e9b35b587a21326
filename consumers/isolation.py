"""Runs suspects, jobs whose worker died, apart from all others (docs/protocol.md, Stalled jobs)."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Protocol

from consumers.events import Hooks, Trouble
from consumers.fetch import Fetcher
from consumers.lease import Lease
from consumers.settle import Settler
from streams.claims import Claimed, Claims
from streams.errors import CredstreamError

GROUP_MAX = 8
LOOK_S = 0.02
"""How often it is looked whether the jobs of a group, or of this process, have ended."""
PAUSE_S = 1.0
"""The longest pause before suspects are asked for again."""
PATIENCE_S = 900.0
"""How long the jobs of this process may take to end before suspects; if they take longer, suspects
are left to other workers for as long again."""
NOTHING_TO_DO = frozenset({"NONE", "TAKEN", "PAUSED"})


class JobHolder(Protocol):
    """What a worker shows of itself."""

    claims: Claims
    concurrency: int
    hooks: Hooks
    lease: Lease

    @property
    def running(self) -> int: ...


class SuspectRunner:
    """Runs the suspects of one worker's queue, in another process or in this one."""

    def __init__(
        self,
        worker: JobHolder,
        fetcher: Fetcher,
        settler: Settler,
        start: Callable[[Claimed], None],
    ) -> None:
        self.parent = ""
        """The worker for which this one runs suspects, and nothing else."""
        self.delegate: Callable[[asyncio.Event], Awaitable[bool]] | None = None
        """Runs suspects in another process until none wait, or that process has lost the lease
        (the event); False: it could not be started."""
        self._worker = worker
        self._fetcher = fetcher
        self._settler = settler
        self._start = start
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._not_before = 0.0
        self._superseded = asyncio.Event()
        """This worker got the lease again while its other process was still there, which therefore
        hangs or is about to end."""

    def begin(self) -> None:
        """Suspects wait, and this worker has the lease to run them."""
        is_busy = self._task is not None and not self._task.done()
        if is_busy:
            self._superseded.set()
        elif time.monotonic() >= self._not_before:
            self._task = asyncio.create_task(self._have_them_run())

    async def cancel(self) -> None:
        """End what `begin` began."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def run(self) -> None:
        """Run group after group, until no suspects wait, another process has them, the queue is
        paused, or the worker stops."""
        stopping, group = self._fetcher.stopping, min(self._worker.concurrency, GROUP_MAX)
        while not stopping.is_set():
            asked = time.monotonic()
            try:
                claimed = await self._worker.claims.isolate(self.parent, group)
            except CredstreamError as error:
                self._worker.hooks.emit(Trouble(error))
                await self._pause(PAUSE_S)
                continue
            if claimed.word in NOTHING_TO_DO:
                return
            claimed.asked = asked
            self._start(claimed)
            if claimed.word != "OK":
                await self._pause(min(PAUSE_S, abs(claimed.next_ms) / 1000))
            while not self.is_idle and not stopping.is_set():
                self._settler.flush_soon()
                await asyncio.sleep(LOOK_S)

    def join(self) -> None:
        """Become one of the workers of this process. Called in the worker's loop."""
        self._loop = asyncio.get_running_loop()

    def lets(self, claimed: Claimed) -> bool:
        """Whether this worker may start what it has claimed."""
        return SHARE.owner is None or (SHARE.owner is self and claimed.are_suspects)

    @property
    def is_idle(self) -> bool:
        """Whether the worker neither holds a claim nor asks for one."""
        worker = self._worker
        return not worker.lease.runs.held and not worker.running and not self._fetcher.is_asking

    def flush(self) -> None:
        """Settle what has ended. May be called in any thread."""
        self._call(self._settler.flush_soon)

    def resume(self) -> None:
        """Ask for jobs again. May be called in any thread."""
        self._call(self._fetcher.nudge)

    def _call(self, callback: Callable[[], object]) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(callback)

    async def _have_them_run(self) -> None:
        self._superseded.clear()
        while self.delegate is not None and await self.delegate(self._superseded):
            if not self._superseded.is_set():
                return
            self._superseded.clear()
        try:
            async with SHARE.alone(self):
                await self.run()
        except TimeoutError:
            self._not_before = time.monotonic() + PATIENCE_S

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._fetcher.stopping.wait(), max(LOOK_S, seconds))


class ProcessShare:
    """The workers of this process; one of them may have it to itself."""

    def __init__(self) -> None:
        self.owner: SuspectRunner | None = None
        """Of the worker that has the process to itself: no other may start a job."""
        self._all: set[SuspectRunner] = set()
        self._lock = threading.Lock()

    @asynccontextmanager
    async def joined(self, one: SuspectRunner) -> AsyncIterator[None]:
        """Within the context a worker is one of the workers of this process."""
        one.join()
        self._all.add(one)
        try:
            yield
        finally:
            self._all.discard(one)

    @asynccontextmanager
    async def alone(self, one: SuspectRunner) -> AsyncIterator[None]:
        """Within the context no job runs in this process but those that one worker starts. Raises
        TimeoutError when other jobs do not end."""
        while not self._lock.acquire(blocking=False):  # noqa: ASYNC110 - of any thread's loop
            await asyncio.sleep(LOOK_S)
        self.owner = one
        try:
            async with asyncio.timeout(PATIENCE_S):
                while busy := [other for other in list(self._all) if not other.is_idle]:
                    for other in busy:
                        other.flush()
                    await asyncio.sleep(LOOK_S)
            yield
        finally:
            self.owner = None
            self._lock.release()
            for other in list(self._all):
                other.resume()


SHARE = ProcessShare()
