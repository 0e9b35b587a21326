"""A destination that hangs does not slow another one (WH-25): the real worker, processor,
connections and servers."""

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from processes import until
from receivers import Receiver, Seen, open_settings, receiver, reply

from consumers import Worker
from consumers.delivery.send import Delivery
from consumers.destinations import Destinations
from consumers.processors import webhooks
from credentials.keyring import Keyring
from credentials.webhook_secrets import HOUR_MS, WebhookSecrets
from outbound.client import open_client
from streams import NewJob, Queue, Redis
from streams.destinations import Destination, Rules, find
from streams.secret_shelf import SecretShelf

ORG = "org-1"
SLOTS, LIMIT, EACH = 20, 5, 200
PATIENCE_S = 90


def hanging(release: asyncio.Event):
    async def answer(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    return answer


@asynccontextmanager
async def delivering(redis: Redis, rules: Rules) -> AsyncIterator[Worker]:
    kek = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    signing = WebhookSecrets(SecretShelf(redis), Keyring.parse(f"k1:{kek}"), 24 * HOUR_MS)
    desk = Destinations(redis, signing, rules)
    async with open_client(open_settings()) as client, desk:
        worker = Worker(webhooks.PROCESSOR, concurrency=SLOTS, redis=redis)
        worker.state = Delivery(client, desk)
        async with worker:
            yield worker


def jobs(url: str, count: int, organization_id: str = ORG) -> list[NewJob]:
    data = {
        "url": url,
        "method": "POST",
        "payload": {"n": 1},
        "event": "x",
        "organizationId": organization_id,
        "timeoutMs": 60_000,
    }
    return [NewJob("x", data)] * count


async def delivered(queue: Queue, count: int) -> None:
    async def done() -> bool:
        return (await queue.counts()).completed >= count

    await until(done, within_s=PATIENCE_S, what=f"{count} are delivered")


def identifiers(server: Receiver) -> list[str]:
    return [seen.header("webhook-id") for seen in server.requests]


@pytest.mark.timeout(2 * PATIENCE_S)
async def test_healthy_deliveries_are_all_made_while_the_others_hang(redis: Redis) -> None:
    queue, release = Queue("webhooks", redis), asyncio.Event()
    rules = Rules(concurrency=LIMIT)
    async with receiver(hanging(release)) as stuck, receiver(reply(200)) as healthy:
        # The hanging ones come first: without limits they would take all slots and keep them.
        await queue.add_many(jobs(stuck.url, EACH) + jobs(healthy.url, EACH))
        async with delivering(redis, rules):
            await delivered(queue, EACH)

            assert len(healthy.requests) == len(set(identifiers(healthy))) == EACH
            assert len(stuck.requests) == LIMIT
            counts = await queue.counts()
            assert (counts.completed, counts.failed) == (EACH, 0)
            known = await find(redis, Destination(ORG, stuck.url.rstrip("/")).id)
            assert known is not None
            assert (known.running, known.state) == (LIMIT, "closed")

            release.set()
            await delivered(queue, 2 * EACH)
        assert len(stuck.requests) == len(set(identifiers(stuck))) == EACH
        for job in await queue.page("completed", 0, 2 * EACH):  # type: ignore[arg-type]
            assert job.attempts_made == 1, "to wait for a slot costs no attempt"


async def test_a_destination_of_two_tenants_is_two(redis: Redis) -> None:
    """One tenant's backlog takes nothing from the other, at the same server."""
    queue, release = Queue("webhooks", redis), asyncio.Event()
    async with receiver(hanging(release)) as server:
        await queue.add_many(jobs(server.url, 30) + jobs(server.url, 1, "org-2"))
        async with delivering(redis, Rules(concurrency=2)):

            async def three() -> bool:
                return len(server.requests) == 3

            await until(three, within_s=PATIENCE_S, what="two of one tenant and one of the other")
            release.set()
            await delivered(queue, 31)


async def test_a_destination_that_is_down_opens_and_costs_the_waiting_no_attempt(
    redis: Redis,
) -> None:
    queue = Queue("webhooks", redis)
    rules = Rules(requests=5, open_ms=3_600_000, openings=2)
    async with receiver(reply(500)) as server:
        await queue.add_many(jobs(server.url, 50))
        async with delivering(redis, rules):
            at = Destination(ORG, server.url.rstrip("/"))

            async def open_now() -> bool:
                known = await find(redis, at.id)
                return known is not None and known.state == "open" and known.running == 0

            async def all_delayed() -> bool:
                return (await queue.counts()).delayed == 50

            await until(open_now, within_s=PATIENCE_S, what="the circuit is open")
            await until(all_delayed, within_s=PATIENCE_S, what="all wait")
        tried = len(server.requests)
        assert 5 <= tried <= 5 + rules.concurrency
        pages = await queue.page("delayed", 0, 100)  # type: ignore[arg-type]
        assert sum(job.attempts_made for job in pages) == tried
