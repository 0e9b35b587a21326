"""The scheduler role: every queue is kept in order, whether or not a worker of it runs (B9).

It claims nothing. Delayed jobs become waiting, jobs of dead workers go back to waiting, retention,
callbacks and orphans are looked after; then the demand is true and an autoscaler starts workers.
Any number may run, beside workers that do the same for their own queue.
"""

import asyncio
import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import partial

from consumers.metrics import WorkerMetrics
from consumers.run import reached, stops, told
from consumers.settings import WorkerSettings
from consumers.upkeep import keep_up
from credentials.payload_cipher import configured_cipher
from schemas.spec import QueueSpec, catalog
from streams import Redis, RedisSettings
from streams.errors import CredstreamError, LayoutTooNew
from streams.upkeep import announced

logger = logging.getLogger(__name__)

LOOK_S = 2.0
"""How soon a queue is found that workers announced."""
PACE_MS = 1_000
"""Workers look more often; a queue that has none bears a second."""
SAY_AGAIN_S = 60.0
SHOWN_MAX = 200
"""Custom queues whose numbers are exported."""


class Scheduler:
    """Keeps the product's queues in order, and those that workers announced."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._kept: dict[str, tuple[QueueSpec, asyncio.Task[None]]] = {}
        self._announced: dict[str, QueueSpec] = {}
        self._too_new: LayoutTooNew | None = None
        self._complained: dict[str, tuple[str, float]] = {}

    @property
    def queues(self) -> Iterable[str]:
        """Those whose numbers are exported: the product's, and the first custom ones by name."""
        custom = sorted(self._kept.keys() - catalog().keys())
        return [*catalog(), *custom[:SHOWN_MAX]]

    async def run(self, stopping: asyncio.Event) -> None:
        """Until `stopping` is set. Raises LayoutTooNew."""
        try:
            while not stopping.is_set():
                await self._look()
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), LOOK_S)
                if self._too_new is not None:
                    raise self._too_new
        finally:
            # A duty that is cut off was done or not: each is one atomic step, or may be repeated.
            for _, task in self._kept.values():
                task.cancel()
            await asyncio.gather(*(t for _, t in self._kept.values()), return_exceptions=True)

    async def _look(self) -> None:
        """Take up what is new, and anew what is announced differently. In a Cluster one primary may
        be away while others are there: no queue waits for another."""
        try:
            self._announced = await announced(self._redis)
        except CredstreamError as error:
            self._complain("all queues", error)
        wanted = {**catalog(), **self._announced}
        for name, (spec, task) in [*self._kept.items()]:
            if wanted.get(name) != spec:
                task.cancel()
                del self._kept[name]
        for name in wanted.keys() - self._kept.keys():
            complain = partial(self._complain, name)
            keeping = keep_up(wanted[name], self._redis, complain, PACE_MS)
            self._kept[name] = wanted[name], asyncio.create_task(keeping, name=name)

    def _complain(self, queue: str, error: Exception) -> None:
        """Say so when it begins, and every minute while it lasts."""
        if isinstance(error, LayoutTooNew):
            self._too_new = error
        now_s, text = time.monotonic(), str(error)
        last, said_s = self._complained.get(queue, ("", 0.0))
        if text != last or now_s - said_s >= SAY_AGAIN_S:
            self._complained[queue] = text, now_s
            logger.warning("⚠️ [%s] %s; trying again", queue, text, extra={"queue": queue})


async def run_scheduler(
    settings: WorkerSettings, redis: Redis | RedisSettings | None = None
) -> None:
    """Keep every queue in order until SIGTERM or SIGINT, return.

    `redis`: a handle that stays the caller's, or what to connect to (None: the environment).
    Raises NotKept, and LayoutTooNew for a queue of a newer version."""
    stopping, _ = stops()
    async with reached(redis) as (handle, standing):
        handle.cipher = configured_cipher(settings.data_dir, production=settings.production)
        scheduler = Scheduler(handle)
        metrics = WorkerMetrics(handle, role="scheduler", queues=lambda: scheduler.queues)
        metrics.standing = standing
        async with told(settings, handle, stopping, metrics):
            logger.info("keeping every queue in order")
            await scheduler.run(stopping)
            logger.info("nothing is left half done")
