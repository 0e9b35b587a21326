"""The load of `bench.gateway`, as a process of its own: keep-alive connections on plain sockets.

    python -m bench.gateway_client PORT CONNECTIONS SECONDS < REQUEST

Every connection sends the request (all of it, head and body) again as soon as the answer to the
last one has come. Prints JSON. What a load generator spends here, the gateway beside it does not
get: it parses nothing but where an answer ends, about 15 microseconds a request.
"""

import asyncio
import json
import resource
import sys
import time
from typing import cast

import uvloop

from bench.usage import spread

END = b"\r\n\r\n"
LENGTH = b"content-length:"
WARM_S = 0.5
PATIENCE_S = 30.0
"""How long after its end the last answers may take."""


class Load:
    """What all connections of a measurement share."""

    def __init__(self, request: bytes, done: "asyncio.Future[None]") -> None:
        self.request = request
        self.ends_s = float("inf")
        self.ms: list[float] = []
        self.open = 0
        self._done = done

    def fail(self, why: str) -> None:
        """The measurement is worth nothing."""
        if not self._done.done():
            self._done.set_exception(RuntimeError(why))

    def left(self) -> None:
        """A connection has had its last answer."""
        self.open -= 1
        if self.open == 0 and not self._done.done():
            self._done.set_result(None)


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._got = b""
        self._sent_s = 0.0
        self._line: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._line = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._load.open += 1
        self._send()

    def connection_lost(self, _: BaseException | None) -> None:
        """Called by the event loop."""
        if self._line is not None:
            self._load.fail("the gateway has closed a connection")

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        got = self._got = self._got + data if self._got else data
        head = got.find(END)
        if head < 0:
            return
        at = got[:head].lower().find(LENGTH)
        length = int(got[at + len(LENGTH) : got.index(b"\r", at)])
        if len(got) - head - len(END) < length:
            return
        now_s = time.perf_counter()
        if got[9:11] != b"20":
            self._load.fail(got[:500].decode(errors="replace"))
        self._load.ms.append(1_000 * (now_s - self._sent_s))
        self._got = b""
        if now_s < self._load.ends_s:
            self._send()
        elif (line := self._line) is not None:
            self._line = None
            line.close()
            self._load.left()

    def _send(self) -> None:
        self._sent_s = time.perf_counter()
        if self._line is not None:
            self._line.write(self._load.request)


async def measure(port: int, connections: int, seconds: float, request: bytes) -> dict[str, float]:
    """Requests per second, latencies in ms, and what this process spent, after a warm-up."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    load = Load(request, done)
    for _ in range(connections):
        await loop.create_connection(lambda: Client(load), "127.0.0.1", port)
    await asyncio.sleep(WARM_S)
    load.ms.clear()
    spent_s, began_s = _spent_s(), time.perf_counter()
    print("begun", flush=True)
    load.ends_s = began_s + seconds
    async with asyncio.timeout(seconds + PATIENCE_S):
        await done
    took_s = time.perf_counter() - began_s
    return {
        "requests": len(load.ms),
        "per_s": len(load.ms) / took_s,
        **spread(load.ms),
        "load_busy": (_spent_s() - spent_s) / took_s,
    }


def _spent_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """As the command line says."""
    port, connections, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    request = sys.stdin.buffer.read()
    measured = uvloop.run(measure(port, connections, seconds, request))
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
