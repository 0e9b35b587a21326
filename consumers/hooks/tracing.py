"""OpenTelemetry spans of a worker: how long each job waited, and each of its runs.

Names and attributes follow OpenTelemetry's conventions for messaging. A span carries ids, names and
numbers: never a payload, a result or an error's message. Only the doorstep imports this file, when
tracing is on.
"""

import time

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from consumers.events import (
    JobCompleted,
    JobFailed,
    JobLost,
    JobReleased,
    JobRetried,
    Started,
)
from consumers.tracing import CURRENT, came_with
from consumers.worker import Worker
from schemas.job import code_of
from streams import Job

SYSTEM = "credstream"
_PROPAGATOR = TraceContextTextMapPropagator()
Attributes = dict[str, str | int]


class JobSpans:
    """Tells the spans of one worker to `tracer`."""

    def __init__(self, worker: Worker, tracer: Tracer) -> None:
        self._queue = worker.spec.name
        self._tracer = tracer
        self._running: dict[int, tuple[Job, Span]] = {}
        """By the identity of the job, which its entry keeps."""

    def started(self, event: Started) -> None:
        """Called in the task that runs the handler, whose context this changes."""
        job = event.job
        known = came_with(job)
        parent = _PROPAGATOR.extract({"traceparent": known} if known else {}, Context())
        attributes = self._attributes(job)
        now_ns = time.time_ns()
        span = self._tracer.start_span(
            f"process {self._queue}",
            parent,
            SpanKind.CONSUMER,
            attributes
            | {
                "messaging.operation.type": "process",
                "messaging.operation.name": "process",
                "credstream.job.attempt": job.attempts_made + 1,
                "credstream.job.waited_ms": event.waited_ms,
            },
            start_time=now_ns,
        )
        # Of a trace that is not sampled, the second span would be made for nothing.
        if known and span.is_recording():
            began_ns = now_ns - event.waited_ms * 1_000_000
            waiting = self._tracer.start_span(
                f"wait {self._queue}", parent, attributes=attributes, start_time=began_ns
            )
            waiting.end(now_ns)
        here = trace.set_span_in_context(span, Context())
        context.attach(here)
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, here)
        CURRENT.set(carrier.get("traceparent"))
        self._running[id(job)] = (job, span)

    def completed(self, event: JobCompleted) -> None:
        self._end(event.job, "completed")

    def retried(self, event: JobRetried) -> None:
        if event.error["reason"] == "later":
            self._end(event.job, "later")
        else:
            self._end(event.job, "retried", code_of(event.error))

    def failed(self, event: JobFailed) -> None:
        self._end(event.job, "failed", code_of(event.error))

    def released(self, event: JobReleased) -> None:
        self._end(event.job, "released")

    def lost(self, event: JobLost) -> None:
        self._end(event.job, "lost", "lost")

    def _attributes(self, job: Job) -> Attributes:
        return {
            "messaging.system": SYSTEM,
            "messaging.destination.name": self._queue,
            "messaging.message.id": job.id,
        }

    def _end(self, job: Job, outcome: str, error_type: str = "") -> None:
        _, span = self._running.pop(id(job), (None, None))
        if span is None:  # given back before it began
            return
        span.set_attribute("credstream.job.outcome", outcome)
        if error_type:
            span.set_attribute("error.type", error_type)
            span.set_status(Status(StatusCode.ERROR))
        span.end()


def attach(worker: Worker, tracer: Tracer) -> JobSpans:
    """Tell the spans of a worker's jobs from now on."""
    spans = JobSpans(worker, tracer)
    for kind, hook in (
        (Started, spans.started),
        (JobCompleted, spans.completed),
        (JobRetried, spans.retried),
        (JobFailed, spans.failed),
        (JobReleased, spans.released),
        (JobLost, spans.lost),
    ):
        worker.hooks.listen(kind, hook)
    return spans
