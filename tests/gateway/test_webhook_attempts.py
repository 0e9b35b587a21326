"""Attempts as their tenant and the platform see them."""

import pytest
from by_hand import Hand
from deliveries import data

from consumers.processor import Context
from schemas.queues.webhooks import SPEC
from streams import Queue, Redis
from tests.gateway.callers import tenants

RECORD = {"number": 1, "outcome": "retry", "operator": {"address": "10.0.0.1:443"}}


@pytest.mark.parametrize(("organization", "sees"), [("org-1", False), (None, True)])
async def test_the_address_is_for_the_platform(
    redis: Redis, organization: str | None, sees: bool
) -> None:
    hand = Hand(redis, SPEC)
    job_id = (await Queue(SPEC, redis).add("x", data("https://example.com/"))).id
    await Context(hand.claims, await hand.take_one(), None).attempt(RECORD)

    async with (
        tenants(redis, organization) as (http,),
        http.get(f"/queue/webhooks/job/{job_id}/attempts") as response,
    ):
        (record,) = (await response.json())["data"]["attempts"]
    assert record == (RECORD if sees else {"number": 1, "outcome": "retry"})
