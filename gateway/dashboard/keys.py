"""API keys: made (and shown once), listed, revoked."""

import time
from typing import Any

from aiohttp import web

from gateway import access as api
from gateway.dashboard.told import asked, number_of, query_of, told
from gateway.dashboard.view import done, page
from gateway.principal import GRANTED, ROLES, Scope, principal_of
from gateway.routes import Route

HERE = "/dashboard/keys"
MEANINGS = {
    Scope.SUBMIT: "add jobs",
    Scope.READ: "see jobs, queues and results",
    Scope.SENSITIVE: "see secrets and credentials inside them",
    Scope.OPERATE: "retry, remove, pause, clean, revoke",
    Scope.ADMIN: "API keys, signing keys, audit",
}


async def keys(request: web.Request) -> web.Response:
    """GET /dashboard/keys: API keys, newest first, and the form that makes one."""
    request = asked(request)
    rows = told(await api.listed(request))
    start, principal = number_of(request, "start"), principal_of(request)
    return page(
        request,
        "keys.html",
        title="API keys",
        here=HERE,
        rows=[row | {"state": state_of(row, time.time() * 1_000)} for row in rows],
        roles={name: sorted(given) for name, given in ROLES.items() if given <= principal.scopes},
        meanings=[(s, MEANINGS[s]) for s in GRANTED if s in principal.scopes],
        start=start,
        newer=query_of(request, start=max(0, start - api.PAGE) or None) if start else None,
        older=query_of(request, start=start + api.PAGE) if len(rows) == api.PAGE else None,
    )


def state_of(row: dict[str, Any], now_ms: float) -> str:
    """valid, revoked or expired."""
    if row["revokedAt"] is not None:
        return "revoked"
    return "expired" if row["expiresAt"] is not None and row["expiresAt"] <= now_ms else "valid"


async def create(request: web.Request) -> web.Response:
    """POST /dashboard/keys: make a key. The answer is the only place where it is."""
    made = told(await api.create(request))
    return done(
        "The key was made.",
        secret={
            "title": "Your new API key",
            "text": f"{made['name']}: store it now. It is shown this once, and kept nowhere.",
            "values": [{"label": "API key", "value": made["key"]}],
        },
    )


async def revoke(request: web.Request) -> web.Response:
    """POST /dashboard/keys/{id}/revoke: the key opens nothing any more."""
    await api.revoke(request)
    return done("Revoked: it opens nothing any more, everywhere within 5 seconds.")


ROUTES = (
    Route("GET", HERE, keys, Scope.ADMIN),
    Route("POST", HERE, create, Scope.ADMIN, body=api.KeyRequest),
    Route("POST", HERE + "/{id}/revoke", revoke, Scope.ADMIN),
)
