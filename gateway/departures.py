"""The end of a connection, for whoever works on its request: waiting on would help nobody."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web


class WatchedConnection(web.RequestHandler):
    """A connection that tells when it is lost."""

    __slots__ = ("departures",)

    departures: set[Callable[[], None]]
    """Called once, when the connection is lost."""

    def connection_lost(self, exc: BaseException | None) -> None:
        """Called by the event loop, once."""
        super().connection_lost(exc)
        for leave in tuple(self.departures):
            leave()


@asynccontextmanager
async def until_lost(request: web.Request) -> AsyncIterator[None]:
    """Leave the block when the connection of this request is lost. Raises TimeoutError then."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as scope:

        def leave() -> None:
            scope.reschedule(loop.time())

        if request.transport is None:
            leave()
        connection = request.protocol
        if not isinstance(connection, WatchedConnection):
            yield
            return
        connection.departures.add(leave)
        try:
            yield
        finally:
            connection.departures.discard(leave)
