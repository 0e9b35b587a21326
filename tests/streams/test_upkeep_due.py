"""Which duties have work, and when the next one will: what each state of a queue needs."""

from typing import Any

import pytest
from by_hand import Hand
from ledger import key

from schemas.job import JobOptions
from schemas.spec import QueueSpec, Retention
from streams import Queue, Redis
from streams.upkeep import Due, Upkeep

INTERVALS_MS = {"promote": 200, "reclaim": 500, "prune": 1_000, "sweep": 30_000}
IDLE_MS = 5_000
LONG = Retention(completed_ms=3_600_000, failed_ms=3_600_000)
TOLD = JobOptions(callback_url="https://example.com/hook")


async def due(redis: Redis, spec: QueueSpec) -> Due:
    return await Upkeep(spec, redis).due(INTERVALS_MS, IDLE_MS)


async def ended(redis: Redis, spec: QueueSpec, *options: JobOptions, failed: bool = False) -> None:
    """Jobs that have ended; the queue has been swept."""
    queue, hand = Queue(spec, redis), Hand(redis, spec)
    for one in options:
        await queue.add("x", {}, one)
    claims = await hand.take(100)
    await (hand.fail(*claims) if failed else hand.complete(*claims))
    await Upkeep(spec, redis).sweep(INTERVALS_MS["sweep"])


async def test_a_queue_without_anything_needs_nothing(redis: Redis, raw: Any) -> None:
    assert await due(redis, QueueSpec("chaos")) == Due((), IDLE_MS)
    assert {*raw.scan_iter("cs:{chaos}:*")} == {key("chaos", "meta").encode()}


async def test_a_delayed_job(redis: Redis) -> None:
    spec = QueueSpec("chaos")
    await Queue(spec, redis).add("x", {}, delay=3_600_000)
    assert await due(redis, spec) == Due((), IDLE_MS)
    await Queue(spec, redis).add("x", {}, delay=2_000)
    found = await due(redis, spec)
    assert found.duties == ()
    assert 0 < found.next_ms <= 2_000
    await Queue(spec, redis).add("x", {}, delay=1)
    found = await due(redis, spec)
    while found.duties == ():
        assert found.next_ms <= 1
        found = await due(redis, spec)
    assert found.duties == ("promote",)
    await Upkeep(spec, redis).promote()
    assert "promote" not in (await due(redis, spec)).duties


async def test_an_active_job(redis: Redis) -> None:
    spec = QueueSpec("chaos")
    await Queue(spec, redis).add("x", {})
    assert (await due(redis, spec)).duties == ("sweep",)
    await Upkeep(spec, redis).sweep(INTERVALS_MS["sweep"])
    assert await due(redis, spec) == Due((), IDLE_MS)
    await Hand(redis, spec).take_one()
    assert (await due(redis, spec)).duties == ("reclaim",)
    await Upkeep(spec, redis).reclaim(INTERVALS_MS["reclaim"])
    found = await due(redis, spec)
    assert found.duties == ()
    assert 0 < found.next_ms <= INTERVALS_MS["reclaim"]


@pytest.mark.parametrize("failed", [False, True])
async def test_a_callback_that_is_owed(redis: Redis, failed: bool) -> None:
    spec = QueueSpec("chaos", retention=LONG)
    await ended(redis, spec, TOLD, failed=failed)
    assert (await due(redis, spec)).duties == ("relay",)


@pytest.mark.parametrize("failed", [False, True])
@pytest.mark.parametrize(
    ("retention", "options", "needed"),
    [
        (LONG, JobOptions(), False),
        (Retention(None, None, None, None), JobOptions(), False),
        (Retention(1, None, 1, None), JobOptions(), True),
        (Retention(None, 1, None, 1), JobOptions(), True),
        (Retention(None, 2, None, 2), JobOptions(), False),
        # Kept by the jobs' own wish: walked past once.
        (Retention(1, 1, 1, 1), JobOptions(remove_on_complete=False, remove_on_fail=False), True),
    ],
)
async def test_ended_jobs_past_their_retention(
    redis: Redis, retention: Retention, options: JobOptions, needed: bool, failed: bool
) -> None:
    spec = QueueSpec("chaos", retention=retention)
    await ended(redis, spec, options, options, failed=failed)
    found = await due(redis, spec)
    while needed and not found.duties and found.next_ms <= 1:
        found = await due(redis, spec)
    assert found.duties == ("prune",) * needed
    await Upkeep(spec, redis).prune()
    found = await due(redis, spec)
    assert (found.duties, found.next_ms) == ((), IDLE_MS)


async def test_a_job_with_an_age_of_its_own(redis: Redis) -> None:
    spec = QueueSpec("chaos", retention=LONG)
    await ended(redis, spec, JobOptions.model_validate({"removeOnComplete": {"age": 2}}))
    await Upkeep(spec, redis).prune()
    found = await due(redis, spec)
    assert found.duties == ()
    assert 0 < found.next_ms <= 2_000


async def test_ids_that_are_remembered_are_forgotten_in_time(redis: Redis, raw: Any) -> None:
    spec = QueueSpec("chaos", retention=LONG)
    await ended(redis, spec, JobOptions(remove_on_complete=True))
    assert (await due(redis, spec)).duties == ()
    (row,) = raw.lrange(key("chaos", "gone"), 0, -1)
    at, _, ids = row.partition(b" ")
    raw.lset(key("chaos", "gone"), 0, b"%d %s" % (int(at) - 600_000, ids))
    assert (await due(redis, spec)).duties == ("prune",)


async def test_a_next_time_of_a_later_clock_does_not_count(redis: Redis, raw: Any) -> None:
    spec = QueueSpec("chaos")
    await Queue(spec, redis).add("x", {})
    await Hand(redis, spec).take_one()
    now_s = raw.time()[0] if redis.address.kind != "cluster" else 2_000_000_000
    later = {f"next:{name}": (now_s + 86_400) * 1_000 for name in INTERVALS_MS}
    raw.hset(key("chaos", "meta"), mapping=later)
    assert (await due(redis, spec)).duties == ("reclaim", "sweep")
