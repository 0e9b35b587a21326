"""Signing in with an API key, a token or at the OpenID provider, and out again (AU-8)."""

import base64
import time
from typing import Annotated

from aiohttp import web
from pydantic import StringConstraints

from gateway.authentication import authenticate
from gateway.dashboard.login_settings import RETURN
from gateway.dashboard.navigation import home_of
from gateway.dashboard.provider import PROVIDER, Provider, SignInFailed, Trip
from gateway.dashboard.view import HEADERS, done, page, wanted
from gateway.gate import GATE, Unauthorized
from gateway.keys import REDIS, REQUEST_ID
from gateway.principal import Principal, Scope
from gateway.refused_sign_ins import REFUSED_SIGN_INS
from gateway.routes import Route
from gateway.security import client_address, client_network
from gateway.sessions import COOKIE, SESSION_ID, signed_in
from gateway.throttle import TooManyFailures
from schemas.job import Wire
from streams import access, audit, sessions
from streams.audit import Deed

HOME = "/dashboard"
HERE = "/dashboard/login"
TRIP_COOKIE = "__Host-credstream-trip"
"""Comes back from the provider with its answer, so it is SameSite=Lax."""
TRIP_S = 600
NEXT_CHARS_MAX = 2_048


class SignIn(Wire):
    """What somebody signs in with."""

    credential: Annotated[
        str, StringConstraints(min_length=1, max_length=8_192, strip_whitespace=True)
    ]
    next: Annotated[str, StringConstraints(max_length=NEXT_CHARS_MAX)] = HOME
    """Where to go then: a page of the dashboard."""


async def login_page(request: web.Request) -> web.Response:
    """The form to sign in with."""
    return await _form(request, request.query.get("next", HOME))


async def _form(request: web.Request, following: str, problem: str | None = None) -> web.Response:
    provider = request.app.get(PROVIDER)
    return page(
        request,
        "login.html",
        title="Sign in",
        next=_within(following),
        is_open=await request.app[GATE].is_open(),
        provider=None if provider is None else provider.settings.host,
        problem=problem,
        ended=bool(request.query.get("next") and request.cookies.get(COOKIE)),
    )


async def sign_in(request: web.Request) -> web.Response:
    """Opens a session with a new id."""
    body = await wanted(request, SignIn)
    try:
        principal = await authenticate(request, body.credential)
    except (Unauthorized, TooManyFailures):
        key_id = access.key_id_of(body.credential)
        what = "an API key or token" if key_id is None else f"the API key {key_id}"
        await request.app[REFUSED_SIGN_INS].add(request, f"{what} is not valid")
        raise
    ends_s = request.app[GATE].token_ends_s(body.credential)
    following = _within(body.next)
    response = done("", home_of(principal) if following == HOME else following)
    await _open(request, response, principal, None if ends_s is None else int(ends_s * 1_000))
    return response


async def leave(request: web.Request) -> web.Response:
    """To the OpenID provider, to sign in there; `?next=`."""
    provider = _provider(request)
    trip = Trip.begin()
    response = web.Response(status=303, headers={**HEADERS, "Location": await provider.way(trip)})
    following = _within(request.query.get("next", HOME))
    text = base64.urlsafe_b64encode(following.encode()).decode()
    response.set_cookie(
        TRIP_COOKIE,
        f"{trip.secret}.{text}",
        path="/",
        secure=True,
        httponly=True,
        samesite="Lax",
        max_age=TRIP_S,
    )
    return response


