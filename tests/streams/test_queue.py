"""A queue in the hands of a producer: what is added, what it looks like, what it counts."""

from typing import Any

import orjson
import pytest
from by_hand import Hand, bring, clock_passes
from ledger import key
from pydantic import ValidationError

from schemas.job import JobOptions, JobPriority, State
from schemas.spec import Limiter, QueueSpec
from streams import Added, JobView, NewJob, Queue, Redis, errors
from streams.encode import INLINE_BYTES, PAYLOAD_BYTES
from streams.once import OnceKey
from streams.upkeep import Upkeep

SPEC = QueueSpec("chaos")
TOLD = "https://example.com/hook"
FAR = 3_600_000


@pytest.fixture
def queue(redis: Redis) -> Queue:
    return Queue(SPEC, redis)


@pytest.fixture
def hand(redis: Redis) -> Hand:
    return Hand(redis, SPEC)


async def got(queue: Queue, job_id: str = "one") -> JobView:
    job = await queue.get(job_id)
    assert job is not None
    return job


@pytest.mark.parametrize("state", State)
async def test_a_known_id_is_answered_with_the_state_of_its_job(
    queue: Queue, hand: Hand, state: State
) -> None:
    await bring(queue, hand, state)
    before, counted = await got(queue), await queue.counts()

    again = await queue.add("other", {"n": 2}, job_id="one", delay=5)

    assert again == Added(":one", state, True)
    after = await got(queue)
    # The start of a running job is told as "idle for so long": a millisecond may lie between.
    assert after.model_copy(update={"processed_on": 0}) == before.model_copy(
        update={"processed_on": 0}
    )
    assert (await queue.counts()).total == counted.total == 1


async def test_a_job_given_back_is_waiting_to_whoever_adds_it_again(
    queue: Queue, hand: Hand
) -> None:
    await queue.add("work", {}, job_id="one")
    await hand.release(await hand.take_one())
    assert (await queue.add("work", {}, job_id="one")).state is State.WAITING
    await hand.take_one()
    assert (await queue.add("work", {}, job_id="one")).state is State.ACTIVE


async def test_the_same_id_twice_in_one_call_makes_one_job(queue: Queue) -> None:
    twice = [NewJob("work", {"n": n}, JobOptions(job_id="one")) for n in (1, 2)]
    assert await queue.add_many(twice) == [
        Added(":one", State.WAITING, False),
        Added(":one", State.WAITING, True),
    ]
    assert (await got(queue)).data == {"n": 1}


@pytest.mark.parametrize("state", State)
async def test_a_job_shows_where_it_lies_and_what_happened_to_it(
    queue: Queue, hand: Hand, state: State
) -> None:
    await bring(queue, hand, state)
    job = await got(queue)
    assert (job.id, job.name, job.queue, job.state) == ("one", "work", "chaos", state)
    assert job.data == {"n": 1}
    ended = state in (State.COMPLETED, State.FAILED)
    begun = ended or state is State.ACTIVE
    assert (job.attempts_made, job.attempts_started) == (int(ended), int(begun))
    assert (job.finished_on is not None) is ended
    assert job.returnvalue == ({"ok": True} if state is State.COMPLETED else None)
    assert job.failed_reason == ("boom" if state is State.FAILED else None)
    assert [error.message for error in job.errors] == ["boom"] * (state is State.FAILED)
    assert job.delay_until == (job.timestamp + FAR if state is State.DELAYED else None)


async def test_there_is_no_job_of_an_unknown_id(queue: Queue) -> None:
    assert await queue.get("nobody") is None
    with pytest.raises(errors.NotFound):
        await queue.logs("nobody")


