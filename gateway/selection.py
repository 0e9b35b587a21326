"""Which jobs a bulk request is about: named one by one, or described."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, Self, cast

from aiohttp import web
from pydantic import Field, StringConstraints, model_validator

from gateway.addressed import resolve
from gateway.cursors import CURSORS
from gateway.directory import Listed
from gateway.errors import Fault, InvalidRequest, OtherOrganization
from gateway.principal import Principal, Scope, principal_of
from gateway.redaction import redacted_text
from gateway.remembered import planned
from gateway.shapes import JobName
from gateway.tenancy import organization_asked
from schemas.fields import OrganizationId
from schemas.identity import JobRef
from schemas.job import Flag, Integer, KnownJobId, State, Wire
from streams.search import Wanted, seek

IDS_MAX = 1_000
SCAN_JOBS = 5_000
"""Jobs one call looks at."""
SAMPLE = 10
Moment = Annotated[Integer, Field(ge=0, le=9_999_999_999_999)]
ErrorText = Annotated[str, StringConstraints(min_length=1, max_length=256, strict=True)]


class Filter(Wire):
    """A description of jobs in one state; what is absent does not matter."""

    status: State
    name: JobName | None = None
    error: ErrorText | None = None
    """Occurs in the last error's message, or is its code. Upper and lower case are the same."""
    organization_id: OrganizationId | None = None
    since: Moment | None = None
    """Epoch ms, included: when an ended job ended, when another one was added."""
    until: Moment | None = None
    """As `since`, not included."""

    def wanted(self, principal: Principal) -> Wanted:
        """The same for the engine; a tenant's own jobs. Raises OtherOrganization."""
        if not principal.may_name(self.organization_id):
            raise OtherOrganization("This key belongs to another organization.")
        return Wanted(
            self.status,
            self.name,
            self.error,
            self.organization_id if principal.is_platform else principal.organization_id,
            self.since,
            self.until,
            None if Scope.SENSITIVE in principal.scopes else redacted_text,
        )


class Selection(Wire):
    """Jobs by their ids, or by a filter: one of the two."""

    ids: Annotated[list[KnownJobId], Field(min_length=1, max_length=IDS_MAX)] | None = None
    filter: Filter | None = None
    limit: Annotated[Integer, Field(ge=1, le=IDS_MAX)] = IDS_MAX
    """With a filter: how many jobs at most."""
    before: Annotated[str, StringConstraints(max_length=512)] | None = None
    """With a filter: the `next` of the call before."""
    dry_run: Flag = False
    """Only say what it would be about."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.ids is None) == (self.filter is None):
            raise ValueError("needs either ids or filter")
        return self


class BulkOutcome(Wire):
    """What became of many jobs."""

    action: Literal["retry", "remove", "cancel", "promote"]
    dry_run: bool
    matched: int
    """Jobs the request was about in this call."""
    done: int
    skipped: dict[str, int]
    """How many were left alone, by reason: `missing`, `looping`, or the state that forbids it."""
    scanned: int
    """Jobs that were looked at to find them."""
    sample: list[str]
    """The first ids."""
    next: str | None
    """Send the request again with this as `before`; null: that was all."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a selection comes to."""

    ids: list[JobRef]
    """Inside Redis."""
    cursor: str | None = None
    scanned: int = 0
    foreign: int = 0
    """Ids of others' jobs, which are as good as missing."""


async def chosen_by(request: web.Request, listed: Listed, selection: Selection) -> Chosen:
    """As `choose`; what is going to be done is the same each time under an Idempotency-Key."""
    organization_id = organization_asked(request)
    if selection.dry_run:
        return await choose(request, listed, selection, organization_id)

    async def make() -> dict[str, Any]:
        return asdict(await choose(request, listed, selection, organization_id))

    return Chosen(**await planned(request, make))


async def choose(
    request: web.Request, listed: Listed, selection: Selection, organization_id: str | None
) -> Chosen:
    """The ids; `organization_id`: who chose those of the selection.

    Raises InvalidRequest for a `before` that is none."""
    if selection.ids is not None:
        ids = list(dict.fromkeys(selection.ids))
        refs = await resolve(listed, organization_id, ids)
        own = list(dict.fromkeys(ref for ref in refs if ref is not None))
        return Chosen(own, scanned=len(ids), foreign=refs.count(None))
    described = selection.filter
    if described is None:  # the model allows it never
        return Chosen([])
    cursors, cursor = request.app[CURSORS], cast("str | None", "")
    if selection.before is not None:
        cursor = await cursors.unpack(described.status, selection.before)
    if cursor is None:
        fault = Fault("/before", f"is not the next of a call about {described.status} jobs")
        raise InvalidRequest("Nothing was done; `errors` says what does not fit.", [fault])
    found = await seek(
        listed.queue,
        described.wanted(principal_of(request)),
        cursor,
        most=selection.limit,
        scan_most=SCAN_JOBS,
    )
    found_refs = [job.ref for job in found.jobs]
    return Chosen(found_refs, await cursors.pack(described.status, found.cursor), found.scanned)
