"""claim -> execute -> settle, with N slots, for one queue."""

import asyncio
import contextlib
import os
import random
import secrets
import socket
from collections.abc import Callable
from typing import Any, Self

import orjson

from consumers.events import (
    Event,
    Hooks,
    JobCompleted,
    JobFailed,
    JobLost,
    JobReleased,
    JobRetried,
    Started,
    Trouble,
)
from consumers.execute import Run, execute
from consumers.outcome import ending
from consumers.processor import Context, Handler, Processor
from consumers.settle import Call, Settler
from consumers.upkeep import keep_up
from schemas.spec import QueueSpec, catalog
from streams import Redis, connect
from streams.claims import BLOCK_MS, Claim, Claims, Ending
from streams.errors import CredstreamError, LayoutTooNew

BEAT_MS = 1_000
STRAY_MS = 2_000
HEARTBEAT_BEATS = 2
WORST_PAUSE_S = 2.0


def worker_name() -> str:
    """Host, process and a boot id: a name is never used twice."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


class Worker:
    """Works on one queue until stopped.

    `Worker("custom-queue", handler, concurrency=10)`; `await worker.run()`. The handler is
    `async def handler(job)` or `(job, context)`; see consumers.processor for how it ends a job.
    """

    def __init__(
        self,
        queue: str | Processor | QueueSpec,
        handler: Handler | None = None,
        *,
        concurrency: int = 5,
        redis: Redis | str | None = None,
        drain_timeout_s: float = 25.0,
    ) -> None:
        self.processor = _processor(queue, handler)
        self.spec = self.processor.spec
        self.concurrency = concurrency
        self.drain_timeout_s = drain_timeout_s
        self.name = worker_name()
        self.state: Any = None
        self.hooks = Hooks()
        self._owns_redis = not isinstance(redis, Redis)
        self.redis = redis if isinstance(redis, Redis) else connect(redis)
        self.claims = Claims(self.spec, self.redis, self.name)
        self._settler = Settler(self.claims, self._settled)
        self._held: dict[bytes, Run] = {}
        """Every claim that is not settled yet, by place: what renew must name."""
        self._running = 0
        self._wave = concurrency if concurrency < 16 else (concurrency + 1) // 2
        """Claims above 16 slots go in two waves, so that Redis and handlers work at once."""
        self._stopping = asyncio.Event()
        self._slot = asyncio.Event()
        self._blocked = False
        self._turn_due = False
        self._strays: set[tuple[bytes, bytes]] = set()
        self._flushing: asyncio.Task[None] | None = None
        self._wants_context = self.processor.wants_context

    def on(self, name: str, listener: Callable[..., Any]) -> Self:
        """Listen to `completed`, `failed`, `retrying`, `active`, `released`, `lost`, `error`."""
        self.hooks.on(name, listener)
        return self

    async def run(self) -> None:
        """Work until `stop`, then drain: running jobs finish within the drain timeout, the rest
        is released for other workers."""
        tasks = [
            asyncio.create_task(self._beat()),
            asyncio.create_task(keep_up(self.spec, self.redis, self._trouble)),
        ]
        try:
            await self._introduce()
            await self._fetch()
            await self._drain()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._owns_redis:
                await self.redis.close()

    def stop(self) -> None:
        """Take no more jobs and let `run` come to its end."""
        self._stopping.set()
        self._slot.set()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop()
        await self._task

    @property
    def running(self) -> int:
        """Jobs whose handler is running."""
        return self._running

    async def _introduce(self) -> None:
        """Join the queue: its limits, its place in the catalogue."""
        from streams import Queue  # noqa: PLC0415 - only a queue outside the catalogue needs it

        while not self._stopping.is_set():
            try:
                queue = Queue(self.spec, self.redis)
                if self.spec.name not in catalog():
                    await queue.register()
                if self.spec.limiter or self.spec.concurrency:
                    await queue.set_limits(self.spec.limiter, self.spec.concurrency)
                return
            except LayoutTooNew:
                raise
            except CredstreamError as error:
                self._trouble(error)
                await self._pause(1)

    # -- claim

    async def _fetch(self) -> None:
        link, wait_ms, failures = None, 0, 0
        stopping = asyncio.create_task(self._unblock_on_stop())
        try:
            while not self._stopping.is_set():
                free = self.concurrency - self._running
                if free <= 0:
                    self._slot.clear()
                    await self._slot.wait()
                    continue
                want = min(free, self._wave)
                calls = self._settler.take() if wait_ms == 0 else self._flush_aside()
                try:
                    if link is None:
                        link = await self.claims.link()
                    self._link, self._blocked = link, wait_ms > 0
                    claimed, replies = await self.claims.claim(
                        link, want, wait_ms, [command for command, _ in calls]
                    )
                except CredstreamError as error:
                    self._settler.back(calls)
                    failures += 1
                    self._trouble(error)
                    if link is not None:
                        await self.redis.forget(link)
                        await self.redis.unreachable()
                    link, wait_ms = None, 0
                    await self._pause(failures)
                    continue
                finally:
                    self._blocked = False
                failures = 0
                self._settler.confirm(calls, replies)
                self._start(claimed.claims)
                filled = len(claimed.claims) >= want
                wait_ms = 0 if filled or claimed.next_ms == 0 else _wait(claimed.next_ms)
        finally:
            stopping.cancel()
            if link is not None:
                await self.redis.forget(link)

    async def _unblock_on_stop(self) -> None:
        await self._stopping.wait()
        while self._blocked:
            with contextlib.suppress(CredstreamError):
                await self.claims.unblock(self._link)
            await asyncio.sleep(0.02)

    def _flush_aside(self) -> list[Call]:
        """Settle on the shared connection while this one is about to wait."""
        if len(self._settler):
            self._flush_soon()
        return []

    async def _pause(self, failures: int) -> None:
        """Back off after trouble: 50 ms, 100 ms ... 2 s, with jitter; ends early on stop."""
        pause = min(0.05 * 2 ** min(failures - 1, 10), WORST_PAUSE_S) * random.uniform(0.5, 1)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), pause)

    # -- execute

    def _start(self, claims: list[Claim]) -> None:
        for claim in claims:
            context = Context(self.claims, claim, self.state) if self._wants_context else None
            run = Run(claim, context)
            self._held[claim.place] = run
            if self._stopping.is_set():
                self._settler.add(Ending(claim, "release"))
                continue
            self._running += 1
            run.task = asyncio.create_task(self._work(run))

    async def _work(self, run: Run) -> None:
        if self.hooks.wanted(Started):
            self.hooks.emit(Started(run.claim.job))
        outcome = await execute(run, self.processor, self.claims.payload)
        self._running -= 1
        if run.stop_reason == "lost":
            self._held.pop(run.claim.place, None)
            self.hooks.emit(JobLost(run.claim.job))
            self._slot.set()
            return
        self._settler.add(ending(run.claim, outcome))
        if not self._turn_due:
            self._turn_due = True
            asyncio.get_running_loop().call_soon(self._turn)

    # -- settle

    def _turn(self) -> None:
        """Once per turn of the loop: the fetcher takes the outcomes along with its next claim; if
        it is waiting in Redis, they go on their own."""
        self._turn_due = False
        if self._blocked or self._stopping.is_set():
            self._flush_soon()
        self._slot.set()

    def _flush_soon(self) -> None:
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())

    async def _flush(self) -> None:
        """Send what is collected until Redis has taken it."""
        failures = 0
        while len(self._settler):
            try:
                await self._settler.flush()
            except CredstreamError as error:
                failures += 1
                self._trouble(error)
                await self.redis.unreachable()
                await asyncio.sleep(min(0.05 * 2 ** min(failures, 6), WORST_PAUSE_S))

    def _settled(self, done: Ending, word: str) -> None:
        run = self._held.pop(done.claim.place, None)
        event = _event(done, word, run.elapsed_ms if run else 0, self.hooks)
        if event is not None:
            self.hooks.emit(event)

    # -- stay alive

    async def _beat(self) -> None:
        """Renew the leases, hear of cancellations, give back what this worker holds unknowingly."""
        beat = 0
        while True:
            try:
                await self._renew()
                if beat % HEARTBEAT_BEATS == 0:
                    await self.claims.heartbeat(self._info())
                beat += 1
            except CredstreamError as error:
                self._trouble(error)
            await asyncio.sleep(min(self.spec.lease_ms / 4, BEAT_MS) / 1000)

    async def _renew(self) -> None:
        runs = list(self._held.values())
        renewed = await self.claims.renew([run.claim for run in runs], STRAY_MS)
        for claim in renewed.lost:
            if (run := self._held.get(claim.place)) and run.task and not run.task.done():
                run.stop("lost")
        for claim in renewed.cancelled:
            if (run := self._held.get(claim.place)) and run.task and not run.task.done():
                run.stop("cancelled")
        # A reply that this loop has not read yet is no stray: only what is seen twice is.
        seen = set(renewed.strays)
        again = [s for s in seen & self._strays if _place(*s) not in self._held]
        self._strays = seen
        if again:
            await self.claims.release_strays(again)

    def _info(self) -> dict[str, Any]:
        running = {
            run.claim.job.id: run.claim.job.claimed_ms for run in list(self._held.values())[:1_000]
        }
        return {"slots": self.concurrency, "running": running, "host": socket.gethostname()}

    def _trouble(self, error: Exception) -> None:
        self.hooks.emit(Trouble(error))

    async def _drain(self) -> None:
        """Let running jobs finish; release those that do not in time; settle everything."""
        tasks = [run.task for run in self._held.values() if run.task and not run.task.done()]
        if tasks:
            await asyncio.wait(tasks, timeout=self.drain_timeout_s)
        for run in list(self._held.values()):
            if run.task and not run.task.done():
                run.stop("released")
        await asyncio.gather(*(t for t in tasks if not t.done()), return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._flush(), 5)
        if self._flushing:
            await asyncio.gather(self._flushing, return_exceptions=True)
        with contextlib.suppress(CredstreamError):
            await self.claims.leave()


def _wait(next_ms: int) -> int:
    return BLOCK_MS if next_ms < 0 else min(BLOCK_MS, next_ms)


def _place(lane: bytes, entry: bytes) -> bytes:
    return (b"b:" if lane == b"-1" else lane + b":") + entry


def _processor(queue: str | Processor | QueueSpec, handler: Handler | None) -> Processor:
    if isinstance(queue, Processor):
        return queue
    if handler is None:
        raise TypeError("Worker needs a handler: Worker('custom-queue', handler)")
    spec = queue if isinstance(queue, QueueSpec) else catalog().get(queue) or QueueSpec(queue)
    return Processor(spec, handler)


def _event(done: Ending, word: str, duration_ms: int, hooks: Hooks) -> Event | None:
    """What a settled ending is to observers; None when none of them listens."""
    job = done.claim.job
    if word == "LOST":
        return JobLost(job)
    match done.kind:
        case "complete" if hooks.wanted(JobCompleted):
            return JobCompleted(job, orjson.loads(done.result), duration_ms)
        case "retry" if hooks.wanted(JobRetried):
            return JobRetried(job, orjson.loads(done.history)[-1], done.delay_ms)
        case "fail" if hooks.wanted(JobFailed):
            return JobFailed(job, orjson.loads(done.history)[-1], duration_ms)
        case "release" if hooks.wanted(JobReleased):
            return JobReleased(job)
    return None
