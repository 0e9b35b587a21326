"""Whole queues: statistics, pages of jobs, pause, resume, clean."""

import asyncio
import re
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from gateway import faults
from gateway.body import EMPTY, read_json
from gateway.directory import Listed
from gateway.errors import BadQuery, Fault, InvalidRequest
from gateway.keys import DIRECTORY
from gateway.principal import Scope
from gateway.routes import Route
from gateway.shapes import CleanRequest, envelope, stats
from schemas.job import State

PAGE_SPAN_MAX = 1_000
PAGE_SPAN = 10
"""The seed's example asks for 0..10, which are eleven jobs: both ends count."""
_INDEX = re.compile(r"[0-9]{1,9}")
_PARAMETERS = ("status", "start", "end")


async def stats_of_all(request: web.Request) -> web.Response:
    """GET /queue/stats: the counts of every known queue, by name."""
    known = (await request.app[DIRECTORY].all()).values()
    counts = await asyncio.gather(*(listed.queue.counts() for listed in known))
    rows = [stats(one.name, count) for one, count in zip(known, counts, strict=True)]
    return envelope(sorted(rows, key=lambda row: str(row["name"])))


async def stats_of_one(request: web.Request) -> web.Response:
    """GET /queue/{name}/stats: the counts of one queue."""
    listed = await _queue(request)
    return envelope(stats(listed.name, await listed.queue.counts()))


async def page(request: web.Request) -> web.Response:
    """GET /queue/{name}/jobs?status=&start=&end=: jobs in one state, both ends included."""
    listed = await _queue(request)
    state, start, end = _span(request)
    jobs = await listed.queue.page(state, start=start, end=end)
    return envelope([job.model_dump(by_alias=True) for job in jobs])


async def pause(request: web.Request) -> web.Response:
    """POST /queue/{name}/pause: nothing new starts; what runs goes on."""
    listed = await _queue(request)
    await listed.queue.pause()
    return envelope({"name": listed.name, "paused": True})


async def resume(request: web.Request) -> web.Response:
    """POST /queue/{name}/resume: undoes pause."""
    listed = await _queue(request)
    await listed.queue.resume()
    return envelope({"name": listed.name, "paused": False})


async def clean(request: web.Request) -> web.Response:
    """POST /queue/{name}/clean: removes ended jobs, completed ones unless told otherwise."""
    listed = await _queue(request)
    body = await read_json(request)
    wanted = _clean_request({} if body is EMPTY else body)
    removed = await listed.queue.clean(grace_ms=wanted.grace, state=State(wanted.status))
    return envelope({"removed": removed})


async def _queue(request: web.Request) -> Listed:
    return await request.app[DIRECTORY].find(request.match_info["name"])


def _clean_request(body: Any) -> CleanRequest:
    try:
        return CleanRequest.model_validate(body)
    except ValidationError as error:
        found = faults.of_model(error, body)
        raise InvalidRequest(
            "Nothing was removed; `errors` says what does not fit.", found
        ) from None


def _span(request: web.Request) -> tuple[State, int, int]:
    """The page asked for. Raises BadQuery."""
    query = request.query
    for name in query:
        if name not in _PARAMETERS or len(query.getall(name)) > 1:
            known = ", ".join(_PARAMETERS)
            raise _bad(name, f"The parameters are {known}, each at most once.")
    status = query.get("status", State.WAITING)
    if status not in tuple(State):
        raise _bad("status", f"status must be one of {', '.join(State)}.")
    start = _index(query.get("start", "0"), "start")
    to_the_end = query.get("end") == "-1"
    span = PAGE_SPAN_MAX if to_the_end else PAGE_SPAN
    end = start + span if to_the_end else _index(query.get("end", str(start + span)), "end")
    if not 0 <= end - start <= PAGE_SPAN_MAX:
        raise _bad("end", f"end must lie between start and start + {PAGE_SPAN_MAX}.")
    return State(status), start, end


def _index(text: str, name: str) -> int:
    if not _INDEX.fullmatch(text):
        hint = " (or -1: to the end)" if name == "end" else ""
        raise _bad(name, f"{name} must be a number of jobs from 0{hint}.")
    return int(text)


def _bad(name: str, detail: str) -> BadQuery:
    return BadQuery(detail, [Fault(faults.pointer([name]), detail)])


ROUTES = (
    Route("GET", "/queue/stats", stats_of_all, Scope.READ),
    Route("GET", "/queue/{name}/stats", stats_of_one, Scope.READ),
    Route("GET", "/queue/{name}/jobs", page, Scope.READ),
    Route("POST", "/queue/{name}/pause", pause, Scope.OPERATE, platform_only=True),
    Route("POST", "/queue/{name}/resume", resume, Scope.OPERATE, platform_only=True),
    Route(
        "POST", "/queue/{name}/clean", clean, Scope.OPERATE, platform_only=True, body=CleanRequest
    ),
)
