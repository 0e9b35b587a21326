"""Keeps a worker's claims alive and learns what it must know about them, in the lease thread."""

import asyncio
import logging
import math
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from consumers.execute import Run
from schemas.spec import QueueSpec
from streams import Redis
from streams.claims import Claims, Ending, place

logger = logging.getLogger(__name__)

BEAT_MS = 1_000
STRAY_MS = 2_000
"""A claim held this long without being known here had its reply lost."""
GRACE_S = 30.0
"""How long a handler may go on after it was told to stop, or a run whose event loop is blocked
beyond its limit; then its job ends, or its lease, without it."""
HEARTBEAT_BEATS = 3
"""Every so many beats a worker says that it lives; without jobs it renews no more often."""
RETURNED_MAX = 10_000
SHOWN_JOBS = 1_000


@dataclass(slots=True)
class Runs:
    """The claims of one worker that are not settled yet, by place. The worker's loop and the lease
    thread share them without a lock: each of their steps is one operation of a dict or a set."""

    held: dict[bytes, Run] = field(default_factory=dict)
    """All of them: what renew must name."""
    unstarted: dict[bytes, Run] = field(default_factory=dict)
    """Those that wait for their first turn. Who removes a run from here decides what it gets: the
    loop starts it, the lease thread gives it back."""
    returned: set[bytes] = field(default_factory=set)
    """Places that were given back before the loop had read that they were claimed."""


@dataclass(frozen=True, slots=True)
class LeaseCallbacks:
    """What the lease thread has done in the worker's loop."""

    stop: Callable[[Run, str], None]
    abandon: Callable[[Run], None]
    blocked: Callable[[Run, float], None]
    trouble: Callable[[Exception], None]


class LoopWatch(Protocol):
    """What a lease asks the lease thread."""

    redis: Redis

    @property
    def blocked_s(self) -> float: ...
    def tell(self, callback: Callable[..., object], *args: Any) -> bool: ...
    def give_up(self, run: Run) -> None: ...


class Lease:
    """Renews every claim at a quarter of the lease, at least once a second, which is also how
    fast a cancellation reaches a handler.

    When the worker's loop has been blocked for as long as a lease, claims that were not started are
    given back, and the others are renewed until the limit of their run plus 30 seconds.
    """

    def __init__(
        self, spec: QueueSpec, worker: str, runs: Runs, slots: int, callbacks: LeaseCallbacks
    ) -> None:
        self.spec = spec
        self.callbacks = callbacks
        self.runs = runs
        self.grace_s = GRACE_S
        self.exits = False
        """Whether the process ends when its loop is blocked beyond the limit of a run."""
        self._renewed = -math.inf
        """When the last renewal that succeeded was sent (monotonic seconds)."""
        self._worker = worker
        self._slots = slots
        self._strays: set[tuple[bytes, bytes]] = set()
        self._returning: list[Run] = []

    def covers(self, run: Run) -> bool:
        """Whether a claim was made or renewed within half a lease. If not, this process stood still
        (SIGSTOP, a paused machine), and the job may be another worker's by now."""
        now, most_s = time.monotonic(), self.spec.lease_ms / 2000
        if now - run.asked < most_s:
            return True
        return run.started <= self._renewed and now - self._renewed < most_s

    async def keep(self, watch: LoopWatch) -> None:
        """Beat until cancelled."""
        claims = Claims(self.spec, watch.redis, self._worker)
        pause_s = min(self.spec.lease_ms / 4, BEAT_MS) / 1000
        stuck_s = max(self.spec.lease_ms, BEAT_MS) / 1000
        beat = 0
        while True:
            try:
                is_busy = self.runs.held or self._strays or self._returning
                if watch.blocked_s >= stuck_s:
                    await self.hold_on(claims, watch)
                elif is_busy or beat % HEARTBEAT_BEATS == 0:
                    await self.renew(claims, watch)
                if beat % HEARTBEAT_BEATS == 0:
                    await claims.heartbeat(self._info())
                beat += 1
            except Exception as error:  # noqa: BLE001 - whatever it is, the leases must be kept
                watch.tell(self.callbacks.trouble, error)
            await asyncio.sleep(pause_s)

    async def renew(self, claims: Claims, watch: LoopWatch) -> None:
        """One beat: stop handlers whose job was lost or cancelled or whose time is over, give back
        strays."""
        await self._return(claims)
        asked = time.monotonic()
        runs = list(self.runs.held.values())
        self._stop_overdue(runs, watch)
        renewed = await claims.renew([run.claim for run in runs], STRAY_MS)
        self._renewed = asked
        for reason, found in (("lost", renewed.lost), ("cancelled", renewed.cancelled)):
            for claim in found:
                if (run := self.runs.held.get(claim.place)) is not None:
                    watch.tell(self.callbacks.stop, run, reason)
        # A reply the loop has not read yet is no stray: only what two beats in a row saw is.
        seen = set(renewed.strays)
        strays = [s for s in seen & self._strays if place(*s) not in self.runs.held]
        self._strays = seen
        await self._return_strays(claims, strays)

    async def hold_on(self, claims: Claims, watch: LoopWatch) -> None:
        """One beat while the loop is blocked: give back what was not started, renew the rest."""
        while self.runs.unstarted:
            with suppress(KeyError):
                self._returning.append(self.runs.unstarted.popitem()[1])
        await self._return(claims)
        now = time.monotonic()
        runs = [run for run in list(self.runs.held.values()) if run not in self._returning]
        kept = [run for run in runs if not run.is_overdue(now - self.grace_s)]
        renewed = await claims.renew([run.claim for run in kept], STRAY_MS)
        await self._return_strays(claims, renewed.strays)
        if len(kept) < len(runs):
            watch.give_up(next(run for run in runs if run not in kept))

    async def _return(self, claims: Claims) -> None:
        """Give back runs that the loop will not start; again, if Redis was away."""
        if self._returning:
            endings = [Ending(run.claim, "release", started=False) for run in self._returning]
            await claims.send([command for command, _ in claims.settle(endings)])
            for run in self._returning:
                self.runs.held.pop(run.claim.place, None)
            self._returning.clear()

    async def _return_strays(self, claims: Claims, strays: list[tuple[bytes, bytes]]) -> None:
        if strays:
            if len(self.runs.returned) > RETURNED_MAX:
                self.runs.returned.clear()
            self.runs.returned.update(place(*stray) for stray in strays)
            await claims.release_strays(strays)

    def _stop_overdue(self, runs: list[Run], watch: LoopWatch) -> None:
        now = time.monotonic()
        for run in runs:
            if run.task is None or run.task.done() or run.claim.place in self.runs.unstarted:
                continue
            if run.stopped is not None and now - run.stopped > self.grace_s:
                watch.tell(self.callbacks.abandon, run)
            elif run.is_overdue(now):
                watch.tell(self.callbacks.stop, run, "timeout")

    def _info(self) -> dict[str, Any]:
        runs = list(self.runs.held.values())[:SHOWN_JOBS]
        running = {run.claim.job.ref: run.claim.job.claimed_ms for run in runs}
        return {"slots": self._slots, "running": running, "host": socket.gethostname()}
