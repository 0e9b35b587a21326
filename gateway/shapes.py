"""What comes in and goes out, beyond the job itself (`schemas.JobView`)."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import orjson
from aiohttp import web
from pydantic import Field, StringConstraints

from schemas.job import MAX_DELAY_MS, Integer, JobOptions, State, Wire
from streams import Added, Counts

JobName = Annotated[str, StringConstraints(min_length=1, max_length=256, strict=True)]


class Submission(Wire):
    """One job to be queued: `{name?, data, options?}`."""

    name: JobName | None = None
    """What kind of work it is; the queue's name when absent."""
    data: dict[str, Any]
    options: JobOptions | None = None


class CleanRequest(Wire):
    """Which ended jobs `clean` removes."""

    grace: Annotated[Integer, Field(ge=0, le=MAX_DELAY_MS)] = 0
    """Milliseconds a job must have been ended for."""
    status: Literal[State.COMPLETED, State.FAILED] = State.COMPLETED


def envelope(
    data: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """`{"success": true, "data": ...}`. Job data is nobody's to cache."""
    response = web.Response(
        status=status,
        body=orjson.dumps({"success": True, "data": data}),
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
