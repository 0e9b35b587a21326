"""The clock of Redis goes back: what was stored lies in the future, and nothing stops for it."""

import hashlib
from typing import Any

import pytest
from by_hand import FAR_MS, Hand, clock_ms
from consistency import assert_consistent
from ledger import key
from pending_times import shift_claims
from processes import until

from schemas.job import State
from schemas.spec import Limiter, QueueSpec, Retention
from streams import NewJob, Queue, Redis, access, answers, canaries
from streams.keys import answer, quota
from streams.looking import SILENT_MS
from streams.once import OnceKey
from streams.upkeep import Upkeep

QUEUE = "clock"
SPEC = QueueSpec(QUEUE, lease_ms=200, retention=Retention(1, 0, 1, 0))
STEP_MS = FAR_MS
DUTIES = ("promote", "reclaim", "prune", "sweep")


async def later(redis: Redis) -> int:
    """What the clock showed before it was set back."""
    return await clock_ms(redis, QUEUE) + STEP_MS


@pytest.mark.parametrize("duty", DUTIES)
async def test_upkeep_that_is_due_beyond_its_interval_is_due(
    redis: Redis, raw: Any, duty: str
) -> None:
    verb = getattr(Upkeep(SPEC, redis), duty)
    await Queue(SPEC, redis).counts()
    raw.hset(key(QUEUE, "meta"), f"next:{duty}", await later(redis))
    assert not (await verb(60_000)).skipped
    assert (await verb(60_000)).skipped
    assert int(raw.hget(key(QUEUE, "meta"), f"next:{duty}")) < await later(redis)


async def test_grants_of_the_rate_limit_that_lie_ahead_count_as_made_now(
    redis: Redis, raw: Any
) -> None:
    queue, hand = Queue(SPEC, redis), Hand(redis, SPEC)
    await queue.add_many([NewJob()] * 6)
    await queue.set_limits(Limiter(3, 500))
    before_ms = await clock_ms(redis, QUEUE)
    assert len(await hand.take(1) + await hand.take(2)) == 3
    for n, count in enumerate((1, 2)):
        raw.lset(key(QUEUE, "limit"), n, f"{before_ms + STEP_MS}:{count}")
    limited = await hand.ask()
    assert (limited.word, limited.claims) == ("LIMITED", [])
    assert 0 < limited.next_ms <= 500
    job = await queue.page(State.WAITING, 0, 0)
    assert job[0].id

    async def starts() -> bool:
        return len(await hand.take()) == 3

    await until(starts, within_s=20, what="the next window has begun")
    assert await clock_ms(redis, QUEUE) - before_ms >= 500, "the limit held all the same"
    await assert_consistent(queue)


async def test_jobs_of_a_dead_worker_return_after_a_lease(redis: Redis, raw: Any) -> None:
    queue, hand, upkeep = Queue(SPEC, redis), Hand(redis, SPEC), Upkeep(SPEC, redis)
    ids = [one.id for one in await queue.add_many([NewJob()] * 12)]
    await hand.take(7)
    await Hand(redis, SPEC, "another").take(5)
    assert shift_claims(raw, queue.store.keys.lane(5), STEP_MS) == 12
    raw.hset(key(QUEUE, "meta"), "next:reclaim", await later(redis))
    moved = 0

    async def returned() -> bool:
        nonlocal moved
        moved += (await upkeep.reclaim(1)).count
        return moved == len(ids)

    await until(returned, within_s=20, what="all jobs wait again")
    assert {job.id for job in await queue.page(State.WAITING, 0, 99)} == set(ids)


async def test_claims_are_timed_anew_in_bounded_calls(redis: Redis, raw: Any) -> None:
    queue, upkeep = Queue(SPEC, redis), Upkeep(SPEC, redis)
    await queue.add_many([NewJob()] * 1_203)
    held = [await Hand(redis, SPEC, f"w{n}").take(500) for n in range(3)]
    assert sum(map(len, held)) == 1_203
    raw.hset(key(QUEUE, "meta"), "next:reclaim", await later(redis))
    calls = 1
    while (await upkeep.reclaim(60_000)).more:
        calls += 1
    assert calls == 1_203 // 500 + 1
    counted = raw.xpending(queue.store.keys.lane(5), "workers")
    assert {one["name"]: one["pending"] for one in counted["consumers"]} == {
        f"w{n}".encode(): len(claims) for n, claims in enumerate(held)
    }
    assert (await queue.counts()).active == 1_203


async def test_a_heartbeat_from_the_future_is_none(redis: Redis, raw: Any) -> None:
    queue, hand = Queue(SPEC, redis), Hand(redis, SPEC)
    await hand.claims.heartbeat({"slots": 2})
    assert (await queue.counts()).workers == 1
    raw.hset(key(QUEUE, "beats"), "by-hand", f"{await clock_ms(redis, QUEUE) + 2 * SILENT_MS}:2")
    assert (await queue.counts()).workers == 0
    raw.hset(key(QUEUE, "beats"), "by-hand", f"{await later(redis)}:2")
    await Upkeep(SPEC, redis).sweep()
    assert raw.hlen(key(QUEUE, "beats")) == raw.hlen(key(QUEUE, "workers")) == 0


async def test_a_quota_that_ends_beyond_its_window_is_whole(redis: Redis, raw: Any) -> None:
    for _ in range(2):
        taken = await access.take(redis, "acme", 2, 1_000)
    assert not (await access.take(redis, "acme", 2, 1_000)).granted, taken
    name = quota(hashlib.sha256(b"acme").hexdigest()[:32])["quota"]
    raw.pexpire(name, STEP_MS)
    assert (await access.take(redis, "acme", 2, 1_000)).granted
    assert 0 < raw.pttl(name) <= 1_000


async def test_a_request_that_runs_until_beyond_its_lease_runs_no_more(
    redis: Redis, raw: Any
) -> None:
    request = OnceKey("0" * 64, "1" * 64)
    await answers.claim(redis, request)
    with pytest.raises(answers.Running):
        await answers.claim(redis, request)
    raw.hset(answer(request.digest)["answer"], "until", await later(redis))
    assert isinstance(await answers.claim(redis, request), answers.Claimed)


async def test_a_lease_of_a_canary_that_ends_beyond_its_minute_is_free(
    redis: Redis, raw: Any
) -> None:
    canary = canaries.Canary(queue=QUEUE, id="c", fingerprint="f", jobs=(), by="me", at_ms=1)
    assert await canaries.lease(redis, canary) is not None
    assert await canaries.lease(redis, canary) is None
    raw.pexpire(key(QUEUE, "canary:c:lease"), STEP_MS)
    assert await canaries.lease(redis, canary) is not None
    assert 0 < raw.pttl(key(QUEUE, "canary:c:lease")) <= canaries.LEASE_MS
