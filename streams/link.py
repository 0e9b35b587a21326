"""One connection to one Redis node, shared by any number of callers.

Commands are written at once and answered in order, so callers that overlap share round trips
without waiting for each other. Connecting, TLS, authentication and parsing are redis-py's; its
pool, its retries and its five-second default timeout are not used: a retried XADD makes two jobs
and a retried claim orphans some. Nothing is ever sent twice here.
"""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from streams.errors import Unavailable
from streams.scripts import BY_SHA, Command

LESSONS = 5
"""How often a script that was not found is taught before the caller is told to come back."""

Connect = Callable[[], Awaitable[AbstractConnection]]


class Lost(Unavailable):
    """The connection went away before the reply: the command may or may not have been done."""


class Link:
    """A lazily opened connection. After a failure the next call opens a new one."""

    def __init__(self, connect: Connect, timeout_s: float) -> None:
        self._connect = connect
        self._timeout_s = timeout_s
        self._connection: AbstractConnection | None = None
        self._opening = asyncio.Lock()
        self._waiting: deque[tuple[asyncio.Future[list[Any]], int, float]] = deque()
        self._more = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._watch: asyncio.TimerHandle | None = None
        self.client_id = 0

    async def send(self, *commands: Command) -> list[Any]:
        """The replies, in order; an error reply is an element, not an exception.

        Raises Unavailable when no connection could be made (nothing was sent) and Lost when it
        went away before the last reply.
        """
        connection = self._connection or await self._open()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Any]] = loop.create_future()
        data = b"".join([hiredis.pack_command(command) for command in commands])  # type: ignore[arg-type]
        self._waiting.append((future, len(commands), loop.time()))
        self._more.set()
        try:
            await connection.send_packed_command(data, check_health=False)
        except (RedisError, OSError) as error:
            self._fail(connection, error)
        return await future

    async def run(self, *commands: Command) -> list[Any]:
        """`send`, teaching the server scripts it does not know. Those, and only those, are sent
        again: a script that was not found has done nothing. Raises Unavailable when the server
        keeps forgetting them."""
        replies = await self.send(*commands)
        for _ in range(LESSONS):
            missing = [n for n, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            if not missing:
                return replies
            # In one write: nothing but another client can come between lesson and call.
            names = {commands[n][1] for n in missing}
            lessons = [(b"SCRIPT", b"LOAD", BY_SHA[name].source) for name in names]  # type: ignore[index]
            again = await self.send(*lessons, *(commands[n] for n in missing))
            for n, reply in zip(missing, again[len(lessons) :], strict=True):
                replies[n] = reply
        raise Unavailable(
            "Redis forgets its scripts faster than it can be taught: nothing was done"
        )

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if self._watch:
            self._watch.cancel()
        if self._reader:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        self._fail_waiting(Lost("the connection was closed"))
        if connection:
            with contextlib.suppress(RedisError, OSError):
                await connection.disconnect()

    async def _open(self) -> AbstractConnection:
        async with self._opening:
            if self._connection:
                return self._connection
            connection = await self._handshake()
            if self._reader:
                self._reader.cancel()
            self._connection = connection
            self._reader = asyncio.create_task(self._read(connection))
            self._schedule_watch(connection)
            return connection

    async def _handshake(self) -> AbstractConnection:
        """A connection that has answered once. Bounded: a network may swallow everything."""
        connection = None
        try:
            async with asyncio.timeout(self._timeout_s):
                connection = await self._connect()
                await connection.connect()  # type: ignore[no-untyped-call]
                await connection.send_command("CLIENT", "ID", check_health=False)
                self.client_id = int(await connection.read_response(timeout=math.inf))
        except BaseException as error:
            if connection is not None:
                await _drop(connection)
            if isinstance(error, RedisError | OSError):
                raise Unavailable(f"Redis cannot be reached: {error or 'no answer'}") from error
            raise
        return connection

    async def _read(self, connection: AbstractConnection) -> None:
        try:
            while True:
                while not self._waiting:
                    self._more.clear()
                    await self._more.wait()
                future, count, _ = self._waiting[0]
                replies = [await self._reply(connection) for _ in range(count)]
                self._waiting.popleft()
                if not future.done():
                    future.set_result(replies)
        except (RedisError, OSError) as error:
            self._fail(connection, error)

    async def _reply(self, connection: AbstractConnection) -> Any:
        try:
            return await connection.read_response(timeout=math.inf)
        except ReadOnlyError:
            # A demoted primary: the next connection asks again who is the primary.
            raise
        except ResponseError as error:
            return error

    def _schedule_watch(self, connection: AbstractConnection) -> None:
        loop = asyncio.get_running_loop()
        self._watch = loop.call_later(self._timeout_s / 4, self._check, connection)

    def _check(self, connection: AbstractConnection) -> None:
        """A reply that does not come is a dead connection (a frozen primary, a black hole)."""
        if connection is not self._connection:
            return
        now = asyncio.get_running_loop().time()
        if self._waiting and now - self._waiting[0][2] > self._timeout_s:
            self._fail(connection, RedisConnectionError("no reply in time"))
        else:
            self._schedule_watch(connection)

    def _fail(self, connection: AbstractConnection, error: BaseException) -> None:
        if connection is not self._connection:
            return
        self._connection = None
        if self._reader and self._reader is not asyncio.current_task():
            self._reader.cancel()
        self._fail_waiting(Lost(f"Redis went away: {error}"))
        asyncio.get_running_loop().create_task(_drop(connection))

    def _fail_waiting(self, error: Lost) -> None:
        while self._waiting:
            future = self._waiting.popleft()[0]
            if not future.done():
                future.set_exception(error)
                future.exception()  # a caller that was cancelled will not look


async def _drop(connection: AbstractConnection) -> None:
    with contextlib.suppress(RedisError, OSError):
        await connection.disconnect(nowait=True)
