"""Failed webhooks are sent again, many at once: those of a time, of a destination (WH-22).

The jobs themselves are revived, so each keeps its webhook-id and its bytes, with a new budget of
attempts. One by one it is `POST /queue/webhooks/job/{id}/retry`.
"""

from collections.abc import Sequence
from typing import Annotated, Any

from aiohttp import web
from pydantic import Field, ValidationInfo, field_validator

from gateway.answer_shapes import Replayed
from gateway.body import read_model
from gateway.keys import DIRECTORY, REDIS
from gateway.principal import Scope, principal_of
from gateway.remembered import mark_of, planned
from gateway.routes import Route
from gateway.shapes import envelope
from gateway.tenancy import deed, organization_of
from schemas.fields import OrganizationId
from schemas.identity import JobRef, shown_id
from schemas.job import Flag, Integer, JobView, State, Wire
from schemas.origins import Origin, origin_of
from streams import Queue
from streams import destinations as store
from streams.errors import NotFound, WrongState
from streams.looking import is_cursor

WEBHOOKS = "webhooks"
LOOKED_AT_MAX = 10_000
HOP = 250
JOBS_MAX = 1_000
MOMENT_MAX = 2**53


class Replay(Wire):
    """Which failed deliveries. Times are epoch ms, both ends included."""

    since: Annotated[Integer, Field(ge=0, le=MOMENT_MAX)]
    until: Annotated[Integer, Field(ge=0, le=MOMENT_MAX)] | None = None
    """Absent: up to now."""
    origin: Origin | None = None
    """Any URL of the destination; absent: all destinations."""
    organization_id: OrganizationId | None = None
    """The platform may leave it out: every organization."""
    dry_run: Flag = False
    """Say what would be sent, and send nothing."""
    limit: Annotated[Integer, Field(ge=1, le=JOBS_MAX)] = 100
    cursor: str | None = None
    """From the answer before: look on from there."""

    @field_validator("cursor")
    @classmethod
    def _a_place(cls, value: str | None) -> str | None:
        if value is not None and not is_cursor(State.FAILED, value):
            raise ValueError("must be the cursor of an answer")
        return value

    @field_validator("until")
    @classmethod
    def _after_since(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and value < info.data.get("since", 0):
            raise ValueError("must not lie before since")
        return value


async def replay(request: web.Request) -> web.Response:
    """POST /webhooks/replay: failed deliveries of a time and destination run again.

    A call looks at 10,000 failed jobs, the newest first; of those that match, the oldest run again
    first, at most `limit`. `more`: call again, with the `cursor` of the answer.
    """
    wanted = await read_model(request, Replay)
    return envelope(await send_again(request, wanted))


async def send_again(request: web.Request, wanted: Replay) -> dict[str, Any]:
    """Do it, or with `dry_run` only say what would be done."""
    organization_id = wanted.organization_id
    if not principal_of(request).is_platform or organization_id is not None:
        organization_id = organization_of(request, organization_id)
    queue = (await request.app[DIRECTORY].find(WEBHOOKS)).queue

    async def find() -> tuple[list[JobRef], bool, str | None]:
        matching, cursor = await _find(queue, wanted, organization_id)
        return matching[: wanted.limit], len(matching) > wanted.limit, cursor

    chosen, left, cursor = await (find() if wanted.dry_run else planned(request, find))
    sent: list[str] = []
    if chosen and not wanted.dry_run:
        parameters = wanted.model_dump(by_alias=True, exclude_none=True) | {"jobs": len(chosen)}
        who = deed(request, "webhook.replay", WEBHOOKS, organization_id, parameters)
        await store.record(request.app[REDIS], queue.store.keys, who)
        sent = [ref for ref in chosen if await _revive(queue, JobRef(ref), mark_of(request))]
    if left and not wanted.dry_run:
        cursor = wanted.cursor  # what ran is not there any more, so the next look finds the others
    return _answer(wanted, chosen, sent) | {"more": left or cursor is not None, "cursor": cursor}


def _answer(wanted: Replay, chosen: Sequence[str], sent: Sequence[str]) -> dict[str, Any]:
    return {
        "dryRun": wanted.dry_run,
        "matched": len(chosen),
        "replayed": len(sent),
        "jobs": [shown_id(ref) for ref in (chosen if wanted.dry_run else sent)],
    }


async def _find(
    queue: Queue, wanted: Replay, organization_id: str | None
) -> tuple[list[JobRef], str | None]:
    """Ids of failed jobs that match, oldest first, among the next 10,000; and where to look on,
    None when all that failed in the time wanted have been looked at."""
    found: dict[JobRef, None] = {}
    cursor = wanted.cursor or ""
    for _ in range(0, LOOKED_AT_MAX, HOP):
        part = await queue.slice(State.FAILED, cursor, end=HOP - 1)
        found |= dict.fromkeys(
            JobRef(job.ref or "") for job in part.jobs if _matches(job, wanted, organization_id)
        )
        too_old = bool(part.jobs) and (part.jobs[-1].finished_on or 0) < wanted.since
        cursor = part.cursor
        if not cursor or too_old:
            return list(reversed(found)), None
    return list(reversed(found)), cursor


def _matches(job: JobView, wanted: Replay, organization_id: str | None) -> bool:
    ended, data = job.finished_on or 0, job.data
    if ended < wanted.since or (wanted.until is not None and ended > wanted.until):
        return False
    if not isinstance(data, dict):
        return False
    if organization_id is not None and data.get("organizationId") != organization_id:
        return False
    return wanted.origin is None or origin_in(data) == wanted.origin


def origin_in(data: Any) -> str | None:
    """The destination of a webhooks job; None: its data names none."""
    url = data.get("url") if isinstance(data, dict) else None
    if not isinstance(url, str) or "://" not in url:
        return None
    try:
        return origin_of(url)
    except ValueError:
        return None


async def _revive(queue: Queue, ref: JobRef, once: str) -> bool:
    try:
        await queue.revive(ref, once=once)
    except (NotFound, WrongState):  # somebody else was faster
        return False
    return True


ROUTES = (Route("POST", "/webhooks/replay", replay, Scope.OPERATE, body=Replay, answer=Replayed),)
