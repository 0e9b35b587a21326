"""A worker on a real queue: slots, time limits, cancellation, draining."""

import asyncio
import contextlib
from collections import Counter
from typing import Any

import pytest
from by_hand import Hand
from gate import SPEC, Gate, add, all_ended, ended
from ledger import assert_all_completed, assert_at_rest, pending
from processes import until

import consumers.registration
import consumers.worker
from consumers import Context, Reject, RetryLater, Worker
from schemas.job import Backoff, State
from schemas.spec import Limiter, QueueSpec, catalog
from streams import Job, Queue, Redis, queue_names
from streams.keys import CATALOGUE, QueueKeys


class SameLoop:
    """A watch that calls back at once."""

    redis: Any = None
    blocked_s = 0.0

    def tell(self, callback: Any, *args: Any) -> bool:
        callback(*args)
        return True

    def give_up(self, _: Any) -> None:
        raise AssertionError("the loop is not blocked")


AT_ONCE = Backoff(type="fixed", delay=0)


async def test_a_worker_runs_as_many_jobs_as_it_has_slots_and_no_more(
    redis: Redis, raw: Any
) -> None:
    gate = Gate()
    jobs = await add(redis, 7)
    async with Worker("chaos", gate, concurrency=3, redis=redis) as worker:
        await gate.holds(3)
        assert worker.running == pending(raw, "chaos") == 3
        gate.open.set()
        await all_ended(redis, 7)
    assert gate.most == 3
    assert_all_completed(raw, "chaos", jobs)


async def test_two_workers_share_a_queue(redis: Redis, raw: Any) -> None:
    gates = Gate(), Gate()
    jobs = await add(redis, 4)
    async with (
        Worker("chaos", gates[0], concurrency=2, redis=redis),
        Worker("chaos", gates[1], concurrency=2, redis=redis),
    ):
        for gate in gates:
            await gate.holds(2)
        jobs += await add(redis, 20)
        for gate in gates:
            gate.open.set()
        await all_ended(redis, 24)
    assert Counter(gates[0].ended + gates[1].ended) == Counter(jobs)
    assert_all_completed(raw, "chaos", jobs)


async def test_a_run_beyond_its_timeout_fails_and_says_so(redis: Redis) -> None:
    queue = Queue(SPEC, redis)
    job_id = (await queue.add("work", {}, timeout=20, attempts=1)).id
    async with Worker("chaos", Gate(), redis=redis):
        job = await ended(redis, job_id)
    assert (job.state, [error.reason for error in job.errors]) == (State.FAILED, ["timeout"])


async def test_a_run_beyond_the_limit_of_its_queue_fails_and_says_so(redis: Redis) -> None:
    """No submitter thought of a timeout, and the handler hangs."""
    spec = QueueSpec("chaos", lease_ms=1_000, timeout_ms=20)
    job_id = (await Queue(spec, redis).add("work", {}, attempts=1)).id
    async with Worker(spec, Gate(), redis=redis):
        job = await ended(redis, job_id)
    assert (job.state, [error.reason for error in job.errors]) == (State.FAILED, ["timeout"])
    assert job.failed_reason == "the run took longer than 20 ms"


@pytest.mark.parametrize(("of_job", "of_queue"), [(0, 1), (3_600_000, 1), (None, None), (None, 0)])
async def test_a_job_has_the_time_that_it_or_its_queue_says(
    redis: Redis, of_job: int | None, of_queue: int | None
) -> None:
    spec, gate = QueueSpec("chaos", timeout_ms=of_queue), Gate()
    options = {} if of_job is None else {"timeout": of_job}
    job_id = (await Queue(spec, redis).add("work", {}, **options)).id
    async with Worker(spec, gate, redis=redis) as worker:
        await gate.holds(1)
        await asyncio.sleep(0.002)
        await worker.lease.renew(worker.claims, SameLoop())
        gate.open.set()
        assert (await ended(redis, job_id)).state is State.COMPLETED


def test_every_queue_has_a_limit_unless_it_says_otherwise() -> None:
    assert QueueSpec("chaos").timeout_ms == 15 * 60_000


