"""One connection that waits for the wake-up markers of many idle queues."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final
from weakref import WeakKeyDictionary

from redis.exceptions import ResponseError

from streams.connection import Redis
from streams.errors import CredstreamError
from streams.keys import PROBE
from streams.link import Link

KEYS_A_WAIT: Final = 100
"""Queues that share a connection: Redis looks at each when a wait begins."""
SHARED_FROM: Final = 16
"""Up to so many workers of a handle have connections of their own."""
WAIT_S: Final = 4.0
JOIN_S: Final = 0.02
"""Queues that come within this time join a wait together."""


class SharedWaits:
    """The waits of the idle workers of one Redis handle. Not for a cluster, where a command cannot
    name keys of several slots."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._groups: list[_Group] = []
        self.workers = 0

    @property
    def are_worthwhile(self) -> bool:
        """Whether so many workers wait that connections are to be saved."""
        return self.workers > SHARED_FROM and self._redis.address.kind != "cluster"

    async def wait(self, marker: bytes, limit_s: float) -> bool:
        """Whether a queue's marker has come, which is then gone, within `limit_s`; also true when
        that is not known."""
        group = next((one for one in self._groups if marker in one.waiting), None)
        group = group or next((one for one in self._groups if len(one.waiting) < KEYS_A_WAIT), None)
        if group is None:
            group = _Group(self._redis)
            self._groups.append(group)
        try:
            return await group.wait(marker, limit_s)
        finally:
            if not group.waiting and group in self._groups:
                self._groups.remove(group)
                await group.close()


_WAITS: WeakKeyDictionary[Redis, SharedWaits] = WeakKeyDictionary()


def shared_waits(redis: Redis) -> SharedWaits:
    """Those of a handle."""
    if redis not in _WAITS:
        _WAITS[redis] = SharedWaits(redis)
    return _WAITS[redis]


class _Group:
    """The waits on one connection. Markers of queues that have left meanwhile are put back."""

    def __init__(self, redis: Redis) -> None:
        self.waiting: dict[bytes, list[asyncio.Future[None]]] = {}
        self._redis = redis
        self._asked: Sequence[bytes] = ()
        """What the command that is under way names."""
        self._link: Link | None = None
        self._running: asyncio.Task[None] | None = None
        self._joining: asyncio.Task[None] | None = None

    async def wait(self, marker: bytes, limit_s: float) -> bool:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.setdefault(marker, []).append(woken)
        if self._joining is None or self._joining.done():
            self._joining = asyncio.create_task(self._join())
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(limit_s):
                    await woken
            return woken.done() and not woken.cancelled()
        except asyncio.CancelledError:
            if woken.done() and not woken.cancelled():
                await self._put_back(marker)  # another worker has to look
            raise
        finally:
            self.waiting[marker].remove(woken)
            if not self.waiting[marker]:
                del self.waiting[marker]

    async def close(self) -> None:
        for task in (self._joining, self._running):
            if task is not None:
                task.cancel()
        if self._link is not None:
            await self._redis.forget(self._link)

    async def _join(self) -> None:
        """See to it that everything that waits is waited for."""
        await asyncio.sleep(JOIN_S)
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        while not self.waiting.keys() <= set(self._asked):
            if self._link is not None and self._link.client_id and self._asked:
                with suppress(CredstreamError):
                    unblock = (b"CLIENT", b"UNBLOCK", self._link.client_id)
                    await self._redis.command(*unblock, key=PROBE)
            await asyncio.sleep(JOIN_S)

    async def _run(self) -> None:
        if self._link is None:
            self._link = await self._redis.dedicated(PROBE, WAIT_S)
        while self.waiting:
            self._asked = list(self.waiting)
            try:
                (reply,) = await self._link.send((b"BZPOPMIN", *self._asked, WAIT_S))
            except CredstreamError:
                reply = ResponseError("unreachable")
            if isinstance(reply, ResponseError):
                # Nobody knows what has happened: everybody asks for jobs, and meets the reason.
                for marker in [*self.waiting]:
                    self._wake(marker)
                await asyncio.sleep(JOIN_S)
            elif reply is not None and not self._wake(reply[0]):
                await self._put_back(reply[0])
        self._asked = ()

    def _wake(self, marker: bytes) -> bool:
        """Wake one worker of a queue; whether there was one."""
        for woken in self.waiting.get(marker, ()):
            if not woken.done():
                woken.set_result(None)
                return True
        return False

    async def _put_back(self, marker: bytes) -> None:
        with suppress(CredstreamError):
            await self._redis.command(b"ZADD", marker, 0, b"1", key=PROBE)
