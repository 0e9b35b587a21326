"""What comes in and goes out, beyond the job itself (`schemas.JobView`)."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import orjson
from aiohttp import web
from pydantic import Field, StringConstraints, model_validator

from schemas.fields import NO_CONTROLS
from schemas.job import MAX_DELAY_MS, Integer, JobOptions, State, Wire
from schemas.spec import Limiter
from streams import Added, Counts

JobName = Annotated[
    str, StringConstraints(min_length=1, max_length=256, pattern=NO_CONTROLS, strict=True)
]


class Submission(Wire):
    """One job to be queued: `{name?, data, options?}`."""

    name: JobName | None = None
    """What kind of work it is; the queue's name when absent."""
    data: dict[str, Any]
    options: JobOptions | None = None


class Receipt(Wire):
    """What a submitter gets back for one job."""

    id: str
    state: State
    deduplicated: bool
    """The id was known: nothing was added, and `state` is that of the job that has it."""
    queue: str
    name: str


class Moved(Wire):
    """A job that has been brought into another state."""

    id: str
    queue: str
    state: State


class Reprioritized(Moved):
    """A job with its new priority."""

    priority: int


class PriorityRequest(Wire):
    """Which priority a job is to have."""

    priority: Annotated[Integer, Field(ge=0, le=10)]
    """0 (first) .. 10."""


class Removed(Wire):
    """A job that is gone."""

    id: str
    queue: str
    removed: Literal[True]


class Cancelled(Wire):
    """A job that will not run, or whose worker has been told to stop it."""

    id: str
    queue: str
    outcome: Literal["cancelled", "cancelling"]


class Logs(Wire):
    """What a job's handler logged, at most the last 100 lines."""

    id: str
    queue: str
    logs: list[str]
    count: int


class Attempts(Wire):
    """What a job's handler recorded of its attempts, at most the last 20."""

    id: str
    queue: str
    attempts: list[dict[str, Any]]


class Stats(Wire):
    """How many jobs lie where."""

    name: str
    waiting: int
    active: int
    completed: int
    failed: int
    delayed: int
    total: int
    workers: int
    """Alive now."""
    paused: bool
    oldest_waiting_ms: int | None
    """How long the job has waited that has waited longest."""
    complete: bool = True
    """False, for an organization: not all jobs could be looked at, there may be more of its own."""


class QueueInfo(Wire):
    """A queue and what may be submitted to it."""

    name: str
    description: str
    product: bool
    """Comes with the product; else a worker or a producer has registered it."""
    payload: dict[str, Any] | None
    """JSON Schema of `data`; null: any object."""


class Paused(Wire):
    """Whether a queue starts anything."""

    name: str
    paused: bool


class Cleaned(Wire):
    """How many jobs were removed."""

    removed: int


class LimiterModel(Wire):
    """At most `max` starts in any `duration` milliseconds."""

    max: Annotated[Integer, Field(ge=1, le=1_000_000)]
    duration: Annotated[Integer, Field(ge=1, le=MAX_DELAY_MS)]

    @classmethod
    def of(cls, limiter: Limiter | None) -> "LimiterModel | None":
        """The engine's limit as clients see it."""
        return None if limiter is None else cls(max=limiter.max, duration=limiter.duration)


class Limits(Wire):
    """What holds for all workers of a queue together; null or absent: no such limit."""

    limiter: LimiterModel | None = None
    concurrency: Annotated[Integer, Field(ge=1, le=1_000_000)] | None = None
    """Jobs active at once."""
    backlog: Annotated[Integer, Field(ge=1, le=1_000_000_000)] | None = None
    """Jobs that have not ended: submissions beyond it are refused. Absent: it stays as it is."""

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("needs limiter, concurrency or backlog; null lifts one")
        return self


class QueueLimits(Limits):
    """The limits of a queue."""

    name: str


class DrainRequest(Wire):
    """Which jobs `drain` removes."""

    delayed: bool = False
    """Delayed jobs as well, not only waiting ones."""


class Drained(Wire):
    """How many jobs `drain` removed, and whether others are left: call it again then."""

    removed: int
    more: bool


class QueueDeleted(Wire):
    """A queue that is gone."""

    name: str
    deleted: bool


class CleanRequest(Wire):
    """Which ended jobs `clean` removes."""

    grace: Annotated[Integer, Field(ge=0, le=MAX_DELAY_MS)] = 0
    """Milliseconds a job must have been ended for."""
    status: Literal[State.COMPLETED, State.FAILED] = State.COMPLETED


def envelope(
    data: Any, status: int = 200, headers: Mapping[str, str] | None = None, **beside: Any
) -> web.Response:
    """`{"success": true, "data": ..., **beside}`. Job data is nobody's to cache."""
    response = web.Response(
        status=status,
        body=orjson.dumps({"success": True, "data": data, **beside}),
        headers=headers,
        content_type="application/json",
    )
    response.headers["Cache-Control"] = "no-store"
    return response


def receipt(queue: str, name: str, added: Added) -> dict[str, Any]:
    """What a submitter gets back for one job."""
    return {
        "id": added.id,
        "state": added.state,
        "deduplicated": added.deduplicated,
        "queue": queue,
        "name": name,
    }


def stats(name: str, counts: Counts) -> dict[str, Any]:
    """The seed's seven members, and three more."""
    return {
        "name": name,
        "waiting": counts.waiting,
        "active": counts.active,
        "completed": counts.completed,
        "failed": counts.failed,
        "delayed": counts.delayed,
        "total": counts.total,
        "workers": counts.workers,
        "paused": counts.paused,
        "oldestWaitingMs": counts.oldest_waiting_ms,
    }