@pytest.mark.parametrize("reason", ["timeout", "cancelled"])
async def test_a_job_ends_although_its_handler_ignores_its_cancellation(
    redis: Redis, reason: str
) -> None:
    """Its slot stays occupied: the handler goes on."""
    spec = QueueSpec("chaos", lease_ms=1_000, timeout_ms=20 if reason == "timeout" else None)
    inside, leave = asyncio.Event(), asyncio.Event()

    async def handle(_: Job) -> str:
        inside.set()
        while not leave.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await leave.wait()
        return "too late"

    job_id = (await Queue(spec, redis).add("work", {}, attempts=1)).id
    lost: list[Job] = []
    worker = Worker(spec, handle, redis=redis, concurrency=1).on("lost", lost.append)
    worker.lease.grace_s = 0.0
    async with worker:
        await inside.wait()
        if reason == "cancelled":
            await Queue(spec, redis).cancel(job_id)
        job = await ended(redis, job_id)
        assert worker.running == 1
        leave.set()
        await until(lambda: worker.running == 0, within_s=20, what="the handler has returned")
    assert (job.state, [error.reason for error in job.errors]) == (State.FAILED, [reason])
    assert job.returnvalue is None
    assert lost == []


async def test_attempts_are_spent_and_every_error_is_kept(redis: Redis) -> None:
    async def handle(job: Job) -> None:
        raise ValueError(f"attempt {job.attempts_made + 1} of {job.attempts}")

    job_id = (await Queue(SPEC, redis).add("work", {}, backoff=AT_ONCE)).id
    async with Worker("chaos", handle, redis=redis):
        job = await ended(redis, job_id)
    assert (job.state, job.attempts_made, job.attempts_started) == (State.FAILED, 3, 3)
    assert [error.message for error in job.errors] == [f"attempt {n} of 3" for n in (1, 2, 3)]


async def test_a_rejected_job_is_not_tried_again(redis: Redis) -> None:
    async def handle(_: Job) -> None:
        raise Reject("there is no such issuer", code="issuer_unknown")

    (job_id,) = await add(redis, 1)
    async with Worker("chaos", handle, redis=redis):
        job = await ended(redis, job_id)
    assert (job.state, job.attempts_made) == (State.FAILED, 1)
    assert [(error.reason, error.code) for error in job.errors] == [("rejected", "issuer_unknown")]


async def test_a_job_put_off_is_not_charged_and_not_put_off_for_ever(redis: Redis) -> None:
    spec = QueueSpec("chaos", max_starts=3)
    charged: list[int] = []

    async def handle(job: Job) -> None:
        charged.append(job.attempts_made)
        raise RetryLater(0, "busy")

    (job_id,) = await add(redis, 1, spec)
    async with Worker(spec, handle, redis=redis):
        job = await ended(redis, job_id)
    assert charged == [0] * 4
    assert (job.state, job.attempts_started) == (State.FAILED, 4)
    assert job.failed_reason == "put off 3 times: busy"


async def test_a_handler_shows_progress_and_logs_through_its_context(redis: Redis) -> None:
    gate = Gate()

    async def handle(job: Job, context: Context) -> Any:
        await context.progress({"done": 40})
        await context.log("first line")
        await context.log("second line")
        await gate(job)
        return context.state

    queue = Queue(SPEC, redis)
    (job_id,) = await add(redis, 1)
    worker = Worker("chaos", handle, redis=redis)
    worker.state = ["what open yielded"]
    async with worker:
        await gate.holds(1)
        job = await queue.get(job_id)
        assert job is not None
        assert (job.state, job.progress) == (State.ACTIVE, {"done": 40})
        assert await queue.logs(job_id) == ["first line", "second line"]
        gate.open.set()
        job = await ended(redis, job_id)
    assert job.returnvalue == ["what open yielded"]


async def test_a_running_job_that_is_cancelled_stops_and_is_not_tried_again(
    redis: Redis, raw: Any
) -> None:
    contexts: list[Context] = []
    gate = Gate()

    async def handle(job: Job, context: Context) -> None:
        contexts.append(context)
        assert not context.cancelled.is_set()
        await gate(job)

    job_id, other = await add(redis, 2)
    async with Worker("chaos", handle, redis=redis):
        await gate.holds(2)
        assert await Queue(SPEC, redis).cancel(job_id) == "cancelling"
        job = await ended(redis, job_id)
        assert gate.inside == [other]
        assert sum(context.cancelled.is_set() for context in contexts) == 1
        gate.open.set()
        assert (await ended(redis, other)).state is State.COMPLETED
    assert (job.state, job.attempts_made) == (State.FAILED, 1)
    assert [error.reason for error in job.errors] == ["cancelled"]
    assert_at_rest(raw, "chaos")


