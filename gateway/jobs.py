"""Single jobs: look up, retry, promote, prioritize, cancel, remove, read the log."""

from aiohttp import web

from gateway.addressed import JOB, job_of
from gateway.body import read_model
from gateway.caching import tagged
from gateway.errors import JobNotFound
from gateway.principal import Scope, principal_of
from gateway.redaction import job_shown, shown
from gateway.remembered import mark_of
from gateway.routes import IF_NONE_MATCH, Route
from gateway.shapes import (
    Attempts,
    Cancelled,
    Logs,
    Moved,
    PriorityRequest,
    Removed,
    Reprioritized,
    envelope,
)
from gateway.tenancy import deed_on_job
from schemas.job import JobView


async def show(request: web.Request) -> web.Response:
    """The job with its state, result or failure."""
    listed, job_id = await job_of(request)
    job = await listed.queue.get(job_id)
    if job is None:
        raise JobNotFound("The queue holds no job with this id.")
    return tagged(request, envelope(await job_shown(request, job)))


async def retry(request: web.Request) -> web.Response:
    """A failed job runs again, with all its attempts."""
    listed, job_id = await job_of(request)
    who = await deed_on_job(request, "job.retry", listed, job_id)
    state = await listed.queue.revive(job_id, who=who, once=mark_of(request))
    return envelope({"id": job_id, "queue": listed.name, "state": state})


async def promote(request: web.Request) -> web.Response:
    """A delayed job waits for a worker now."""
    listed, job_id = await job_of(request)
    who = await deed_on_job(request, "job.promote", listed, job_id)
    state = await listed.queue.advance(job_id, who=who, once=mark_of(request))
    return envelope({"id": job_id, "queue": listed.name, "state": state})


async def prioritize(request: web.Request) -> web.Response:
    """A job that has not started gets another priority.

    A waiting job goes to the end of those that have it already."""
    listed, job_id = await job_of(request)
    wanted = await read_model(request, PriorityRequest)
    priority = wanted.priority
    who = await deed_on_job(request, "job.prioritize", listed, job_id, {"priority": priority})
    state = await listed.queue.prioritize(job_id, priority, who=who)
    return envelope({"id": job_id, "queue": listed.name, "state": state, "priority": priority})


async def cancel(request: web.Request) -> web.Response:
    """Stop a job: 200, it will not run; 202, its worker has been told."""
    listed, job_id = await job_of(request)
    who = await deed_on_job(request, "job.cancel", listed, job_id)
    word = await listed.queue.cancel(job_id, who=who, once=mark_of(request))
    status = 202 if word == "cancelling" else 200
    return envelope({"id": job_id, "queue": listed.name, "outcome": word}, status)


async def remove(request: web.Request) -> web.Response:
    """The job is gone, whatever its state unless it is active."""
    listed, job_id = await job_of(request)
    who = await deed_on_job(request, "job.remove", listed, job_id)
    await listed.queue.remove(job_id, who=who)
    return envelope({"id": job_id, "queue": listed.name, "removed": True})


async def logs(request: web.Request) -> web.Response:
    """The last 100 lines its handler wrote, oldest first."""
    listed, job_id = await job_of(request)
    lines = await shown(request, f"{listed.name}/{job_id}", await listed.queue.logs(job_id))
    return envelope({"id": job_id, "queue": listed.name, "logs": lines, "count": len(lines)})


async def attempts(request: web.Request) -> web.Response:
    """What its handler recorded of each attempt.

    What a record holds under `operator` is shown to the platform only (SS-7)."""
    listed, job_id = await job_of(request)
    records = await listed.queue.attempts(job_id)
    if not principal_of(request).is_platform:
        records = [{k: v for k, v in record.items() if k != "operator"} for record in records]
    records = await shown(request, f"{listed.name}/{job_id}", records)
    return envelope({"id": job_id, "queue": listed.name, "attempts": records})


ROUTES = (
    Route(
        "GET",
        JOB,
        show,
        Scope.READ,
        answer=JobView,
        statuses=(200, 304),
        headers=(IF_NONE_MATCH,),
    ),
    Route("DELETE", JOB, remove, Scope.OPERATE, answer=Removed),
    Route("POST", JOB + "/retry", retry, Scope.OPERATE, answer=Moved),
    Route("POST", JOB + "/promote", promote, Scope.OPERATE, answer=Moved),
    Route(
        "PUT",
        JOB + "/priority",
        prioritize,
        Scope.OPERATE,
        body=PriorityRequest,
        answer=Reprioritized,
    ),
    Route("POST", JOB + "/cancel", cancel, Scope.OPERATE, answer=Cancelled, statuses=(200, 202)),
    Route("GET", JOB + "/logs", logs, Scope.READ, answer=Logs),
    Route("GET", JOB + "/attempts", attempts, Scope.READ, answer=Attempts),
)
