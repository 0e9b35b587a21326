"""GET /metrics for Prometheus, and the one number an autoscaler without Prometheus asks for.

Every gateway tells the same depths of queues (`max by (queue)`); all else is of its own process.
Several processes that share a port cannot be scraped there, since each scrape would meet another
one: with METRICS_ON=port `credstream gateway --processes` gives each a metrics port of its own.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Literal

from aiohttp import web
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from gateway.answer_shapes import Scaling
from gateway.durable import DURABLE
from gateway.errors import problems
from gateway.health import details, livez, readyz
from gateway.keys import DIRECTORY, LIFE, REDIS, SETTINGS
from gateway.measuring import Depths, HttpNumbers, Lag, demand
from gateway.principal import Scope
from gateway.routes import Route
from schemas.exposition import families
from schemas.metrics import Row
from schemas.release import version
from streams.errors import CredstreamError

PROBE_S = 1.0


class MetricsSettings(BaseSettings):
    """Each field is an environment variable of the same name in capitals."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    metrics_on: Literal["api", "port", "off"] = "api"
    """`api`: GET /metrics beside the API, for principals that may `read` every tenant's queues.
    `port`: on a port of its own, without credentials. `off`: nowhere."""
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(default=9_090, ge=0, le=65_535)
    """0 lets the system choose."""
    metrics_queues_max: int = Field(default=200, ge=0)
    """Custom queues whose numbers are exported, in the order of their names."""


class GatewayMetrics(Collector):
    """Everything one gateway process exports, in a registry of its own."""

    def __init__(self, app: web.Application, table: Iterable[Route]) -> None:
        self.settings = MetricsSettings()
        self.http = HttpNumbers(table)
        self.lag = Lag()
        self._redis, self._durable = app[REDIS], app[DURABLE]
        self._depths = Depths(app[DIRECTORY], self.settings.metrics_queues_max)
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)

    async def exposition(self) -> bytes:
        """The text format, from numbers at most 2 s old."""
        await self._depths.read()
        with suppress(CredstreamError, TimeoutError):
            async with asyncio.timeout(PROBE_S):
                await self._redis.ping()
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Called by the registry at every scrape."""
        return families(self._rows())

    def _rows(self) -> Iterator[Row]:
        yield Row("credstream_build_info", (version(), "gateway"), 1)
        yield Row("credstream_event_loop_lag_seconds", (), self.lag.worst_s)
        if (standing := self._durable.standing) is not None:
            yield Row("credstream_durability_met", (standing.level,), float(standing.met))
        yield from self._depths.rows()
        yield from self._redis.tally.rows(self._depths.names)
        yield from self.http.rows()


METRICS = web.AppKey("metrics", GatewayMetrics)


async def metrics(request: web.Request) -> web.Response:
    """GET /metrics: the numbers of this process and of every queue, for Prometheus."""
    if request.app[METRICS].settings.metrics_on != "api":
        raise web.HTTPNotFound
    return await _exposed(request)


async def scaling(request: web.Request) -> web.Response:
    """GET /internal/scaling/{name}: how many jobs of a queue want a worker now, for KEDA."""
    listed = await request.app[DIRECTORY].find(request.match_info["name"])
    wanted = demand(await listed.queue.counts())
    return web.json_response({"queue": listed.name, "demand": wanted})


async def _exposed(request: web.Request) -> web.Response:
    body = await request.app[METRICS].exposition()
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})


ROUTES = (
    Route("GET", "/metrics", metrics, Scope.READ, platform_only=True),
    Route(
        "GET", "/internal/scaling/{name}", scaling, Scope.READ, platform_only=True, answer=Scaling
    ),
)


def install(app: web.Application, table: Iterable[Route]) -> None:
    """Measure from now on. After the directory is there, before the application starts."""
    app[METRICS] = measured = GatewayMetrics(app, table)
    # Outermost, so that it sees what every other middleware makes of an error.
    app.middlewares.insert(0, measured.http.middleware())

    async def beating(_: web.Application) -> AsyncIterator[None]:
        measured.lag.start()
        yield
        measured.lag.stop()

    app.cleanup_ctx.append(beating)


@asynccontextmanager
async def metrics_port(app: web.Application) -> AsyncIterator[int]:
    """Serve metrics and probes of `app` on their own port inside the block, if so set; yields the
    port, 0 where there is none. Raises OSError when it is taken."""
    settings = app[METRICS].settings
    if settings.metrics_on != "port":
        yield 0
        return
    beside = web.Application(middlewares=[problems])
    for key in (REDIS, SETTINGS, DIRECTORY, LIFE, METRICS, DURABLE):
        beside[key] = app[key]  # type: ignore[misc]
    beside.add_routes(
        [
            web.get("/metrics", _exposed),
            web.get("/internal/scaling/{name}", scaling),
            web.get("/livez", livez),
            web.get("/readyz", readyz),
            web.get("/readyz/details", details),
        ]
    )
    runner = web.AppRunner(beside, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.metrics_host, settings.metrics_port).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
