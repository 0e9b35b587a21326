"""Pages of every state: their order, their bounds, and how deep they go."""

from typing import Any

import pytest
from by_hand import Hand
from ledger import make_due

from schemas.job import JobOptions, State
from schemas.spec import QueueSpec
from streams import NewJob, Queue, Redis, errors
from streams.queue import DEEPEST_OFFSET

SPEC = QueueSpec("chaos")
MANY = DEEPEST_OFFSET + 6
SOME = 1_203


@pytest.fixture
def queue(redis: Redis) -> Queue:
    return Queue(SPEC, redis)


@pytest.fixture
def hand(redis: Redis) -> Hand:
    return Hand(redis, SPEC)


async def fill(queue: Queue, count: int, **options: int) -> list[str]:
    made = JobOptions(**options)  # type: ignore[arg-type]
    return [job.id for job in await queue.add_many([NewJob("work", {}, made)] * count)]


async def shown(queue: Queue, state: State, start: int, end: int) -> list[str]:
    jobs = await queue.page(state, start, end)
    assert {job.state for job in jobs} <= {state}
    return [job.id for job in jobs]


async def test_waiting_jobs_come_in_the_order_they_will_run(queue: Queue, hand: Hand) -> None:
    low = await fill(queue, 3, priority=10)
    normal = await fill(queue, 3)
    urgent = await fill(queue, 2, priority=0)
    given_back = await hand.take(3)  # both urgent ones and the first of the normal ones
    await hand.release(given_back[2])
    await hand.complete(*given_back[:2])

    expected = [normal[0], *normal[1:], *low]
    assert await shown(queue, State.WAITING, 0, 10) == expected
    assert [claim.job.id for claim in await hand.take()] == expected
    assert [claim.job.id for claim in given_back[:2]] == urgent


async def test_the_back_lane_is_served_before_the_most_urgent(queue: Queue, hand: Hand) -> None:
    (low,) = await fill(queue, 1, priority=10)
    await hand.release(await hand.take_one())
    (urgent,) = await fill(queue, 1, priority=0)
    assert await shown(queue, State.WAITING, 0, 10) == [low, urgent]
    assert [claim.job.id for claim in await hand.take()] == [low, urgent]


async def test_ended_jobs_come_newest_first(queue: Queue, hand: Hand) -> None:
    ids = await fill(queue, 6)
    claims = await hand.take()
    for claim in claims[:3]:
        await hand.complete(claim)
    for claim in claims[3:]:
        await hand.fail(claim)
    assert await shown(queue, State.COMPLETED, 0, 10) == ids[2::-1]
    assert await shown(queue, State.FAILED, 0, 10) == ids[:2:-1]


async def test_delayed_jobs_come_as_they_become_due(queue: Queue) -> None:
    (late,) = await fill(queue, 1, delay=3_000_000)
    (soon,) = await fill(queue, 1, delay=1_000_000)
    (between,) = await fill(queue, 1, delay=2_000_000)
    assert await shown(queue, State.DELAYED, 0, 10) == [soon, between, late]


async def test_delayed_jobs_due_together_come_in_the_order_they_were_added(
    queue: Queue, hand: Hand, raw: Any
) -> None:
    ids = await fill(queue, 300, delay=1_000_000)
    for job_id in ids:
        make_due(raw, "chaos", job_id)
    assert await shown(queue, State.DELAYED, 0, 299) == ids
    assert [claim.job.id for claim in await hand.take(100)] == ids[:100]


async def test_active_jobs_come_by_lane_and_age(queue: Queue, hand: Hand) -> None:
    normal = await fill(queue, 2)
    urgent = await fill(queue, 2, priority=0)
    await hand.take()
    assert await shown(queue, State.ACTIVE, 0, 10) == urgent + normal


@pytest.mark.parametrize("state", State)
async def test_both_bounds_are_included(queue: Queue, hand: Hand, state: State) -> None:
    ids = await fill(queue, 5, **({"delay": 1_000_000} if state is State.DELAYED else {}))
    if state not in (State.WAITING, State.DELAYED):
        claims = await hand.take()
        if state is State.COMPLETED:
            await hand.complete(*claims)
        elif state is State.FAILED:
            await hand.fail(*claims)
    ordered = await shown(queue, state, 0, 4)
    assert sorted(ordered) == sorted(ids)
    assert await shown(queue, state, 1, 3) == ordered[1:4]
    assert await shown(queue, state, 2, 2) == ordered[2:3]
    assert await shown(queue, state, 4, 100) == ordered[4:]
    assert await shown(queue, state, 5, 9) == []


async def test_an_empty_queue_has_empty_pages(queue: Queue) -> None:
    for state in State:
        assert await queue.page(state) == []


@pytest.mark.parametrize("state", State)
async def test_a_page_may_lie_several_hops_deep_and_be_several_hops_long(
    queue: Queue, hand: Hand, state: State
) -> None:
    ids = await fill(queue, SOME - 400, **({"delay": 1_000_000} if state is State.DELAYED else {}))
    ids += await fill(
        queue, 400, **({"delay": 2_000_000} if state is State.DELAYED else {"priority": 7})
    )
    while state not in (State.WAITING, State.DELAYED) and (claims := await hand.take(500)):
        if state is State.COMPLETED:
            await hand.complete(*claims)
        elif state is State.FAILED:
            await hand.fail(*claims)
    expected = ids[::-1] if state in (State.COMPLETED, State.FAILED) else ids
    if state is State.DELAYED:  # equally due ones come by id
        due = {job_id: await _due(queue, job_id) for job_id in ids}
        expected = sorted(ids, key=lambda job_id: (due[job_id], job_id))
    for start, end in ((0, SOME), (499, 500), (500, 500), (501, 1_100), (1_000, 1_300)):
        assert await shown(queue, state, start, end) == expected[start : end + 1]


async def test_offsets_go_to_ten_thousand_and_no_further(queue: Queue) -> None:
    ids = await fill(queue, MANY)
    assert await shown(queue, State.WAITING, DEEPEST_OFFSET, MANY + 5) == ids[DEEPEST_OFFSET:]
    assert await shown(queue, State.WAITING, 9_999, 10_001) == ids[9_999:10_002]
    for state in State:
        with pytest.raises(errors.BadPage, match="10000"):
            await queue.page(state, DEEPEST_OFFSET + 1, DEEPEST_OFFSET + 2)


async def _due(queue: Queue, job_id: str) -> int:
    job = await queue.get(job_id)
    assert job is not None
    return job.delay_until or 0
