"""Jobs parked at a gate: their line, and who looks at it."""

from typing import Any

import pytest
from by_hand import FAR_MS, Hand, clock_ms

from schemas.job import JobOptions, State
from schemas.spec import QueueSpec
from streams import NewJob, Queue, Redis
from streams.claims import Ending
from streams.endings import Gate
from streams.keys import QueueKeys
from streams.parking import HELD_MS, LONGEST_MS, Parking

SPEC = QueueSpec("parking")
KEYS = QueueKeys(SPEC.name)
HERE, ELSEWHERE = Gate("ab" * 16, 0), Gate("cd" * 16, 0)


@pytest.fixture
def queue(redis: Redis) -> Queue:
    return Queue(SPEC, redis)


@pytest.fixture
def hand(redis: Redis) -> Hand:
    return Hand(redis, SPEC)


@pytest.fixture
def parking(redis: Redis) -> Parking:
    return Parking(redis, SPEC.name)


async def park(queue: Queue, hand: Hand, *names: str, gate: Gate = HERE, priority: int = 5) -> None:
    """Each is added in a millisecond of its own."""
    for name in names:
        before_ms = await clock_ms(queue.redis, SPEC.name)
        while await clock_ms(queue.redis, SPEC.name) == before_ms:
            pass
        await queue.add_many([NewJob("x", {}, JobOptions(job_id=name, priority=priority))])
    claims = await hand.take()
    assert sorted(claim.job.id for claim in claims) == sorted(names)
    await hand.retry(*reversed(claims), delay_ms=FAR_MS, gate=gate)


async def came(hand: Hand) -> list[str]:
    return [claim.job.id for claim in await hand.take()]


async def test_the_first_of_a_line_come_first_and_no_more_than_may(
    queue: Queue, hand: Hand, parking: Parking
) -> None:
    await park(queue, hand, "a", "b", "c")
    await park(queue, hand, "other", gate=ELSEWHERE)
    assert await came(hand) == []
    assert await parking.release(HERE.name, 2, 0) == (2, True)
    assert await came(hand) == ["a", "b"]
    assert await parking.release(HERE.name, 2, 0) == (1, False)
    assert await came(hand) == ["c"]
    assert await parking.release(HERE.name, 2, 0) == (0, False)


async def test_the_line_goes_by_when_jobs_were_added_not_by_when_they_were_parked(
    queue: Queue, hand: Hand, parking: Parking
) -> None:
    await park(queue, hand, "first", "second")
    await parking.release(HERE.name, 1, 0)
    (again,) = await hand.take()
    await park(queue, hand, "third")
    await hand.retry(again, delay_ms=FAR_MS, gate=HERE)
    await parking.release(HERE.name, 1, 0)
    assert await came(hand) == ["first"]


async def test_a_job_that_moved_on_is_no_longer_in_the_line(
    queue: Queue, hand: Hand, parking: Parking, raw: Any
) -> None:
    """Whoever moved it knows nothing of lines."""
    await park(queue, hand, "cancelled", "removed", "advanced", "urgent", "here")
    await queue.cancel("cancelled")
    await queue.remove("removed")
    await queue.advance("advanced")
    await queue.prioritize("urgent", 0)
    assert await came(hand) == ["advanced"]
    assert await parking.release(HERE.name, 2, 0) == (2, False)
    assert await came(hand) == ["urgent", "here"]
    assert not raw.exists(KEYS["parked"])
    assert not raw.exists(KEYS["gates"])


async def test_a_line_of_jobs_that_moved_on_is_dropped_in_bounded_calls(
    queue: Queue, hand: Hand, parking: Parking, raw: Any
) -> None:
    gone = {f"{HERE.name}:1000000000000:7:gone-{n}": 0 for n in range(450)}
    await park(queue, hand, "here")
    raw.zadd(KEYS["parked"], gone)
    calls = 1
    while await parking.release(HERE.name, 1, 0) == (0, True):
        calls += 1
    assert calls == 5
    assert await came(hand) == ["here"]


