"""A queue that is drained, and one that is deleted with everything it has."""

import asyncio
from typing import Any

import pytest
from by_hand import Hand
from ledger import key

from schemas.job import JobOptions, State
from schemas.spec import QueueSpec
from streams import NewJob, Queue, Redis, deletion
from streams.claims import Claims
from streams.errors import QueueInUse
from streams.once import OnceKey
from streams.operations import CLEAN_JOBS
from streams.upkeep import Upkeep
from streams.upkeep_index import UpkeepIndex

SPEC = QueueSpec("doomed")
OTHER = QueueSpec("doomed-too")
LATER = JobOptions(delay=3_600_000)
TOLD = JobOptions(callback_url="https://example.com/hook")
BIG = {"text": "x" * 40_000}
ONCE = OnceKey("a" * 32, "b" * 64)


def left(raw: Any, queue: str) -> set[bytes]:
    """What keys there are of a queue."""
    return set(raw.scan_iter(f"cs:{{{queue}}}:*", count=1_000))


async def live(redis: Redis, spec: QueueSpec) -> Hand:
    """A queue that has everything a queue can have -> who has worked on it."""
    queue, hand = Queue(spec, redis), Hand(redis, spec)
    await queue.register()
    await UpkeepIndex(redis).announce(spec)
    await queue.set_limits(None, 1_000)
    for priority in range(11):
        await queue.add("work", BIG, JobOptions(priority=priority))
    await queue.add("work", {}, LATER)
    await queue.add_once([NewJob("work", {}, TOLD)], ONCE)
    claims = await hand.take(3)
    await hand.complete(claims[0], result=BIG)
    await hand.fail(claims[1])
    await hand.retry(claims[2], delay_ms=1)
    await queue.pause()
    return hand


@pytest.mark.parametrize("force", [False, True])
async def test_a_deleted_queue_leaves_nothing_but_its_audit_record(
    redis: Redis, raw: Any, force: bool
) -> None:
    for spec in (SPEC, OTHER):
        await live(redis, spec)
    raw.set(key(SPEC.name, "canary:1"), "x")
    raw.hset("cs:{*}:cursors", SPEC.name, "1-1")
    before = left(raw, OTHER.name)
    assert await deletion.is_deletable(Queue(SPEC, redis))

    await deletion.unlist(redis, SPEC.name)
    await deletion.delete(Queue(SPEC, redis), force=force, who=b'{"actor":"root"}')

    assert left(raw, SPEC.name) == {key(SPEC.name, "audit").encode()}
    ((_, deed),) = raw.xrange(key(SPEC.name, "audit"))
    assert deed == {b"a": b'{"actor":"root"}', b"o": b"done"}
    assert left(raw, OTHER.name) == before
    assert raw.hkeys("cs:queues") == [OTHER.name.encode()]
    assert raw.hkeys("cs:{upkeep}:specs") == [OTHER.name.encode()]
    assert raw.zrange("cs:{upkeep}:due", 0, -1) == [OTHER.name.encode()]
    assert not raw.exists("cs:{*}:cursors")
    assert not await deletion.is_deletable(Queue(SPEC, redis))


async def test_a_queue_in_use_is_deleted_by_force_only(redis: Redis, raw: Any) -> None:
    queue, hand = Queue(SPEC, redis), Hand(redis, SPEC)
    await queue.add("work", {})
    claim = await hand.take_one()
    for ask in (deletion.is_deletable(queue), deletion.delete(queue)):
        with pytest.raises(QueueInUse, match="1 active jobs and 0 live workers"):
            await ask
    assert (await queue.counts()).active == 1
    await deletion.delete(queue, force=True)
    assert await hand.complete(claim) == ["LOST"]
    assert (await queue.counts()).total == 0
    # It can be used again at once.
    again = await queue.add("work", {})
    assert (await hand.take_one()).job.id == again.id


async def test_a_queue_with_a_live_worker_is_in_use(redis: Redis) -> None:
    queue = Queue(SPEC, redis)
    await Claims(SPEC, redis, "alive").heartbeat({"slots": 1})
    with pytest.raises(QueueInUse, match="0 active jobs and 1 live workers"):
        await deletion.delete(queue)
    await Claims(SPEC, redis, "alive").leave()
    await deletion.delete(queue)


