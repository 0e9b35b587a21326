"""The scheduler role: every queue is kept in order, whether or not a worker of it runs.

It claims nothing. Delayed jobs become waiting, jobs of dead workers go back to waiting, retention,
callbacks and orphans are looked after; then the demand is true and an autoscaler starts workers.
Any number may run, beside workers that do the same for their own queue: schedulers share the
queues by an index of when each is due.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial

from consumers.metrics import WorkerMetrics
from consumers.run import reached, stops, told
from consumers.settings import WorkerSettings
from consumers.upkeep import ANNOUNCED_AGAIN_S, QueueUpkeep
from credentials.payload_cipher import configured_cipher
from schemas.spec import catalog
from streams import Redis, RedisSettings
from streams.errors import CredstreamError, LayoutError
from streams.upkeep_index import UpkeepIndex, decode_spec

logger = logging.getLogger(__name__)

POLL_S = 0.2
"""How often it asks which queues are due."""
PACE_MS = 1_000
"""Workers look more often; a queue that has none bears a second."""
IDLE_MS = 30_000
"""A queue without work is looked at after its lease, and this at the latest: a job that a worker
takes right after one look and dies with is found when its lease ends."""
HOLD_MS = 10_000
"""A queue taken by a scheduler that died is taken by another one after this."""
AT_ONCE = 100
FORGOTTEN_S = 600.0
"""A queue that was not due for this long is another scheduler's, or was deleted."""
SAY_AGAIN_S = 60.0
SHOWN_MAX = 200
"""Custom queues whose numbers are exported."""


class Scheduler:
    """Keeps the product's queues in order, and those that workers announced."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._index = UpkeepIndex(redis)
        self._kept: dict[str, QueueUpkeep] = {}
        self._announced: dict[str, bytes] = {}
        """By queue what was announced, as it was when last taken."""
        self._seen_s: dict[str, float] = {}
        self._looking: dict[str, asyncio.Task[None]] = {}
        self._looks: dict[str, int] = {}
        """Queues that were looked at, and in how many ms each is due again."""
        self._entered_s = float("-inf")
        self._wrong_layout: LayoutError | None = None
        self._complained: dict[str, tuple[str, float]] = {}

    @property
    def queues(self) -> Iterable[str]:
        """Those whose numbers are exported: the product's, and the first custom ones by name."""
        custom = sorted(self._kept.keys() - catalog().keys())
        return [*catalog(), *custom[:SHOWN_MAX]]

    async def run(self, stopping: asyncio.Event) -> None:
        """Until `stopping` is set. Raises LayoutError."""
        try:
            while not stopping.is_set():
                pause_s = await self._turn()
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), pause_s)
                if self._wrong_layout is not None:
                    raise self._wrong_layout
        finally:
            # A duty that is cut off was done or not: each is one atomic step, or may be repeated.
            for task in self._looking.values():
                task.cancel()
            await asyncio.gather(*self._looking.values(), return_exceptions=True)

    async def _turn(self) -> float:
        """Begin to look at what is due; answers when to ask again (s). In a Cluster one primary may
        be away while others are there: no queue waits for another, nor for the index."""
        looks, self._looks = self._looks, {}
        try:
            await self._enter()
            turn = await self._index.turn(looks, AT_ONCE - len(self._looking), HOLD_MS)
        except CredstreamError as error:
            self._complain("all queues", error)
            self._look_at(dict.fromkeys(catalog(), b"") | self._announced)
            return PACE_MS / 1000
        self._look_at(turn.queues)
        return POLL_S if turn.next_ms else POLL_S / 10

    async def _enter(self) -> None:
        """See to it that the product's queues are in the index."""
        if self._entered_s + ANNOUNCED_AGAIN_S > (now_s := time.monotonic()):
            return
        for spec in catalog().values():
            await self._index.enter(spec.name)
        self._entered_s = now_s
        for name in [name for name, at_s in self._seen_s.items() if at_s < now_s - FORGOTTEN_S]:
            for known in (self._seen_s, self._kept, self._announced):
                known.pop(name, None)

    def _look_at(self, queues: Mapping[str, bytes]) -> None:
        for name, about in queues.items():
            if name in self._looking or not (about or name in catalog()):
                continue
            if name not in self._kept or self._announced[name] != about:
                spec = decode_spec(name, about) if about else catalog()[name]
                self._kept[name] = QueueUpkeep(spec, self._redis, partial(self._complain, name))
            self._announced[name], self._seen_s[name] = about, time.monotonic()
            self._looking[name] = asyncio.create_task(self._look(self._kept[name]), name=name)

    async def _look(self, upkeep: QueueUpkeep) -> None:
        name, spec = upkeep.spec.name, upkeep.spec
        idle_ms = max(PACE_MS, min(IDLE_MS, spec.lease_ms))
        try:
            while (pause_ms := await upkeep.turn(idle_ms, PACE_MS)) == 0:
                pass
            self._looks[name] = pause_ms
        finally:
            del self._looking[name]

    def _complain(self, queue: str, error: Exception) -> None:
        """Say so when it begins, and every minute while it lasts."""
        if isinstance(error, LayoutError):
            self._wrong_layout = error
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
    Raises NotKept, and LayoutError for a queue of another layout."""
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
