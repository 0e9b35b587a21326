"""One claim from payload to outcome, without Redis."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from pydantic import BaseModel

from consumers.execute import Run, execute
from consumers.outcome import Completed, Failed, Outcome, Released, Retried
from consumers.processor import Processor, Reject
from schemas.queues.vc_verification import SPEC as VERIFICATION
from schemas.spec import QueueSpec
from streams import Job
from streams.claims import Claim
from streams.encode import PAYLOAD_BYTES
from streams.record import Header

SPEC = QueueSpec("chaos")


def claim(data: Any = None, flags: str = "", **opts: Any) -> Claim:
    header = Header(5, 0, 0, 0, 0, flags, "", "", "1")
    body = orjson.dumps({"name": "n", "data": data or {}, "opts": opts})
    return Claim(Job("chaos", "id", header, body, 8_000), b"5", b"1-0", None, None)


async def no_load(_: Job) -> Job:
    raise AssertionError("there is nothing to load")


async def outcome_of(
    handle: Callable[..., Any],
    of: Claim | None = None,
    spec: QueueSpec = SPEC,
    load: Callable[..., Any] = no_load,
) -> Outcome:
    return await execute(Run(of or claim(), None), Processor(spec, handle), load)


def raising(error: BaseException) -> Callable[..., Any]:
    async def handle(_: Job) -> None:
        raise error

    return handle


async def test_what_a_handler_returns_is_the_result() -> None:
    async def handle(job: Job) -> Any:
        return {"got": job.data, "list": []}

    assert await outcome_of(handle, claim({"n": 1})) == Completed(b'{"got":{"n":1},"list":[]}')


async def test_a_payload_that_was_put_aside_is_fetched_first() -> None:
    async def load(job: Job) -> Job:
        return job.with_data(b'{"whole":1}')

    async def handle(job: Job) -> Any:
        return job.data

    assert await outcome_of(handle, claim(flags="B"), load=load) == Completed(b'{"whole":1}')


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (ValueError("boom"), Retried, "failed"),
        (Reject("never"), Failed, "rejected"),
        (ExceptionGroup("several", [ValueError("boom")]), Retried, "failed"),
        (TimeoutError("of the handler's own"), Retried, "failed"),
    ],
)
async def test_whatever_a_handler_raises_is_decided(
    error: Exception, kind: type[Any], reason: str
) -> None:
    outcome = await outcome_of(raising(error))
    assert isinstance(outcome, kind)
    assert outcome.error["reason"] == reason  # type: ignore[union-attr]


async def test_a_handler_that_cancels_itself_has_failed() -> None:
    outcome = await outcome_of(raising(asyncio.CancelledError()))
    assert isinstance(outcome, Retried)
    assert outcome.error["message"] == "the handler was cancelled from within"


async def test_a_payload_that_does_not_fit_its_queue_never_reaches_the_handler() -> None:
    async def handle(_: Job) -> None:
        raise AssertionError("it must not run")

    outcome = await outcome_of(handle, claim({"vcJwt": "", "organizationId": "o"}), VERIFICATION)
    assert isinstance(outcome, Failed)
    assert (outcome.error["reason"], outcome.error["code"]) == ("rejected", "invalid_payload")
    assert outcome.error["message"].startswith("data/vcJwt: ")


@pytest.mark.parametrize("result", [object(), {1: 2}, {"when": {1, 2}}, 2**70, "\ud800"])
async def test_a_result_that_is_not_json_is_refused(result: Any) -> None:
    async def handle(_: Job) -> Any:
        return result

    outcome = await outcome_of(handle)
    assert isinstance(outcome, Failed)
    assert outcome.error["code"] == "invalid_result"


class Greeting(BaseModel):
    """The payload of a queue of one's own."""

    name: str
    times: int = 1


