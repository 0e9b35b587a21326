"""The record of what operators did, for admins: that of their organization, or all of it."""

import asyncio
import base64
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson
from aiohttp import web

from gateway import faults
from gateway.errors import BadQuery, Fault, OtherOrganization
from gateway.keys import REDIS
from gateway.principal import Scope, principal_of
from gateway.routes import Parameter, Route
from gateway.shapes import envelope
from schemas.job import Wire
from streams import audit
from streams.errors import CredstreamError

logger = logging.getLogger(__name__)

LIMIT, LIMIT_MAX = 50, 200
TRIM_EVERY_S = 6 * 3_600
FIRST_TRIM_S = 60
_FILTERS = ("action", "actor", "target")
_KNOWN = ("before", "limit", "organizationId", *_FILTERS)


class AuditRecord(Wire):
    """One deed."""

    at: int
    """When: epoch ms by the clock of Redis."""
    actor: str
    action: str
    target: str
    organization_id: str | None
    """Whose thing it was; null: it concerned the platform."""
    key_id: str | None
    address: str | None
    request_id: str | None
    parameters: dict[str, Any]
    outcome: str
    """`done`, or `cancelling`: a worker was told to stop."""


async def page(request: web.Request) -> web.Response:
    """What operators did, newest first.

    One call looks at 10000 records at most: a page can be short, and `next` still lead on."""
    wanted, before, limit = _asked(request)
    principal = principal_of(request)
    own = principal.organization_id
    if not principal.may_name(wanted.get("organizationId")):
        raise OtherOrganization("This key belongs to another organization.")
    if own is not None:
        wanted["organizationId"] = own

    def fits(deed: Mapping[str, Any]) -> bool:
        return all(deed.get(name) == value for name, value in wanted.items())

    records = await audit.page(request.app[REDIS], before, limit, fits)
    return envelope([_shown(one) for one in records.found], next=_packed(records.last))


def _shown(one: audit.Record) -> dict[str, Any]:
    deed = {name: value for name, value in one.deed.items() if name != "id"}
    return {"at": one.at.ms, **deed, "outcome": one.outcome}


def _asked(request: web.Request) -> tuple[dict[str, str], audit.Mark | None, int]:
    query = request.query
    for name in query:
        if name not in _KNOWN or len(query.getall(name)) > 1:
            raise _bad(name, f"The parameters are {', '.join(_KNOWN)}, each at most once.")
    text = query.get("limit", str(LIMIT))
    if not (text.isascii() and text.isdecimal() and len(text) <= 4 and 1 <= int(text) <= LIMIT_MAX):
        raise _bad("limit", f"limit must be 1..{LIMIT_MAX}.")
    wanted = {name: query[name] for name in ("organizationId", *_FILTERS) if name in query}
    before = _unpacked(query["before"]) if "before" in query else None
    return wanted, before, int(text)


def _packed(mark: audit.Mark | None) -> str | None:
    if mark is None:
        return None
    return base64.urlsafe_b64encode(orjson.dumps(list(mark))).decode().rstrip("=")


def _unpacked(text: str) -> audit.Mark:
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        ms, seq, stream = orjson.loads(raw)
        mark = audit.Mark(int(ms), int(seq), str(stream))
        if min(mark.ms, mark.seq) >= 0 and max(mark.ms, mark.seq) < 2**63:
            return mark
    except (ValueError, TypeError):
        pass
    raise _bad("before", "before must be the `next` of another page.")


def _bad(name: str, detail: str) -> BadQuery:
    return BadQuery(detail, [Fault(faults.pointer([name]), detail)])


def install(app: web.Application) -> None:
    """Records are forgotten after 90 days by whatever gateway runs."""
    app.cleanup_ctx.append(_trimming)


async def _trimming(app: web.Application) -> AsyncIterator[None]:
    task = asyncio.create_task(_trim(app))
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _trim(app: web.Application) -> None:
    await asyncio.sleep(FIRST_TRIM_S)
    while True:
        try:
            if went := await audit.trim(app[REDIS]):
                logger.info("audit: %d records were older than 90 days", went)
        except CredstreamError as error:
            logger.warning("audit: old records cannot be removed: %s", error)
        await asyncio.sleep(TRIM_EVERY_S)


_TEXT: dict[str, Any] = {"type": "string"}
ROUTES = (
    Route(
        "GET",
        "/audit",
        page,
        Scope.ADMIN,
        answer=list[AuditRecord],
        paged=True,
        query=(
            Parameter("before", _TEXT, "The `next` of the page before."),
            Parameter(
                "limit",
                {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT},
                "How many at most.",
            ),
            Parameter("organizationId", _TEXT, "Whose things."),
            Parameter("action", _TEXT, "Such as `queue.pause`."),
            Parameter("actor", _TEXT, "Who."),
            Parameter("target", _TEXT, "What."),
        ),
    ),
)
