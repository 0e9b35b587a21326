"""Signing in with an API key or a token of the OpenID provider, and out again (AU-8)."""

import time
from typing import Annotated

from aiohttp import web
from pydantic import StringConstraints

from gateway.dashboard.view import done, page, wanted
from gateway.gate import GATE, Unauthorized
from gateway.keys import REDIS, REQUEST_ID, SETTINGS
from gateway.principal import Principal, Scope
from gateway.routes import Route
from gateway.security import address_of
from gateway.sessions import COOKIE, SESSION_ID, signed_in
from schemas.job import Wire
from streams import audit, sessions
from streams.audit import Deed

HERE = "/dashboard/login"


class SignIn(Wire):
    """What somebody signs in with."""

    credential: Annotated[
        str, StringConstraints(min_length=1, max_length=8_192, strip_whitespace=True)
    ]
    next: Annotated[str, StringConstraints(max_length=2_048)] = "/dashboard"
    """Where to go then: a page of the dashboard."""


async def login_page(request: web.Request) -> web.Response:
    """The form to sign in with."""
    return page(
        request,
        "login.html",
        title="Sign in",
        next=_within(request.query.get("next", "/dashboard")),
        is_open=await request.app[GATE].is_open(),
    )


async def sign_in(request: web.Request) -> web.Response:
    """Opens a session with a new id."""
    body = await wanted(request, SignIn)
    gate, redis = request.app[GATE], request.app[REDIS]
    address = address_of(request, request.app[SETTINGS].trusted_proxies)
    gate.failures.check(address)
    try:
        principal = await gate.principal(body.credential)
    except Unauthorized:
        gate.failures.add(address)
        raise
    ends_s = gate.token_ends_s(body.credential)
    now_ms = time.time_ns() // 1_000_000
    session = sessions.Session(
        principal.name,
        tuple(scope.value for scope in sorted(principal.scopes)),
        principal.organization_id,
        principal.key_id,
        sessions.end_ms(now_ms, None if ends_s is None else int(ends_s * 1_000)),
    )
    await audit.record(redis, _deed(request, principal, address, "session.open"))
    if old := request.cookies.get(COOKIE):
        await sessions.close(redis, old)
    response = done("", _within(body.next))
    session_id = await sessions.open_session(redis, session)
    response.set_cookie(COOKIE, session_id, path="/", secure=True, httponly=True, samesite="Strict")
    return response


async def sign_out(request: web.Request) -> web.Response:
    """Ends the session of the cookie, if it has one."""
    response = done("", HERE)
    principal = await signed_in(request)
    if principal is not None:
        redis = request.app[REDIS]
        address = address_of(request, request.app[SETTINGS].trusted_proxies)
        await audit.record(redis, _deed(request, principal, address, "session.close"))
        await sessions.close(redis, request[SESSION_ID])
    response.del_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="Strict")
    return response


def _deed(request: web.Request, principal: Principal, address: str | None, action: str) -> Deed:
    return Deed(
        actor=principal.name,
        action=action,
        target="dashboard",
        organization_id=principal.organization_id,
        key_id=principal.key_id,
        address=address,
        request_id=request.get(REQUEST_ID),
    )


def _within(path: str) -> str:
    """A path of the dashboard, whatever was asked for: never another site."""
    fits = path == "/dashboard" or path.startswith(("/dashboard/", "/dashboard?"))
    return path if fits and "\\" not in path else "/dashboard"


ROUTES = (
    Route("GET", HERE, login_page, Scope.PUBLIC),
    Route("POST", HERE, sign_in, Scope.PUBLIC, body=SignIn),
    Route("POST", "/dashboard/logout", sign_out, Scope.PUBLIC),
)
