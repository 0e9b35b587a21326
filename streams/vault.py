"""Sealed private keys, one record per DID. What is stored here is opaque: a JWE, never a key.

The record of a DID is a hash: `org` its owner, `kid` the id of the key that signs, and the sealed
keys: `jwe` that of a DID with one key, `jwe:<key id>` each of one with several. `gone` is set when
the DID was deactivated and its keys were destroyed. A string under the same prefix remembers for
30 days which DID an origin (a job) made.
"""

import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass

from streams import keys
from streams.connection import Redis
from streams.scan import scan
from streams.store import change

ORIGIN_MEMORY_S = 30 * 24 * 3600
"""Longer than a failed job is kept, so that also a revived one finds what it made."""
LOOKED_AT = 10_000
"""Stored values that a look for KEKs reads, at most."""
BOOT_STEPS = 100
"""Steps of the look that a process takes before it begins: 50,000 keys of Redis."""
SEAL = re.compile(r"eyJ[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*){4}")
"""A compact JWE, wherever it stands."""


@dataclass(frozen=True, slots=True)
class SealedKey:
    """A private key under seal, and whose it is."""

    did: str
    organization_id: str
    kid: str
    """The absolute id of the key; the seal opens only under this name."""
    jwe: str


@dataclass(frozen=True, slots=True)
class NoSuchKey:
    """A DID that is held here, but not with the key that was asked for."""

    did: str
    organization_id: str


@dataclass(frozen=True, slots=True)
class Emptied:
    """A DID whose keys were destroyed when it was deactivated."""

    did: str
    organization_id: str


def _origin_key(origin: tuple[str, ...]) -> str:
    # No DID starts with `made:`, so the two kinds of names never meet.
    return keys.vault(f"made:{hashlib.sha256(json.dumps(origin).encode()).hexdigest()}")


async def create(redis: Redis, origin: tuple[str, ...], sealed: SealedKey) -> str:
    """Store a new key and answer its DID; for an origin seen before, the DID it made then.

    Two runs of one origin, at the same time or one after a crash of the other, end with one DID:
    the first record remembered wins and whoever comes next completes it. So the two keys may lie
    in different slots of a cluster. Safe to send again.
    """
    origin_key = _origin_key(origin)
    record = json.dumps(asdict(sealed))
    made_by = keys.Keys(origin_key, {"origin": ""})
    reply = await change(redis, made_by, "vault_origin", made=record, memory_s=ORIGIN_MEMORY_S)
    first: bytes = reply[1]
    if not first.startswith(b"{"):
        return first.decode()
    winner = SealedKey(**json.loads(first))
    await keep(redis, winner)
    # The sealed key needs to lie in one place only from here on.
    await redis.command(b"SET", origin_key, winner.did, b"XX", b"KEEPTTL", key=origin_key)
    return winner.did


async def keep(redis: Redis, sealed: SealedKey) -> bool:
    """Store a key under its DID unless one is there already; answers whether it did."""
    reply = await change(
        redis,
        keys.Keys(keys.vault(sealed.did), {"vault": ""}),
        "vault_keep",
        org=sealed.organization_id,
        kid=sealed.kid,
        jwe=sealed.jwe,
    )
    return bool(reply[0] == b"OK")


async def find(
    redis: Redis, did: str, key_id: str | None = None
) -> SealedKey | NoSuchKey | Emptied | None:
    """A sealed key of a DID: the one that signs, or the one of this absolute id.

    None when this installation knows nothing of the DID.
    """
    key = keys.vault(did)
    flat = await redis.command(b"HGETALL", key, key=key)
    record = dict(zip(flat[::2], flat[1::2], strict=True))
    org, current = record.get(b"org", b"").decode(), record.get(b"kid", b"").decode()
    if not org:
        return None
    if b"gone" in record:
        return Emptied(did, org)
    kid = key_id or current
    jwe = record.get(f"jwe:{kid}".encode()) or (record.get(b"jwe") if kid == current else None)
    return NoSuchKey(did, org) if jwe is None else SealedKey(did, org, kid, jwe.decode())


@dataclass(frozen=True, slots=True)
class Stored:
    """A value in Redis that holds seals: one JWE, or JSON with several."""

    key: str
    field: str
    """The field of a hash; empty: the value is a string."""
    text: str


async def stored(redis: Redis, purpose: str = "") -> AsyncIterator[list[Stored]]:
    """Everything that is sealed under a KEK, in batches: keys of DIDs (purpose `issuer`), keys
    that sign webhooks (`webhook`); empty: both.

    What lay there all the time is shown at least once, what came in meanwhile perhaps not.
    """
    kinds = (
        ("issuer", keys.VAULTS, _in_vault),
        ("webhook", keys.WEBHOOK_SECRETS, _in_destination),
    )
    for kind, pattern, read in kinds:
        if purpose in ("", kind):
            async for names in scan(redis, pattern.encode()):
                found = [await read(redis, name) for name in names]
                yield [value for batch in found for value in batch]


async def keks_in_use(redis: Redis, steps: int | None = None, purpose: str = "") -> set[str]:
    """Ids of the KEKs that the first 10,000 stored values are sealed under; `steps`: only of what
    so many steps of the walk come upon; `purpose`: as in `stored`. Opens nothing. Raises
    Unavailable."""
    found, seen, taken = set[str](), 0, 0
    async for batch in stored(redis, purpose):
        found.update(_kek_of(seal) for value in batch for seal in SEAL.findall(value.text))
        seen, taken = seen + len(batch), taken + 1
        if seen >= LOOKED_AT or taken == steps:
            break
    return found


def _kek_of(jwe: str) -> str:
    header = jwe.partition(".")[0]
    try:
        return str(json.loads(base64.urlsafe_b64decode(header + "=="))["kid"])[:80]
    except (ValueError, KeyError, TypeError):
        return "(unreadable)"


async def replace(redis: Redis, old: Stored, text: str) -> bool:
    """Put `text` in the place of a value, if it is still what was read; False: it was changed."""
    if old.field:
        record = keys.Keys(old.key, {"vault": ""})
        reply = await change(
            redis, record, "vault_seal", field=old.field, before=old.text, after=text
        )
    else:
        remembered = keys.Keys(old.key, {"origin": ""})
        reply = await change(redis, remembered, "vault_origin_seal", before=old.text, after=text)
    return bool(reply[0] != b"CHANGED")


async def _in_vault(redis: Redis, key: str) -> list[Stored]:
    if key.startswith(keys.vault("made:").removesuffix("}")):
        text = (await redis.command(b"GET", key, key=key) or b"").decode()
        # Later it holds a DID and nothing else.
        return [Stored(key, "", text)] if text.startswith("{") else []
    flat = await redis.command(b"HGETALL", key, key=key)
    record = {name.decode(): value.decode() for name, value in zip(*[iter(flat)] * 2, strict=True)}
    return [
        Stored(key, field, text)
        for field, text in record.items()
        if field == "jwe" or field.startswith("jwe:")
    ]


async def _in_destination(redis: Redis, key: str) -> list[Stored]:
    text = await redis.command(b"HGET", key, b"sealed", key=key)
    return [] if text is None else [Stored(key, "sealed", text.decode())]