async def test_a_handler_gets_the_payload_as_the_model_of_its_queue() -> None:
    async def handle(job: Job) -> Any:
        assert isinstance(job.payload, Greeting)
        return job.payload.name * job.payload.times

    spec = QueueSpec("chaos", payload=Greeting)
    assert await outcome_of(handle, claim({"name": "a"}), spec) == Completed(b'"a"')

    async def load(job: Job) -> Job:
        return job.with_data(b'{"name":"b","times":2}')

    assert await outcome_of(handle, claim(flags="B"), spec, load) == Completed(b'"bb"')


async def test_without_a_model_the_payload_is_the_data() -> None:
    async def handle(job: Job) -> Any:
        return job.payload is job.data

    assert await outcome_of(handle, claim({"name": "a"})) == Completed(b"true")


async def test_a_result_beyond_the_limit_is_refused() -> None:
    async def handle(_: Job) -> Any:
        return "x" * PAYLOAD_BYTES

    outcome = await outcome_of(handle)
    assert isinstance(outcome, Failed)
    assert outcome.error["reason"] == "rejected"


async def test_a_run_that_takes_too_long_is_ended() -> None:
    ended = asyncio.Event()

    async def handle(_: Job) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    outcome = await outcome_of(handle, claim(timeout=20))
    assert ended.is_set()
    assert isinstance(outcome, Retried)
    assert outcome.error["reason"] == "timeout"
    assert outcome.error["message"] == "the run took longer than 20 ms"


async def test_a_timeout_inside_a_run_that_has_time_is_the_handlers() -> None:
    outcome = await outcome_of(raising(TimeoutError("theirs")), claim(timeout=60_000))
    assert isinstance(outcome, Retried)
    assert (outcome.error["reason"], outcome.error["message"]) == ("failed", "theirs")


@pytest.mark.parametrize(
    ("reason", "kind", "told"),
    [("lost", Released, True), ("released", Released, False), ("cancelled", Failed, True)],
)
async def test_a_stopped_run_says_why_it_was_stopped(
    reason: str, kind: type[Any], told: bool
) -> None:
    started = asyncio.Event()

    async def handle(_: Job, __: Any) -> None:
        started.set()
        await asyncio.Event().wait()

    context: Any = SimpleNamespace(cancelled=asyncio.Event())
    run = Run(claim(), context)
    outcomes: list[Outcome] = []

    async def work() -> None:
        outcomes.append(await execute(run, Processor(SPEC, handle), no_load))

    run.task = asyncio.create_task(work())
    await started.wait()
    run.stop(reason)
    await run.task
    assert isinstance(outcomes[0], kind)
    assert context.cancelled.is_set() is told


@pytest.mark.parametrize(
    ("reason", "kind"), [("released", Released), ("cancelled", Failed), ("timeout", Retried)]
)
async def test_an_error_of_the_clean_up_of_a_stopped_run_does_not_count(
    reason: str, kind: type[Any]
) -> None:
    started = asyncio.Event()

    async def handle(_: Job) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise Reject("the clean-up failed")

    run = Run(claim(), None)
    outcomes: list[Outcome] = []

    async def work() -> None:
        outcomes.append(await execute(run, Processor(SPEC, handle), no_load))

    run.task = asyncio.create_task(work())
    await started.wait()
    run.stop(reason)
    await run.task
    assert isinstance(outcomes[0], kind)


async def test_a_handler_hears_in_its_context_that_its_time_is_over() -> None:
    heard: list[bool] = []

    async def handle(_: Job, context: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            heard.append(context.cancelled.is_set())

    context: Any = SimpleNamespace(cancelled=asyncio.Event())
    outcome = await execute(Run(claim(timeout=20), context), Processor(SPEC, handle), no_load)
    assert isinstance(outcome, Retried)
    assert heard == [True]


async def test_a_handler_may_finish_although_it_was_told_to_stop() -> None:
    started = asyncio.Event()

    async def handle(_: Job) -> str:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done all the same"
        return ""

    run = Run(claim(), None)
    outcomes: list[Outcome] = []

    async def work() -> None:
        outcomes.append(await execute(run, Processor(SPEC, handle), no_load))

    run.task = asyncio.create_task(work())
    await started.wait()
    run.stop("cancelled")
    await run.task
    assert outcomes == [Completed(b'"done all the same"')]
