"""A handler that computes: a plain function, in a process per slot.

In the event loop it would keep every other job of the process waiting, in a thread it would compete
with them for one CPU.
"""

import asyncio
from typing import Any

from credstream import Job, Processor, Queue, QueueSpec, Worker, connect
from streams import Redis


def count_primes(job: Job, context: Any) -> int:
    """How many primes there are below a number. The context has the same methods, without await."""
    below: int = job.data["below"]
    found = sum(all(n % d for d in range(2, int(n**0.5) + 1)) for n in range(2, below))
    context.log(f"{found} primes below {below}")
    return found


# Another process must be able to import the function: it stands at the top level of a module.
PROCESSOR = Processor(QueueSpec("primes"), count_primes, executor="process")


async def main(redis: Redis, processor: Processor = PROCESSOR) -> list[int]:
    """Count in two processes at once; the results."""
    queue = Queue("primes", redis)
    found: list[int] = []
    all_done = asyncio.Event()

    def note(_: Job, result: int) -> None:
        found.append(result)
        if len(found) == 2:
            all_done.set()

    worker = Worker(processor, concurrency=2, redis=redis).on("completed", note)
    async with worker:
        for below in (10, 100):
            await queue.add("count", {"below": below})
        await all_done.wait()
    print(*sorted(found))
    return sorted(found)


async def run() -> None:
    """The example on the Redis that the environment names."""
    redis = connect()
    await main(redis)
    await redis.close()


if __name__ == "__main__":
    asyncio.run(run())
