"""Outcomes wait here for the next write to Redis: one batch per turn of the event loop."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from streams.claims import Claims, Ending
from streams.errors import CredstreamError
from streams.scripts import Command

Call = tuple[Command, list[Ending]]
WORST_PAUSE_S = 2.0


class Settler:
    """Collects endings; whoever writes next takes them. An ending whose write failed comes back
    and is sent again: every settle may be repeated."""

    def __init__(
        self,
        claims: Claims,
        settled: Callable[[Ending, str], None],
        trouble: Callable[[Exception], None],
    ) -> None:
        self._claims = claims
        self._settled = settled
        self._trouble = trouble
        self._endings: list[Ending] = []
        self._flushing: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._endings)

    def add(self, ending: Ending) -> None:
        self._endings.append(ending)
        # Encoded now, while Redis is busy, not when it waits for the next write.
        _ = ending.words

    def take(self) -> list[Call]:
        """The calls for everything collected; the caller sends them or gives them `back`."""
        if not self._endings:
            return []
        endings, self._endings = self._endings, []
        return self._claims.settle(endings)

    def back(self, calls: Sequence[Call]) -> None:
        for _, endings in calls:
            self._endings += endings

    def confirm(self, calls: Sequence[Call], replies: Sequence[Any]) -> None:
        """Tell what became of each ending: OK, ALREADY or LOST."""
        for (_, endings), reply in zip(calls, replies, strict=True):
            words = self._claims.words(reply, len(endings))
            for ending, word in zip(endings, words, strict=True):
                self._settled(ending, word)

    def flush_soon(self) -> None:
        """Settle in the background on the shared connection."""
        if self._endings and (self._flushing is None or self._flushing.done()):
            self._flushing = asyncio.create_task(self.flush())

    async def flush(self) -> None:
        """Send until Redis has taken everything."""
        failures = 0
        while self._endings:
            calls = self.take()
            try:
                replies = await self._claims.send([command for command, _ in calls])
            except BaseException as error:
                self.back(calls)
                if not isinstance(error, CredstreamError):
                    raise
                failures += 1
                self._trouble(error)
                await self._claims.redis.unreachable()
                await asyncio.sleep(min(0.05 * 2 ** min(failures, 6), WORST_PAUSE_S))
            else:
                self.confirm(calls, replies)

    async def finish(self, timeout_s: float) -> None:
        """Send what is left, within a bound; what is not taken by then others find by its lease."""
        for task in (self._flushing, asyncio.create_task(self.flush())):
            if task is not None:
                await asyncio.wait([task], timeout=timeout_s)
                task.cancel()