async def test_adds_during_a_deletion_are_there_as_a_whole_or_not_at_all(
    redis: Redis, raw: Any
) -> None:
    queue = Queue(SPEC, redis)
    adding = [asyncio.create_task(queue.add_many([NewJob("x", {})] * 100)) for _ in range(10)]
    for _ in range(5):
        await deletion.delete(queue, force=True)
    await asyncio.gather(*adding)
    counts = await queue.counts()
    assert counts.waiting % 100 == 0
    assert raw.hlen(key(SPEC.name, "jobs")) == counts.waiting


@pytest.mark.parametrize("with_delayed", [False, True])
async def test_drain_removes_what_has_not_started(
    redis: Redis, raw: Any, with_delayed: bool
) -> None:
    queue, hand = Queue(SPEC, redis), Hand(redis, SPEC)
    kept = [one.id for one in await queue.add_many([NewJob("work", BIG)] * 3)]
    claims = await hand.take(3)
    await hand.complete(claims[0])
    for priority in range(11):
        await queue.add_many([NewJob("work", BIG, JobOptions(priority=priority))] * 60)
    later = await queue.add_many([NewJob("work", BIG, LATER)] * 30)

    removed, more = await queue.drain(with_delayed=with_delayed, who=b'{"actor":"root"}')

    assert (removed, more) == (660 + 30 * with_delayed, False)
    counts = await queue.counts()
    assert (counts.waiting, counts.active, counts.completed) == (0, 2, 1)
    assert counts.delayed == 30 * (not with_delayed)
    names = {*kept, *([] if with_delayed else [one.id for one in later])}
    assert {name.decode() for name in raw.hkeys(key(SPEC.name, "jobs"))} == names
    blobs = {name.decode() for name in raw.hkeys(key(SPEC.name, "blobs"))}
    assert blobs == {f"{name}:d" for name in names}
    assert raw.xlen(key(SPEC.name, "audit")) == 1
    await hand.complete(*claims[1:])


async def test_drain_in_calls_and_up_to_a_bound(redis: Redis) -> None:
    queue = Queue(SPEC, redis)
    count = 2 * CLEAN_JOBS + 1
    await queue.add_many([NewJob("work", {})] * count)
    assert await queue.drain(most=CLEAN_JOBS) == (CLEAN_JOBS, True)
    assert await queue.drain(most=count) == (CLEAN_JOBS + 1, False)
    assert await queue.drain() == (0, False)


async def test_jobs_that_were_given_back_are_drained_as_well(redis: Redis) -> None:
    queue, hand = Queue(SPEC, redis), Hand(redis, SPEC)
    await queue.add("work", {})
    await hand.release(await hand.take_one())
    assert await queue.drain() == (1, False)
    assert (await queue.counts()).total == 0


async def test_a_drain_under_an_idempotency_key_has_its_effect_once(redis: Redis) -> None:
    queue = Queue(SPEC, redis)
    await queue.add("work", {})
    assert await queue.drain(once="a" * 32) == (1, False)
    await queue.add("work", {})
    assert await queue.drain(once="a" * 32) == (1, False)
    assert len(await queue.page(State.WAITING)) == 1


async def test_a_full_redis_can_be_drained(redis: Redis, raw: Any) -> None:
    queue = Queue(SPEC, redis)
    await queue.add("work", {})
    limit = raw.config_get("maxmemory")["maxmemory"]
    raw.config_set("maxmemory", 1)
    try:
        assert await queue.drain() == (1, False)
        await deletion.delete(queue)
    finally:
        raw.config_set("maxmemory", limit)


async def test_a_deleted_queue_needs_no_upkeep(redis: Redis, raw: Any) -> None:
    await live(redis, SPEC)
    await deletion.unlist(redis, SPEC.name)
    await deletion.delete(Queue(SPEC, redis))
    due = await Upkeep(SPEC, redis).due(
        dict.fromkeys(("promote", "reclaim", "prune", "sweep"), 1), 5
    )
    assert (due.duties, due.next_ms) == ((), 5)
