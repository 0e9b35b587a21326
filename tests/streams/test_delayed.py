"""Delayed jobs: which of those that are due start first, and the order in which they are shown."""

from typing import Any

import pytest
from by_hand import FAR_MS, Hand
from consistency import assert_consistent
from ledger import make_due

from schemas.identity import JobRef
from schemas.job import JobOptions, State
from schemas.spec import QueueSpec
from streams import NewJob, Queue, Redis
from streams.upkeep import Upkeep

SPEC = QueueSpec("delayed-jobs")
PRIORITIES = range(11)
CALL = 100


def delayed(job_id: str, priority: int, delay_ms: int = FAR_MS) -> NewJob:
    return NewJob("work", {}, JobOptions(priority=priority, delay=delay_ms), ref=job_id)


async def fill(queue: Queue, raw: Any, count: int, priority: int, at_ms: int) -> list[str]:
    """Jobs of one priority that are due since `at_ms`."""
    ids = [f"p{priority}-{n:04}" for n in range(count)]
    await queue.add_many([delayed(job_id, priority) for job_id in ids])
    for job_id in ids:
        make_due(raw, SPEC.name, job_id, at_ms, priority)
    return ids


async def test_of_many_that_are_due_the_most_urgent_start_first(redis: Redis, raw: Any) -> None:
    queue, hand = Queue(SPEC, redis), Hand(redis, SPEC)
    low = await fill(queue, raw, CALL + 50, 10, 1)
    (urgent,) = await fill(queue, raw, 1, 0, 1_000)
    normal = await fill(queue, raw, 2, 5, 500)
    started = [claim.job.id for claim in await hand.take(4)]
    assert started == [urgent, *normal, low[0]]
    await assert_consistent(queue)


async def test_promotion_takes_the_urgent_ones_first_and_says_that_there_are_more(
    redis: Redis, raw: Any
) -> None:
    queue, upkeep = Queue(SPEC, redis), Upkeep(SPEC, redis)
    expected = []
    for priority in PRIORITIES:
        expected += await fill(queue, raw, 30, priority, 100 - priority)
    counts = []
    while (done := await upkeep.promote()).more:
        counts.append(done.count)
        moved = await queue.page(State.WAITING, 0, 400)
        assert [job.id for job in moved] == expected[: sum(counts)]
        await assert_consistent(queue)
    assert [*counts, done.count] == [CALL, CALL, CALL, 30]
    waiting = await queue.page(State.WAITING, 0, 400)
    assert [job.id for job in waiting] == expected


@pytest.mark.parametrize("step", [1, 7, 500])
async def test_pages_follow_due_times_over_all_priorities(
    redis: Redis, raw: Any, step: int
) -> None:
    """Many are due together; ids of those come in the order of their bytes."""
    queue = Queue(SPEC, redis)
    due = {f"{letter}{p}-{n}": n // 2 for p in PRIORITIES for n in range(6) for letter in "aB_z"}
    await queue.add_many([delayed(i, int(i[1:].partition("-")[0])) for i in due])
    for job_id, at in due.items():
        make_due(raw, SPEC.name, job_id, at, int(job_id[1:].partition("-")[0]))
    expected = sorted(due, key=lambda i: (due[i], i.encode()))
    seen, cursor = list[str](), ""
    while True:
        part = await queue.slice(State.DELAYED, cursor, end=step - 1)
        seen += [job.id for job in part.jobs]
        cursor = part.cursor
        if not cursor:
            break
    assert seen == expected
    assert [job.id for job in await queue.page(State.DELAYED, 101, 110)] == expected[101:111]
    for at in (0, 99, len(expected) - 1):  # behind a job that is gone by now
        place = f"{due[expected[at]]} {expected[at]}"
        await queue.remove(JobRef(expected[at]))
        part = await queue.slice(State.DELAYED, place, end=0)
        assert [job.id for job in part.jobs] == expected[at + 1 : at + 2]


async def test_a_delayed_job_that_gets_another_priority_keeps_its_due_time(redis: Redis) -> None:
    queue = Queue(SPEC, redis)
    await queue.add_many([delayed("one", 9)])
    before = await queue.get(JobRef("one"))
    await queue.prioritize(JobRef("one"), 1)
    after = await queue.get(JobRef("one"))
    assert before is not None
    assert after is not None
    assert (after.delay_until, after.opts["priority"]) == (before.delay_until, 1)
    await assert_consistent(queue)


async def test_the_next_due_time_follows_what_is_added_and_what_goes(redis: Redis) -> None:
    queue, hand = Queue(SPEC, redis), Hand(redis, SPEC)
    await queue.add_many([delayed("far", 0, 3 * FAR_MS), delayed("near", 10, FAR_MS)])
    assert 0 < (await hand.ask()).next_ms <= FAR_MS
    await queue.remove(JobRef("near"))
    assert (await Upkeep(SPEC, redis).promote()).count == 0
    assert FAR_MS < (await hand.ask()).next_ms <= 3 * FAR_MS
    await queue.cancel(JobRef("far"))
    assert (await Upkeep(SPEC, redis).promote()).count == 0
    assert (await hand.ask()).next_ms == -1
