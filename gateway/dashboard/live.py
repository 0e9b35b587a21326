"""Counts as they change, pushed: one stream of `counts` events per open overview."""

import asyncio
from typing import Any

import orjson
from aiohttp import web

from gateway.directory import Listed
from gateway.events import MERGER, OWNERS
from gateway.keys import DIRECTORY
from gateway.principal import Scope, principal_of
from gateway.routes import Route
from gateway.shapes import stats
from gateway.sse import Listener, Stream
from gateway.tape import PAUSE_S
from streams.errors import CredstreamError

TOGETHER_S = 0.4
"""What happens within this time is told at once."""
LOOK_S = 3.0
"""When nothing happens: delays end and workers come and go without an event."""


class Counted(Stream):
    """Looks at the queues that something happened to and tells those whose counts differ from what
    the browser knows."""

    _known: dict[str, dict[str, Any]]

    async def _more(self) -> bytes:
        if not hasattr(self, "_known"):
            self._known = {}
            return await self._changed(None)
        try:
            try:
                async with asyncio.timeout(LOOK_S):
                    page = await self._tape.next(self._at)
            except TimeoutError:
                return await self._changed(None)
            await asyncio.sleep(TOGETHER_S)
            # What else happened meanwhile needs no reading: its counts are read below.
            self._at = await self._tape.now()
            touched = {one.queue for one in page.found}
            return await self._changed(None if self._at != page.last else touched)
        except CredstreamError:
            await asyncio.sleep(PAUSE_S)
            self._known = {}  # whoever was told so is told everything when it is over
            return b"event: lost\ndata: {}\n\n"

    async def _changed(self, names: set[str] | None) -> bytes:
        """The event that tells what is new of these queues (None: of all)."""
        known = await self._request.app[DIRECTORY].all()
        wanted = [one for one in known.values() if names is None or one.name in names]
        rows = await asyncio.gather(*(row(one) for one in wanted))
        fresh = [one for one in rows if self._known.get(one["name"]) != one]
        if not fresh:
            return b":\n\n"
        self._known |= {one["name"]: one for one in fresh}
        return b"event: counts\ndata: %b\n\n" % orjson.dumps({"queues": fresh})


async def row(listed: Listed) -> dict[str, Any]:
    """The counts of a queue, and whether work is there that nobody does."""
    counts = await listed.queue.counts()
    waits = counts.waiting + counts.due
    unattended = waits > 0 and counts.workers == 0 and not counts.paused
    return stats(listed.name, counts) | {"unattended": unattended}


async def live(request: web.Request) -> web.StreamResponse:
    """GET /dashboard/live: the counts of all queues as they change, as server-sent events."""
    listener = Listener(principal_of(request), request.app[OWNERS])
    async with request.app[MERGER].listening(None) as (tape, at):
        return await Counted(request, tape, at, listener).run()


ROUTES = (Route("GET", "/dashboard/live", live, Scope.READ, platform_only=True, is_held=True),)
