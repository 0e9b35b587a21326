"""A queue in the hands of an operator: clean, remove, revive, cancel; progress and logs."""

from typing import Any

import pytest
from by_hand import Hand, bring, clock_passes
from ledger import assert_at_rest, key

from schemas.job import State
from schemas.spec import QueueSpec
from streams import JobView, Queue, Redis, errors

SPEC = QueueSpec("chaos")
TOLD = "https://example.com/hook"
FAR = 3_600_000
OWNED = ("blobs", "run", "cancel", "delayed", "delayed:jobs", "jobs")


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


async def test_clean_removes_what_ended_and_nothing_else(queue: Queue, hand: Hand) -> None:
    for state in (State.COMPLETED, State.COMPLETED, State.FAILED, State.WAITING, State.DELAYED):
        await bring(queue, hand, state, f"{state}-{(await queue.counts()).total}")
    assert await queue.clean() == 2
    counts = await queue.counts()
    assert (counts.completed, counts.failed, counts.total) == (0, 1, 3)
    assert await queue.clean(state=State.FAILED) == 1
    assert (await queue.counts()).failed == 0
    assert await queue.clean() == 0


@pytest.mark.parametrize("state", [State.COMPLETED, State.FAILED])
async def test_clean_spares_what_ended_within_the_grace(
    queue: Queue, hand: Hand, state: State
) -> None:
    await bring(queue, hand, state, "old")
    old = (await got(queue, "old")).finished_on or 0
    await clock_passes(queue.redis, "chaos", old + 300)
    await bring(queue, hand, state, "new")

    assert await queue.clean(FAR, state) == 0
    assert await queue.clean(300, state) == 1
    assert [job.id for job in await queue.page(state)] == ["new"]


async def test_clean_goes_on_over_many_calls(queue: Queue, hand: Hand) -> None:
    for job_id in range(3):
        await bring(queue, hand, State.COMPLETED, str(job_id))
    assert await queue.clean(most=2) == 2
    assert [job.id for job in await queue.page(State.COMPLETED)] == ["2"]


@pytest.mark.parametrize("state", sorted(set(State) - {State.ACTIVE}))
async def test_remove_leaves_nothing_of_a_job(
    queue: Queue, hand: Hand, raw: Any, state: State
) -> None:
    big = {"text": "x" * 40_000}
    delay = {"delay": FAR} if state is State.DELAYED else {}
    await queue.add("work", big, job_id="one", **delay)
    if state in (State.COMPLETED, State.FAILED):
        claim = await hand.take_one()
        await hand.claims.progress(claim, 50)
        await hand.claims.log(claim, "half")
        await (hand.complete if state is State.COMPLETED else hand.fail)(claim)
        assert raw.hlen(key("chaos", "run")) == 2
    assert raw.hexists(key("chaos", "blobs"), ":one:d")

    await queue.remove("one")

    assert await queue.get("one") is None
    assert [name for name in OWNED if raw.exists(key("chaos", name))] == []
    assert (await queue.counts()).total == 0
    assert_at_rest(raw, "chaos")
    with pytest.raises(errors.NotFound):
        await queue.remove("one")
    assert (await queue.add("work", {}, job_id="one")).deduplicated is False


async def test_a_running_job_is_not_removed(queue: Queue, hand: Hand) -> None:
    await bring(queue, hand, State.ACTIVE)
    with pytest.raises(errors.WrongState) as caught:
        await queue.remove("one")
    assert caught.value.state == "active"
    assert (await got(queue)).state is State.ACTIVE


async def test_a_removed_waiting_job_is_not_handed_out(queue: Queue, hand: Hand) -> None:
    for job_id in ("first", "second", "third"):
        await queue.add("work", {}, job_id=job_id)
    await queue.remove("second")
    assert [claim.job.id for claim in await hand.take()] == ["first", "third"]


