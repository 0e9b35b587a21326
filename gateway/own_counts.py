"""How many jobs of one organization lie where.

Queues count what they hold, not whose it is. So a tenant's jobs are counted by looking at them: at
most 2000 a state, one tenant at a time, and not again for 5 seconds.
"""

import asyncio
import time
from collections import OrderedDict
from typing import Any

from aiohttp import web

from gateway.directory import Listed
from gateway.shapes import stats
from schemas.job import State
from streams import Counts
from streams.search import Wanted, seek

SCAN_JOBS = 2_000
FRESH_S = 5.0
KEPT = 1_000


class OwnCounts:
    """Counts for tenants; remembers them for a moment."""

    def __init__(self) -> None:
        self._counting = asyncio.Semaphore(1)
        self._known: OrderedDict[tuple[str, str], tuple[float, dict[str, Any]]] = OrderedDict()

    async def of(self, listed: Listed, organization_id: str) -> dict[str, Any]:
        """The counts of one queue as `stats` tells them, and `complete`: false when there was more
        than could be looked at, so that there may be more than the numbers say."""
        name = (organization_id, listed.name)
        async with self._counting:
            known = self._known.get(name)
            if known is None or time.monotonic() - known[0] >= FRESH_S:
                known = time.monotonic(), await _count(listed, organization_id)
                self._known[name] = known
                self._known.move_to_end(name)
                if len(self._known) > KEPT:
                    self._known.popitem(last=False)
        return known[1]


async def _count(listed: Listed, organization_id: str) -> dict[str, Any]:
    whole = await listed.queue.counts()
    numbers: dict[State, int] = {}
    complete, oldest_ms = True, None
    for state in State:
        wanted = Wanted(state, organization_id=organization_id)
        found = await seek(listed.queue, wanted, most=SCAN_JOBS, scan_most=SCAN_JOBS)
        numbers[state] = len(found.jobs)
        complete = complete and not found.cursor
        if state is State.WAITING and found.jobs:
            added_ms = min(job.timestamp for job in found.jobs)
            oldest_ms = max(0, int(time.time() * 1_000) - added_ms)
    own = Counts(
        numbers[State.WAITING],
        numbers[State.ACTIVE],
        numbers[State.COMPLETED],
        numbers[State.FAILED],
        numbers[State.DELAYED],
        paused=whole.paused,
        workers=whole.workers,
        oldest_waiting_ms=oldest_ms,
    )
    return stats(listed.name, own) | {"complete": complete}


OWN_COUNTS = web.AppKey("own_counts", OwnCounts)


def install(app: web.Application) -> None:
    """One for all requests."""
    app[OWN_COUNTS] = OwnCounts()
