"""Reclaim: every job of a worker that fell silent comes back, and the work of a call is bounded."""

from typing import Any

import pytest
from by_hand import Hand
from consistency import assert_consistent
from filling import fill, silence

from schemas.spec import QueueSpec
from streams import Queue, Redis
from streams.keys import GROUP, LANES, SUSPECTS, QueueKeys
from streams.upkeep import Upkeep

SPEC = QueueSpec("chaos")
KEYS = QueueKeys(SPEC.name)
CALLS_MAX = 100


async def passes(redis: Redis) -> tuple[int, int]:
    """Reclaim until there is no more to do -> calls, jobs moved."""
    upkeep, moved = Upkeep(SPEC, redis), 0
    for calls in range(1, CALLS_MAX + 1):
        done = await upkeep.reclaim()
        moved += done.count
        if not done.more:
            return calls, moved
    raise AssertionError(f"after {CALLS_MAX} calls there was still more to do")


async def test_every_priority_is_reclaimed_while_all_are_in_use(redis: Redis, raw: Any) -> None:
    """A living worker has jobs of every priority, a dead one too."""
    for n, lane in enumerate(LANES):
        stalled = int(lane == SUSPECTS)
        fill(raw, KEYS, 20, lane=lane, first=n * 100, worker="living", stalled=stalled)
        fill(raw, KEYS, 1, lane=lane, first=n * 100 + 50, worker="dead", stalled=stalled)
        silence(raw, KEYS, lane, "dead")
    _, moved = await passes(redis)
    assert moved == len(LANES)
    left = [raw.xpending_range(KEYS.lane(n), GROUP, "-", "+", 9, "dead") for n in LANES]
    assert left == [[] for _ in LANES]
    await assert_consistent(Queue(SPEC, redis))


@pytest.mark.parametrize("active", [0, 1, 9_000, 9_001, 10_000, 10_001, 19_500])
async def test_a_look_at_running_jobs_comes_to_its_end(redis: Redis, raw: Any, active: int) -> None:
    """Nothing to reclaim: as many calls as the jobs that are looked at need, and no more."""
    if active:
        fill(raw, KEYS, active, worker="living")
    calls, moved = await passes(redis)
    assert (calls, moved) == (max(1, -(-active // 10_000)), 0)


@pytest.mark.parametrize("count", [249, 250, 251, 1_001])
async def test_many_jobs_of_a_dead_worker_come_back(redis: Redis, raw: Any, count: int) -> None:
    jobs = fill(raw, KEYS, count, worker="dead")
    silence(raw, KEYS, 5, "dead")
    calls, moved = await passes(redis)
    assert moved == count
    assert calls <= count // 250 + 1
    counts = await Queue(SPEC, redis).counts()
    assert (counts.waiting, counts.active) == (count, 0)
    assert {*raw.hkeys(KEYS["jobs"])} == {f":{job}".encode() for job in jobs}


async def test_a_call_moves_a_bounded_number_of_bytes(redis: Redis, raw: Any) -> None:
    """31 KB payloads: about a mebibyte a call, and what is left over is not held back."""
    fill(raw, KEYS, 250, worker="dead", size=31_000)
    silence(raw, KEYS, 5, "dead")
    done = await Upkeep(SPEC, redis).reclaim()
    assert (30 <= done.count <= 40, done.more) == (True, True)
    _, moved = await passes(redis)
    assert done.count + moved == 250
    await assert_consistent(Queue(SPEC, redis))


async def test_work_is_found_again_after_a_call_that_was_cut_short(redis: Redis, raw: Any) -> None:
    """Who called the first time has died; the next pass begins where that one ended."""
    fill(raw, KEYS, 600, worker="dead")
    silence(raw, KEYS, 5, "dead")
    assert (await Upkeep(SPEC, redis).reclaim()).count == 250
    await Hand(redis, SPEC, "other").take(10)
    _, moved = await passes(redis)
    assert moved == 350
