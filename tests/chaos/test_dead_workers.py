"""Workers that are killed or frozen: their jobs are done by others, once, and soon."""

import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from by_hand import clock_ms, clock_passes
from crew import crew
from ledger import assert_all_completed, pending
from processes import until

from schemas.job import State
from schemas.spec import QueueSpec
from streams import NewJob, Queue, Redis
from streams.claims import BLOCK_MS

LEASE_MS = 2_000
LEASE_S = LEASE_MS / 1_000
HELD = {"held": True}
SPEC = QueueSpec("chaos", lease_ms=LEASE_MS)


async def add(redis: Redis, count: int, **data: Any) -> list[str]:
    """Add `count` jobs with this payload -> their ids."""
    added = await Queue(SPEC, redis).add_many([NewJob(name="x", data=data)] * count)
    return [one.id for one in added]


@pytest.mark.parametrize("others", [0, 5_000])
async def test_kill_nine_of_a_worker_with_100_active_jobs(
    redis: Redis, redis_url: str, raw: Any, tmp_path: Path, others: int
) -> None:
    """They are done within the lease + 1 s, also behind 5,000 entries of a living worker."""
    with crew(tmp_path, redis_url, "chaos", lease_ms=LEASE_MS) as workers:
        living = await workers.hire(concurrency=max(others, 1))
        occupied = await add(redis, max(others, 1), **HELD)
        await living.says("started", len(occupied))
        victim = await workers.hire(concurrency=100)
        jobs = await add(redis, 100, **HELD)
        await victim.says("started", 100)
        rescuer = await workers.hire(concurrency=100)
        rescuer.open_gate()
        assert pending(raw, "chaos") == len(occupied) + 100

        victim.kill()
        await rescuer.says("completed", 100, within_s=LEASE_S + 1)

        assert sorted(rescuer.said("started")) == sorted(jobs)
        living.open_gate()
        await living.says("completed", len(occupied))
        assert workers.tally("completed") == Counter([*occupied, *jobs])
        assert_all_completed(raw, "chaos", [*occupied, *jobs])


async def test_a_job_whose_workers_keep_dying_is_a_poison_job(
    redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    """The third death sends it to the dead letters, with the reason."""
    queue = Queue(SPEC, redis)
    with crew(tmp_path, redis_url, "chaos", lease_ms=500) as workers:
        (job_id,) = await add(redis, 1, **HELD)
        for _ in range(SPEC.max_stalls):
            victim = await workers.hire()
            await victim.says("started", 1)
            victim.kill()
        await workers.hire()

        async def dead() -> bool:
            job = await queue.get(job_id)
            return job is not None and job.state is State.FAILED

        await until(dead, within_s=5, what="the job is dead")
        job = await queue.get(job_id)
        assert job is not None
        assert (job.errors[-1].reason, job.stalled_count) == ("stalled", SPEC.max_stalls)


async def test_a_worker_frozen_beyond_its_lease_cancels_its_handlers(
    redis: Redis, redis_url: str, raw: Any, tmp_path: Path
) -> None:
    with crew(tmp_path, redis_url, "chaos", lease_ms=LEASE_MS) as workers:
        frozen = await workers.hire(concurrency=10)
        jobs = await add(redis, 10, **HELD)
        await frozen.says("started", 10)
        rescuer = await workers.hire(concurrency=10)
        rescuer.open_gate()

        frozen.signal(signal.SIGSTOP)
        await rescuer.says("completed", 10)
        frozen.signal(signal.SIGCONT)

        assert sorted(await frozen.says("cancelled", 10)) == sorted(jobs)
        assert sorted(await frozen.says("lost", 10)) == sorted(jobs)
        frozen.signal(signal.SIGTERM)
        assert await frozen.ended() == 0
        assert frozen.said("completed") == []
        assert workers.tally("completed") == Counter(jobs)
        assert_all_completed(raw, "chaos", jobs)


async def test_a_worker_that_stood_still_does_not_start_what_it_had_claimed(
    redis: Redis, redis_url: str, raw: Any, tmp_path: Path
) -> None:
    """Redis answers its waiting claim while it is frozen; when it reads the answer, the lease is
    over and the job was done by another."""
    with crew(tmp_path, redis_url, "chaos", lease_ms=LEASE_MS) as workers:
        frozen = await workers.hire(concurrency=1)
        queue = Queue(SPEC, redis)
        await until(lambda: waits_in_redis(raw), within_s=5, what="it waits for a job")
        frozen.signal(signal.SIGSTOP)
        stopped_ms = await clock_ms(redis, "chaos")
        (job_id,) = await add(redis, 1)
        await until(lambda: pending(raw, "chaos") == 1, within_s=5, what="the job is claimed")
        rescuer = await workers.hire(concurrency=1)
        await rescuer.says("completed", 1)
        await clock_passes(redis, "chaos", stopped_ms + BLOCK_MS + LEASE_MS)
        frozen.signal(signal.SIGCONT)
        (other,) = await add(redis, 1)
        rescuer.signal(signal.SIGTERM)
        await rescuer.ended()

        async def are_done() -> bool:
            return (await queue.counts()).completed == 2

        await until(are_done, within_s=10, what="both jobs are done")
        assert job_id not in frozen.said("started")
        assert workers.tally("completed") == Counter([job_id, other])


def waits_in_redis(raw: Any) -> bool:
    """Whether a client is blocked: an idle worker is."""
    return bool(raw.info("clients")["blocked_clients"])


async def test_what_a_worker_writes_after_its_lease_is_refused(
    redis: Redis, redis_url: str, raw: Any, tmp_path: Path
) -> None:
    """Its handler returns as the first thing after the thaw: the result comes before any renewal
    could tell the worker that the job is no longer its own."""
    with crew(tmp_path, redis_url, "chaos", lease_ms=LEASE_MS) as workers:
        frozen = await workers.hire()
        (job_id,) = await add(redis, 1, blocks=True)
        await frozen.says("started", 1)
        rescuer = await workers.hire()
        rescuer.open_gate()

        frozen.signal(signal.SIGSTOP)
        await rescuer.says("completed", 1)
        frozen.signal(signal.SIGUSR2)
        frozen.signal(signal.SIGCONT)

        assert await frozen.says("returned", 1) == [job_id]
        assert await frozen.says("lost", 1) == [job_id]
        assert frozen.said("completed") == []
        assert workers.tally("completed") == {job_id: 1}
        assert_all_completed(raw, "chaos", [job_id])
        job = await Queue(SPEC, redis).get(job_id)
        assert job is not None
        assert job.returnvalue == {"by": str(rescuer.report)}
