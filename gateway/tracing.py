"""The place where a request's trace is told, and what submissions store of it.

Nothing here imports OpenTelemetry: a gateway without tracing pays for one context variable a
submission. `gateway.spans` is what the doorstep installs when tracing is on.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from types import TracebackType
from typing import Protocol, Self

from aiohttp import web
from aiohttp.typedefs import Middleware

from schemas.fields import is_traceparent


class Submission(Protocol):
    """Jobs on their way into a queue."""

    trace: str | None
    """The W3C trace context that is stored with those jobs that name none of their own."""

    def stored(self, ids: Sequence[str]) -> None:
        """They are in the queue, under these ids."""


class Tracing(Protocol):
    """Who tells the spans of a gateway."""

    def middleware(self) -> Middleware:
        """The outermost one; inside it `CURRENT` is this object."""

    def submission(
        self, queue: str, count: int, named: Sequence[str]
    ) -> AbstractContextManager[Submission]:
        """`count` jobs are about to be added; `named`: the trace contexts that some name."""


CURRENT: ContextVar[Tracing | None] = ContextVar("tracing", default=None)


class Untraced:
    """A submission nobody tells of: its jobs belong to the trace of the request."""

    __slots__ = ("trace",)

    def __init__(self, trace: str | None) -> None:
        self.trace = trace

    def stored(self, ids: Sequence[str]) -> None:
        """Nobody wants to know."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to end."""


def submitting(
    trace: str | None, queue: str, named: Sequence[str | None]
) -> AbstractContextManager[Submission]:
    """For the time it takes to add jobs; `named`: for each the trace context of its own."""
    tracing = CURRENT.get()
    if tracing is None:
        return Untraced(trace)
    return tracing.submission(queue, len(named), [one for one in named if one])


def trace_of(traceparent: str | None) -> str | None:
    """The W3C trace context a request belongs to; a malformed one is ignored, as W3C says."""
    return traceparent if traceparent is not None and is_traceparent(traceparent) else None


def install(app: web.Application, tracing: Tracing) -> None:
    """Tell the spans of `app` from now on. Before it starts."""
    app.middlewares.insert(0, tracing.middleware())
