"""E-mail beside the queue: whom a tenant may not write to, and what the gateway must know of it.

Addresses are kept as hashes: the list can be read without learning whom it names, though whoever
guesses an address can check it. `ends` (sorted set) says how long each is suppressed, `entries`
(hash) holds what is shown of it.
"""

import base64
import binascii
import contextlib
import hashlib
import hmac
import secrets
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from streams import keys
from streams.connection import Redis
from streams.keys import CATALOGUE
from streams.store import change

FOREVER_MS = 0
"""As a duration: without an end."""
SECRET_BYTES = 32
MAC_BYTES = 16
HASH_BYTES = 32
TENANT_BYTES = 16


@dataclass(frozen=True, slots=True)
class Suppressed:
    """One entry of an organization's suppression list. Times are epoch ms by Redis' clock."""

    id: str
    """The hash of the address: 64 hex digits."""
    reason: str
    since_ms: int
    until_ms: int | None
    """None: without an end."""


def address_id(organization_id: str, address: str) -> str:
    """What stands for `address` in the list of `organization_id`. Case does not count."""
    local, _, domain = unicodedata.normalize("NFC", address).rpartition("@")
    with contextlib.suppress(UnicodeError):  # no domain to write to; still a stable name
        domain = domain.encode("idna").decode()
    text = f"{organization_id}\0{f'{local}@{domain}'.casefold()}"
    return hashlib.sha256(text.encode()).hexdigest()


def tenant(organization_id: str) -> str:
    """The name of an organization's list: 32 hex digits, whatever the organization is called."""
    return hashlib.sha256(organization_id.encode()).hexdigest()[: 2 * TENANT_BYTES]


async def suppress(
    redis: Redis,
    where: str,
    entry_id: str,
    reason: str,
    *,
    duration_ms: int,
    who: bytes,
) -> Suppressed:
    """Put an address on the list called `where` (see `tenant`), or renew its entry, for
    `duration_ms` (FOREVER_MS: no end).

    `who` is the deed to record (streams.audit); empty records nothing. Safe to send again: one
    call is one record.
    """
    reply = await change(
        redis,
        keys.mail(where),
        "mail_suppress",
        id=entry_id,
        duration_ms=duration_ms,
        nonce=secrets.token_hex(8),
        reason=reason,
        who=who,
    )
    return Suppressed(entry_id, reason, int(reply[1]), _end(reply[2]))


async def allow(redis: Redis, where: str, entry_id: str, who: bytes) -> None:
    """Take an address off the list; one that is not there stays so, and nothing is recorded."""
    await change(redis, keys.mail(where), "mail_allow", id=entry_id, who=who)


async def suppressed(redis: Redis, where: str, entry_id: str) -> Suppressed | None:
    """The entry that holds for an address now."""
    reply = await change(redis, keys.mail(where), "mail_look", id=entry_id)
    return None if reply[0] == b"MISSING" else _entry(entry_id, *reply[1:])


async def page(redis: Redis, where: str, start: int, end: int) -> list[Suppressed]:
    """The entries from `start` to `end` (inclusive) that hold now, first those that end first."""
    reply = await change(redis, keys.mail(where), "mail_page", first=start, last=end)
    rows = zip(reply[1::3], reply[2::3], reply[3::3], strict=True)
    return [_entry(entry_id.decode(), until, entry) for entry_id, until, entry in rows]


def _entry(entry_id: str, until: bytes, entry: bytes) -> Suppressed:
    since, _, reason = entry.decode().split(":", 2)
    return Suppressed(entry_id, reason, int(since), _end(until))


def _end(until: bytes) -> int | None:
    return None if until == b"inf" else int(until)


async def link_secret(redis: Redis) -> bytes:
    """What signs unsubscribe links: made once, by whoever asks first."""
    fresh = secrets.token_bytes(SECRET_BYTES)
    reply = await change(redis, keys.mail_links(), "mail_secret", fresh=fresh)
    secret: bytes = reply[1]
    return secret


def unsubscribe_token(secret: bytes, where: str, entry_id: str) -> str:
    """The part of an unsubscribe link that says who does not want mail from whom: 86 characters."""
    payload = bytes.fromhex(where) + bytes.fromhex(entry_id)
    return base64.urlsafe_b64encode(payload + _mac(secret, payload)).rstrip(b"=").decode()


def read_token(secret: bytes, token: str) -> tuple[str, str] | None:
    """`(list, address id)` of a token that we made; None for any other text."""
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    payload, mac = raw[:-MAC_BYTES], raw[-MAC_BYTES:]
    if len(payload) != TENANT_BYTES + HASH_BYTES:
        return None
    if not hmac.compare_digest(mac, _mac(secret, payload)):
        return None
    return payload[:TENANT_BYTES].hex(), payload[TENANT_BYTES:].hex()


def _mac(secret: bytes, payload: bytes) -> bytes:
    return hmac.digest(secret, b"unsubscribe\0" + payload, "sha256")[:MAC_BYTES]


async def announce(redis: Redis, queue: str, schema: Mapping[str, Any]) -> None:
    """Tell gateways what payloads of `queue` its workers can do, as a JSON Schema.

    The last worker to start speaks for all.
    """
    about = orjson.dumps({"schema": schema})
    await redis.command(b"HSET", CATALOGUE, queue, about, key=CATALOGUE)
