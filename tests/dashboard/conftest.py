"""A real gateway with the dashboard, and a browser to look at it."""

import base64
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from playwright.async_api import Browser

from gateway.app import create_app
from gateway.server import listening
from gateway.settings import GatewaySettings
from streams import Redis, access
from streams.access import NewKey
from tests.dashboard.browser import Watched, chromium


@pytest.fixture
async def address(redis: Redis) -> AsyncIterator[str]:
    """Where a gateway of this test's own listens."""
    async with listening(create_app(redis, GatewaySettings(port=0))) as (_, port):
        yield f"http://localhost:{port}"


@pytest.fixture
async def http(address: str) -> AsyncIterator[ClientSession]:
    """A client of it that is no browser."""
    async with ClientSession(address) as session:
        yield session


@pytest.fixture
def ring(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A gateway with a key-encryption key and a directory of its own."""
    kek = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    monkeypatch.setenv("CREDSTREAM_WEBHOOK_KEKS", f"k1:{kek}")
    monkeypatch.setenv("DATA_DIR", str(tmp_path))


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Chromium, for this test."""
    async with chromium() as running:
        yield running


@pytest.fixture
async def seen(browser: Browser, address: str) -> AsyncIterator[Watched]:
    """A page of its own; what it did wrong fails the test at its end."""
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    watched = Watched(await context.new_page(), address)
    yield watched
    await context.close()
    assert watched.faults == []


async def make_key(redis: Redis, *scopes: str, organization_id: str | None = None) -> str:
    """A new API key."""
    text, _ = access.mint("test")
    await access.create(redis, text, NewKey("tester", scopes, organization_id), "test", b"")
    return text


@asynccontextmanager
async def signed_in(address: str, key: str) -> AsyncIterator[ClientSession]:
    """A client that has signed in and sends what a browser sends."""
    headers = {"Origin": address, "Accept": "text/html"}
    async with ClientSession(address, headers=headers) as session:
        answer = await session.post("/dashboard/login", json={"credential": key})
        assert answer.status == 200, await answer.text()
        cookie: Any = answer.cookies["__Host-credstream"]
        session.headers["Cookie"] = f"__Host-credstream={cookie.value}"
        yield session
