"""A producer that keeps adding jobs while things go wrong, and remembers what was acknowledged."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from processes import until

from schemas.job import JobOptions
from schemas.spec import QueueSpec
from streams import NewJob, Queue, Redis, RedisSettings, connect
from streams.errors import Unavailable

BATCH = 20
PAUSE_S = 0.01
LAST_WORD_S = 20.0


class Producer:
    """Adds batches of jobs with ids of their own, each batch until it is acknowledged."""

    def __init__(self, redis: Redis, spec: QueueSpec) -> None:
        self.queue = Queue(spec, redis)
        self.acknowledged: list[str] = []
        self.refused = 0
        self._stopping = False

    async def run(self) -> None:
        """Add until `stop`."""
        number = 0
        while not self._stopping:
            jobs = [self._job(number + offset) for offset in range(BATCH)]
            number += BATCH
            while not await self._acknowledged(jobs):
                self.refused += 1
                await asyncio.sleep(PAUSE_S)

    def stop(self) -> None:
        self._stopping = True

    async def reaches(self, count: int) -> None:
        """Wait until `count` jobs are acknowledged."""
        await until(
            lambda: len(self.acknowledged) >= count,
            within_s=LAST_WORD_S,
            what=f"{count} jobs are acknowledged",
        )

    async def tries_again(self) -> None:
        """Wait for one more answer, good or bad."""
        before = self.refused, len(self.acknowledged)
        await until(
            lambda: (self.refused, len(self.acknowledged)) != before,
            within_s=LAST_WORD_S,
            what="the producer gets an answer",
        )

    @staticmethod
    def _job(number: int) -> NewJob:
        return NewJob(name="x", data={"n": number}, options=JobOptions(job_id=f"job-{number}"))

    async def _acknowledged(self, jobs: list[NewJob]) -> bool:
        try:
            added = await self.queue.add_many(jobs)
        except Unavailable:
            return False
        self.acknowledged += [one.id for one in added]
        return True


@asynccontextmanager
async def producing(
    where: RedisSettings | str, spec: QueueSpec, *, at_least: int
) -> AsyncIterator[Producer]:
    """Jobs keep coming in the block and until `at_least` are acknowledged; then no more come."""
    redis = connect(where)
    producer = Producer(redis, spec)
    running = asyncio.create_task(producer.run())
    try:
        yield producer
        await until(
            lambda: len(producer.acknowledged) >= at_least or running.done(),
            within_s=LAST_WORD_S,
            what=f"{at_least} jobs are acknowledged",
        )
        producer.stop()
        await asyncio.wait_for(running, LAST_WORD_S)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await redis.close()


async def adds(queue: Queue) -> bool:
    """Whether a job can be added now."""
    try:
        await queue.add("x", {})
    except Unavailable:
        return False
    return True
