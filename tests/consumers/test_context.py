"""The handler's second argument: progress, log, records of attempts, and what a run remembers."""

import math
from typing import Any

import orjson
import pytest
from gate import SPEC, Gate, add, ended
from hostile import cyclic, nested
from processes import until

from consumers import Context, Worker
from consumers.processor import ClaimLost
from schemas.job import Backoff, State
from streams import Job, Queue, Redis
from streams.keys import QueueKeys
from streams.notes import LINE_CHARS, PROGRESS_BYTES, REMEMBERED_BYTES

AT_ONCE = Backoff(type="fixed", delay=0)


async def test_log_lines_become_storable_text(redis: Redis) -> None:
    lines: list[Any] = ["a\ud800b", "a\0b", "two\nlines", 7, "x" * 5_000]

    async def handle(_: Job, context: Context) -> None:
        for line in lines:
            await context.log(line)

    (job_id,) = await add(redis, 1)
    async with Worker(SPEC, handle, redis=redis):
        assert (await ended(redis, job_id)).state is State.COMPLETED
    assert await Queue(SPEC, redis).logs(job_id) == [
        "a\ufffdb", "a\ufffdb", "two\nlines", "7", "x" * LINE_CHARS,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("verb", "value", "reason"),
    [
        (verb, value, reason)
        for verb in ("progress", "remember", "attempt")
        for value, reason in (
            (math.nan, "NaN"), ("\ud800", "surrogates"), (cyclic(), "cyclic"), (2**70, "64-bit"),
            (nested(201), "deeper"), (object(), "serializable"),
        )
    ]
    + [
        ("progress", "x" * PROGRESS_BYTES, "at most"),
        ("remember", "x" * REMEMBERED_BYTES, "at most"),
        ("attempt", {"x": "x" * 65_536}, "at most"),
    ],
)  # fmt: skip
async def test_what_json_does_not_have_is_the_handlers_error(
    redis: Redis, verb: str, value: Any, reason: str
) -> None:
    async def handle(_: Job, context: Context) -> None:
        await getattr(context, verb)(value)

    queue = Queue(SPEC, redis)
    job_id = (await queue.add("work", {}, attempts=1)).id
    async with Worker(SPEC, handle, redis=redis):
        job = await ended(redis, job_id)
    assert (job.state, [error.code for error in job.errors]) == (State.FAILED, ["InvalidValue"])
    assert reason in (job.failed_reason or "")
    assert job.progress is None


async def test_a_run_finds_what_an_earlier_one_remembered(redis: Redis) -> None:
    found: list[Any] = []

    async def handle(job: Job, context: Context) -> None:
        found.append(await context.recall())
        await context.remember({"run": job.attempts_started})
        await context.attempt({"run": job.attempts_started})
        if job.attempts_started < 3:
            raise ValueError("again")

    job_id = (await Queue(SPEC, redis).add("work", {}, backoff=AT_ONCE)).id
    async with Worker(SPEC, handle, redis=redis):
        assert (await ended(redis, job_id)).state is State.COMPLETED
    assert found == [None, {"run": 1}, {"run": 2}]


async def test_a_job_that_was_taken_over_remembers_nothing(redis: Redis, raw: Any) -> None:
    gate, lost = Gate(), list[bool]()

    async def handle(job: Job, context: Context) -> None:
        await gate(job)
        try:
            await context.remember(1)
        except ClaimLost:
            lost.append(True)
            raise

    (job_id,) = await add(redis, 1)
    async with Worker(SPEC, handle, redis=redis):
        await gate.holds(1)
        raw.hset(QueueKeys("chaos")["jobs"], job_id, "5:9999999999999-0")
        gate.open.set()
        await until_lost(lost)
        raw.hdel(QueueKeys("chaos")["jobs"], job_id)
    assert not orjson.loads(raw.hget(QueueKeys("chaos")["run"], f"{job_id}:m") or b"null")


async def until_lost(lost: list[bool]) -> None:
    await until(lambda: lost, within_s=20, what="the handler heard that its job is lost")
