"""Attempts as their tenant and the platform see them."""

import pytest
from aiohttp import ClientSession, web
from aiohttp.typedefs import Handler
from by_hand import Hand
from deliveries import data

from consumers.processor import Context
from gateway.app import create_app
from gateway.principal import PRINCIPAL, Principal, Scope
from gateway.server import listening
from gateway.settings import GatewaySettings
from schemas.queues.webhooks import SPEC
from streams import Queue, Redis

RECORD = {"number": 1, "outcome": "retry", "operator": {"address": "10.0.0.1:443"}}


@pytest.mark.parametrize(("organization", "sees"), [("org-1", False), (None, True)])
async def test_the_address_is_for_the_platform(
    redis: Redis, organization: str | None, sees: bool
) -> None:
    hand = Hand(redis, SPEC)
    job_id = (await Queue(SPEC, redis).add("x", data("https://example.com/"))).id
    await Context(hand.claims, await hand.take_one(), None).attempt(RECORD)

    @web.middleware
    async def known(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[PRINCIPAL] = Principal("someone", frozenset(Scope), organization, "key-1")
        return await handler(request)

    app = create_app(redis, GatewaySettings(host="127.0.0.1", port=0))
    app.middlewares.append(known)
    async with (
        listening(app) as (_, port),
        ClientSession(f"http://localhost:{port}") as http,
        http.get(f"/queue/webhooks/job/{job_id}/attempts") as response,
    ):
        (record,) = (await response.json())["data"]["attempts"]
    assert record == (RECORD if sees else {"number": 1, "outcome": "retry"})
