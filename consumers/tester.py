"""A child process for the suspects of one queue: it has the processor of its parent, and ends when
no suspects wait."""

import asyncio
import logging
import multiprocessing
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from consumers.settings import WorkerSettings
from streams import RedisSettings

logger = logging.getLogger(__name__)

MARGIN_S = 5.0
"""What a child gets on top of its drain timeout before it is killed."""


@dataclass(frozen=True, slots=True)
class TesterPlan:
    """What a child process runs; it is pickled."""

    main: "Callable[[TesterPlan, Connection], Awaitable[None]]"
    """A function of a module."""
    settings: WorkerSettings
    redis: RedisSettings
    parent: str
    """The worker that was told that suspects wait."""
    prepare: Callable[[], object] | None
    """Called first, to set up the log for example; must be picklable, too."""


async def delegate(plan: TesterPlan, superseded: asyncio.Event) -> bool:
    """Run a child until it ends; False: it could not begin. Cancelled, it stops the child; so it
    does when the child is `superseded`, but not before its processor is open."""
    spawning = multiprocessing.get_context("spawn")
    mine, theirs = spawning.Pipe(duplex=False)
    process = spawning.Process(target=_serve, args=(plan, theirs))
    try:
        await asyncio.to_thread(process.start)
        theirs.close()
        logger.info("[%s] process %d runs its suspects", plan.settings.queues, process.pid)
        grace_s = plan.settings.drain_timeout_s + MARGIN_S
        while not await _ended_unless(superseded, process):
            if mine.poll():
                logger.warning(
                    "[%s] process %d lost the lease to run suspects and is stopped",
                    *(plan.settings.queues, process.pid),
                )
                await _stop(process, grace_s)
                break
            superseded.clear()
        return _has_begun(mine)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        # AttributeError and TypeError: something in the plan cannot be pickled.
        logger.warning("[%s] no process for its suspects: %s", plan.settings.queues, error)
        return False
    except asyncio.CancelledError:
        if process.pid is not None:
            await _stop(process, plan.settings.drain_timeout_s + MARGIN_S)
        raise
    finally:
        mine.close()
        theirs.close()
        if process.pid is not None and process.exitcode is not None:
            process.close()


def _has_begun(ready: Connection) -> bool:
    """Whether a child that has ended had opened its processor before."""
    try:
        return bool(ready.poll() and ready.recv())
    except (EOFError, OSError):
        return False


async def _ended_unless(event: asyncio.Event, process: BaseProcess) -> bool:
    """Wait until a process has ended or an event is set; whether it has ended."""
    ended, told = asyncio.create_task(_ended(process)), asyncio.create_task(event.wait())
    try:
        await asyncio.wait((ended, told), return_when=asyncio.FIRST_COMPLETED)
        return ended.done()
    finally:
        for task in (ended, told):
            task.cancel()
        await asyncio.gather(ended, told, return_exceptions=True)


async def _ended(process: BaseProcess) -> None:
    """Return when a process has ended."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(process.sentinel, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(process.sentinel)
    process.join()


async def _stop(process: BaseProcess, grace_s: float) -> None:
    process.terminate()
    try:
        await asyncio.wait_for(_ended(process), grace_s)
    except TimeoutError:
        process.kill()
        await _ended(process)


def _serve(plan: TesterPlan, ready: Connection) -> None:
    """The main function of a child process."""
    if plan.prepare is not None:
        plan.prepare()

    async def serve() -> None:
        await plan.main(plan, ready)

    asyncio.run(serve())


def when_parent_ends(callback: Callable[[], object]) -> None:
    """Call back in the running loop when the process that started this one is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        asyncio.get_running_loop().add_reader(parent.sentinel, callback)
