"""Every ending of a job that owes a callback puts exactly one into the webhooks queue."""

import asyncio
from collections import Counter
from functools import partial
from typing import Any

import orjson
from by_hand import Hand
from ledger import entries, ids
from processes import until

from consumers import Reject, Worker
from consumers.relay import Relay
from schemas.job import JobOptions, State
from schemas.spec import QueueSpec
from streams import Job, NewJob, Queue, Redis
from streams.claims import Claims, Ending
from streams.upkeep import Upkeep

QUEUE = "chaos"
SPEC = QueueSpec(QUEUE)
TOLD = JobOptions(callback_url="https://example.com/hook")
DATA = {"organizationId": "org-1"}
RELAYS = 8


async def end_all(redis: Redis, kind: str) -> list[Ending]:
    """Claim everything that waits and end it, with no worker and no relay about."""
    claims = Claims(SPEC, redis, "by-hand")
    link = await claims.link()
    endings = []
    while found := (await claims.claim(link, 100))[0].claims:
        part = [Ending(claim, kind, history=b'[{"reason":"failed"}]') for claim in found]
        await claims.send([command for command, _ in claims.settle(part)])
        endings += part
    await redis.forget(link)
    return endings


def owed(raw: Any) -> Counter[str]:
    return Counter(ids(raw, QUEUE, "outbox"))


def reported(raw: Any, place: str = "p5") -> Counter[str]:
    """The callbacks that lie there, by the jobs that they report."""
    records = [orjson.loads(record[b"b"]) for _, record in entries(raw, "webhooks", place)]
    assert len(set(ids(raw, "webhooks", place))) == len(records)
    return Counter(body["data"]["payload"]["jobId"] for body in records)


async def test_a_failed_revived_and_completed_job_owes_two(redis: Redis, raw: Any) -> None:
    queue = Queue(SPEC, redis)
    job_id = (await queue.add("x", DATA, TOLD)).id
    await end_all(redis, "fail")
    await queue.revive(job_id)
    await end_all(redis, "complete")
    assert owed(raw) == {job_id: 2}

    await Relay(SPEC, redis).pass_on()

    assert owed(raw) == {}
    assert reported(raw) == {job_id: 2}


async def test_the_same_ending_sent_twice_owes_one(redis: Redis, raw: Any) -> None:
    for kind in ("complete", "fail"):
        job_id = (await Queue(SPEC, redis).add("x", DATA, TOLD)).id
        endings = await end_all(redis, kind)
        claims = Claims(SPEC, redis, "by-hand")
        for commands, part in claims.settle(endings):
            reply = (await claims.send([commands]))[0]
            assert claims.words(reply, len(part)) == ["ALREADY"]
        assert owed(raw)[job_id] == 1


async def test_many_relays_at_once_pass_each_ending_on_once(redis: Redis, raw: Any) -> None:
    jobs = await Queue(SPEC, redis).add_many([NewJob(name="x", data=DATA, options=TOLD)] * 250)
    await end_all(redis, "complete")
    relays = [Relay(SPEC, redis) for _ in range(RELAYS)]
    while owed(raw):
        await asyncio.gather(*(relay.pass_on() for relay in relays))
    assert reported(raw) == Counter(job.id for job in jobs)


async def test_a_relay_that_died_between_its_two_steps(redis: Redis, raw: Any) -> None:
    """It has queued the callback and not forgotten the ending; the webhook is sent meanwhile."""
    job_id = (await Queue(SPEC, redis).add("x", DATA, TOLD)).id
    await end_all(redis, "complete")
    unacknowledged = raw.dump(f"cs:{{{QUEUE}}}:outbox")
    await Relay(SPEC, redis).pass_on()

    async def send(_: Job) -> None:
        return None

    webhooks = Queue("webhooks", redis)
    async with Worker("webhooks", send, redis=redis):
        await until(lambda: _completed(webhooks, 1), within_s=5, what="the webhook is sent")
    raw.restore(f"cs:{{{QUEUE}}}:outbox", 0, unacknowledged, replace=True)

    await Relay(SPEC, redis).pass_on()

    assert owed(raw) == {}
    assert reported(raw) == {}
    assert reported(raw, "completed") == {job_id: 1}


async def test_a_poison_job_and_an_expired_one_owe_a_callback_too(redis: Redis, raw: Any) -> None:
    spec = QueueSpec(QUEUE, lease_ms=200)
    queue = Queue(spec, redis)
    poison = (await queue.add("x", DATA, TOLD)).id
    upkeep = Upkeep(spec, redis)
    for stalls in range(spec.max_stalls):
        dies = Hand(redis, spec, f"dies-{stalls}")
        assert len(await (dies.isolate() if stalls else dies.take(1))) == 1
        if stalls < spec.max_stalls - 1:
            await until(partial(_reclaims, upkeep), within_s=5, what="its worker is missed")
    expired = (await queue.add("x", DATA, TOLD.model_copy(update={"expires": 1}))).id
    await until(lambda: _older_than(queue, expired, 1), within_s=5, what="it is overdue")

    async def refuse(_: Job) -> None:
        raise Reject("nothing should run here")

    async with Worker(spec, refuse, redis=redis):
        await until(lambda: reported(raw).total() == 2, within_s=5, what="both are reported")
    assert reported(raw) == {poison: 1, expired: 1}
    dead = {job.id: job.errors[-1].reason for job in await queue.page(State.FAILED)}
    assert dead == {poison: "stalled", expired: "expired"}


async def _reclaims(upkeep: Upkeep) -> bool:
    return (await upkeep.reclaim()).count == 1


async def _completed(queue: Queue, count: int) -> bool:
    return (await queue.counts()).completed == count


async def _older_than(queue: Queue, job_id: str, age_ms: int) -> bool:
    job = await queue.get(job_id)
    seconds, micros = await queue.redis.command("TIME", key=queue.store.keys.prefix)
    return job is not None and int(seconds) * 1_000 + int(micros) // 1_000 > job.timestamp + age_ms
