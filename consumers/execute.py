"""Runs one claim and says what becomes of it. Knows no Redis.

load -> validate -> perform within the time limit -> encode; whatever goes wrong is decided in one
place.
"""

import asyncio
import logging
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
    """One claim being executed. `stop` tells why its task is about to be cancelled."""

    __slots__ = ("claim", "context", "started", "stop_reason", "task")

    def __init__(self, claim: Claim, context: Context | None) -> None:
        self.claim = claim
        self.context = context
        self.started = time.monotonic()
        self.stop_reason = ""
        self.task: asyncio.Task[None] | None = None

    def stop(self, reason: str) -> None:
        """Cancel the handler: `lost`, `cancelled` or `released`."""
        self.stop_reason = self.stop_reason or reason
        if self.context is not None and reason != "released":
            self.context.cancelled.set()
        if self.task is not None:
            self.task.cancel()

    @property
    def elapsed_ms(self) -> int:
        return int((time.monotonic() - self.started) * 1000)


async def execute(run: Run, processor: Processor, load: Load) -> Outcome:
    """The outcome of a claim. Never raises, but for a cancellation nobody asked it for."""
    job = run.claim.job
    try:
        if "B" in job.header.flags:
            job = await load(job)
        _validate(job, processor)
        result = await _perform(run, job, processor)
        return Completed(_encode(result))
    except asyncio.CancelledError:
        match run.stop_reason:
            case "released" | "lost":
                return Released()
            case "cancelled":
                return _failure(run, Cancelled("cancelled while it ran"), processor)
        return _failure(run, RuntimeError("the handler was cancelled from within"), processor)
    except BaseException as error:
        # Also SystemExit and KeyboardInterrupt: in a task they would end the worker.
        if isinstance(error, GeneratorExit) and run.stop_reason == "lost":
            raise  # not the handler's: the coroutine of a run that was given up is closed
        return _failure(run, error, processor)


async def _perform(run: Run, job: Job, processor: Processor) -> Any:
    args = (job,) if run.context is None else (job, run.context)
    if b'"timeout":' not in job.body or not (limit_ms := job.opts.get("timeout")):
        return await processor.handle(*args)
    scope = asyncio.timeout(limit_ms / 1000)
    try:
        async with scope:
            return await processor.handle(*args)
    except TimeoutError:
        if scope.expired():
            raise TimedOut(f"the run took longer than {limit_ms} ms") from None
        raise


def _validate(job: Job, processor: Processor) -> None:
    """A job may have been written by another version, or by hand."""
    model = processor.spec.payload
    if model is None:
        return
    try:
        model.model_validate(job.data)
    except ValidationError as error:
        raise Reject(f"data{first_fault(error)}", code="invalid_payload") from None


def _encode(result: Any) -> bytes:
    try:
        return encode_value(result, PAYLOAD_BYTES)
    except InvalidValue as error:
        message = f"the handler's result cannot be stored: {error}"
        raise Reject(message, code="invalid_result") from None


def _failure(run: Run, error: BaseException, processor: Processor) -> Outcome:
    job, at_ms = run.claim.job, run.claim.job.claimed_ms + run.elapsed_ms
    chance = jitter_chance(job.id, job.attempts_made + 1)
    try:
        return decide(job, error, processor.spec, at_ms, chance)
    except Exception as fault:
        logger.warning("[%s] job %s: its error is unreadable", job.queue, job.id, exc_info=fault)
        return Failed(unknown_failure(job))
