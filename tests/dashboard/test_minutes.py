"""What the charts are made of: the ring of minutes, percentiles, and what workers count."""

import asyncio
from collections import Counter

import pytest

from consumers.events import JobCompleted, JobFailed, JobRetried, Taken
from consumers.hooks.minutes import MinuteCounts, counted
from consumers.worker import Worker
from streams import Redis
from streams.errors import CredstreamError
from streams.keys import QueueKeys
from streams.minutes import DAY_MIN, Minutes, Tally, class_of


def test_classes_double() -> None:
    assert [class_of(ms) for ms in (0, 0.4, 1, 2, 3, 4, 1_023, 1_024)] == [0, 0, 1, 2, 2, 3, 10, 11]
    assert class_of(10**15) == 27
    assert class_of(-5) == 0


def test_percentiles_lie_within_their_class() -> None:
    tally = Tally(Counter({"w5": 90, "w10": 10}))
    assert tally.percentile("w", 0.5) == pytest.approx(16 + 16 * 50 / 90)
    assert 512 <= (tally.percentile("w", 0.99) or 0) <= 1_024
    assert tally.percentile("d", 0.5) is None


def test_a_share_of_nothing_is_none() -> None:
    assert Tally().share_failed() is None
    assert Tally(Counter({"c": 3, "f": 1})).share_failed() == 0.25


async def now_min(redis: Redis) -> int:
    return int((await redis.command("TIME", key="cs:probe"))[0]) // 60


async def put(redis: Redis, slot_of: int, text: str) -> None:
    at = QueueKeys("q")
    await redis.command("HSET", at["minutes"], slot_of % DAY_MIN, text, key=at.prefix)


async def test_adds_come_together(redis: Redis) -> None:
    minutes = Minutes(redis, "q")
    await minutes.add({"c": 2, "w3": 1})
    await minutes.add({"c": 5, "f": 1})
    at = QueueKeys("q")
    flat = await redis.command("HGETALL", at["minutes"], key=at.prefix)
    counts: Counter[str] = Counter()
    for text in flat[1::2]:
        for item in text.decode().split(" ")[1:]:
            name, _, count = item.partition(":")
            counts[name] += int(count)
    assert counts == {"c": 7, "w3": 1, "f": 1}
    assert 0 < await redis.command("PTTL", at["minutes"], key=at.prefix) <= DAY_MIN * 60_000


async def test_a_slot_of_another_day_is_overwritten_and_not_read(redis: Redis) -> None:
    now = await now_min(redis)
    for minute in range(now - 2, now + 3):
        await put(redis, minute, f"{minute - DAY_MIN} c:1000")
    await Minutes(redis, "q").add({"c": 1})
    _, tallies = await Minutes(redis, "q").last(10)
    assert sum(one.completed for one in tallies) <= 1
    at = QueueKeys("q")
    flat = await redis.command("HGETALL", at["minutes"], key=at.prefix)
    assert [text for text in flat[1::2] if text.endswith(b" c:1")]


async def test_steps_gather_whole_minutes(redis: Redis) -> None:
    now = await now_min(redis)
    for minute in range(now - 40, now):
        await put(redis, minute, f"{minute} c:1")
    first, tallies = await Minutes(redis, "q").last(30, 10)
    assert first % 10 == 0
    assert [one.completed for one in tallies] == [10, 10, 10]


async def test_a_key_of_another_type_is_refused(redis: Redis) -> None:
    at = QueueKeys("q")
    await redis.command("SET", at["minutes"], "x", key=at.prefix)
    with pytest.raises(CredstreamError):
        await Minutes(redis, "q").add({"c": 1})


async def test_workers_count_what_becomes_of_jobs(redis: Redis) -> None:
    worker = Worker("q", lambda _: asyncio.sleep(0), redis=redis)
    one = MinuteCounts(redis, worker)
    worker.hooks.emit(Taken([0, 900]))
    worker.hooks.emit(JobCompleted(None, b"{}", 12))  # type: ignore[arg-type]
    worker.hooks.emit(JobFailed(None, {}, 3))  # type: ignore[arg-type]
    worker.hooks.emit(JobRetried(None, {}, 3))  # type: ignore[arg-type]
    assert one.counts == {"w0": 1, "w10": 1, "c": 1, "d4": 1, "f": 1, "d2": 1, "r": 1}
    await one.flush()
    assert not one.counts


async def test_what_is_left_is_written_at_the_end(redis: Redis) -> None:
    worker = Worker("q", lambda _: asyncio.sleep(0), redis=redis)
    async with counted(redis, [worker], every_s=3_600):
        worker.hooks.emit(Taken([5]))
    at = QueueKeys("q")
    assert (await redis.command("HVALS", at["minutes"], key=at.prefix))[0].endswith(b" w3:1")
