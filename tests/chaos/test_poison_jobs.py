"""One job that ends its process among many that do not: it alone fails."""

import asyncio
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from crew import Crew, Hand, crew
from ledger import assert_at_rest, pending
from processes import until

from schemas.job import State
from schemas.spec import QueueSpec
from streams import NewJob, Queue, Redis

SPEC = QueueSpec("poisoned")
PROGRAM = Path(__file__).parents[1] / "support" / "poisoned_worker.py"
INNOCENTS = 499
PATIENCE_S = 60.0


async def keep_running(workers: Crew, hand: Hand, **settings: Any) -> None:
    """Start the worker again whenever it has ended, as a supervisor does."""
    while True:
        await until(partial(has_ended, hand), within_s=PATIENCE_S, what="it ended")
        hand = await workers.hire(**settings)


def has_ended(hand: Hand) -> bool:
    return hand.process.poll() is not None


async def add(redis: Redis, innocents: int, end: str) -> str:
    """Add the jobs, one of which is poison -> its id."""
    before = [NewJob("work", {})] * (innocents // 3)
    after = [NewJob("work", {})] * (innocents - len(before))
    added = await Queue(SPEC, redis).add_many([*before, NewJob("work", {"end": end}), *after])
    return added[len(before)].id


async def ended(redis: Redis, jobs: int) -> None:
    async def have() -> bool:
        counts = await Queue(SPEC, redis).counts()
        return counts.completed + counts.failed == jobs

    await until(have, within_s=PATIENCE_S, what=f"{jobs} jobs have ended")


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "case",
    [
        *((True, 100, "exit"), (True, 1, "kill"), (True, 100, "segfault")),
        *((False, 100, "exit"), (False, 3, "kill")),
    ],
)
async def test_only_the_poison_job_fails(
    redis: Redis,
    redis_url: str,
    raw: Any,
    tmp_path: Path,
    case: tuple[bool, int, str],
) -> None:
    children, concurrency, end = case
    innocents = INNOCENTS if concurrency == 100 else 20
    poison = await add(redis, innocents, end)
    settings = {"children": children, "concurrency": concurrency}
    with crew(tmp_path, redis_url, SPEC.name, program=PROGRAM) as workers:
        first = await workers.hire(**settings)
        supervising = asyncio.create_task(keep_running(workers, first, **settings))
        await ended(redis, innocents + 1)
        supervising.cancel()
        counts = await Queue(SPEC, redis).counts()
        assert (counts.completed, counts.failed) == (innocents, 1)
        job = await Queue(SPEC, redis).get(poison)
        assert job is not None
        assert (job.state, job.errors[-1].reason) == (State.FAILED, "stalled")
        ran = workers.tally("poison")
        assert sum(ran.values()) == 3
        # With child processes only the first death is that of a worker.
        assert len(workers.hands) == (2 if children else 4)
    assert_at_rest(raw, SPEC.name)


@pytest.mark.timeout(120)
async def test_a_child_that_hangs_does_not_keep_suspects_from_their_end(
    redis: Redis, redis_url: str, raw: Any, tmp_path: Path
) -> None:
    poison = await add(redis, 10, "stop")
    with crew(tmp_path, redis_url, SPEC.name, program=PROGRAM) as workers:
        first = await workers.hire(children=True, concurrency=100)
        await first.says("poison", 1)
        first.kill()
        await workers.hire(children=True, concurrency=100)
        await ended(redis, 11)
        counts = await Queue(SPEC, redis).counts()
        assert (counts.completed, counts.failed) == (10, 1)
        job = await Queue(SPEC, redis).get(poison)
        assert job is not None
        assert (job.state, job.errors[-1].reason) == (State.FAILED, "stalled")
    assert_at_rest(raw, SPEC.name)


async def one_suspect(redis: Redis, workers: Crew, **data: Any) -> Hand:
    """A job whose worker died is run by the child of this worker."""
    await Queue(SPEC, redis).add("work", data)
    victim = await workers.hire(children=True)
    await victim.says("poison", 1)
    victim.kill()
    worker = await workers.hire(children=True)
    await worker.says("poison", 1)
    return worker


def child_of(hand: Hand) -> int:
    """The process that ran the job, which is a child of the worker."""
    child, parent = map(int, hand.said("poison")[-1].split(":"))
    assert parent == hand.process.pid
    return child


async def test_a_worker_that_stops_takes_its_child_along(
    redis: Redis, redis_url: str, raw: Any, tmp_path: Path
) -> None:
    with crew(tmp_path, redis_url, SPEC.name, program=PROGRAM) as workers:
        worker = await one_suspect(redis, workers, end="hold")
        child = child_of(worker)
        worker.signal(signal.SIGTERM)
        assert await worker.ended() == 0
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)
    assert pending(raw, SPEC.name) == 0
    assert (await Queue(SPEC, redis).counts()).waiting == 1


async def test_a_child_does_not_outlive_its_worker(
    redis: Redis, redis_url: str, raw: Any, tmp_path: Path
) -> None:
    with crew(tmp_path, redis_url, SPEC.name, program=PROGRAM) as workers:
        worker = await one_suspect(redis, workers, end="hold")
        child = child_of(worker)
        worker.kill()

        def is_gone() -> bool:
            state = Path(f"/proc/{child}/stat")
            return not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"

        await until(is_gone, within_s=PATIENCE_S, what="the child has ended")
        await until(lambda: pending(raw, SPEC.name) == 0, within_s=PATIENCE_S, what="it is back")
