"""A processor with everything: `credstream worker --processors examples/processor.py`.

Reports are printed page by page. A run that is interrupted goes on where the last one stopped.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import BaseModel, ConfigDict, Field

from credstream import (
    Backoff,
    Context,
    Job,
    JobOptions,
    Processor,
    Queue,
    QueueSpec,
    Reject,
    Resources,
    Retry,
    RetryLater,
    Worker,
    connect,
)
from streams import Redis


class Report(BaseModel):
    """The payload. The gateway and `Queue.add` refuse what does not fit."""

    model_config = ConfigDict(extra="forbid")

    title: str
    pages: int = Field(ge=1, le=100)
    font: str = "serif"


class Printer:
    """What all jobs of a worker share."""

    def __init__(self) -> None:
        self.printed: list[str] = []
        self.is_jammed = True
        self.is_warm = False

    async def print_page(self, title: str, page: int, font: str) -> None:
        """Print one page, or say why not."""
        if font not in ("serif", "sans"):
            # It can never work: no further attempt, whatever attempts are left.
            raise Reject(f"There is no font {font}", code="font_unknown")
        if not self.is_warm:
            self.is_warm = True
            # Not the job's fault: it waits, and no attempt is charged.
            raise RetryLater(10, "the printer warms up")
        if page == 2 and self.is_jammed:
            self.is_jammed = False
            # This attempt failed; the next one comes after the backoff, or later.
            raise Retry("Paper jam on page 2", code="paper_jam", after_ms=20)
        await asyncio.sleep(0)
        self.printed.append(f"{title} {page}")


@asynccontextmanager
async def open_printer(_: Resources) -> AsyncIterator[Printer]:
    """Opened when the worker starts, closed when it stops; every job finds it as context.state."""
    yield Printer()


async def handle(job: Job, context: Context) -> dict[str, int]:
    """Print a report."""
    report: Report = job.payload
    printer: Printer = context.state
    done = await context.recall() or 0
    for page in range(done + 1, report.pages + 1):
        await printer.print_page(report.title, page, report.font)
        await context.remember(page)
        await context.progress({"page": page, "of": report.pages})
    await context.log(f"printed {report.pages - done} pages in run {job.attempts_started}")
    return {"pages": report.pages}


SPEC = QueueSpec(
    "reports",
    payload=Report,
    description="Print reports",
    defaults=JobOptions(attempts=5, backoff=Backoff(type="fixed", delay=10)),
    timeout_ms=60_000,
)
PROCESSOR = Processor(SPEC, handle, open=open_printer)


async def main(redis: Redis) -> list[str]:
    """Print one report without `credstream worker`; its pages, in order."""
    queue = Queue(SPEC, redis)
    done = asyncio.Event()
    async with open_printer(Resources(redis)) as printer:
        worker = Worker(PROCESSOR, redis=redis)
        worker.state = printer
        worker.on("completed", lambda _: done.set())
        async with worker:
            await queue.add("report", {"title": "Annual report", "pages": 3})
            await done.wait()
    print(*printer.printed, sep="\n")
    return printer.printed


async def run() -> None:
    """The example on the Redis that the environment names."""
    redis = connect()
    await main(redis)
    await redis.close()


if __name__ == "__main__":
    asyncio.run(run())
