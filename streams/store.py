"""One queue's scripts: the only place that calls them."""

import math
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import orjson

from streams.connection import Lost, Redis
from streams.errors import BacklogFull, LayoutError, NotDurable
from streams.keys import CATALOGUE, Keys, QueueKeys, audits
from streams.record import LAYOUT
from streams.scripts import RECORDS, SCRIPTS, Argument, Command

ENTERED_EVERY_S = 3_600
RARELY = frozenset({"dest_settle"})
"""Bring a deed with every call and seldom write it down: when they answer what became of a thing.
Their stream is entered then."""
_ENTERED: WeakKeyDictionary[Redis, dict[bytes, float]] = WeakKeyDictionary()


class Store:
    """Calls the transitions of one queue and knows which of them may be sent twice."""

    def __init__(self, redis: Redis, tag: str) -> None:
        self.redis = redis
        self.keys = QueueKeys(tag)

    def under(self, mark: str) -> "Store":
        """The same; what a call under an idempotency key does is written down under this name."""
        store = Store(self.redis, self.keys.tag)
        store.keys = self.keys.under(mark)
        return store

    def command(self, name: str, rest: Sequence[Argument] = (), **named: Argument) -> Command:
        return SCRIPTS[name].command(self.keys, rest, **named)

    async def once(self, name: str, rest: Sequence[Argument] = (), **named: Argument) -> list[Any]:
        """A script whose repetition would do something else (claim). Raises Lost when in doubt."""
        await self.ready()
        if named.get("who"):
            await enter(self.redis, self.keys)
        command = self.command(name, rest, **named)
        replies = await self.redis.run(self.keys.prefix, command)
        return SCRIPTS[name].check(replies[0])

    async def call(self, name: str, rest: Sequence[Argument] = (), **named: Argument) -> list[Any]:
        """A script that may be repeated: sent once more when its reply was lost."""
        return (await self.twice(name, rest, **named))[0]

    async def twice(
        self, name: str, rest: Sequence[Argument] = (), **named: Argument
    ) -> tuple[list[Any], bool]:
        """As `call`; also says whether the reply is to a repetition: the first may have done it."""
        try:
            return await self.once(name, rest, **named), False
        except Lost:
            await self.redis.unreachable()
            return await self.once(name, rest, **named), True

    async def read(self, *commands: Command) -> list[Any]:
        """Replies to commands that change nothing, in one write; sent again if they are lost."""
        try:
            return await self.redis.run(self.keys.prefix, *commands)
        except Lost:
            await self.redis.unreachable()
            return await self.redis.run(self.keys.prefix, *commands)

    async def add(
        self,
        args: Sequence[Argument],
        *,
        forward: bool = False,
        following: int | None = None,
        once: tuple[str, bytes] | None = None,
    ) -> list[Any]:
        """`add`, told on a repetition that it is one: what was done and has ended since stays so.

        `forward` is the relay's: its ids are deterministic, every send may be a repetition, and
        it works in a full Redis. `once`: a name, under which the call is answered as it was the
        first time (KEPT), and what to write down about it. `following`: so many jobs of the same
        submission come in later calls, and there must be room for all in the queue's backlog; None:
        its limit does not matter. Raises BacklogFull."""
        name = "forward" if forward else "add"
        nonce = "" if forward else secrets.token_hex(4)
        keys, about = self.keys, b""
        if once is not None:
            keys, about = self.keys.under(once[0]), once[1]

        def command(again: int) -> Command:
            room = "" if following is None else following
            return SCRIPTS[name].command(
                keys, args, nonce=nonce, again=again, once=about, room=room
            )

        await self.ready()
        link = await self.redis.link(keys.prefix)
        try:
            reply = (await self.redis.run(keys.prefix, command(int(forward))))[0]
        except Lost:
            await self.redis.unreachable()
            link = await self.redis.link(keys.prefix)
            reply = (await self.redis.run(keys.prefix, command(1)))[0]
        reply = SCRIPTS[name].check(reply)
        if reply[0] == b"BACKLOG":
            raise BacklogFull(self.keys.tag, int(reply[1]))
        if self.redis.settings.replicas_wanted:
            await self._await_replicas(link.run_id)
        return reply

    async def _await_replicas(self, run_id: str) -> None:
        """Return when enough replicas have all that was written on the primary with this run id.
        Raises NotDurable, also when there is another primary by now: it may lack the write."""
        waiter = await self.redis.replica_waiter(self.keys.prefix)
        found = await waiter.wait(self.keys)
        if not run_id or found.run_id != run_id:
            raise NotDurable("the primary changed while replicas were waited for")
        if found.replicas < (wanted := self.redis.settings.replicas_wanted):
            raise NotDurable(f"{found.replicas} replicas have the submission, {wanted} must")

    async def ready(self) -> None:
        """Opened, so that calls started one after the other are written in that order."""
        if self.keys.tag in self.redis.opened:
            return
        try:
            await self.open()
        except Lost:
            await self.redis.unreachable()
            await self.open()

    async def open(self) -> None:
        """Refuse keys of another layout. Raises LayoutError."""
        command = self.command("open", layout=LAYOUT)
        reply = (await self.redis.run(self.keys.prefix, command))[0]
        if (found := int(reply[1])) != LAYOUT:
            remedy = (
                "update this program"
                if found > LAYOUT
                else "there is no conversion: run the version that wrote it until its jobs have "
                "ended, or take an empty Redis"
            )
            raise LayoutError(
                f"queue {self.keys.tag} was written with layout {found}; this version reads layout "
                f"{LAYOUT}: {remedy}"
            )
        self.redis.opened.add(self.keys.tag)

    async def register(self, name: str, about: bytes) -> bool:
        """Enter a queue into the catalogue that the gateway reads; True: it was not in it."""
        return bool(await self.redis.command("HSET", CATALOGUE, name, about, key=CATALOGUE))

    async def worker_beats(self) -> Mapping[str, bytes]:
        """What each worker last said of itself: `<epoch ms>:<JSON>` by worker name."""
        flat = await self.redis.command("HGETALL", self.keys["workers"], key=self.keys.prefix)
        return {k.decode(): v for k, v in zip(flat[::2], flat[1::2], strict=True)}


