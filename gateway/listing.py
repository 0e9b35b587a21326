"""Jobs in pages: by number, or from the place of a job on."""

import re
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from gateway import faults
from gateway.addressed import QUEUE, queue_of
from gateway.caching import tagged
from gateway.cursors import CURSORS
from gateway.errors import BadQuery, Fault
from gateway.principal import Scope, principal_of
from gateway.redaction import jobs_shown
from gateway.routes import IF_NONE_MATCH, Parameter, Route
from gateway.shapes import envelope
from schemas.job import JobView, State
from streams.search import Wanted, search

PAGE_SPAN_MAX = 1_000
PAGE_SPAN = 10
"""The seed's example asks for 0..10, which are eleven jobs: both ends count."""
_INDEX = re.compile(r"[0-9]{1,9}")
_PARAMETERS = ("status", "start", "end", "before")


@dataclass(frozen=True, slots=True)
class Span:
    """The page asked for."""

    state: State
    start: int
    end: int
    cursor: str


async def page(request: web.Request) -> web.Response:
    """Jobs in one state, from `start` to `end`, both included, or from behind `before` on.

    `next` is what `before` must be for the page that follows; null at the end."""
    listed = await queue_of(request)
    span = await _span(request)
    own = principal_of(request).organization_id
    if own is None:
        part = await listed.queue.slice(span.state, span.cursor, start=span.start, end=span.end)
        jobs, cursor = part.jobs, part.cursor
    else:
        wanted = Wanted(span.state, organization_id=own)
        found = await search(listed.queue, wanted, span.cursor, most=span.end + 1)
        jobs, cursor = found.jobs[span.start :], found.cursor
    rows = await jobs_shown(request, listed.name, jobs)
    return tagged(request, envelope(rows, next=await request.app[CURSORS].pack(span.state, cursor)))


async def _span(request: web.Request) -> Span:
    """Raises BadQuery."""
    query = request.query
    for name in query:
        if name not in _PARAMETERS or len(query.getall(name)) > 1:
            known = ", ".join(_PARAMETERS)
            raise bad(name, f"The parameters are {known}, each at most once.")
    status = query.get("status", State.WAITING)
    if status not in tuple(State):
        raise bad("status", f"status must be one of {', '.join(State)}.")
    start = _index(query.get("start", "0"), "start")
    to_the_end = query.get("end") == "-1"
    span = PAGE_SPAN_MAX if to_the_end else PAGE_SPAN
    end = start + span if to_the_end else _index(query.get("end", str(start + span)), "end")
    if not 0 <= end - start <= PAGE_SPAN_MAX:
        raise bad("end", f"end must lie between start and start + {PAGE_SPAN_MAX}.")
    return Span(State(status), start, end, await cursor_in(request, State(status), start))


async def cursor_in(request: web.Request, state: State, start: int = 0) -> str:
    """Where a page begins. Raises BadQuery."""
    before = request.query.get("before")
    if before is None:
        return ""
    cursor = await request.app[CURSORS].unpack(state, before)
    if cursor is None:
        raise bad("before", f"before must be the `next` of a page of {state} jobs.")
    if start:
        raise bad("start", "start must be 0 with before, which says where the page begins.")
    return cursor


def _index(text: str, name: str) -> int:
    if not _INDEX.fullmatch(text):
        hint = " (or -1: to the end)" if name == "end" else ""
        raise bad(name, f"{name} must be a number of jobs from 0{hint}.")
    return int(text)


def bad(name: str, detail: str) -> BadQuery:
    """What is wrong with a query parameter."""
    return BadQuery(detail, [Fault(faults.pointer([name]), detail)])


_STATES: dict[str, Any] = {"type": "string", "enum": [state.value for state in State]}
_NUMBER: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": 999_999_999}
BEFORE = Parameter("before", {"type": "string"}, "The `next` of the page before.")
ROUTES = (
    Route(
        "GET",
        QUEUE + "/jobs",
        page,
        Scope.READ,
        answer=list[JobView],
        statuses=(200, 304),
        headers=(IF_NONE_MATCH,),
        paged=True,
        query=(
            Parameter("status", {**_STATES, "default": "waiting"}, "The state of the jobs."),
            Parameter("start", {**_NUMBER, "default": 0}, "The first job, from 0."),
            Parameter(
                "end",
                {**_NUMBER, "minimum": -1},
                "The last job, included: start + 10 if absent; -1: as far as a page reaches.",
            ),
            BEFORE,
        ),
    ),
)
