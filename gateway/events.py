"""Server-sent events: what happens in one queue, in all of them, to one job."""

import re

from aiohttp import web

from gateway.addressed import OF_ORGANIZATION, find_queue, job_of, known_queues, no_such_job
from gateway.errors import BadQuery, Fault
from gateway.faults import pointer
from gateway.keys import DIRECTORY, REDIS
from gateway.merging import Merger
from gateway.owners import Owners
from gateway.principal import Scope, principal_of
from gateway.routes import Parameter, Route
from gateway.sse import Listener, Stream
from gateway.tape import Reader
from gateway.waiting import READER
from streams.live import Happening, Position

OWNERS = web.AppKey("owners", Owners)
MERGER = web.AppKey("merger", Merger)
_EVENT_ID = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")
_ID_PART_MAX = 2**64 - 1
"""What Redis can count to."""


async def of_all(request: web.Request) -> web.StreamResponse:
    """GET /events: what happens in all queues, or in `?queue=`; resumes behind Last-Event-ID."""
    after = _last_event_id(request, "queue")
    hidden = (await request.app[DIRECTORY].all()).keys() - await known_queues(request)
    listener = Listener(principal_of(request), request.app[OWNERS], hidden=frozenset(hidden))
    if name := request.query.get("queue"):
        listed = await find_queue(request, name)
        with request.app[READER].follow(listed.name) as tape:
            at = await tape.now() if after is None else after
            return await Stream(request, tape, at, listener).run()
    async with request.app[MERGER].listening(after) as (tape, at):
        return await Stream(request, tape, at, listener).run()


async def of_job(request: web.Request) -> web.StreamResponse:
    """GET /queue/{name}/job/{id}/events: its state, then whatever happens to it."""
    after = _last_event_id(request, "organizationId")
    listed, ref = await job_of(request)
    principal = principal_of(request)
    listener = Listener(principal, request.app[OWNERS], ref)
    with request.app[READER].follow(listed.name) as tape:
        if after is not None and principal.is_platform:
            return await Stream(request, tape, after, listener).run()
        at = await tape.now()  # before the state: what happens in between is told, not missed
        job = await listed.queue.get(ref)
        if job is None or not principal.may_see(job.organization_id):
            raise no_such_job()
        if after is not None:
            return await Stream(request, tape, after, listener).run()
        state = Happening(at, listed.name, "state", (ref,), (("state", job.state),))
        return await Stream(request, tape, at, listener).run(state)


def _last_event_id(request: web.Request, *others: str) -> Position | None:
    """Where the client left off: what its browser says, else what the address says.

    Raises BadQuery: Redis would understand more than ids (`$`, `1`, `(1-1`)."""
    for name in request.query:
        if name not in ("lastEventId", *others) or len(request.query.getall(name)) > 1:
            known = ", ".join((*others, "lastEventId"))
            raise _bad(name, f"The parameters are {known}, each at most once.")
    given = request.headers.get("Last-Event-ID", request.query.get("lastEventId"))
    if given is None:
        return None
    if _EVENT_ID.fullmatch(given):
        position = Position.parse(given)
        if max(position) <= _ID_PART_MAX:
            return position
    raise _bad(
        "lastEventId", "The last event id is one that a stream has sent, as 1795485650090-2."
    )


def _bad(name: str, detail: str) -> BadQuery:
    return BadQuery(detail, [Fault(pointer([name]), detail)])


def install(app: web.Application) -> None:
    """What streams and waiting requests share."""
    app[READER] = Reader(app[REDIS])
    app[MERGER] = Merger(app[REDIS], app[READER], app[DIRECTORY].all)
    app[OWNERS] = Owners(app[REDIS])
    app.on_shutdown.append(_end)
    app.on_cleanup.append(_close)


async def _end(app: web.Application) -> None:
    app[READER].end()


async def _close(app: web.Application) -> None:
    await app[MERGER].close()
    await app[READER].close()


_ID = {"type": "string", "pattern": f"^{_EVENT_ID.pattern}$"}
_AGAIN = "The id of the last event that the client has got; the stream goes on behind it."
ROUTES = (
    Route(
        "GET",
        "/events",
        of_all,
        Scope.READ,
        is_held=True,
        query=(
            Parameter("queue", {"type": "string"}, "Only what happens in this one."),
            Parameter("lastEventId", _ID, _AGAIN),
        ),
        headers=(Parameter("Last-Event-ID", _ID, _AGAIN),),
    ),
    Route(
        "GET",
        "/queue/{name}/job/{id:[^/]+}/events",
        of_job,
        Scope.READ,
        is_held=True,
        query=(Parameter("lastEventId", _ID, _AGAIN), OF_ORGANIZATION),
        headers=(Parameter("Last-Event-ID", _ID, _AGAIN),),
    ),
)
