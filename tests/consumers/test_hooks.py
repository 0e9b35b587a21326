"""Who listens to a worker hears what happens, and cannot disturb it."""

import logging
from collections import Counter
from typing import Any

import pytest
from gate import SPEC, add, all_ended, ended
from ledger import assert_all_completed

from consumers import Reject, Worker
from schemas.job import Backoff
from streams import Job, Queue, Redis

AT_ONCE = Backoff(type="fixed", delay=0)


async def test_hooks_hear_what_happens(redis: Redis) -> None:
    async def handle(job: Job) -> Any:
        if job.name == "bad" and job.attempts_made == 0:
            raise ValueError("first")
        if job.name == "bad":
            raise Reject("second")
        return {"ok": 1}

    heard: list[tuple[Any, ...]] = []
    worker = Worker("chaos", handle, redis=redis)
    worker.on("active", lambda job: heard.append(("active", job.name)))
    worker.on("completed", lambda job, result: heard.append(("completed", job.name, result)))
    worker.on("retrying", lambda job, error: heard.append(("retrying", error["message"])))
    worker.on("failed", lambda job, error: heard.append(("failed", error["message"])))
    queue = Queue(SPEC, redis)
    good = (await queue.add("good", {})).id
    bad = (await queue.add("bad", {}, backoff=AT_ONCE)).id
    async with worker:
        await ended(redis, good)
        await ended(redis, bad)
    assert Counter(map(str, heard)) == Counter(
        map(
            str,
            [
                ("active", "good"),
                *[("active", "bad")] * 2,
                ("completed", "good", {"ok": 1}),
                ("retrying", "first"),
                ("failed", "second"),
            ],
        )
    )


async def test_a_hook_that_raises_is_logged_and_disturbs_nothing(
    redis: Redis, raw: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(_: Job) -> None:
        return None

    def broken(_: Job) -> None:
        raise ValueError("a hook's own mistake")

    heard: list[str] = []
    worker = Worker("chaos", handle, redis=redis)
    worker.on("active", broken).on("completed", broken)
    worker.on("completed", lambda job: heard.append(job.id))
    jobs = await add(redis, 3)
    with caplog.at_level(logging.ERROR, "credstream"):
        async with worker:
            await all_ended(redis, 3)
    assert sorted(heard) == sorted(jobs)
    assert_all_completed(raw, "chaos", jobs)
    assert len([r for r in caplog.records if r.exc_info and r.exc_info[0] is ValueError]) == 6


async def test_a_hook_made_in_a_loop_keeps_its_own_name(redis: Redis) -> None:
    async def handle(_: Job) -> str:
        return "a result nobody asked for"

    heard: list[str] = []
    worker = Worker("chaos", handle, redis=redis)
    for name in ("one", "two"):
        worker.on("completed", lambda job, name=name: heard.append(name))
    (job_id,) = await add(redis, 1)
    async with worker:
        await ended(redis, job_id)
    assert heard == ["one", "two"]
    with pytest.raises(ValueError, match="no event 'done'"):
        worker.on("done", heard.append)
