"""Requests that are held open are limited: by organization, by process, and until they are lost."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession
from processes import until

from gateway.app import create_app
from gateway.concurrency import HELD, RETRY_AFTER_S, ConcurrencyLimit, TooManyAtOnce
from gateway.server import listening
from gateway.settings import GatewaySettings
from streams import Queue, Redis
from tests.gateway.callers import bearer, key
from tests.gateway.samples import ISSUANCE

SETTINGS = GatewaySettings(
    host="127.0.0.1",
    port=0,
    require_auth="always",
    held_requests_max=5,
    held_requests_per_organization=2,
)
JOBS = "/queue/vc-issuance/jobs"
SOON_S = 10.0


@pytest.fixture
async def gateway(redis: Redis) -> Any:
    """An application, and a client of it."""
    app = create_app(redis, SETTINGS)
    async with (
        listening(app) as (_, port),
        ClientSession(f"http://localhost:{port}") as http,
    ):
        yield app, http


async def refused(response: ClientResponse) -> None:
    assert response.status == 429
    assert response.headers["Retry-After"] == str(RETRY_AFTER_S)
    assert (await response.json(content_type=None))["code"] == "too_many_at_once"


async def test_streams_of_one_organization_are_limited_and_given_back(
    gateway: tuple[Any, ClientSession], redis: Redis
) -> None:
    app, http = gateway
    one, two = await key(redis, ["read"], "org-1"), await key(redis, ["read"], "org-1")
    async with AsyncExitStack() as stack:
        first = await http.get("/events", headers=bearer(one))
        second = await stack.enter_async_context(http.get("/events", headers=bearer(two)))
        assert (first.status, second.status) == (200, 200)
        for text in (one, two):
            async with http.get("/events?queue=emails", headers=bearer(text)) as response:
                await refused(response)
        other = await key(redis, ["read"], "org-2")
        third = await stack.enter_async_context(http.get("/events", headers=bearer(other)))
        assert third.status == 200
        assert app[HELD].count == 3
        first.close()
        await until(lambda: app[HELD].count == 2, within_s=SOON_S, what="the stream is over")
        again = await stack.enter_async_context(http.get("/events", headers=bearer(one)))
        assert again.status == 200
    await until(lambda: app[HELD].count == 0, within_s=SOON_S, what="all are over")


async def test_all_organizations_together_are_limited(
    gateway: tuple[Any, ClientSession], redis: Redis
) -> None:
    _, http = gateway
    async with AsyncExitStack() as stack:
        for number in range(SETTINGS.held_requests_max):
            text = await key(redis, ["read"], f"org-{number}")
            opened = http.get("/events", headers=bearer(text))
            assert (await stack.enter_async_context(opened)).status == 200
        async with http.get("/events", headers=bearer(await key(redis, ["read"]))) as response:
            await refused(response)


async def test_who_would_wait_too_often_gets_nothing_queued(
    gateway: tuple[Any, ClientSession], redis: Redis
) -> None:
    app, http = gateway
    text = await key(redis, ["submit", "read"], ISSUANCE["organizationId"])
    queue = Queue("vc-issuance", redis)

    async def submit(**headers: str) -> int:
        body = {"data": ISSUANCE}
        async with http.post(JOBS, json=body, headers=bearer(text) | headers) as response:
            if response.status == 429:
                await refused(response)
            return response.status

    waiting = [asyncio.create_task(submit(Prefer="wait=30")) for _ in range(2)]
    await until(lambda: app[HELD].count == 2, within_s=SOON_S, what="both wait")
    assert await submit(Prefer="wait=30") == 429
    assert await submit() == 202, "who does not wait is not limited"
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await until(lambda: app[HELD].count == 0, within_s=SOON_S, what="both have left")
    assert (await queue.counts()).waiting == 3, "what was accepted stays"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/credentials/issue", {"credential": {"issuer": "did:key:x"}}),
        ("/credentials/verify", {"verifiableCredential": "a.b.c"}),
        ("/presentations/verify", {"verifiablePresentation": "a.b.c"}),
    ],
)
async def test_the_vc_api_holds_requests_too(
    gateway: tuple[Any, ClientSession], redis: Redis, path: str, body: dict[str, Any]
) -> None:
    app, http = gateway
    text = await key(redis, ["submit", "read"], "org-1")
    with app[HELD].hold("o:org-1"), app[HELD].hold("o:org-1"):
        async with http.post(path, json=body, headers=bearer(text)) as response:
            await refused(response)
    names = ("vc-issuance", "vc-verification")
    assert [(await Queue(name, redis).counts()).total for name in names] == [0, 0]


def test_a_limit_counts_what_is_open() -> None:
    limit = ConcurrencyLimit("things", 3, 2)
    with limit.hold("a"), limit.hold("a"):
        with pytest.raises(TooManyAtOnce, match="2 things"), limit.hold("a"):
            pass
        with limit.hold("b"), pytest.raises(TooManyAtOnce, match="3 things"), limit.hold("c"):
            pass
        with pytest.raises(ValueError, match="x"), limit.hold("b"):
            raise ValueError("x")
    assert limit.count == 0
    assert not limit._open
