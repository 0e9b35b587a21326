"""Submit many jobs in one round trip, in this order. All are checked before the first is queued."""

import asyncio

from credstream import NewJob, Queue, QueueName, connect
from streams import Redis


async def main(redis: Redis, vc_jwts: list[str]) -> list[str]:
    """Queue one verification per credential; the jobs' ids in the same order."""
    queue = Queue(QueueName.VC_VERIFICATION, redis)
    jobs = [
        NewJob("verify-vc", {"vcJwt": vc_jwt, "organizationId": "org-123", "userId": "user-456"})
        for vc_jwt in vc_jwts
    ]
    added = await queue.add_many(jobs)
    print(f"{len(added)} verifications enqueued")
    return [job.id for job in added]


async def run() -> None:
    """The example on the Redis that the environment names."""
    redis = connect()
    await main(redis, vc_jwts=["eyJhbGciOiJFZERTQSJ9.eyJpc3MiOiJkaWQ6ZXhhbXBsZSJ9.AAAA"] * 100)
    await redis.close()


if __name__ == "__main__":
    asyncio.run(run())
