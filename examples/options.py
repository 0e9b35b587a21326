"""Options: what a submitter may say about one job. Everything has a default; times are in ms."""

import asyncio
from typing import Any

from credstream import Backoff, JobOptions, NewJob, Queue, State, connect
from schemas.job import KeepFor
from streams import Redis


async def main(redis: Redis) -> dict[str, State]:
    """Submit jobs with one option or a few; the state each of them is in afterwards."""
    queue = Queue("options", redis)
    states: dict[str, State] = {}

    async def add(name: str, **options: Any) -> None:
        added = await queue.add(name, {"for": name}, **options)
        states[name] = added.state
        print(f"{name}: {added.state}{' (there already)' if added.deduplicated else ''}")

    # Many at once.
    await add(
        "job-name",
        priority=5,
        delay=5000,  # starts in 5 seconds at the earliest
        attempts=3,  # three tries in total
        backoff=Backoff(type="exponential", delay=2000),  # waits 2 s, then 4 s
        remove_on_complete=True,  # leaves nothing behind when it is done
        remove_on_fail=False,  # kept without limit when it has failed
    )

    # A wait before each retry that is always the same, and one that grows up to a limit, each a
    # little longer by chance, so that jobs that failed together do not come back together.
    await add("steady", attempts=5, backoff=1000)
    await add("polite", attempts=8, backoff=Backoff(delay=500, max=60_000, jitter=0.2))

    # A run may take ten seconds; what nobody started within a minute is not worth it any more.
    await add("hurried", timeout=10_000, expires=60_000)

    # The result is kept for an hour.
    await add("kept", remove_on_complete=KeepFor(age=3600))

    # The second job with an id of your own is the first one.
    await add("once", job_id="invoice-2024-17")
    await add("again", job_id="invoice-2024-17")

    # In bulk, each job brings its own.
    await queue.add_many(
        [NewJob("bulk", {"number": n}, JobOptions(delay=n * 1000)) for n in range(3)]
    )
    return states


async def run() -> None:
    """The example on the Redis that the environment names."""
    redis = connect()
    await main(redis)
    await redis.close()


if __name__ == "__main__":
    asyncio.run(run())
