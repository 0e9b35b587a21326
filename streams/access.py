"""API keys: what they look like (AU-1), and what is known of them.

`cs_<env>_<12 characters id>_<43 characters secret><6 characters checksum>`. The secret is 256
random bits, so a plain SHA-256 of it is enough to keep; nothing else of it is ever stored.
"""

import hashlib
import secrets
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streams import keys
from streams.connection import Redis
from streams.errors import CredstreamError
from streams.scripts import RECORDS
from streams.store import change

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ID_CHARS, SECRET_CHARS, CHECKSUM_CHARS = 12, 43, 6
PREFIX = "cs_"
PAGE_MAX = 1_000


class NameTaken(CredstreamError):
    """Another key has this id: a coincidence of 71 bits."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """What a key is made for. Scopes are words of the caller's; times are epoch ms."""

    name: str
    scopes: tuple[str, ...]
    organization_id: str | None = None
    """The tenant; None: the platform."""
    expires_ms: int | None = None


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What is known of a key."""

    id: str
    name: str
    scopes: tuple[str, ...]
    organization_id: str | None
    digest: str
    """SHA-256 of the whole key, in hex."""
    created_ms: int
    expires_ms: int | None
    revoked_ms: int | None
    maker: str
    """Who made it."""

    def is_valid(self, now_ms: int) -> bool:
        """Whether it opens anything at this moment."""
        return self.revoked_ms is None and (self.expires_ms is None or now_ms < self.expires_ms)


def mint(env: str) -> tuple[str, str]:
    """A new key, and the id in it. `env`: 2..8 lower-case letters that tell people where it is
    for, such as `live`."""
    key_id = "".join(secrets.choice(ALPHABET) for _ in range(ID_CHARS))
    secret = _base62(secrets.randbits(256), SECRET_CHARS)
    body = f"{PREFIX}{env}_{key_id}_{secret}"
    return body + _checksum(body), key_id


def key_id_of(text: str) -> str | None:
    """The id in a key; None when it is none, or was not copied whole. Asks nobody."""
    parts = text.split("_")
    if len(parts) != 4 or parts[0] != "cs" or not _is_env(parts[1]) or not text.isascii():
        return None
    key_id, tail = parts[2], parts[3]
    if len(key_id) != ID_CHARS or len(tail) != SECRET_CHARS + CHECKSUM_CHARS:
        return None
    if not (key_id + tail).isalnum():
        return None
    body, checksum = text[:-CHECKSUM_CHARS], text[-CHECKSUM_CHARS:]
    return key_id if checksum == _checksum(body) else None


def digest_of(text: str) -> str:
    """What is stored of a key."""
    return hashlib.sha256(text.encode()).hexdigest()


async def create(redis: Redis, text: str, new: NewKey, maker: str, who: bytes) -> KeyRecord:
    """Enter a key that `mint` has made. Raises NameTaken."""
    key_id = key_id_of(text)
    if key_id is None:
        raise ValueError("this is no API key")
    facts: tuple[str | int, ...] = (
        *("name", new.name, "scopes", " ".join(new.scopes), "maker", maker),
        *(() if new.organization_id is None else ("organization", new.organization_id)),
        *(() if new.expires_ms is None else ("expires", new.expires_ms)),
    )
    at, digest = keys.access(key_id), digest_of(text)
    reply = await change(redis, at, "access_create", facts, id=key_id, digest=digest, who=who)
    if reply[0] != b"OK":
        raise NameTaken("the id of the new key is taken; try again")
    scopes, created = new.scopes, int(reply[1])
    return KeyRecord(
        key_id,
        new.name,
        scopes,
        new.organization_id,
        digest,
        created,
        new.expires_ms,
        None,
        maker,
    )


async def find(redis: Redis, key_id: str) -> tuple[KeyRecord | None, int]:
    """A key by its id, and what time it is (epoch ms, the clock of Redis)."""
    at = keys.access(key_id)
    flat, time = await redis.run(at.prefix, (b"HGETALL", at["key"]), (b"TIME",))
    return _record(key_id, flat), int(time[0]) * 1_000 + int(time[1]) // 1_000


async def page(redis: Redis, start: int = 0, end: int = 99) -> list[KeyRecord]:
    """Keys `start`..`end` (both included), newest first, also those that are valid no more."""
    index = keys.access()
    ids = await redis.command(b"ZREVRANGE", index["index"], start, end, key=index.prefix)
    if not ids:
        return []
    names = [key_id.decode() for key_id in ids]
    found = await redis.run(
        index.prefix, *((b"HGETALL", keys.access(key_id)["key"]) for key_id in names)
    )
    records = (_record(key_id, flat) for key_id, flat in zip(names, found, strict=True))
    return [record for record in records if record is not None]


async def revoke(redis: Redis, key_id: str, who: bytes) -> bool:
    """A key opens nothing any more; False when there is no such key. May be called twice."""
    reply = await change(redis, keys.access(key_id), "access_revoke", who=who)
    return bool(reply[0] != b"MISSING")


async def configured(redis: Redis) -> bool:
    """Whether a key was ever made here: from then on nobody is let in without one."""
    index = keys.access()
    return bool(await redis.command(b"EXISTS", index["index"], key=index.prefix))


@dataclass(frozen=True, slots=True)
class Quota:
    """What is left of a quota."""

    granted: bool
    left: int
    reset_ms: int
    """Until it is whole again."""


async def take(redis: Redis, whose: str, most: int, window_ms: int) -> Quota:
    """Use one request of somebody's quota. Not repeated when in doubt: it may count twice."""
    at = keys.quota(hashlib.sha256(whose.encode()).hexdigest()[:32])
    command = RECORDS["access_take"].command(at, most=most, window_ms=window_ms)
    reply = RECORDS["access_take"].check((await redis.run(at.prefix, command))[0])
    return Quota(reply[0] == b"OK", int(reply[1]), int(reply[2]))


def _record(key_id: str, flat: Sequence[bytes]) -> KeyRecord | None:
    facts: Mapping[str, str] = {
        name.decode(): value.decode() for name, value in zip(flat[::2], flat[1::2], strict=True)
    }
    if "digest" not in facts:
        return None
    return KeyRecord(
        id=key_id,
        name=facts["name"],
        scopes=tuple(facts["scopes"].split()),
        organization_id=facts.get("organization"),
        digest=facts["digest"],
        created_ms=int(facts["created"]),
        expires_ms=_number(facts.get("expires")),
        revoked_ms=_number(facts.get("revoked")),
        maker=facts["maker"],
    )


def _number(text: str | None) -> Any:
    return None if text is None else int(text)


def _is_env(text: str) -> bool:
    return 2 <= len(text) <= 8 and text.isascii() and text.isalpha() and text.islower()


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), CHECKSUM_CHARS)


def _base62(number: int, width: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 62)
        digits = ALPHABET[digit] + digits
    return digits.rjust(width, ALPHABET[0])
