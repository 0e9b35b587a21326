"""Whose thing a request is about, and the record of what was done to it."""

from typing import Any

from aiohttp import web

from gateway.errors import Fault, InvalidRequest, OtherOrganization
from gateway.keys import REQUEST_ID, SETTINGS
from gateway.principal import principal_of
from gateway.security import address_of
from streams.audit import Deed

NAMED = "organizationId"


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


def deed(
    request: web.Request,
    action: str,
    target: str,
    organization_id: str | None,
    parameters: dict[str, Any] | None = None,
) -> bytes:
    """The audit record of what this request does, for the script that does it (AU-14)."""
    return deed_of(request, action, target, organization_id, parameters).encode()


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
        address=address_of(request, request.app[SETTINGS].trusted_proxies),
        request_id=request.get(REQUEST_ID),
        parameters=parameters or {},
    )
