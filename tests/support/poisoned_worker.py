"""A worker process whose handler may end it: `python poisoned_worker.py '<JSON of Wanted>'`.

As `chaos_worker.py`, it writes down what it does. With `children` it has the processor of this file
and runs suspects in child processes, as `credstream worker` does; else it runs them itself.
"""

import asyncio
import ctypes
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from consumers import Worker
from consumers.processor import Processor
from consumers.run import run_workers
from consumers.settings import WorkerSettings
from schemas.spec import QueueSpec
from streams import Job, connect

REPORT = "POISONED_REPORT"
LEASE_MS = 1_000


@dataclass(frozen=True)
class Wanted:
    """What the test asks of this process."""

    url: str
    queue: str
    report: str
    """A file to append to."""
    concurrency: int = 100
    children: bool = False


def write(word: str, what: object) -> None:
    """A line in the report."""
    report = os.open(os.environ[REPORT], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(report, f"{word} {what}\n".encode())
    os.close(report)


async def handle(job: Job) -> None:
    """End the process, or take a moment and write down who runs and where."""
    end = job.data.get("end")
    if end:
        write("poison", f"{os.getpid()}:{os.getppid()}")
    match end:
        case "exit":
            os._exit(1)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "segfault":
            ctypes.string_at(0)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "hold":
            await asyncio.Event().wait()
    await asyncio.sleep(0.01)
    write("ran", job.id)


PROCESSOR = Processor(QueueSpec("poisoned", lease_ms=LEASE_MS), handle)


async def main(wanted: Wanted) -> None:
    """Work until SIGTERM."""
    if wanted.children:
        settings = WorkerSettings(
            queues=wanted.queue,
            queue_concurrency=wanted.concurrency,
            processors=str(Path(__file__)),
            drain_timeout_s=0.2,
        )
        write("ready", "-")
        redis = connect(wanted.url)
        await run_workers(settings, redis.settings)
    else:
        worker = Worker(PROCESSOR, concurrency=wanted.concurrency, redis=wanted.url)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, worker.stop)
        write("ready", "-")
        await worker.run()
    write("ended", "-")


if __name__ == "__main__":
    wanted = Wanted(**json.loads(sys.argv[1]))
    os.environ[REPORT] = wanted.report
    asyncio.run(main(wanted))
