"""A worker process for chaos tests: `python chaos_worker.py '<JSON of Wanted>'`.

Its handler does what a job's payload says and writes down, one line each, what happens to it.
SIGUSR1 opens the gate that `held` jobs wait at; SIGTERM drains as a deployed worker would. A
`blocks` job stops the whole process until SIGUSR2, unless the gate is open.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uvloop

from consumers import Worker
from consumers.processor import Context
from schemas.spec import QueueSpec
from streams import Job


@dataclass(frozen=True)
class Wanted:
    """What the test asks of this process."""

    url: str
    queue: str
    report: str
    """A file to append to."""
    concurrency: int = 100
    lease_ms: int = 2_000
    drain_s: float = 0.5
    max_stalls: int = 3


class Report:
    """Lines `<word> <job id>` in a file that the test reads; a line is written at once."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, word: str, job_id: str = "-") -> None:
        os.write(self._file, f"{word} {job_id}\n".encode())

    def job(self, word: str, job: Job) -> None:
        self.write(word, job.id)


async def main(wanted: Wanted) -> None:
    """Work until SIGTERM."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})  # before there is any thread
    report = Report(Path(wanted.report))
    gate = asyncio.Event()

    async def handle(job: Job, context: Context) -> dict[str, str]:
        report.write("started", job.id)
        while job.data.get("stubborn"):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            report.write("ignored", job.id)
        if job.data.get("blocks") and not gate.is_set():
            signal.sigwait({signal.SIGUSR2})
        try:
            if job.data.get("held"):
                await gate.wait()
        except asyncio.CancelledError:
            report.write("cancelled", job.id)
            raise
        if context.cancelled.is_set():
            report.write("noticed", job.id)
        report.write("returned", job.id)
        if job.data.get("fails", 0) > job.attempts_made:
            raise RuntimeError("told to fail")
        return {"by": wanted.report}

    spec = QueueSpec(wanted.queue, lease_ms=wanted.lease_ms, max_stalls=wanted.max_stalls)
    worker = Worker(
        spec,
        handle,
        concurrency=wanted.concurrency,
        redis=wanted.url,
        drain_timeout_s=wanted.drain_s,
    )
    for name in ("completed", "failed", "lost", "released"):
        worker.on(name, partial(report.job, name))

    def stop() -> None:
        worker.stop()
        report.write("stopping")

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, gate.set)
    loop.add_signal_handler(signal.SIGTERM, stop)
    report.write("ready")
    await worker.run()
    report.write("ended")


if __name__ == "__main__":
    uvloop.run(main(Wanted(**json.loads(sys.argv[1]))))
