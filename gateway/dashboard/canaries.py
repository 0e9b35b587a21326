"""What became of a canary, and the way on."""

import asyncio
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from gateway.addressed import queue_of
from gateway.dashboard.causes import LIBRARY
from gateway.dashboard.redrive import hold
from gateway.dashboard.view import done, page
from gateway.directory import Listed
from gateway.errors import InvalidRequest, JobNotFound
from gateway.keys import REDIS
from gateway.principal import Scope, principal_of
from gateway.redaction import jobs_shown
from gateway.routes import Route
from gateway.shapes import envelope
from gateway.tenancy import deed_of
from schemas.job import JobView
from streams import audit
from streams.canaries import Canary, find, progress
from streams.outcomes import endings

HERE = "/dashboard/dead"
SAMPLES = 10


async def canary_page(request: web.Request) -> web.Response:
    """what became of a canary, and the way on."""
    listed = await queue_of(request)
    canary = await canary_of(request, request.match_info["id"])
    own = principal_of(request).organization_id
    now, rest = await asyncio.gather(
        progress(request.app[REDIS], canary),
        request.app[LIBRARY].cause(listed.queue.store, canary.fingerprint, own),
    )
    return page(
        request,
        "canary.html",
        title="Canary",
        here=HERE,
        canary=canary,
        progress=now,
        rest=rest.count if rest else 0,
        samples=await samples(request, listed, canary.jobs),
    )


async def canary_state(request: web.Request) -> web.Response:
    """how far a canary is."""
    canary = await canary_of(request, request.match_info["id"])
    now = await progress(request.app[REDIS], canary)
    return envelope(
        {
            "verdict": now.verdict,
            "completed": now.completed,
            "failed": now.failed,
            "gone": now.gone,
            "running": now.running,
            "goesOn": canary.goes_on,
            "outcome": canary.outcome,
            "sent": canary.sent,
        }
    )


async def hold_canary(request: web.Request) -> web.Response:
    """a canary does not go on by itself any more."""
    canary = await canary_of(request, request.match_info["id"])
    redis = request.app[REDIS]
    if not canary.goes_on or not await hold(redis, canary):
        raise InvalidRequest("It does not go on by itself, or has begun to. Nothing was changed.")
    parameters = {"canary": canary.id, "cause": canary.fingerprint}
    own = principal_of(request).organization_id
    await audit.record(redis, deed_of(request, "dead.hold", canary.queue, own, parameters))
    return done("It does not go on by itself.")


async def canary_of(request: web.Request, canary_id: str) -> Canary:
    """The canary of this id that the principal may see, or JobNotFound."""
    listed = await queue_of(request)
    canary = await find(request.app[REDIS], listed.name, canary_id)
    if canary is None or not principal_of(request).may_see(canary.organization_id):
        raise JobNotFound("No canary has this id any more; they are remembered for a day.")
    return canary


async def samples(request: web.Request, listed: Listed, ids: Sequence[str]) -> list[dict[str, Any]]:
    """The first of these jobs that lie dead, as this principal gets to see them."""
    found = await endings(listed.queue.store, ids[:SAMPLES])
    dead = [job for job in found if isinstance(job, JobView) and job.failed_reason is not None]
    return await jobs_shown(request, listed.name, dead)


_CANARY = HERE + "/{name}/canary/{id}"
ROUTES = (
    Route("GET", _CANARY, canary_page, Scope.READ),
    Route("GET", _CANARY + "/state", canary_state, Scope.READ),
    Route("POST", _CANARY + "/hold", hold_canary, Scope.OPERATE),
)
