"""Who asks: one middleware decides it for every route of the table (AU-1 to AU-7).

A public route is open. Everything else takes an API key or a token of the configured OpenID
provider; as long as neither exists, this machine may do everything.
"""

import logging
from collections.abc import Iterable
from functools import partial

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.concurrency import PUBLIC
from gateway.cors import allowed_headers
from gateway.errors import Kind, Refusal
from gateway.gate import GATE, REALM, Gate, Unauthorized, public_part
from gateway.keys import REDIS, SETTINGS
from gateway.negotiation import check_accept
from gateway.oidc import PROVIDER_KEYS, Bearer, Jwks, KeySource, OidcSettings
from gateway.principal import (
    ANONYMOUS,
    LOCAL,
    PRINCIPAL,
    STANDING,
    Principal,
    Scope,
    Standing,
)
from gateway.routes import ROUTE, Route
from gateway.security import (
    SAFE_METHODS,
    check_host,
    check_query,
    check_site,
    client_address,
    client_network,
    without_keys,
)
from gateway.sessions import signed_in
from gateway.throttle import PUBLIC_POSTS, Window, charge, count_public_post, quota_headers
from outbound.settings import OidcOutboundSettings
from streams.settings import readable

logger = logging.getLogger(__name__)

METHODS = "GET, HEAD, POST, PUT, DELETE, OPTIONS"
"""Of the server as a whole, for `OPTIONS *` (RFC 9110, 9.3.7)."""


class InsufficientScope(Refusal):
    """The credential is valid, and not for this."""

    kind = Kind(403, "insufficient_scope", "The credential does not allow this")


class PlatformOnly(Refusal):
    """It concerns every tenant."""

    kind = Kind(403, "platform_only", "Only the platform may do this")


def gatekeeper(table: Iterable[Route]) -> Middleware:
    """The middleware that lets requests of this table in, or does not."""
    routes = {(route.method, _canonical(route.path)): route for route in table}

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        gate, settings = request.app[GATE], request.app[SETTINGS]
        _check_query(request)
        resource = request.match_info.route.resource
        method = "GET" if request.method == "HEAD" else request.method
        # Without a resource nothing is there, which the handler says. What is there and is not in
        # the table is for nobody but admins of the platform.
        route = None
        if resource is not None:
            route = routes.get((method, resource.canonical))
            if route is None:
                route = Route(method, "", handler, Scope.ADMIN, platform_only=True)
            request[ROUTE] = route
        presented = _presented(request)
        is_open = route is not None and route.needs is not Scope.PUBLIC and await gate.is_open()
        check_host(request, is_local=gate.is_local)
        if presented is None:
            check_site(request, settings.cors_origins)
        if route is None or route.needs is Scope.PUBLIC:
            request[PRINCIPAL] = ANONYMOUS
            return await _answer_anybody(request, route, handler)
        principal = await _identify(request, gate, presented, is_open=is_open)
        request[PRINCIPAL] = principal
        _authorize(route, principal)
        check_accept(request, route)
        await charge(request, principal)
        return await handler(request)

    return check


async def _answer_anybody(
    request: web.Request, route: Route | None, handler: Handler
) -> web.StreamResponse:
    """The answer of a public route, within the limits of those; None: there is no such route."""
    if route is None and request.method == "OPTIONS" and request.raw_path == "*":
        return web.Response(status=204, headers={"Allow": METHODS})
    if route is None or route.is_probe:
        return await handler(request)
    check_accept(request, route)
    network = client_network(request)
    if request.method not in SAFE_METHODS:
        count_public_post(request, network)
    with request.app[PUBLIC].hold(network):
        return await handler(request)


def _canonical(path: str) -> str:
    """How the router calls a path: without the patterns of its parts."""
    return web.UrlDispatcher().add_resource(path).canonical


async def _identify(
    request: web.Request, gate: Gate, presented: str | None, *, is_open: bool
) -> Principal:
    if presented is None:
        if is_open:
            return LOCAL
        session = await signed_in(request)
        if session is not None:
            return session
        raise Unauthorized("Send `Authorization: Bearer <API key or token>`.")
    try:
        principal = await authenticate(request, presented)
    except Unauthorized:
        logger.warning("a credential from %s is not valid", client_address(request))
        raise
    request[STANDING] = Standing(partial(gate.is_valid, presented))
    return principal


async def authenticate(request: web.Request, credential: str) -> Principal:
    """Who a credential stands for; failures are counted.

    Raises TooManyFailures, Unauthorized, Unavailable, IdentityUnavailable."""
    gate, network = request.app[GATE], client_network(request)
    part = public_part(credential)
    if not gate.is_known(credential):
        gate.failures.check(network, part)
    try:
        return await gate.principal(credential)
    except Unauthorized:
        gate.failures.add(network, part)
        raise


def _authorize(route: Route, principal: Principal) -> None:
    if route.needs not in principal.scopes:
        refusal: Refusal = InsufficientScope(f"It takes a credential with the scope {route.needs}.")
        challenge = f'{REALM}, error="insufficient_scope", scope="{route.needs}"'
        refusal.headers = {"WWW-Authenticate": challenge}
        raise refusal
    if route.platform_only and not principal.is_platform:
        raise PlatformOnly("It concerns all organizations, so it takes a key of the platform.")


def _presented(request: web.Request) -> str | None:
    """The credential of a request. Raises Unauthorized when it has two, or one of another kind."""
    found = {value.strip() for value in request.headers.getall("X-API-Key", ())}
    for value in request.headers.getall("Authorization", ()):
        scheme, _, text = value.strip().partition(" ")
        if scheme.lower() != "bearer" or not text.strip():
            raise Unauthorized("Send `Authorization: Bearer <API key or token>`.")
        found.add(text.strip())
    if len(found) > 1:
        raise Unauthorized("Send one credential, not several.")
    return found.pop() if found else None


def _check_query(request: web.Request) -> None:
    if not request.rel_url.raw_query_string:
        return
    try:
        check_query(request)
    except Refusal:
        shown = without_keys(request.rel_url.raw_path)
        logger.warning("a credential in the query of %s: %s?***", shown, request.method)
        raise


async def _prepare(request: web.Request, response: web.StreamResponse) -> None:
    if quota := quota_headers(request):
        response.headers.update(quota)
    if allowed := allowed_headers(request, response):
        response.headers.update(allowed)


def install(app: web.Application, oidc: OidcSettings | None = None) -> None:
    """Give `app` its gate. `oidc`: None reads the environment."""
    if (host := readable(app[REDIS].address)) is not None:
        logger.warning("Redis at %s is reached without TLS; rediss:// would encrypt it", host)
    oidc = OidcSettings() if oidc is None else oidc
    bearer = None
    if oidc.jwks_url is not None:
        jwks = Jwks(oidc.jwks_url, OidcOutboundSettings())
        app[PROVIDER_KEYS] = KeySource(jwks)
        bearer = Bearer(oidc, app[PROVIDER_KEYS])
        app.cleanup_ctx.append(jwks.living)
    app[GATE] = Gate(app[REDIS], app[SETTINGS], bearer)
    app[PUBLIC_POSTS] = Window()
    app.on_response_prepare.append(_prepare)
