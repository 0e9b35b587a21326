"""Deliveries that wait for their destination: released as it gets room for them.

Every end of a delivery releases the next one. Beside that, each destination with parked deliveries
is looked at now and then by one of the workers: when its circuit lets a probe through, when a
Retry-After or a rate has passed, after somebody changed it, and after a worker died that was about
to release others.
"""

import asyncio
import logging

from streams import Redis
from streams.destinations import Rules
from streams.errors import CredstreamError
from streams.parking import LOOK_MS, Parking, look

logger = logging.getLogger(__name__)

SHORTEST_S, LONGEST_S = 0.02, 1.0
"""Between two questions which destinations are to be looked at."""


class ParkedDeliveries:
    """Releases parked deliveries of a queue."""

    def __init__(self, redis: Redis, queue: str, rules: Rules) -> None:
        self._redis = redis
        self._rules = rules
        self._parking = Parking(redis, queue)

    async def release(self, gate: str, room: int) -> None:
        """Let as many come as places are kept for. When it fails, a look follows."""
        try:
            await self._release(gate, room, LOOK_MS)
        except CredstreamError as error:
            logger.warning("parked deliveries of %s are released later: %s", gate, error)

    async def keep(self) -> None:
        """Look at destinations whose time has come, until cancelled."""
        while True:
            pause_s = LONGEST_S
            try:
                pause_s = await self._look()
            except Exception as error:  # noqa: BLE001 - one bad turn must not end it
                logger.warning("parked deliveries cannot be looked at: %r", error)
            await asyncio.sleep(pause_s)

    async def _look(self) -> float:
        """Look at those that are due; seconds until others are."""
        due = await self._parking.due()
        next_ms = due.next_ms
        for gate, count in due.gates:
            room, look_ms = await look(self._redis, gate, count, self._rules)
            await self._release(gate, room, look_ms)
            next_ms = min(next_ms, look_ms)
        return min(max(next_ms / 1_000, SHORTEST_S), LONGEST_S)

    async def _release(self, gate: str, room: int, look_ms: int) -> None:
        """Until as many come as may, or nobody is left: lines hold jobs that have moved on."""
        while True:
            came, is_left = await self._parking.release(gate, room, look_ms)
            if came == room and is_left:
                return
            left = int(is_left)
            room, look_ms = await look(self._redis, gate, left, self._rules, unused=room - came)
            if not room:
                return
