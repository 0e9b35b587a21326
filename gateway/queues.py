"""Whole queues: which there are, statistics, pause, resume, clean, limits."""

import asyncio
from functools import cache, partial
from typing import Any

from aiohttp import web
from pydantic import BaseModel

from gateway.addressed import QUEUE, known_queues, queue_of
from gateway.body import read_model
from gateway.caching import tagged
from gateway.dialect import speak
from gateway.directory import Listed
from gateway.own_counts import OWN_COUNTS
from gateway.principal import Scope, principal_of
from gateway.remembered import mark_of
from gateway.routes import IF_NONE_MATCH, Route
from gateway.shapes import (
    Cleaned,
    CleanRequest,
    LimiterModel,
    Limits,
    Paused,
    QueueInfo,
    QueueLimits,
    Stats,
    envelope,
    stats,
)
from gateway.tenancy import deed
from schemas.job import State
from schemas.spec import Limiter


async def names(request: web.Request) -> web.Response:
    """Every known queue and what may be submitted to it."""
    known = await known_queues(request)
    rows = [
        QueueInfo(
            name=name,
            description=one.spec.description if one.spec else "",
            product=one.spec is not None,
            payload=payload_schema(one),
        ).model_dump(by_alias=True)
        for name, one in sorted(known.items())
    ]
    return tagged(request, envelope(rows))


def payload_schema(listed: Listed) -> dict[str, Any] | None:
    """JSON Schema of the payloads of a queue; None: any object."""
    model = listed.spec and listed.spec.payload
    return _schema(model) if model else listed.schema


@cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema()
    speak(schema)
    return schema


async def stats_of_all(request: web.Request) -> web.Response:
    """The counts of every known queue, by name."""
    known = (await known_queues(request)).values()
    rows = await asyncio.gather(*(_stats(request, listed) for listed in known))
    return tagged(request, envelope(sorted(rows, key=lambda row: str(row["name"]))))


async def stats_of_one(request: web.Request) -> web.Response:
    """The counts of one queue."""
    listed = await queue_of(request)
    return tagged(request, envelope(await _stats(request, listed)))


async def _stats(request: web.Request, listed: Listed) -> dict[str, Any]:
    """Of a tenant its own jobs only."""
    own = principal_of(request).organization_id
    if own is not None:
        return await request.app[OWN_COUNTS].of(listed, own)
    return stats(listed.name, await listed.queue.counts())


async def pause(request: web.Request) -> web.Response:
    """Nothing new starts; what runs goes on."""
    listed = await queue_of(request)
    who = deed(request, "queue.pause", listed.name, None)
    await listed.queue.pause(who=who, once=mark_of(request))
    return envelope({"name": listed.name, "paused": True})


async def resume(request: web.Request) -> web.Response:
    """Undo pause."""
    listed = await queue_of(request)
    who = deed(request, "queue.resume", listed.name, None)
    await listed.queue.resume(who=who, once=mark_of(request))
    return envelope({"name": listed.name, "paused": False})


async def clean(request: web.Request) -> web.Response:
    """Remove ended jobs, completed ones unless told otherwise."""
    listed = await queue_of(request)
    wanted = await read_model(request, CleanRequest)
    who = deed(request, "queue.clean", listed.name, None, wanted.model_dump(mode="json"))
    state, once = State(wanted.status), mark_of(request)
    removed = await listed.queue.clean(wanted.grace, state, who=who, once=once)
    return envelope({"removed": removed})


async def limits(request: web.Request) -> web.Response:
    """Starts per time and jobs at once, over all workers of the queue."""
    listed = await queue_of(request)
    counts = await listed.queue.counts()
    limiter = LimiterModel.of(counts.limiter)
    found = QueueLimits(name=listed.name, limiter=limiter, concurrency=counts.concurrency)
    return tagged(request, envelope(found.model_dump(by_alias=True)))


async def set_limits(request: web.Request) -> web.Response:
    """Replace the limits of the queue; null lifts one.

    A worker whose code brings limits of its own sets those when it starts."""
    listed = await queue_of(request)
    wanted = await read_model(request, Limits)
    one = wanted.limiter
    limiter = Limiter(one.max, one.duration) if one else None
    said = wanted.model_dump(by_alias=True)
    who = deed(request, "queue.limits", listed.name, None, said)
    await listed.queue.set_limits(limiter, wanted.concurrency, who=who)
    return envelope({"name": listed.name, **said})


_read = partial(Route, "GET", needs=Scope.READ, statuses=(200, 304), headers=(IF_NONE_MATCH,))
ROUTES = (
    _read("/queue", handler=names, answer=list[QueueInfo]),
    _read("/queue/stats", handler=stats_of_all, answer=list[Stats]),
    _read(QUEUE + "/stats", handler=stats_of_one, answer=Stats),
    Route("POST", QUEUE + "/pause", pause, Scope.OPERATE, platform_only=True, answer=Paused),
    Route("POST", QUEUE + "/resume", resume, Scope.OPERATE, platform_only=True, answer=Paused),
    Route(
        "POST",
        QUEUE + "/clean",
        clean,
        Scope.OPERATE,
        platform_only=True,
        body=CleanRequest,
        answer=Cleaned,
    ),
    _read(QUEUE + "/limits", handler=limits, answer=QueueLimits),
    Route(
        "PUT",
        QUEUE + "/limits",
        set_limits,
        Scope.OPERATE,
        platform_only=True,
        body=Limits,
        answer=QueueLimits,
    ),
)
