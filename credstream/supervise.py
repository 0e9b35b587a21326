"""Keeps a handful of services running, and stops them in order.

A `Service` knows how to start a process; the `Supervisor` starts services one after the other,
starts one that died again after a growing pause, gives up on one that keeps dying, and on SIGTERM,
SIGINT or SIGHUP stops them all, the last started first.
"""

import asyncio
import contextlib
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from credstream.process import describe_exit, end

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0
HEALTHY_S = 30.0
"""A process that ran this long was healthy: its end counts as the first one again."""
EXIT_USAGE = 2
"""How a program says that its settings do not fit: it would say the same the next time."""
MAX_DEATHS = 5
"""Ends in a row, none after a healthy run, before the supervisor gives up."""


class ServiceError(Exception):
    """A service could not be started, or kept dying. The message says which and how."""


@dataclass(frozen=True, slots=True)
class Service:
    """Something to keep running: `start` answers a process that is up or on its way."""

    name: str
    start: Callable[[], Awaitable[Process]]
    grace_s: float
    """How long it may take to stop before it is killed."""


@dataclass(slots=True)
class _Kept:
    service: Service
    process: Process
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Supervisor:
    """Services that live together. Use it through `supervising`."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._kept: list[_Kept] = []
        self._ended = asyncio.Event()
        self._failure: ServiceError | None = None

    async def start(self, service: Service) -> None:
        """Start `service` and keep it running from now on. Raises what its `start` raises."""
        kept = _Kept(service, await service.start())
        kept.task = asyncio.create_task(self._keep(kept), name=f"keep {service.name}")
        self._kept.append(kept)

    async def unless_ended(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do `work`; False when a stop signal or a failure came first, and `work` was cut off."""
        task = asyncio.create_task(work)
        ended = asyncio.create_task(self._ended.wait())
        await asyncio.wait((task, ended), return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self._failure is not None:
            if task.done() and not task.cancelled():
                task.exception()  # the service's own end says more than what came of it
            raise self._failure
        if task.cancelled():
            return False
        task.result()
        return not self._ended.is_set()

    async def wait(self) -> None:
        """Until a stop signal. Raises ServiceError when a service kept dying."""
        await self._ended.wait()
        if self._failure is not None:
            raise self._failure

    def signalled(self) -> None:
        """A stop signal came. A second one is passed on to whatever is still being stopped."""
        if not self._ended.is_set():
            self._ended.set()
            return
        for kept in self._kept:
            if kept.stop.is_set() and kept.process.returncode is None:
                kept.process.terminate()

    async def stop(self) -> None:
        """Stop every service, the last started first, each one completely before the next."""
        self._ended.set()
        for kept in reversed(self._kept):
            kept.stop.set()
            if kept.task is not None:
                await kept.task
        self._kept.clear()

    async def _keep(self, kept: _Kept) -> None:
        deaths = 0
        clock = asyncio.get_running_loop().time
        while True:
            started_s = clock()
            if await _first(kept.process.wait(), kept.stop):
                await end(kept.process, grace_s=kept.service.grace_s)
                return
            deaths = 1 if clock() - started_s >= HEALTHY_S else deaths + 1
            if not await self._again(kept, deaths):
                return

    async def _again(self, kept: _Kept, deaths: int) -> bool:
        """Start a dead service again after a pause; False when there is no more point in it."""
        if kept.process.returncode == EXIT_USAGE:
            self._give_up(f"The {kept.service.name} cannot run as it is set up; see above.")
            return False
        what = f"The {kept.service.name} ended ({describe_exit(kept.process.returncode or 0)})"
        while deaths < MAX_DEATHS:
            pause_s = min(FIRST_PAUSE_S * 2 ** (deaths - 1), LONGEST_PAUSE_S)
            self._say(f"{what}; starting it again in {pause_s:g} s.")
            if await _first(asyncio.sleep(pause_s), kept.stop):
                return False
            try:
                kept.process = await kept.service.start()
            except Exception as error:  # noqa: BLE001 - whatever went wrong, the next try is due
                what = f"The {kept.service.name} could not be started again: {error}"
                deaths += 1
                continue
            return True
        self._give_up(f"{what}, {deaths} times in a row. Giving up.")
        return False

    def _give_up(self, message: str) -> None:
        self._failure = ServiceError(message)
        self._ended.set()


async def _first(work: Coroutine[Any, Any, object], stop: asyncio.Event) -> bool:
    """Wait for `work` or `stop`, whichever comes first; whether it was `stop`."""
    task, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
    for waiting in (task, stopped):
        waiting.cancel()
    await asyncio.gather(task, stopped, return_exceptions=True)
    return stop.is_set()


@asynccontextmanager
async def supervising(say: Callable[[str], None]) -> AsyncIterator[Supervisor]:
    """A Supervisor that hears the stop signals; whatever it runs is stopped at the end.

    Run it on the main thread's event loop: signals are delivered there.
    """
    supervisor = Supervisor(say)
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, supervisor.signalled)
    try:
        yield supervisor
    finally:
        try:
            await supervisor.stop()
        finally:
            for number in STOP_SIGNALS:
                loop.remove_signal_handler(number)
