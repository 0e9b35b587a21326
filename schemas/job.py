"""What a job is, as everyone outside the engine sees it.

Wire names are camelCase (the names BullMQ users know); Python names are snake_case.
"""

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)
from pydantic.alias_generators import to_camel

from schemas.fields import Traceparent, WebUrl
from schemas.identity import DERIVED, INSIDE_MAX_CHARS
from schemas.plain_words import worded

MAX_DELAY_MS = 10 * 365 * 24 * 3600 * 1000
MAX_ATTEMPTS = 1_000


def _free(job_id: str) -> str:
    if job_id in (".", ".."):
        raise ValueError("no URL reaches a job of this name")
    if job_id.startswith(DERIVED):
        raise ValueError(f"must not begin with {DERIVED}: Credstream makes such ids itself")
    return job_id


JobId = Annotated[
    str,
    StringConstraints(
        min_length=1,
        max_length=128,
        pattern=worded(r"^[!-~]+\z", "must be printable ASCII without spaces"),
        strict=True,
    ),
    AfterValidator(_free),
    Field(json_schema_extra={"pattern": r"^[!-}][!-~]*$"}),
]
"""A job id that a submitter chooses: 1..128 printable ASCII characters without spaces; not `.` or
`..`, and not beginning with `~`."""

KnownJobId = Annotated[
    str,
    StringConstraints(min_length=1, max_length=INSIDE_MAX_CHARS, pattern=r"^[!-~]+\z", strict=True),
]
"""The id of a job that exists, as answers show it (`id`, or `ref`)."""

QueueName = Annotated[
    str,
    StringConstraints(
        max_length=64,
        pattern=worded(
            r"^[a-z0-9][a-z0-9_-]*\z",
            "must consist of a-z, 0-9, _ and -, the first a letter or digit",
        ),
        strict=True,
    ),
]


class State(StrEnum):
    """Where a job lies. `paused` is a property of a queue, never of a job."""

    WAITING = "waiting"
    """In a lane, not yet taken by a worker."""
    ACTIVE = "active"
    """Taken by exactly one worker that keeps renewing its lease."""
    COMPLETED = "completed"
    """Ended with a result."""
    FAILED = "failed"
    """Ended without one: the job lies in the dead-letter stream of its queue."""
    DELAYED = "delayed"
    """Not due yet: submitted with a delay, or waiting out a backoff."""


class JobPriority(IntEnum):
    """Lower runs first; equal priorities run in the order they came."""

    CRITICAL = 0
    HIGH = 1
    NORMAL = 5
    LOW = 10


