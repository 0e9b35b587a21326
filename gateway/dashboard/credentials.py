"""The status of a credential, and what operators change about it."""

from typing import Any

from aiohttp import web

from gateway import credentials as api
from gateway.dashboard import dids
from gateway.dashboard.told import told
from gateway.dashboard.view import done, page
from gateway.principal import Scope
from gateway.routes import Handler, Route

HERE = "/dashboard/credentials"
_SAID = {
    "revoke": ("Revoked, for good.", api.revoke),
    "suspend": ("Suspended, until it is unsuspended.", api.suspend),
    "unsuspend": ("Valid again.", api.unsuspend),
}


async def lookup(request: web.Request) -> web.Response:
    """GET /dashboard/credentials: a credential by its id (`?id=`), with its status."""
    credential_id = request.query.get("id", "").strip()
    found: dict[str, Any] | None = None
    if credential_id:
        try:
            found = await api.status_of(request, credential_id)
        except api.CredentialNotFound:
            found = None
    return page(
        request,
        "credentials.html",
        title="DIDs and credentials",
        here=dids.HERE,
        wanted=credential_id,
        found=found,
    )


def _verb(name: str) -> Route:
    said, verb = _SAID[name]

    async def act(request: web.Request) -> web.Response:
        state = told(await verb(request))
        return done(said if state["published"] else f"{said} The list is published in a moment.")

    act.__doc__ = f"POST /dashboard/credentials/{{id}}/{name}: what the API calls {name}."
    handler: Handler = act
    path = f"{HERE}/{{id}}/{name}"
    return Route("POST", path, handler, Scope.OPERATE, body=api.StatusChange)


ROUTES = (
    Route("GET", HERE, lookup, Scope.READ),
    *(_verb(name) for name in _SAID),
)
