"""What happens, as it happens: the event streams of queues and the stream of all of them.

Verbs only. Who waits, remembers and hands out is the gateway's business.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

from redis.exceptions import AskError, MovedError

from streams import keys
from streams.connection import Redis
from streams.errors import Unavailable
from streams.link import Link
from streams.scripts import SCRIPTS, Argument
from streams.store import change

PAGE = 200
READ_MOST = 500
"""Entries of one stream in one read. A fuller stream may have been cut before it was read."""


class Position(NamedTuple):
    """A place in an event stream: the id of an entry of Redis, `<ms>-<seq>`."""

    ms: int
    seq: int

    @classmethod
    def parse(cls, text: str | bytes) -> "Position":
        ms, _, seq = (text if isinstance(text, str) else text.decode()).partition("-")
        return cls(int(ms), int(seq))

    def __str__(self) -> str:
        return f"{self.ms}-{self.seq}"


START = Position(0, 0)


@dataclass(frozen=True, slots=True)
class Happening:
    """One entry of an event stream."""

    at: Position
    queue: str
    event: str
    """added, active, completed, failed, delayed, waiting, removed, cleaned, paused, resumed,
    limits; in the stream of all queues also gap: some events of that queue are gone."""
    jobs: tuple[str, ...]
    """At most 50 ids."""
    more: tuple[tuple[str, str], ...] = ()
    """Whatever else the entry says; in the stream of all queues `t`, when it happened (ms)."""


class Page(NamedTuple):
    """What came after a position: in order, without holes unless `gap`."""

    gap: bool
    last: Position
    """Where to go on from."""
    found: Sequence[Happening]


class Events:
    """The event stream of one queue, or of all of them (`queue` None)."""

    def __init__(self, redis: Redis, queue: str | None) -> None:
        self.queue = queue
        self.redis = redis
        self.keys: keys.Keys = keys.all_events() if queue is None else keys.QueueKeys(queue)

    async def last(self) -> Position:
        """The position of the newest entry there ever was. Raises Unavailable."""
        reply = await self._since(START, 0)
        return Position.parse(reply[1])

    async def since(self, after: Position, most: int = PAGE) -> Page:
        """The oldest `most` entries after a position. Raises Unavailable.

        `gap`: something between `after` and the first of them has been trimmed, or `after` lies
        beyond the end of the stream, which then is another one than it was."""
        reply = await self._since(after, most)
        found = self.read(reply[2])
        last = found[-1].at if found else Position.parse(reply[1])
        return Page(reply[0] == b"GAP", last, found)

    def read(self, entries: Iterable[Any]) -> list[Happening]:
        """Entries of this stream as Redis answers them."""
        return [self._happening(entry, flat) for entry, flat in entries]

    async def _since(self, after: Position, most: int) -> list[Any]:
        command = SCRIPTS["since"].command(self.keys, after=str(after), most=most)
        reply = (await self.redis.run(self.keys.prefix, command))[0]
        return SCRIPTS["since"].check(reply)

    def _happening(self, entry: bytes, flat: list[bytes]) -> Happening:
        text = [item.decode() for item in flat]
        record = dict(zip(text[::2], text[1::2], strict=True))
        return Happening(
            at=Position.parse(entry),
            queue=record.pop("q", self.queue or ""),
            event=record.pop("e"),
            jobs=tuple(record.pop("i").split()),
            more=tuple(record.items()),
        )


class Watch:
    """A connection that waits for what happens next in some streams of one node."""

    def __init__(self, redis: Redis, block_ms: int = 2_000) -> None:
        self._redis = redis
        self._block_ms = block_ms
        self._link: Link | None = None
        self._key = keys.PROBE

    async def read(self, after: Mapping[Events, Position]) -> dict[Events, list[Happening]]:
        """New entries per stream, at most 500 each; empty when nothing came for a while, or after
        `unblock`. On a cluster only one stream can be asked. Raises Unavailable."""
        streams = {events.keys["events"]: events for events in after}
        if self._link is None:
            self._key = next(iter(after)).keys.prefix
            self._link = await self._redis.dedicated(self._key, self._block_ms / 1000)
        places = (str(position) for position in after.values())
        head = (b"XREAD", b"COUNT", READ_MOST, b"BLOCK", self._block_ms, b"STREAMS")
        command: tuple[Argument, ...] = (*head, *streams, *places)
        try:
            (reply,) = await self._link.run(command)
        except Unavailable:
            # On a cluster another node may have this stream by now.
            await self.close()
            await self._redis.unreachable()
            raise
        if isinstance(reply, MovedError | AskError):
            # Never asked for elsewhere on a shared link: everybody would wait behind this wait.
            await self.close()
            await self._redis.unreachable()
            raise Unavailable("this slot has moved")
        reply = await self._redis.judge(reply, command)
        return {streams[key]: streams[key].read(found) for key, found in reply or ()}

    async def unblock(self) -> None:
        """Make a waiting `read` return now."""
        if self._link is not None and self._link.client_id:
            at = self._link.client_id
            await self._redis.command(b"CLIENT", b"UNBLOCK", at, key=self._key)

    async def close(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await self._redis.forget(link)


def read_together(redis: Redis) -> bool:
    """Whether one read may ask for streams of several queues: not on a cluster."""
    return redis.address.kind != "cluster"


async def merged_up_to(redis: Redis, queue: str) -> Position:
    """How far a queue's events have joined the stream of all queues."""
    at = keys.all_events()
    found = await redis.command(b"HGET", at["cursors"], queue, key=at.prefix)
    return Position.parse(found) if found else START


async def merge(redis: Redis, queue: str, begin: Position, page: Page) -> Position:
    """Let what came after `begin` in a queue join the stream of all queues.

    Answers how far the queue has joined: when another process was faster, that may be elsewhere
    than the end of `page`, of which nothing was taken then. May be repeated."""
    entries: list[Argument] = []
    if page.gap:
        entries += (4, "e", "gap", "i", "")
    for one in page.found:
        more = tuple(chain.from_iterable((*one.more, ("t", str(one.at.ms)))))
        entries += (4 + len(more), "e", one.event, "i", " ".join(one.jobs), *more)
    reply = await change(
        redis,
        keys.all_events(),
        "merge_events",
        entries,
        queue=queue,
        begin=str(begin),
        finish=str(page.last),
    )
    return Position.parse(reply[1])
