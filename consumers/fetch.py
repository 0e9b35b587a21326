"""Asks for jobs: at once while there are some, else waiting in Redis for the queue's marker."""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from typing import Any

from consumers.settle import WORST_PAUSE_S, Call, Settler
from streams.claims import BLOCK_MS, Claimed, Claims
from streams.errors import CredstreamError, EncodingError
from streams.link import Link

UNBLOCK_AGAIN_S = 0.02
IDLE_WAITS = 2
"""After more waits in vain, a worker that is one of many shares a connection to wait on."""


class Fetcher:
    """One worker's claim loop on a connection of its own.

    `free(coming)` says how many jobs may be asked for now, when `coming` are about to be started;
    `start(claimed)` takes what came. A busy worker's settles travel in the same
    write as its next claim.
    """

    def __init__(
        self,
        claims: Claims,
        settler: Settler,
        free: Callable[[int], int],
        start: Callable[[Claimed], None],
        trouble: Callable[[Exception], None],
    ) -> None:
        self.stopping = asyncio.Event()
        self.waiting = False
        """Whether the connection is blocked in Redis: settles must then go on their own."""
        self.needs_upkeep: Callable[[], object] = bool
        """Called when a claim shows that upkeep may have work."""
        self._claims = claims
        self._settler = settler
        self._free = free
        self._start = start
        self._trouble = trouble
        self._slot = asyncio.Event()
        self._coming = 0
        """Jobs that were fetched and not yet started."""
        self._digesting: asyncio.Task[None] | None = None
        self._link: Link | None = None
        self._wait_ms = 0
        self._failures = 0
        self._is_asking = False
        self._idle_waits = 0
        """Waits in a row after which there was no job."""

    @property
    def is_asking(self) -> bool:
        """Whether jobs may come that were not started yet."""
        return self._is_asking or self._coming > 0

    def stop(self) -> None:
        self.stopping.set()
        self._slot.set()

    def nudge(self) -> None:
        """A slot may have become free, or an outcome is to be settled."""
        self._slot.set()

    async def run(self) -> None:
        """Fetch until stopped. What a last claim still brings is `start`ed as well: the worker,
        which is stopping, gives it back."""
        unblocker = asyncio.create_task(self._unblock_on_stop())
        self._claims.shared.workers += 1
        try:
            while not self.stopping.is_set():
                want = self._free(self._coming)
                self._is_asking = want > 0
                if want > 0:
                    await self._step(want)
                else:
                    # No claim takes outcomes along: threads may occupy slots beyond their runs.
                    self._settler.flush_soon()
                    self._slot.clear()
                    await self._slot.wait()
            await self._digested()
        finally:
            self._is_asking = False
            self._claims.shared.workers -= 1
            unblocker.cancel()
            await self._drop_link()

    async def _step(self, want: int) -> None:
        calls: list[Call] = []
        if self._is_long_idle and not await self._may_ask_after_wait(want):
            return
        if self._wait_ms:
            self._settler.flush_soon()
        else:
            calls = self._settler.take()
        try:
            claimed, replies = await self._claim(want, calls)
        except CredstreamError as error:
            self._trouble(error)
            await self._drop_link()
            await self._claims.redis.unreachable()
            await self.pause()
            return
        if not claimed.is_wait_refused and (self._wait_ms or claimed.count):
            self._failures = 0
        self._idle_waits = 0 if claimed.count else self._idle_waits + 1
        await self._digested()
        if claimed.count >= want:
            # There is more: ask for it first, and see to these while Redis works on that.
            self._wait_ms = 0
            self._coming = claimed.count
            self._digesting = asyncio.create_task(self._digest(claimed, calls, replies))
        else:
            longest_ms = min(BLOCK_MS, self._claims.spec.lease_ms // 2)
            self._wait_ms = longest_ms if claimed.next_ms < 0 else min(longest_ms, claimed.next_ms)
            self._take(claimed, calls, replies)
            # First the handlers start; to wait for more is nothing urgent.
            await asyncio.sleep(0)
            if claimed.is_wait_refused:
                await self.pause()

    async def _digest(self, claimed: Claimed, calls: list[Call], replies: list[Any]) -> None:
        self._take(claimed, calls, replies)
        self._coming = 0
        self.nudge()

    async def _digested(self) -> None:
        if self._digesting is not None:
            await self._digesting

    def _take(self, claimed: Claimed, calls: list[Call], replies: list[Any]) -> None:
        if claimed.needs_upkeep:
            self.needs_upkeep()
        self._settler.confirm(calls, replies)
        self._start(claimed)

    @property
    def _is_long_idle(self) -> bool:
        is_idle = self._wait_ms > 0 and self._idle_waits > IDLE_WAITS
        return is_idle and self._claims.shared.are_worthwhile

    async def _may_ask_after_wait(self, want: int) -> bool:
        """Wait with others; whether so many jobs may still be asked for."""
        self._is_asking = False
        await self._wait_with_others()
        self._is_asking = not self.stopping.is_set() and self._free(self._coming) >= want
        if not self._is_asking:
            # Another worker has the process to itself; afterwards jobs are asked for at once.
            self._idle_waits = 0
        return self._is_asking

    async def _wait_with_others(self) -> None:
        """Give the connection up and wait on a shared one; the claim is then made on the one that
        is everybody's. With a job the worker is back on a connection of its own."""
        await self._drop_link()
        self._settler.flush_soon()
        self.waiting = True
        waiting = asyncio.create_task(self._claims.wait_with_others(self._wait_ms))
        stopping = asyncio.create_task(self.stopping.wait())
        try:
            await asyncio.wait((waiting, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.waiting = False
            waiting.cancel()
            stopping.cancel()
            woken, _ = await asyncio.gather(waiting, stopping, return_exceptions=True)
        self._wait_ms = 0
        if woken is True:
            self.needs_upkeep()

    async def _link_for_claim(self) -> Link:
        """The worker's own connection; after a shared wait the one that is everybody's."""
        if self._link is None:
            if not self._wait_ms and self._idle_waits > IDLE_WAITS:
                return await self._claims.shared_link()
            self._link = await self._claims.link()
        return self._link

    async def _claim(self, want: int, calls: list[Call]) -> tuple[Claimed, list[Any]]:
        try:
            link = await self._link_for_claim()
            self.waiting = self._wait_ms > 0
            commands = [command for command, _ in calls]
            # Redis may have waited: within that time the claim is taken for younger than it is.
            asked = time.monotonic() + self._wait_ms / 1000
            answer = await self._claims.claim(link, want, self._wait_ms, commands)
        except EncodingError:
            self._settler.sort_out(calls)
            raise
        except BaseException:
            self._settler.back(calls)
            raise
        else:
            answer[0].asked = asked
            return answer
        finally:
            self.waiting = False

    async def pause(self) -> None:
        """Back off after trouble: 50 ms, 100 ms ... 2 s, with jitter; ends early on stop."""
        self._wait_ms = 0
        self._failures += 1
        pause = min(0.05 * 2 ** min(self._failures - 1, 10), WORST_PAUSE_S)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), pause * random.uniform(0.5, 1))

    async def _unblock_on_stop(self) -> None:
        await self.stopping.wait()
        while self._link is not None:
            if self.waiting:
                with contextlib.suppress(CredstreamError):
                    await self._claims.unblock(self._link)
            await asyncio.sleep(UNBLOCK_AGAIN_S)

    async def _drop_link(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await self._claims.redis.forget(link)