async def test_a_job_that_is_parked_again_has_one_place(
    queue: Queue, hand: Hand, parking: Parking, raw: Any
) -> None:
    """The one it left by itself, at the end of its longest wait, does not count."""
    await park(queue, hand, "one")
    await queue.advance("one")
    (claim,) = await hand.take()
    await hand.retry(claim, delay_ms=2 * FAR_MS, gate=HERE)
    assert raw.zcard(KEYS["parked"]) == 2
    assert await parking.release(HERE.name, 5, 0) == (1, False)
    assert await came(hand) == ["one"]


async def test_a_repeated_park_is_already_done_and_a_late_one_lost(
    queue: Queue, hand: Hand, raw: Any
) -> None:
    await queue.add("x", {}, job_id="one")
    (claim,) = await hand.take()
    ending = Ending(claim, "retry", delay_ms=FAR_MS, gate=HERE)
    assert await hand.settle(ending) == ["OK"]
    assert await hand.settle(ending) == ["ALREADY"]
    assert raw.zcard(KEYS["parked"]) == 1
    await queue.advance("one")
    await hand.complete(*await hand.take())
    assert await hand.settle(ending) == ["LOST"]
    assert raw.zcard(KEYS["parked"]) == 1


async def test_a_gate_is_looked_at_by_one_at_a_time_and_by_another_when_that_one_died(
    queue: Queue, hand: Hand, parking: Parking, raw: Any
) -> None:
    await park(queue, hand, "a", "b")
    due = await parking.due()
    assert due.gates == [(HERE.name, 2)]
    assert 0 < due.next_ms <= HELD_MS
    assert (await parking.due()).gates == []
    raw.zadd(KEYS["gates"], {HERE.name: await clock_ms(queue.redis, SPEC.name) - 1})
    assert (await parking.due()).gates == [(HERE.name, 2)]
    await parking.look_soon(HERE.name)
    assert (await parking.due()).gates == [(HERE.name, 2)]


async def test_a_clock_that_is_set_back_hides_no_gate(
    queue: Queue, hand: Hand, parking: Parking, raw: Any
) -> None:
    await park(queue, hand, "a")
    now_ms = await clock_ms(queue.redis, SPEC.name)
    raw.zadd(KEYS["gates"], {HERE.name: now_ms + LONGEST_MS - 5_000})
    assert (await parking.due()).gates == []
    raw.zadd(KEYS["gates"], {HERE.name: now_ms + 86_400_000})
    assert (await parking.due()).gates == [(HERE.name, 1)]


async def test_no_gate_is_looked_at_while_the_queue_is_paused(
    queue: Queue, hand: Hand, parking: Parking
) -> None:
    await park(queue, hand, "a")
    await queue.pause()
    assert (await parking.due()).gates == []
    await queue.resume()
    assert (await parking.due()).gates == [(HERE.name, 1)]


async def test_twenty_gates_a_call_and_none_is_forgotten(
    queue: Queue, hand: Hand, parking: Parking
) -> None:
    gates = [Gate(f"{n:032x}", 0) for n in range(50)]
    await queue.add_many([NewJob("x", {})] * 50)
    for claim, gate in zip(await hand.take(), gates, strict=True):
        await hand.retry(claim, delay_ms=FAR_MS, gate=gate)
    seen: list[str] = []
    while found := (await parking.due()).gates:
        assert len(found) <= 20
        seen += [name for name, _ in found]
    assert sorted(seen) == [gate.name for gate in gates]


async def test_the_place_of_a_job_in_its_line(queue: Queue, hand: Hand, parking: Parking) -> None:
    await park(queue, hand, "a", "b", "c")
    job = await queue.get("c")
    assert job is not None
    assert job.state is State.DELAYED
    at = (str(job.timestamp), job.delay_until or 0)
    assert await parking.place(HERE.name, ":c", *at) == 2
    assert await parking.place(ELSEWHERE.name, ":c", *at) is None
    await parking.release(HERE.name, 1, 0)
    assert await parking.place(HERE.name, ":c", *at) == 1
