"""One queue: its jobs by state, a search over them, what can be done to many, and its controls."""

from dataclasses import dataclass, replace
from typing import Annotated, Any
from urllib.parse import urlencode

from aiohttp import web
from pydantic import Field

from gateway.addressed import queue_of, resolve
from gateway.cursors import CURSORS
from gateway.dashboard import overview
from gateway.dashboard.terms import Terms, parsed, subjects_of
from gateway.dashboard.view import done, matching, page, wanted
from gateway.directory import Listed
from gateway.errors import BadQuery, InvalidRequest
from gateway.keys import REDIS
from gateway.principal import Principal, Scope, principal_of
from gateway.redaction import shown
from gateway.routes import Route
from gateway.shapes import envelope
from gateway.tenancy import deed
from schemas.identity import INSIDE_MAX_CHARS, JobRef, candidates
from schemas.job import MAX_DELAY_MS, Integer, KnownJobId, State, Wire
from schemas.spec import Limiter
from streams.bulk import DONE, Verb, act
from streams.minutes import RUN, WAIT, Minutes
from streams.search import Sought, message_of, owner_of, seek
from streams.views import Glance

PAGE_JOBS = 25
SCAN_JOBS = 2_000
"""Jobs one page of a search looks at; the next page goes on behind them."""
PART_JOBS = 500
"""Of them, so many are held with their payloads."""
BULK_MOST = 10_000
"""Jobs one action touches; it says when there are more."""
SPANS = {"hour": (60, 1), "day": (1_430, 10)}
"""Minutes shown, and minutes in one point of a chart."""
FITTING = {
    State.WAITING: (Verb.CANCEL, Verb.REMOVE),
    State.ACTIVE: (Verb.CANCEL,),
    State.DELAYED: (Verb.PROMOTE, Verb.CANCEL, Verb.REMOVE),
    State.COMPLETED: (Verb.REMOVE,),
    State.FAILED: (Verb.RETRY, Verb.REMOVE),
}
"""What can be done to jobs of a state."""


class Bulk(Wire):
    """Jobs that were ticked, or all that match what was searched for."""

    ids: Annotated[list[KnownJobId], Field(max_length=PAGE_JOBS)] = Field(default_factory=list)
    every: bool = False
    """All that match `terms` instead of `ids`."""
    state: State
    terms: Annotated[dict[str, Annotated[str, Field(max_length=256)]], Field(max_length=8)] = Field(
        default_factory=dict
    )
    dry_run: bool = False


