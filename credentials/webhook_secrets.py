"""Keys that sign webhooks (Standard Webhooks): made on first use, sealed at rest, rotated.

A ring of keys belongs to an organization, or to one destination of it. The newest key signs, and
those it replaced sign beside it for a while, so that receivers can change over (WH-5..WH-7).
"""

import base64
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal, Protocol

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from credentials.keyring import Keyring

Kind = Literal["hmac", "ed25519"]
SECRET_BYTES = 32
OLD_KEYS_MAX = 10
TRIES = 20
HOUR_MS = 3_600_000


class WebhookSecretSettings(BaseSettings):
    """WEBHOOK_SECRET_OVERLAP_HOURS: how long a replaced key keeps signing."""

    model_config = SettingsConfigDict(env_prefix="WEBHOOK_SECRET_", frozen=True, extra="ignore")

    overlap_hours: float = Field(default=24, ge=0, le=24 * 365)

    @property
    def overlap_ms(self) -> int:
        return int(self.overlap_hours * HOUR_MS)


@dataclass(frozen=True, slots=True)
class SealedSecret:
    """One key as it is stored. Times are epoch ms."""

    id: str
    kind: Kind
    jwe: str
    public: str | None
    """`whpk_...` of an Ed25519 key, which anybody may know."""
    created: int
    replaced: int | None = None
    """When a newer key took its place."""


Ring = tuple[SealedSecret, ...]
"""Newest first."""


class Shelf(Protocol):
    """Where rings lie. An origin of "" is the organization's own ring."""

    async def now_ms(self, organization_id: str, origin: str) -> int: ...
    async def load(self, organization_id: str, origin: str) -> tuple[int, str | None]: ...
    async def keep(
        self, organization_id: str, origin: str, version: int, sealed: str, who: bytes
    ) -> bool: ...


class Contended(Exception):
    """Others kept changing the same ring; nothing was changed here."""


class WebhookSecrets:
    """The rings of every organization. Holds the key-encryption keys: never logged."""

    def __init__(self, shelf: Shelf, keyring: Keyring, overlap_ms: int) -> None:
        self._shelf = shelf
        self._keyring = keyring
        self._overlap_ms = overlap_ms

    async def signing(self, organization_id: str, origin: str) -> list[str]:
        """The secrets that sign a webhook to `origin` now, newest first. Raises SealError."""
        ring = await self.ring(organization_id, origin)
        return [self.reveal(organization_id, one) for one in ring]

    async def ring(self, organization_id: str, origin: str) -> Ring:
        """The keys in use for a destination: its own ring if it has one, else its organization's,
        whose first key is made now if there is none."""
        for place in dict.fromkeys((origin, "")):
            _, text = await self._shelf.load(organization_id, place)
            if text is not None:
                now_ms = await self._shelf.now_ms(organization_id, place)
                return alive(parse(text), now_ms, self._overlap_ms)
        return await self._first(organization_id)

    async def rotate(
        self, organization_id: str, origin: str, kind: Kind, who: bytes = b""
    ) -> SealedSecret:
        """A new key takes over. The first key of a destination's own ring is followed by those
        with which its organization signed until now. Raises Contended."""
        for _ in range(TRIES):
            version, text = await self._shelf.load(organization_id, origin)
            now_ms = await self._shelf.now_ms(organization_id, origin)
            if text is not None:
                before = parse(text)
            else:
                before = await self.ring(organization_id, "") if origin else ()
            fresh = self._make(organization_id, kind, now_ms)
            after = rotated(before, fresh, now_ms, self._overlap_ms)
            if await self._shelf.keep(organization_id, origin, version, encode(after), who):
                return fresh
        raise Contended("the signing keys are being changed by others; try again")

    def reveal(self, organization_id: str, one: SealedSecret) -> str:
        """The secret itself. Raises SealError, also for a key of another organization."""
        return self._keyring.unseal_text(one.jwe, _name(organization_id, one.id))

    async def _first(self, organization_id: str) -> Ring:
        for _ in range(TRIES):
            now_ms = await self._shelf.now_ms(organization_id, "")
            fresh = (self._make(organization_id, "hmac", now_ms),)
            if await self._shelf.keep(organization_id, "", 0, encode(fresh), b""):
                return fresh
            _, text = await self._shelf.load(organization_id, "")
            if text is not None:
                return alive(parse(text), now_ms, self._overlap_ms)
        raise Contended("the first signing key could not be stored; try again")

    def _make(self, organization_id: str, kind: Kind, now_ms: int) -> SealedSecret:
        secret, public = generate(kind)
        key_id = secrets.token_hex(8)
        jwe = self._keyring.seal_text(secret, _name(organization_id, key_id))
        return SealedSecret(key_id, kind, jwe, public, now_ms)


def _name(organization_id: str, key_id: str) -> str:
    # What is sealed opens under this name only: moved to another organization it is useless.
    return f"webhook-secret:{organization_id}:{key_id}"


def generate(kind: Kind) -> tuple[str, str | None]:
    """A new secret, and the public half of an Ed25519 one: `whsec_`, or `whsk_` and `whpk_`."""
    if kind == "hmac":
        return "whsec_" + _b64(secrets.token_bytes(SECRET_BYTES)), None
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    return "whsk_" + _b64(private.private_bytes_raw() + public), "whpk_" + _b64(public)


def alive(ring: Sequence[SealedSecret], now_ms: int, overlap_ms: int) -> Ring:
    """The keys that sign at a moment."""
    return tuple(one for one in ring if one.replaced is None or now_ms - one.replaced < overlap_ms)


def rotated(
    ring: Sequence[SealedSecret], fresh: SealedSecret, now_ms: int, overlap_ms: int
) -> Ring:
    """The ring after `fresh` took over; at most ten old keys stay, none beyond its time."""
    old = [one if one.replaced is not None else replace(one, replaced=now_ms) for one in ring]
    return (fresh, *alive(old, now_ms, overlap_ms)[:OLD_KEYS_MAX])


def encode(ring: Sequence[SealedSecret]) -> str:
    """As it is stored."""
    return orjson.dumps([asdict(one) for one in ring]).decode()


def parse(text: str) -> Ring:
    """The ring that `encode` wrote."""
    return tuple(SealedSecret(**one) for one in orjson.loads(text))


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