async def test_a_retried_job_waits_with_its_error_and_its_counters(
    queue: Queue, hand: Hand
) -> None:
    await bring(queue, hand, State.ACTIVE)
    # It is active for the worker "by-hand": another claim brings nothing.
    assert await hand.take() == []
    held = await queue.page(State.ACTIVE)
    assert [job.id for job in held] == ["one"]

    await queue.add("work", {}, job_id="two")
    await hand.retry(await hand.take_one(), delay_ms=FAR)
    job = await got(queue, "two")
    assert (job.state, job.attempts_made, job.attempts_started) == (State.DELAYED, 1, 1)
    assert [error.reason for error in job.errors] == ["failed"]
    assert job.failed_reason is None


async def test_counts_say_exactly_what_lies_where(queue: Queue, hand: Hand) -> None:
    assert await queue.counts() == type(await queue.counts())(0, 0, 0, 0, 0)
    await queue.add_many([NewJob("work", {}, JobOptions(callback_url=TOLD))] * 6)
    held = await hand.take(4)
    await hand.complete(*held[:2])
    await hand.fail(held[2])
    late = await queue.add("late", {}, delay=1)
    await queue.add("later", {}, delay=FAR)
    await clock_passes(queue.redis, "chaos", (await got(queue, late.id)).timestamp + 1)
    await hand.claims.heartbeat({"slots": 1})
    await queue.pause()
    await queue.set_limits(Limiter(max=7, duration=1_000), 9)

    counts = await queue.counts()

    assert (counts.waiting, counts.active, counts.completed) == (2, 1, 2)
    assert (counts.failed, counts.delayed, counts.due, counts.outbox) == (1, 2, 1, 3)
    assert (counts.paused, counts.workers, counts.total) == (True, 1, 8)
    assert (counts.limiter, counts.concurrency) == (Limiter(max=7, duration=1_000), 9)
    first = await queue.page(State.WAITING, 0, 0)
    await clock_passes(queue.redis, "chaos", first[0].timestamp + 20)
    oldest = (await queue.counts()).oldest_waiting_ms
    assert oldest is not None
    assert oldest >= 20

    await queue.resume()
    await queue.set_limits()
    await hand.claims.leave()
    await hand.take()
    counts = await queue.counts()
    assert (counts.paused, counts.workers, counts.oldest_waiting_ms) == (False, 0, None)
    assert (counts.limiter, counts.concurrency) == (None, None)


async def test_a_paused_queue_takes_jobs_and_gives_none(queue: Queue, hand: Hand) -> None:
    await queue.pause()
    await queue.add("work", {})
    assert (await hand.ask()).word == "PAUSED"
    assert (await queue.counts()).waiting == 1
    await queue.resume()
    assert len(await hand.take()) == 1


async def test_a_big_payload_and_result_come_back_whole_and_go_with_the_job(
    queue: Queue, hand: Hand, raw: Any
) -> None:
    data, result = {"text": "d" * INLINE_BYTES}, {"text": "r" * INLINE_BYTES}
    blobs = key("chaos", "blobs")
    for job_id in ("removed", "cleaned"):
        await queue.add("work", data, job_id=job_id)
        assert (await got(queue, job_id)).data == data
        claim = await hand.take_one()
        assert claim.job.data is None
        assert (await hand.claims.payload(claim.job)).data == data
        await hand.complete(claim, result=result)
        job = await got(queue, job_id)
        assert (job.data, job.returnvalue) == (data, result)
        assert [(j.data, j.returnvalue) for j in await queue.page(State.COMPLETED, 0, 0)] == [
            (data, result)
        ]
    assert sorted(raw.hkeys(blobs)) == [b":cleaned:d", b":cleaned:r", b":removed:d", b":removed:r"]

    await queue.remove("removed")
    assert sorted(raw.hkeys(blobs)) == [b":cleaned:d", b":cleaned:r"]
    await queue.clean()
    assert raw.hkeys(blobs) == []


async def test_what_is_not_kept_leaves_no_blob(queue: Queue, hand: Hand, raw: Any) -> None:
    big = {"text": "x" * INLINE_BYTES}
    await queue.add("work", big, remove_on_complete=True)
    await queue.add("work", big, remove_on_fail=True)
    first, second = await hand.take()
    await hand.complete(first, result=big)
    await hand.fail(second)
    assert (await queue.counts()).total == 0
    assert raw.hkeys(key("chaos", "blobs")) == []
    assert raw.hgetall(key("chaos", "jobs")) == {}


