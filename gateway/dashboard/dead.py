"""Dead letters by cause, and how they are sent again: a few first, the rest when those pass."""

import asyncio
import math
import secrets
import time
from collections.abc import Sequence
from typing import Annotated

from aiohttp import web
from pydantic import Field

from gateway.dashboard.causes import SCAN_ALL_JOBS, SCAN_JOBS, Cause, Causes, Library
from gateway.dashboard.view import done, matching, page, wanted
from gateway.directory import Listed
from gateway.errors import InvalidRequest, JobNotFound
from gateway.keys import DIRECTORY, REDIS
from gateway.principal import Scope, principal_of
from gateway.routes import Route
from gateway.shapes import envelope
from gateway.tenancy import deed
from schemas.job import Integer, Wire
from streams.bulk import DONE, Verb, act
from streams.canaries import Canary, find, keep, progress
from streams.outcomes import endings

HERE = "/dashboard/dead"
SAMPLES = 10
CAUSES_SHOWN = 100
CANARY_MOST = 500
"""Jobs of one canary: it is meant to be small."""
CALL_JOBS = 1_000
LIBRARY = web.AppKey("causes", Library)


class Share(Wire):
    """How much of a cause is sent first."""

    percent: Annotated[Integer, Field(ge=1, le=100)] = 5
    dry_run: bool = False


class All(Wire):
    """Everything of a cause, or what is left of it behind a canary."""

    dry_run: bool = False
    canary: str | None = None
    """Go on only if this canary has passed."""


async def causes_page(request: web.Request) -> web.Response:
    """the causes of all dead letters, most frequent first; `?queue=`."""
    listed = await request.app[DIRECTORY].all()
    chosen = request.query.get("queue")
    if chosen:
        listed = {chosen: await request.app[DIRECTORY].find(chosen)}
    counts = await asyncio.gather(*(one.queue.counts() for one in listed.values()))
    dead = {n: c.failed for n, c in zip(listed, counts, strict=True) if c.failed}
    found = await _all(request, [listed[name] for name in dead])
    causes = sorted((c for one in found for c in one.causes), key=lambda c: (-c.count, -c.last_ms))
    return page(
        request,
        "dead.html",
        title="Dead letters",
        here=HERE,
        causes=causes[:CAUSES_SHOWN],
        hidden=max(0, len(causes) - CAUSES_SHOWN),
        total=sum(dead.values()),
        scanned=sum(one.scanned for one in found),
        count=len(causes),
        queues=dead,
        chosen=chosen,
    )


