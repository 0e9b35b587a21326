"""Workers are killed and Redis with them while most deliveries are parked: each is made, none ends
twice, and no destination gets more at once than its limit."""

import asyncio
import base64
import secrets
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
from deliveries import data
from processes import end, spawn, until
from receivers import Seen, receiver, reply
from redis_servers import Server

from schemas.queues.webhooks import SPEC
from streams import NewJob, Queue, connect
from streams.errors import CredstreamError

WORKER = Path(__file__).parents[1] / "support" / "delivering_worker.py"
WITHIN_S = 60
LIMIT = 1
DESTINATIONS, EACH = 40, 15


async def test_everything_that_is_parked_is_delivered(own_server: Server) -> None:
    redis = connect(own_server.url)
    queue = Queue(SPEC, redis)
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()
    seen: set[str] = set()

    async def answer(request: Seen, writer: asyncio.StreamWriter) -> None:
        to = orjson.loads(request.body)["to"]
        running[to] += 1
        most[to] = max(most[to], running[to])
        seen.add(request.header("webhook-id"))
        await asyncio.sleep(0)
        running[to] -= 1
        await reply(200)(request, writer)

    def job(url: str, number: int) -> NewJob:
        to = f"org-{number % DESTINATIONS}"
        return NewJob("x", data(url, organizationId=to, payload={"to": to}))

    async def completed(count: int) -> None:
        async def reached() -> bool:
            try:
                counts = await queue.counts()
            except CredstreamError:
                return False
            assert counts.failed == 0
            return counts.completed >= count

        await until(reached, within_s=WITHIN_S, what=f"{count} are delivered")

    ring = f"k1:{base64.b64encode(secrets.token_bytes(32)).decode()}"
    words: list[Any] = [sys.executable, WORKER, own_server.url, ring, LIMIT]
    many = DESTINATIONS * EACH
    async with receiver(answer) as server:
        await queue.add_many([job(server.url, n) for n in range(many)])
        workers = [spawn(words), spawn(words)]
        try:
            await completed(many // 4)
            workers[0].kill()
            workers.append(spawn(words))
            await completed(many // 2)
            own_server.restart(crash=True)
            await completed(many)
        finally:
            for worker in workers:
                end(worker)
    assert len(seen) == many
    assert (await queue.counts()).total == many
    assert max(most.values()) == LIMIT
    await redis.close()
