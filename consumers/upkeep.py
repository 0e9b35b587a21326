"""The background duties of a queue, as a table. Safe to run in every pod at once."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from consumers.relay import Relay
from schemas.spec import QueueSpec
from streams import Redis
from streams.errors import CredstreamError
from streams.upkeep import Done, Upkeep, announce

Verb = Callable[[int], Awaitable[Done]]
KNOWN_AGAIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Duty:
    interval_ms: int
    verb: Verb


def duties(spec: QueueSpec, redis: Redis) -> list[Duty]:
    """What has to be done for a queue, and how often over all pods."""
    upkeep, relay = Upkeep(spec, redis), Relay(spec, redis)
    return [
        Duty(200, upkeep.promote),
        Duty(min(500, spec.lease_ms // 4), upkeep.reclaim),
        Duty(100, relay.pass_on),
        Duty(1_000, upkeep.prune),
        Duty(30_000, upkeep.sweep),
    ]


async def keep_up(
    spec: QueueSpec, redis: Redis, trouble: Callable[[Exception], None], pace_ms: int = 0
) -> None:
    """Run every duty of a queue until cancelled; each is looked at every `pace_ms` at most, which
    does not keep others from doing it more often."""
    async with asyncio.TaskGroup() as group:
        for duty in duties(spec, redis):
            group.create_task(_every(duty, max(duty.interval_ms, pace_ms), trouble))


async def make_known(spec: QueueSpec, redis: Redis, trouble: Callable[[Exception], None]) -> None:
    """Tell schedulers what this queue goes by, until cancelled: a Redis may lose what it held.
    Nothing waits for it, because in a Cluster it may lie on a primary that is away while that of
    the queue is there."""
    while True:
        try:
            await announce(redis, spec)
        except CredstreamError as error:
            trouble(error)
        await asyncio.sleep(KNOWN_AGAIN_S)


async def _every(duty: Duty, pause_ms: int, trouble: Callable[[Exception], None]) -> None:
    while True:
        try:
            done = await duty.verb(duty.interval_ms)
            if done.more:
                continue
        except Exception as error:  # noqa: BLE001 - one bad turn must not end a duty
            trouble(error)
        await asyncio.sleep(pause_ms / 1000 * random.uniform(0.9, 1.1))
