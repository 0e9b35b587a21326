"""Limits of a queue, over all of its workers: starts per window, and jobs active at once."""

import pytest
from by_hand import Hand, clock_ms, clock_passes

from schemas.spec import Limiter, QueueSpec
from streams import NewJob, Queue, Redis

SPEC = QueueSpec("chaos")
MAX = 4
WINDOW_MS = 150
JOBS = 22


@pytest.fixture
def queue(redis: Redis) -> Queue:
    return Queue(SPEC, redis)


async def test_no_window_sees_more_starts_than_the_rate_limit(queue: Queue, redis: Redis) -> None:
    await queue.set_limits(Limiter(MAX, WINDOW_MS))
    await queue.add_many([NewJob("work", {})] * JOBS)
    hands = [Hand(redis, SPEC, f"worker-{n}") for n in range(3)]
    starts: list[int] = []
    limited = 0
    while len(starts) < JOBS:  # asked without a pause: a limit that lapses early is caught
        for want, hand in enumerate(hands, start=1):
            claimed = await hand.ask(want)
            starts += [claimed.now_ms] * len(claimed.claims)
            if claimed.word == "LIMITED":
                limited += 1
                assert 0 < claimed.next_ms <= WINDOW_MS
    assert limited > 0
    crowds = [sum(at <= other < at + WINDOW_MS for other in starts) for at in starts]
    assert max(crowds) == MAX


async def test_who_is_limited_is_told_when_to_ask_again(queue: Queue, redis: Redis) -> None:
    hand = Hand(redis, SPEC)
    await queue.set_limits(Limiter(MAX, WINDOW_MS))
    await queue.add_many([NewJob("work", {})] * (MAX + 1))
    assert len(await hand.take()) == MAX
    limited = await hand.ask()
    assert (limited.word, limited.claims) == ("LIMITED", [])
    await clock_passes(redis, "chaos", limited.now_ms + limited.next_ms)
    assert len(await hand.take()) == 1


async def test_a_lifted_rate_limit_forgets_what_it_granted(queue: Queue, redis: Redis) -> None:
    hand = Hand(redis, SPEC)
    await queue.set_limits(Limiter(1, 3_600_000))
    await queue.add_many([NewJob("work", {})] * 5)
    assert len(await hand.take()) == 1
    assert (await hand.ask()).word == "LIMITED"
    await queue.set_limits()
    assert len(await hand.take()) == 4
    await queue.set_limits(Limiter(1, 3_600_000))
    await queue.add("work", {})
    assert len(await hand.take()) == 1


async def test_no_more_jobs_are_active_than_the_queue_allows(queue: Queue, redis: Redis) -> None:
    first, second = Hand(redis, SPEC, "first"), Hand(redis, SPEC, "second")
    await queue.set_limits(concurrency=3)
    await queue.add_many([NewJob("work", {})] * 6)
    await queue.add("work", {}, priority=0)
    held = await first.take(2)
    assert held[0].lane == b"0"
    held += await second.take(10)
    assert len(held) == 3
    assert (await first.ask()).word == (await second.ask()).word == "FULL"

    await first.complete(held[0])
    held += await second.take(10)
    assert len(held) == 4
    await second.fail(held[2])
    await first.release(held[1])
    assert (await queue.counts()).active == 1
    assert len(await first.take(10)) == 2
    assert (await queue.counts()).active == 3


async def test_an_ending_wakes_who_waits_for_a_place(queue: Queue, redis: Redis) -> None:
    hand = Hand(redis, SPEC)
    await queue.set_limits(concurrency=1)
    await queue.add_many([NewJob("work", {})] * 2)
    claim = await hand.take_one()
    assert (await hand.ask()).word == "FULL"
    while (await hand.ask(block_ms=1)).word != "FULL":  # takes the marks of what came before
        pass
    await hand.complete(claim)
    before = await clock_ms(redis, "chaos")
    claimed = await hand.ask(block_ms=60_000)
    assert len(claimed.claims) == 1
    assert claimed.now_ms - before < 60_000
