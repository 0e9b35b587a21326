"""A job that was taken from its worker, or never reached one."""

import pytest
from by_hand import Hand, clock_passes
from consistency import assert_consistent
from ledger import ended_events

from schemas.job import State
from schemas.spec import QueueSpec
from streams import Queue, Redis
from streams.claims import Claim
from streams.upkeep import Upkeep

FAR = 3_600_000


async def taken_over(redis: Redis, claim: Claim) -> None:
    """The claim has not been renewed for longer than its lease, and reclaim has seen it."""
    keys = Queue("chaos", redis).store.keys
    idle = (0, claim.entry, "IDLE", FAR, "JUSTID")
    lane = keys.lane(int(claim.lane))
    await redis.command("XCLAIM", lane, "workers", "by-hand", *idle, key=keys.prefix)
    assert (await Upkeep(QueueSpec("chaos"), redis).reclaim()).count == 1


@pytest.mark.parametrize("stalls", [1, 3])
@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("verb", ["complete", "fail", "release"])
async def test_who_lost_its_job_is_told_so(
    redis: Redis, stalls: int, kept: bool, verb: str
) -> None:
    """ALREADY would be success: the late worker would report an ending it had no part in."""
    queue, hand = Queue("chaos", redis), Hand(redis, QueueSpec("chaos"))
    await queue.add("work", {}, job_id="one", remove_on_fail=not kept)
    claim = await hand.take_one()
    for _ in range(stalls - 1):
        await taken_over(redis, claim)
        (claim,) = await hand.isolate()
    await taken_over(redis, claim)
    before = await assert_consistent(queue)

    assert await getattr(hand, verb)(claim) == ["LOST"]
    assert await assert_consistent(queue) == before


@pytest.mark.parametrize("way", ["retry", "reclaim"])
async def test_a_job_that_started_in_time_does_not_expire_later(redis: Redis, way: str) -> None:
    queue, hand = Queue("chaos", redis), Hand(redis, QueueSpec("chaos"))
    await queue.add("work", {}, job_id="one", expires=FAR)
    before = (await assert_consistent(queue)).places[":one"].header
    claim = await hand.take_one()

    if way == "retry":
        await hand.retry(claim, delay_ms=FAR)
    else:
        await taken_over(redis, claim)

    assert before.expires == str(int(before.added) + FAR)
    assert (await assert_consistent(queue)).places[":one"].header.expires == ""
    job = await queue.get("one")
    assert job is not None
    assert job.opts["expires"] == FAR


async def test_jobs_that_expire_unseen_are_told_of(redis: Redis, raw) -> None:
    queue, hand = Queue("chaos", redis), Hand(redis, QueueSpec("chaos"))
    added = [await queue.add("work", {}, expires=1) for _ in range(60)]
    job = await queue.get(added[-1].id)
    assert job is not None
    await clock_passes(redis, "chaos", job.timestamp + 1)

    assert await hand.take() == []

    assert (await queue.counts()).failed == len(added)
    assert ended_events(raw, "chaos", "failed") == {one.id: 1 for one in added}
    assert (await queue.page(State.FAILED, 0, 0))[0].failed_reason == "not started: expired"
