"""A worker process whose only handler never lets its event loop turn again."""

import asyncio
import sys
import time
from pathlib import Path

import consumers.lease
from consumers import Processor
from consumers.run import run_workers
from consumers.settings import WorkerSettings
from schemas.spec import QueueSpec
from streams import Job, Queue, connect

SPEC = QueueSpec("chaos", lease_ms=1_000, timeout_ms=500)


async def block_for_ever(_: Job) -> None:
    while True:
        time.sleep(0.01)


PROCESSOR = Processor(SPEC, block_for_ever)


async def main(url: str) -> None:
    consumers.lease.GRACE_S = 0.5
    redis = connect(url)
    await Queue(SPEC, redis).add("work", {})
    settings = WorkerSettings(queues="chaos", processors=str(Path(__file__)))
    await run_workers(settings, redis)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
