"""Webhooks: the destinations of an organization, how they do, and what can be done about it."""

import asyncio
import time
from collections import Counter
from typing import Annotated, Any

from aiohttp import web
from pydantic import Field

from gateway import replay, webhook_keys, webhook_settings
from gateway import webhooks as api
from gateway.dashboard.attempts import AttemptRow
from gateway.dashboard.told import asked, number_of, organization, query_of, told
from gateway.dashboard.view import done, matching, page, wanted
from gateway.keys import DIRECTORY, REDIS
from gateway.principal import Scope, principal_of
from gateway.replay import WEBHOOKS, origin_in
from gateway.routes import Route
from schemas.fields import NO_TENANT, OrganizationId
from schemas.identity import JobRef
from schemas.job import Integer, JobView, State, Wire
from schemas.origins import Origin
from streams import Queue
from streams.destinations import Destination
from streams.errors import NotFound
from streams.schedules import chosen
from streams.search import owner_of

HERE = "/dashboard/webhooks"
PAGE = 50
LOOKED_AT = 60
"""Jobs of each state among which the recent attempts are sought."""
JOBS, ATTEMPTS = 12, 25
"""Jobs whose attempts are read, and attempts that are shown."""
HOUR_MS = 3_600_000
SCHEDULES = (
    ("standard", "standard: 3 attempts, 2 s and 4 s apart"),
    ("durable", "durable: 10 attempts over three days"),
)


class Again(Wire):
    """Failed deliveries of the last hours that are to be sent again."""

    hours: Annotated[Integer, Field(ge=1, le=720)] = 24
    origin: Origin | None = None
    organization_id: OrganizationId | None = None
    limit: Annotated[Integer, Field(ge=1, le=replay.JOBS_MAX)] = 100
    dry_run: bool = False


async def destinations(request: web.Request) -> web.Response:
    """GET /dashboard/webhooks: the destinations of an organization, the last used first."""
    request, whose = asked(request), organization(request)
    rows = told(await api.listed(request)) if whose is not None else []
    lately = await _lately(request) if whose is None else []
    schedule = await chosen(request.app[REDIS], whose) if whose is not None else None
    start = number_of(request, "start") if whose is not None else 0
    return page(
        request,
        "webhooks.html",
        title="Webhooks",
        here=HERE,
        whose=whose,
        rows=rows,
        lately=lately,
        schedule=schedule,
        schedules=SCHEDULES,
        start=start,
        newer=query_of(request, start=max(0, start - PAGE) or None, end=None) if start else None,
        older=query_of(request, start=start + PAGE, end=None) if len(rows) == PAGE else None,
    )


async def _lately(request: web.Request) -> list[tuple[Destination, Counter[str]]]:
    """Where the newest jobs of each state go; those of which most have failed first."""
    queue = (await request.app[DIRECTORY].find(WEBHOOKS)).queue
    counted: dict[Destination, Counter[str]] = {}
    for job in await _newest(queue):
        if origin := origin_in(job.data):
            to = Destination(owner_of(job) or NO_TENANT, origin)
            counted.setdefault(to, Counter())[job.state] += 1
    rows = sorted(counted.items(), key=lambda row: (-row[1]["failed"], -row[1].total(), row[0]))
    return rows[:PAGE]


async def destination(request: web.Request) -> web.Response:
    """GET /dashboard/webhooks/{id}: one destination, its recent attempts, its history."""
    known = told(await api.show(request))
    queue = (await request.app[DIRECTORY].find(WEBHOOKS)).queue
    jobs = await _jobs(queue, known)
    return page(
        request,
        "webhook.html",
        title=known["origin"],
        here=HERE,
        to=known,
        jobs=jobs,
        attempts=await _attempts(request, queue, jobs[:JOBS]),
        platform=principal_of(request).is_platform,
        limit=100,
    )


async def _jobs(queue: Queue, to: dict[str, Any]) -> list[JobView]:
    """The newest jobs for this destination among the newest of each state."""
    found = [job for job in await _newest(queue) if _is_for(job, to)]
    return sorted(found, key=lambda job: -(job.finished_on or job.processed_on or job.timestamp))


