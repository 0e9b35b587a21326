"""The background duties of a queue. Safe to run in every process at once."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from consumers.relay import Relay
from schemas.spec import QueueSpec
from streams import Redis
from streams.errors import CredstreamError
from streams.upkeep import Done, Upkeep
from streams.upkeep_index import UpkeepIndex

Verb = Callable[[int], Awaitable[Done]]
IDLE_MS: Final = 3_000
"""How often a worker asks whether its queue has work, when nothing else tells it."""
BUSY_MS: Final = 100
"""The same after there was some."""
GATHER_S: Final = 0.02
"""What is wanted within this time is done together."""
ANNOUNCED_AGAIN_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Duty:
    interval_ms: int
    """Over all processes."""
    verb: Verb


class QueueUpkeep:
    """Does what is due for one queue: one call to Redis when that is nothing."""

    def __init__(self, spec: QueueSpec, redis: Redis, trouble: Callable[[Exception], None]) -> None:
        self.spec = spec
        self._redis = redis
        self._trouble = trouble
        self._upkeep = upkeep = Upkeep(spec, redis)
        self._relay: Relay | None = None
        self._duties = {
            "promote": Duty(200, upkeep.promote),
            "reclaim": Duty(min(500, spec.lease_ms // 4), upkeep.reclaim),
            "relay": Duty(0, self._pass_on),
            "prune": Duty(1_000, upkeep.prune),
            "sweep": Duty(30_000, upkeep.sweep),
        }
        self._intervals_ms = {name: duty.interval_ms for name, duty in self._duties.items()}
        self._wanted = asyncio.Event()

    def wake(self) -> None:
        """There is probably work: do not wait for the next time."""
        self._wanted.set()

    async def run(self) -> None:
        """Keep the queue in order, and known to schedulers, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._turns())
            group.create_task(self._announce())

    async def _turns(self) -> None:
        while True:
            self._wanted.clear()
            pause_ms = await self.turn(IDLE_MS, BUSY_MS)
            with suppress(TimeoutError):
                pause_s = pause_ms / 1000 * random.uniform(0.9, 1.1)
                await asyncio.wait_for(self._wanted.wait(), pause_s)
                await asyncio.sleep(GATHER_S)

    async def turn(self, idle_ms: int, busy_ms: int) -> int:
        """Do what is due, each duty once, and answer in how many ms to do it again: `idle_ms` at
        most, `busy_ms` when there was work, 0 when a duty has more."""
        try:
            due = await self._upkeep.due(self._intervals_ms, idle_ms)
        except Exception as error:  # noqa: BLE001 - one bad turn must not end the upkeep
            self._trouble(error)
            return min(idle_ms, 10 * busy_ms)
        has_more = False
        for name in due.duties:
            duty = self._duties[name]
            try:
                has_more |= (await duty.verb(duty.interval_ms)).more
            except Exception as error:  # noqa: BLE001 - nor must one duty keep others from theirs
                self._trouble(error)
        if has_more:
            return 0
        return busy_ms if due.duties else due.next_ms

    async def _pass_on(self, interval_ms: int) -> Done:
        if self._relay is None:
            self._relay = Relay(self.spec, self._redis)
        return await self._relay.pass_on(interval_ms)

    async def _announce(self) -> None:
        """Tell schedulers what this queue goes by, again and again: a Redis may lose what it held.
        Nothing waits for it, because in a Cluster the index may lie on a primary that is away while
        that of the queue is there."""
        index = UpkeepIndex(self._redis)
        while True:
            try:
                await index.announce(self.spec)
            except CredstreamError as error:
                self._trouble(error)
            await asyncio.sleep(ANNOUNCED_AGAIN_S)
