"""Our side of the benchmark: one figure a run, one JSON line out.

    python -m bench.ours cycle --socket PATH --jobs 20000 --concurrency 100
    python -m bench.ours add-one | latency | delayed | recover [--lease-ms 5000] | hang

Sub-commands and printed fields are the same as those of bullmq/bench.js. As on that side nobody
looks into the payload, and ended jobs are kept without limit.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import uvloop

from bench.usage import bytes_per_job, cpu_us_per_job, spread, usage
from consumers import Worker
from schemas.job import JobOptions
from schemas.spec import QueueSpec, Retention
from streams import Added, Job, NewJob, Queue, Redis, connect

CHUNK = 5_000
"""Of one call; add_many cuts it by itself. The fastest of 500, 1,000, 5,000 and 20,000."""
DELAYED_CHUNK = 500
WARM_UP = 2_000
"""Jobs that go through another queue before a measurement: both run-times need warming."""
GAP_S = 0.02
LATE_MS = 1_000
PAYLOAD: dict[str, Any] = json.loads((Path(__file__).parent / "payload.json").read_text())
KEPT = Retention(completed_ms=None, completed_count=None, failed_ms=None, failed_count=None)

Handler = Callable[[Job], Awaitable[Any]]


@dataclass(frozen=True)
class Setting:
    """What a figure is measured with."""

    redis: Redis
    spec: QueueSpec
    socket: Path
    jobs: int
    concurrency: int
    lease_ms: int | None

    @cached_property
    def queue(self) -> Queue:
        return Queue(self.spec, self.redis)

    @asynccontextmanager
    async def working(self, handler: Handler) -> Any:
        """A running worker -> an event set when `jobs` jobs have completed."""
        left = self.jobs
        done = asyncio.Event()

        def completed(_: object) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                done.set()

        worker = Worker(self.spec, handler, concurrency=self.concurrency, redis=self.redis)
        worker.on("completed", completed)
        async with worker:
            yield done


def now_ms() -> float:
    """A clock that both the adding and the handling code of this process read."""
    return time.monotonic() * 1_000


async def succeed(_: Job) -> dict[str, bool]:
    """The handler that does nothing."""
    return {"success": True}


async def add_bulk(
    setting: Setting,
    options: JobOptions | None = None,
    seen: Callable[[Sequence[Added], float], None] = lambda _added, _before: None,
) -> None:
    """Add all jobs, a chunk a call; `seen` gets each chunk and the time before its call."""
    chunk = CHUNK if options is None else DELAYED_CHUNK
    for done in range(0, setting.jobs, chunk):
        size = min(chunk, setting.jobs - done)
        before = now_ms()
        jobs = [NewJob(name="issue-vc", data=PAYLOAD, options=options) for _ in range(size)]
        seen(await setting.queue.add_many(jobs), before)


async def warm_up(setting: Setting) -> None:
    """Add and process some jobs of another queue; they stay, so memory is compared after them."""
    warm = replace(setting, spec=replace(setting.spec, name="warm-up"), jobs=WARM_UP)
    await add_bulk(warm)
    async with warm.working(succeed) as done:
        await done.wait()


async def check_completed(setting: Setting) -> None:
    """ValueError unless exactly the jobs of this run have completed."""
    counts = await setting.queue.counts()
    if (counts.completed, counts.total) != (setting.jobs, setting.jobs):
        message = f"not {setting.jobs} jobs completed: {counts}"
        raise ValueError(message)


async def cycle(setting: Setting) -> dict[str, float]:
    """Bulk add, then process with one worker: rates, Redis CPU and memory."""
    jobs, socket = setting.jobs, setting.socket
    await warm_up(setting)
    start = usage(socket)
    add_started = now_ms()
    await add_bulk(setting)
    add_ms = now_ms() - add_started
    added = usage(socket)
    started = now_ms()
    async with setting.working(succeed) as done:
        await done.wait()
        ms = now_ms() - started
        processed = usage(socket)
    await check_completed(setting)
    return {
        "add_per_s": jobs / add_ms * 1_000,
        "process_per_s": jobs / ms * 1_000,
        "cpu_add_us": cpu_us_per_job(start, added, jobs),
        "cpu_process_us": cpu_us_per_job(added, processed, jobs),
        "waiting_bytes": bytes_per_job(start, added, jobs),
        "completed_bytes": bytes_per_job(start, usage(socket), jobs),
    }


async def add_one(setting: Setting) -> dict[str, float]:
    """One `add` after the other, each awaited."""
    queue = setting.queue
    await warm_up(setting)
    started = now_ms()
    for _ in range(setting.jobs):
        await queue.add("issue-vc", PAYLOAD)
    return {"add_one_per_s": setting.jobs / (now_ms() - started) * 1_000}


async def latency(setting: Setting) -> dict[str, float]:
    """From before `add` until the handler of an idle worker starts."""
    arrivals: asyncio.Queue[float] = asyncio.Queue()

    async def arrive(_: Job) -> None:
        arrivals.put_nowait(now_ms())

    samples = []
    await warm_up(setting)
    async with setting.working(arrive):
        for _ in range(setting.jobs):
            await asyncio.sleep(GAP_S)
            before = now_ms()
            await setting.queue.add("issue-vc", PAYLOAD)
            samples.append(await arrivals.get() - before)
    return spread(samples)


async def delayed(setting: Setting) -> dict[str, float]:
    """How late jobs delayed by a second start; due is a second after the call that adds them."""
    due: dict[str, float] = {}
    samples = []

    async def arrive(job: Job) -> None:
        samples.append(now_ms() - due[job.id])

    def seen(added: Sequence[Added], before: float) -> None:
        due.update((one.id, before + LATE_MS) for one in added)

    await warm_up(setting)
    async with setting.working(arrive) as done:
        await add_bulk(setting, JobOptions(delay=LATE_MS), seen)
        await done.wait()
    return spread(samples)


async def recover(setting: Setting) -> dict[str, float]:
    """kill -9 of a worker holding every job, until another has completed them all."""
    words = ["hang", "--socket", str(setting.socket), "--concurrency", str(setting.jobs)]
    if setting.lease_ms:
        words += ["--lease-ms", str(setting.lease_ms)]
    program = (sys.executable, "-m", "bench.ours", *words)
    victim = await asyncio.create_subprocess_exec(*program, stdout=asyncio.subprocess.PIPE)
    assert victim.stdout is not None
    await add_bulk(setting)
    await victim.stdout.readline()
    async with setting.working(succeed) as done:
        victim.kill()
        started = now_ms()
        await victim.wait()
        await done.wait()
        ms = now_ms() - started
    await check_completed(setting)
    return {"recovery_s": ms / 1_000}


async def hang(setting: Setting) -> dict[str, float]:
    """A worker that holds as many jobs as it has slots, says so, and never ends one."""
    held = 0

    async def hold(_: Job) -> None:
        nonlocal held
        held += 1
        if held == setting.concurrency:
            print("holding", flush=True)
        await asyncio.Event().wait()

    async with setting.working(hold) as done:
        await done.wait()
    return {}


FIGURES = {
    "cycle": cycle,
    "add-one": add_one,
    "latency": latency,
    "delayed": delayed,
    "recover": recover,
    "hang": hang,
}


async def measure(figure: str, wanted: argparse.Namespace) -> dict[str, float]:
    """Connect, measure one figure, close."""
    spec = QueueSpec("bench", retention=KEPT)
    if wanted.lease_ms:
        spec = replace(spec, lease_ms=wanted.lease_ms)
    redis = connect(f"unix://{wanted.socket}")
    try:
        await redis.ping()
        rest = (wanted.socket, wanted.jobs, wanted.concurrency, wanted.lease_ms)
        return await FIGURES[figure](Setting(redis, spec, *rest))
    finally:
        await redis.close()


def main() -> None:
    """Measure the figure named on the command line."""
    parser = argparse.ArgumentParser(description="Our side of the benchmark.")
    parser.add_argument("figure", choices=FIGURES)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--concurrency", type=int, default=100)
    parser.add_argument("--lease-ms", type=int)
    wanted = parser.parse_args()
    print(json.dumps(uvloop.run(measure(wanted.figure, wanted))))


if __name__ == "__main__":
    main()
