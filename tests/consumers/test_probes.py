"""/livez looks at the event loop only, /readyz at whether Redis takes writes."""

import asyncio
from typing import Any

import aiohttp
import pytest
from processes import free_ports
from redis_servers import Server

import streams
from consumers import probes
from consumers.probes import Heart, Watched, writable


async def ask(port: int, path: str) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/{path}") as response,
    ):
        return response.status, await response.json()


async def test_a_worker_is_alive_and_ready(redis: streams.Redis) -> None:
    (port,) = free_ports(1)
    stopping = asyncio.Event()
    async with probes.probes("127.0.0.1", port, Watched(redis, stopping)):
        assert await ask(port, "livez") == (200, {"alive": True})
        assert await ask(port, "readyz") == (200, {"ready": True})
        stopping.set()
        assert await ask(port, "livez") == (200, {"alive": True})
        assert await ask(port, "readyz") == (503, {"ready": False})
    with pytest.raises(aiohttp.ClientConnectorError):
        await ask(port, "livez")


async def test_without_redis_it_is_alive_and_not_ready_and_ready_again_after(
    own_server: Server,
) -> None:
    (port,) = free_ports(1)
    redis = streams.connect(own_server.url)
    async with probes.probes("127.0.0.1", port, Watched(redis, asyncio.Event())):
        assert await ask(port, "readyz") == (200, {"ready": True})
        own_server.stop()
        assert await ask(port, "readyz") == (503, {"ready": False})
        assert await ask(port, "livez") == (200, {"alive": True})
        own_server.start()
        assert await ask(port, "readyz") == (200, {"ready": True})
    await redis.close()


async def test_a_redis_that_answers_and_takes_no_writes_is_not_ready(own_server: Server) -> None:
    redis = streams.connect(own_server.url)
    assert await writable(redis)
    with own_server.client() as client:
        client.config_set("min-replicas-to-write", 1)
        assert client.ping()
        assert not await writable(redis)
        client.config_set("min-replicas-to-write", 0)
    assert await writable(redis)
    await redis.close()


async def test_a_frozen_redis_is_not_ready_either(own_server: Server) -> None:
    redis = streams.connect(own_server.url)
    assert await writable(redis)
    with own_server.frozen():
        assert not await writable(redis)
    await redis.close()


async def test_a_loop_that_has_not_turned_is_not_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    heart = Heart()
    assert heart.alive
    monkeypatch.setattr(probes, "STUCK_S", 0.0)
    assert not heart.alive


async def test_port_zero_serves_none(redis: streams.Redis) -> None:
    before = set(asyncio.all_tasks())
    async with probes.probes("127.0.0.1", 0, Watched(redis, asyncio.Event())):
        assert set(asyncio.all_tasks()) == before
