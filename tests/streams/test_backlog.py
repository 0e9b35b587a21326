"""The backlog limit of a queue: what is refused, what is not, and that nothing is left of it."""

import asyncio
from typing import Any

import pytest
from by_hand import Hand

from consumers.relay import Relay
from schemas.job import JobOptions
from schemas.spec import QueueSpec, catalog
from streams import NewJob, Queue, Redis
from streams.encode import CALL_JOBS
from streams.errors import BacklogFull
from streams.once import OnceKey

SPEC = QueueSpec("chaos")
LATER = JobOptions(delay=3_600_000)
ONCE = OnceKey("a" * 32, "b" * 64)


async def limited(redis: Redis, backlog: int | None, spec: QueueSpec = SPEC) -> Queue:
    queue = Queue(spec, redis)
    await queue.set_limits(backlog=backlog)
    return queue


async def test_jobs_that_have_not_ended_count(redis: Redis) -> None:
    queue, hand = await limited(redis, 3), Hand(redis, SPEC)
    await queue.add_many([NewJob("x", {}), NewJob("x", {}), NewJob("x", {}, LATER)])
    claim, other = await hand.take(2)
    with pytest.raises(BacklogFull, match=r"as it may \(3\)") as caught:
        await queue.add("x", {})
    assert caught.value.retry_after_ms > 0
    await hand.complete(claim)
    await queue.add("x", {})
    await hand.fail(other)
    await queue.add("x", {}, delay=1_000)
    with pytest.raises(BacklogFull):
        await queue.add("x", {}, delay=1_000)
    await queue.set_limits(backlog=None)
    await queue.add("x", {})


async def test_other_limits_leave_that_of_the_backlog_alone(redis: Redis) -> None:
    queue = await limited(redis, 7)
    await queue.set_limits(None, 3)
    counts = await queue.counts()
    assert (counts.concurrency, counts.backlog) == (3, 7)


@pytest.mark.parametrize("count", [2, CALL_JOBS + 1, 3 * CALL_JOBS])
@pytest.mark.parametrize("keyed", [False, True])
async def test_nothing_is_stored_of_a_submission_that_does_not_fit(
    redis: Redis, raw: Any, count: int, keyed: bool
) -> None:
    """However many calls it takes: the limit is short of one job."""
    queue = await limited(redis, count)
    await queue.add("x", {})
    before = sorted(raw.scan_iter())
    jobs = [NewJob("x", {})] * count
    with pytest.raises(BacklogFull):
        await (queue.add_once(jobs, ONCE) if keyed else queue.add_many(jobs))
    assert (await queue.counts()).total == 1
    assert sorted(raw.scan_iter()) == before
    await queue.set_limits(backlog=count + 1)
    await (queue.add_once(jobs, ONCE) if keyed else queue.add_many(jobs))
    assert (await queue.counts()).waiting == count + 1


async def test_what_is_there_already_needs_no_room(redis: Redis) -> None:
    queue = await limited(redis, 2)
    jobs = [NewJob("x", {}, JobOptions(job_id=name)) for name in ("a", "b")]
    await queue.add_many(jobs)
    assert all(one.deduplicated for one in await queue.add_many(jobs))
    found, _ = await queue.add_once([], ONCE)
    assert found == []


async def test_a_submission_that_was_answered_is_answered_again(redis: Redis) -> None:
    queue = await limited(redis, 1)
    first, _ = await queue.add_once([NewJob("x", {})], ONCE)
    again, replayed = await queue.add_once([NewJob("x", {})], ONCE)
    assert (again[0].id, replayed) == (first[0].id, True)


async def test_no_callback_is_refused(redis: Redis) -> None:
    webhooks = await limited(redis, 1, catalog()["webhooks"])
    queue, hand = Queue(SPEC, redis), Hand(redis, SPEC)
    for _ in range(3):
        await queue.add("x", {"callbackUrl": "https://example.com/hook"})
    await hand.complete(*await hand.take(3))
    await Relay(SPEC, redis).pass_on()
    assert (await webhooks.counts()).waiting == 3


async def test_retries_and_redrives_are_not_refused(redis: Redis) -> None:
    queue, hand = await limited(redis, 1), Hand(redis, SPEC)
    job = await queue.add("x", {})
    await hand.retry(await hand.take_one(), delay_ms=1)
    await queue.advance(job.id)
    await hand.fail(await hand.take_one())
    await queue.add("x", {})
    await queue.revive(job.id)
    assert (await queue.counts()).waiting == 2


async def test_jobs_of_an_internal_queue_are_not_refused(redis: Redis) -> None:
    queue = await limited(redis, 1, QueueSpec("inner", internal=True))
    await queue.add_many([NewJob("x", {})] * 3)
    assert (await queue.counts()).waiting == 3


async def test_submissions_at_the_same_time_keep_to_the_limit(redis: Redis) -> None:
    queue = await limited(redis, 100)
    found = await asyncio.gather(
        *(queue.add_many([NewJob("x", {})] * 7) for _ in range(30)), return_exceptions=True
    )
    taken = sum(isinstance(one, list) for one in found)
    assert taken == 14
    assert (await queue.counts()).waiting == 98