@pytest.mark.parametrize("state", sorted(set(State) - {State.FAILED}))
async def test_only_a_failed_job_is_revived(queue: Queue, hand: Hand, state: State) -> None:
    await bring(queue, hand, state)
    with pytest.raises(errors.WrongState) as caught:
        await queue.revive("one")
    assert caught.value.state == state
    assert (await got(queue)).state is state


async def test_nobody_is_revived_who_never_was(queue: Queue) -> None:
    with pytest.raises(errors.NotFound):
        await queue.revive("nobody")


async def test_a_revived_job_has_all_its_attempts_and_its_history(queue: Queue, hand: Hand) -> None:
    await bring(queue, hand, State.FAILED, priority=2, expires=FAR)
    failed = await got(queue)
    assert failed.attempts_made == 1

    assert await queue.revive("one") is State.WAITING

    job = await got(queue)
    assert (job.state, job.attempts_made, job.attempts_started) == (State.WAITING, 0, 0)
    assert (job.errors, job.opts, job.timestamp) == (failed.errors, failed.opts, failed.timestamp)
    assert job.finished_on is None
    claim = await hand.take_one()
    assert (claim.lane, claim.job.header.endings) == (b"2", 1)
    await hand.complete(claim, result=1)
    job = await got(queue)
    assert (job.state, job.attempts_made, job.failed_reason) == (State.COMPLETED, 1, None)
    assert (await queue.counts()).total == 1


@pytest.mark.parametrize("state", [State.WAITING, State.DELAYED])
async def test_cancel_before_the_start_is_the_end(
    queue: Queue, hand: Hand, raw: Any, state: State
) -> None:
    await bring(queue, hand, state, callback_url=TOLD)

    assert await queue.cancel("one") == "cancelled"

    job = await got(queue)
    assert (job.state, [error.reason for error in job.errors]) == (State.FAILED, ["cancelled"])
    assert await hand.take() == []
    counts = await queue.counts()
    assert (counts.total, counts.failed, counts.outbox) == (1, 1, 1)
    assert_at_rest(raw, "chaos")


async def test_cancel_of_a_job_given_back(queue: Queue, hand: Hand) -> None:
    await queue.add("work", {}, job_id="one")
    await hand.release(await hand.take_one())
    assert await queue.cancel("one") == "cancelled"
    assert await hand.take() == []
    assert (await got(queue)).state is State.FAILED


async def test_the_worker_of_a_running_job_is_told_to_stop(
    queue: Queue, hand: Hand, raw: Any
) -> None:
    await bring(queue, hand, State.ACTIVE)
    (held,) = await queue.page(State.ACTIVE)
    await queue.add("work", {}, job_id="two")
    mine, other = (await hand_over(queue, hand, "one")), await hand.take_one()

    assert await queue.cancel(held.id) == "cancelling"
    assert await queue.cancel(held.id) == "cancelling"

    assert (await got(queue)).state is State.ACTIVE
    renewed = await hand.claims.renew([mine, other], 60_000)
    assert (renewed.cancelled, renewed.lost) == ([mine], [])
    # It may still end otherwise; no mark is left to hit a later life of the id.
    await hand.complete(mine)
    assert (await got(queue)).state is State.COMPLETED
    assert not raw.exists(key("chaos", "cancel"))


async def hand_over(queue: Queue, hand: Hand, job_id: str) -> Any:
    """The claim of an active job, made anew: given back and taken again."""
    job = await got(queue, job_id)
    assert job.state is State.ACTIVE
    places = await queue.redis.command(
        "HGET", queue.store.keys["jobs"], job.ref, key=queue.store.keys.prefix
    )
    lane, _, entry = places.partition(b":")
    await queue.store.call("release", (lane, entry, job.ref, 0), token="")
    (claim,) = await hand.take(1)
    assert claim.job.id == job_id
    return claim


async def test_a_cancelled_job_whose_worker_gave_it_back_does_not_start_again(
    queue: Queue, hand: Hand
) -> None:
    await queue.add("work", {}, job_id="one")
    claim = await hand.take_one()
    await queue.cancel("one")
    await hand.release(claim)
    assert await hand.take() == []
    job = await got(queue)
    assert (job.state, [error.reason for error in job.errors]) == (State.FAILED, ["cancelled"])


