"""The dead letters of a queue: looked through, and sent on their way again.

A redrive can be spread over time, so that what broke once is not hit by everything at once. It
leaves alone what has come back too often: a job that fails whenever it runs would go round for
ever.
"""

from typing import Annotated, Any

from aiohttp import web
from pydantic import Field, ValidationError

from gateway import faults
from gateway.addressed import OF_ORGANIZATION, QUEUE, queue_of
from gateway.body import read_model
from gateway.bulk import outcome, recorded
from gateway.cursors import CURSORS
from gateway.errors import BadQuery
from gateway.listing import BEFORE, bad, cursor_in
from gateway.principal import Scope, principal_of
from gateway.redaction import jobs_shown
from gateway.remembered import mark_of
from gateway.routes import IDS_BODY_BYTES, Parameter, Route
from gateway.selection import SCAN_JOBS, BulkOutcome, Filter, Selection, chosen_by
from gateway.shapes import envelope
from schemas.job import MAX_DELAY_MS, Flag, Integer, JobView, Number, State
from streams.bulk import Terms, Verb, act
from streams.search import search

PAGE_MAX = 100
REDRIVES_MAX = 3
"""How often a job may go round before a redrive leaves it alone."""
_NAMES = ("name", "error", "organizationId", "since", "until")


class FilterDead(Filter):
    """A description of dead letters."""

    status: State = Field(default=State.FAILED, exclude=True)


class Redrive(Selection):
    """Which dead letters are to run again, and how."""

    filter: FilterDead | None = None
    per_second: Annotated[Number, Field(gt=0, le=10_000, allow_inf_nan=False)] | None = None
    """Spread them: the n-th becomes due n/per_second seconds from now. Absent: all at once."""
    max_redrives: Annotated[Integer, Field(ge=0, le=1_000)] = REDRIVES_MAX
    """A job that has come back this often already, by whatever way, is left alone."""
    force: Flag = False
    """Take those too."""


async def show(request: web.Request) -> web.Response:
    """Failed jobs that fit a description, newest first.

    One call looks at 5000 of them at most: a page can be short, and `next` still lead on."""
    listed = await queue_of(request)
    described, most = _described(request)
    found = await search(
        listed.queue,
        described.wanted(principal_of(request)),
        await cursor_in(request, State.FAILED),
        most=most,
        scan_most=SCAN_JOBS,
    )
    rows = await jobs_shown(request, listed.name, found.jobs)
    scanned = found.scanned if principal_of(request).is_platform else len(rows)
    follows = await request.app[CURSORS].pack(State.FAILED, found.cursor)
    return envelope(rows, next=follows, scanned=scanned)


async def redrive(request: web.Request) -> web.Response:
    """Dead letters run again, with all their attempts, spread over time if you like."""
    listed = await queue_of(request)
    wanted = await read_model(request, Redrive)
    chosen = await chosen_by(request, listed, wanted)
    words: list[str] = []
    if not wanted.dry_run:
        said = wanted.model_dump(mode="json", by_alias=True, exclude_none=True)
        who = recorded(request, listed, "dead_letters.redrive", said, len(chosen.ids))
        terms = Terms(
            interval_ms=min(1_000 / wanted.per_second, MAX_DELAY_MS) if wanted.per_second else 0,
            most_endings=None if wanted.force else wanted.max_redrives,
        )
        words = await act(
            listed.queue.store, Verb.RETRY, chosen.ids, terms, who=who, once=mark_of(request)
        )
    whole = principal_of(request).is_platform
    told = outcome(Verb.RETRY, chosen, words, dry_run=wanted.dry_run, whole=whole)
    return envelope(told.model_dump(by_alias=True))


def _described(request: web.Request) -> tuple[FilterDead, int]:
    """The filter in the query. Raises BadQuery."""
    query = request.query
    known = (*_NAMES, "limit", "before")
    for name in query:
        if name not in known or len(query.getall(name)) > 1:
            raise bad(name, f"The parameters are {', '.join(known)}, each at most once.")
    given: dict[str, Any] = {name: query[name] for name in _NAMES if name in query}
    for name in ("since", "until"):
        if name in given:
            given[name] = _number(given[name], name)
    limit = _number(query.get("limit", str(PAGE_MAX)), "limit")
    if not 1 <= limit <= PAGE_MAX:
        raise bad("limit", f"limit must be 1..{PAGE_MAX}.")
    try:
        return FilterDead.model_validate(given), limit
    except ValidationError as error:
        found = faults.of_model(error, given)
        detail = "A query parameter does not fit; `errors` says which."
        raise BadQuery(detail, found) from None


def _number(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 13):
        raise bad(name, f"{name} must be a number.")
    return int(text)


_TEXT: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 256}
_MOMENT: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": 9_999_999_999_999}
ROUTES = (
    Route(
        "GET",
        QUEUE + "/dead-letters",
        show,
        Scope.READ,
        answer=list[JobView],
        paged=True,
        query=(
            Parameter("name", _TEXT, "The name of the jobs."),
            Parameter("error", _TEXT, "Occurs in the last error, or is its code."),
            Parameter("organizationId", _TEXT, "Whose jobs."),
            Parameter("since", _MOMENT, "Ended then or later, epoch ms."),
            Parameter("until", _MOMENT, "Ended before, epoch ms."),
            Parameter(
                "limit",
                {"type": "integer", "minimum": 1, "maximum": PAGE_MAX, "default": PAGE_MAX},
                "How many at most.",
            ),
            BEFORE,
        ),
    ),
    Route(
        "POST",
        QUEUE + "/dead-letters/redrive",
        redrive,
        Scope.OPERATE,
        body=Redrive,
        body_bytes=IDS_BODY_BYTES,
        answer=BulkOutcome,
        query=(OF_ORGANIZATION,),
    ),
)
