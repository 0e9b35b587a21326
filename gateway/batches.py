"""Batches: many jobs submitted under one name, whose progress and results can be read."""

import base64
import hashlib
import re
from collections import Counter
from typing import Annotated, Any

import orjson
from aiohttp import web
from pydantic import Field, StringConstraints, ValidationError

from gateway import faults
from gateway.addressed import queue_of
from gateway.answer_shapes import BatchProgress, BatchReceipt, BatchResults
from gateway.body import EMPTY, read_json
from gateway.errors import (
    BadQuery,
    Fault,
    InvalidJob,
    Kind,
    MalformedBody,
    OtherOrganization,
    Refusal,
)
from gateway.keys import REDIS, SETTINGS
from gateway.principal import Scope, principal_of
from gateway.redaction import shown
from gateway.remembered import new_id, planned
from gateway.routes import END, START, TRACEPARENT, Route
from gateway.shapes import Submission, envelope
from gateway.submit import Way, check_many, submit_many
from gateway.tracing import trace_of
from schemas.fields import Did, OrganizationId, UserId
from schemas.job import JobView, State, Wire
from schemas.plain_words import worded
from schemas.queues import vc_verification
from streams.batches import BatchRecord, OtherBatch, batch_stored, find_batch, open_batch
from streams.outcomes import endings, states
from streams.store import Store

RESULTS_SPAN_MAX = 100
KEEP_S = 24 * 3600
"""How long the results of a batch can be read at least."""
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_INDEX = re.compile(r"[0-9]{1,9}")
Token = Annotated[
    str, StringConstraints(min_length=1, max_length=vc_verification.MAX_TOKEN_CHARS, strict=True)
]


class BatchNotFound(Refusal):
    """No such batch, or another tenant's."""

    kind = Kind(404, "batch_not_found", "There is no such batch")


class BatchDiffers(Refusal):
    """A batch id that was used for other jobs."""

    kind = Kind(409, "batch_differs", "This batch has other jobs")


BATCH_NAME = worded(r"^[!-~]{1,128}\z", "must be 1 to 128 printable ASCII characters")


class BatchOfJobs(Wire):
    """Up to 1000 jobs. The ids of the jobs are made from that of the batch."""

    jobs: Annotated[list[Submission], Field(min_length=1)]
    batch_id: Annotated[str, StringConstraints(pattern=BATCH_NAME)] | None = None
    """A name of the submitter's own: what is submitted again under it is there once."""


class BatchOfTokens(Wire):
    """Up to 1000 tokens to be verified, for vc-verification."""

    vc_jwts: Annotated[list[Token], Field(min_length=1)]
    organization_id: OrganizationId
    user_id: UserId
    verifier_did: Did | None = None
    batch_id: Annotated[str, StringConstraints(pattern=BATCH_NAME)] | None = None


async def submit(request: web.Request) -> web.Response:
    """POST /queue/{name}/batches: many jobs under one name. 202; 200 when it was all there."""
    listed = await queue_of(request)
    body = await read_json(request, bulk=True)
    values, place = _jobs_of(listed.name, body, request.app[SETTINGS].bulk_jobs_max)
    owner = _organization_of(request, values)
    named = body.get("batchId")
    batch_id = (
        await planned(request, new_id) if named is None else _id_of(listed.name, owner, named)
    )
    wanted = BatchRecord(batch_id, listed.name, owner, len(values))
    jobs = [_named(value, wanted.job_id(number)) for number, value in enumerate(values)]
    await check_many(listed, jobs, place)
    try:
        record, known = await open_batch(request.app[REDIS], wanted, _digest(values))
    except OtherBatch:
        raise BatchDiffers("batchId was used for a batch of other jobs.") from None
    there = known and record.stored
    if not there:
        trace = trace_of(request.headers.get("traceparent"))
        way = Way(trace, principal_of(request).organization_id)
        await submit_many(listed, jobs, way, place)
        await batch_stored(request.app[REDIS], record.id)
    shown = _shown(record) | {"deduplicated": there}
    location = {"Location": f"/batches/{record.id}"}
    return envelope(shown, 200 if there else 202, location)


async def show(request: web.Request) -> web.Response:
    """GET /batches/{id}: how many of its jobs are in which state, and whether it is done."""
    record = await _found(request)
    counts = Counter(await states(_store(request, record), record.job_ids()))
    shown = {state.value: counts[state] for state in State} | {"missing": counts[None]}
    open_ = counts[State.WAITING] + counts[State.ACTIVE] + counts[State.DELAYED]
    done = record.stored and open_ == 0
    return envelope(_shown(record) | {"counts": shown, "done": done})


async def results(request: web.Request) -> web.Response:
    """GET /batches/{id}/results?start=&end=: what became of jobs start..end, both included."""
    record = await _found(request)
    start, end = _span(request)
    ids = record.job_ids(start, end + 1)
    found = await endings(_store(request, record), ids)
    items = [
        {"index": index, "id": job_id, **_result(one)}
        for index, (job_id, one) in enumerate(zip(ids, found, strict=True), start)
    ]
    items = await shown(request, f"batches/{record.id}", items)
    return envelope({"id": record.id, "count": record.count, "items": items})


