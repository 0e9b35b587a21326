"""The queue and the job that a path names, for those who may know of them."""

from aiohttp import web

from gateway.directory import Listed
from gateway.errors import JobNotFound
from gateway.keys import DIRECTORY
from gateway.principal import principal_of
from streams.outcomes import owners

QUEUE = "/queue/{name}"
JOB = QUEUE + "/job/{id:[^/]+}"


async def queue_of(request: web.Request) -> Listed:
    """The queue in the path. Raises QueueNotFound."""
    return await request.app[DIRECTORY].find(request.match_info["name"])


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