async def test_a_payload_beyond_the_limit_is_refused_and_nothing_is_stored(queue: Queue) -> None:
    with pytest.raises(errors.TooBig):
        await queue.add_many([NewJob("work", {}), NewJob("work", {"t": "x" * PAYLOAD_BYTES})])
    assert (await queue.counts()).total == 0


UNFIT: dict[str, NewJob] = {
    "a payload that is too big": NewJob("work", {"t": "x" * PAYLOAD_BYTES}),
    "a callback that is no URL": NewJob("work", {"callbackUrl": "ftp://example.com"}),
    "a payload that is not JSON": NewJob("work", {"t": object()}),
    "a payload that is not Unicode": NewJob("work", {"t": "\ud800"}),
    "a name that is not Unicode": NewJob("\ud800", {}),
}


@pytest.mark.parametrize("place", [0, 499, 500, 750])
@pytest.mark.parametrize("unfit", UNFIT)
@pytest.mark.parametrize("once", [False, True], ids=["add_many", "add_once"])
async def test_one_job_that_does_not_fit_leaves_none_behind(
    queue: Queue, place: int, unfit: str, once: bool
) -> None:
    jobs = [NewJob("work", {})] * place + [UNFIT[unfit]] + [NewJob("work", {})] * 500
    with pytest.raises((errors.TooBig, ValidationError, TypeError)):
        await (queue.add_once(jobs, OnceKey("a" * 64, "b" * 64)) if once else queue.add_many(jobs))
    assert (await queue.counts()).total == 0


async def test_what_was_not_started_in_time_dies_and_owes_its_callback(
    queue: Queue, hand: Hand
) -> None:
    job_id = (await queue.add("work", {}, expires=1, callback_url=TOLD)).id
    await queue.add("work", {}, job_id="fresh", expires=FAR)
    await clock_passes(queue.redis, "chaos", (await got(queue, job_id)).timestamp + 1)

    assert [claim.job.id for claim in await hand.take()] == ["fresh"]

    job = await got(queue, job_id)
    assert job.state is State.FAILED
    assert [error.reason for error in job.errors] == ["expired"]
    assert job.attempts_started == 0
    ((owed,), _) = await Upkeep(SPEC, queue.redis).owed()
    assert (owed.job_id, owed.event, owed.ending) == (job_id, "failed", 1)
    assert (owed.to["url"], owed.value["reason"]) == (TOLD, "expired")


async def test_the_options_of_the_seed(queue: Queue) -> None:
    added = await queue.add(
        "job-name",
        {"any": "data"},
        JobOptions.model_validate(
            orjson.loads(
                b'{"priority": 5, "delay": 5000, "attempts": 3, "backoff": {"type":'
                b' "exponential", "delay": 2000}, "removeOnComplete": true, "removeOnFail": false}'
            )
        ),
    )
    assert added.state is State.DELAYED
    job = await got(queue, added.id)
    assert job.opts == {
        "priority": 5,
        "delay": 5000,
        "attempts": 3,
        "backoff": {"type": "exponential", "delay": 2000},
        "removeOnComplete": True,
        "removeOnFail": False,
    }
    assert job.delay_until == job.timestamp + 5000


async def test_the_priorities_of_the_seed_decide_the_order(queue: Queue, hand: Hand) -> None:
    names = ("LOW", "NORMAL", "HIGH", "CRITICAL")
    assert [int(JobPriority[name]) for name in names] == [10, 5, 1, 0]
    for name in names * 2:
        await queue.add(name, {}, priority=JobPriority[name])
    await queue.add("NORMAL", {})
    ran = [(await hand.take_one()).job.name for _ in range(9)]
    assert ran == ["CRITICAL"] * 2 + ["HIGH"] * 2 + ["NORMAL"] * 3 + ["LOW"] * 2