@pytest.mark.parametrize("state", [State.COMPLETED, State.FAILED])
async def test_what_has_ended_cannot_be_cancelled(queue: Queue, hand: Hand, state: State) -> None:
    await bring(queue, hand, state)
    with pytest.raises(errors.WrongState) as caught:
        await queue.cancel("one")
    assert caught.value.state == state
    with pytest.raises(errors.NotFound):
        await queue.cancel("nobody")


async def test_progress_and_log_lines_are_shown_and_go_with_the_job(
    queue: Queue, hand: Hand, raw: Any
) -> None:
    await queue.add("work", {}, job_id="one")
    claim = await hand.take_one()
    assert (await got(queue)).progress is None
    assert await queue.logs("one") == []
    assert await hand.claims.progress(claim, {"done": 1, "of": [2]})
    assert await hand.claims.log(claim, "line\nwith a break and ünïcode")
    assert await hand.claims.log(claim, "second")
    job = await got(queue)
    assert job.progress == {"done": 1, "of": [2]}
    assert (await queue.page(State.ACTIVE))[0].progress == {"done": 1, "of": [2]}
    assert await queue.logs("one") == ["line\nwith a break and ünïcode", "second"]

    await hand.complete(claim)
    assert (await got(queue)).progress == {"done": 1, "of": [2]}
    assert not await hand.claims.progress(claim, 100)
    assert not await hand.claims.log(claim, "too late")
    await queue.clean()
    assert not raw.exists(key("chaos", "run"))


async def test_a_log_keeps_its_last_hundred_lines(queue: Queue, hand: Hand) -> None:
    await queue.add("work", {}, job_id="one")
    claim = await hand.take_one()
    for number in range(100):
        await hand.claims.log(claim, str(number))
    assert await queue.logs("one") == [str(number) for number in range(100)]
    for number in range(100, 123):
        await hand.claims.log(claim, str(number))
    assert await queue.logs("one") == [str(number) for number in range(23, 123)]


async def test_a_log_keeps_sixteen_kibibytes_and_at_least_a_line(queue: Queue, hand: Hand) -> None:
    await queue.add("work", {}, job_id="one")
    claim = await hand.take_one()
    for letter in "abcdefgh":
        await hand.claims.log(claim, letter * 10_000)
    lines = await queue.logs("one")
    assert lines == [letter * 4_096 for letter in "fgh"]


async def test_attempts_and_memory_survive_a_retry_and_go_with_the_job(
    queue: Queue, hand: Hand, raw: Any
) -> None:
    await queue.add("work", {}, job_id="one")
    claim = await hand.take_one()
    assert await hand.claims.recall(claim) is None
    assert await hand.claims.remember(claim, {"sent": False})
    assert await hand.claims.attempt(claim, {"number": 1, "status": 503})
    await hand.release(claim)
    again = await hand.take_one()
    assert await hand.claims.recall(again) == {"sent": False}
    assert not await hand.claims.remember(claim, {"sent": "late"})
    assert await hand.claims.attempt(again, {"number": 2, "status": 200})
    assert [record["number"] for record in await queue.attempts("one")] == [1, 2]
    await hand.complete(again)
    assert [record["status"] for record in await queue.attempts("one")] == [503, 200]
    await queue.clean()
    assert not raw.exists(key("chaos", "run"))
    with pytest.raises(errors.NotFound):
        await queue.attempts("one")


async def test_the_records_of_the_last_twenty_attempts_are_kept(queue: Queue, hand: Hand) -> None:
    await queue.add("work", {}, job_id="one")
    claim = await hand.take_one()
    for number in range(25):
        await hand.claims.attempt(claim, {"number": number})
    assert [record["number"] for record in await queue.attempts("one")] == list(range(5, 25))
