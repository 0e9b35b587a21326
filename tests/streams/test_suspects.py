"""Jobs whose worker died: isolated by the rule of docs/protocol.md, and buried only when alone."""

from typing import Any

import pytest
from by_hand import Hand
from consistency import assert_consistent
from filling import fill, silence
from ledger import make_due

from schemas.job import State
from schemas.spec import Limiter, QueueSpec
from streams import Queue, Redis
from streams.claims import Claim
from streams.keys import SUSPECTS, QueueKeys
from streams.upkeep import Upkeep
from streams.why import standing

SPEC = QueueSpec("chaos")
KEYS = QueueKeys(SPEC.name)
HOUR_MS = 3_600_000


async def dies(redis: Redis, raw: Any, claims: list[Claim], spec: QueueSpec = SPEC) -> None:
    """The process that holds these claims dies, and a lease later that is noticed."""
    for lane in {int(claim.lane) for claim in claims}:
        silence(raw, KEYS, lane, "by-hand")
    while (await Upkeep(spec, redis).reclaim()).more:
        pass


async def stalled_of(redis: Redis, job_id: str) -> int:
    job = await Queue(SPEC, redis).get(job_id)
    assert job is not None
    return job.stalled_count


@pytest.mark.parametrize("claimed", [1, 8, 9, 499, 500, 501])
@pytest.mark.parametrize("max_stalls", [1, 3, 4])
async def test_one_poison_job_is_found_and_buries_nobody_else(
    redis: Redis, raw: Any, claimed: int, max_stalls: int
) -> None:
    """A model of the process: it dies when it holds the poison job, else all that it holds ends."""
    spec, hand = QueueSpec("chaos", max_stalls=max_stalls), Hand(redis, SPEC)
    jobs = fill(raw, KEYS, claimed)
    poison = jobs[min(137, claimed - 1)]
    deaths, groups = 1, list[int]()
    await dies(redis, raw, await hand.take(claimed), spec)
    while held := await hand.isolate():
        stalls = {claim.job.header.stalled for claim in held}
        assert stalls == {1} or len(held) == 1
        groups.append(len(held))
        if poison in {claim.job.id for claim in held}:
            deaths += 1
            await dies(redis, raw, held, spec)
        else:
            await hand.complete(*held)
    view = await Queue(SPEC, redis).get(poison)
    assert view is not None
    assert (view.state, view.errors[-1].reason) == (State.FAILED, "stalled")
    counts = await Queue(SPEC, redis).counts()
    assert (counts.failed, counts.completed, counts.waiting) == (1, claimed - 1, 0)
    assert deaths == max(3, max_stalls)
    assert max(groups) <= 8
    assert len(groups) <= -(-claimed // 8) + 8 + deaths
    await assert_consistent(Queue(SPEC, redis))


@pytest.mark.parametrize("want", [1, 3, 8, 20])
async def test_a_group_has_at_most_eight_jobs_and_no_more_than_slots(
    redis: Redis, raw: Any, want: int
) -> None:
    fill(raw, KEYS, 30, lane=SUSPECTS, stalled=1)
    assert len(await Hand(redis, SPEC).isolate(want)) == min(want, 8)


async def test_no_claim_brings_a_suspect(redis: Redis, raw: Any) -> None:
    fill(raw, KEYS, 3, lane=SUSPECTS, stalled=1)
    (plain,) = fill(raw, KEYS, 1, first=100)
    assert [claim.job.id for claim in await Hand(redis, SPEC).take()] == [plain]


async def test_one_worker_is_told_that_suspects_wait(redis: Redis, raw: Any) -> None:
    first, second = Hand(redis, SPEC, "first"), Hand(redis, SPEC, "second")
    assert not (await first.ask()).has_suspects
    fill(raw, KEYS, 3, lane=SUSPECTS, stalled=1)
    assert [(await hand.ask()).has_suspects for hand in (first, second, first)] == [
        *(True, False, False)
    ]
    assert (await second.claims.isolate("second", 8)).word == "TAKEN"
    child = Hand(redis, SPEC, "child")
    claimed = await child.claims.isolate("first", 8)
    assert (claimed.word, claimed.count) == ("OK", 3)
    assert (await child.claims.isolate("first", 8)).word == "WAIT"
    assert (await first.claims.isolate("first", 8)).word == "TAKEN"
    await child.complete(*claimed.claims)
    assert (await child.claims.isolate("first", 8)).word == "NONE"
    fill(raw, KEYS, 1, lane=SUSPECTS, stalled=1, first=50)
    assert (await second.ask()).has_suspects


@pytest.mark.parametrize("offset_s", [-1, 3_600])
async def test_a_lease_that_ran_out_or_lies_in_the_future_holds_nobody_up(
    redis: Redis, raw: Any, offset_s: int
) -> None:
    """Its process died; or the clock of Redis was set back since."""
    fill(raw, KEYS, 3, lane=SUSPECTS, stalled=1)
    ends_s = raw.time()[0] + offset_s
    raw.hset(KEYS["meta"], "tester", f"{ends_s}000 gone")
    assert (await Hand(redis, SPEC, "one").ask()).has_suspects
    raw.hset(KEYS["meta"], "tester", f"{ends_s}000 gone")
    assert (await Hand(redis, SPEC, "two").claims.isolate("two", 1)).count == 1


async def test_the_lease_ends_with_the_process_that_had_it(redis: Redis, raw: Any) -> None:
    fill(raw, KEYS, 3, lane=SUSPECTS, stalled=1)
    hand = Hand(redis, SPEC)
    await dies(redis, raw, await hand.isolate())
    assert (await Hand(redis, SPEC, "other").ask()).has_suspects


@pytest.mark.parametrize("way", ["release", "backoff", "advance", "prioritize", "orphan"])
async def test_a_suspect_stays_one_until_it_has_ended(redis: Redis, raw: Any, way: str) -> None:
    queue, hand = Queue(SPEC, redis), Hand(redis, SPEC)
    fill(raw, KEYS, 1, lane=SUSPECTS, stalled=2)
    (claim,) = await hand.isolate()
    if way == "prioritize":
        await hand.release(claim)
        await queue.prioritize("job-0", 3)
    elif way == "orphan":
        raw.xack(KEYS.lane(SUSPECTS), "workers", claim.entry)
        await Upkeep(SPEC, redis).sweep()
    elif way == "release":
        await hand.release(claim)
    else:
        await hand.retry(claim, delay_ms=HOUR_MS)
        if way == "advance":
            await queue.advance("job-0")
        else:
            make_due(raw, "chaos", ":job-0", priority=10)
            await Upkeep(SPEC, redis).promote()
    assert await hand.take() == []
    await assert_consistent(queue)
    assert (await queue.counts()).waiting == 1
    (again,) = await hand.isolate()
    assert again.job.header.stalled == 2
    if way == "prioritize":
        assert again.job.header.priority == 3


async def test_a_suspect_that_an_operator_revives_is_none_any_more(redis: Redis, raw: Any) -> None:
    queue, hand = Queue(SPEC, redis), Hand(redis, SPEC)
    fill(raw, KEYS, 1, lane=SUSPECTS, stalled=2)
    await hand.fail(*await hand.isolate())
    await queue.revive("job-0")
    assert len(await hand.take()) == 1
    assert await stalled_of(redis, "job-0") == 0


async def test_cancelled_suspects_do_not_start(redis: Redis, raw: Any) -> None:
    queue, hand = Queue(SPEC, redis), Hand(redis, SPEC)
    fill(raw, KEYS, 2, lane=SUSPECTS, stalled=1)
    (running, _) = await hand.isolate()
    await queue.cancel("job-0")
    await queue.cancel("job-1")
    await hand.release(running)
    await hand.settle()
    silence(raw, KEYS, SUSPECTS, "by-hand")
    await Upkeep(SPEC, redis).reclaim()
    assert await hand.isolate() == []
    assert (await queue.counts()).failed == 2
    await assert_consistent(queue)


async def test_limits_count_suspects_and_leave_them_a_place(redis: Redis, raw: Any) -> None:
    queue, hand, tester = Queue(SPEC, redis), Hand(redis, SPEC), Hand(redis, SPEC, "tester")
    fill(raw, KEYS, 20)
    fill(raw, KEYS, 6, lane=SUSPECTS, stalled=1, first=100)
    await queue.set_limits(Limiter(10, HOUR_MS), 4)
    first = await hand.ask(1)
    assert first.has_suspects
    assert (await hand.ask(10)).count == 2  # one runs, one place is left free
    assert (await hand.ask(10)).word == "FULL"
    group = await tester.claims.isolate("by-hand", 8)
    assert group.count == 1
    assert (await queue.counts()).active == 4
    await tester.complete(*group.claims)
    assert (await hand.ask(10)).word == "FULL"
    assert (await tester.claims.isolate("by-hand", 8)).count == 1
    await queue.set_limits(Limiter(6, HOUR_MS), None)
    assert (await hand.ask(10)).word == "LIMITED"  # five started, the sixth start is a suspect's
    await queue.pause()
    assert (await tester.claims.isolate("by-hand", 8)).word == "WAIT"


async def test_why_counts_and_pages_tell_of_suspects(redis: Redis, raw: Any) -> None:
    queue = Queue(SPEC, redis)
    fill(raw, KEYS, 5)
    fill(raw, KEYS, 3, lane=SUSPECTS, stalled=1, first=100)
    counts = await queue.counts()
    assert (counts.waiting, counts.active) == (8, 0)
    waiting = await queue.page(State.WAITING, 0, 99)
    assert [job.id for job in waiting][-3:] == ["job-100", "job-101", "job-102"]
    await Hand(redis, SPEC).isolate(1)
    assert [job.id for job in await queue.page(State.ACTIVE)] == ["job-100"]
    stands = await standing(queue.store, ":job-102")
    assert (stands.is_suspect, stands.ahead, stands.start_ms()) == (True, 1, None)
    stands = await standing(queue.store, ":job-4")
    assert (stands.is_suspect, stands.ahead) == (False, 4)