async def come_back(request: web.Request) -> web.Response:
    """Back from the OpenID provider with a code: opens a session."""
    provider, failures = _provider(request), request.app[GATE].failures
    secret, _, text = request.cookies.get(TRIP_COOKIE, "").partition(".")
    following = _within(_decoded(text))
    network = client_network(request)
    failures.check(network, Trip(secret).state)
    try:
        principal = await provider.who(Trip(secret), _answer(request) if secret else {})
    except SignInFailed as error:
        await request.app[REFUSED_SIGN_INS].add(request, str(error))
        failures.add(network, Trip(secret).state)
        response = await _form(request, following, str(error))
        response.set_status(403)
    else:
        # A page that goes on, not a redirect: one that began at another site would come without
        # the cookie, which is SameSite=Strict.
        following = home_of(principal) if following == HOME else following
        response = page(request, "welcome.html", title="Signed in", next=following)
        now_ms = time.time_ns() // 1_000_000
        ends_ms = now_ms + provider.settings.session_s * 1_000
        again_ms = now_ms + provider.settings.recheck_s * 1_000
        await _open(request, response, principal, ends_ms, again_ms)
    response.del_cookie(TRIP_COOKIE, path="/", secure=True, httponly=True, samesite="Lax")
    return response


def _provider(request: web.Request) -> Provider:
    provider = request.app.get(PROVIDER)
    if provider is None:
        raise web.HTTPNotFound
    return provider


def _answer(request: web.Request) -> dict[str, str]:
    """The query of the return; what comes twice counts as absent (RFC 6749, 3.1)."""
    query = request.query
    return {name: query[name] for name in query if len(query.getall(name)) == 1}


def _decoded(text: str) -> str:
    try:
        return base64.urlsafe_b64decode(text.encode()).decode()
    except ValueError:
        return HOME


async def _open(
    request: web.Request,
    response: web.Response,
    principal: Principal,
    ends_ms: int | None,
    again_ms: int | None = None,
) -> None:
    """A session with a new id, whose cookie goes with `response`; the old one ends."""
    redis = request.app[REDIS]
    session = sessions.Session(
        principal.name,
        tuple(scope.value for scope in sorted(principal.scopes)),
        principal.organization_id,
        principal.key_id,
        sessions.end_ms(time.time_ns() // 1_000_000, ends_ms),
        again_ms,
    )
    await audit.record(redis, _deed(request, principal, "session.open"))
    if old := request.cookies.get(COOKIE):
        await sessions.close(redis, old)
    session_id = await sessions.open_session(redis, session)
    response.set_cookie(COOKIE, session_id, path="/", secure=True, httponly=True, samesite="Strict")


async def sign_out(request: web.Request) -> web.Response:
    """Ends the session of the cookie, if it has one; at the provider, too, where that is wanted."""
    principal, provider = await signed_in(request), request.app.get(PROVIDER)
    way_out = None
    if principal is not None and principal.key_id is None and provider is not None:
        way_out = await provider.way_out(HERE)
    response = done("", way_out or HERE)
    if principal is not None:
        redis = request.app[REDIS]
        await audit.record(redis, _deed(request, principal, "session.close"))
        await sessions.close(redis, request[SESSION_ID])
    response.del_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="Strict")
    return response


def _deed(request: web.Request, principal: Principal, action: str) -> Deed:
    return Deed(
        actor=principal.name,
        action=action,
        target="dashboard",
        organization_id=principal.organization_id,
        key_id=principal.key_id,
        address=client_address(request),
        request_id=request.get(REQUEST_ID),
    )


def _within(path: str) -> str:
    """A path of the dashboard, whatever was asked for: never another site."""
    fits = path == HOME or path.startswith((f"{HOME}/", f"{HOME}?"))
    return path if fits and "\\" not in path and len(path) <= NEXT_CHARS_MAX else HOME


ROUTES = (
    Route("GET", HERE, login_page, Scope.PUBLIC),
    Route("POST", HERE, sign_in, Scope.PUBLIC, body=SignIn),
    Route("GET", HERE + "/provider", leave, Scope.PUBLIC, statuses=(303,)),
    Route("GET", RETURN, come_back, Scope.PUBLIC),
    Route("POST", "/dashboard/logout", sign_out, Scope.PUBLIC),
)
