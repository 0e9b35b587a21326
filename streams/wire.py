"""One open connection: bytes out, replies in, in order.

redis-py connects, encrypts and authenticates; then its transport is taken over and replies go from
hiredis straight to whoever waits for them, without a reader task and a second buffer in between.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, ReadOnlyError, RedisError

_MORE = object()
_OVER = (ReadOnlyError, RedisConnectionError)
"""Replies after which this is no server to talk to: a demoted primary, one that is loading."""


class Wire(asyncio.Protocol):
    """Speaks on the transport of an open `connection`, which must be between two replies.

    `broken(error)` is called once, when it can no longer be used and nobody closed it.
    """

    def __init__(self, connection: AbstractConnection, broken: Callable[[Exception], None]) -> None:
        # None of these has a public name: the price for leaving the handshake to the library.
        self._connection = cast("Any", connection)
        self._transport: asyncio.Transport = self._connection._writer.transport  # noqa: SLF001
        self._parser = hiredis.Reader(
            protocolError=InvalidResponse,
            replyError=self._connection._parser.parse_error,  # noqa: SLF001
            notEnoughData=_MORE,
        )
        self._broken = broken
        self._waiting: deque[tuple[asyncio.Future[list[Any]], int, float]] = deque()
        self._replies: list[Any] = []
        self._loop = asyncio.get_running_loop()
        self._transport.set_protocol(self)

    async def ask(self, data: bytes, count: int) -> list[Any]:
        """The `count` replies to what `data` asks; an error reply is an element. Raises what
        `fail` was called with."""
        # No flow control: whoever asks keeps the question in memory anyway, until it is answered.
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        self._waiting.append((future, count, self._loop.time()))
        self._transport.write(data)
        return await future

    def check_loop(self) -> None:
        """Raise RuntimeError in another event loop than the one this connection was made in."""
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError(
                "This handle on Redis was used in another event loop. Close it there first, with "
                "`await redis.close()`, or make one for each loop with connect()."
            )

    @property
    def waited_s(self) -> float:
        """How long the oldest question has waited for its replies."""
        return self._loop.time() - self._waiting[0][2] if self._waiting else 0.0

    def fail(self, error: Exception) -> None:
        """Give up: everybody who waits gets `error`, and the transport is cut."""
        self._broken = _nobody
        self._transport.abort()
        self._connection._reader = self._connection._writer = None  # noqa: SLF001 - it is closed
        while self._waiting:
            future = self._waiting.popleft()[0]
            if not future.done():
                future.set_exception(error)
                future.exception()  # a caller that was cancelled will not look

    def data_received(self, data: bytes) -> None:
        """Whole replies go to those who wait. A demoted primary ends the connection: the next one
        asks anew who is the primary."""
        self._parser.feed(data)
        try:
            while (reply := self._parser.gets()) is not _MORE:
                if isinstance(reply, _OVER):
                    raise reply
                self._take(reply)
        except RedisError as error:
            self._broken(error)

    def _take(self, reply: Any) -> None:
        if not self._waiting:
            raise InvalidResponse("a reply that nobody asked for")
        self._replies.append(reply)
        future, count, _ = self._waiting[0]
        if len(self._replies) == count:
            self._waiting.popleft()
            replies, self._replies = self._replies, []
            if not future.done():
                future.set_result(replies)

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side, or the network, ended it."""
        self._broken(exc or RedisConnectionError("the connection was closed by the server"))


def _nobody(_error: Exception) -> None:
    """Who cut a connection need not be told that it is cut."""
