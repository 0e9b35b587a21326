"""The way in: one job, an array, or lines of jobs without end."""

from collections.abc import Awaitable
from typing import Any
from urllib.parse import quote

from aiohttp import web

from gateway import ndjson
from gateway.addressed import QUEUE, queue_of
from gateway.body import EMPTY, read_json
from gateway.concurrency import held
from gateway.directory import Listed
from gateway.errors import Fault, InvalidJob, MalformedBody
from gateway.idempotency import REPLAYED, once
from gateway.keys import SETTINGS
from gateway.principal import Scope, principal_of
from gateway.redaction import job_document, job_shown
from gateway.routes import PREFER, TRACEPARENT, Route
from gateway.shapes import Receipt, Submission, envelope
from gateway.submit import Way, submit_many, submit_one
from gateway.tracing import trace_of
from gateway.waiting import READER, Vanished, preferred_wait_s, wait_for_outcome
from schemas.job import JobView

VARY = {"Vary": "Prefer"}


async def add(request: web.Request) -> web.StreamResponse:
    """Queue one job, an array of jobs, or lines of jobs.

    202; 200 when it was all there already, when the job ended in the time the client would wait
    (`Prefer: wait=10`), and for lines."""
    listed = await queue_of(request)
    trace = trace_of(request.headers.get("traceparent"))
    organization_id = principal_of(request).organization_id
    if request.content_type == ndjson.MEDIA_TYPE:
        return await ndjson.answer(request, listed, Way(trace, organization_id))
    body = await read_json(request)
    if body is EMPTY:
        raise MalformedBody("The body is empty; send a job or an array of jobs.")
    with once(request) as key:
        way = Way(trace, organization_id, key)
        if isinstance(body, list):
            _check_count(len(body), request.app[SETTINGS].bulk_jobs_max)
            receipts, replayed = await submit_many(listed, body, way)
            there = all(r["deduplicated"] for r in receipts)
            return envelope(receipts, 200 if there else 202, VARY | (REPLAYED if replayed else {}))
        return await _one(request, listed, body, way)


async def _one(request: web.Request, listed: Listed, body: Any, way: Way) -> web.Response:
    if wait_s := preferred_wait_s(request.headers.getall("Prefer", ())):
        with held(request), request.app[READER].follow(listed.name) as tape:
            place = await tape.now()
            receipt, ref, replayed = await submit_one(listed, body, way)
            headers = _headers(receipt) | (REPLAYED if replayed else {})
            waiting = wait_for_outcome(request, tape, listed.queue, ref, place, wait_s)
            ended = await _ended(request, receipt, waiting)
        if ended is not None:
            return envelope(ended, 200, headers | {"Preference-Applied": "wait"})
    else:
        receipt, _, replayed = await submit_one(listed, body, way)
        headers = _headers(receipt) | (REPLAYED if replayed else {})
    return envelope(receipt, 200 if receipt["deduplicated"] else 202, headers)


async def _ended(
    request: web.Request, receipt: dict[str, Any], waiting: Awaitable[JobView | None]
) -> dict[str, Any] | None:
    """The job to show when it has ended; of one that is not kept, what is known of it.

    Who has just submitted it gets all of it; who repeats a submission, what readers get."""
    try:
        job = await waiting
    except Vanished as gone:
        (word,) = gone.args
        return None if word == "removed" else receipt | {"state": word}
    if job is None:
        return None
    if receipt["deduplicated"]:
        return await job_shown(request, job)
    return job_document(request, job)


def _headers(receipt: dict[str, Any]) -> dict[str, str]:
    location = f"/queue/{receipt['queue']}/job/{quote(receipt['id'], safe='')}"
    return {"Location": location, **VARY}


def _check_count(count: int, most: int) -> None:
    if count > most:
        fault = Fault("", f"{count} jobs; one array may hold {most}")
        raise InvalidJob("Nothing was queued: too many jobs in one array.", [fault])


ROUTES = (
    Route(
        "POST",
        QUEUE + "/jobs",
        add,
        Scope.SUBMIT,
        body=Submission | list[Submission],
        body_bytes=None,
        answer=Receipt | list[Receipt] | JobView,
        statuses=(202, 200),
        lines=True,
        headers=(PREFER, TRACEPARENT),
    ),
)
