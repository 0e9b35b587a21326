"""Whose thing a request is about, and the record of what was done to it."""

from typing import Any

from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from gateway.directory import Listed
from gateway.errors import BadQuery, Fault, InvalidRequest, OtherOrganization
from gateway.keys import REQUEST_ID
from gateway.principal import principal_of
from gateway.security import client_address
from schemas.fields import OrganizationId
from schemas.identity import JobRef
from streams.audit import Deed
from streams.outcomes import owners

NAMED = "organizationId"
_ORGANIZATION: TypeAdapter[str] = TypeAdapter(OrganizationId)


def organization_of(request: web.Request, named: str | None) -> str:
    """The organization a request is about: the principal's own, or the one the platform names.

    Raises OtherOrganization when a tenant names another one, InvalidRequest when the platform
    names none.
    """
    own = principal_of(request).organization_id
    if own is None:
        if named is None:
            detail = f"{NAMED} must say which organization is meant."
            raise InvalidRequest(detail, [Fault(f"/{NAMED}", "is required")])
        return named
    if named is not None and named != own:
        raise OtherOrganization("This key belongs to another organization.")
    return own


def organization_in(request: web.Request) -> str | None:
    """The organization that the query names. Raises BadQuery."""
    named = request.query.get("organizationId")
    if named is None:
        return None
    try:
        return _ORGANIZATION.validate_python(named)
    except ValidationError:
        detail = f"{NAMED} must be 1..256 printable characters."
        raise BadQuery(detail, [Fault(f"/{NAMED}", detail)]) from None


def organization_asked(request: web.Request) -> str | None:
    """The organization whose ids a request is about: the principal's own, or the one that the
    platform names in the query; None: the platform's.

    Raises BadQuery, OtherOrganization."""
    principal = principal_of(request)
    named = organization_in(request) if request.query_string else None
    if not principal.may_name(named):
        raise OtherOrganization("This key belongs to another organization.")
    return principal.organization_id or named


def deed(
    request: web.Request,
    action: str,
    target: str,
    organization_id: str | None,
    parameters: dict[str, Any] | None = None,
) -> bytes:
    """The audit record of what this request does, for the script that does it (AU-14)."""
    return deed_of(request, action, target, organization_id, parameters).encode()


async def deed_on_job(
    request: web.Request,
    action: str,
    listed: Listed,
    ref: JobRef,
    parameters: dict[str, Any] | None = None,
) -> bytes:
    """The same for a deed on one job: it is in the record of the organization whose job it is,
    also when the platform does it."""
    owner = principal_of(request).organization_id
    if owner is None:
        (owner,) = await owners(listed.queue.store, [ref])
    return deed(request, action, f"{listed.name}/{ref.shown}", owner, parameters)


def deed_of(
    request: web.Request,
    action: str,
    target: str,
    organization_id: str | None,
    parameters: dict[str, Any] | None = None,
) -> Deed:
    """The same, not encoded yet."""
    principal = principal_of(request)
    return Deed(
        actor=principal.name,
        action=action,
        target=target,
        organization_id=organization_id,
        key_id=principal.key_id,
        address=client_address(request),
        request_id=request.get(REQUEST_ID),
        parameters=parameters or {},
    )
