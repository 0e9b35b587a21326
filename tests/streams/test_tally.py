"""What a process did to Redis is counted where it is done."""

import pytest
from by_hand import Hand, clock_passes
from redis_servers import Server

import streams
from schemas.job import JobOptions
from schemas.spec import QueueSpec
from streams import NewJob, Queue, Redis, bulk
from streams.errors import Full, Unavailable
from streams.once import OnceKey
from streams.upkeep import Upkeep

SPEC = QueueSpec("chaos", max_stalls=2, lease_ms=1)


async def test_jobs_buried_by_a_claim_are_counted_by_reason(redis: Redis) -> None:
    queue, hand = Queue(SPEC, redis), Hand(redis, SPEC)
    late = await queue.get((await queue.add("late", {}, expires=1)).id)
    assert late is not None
    good = await queue.add("good", {}, priority=10)
    await clock_passes(redis, SPEC.name, late.timestamp + 1)

    assert [claim.job.id for claim in await hand.take()] == [good.id]

    assert redis.tally.buried == {("chaos", "expired"): 1}


async def test_stalls_are_counted_and_poison_jobs_as_dead_letters(redis: Redis) -> None:
    queue, hand, upkeep = Queue(SPEC, redis), Hand(redis, SPEC), Upkeep(SPEC, redis)
    await queue.add("poison", {})
    for stalls in (1, 2, 3):
        assert len(await (hand.take() if stalls == 1 else hand.isolate())) == 1
        while redis.tally.stalled["chaos"] < stalls:
            await upkeep.reclaim()
    assert +redis.tally.buried == {("chaos", "stalled"): 1}
    assert (await queue.counts()).failed == 1


async def test_a_cancelled_job_of_a_dead_worker_is_no_stalled_one(redis: Redis) -> None:
    queue, hand, upkeep = Queue(SPEC, redis), Hand(redis, SPEC), Upkeep(SPEC, redis)
    added = await queue.add("work", {})
    await hand.take()
    assert await queue.cancel(added.id) == "cancelling"
    while redis.tally.stalled["chaos"] < 1:
        await upkeep.reclaim()
    assert +redis.tally.buried == {("chaos", "cancelled"): 1}


async def test_a_callback_that_cannot_be_queued_is_counted(redis: Redis) -> None:
    await Upkeep(SPEC, redis).refuse("cb", b'{"name":"n","data":null,"opts":{}}', "no")
    assert redis.tally.buried == {("chaos", "callback"): 1}


async def test_jobs_added_and_cancelled_are_counted_once(redis: Redis) -> None:
    queue = Queue(SPEC, redis)
    jobs = [NewJob("work", {}, JobOptions(job_id="mine")), *[NewJob("work", {})] * 2]
    ids = [added.ref for added in await queue.add_many(jobs)]
    assert (await queue.add("work", {}, job_id="mine")).deduplicated
    key = OnceKey("digest", "fingerprint")
    for _ in range(2):
        await queue.add_once([NewJob("work", {})], key)
    assert redis.tally.added == {"chaos": 4}
    assert await queue.cancel(ids[0]) == "cancelled"
    assert await bulk.act(queue.store, bulk.Verb.CANCEL, ids[1:]) == ["done", "done"]
    assert redis.tally.buried == {("chaos", "cancelled"): 3}
    assert (await queue.counts()).failed == 3


async def test_errors_of_redis_are_counted_by_kind(own_server: Server) -> None:
    redis = streams.connect(own_server.url)
    queue = Queue("chaos", redis)
    await queue.add("work", {})
    assert redis.tally.errors == {}
    with own_server.client() as client:
        client.config_set("maxmemory", 1)
        with pytest.raises(Full):
            await queue.add("work", {})
        client.config_set("maxmemory", 0)
    assert redis.tally.errors == {"full": 1}
    own_server.stop()
    with pytest.raises(Unavailable):
        await queue.counts()
    assert redis.tally.errors["lost"] + redis.tally.errors["unreachable"] >= 1
    assert set(redis.tally.errors) <= {"full", "lost", "unreachable"}
    await redis.close()
