"""Leases are kept by whoever holds the claim, however many it holds, and by nobody else."""

from typing import Any

import pytest
from by_hand import Hand
from consistency import assert_consistent
from filling import fill

from schemas.job import JobOptions, State
from schemas.spec import QueueSpec
from streams import NewJob, Queue, Redis
from streams.claims import Claim, Ending
from streams.keys import GROUP, QueueKeys

SPEC = QueueSpec("chaos")
KEYS = QueueKeys(SPEC.name)
HOUR_MS = 3_600_000


async def holding(redis: Redis, raw: Any, count: int) -> tuple[Hand, list[Claim]]:
    """A worker that has claimed so many jobs of one priority."""
    fill(raw, KEYS, count)
    hand, held = Hand(redis, SPEC), list[Claim]()
    while len(held) < count:
        held += await hand.take(count - len(held))
    return hand, held


def idle(raw: Any, worker: str, lane: int = 5) -> list[int]:
    """For how long each claim of a worker has not been renewed (ms)."""
    found = raw.xpending_range(KEYS.lane(lane), GROUP, "-", "+", 100_000, worker)
    return [one["time_since_delivered"] for one in found]


def neglect(raw: Any, claims: list[Claim], worker: str = "by-hand") -> None:
    """None of these has been renewed for an hour."""
    for at in range(0, len(claims), 1_000):
        entries = [claim.entry for claim in claims[at : at + 1_000]]
        raw.xclaim(KEYS.lane(5), GROUP, worker, 0, entries, idle=HOUR_MS, justid=True)


@pytest.mark.parametrize("count", [1, 999, 1_000, 1_001, 7_999, 8_001, 10_001])
async def test_every_lease_is_renewed_however_many_there_are(
    redis: Redis, raw: Any, count: int
) -> None:
    hand, held = await holding(redis, raw, count)
    neglect(raw, held)
    gone = held[:: max(1, count // 7)]
    await hand.complete(*gone)
    raw.hset(KEYS["cancel"], held[-1].job.ref, "1")

    renewed = await hand.claims.renew(held, 0)

    assert renewed.lost == gone
    assert renewed.cancelled == [held[-1]]
    assert renewed.strays == []
    left = idle(raw, "by-hand")
    assert len(left) == count - len(gone)
    assert max(left, default=0) < HOUR_MS


async def test_claims_that_the_worker_does_not_know_are_found_beside_many_that_it_does(
    redis: Redis, raw: Any
) -> None:
    hand, held = await holding(redis, raw, 2_500)
    unknown = [held.pop(n) for n in (2_400, 1_500, 7)]
    renewed = await hand.claims.renew(held, 0)
    assert (renewed.lost, renewed.cancelled) == ([], [])
    assert set(renewed.strays) <= {(one.lane, one.entry) for one in unknown}
    assert renewed.strays


async def test_a_claim_of_another_worker_is_not_taken_from_it(redis: Redis, raw: Any) -> None:
    """A failover forgot the claim, and another worker was handed the same entry."""
    hand, (claim,) = await holding(redis, raw, 1)
    raw.xclaim(KEYS.lane(5), GROUP, "other", 0, [claim.entry], justid=True)

    renewed = await hand.claims.renew([claim], 0)

    assert (renewed.lost, renewed.strays) == ([claim], [])
    assert [one["consumer"] for one in raw.xpending_range(KEYS.lane(5), GROUP, "-", "+", 9)] == [
        b"other"
    ]


@pytest.mark.parametrize("verb", ["complete", "fail", "retry", "release"])
@pytest.mark.parametrize("is_kept", [True, False])
async def test_of_two_workers_with_the_same_entry_one_is_told_that_it_did_it(
    redis: Redis, raw: Any, verb: str, is_kept: bool
) -> None:
    queue = Queue(SPEC, redis)
    removed = not is_kept
    await queue.add("work", remove_on_complete=removed, remove_on_fail=removed)
    first, second = Hand(redis, SPEC, "first"), Hand(redis, SPEC, "second")
    claim = await first.take_one()
    raw.xgroup_setid(KEYS.lane(5), GROUP, "0")
    raw.xack(KEYS.lane(5), GROUP, claim.entry)
    raw.zadd(KEYS["lanes"], {"5": 5})
    again = await second.take_one()
    assert (again.entry, again.place) == (claim.entry, claim.place)

    args = {"delay_ms": HOUR_MS} if verb == "retry" else {}
    assert await getattr(second, verb)(again, **args) == ["OK"]
    before = await assert_consistent(queue)
    assert await getattr(second, verb)(again, **args) == ["ALREADY"]
    assert await getattr(first, verb)(claim, **args) == ["LOST"]
    assert await assert_consistent(queue) == before


async def test_a_claim_that_was_given_back_unknown_is_lost_when_it_turns_up(
    redis: Redis, raw: Any
) -> None:
    """Its reply was not lost, only late: the job is another's, and its outcome is nobody's."""
    hand, (claim,) = await holding(redis, raw, 1)
    renewed = await hand.claims.renew([], 0)
    assert renewed.strays == [(claim.lane, claim.entry)]
    await hand.claims.release_strays(renewed.strays)
    assert await hand.complete(claim) == ["LOST"]
    assert (await Queue(SPEC, redis).counts()).waiting == 1


async def test_many_unknown_claims_of_large_jobs_are_given_back(redis: Redis, raw: Any) -> None:
    jobs = fill(raw, KEYS, 60, worker="by-hand", size=31_000)
    hand = Hand(redis, SPEC)
    renewed = await hand.claims.renew([], 0)
    await hand.claims.release_strays(renewed.strays)
    counts = await Queue(SPEC, redis).counts()
    assert (counts.waiting, counts.active) == (len(jobs), 0)
    await assert_consistent(Queue(SPEC, redis))


@pytest.mark.parametrize("started", [True, False])
async def test_only_a_job_that_never_started_expires_after_it_was_given_back(
    redis: Redis, started: bool
) -> None:
    queue, hand = Queue(SPEC, redis), Hand(redis, SPEC)
    options = JobOptions(job_id="one", expires=HOUR_MS, callback_url="https://example.com/hook")
    await queue.add_many([NewJob("work", {}, options)])
    before = (await assert_consistent(queue)).places[":one"].header
    claim = await hand.take_one()
    assert await hand.settle(Ending(claim, "release", started=started)) == ["OK"]
    assert await hand.settle(Ending(claim, "release", started=started)) == ["ALREADY"]
    after = (await assert_consistent(queue)).places[":one"].header
    assert after == before._replace(expires="" if started else before.expires, origin=claim.origin)
    view = await queue.get("one")
    assert view is not None
    assert (view.state, view.attempts_started) == (State.WAITING, 0)
