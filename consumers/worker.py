"""claim -> execute -> settle, with N slots, for one queue."""

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

from consumers.events import (
    Hooks,
    JobLost,
    JobReleased,
    LoopBlocked,
    Started,
    Taken,
    Trouble,
    event_of,
)
from consumers.execute import Run, execute, failure, stop_error
from consumers.executors import off_loop
from consumers.fetch import Fetcher
from consumers.isolation import SHARE, SuspectRunner
from consumers.lease import Lease, LeaseCallbacks, Runs
from consumers.lease_thread import kept_alive
from consumers.outcome import Outcome, ending, last_resort
from consumers.processor import Context, ExecutorName, Handler, Processor, processor_of
from consumers.registration import Registration
from consumers.settle import Settler
from consumers.upkeep import QueueUpkeep
from schemas.spec import QueueSpec
from streams import Redis, connect
from streams.claims import Claim, Claimed, Claims, Ending, waited_ms
from streams.errors import CredstreamError

logger = logging.getLogger(__name__)

TWO_WAVES = 16
"""From this many slots on, a claim asks for half of them at most: while Redis works on one half,
the handlers of the other run."""
LAST_SETTLE_S = 5.0
LAST_WORD_S = 1.0
"""How long a handler may take to end after its cancellation."""


def worker_name() -> str:
    """Host, process and a boot id: a name is never used twice."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


class Worker:
    """Works on one queue until stopped.

    `Worker("custom-queue", handler, concurrency=10)`; `await worker.run()`. The handler is
    `async def handler(job)` or `(job, context)`, or a plain `def`, which runs in a thread or, with
    `executor="process"`, in a process of its own; see docs/processors.md.
    """

    def __init__(
        self,
        queue: str | Processor | QueueSpec,
        handler: Handler | None = None,
        *,
        concurrency: int = 5,
        redis: Redis | str | None = None,
        drain_timeout_s: float = 25.0,
        executor: ExecutorName | None = None,
    ) -> None:
        self.processor = processor_of(queue, handler, executor)
        self.spec = self.processor.spec
        self.concurrency = concurrency + self.processor.waiting
        self.drain_timeout_s = drain_timeout_s
        self.name = worker_name()
        self.state: Any = None
        """What every call finds as `context.state`."""
        self.hooks = Hooks()
        self._owns_redis = not isinstance(redis, Redis)
        self.redis = redis if isinstance(redis, Redis) else connect(redis)
        self.claims = Claims(self.spec, self.redis, self.name)
        self._runs = Runs()
        self._held, self._unstarted = self._runs.held, self._runs.unstarted
        self._given_up: set[asyncio.Task[None]] = set()
        """Tasks of handlers that ignore their cancellation."""
        self._running = 0
        self._turn_due = False
        self._hurry = asyncio.Event()
        self._wants_context = self.processor.wants_context
        handle, self._executor = off_loop(self.processor, self._occupy)
        self.processor = replace(self.processor, handle=handle)
        self._settler = Settler(self.claims, self._settled, self._trouble)
        self._fetcher = Fetcher(self.claims, self._settler, self._free, self._start, self._trouble)
        callbacks = LeaseCallbacks(self._stop_run, self._abandon, self._blocked, self._trouble)
        self.lease = Lease(self.spec, self.name, self._runs, self.concurrency, callbacks)
        self._upkeep = QueueUpkeep(self.spec, self.redis, self._trouble)
        self._fetcher.needs_upkeep = self._upkeep.wake
        self._registration = Registration(self.spec, self.redis, self._fetcher, self._trouble)
        self.suspects = SuspectRunner(self, self._fetcher, self._settler, self._start)
        self._task: asyncio.Task[None] | None = None

    def on(self, name: str, listener: Callable[..., Any]) -> Self:
        """Listen to `completed`, `failed`, `retrying`, `active`, `released`, `lost`, `error`."""
        self.hooks.on(name, listener)
        return self

    async def run(self) -> None:
        """Work until `stop`, then drain: running jobs finish within the drain timeout, the rest
        is released for other workers."""
        background = [
            asyncio.create_task(self._upkeep.run()),
            asyncio.create_task(self._registration.keep()),
        ]
        try:
            async with kept_alive(self.lease, self.redis), SHARE.joined(self.suspects):
                await self._registration.join()
                await (self.suspects if self.suspects.parent else self._fetcher).run()
                await self._drain()
            with contextlib.suppress(CredstreamError):
                await self.claims.leave()
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            if self._executor is not None:
                await asyncio.to_thread(self._executor.close)
            if self._owns_redis:
                await self.redis.close()

    def stop(self) -> None:
        """Take no more jobs and let `run` come to its end."""
        self._fetcher.stop()

    def hurry(self) -> None:
        """Stop, and give running jobs back without waiting for them."""
        self.stop()
        self._hurry.set()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop()
        if self._task is not None:
            await self._task

    @property
    def running(self) -> int:
        """Jobs whose handler is running."""
        return self._running

    def _free(self, coming: int) -> int:
        if SHARE.owner is not None:
            return 0
        free = self.concurrency - self._running - coming
        return free if self.concurrency < TWO_WAVES else min(free, (self.concurrency + 1) // 2)

    def _start(self, claimed: Claimed) -> None:
        claims = claimed.claims
        if claims and self.hooks.wanted(Taken):
            self.hooks.emit(Taken(waited_ms(claims)))
        returned, limit_ms = self._runs.returned, self.spec.timeout_ms
        if claimed.has_suspects:
            self.suspects.begin()
        is_refused = self._fetcher.stopping.is_set() or not self.suspects.lets(claimed)
        for claim in claims:
            if returned and claim.place in returned:
                returned.discard(claim.place)
                continue
            context = Context(self.claims, claim, self.state) if self._wants_context else None
            run = Run(claim, context, limit_ms)
            run.asked = claimed.asked
            self._held[claim.place] = run
            if is_refused:
                self._settler.add(Ending(claim, "release", started=False))
            else:
                self._running += 1
                self._unstarted[claim.place] = run
                run.task = asyncio.create_task(self._work(run))

    async def _work(self, run: Run) -> None:
        if self._unstarted.pop(run.claim.place, None) is None:
            # The loop was blocked for so long that the lease thread has given the job back.
            self._running -= 1
            self.hooks.emit(JobReleased(run.claim.job))
            self._fetcher.nudge()
            return
        if not self.lease.covers(run):
            self._running -= 1
            self._settler.add(Ending(run.claim, "release", started=False))
            self._turn()
            return
        if self.hooks.wanted(Started):
            self.hooks.emit(Started(run.claim.job, *waited_ms([run.claim])))
        outcome = await execute(run, self.processor, self.claims.payload)
        self._running -= 1
        if run.stop_reason in ("lost", "given up"):
            if run.stop_reason == "lost":
                self._held.pop(run.claim.place, None)
                self.hooks.emit(JobLost(run.claim.job))
            self._fetcher.nudge()
            return
        self._end(run.claim, outcome)
        if not self._turn_due:
            self._turn_due = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _end(self, claim: Claim, outcome: Outcome) -> None:
        """Collect the ending of a job. Whatever its handler did, it does not stay active."""
        try:
            self._settler.add(self.claims.seal(ending(claim, outcome)))
        except Exception:
            logger.exception("[%s] job %s cannot be settled", self.spec.name, claim.job.id)
            self._settler.add(last_resort(claim))

    def _stop_run(self, run: Run, reason: str) -> None:
        # A task that is cancelled before its first step would never end its job.
        is_started = run.claim.place not in self._unstarted
        if is_started and run.task is not None and not run.task.done():
            run.stop(reason)

    def _blocked(self, run: Run, blocked_s: float) -> None:
        self.hooks.emit(LoopBlocked(run.claim.job, blocked_s))

    def _occupy(self, slots: int) -> None:
        """A thread goes on after the end of its run (1), or has ended (-1)."""
        self._running += slots
        self._fetcher.nudge()

    def _abandon(self, run: Run) -> None:
        """End the job of a handler that goes on although it was told to stop. Its slot stays
        occupied until it returns; what it returns is dropped."""
        if run.stop_reason not in ("cancelled", "timeout") or run.task is None or run.task.done():
            return
        job = run.claim.job
        logger.error("[%s] the handler of job %s ignores its cancellation", job.queue, job.id)
        self._end(run.claim, failure(run, stop_error(run), self.processor))
        self._give_up(run)
        self._turn()

    def _give_up(self, run: Run) -> None:
        """Drop what a handler returns, and let the loop end without waiting for its task."""
        run.stop_reason = "given up"
        if run.task is not None:
            self._given_up.add(run.task)
            run.task.add_done_callback(self._given_up.discard)
            asyncio.tasks._unregister_task(run.task)  # noqa: SLF001 - see "Extending asyncio"

    def _turn(self) -> None:
        """Once per turn of the loop: the fetcher takes the outcomes along with its next claim; if
        it is waiting in Redis, they go on their own."""
        self._turn_due = False
        if self._fetcher.waiting or self._fetcher.stopping.is_set():
            self._settler.flush_soon()
        self._fetcher.nudge()

    def _settled(self, done: Ending, word: str) -> None:
        run = self._held.pop(done.claim.place, None)
        if done.claim.callback is not None:
            self._upkeep.wake()
        event = event_of(done, word, run.elapsed_ms if run else 0, self.hooks)
        if event is not None:
            self.hooks.emit(event)

    def _trouble(self, error: Exception) -> None:
        self.hooks.emit(Trouble(error))

    async def _drain(self) -> None:
        """Let running jobs finish; release those that do not in time; settle everything."""
        await self.suspects.cancel()
        tasks = {run.task for run in self._held.values() if run.task and not run.task.done()}
        if tasks:
            drained = asyncio.create_task(asyncio.wait(tasks, timeout=self.drain_timeout_s))
            hurried = asyncio.create_task(self._hurry.wait())
            await asyncio.wait({drained, hurried}, return_when=asyncio.FIRST_COMPLETED)
            drained.cancel()
            hurried.cancel()
        late = [run for run in self._held.values() if run.task and not run.task.done()]
        for run in late:
            run.stop("released")
        stubborn = {run.task for run in late if run.task}
        if stubborn:
            await asyncio.wait(stubborn, timeout=LAST_WORD_S)
        for run in late:
            if run.task and not run.task.done():
                # It swallowed its cancellation: its job goes on elsewhere.
                self._settler.add(Ending(run.claim, "release"))
                self._give_up(run)
        await self._settler.finish(LAST_SETTLE_S)
