"""/livez, /readyz and /metrics of a worker process (operations C1-C3)."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from consumers.metrics import WorkerMetrics
from streams import Redis
from streams.errors import CredstreamError

STUCK_S = 30.0
PING_S = 1.0
BEAT_S = 0.5
LAG_BEATS = 30
"""The lag that is told is the worst of these: of 15 seconds."""


class Heart:
    """Knows when the event loop last turned. Liveness looks at nothing else: a Redis that is down
    must not restart every worker."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._late_s: deque[float] = deque([0.0], maxlen=LAG_BEATS)

    async def beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            now = time.monotonic()
            self._late_s.append(max(0.0, now - self._last - BEAT_S))
            self._last = now

    @property
    def lag_s(self) -> float:
        """The longest that a beat came late in the last 15 seconds."""
        return max(self._late_s)

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


@dataclass(frozen=True, slots=True)
class Watched:
    """What the probes of a process tell about."""

    redis: Redis
    stopping: asyncio.Event
    idle: Mapping[str, str] = field(default_factory=dict)
    """Queues that this process does not work on though it should, and why."""
    metrics: WorkerMetrics | None = None


@asynccontextmanager
async def probes(host: str, port: int, watched: Watched) -> AsyncIterator[None]:
    """Serve the probes while the context lasts; port 0 serves none."""
    if port == 0:
        yield
        return
    heart = Heart()
    app = web.Application()
    app.add_routes(_routes(watched, heart))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    beating = asyncio.create_task(heart.beat())
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        beating.cancel()
        await runner.cleanup()


def _routes(watched: Watched, heart: Heart) -> list[web.RouteDef]:
    async def livez(_: web.Request) -> web.Response:
        return web.json_response({"alive": heart.alive}, status=200 if heart.alive else 503)

    async def readyz(_: web.Request) -> web.Response:
        ready = not watched.stopping.is_set() and await writable(watched.redis)
        said: dict[str, Any] = {"ready": ready}
        if watched.idle:
            said["stopped"] = dict(watched.idle)
        if watched.metrics is not None and watched.metrics.standing is not None:
            said["durability"] = watched.metrics.standing.told()
        return web.json_response(said, status=200 if ready else 503)

    async def metrics(_: web.Request) -> web.Response:
        if watched.metrics is None:
            raise web.HTTPNotFound
        await writable(watched.redis)
        body = watched.metrics.exposition(heart.lag_s)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    return [web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", metrics)]
