"""Plain handlers in threads and processes."""

import asyncio
import os
import threading
from functools import partial
from pathlib import Path
from typing import Any

import plain_handlers
import pytest
from gate import PATIENCE_S, Gate, all_ended, ended
from hostile import BEHAVIOURS
from processes import until

from consumers import Worker
from consumers.discovery import choose
from consumers.processor import ClaimLost, ExecutorName, Processor
from schemas.job import Backoff, JobOptions, State
from schemas.spec import QueueSpec
from streams import Job, NewJob, Queue, Redis

ONCE = JobOptions(attempts=1)
AT_ONCE = Backoff(type="fixed", delay=0)
SPEC = QueueSpec("chaos", lease_ms=1_000, max_starts=1)
BOTH: list[ExecutorName] = ["thread", "process"]


async def run_one(redis: Redis, handle: Any, data: Any = None, **options: Any) -> Any:
    """A job of a worker with this handler, once it has ended."""
    executor = options.pop("executor", None)
    job_id = (await Queue(SPEC, redis).add("work", data or {}, **options)).id
    async with Worker(SPEC, handle, redis=redis, executor=executor):
        return await ended(redis, job_id)


async def test_a_plain_function_runs_in_a_thread(redis: Redis) -> None:
    job = await run_one(redis, plain_handlers.square, {"n": 3})
    assert (job.state, job.returnvalue["n"]) == (State.COMPLETED, 9)
    assert job.returnvalue["pid"] == os.getpid()
    assert job.returnvalue["thread"] != threading.get_ident()


async def test_a_function_in_a_process_of_its_own(redis: Redis) -> None:
    job = await run_one(redis, plain_handlers.square, {"n": 3}, executor="process")
    assert (job.state, job.returnvalue["n"]) == (State.COMPLETED, 9)
    assert job.returnvalue["pid"] != os.getpid()


async def coroutine(job: Job) -> str:
    await asyncio.sleep(0)
    return f"{job.name} in {threading.current_thread().name}"


def hand_on(job: Job) -> Any:
    return coroutine(job)


@pytest.mark.parametrize("handle", [hand_on, partial(coroutine), coroutine])
async def test_what_is_asynchronous_stays_in_the_loop(redis: Redis, handle: Any) -> None:
    job = await run_one(redis, handle)
    assert job.returnvalue == "work in MainThread"


@pytest.mark.parametrize("executor", BOTH)
async def test_an_async_function_is_for_the_loop(executor: ExecutorName) -> None:
    with pytest.raises(ValueError, match="write `def` instead of `async def`"):
        Worker(SPEC, coroutine, redis="redis://localhost", executor=executor)


async def test_a_process_takes_functions_it_can_import_and_no_open() -> None:
    with pytest.raises(ValueError, match="at the top level of a module"):
        Worker(SPEC, lambda _: 1, redis="redis://localhost", executor="process")
    processor = Processor(SPEC, plain_handlers.square, open=object)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cannot be used with open"):
        Worker(processor, redis="redis://localhost", executor="process")


@pytest.mark.parametrize("executor", BOTH)
async def test_the_context_without_await(redis: Redis, executor: ExecutorName) -> None:
    job = await run_one(redis, plain_handlers.talk, executor=executor, backoff=AT_ONCE)
    assert (job.state, job.progress) == (State.COMPLETED, {"done": 40})
    assert job.returnvalue == [{"run": 1}, None, False]
    queue = Queue(SPEC, redis)
    assert await queue.logs(job.id) == ["a line"] * 2
    assert await queue.attempts(job.id) == [{"number": 1}] * 2


@pytest.mark.parametrize("executor", BOTH)
async def test_errors_are_those_of_the_handler(redis: Redis, executor: ExecutorName) -> None:
    job = await run_one(redis, plain_handlers.refuse, executor=executor)
    assert [(e.reason, e.code, e.message) for e in job.errors] == [
        ("rejected", "issuer_unknown", "there is no such issuer")
    ]
    job = await run_one(redis, plain_handlers.show_badly, executor=executor, attempts=1)
    assert [error.code for error in job.errors] == ["InvalidValue"]


@pytest.mark.parametrize("executor", BOTH)
async def test_every_job_ends_whatever_a_plain_function_does(
    redis: Redis, executor: ExecutorName
) -> None:
    names = [*BEHAVIOURS, "neighbour 1", "neighbour 2"]
    queue = Queue(SPEC, redis)
    await queue.add_many([NewJob(name, {}, ONCE) for name in names])
    async with Worker(SPEC, plain_handlers.behave, redis=redis, executor=executor) as worker:
        await all_ended(redis, len(names), SPEC)
        await until(lambda: worker.running == 0, within_s=PATIENCE_S, what="all slots are free")
    completed = {job.name for job in await queue.page(State.COMPLETED, 0, 500)}
    assert completed == {"neighbour 1", "neighbour 2", "return nothing", "return large"}


async def test_a_process_that_dies_fails_its_own_attempt_only(redis: Redis) -> None:
    queue = Queue(SPEC, redis)
    dies = (await queue.add("work", {"by": "exit"}, attempts=2, backoff=AT_ONCE)).id
    others = [(await queue.add("work", {}, attempts=1)).id for _ in range(4)]
    async with Worker(SPEC, plain_handlers.die, redis=redis, executor="process", concurrency=2):
        job = await ended(redis, dies)
        assert {(await ended(redis, other)).returnvalue for other in others} == {"alive"}
    assert (job.state, job.stalled_count) == (State.FAILED, 0)
    assert [(e.code, e.message) for e in job.errors] == [
        ("ProcessDied", "the process of the handler ended: exit code 3")
    ] * 2


