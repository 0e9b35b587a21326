"""Priorities: what is urgent starts first, whenever it came; equals start in order of arrival."""

import asyncio

from credstream import Job, JobPriority, Queue, Worker, connect
from streams import Redis


async def main(redis: Redis) -> list[str]:
    """Queue four jobs, the least urgent first; their names in the order they ran."""
    queue = Queue("alarms", redis)
    await queue.add("tidy up", {}, priority=JobPriority.LOW)
    await queue.add("answer the phone", {})  # NORMAL
    await queue.add("close the window", {}, priority=JobPriority.HIGH)
    await queue.add("put out the fire", {}, priority=JobPriority.CRITICAL)

    ran: list[str] = []
    all_done = asyncio.Event()

    async def handle(job: Job) -> None:
        print(f"{job.name}")
        ran.append(job.name)
        if job.name == "tidy up":
            all_done.set()

    async with Worker("alarms", handle, concurrency=1, redis=redis):
        await all_done.wait()
    return ran


async def run() -> None:
    """The example on the Redis that the environment names."""
    redis = connect()
    await main(redis)
    await redis.close()


if __name__ == "__main__":
    asyncio.run(run())
