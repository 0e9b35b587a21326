"""A worker that cannot start a second process runs suspects when nothing else runs in its own."""

import asyncio
from typing import Any

from filling import fill
from gate import SPEC, Gate, add, all_ended
from processes import until

from consumers import Worker, tester
from consumers.run import run_tester
from consumers.settings import WorkerSettings
from schemas.spec import QueueSpec
from streams import Job, Queue, Redis
from streams.keys import SUSPECTS, QueueKeys

OTHER = QueueSpec("other")


async def test_suspects_wait_until_every_job_of_the_process_has_ended(
    redis: Redis, raw: Any
) -> None:
    """Also those of other queues; meanwhile none of these begins, and afterwards they do."""
    gate, order = Gate(), list[str]()

    async def handle(job: Job) -> None:
        order.append(f"{job.queue} {job.header.stalled}")
        await asyncio.sleep(0)

    await add(redis, 1, OTHER)
    async with Worker(OTHER, gate, concurrency=1, redis=redis):
        await gate.holds(1)
        fill(raw, QueueKeys(SPEC.name), 10, lane=SUSPECTS, stalled=1)
        async with Worker(SPEC, handle, concurrency=20, redis=redis) as worker:
            # Its claim has said that suspects wait, so it asks for no more jobs.
            await until(
                lambda: raw.hexists(QueueKeys(SPEC.name)["meta"], "tester"),
                within_s=10,
                what="the worker has the lease",
            )
            await add(redis, 5)
            await add(redis, 1, OTHER)
            assert order == []
            assert not worker.running
            gate.open.set()
            await all_ended(redis, 15)
            await all_ended(redis, 2, OTHER)
    assert order == ["chaos 1"] * 10 + ["chaos 0"] * 5
    assert (await Queue(SPEC, redis).counts()).failed == 0


async def test_a_worker_that_stops_gives_suspects_back(redis: Redis, raw: Any) -> None:
    gate = Gate()
    fill(raw, QueueKeys(SPEC.name), 3, lane=SUSPECTS, stalled=1)
    worker = Worker(SPEC, gate, redis=redis, drain_timeout_s=0.01)
    async with worker:
        await gate.holds(3)
    counts = await Queue(SPEC, redis).counts()
    assert (counts.waiting, counts.active) == (3, 0)
    assert raw.xlen(QueueKeys(SPEC.name).lane(SUSPECTS)) == 3


async def test_a_worker_whose_child_cannot_start_runs_suspects_itself(
    redis: Redis, raw: Any
) -> None:
    tries: list[str] = []

    async def refuse(_: asyncio.Event) -> bool:
        tries.append("refused")
        return False

    async def handle(job: Job) -> None:
        tries.append(job.id)

    (job_id,) = fill(raw, QueueKeys(SPEC.name), 1, lane=SUSPECTS, stalled=2)
    worker = Worker(SPEC, handle, redis=redis)
    worker.suspects.delegate = refuse
    async with worker:
        await all_ended(redis, 1)
    assert tries == ["refused", job_id]


def fail() -> None:
    """What a child process that cannot begin does."""
    raise SystemExit(1)


async def test_a_child_that_ends_before_its_processor_is_open_has_not_begun(redis: Redis) -> None:
    settings = WorkerSettings(queues=SPEC.name)
    plan = tester.TesterPlan(run_tester, settings, redis.settings, "parent", fail)
    assert not await tester.delegate(plan, asyncio.Event())
