"""Counts for the charts of the dashboard: what each queue did in each minute (`streams.minutes`).

Workers count in memory, which costs a few additions a job, and add to Redis every few seconds in
one call per queue, beside the work and not in it.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from consumers.events import JobCompleted, JobFailed, JobRetried, Taken
from consumers.worker import Worker
from streams import Redis
from streams.errors import CredstreamError
from streams.minutes import COMPLETED, FAILED, RETRIED, RUN, WAIT, Minutes, class_of

EVERY_S = 5.0


class MinuteCounts:
    """What a worker did since it was last written down."""

    def __init__(self, redis: Redis, worker: Worker) -> None:
        self.counts: Counter[str] = Counter()
        self._minutes = Minutes(redis, worker.spec.name)
        worker.hooks.listen(Taken, self._taken)
        worker.hooks.listen(JobCompleted, self._completed)
        worker.hooks.listen(JobFailed, self._failed)
        worker.hooks.listen(JobRetried, self._retried)

    async def flush(self) -> None:
        """Add it to the running minute. While Redis is away it is kept: it then counts for the
        minute in which Redis is back."""
        if not self.counts:
            return
        counts, self.counts = self.counts, Counter()
        try:
            await self._minutes.add(counts)
        except CredstreamError:
            self.counts += counts

    def _taken(self, event: Taken) -> None:
        for waited_ms in event.waited_ms:
            self.counts[f"{WAIT}{class_of(waited_ms)}"] += 1

    def _completed(self, event: JobCompleted) -> None:
        self.counts[COMPLETED] += 1
        self.counts[f"{RUN}{class_of(event.duration_ms)}"] += 1

    def _failed(self, event: JobFailed) -> None:
        self.counts[FAILED] += 1
        self.counts[f"{RUN}{class_of(event.duration_ms)}"] += 1

    def _retried(self, _: JobRetried) -> None:
        self.counts[RETRIED] += 1


@asynccontextmanager
async def counted(
    redis: Redis, workers: Sequence[Worker], every_s: float = EVERY_S
) -> AsyncIterator[None]:
    """Inside the block the workers are counted; what is left is written down at its end."""
    kept = [MinuteCounts(redis, worker) for worker in workers]

    async def write() -> None:
        while True:
            await asyncio.sleep(every_s)
            for one in kept:
                await one.flush()

    writing = asyncio.create_task(write())
    try:
        yield
    finally:
        writing.cancel()
        with suppress(asyncio.CancelledError):
            await writing
        for one in kept:
            await one.flush()
