"""One connection to one Redis node, shared by any number of callers.

Commands are written at once and answered in order, so callers that overlap share round trips
without waiting for each other. Connecting, TLS and authentication are redis-py's; its pool, its
retries and its five-second default timeout are not used: a retried XADD makes two jobs and a
retried claim orphans some. Nothing is ever sent twice here.
"""

import asyncio
import contextlib
import math
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, NoScriptError, RedisError, ResponseError

from streams.errors import EncodingError, Unavailable
from streams.scripts import BY_SHA, Command
from streams.tally import Tally
from streams.wire import Wire

LESSONS = 5
"""How often a script that was not found is taught before the caller is told to come back."""

_T = TypeVar("_T")
Connect = Callable[[], Awaitable[AbstractConnection]]


class Lost(Unavailable):
    """The connection went away before the reply: the command may or may not have been done."""


async def heeded(work: Awaitable[_T]) -> _T:
    """What `work` answers, unless the task was cancelled meanwhile.

    With a socket timeout, as on a cluster, redis-py sends through `asyncio.wait_for`. Until Python
    3.12 that returns a result which is already there instead of letting a cancellation through;
    whoever cancelled would then wait for a task that goes on for ever.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    answer = await work
    if task and task.cancelling() > before:
        raise asyncio.CancelledError
    return answer


def encode(commands: Sequence[Command]) -> bytes:
    """Commands as they are written (RESP). Raises EncodingError."""
    try:
        return b"".join([hiredis.pack_command(command) for command in commands])  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise EncodingError(f"a command cannot be encoded: {error}") from error


class Link:
    """A lazily opened connection. After a failure the next call opens a new one."""

    def __init__(self, connect: Connect, timeout_s: float, tally: Tally | None = None) -> None:
        self._connect = connect
        self._tally = tally or Tally()
        self._timeout_s = timeout_s
        self._wire: Wire | None = None
        self._opening = asyncio.Lock()
        self._attempts = 0
        self._failed: tuple[int, str] = (0, "")
        """The last attempt to connect that failed, and how."""
        self._watch: asyncio.TimerHandle | None = None
        self.client_id = 0
        self.run_id = ""
        """Which process of a server the last connection went to; empty where INFO is forbidden."""

    @property
    def fails(self) -> bool:
        """Whether the last attempt to connect failed."""
        return self._wire is None and 0 < self._failed[0] == self._attempts

    async def send(self, *commands: Command) -> list[Any]:
        """The replies, in order; an error reply is an element, not an exception.

        Raises Unavailable when no connection could be made and EncodingError for arguments that
        cannot be encoded (nothing was sent), and Lost when the connection went away before the
        last reply.
        """
        if not commands:
            return []
        wire = self._wire or await self._open()
        wire.check_loop()
        data = encode(commands)
        return await wire.ask(data, len(commands))

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
            refused = next((r for r in again[: len(lessons)] if isinstance(r, ResponseError)), None)
            for n, reply in zip(missing, again[len(lessons) :], strict=True):
                replies[n] = refused or reply
        raise Unavailable(
            "Redis forgets its scripts faster than it can be taught: nothing was done"
        )

    async def close(self) -> None:
        wire, self._wire = self._wire, None
        # A lock belongs to the event loop in which it was waited for.
        self._opening = asyncio.Lock()
        if self._watch:
            self._watch.cancel()
        if wire:
            wire.fail(Lost("the connection was closed"))
            await asyncio.sleep(0)  # in which the transport closes

    async def _open(self) -> Wire:
        """A connection. Who waits for others to make it shares their failure, if it began later."""
        before = self._attempts
        async with self._opening:
            if self._wire is None:
                if self._failed[0] > before:
                    raise Unavailable(self._failed[1])
                self._attempts += 1
                try:
                    connection = await self._handshake()
                except Unavailable as error:
                    self._failed = (self._attempts, str(error))
                    raise
                self._wire = Wire(connection, self._broken)
                self._schedule_watch(self._wire)
            return self._wire

    async def _handshake(self) -> AbstractConnection:
        """A connection that has answered once. Bounded: a network may swallow everything."""
        connection = None
        try:
            async with asyncio.timeout(self._timeout_s):
                connection = await heeded(self._connect())
                self.client_id, self.run_id = await heeded(_first_answers(connection))
        except BaseException as error:
            if connection is not None:
                await _drop(connection)
            if isinstance(error, RedisError | OSError):
                self._tally.errors["unreachable"] += 1
                raise Unavailable(f"Redis cannot be reached: {error or 'no answer'}") from error
            raise
        return connection

    def _schedule_watch(self, wire: Wire) -> None:
        loop = asyncio.get_running_loop()
        self._watch = loop.call_later(self._timeout_s / 4, self._check, wire)

    def _check(self, wire: Wire) -> None:
        """A reply that does not come is a dead connection (a frozen primary, a black hole)."""
        if wire is not self._wire:
            return
        if wire.waited_s > self._timeout_s:
            self._broken(RedisConnectionError("no reply in time"))
        else:
            self._schedule_watch(wire)

    def _broken(self, error: Exception) -> None:
        wire, self._wire = self._wire, None
        if wire:
            self._tally.errors["lost"] += 1
            wire.fail(Lost(f"Redis went away: {error}"))


async def _first_answers(connection: AbstractConnection) -> tuple[int, str]:
    """Who we are to the server, and which server it is: client id and run id."""
    await connection.connect()  # type: ignore[no-untyped-call]
    await connection.send_command("CLIENT", "ID", check_health=False)
    await connection.send_command("INFO", "server", check_health=False)
    client_id = int(await connection.read_response(timeout=math.inf))
    try:
        told = await connection.read_response(timeout=math.inf)
    except NoPermissionError:
        return client_id, ""
    found = re.search(rb"run_id:(\w+)", told)
    return client_id, found[1].decode() if found else ""


async def _drop(connection: AbstractConnection) -> None:
    with contextlib.suppress(RedisError, OSError):
        await connection.disconnect(nowait=True)
