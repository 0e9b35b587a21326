"""Servers that answer as badly as the internet does, and a resolver that says what it is told."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from outbound.networks import parse_allowance
from outbound.settings import OutboundSettings

LOOPBACK = (parse_allowance("127.0.0.0/8"),)


def open_settings(**changes: Any) -> OutboundSettings:
    """Settings under which the loopback servers of a test may be called."""
    given = {"allow_http": True, "allow_nets": LOOPBACK, "own": ()} | changes
    return OutboundSettings(**given)


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it came off the wire."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        """The only header of that name."""
        (value,) = (value for key, value in self.headers if key.lower() == name)
        return value

    def names(self) -> list[str]:
        return [key.lower() for key, _ in self.headers]


Answer = Callable[[Seen, asyncio.StreamWriter], Awaitable[None]]


@dataclass(slots=True)
class Receiver:
    """What happened at a server of a test."""

    url: str
    port: int
    connections: int = 0
    requests: list[Seen] = field(default_factory=list)
    sent_bytes: int = 0


def reply(status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
    """A well-formed answer."""
    extra = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode()
    return raw(head + body)


def raw(data: bytes) -> Answer:
    """These bytes and nothing else."""

    async def answer(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return answer


def endless(head: bytes, chunk: bytes) -> Answer:
    """`head`, and then `chunk` until the other side has had enough."""

    async def answer(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(chunk)
            await writer.drain()

    return answer


def silent(data: bytes = b"") -> Answer:
    """`data`, and then nothing more on an open connection."""

    async def answer(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        await asyncio.Event().wait()

    return answer


def reset(data: bytes = b"") -> Answer:
    """`data`, and then RST."""

    async def answer(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        if data:
            writer.write(data)
            await writer.drain()
        linger = b"\1\0\0\0\0\0\0\0"
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    return answer


async def _read(reader: asyncio.StreamReader) -> Seen:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = [(k, v.strip()) for k, _, v in (line.partition(":") for line in head[1:] if line)]
    length = next((int(v) for k, v in headers if k.lower() == "content-length"), 0)
    return Seen(head[0], headers, await reader.readexactly(length))


@asynccontextmanager
async def receiver(
    *answers: Answer, tls: SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[Receiver]:
    """A server on loopback that gives these answers in turn, the last one for ever."""
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            request = await _read(reader)
            seen.requests.append(request)
            answer = answers[min(len(seen.requests), len(answers)) - 1]
            await answer(request, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            running.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, host, 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    seen = Receiver(f"{'https' if tls else 'http'}://{shown}:{port}/", port)
    try:
        yield seen
    finally:
        server.close()
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await server.wait_closed()


class Told(AbstractResolver):
    """A resolver of fixed answers. A list of lists is used up one by one; an exception is raised;
    an unknown name does not exist."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self._answers = {name: _turns(value) for name, value in answers.items()}
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.asked.append(host)
        turns = self._answers.get(host, [socket.gaierror(socket.EAI_NONAME, "no such name")])
        answer = turns.pop(0) if len(turns) > 1 else turns[0]
        if isinstance(answer, Exception):
            raise answer
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in answer
        ]

    async def close(self) -> None:
        pass


def _turns(value: Any) -> list[Any]:
    return value if isinstance(value, list) and value and isinstance(value[0], list) else [value]


class Dials:
    """In place of sockets: writes down what would be dialled, and refuses the connection."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def __call__(self, info: tuple[Any, ...]) -> socket.socket:
        self.made.append(info[4][0])
        raise ConnectionRefusedError(errno.ECONNREFUSED, "not in a test")
