"""What happens, as it happens: the event stream of a gateway (`docs/events.md`), read in one go."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from credstream.api import Busy, Gateway, Unreachable

SILENT_S = 60.0
"""A gateway shows a sign of life every 15 seconds; after this one is gone."""
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 10.0


@dataclass(frozen=True, slots=True)
class Happening:
    """One event. `gap`: some are missing, read again what you keep a picture of."""

    event: str
    queue: str | None
    jobs: list[str]
    """Ids; none when it is about a queue as a whole."""
    at_ms: int | None
    """By the clock of Redis."""
    id: str | None
    """Go on behind it, at another time: `after`."""
    more: dict[str, Any] = field(default_factory=dict)
    """What else the event says."""


async def happenings(
    gateway: Gateway, path: str, after: str | None, tries: int
) -> AsyncIterator[Happening]:
    """The events of a stream, over interruptions and restarts of the gateway: none twice, and `gap`
    where some are missing. Raises Refused, and Unreachable after `tries` vain ones in a row."""
    failed = 0
    while True:
        try:
            async for block in gateway.stream(path, after, SILENT_S):
                failed, after = 0, block.get("id", after)
                if "data" in block:
                    yield _happening(block)
        except (Unreachable, Busy):
            failed += 1
            if failed >= tries:
                raise
        await asyncio.sleep(min(FIRST_PAUSE_S * 2**failed, LONGEST_PAUSE_S))


def _happening(block: dict[str, str]) -> Happening:
    data = orjson.loads(block["data"])
    known = {"event": data.pop("event"), "queue": data.pop("queue", None)}
    jobs, at_ms = data.pop("jobs", []), data.pop("at", None)
    return Happening(**known, jobs=jobs, at_ms=at_ms, id=block.get("id"), more=data)
