"""Probes and the front door."""

import asyncio

from aiohttp import web

from gateway.answer_shapes import Alive, FrontDoor, Ready, ReadyDetails
from gateway.durable import DURABLE
from gateway.errors import NotReady
from gateway.keys import LIFE, REDIS
from gateway.principal import Scope
from gateway.routes import Route
from gateway.shapes import envelope
from streams import errors as engine

READY_TIMEOUT_S = 1.0


async def livez(_request: web.Request) -> web.Response:
    """GET /livez: Alive while the event loop turns, whatever Redis does: 200."""
    return envelope({"status": "alive"})


async def readyz(request: web.Request) -> web.Response:
    """GET /readyz: Ready when Redis takes writes and we are not shutting down; else 503."""
    if request.app[LIFE].draining:
        raise NotReady("Shutting down.")
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            await request.app[REDIS].ping()
    except (engine.Unavailable, TimeoutError) as error:
        raise NotReady("The storage does not take writes.") from error
    return envelope({"status": "ready"})


async def details(request: web.Request) -> web.Response:
    """GET /readyz/details: As /readyz; also the durability level and whether Redis keeps it."""
    await readyz(request)
    standing = request.app[DURABLE].standing
    return envelope({"status": "ready", "durability": standing.told() if standing else None})


async def index(_request: web.Request) -> web.Response:
    """GET /: where to go from here."""
    links = {"stats": "/queue/stats", "live": "/livez", "ready": "/readyz"}
    return envelope({"service": "credstream", "links": links})


ROUTES = (
    Route("GET", "/", index, Scope.PUBLIC, answer=FrontDoor),
    Route("GET", "/livez", livez, Scope.PUBLIC, answer=Alive, is_probe=True),
    Route(
        "GET",
        "/readyz",
        readyz,
        Scope.PUBLIC,
        answer=Ready,
        statuses=(200, 503),
        is_probe=True,
    ),
    Route(
        "GET",
        "/readyz/details",
        details,
        Scope.READ,
        platform_only=True,
        answer=ReadyDetails,
        statuses=(200, 503),
    ),
)
