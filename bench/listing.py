"""How long Redis is held while the first 10,000 jobs of a very long queue are listed.

    python -m bench.listing --socket PATH [--jobs 1000000]

Fills a queue with that many completed and that many waiting jobs (empty the server first), lists
both as the API does, and prints the slowest single call as Redis itself measured it.
"""

import argparse
import asyncio
from pathlib import Path
from typing import Any

import uvloop

from consumers import Worker
from schemas.job import State
from schemas.spec import QueueSpec, Retention
from streams import NewJob, Queue, Redis, connect
from streams.queue import DEEPEST_OFFSET

KEPT = Retention(completed_ms=None, completed_count=None, failed_ms=None, failed_count=None)
SPEC = QueueSpec("listing", retention=KEPT)
CHUNK = 20_000
PAGE = 1_000


async def fill(queue: Queue, jobs: int) -> None:
    """Add that many small jobs."""
    for at in range(0, jobs, CHUNK):
        numbers = range(at, min(at + CHUNK, jobs))
        await queue.add_many([NewJob("listing", {"n": number}) for number in numbers])


async def complete_all(redis: Redis, jobs: int) -> None:
    """Run one worker until that many jobs have completed."""
    left, done = jobs, asyncio.Event()

    def completed(_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            done.set()

    async def succeed(_: object) -> None:
        return None

    async with Worker(SPEC, succeed, concurrency=200, redis=redis).on("completed", completed):
        await done.wait()


async def show_slowest(redis: Redis, queue: Queue, state: State) -> None:
    """List the first 10,000 jobs of a state and print the longest call."""
    await redis.command("SLOWLOG", "RESET", key=SPEC.name)
    listed = 0
    for start in range(0, DEEPEST_OFFSET, PAGE):
        listed += len(await queue.page(state, start, start + PAGE - 1))
    log: list[Any] = await redis.command("SLOWLOG", "GET", 1_000, key=SPEC.name)
    print(f"{state}: {listed:,} listed, slowest call {max(row[2] for row in log) / 1_000:.1f} ms")


async def main(socket: Path, jobs: int) -> None:
    redis = connect(f"unix://{socket}")
    queue = Queue(SPEC, redis)
    try:
        await fill(queue, jobs)
        await complete_all(redis, jobs)
        await fill(queue, jobs)
        await redis.command("CONFIG", "SET", "slowlog-log-slower-than", 0, key=SPEC.name)
        await redis.command("CONFIG", "SET", "slowlog-max-len", 1_000, key=SPEC.name)
        print(await queue.counts())
        for state in (State.WAITING, State.COMPLETED):
            await show_slowest(redis, queue, state)
    finally:
        await redis.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    options = parser.parse_args()
    uvloop.run(main(options.socket, options.jobs))