async def _all(request: web.Request, listed: Sequence[Listed]) -> list[Causes]:
    most = max(100, min(SCAN_JOBS, SCAN_ALL_JOBS // max(1, len(listed))))
    library = request.app[LIBRARY]
    return list(await asyncio.gather(*(library.of(one.queue.store, most) for one in listed)))


async def cause_page(request: web.Request) -> web.Response:
    """one cause, with samples and what can be done."""
    listed, cause = await _cause(request)
    samples = await endings(listed.queue.store, cause.jobs[:SAMPLES])
    return page(
        request,
        "cause.html",
        title=f"{cause.code} in {listed.name}",
        here=HERE,
        cause=cause,
        samples=[job for job in samples if job is not None and not isinstance(job, str)],
    )


async def send_canary(request: web.Request) -> web.Response:
    """a share of a cause runs again, first."""
    share = await wanted(request, Share)
    listed, cause = await _cause(request)
    count = min(CANARY_MOST, math.ceil(cause.count * share.percent / 100))
    if share.dry_run:
        return matching(count)
    sent = await _send(request, listed, cause, cause.jobs[:count], "canary")
    canary = Canary(
        secrets.token_hex(8),
        listed.name,
        cause.fingerprint,
        sent,
        principal_of(request).name,
        time.time_ns() // 1_000_000,
    )
    await keep(request.app[REDIS], canary)
    where = f"{HERE}/{listed.name}/canary/{canary.id}"
    return done(f"{len(sent)} of {cause.count} jobs run again.", where)


async def send_all(request: web.Request) -> web.Response:
    """every job of a cause runs again."""
    body = await wanted(request, All)
    listed, cause = await _cause(request)
    if body.canary is not None:
        canary = await _canary(request, body.canary)
        verdict = (await progress(request.app[REDIS], canary)).verdict
        if verdict != "passed" or canary.fingerprint != cause.fingerprint:
            raise InvalidRequest(f"The canary has not passed: it is {verdict}. Nothing was sent.")
    if body.dry_run:
        return matching(cause.count)
    sent = await _send(request, listed, cause, cause.jobs, "redrive")
    return done(f"{len(sent):,} of {cause.count:,} jobs run again.", HERE)


async def canary_page(request: web.Request) -> web.Response:
    """what became of a canary, and the way on."""
    listed = await request.app[DIRECTORY].find(request.match_info["name"])
    canary = await _canary(request, request.match_info["id"])
    now, causes = await asyncio.gather(
        progress(request.app[REDIS], canary), request.app[LIBRARY].of(listed.queue.store)
    )
    rest = next((c for c in causes.causes if c.fingerprint == canary.fingerprint), None)
    return page(
        request,
        "canary.html",
        title="Canary",
        here=HERE,
        canary=canary,
        progress=now,
        rest=rest,
        samples=await _failures(listed, canary),
    )


async def canary_state(request: web.Request) -> web.Response:
    """how far a canary is."""
    canary = await _canary(request, request.match_info["id"])
    now = await progress(request.app[REDIS], canary)
    return envelope(
        {
            "verdict": now.verdict,
            "completed": now.completed,
            "failed": now.failed,
            "gone": now.gone,
            "running": now.running,
        }
    )


async def _failures(listed: Listed, canary: Canary) -> list[object]:
    found = await endings(listed.queue.store, canary.jobs[:SAMPLES])
    ended = (job for job in found if job is not None and not isinstance(job, str))
    return [job for job in ended if job.failed_reason is not None]


async def _send(
    request: web.Request, listed: Listed, cause: Cause, ids: Sequence[str], how: str
) -> list[str]:
    """Revive them; answers those that run again. One deed for all."""
    parameters = {"cause": cause.fingerprint, "code": cause.code, "jobs": len(ids)}
    who = deed(request, f"dead.{how}", listed.name, None, parameters)
    sent: list[str] = []
    for at in range(0, len(ids), CALL_JOBS):
        part = ids[at : at + CALL_JOBS]
        recorded = b"" if sent else who
        words = await act(listed.queue.store, Verb.RETRY, part, who=recorded)
        sent += [job_id for job_id, word in zip(part, words, strict=True) if word in DONE]
    return sent


async def _cause(request: web.Request) -> tuple[Listed, Cause]:
    listed = await request.app[DIRECTORY].find(request.match_info["name"])
    causes = await request.app[LIBRARY].of(listed.queue.store)
    for cause in causes.causes:
        if cause.fingerprint == request.match_info["fingerprint"]:
            return listed, cause
    raise JobNotFound("No dead letter has this cause any more.")


async def _canary(request: web.Request, canary_id: str) -> Canary:
    listed = await request.app[DIRECTORY].find(request.match_info["name"])
    canary = await find(request.app[REDIS], listed.name, canary_id)
    if canary is None:
        raise JobNotFound("No canary has this id any more; they are remembered for a day.")
    return canary


_ONE = HERE + "/{name}/{fingerprint}"
_CANARY = HERE + "/{name}/canary/{id}"
ROUTES = (
    Route("GET", HERE, causes_page, Scope.READ, platform_only=True),
    Route("GET", _ONE, cause_page, Scope.READ, platform_only=True),
    Route("POST", _ONE + "/canary", send_canary, Scope.OPERATE, platform_only=True, body=Share),
    Route("POST", _ONE + "/redrive", send_all, Scope.OPERATE, platform_only=True, body=All),
    Route("GET", _CANARY, canary_page, Scope.READ, platform_only=True),
    Route("GET", _CANARY + "/state", canary_state, Scope.READ, platform_only=True),
)
