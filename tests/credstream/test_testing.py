"""Handlers run in tests as in a worker, without Redis."""

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from consumers.processor import Processor, Reject, Retry, RetryLater
from credstream.testing import run_handler
from schemas.job import JobOptions
from schemas.spec import QueueSpec


async def test_a_result_and_what_the_handler_told() -> None:
    async def greet(job: Any, context: Any) -> dict[str, Any]:
        await context.progress(50)
        await context.log("half way")
        await context.remember({"seen": [await context.recall()]})
        return {"greeting": f"Hello, {job.data['name']}", "attempt": job.attempts_made + 1}

    run = await run_handler(greet, {"name": "Ada"}, attempts_made=1, remembered="before")
    assert (run.state, run.error) == ("completed", None)
    assert run.result == {"greeting": "Hello, Ada", "attempt": 2}
    assert (run.progress, run.log, run.remembered) == ([50], ["half way"], {"seen": ["before"]})


@pytest.mark.parametrize(
    ("raised", "state", "reason", "is_charged"),
    [
        (RuntimeError("no"), "retried", "failed", True),
        (Retry("no", after_ms=90_000), "retried", "failed", True),
        (RetryLater(5), "retried", "later", False),
        (Reject("never", code="bad"), "failed", "rejected", True),
    ],
)
async def test_what_becomes_of_what_it_raises(
    raised: Exception, state: str, reason: str, is_charged: bool
) -> None:
    async def handler(_job: Any) -> None:
        raise raised

    run = await run_handler(handler)
    assert (run.state, run.error and run.error["reason"]) == (state, reason)
    assert run.is_charged is is_charged
    if isinstance(raised, Retry):
        assert run.delay_ms == 90_000


async def test_the_last_attempt_fails() -> None:
    async def handler(_job: Any) -> None:
        raise RuntimeError("no")

    assert (await run_handler(handler, attempts_made=2)).state == "failed"
    assert (await run_handler(handler, options=JobOptions(attempts=5), attempts_made=2)).state == (
        "retried"
    )


class Greeting(BaseModel):
    name: str


async def test_a_processor_validates_its_payload() -> None:
    async def handler(job: Any) -> str:
        return str(job.payload.name)

    processor = Processor(QueueSpec("greetings", payload=Greeting), handler)
    assert (await run_handler(processor, {"name": "Ada"})).result == "Ada"
    refused = await run_handler(processor, {"name": 1})
    assert refused.state == "failed"
    assert refused.error is not None
    assert refused.error["code"] == "invalid_payload"


async def test_plain_functions_limits_and_large_payloads() -> None:
    def length(job: Any, context: Any) -> int:
        context.log("in a thread")
        return len(job.data["text"])

    run = await run_handler(length, {"text": "x" * 100_000})
    assert (run.result, run.log) == (100_000, ["in a thread"])

    async def hangs(_job: Any) -> None:
        await asyncio.Event().wait()

    run = await run_handler(hangs, options=JobOptions(timeout=20))
    assert run.error is not None
    assert run.error["reason"] == "timeout"


async def test_a_result_that_is_no_json_is_refused() -> None:
    async def handler(_job: Any) -> object:
        return object()

    run = await run_handler(handler)
    assert run.state == "failed"
    assert run.error is not None
    assert run.error["code"] == "invalid_result"
