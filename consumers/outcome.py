"""What becomes of a job: a value. `decide` is pure and table-tested."""

from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import ValidationError

from consumers.processor import Reject, Retry, RetryLater, wait_ms
from schemas.fields import first_fault
from schemas.spec import QueueSpec
from streams import Job
from streams.backoff import delay_ms
from streams.claims import Claim, Ending
from streams.endings import Gate
from streams.errors import Unavailable
from streams.options import backoff_of
from streams.sanitize import clean_text

MESSAGE_CHARS = 2_000
CODE_CHARS = 128
HISTORY_ITEMS = 20
UNKNOWN_WAIT_MS = 1_000
"""For a RetryLater that does not tell how long."""
DOUBLINGS = 6


class TimedOut(Exception):
    """The run took longer than the job's `timeout`."""


class Cancelled(Exception):
    """Someone cancelled the job while it ran."""


REASONS: dict[type[BaseException], str] = {
    Reject: "rejected",
    TimedOut: "timeout",
    Cancelled: "cancelled",
    RetryLater: "later",
}


@dataclass(frozen=True, slots=True)
class Completed:
    result: bytes
    """JSON."""


@dataclass(frozen=True, slots=True)
class Retried:
    delay_ms: int
    error: dict[str, Any]
    charged: bool = True
    gate: Gate | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    error: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Released:
    """Given back unharmed: the worker is stopping."""


Outcome = Completed | Retried | Failed | Released


def describe(job: Job, error: BaseException, at_ms: int) -> dict[str, Any]:
    """One item of a job's error history (schemas.AttemptError)."""
    reason = next((word for kind, word in REASONS.items() if isinstance(error, kind)), "failed")
    item: dict[str, Any] = {
        "attempt": job.attempts_made + 1,
        "reason": reason,
        "message": _message(error),
        "at": at_ms,
        "started": job.claimed_ms,
    }
    if reason in ("rejected", "failed"):
        item["code"] = _code(error, reason)
    return item


def _message(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        # pydantic quotes the value, which must not appear in a log.
        error = ValueError(f"data{first_fault(error)}")
    return clean_text(error, MESSAGE_CHARS) or type(error).__name__


def _code(error: BaseException, default: str) -> str:
    """The code that a handler gave its error, else the name of the error's class."""
    if not isinstance(error, Reject | Retry):
        return clean_text(type(error).__name__, CODE_CHARS)
    return clean_text(getattr(error, "code", default), CODE_CHARS) or default


def _cause(error: BaseException) -> BaseException:
    """The only error of a group (a TaskGroup wraps even one), else the error itself."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _asked_ms(error: Retry | RetryLater, default: int) -> int:
    """The wait that an error asks for; `default` if a subclass or a handler has damaged it."""
    try:
        return wait_ms(error.after_ms)
    except (AttributeError, TypeError, ValueError):
        return default


def decide(
    job: Job, error: BaseException, spec: QueueSpec, at_ms: int, chance: float = 0.0
) -> Retried | Failed:
    """Retry with backoff while attempts are left; Reject and Cancelled end the job; RetryLater
    waits without charging, at most `spec.max_starts` times; so does a job that needed Redis when it
    was away or full, longer each time. `chance` in 0..1 places the jitter."""
    error = _cause(error)
    if isinstance(error, Unavailable):
        times = min(job.attempts_started - job.attempts_made, DOUBLINGS) - 1
        error = RetryLater(error.retry_after_ms << max(times, 0), _message(error))
    item = describe(job, error, at_ms)
    if isinstance(error, RetryLater):
        if job.attempts_started - job.attempts_made > spec.max_starts:
            item["message"] = f"put off {spec.max_starts} times: {item['message']}"
            return Failed(item)
        gate = getattr(error, "gate", None)
        return Retried(_asked_ms(error, UNKNOWN_WAIT_MS), item, charged=False, gate=gate)
    if isinstance(error, Reject | Cancelled) or job.attempts_made + 1 >= job.attempts:
        return Failed(item)
    backoff = delay_ms(backoff_of(job.opts), job.attempts_made + 1, chance)
    return Retried(max(backoff, _asked_ms(error, 0) if isinstance(error, Retry) else 0), item)


def ending(claim: Claim, outcome: Outcome) -> Ending:
    """An outcome as the engine takes it."""
    match outcome:
        case Completed(result):
            return Ending(claim, "complete", result=result)
        case Retried(delay, error, charged, gate):
            history = _with(claim, error)
            return Ending(
                claim, "retry", history=history, delay_ms=delay, charged=charged, gate=gate
            )
        case Failed(error):
            return Ending(claim, "fail", history=_with(claim, error))
        case Released():
            return Ending(claim, "release")


def unknown_failure(job: Job) -> dict[str, Any]:
    """The error of a job whose real outcome cannot be stored."""
    return {
        "attempt": job.attempts_made + 1,
        "reason": "failed",
        "message": "the outcome of the job could not be stored; see the worker's log",
        "code": "outcome_not_storable",
        "at": job.claimed_ms,
        "started": job.claimed_ms,
    }


def last_resort(claim: Claim) -> Ending:
    """An ending that can always be encoded, for a job whose own outcome cannot be stored."""
    return Ending(claim, "fail", history=orjson.dumps([unknown_failure(claim.job)]))


def _with(claim: Claim, error: dict[str, Any]) -> bytes:
    """The history with one more item: the first and the last ones, when there are too many.

    Of a job put off again and again only the last time is kept: its real errors stay."""
    items = orjson.loads(claim.history) if claim.history else []
    if items and items[-1].get("reason") == error.get("reason") == "later":
        items.pop()
    items.append(error)
    if len(items) > HISTORY_ITEMS:
        items = [items[0], *items[1 - HISTORY_ITEMS :]]
    return orjson.dumps(items)
