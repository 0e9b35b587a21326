"""Run a handler with a job and see what becomes of it, without Redis: for the tests of processors.

    run = await run_handler(greet, {"name": "Ada"})
    assert run.result == {"greeting": "Hello, Ada"}

The handler is called as a worker calls it: its payload is validated, its time is limited, what it
raises or returns is judged by the same code.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import orjson

from consumers.execute import Run, execute
from consumers.executors import off_loop
from consumers.outcome import Completed, Failed, Released, Retried
from consumers.processor import Context, Handler, Processor, processor_of
from schemas.job import JobOptions
from schemas.spec import QueueSpec
from streams import Job, NewJob
from streams.claims import Claim, Claims
from streams.encode import batches
from streams.record import Header

EPOCH_MS = 1_700_000_000_000
"""The time of the job, unless a test says another: 2023-11-14T22:13:20Z."""


@dataclass(slots=True)
class HandlerRun:
    """What became of one run, and what the handler told its context."""

    state: str
    """`completed`, `retried` (it waits for another attempt), `failed` or `released`."""
    result: Any = None
    """What the handler returned, as JSON gives it back."""
    error: Mapping[str, Any] | None = None
    """reason, message and code, as in the job's `errors`."""
    delay_ms: int = 0
    """How long a job that is retried waits."""
    is_charged: bool = True
    """Whether the run counts as an attempt."""
    progress: list[Any] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    attempts: list[Mapping[str, Any]] = field(default_factory=list)
    remembered: Any = None


class RecordingContext(Context):
    """A context that keeps what the handler tells it."""

    __slots__ = ("run",)

    def __init__(self, run: HandlerRun, claim: Claim, state: Any) -> None:
        super().__init__(cast("Claims", None), claim, state)
        self.run = run

    async def progress(self, value: Any) -> None:
        self.run.progress.append(orjson.loads(orjson.dumps(value)))

    async def log(self, line: str) -> None:
        self.run.log.append(line)

    async def attempt(self, record: Mapping[str, Any]) -> None:
        self.run.attempts.append(record)

    async def remember(self, value: Any) -> None:
        self.run.remembered = orjson.loads(orjson.dumps(value))

    async def recall(self) -> Any:
        return self.run.remembered


async def run_handler(
    handler: Handler | Processor,
    data: Mapping[str, Any] | None = None,
    *,
    options: JobOptions | None = None,
    attempts_made: int = 0,
    state: Any = None,
    remembered: Any = None,
) -> HandlerRun:
    """One run of a handler, or of a processor with its spec, on a job with this payload.

    `attempts_made`: attempts that failed before; `state`: what the handler finds as
    `context.state`; `remembered`: what an earlier run remembered."""
    found = HandlerRun("released", remembered=remembered)
    if isinstance(handler, Processor):
        processor = handler
    else:
        processor = processor_of(QueueSpec("test"), handler, None)
    claim = _claim(processor.spec, NewJob("", data, options), attempts_made)
    context = RecordingContext(found, claim, state) if processor.wants_context else None
    handle, executor = off_loop(processor, lambda _count: None)
    try:
        outcome = await execute(Run(claim, context), replace(processor, handle=handle), _load)
    finally:
        if executor is not None:
            executor.close()
    match outcome:
        case Completed(result):
            found.state, found.result = "completed", orjson.loads(result)
        case Retried(delay_ms, error, charged):
            found.state, found.error = "retried", error
            found.delay_ms, found.is_charged = delay_ms, charged
        case Failed(error):
            found.state, found.error = "failed", error
        case Released():
            pass
    return found


async def _load(job: Job) -> Job:
    """Nothing of a job here lies apart from its record."""
    return job


def _claim(spec: QueueSpec, new: NewJob, attempts_made: int) -> Claim:
    """A claim as a worker holds it."""
    (batch,) = batches(replace(spec, sealed="never"), [new])
    priority, _, _, flags, _, job_id, body, *rest = batch.args
    payload = rest[-1] if "B" in str(flags) else None
    header = Header(
        priority=int(str(priority)), made=attempts_made, started=attempts_made, stalled=0,
        endings=0, flags="", expires="", origin="", added=str(EPOCH_MS),
    )  # fmt: skip
    job = Job(spec.name, str(job_id), header, cast("bytes", body), EPOCH_MS)
    if payload is not None:
        job = job.with_data(cast("bytes", payload))
    return Claim(job, b"5", b"0-1", None, None)
