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
from gateway.directory import FRESH_S, Listed
from gateway.errors import BadQuery, Fault, Kind, QueueNotFound, Refusal
from gateway.keys import DIRECTORY
from gateway.own_counts import OWN_COUNTS
from gateway.principal import Scope, principal_of
from gateway.remembered import mark_of
from gateway.routes import IF_NONE_MATCH, Parameter, Route
from gateway.shapes import (
    Cleaned,
    CleanRequest,
    Drained,
    DrainRequest,
    LimiterModel,
    Limits,
    Paused,
    QueueDeleted,
    QueueInfo,
    QueueLimits,
    Stats,
    envelope,
    stats,
)
from gateway.tenancy import deed
from schemas.job import State
from schemas.spec import Limiter, catalog
from streams import deletion
from streams.errors import QueueInUse

DRAIN_JOBS_MAX = 100_000
"""Jobs one request removes: that takes some seconds."""
UNLISTED_S = FRESH_S + 1
"""After this no gateway takes jobs for a queue that is not listed any more."""
FORCE = Parameter(
    "force",
    {"type": "string", "enum": ["true", "false"]},
    "Delete it although jobs are active or workers live; what runs is lost.",
)


class QueueKept(Refusal):
    """A queue that cannot be deleted."""

    kind = Kind(409, "queue_kept", "This queue cannot be deleted")


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
    """Starts per time and jobs at once, over all workers of the queue, and its backlog."""
    listed = await queue_of(request)
    return tagged(request, envelope(await _limits_of(listed)))


async def _limits_of(listed: Listed) -> dict[str, Any]:
    counts = await listed.queue.counts()
    return QueueLimits(
        name=listed.name,
        limiter=LimiterModel.of(counts.limiter),
        concurrency=counts.concurrency,
        backlog=counts.backlog,
    ).model_dump(by_alias=True)


async def set_limits(request: web.Request) -> web.Response:
    """Replace the limits of the queue; null lifts one.

    A worker whose code brings limits of its own sets those when it starts."""
    listed = await queue_of(request)
    wanted = await read_model(request, Limits)
    one = wanted.limiter
    limiter = Limiter(one.max, one.duration) if one else None
    said = wanted.model_dump(by_alias=True, exclude_unset=True)
    who = deed(request, "queue.limits", listed.name, None, said)
    await listed.queue.set_limits(
        limiter,
        wanted.concurrency,
        wanted.backlog if "backlog" in wanted.model_fields_set else "kept",
        who=who,
    )
    return envelope(await _limits_of(listed))


async def drain(request: web.Request) -> web.Response:
    """Remove jobs that have not started, at most 100,000 a call; they owe no callback."""
    listed = await queue_of(request)
    wanted = await read_model(request, DrainRequest)
    who = deed(request, "queue.drain", listed.name, None, wanted.model_dump(mode="json"))
    removed, more = await listed.queue.drain(
        with_delayed=wanted.delayed, most=DRAIN_JOBS_MAX, who=who, once=mark_of(request)
    )
    return envelope({"removed": removed, "more": more})


async def delete(request: web.Request) -> web.Response:
    """Delete a custom queue with all of its jobs; its audit record stays.

    Other gateways are given time to notice that the queue is not listed any more."""
    name, force = request.match_info["name"], _force_in(request)
    if name in catalog():
        raise QueueKept(f"Queue {name} is part of the product; drain and clean it instead.")
    directory = request.app[DIRECTORY]
    try:
        queue, is_listed = (await directory.find(name)).queue, True
    except QueueNotFound:
        # An earlier call may have been cut off.
        queue, is_listed = directory.unlisted(name), False
        if not await deletion.is_deletable(queue):
            raise
    if not force:
        await deletion.is_deletable(queue)
    about = await deletion.unlist(queue.redis, name)
    directory.forget(name)
    if is_listed:
        await asyncio.sleep(UNLISTED_S)
    try:
        await deletion.delete(queue, force=force, who=deed(request, "queue.delete", name, None))
    except QueueInUse:
        # A job was claimed meanwhile: nothing is deleted, so the queue is listed as before.
        await deletion.relist(queue.redis, name, about)
        raise
    return envelope({"name": name, "deleted": True})


def _force_in(request: web.Request) -> bool:
    text = request.query.get("force", "false")
    if text not in ("true", "false"):
        detail = "force must be true or false."
        raise BadQuery(detail, [Fault("/force", detail)])
    return text == "true"


_read = partial(Route, "GET", needs=Scope.READ, statuses=(200, 304), headers=(IF_NONE_MATCH,))
CUSTOM_QUEUE = "/queue/{name:(?!stats$)[^/]+}"
"""`/queue/stats` is no queue: its `Allow` does not offer to delete it."""
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
    Route(
        "POST",
        QUEUE + "/drain",
        drain,
        Scope.OPERATE,
        platform_only=True,
        body=DrainRequest,
        answer=Drained,
    ),
    Route(
        "DELETE",
        CUSTOM_QUEUE,
        delete,
        Scope.ADMIN,
        platform_only=True,
        answer=QueueDeleted,
        query=(FORCE,),
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