async def test_a_process_that_is_told_to_stop_charges_no_attempt(redis: Redis) -> None:
    job = await run_one(
        redis, plain_handlers.die, {"by": "SIGTERM"}, attempts=1, executor="process"
    )
    assert (job.state, job.attempts_made, job.attempts_started) == (State.COMPLETED, 1, 2)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("reason", ["timeout", "cancelled", "released"])
async def test_the_process_of_a_stopped_run_is_killed_and_its_slot_free(
    redis: Redis, tmp_path: Path, reason: str
) -> None:
    """It holds the GIL of its process all the while; leases are renewed in ours."""
    queue, inside = Queue(SPEC, redis), tmp_path / "inside"
    data = {"inside": str(inside), "leave": str(tmp_path / "leave")}
    # After a first job, so that the limit is not spent on the start of the process.
    worker = Worker(SPEC, plain_handlers.hold, redis=redis, executor="process", concurrency=1)
    timeout = {"timeout": 3_000} if reason == "timeout" else {}
    job_id = (await queue.add("work", data, attempts=1, **timeout)).id
    async with worker:
        await until(
            lambda: inside.exists() and inside.read_text(), within_s=PATIENCE_S, what="it is inside"
        )
        pid = int(inside.read_text())
        if reason == "cancelled":
            await queue.cancel(job_id)
        if reason == "released":
            worker.hurry()
        else:
            assert [error.reason for error in (await ended(redis, job_id)).errors] == [reason]
        await until(lambda: not is_running(pid), within_s=PATIENCE_S, what="it was killed")
        await until(lambda: worker.running == 0, within_s=PATIENCE_S, what="the slot is free")
    if reason == "released":
        job = await queue.get(job_id)
        assert job is not None
        assert (job.state, job.attempts_made) == (State.WAITING, 0)


@pytest.mark.parametrize("reason", ["timeout", "cancelled"])
async def test_a_thread_is_told_to_stop_and_keeps_its_slot_until_it_does(
    redis: Redis, reason: str
) -> None:
    leave = threading.Event()
    told = threading.Event()

    def handle(_: Job, context: Any) -> str:
        context.log("inside")
        assert context.cancelled.wait(PATIENCE_S)
        told.set()
        assert leave.wait(PATIENCE_S)
        return "too late"

    queue = Queue(SPEC, redis)
    timeout = {"timeout": 100} if reason == "timeout" else {}
    job_id = (await queue.add("work", {}, attempts=1, **timeout)).id

    async def is_inside() -> bool:
        return bool(await queue.logs(job_id))

    async with Worker(SPEC, handle, redis=redis, concurrency=1) as worker:
        await until(is_inside, within_s=PATIENCE_S, what="it is inside")
        if reason == "cancelled":
            await queue.cancel(job_id)
        job = await ended(redis, job_id)
        assert await asyncio.to_thread(told.wait, PATIENCE_S)
        assert worker.running == 1
        leave.set()
        await until(lambda: worker.running == 0, within_s=PATIENCE_S, what="the slot is free")
    assert (job.state, [error.reason for error in job.errors]) == (State.FAILED, [reason])


async def test_jobs_in_threads_leave_the_loop_free(redis: Redis) -> None:
    """As many run side by side as there are slots, beside asynchronous ones."""
    meet = threading.Barrier(3)

    def handle(_: Job) -> str:
        meet.wait(PATIENCE_S)
        return "met"

    other, gate = QueueSpec("other"), Gate()
    gate.open.set()
    queue = Queue(SPEC, redis)
    ids = [(await queue.add("work", {}, attempts=1)).id for _ in range(3)]
    beside = (await Queue(other, redis).add("work", {})).id
    async with (
        Worker(SPEC, handle, redis=redis, concurrency=3),
        Worker(other, gate, redis=redis),
    ):
        assert (await ended(redis, beside, "other")).returnvalue == "passed"
        assert [(await ended(redis, job_id)).returnvalue for job_id in ids] == ["met"] * 3


async def test_a_processor_from_a_file_may_run_in_processes(redis: Redis, tmp_path: Path) -> None:
    (tmp_path / "cubes.py").write_text(
        "from consumers import Processor\n"
        "from schemas.spec import QueueSpec\n"
        "def handle(job):\n"
        "    return job.data['n'] ** 3\n"
        "PROCESSOR = Processor(QueueSpec('cubes'), handle, executor='process')\n"
    )
    (processor,) = choose(str(tmp_path), ["cubes"])
    job_id = (await Queue("cubes", redis).add("work", {"n": 3})).id
    async with Worker(processor, redis=redis):
        assert (await ended(redis, job_id, "cubes")).returnvalue == 27


async def test_a_thread_that_outlives_its_worker_asks_in_vain(redis: Redis) -> None:
    """The loop of its worker is still there, but its job is somebody else's."""
    inside, leave, said = asyncio.Event(), threading.Event(), list[str]()
    loop = asyncio.get_running_loop()

    def handle(_: Job, context: Any) -> None:
        loop.call_soon_threadsafe(inside.set)
        leave.wait(PATIENCE_S)
        try:
            context.remember(1)
        except ClaimLost as error:
            said.append(type(error).__name__)

    queue = Queue(SPEC, redis)
    job_id = (await queue.add("work", {})).id
    worker = Worker(SPEC, handle, redis=redis, drain_timeout_s=0)
    async with worker:
        await inside.wait()
    job = await queue.get(job_id)
    assert job is not None
    assert job.state is State.WAITING
    leave.set()
    await until(lambda: said, within_s=PATIENCE_S, what="it was refused")
    assert said == ["ClaimLost"]