async def enter(redis: Redis, keys: Keys) -> None:
    """Enter the stream of deeds beside these keys into the index, before something is written to
    it; once an hour is enough."""
    entered, stream = _ENTERED.setdefault(redis, {}), keys["audit"]
    now_s = time.monotonic()
    if entered.get(stream, -math.inf) + ENTERED_EVERY_S <= now_s:
        index = audits()
        command = RECORDS["audit_join"].command(index, stream=stream)
        RECORDS["audit_join"].check((await redis.run(index.prefix, command))[0])
        entered[stream] = now_s


async def change(
    redis: Redis, keys: Keys, name: str, rest: Sequence[Argument] = (), **named: Argument
) -> list[Any]:
    """A script of `lua/records/`, sent once more when its reply was lost: it must bear that."""
    command = RECORDS[name].command(keys, rest, **named)
    if named.get("who") and name not in RARELY:
        await enter(redis, keys)
    try:
        replies = await redis.run(keys.prefix, command)
    except Lost:
        await redis.unreachable()
        replies = await redis.run(keys.prefix, command)
    reply = RECORDS[name].check(replies[0])
    if name in RARELY and reply[1]:
        await enter(redis, keys)
    return reply


class RegisteredQueue(NamedTuple):
    """What workers and producers said of a queue."""

    schema: dict[str, Any] | None
    """JSON Schema of payloads. For a queue of the product it is what workers can do beyond its
    payload model (see `streams.mail.announce`)."""
    is_internal: bool


async def registered(redis: Redis) -> dict[str, RegisteredQueue]:
    """Every queue that workers or producers registered, by name. Raises Unavailable."""
    flat = await redis.command("HGETALL", CATALOGUE, key=CATALOGUE)
    found: dict[str, RegisteredQueue] = {}
    for name, text in zip(flat[::2], flat[1::2], strict=True):
        about = orjson.loads(text)
        found[name.decode()] = RegisteredQueue(about.get("schema"), bool(about.get("internal")))
    return found


def exceptions(reply: list[Any], count: int) -> list[str]:
    """Per job the word of a batched reply; OK where it names none."""
    words = ["OK"] * count
    for index, word in zip(reply[2::2], reply[3::2], strict=True):
        words[index - 1] = word.decode()
    return words
