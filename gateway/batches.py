"""Batches: many jobs submitted under one name, whose progress and results can be read."""

import hashlib
import re
from collections import Counter
from typing import Annotated, Any
from urllib.parse import quote

import orjson
from aiohttp import web
from pydantic import Field, StringConstraints, ValidationError

from gateway import faults
from gateway.addressed import OF_ORGANIZATION, queue_of
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
from gateway.submit import Way, check_many, check_shapes, submit_many
from gateway.tenancy import organization_asked
from gateway.tracing import trace_of
from schemas.fields import Did, OrganizationId, UserId
from schemas.identity import INSIDE_MAX_CHARS, JobRef, candidates, chosen_ref
from schemas.job import JobId, JobView, State, Wire
from schemas.queues import vc_verification
from streams.batches import BatchRecord, OtherBatch, batch_stored, find_batch, open_batch
from streams.outcomes import endings, states
from streams.store import Store

RESULTS_SPAN_MAX = 100
KEEP_S = 24 * 3600
"""How long the results of a batch can be read at least."""
_ID = re.compile(rf"[!-~]{{1,{INSIDE_MAX_CHARS}}}")
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


class BatchOfJobs(Wire):
    """Up to 1000 jobs. The ids of the jobs are made from that of the batch."""

    jobs: Annotated[list[Submission], Field(min_length=1)]
    batch_id: JobId | None = None
    """An id of the submitter's own: what is submitted again under it is there once."""


class BatchEnvelope(BatchOfJobs):
    """The same around its jobs, which are checked a few at a time."""

    jobs: Annotated[list[Any], Field(min_length=1)]


class BatchOfTokens(Wire):
    """Up to 1000 tokens to be verified, for vc-verification."""

    vc_jwts: Annotated[list[Token], Field(min_length=1)]
    organization_id: OrganizationId
    user_id: UserId
    verifier_did: Did | None = None
    batch_id: JobId | None = None


async def submit(request: web.Request) -> web.Response:
    """POST /queue/{name}/batches: many jobs under one name. 202; 200 when it was all there."""
    listed = await queue_of(request)
    body = await read_json(request, bulk=True)
    values, place = _jobs_of(listed.name, body, request.app[SETTINGS].bulk_jobs_max)
    await check_shapes(listed, values, place)
    values = [_anonymous(value, number) for number, value in enumerate(values)]
    owner = _organization_of(request, values)
    own, named = principal_of(request).organization_id, body.get("batchId")
    ref = JobRef(await planned(request, new_id)) if named is None else chosen_ref(own, named)
    wanted = BatchRecord(ref, listed.name, owner, len(values))
    jobs = [_kept(value) for value in values]
    await check_many(listed, jobs, place)
    try:
        digest = _digest(listed.name, values)
        record, known = await open_batch(request.app[REDIS], wanted, digest)
    except OtherBatch:
        raise BatchDiffers("batchId was used for a batch of other jobs.") from None
    there = known and record.stored
    if not there:
        trace = trace_of(request.headers.get("traceparent"))
        await submit_many(listed, jobs, Way(trace, own, refs=record.job_refs()), place)
        await batch_stored(request.app[REDIS], record.ref)
    shown = _shown(record) | {"deduplicated": there}
    location = {"Location": f"/batches/{quote(record.ref.shown, safe='')}"}
    return envelope(shown, 200 if there else 202, location)


async def show(request: web.Request) -> web.Response:
    """GET /batches/{id}: how many of its jobs are in which state, and whether it is done."""
    record = await _found(request)
    counts = Counter(await states(_store(request, record), record.job_refs()))
    shown = {state.value: counts[state] for state in State} | {"missing": counts[None]}
    open_ = counts[State.WAITING] + counts[State.ACTIVE] + counts[State.DELAYED]
    done = record.stored and open_ == 0
    return envelope(_shown(record) | {"counts": shown, "done": done})


async def results(request: web.Request) -> web.Response:
    """GET /batches/{id}/results?start=&end=: what became of jobs start..end, both included."""
    record = await _found(request)
    start, end = _span(request)
    refs = record.job_refs(start, end + 1)
    found = await endings(_store(request, record), refs)
    items = [
        {"index": index, "id": ref.shown, **_result(one)}
        for index, (ref, one) in enumerate(zip(refs, found, strict=True), start)
    ]
    items = await shown(request, f"batches/{record.ref.shown}", items)
    return envelope({"id": record.ref.shown, "count": record.count, "items": items})


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
            BatchEnvelope.model_validate(body)
            return body["jobs"], ("jobs",)
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


def _kept(job: dict[str, Any]) -> dict[str, Any]:
    """The job, kept long enough for its result to be read, whatever its count."""
    given = {name: value for name, value in (job.get("options") or {}).items() if value is not None}
    options = {"removeOnComplete": {"age": KEEP_S}, **given}
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


def _digest(queue: str, jobs: list[dict[str, Any]]) -> str:
    named = orjson.dumps([queue, jobs], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(named).hexdigest()


async def _found(request: web.Request) -> BatchRecord:
    """The batch in the path. Raises BatchNotFound, also for another organization's."""
    own, batch_id = organization_asked(request), request.match_info["id"]
    refs = candidates(own, batch_id) if _ID.fullmatch(batch_id) else ()
    for ref in refs:
        record = await find_batch(request.app[REDIS], ref)
        if record is not None and own in (None, record.organization_id):
            return record
    raise BatchNotFound("No batch has this id, or it is older than a week.")


def _store(request: web.Request, record: BatchRecord) -> Store:
    return Store(request.app[REDIS], record.queue)


def _shown(record: BatchRecord) -> dict[str, Any]:
    return {
        "id": record.ref.shown,
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
        if name not in ("start", "end", "organizationId") or len(query.getall(name)) > 1:
            raise _bad(name, "The parameters are start, end, organizationId, each at most once.")
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
    Route(
        "GET",
        "/batches/{id}",
        show,
        Scope.READ,
        answer=BatchProgress,
        query=(OF_ORGANIZATION,),
    ),
    Route(
        "GET",
        "/batches/{id}/results",
        results,
        Scope.READ,
        answer=BatchResults,
        query=(START, END, OF_ORGANIZATION),
    ),
)
