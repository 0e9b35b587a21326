"""DIDs that are hosted here: one record each, changed by whole versions.

The record of a DID is a hash: `org` its owner, `version` (1, 2, ...), `state` what the next version
is made from, `document` what the world sees, `created` and `updated` (epoch ms). A deactivated DID
keeps `org`, `version` and `deactivated` for ever and has no document. Beside it, in the same slot,
lie its sealed keys (`streams.vault`) and, for 30 days, what each change answered: a job that runs
again changes nothing and gets the same answer. The list of an organization's DIDs lies elsewhere:
a name is entered before it is taken, and counts when the record says that it is theirs.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from streams.connection import Redis
from streams.keys import DidKeys, hosted
from streams.store import change

"""How many keys of Redis one step of a walk looks at."""
MEMORY_S = 30 * 24 * 3600
"""Longer than a failed job is kept, so that also a revived one finds what it did."""


@dataclass(frozen=True, slots=True)
class HostedDid:
    """A did:web that is served from here, or the tombstone of one."""

    did: str
    organization_id: str
    version: int
    state: str
    """Opaque here; empty in a tombstone."""
    document: dict[str, Any] | None
    """None: a tombstone."""
    created_ms: int
    updated_ms: int

    @property
    def metadata(self) -> dict[str, Any]:
        """As DID Resolution 1.0 names it."""
        known: dict[str, Any] = {
            "created": _rfc3339(self.created_ms),
            "updated": _rfc3339(self.updated_ms),
            "versionId": str(self.version),
        }
        return known if self.document is not None else known | {"deactivated": True}


@dataclass(frozen=True, slots=True)
class Version:
    """What a DID is to become: its state, its document (JSON), and the key that signs."""

    state: str
    document: str
    kid: str
    added: Sequence[tuple[str, str]] = ()
    """(key id, seal) of every new key."""
    removed: Sequence[str] = ()
    """The ids of the keys that go."""


@dataclass(frozen=True, slots=True)
class Change:
    """Who changes what, and what is answered to whoever asks the same again."""

    did: str
    organization_id: str
    origin: tuple[str, ...]
    result: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of a change.

    `word`: OK and ALREADY carry the `result` of the change that took place; EXISTS, MISSING,
    FOREIGN (another tenant's), DEACTIVATED and CONFLICT (another version) say why there is none.
    """

    word: str
    result: str = ""


async def find(redis: Redis, did: str) -> HostedDid | None:
    """The record of a DID, None when none was ever hosted under this name."""
    keys = DidKeys(did)
    return _hosted(did, await redis.command(b"HGETALL", keys["did"], key=keys.prefix))


async def look(
    redis: Redis, did: str, origin: tuple[str, ...]
) -> tuple[HostedDid | None, str | None]:
    """The record of a DID, and what this origin's change of it answered (None: not yet made)."""
    keys = _keys(did, origin)
    flat, result = await redis.run(keys.prefix, (b"HGETALL", keys["did"]), (b"GET", keys["made"]))
    return _hosted(did, flat), None if result is None else result.decode()


async def listed(
    redis: Redis, organization_id: str, start: int = 0, most: int = 50
) -> tuple[list[HostedDid], bool]:
    """DIDs of an organization, tombstones too, by name; and whether more follow.

    There can be fewer than `most` although more follow: names that somebody else has are left out.
    """
    key = hosted(organization_id)
    names = await redis.command(b"ZRANGE", key, start, start + most, key=key)
    found = await asyncio.gather(*(find(redis, name.decode()) for name in names[:most]))
    theirs = [one for one in found if one and one.organization_id == organization_id]
    return theirs, len(names) > most


async def write_down(redis: Redis, organization_id: str, did: str) -> None:
    """Enter a DID into its organization's list. Before `create`, so that none is missing from it,
    whoever dies when."""
    key = hosted(organization_id)
    await redis.command(b"ZADD", key, 0, did, key=key)


async def create(redis: Redis, new: Change, version: Version) -> Reply:
    """Publish a new DID with its first key. Answers OK, ALREADY, EXISTS or DEACTIVATED."""
    ((kid, jwe),) = version.added
    reply = await change(
        redis,
        _keys(new.did, new.origin),
        "did_create",
        org=new.organization_id,
        state=version.state,
        document=version.document,
        kid=kid,
        jwe=jwe,
        result=new.result,
        memory_s=MEMORY_S,
    )
    return _reply(reply)


async def update(redis: Redis, new: Change, version: Version, *, expected: int) -> Reply:
    """Publish the version after `expected`, if that is still the latest.

    Answers OK, ALREADY, MISSING, FOREIGN, DEACTIVATED or CONFLICT.
    """
    pairs = [part for pair in version.added for part in pair]
    reply = await change(
        redis,
        _keys(new.did, new.origin),
        "did_update",
        [*pairs, *version.removed],
        org=new.organization_id,
        expected=expected,
        state=version.state,
        document=version.document,
        kid=version.kid,
        result=new.result,
        memory_s=MEMORY_S,
        adds=len(version.added),
    )
    return _reply(reply)


async def deactivate(redis: Redis, new: Change, *, expected: int | None = None) -> Reply:
    """End a DID for good and destroy its keys; `expected`: only if that is its version.

    Answers OK, ALREADY, MISSING, FOREIGN, DEACTIVATED or CONFLICT.
    """
    reply = await change(
        redis,
        _keys(new.did, new.origin),
        "did_deactivate",
        org=new.organization_id,
        expected="" if expected is None else expected,
        result=new.result,
        memory_s=MEMORY_S,
    )
    return _reply(reply)


def _keys(did: str, origin: tuple[str, ...]) -> DidKeys:
    return DidKeys(did, hashlib.sha256(orjson.dumps(origin)).hexdigest()[:32])


def _reply(reply: list[Any]) -> Reply:
    word = reply[0].decode()
    return Reply(word, reply[1].decode() if word in ("OK", "ALREADY") else "")


def _hosted(did: str, flat: Sequence[bytes]) -> HostedDid | None:
    record = {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}
    if "org" not in record:
        return None
    document = record.get("document")
    return HostedDid(
        did=did,
        organization_id=record["org"].decode(),
        version=int(record["version"]),
        state=record.get("state", b"").decode(),
        document=None if document is None else orjson.loads(document),
        created_ms=int(record["created"]),
        updated_ms=int(record["updated"]),
    )


def _rfc3339(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
