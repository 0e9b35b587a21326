"""A queue's specification, and the catalogue of those the product ships."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel

from schemas.job import JobOptions

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
PAYLOAD_TOO_LARGE = "payload_too_large"
"""The type of a payload model's validation error that HTTP clients get as 413, not 422."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long a queue keeps ended jobs. None means without that limit."""

    completed_ms: int | None = DAY_MS
    completed_count: int | None = 10_000
    failed_ms: int | None = 7 * DAY_MS
    failed_count: int | None = 100_000


@dataclass(frozen=True, slots=True)
class Limiter:
    """At most `max` starts in any `duration` ms, over all workers of the queue."""

    max: int
    duration: int


@dataclass(frozen=True, slots=True)
class CallbackEvents:
    """The event names a job's callback carries."""

    completed: str
    failed: str


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """What there is to know about a queue. Everything but the name has a default."""

    name: str
    payload: type[BaseModel] | None = None
    """Checked at the door; None accepts any JSON object."""
    result: type[BaseModel] | None = None
    description: str = ""
    defaults: JobOptions = field(default_factory=JobOptions)
    retention: Retention = field(default_factory=Retention)
    limiter: Limiter | None = None
    concurrency: int | None = None
    """Most jobs active at once over all workers; None: no cap."""
    backlog: int | None = None
    """Most jobs that have not ended: submissions beyond it are refused; None: no cap. Callbacks and
    jobs of internal queues are always taken."""
    lease_ms: int = 30_000
    """A worker silent for this long has lost its jobs."""
    timeout_ms: int | None = 15 * 60_000
    """How long one run of a job may take that has no `timeout` of its own; None or 0: no limit."""
    max_stalls: int = 3
    """A job whose workers died this often, the last time while it ran alone, is a poison job and
    goes to the dead letters. Less than 3 counts as 3."""
    max_starts: int = 100
    """Bound on RetryLater: starts of one job that were not charged as attempts."""
    sealed: Literal["never", "available", "always"] = "never"
    """Whether payloads and results are sealed in Redis: never; where the process has a ring of
    key-encryption keys for data; always, and refused where it has none."""
    events: Callable[[Mapping[str, Any]], CallbackEvents] | None = None
    """Payload -> event names of its callbacks; None: `<queue>.completed` / `<queue>.failed`."""
    scheduled: bool = False
    """Organizations choose how failed jobs are tried again that do not say it themselves."""
    internal: bool = False
    """Only Credstream and the platform submit to it; for organizations there is no such queue."""
    callback_members: tuple[str, ...] | None = None
    """The callback of a completed job is `event` and these members of its result, in this order,
    and nothing else; None: what `consumers.relay` says of other queues."""


@cache
def catalog() -> Mapping[str, QueueSpec]:
    """Every spec found in `schemas/queues/`, by queue name, in file order."""
    package = importlib.import_module("schemas.queues")
    modules = sorted(info.name for info in pkgutil.iter_modules(package.__path__))
    specs = [importlib.import_module(f"schemas.queues.{name}").SPEC for name in modules]
    return {spec.name: spec for spec in specs}
