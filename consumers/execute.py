"""Runs one claim and says what becomes of it. Knows no Redis.

load -> validate -> perform within the time limit -> encode; whatever goes wrong is decided in one
place.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import ValidationError

from consumers.outcome import (
    Cancelled,
    Completed,
    Failed,
    Outcome,
    Released,
    TimedOut,
    decide,
    unknown_failure,
)
from consumers.processor import Context, Processor, Reject
from schemas.fields import first_fault
from streams import Job
from streams.backoff import jitter_chance
from streams.claims import Claim
from streams.encode import PAYLOAD_BYTES
from streams.errors import InvalidValue
from streams.sanitize import encode_value

logger = logging.getLogger(__name__)

Load = Callable[[Job], Awaitable[Job]]


class Run:
    """One claim being executed. `stop_reason` tells why its task was cancelled."""

    __slots__ = (
        "asked",
        "claim",
        "context",
        "limit_ms",
        "started",
        "stop_reason",
        "stopped",
        "task",
    )

    def __init__(self, claim: Claim, context: Context | None, limit_ms: int | None = None) -> None:
        self.asked = math.inf
        """When the claim was asked for at the latest (monotonic seconds); inf: not known."""
        self.claim = claim
        self.context = context
        self.limit_ms = limit_ms
        """How long it may take; None or 0: no limit."""
        self.started = time.monotonic()
        self.stop_reason = ""
        self.stopped: float | None = None
        """When it was told to stop (monotonic seconds)."""
        self.task: asyncio.Task[None] | None = None

    def stop(self, reason: str) -> None:
        """Cancel the handler: `lost`, `cancelled`, `timeout` or `released`."""
        self.stop_reason = self.stop_reason or reason
        self.stopped = self.stopped or time.monotonic()
        if self.context is not None and reason != "released":
            self.context.cancelled.set()
        if self.task is not None:
            self.task.cancel()

    def is_overdue(self, now: float) -> bool:
        """Whether it takes longer than it may, at monotonic time `now`."""
        return bool(self.limit_ms) and now - self.started > (self.limit_ms or 0) / 1000

    @property
    def elapsed_ms(self) -> int:
        return int((time.monotonic() - self.started) * 1000)


async def execute(run: Run, processor: Processor, load: Load) -> Outcome:
    """The outcome of a claim. Never raises, but for a cancellation nobody asked it for."""
    job = run.claim.job
    try:
        if "B" in job.header.flags or "S" in job.header.flags:
            job = await load(job)
        validate(job, processor)
        result = await _perform(run, job, processor)
        return Completed(_encode(result))
    except BaseException as error:
        # Also SystemExit and KeyboardInterrupt: in a task they would end the worker.
        if isinstance(error, GeneratorExit) and run.stop_reason == "given up":
            raise  # not the handler's: the coroutine of a run that was given up is closed
        if run.stop_reason in ("released", "lost", "given up"):
            return Released()
        # Whatever a handler raises after it was told to stop, that is why the run ended.
        is_stopped = run.stop_reason or isinstance(error, asyncio.CancelledError)
        return failure(run, stop_error(run) if is_stopped else error, processor)


def stop_error(run: Run) -> Exception:
    """What ended a run that was cancelled."""
    match run.stop_reason:
        case "cancelled":
            return Cancelled("cancelled while it ran")
        case "timeout":
            return TimedOut(f"the run took longer than {run.limit_ms} ms")
    return RuntimeError("the handler was cancelled from within")


async def _perform(run: Run, job: Job, processor: Processor) -> Any:
    args = (job,) if run.context is None else (job, run.context)
    if b'"timeout":' not in job.body or (limit_ms := job.opts.get("timeout")) is None:
        # The worker looks once a second for runs beyond the limit of the queue.
        return await processor.handle(*args)
    run.limit_ms = int(limit_ms)
    if not run.limit_ms:
        return await processor.handle(*args)
    run.task = run.task or asyncio.current_task()
    timer = asyncio.get_running_loop().call_later(run.limit_ms / 1000, run.stop, "timeout")
    try:
        return await processor.handle(*args)
    finally:
        timer.cancel()


def validate(job: Job, processor: Processor) -> None:
    """Make the payload of the model of its queue: the job may have been written by hand. Raises
    Reject."""
    model = processor.spec.payload
    if model is None:
        return
    try:
        job.validate(model)
    except ValidationError as error:
        raise Reject(f"data{first_fault(error)}", code="invalid_payload") from None


def _encode(result: Any) -> bytes:
    try:
        return encode_value(result, PAYLOAD_BYTES)
    except InvalidValue as error:
        message = f"the handler's result cannot be stored: {error}"
        raise Reject(message, code="invalid_result") from None


def failure(run: Run, error: BaseException, processor: Processor) -> Outcome:
    job, at_ms = run.claim.job, run.claim.job.claimed_ms + run.elapsed_ms
    chance = jitter_chance(job.ref, job.attempts_made + 1)
    try:
        return decide(job, error, processor.spec, at_ms, chance)
    except Exception as fault:
        logger.warning("[%s] job %s: its error is unreadable", job.queue, job.id, exc_info=fault)
        return Failed(unknown_failure(job))
