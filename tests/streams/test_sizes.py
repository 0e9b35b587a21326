"""Verbs on many jobs give the same at, below and above every number that a call is bounded by."""

from collections import Counter
from typing import Any

import pytest
from by_hand import FAR_MS, Hand
from consistency import assert_consistent

from schemas.identity import JobRef
from schemas.job import JobOptions, State
from schemas.spec import QueueSpec, Retention
from streams import NewJob, Queue, Redis
from streams.bulk import Terms, Verb, act
from streams.causes import deaths
from streams.outcomes import endings, owners, states
from streams.upkeep import Upkeep

SPEC = QueueSpec("sizes", retention=Retention(None, None, None, None))
SIZES = [99, 100, 101, 249, 250, 251, 499, 500, 501, 1_001]
ODD = "a\x00\u0085\u2028\ufeff\U0010ffff\u202e|:\\\"'"


def jobs(count: int, **options: Any) -> list[NewJob]:
    """Of all priorities, with text of every kind."""
    return [
        NewJob(
            "work",
            {"text": ODD * (n % 7), "organizationId": f"org-{n % 3}"},
            JobOptions(job_id=f"j{n:04}", priority=n % 11, **options),
        )
        for n in range(count)
    ]


def in_order(count: int) -> list[str]:
    return sorted((f"j{n:04}" for n in range(count)), key=lambda i: (int(i[1:]) % 11, i))


def inside(ids: list[str]) -> list[JobRef]:
    """Their ids in Redis."""
    return [JobRef(f":{job_id}") for job_id in ids]


async def shown(queue: Queue, state: State, count: int) -> list[str]:
    """All jobs of a state, read twice: by offsets and from cursor to cursor."""
    whole = await queue.page(state, 0, count + 10)
    for job in whole:
        assert job.data["text"] == ODD * (int(job.id[1:]) % 7)
    found, cursor = list[str](), ""
    while True:
        part = await queue.slice(state, cursor, end=149)
        found += [job.id for job in part.jobs]
        cursor = part.cursor
        if not cursor:
            break
    assert found == [job.id for job in whole]
    return found


async def take_all(hand: Hand) -> list[Any]:
    held: list[Any] = []
    while some := await hand.take(500):
        held += some
    return held


@pytest.mark.parametrize("count", SIZES)
async def test_jobs_that_complete(redis: Redis, count: int) -> None:
    queue, hand = Queue(SPEC, redis), Hand(redis, SPEC)
    await queue.add_many(jobs(count))
    order = in_order(count)
    assert await shown(queue, State.WAITING, count) == order
    held = await take_all(hand)
    assert [claim.job.id for claim in held] == order
    assert await shown(queue, State.ACTIVE, count) == order
    assert await states(queue.store, inside(order)) == [State.ACTIVE] * count
    assert Counter(await owners(queue.store, inside(order))) == Counter(
        f"org-{n % 3}" for n in range(count)
    )
    await hand.complete(*held, result=ODD)
    assert sorted(await shown(queue, State.COMPLETED, count)) == sorted(order)
    results = await endings(queue.store, inside(order))
    assert {getattr(one, "returnvalue", None) for one in results} == {ODD}
    assert await queue.clean(most=count - 1) == count - 1
    assert await queue.clean() == 1
    await assert_consistent(queue)


@pytest.mark.parametrize("count", SIZES)
async def test_jobs_that_fail_and_run_again(redis: Redis, count: int) -> None:
    queue, hand = Queue(SPEC, redis), Hand(redis, SPEC)
    await queue.add_many(jobs(count))
    order = in_order(count)
    refs = inside(order)
    await hand.fail(*await take_all(hand))
    found = await deaths(queue.store, count + 5)
    assert sorted(death.job_id for death in found.found) == sorted(inside(order))
    assert len((await deaths(queue.store, count - 1)).found) == count - 1
    assert await act(queue.store, Verb.RETRY, refs) == ["done"] * count
    assert await shown(queue, State.WAITING, count) == order
    await hand.fail(*await take_all(hand))
    assert await act(queue.store, Verb.RETRY, refs, Terms(interval_ms=FAR_MS)) == ["done"] * count
    assert await shown(queue, State.DELAYED, count) == order[1:]
    assert await act(queue.store, Verb.PROMOTE, refs[1:]) == ["done"] * (count - 1)
    assert await act(queue.store, Verb.CANCEL, refs) == ["done"] * count
    assert await act(queue.store, Verb.REMOVE, refs[:1]) == ["done"]
    assert await prune(redis, Retention(None, None, None, 3)) == count - 4
    assert await prune(redis, Retention(None, None, 0, None)) == 3
    await assert_consistent(queue)


@pytest.mark.parametrize("count", SIZES)
async def test_jobs_that_are_kept_for_a_time_of_their_own(
    redis: Redis, raw: Any, count: int
) -> None:
    queue, hand = Queue(SPEC, redis), Hand(redis, SPEC)
    await queue.add_many(jobs(count, remove_on_complete={"age": 3_600}))
    await hand.complete(*await take_all(hand))
    assert await prune(redis, Retention(0, 0, None, None)) == 0
    expiry = queue.store.keys["expiry_completed"]
    raw.zadd(expiry, dict.fromkeys(raw.zrange(expiry, 0, -1), 1))
    assert await prune(redis, Retention(None, None, None, None)) == count
    await assert_consistent(queue)


async def test_orphans_behind_many_large_jobs_are_found_in_several_calls(redis: Redis) -> None:
    queue, hand, upkeep = Queue(SPEC, redis), Hand(redis, SPEC), Upkeep(SPEC, redis)
    await queue.add_many([NewJob("work", {"text": "x" * 30_000})] * 150)
    held = await take_all(hand)
    lane = queue.store.keys.lane(5)
    orphans = [held[n] for n in (0, 70, 149)]
    await redis.command("XACK", lane, "workers", *(c.entry for c in orphans), key=lane.decode())
    found, passes = 0, 0
    while found < len(orphans):
        passes += 1
        assert passes <= 8, "each pass goes on where the last one stopped in the lane"
        more = True
        while more:
            done = await upkeep.sweep()
            found, more = found + done.count, done.more
    waiting = [job.id for job in await queue.page(State.WAITING, 0, 10)]
    assert sorted(waiting) == sorted(claim.job.id for claim in orphans)
    assert (await queue.counts()).active == 147
    await assert_consistent(queue)


async def prune(redis: Redis, keep: Retention) -> int:
    """Until nothing is left to do."""
    upkeep, count, more = Upkeep(QueueSpec(SPEC.name, retention=keep), redis), 0, True
    while more:
        done = await upkeep.prune()
        count, more = count + done.count, done.more
    return count