class Wire(BaseModel):
    """A closed camelCase model: an unknown member is an error, not a guess."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True
    )


def _strict_int(value: Any) -> Any:
    """True is not 1 and "5" is not 5; 5.0 is the integer 5 (JSON has one number type)."""
    if isinstance(value, bool | str):
        raise ValueError("must be an integer")
    return value


def _strict_number(value: Any) -> Any:
    if isinstance(value, bool | str):
        raise ValueError("must be a number")
    return value


Integer = Annotated[int, BeforeValidator(_strict_int)]
Number = Annotated[float, BeforeValidator(_strict_number)]


class Backoff(Wire):
    """How long a failed attempt waits before the next one.

    `exponential` waits delay, 2*delay, 4*delay ...; `fixed` always delay; `durable` 5 s, 5 min,
    30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h, for which ten attempts are the default. `jitter`
    (0..1) only lengthens a wait, by at most that fraction; `max` caps the wait before jitter.
    Milliseconds.
    """

    type: Literal["fixed", "exponential", "durable"] = "exponential"
    delay: Annotated[Integer, Field(ge=0, le=MAX_DELAY_MS)] = 2_000
    jitter: Annotated[Number, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    max: Annotated[Integer, Field(ge=0, le=MAX_DELAY_MS)] | None = None


class KeepFor(Wire):
    """A retention age of a job's own, in seconds (as in BullMQ's `{age}`)."""

    age: Annotated[Integer, Field(ge=1, le=MAX_DELAY_MS // 1000)]


def _plain_number_is_a_fixed_delay(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return {"type": "fixed", "delay": value}
    return value


Flag = Annotated[bool, Field(strict=True)]
"""true or false; 1 is not true."""


class KeepCount(Wire):
    """BullMQ's `{count, age?}`: keep the last `count` ended jobs, none older than `age` seconds."""

    count: Annotated[Integer, Field(ge=0, le=2**31 - 1)]
    age: Annotated[Integer, Field(ge=1, le=MAX_DELAY_MS // 1000)] | None = None


def _keep_by_count(value: Any) -> Any:
    """A count of 0 keeps nothing. Any other leaves the count to the queue's retention: jobs of
    others lie in the queue, too, and nobody removes these."""
    is_count = isinstance(value, int | float) and not isinstance(value, bool)
    if is_count or (isinstance(value, dict) and "count" in value):
        kept = KeepCount.model_validate({"count": value} if is_count else value)
        age = None if kept.age is None else KeepFor(age=kept.age)
        return True if kept.count == 0 else age
    return value


Keep = Annotated[
    Flag | KeepFor | None,
    BeforeValidator(
        _keep_by_count,
        json_schema_input_type=Flag | KeepFor | KeepCount | Annotated[int, Field(ge=0)] | None,
    ),
]
"""true: not kept. false: kept without limit. {age}: kept that many seconds. A number or {count}: as
many as the queue keeps of all jobs, or none for 0."""


BackoffOrDelay = Annotated[
    Backoff,
    BeforeValidator(
        _plain_number_is_a_fixed_delay,
        json_schema_input_type=Backoff | Annotated[int, Field(ge=0, le=MAX_DELAY_MS)],
    ),
]


class JobOptions(Wire):
    """What a submitter may say about one job. None means: the queue's default decides."""

    priority: Annotated[Integer, Field(ge=0, le=10)] | None = None
    """0 (CRITICAL) .. 10 (LOW); lower first, FIFO within."""
    delay: Annotated[Integer, Field(ge=0, le=MAX_DELAY_MS)] | None = None
    """Milliseconds before the job may start."""
    attempts: Annotated[Integer, Field(ge=1, le=MAX_ATTEMPTS)] | None = None
    """Tries in total."""
    backoff: BackoffOrDelay | None = None
    """A number is a fixed delay, in ms."""
    timeout: Annotated[Integer, Field(ge=0, le=MAX_DELAY_MS)] | None = None
    """Milliseconds one run may take; 0: no limit. Without it the queue's limit holds."""
    expires: Annotated[Integer, Field(ge=1, le=MAX_DELAY_MS)] | None = None
    """Milliseconds after submission by which a worker must have started it, else it dies."""
    remove_on_complete: Keep = None
    remove_on_fail: Keep = None
    job_id: JobId | None = None
    callback_url: WebUrl | None = None
    traceparent: Traceparent | None = None
    """The W3C trace context this job is part of."""

    def over(self, defaults: Self) -> Self:
        """These options, with what they leave open taken from `defaults`."""
        merged: dict[str, Any] = {}
        for options in (defaults, self):
            given = {name: getattr(options, name) for name in options.model_fields_set}
            merged |= {name: value for name, value in given.items() if value is not None}
        return type(self).model_construct(**merged)


DEFAULTS = JobOptions(priority=JobPriority.NORMAL, delay=0, attempts=3, backoff=Backoff())
"""What holds where neither the job nor its queue says anything."""


def code_of(error: Mapping[str, Any]) -> str:
    """What a failed attempt is sorted by: the code its handler gave, else the reason.

    `error` is an item of a job's history; of one that cannot be read nothing is known but that it
    failed."""
    return str(error.get("code") or error.get("reason") or "failed")


class AttemptError(BaseModel):
    """One failed attempt, as kept in a job's history."""

    model_config = ConfigDict(extra="allow")

    attempt: int
    reason: str
    """failed | rejected | timeout | stalled | expired | cancelled | callback | invalid"""
    message: str = ""
    at: int = 0
    """Epoch milliseconds, by the clock of Redis."""
    code: str | None = None
    """A stable word the handler gave its refusal."""
    worker: str | None = None


class JobView(BaseModel):
    """A job as HTTP clients see it: BullMQ's field names plus `state` and `queue`.

    Times are epoch milliseconds by the clock of Redis; None where it has not happened.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    id: str
    ref: str | None = None
    """The id inside Redis, which no two jobs of a queue share; for the platform only."""
    organization_id: str | None = None
    """Whose job it is; for the platform only."""
    name: str
    queue: str
    state: State
    data: Any
    opts: dict[str, Any]
    progress: Any = None
    attempts_made: int = 0
    attempts_started: int = 0
    stalled_count: int = 0
    timestamp: int
    processed_on: int | None = None
    finished_on: int | None = None
    delay_until: int | None = None
    """When a delayed job becomes due."""
    returnvalue: Any = None
    failed_reason: str | None = None
    errors: list[AttemptError] = []
