"""The process dies at each Redis call in turn between a job and the delivery of its callback.

Its successor finds one callback job, delivers it at least once, and every delivery carries the
same webhook-id. What a worker does is done step by step here, so that "each call" is countable.
"""

import base64
import itertools
import secrets
from dataclasses import replace
from typing import Any

import orjson
import pytest
from by_hand import PATIENCE_S
from ledger import LANES, ids, pending
from processes import until
from receivers import Receiver, open_settings, receiver, reply

from consumers import Processor, Reject
from consumers.delivery.send import Delivery
from consumers.delivery.signing import webhook_id
from consumers.destinations import Destinations
from consumers.execute import Run, execute
from consumers.outcome import ending
from consumers.processor import Context
from consumers.processors import webhooks
from consumers.relay import Relay
from credentials.keyring import Keyring
from credentials.webhook_secrets import HOUR_MS, WebhookSecrets
from outbound.client import Client, open_client
from schemas.spec import QueueSpec
from streams import Job, Queue, Redis, RedisSettings
from streams.claims import Claims
from streams.link import Link
from streams.secret_shelf import SecretShelf
from streams.upkeep import Upkeep

QUEUE = QueueSpec("chaos", lease_ms=1)
WEBHOOKS = replace(webhooks.SPEC, lease_ms=1)
"""Whoever is silent for a millisecond is dead: nothing here is ever slow and alive."""
FEWEST_CALLS = 15


class Killed(BaseException):
    """SIGKILL, as far as the code that runs can tell: nothing catches it."""


class Mortal(Redis):
    """A process dies at its call number `dies_at`, before it is sent or before its reply."""

    def __init__(self, url: str, dies_at: int = 0, *, sent: bool = False) -> None:
        super().__init__(RedisSettings(url=url))
        self.calls = 0
        self._dies_at = dies_at
        self._sent = sent

    async def link(self, key: str) -> Link:
        return self._watched(await super().link(key))

    async def dedicated(self, key: str, block_s: float) -> Link:
        return self._watched(await super().dedicated(key, block_s))

    def _watched(self, link: Link) -> Link:
        if "send" in vars(link):
            return link
        send = link.send

        async def counted(*commands: Any) -> list[Any]:
            self.calls += 1
            dead = self._dies_at and self.calls >= self._dies_at
            if dead and not (self._sent and self.calls == self._dies_at):
                raise Killed
            replies = await send(*commands)
            if dead:
                raise Killed
            return replies

        link.send = counted  # type: ignore[method-assign]
        return link


KEYRING = Keyring.parse(f"k1:{base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()}")


def delivery(redis: Redis, client: Client) -> Delivery:
    signing = WebhookSecrets(SecretShelf(redis), KEYRING, 24 * HOUR_MS)
    return Delivery(client, Destinations(redis, signing))


async def work(redis: Redis, processor: Processor, state: Any = None) -> int:
    """Claim all that waits, run it and settle it, as a worker does; how many there were."""
    claims = Claims(processor.spec, redis, f"w-{secrets.token_hex(4)}")
    link = await claims.link()
    found = (await claims.claim(link, 10))[0].claims
    # What the dead have left is handed out to a process that holds nothing else.
    found = found or (await claims.isolate(claims.worker, 8)).claims
    for claim in found:
        run = Run(claim, Context(claims, claim, state))
        outcome = await execute(run, processor, claims.payload)
        await claims.send([c for c, _ in claims.settle([ending(claim, outcome)])])
    return len(found)


async def live(redis: Redis, processor: Processor, client: Client) -> None:
    """One life: the job, its ending, the relay, the callback."""
    for spec in (QUEUE, WEBHOOKS):
        await Upkeep(spec, redis).reclaim()
    await work(redis, processor)
    await Relay(QUEUE, redis).pass_on()
    await work(redis, Processor(WEBHOOKS, webhooks.handle), delivery(redis, client))


async def succeed(_job: Job, _context: Context) -> dict[str, Any]:
    return {"done": True}


async def refuse(_job: Job, _context: Context) -> None:
    raise Reject("it never works")


def at_rest(raw: Any) -> bool:
    queues = (QUEUE.name, "webhooks")
    waiting = [raw.xlen(f"cs:{{{queue}}}:{lane}") for queue in queues for lane in LANES]
    return not any(waiting) and not raw.xlen(f"cs:{{{QUEUE.name}}}:outbox")


async def survive(url: str, raw: Any, processor: Processor, client: Client) -> None:
    """Successors live until nothing is left to do."""

    async def done() -> bool:
        heir = Mortal(url)
        try:
            await live(heir, processor, client)
        finally:
            await heir.close()
        return at_rest(raw)

    await until(done, within_s=PATIENCE_S, what="everything has come to its end")


async def died(mortal: Mortal, processor: Processor, client: Client) -> bool:
    """A life; whether it ended before its work was done."""
    try:
        await live(mortal, processor, client)
    except Killed:
        return True
    finally:
        await mortal.close()
    return False


def assert_told_once(raw: Any, seen: Receiver, job_id: str, event: str) -> None:
    (callback,) = ids(raw, "webhooks", "completed")
    (tail,) = raw.hmget(f"cs:{{{QUEUE.name}}}:run", f":{job_id}:c")
    assert tail.decode() == callback
    assert ids(raw, "webhooks", "dead") == []
    assert pending(raw, "webhooks") == pending(raw, QUEUE.name) == 0
    told = {request.header("webhook-id") for request in seen.requests}
    bodies = {request.body for request in seen.requests}
    assert told == {webhook_id("default", "webhooks", callback)}
    assert len(bodies) == 1
    assert orjson.loads(bodies.pop())["event"] == event


@pytest.mark.parametrize("sent", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("kind", ["completed", "failed"])
async def test_death_at_every_call(
    redis_backend: Any, redis_url: str, raw: Any, kind: str, sent: bool
) -> None:
    processor = Processor(QUEUE, succeed if kind == "completed" else refuse)
    deliveries = []
    async with open_client(open_settings()) as client:
        for call in itertools.count(1):
            redis_backend.flush()
            async with receiver(reply(200)) as seen:
                owner = Mortal(redis_url)
                options = {"callback_url": f"{seen.url}hook", "job_id": f"job-{call}"}
                job_id = (await Queue(QUEUE, owner).add("x", {}, **options)).id
                await owner.close()
                early = await died(Mortal(redis_url, call, sent=sent), processor, client)
                await survive(redis_url, raw, processor, client)
                assert_told_once(raw, seen, job_id, f"{QUEUE.name}.{kind}")
                deliveries.append(len(seen.requests))
            if not early:
                break
    assert len(deliveries) > FEWEST_CALLS
    # A death between the answer and its record repeats the delivery; any other does not.
    assert set(deliveries) == {1, 2}
