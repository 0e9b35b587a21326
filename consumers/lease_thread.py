"""A thread that renews leases, whatever keeps the worker's event loop busy, and names what does.

It has an event loop and connections of its own. Code that holds the GIL stops it as well: only
handlers in processes of their own (`executor="process"`) cannot.
"""

import asyncio
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from typing import Any
from weakref import WeakKeyDictionary

from consumers.execute import Run
from consumers.lease import Lease
from streams import Redis, RedisSettings, connect

logger = logging.getLogger(__name__)

WATCH_S = 0.25
BLOCKED_S = 1.0
"""A loop that does not turn for so long is reported, once until it turns again."""
STACK_FRAMES = 12
STUCK_EXIT = 70
"""EX_SOFTWARE of sysexits.h."""


@asynccontextmanager
async def kept_alive(lease: Lease, redis: Redis) -> AsyncIterator[None]:
    """Renew a lease while the context lasts, in the one lease thread of this Redis handle."""
    thread = _THREADS.get(redis)
    if thread is None or thread.worker_loop is not asyncio.get_running_loop():
        thread = _THREADS[redis] = LeaseThread(redis.settings)
    thread.add(lease)
    try:
        yield
    finally:
        await thread.remove(lease)
        if not thread.leases and not thread.is_closing:  # several may be removed at once
            if _THREADS.get(redis) is thread:
                del _THREADS[redis]
            await thread.close()


class LeaseThread:
    """The thread for all workers of one Redis handle. Made in the loop that these run in."""

    def __init__(self, settings: RedisSettings) -> None:
        self.redis = connect(settings)
        """Used in the thread only."""
        self.worker_loop = asyncio.get_running_loop()
        self.leases: dict[Lease, asyncio.Task[None] | None] = {}
        self.is_closing = False
        self._worker_thread = threading.get_ident()
        self._loop = asyncio.new_event_loop()
        self._ended: Future[None] = Future()
        self._asked = 0.0
        """When the worker's loop was asked for a sign of life that it has not given."""
        self._is_answered = True
        self._unanswered = 0
        self._is_reported = False
        self._has_given_up = False
        self._thread = threading.Thread(target=self._run, name="credstream-leases", daemon=True)
        self._thread.start()

    def add(self, lease: Lease) -> None:
        """Begin to renew a lease."""
        self.leases[lease] = None
        self._loop.call_soon_threadsafe(self._begin, lease)

    async def remove(self, lease: Lease) -> None:
        """Renew a lease no more."""
        ending = asyncio.run_coroutine_threadsafe(self._end(lease), self._loop)
        await asyncio.wrap_future(ending)

    async def close(self) -> None:
        """End the thread."""
        self.is_closing = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.wrap_future(self._ended)
        self._thread.join()

    @property
    def blocked_s(self) -> float:
        """For how long the worker's loop has not turned, seconds; 0 below some 0.5 s."""
        # Twice: after SIGCONT both threads need a moment.
        return 0.0 if self._unanswered < 2 else time.monotonic() - self._asked

    def tell(self, callback: Callable[..., object], *args: Any) -> bool:
        """Call back in the worker's loop. False when that is closed."""
        try:
            self.worker_loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            return False
        return True

    def give_up(self, run: Run) -> None:
        """The loop is blocked beyond the limit of a run: leases end, and so may the process."""
        if self._has_given_up:
            return
        self._has_given_up = True
        logger.critical(
            "[%s] the event loop has been blocked for %.0f s, beyond the limit of job %s, whose"
            " lease is no longer renewed:\n%s",
            *(run.claim.job.queue, self.blocked_s, run.claim.job.id, self._stack()),
        )
        if any(lease.exits for lease in self.leases):
            logging.shutdown()
            os._exit(STUCK_EXIT)

    def _run(self) -> None:
        try:
            watching = self._loop.create_task(self._watch())
            self._loop.run_forever()
            watching.cancel()
            self._loop.run_until_complete(asyncio.gather(watching, return_exceptions=True))
            self._loop.run_until_complete(self.redis.close())
        finally:
            self._loop.close()
            self._ended.set_result(None)

    def _begin(self, lease: Lease) -> None:
        self.leases[lease] = self._loop.create_task(lease.keep(self))

    async def _end(self, lease: Lease) -> None:
        if (task := self.leases.pop(lease)) is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _watch(self) -> None:
        while True:
            if self._is_answered:
                self._is_answered, self._unanswered, self._asked = False, 0, time.monotonic()
                if not self.tell(self._answer):
                    self._loop.stop()  # the loop was closed, and nobody stopped its workers
            await asyncio.sleep(WATCH_S)
            if not self._is_answered:
                self._unanswered += 1
            if self.blocked_s >= BLOCKED_S and not self._is_reported:
                self._report()

    def _answer(self) -> None:
        """Called in the worker's loop."""
        self._unanswered = 0
        self._is_answered, self._is_reported, self._has_given_up = True, False, False

    def _report(self) -> None:
        self._is_reported = True
        task, blocked_s = asyncio.current_task(self.worker_loop), self.blocked_s
        for lease in list(self.leases):
            for run in list(lease.runs.held.values()):
                if task is not None and run.task is task:
                    logger.warning(
                        "[%s] the handler of job %s has blocked the event loop for %.1f s; make it"
                        ' a plain function or run it with executor="process":\n%s',
                        *(run.claim.job.queue, run.claim.job.id, blocked_s, self._stack()),
                    )
                    self.tell(lease.callbacks.blocked, run, blocked_s)
                    return
        logger.warning("the event loop has been blocked for %.1f s:\n%s", blocked_s, self._stack())

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._worker_thread)  # noqa: SLF001 - as documented
        return "".join(traceback.format_stack(frame)[-STACK_FRAMES:])


_THREADS: WeakKeyDictionary[Redis, LeaseThread] = WeakKeyDictionary()