async def _newest(queue: Queue) -> list[JobView]:
    states = (State.ACTIVE, State.DELAYED, State.FAILED, State.COMPLETED)
    pages = await asyncio.gather(*(queue.page(state, 0, LOOKED_AT - 1) for state in states))
    return [job for jobs in pages for job in jobs]


def _is_for(job: JobView, to: dict[str, Any]) -> bool:
    return (owner_of(job), origin_in(job.data)) == (to["organizationId"], to["origin"])


async def _attempts(request: web.Request, queue: Queue, jobs: list[JobView]) -> list[AttemptRow]:
    """What was recorded of the attempts of these jobs, newest first."""
    is_platform = principal_of(request).is_platform
    records = await asyncio.gather(*(_of_job(queue, JobRef(job.ref or "")) for job in jobs))
    rows = [
        AttemptRow.read(job, one, is_platform=is_platform)
        for job, found in zip(jobs, records, strict=True)
        for one in found
    ]
    return sorted(rows, key=lambda row: -(row.started_ms or 0))[:ATTEMPTS]


async def _of_job(queue: Queue, ref: JobRef) -> list[dict[str, Any]]:
    try:
        return await queue.attempts(ref)
    except NotFound:  # removed meanwhile
        return []


async def enable(request: web.Request) -> web.Response:
    """POST /dashboard/webhooks/{id}/enable: deliver again; past failures are forgotten."""
    return done(f"Deliveries to {told(await api.enable(request))['origin']} go on.")


async def disable(request: web.Request) -> web.Response:
    """POST /dashboard/webhooks/{id}/disable: jobs for it fail until it is enabled again."""
    return done(f"Nothing is delivered to {told(await api.disable(request))['origin']} any more.")


async def limits(request: web.Request) -> web.Response:
    """POST /dashboard/webhooks/{id}/limits: concurrency and rate of its own."""
    return done(f"The limits of {told(await api.limit(request))['origin']} hold from now on.")


async def settings(request: web.Request) -> web.Response:
    """POST /dashboard/webhooks/settings: how webhooks that do not say it are tried again."""
    answer = told(await webhook_settings.put(request))
    return done(f"The schedule of new webhooks of {answer['organizationId']} is set.")


async def rotate(request: web.Request) -> web.Response:
    """POST /dashboard/webhooks/secret/rotate: a new key signs; it is shown once."""
    answer = told(await webhook_keys.rotate(request))
    (key,) = answer["keys"]
    shown = [("Signing key", key["secret"])]
    if key["public"] is not None:
        shown = [("Public key, for whoever verifies", key["public"])]
    what = answer["origin"] or f"all destinations of {answer['organizationId']} without their own"
    return done(
        "A new key signs.",
        secret={
            "title": "A new key signs",
            "text": f"For {what}. The key before signs beside it for a while.",
            "values": [{"label": label, "value": value} for label, value in shown],
        },
    )


async def again(request: web.Request) -> web.Response:
    """POST /dashboard/webhooks/replay: failed deliveries of the last hours run again."""
    body = await wanted(request, Again)
    since = time.time_ns() // 1_000_000 - body.hours * HOUR_MS
    more = body.model_dump(exclude={"hours"})
    result = await replay.send_again(request, replay.Replay(since=since, **more))
    while not result["matched"] and result["cursor"]:  # they lie deeper
        more["cursor"] = result["cursor"]
        result = await replay.send_again(request, replay.Replay(since=since, **more))
    if body.dry_run:
        return matching(result["matched"], more=result["more"])
    return done(f"{result['replayed']:,} of {result['matched']:,} deliveries run again.")


_ONE = HERE + "/{id}"
ROUTES = (
    Route("GET", HERE, destinations, Scope.READ),
    Route("GET", _ONE, destination, Scope.READ),
    Route("POST", _ONE + "/enable", enable, Scope.OPERATE),
    Route("POST", _ONE + "/disable", disable, Scope.OPERATE),
    Route("POST", _ONE + "/limits", limits, Scope.OPERATE, body=api.DestinationLimitsRequest),
    Route("POST", HERE + "/settings", settings, Scope.OPERATE, body=webhook_settings.Settings),
    Route("POST", HERE + "/secret/rotate", rotate, Scope.ADMIN, body=webhook_keys.Rotation),
    Route("POST", HERE + "/replay", again, Scope.OPERATE, body=Again),
)
