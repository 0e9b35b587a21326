"""Many workers of one process, on one Redis handle."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from processes import until
from redis_servers import Server

import consumers.fetch
from consumers import Worker
from streams import Job, Queue, Redis, connect
from streams.shared_wait import shared_waits

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


@pytest.fixture
def is_soon_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers.fetch, "BLOCK_MS", 100)


def connections(raw: Any) -> int:
    return int(raw.info("clients")["connected_clients"])


@pytest.mark.usefixtures("is_soon_idle")
async def test_idle_ones_share_connections_until_there_is_work(
    own_server: Server,
) -> None:
    redis, done = connect(own_server.url), list[str]()

    async def work(job: Job) -> None:
        done.append(job.queue)

    workers = [Worker(f"queue-{number}", work, redis=redis) for number in range(COUNT)]
    running = [asyncio.create_task(worker.run()) for worker in workers]
    waits = shared_waits(redis)

    def is_shared() -> bool:
        return sum(len(group.waiting) for group in waits._groups) == COUNT

    with own_server.client() as raw:
        await until(is_shared, within_s=WITHIN_S, what="all share a connection")
        assert connections(raw) <= 6
        for times in (1, 2):
            for worker in workers:
                await Queue(worker.spec, redis).add("x", {})
            await until(lambda n=times: len(done) == n * COUNT, within_s=WITHIN_S, what="done")
        assert Counter(done) == {worker.spec.name: 2 for worker in workers}
        await until(is_shared, within_s=WITHIN_S, what="all share a connection again")
        assert connections(raw) <= 6
        raw.execute_command("CLIENT", "KILL", "TYPE", "normal")
        await Queue(workers[0].spec, redis).add("x", {})
        await until(lambda: len(done) == 2 * COUNT + 1, within_s=WITHIN_S, what="done")
        # A cancelled job's callback is passed on as well: the marker comes without a job.
        later = {"delay": 60_000, "callback_url": "https://example.com/"}
        job = await Queue(workers[0].spec, redis).add("x", {}, **later)
        await until(is_shared, within_s=WITHIN_S, what="all share a connection again")
        await Queue(workers[0].spec, redis).cancel(job.id)

        async def is_told() -> bool:
            return (await Queue("webhooks", redis).counts()).total == 1

        await until(is_told, within_s=WITHIN_S, what="the callback is queued")
        for worker in workers:
            worker.stop()
        await asyncio.gather(*running)
        assert waits._groups == []
        await redis.close()


async def test_few_have_connections_of_their_own(
    own_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers.fetch, "BLOCK_MS", 10)
    redis = connect(own_server.url)
    async with Worker("alone", succeed, redis=redis) as worker:
        await until(lambda: worker._fetcher._idle_waits > 9, within_s=WITHIN_S, what="it idles")
        assert shared_waits(redis)._groups == []
    await redis.close()


async def test_a_marker_for_nobody_is_put_back(own_server: Server) -> None:
    redis = connect(own_server.url)
    waits, marker, other = shared_waits(redis), b"cs:{a}:wake", b"cs:{b}:wake"
    with own_server.client() as raw:
        staying = asyncio.create_task(waits.wait(other, 30))
        leaving = asyncio.create_task(waits.wait(marker, 30))
        await until(
            lambda: raw.info("clients")["blocked_clients"] == 1, within_s=WITHIN_S, what="a wait"
        )
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        raw.zadd(marker, {"1": 0})
        await until(
            lambda: raw.info("commandstats").get("cmdstat_zadd", {}).get("calls") == 2,
            within_s=WITHIN_S,
            what="it is put back",
        )
        assert raw.zrange(marker, 0, -1) == [b"1"]
        raw.zadd(other, {"1": 0})
        assert await staying is True
        assert await waits.wait(marker, 30) is True
        assert await waits.wait(marker, 0.01) is False
        assert raw.zcard(marker) == 0
    await redis.close()
