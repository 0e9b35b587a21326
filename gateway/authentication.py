"""Who asks: one middleware decides it for every route of the table (AU-1 to AU-7).

A public route is open. Everything else takes an API key or a token of the configured OpenID
provider; as long as neither exists, this machine may do everything.
"""

import hashlib
import hmac
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.cors import allowed_headers
from gateway.errors import Kind, Refusal
from gateway.keys import REDIS, SETTINGS
from gateway.oidc import BadToken, Bearer, Jwks, KeySource, OidcSettings
from gateway.principal import (
    ANONYMOUS,
    LOCAL,
    PRINCIPAL,
    STANDING,
    Principal,
    Scope,
    Standing,
    scopes_of,
)
from gateway.routes import Route
from gateway.security import address_of, check_host, check_query, check_site, without_keys
from gateway.settings import GatewaySettings
from gateway.throttle import Failures, charge, quota_headers
from outbound.settings import OutboundSettings
from streams import Redis, access
from streams.errors import CredstreamError

logger = logging.getLogger(__name__)

FRESH_S = 2.0
"""How long what is known of a key is believed: a revoked one opens nothing after that."""
CACHED_MAX = 10_000
TOKEN_FRESH_S = 60.0
K = TypeVar("K")
V = TypeVar("V")
REALM = 'Bearer realm="credstream"'


class Unauthorized(Refusal):
    """No credential, or none that is valid. Why it is not is nobody's business."""

    kind = Kind(401, "unauthorized", "A credential is needed")
    headers = {"WWW-Authenticate": REALM}  # noqa: RUF012 - nobody changes it


class InsufficientScope(Refusal):
    """The credential is valid, and not for this."""

    kind = Kind(403, "insufficient_scope", "The credential does not allow this")


class PlatformOnly(Refusal):
    """It concerns every tenant."""

    kind = Kind(403, "platform_only", "Only the platform may do this")


@dataclass(frozen=True, slots=True)
class _Known:
    """A key as it was read."""

    record: access.KeyRecord | None
    now_ms: int
    read_s: float


