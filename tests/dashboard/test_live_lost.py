"""Live counts while the storage cannot be reached: the page is told, and told when it is over."""

from typing import Any

import pytest
from aiohttp import ClientSession
from pydantic import SecretStr

from gateway.app import create_app
from gateway.dashboard import live
from gateway.server import listening
from gateway.settings import GatewaySettings
from streams import connect
from streams.settings import RedisSettings


async def test_a_page_does_not_call_old_counts_live(
    own_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "LOOK_S", 0.1)
    redis = connect(RedisSettings(url=SecretStr(own_server.url), timeout_ms=300))
    async with (
        listening(create_app(redis, GatewaySettings(port=0))) as (_, port),
        ClientSession(f"http://localhost:{port}") as http,
        http.get("/dashboard/live") as stream,
    ):

        async def told(event: bytes) -> None:
            while not (await stream.content.readline()).startswith(b"event: " + event):
                pass

        await told(b"counts")
        own_server.stop()
        await told(b"lost")
        own_server.restart()
        await told(b"counts")
    await redis.close()
