"""Which trace a running job belongs to, for the requests that are made for it."""

from contextvars import ContextVar

from schemas.fields import is_traceparent
from streams import Job

CURRENT: ContextVar[str | None] = ContextVar("traceparent", default=None)
"""The span of the run, as a W3C traceparent; None where nobody traces."""


def came_with(job: Job) -> str | None:
    """The W3C trace context that was stored with a job."""
    if b'"traceparent":' not in job.body:
        return None
    there = job.opts.get("traceparent")
    return there if isinstance(there, str) and is_traceparent(there) else None


def traceparent_of(job: Job) -> str | None:
    """The W3C trace context for a request made by the run of a job: that of the run's own span,
    else the one the job came with; None when it came with none."""
    return CURRENT.get() or came_with(job)
