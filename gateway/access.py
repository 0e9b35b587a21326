"""API keys over HTTP: made, listed and revoked by admins, those of their organization or all."""

import time
from typing import Annotated, Any

from aiohttp import web
from pydantic import Field, StringConstraints, model_validator

from credentials.keyring import RingSettings
from gateway import faults
from gateway.authentication import InsufficientScope
from gateway.body import read_model
from gateway.errors import BadQuery, Fault, InvalidRequest, Kind, Refusal
from gateway.gate import GATE
from gateway.keys import REDIS
from gateway.principal import GRANTED, ROLES, Scope, principal_of, scopes_of
from gateway.remembered import planned
from gateway.routes import Parameter, Route
from gateway.shapes import envelope
from gateway.tenancy import deed, organization_of
from schemas.fields import NO_CONTROLS, NewOrganizationId
from schemas.job import Integer, Wire
from streams import access

PAGE = 100
MOMENT_MAX = 9_999_999_999_999
KeyName = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=NO_CONTROLS)]


class KeyNotFound(Refusal):
    """No such key, or another tenant's."""

    kind = Kind(404, "key_not_found", "There is no such API key")


class KeyRequest(Wire):
    """What a new key is for. Either a role or scopes."""

    name: KeyName
    """What people call it; it stands in the audit record."""
    role: str | None = None
    scopes: Annotated[list[Scope], Field(min_length=1)] | None = None
    organization_id: NewOrganizationId | None = None
    """The tenant it is for; absent: the maker's own, or the platform."""
    expires_at: Annotated[Integer, Field(ge=0, le=MOMENT_MAX)] | None = None
    """Epoch ms."""

    @model_validator(mode="after")
    def _grants(self) -> "KeyRequest":
        if (self.role is None) == (self.scopes is None):
            raise ValueError("needs either role or scopes")
        if self.role is not None and self.role not in ROLES:
            raise ValueError(f"role must be one of {', '.join(ROLES)}")
        if Scope.PUBLIC in (self.scopes or ()):
            raise ValueError(f"scopes must be some of {', '.join(GRANTED)}")
        return self

    def granted(self) -> tuple[Scope, ...]:
        """The scopes, in the order they are always told in."""
        given = ROLES[self.role] if self.role is not None else frozenset(self.scopes or ())
        return tuple(scope for scope in GRANTED if scope in given)


class KeyInfo(Wire):
    """What is known of a key. Times are epoch ms by the clock of Redis."""

    id: str
    name: str
    scopes: list[str]
    organization_id: str | None
    """The tenant it belongs to; null: the platform."""
    created_at: int
    created_by: str
    expires_at: int | None
    revoked_at: int | None


class NewKey(KeyInfo):
    """A key that was just made."""

    key: str
    """The key itself: shown this once, and kept nowhere."""


class Revoked(Wire):
    """A key that opens nothing any more."""

    id: str
    revoked: bool


async def create(request: web.Request) -> web.Response:
    """Make an API key. It is in this answer and nowhere else."""
    wanted, principal = await read_model(request, KeyRequest), principal_of(request)
    organization_id = wanted.organization_id
    if not principal.is_platform:
        organization_id = organization_of(request, organization_id)
    scopes = wanted.granted()
    beyond = [scope for scope in scopes if scope not in principal.scopes]
    if beyond:
        raise InsufficientScope(f"You do not have {', '.join(beyond)} to give.")
    if wanted.expires_at is not None and wanted.expires_at <= time.time() * 1_000:
        fault = Fault("/expiresAt", "lies in the past")
        raise InvalidRequest("No key was made; `errors` says what does not fit.", [fault])
    text = await planned(request, _minted)
    key_id = str(access.key_id_of(text))
    new = access.NewKey(wanted.name, scopes, organization_id, wanted.expires_at)
    said = {"name": wanted.name, "scopes": scopes, "expiresAt": wanted.expires_at}
    who = deed(request, "key.create", key_id, organization_id, said)
    record = await access.create(request.app[REDIS], text, new, principal.name, who)
    request.app[GATE].forget(key_id)
    told = NewKey(**_facts(record), key=text).model_dump(by_alias=True)
    return envelope(told, 201, {"Location": f"/keys/{key_id}"})


async def _minted() -> str:
    return access.mint("live" if RingSettings().production else "dev")[0]


async def listed(request: web.Request) -> web.Response:
    """API keys, newest first, also those that expired or were revoked."""
    start = _start(request)
    principal, redis = principal_of(request), request.app[REDIS]
    rows: list[access.KeyRecord] = []
    at = 0
    while len(rows) < start + PAGE:
        page = await access.page(redis, at, at + access.PAGE_MAX - 1)
        rows += [record for record in page if principal.may_see(record.organization_id)]
        at += access.PAGE_MAX
        if len(page) < access.PAGE_MAX:
            break
    return envelope([_shown(record) for record in rows[start : start + PAGE]])


async def show(request: web.Request) -> web.Response:
    """What is known of one API key."""
    return envelope(_shown(await _found(request)))


async def revoke(request: web.Request) -> web.Response:
    """An API key opens nothing any more, everywhere within 5 seconds. May be repeated."""
    record = await _found(request)
    who = deed(request, "key.revoke", record.id, record.organization_id, {"name": record.name})
    await access.revoke(request.app[REDIS], record.id, who)
    request.app[GATE].forget(record.id)
    return envelope({"id": record.id, "revoked": True})


async def _found(request: web.Request) -> access.KeyRecord:
    record, _ = await access.find(request.app[REDIS], request.match_info["id"])
    if record is None or not principal_of(request).may_see(record.organization_id):
        raise KeyNotFound("No API key has this id.")
    return record


def _shown(record: access.KeyRecord) -> dict[str, Any]:
    return KeyInfo(**_facts(record)).model_dump(by_alias=True)


def _facts(record: access.KeyRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "name": record.name,
        "scopes": [scope for scope in GRANTED if scope in scopes_of(record.scopes)],
        "organization_id": record.organization_id,
        "created_at": record.created_ms,
        "created_by": record.maker,
        "expires_at": record.expires_ms,
        "revoked_at": record.revoked_ms,
    }


def _start(request: web.Request) -> int:
    query = request.query
    for name in query:
        if name != "start" or len(query.getall(name)) > 1:
            raise _bad(name, "The only parameter is start, once.")
    text = query.get("start", "0")
    if not (text.isascii() and text.isdecimal() and len(text) <= 6):
        raise _bad("start", "start must be a number of keys from 0.")
    return int(text)


def _bad(name: str, detail: str) -> BadQuery:
    return BadQuery(detail, [Fault(faults.pointer([name]), detail)])


_START = Parameter(
    "start", {"type": "integer", "minimum": 0, "maximum": 999_999, "default": 0}, "The first key."
)
ROUTES = (
    Route(
        "POST",
        "/keys",
        create,
        Scope.ADMIN,
        body=KeyRequest,
        answer=NewKey,
        statuses=(201,),
        secret=True,
    ),
    Route("GET", "/keys", listed, Scope.ADMIN, answer=list[KeyInfo], query=(_START,)),
    Route("GET", "/keys/{id}", show, Scope.ADMIN, answer=KeyInfo),
    Route("DELETE", "/keys/{id}", revoke, Scope.ADMIN, answer=Revoked),
)
