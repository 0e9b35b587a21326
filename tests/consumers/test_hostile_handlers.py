"""Whatever a handler raises or returns, its job ends, its neighbours complete, its worker lives."""

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

import hiredis
import orjson
import pytest
from gate import PATIENCE_S, Gate, all_ended
from hostile import ANY_VALUE, BEHAVIOURS, ERRORS, RESULTS, behave
from hypothesis import given
from hypothesis import strategies as st
from processes import until

import consumers.processors
import consumers.settle
import consumers.worker
from consumers import Reject, Worker
from consumers.execute import Run, execute
from consumers.hooks import logging as job_log
from consumers.hooks import metrics as job_numbers
from consumers.outcome import Completed, ending
from consumers.processor import Processor, Retry
from schemas.job import Backoff, JobOptions, State
from schemas.spec import QueueSpec
from streams import Job, JobView, NewJob, Queue, Redis
from streams.claims import Claim, Ending
from streams.keys import QueueKeys
from streams.record import Header

ONCE = JobOptions(attempts=1, backoff=Backoff(type="fixed", delay=0))
SPEC = QueueSpec("hostile", defaults=ONCE, max_starts=1)
NEIGHBOURS = 5
TENANT = {"organizationId": "org-1", "userId": "user-1"}
DID = "did:key:z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH"
PAYLOADS: dict[str, dict[str, Any]] = {
    "did-operations": {"operation": "create", "didMethod": "key", **TENANT},
    "emails": {
        "to": "ada@example.com", "subject": "s", "template": "t", "context": {}, **TENANT,
    },
    "status-lists": {
        "listId": "a" * 26 + "-" + "b" * 13, "version": 1, "organizationId": "org-1",
    },
    "vc-issuance": {
        "issuerDid": DID, "subjectDid": DID, "credentialType": "Degree",
        "claims": {"degree": "BSc"}, **TENANT,
    },
    "vc-verification": {"vcJwt": "e30.e30.AAAA", **TENANT},
    "webhooks": {
        "url": "https://example.com/hook", "method": "POST", "payload": {"event": "x"},
        "event": "x", "organizationId": "org-1",
    },
}  # fmt: skip
SHIPPED = sorted(info.name for info in pkgutil.iter_modules(consumers.processors.__path__))


async def ended_by_name(redis: Redis, spec: QueueSpec, names: list[str]) -> dict[str, JobView]:
    """Every job, once all have ended."""
    await all_ended(redis, len(names), spec)
    found: dict[str, JobView] = {}
    for state in (State.COMPLETED, State.FAILED):
        found |= {job.name: job for job in await Queue(spec, redis).page(state, 0, 500)}
    return found


async def test_every_job_ends_and_its_neighbours_complete(redis: Redis) -> None:
    neighbours = [f"neighbour {n}" for n in range(NEIGHBOURS)]
    names = [*BEHAVIOURS, *neighbours]
    await Queue(SPEC, redis).add_many([NewJob(name, {}) for name in names])
    worker = Worker(SPEC, behave, concurrency=7, redis=redis)
    job_log.attach(worker)
    numbers = job_numbers.attach(worker)
    async with worker:
        jobs = await ended_by_name(redis, SPEC, names)
        # The worker still works.
        await Queue(SPEC, redis).add("one more", {})
        await all_ended(redis, len(names) + 1, SPEC)
    assert {jobs[name].state for name in neighbours} == {State.COMPLETED}
    fine = {"return nothing", "return large"}
    assert {name for name, job in jobs.items() if job.state is State.COMPLETED} == {
        *fine,
        *neighbours,
    }
    for name in RESULTS.keys() - {"nothing", "large"}:
        assert [error.code for error in jobs[f"return {name}"].errors] == ["invalid_result"]
    for row in numbers.rows():
        orjson.dumps(row.labels)


@pytest.mark.parametrize("name", SHIPPED)
async def test_a_shipped_processor_ends_its_jobs_whatever_its_resources_do(
    redis: Redis, name: str
) -> None:
    """The real handler; what `open` would have yielded raises at every use."""
    processor: Processor = importlib.import_module(f"consumers.processors.{name}").PROCESSOR
    queue = Queue(processor.spec, redis)
    raised: list[str] = []

    class Broken:
        def __getattr__(self, _: str) -> Any:
            name = list(ERRORS)[len(raised) % len(ERRORS)]
            raised.append(name)
            error = ERRORS[name]()
            raise error

    data = PAYLOADS[processor.spec.name]
    await queue.add_many([NewJob("x", data, ONCE) for _ in ERRORS])
    worker = Worker(processor, redis=redis)
    worker.state = Broken()
    async with worker:
        await until(
            lambda: len(raised) >= len(ERRORS), within_s=PATIENCE_S, what="every error was raised"
        )
        await until(lambda: is_at_rest(queue), within_s=PATIENCE_S, what="no job is active")
    assert not worker.running


