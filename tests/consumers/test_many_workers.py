"""Many workers of one process, on one Redis handle."""

import asyncio

from processes import until

from consumers import Worker
from streams import Job, Queue, Redis

COUNT = 20
WITHIN_S = 20.0


async def succeed(_: Job) -> None:
    pass


async def test_they_stop_together(redis: Redis) -> None:
    workers = [Worker(f"queue-{number}", succeed, redis=redis) for number in range(COUNT)]
    running = [asyncio.create_task(worker.run()) for worker in workers]
    for worker in workers:
        await until(lambda w=worker: w._fetcher.waiting, within_s=WITHIN_S, what="it idles")
        await Queue(worker.spec, redis).add("x", {})
    for worker in workers:
        worker.stop()
    assert await asyncio.gather(*running) == [None] * COUNT
