"""Spans reach a collector by both of OTLP's protocols, each as its real exporter speaks it."""

import gzip
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service

from credstream import telemetry
from credstream.telemetry import tracing

Requests = list[messages.ExportTraceServiceRequest]


@contextmanager
def over_http(got: Requests, answers: Event | None = None) -> Iterator[str]:
    """A collector on a port of its own -> its endpoint."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if self.path == "/v1/traces":
                got.append(messages.ExportTraceServiceRequest.FromString(body))
            if answers is not None:
                answers.wait(60)
            self.send_response(200 if self.path == "/v1/traces" else 404)
            self.end_headers()

        def log_request(self, *_: Any) -> None:
            """Not into the tests' output."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@contextmanager
def over_grpc(got: Requests) -> Iterator[str]:
    """A collector on a port of its own -> its endpoint."""

    class Collector(service.TraceServiceServicer):
        def Export(self, request: Any, _: Any) -> Any:  # noqa: N802 - gRPC calls it so
            got.append(request)
            return messages.ExportTraceServiceResponse()

    server = grpc.server(ThreadPoolExecutor(1))
    service.add_TraceServiceServicer_to_server(Collector(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.mark.parametrize(
    ("protocol", "collector"), [("http/protobuf", over_http), ("grpc", over_grpc)]
)
def test_a_span_reaches_the_collector_before_the_process_ends(
    protocol: str, collector: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    got: Requests = []
    with collector(got) as endpoint:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        with tracing("worker") as tracer:
            assert tracer is not None
            with tracer.start_as_current_span("process vc-issuance"):
                pass
    (resource,) = (one for request in got for one in request.resource_spans)
    named = {item.key: item.value.string_value for item in resource.resource.attributes}
    assert named["service.name"] == "credstream-worker"
    assert [span.name for scope in resource.scope_spans for span in scope.spans] == [
        "process vc-issuance"
    ]


def test_a_collector_that_does_not_answer_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A pod has its grace period for jobs and requests, not for spans."""
    monkeypatch.setattr(telemetry, "LAST_SPANS_S", 0.2)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
    got: Requests = []
    answers = Event()
    with over_http(got, answers) as endpoint:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        with tracing("worker") as tracer:
            assert tracer is not None
            tracer.start_span("process vc-issuance").end()
        assert not answers.is_set()
        assert "the last spans are lost" in caplog.text
        answers.set()
