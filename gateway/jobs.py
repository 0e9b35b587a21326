"""Single jobs: submit, look up, retry, cancel, remove, read the log."""

from collections.abc import Awaitable
from typing import Any
from urllib.parse import quote

from aiohttp import web

from gateway.body import EMPTY, read_json
from gateway.directory import Listed
from gateway.errors import Fault, InvalidJob, JobNotFound, MalformedBody
from gateway.keys import DIRECTORY, SETTINGS
from gateway.principal import Scope, principal_of
from gateway.routes import Route
from gateway.shapes import Submission, envelope
from gateway.submit import submit_many, submit_one, trace_of
from gateway.waiting import READER, Vanished, outcome, preferred_wait_s
from schemas.job import JobView

VARY = {"Vary": "Prefer"}


async def add(request: web.Request) -> web.Response:
    """POST /queue/{name}/jobs: one job or an array. 202; 200 when it was all there already, or
    ended in the time the client wants to wait (`Prefer: wait=10`)."""
    listed = await _queue(request)
    body, trace = await read_json(request), trace_of(request.headers.get("traceparent"))
    if body is EMPTY:
        raise MalformedBody("The body is empty; send a job or an array of jobs.")
    if isinstance(body, list):
        _check_count(len(body), request.app[SETTINGS].bulk_jobs_max)
        receipts = await submit_many(listed, body, trace)
        return envelope(receipts, 200 if all(r["deduplicated"] for r in receipts) else 202, VARY)
    if wait_s := preferred_wait_s(request.headers.getall("Prefer", ())):
        with request.app[READER].follow(listed.name) as tape:
            place = await tape.now()
            receipt = await submit_one(listed, body, trace)
            ended = await _ended(receipt, outcome(tape, listed.queue, receipt["id"], place, wait_s))
        if ended is not None:
            return envelope(ended, 200, _headers(receipt) | {"Preference-Applied": "wait"})
    else:
        receipt = await submit_one(listed, body, trace)
    return envelope(receipt, 200 if receipt["deduplicated"] else 202, _headers(receipt))


async def _ended(
    receipt: dict[str, Any], waiting: Awaitable[JobView | None]
) -> dict[str, Any] | None:
    """The job to show when it has ended; of one that is not kept, what is known of it."""
    try:
        job = await waiting
    except Vanished as gone:
        (word,) = gone.args
        return None if word == "removed" else receipt | {"state": word}
    return None if job is None else job.model_dump(by_alias=True)


def _headers(receipt: dict[str, Any]) -> dict[str, str]:
    location = f"/queue/{receipt['queue']}/job/{quote(receipt['id'], safe='')}"
    return {"Location": location, **VARY}


async def show(request: web.Request) -> web.Response:
    """GET /queue/{name}/job/{id}: the job with its state, result or failure."""
    listed, job_id = await _job(request)
    job = await listed.queue.get(job_id)
    if job is None:
        raise JobNotFound("The queue holds no job with this id.")
    return envelope(job.model_dump(by_alias=True))


async def retry(request: web.Request) -> web.Response:
    """POST /queue/{name}/job/{id}/retry: a failed job runs again, with a new budget."""
    listed, job_id = await _job(request)
    state = await listed.queue.revive(job_id)
    return envelope({"id": job_id, "queue": listed.name, "state": state})


async def cancel(request: web.Request) -> web.Response:
    """POST /queue/{name}/job/{id}/cancel: 200 it will not run, 202 its worker was told."""
    listed, job_id = await _job(request)
    word = await listed.queue.cancel(job_id)
    status = 202 if word == "cancelling" else 200
    return envelope({"id": job_id, "queue": listed.name, "outcome": word}, status)


async def remove(request: web.Request) -> web.Response:
    """DELETE /queue/{name}/job/{id}: gone, whatever its state unless it is active."""
    listed, job_id = await _job(request)
    await listed.queue.remove(job_id)
    return envelope({"id": job_id, "queue": listed.name, "removed": True})


async def logs(request: web.Request) -> web.Response:
    """GET /queue/{name}/job/{id}/logs: the lines its handler wrote, oldest first."""
    listed, job_id = await _job(request)
    lines = await listed.queue.logs(job_id)
    return envelope({"id": job_id, "queue": listed.name, "logs": lines, "count": len(lines)})


async def attempts(request: web.Request) -> web.Response:
    """GET /queue/{name}/job/{id}/attempts: what its handler recorded of each attempt.

    What a record holds under `operator` is shown to the platform only (SS-7)."""
    listed, job_id = await _job(request)
    records = await listed.queue.attempts(job_id)
    if not principal_of(request).is_platform:
        records = [{k: v for k, v in record.items() if k != "operator"} for record in records]
    return envelope({"id": job_id, "queue": listed.name, "attempts": records})


async def _queue(request: web.Request) -> Listed:
    return await request.app[DIRECTORY].find(request.match_info["name"])


async def _job(request: web.Request) -> tuple[Listed, str]:
    return await _queue(request), request.match_info["id"]


def _check_count(count: int, most: int) -> None:
    if count > most:
        fault = Fault("", f"{count} jobs; one array may hold {most}")
        raise InvalidJob("Nothing was queued: too many jobs in one array.", [fault])


JOB = "/queue/{name}/job/{id:[^/]+}"
ROUTES = (
    Route(
        "POST",
        "/queue/{name}/jobs",
        add,
        Scope.SUBMIT,
        body=Submission | list[Submission],
        statuses=(202, 200),
    ),
    Route("GET", JOB, show, Scope.READ, answer=JobView),
    Route("DELETE", JOB, remove, Scope.OPERATE),
    Route("POST", JOB + "/retry", retry, Scope.OPERATE),
    Route("POST", JOB + "/cancel", cancel, Scope.OPERATE, statuses=(200, 202)),
    Route("GET", JOB + "/logs", logs, Scope.READ),
    Route("GET", JOB + "/attempts", attempts, Scope.READ),
)
