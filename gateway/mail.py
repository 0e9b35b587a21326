"""Mail beside the queue: suppression lists, unsubscribe links, and what development captured."""

import asyncio
import re
from typing import Annotated, Any

from aiohttp import web
from pydantic import Field, StringConstraints

from gateway import faults
from gateway.body import read_model
from gateway.captured import Captured, CaptureSettings
from gateway.errors import BadQuery, Fault, Kind, Refusal
from gateway.keys import REDIS
from gateway.mail_shapes import (
    CapturedMail,
    CapturedMessage,
    NotSuppressed,
    Suppressed,
    SuppressionEntry,
)
from gateway.principal import Scope
from gateway.routes import END, ORGANIZATION, START, Route
from gateway.shapes import envelope
from gateway.tenancy import deed, organization_in, organization_of
from gateway.unsubscribe import ask, unsubscribe
from schemas.fields import OrganizationId
from schemas.job import Integer, Wire
from schemas.queues.emails import HeaderText, Mailbox
from streams import mail

DAY_MS = 24 * 3_600_000
PAGE = 100
PAGE_MAX = 1_000
_INDEX = re.compile(r"[0-9]{1,9}")
_ENTRY_ID = re.compile(r"[0-9a-f]{64}")


class NothingCaptured(Refusal):
    """No such message, or no mail is captured here at all."""

    kind = Kind(404, "mail_not_found", "There is no such captured mail")


class EntryNotFound(Refusal):
    """The path does not name an entry of a suppression list."""

    kind = Kind(404, "suppression_not_found", "This is no id of a suppressed address")


class Address(Wire):
    """An address, and whose list is meant."""

    address: Mailbox
    organization_id: OrganizationId | None = None
    """Only for principals of the platform, who must name it."""


class Suppression(Address):
    """An address that an organization is not to write to."""

    reason: Annotated[HeaderText, StringConstraints(min_length=1, max_length=200)] = "manual"
    days: Annotated[Integer, Field(ge=1, le=3_650)] | None = 30
    """How long; null: without an end."""


async def listed(request: web.Request) -> web.Response:
    """GET /mail/suppressions?organizationId=&start=&end=: whom an organization may not write to."""
    start, end = _span(request, "organizationId")
    where = mail.tenant(organization_of(request, organization_in(request)))
    found = await mail.page(request.app[REDIS], where, start, end)
    return envelope([_row(entry) for entry in found])


async def suppress(request: web.Request) -> web.Response:
    """POST /mail/suppressions: put an address on the list, or renew its entry."""
    wanted = await read_model(request, Suppression)
    organization_id = organization_of(request, wanted.organization_id)
    entry_id = mail.address_id(organization_id, wanted.address)
    said = {"reason": wanted.reason, "days": wanted.days}
    entry = await mail.suppress(
        request.app[REDIS],
        mail.tenant(organization_id),
        entry_id,
        wanted.reason,
        duration_ms=mail.FOREVER_MS if wanted.days is None else wanted.days * DAY_MS,
        who=deed(request, "mail.suppress", entry_id, organization_id, said),
    )
    return envelope(_row(entry))


async def look(request: web.Request) -> web.Response:
    """POST /mail/suppressions/check: whether an organization may write to an address."""
    wanted = await read_model(request, Address)
    organization_id = organization_of(request, wanted.organization_id)
    entry_id = mail.address_id(organization_id, wanted.address)
    entry = await mail.suppressed(request.app[REDIS], mail.tenant(organization_id), entry_id)
    found = {"id": entry_id} if entry is None else _row(entry)
    return envelope(found | {"suppressed": entry is not None})


async def allow(request: web.Request) -> web.Response:
    """DELETE /mail/suppressions/{id}?organizationId=: take an address off; may be repeated."""
    entry_id = request.match_info["id"]
    if _ENTRY_ID.fullmatch(entry_id) is None:
        raise EntryNotFound("An id is 64 hex digits; POST /mail/suppressions/check tells it.")
    organization_id = organization_of(request, organization_in(request))
    who = deed(request, "mail.allow", entry_id, organization_id)
    await mail.allow(request.app[REDIS], mail.tenant(organization_id), entry_id, who)
    return envelope({"id": entry_id, "suppressed": False})


async def captured(request: web.Request) -> web.Response:
    """GET /mail/captured?start=&end=: mail of development workers, newest first."""
    start, end = _span(request)
    return envelope(await asyncio.to_thread(_captured().page, start, end))


async def captured_one(request: web.Request) -> web.Response:
    """GET /mail/captured/{id}: one message with its headers, texts and files."""
    found = await asyncio.to_thread(_captured().show, request.match_info["id"])
    if found is None:
        raise NothingCaptured("No captured mail has this id.")
    return envelope(found)


def _captured() -> Captured:
    folder = CaptureSettings().folder
    if folder is None:
        raise NothingCaptured("Mail is captured in development only, below DATA_DIR.")
    return Captured(folder)


def _row(entry: mail.Suppressed) -> dict[str, Any]:
    return {
        "id": entry.id,
        "reason": entry.reason,
        "since": entry.since_ms,
        "until": entry.until_ms,
    }


def _span(request: web.Request, *also: str) -> tuple[int, int]:
    """`start` and `end` of a page, both inclusive. Raises BadQuery."""
    known = ("start", "end", *also)
    for name in request.query:
        if name not in known or len(request.query.getall(name)) > 1:
            raise _bad(name, f"The parameters are {', '.join(known)}, each at most once.")
    start = _index(request, "start", 0)
    end = _index(request, "end", start + PAGE - 1)
    if not 0 <= end - start < PAGE_MAX:
        raise _bad("end", f"end must lie between start and start + {PAGE_MAX - 1}.")
    return start, end


def _index(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    if not _INDEX.fullmatch(text):
        raise _bad(name, f"{name} must be a number from 0.")
    return int(text)


def _bad(name: str, detail: str) -> BadQuery:
    return BadQuery(detail, [Fault(faults.pointer([name]), detail)])


_LIST = "/mail/suppressions"
_LOOKED = Suppressed | NotSuppressed
ROUTES = (
    Route(
        "GET",
        _LIST,
        listed,
        Scope.READ,
        answer=list[SuppressionEntry],
        query=(ORGANIZATION, START, END),
    ),
    Route("POST", _LIST, suppress, Scope.OPERATE, body=Suppression, answer=SuppressionEntry),
    Route("POST", _LIST + "/check", look, Scope.READ, body=Address, answer=_LOOKED),
    Route(
        "DELETE",
        _LIST + "/{id:(?!check$)[^/]+}",
        allow,
        Scope.OPERATE,
        answer=NotSuppressed,
        query=(ORGANIZATION,),
    ),
    Route(
        "GET",
        "/mail/captured",
        captured,
        Scope.READ,
        platform_only=True,
        answer=list[CapturedMail],
        query=(START, END),
    ),
    Route(
        "GET",
        "/mail/captured/{id}",
        captured_one,
        Scope.READ,
        platform_only=True,
        answer=CapturedMessage,
    ),
    Route("GET", "/mail/unsubscribe/{token}", ask, Scope.PUBLIC),
    Route("POST", "/mail/unsubscribe/{token}", unsubscribe, Scope.PUBLIC),
)
