"""/livez and /readyz of a worker process (operations C1-C3)."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from aiohttp import web

from streams import Redis
from streams.errors import CredstreamError

STUCK_S = 30.0
PING_S = 1.0


class Heart:
    """Knows when the event loop last turned. Liveness looks at nothing else: a Redis that is down
    must not restart every worker."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    async def beat(self) -> None:
        while True:
            self._last = time.monotonic()
            await asyncio.sleep(1)

    @property
    def alive(self) -> bool:
        return time.monotonic() - self._last < STUCK_S


async def writable(redis: Redis) -> bool:
    """Whether Redis takes writes; a PING would succeed where they are refused."""
    try:
        await asyncio.wait_for(redis.ping(), PING_S)
    except (CredstreamError, TimeoutError):
        return False
    return True


@asynccontextmanager
async def probes(
    host: str,
    port: int,
    redis: Redis,
    stopping: asyncio.Event,
    idle: Mapping[str, str] | None = None,
) -> AsyncIterator[None]:
    """Serve the probes while the context lasts; port 0 serves none.

    `idle`: queues that this process does not work on though it should, and why."""
    if port == 0:
        yield
        return
    heart = Heart()

    async def livez(_: web.Request) -> web.Response:
        return web.json_response({"alive": heart.alive}, status=200 if heart.alive else 503)

    async def readyz(_: web.Request) -> web.Response:
        ready = not stopping.is_set() and await writable(redis)
        said = {"ready": ready} | ({"stopped": dict(idle)} if idle else {})
        return web.json_response(said, status=200 if ready else 503)

    app = web.Application()
    app.add_routes([web.get("/livez", livez), web.get("/readyz", readyz)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    beating = asyncio.create_task(heart.beat())
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        beating.cancel()
        await runner.cleanup()
