"""Outcomes wait here for the next write to Redis: one batch per turn of the event loop."""

from collections.abc import Callable, Sequence
from typing import Any

from streams.claims import Claims, Ending
from streams.scripts import Command

Call = tuple[Command, list[Ending]]


class Settler:
    """Collects endings; whoever writes next takes them. An ending whose write failed comes back
    and is sent again: every settle may be repeated."""

    def __init__(self, claims: Claims, settled: Callable[[Ending, str], None]) -> None:
        self._claims = claims
        self._settled = settled
        self._endings: list[Ending] = []

    def __len__(self) -> int:
        return len(self._endings)

    def add(self, ending: Ending) -> None:
        self._endings.append(ending)

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
            for ending, word in zip(endings, self._claims.words(reply, len(endings)), strict=True):
                self._settled(ending, word)

    async def flush(self) -> None:
        """Send everything now. Raises what the engine raises; nothing is lost."""
        while calls := self.take():
            try:
                replies = await self._claims.send([command for command, _ in calls])
            except BaseException:
                self.back(calls)
                raise
            self.confirm(calls, replies)
