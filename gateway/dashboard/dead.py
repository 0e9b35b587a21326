"""Dead letters by cause, and how they are sent again: a few first, the rest when those pass.

An organization sees the causes of its own dead letters and sends those only."""

import asyncio
import math
import secrets
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from aiohttp import web
from pydantic import Field

from gateway.addressed import find_queue, known_queues, queue_of
from gateway.dashboard.canaries import HERE, canary_of, samples
from gateway.dashboard.causes import LIBRARY, OWN_JOBS, SCAN_ALL_JOBS, SCAN_JOBS, Cause, Causes
from gateway.dashboard.redrive import send
from gateway.dashboard.view import done, matching, page, wanted
from gateway.directory import Listed
from gateway.errors import InvalidRequest, JobNotFound
from gateway.keys import REDIS
from gateway.principal import Scope, principal_of
from gateway.redaction import shown
from gateway.routes import Route
from gateway.tenancy import deed
from schemas.job import Integer, Wire
from streams.canaries import Canary, keep, progress

CAUSES_SHOWN = 100
CANARY_MOST = 500
"""Jobs of one canary: it is meant to be small."""


class Share(Wire):
    """How much of a cause is sent first."""

    percent: Annotated[Integer, Field(ge=1, le=100)] = 5
    goes_on: bool = False
    """The rest follows by itself when every job of the canary completes."""
    dry_run: bool = False


class All(Wire):
    """Everything of a cause, or what is left of it behind a canary."""

    dry_run: bool = False
    canary: str | None = None
    """Go on only if this canary has passed."""


async def causes_page(request: web.Request) -> web.Response:
    """the causes of all dead letters, or of an organization's, most frequent first; `?queue=`."""
    listed = await known_queues(request)
    chosen = request.query.get("queue")
    if chosen:
        listed = {chosen: await find_queue(request, chosen)}
    counts = await asyncio.gather(*(one.queue.counts() for one in listed.values()))
    dead = [one for one, count in zip(listed.values(), counts, strict=True) if count.failed]
    found = await _all(request, dead)
    causes = sorted((c for one in found for c in one.causes), key=lambda c: (-c.count, -c.last_ms))
    own = principal_of(request).organization_id is not None
    queues = {
        one.name: sum(c.count for c in theirs.causes) if own else theirs.total
        for one, theirs in zip(dead, found, strict=True)
    }
    return page(
        request,
        "dead.html",
        title="Dead letters",
        here=HERE,
        causes=await _shown(request, causes[:CAUSES_SHOWN]),
        hidden=max(0, len(causes) - CAUSES_SHOWN),
        total=sum(queues.values()),
        grouped=sum(c.count for c in causes),
        partly=any(one.scanned < one.total for one in found),
        scanned=sum(one.scanned for one in found),
        count=len(causes),
        queues={name: count for name, count in queues.items() if count},
        chosen=chosen,
    )


async def _all(request: web.Request, listed: Sequence[Listed]) -> list[Causes]:
    own = principal_of(request).organization_id
    most, each = (SCAN_ALL_JOBS, SCAN_JOBS) if own is None else (SCAN_JOBS, OWN_JOBS)
    bound = max(100, min(each, most // max(1, len(listed))))
    library = request.app[LIBRARY]
    return list(
        await asyncio.gather(*(library.of(q.queue.store, bound, own, first=True) for q in listed))
    )


async def _shown(request: web.Request, causes: Sequence[Cause]) -> list[Cause]:
    """The same with what this reader may see of their texts (AU-12)."""
    texts = [[cause.shape, cause.code, cause.reason, cause.name] for cause in causes]
    pairs = zip(causes, await shown(request, "dead letters", texts), strict=True)
    return [
        replace(cause, shape=shape, code=code, reason=reason, name=name, example="")
        for cause, (shape, code, reason, name) in pairs
    ]


async def cause_page(request: web.Request) -> web.Response:
    """one cause, with samples and what can be done."""
    listed, cause = await _cause(request)
    (told,) = await _shown(request, [cause])
    return page(
        request,
        "cause.html",
        title=f"{told.code} in {listed.name}",
        here=HERE,
        cause=told,
        samples=await samples(request, listed, cause.jobs),
    )


async def send_canary(request: web.Request) -> web.Response:
    """a share of a cause runs again, first; the rest by itself, if that is wanted."""
    share = await wanted(request, Share)
    listed, cause = await _cause(request)
    count = min(CANARY_MOST, math.ceil(cause.count * share.percent / 100))
    if share.dry_run:
        return matching(count)
    sent = await _send(request, listed, cause, cause.jobs[:count], "canary")
    if not sent:
        raise InvalidRequest("Nothing was sent: these jobs are not dead letters any more.")
    principal = principal_of(request)
    canary = Canary(
        secrets.token_hex(8),
        listed.name,
        cause.fingerprint,
        sent,
        principal.name,
        time.time_ns() // 1_000_000,
        principal.organization_id,
        principal.key_id,
        share.goes_on,
    )
    await keep(request.app[REDIS], canary)
    where = f"{HERE}/{listed.name}/canary/{canary.id}"
    return done(f"{len(sent):,} of {cause.count:,} jobs run again.", where)


async def send_all(request: web.Request) -> web.Response:
    """every job of a cause runs again."""
    body = await wanted(request, All)
    listed, cause = await _cause(request)
    if body.canary is not None:
        canary = await canary_of(request, body.canary)
        verdict = (await progress(request.app[REDIS], canary)).verdict
        if verdict != "passed" or canary.fingerprint != cause.fingerprint:
            raise InvalidRequest(f"The canary has not passed: it is {verdict}. Nothing was sent.")
    if body.dry_run:
        return matching(cause.count)
    sent = await _send(request, listed, cause, cause.jobs, "redrive")
    return done(f"{len(sent):,} of {cause.count:,} jobs run again.", HERE)


async def _send(
    request: web.Request, listed: Listed, cause: Cause, ids: Sequence[str], how: str
) -> list[str]:
    """Revive them; answers those that run again. One deed for all."""
    parameters = {"cause": cause.fingerprint, "code": cause.code, "jobs": len(ids)}
    organization_id = principal_of(request).organization_id
    who = deed(request, f"dead.{how}", listed.name, organization_id, parameters)
    sent: list[str] = []
    async for part in send(listed.queue.store, ids, who):
        sent += part
    return sent


async def _cause(request: web.Request) -> tuple[Listed, Cause]:
    listed = await queue_of(request)
    own = principal_of(request).organization_id
    library, fingerprint = request.app[LIBRARY], request.match_info["fingerprint"]
    cause = await library.cause(listed.queue.store, fingerprint, own)
    if cause is None:
        raise JobNotFound("No dead letter has this cause any more.")
    return listed, cause


_ONE = HERE + "/{name}/{fingerprint}"
ROUTES = (
    Route("GET", HERE, causes_page, Scope.READ),
    Route("GET", _ONE, cause_page, Scope.READ),
    Route("POST", _ONE + "/canary", send_canary, Scope.OPERATE, body=Share),
    Route("POST", _ONE + "/redrive", send_all, Scope.OPERATE, body=All),
)