class Clean(Wire):
    """Which ended jobs are removed."""

    state: State
    grace_min: Annotated[Integer, Field(ge=0, le=MAX_DELAY_MS // 60_000)] = 0
    """Minutes they must have been ended for."""


class Limit(Wire):
    """What holds for all workers together; absent: no such limit."""

    max: Annotated[Integer, Field(ge=1, le=1_000_000)] | None = None
    duration_ms: Annotated[Integer, Field(ge=1, le=MAX_DELAY_MS)] | None = None
    concurrency: Annotated[Integer, Field(ge=1, le=1_000_000)] | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """A row of the list: nothing of the payload but whose job it is and what about."""

    id: str
    link: str
    """The id in addresses: for the platform the one inside Redis."""
    name: str
    organization: str
    subject: str
    timestamp: int
    ended: int | None
    attempts: int
    error: str


async def queue_page(request: web.Request) -> web.Response:
    """One queue and its jobs in one state; `?state=` and what is searched for."""
    listed = await queue_of(request)
    state = _state(request)
    given = {key: text for key, text in request.query.items() if key in Terms.NAMES and text}
    counts = await listed.queue.counts() if principal_of(request).is_platform else None
    found = await _find(request, listed, state, given)
    rows = await shown(
        request, listed.name, [_row(job, principal_of(request)) for job in found.jobs]
    )
    own = {"state": str(state), **given}
    here = f"/dashboard/queue/{listed.name}"
    follows = await request.app[CURSORS].pack(state, found.cursor)
    return page(
        request,
        "queue.html",
        title=listed.name,
        here=overview.HERE,
        name=listed.name,
        queue_path=here,
        counts=counts,
        state=state,
        states=list(State),
        rows=[Shown(**row) for row in rows],
        given=given,
        verbs=[str(verb) for verb in FITTING[state]],
        scanned=found.scanned,
        paged="before" in request.query,
        first=f"{here}?{urlencode(own)}",
        following=f"{here}?{urlencode(own | {'before': follows})}" if follows else None,
    )


async def minutes(request: web.Request) -> web.Response:
    """What a queue did in the last hour or day, for the charts: `?span=hour` or `day`."""
    listed = await queue_of(request)
    count, step = SPANS.get(request.query.get("span", "hour"), SPANS["hour"])
    first, tallies = await Minutes(request.app[REDIS], listed.name).last(count, step)
    shares = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
    series: dict[str, Any] = {
        "at": [(first + number * step) * 60 for number in range(len(tallies))],
        "completed": [round(one.completed / step, 2) for one in tallies],
        "failed": [round(one.failed / step, 2) for one in tallies],
        "wait": {n: [_round(one.percentile(WAIT, s)) for one in tallies] for n, s in shares},
        "run": {n: [_round(one.percentile(RUN, s)) for one in tallies] for n, s in shares},
    }
    return envelope(series)


async def bulk(request: web.Request) -> web.Response:
    """Retry, remove, promote or cancel the jobs that were ticked, or all that match."""
    listed, verb = await queue_of(request), Verb(request.match_info["verb"])
    body = await wanted(request, Bulk)
    if verb not in FITTING[body.state]:
        raise InvalidRequest(f"Jobs that are {body.state} cannot be handled so: {verb}.")
    ids, more = await _chosen(request, listed, body)
    if body.dry_run:
        return matching(len(ids), more=more)
    said = {"state": body.state, "terms": body.terms, "jobs": len(ids)}
    who = deed(request, f"jobs.{verb}", listed.name, principal_of(request).organization_id, said)
    words = await act(listed.queue.store, verb, ids, who=who)
    count = sum(word in DONE for word in words)
    left = f" {len(ids) - count:,} were left alone." if count < len(ids) else ""
    return done(f"{verb}: {count:,} of {len(ids):,} jobs.{left}")


async def pause(request: web.Request) -> web.Response:
    """Nothing new starts; what runs goes on."""
    listed = await queue_of(request)
    await listed.queue.pause(who=deed(request, "queue.pause", listed.name, None))
    return done(f"{listed.name} is paused.")


async def resume(request: web.Request) -> web.Response:
    """Undo pause."""
    listed = await queue_of(request)
    await listed.queue.resume(who=deed(request, "queue.resume", listed.name, None))
    return done(f"{listed.name} goes on.")


async def clean(request: web.Request) -> web.Response:
    """Remove ended jobs."""
    listed = await queue_of(request)
    body = await wanted(request, Clean)
    if body.state not in (State.COMPLETED, State.FAILED):
        raise InvalidRequest("Only completed and failed jobs can be cleaned.")
    said = {"state": body.state, "graceMin": body.grace_min}
    who = deed(request, "queue.clean", listed.name, None, said)
    removed = await listed.queue.clean(body.grace_min * 60_000, body.state, who=who)
    return done(f"{removed:,} {body.state} jobs were removed.")


async def limits(request: web.Request) -> web.Response:
    """Replace the limits of a queue; what is absent is lifted."""
    listed = await queue_of(request)
    body = await wanted(request, Limit)
    if (body.max is None) != (body.duration_ms is None):
        raise InvalidRequest("A rate limit needs both: how many starts, and in which time.")
    limiter = Limiter(body.max, body.duration_ms) if body.max and body.duration_ms else None
    said = body.model_dump(by_alias=True)
    who = deed(request, "queue.limits", listed.name, None, said)
    await listed.queue.set_limits(limiter, body.concurrency, who=who)
    return done("The limits hold from now on.")


async def _find(
    request: web.Request, listed: Listed, state: State, given: dict[str, str]
) -> Sought:
    terms = parsed(state, given, principal_of(request).organization_id)
    before = request.query.get("before")
    cursor = "" if before is None else await request.app[CURSORS].unpack(state, before)
    if cursor is None:
        raise BadQuery("This page of the list is not there any more.")
    if terms.text and not cursor:
        own = principal_of(request).organization_id
        for ref in candidates(own, terms.text) if _is_id(terms.text) else ():
            one = await listed.queue.glance(ref)
            if one is not None and one[0] is state and replace(terms, text=None).fits(one[1]):
                return Sought([one[1]], [], "", 1)
    return await seek(listed.queue, terms, cursor, most=PAGE_JOBS, scan_most=SCAN_JOBS)


async def _chosen(request: web.Request, listed: Listed, body: Bulk) -> tuple[list[JobRef], bool]:
    principal = principal_of(request)
    if not body.every:
        refs = await resolve(listed, principal.organization_id, body.ids)
        return [ref for ref in refs if ref is not None], False
    terms = parsed(body.state, body.terms, principal.organization_id)
    return await _matching(listed, terms)


async def _matching(listed: Listed, terms: Terms) -> tuple[list[JobRef], bool]:
    """Ids, and whether there may be more. In parts: payloads can be large, ids are not."""
    ids: list[JobRef] = []
    cursor, left = "", 2 * BULK_MOST
    while left > 0 and len(ids) < BULK_MOST:
        most = min(PART_JOBS, BULK_MOST - len(ids))
        found = await seek(listed.queue, terms, cursor, most=most, scan_most=min(PART_JOBS, left))
        ids += [job.ref for job in found.jobs]
        cursor, left = found.cursor, left - found.scanned
        if not cursor:
            break
    return ids, bool(cursor)


def _state(request: web.Request) -> State:
    text = request.query.get("state", State.WAITING)
    if text not in tuple(State):
        raise BadQuery(f"state must be one of {', '.join(State)}.")
    return State(text)


def _is_id(text: str) -> bool:
    return (
        text.isascii() and text.isprintable() and " " not in text and len(text) <= INSIDE_MAX_CHARS
    )


def _row(job: Glance, principal: Principal) -> dict[str, Any]:
    """What is known of a row, before anything is hidden."""
    return {
        "id": job.id,
        "link": job.ref if principal.is_platform else job.id,
        "name": job.name,
        "organization": owner_of(job) or "",
        "subject": next(iter(subjects_of(job)), ""),
        "timestamp": job.timestamp,
        "ended": job.finished_on or job.delay_until,
        "attempts": job.attempts_made,
        "error": message_of(job),
    }


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


_ONE = "/dashboard/queue/{name}"
ROUTES = (
    Route("GET", _ONE, queue_page, Scope.READ),
    Route("GET", _ONE + "/minutes", minutes, Scope.READ, platform_only=True),
    Route(
        "POST", _ONE + "/jobs/{verb:retry|remove|promote|cancel}", bulk, Scope.OPERATE, body=Bulk
    ),
    Route("POST", _ONE + "/pause", pause, Scope.OPERATE, platform_only=True),
    Route("POST", _ONE + "/resume", resume, Scope.OPERATE, platform_only=True),
    Route("POST", _ONE + "/clean", clean, Scope.OPERATE, platform_only=True, body=Clean),
    Route("POST", _ONE + "/limits", limits, Scope.OPERATE, platform_only=True, body=Limit),
)
