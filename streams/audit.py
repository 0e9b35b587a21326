"""What operators did: one record per deed, written by the script that has the effect (AU-14).

The records of a deed lie in the slot of what it changed, because one script cannot write into two
slots of a cluster: a stream called `audit` beside the other keys. An index names those streams;
reading merges them by time.
"""

import hashlib
import heapq
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from streams import keys
from streams.connection import Redis
from streams.errors import InvalidValue
from streams.sanitize import clean_text, encode_value
from streams.store import ENTERED_EVERY_S, change

KEEP_MS = 90 * 24 * 3_600_000
"""How long a record is kept."""
STREAMS_MAX = 10_000
LOOKED_AT_MAX = 10_000
"""Records that one page looks at: among those of others, its own may be rare."""
CHUNK = 100
RECORD_BYTES = 64 * 1024
TEXT_CHARS = 1_024


@dataclass(frozen=True, slots=True)
class Deed:
    """Who did what to what, and from where. The time is the record's, by the clock of Redis."""

    actor: str
    """The principal: `local`, the name of an API key, or the subject of a token."""
    action: str
    """A verb, as `queue.pause` or `credential.revoke`."""
    target: str
    organization_id: str | None = None
    """The tenant whose thing it was; None: the platform's."""
    key_id: str | None = None
    address: str | None = None
    request_id: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    """No payloads and no secrets."""

    def encode(self) -> bytes:
        """The argument `who` of a script, for one call and its repetitions: each has an id."""
        texts = {
            "actor": self.actor,
            "action": self.action,
            "target": self.target,
            "organizationId": self.organization_id,
            "keyId": self.key_id,
            "address": self.address,
            "requestId": self.request_id,
        }
        record = {"id": secrets.token_hex(8), **texts, "parameters": self.parameters}
        try:
            return encode_value(record, RECORD_BYTES)
        except InvalidValue as error:
            # What was done is recorded whatever its texts are: bytes of a command line, for one.
            clean = {key: text and clean_text(text, TEXT_CHARS) for key, text in texts.items()}
            unreadable = {"unreadable": clean_text(error, TEXT_CHARS)}
            return orjson.dumps(record | clean | {"parameters": unreadable})


class Mark(NamedTuple):
    """The place of a record among all of them. Streams go by a hash: what they are called tells
    about things of others."""

    ms: int
    seq: int
    stream: str

    @property
    def entry(self) -> str:
        return f"{self.ms}-{self.seq}"


@dataclass(frozen=True, slots=True)
class Record:
    """A deed as it was written down."""

    at: Mark
    deed: Mapping[str, Any]
    """By wire names, as `Deed.encode` spells them."""
    outcome: str
    """`done`, or `cancelling`: a worker was told to stop a job."""


class Records(NamedTuple):
    """A page of records, newest first."""

    found: list[Record]
    last: Mark | None
    """Where to go on from; None: there is nothing more."""


Wanted = Callable[[Mapping[str, Any]], bool]


async def record(redis: Redis, deed: Deed, *, at: keys.Keys | None = None) -> None:
    """Write down a deed that has no script of its own, before its effect; beside the API keys,
    unless `at` says where."""
    where = keys.access() if at is None else at
    await change(redis, where, "audit_note", who=deed.encode())


async def page(redis: Redis, before: Mark | None, most: int, wanted: Wanted) -> Records:
    """The newest `most` records that are wanted, of those older than a mark."""
    merged = _Merged(redis, before)
    await merged.open()
    found: list[Record] = []
    last: Mark | None = None
    for _ in range(LOOKED_AT_MAX):
        one = await merged.next()
        if one is None:
            return Records(found, None)
        last = one.at
        if wanted(one.deed):
            found.append(one)
            if len(found) == most:
                break
    return Records(found, last)


async def trim(redis: Redis, keep_ms: int = KEEP_MS) -> int:
    """Forget what is older than that; answers how many records went. May run anywhere, at once."""
    went, index = 0, keys.audits()
    now_ms = await _now_ms(redis)
    for stream, entered_ms in await _streams(redis):
        more = True
        while more:
            reply = await change(redis, _keys_of(stream), "audit_trim", keep_ms=keep_ms)
            _, gone, left, more = reply
            went += gone
        # Whoever writes to a stream enters it into the index first, once an hour.
        if left == 0 and entered_ms < now_ms - keep_ms - 2_000 * ENTERED_EVERY_S:
            await redis.command(b"ZREM", index["index"], stream, key=index.prefix)
    return went


class _Merged:
    """All streams as one, newest first. A stream is read when it may have the newest record."""

    def __init__(self, redis: Redis, before: Mark | None) -> None:
        self._redis = redis
        self._before = before
        self._unread: list[tuple[int, str]] = []
        """(no record is later than this ms, stream), the latest at the end."""
        self._heap: list[tuple[tuple[int, int, int], str, Record]] = []
        self._more: dict[str, int] = {}
        """How many records of a stream are in the heap, if it may have more."""

    async def open(self) -> None:
        slack_ms = 2_000 * ENTERED_EVERY_S
        streams = await _streams(self._redis)
        self._unread = sorted((entered_ms + slack_ms, stream) for stream, entered_ms in streams)

    async def next(self) -> Record | None:
        while self._unread and (not self._heap or self._unread[-1][0] >= -self._heap[0][0][0]):
            await self._read(self._unread.pop()[1], self._before)
        if not self._heap:
            return None
        _, stream, one = heapq.heappop(self._heap)
        if stream in self._more:
            self._more[stream] -= 1
            if self._more[stream] == 0:
                await self._read(stream, one.at)
        return one

    async def _read(self, stream: str, before: Mark | None) -> None:
        end = "+"
        if before is not None:
            # Of records of the same moment, those of streams that sort lower come later.
            end = before.entry if _short(stream) < before.stream else f"({before.entry}"
        where = _keys_of(stream)
        rows = await self._redis.command(
            b"XREVRANGE", where["audit"], end, b"-", b"COUNT", CHUNK, key=where.prefix
        )
        self._more.pop(stream, None)
        if len(rows) == CHUNK:
            self._more[stream] = CHUNK
        for entry, flat in rows:
            one = _record(_short(stream), entry, flat)
            order = (-one.at.ms, -one.at.seq, -int(one.at.stream, 16))
            heapq.heappush(self._heap, (order, stream, one))


def _record(stream: str, entry: bytes, flat: list[bytes]) -> Record:
    ms, _, seq = entry.decode().partition("-")
    facts = dict(zip(flat[::2], flat[1::2], strict=True))
    outcome = facts.get(b"o", b"done").decode()
    return Record(Mark(int(ms), int(seq), stream), orjson.loads(facts[b"a"]), outcome)


def _short(stream: str) -> str:
    return hashlib.sha256(stream.encode()).hexdigest()[:16]


def _keys_of(stream: str) -> keys.Keys:
    return keys.Keys(stream.removesuffix("audit"), {"audit": "audit"})


async def _streams(redis: Redis) -> list[tuple[str, int]]:
    """Every stream of deeds, and when somebody who wrote to it entered it last (epoch ms)."""
    index = keys.audits()
    flat = await redis.command(
        *(b"ZREVRANGE", index["index"], 0, STREAMS_MAX - 1, b"WITHSCORES"), key=index.prefix
    )
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return [(stream.decode(), int(float(score))) for stream, score in pairs]


async def _now_ms(redis: Redis) -> int:
    seconds, micros = await redis.command(b"TIME", key=keys.audits().prefix)
    return int(seconds) * 1_000 + int(micros) // 1_000
