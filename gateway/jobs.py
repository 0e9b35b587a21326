"""Single jobs: look up, retry, promote, prioritize, cancel, remove, read the log."""

from aiohttp import web

from gateway.addressed import JOB, OF_ORGANIZATION, find_job, job_of
from gateway.body import read_model
from gateway.caching import tagged
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
    _, job = await find_job(request)
    return tagged(request, envelope(await job_shown(request, job)))


async def retry(request: web.Request) -> web.Response:
    """A failed job runs again, with all its attempts."""
    listed, ref = await job_of(request)
    who = await deed_on_job(request, "job.retry", listed, ref)
    state = await listed.queue.revive(ref, who=who, once=mark_of(request))
    return envelope({"id": ref.shown, "queue": listed.name, "state": state})


async def promote(request: web.Request) -> web.Response:
    """A delayed job waits for a worker now."""
    listed, ref = await job_of(request)
    who = await deed_on_job(request, "job.promote", listed, ref)
    state = await listed.queue.advance(ref, who=who, once=mark_of(request))
    return envelope({"id": ref.shown, "queue": listed.name, "state": state})


async def prioritize(request: web.Request) -> web.Response:
    """A job that has not started gets another priority.

    A waiting job goes to the end of those that have it already."""
    listed, ref = await job_of(request)
    wanted = await read_model(request, PriorityRequest)
    priority = wanted.priority
    who = await deed_on_job(request, "job.prioritize", listed, ref, {"priority": priority})
    state = await listed.queue.prioritize(ref, priority, who=who)
    return envelope({"id": ref.shown, "queue": listed.name, "state": state, "priority": priority})


async def cancel(request: web.Request) -> web.Response:
    """Stop a job: 200, it will not run; 202, its worker has been told."""
    listed, ref = await job_of(request)
    who = await deed_on_job(request, "job.cancel", listed, ref)
    word = await listed.queue.cancel(ref, who=who, once=mark_of(request))
    status = 202 if word == "cancelling" else 200
    return envelope({"id": ref.shown, "queue": listed.name, "outcome": word}, status)


async def remove(request: web.Request) -> web.Response:
    """The job is gone, whatever its state unless it is active."""
    listed, ref = await job_of(request)
    who = await deed_on_job(request, "job.remove", listed, ref)
    await listed.queue.remove(ref, who=who)
    return envelope({"id": ref.shown, "queue": listed.name, "removed": True})


async def logs(request: web.Request) -> web.Response:
    """The last 100 lines its handler wrote, oldest first."""
    listed, ref = await job_of(request)
    lines = await shown(request, f"{listed.name}/{ref.shown}", await listed.queue.logs(ref))
    return envelope({"id": ref.shown, "queue": listed.name, "logs": lines, "count": len(lines)})


async def attempts(request: web.Request) -> web.Response:
    """What its handler recorded of each attempt.

    What a record holds under `operator` is shown to the platform only (SS-7)."""
    listed, ref = await job_of(request)
    records = await listed.queue.attempts(ref)
    if not principal_of(request).is_platform:
        records = [{k: v for k, v in record.items() if k != "operator"} for record in records]
    records = await shown(request, f"{listed.name}/{ref.shown}", records)
    return envelope({"id": ref.shown, "queue": listed.name, "attempts": records})


ROUTES = (
    Route(
        "GET",
        JOB,
        show,
        Scope.READ,
        answer=JobView,
        statuses=(200, 304),
        headers=(IF_NONE_MATCH,),
        query=(OF_ORGANIZATION,),
    ),
    Route("DELETE", JOB, remove, Scope.OPERATE, answer=Removed, query=(OF_ORGANIZATION,)),
    Route("POST", JOB + "/retry", retry, Scope.OPERATE, answer=Moved, query=(OF_ORGANIZATION,)),
    Route("POST", JOB + "/promote", promote, Scope.OPERATE, answer=Moved, query=(OF_ORGANIZATION,)),
    Route(
        "PUT",
        JOB + "/priority",
        prioritize,
        Scope.OPERATE,
        body=PriorityRequest,
        answer=Reprioritized,
        query=(OF_ORGANIZATION,),
    ),
    Route(
        "POST",
        JOB + "/cancel",
        cancel,
        Scope.OPERATE,
        answer=Cancelled,
        statuses=(200, 202),
        query=(OF_ORGANIZATION,),
    ),
    Route("GET", JOB + "/logs", logs, Scope.READ, answer=Logs, query=(OF_ORGANIZATION,)),
    Route(
        "GET", JOB + "/attempts", attempts, Scope.READ, answer=Attempts, query=(OF_ORGANIZATION,)
    ),
)
