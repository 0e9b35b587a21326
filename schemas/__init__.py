"""What everyone agrees on: jobs, options, queues. Imports nothing of ours."""

from schemas.job import (
    DEFAULTS,
    AttemptError,
    Backoff,
    JobOptions,
    JobPriority,
    JobView,
    KeepFor,
    State,
)
from schemas.spec import CallbackEvents, Limiter, QueueSpec, Retention, catalog

__all__ = [
    "DEFAULTS",
    "AttemptError",
    "Backoff",
    "CallbackEvents",
    "JobOptions",
    "JobPriority",
    "JobView",
    "KeepFor",
    "Limiter",
    "QueueSpec",
    "Retention",
    "State",
    "catalog",
]