async def test_a_stored_payload_that_does_not_fit_is_refused_with_its_place(
    redis: Redis,
) -> None:
    """Written by another version, or by hand: nothing checked it at the door."""
    by_hand = Queue(QueueSpec("vc-verification"), redis)
    job_id = (await by_hand.add("x", {"vcJwt": 7, "organizationId": "o", "userId": "u"})).id
    gate = Gate()
    async with Worker("vc-verification", gate, redis=redis):
        job = await ended(redis, job_id, "vc-verification")
    assert gate.most == 0
    assert [(error.reason, error.code) for error in job.errors] == [("rejected", "invalid_payload")]
    assert job.failed_reason is not None
    assert job.failed_reason.startswith("data/vcJwt: ")


async def test_a_result_that_is_not_json_ends_the_job(redis: Redis) -> None:
    async def handle(_: Job) -> Any:
        return object()

    (job_id,) = await add(redis, 1)
    async with Worker("chaos", handle, redis=redis):
        job = await ended(redis, job_id)
    assert (job.state, [error.code for error in job.errors]) == (State.FAILED, ["invalid_result"])


async def test_a_handler_is_needed() -> None:
    with pytest.raises(TypeError, match="needs a handler"):
        Worker("chaos")


async def test_a_custom_queue_is_made_known_with_its_limits(redis: Redis) -> None:
    spec = QueueSpec("custom", limiter=Limiter(9, 1_000), concurrency=2)
    assert "custom" not in catalog()
    gate = Gate()
    await add(redis, 5, spec)
    async with Worker(spec, gate, concurrency=5, redis=redis):
        await gate.holds(2)
        assert "custom" in await queue_names(redis)
        counts = await Queue(spec, redis).counts()
        assert (counts.limiter, counts.concurrency) == (Limiter(9, 1_000), 2)
        assert (counts.active, counts.waiting, counts.workers) == (2, 3, 1)
        gate.open.set()
        await all_ended(redis, 5, spec)
    assert gate.most == 2
    assert (await Queue(spec, redis).counts()).workers == 0


async def test_a_redis_that_lost_everything_learns_of_a_custom_queue_again(
    redis: Redis, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gateways refuse jobs for a queue that nobody made known."""
    monkeypatch.setattr(consumers.registration, "LISTED_AGAIN_S", 0.01)
    spec = QueueSpec("chaos", limiter=Limiter(9, 1_000))

    async def is_known() -> bool:
        limiter = (await Queue(spec, redis).counts()).limiter
        return "chaos" in await queue_names(redis) and limiter == spec.limiter

    async with Worker(spec, Gate(), redis=redis):
        await until(is_known, within_s=5, what="the queue is known")
        raw.delete(QueueKeys("chaos")["meta"])
        raw.delete(CATALOGUE)
        await until(is_known, within_s=5, what="the queue is known again")


async def test_a_stopped_worker_lets_its_jobs_finish_and_takes_no_more(
    redis: Redis, raw: Any
) -> None:
    gate = Gate()
    first = await add(redis, 2)
    worker = Worker("chaos", gate, concurrency=2, redis=redis, drain_timeout_s=60)
    running = asyncio.create_task(worker.run())
    await gate.holds(2)
    worker.stop()
    (later,) = await add(redis, 1)
    gate.open.set()
    await running
    assert sorted(gate.ended) == sorted(first)
    job = await Queue(SPEC, redis).get(later)
    assert job is not None
    assert job.state is State.WAITING
    assert pending(raw, "chaos") == 0


@pytest.mark.parametrize("hurry", [False, True])
async def test_what_does_not_finish_in_time_is_given_back_uncharged(
    redis: Redis, raw: Any, hurry: bool
) -> None:
    gate, released = Gate(), list[str]()
    jobs = await add(redis, 2)
    patience_s = 3_600 if hurry else 0.01
    worker = Worker("chaos", gate, redis=redis, drain_timeout_s=patience_s)
    worker.on("released", lambda job: released.append(job.id))
    running = asyncio.create_task(worker.run())
    await gate.holds(2)
    (worker.hurry if hurry else worker.stop)()
    await running

    assert sorted(released) == sorted(jobs)
    assert gate.ended == []
    for job_id in jobs:
        job = await Queue(SPEC, redis).get(job_id)
        assert job is not None
        assert (job.state, job.attempts_made, job.attempts_started, job.stalled_count) == (
            *(State.WAITING, 0, 0, 0),
        )
        assert job.errors == []
    # They are the next to start, whatever has come since.
    await Queue(SPEC, redis).add("work", {}, priority=0)
    claims = await Hand(redis, SPEC).take(2)
    assert sorted(claim.job.id for claim in claims) == sorted(jobs)