async def is_at_rest(queue: Queue) -> bool:
    """Whether every job has ended or waits for another start."""
    counts = await queue.counts()
    return counts.active == counts.waiting == 0


def claim(name: str, made: int) -> Claim:
    header = Header(5, made, made, 0, 0, "C", "", "", "1")
    body = orjson.dumps({"name": name, "data": {}, "opts": {}})
    return Claim(Job("chaos", "id", header, body, 8_000), b"5", b"1-0", b"{}", None)


BEHAVIOUR = st.sampled_from(BEHAVIOURS)


@given(name=BEHAVIOUR, made=st.integers(0, 3))
async def test_every_behaviour_has_an_ending_that_can_be_sent(name: str, made: int) -> None:
    await assert_storable(claim(name, made), behave)


@given(value=ANY_VALUE)
async def test_every_result_has_an_ending_that_can_be_sent(value: Any) -> None:
    async def handle(_: Job) -> Any:
        return value

    await assert_storable(claim("x", 0), handle)


@given(
    message=ANY_VALUE,
    code=ANY_VALUE,
    kind=st.sampled_from([Reject, Retry, ValueError, SystemExit, BaseException]),
)
async def test_every_error_has_an_ending_that_can_be_sent(
    message: Any, code: Any, kind: type[BaseException]
) -> None:
    async def handle(_: Job) -> Any:
        raise kind(message, code=code) if kind in (Reject, Retry) else kind(message, code)

    await assert_storable(claim("x", 0), handle)


async def assert_storable(mine: Claim, handle: Callable[..., Any]) -> None:
    outcome = await execute(Run(mine, None), Processor(SPEC, handle), no_load)
    done = ending(mine, outcome)
    assert hiredis.pack_command(tuple(done.words))
    assert isinstance(
        orjson.loads(done.result if done.kind == "complete" else done.history), object
    )
    if isinstance(outcome, Completed):
        # It can be written again inside a callback and a page.
        assert orjson.dumps([[[[[[orjson.loads(outcome.result)]]]]]])


async def no_load(_: Job) -> Job:
    raise AssertionError("there is nothing to load")


@pytest.mark.parametrize("how", ["Redis", "the encoder"])
async def test_an_ending_that_is_refused_jams_no_other(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Whatever of a job no call can carry, in the middle of a batch."""
    gate = Gate()

    def spoil(mine: Claim, outcome: Any) -> Ending:
        done = ending(mine, outcome)
        if mine.job.name == "spoilt":
            done = Ending(mine, "retry", delay_ms="soon" if how == "Redis" else object())  # type: ignore[arg-type]
        return done

    monkeypatch.setattr(consumers.worker, "ending", spoil)
    monkeypatch.setattr(consumers.settle, "REFUSALS_MAX", 2)
    names = ["a", "spoilt", "b", "c"]
    await Queue(SPEC, redis).add_many([NewJob(name, {}) for name in names])
    troubles: list[Exception] = []
    worker = Worker(SPEC, gate, concurrency=4, redis=redis)
    worker.on("error", troubles.append)
    async with worker:
        await gate.holds(4)
        gate.open.set()
        jobs = await ended_by_name(redis, SPEC, names)
    assert {name for name, job in jobs.items() if job.state is State.FAILED} == {"spoilt"}
    assert [error.code for error in jobs["spoilt"].errors] == ["outcome_not_storable"]
    if how == "Redis":
        assert troubles


async def test_a_permission_that_is_missing_for_a_moment_costs_no_result(
    redis: Redis, raw: Any
) -> None:
    """Redis refuses every ending while a key is of another type; then all are stored."""
    gate, troubles = Gate(), list[Exception]()
    names = ["a", "b", "c"]
    await Queue(SPEC, redis).add_many([NewJob(name, {}) for name in names])
    worker = Worker(SPEC, gate, concurrency=3, redis=redis)
    worker.on("error", troubles.append)
    completed = QueueKeys("hostile")["completed"]
    async with worker:
        await gate.holds(3)
        raw.set(completed, b"of another type")
        gate.open.set()
        await until(lambda: len(troubles) > 6, within_s=PATIENCE_S, what="endings are refused")
        raw.delete(completed)
        jobs = await ended_by_name(redis, SPEC, names)
    assert {job.state for job in jobs.values()} == {State.COMPLETED}
    assert {job.returnvalue for job in jobs.values()} == {"passed"}
