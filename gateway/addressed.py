"""The queue and the job that a path names, for those who may know of them."""

from collections.abc import Mapping

from aiohttp import web

from gateway.directory import Listed, unknown_queue
from gateway.errors import JobNotFound
from gateway.keys import DIRECTORY
from gateway.principal import principal_of
from streams.outcomes import owners

QUEUE = "/queue/{name}"
JOB = QUEUE + "/job/{id:[^/]+}"


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


async def job_of(request: web.Request) -> tuple[Listed, str]:
    """The queue and the job in the path.

    Another organization's job is told like one that is not there; whether one is there at all is
    otherwise for the verb to find out. Raises QueueNotFound, JobNotFound."""
    listed, job_id = await queue_of(request), request.match_info["id"]
    principal = principal_of(request)
    if not principal.is_platform:
        (owner,) = await owners(listed.queue.store, [job_id])
        if not principal.may_see(owner):
            raise JobNotFound("The queue holds no job with this id.")
    return listed, job_id
