"""How a job may end, and how to hear of it: results, retries, refusals, and worker events."""

import asyncio
from typing import Any

from credstream import Backoff, Job, Queue, Reject, RetryLater, Worker, connect
from streams import Redis


async def handle(job: Job) -> dict[str, Any]:
    """A courier with four kinds of days."""
    match job.name:
        case "fine":
            return {"delivered": True}
        case "no such address":
            # It will never work: no retry, straight to the dead letters, with a word for programs.
            raise Reject("Nobody lives there", code="unknown_address")
        case "nobody at home" if job.attempts_started < 2:
            # Not the job's fault: it comes back later and no attempt is charged.
            raise RetryLater(50)
        case "flat tyre":
            # Anything else is tried again, after the backoff, until the attempts are spent.
            raise ConnectionError("The van does not move")
    return {"delivered": True}


async def main(redis: Redis) -> dict[str, str]:
    """Run four deliveries; how each of them ended."""
    queue = Queue("deliveries", redis)
    ended: dict[str, str] = {}
    all_ended = asyncio.Event()

    def note(job: Job, how: str) -> None:
        print(f"{job.name}: {how}")
        ended[job.name] = how
        if len(ended) == 4:
            all_ended.set()

    worker = Worker("deliveries", handle, concurrency=4, redis=redis)
    worker.on("completed", lambda job, result: note(job, f"completed {result}"))
    worker.on("failed", lambda job, error: note(job, f"failed: {error['message']}"))
    async with worker:
        for name in ("fine", "no such address", "nobody at home", "flat tyre"):
            await queue.add(name, {}, attempts=2, backoff=Backoff(type="fixed", delay=50))
        await all_ended.wait()
    return ended


async def run() -> None:
    """The example on the Redis that the environment names."""
    redis = connect()
    await main(redis)
    await redis.close()


if __name__ == "__main__":
    asyncio.run(run())