class Gate:
    """Knows the credentials. What it has read is at most 2 seconds old."""

    def __init__(
        self,
        redis: Redis,
        settings: GatewaySettings,
        bearer: Bearer | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.failures = Failures(clock_s)
        self._redis = redis
        self._settings = settings
        self._bearer = bearer
        self._clock_s = clock_s
        self._keys: OrderedDict[str, _Known] = OrderedDict()
        self._tokens: OrderedDict[bytes, tuple[Principal, float, float]] = OrderedDict()
        """By SHA-256: the principal, when the token ends (epoch s), when it was checked."""
        self._configured = False
        self._asked_s = float("-inf")

    async def is_open(self) -> bool:
        """Whether requests without a credential are let in, as LOCAL. Raises Unavailable."""
        settings = self._settings
        if settings.require_auth == "always" or self._bearer is not None:
            return False
        if not (settings.is_loopback or settings.allow_insecure):
            return False
        if not self._configured and self._clock_s() - self._asked_s >= FRESH_S:
            self._configured = await access.configured(self._redis)
            self._asked_s = self._clock_s()
        return not self._configured

    @property
    def is_local(self) -> bool:
        """Whether it serves its own machine only, as far as is known without asking."""
        asks = self._settings.require_auth == "always" or self._bearer is not None
        return self._settings.is_loopback and not asks and not self._configured

    def forget(self, key_id: str) -> None:
        """A key has changed; from now on there are keys."""
        self._configured = True
        self._keys.pop(key_id, None)

    def is_known(self, text: str) -> bool:
        """Whether this credential was found to be valid a short time ago."""
        key_id = access.key_id_of(text)
        if key_id is None:
            found = self._tokens.get(_fingerprint(text))
            return found is not None and self._clock_s() - found[2] < TOKEN_FRESH_S
        known = self._keys.get(key_id)
        if known is None or known.record is None:
            return False
        return hmac.compare_digest(known.record.digest, access.digest_of(text))

    async def principal(self, text: str) -> Principal:
        """Who a credential stands for. Raises Unauthorized, Unavailable, IdentityUnavailable."""
        key_id = access.key_id_of(text)
        if key_id is not None:
            return await self._by_key(key_id, text)
        if self._bearer is not None and not text.startswith(access.PREFIX):
            return await self._by_token(self._bearer, text)
        raise _invalid()

    async def is_valid(self, text: str) -> bool:
        """Whether a credential is good even now; it counts as good while nobody can tell."""
        try:
            await self.principal(text)
        except Unauthorized:
            return False
        except (CredstreamError, Refusal):
            return True
        return True

    async def _by_key(self, key_id: str, text: str) -> Principal:
        known = self._keys.get(key_id)
        if known is None or self._clock_s() - known.read_s >= FRESH_S:
            asked_s = self._clock_s()
            known = _Known(*await access.find(self._redis, key_id), asked_s)
            _keep(self._keys, key_id, known)
        record = known.record
        right = hmac.compare_digest(access.digest_of(text), record.digest if record else "0" * 64)
        now_ms = known.now_ms + int(1_000 * (self._clock_s() - known.read_s))
        if record is None or not right or not record.is_valid(now_ms):
            raise _invalid()
        scopes = scopes_of(record.scopes)
        return Principal(record.name, scopes, record.organization_id, record.id)

    async def _by_token(self, bearer: Bearer, text: str) -> Principal:
        name = _fingerprint(text)
        found = self._tokens.get(name)
        if found is None or self._clock_s() - found[2] >= TOKEN_FRESH_S or time.time() > found[1]:
            self._tokens.pop(name, None)
            try:
                principal, ends_s = await bearer.read(text)
            except BadToken as error:
                logger.info("a bearer token was refused: %s", error)
                raise _invalid() from None
            found = principal, ends_s, self._clock_s()
            _keep(self._tokens, name, found)
        return found[0]


GATE = web.AppKey("gate", Gate)


def gatekeeper(table: Iterable[Route]) -> Middleware:
    """The middleware that lets requests of this table in, or does not."""
    routes = {(route.method, _canonical(route.path)): route for route in table}

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        gate, settings = request.app[GATE], request.app[SETTINGS]
        _check_query(request)
        resource = request.match_info.route.resource
        method = "GET" if request.method == "HEAD" else request.method
        # Without a resource nothing is there, which the handler says. Whatever is there and is not
        # in the table is nobody's to call.
        route = routes[method, resource.canonical] if resource is not None else None
        presented = _presented(request)
        is_open = route is not None and route.needs is not Scope.PUBLIC and await gate.is_open()
        if gate.is_local:
            check_host(request)
        if presented is None:
            check_site(request, settings.cors_origins)
        if route is None or route.needs is Scope.PUBLIC:
            request[PRINCIPAL] = ANONYMOUS
            return await handler(request)
        principal = await _identify(request, gate, presented, is_open=is_open)
        _authorize(route, principal)
        request[PRINCIPAL] = principal
        await charge(request, principal)
        return await handler(request)

    return check


def _canonical(path: str) -> str:
    """How the router calls a path: without the patterns of its parts."""
    return web.UrlDispatcher().add_resource(path).canonical


async def _identify(
    request: web.Request, gate: Gate, presented: str | None, *, is_open: bool
) -> Principal:
    if presented is None:
        if is_open:
            return LOCAL
        raise Unauthorized("Send `Authorization: Bearer <API key or token>`.")
    address = address_of(request, request.app[SETTINGS].trusted_proxies)
    if not gate.is_known(presented):
        gate.failures.check(address)
    try:
        principal = await gate.principal(presented)
    except Unauthorized:
        gate.failures.add(address)
        logger.warning("a credential from %s is not valid", address)
        raise
    request[STANDING] = Standing(partial(gate.is_valid, presented))
    return principal


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
    try:
        check_query(request)
    except Refusal:
        shown = without_keys(request.rel_url.raw_path)
        logger.warning("a credential in the query of %s: %s?***", shown, request.method)
        raise


def _invalid() -> Unauthorized:
    refusal = Unauthorized("The credential is not valid here, or not any more.")
    refusal.headers = {"WWW-Authenticate": f'{REALM}, error="invalid_token"'}
    return refusal


def _fingerprint(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _keep(cache: OrderedDict[K, V], name: K, value: V) -> None:
    cache[name] = value
    cache.move_to_end(name)
    if len(cache) > CACHED_MAX:
        cache.popitem(last=False)


async def _prepare(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(quota_headers(request))
    response.headers.update(allowed_headers(request, response))


def install(app: web.Application, oidc: OidcSettings | None = None) -> None:
    """Give `app` its gate. `oidc`: None reads the environment."""
    oidc = OidcSettings() if oidc is None else oidc
    bearer = None
    if oidc.jwks_url is not None:
        jwks = Jwks(oidc.jwks_url, OutboundSettings())
        bearer = Bearer(oidc, KeySource(jwks))
        app.cleanup_ctx.append(jwks.living)
    app[GATE] = Gate(app[REDIS], app[SETTINGS], bearer)
    app.on_response_prepare.append(_prepare)
