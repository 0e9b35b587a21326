"""Bearer tokens of an OpenID provider (AU-5).

The keys that sign them come from the configured address and nowhere else: what a token says about
where its key is (`jku`, `x5u`, `jwk`) is not looked at.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Annotated, Any, Final, Protocol, Self

import orjson
from aiohttp import web
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, OKPKey, RSAKey
from joserfc.jws import JWSRegistry
from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from gateway.errors import Kind, Refusal
from gateway.principal import ROLES, Principal, Scope, scopes_of
from outbound.client import Client, open_client
from outbound.errors import OutboundError
from outbound.settings import OutboundSettings
from schemas.fields import NO_TENANT

logger = logging.getLogger(__name__)

TOKEN_CHARS_MAX: Final = 8_192
JWKS_BYTES_MAX: Final = 256 * 1_024
FETCH_S: Final = 5.0
FRESH_S: Final = 600.0
STALE_S: Final = 3_600.0
"""How long keys are used when their address does not answer."""
AGAIN_S: Final = 30.0
"""An unknown key, or a failure, makes us ask again this often at most."""
KNOWN: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"}
)
PublicKey = RSAKey | ECKey | OKPKey


class BadToken(Exception):
    """The token opens nothing here; the text is for the log, not for whoever sent it."""


class IdentityUnavailable(Refusal):
    """The keys of the OpenID provider cannot be read."""

    kind = Kind(503, "identity_unavailable", "The identity provider cannot be reached")


class OidcSettings(BaseSettings):
    """Each field is the environment variable `OIDC_<FIELD>`. Without an issuer there is none."""

    model_config = SettingsConfigDict(env_prefix="OIDC_", frozen=True, extra="ignore")

    issuer: str | None = None
    """What `iss` must be."""
    audience: str | None = None
    """What `aud` must name."""
    jwks_url: str | None = None
    """Where the public keys are; https, unless OIDC_ALLOW_HTTP. An address of a private network
    must be in OIDC_ALLOW_NETS."""
    algorithms: Annotated[tuple[str, ...], NoDecode] = ("RS256", "ES256", "EdDSA")
    organization_claim: str = "organization_id"
    """The claim that names the tenant."""
    roles_claim: str = "roles"
    """The claim (a string or an array of strings) with the roles."""
    roles: Mapping[str, str] = Field(default_factory=dict)
    """Our roles and scopes by the provider's names, as JSON: {"queue-admins": "admin"}."""
    platform_role: str | None = None
    """Who has this role belongs to no organization and sees all of them. Unset: nobody."""
    leeway_s: int = Field(default=30, ge=0, le=60)

    @field_validator("algorithms", mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = tuple(item.strip() for item in value.split(",") if item.strip())
        unknown = [name for name in value if name not in KNOWN]
        if unknown or not value:
            raise ValueError(f"must be some of {', '.join(sorted(KNOWN))}")
        return value

    @field_validator("roles")
    @classmethod
    def _ours(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for name in value.values():
            if name not in ROLES and not scopes_of([name]):
                raise ValueError(f"{name!r} is no role or scope: {', '.join([*ROLES, *Scope])}")
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        given = (self.issuer, self.audience, self.jwks_url)
        if any(given) and not all(given):
            raise ValueError("OIDC_ISSUER, OIDC_AUDIENCE and OIDC_JWKS_URL belong together")
        return self

    @property
    def is_configured(self) -> bool:
        return self.issuer is not None


class _Answer(Protocol):
    @property
    def status(self) -> int: ...
    @property
    def body(self) -> bytes: ...


Fetch = Callable[[], Awaitable[_Answer]]


class KeySource:
    """The provider's public keys by `kid`, read every 10 minutes and when one is unknown."""

    def __init__(self, fetch: Fetch, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock_s = clock_s
        self._keys: Mapping[str, PublicKey] = {}
        self._read_s = self._asked_s = float("-inf")
        self._reading = asyncio.Lock()

    async def find(self, kid: str) -> PublicKey:
        """Raises BadToken for a key that the provider does not have, IdentityUnavailable."""
        async with self._reading:
            now_s = self._clock_s()
            old = now_s - self._read_s >= FRESH_S
            if (old or kid not in self._keys) and now_s - self._asked_s >= AGAIN_S:
                self._asked_s = now_s
                await self._read(now_s)
        if self._clock_s() - self._read_s > STALE_S:
            raise IdentityUnavailable(
                "The keys of the identity provider cannot be read. Try again."
            )
        if kid not in self._keys:
            raise BadToken("the provider has no key with this kid")
        return self._keys[kid]

    async def _read(self, now_s: float) -> None:
        try:
            answer = await self._fetch()
            self._keys = _public_keys(answer)
            self._read_s = now_s
        except (OutboundError, ValueError, JoseError) as error:
            logger.warning("the keys of the identity provider cannot be read: %s", error)


def _public_keys(answer: _Answer) -> dict[str, PublicKey]:
    """The signing keys of a JWKS; symmetric ones have no business there. Raises ValueError."""
    if answer.status != HTTPStatus.OK:
        raise ValueError(f"it answered {answer.status}")
    document = orjson.loads(answer.body)
    found: dict[str, PublicKey] = {}
    keys = document.get("keys") if isinstance(document, dict) else None
    for one in keys if isinstance(keys, list) else ():
        if not isinstance(one, dict) or one.get("use", "sig") != "sig":
            continue
        kid = one.get("kid")
        if isinstance(kid, str) and one.get("kty") in ("RSA", "EC", "OKP"):
            try:
                key = JWKRegistry.import_key(one)
            except (JoseError, ValueError, TypeError):
                continue  # a kind of key that nobody here can use
            if isinstance(key, RSAKey | ECKey | OKPKey):
                found.setdefault(kid, key)
    return found


PROVIDER_KEYS = web.AppKey("provider_keys", KeySource)


class Bearer:
    """Tells who a token stands for."""

    def __init__(
        self, settings: OidcSettings, keys: KeySource, now_s: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._now_s = now_s
        self._registry = _Algorithms(settings.algorithms)

    async def read(self, token: str) -> tuple[Principal, float]:
        """The principal, and when the token ends (epoch s). Raises BadToken, and as KeySource."""
        claims = await self.claims(token)
        return self.principal(claims), float(claims["exp"]) + self._settings.leeway_s

    async def claims(self, token: str) -> Mapping[str, Any]:
        """What a token says, once its signature and its times hold. Raises as `read`."""
        if len(token) > TOKEN_CHARS_MAX:
            raise BadToken("the token is too long")
        key = await self._keys.find(self._kid(token))
        try:
            decoded = jwt.decode(
                token,
                key,
                algorithms=list(self._settings.algorithms),
                registry=self._registry,
            )
            claims = decoded.claims
            self._claims().validate(claims)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise BadToken(str(error) or type(error).__name__) from None
        return claims

    def _kid(self, token: str) -> str:
        try:
            header = jws.extract_compact(token.encode()).headers()
        except (JoseError, ValueError, TypeError) as error:
            raise BadToken(f"not a JWS: {error}") from None
        if header.get("alg") not in self._settings.algorithms:
            raise BadToken("an algorithm that is not allowed")
        if "crit" in header:
            raise BadToken("it wants something understood that is not")
        kid = header.get("kid")
        if not isinstance(kid, str) or not kid:
            raise BadToken("it does not say which key signed it")
        return kid

    def _claims(self) -> jwt.JWTClaimsRegistry:
        settings = self._settings
        return jwt.JWTClaimsRegistry(
            now=int(self._now_s()),
            leeway=settings.leeway_s,
            iss={"essential": True, "value": str(settings.issuer)},
            aud={"essential": True, "value": str(settings.audience)},
            exp={"essential": True},
            sub={"essential": True},
        )

    def principal(self, claims: Mapping[str, Any]) -> Principal:
        """Whom they stand for. Raises BadToken when they name nobody who belongs here."""
        settings = self._settings
        given = claims.get(settings.roles_claim)
        roles = given if isinstance(given, list) else [given]
        names = [name for name in roles if isinstance(name, str)]
        subject = claims["sub"]
        if not isinstance(subject, str) or not subject:
            raise BadToken("it names no subject")
        scopes = frozenset[Scope]().union(*(self._scopes(name) for name in names))
        if settings.platform_role is not None and settings.platform_role in names:
            return Principal(subject, scopes)
        organization_id = claims.get(settings.organization_claim)
        if not isinstance(organization_id, str) or not organization_id:
            raise BadToken(f"its {settings.organization_claim} names no organization")
        if organization_id == NO_TENANT:
            raise BadToken(
                f"its {settings.organization_claim} stands for jobs without organization"
            )
        return Principal(subject, scopes, organization_id)

    def _scopes(self, name: str) -> frozenset[Scope]:
        mapped = self._settings.roles.get(name, name)
        return ROLES.get(mapped) or scopes_of([mapped])


class _Algorithms(JWSRegistry):
    """The algorithms that were allowed, and no others, whatever a token asks for."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(algorithms=list(names))
        self._allowed = {name: JWSRegistry.algorithms[name] for name in names}

    def get_alg(self, name: str) -> Any:
        """By name, without joserfc's warning about the name EdDSA."""
        if name not in self._allowed:
            raise ValueError("an algorithm that is not allowed")
        return self._allowed[name]


class Jwks:
    """Fetches the keys over the guarded client, which lives as long as the application runs."""

    def __init__(self, url: str, settings: OutboundSettings) -> None:
        self._url = url
        self._settings = settings
        self._client: Client | None = None

    async def __call__(self) -> _Answer:
        if self._client is None:
            raise ValueError("the gateway is not running")
        return await self._client.get(
            self._url, max_bytes=JWKS_BYTES_MAX, total_s=FETCH_S, accept="application/json"
        )

    async def living(self, _app: web.Application) -> AsyncIterator[None]:
        """For `cleanup_ctx` of the application."""
        async with open_client(self._settings) as self._client:
            yield
        self._client = None
