"""Why a job has not started: in words for people, in fields for programs."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Literal

from aiohttp import web

from gateway.addressed import JOB, OF_ORGANIZATION, job_of
from gateway.keys import REDIS
from gateway.parked import moment, parked_detail
from gateway.principal import Scope, principal_of
from gateway.routes import Route
from gateway.shapes import LimiterModel, envelope
from schemas.job import State, Wire
from streams.why import Standing, standing

Code = Literal[
    "paused",
    "no_workers",
    "rate_limited",
    "concurrency",
    "delayed",
    "backoff",
    "destination",
    "jobs_ahead",
    "isolated",
    "workers_busy",
    "next",
    "running",
    "ended",
]


class Reason(Wire):
    """One thing that stands between the job and its start, or why nothing does."""

    code: Code
    detail: str


class Why(Wire):
    """Where a job stands. Times are epoch ms by the clock of Redis."""

    id: str
    queue: str
    state: State
    summary: str
    """The reasons as a text."""
    reasons: list[Reason]
    """What weighs most comes first."""
    ahead: int | None
    """Jobs that will start before it; null unless it waits."""
    ahead_exact: bool | None
    """False: there are at least `ahead`."""
    paused: bool
    workers: int
    """Alive now."""
    slots: int
    """Jobs they can run at once."""
    active: int | None
    """Jobs that run; null for an organization, as is `ahead`: they are others' as well."""
    concurrency: int | None
    limiter: LimiterModel | None
    limited_until: int | None
    delayed_until: int | None
    rate_per_second: float | None
    """How fast jobs of the queue have been ending lately; null: too few have, or an organization
    asks."""
    estimated_start: int | None
    """Null: that cannot be said, or it has started."""


_UNCOUNTED: Mapping[Code, str] = MappingProxyType(
    {
        "jobs_ahead": "Other jobs start before it.",
        "concurrency": "The queue runs as many jobs at once as it may.",
        "workers_busy": "All slots of the workers are taken.",
        "running": "It runs.",
    }
)
"""What an organization is told where the platform is told numbers of jobs, whosever they are, and
names of workers."""


async def why(request: web.Request) -> web.Response:
    """Why the job has not started, and when it probably will."""
    listed, ref = await job_of(request)
    stands = await standing(listed.queue.store, ref)
    whole = principal_of(request).is_platform
    parked = await parked_detail(request.app[REDIS], listed.queue, ref, stands)
    reasons = list(_reasons(stands, parked))
    if not whole:
        reasons = [Reason(code=r.code, detail=_UNCOUNTED.get(r.code, r.detail)) for r in reasons]
    waits = stands.state is State.WAITING
    told = Why(
        id=ref.shown,
        queue=listed.name,
        state=stands.state,
        summary=" ".join(reason.detail for reason in reasons),
        reasons=reasons,
        ahead=stands.ahead if waits and whole else None,
        ahead_exact=stands.ahead_exact if waits and whole else None,
        paused=stands.paused,
        workers=stands.workers,
        slots=stands.slots,
        active=stands.active if whole else None,
        concurrency=stands.concurrency,
        limiter=LimiterModel.of(stands.limiter),
        limited_until=stands.limited_until_ms,
        delayed_until=stands.due_ms,
        rate_per_second=round(stands.rate_per_s, 3) if whole and stands.rate_per_s else None,
        estimated_start=None if parked else stands.start_ms(),
    )
    return envelope(told.model_dump(by_alias=True))


def _reasons(stands: Standing, parked: str | None) -> Iterator[Reason]:
    """In the order in which a worker that asks for a job meets them."""
    if stands.state is State.ACTIVE:
        yield Reason(code="running", detail=f"It runs on the worker {stands.worker}.")
        return
    if stands.state in (State.COMPLETED, State.FAILED):
        yield Reason(code="ended", detail=f"It has ended: it is {stands.state}.")
        return
    held_up = list(_of_the_queue(stands))
    yield from held_up
    if parked is not None:
        yield Reason(code="destination", detail=parked)
    elif stands.state is State.DELAYED:
        yield _of_the_clock(stands)
    elif stands.is_suspect:
        yield _of_a_suspect(stands)
    elif stands.ahead:
        least = "" if stands.ahead_exact else "at least "
        jobs = _counted(stands.ahead, "job starts", "jobs start")
        yield Reason(code="jobs_ahead", detail=f"{least}{jobs} before it.".capitalize())
    elif not held_up:
        yield Reason(code="next", detail="It is the next to start; nothing holds it up.")


def _of_the_queue(stands: Standing) -> Iterator[Reason]:
    if stands.paused:
        yield Reason(code="paused", detail="The queue is paused: nothing starts until it resumes.")
    if not stands.workers:
        yield Reason(code="no_workers", detail="No worker of this queue is alive.")
    if stands.limited_until_ms is not None and stands.limiter is not None:
        starts = _counted(stands.limiter.max, "start", "starts")
        limit = f"{starts} in {stands.limiter.duration} ms"
        until = moment(stands.limited_until_ms)
        yield Reason(
            code="rate_limited",
            detail=f"The rate limit ({limit}) lets nothing start before {until}.",
        )
    if stands.concurrency is not None and stands.active >= stands.concurrency:
        run = _counted(stands.active, "job runs", "jobs run")
        detail = f"{run}, and the queue may run {stands.concurrency} at once."
        yield Reason(code="concurrency", detail=detail)
    elif stands.workers and stands.active >= stands.slots and stands.state is State.WAITING:
        slots = "The only slot" if stands.slots == 1 else f"All {stands.slots} slots"
        detail = f"{slots} of the workers {'is' if stands.slots == 1 else 'are'} taken."
        yield Reason(code="workers_busy", detail=detail)


def _of_a_suspect(stands: Standing) -> Reason:
    times = _counted(stands.header.stalled, "time", "times")
    company = "with at most 7 others like it" if stands.header.stalled == 1 else "alone"
    detail = f"Its worker died {times}: a process of its own runs it, {company}."
    return Reason(code="isolated", detail=detail)


def _of_the_clock(stands: Standing) -> Reason:
    due_ms = stands.due_ms or 0
    due = f"due {moment(due_ms)}" if due_ms > stands.now_ms else "due now"
    if stands.header.started:
        made = _counted(stands.header.made, "failed attempt", "failed attempts")
        detail = f"It waits to be tried again after {made}; {due}."
        return Reason(code="backoff", detail=detail)
    return Reason(code="delayed", detail=f"It was submitted with a delay; {due}.")


def _counted(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"


ROUTES = (Route("GET", JOB + "/why", why, Scope.READ, answer=Why, query=(OF_ORGANIZATION,)),)
