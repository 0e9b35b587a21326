"""A mail relay that says what a test tells it: the replies no real server gives on demand."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

CLOSE = "close"
"""As a reply: reset the connection without a word."""
SILENCE = "silence"
"""As a reply: say nothing more, and keep the connection."""
EXTENSIONS = ("SIZE 10485760", "8BITMIME", "SMTPUTF8", "AUTH PLAIN")


@dataclass
class ScriptedRelay:
    """`replies`: what to answer at `banner`, `ehlo`, `auth`, `mail`, `rcpt`, `data`, `end-of-data`,
    `rset`, `quit`; a list gives one reply after the other, the last one for ever."""

    replies: dict[str, str | list[str]] = field(default_factory=dict)
    extensions: tuple[str, ...] = EXTENSIONS
    delay_s: float = 0.0
    """How long it thinks before each answer."""
    port: int = 0
    connections: int = 0
    said: list[str] = field(default_factory=list)
    """Commands as they came, without arguments."""
    messages: list[bytes] = field(default_factory=list)
    """Everything that came up to a final dot, whatever was answered."""
    silent: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it begins to say nothing."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        try:
            await self._answer(writer, "banner", "220 relay.test")
            while line := await reader.readline():
                word = line.split()[0].decode().lower() if line.split() else ""
                self.said.append(word)
                if word in ("ehlo", "helo"):
                    await self._answer(writer, "ehlo", self._greeting())
                elif word == "data":
                    if await self._answer(writer, "data", "354 go on"):
                        self.messages.append(await reader.readuntil(b"\r\n.\r\n"))
                        await self._answer(writer, "end-of-data", "250 queued")
                else:
                    await self._answer(writer, word, "221 bye" if word == "quit" else "250 OK")
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    def _greeting(self) -> str:
        lines = ["relay.test", *self.extensions]
        last = len(lines) - 1
        return "\r\n".join(f"250{'-' if n < last else ' '}{line}" for n, line in enumerate(lines))

    async def _answer(self, writer: asyncio.StreamWriter, stage: str, usual: str) -> bool:
        """Whether the usual was said."""
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        said = self.replies.get(stage, usual)
        if isinstance(said, list):
            said = said.pop(0) if len(said) > 1 else said[0]
        if said == CLOSE:
            raise ConnectionResetError
        if said == SILENCE:
            self.silent.set()
            await asyncio.Event().wait()
        writer.write(f"{said or usual}\r\n".encode())
        await writer.drain()
        return said in ("", usual)


@asynccontextmanager
async def scripted(relay: ScriptedRelay) -> AsyncIterator[ScriptedRelay]:
    """`relay` on a loopback port."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await relay.serve(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    relay.port = server.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
