"""The queue and the job that a path names, for those who may know of them."""

from collections.abc import Mapping, Sequence

from aiohttp import web

from gateway.directory import Listed, unknown_queue
from gateway.errors import JobNotFound
from gateway.keys import DIRECTORY
from gateway.principal import principal_of
from gateway.routes import Parameter
from gateway.tenancy import organization_asked
from schemas.identity import JobRef, candidates
from schemas.job import JobView
from streams.outcomes import owners, states

QUEUE = "/queue/{name}"
JOB = QUEUE + "/job/{id:[^/]+}"
OF_ORGANIZATION = Parameter(
    "organizationId",
    {"type": "string", "minLength": 1, "maxLength": 256},
    "Who chose the id; without it, the platform means its own ids and those called `ref`.",
)


async def find_queue(request: web.Request, name: str) -> Listed:
    """The queue of this name. Raises QueueNotFound, also for an organization that asks for an
    internal queue."""
    listed = await request.app[DIRECTORY].find(name)
    if listed.is_internal and not principal_of(request).is_platform:
        raise unknown_queue(name)
    return listed


async def known_queues(request: web.Request) -> Mapping[str, Listed]:
    """The queues that exist for this principal, by name."""
    known, is_platform = await request.app[DIRECTORY].all(), principal_of(request).is_platform
    return {name: one for name, one in known.items() if is_platform or not one.is_internal}


async def queue_of(request: web.Request) -> Listed:
    """The queue in the path. Raises QueueNotFound."""
    return await find_queue(request, request.match_info["name"])


async def job_of(request: web.Request) -> tuple[Listed, JobRef]:
    """The queue and the job in the path.

    Another organization's job is told like one that is not there; whether one is there at all is
    otherwise for the verb to find out. Raises QueueNotFound, JobNotFound, BadQuery."""
    listed, shown = await queue_of(request), request.match_info["id"]
    (ref,) = await resolve(listed, organization_asked(request), [shown])
    if ref is None:
        raise no_such_job()
    return listed, ref


async def find_job(request: web.Request) -> tuple[Listed, JobView]:
    """The queue and the job in the path, as it is now. Raises as `job_of`."""
    listed, shown = await queue_of(request), request.match_info["id"]
    job = await look_up(listed, organization_asked(request), shown)
    if job is None:
        raise no_such_job()
    return listed, job


async def look_up(listed: Listed, organization_id: str | None, shown: str) -> JobView | None:
    """The job that `shown` means for an organization, or for the platform (None)."""
    if organization_id is None:
        return await listed.queue.get(shown)
    for ref in candidates(organization_id, shown):
        job = await listed.queue.get(ref)
        if job is not None and job.organization_id == organization_id:
            return job
    return None


async def resolve(
    listed: Listed, organization_id: str | None, shown: Sequence[str]
) -> list[JobRef | None]:
    """The ids inside Redis that these mean for an organization; None: it has no such job.

    For the platform (None) an id that no job has is that of a job it may have chosen."""
    asked = [candidates(organization_id, one) for one in shown]
    if organization_id is None and all(len(refs) == 1 for refs in asked):
        return [refs[0] for refs in asked]
    store, flat = listed.queue.store, [ref for refs in asked for ref in refs]
    if organization_id is None:
        there = {r for r, s in zip(flat, await states(store, flat), strict=True) if s is not None}
        return [next((ref for ref in refs if ref in there), refs[0]) for refs in asked]
    found = zip(flat, await owners(store, flat), strict=True)
    own = {ref for ref, owner in found if owner == organization_id}
    return [next((ref for ref in refs if ref in own), None) for refs in asked]


def no_such_job() -> JobNotFound:
    """The refusal of an id that no job has, as far as the client may know."""
    return JobNotFound("The queue holds no job with this id.")
