"""What becomes of a job: a value. `decide` is pure and table-tested."""

from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import ValidationError

from consumers.processor import Reject, Retry, RetryLater
from schemas.fields import first_fault
from schemas.spec import QueueSpec
from streams import Job
from streams.backoff import delay_ms
from streams.claims import Claim, Ending
from streams.errors import Unavailable
from streams.options import backoff_of

MESSAGE_CHARS = 2_000
HISTORY_ITEMS = 20
DOUBLINGS = 6


class TimedOut(Exception):
    """The run took longer than the job's `timeout`."""


class Cancelled(Exception):
    """Someone cancelled the job while it ran."""


@dataclass(frozen=True, slots=True)
class Completed:
    result: bytes
    """JSON."""


@dataclass(frozen=True, slots=True)
class Retried:
    delay_ms: int
    error: dict[str, Any]
    charged: bool = True


@dataclass(frozen=True, slots=True)
class Failed:
    error: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Released:
    """Given back unharmed: the worker is stopping."""


Outcome = Completed | Retried | Failed | Released


def describe(job: Job, error: BaseException, at_ms: int) -> dict[str, Any]:
    """One item of a job's error history (schemas.AttemptError)."""
    reasons = {Reject: "rejected", TimedOut: "timeout", Cancelled: "cancelled", RetryLater: "later"}
    item: dict[str, Any] = {
        "attempt": job.attempts_made + 1,
        "reason": reasons.get(type(error), "failed"),
        "message": _words(error)[:MESSAGE_CHARS],
        "at": at_ms,
        "started": job.claimed_ms,
    }
    if isinstance(error, Reject | Retry):
        item["code"] = error.code
    elif item["reason"] == "failed":
        item["code"] = type(error).__name__
    return item


def _words(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        # pydantic's own words quote the value, which is nobody's business in a log.
        return f"data{first_fault(error)}"
    return str(error) or type(error).__name__


def decide(
    job: Job, error: BaseException, spec: QueueSpec, at_ms: int, chance: float = 0.0
) -> Retried | Failed:
    """Retry with backoff while attempts are left; Reject and Cancelled end the job; RetryLater
    waits without charging, at most `spec.max_starts` times; so does a job that needed Redis when it
    was away or full, longer each time. `chance` in 0..1 places the jitter."""
    if isinstance(error, Unavailable):
        times = min(job.attempts_started - job.attempts_made, DOUBLINGS) - 1
        error = RetryLater(error.retry_after_ms << max(times, 0), str(error))
    item = describe(job, error, at_ms)
    if isinstance(error, RetryLater):
        if job.attempts_started - job.attempts_made > spec.max_starts:
            item["message"] = f"put off {spec.max_starts} times: {item['message']}"
            return Failed(item)
        return Retried(error.after_ms, item, charged=False)
    if isinstance(error, Reject | Cancelled) or job.attempts_made + 1 >= job.attempts:
        return Failed(item)
    backoff = delay_ms(backoff_of(job.opts), job.attempts_made + 1, chance)
    return Retried(max(backoff, error.after_ms if isinstance(error, Retry) else 0), item)


def ending(claim: Claim, outcome: Outcome) -> Ending:
    """An outcome as the engine takes it."""
    match outcome:
        case Completed(result):
            return Ending(claim, "complete", result=result)
        case Retried(delay, error, charged):
            return Ending(
                claim, "retry", history=_with(claim, error), delay_ms=delay, charged=charged
            )
        case Failed(error):
            return Ending(claim, "fail", history=_with(claim, error))
        case Released():
            return Ending(claim, "release")


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