def _jobs_of(queue: str, body: Any, most: int) -> tuple[list[dict[str, Any]], faults.Path]:
    """The jobs as they would be submitted one by one, and where they lie in the body."""
    if body is EMPTY:
        raise MalformedBody("The body is empty; send a batch of jobs.")
    short = queue == vc_verification.SPEC.name and isinstance(body, dict) and "vcJwts" in body
    name = "vcJwts" if short else "jobs"
    count = len(body[name]) if isinstance(body, dict) and isinstance(body.get(name), list) else 0
    if count > most:
        fault = Fault(f"/{name}", f"{count} jobs; one batch may hold {most}")
        raise InvalidJob("Nothing was queued: too many jobs in one batch.", [fault])
    try:
        if not short:
            BatchOfJobs.model_validate(body)
            return [*map(_anonymous, body["jobs"], range(count))], ("jobs",)
        batch = BatchOfTokens.model_validate(body)
    except ValidationError as error:
        found = faults.of_model(error, body)
        raise InvalidJob("Nothing was queued; `errors` says what does not fit.", found) from None
    common = batch.model_dump(by_alias=True, exclude_none=True, exclude={"vc_jwts", "batch_id"})
    return [{"data": {"vcJwt": token, **common}} for token in batch.vc_jwts], ("vcJwts",)


def _anonymous(job: dict[str, Any], number: int) -> dict[str, Any]:
    """The job, which must not bring an id: that is made from the batch's."""
    if (job.get("options") or {}).get("jobId") is not None:
        fault = Fault(f"/jobs/{number}/options/jobId", "is made from the id of the batch")
        raise InvalidJob("Nothing was queued; `errors` says what does not fit.", [fault])
    return job


def _named(job: dict[str, Any], job_id: str) -> dict[str, Any]:
    """The job with its id, kept long enough for its result to be read, whatever its count."""
    given = {name: value for name, value in (job.get("options") or {}).items() if value is not None}
    options = {"removeOnComplete": {"age": KEEP_S}, **given, "jobId": job_id}
    for name in ("removeOnComplete", "removeOnFail"):
        if options.get(name) is True:
            options[name] = {"age": KEEP_S}
    return job | {"options": options}


def _organization_of(request: web.Request, jobs: list[dict[str, Any]]) -> str | None:
    """The tenant that owns all jobs; None when they have several, or none.

    Raises OtherOrganization when a tenant submits a job that is not its own."""
    owners = {job["data"].get("organizationId") for job in jobs}
    own = principal_of(request).organization_id
    if own is not None and owners != {own}:
        raise OtherOrganization("Every job of the batch must name your organization.")
    (owner,) = owners if len(owners) == 1 else (None,)
    return owner if isinstance(owner, str) and owner else None


def _id_of(queue: str, owner: str | None, named: str) -> str:
    """An id made from what the submitter calls it, so that tenants cannot meet."""
    digest = hashlib.sha256(orjson.dumps([queue, owner, named])).digest()
    return "b" + base64.b32encode(digest)[:25].decode().lower()


def _digest(jobs: list[dict[str, Any]]) -> str:
    return hashlib.sha256(orjson.dumps(jobs, option=orjson.OPT_SORT_KEYS)).hexdigest()


async def _found(request: web.Request) -> BatchRecord:
    batch_id = request.match_info["id"]
    record = await find_batch(request.app[REDIS], batch_id) if _ID.fullmatch(batch_id) else None
    if record is None or not principal_of(request).may_see(record.organization_id):
        raise BatchNotFound("No batch has this id, or it is older than a week.")
    return record


def _store(request: web.Request, record: BatchRecord) -> Store:
    return Store(request.app[REDIS], record.queue)


def _shown(record: BatchRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "queue": record.queue,
        "count": record.count,
        "organizationId": record.organization_id,
        "createdAt": record.created_ms,
        "expiresAt": record.expires_ms,
    }


def _result(one: JobView | State | None) -> dict[str, Any]:
    if one is None:
        return {"state": "missing"}
    if isinstance(one, State):
        return {"state": one}
    shown: dict[str, Any] = {"state": one.state, "finishedOn": one.finished_on}
    if one.state is State.COMPLETED:
        return shown | {"returnvalue": one.returnvalue}
    return shown | {
        "failedReason": one.failed_reason,
        "code": one.errors[-1].code if one.errors else None,
    }


def _span(request: web.Request) -> tuple[int, int]:
    query = request.query
    for name in query:
        if name not in ("start", "end") or len(query.getall(name)) > 1:
            raise _bad(name, "The parameters are start, end, each at most once.")
    start = _index(query.get("start", "0"), "start")
    end = _index(query.get("end", str(start + RESULTS_SPAN_MAX - 1)), "end")
    if not 0 <= end - start < RESULTS_SPAN_MAX:
        raise _bad("end", f"end must lie between start and start + {RESULTS_SPAN_MAX - 1}.")
    return start, end


def _index(text: str, name: str) -> int:
    if not _INDEX.fullmatch(text):
        raise _bad(name, f"{name} must be a number from 0.")
    return int(text)


def _bad(name: str, detail: str) -> BadQuery:
    return BadQuery(detail, [Fault(faults.pointer([name]), detail)])


ROUTES = (
    Route(
        "POST",
        "/queue/{name}/batches",
        submit,
        Scope.SUBMIT,
        body=BatchOfJobs | BatchOfTokens,
        body_bytes=None,
        answer=BatchReceipt,
        statuses=(202, 200),
        headers=(TRACEPARENT,),
    ),
    Route("GET", "/batches/{id}", show, Scope.READ, answer=BatchProgress),
    Route(
        "GET",
        "/batches/{id}/results",
        results,
        Scope.READ,
        answer=BatchResults,
        query=(START, END),
    ),
)
