"""Who works, on what, and how busy they are."""

import asyncio
from typing import Any

from aiohttp import web

from gateway.addressed import QUEUE, queue_of
from gateway.keys import DIRECTORY
from gateway.principal import Scope
from gateway.routes import Route
from gateway.shapes import envelope
from schemas.identity import shown_id
from schemas.job import Wire
from streams.workers import WorkerSeen, workers_of


class Running(Wire):
    """A job in the hands of a worker."""

    id: str
    ref: str
    """The id inside Redis."""
    since: int
    """When it was taken: epoch ms."""


class WorkerInfo(Wire):
    """What a worker last said of itself."""

    name: str
    queue: str
    host: str | None
    alive: bool
    """It has been heard of in the last 10 seconds."""
    last_seen: int
    """Epoch ms by the clock of Redis."""
    slots: int | None
    """Jobs it can run at once."""
    running: list[Running]
    """At most 1000 of the jobs it runs, oldest first."""
    utilisation: float | None
    """Running jobs per slot, 0..1."""


async def of_all(request: web.Request) -> web.Response:
    """The workers of every queue: who is alive, and what each runs."""
    known = (await request.app[DIRECTORY].all()).values()
    found = await asyncio.gather(*(workers_of(listed.queue.store) for listed in known))
    return envelope([_shown(worker) for workers in found for worker in workers])


async def of_one(request: web.Request) -> web.Response:
    """The workers of one queue."""
    listed = await queue_of(request)
    return envelope([_shown(worker) for worker in await workers_of(listed.queue.store)])


def _shown(worker: WorkerSeen) -> dict[str, Any]:
    jobs = sorted(worker.running.items(), key=lambda item: item[1])
    return WorkerInfo(
        name=worker.name,
        queue=worker.queue,
        host=worker.host,
        alive=worker.alive,
        last_seen=worker.seen_ms,
        slots=worker.slots,
        running=[Running(id=shown_id(ref), ref=ref, since=since) for ref, since in jobs],
        utilisation=round(min(1.0, len(jobs) / worker.slots), 3) if worker.slots else None,
    ).model_dump(by_alias=True)


ROUTES = (
    Route("GET", "/workers", of_all, Scope.READ, platform_only=True, answer=list[WorkerInfo]),
    Route(
        "GET",
        QUEUE + "/workers",
        of_one,
        Scope.READ,
        platform_only=True,
        answer=list[WorkerInfo],
    ),
)
