"""Status lists: which index speaks for which credential, and the bits themselves.

A pool is an (organization, issuer): its lists, one open list for each purpose, and the record of
what operators did lie in one slot. A credential's record, under a hash of its id, names the pool
and one place for each purpose, for each organization; it never changes once written, the bits do.
"""

import secrets
from array import array
from collections.abc import Mapping
from dataclasses import dataclass

from schemas.identity import scope_of
from schemas.status import PURPOSES, Frame, Owner, Place, Purpose, fresh_name, is_list_id
from streams import keys
from streams.connection import Redis
from streams.scan import scan
from streams.store import change

FULL_PERCENT = 80
"""A list takes no more credentials from here on: the indexes of a full list would be no secret,
and finding a free one would take long."""
CANDIDATES = 32
"""Random indexes offered to a draw; with 4 of 5 taken, all are taken once in 1,260 draws."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is written down of a credential."""

    pool: str
    origin: str
    """A hash of what asked for the first of its entries."""
    places: Mapping[Purpose, Place]


@dataclass(frozen=True, slots=True)
class State:
    """One of a credential's entries, now."""

    place: Place
    owner: Owner
    base_url: str
    is_set: bool
    version: int
    published: int
    """The newest version that is served; below `version` while a change is on its way."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A whole list at one instant."""

    owner: Owner
    purpose: Purpose
    base_url: str
    size: int
    version: int
    published: int
    changed_s: int
    """When this version came to be, epoch seconds by the clock of Redis."""
    bits: bytes
    """Without the zeros at its end."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A list as it is served."""

    version: int
    token: str
    """vc+jwt."""
    ttl_ms: int


@dataclass(frozen=True, slots=True)
class Flipped:
    """What became of a change. `word` is OK, SAME, FINAL, LATE or MISSING."""

    word: str
    version: int = 0
    published: int = 0


class Taken(Exception):
    """The id belongs to a credential of another issuer of the organization."""


class AmbiguousCredential(Exception):
    """Several organizations have a credential of this id."""


async def find(
    redis: Redis, credential_id: str, organization_id: str | None = None
) -> Record | None:
    """The record of an organization's credential; None for one that has no status here. Without an
    organization: that of whichever has one. Raises AmbiguousCredential when several have."""
    at = keys.credential(credential_id)
    flat = await redis.command(b"HGETALL", at["credential"], key=at.prefix)
    found = {k.decode(): v.decode() for k, v in zip(flat[::2], flat[1::2], strict=True)}
    scopes = {name.partition(":")[0] for name in found}
    if organization_id is not None:
        scopes &= {scope_of(organization_id)}
    if len(scopes) > 1:
        raise AmbiguousCredential(credential_id)
    for scope in scopes:
        pool = found[f"{scope}:pool"]
        own = {purpose: found.get(f"{scope}:{purpose}") for purpose in PURPOSES}
        places = {p: Place.within(pool, short) for p, short in own.items() if short is not None}
        return Record(pool, found[f"{scope}:origin"], places)
    return None


async def states(redis: Redis, places: Mapping[Purpose, Place]) -> dict[Purpose, State]:
    """The entries of one credential as they are now, all of them in one call; without those whose
    list is gone, which only a Redis that lost data can bring about."""
    commands: list[tuple[bytes | str | int, ...]] = []
    for place in places.values():
        its = _keys(place.list_id)
        commands.append((b"HMGET", its["list"], "org", "issuer", "base", "version", "published"))
        commands.append((b"GETBIT", its["bits"], place.index))
    pool = next(iter(places.values())).pool
    replies = await redis.run(keys.status_list(pool).prefix, *commands)
    found: dict[Purpose, State] = {}
    for (purpose, place), facts, bit in zip(
        places.items(), replies[::2], replies[1::2], strict=True
    ):
        if facts[0] is not None:
            org, issuer, base = (fact.decode() for fact in facts[:3])
            version, published = int(facts[3]), int(facts[4] or 0)
            found[purpose] = State(place, Owner(org, issuer), base, bit == 1, version, published)
    return found


