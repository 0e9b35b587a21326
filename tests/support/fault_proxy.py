"""A proxy in front of a Redis that makes one chosen thing go wrong, and says when it has.

    async with FaultProxy(server.socket) as proxy:
        fault = proxy.drop_reply(calls("XADD"))
        ...                      # a client of proxy.url sends XADD: Redis obeys, nobody hears
        await fault.happened.wait()

Every fault happens once unless it is a mode (`black_hole`, `refuse`), which lasts until `heal`.
"""

import asyncio
import contextlib
import shutil
import tempfile
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Self

from resp import PUSH, message_end, words_of

CHUNK = 1 << 16

Words = tuple[bytes, ...]
Predicate = Callable[[Words], bool]
Answer = Callable[[bytes], bool]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def calls(*names: str) -> Predicate:
    """Requests that are one of these commands, or EVALSHA of one of these script digests."""
    wanted = {name.upper().encode() for name in names}

    def matches(words: Words) -> bool:
        script = words[1:2] if words[0].upper() == b"EVALSHA" else ()
        return any(word.upper() in wanted for word in (words[0], *script))

    return matches


def anything(_: Words) -> bool:
    """Every request."""
    return True


class Kind(Enum):
    """What a fault does to the request that meets it."""

    DROP_REPLY = "Redis gets it; its reply is thrown away and the connection cut"
    LOSE_REQUEST = "Redis never gets it; the connection is cut"
    HOLD_REPLY = "Redis gets it; its reply waits for `release`"


@dataclass(eq=False)
class Fault:
    """One armed fault."""

    kind: Kind
    predicate: Predicate
    answer: Answer | None = None
    """Of such requests the first whose reply is like this; None: the first."""
    happened: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it has happened; for the two about replies that is after Redis has answered."""
    words: Words = ()
    """The request that met it."""
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    def release(self) -> None:
        """Let a held reply go."""
        self._released.set()


@dataclass(eq=False)
class Pipe:
    """One client's connection and ours to Redis on its behalf."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    waiting: deque[Fault | None] = field(default_factory=deque)
    """One item for every request sent whose reply has not come."""
    halves: list[asyncio.Task[None]] = field(default_factory=list)

    def cut(self) -> None:
        for writer in (self.client, self.server):
            writer.transport.abort()
        for half in self.halves:
            half.cancel()


class FaultProxy:
    """Listens on a unix socket; `upstream` is a Redis' unix socket or its (host, port)."""

    def __init__(self, upstream: Path | tuple[str, int]) -> None:
        self.upstream = upstream
        self.commands: Counter[bytes] = Counter()
        """How often each command (for EVALSHA: each digest) has been forwarded."""
        self._armed: list[Fault] = []
        self._pipes: set[Pipe] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()
        self._swallowed = asyncio.Event()
        self._refusing = False

    @property
    def socket(self) -> Path:
        return self._folder / "p"

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    async def __aenter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="cs-", dir="/tmp"))
        self._server = await asyncio.start_unix_server(self._accept, str(self.socket))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut_all()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        shutil.rmtree(self._folder)

    def drop_reply(self, predicate: Predicate, answer: Answer | None = None) -> Fault:
        """Arm: the next such request is obeyed, its reply lost and its connection cut.

        With `answer`, replies it refuses pass, and the first that it accepts is lost.
        """
        return self._arm(Kind.DROP_REPLY, predicate, answer)

    def lose_request(self, predicate: Predicate) -> Fault:
        """Arm: the next such request does not reach Redis; its connection is cut."""
        return self._arm(Kind.LOSE_REQUEST, predicate)

    def hold_reply(self, predicate: Predicate) -> Fault:
        """Arm: the next such request is obeyed; its reply waits until `fault.release()`."""
        return self._arm(Kind.HOLD_REPLY, predicate)

    def black_hole(self) -> asyncio.Event:
        """Forward nothing in either direction until `heal`; the event: something was held up."""
        self._open.clear()
        self._swallowed = asyncio.Event()
        return self._swallowed

    def refuse(self) -> None:
        """Cut every connection, and every new one at once, until `heal`."""
        self._refusing = True
        self.cut_all()

    def cut_all(self) -> int:
        """Cut every connection now; how many there were."""
        pipes = list(self._pipes)
        for pipe in pipes:
            pipe.cut()
        return len(pipes)

    def heal(self) -> None:
        """End `black_hole` and `refuse`."""
        self._refusing = False
        self._open.set()

    def _arm(self, kind: Kind, predicate: Predicate, answer: Answer | None = None) -> Fault:
        fault = Fault(kind, predicate, answer)
        self._armed.append(fault)
        return fault

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if not self._refusing:
                with contextlib.suppress(OSError):
                    await self._serve((reader, writer), await self._dial())
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _dial(self) -> Streams:
        if isinstance(self.upstream, Path):
            return await asyncio.open_unix_connection(str(self.upstream))
        return await asyncio.open_connection(*self.upstream)

    async def _serve(self, client: Streams, server: Streams) -> None:
        pipe = Pipe(client[1], server[1])
        pipe.halves = [
            asyncio.create_task(self._requests(client[0], pipe)),
            asyncio.create_task(self._replies(server[0], pipe)),
        ]
        self._pipes.add(pipe)
        await asyncio.wait(pipe.halves, return_when=asyncio.FIRST_COMPLETED)
        self._pipes.discard(pipe)
        pipe.cut()
        await asyncio.gather(*pipe.halves, return_exceptions=True)

    async def _pass(self) -> None:
        if not self._open.is_set():
            self._swallowed.set()
            await self._open.wait()

    async def _requests(self, reader: asyncio.StreamReader, pipe: Pipe) -> None:
        buffer = bytearray()
        while data := await reader.read(CHUNK):
            await self._pass()
            buffer += data
            ready = bytearray()
            while buffer and (end := message_end(buffer)) is not None:
                request = bytes(buffer[:end])
                del buffer[:end]
                fault = self._meet(words_of(request))
                if fault and fault.kind is Kind.LOSE_REQUEST:
                    pipe.server.write(ready)
                    await pipe.server.drain()
                    fault.happened.set()
                    return
                pipe.waiting.append(fault)
                ready += request
            pipe.server.write(ready)
            await pipe.server.drain()

    def _meet(self, words: Words) -> Fault | None:
        name = words[0].upper()
        self.commands[words[1] if name == b"EVALSHA" else name] += 1
        for fault in self._armed:
            if fault.predicate(words):
                if fault.answer is None:
                    self._armed.remove(fault)
                fault.words = words
                return fault
        return None

    def _meant(self, fault: Fault, reply: bytes) -> bool:
        if fault.happened.is_set():
            return False
        if fault.answer is not None:
            if not fault.answer(reply):
                return False
            self._armed.remove(fault)
        return True

    async def _replies(self, reader: asyncio.StreamReader, pipe: Pipe) -> None:
        buffer = bytearray()
        while data := await reader.read(CHUNK):
            await self._pass()
            buffer += data
            while buffer and (end := message_end(buffer)) is not None:
                reply = bytes(buffer[:end])
                del buffer[:end]
                fault = pipe.waiting.popleft() if reply[0] != PUSH else None
                if fault is not None and self._meant(fault, reply):
                    fault.happened.set()
                    if fault.kind is Kind.DROP_REPLY:
                        await pipe.client.drain()
                        return
                    await fault._released.wait()
                pipe.client.write(reply)
            await pipe.client.drain()
