"""SIGTERM: a deploy loses nothing, repeats nothing it need not, and charges nobody."""

import signal
from collections import Counter
from pathlib import Path
from typing import Any

from crew import crew
from ledger import assert_all_completed

from schemas.spec import QueueSpec
from streams import NewJob, Queue, Redis

DEPLOYS = 10
LEASE_MS = 30_000
SPEC = QueueSpec("chaos", lease_ms=LEASE_MS)


async def add_held(redis: Redis, count: int) -> list[str]:
    """Add jobs that run until their worker's gate opens -> their ids."""
    jobs = [NewJob(name="x", data={"held": True})] * count
    return [one.id for one in await Queue(SPEC, redis).add_many(jobs)]


async def test_what_ends_within_the_drain_is_done_by_its_worker(
    redis: Redis, redis_url: str, raw: Any, tmp_path: Path
) -> None:
    with crew(tmp_path, redis_url, "chaos", lease_ms=LEASE_MS, drain_s=10) as workers:
        leaving = await workers.hire(concurrency=10)
        jobs = await add_held(redis, 10)
        await leaving.says("started", 10)
        staying = await workers.hire(concurrency=10)

        leaving.signal(signal.SIGTERM)
        leaving.open_gate()

        assert await leaving.ended() == 0
        assert sorted(leaving.said("completed")) == sorted(jobs)
        assert staying.said("started") == []
        assert_all_completed(raw, "chaos", jobs)


async def test_what_does_not_end_is_released_and_starts_elsewhere_at_once(
    redis: Redis, redis_url: str, raw: Any, tmp_path: Path
) -> None:
    with crew(tmp_path, redis_url, "chaos", lease_ms=LEASE_MS, drain_s=0.2) as workers:
        leaving = await workers.hire(concurrency=10)
        jobs = await add_held(redis, 10)
        await leaving.says("started", 10)
        staying = await workers.hire(concurrency=10)
        staying.open_gate()

        leaving.signal(signal.SIGTERM)

        assert await leaving.ended() == 0
        await staying.says("completed", 10, within_s=1)
        assert sorted(leaving.said("cancelled")) == sorted(jobs)
        assert workers.tally("completed") == Counter(jobs)
        assert_all_completed(raw, "chaos", jobs)
        await assert_charged_once(redis, jobs)


async def test_a_handler_that_ignores_its_cancellation_does_not_hold_up_a_deploy(
    redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    with crew(tmp_path, redis_url, "chaos", lease_ms=LEASE_MS, drain_s=0.2) as workers:
        leaving = await workers.hire()
        (job,) = await Queue(SPEC, redis).add_many([NewJob(name="x", data={"stubborn": True})])
        await leaving.says("started", 1)
        staying = await workers.hire()

        leaving.signal(signal.SIGTERM)

        await leaving.says("ignored", 1)
        assert await leaving.ended() == 0
        assert await staying.says("started", 1, within_s=1) == [job.id]


async def test_a_stopping_worker_takes_no_more_jobs(
    redis: Redis, redis_url: str, raw: Any, tmp_path: Path
) -> None:
    with crew(tmp_path, redis_url, "chaos", lease_ms=LEASE_MS, drain_s=10) as workers:
        leaving = await workers.hire(concurrency=10)
        first = await add_held(redis, 1)
        await leaving.says("started", 1)
        leaving.signal(signal.SIGTERM)
        await leaving.says("stopping", 1)

        later = await add_held(redis, 5)
        staying = await workers.hire(concurrency=10)
        staying.open_gate()
        await staying.says("completed", 5)
        leaving.open_gate()

        assert await leaving.ended() == 0
        assert sorted(staying.said("started")) == sorted(later)
        assert_all_completed(raw, "chaos", first + later)


async def test_ten_deploys_in_a_row_make_no_poison_job(
    redis: Redis, redis_url: str, raw: Any, tmp_path: Path
) -> None:
    with crew(tmp_path, redis_url, "chaos", lease_ms=LEASE_MS, drain_s=0.05) as workers:
        jobs = await add_held(redis, 5)
        for _ in range(DEPLOYS):
            leaving = await workers.hire()
            await leaving.says("started", len(jobs))
            leaving.signal(signal.SIGTERM)
            assert await leaving.ended() == 0

        last = await workers.hire()
        last.open_gate()
        await last.says("completed", len(jobs))
        assert_all_completed(raw, "chaos", jobs)
        await assert_charged_once(redis, jobs)


async def assert_charged_once(redis: Redis, jobs: list[str]) -> None:
    """Each job has made one attempt, and nobody calls it stalled."""
    for job_id in jobs:
        job = await Queue(SPEC, redis).get(job_id)
        assert job is not None
        assert (job.attempts_made, job.stalled_count, job.errors) == (1, 0, [])
