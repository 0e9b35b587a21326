"""A queue of your own: one async function, ten jobs at a time."""

import asyncio
from typing import Any

from credstream import Job, Queue, Worker, connect
from streams import Redis


async def handle(job: Job) -> dict[str, Any]:
    """What the queue is for. The answer is stored with the job."""
    print(f"Processing job {job.id}")
    # Your custom logic here
    return {"success": True}


async def main(redis: Redis) -> list[str]:
    """Work on five jobs, then stop; the ids of the completed ones."""
    queue = Queue("custom-queue", redis)
    completed: list[str] = []
    all_done = asyncio.Event()

    def report(job: Job) -> None:
        print(f"Job {job.id} completed")
        completed.append(job.id)
        if len(completed) == 5:
            all_done.set()

    custom_worker = Worker("custom-queue", handle, concurrency=10, redis=redis)
    custom_worker.on("completed", report)
    async with custom_worker:
        for number in range(5):
            await queue.add("custom-job", {"number": number})
        await all_done.wait()
    return completed


async def run() -> None:
    """The example on the Redis that the environment names."""
    redis = connect()
    await main(redis)
    await redis.close()


if __name__ == "__main__":
    asyncio.run(run())
