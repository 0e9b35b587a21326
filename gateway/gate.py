"""The credentials there are: API keys in Redis, tokens of the OpenID provider (AU-1, AU-5)."""

import hashlib
import hmac
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from aiohttp import web

from gateway.errors import Kind, Refusal
from gateway.oidc import BadToken, Bearer
from gateway.principal import Principal, scopes_of
from gateway.settings import GatewaySettings
from gateway.throttle import Failures
from streams import Redis, access
from streams.errors import CredstreamError

logger = logging.getLogger(__name__)

FRESH_S = 2.0
"""How long what is known of a key is believed: a revoked one opens nothing after that."""
CACHED_MAX = 10_000
TOKEN_FRESH_S = 60.0
REALM = 'Bearer realm="credstream"'
K = TypeVar("K")
V = TypeVar("V")


class Unauthorized(Refusal):
    """No credential, or none that is valid. Why it is not is nobody's business."""

    kind = Kind(401, "unauthorized", "A credential is needed")
    headers = {"WWW-Authenticate": REALM}  # noqa: RUF012 - nobody changes it


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
        self._is_loopback = settings.is_loopback
        self._bearer = bearer
        self._clock_s = clock_s
        self._keys: OrderedDict[str, _Known] = OrderedDict()
        self._unknown: OrderedDict[str, _Known] = OrderedDict()
        """Ids that no key has, apart from the keys, which invented ids must not displace."""
        self._tokens: OrderedDict[bytes, tuple[Principal, float, float]] = OrderedDict()
        """By SHA-256: the principal, when the token ends (epoch s), when it was checked."""
        self._configured = False
        self._asked_s = float("-inf")

    async def is_open(self) -> bool:
        """Whether requests without a credential are let in, as LOCAL. Raises Unavailable."""
        settings = self._settings
        if settings.require_auth == "always" or self._bearer is not None:
            return False
        if not (self._is_loopback or settings.allow_insecure):
            return False
        if not self._configured and self._clock_s() - self._asked_s >= FRESH_S:
            self._configured = await access.configured(self._redis)
            self._asked_s = self._clock_s()
        return not self._configured

    @property
    def is_local(self) -> bool:
        """Whether it serves its own machine only, as far as is known without asking."""
        asks = self._settings.require_auth == "always" or self._bearer is not None
        return self._is_loopback and not asks and not self._configured

    def forget(self, key_id: str) -> None:
        """A key has changed; from now on there are keys."""
        self._configured = True
        self._forget_record(key_id)

    def _forget_record(self, key_id: str) -> None:
        """Read this key anew when it is shown next."""
        self._keys.pop(key_id, None)
        self._unknown.pop(key_id, None)

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

    async def holder(self, key_id: str) -> Principal:
        """Who a key stands for that was shown at the beginning of a session. Raises Unauthorized,
        Unavailable."""
        known = await self._read(key_id)
        return self._holder(known, known.record.digest if known.record else "")

    def token_ends_s(self, text: str) -> float | None:
        """When a token that `principal` has taken ends (epoch s); None for a key."""
        found = self._tokens.get(_fingerprint(text))
        return None if found is None else found[1]

    async def _by_key(self, key_id: str, text: str) -> Principal:
        return self._holder(await self._read(key_id), access.digest_of(text))

    async def _read(self, key_id: str) -> _Known:
        known = self._keys.get(key_id) or self._unknown.get(key_id)
        if known is None or self._clock_s() - known.read_s >= FRESH_S:
            asked_s = self._clock_s()
            known = _Known(*await access.find(self._redis, key_id), asked_s)
            self._forget_record(key_id)
            _keep(self._unknown if known.record is None else self._keys, key_id, known)
        return known

    def _holder(self, known: _Known, digest: str) -> Principal:
        record = known.record
        right = hmac.compare_digest(digest, record.digest if record else "0" * 64)
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


def _invalid() -> Unauthorized:
    refusal = Unauthorized("The credential is not valid here, or not any more.")
    refusal.headers = {"WWW-Authenticate": f'{REALM}, error="invalid_token"'}
    return refusal


def public_part(text: str) -> str:
    """What tells a credential from others and may be known: the id of an API key, a hash of the
    claims of a token. Empty for what is neither."""
    key_id = access.key_id_of(text)
    if key_id is not None:
        return key_id
    signed, separator, _ = text.rpartition(".")
    return hashlib.sha256(signed.encode()).hexdigest()[:32] if separator else ""


def _fingerprint(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _keep(cache: OrderedDict[K, V], name: K, value: V) -> None:
    cache[name] = value
    cache.move_to_end(name)
    if len(cache) > CACHED_MAX:
        cache.popitem(last=False)
