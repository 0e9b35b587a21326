"""The listening side: aiohttp's server with its limits set and its last plain-text answers gone.

aiohttp answers what it cannot parse, and an unknown Expect, below the application, where no
middleware sees it. `Connection` gives those answers the shape every other error has.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from http import HTTPStatus
from typing import Any, cast

from aiohttp import web
from aiohttp.http import HttpVersion11
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.admission import Admission, Door, bind
from gateway.departures import WatchedConnection
from gateway.errors import HeadersTooLarge, NotHttp, TargetTooLong, tell
from gateway.headers import request_id_of
from gateway.keys import CONTINUE, DIRECTORY, LIFE, SETTINGS
from gateway.settings import GatewaySettings

TARGET_MAX_BYTES = 8_190
HEADER_LINE_MAX_BYTES = 8_192
"""Another number, by which one is told from the other."""
HEADERS_MAX = 128
LINGER_S = 5.0
"""How long the rest of a refused body is read and dropped, so that its sender sees the answer."""
IDLE_DRAIN_S = 1.0
"""How long an open, idle connection may send one more request after SIGTERM."""


class Guests:
    """Counts open connections, so that the end can wait for the last one."""

    def __init__(self) -> None:
        self._count = 0
        self._none_left = asyncio.Event()
        self._none_left.set()

    def came(self) -> None:
        """One more."""
        self._count += 1
        self._none_left.clear()

    def went(self) -> None:
        """One less."""
        self._count -= 1
        if self._count == 0:
            self._none_left.set()

    async def gone(self, patience_s: float) -> None:
        """Returns when nobody is left, or after `patience_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self._none_left.wait()


class Connection(WatchedConnection):
    """One client connection."""

    __slots__ = ("_admission", "_begun", "_guests", "_make")

    def __init__(
        self, manager: web.Server, guests: Guests, admission: Admission, **limits: Any
    ) -> None:
        super().__init__(manager, **limits)
        self.departures = set()
        self._make, self._request_factory = self._request_factory, self._received
        self._guests, self._admission = guests, admission
        self._begun = b""
        """What has come of a request that waits for its turn; nothing: none waits."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        super().connection_made(transport)
        self._guests.came()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Called by the event loop, once."""
        super().connection_lost(exc)
        self._guests.went()

    def data_received(self, data: bytes) -> None:
        """Called by the event loop, and by aiohttp with nothing when it has room again."""
        if self._begun:
            self._begun += data
        elif (
            not data
            or self._current_request is not None
            or self._messages
            or self._admission.enters(data, self._enter)
        ):
            super().data_received(data)
        elif self.transport is not None:
            self._begun = data
            self.transport.pause_reading()

    def _enter(self) -> None:
        """The turn of the request that waits has come, if its sender is still there."""
        begun, self._begun = self._begun, b""
        if self.transport is not None and not self.transport.is_closing():
            super().data_received(begun)
            if not (self._reading_paused or self._buffer_paused):
                self.transport.resume_reading()

    def _received(self, message: Any, *more: Any) -> Any:
        """The request of a message. That its client waits for 100 Continue is kept for whoever
        reads the body; aiohttp would answer it before anything was checked."""
        waits = message.headers.get("Expect", "").lower() == "100-continue"
        if waits:
            headers = CIMultiDict(message.headers)
            del headers["Expect"]
            message = message._replace(headers=CIMultiDictProxy(headers))
        request = cast("Any", self._make)(message, *more)
        if waits and message.version >= HttpVersion11:
            request[CONTINUE] = True
        return request

    def cut(self) -> None:
        """End whatever is going on here, now."""
        if self._task_handler is not None:
            self._task_handler.cancel()
        self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to a request that never reached the application."""
        error: BaseException = exc or RuntimeError(message)
        gone = isinstance(error, ConnectionError) and request.transport is None
        if gone or request.writer.output_size > 0:
            raise ConnectionError("nobody is there, or has got half a response")
        if status < HTTPStatus.INTERNAL_SERVER_ERROR:  # aiohttp: 400 for all it cannot parse
            error = _unreadable(error)
        response = tell(request, error, request_id_of(request))
        response.force_close()
        return response

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send `resp`; an HTTP error raised before the middleware ran becomes a problem first."""
        if isinstance(resp, web.HTTPException):
            resp = tell(request, resp, request_id_of(request))
        return await super().finish_response(request, resp, start_time)


@asynccontextmanager
async def listening(app: web.Application) -> AsyncIterator[tuple[str, int]]:
    """Serve `app` inside the block; yields host and port actually bound.

    At the end: not ready any more, no new connections, requests in flight are finished, within
    `shutdown_timeout_s` or until `Life.hurry`. Open connections may send one last request, because
    a client that is just writing on one could not tell whether a closed connection meant yes or no.
    """
    settings = app[SETTINGS]
    runner = web.AppRunner(app, shutdown_timeout=settings.shutdown_timeout_s)
    await runner.setup()
    loop = asyncio.get_running_loop()
    guests = Guests()
    connection = partial(
        Connection,
        cast("web.Server", runner.server),
        guests,
        app[DIRECTORY].admission,
        loop=loop,
        **_limits(settings),
    )
    try:
        sockets = await bind(settings.host, settings.port, reuse_port=settings.reuse_port)
        door = Door(sockets, connection)
        try:
            yield door.address
            app[LIFE].draining = True
        finally:
            door.close()
        await guests.gone(IDLE_DRAIN_S)
    finally:
        await _finish(runner, app[LIFE].hurry)


async def _finish(runner: web.AppRunner, hurry: asyncio.Event) -> None:
    """Let requests in flight end; on `hurry` cut off those that are left."""
    cleaning = asyncio.create_task(runner.cleanup())
    hurried = asyncio.create_task(hurry.wait())
    await asyncio.wait({cleaning, hurried}, return_when=asyncio.FIRST_COMPLETED)
    hurried.cancel()
    if not cleaning.done() and runner.server is not None:
        for connection in runner.server.connections:
            if isinstance(connection, Connection):
                connection.cut()
    await cleaning


def _unreadable(error: BaseException) -> NotHttp:
    """What is told of a request that the parser gave up (RFC 9110, 15.5.15; RFC 6585, 5)."""
    if isinstance(error, LineTooLong):
        if TARGET_MAX_BYTES in error.args:
            return TargetTooLong(f"The target of a request may be {TARGET_MAX_BYTES} bytes long.")
        return HeadersTooLarge(f"A header line may be {HEADER_LINE_MAX_BYTES} bytes long.")
    if isinstance(error, BadHttpMessage) and error.message.startswith("Too many headers"):
        return HeadersTooLarge(f"A request may have {HEADERS_MAX} header lines.")
    return NotHttp("The request is not well-formed HTTP.")


def _limits(settings: GatewaySettings) -> dict[str, Any]:
    return {
        "access_log": None,
        "auto_decompress": False,
        "keepalive_timeout": settings.keepalive_timeout_s,
        "lingering_time": LINGER_S,
        "max_line_size": TARGET_MAX_BYTES,
        "max_field_size": HEADER_LINE_MAX_BYTES,
        "max_headers": HEADERS_MAX,
    }
