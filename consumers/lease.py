"""Keeps a worker's claims alive and learns what it must know about them."""

import asyncio
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from consumers.execute import Run
from streams.claims import Claim, Claims, place

BEAT_MS = 1_000
STRAY_MS = 2_000
"""A claim held this long without being known here had its reply lost."""
GRACE_S = 30.0
"""How long a handler may go on after it was told to stop; then its job ends without it."""
HEARTBEAT_BEATS = 2
SHOWN_JOBS = 1_000


class Lease:
    """Renews every claim at a quarter of the lease, at least once a second, which is also how
    fast a cancellation reaches a handler."""

    def __init__(
        self,
        claims: Claims,
        held: Mapping[bytes, Run],
        slots: int,
        abandon: Callable[[Run], None],
        trouble: Callable[[Exception], None],
    ) -> None:
        self._claims = claims
        self._held = held
        self._slots = slots
        self._abandon = abandon
        self._trouble = trouble
        self.grace_s = GRACE_S
        self._strays: set[tuple[bytes, bytes]] = set()

    async def keep(self) -> None:
        """Beat until cancelled."""
        pause_s = min(self._claims.spec.lease_ms / 4, BEAT_MS) / 1000
        beat = 0
        while True:
            try:
                await self.renew()
                if beat % HEARTBEAT_BEATS == 0:
                    await self._claims.heartbeat(self._info())
                beat += 1
            except Exception as error:  # noqa: BLE001 - whatever it is, the leases must be kept
                self._trouble(error)
            await asyncio.sleep(pause_s)

    async def renew(self) -> None:
        """One beat: stop handlers whose job was lost or cancelled or whose time is over, give back
        strays."""
        runs = list(self._held.values())
        self._stop_overdue(runs)
        renewed = await self._claims.renew([run.claim for run in runs], STRAY_MS)
        self._stop(renewed.lost, "lost")
        self._stop(renewed.cancelled, "cancelled")
        # A reply this loop has not read yet is no stray: only what two beats in a row saw is.
        seen = set(renewed.strays)
        strays = [s for s in seen & self._strays if place(*s) not in self._held]
        self._strays = seen
        if strays:
            await self._claims.release_strays(strays)

    def _stop_overdue(self, runs: list[Run]) -> None:
        now = time.monotonic()
        for run in runs:
            if run.task is None or run.task.done():
                continue
            if run.stopped is not None and now - run.stopped > self.grace_s:
                self._abandon(run)
            elif run.is_overdue(now):
                run.stop("timeout")

    def _stop(self, claims: list[Claim], reason: str) -> None:
        for claim in claims:
            run = self._held.get(claim.place)
            if run is not None and run.task is not None and not run.task.done():
                run.stop(reason)

    def _info(self) -> dict[str, Any]:
        runs = list(self._held.values())[:SHOWN_JOBS]
        running = {run.claim.job.id: run.claim.job.claimed_ms for run in runs}
        return {"slots": self._slots, "running": running, "host": socket.gethostname()}
