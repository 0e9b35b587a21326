"""Outcomes wait here for the next write to Redis: one batch per turn of the event loop."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from consumers.outcome import last_resort
from streams.claims import Claims, Ending
from streams.errors import CredstreamError, EncodingError
from streams.link import encode
from streams.scripts import Command

Call = tuple[Command, list[Ending]]
WORST_PAUSE_S = 2.0
REFUSALS_MAX = 20
"""After so many refusals of an ending of its own, over half a minute, its job fails instead. A
permission that is missing for a moment costs no result."""


class Settler:
    """Collects endings; whoever writes next takes them. An ending whose write failed comes back
    and is sent again: every settle may be repeated. Endings of a call that Redis refuses are sent
    again one by one, so that only the one at fault waits."""

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
        self._single: list[Ending] = []
        """Endings that are sent in a call of their own."""
        self._refusals: Counter[bytes] = Counter()
        """How often an ending was refused in a call of its own, by the place of its claim."""
        self._flushing: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._endings) + len(self._single)

    def add(self, ending: Ending) -> None:
        """Collect an ending. Raises what encoding it raises."""
        # Encoded now, while Redis is busy, not when it waits for the next write.
        _ = ending.words
        self._endings.append(ending)

    def take(self) -> list[Call]:
        """The calls for everything collected; the caller sends them or gives them `back`."""
        if not self._endings and not self._single:
            return []
        endings, self._endings = self._endings, []
        single, self._single = self._single, []
        calls = self._claims.settle(endings)
        for ending in single:
            calls += self._claims.settle([ending])
        return calls

    def back(self, calls: Sequence[Call]) -> None:
        for _, endings in calls:
            alone = self._refusals and endings[0].claim.place in self._refusals
            (self._single if alone else self._endings).extend(endings)

    def confirm(self, calls: Sequence[Call], replies: Sequence[Any]) -> None:
        """Tell what became of each ending: OK, ALREADY or LOST."""
        for (_, endings), reply in zip(calls, replies, strict=True):
            if isinstance(reply, CredstreamError):
                self._refuse(endings, reply)
                continue
            words = self._claims.words(reply, len(endings))
            for ending, word in zip(endings, words, strict=True):
                if self._refusals:
                    self._refusals.pop(ending.claim.place, None)
                self._settled(ending, word)

    def sort_out(self, calls: Sequence[Call]) -> None:
        """Take back calls of which at least one cannot be encoded."""
        for call in calls:
            try:
                encode([call[0]])
            except EncodingError as error:
                self._refuse(call[1], error)
            else:
                self.back([call])

    def _refuse(self, endings: Sequence[Ending], error: CredstreamError) -> None:
        """Send each ending again: at once from a shared call, after a pause from its own."""
        self._trouble(error)
        if len(endings) > 1:
            self._refusals.update({ending.claim.place: 0 for ending in endings})
            self._single += endings
            self.flush_soon()
            return
        (ending,) = endings
        self._refusals[ending.claim.place] += 1
        refusals = self._refusals[ending.claim.place]
        is_hopeless = isinstance(error, EncodingError) or refusals >= REFUSALS_MAX
        if is_hopeless and ending.kind != "release":
            ending = last_resort(ending.claim)
        loop = asyncio.get_running_loop()
        loop.call_later(min(0.05 * 2 ** min(refusals, 6), WORST_PAUSE_S), self._again, ending)

    def _again(self, ending: Ending) -> None:
        self._single.append(ending)
        self.flush_soon()

    def flush_soon(self) -> None:
        """Settle in the background on the shared connection."""
        if len(self) and (self._flushing is None or self._flushing.done()):
            self._flushing = asyncio.create_task(self.flush())

    async def flush(self) -> None:
        """Send until Redis has taken everything."""
        failures = 0
        while len(self):
            calls = self.take()
            try:
                replies = await self._claims.send([command for command, _ in calls])
            except EncodingError:
                self.sort_out(calls)
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
