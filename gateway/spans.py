"""OpenTelemetry spans of a gateway: its requests, and the submissions in them.

Names and attributes follow OpenTelemetry's conventions for HTTP and messaging. A span carries
ids, names and counts: never a payload, a query, a header or an error's message.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from opentelemetry import trace
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gateway.tracing import CURRENT, trace_of

SYSTEM = "credstream"
LINKS_MAX = 128
QUIET = frozenset({"/livez", "/readyz", "/readyz/details", "/metrics", "/internal/scaling/{name}"})
"""Asked every few seconds by machines: nobody looks for them in a trace."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
FAILED = 500
_PROPAGATOR = TraceContextTextMapPropagator()


class Sending:
    """A submission and its span."""

    def __init__(self, span: Span) -> None:
        self._span = span
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, trace.set_span_in_context(span))
        self.trace = carrier.get("traceparent")

    def stored(self, ids: Sequence[str]) -> None:
        """They are in the queue, under these ids."""
        if len(ids) == 1:
            self._span.set_attribute("messaging.message.id", ids[0])


class Spans:
    """Tells the spans of one gateway process to `tracer`."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def middleware(self) -> Middleware:
        """A span for every request, part of the trace that its `traceparent` names."""

        @web.middleware
        async def tell(request: web.Request, handler: Handler) -> web.StreamResponse:
            resource = request.match_info.route.resource
            route = resource.canonical if resource is not None else None
            if route in QUIET:
                return await handler(request)
            parent = trace_of(request.headers.get("traceparent"))
            method = request.method if request.method in METHODS else "_OTHER"
            attributes = {"http.request.method": method}
            if route is not None:
                attributes["http.route"] = route
            with self._tracer.start_as_current_span(
                f"{method} {route}" if route else method,
                _PROPAGATOR.extract({"traceparent": parent} if parent else {}),
                SpanKind.SERVER,
                attributes,
                record_exception=False,
                set_status_on_exception=False,
            ) as span:
                token = CURRENT.set(self)
                try:
                    response = await handler(request)
                finally:
                    CURRENT.reset(token)
                span.set_attribute("http.response.status_code", response.status)
                if response.status >= FAILED:
                    span.set_status(Status(StatusCode.ERROR))
                return response

        return tell

    @contextmanager
    def submission(self, queue: str, count: int, named: Sequence[str]) -> Iterator[Sending]:
        """A producer's span. Jobs that name a trace context of their own stay with it and are
        linked."""
        attributes: dict[str, str | int] = {
            "messaging.system": SYSTEM,
            "messaging.destination.name": queue,
            "messaging.operation.type": "send",
            "messaging.operation.name": "add",
        }
        if count > 1:
            attributes["messaging.batch.message_count"] = count
        with self._tracer.start_as_current_span(
            f"add {queue}",
            kind=SpanKind.PRODUCER,
            attributes=attributes,
            links=_links(named),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield Sending(span)
            except Exception as error:
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(Status(StatusCode.ERROR))
                raise


def _links(named: Sequence[str]) -> list[Link]:
    """Each trace context once, as many as a span may link."""
    contexts = [
        trace.get_current_span(_PROPAGATOR.extract({"traceparent": one})).get_span_context()
        for one in list(dict.fromkeys(named))[:LINKS_MAX]
    ]
    return [Link(context) for context in contexts if context.is_valid]
