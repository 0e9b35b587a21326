"""What a gateway says of durability, and what it does when Redis is full."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientSession
from redis_servers import Server, valkey

import streams
from consumers import Worker
from gateway.app import create_app
from gateway.server import listening
from gateway.settings import GatewaySettings
from streams import Job, Queue, Redis
from streams.durability import NotKept
from streams.settings import RedisSettings

SETTINGS = GatewaySettings(host="127.0.0.1", port=0)


@asynccontextmanager
async def serving(redis: Redis) -> AsyncIterator[ClientSession]:
    async with (
        listening(create_app(redis, SETTINGS)) as (_, port),
        ClientSession(f"http://localhost:{port}") as http,
    ):
        yield http


async def test_readyz_tells_the_level_when_asked(own_server: Server) -> None:
    redis = streams.connect(RedisSettings(url=own_server.url, durability="strict"))
    async with serving(redis) as http:
        async with http.get("/readyz/details") as response:
            said = (await response.json())["data"]
        assert said["durability"] == {"level": "strict", "met": True, "troubles": []}
        async with http.get("/readyz") as response:
            assert (await response.json())["data"] == {"status": "ready"}
    await redis.close()


async def test_a_gateway_does_not_start_on_a_redis_that_loses_jobs() -> None:
    with valkey() as server:
        redis = streams.connect(RedisSettings(url=server.url, durability_force=False))
        with pytest.raises(NotKept, match="append-only file is off"):
            async with serving(redis):
                pass
        await redis.close()


async def test_the_log_says_why_it_is_not_ready(caplog: pytest.LogCaptureFixture) -> None:
    """Here REDIS_URL names a cluster, and there is none. Callers are not told."""
    with valkey(tcp=True) as server:
        redis = streams.connect(server.url.replace("redis://", "redis+cluster://"))
        async with serving(redis) as http, http.get("/readyz") as response:
            assert response.status == 503
            assert "luster" not in await response.text()
        await redis.close()
    assert "Cluster mode is not enabled on this node" in caplog.text


async def test_too_few_copies_are_a_503_that_says_what_to_do(own_server: Server) -> None:
    redis = streams.connect(
        RedisSettings(
            url=own_server.url, durability="replicated", durability_wait_ms=1, durability_force=True
        )
    )
    await Queue("custom", redis).register()
    async with (
        serving(redis) as http,
        http.post("/queue/custom/jobs", json={"data": {}}) as response,
    ):
        said = await response.json()
    assert (response.status, said["code"]) == (503, "durability_not_met")
    assert "Idempotency-Key" in said["detail"]
    assert response.headers["Retry-After"]
    await redis.close()


async def test_a_full_redis_refuses_submissions_drains_and_takes_them_again() -> None:
    """D4: at maxmemory submissions get 503 with Retry-After, workers go on to zero."""

    async def handle(_: Job) -> None:
        return None

    with valkey(appendfsync="everysec", maxmemory="20mb") as server:
        redis = streams.connect(server.url)
        queue = Queue("custom", redis)
        await queue.register()
        body: dict[str, Any] = {
            "data": {"filler": "x" * 30_000},
            "options": {"removeOnComplete": True},
        }
        async with serving(redis) as http:
            stored, refusal = 0, None
            while refusal is None:
                async with http.post("/queue/custom/jobs", json=body) as response:
                    if response.status == 503:
                        refusal = await response.json()
                        assert int(response.headers["Retry-After"]) >= 1
                    else:
                        assert response.status in (200, 201, 202)
                        stored += 1
            assert refusal["code"] == "storage_full"
            assert stored > 100
            done: list[str] = []
            empty = asyncio.Event()

            def completed(job: Job) -> None:
                done.append(job.id)
                if len(done) == stored:
                    empty.set()

            worker = Worker("custom", handle, redis=redis).on("completed", completed)
            async with worker, asyncio.timeout(60):
                await empty.wait()
            counts = await queue.counts()
            assert (counts.waiting, counts.active, counts.failed) == (0, 0, 0)
            async with http.post("/queue/custom/jobs", json=body) as response:
                assert response.status in (200, 201, 202)
        await redis.close()