async def draw(redis: Redis, owner: Owner, purpose: Purpose, frame: Frame) -> tuple[Place, bool]:
    """A random index that nobody has and nobody gets again, and whether its list is published. Safe
    to repeat: what a lost reply has taken stays unused."""
    name = await _open(redis, owner.pool, purpose, full="")
    while True:
        reply = await change(
            redis,
            keys.status_list(owner.pool, name),
            "status_draw",
            _candidates(frame.size),
            purpose=purpose,
            org=owner.organization_id,
            issuer=owner.issuer_did,
            base=frame.base_url,
            size=frame.size,
            most=max(1, frame.size * FULL_PERCENT // 100),
        )
        if reply[0] == b"OK":
            return Place(f"{owner.pool}-{name}", reply[1]), reply[2] > 0
        if reply[0] == b"FULL":
            name = await _open(redis, owner.pool, purpose, full=name)


async def register(
    redis: Redis, owner: Owner, credential_id: str, origin: str, purpose: Purpose, place: Place
) -> Place:
    """Write a place down for a credential; answers the one that counts. Raises Taken."""
    reply = await change(
        redis,
        keys.credential(credential_id),
        "status_register",
        scope=scope_of(owner.organization_id),
        pool=place.pool,
        origin=origin,
        purpose=purpose,
        place=place.short,
    )
    if reply[0] == b"TAKEN":
        raise Taken
    return Place.within(place.pool, reply[1].decode())


async def now_ms(redis: Redis, record: Record) -> int:
    """The clock that `flip` goes by, epoch milliseconds."""
    seconds, micros = await redis.command(b"TIME", key=keys.status_list(record.pool).prefix)
    return int(seconds) * 1000 + int(micros) // 1000


async def flip(
    redis: Redis, record: Record, wanted: tuple[Purpose, bool], *, until_ms: int, who: bytes = b""
) -> Flipped:
    """Set or clear one of a credential's bits; `who` is the operator's `Deed`, encoded.

    Refused after `until_ms`: the caller has seen to it that the list is looked at after that time,
    so that a change is published whatever happens to the caller. Raises KeyError when the
    credential has no entry of this purpose.
    """
    purpose, value = wanted
    place, revocation = record.places[purpose], record.places.get("revocation")
    reply = await change(
        redis,
        keys.status_list(record.pool, place.name, revocation.name if revocation else ""),
        "status_flip",
        index=place.index,
        value=int(value),
        revoked_index=revocation.index if revocation else "",
        until_ms=until_ms,
        who=who,
    )
    return Flipped(reply[0].decode(), *reply[1:])


async def snapshot(redis: Redis, list_id: str) -> Snapshot | None:
    """A whole list; None when there is none."""
    if not is_list_id(list_id):
        return None
    reply = await change(redis, _keys(list_id), "status_snapshot")
    if reply[0] == b"MISSING":
        return None
    org, issuer, purpose, base, size, version, published, changed_s = reply[1]
    return Snapshot(
        owner=Owner(org.decode(), issuer.decode()),
        purpose=purpose.decode(),
        base_url=base.decode(),
        size=int(size),
        version=int(version),
        published=int(published or 0),
        changed_s=int(changed_s),
        bits=reply[2],
    )


async def publish(redis: Redis, list_id: str, signed: Signed) -> int:
    """Serve this version unless a newer one is served; answers which one is. 0: no such list."""
    reply = await change(
        redis,
        _keys(list_id),
        "status_publish",
        version=signed.version,
        token=signed.token,
        ttl_ms=signed.ttl_ms,
    )
    return 0 if reply[0] == b"MISSING" else int(reply[1])


async def served(redis: Redis, list_id: str) -> Signed | None:
    """A list as it is served; None when there is none."""
    if not is_list_id(list_id):
        return None
    its = _keys(list_id)
    version, token, ttl_ms = await redis.command(
        b"HMGET", its["signed"], "version", "token", "ttl_ms", key=its.prefix
    )
    return Signed(int(version), token.decode(), int(ttl_ms)) if token else None


async def published(redis: Redis, list_id: str) -> str | None:
    """The signed list (vc+jwt) as it is served; None when there is none."""
    signed = await served(redis, list_id)
    return signed.token if signed else None


async def renew(redis: Redis, owner: Owner) -> dict[str, int]:
    """Every list of an issuer has to be signed anew: a key was removed. List id -> version."""
    pool = keys.status_list(owner.pool)
    versions: dict[str, int] = {}
    for name in await redis.command(b"SMEMBERS", pool["lists"], key=pool.prefix):
        list_id = f"{owner.pool}-{name.decode()}"
        reply = await change(redis, _keys(list_id), "status_renew")
        if reply[0] == b"OK":
            versions[list_id] = reply[1]
    return versions


async def retire_open_lists(redis: Redis) -> int:
    """Draw no more indexes from the lists that are open now; answers how many there were.

    For a Redis that was restored from a backup: it does not know the indexes drawn since. Lists
    that are retired go on being served and changed. Raises Unavailable."""
    retired = 0
    async for names in scan(redis, keys.STATUS_POOLS):
        for name in names:
            retired += await redis.command(b"HLEN", name, key=name)
            await redis.command(b"DEL", name, key=name)
    return retired


def _candidates(size: int) -> list[int]:
    """Indexes from the whole list that nobody can guess."""
    # No index is likelier than another by more than size / 2**32; by none if size is a power of 2.
    return [number % size for number in array("I", secrets.token_bytes(4 * CANDIDATES))]


async def _open(redis: Redis, pool: str, purpose: Purpose, *, full: str) -> str:
    """The list to draw from; a new one when `full` (empty: none) is still the open one."""
    fresh = fresh_name()
    reply = await change(
        redis, keys.status_list(pool), "status_open", purpose=purpose, full=full, fresh=fresh
    )
    name: bytes = reply[1]
    return name.decode()


def _keys(list_id: str) -> keys.Keys:
    place = Place(list_id, 0)
    return keys.status_list(place.pool, place.name)
