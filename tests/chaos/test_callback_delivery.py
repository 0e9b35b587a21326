"""A process dies at each of its calls to Redis, from the end of a job to the end of its callback.

Whatever got lost, there is one callback job, and the receiver got it at least once, always with
the same `webhook-id` and the same bytes.
"""

import asyncio
import contextlib
from dataclasses import replace
from typing import Any

import pytest
from by_hand import Hand
from fault_proxy import Fault, FaultProxy, Predicate, Words
from ledger import ids
from receivers import Receiver, open_settings, receiver, reply
from redis_servers import Server
from working import destinations

from consumers.delivery.send import Delivery
from consumers.delivery.signing import webhook_id
from consumers.processor import Context
from consumers.processors import webhooks
from consumers.relay import Relay, callback_id
from outbound.client import Client, open_client
from schemas.job import JobOptions
from schemas.queues.webhooks import SPEC, Webhook
from schemas.spec import QueueSpec
from streams import Queue, Redis, connect
from streams.upkeep import Upkeep

JOBS = QueueSpec("chaos")
HOOKS = replace(SPEC, lease_ms=1)
"""A dead worker's job goes back at once."""
CALLS_AT_LEAST = 12
LIVES_MAX = 5


async def life(redis: Redis, client: Client) -> None:
    """What relay and worker do about one ending: queue its callback, deliver it, say so."""
    await Relay(JOBS, redis).pass_on()
    await Upkeep(HOOKS, redis).reclaim()
    hand = Hand(redis, HOOKS)
    for claim in await hand.take(1) or await hand.isolate():
        context = Context(hand.claims, claim, Delivery(client, destinations(redis)))
        claim.job.validate(Webhook)
        result = await webhooks.handle(claim.job, context)
        await hand.complete(claim, result=result)


def nth_call(number: int) -> Predicate:
    """Only the request of this number."""
    seen = 0

    def matches(words: Words) -> bool:
        nonlocal seen
        # What a connection says when it opens is said again and again.
        if words[0].upper() in (b"HELLO", b"AUTH", b"CLIENT", b"SELECT", b"COMMAND", b"SCRIPT"):
            return False
        seen += 1
        return seen == number

    return matches


async def dies_at(server: Server, client: Client, number: int, kind: str) -> bool:
    """Live until that call, then die; False when there are not so many calls."""
    async with FaultProxy(server.socket) as proxy:
        arm = proxy.drop_reply if kind == "obeyed" else proxy.lose_request
        fault: Fault = arm(nth_call(number))
        redis = connect(proxy.url)
        living = asyncio.create_task(life(redis, client))
        death = asyncio.create_task(fault.happened.wait())
        await asyncio.wait({living, death}, return_when=asyncio.FIRST_COMPLETED)
        proxy.refuse()
        for task in (living, death):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await living
        await redis.close()
    return fault.happened.is_set()


async def a_job_has_ended(redis: Redis, url: str) -> str:
    """A job with a callback, completed -> the id that its callback will have."""
    options = JobOptions(callback_url=url)
    job = await Queue(JOBS, redis).add("x", {"organizationId": "org-1"}, options)
    hand = Hand(redis, JOBS)
    await hand.complete(await hand.take_one(), result={"n": 1})
    ((owed,), _) = await Upkeep(JOBS, redis).owed()
    assert owed.job_id == job.id
    return callback_id("chaos", owed)


async def is_delivered(redis: Redis, callback: str) -> bool:
    job = await Queue(HOOKS, redis).get(callback)
    return job is not None and job.state == "completed"


async def one_death(server: Server, to: Receiver, client: Client, number: int, kind: str) -> bool:
    """The whole story of one ending. False when nobody died."""
    redis = connect(server.url)
    try:
        callback = await a_job_has_ended(redis, to.url)
        died = await dies_at(server, client, number, kind)
        for _ in range(LIVES_MAX):
            if await is_delivered(redis, callback):
                break
            await life(redis, client)
        assert await is_delivered(redis, callback)
        assert [seen.header("webhook-id") for seen in to.requests] == [
            webhook_id("org-1", "webhooks", callback)
        ] * len(to.requests)
        assert len({seen.body for seen in to.requests}) == 1
        with server.client() as raw:
            assert places_of(raw, callback) == ["completed"]
            assert ids(raw, "chaos", "outbox") == []
    finally:
        await redis.close()
    to.requests.clear()
    return died


def places_of(raw: Any, job_id: str) -> list[str]:
    lanes = ("p5", "back", "completed", "dead")
    return [lane for lane in lanes for found in ids(raw, "webhooks", lane) if found == job_id]


@pytest.mark.parametrize("kind", ["obeyed", "unheard"])
async def test_one_callback_whenever_the_process_dies(own_server: Server, kind: str) -> None:
    async with receiver(reply(200)) as to, open_client(open_settings()) as client:
        number = 1
        while await one_death(own_server, to, client, number, kind):
            number += 1
    assert number > CALLS_AT_LEAST
