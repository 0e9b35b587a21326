"""A handler that blocks the event loop beyond the lease costs no other job anything."""

import asyncio
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from gate import PATIENCE_S, add, all_ended, ended
from processes import end, eventually, spawn, until

import consumers.lease_thread
from consumers import Worker
from consumers.events import JobReleased
from consumers.hooks import metrics as job_numbers
from schemas.job import State
from schemas.spec import QueueSpec
from streams import Job, Queue, Redis
from streams.upkeep import Upkeep

LEASE_MS = 1_000
SPEC = QueueSpec("chaos", lease_ms=LEASE_MS)
OTHER = QueueSpec("other")
BEATS = 5
ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).parents[1] / "support" / "blocked_worker.py"


class Blocker:
    """A handler that keeps the loop busy until other threads have seen what they wait for."""

    def __init__(self) -> None:
        self.is_blocking = threading.Event()
        self.leave = threading.Event()
        self.inside: list[str] = []

    async def __call__(self, job: Job) -> str:
        self.inside.append(job.id)
        await asyncio.sleep(0)
        if job.name == "blocks":
            self.is_blocking.set()
            assert self.leave.wait(PATIENCE_S), "nobody ended the block"
        return "done"


async def test_neighbours_keep_their_leases_while_the_loop_is_blocked(
    redis: Redis, raw: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Another process reclaims all the while; nothing of this worker's is found."""
    blocker = Blocker()
    queue = Queue(SPEC, redis)
    ids = await add(redis, 3, SPEC)
    worker = Worker(SPEC, blocker, concurrency=4, redis=redis)
    numbers = job_numbers.attach(worker)
    seen: list[int] = []

    def elsewhere() -> None:
        """Another process, whose upkeep reclaims what is idle beyond the lease."""
        blocker.is_blocking.wait(PATIENCE_S)
        seen.extend(asyncio.run(reclaim_for(redis, BEATS * LEASE_MS // 2)))
        eventually(
            lambda: "blocked the event loop" in caplog.text, within_s=PATIENCE_S, what="a report"
        )
        blocker.leave.set()

    thread = threading.Thread(target=elsewhere)
    thread.start()
    async with worker:
        await until(lambda: len(blocker.inside) == 3, within_s=PATIENCE_S, what="all are inside")
        ids.append((await queue.add("blocks", {})).id)
        await all_ended(redis, 4, SPEC)
        await until(lambda: numbers.blocked == 1, within_s=PATIENCE_S, what="the block is counted")
    thread.join()
    assert seen
    assert set(seen) == {0}
    for job_id in ids:
        job = await queue.get(job_id)
        assert job is not None
        assert (job.state, job.stalled_count, job.attempts_started) == (State.COMPLETED, 0, 1)
    (report,) = [r for r in caplog.records if "blocked the event loop" in r.getMessage()]
    text = report.getMessage()
    assert text.startswith(f"[chaos] the handler of job {ids[-1]} ")
    assert "in __call__" in text
    assert "self.leave.wait" in text


async def reclaim_for(redis: Redis, span_ms: int) -> list[int]:
    """What reclaims find in so many ms of the clock of Redis, on a handle of this thread's."""
    from by_hand import clock_ms

    import streams

    own = streams.connect(redis.settings)
    try:
        found, begin = list[int](), await clock_ms(own, "chaos")
        while await clock_ms(own, "chaos") < begin + span_ms:
            found.append((await Upkeep(SPEC, own).reclaim()).count)
        return found
    finally:
        await own.close()


async def test_claims_that_were_not_started_are_given_back_uncharged(redis: Redis) -> None:
    """The first of a batch blocks the loop; those behind it run elsewhere meanwhile."""
    blocker = Blocker()
    queue = Queue(SPEC, redis)
    first = (await queue.add("blocks", {})).id
    others = await add(redis, 4, SPEC)
    elsewhere_ran: list[str] = []

    class AtOnce(Blocker):
        async def __call__(self, job: Job) -> str:
            self.inside.append(job.id)
            self.is_blocking.set()
            assert self.leave.wait(PATIENCE_S), "nobody ended the block"
            return "done"

    blocker = AtOnce()

    def elsewhere() -> None:
        blocker.is_blocking.wait(PATIENCE_S)
        asyncio.run(work_elsewhere(redis, 4, elsewhere_ran))
        blocker.leave.set()

    thread = threading.Thread(target=elsewhere)
    thread.start()
    released: list[str] = []
    worker = Worker(SPEC, blocker, concurrency=5, redis=redis)
    worker.hooks.listen(JobReleased, lambda event: released.append(event.job.id))
    async with worker:
        await all_ended(redis, 5, SPEC)
        await until(lambda: worker.running == 0, within_s=PATIENCE_S, what="all slots are free")
        # It goes on working.
        (later,) = await add(redis, 1, SPEC)
        assert (await ended(redis, later)).state is State.COMPLETED
    thread.join()
    assert blocker.inside == [first, later]
    assert sorted(elsewhere_ran) == sorted(others) == sorted(released)
    for job_id in others:
        job = await queue.get(job_id)
        assert job is not None
        assert (job.state, job.stalled_count, job.attempts_started) == (State.COMPLETED, 0, 1)


async def work_elsewhere(redis: Redis, count: int, ran: list[str]) -> None:
    """A worker in a loop of its own, until it has run so many jobs."""
    import streams

    own = streams.connect(redis.settings)

    async def handle(job: Job) -> None:
        ran.append(job.id)

    try:
        async with Worker(SPEC, handle, redis=own):
            await until(lambda: len(ran) >= count, within_s=PATIENCE_S, what=f"{count} ran")
    finally:
        await own.close()


async def test_code_outside_of_handlers_is_named_too(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    def block() -> None:
        eventually(lambda: "has been blocked" in caplog.text, within_s=PATIENCE_S, what="a report")

    async with Worker(SPEC, Blocker(), redis=redis):
        asyncio.get_running_loop().call_soon(block)
        await until(lambda: "has been blocked" in caplog.text, within_s=PATIENCE_S, what="a report")
    assert "in block" in caplog.text


async def test_workers_of_one_handle_share_one_thread_which_ends_with_the_last(
    redis: Redis,
) -> None:
    def threads() -> int:
        return sum(t.name == "credstream-leases" for t in threading.enumerate())

    assert threads() == 0
    async with Worker(SPEC, Blocker(), redis=redis):
        async with Worker(OTHER, Blocker(), redis=redis):
            for spec in (SPEC, OTHER):
                (job_id,) = await add(redis, 1, spec)
                await ended(redis, job_id, spec.name)
            assert threads() == 1
        assert threads() == 1
    assert threads() == 0


def test_a_process_whose_loop_stays_blocked_beyond_the_limit_of_a_run_ends(
    redis_url: str, tmp_path: Path
) -> None:
    """The job is reclaimed by others; what is logged names the handler."""
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = spawn(
            [sys.executable, PROGRAM, redis_url], env={"PYTHONPATH": str(ROOT)}, output=output
        )
        try:
            status = process.wait(PATIENCE_S)
        finally:
            end(process)
    assert status == consumers.lease_thread.STUCK_EXIT, log.read_text()
    text = log.read_text()
    assert "beyond the limit of job" in text
    assert "block_for_ever" in text
