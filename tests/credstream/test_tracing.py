"""Traces over a whole stack: a gateway, workers, a webhook, and the SDK's exporter in memory."""

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientSession
from deliveries import data
from gate import ended
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, Tracer, format_span_id, format_trace_id
from processes import until
from receivers import open_settings, receiver, reply
from working import destinations

from consumers import Worker
from consumers.delivery.send import Delivery
from consumers.delivery.settings import DeliverySettings
from consumers.hooks.tracing import attach
from consumers.processor import Reject
from consumers.processors.webhooks import PROCESSOR as WEBHOOKS
from credstream.sentences import WrongUsage
from credstream.telemetry import TelemetrySettings, tracing
from gateway.app import create_app
from gateway.server import listening
from gateway.settings import GatewaySettings
from gateway.spans import Spans
from gateway.tracing import install
from outbound.client import open_client
from schemas.job import State
from streams import Job, Queue, Redis
from tests.gateway.samples import ISSUANCE

TRACE_ID, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADER = f"00-{TRACE_ID}-{PARENT}-01"
OTHER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
AT_ONCE = {"backoff": {"type": "fixed", "delay": 0}}
JOBS = "/queue/vc-issuance/jobs"


@pytest.fixture
def told() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(told: InMemorySpanExporter) -> Tracer:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(told))
    return provider.get_tracer("test")


@pytest.fixture
async def http(redis: Redis, tracer: Tracer) -> AsyncIterator[ClientSession]:
    app = create_app(redis, GatewaySettings(host="127.0.0.1", port=0))
    install(app, Spans(tracer))
    async with (
        listening(app) as (_, port),
        ClientSession(f"http://localhost:{port}") as session,
    ):
        yield session


@asynccontextmanager
async def working(redis: Redis, tracer: Tracer, url_told: bool = True) -> AsyncIterator[None]:
    """Workers of vc-issuance, whose first run fails, and of webhooks."""

    async def handle(job: Job) -> dict[str, Any]:
        if job.data["claims"].get("never"):
            raise Reject("a secret of the holder", code="not_allowed")
        if job.attempts_made == 0:
            raise RuntimeError("a secret of the holder")
        return {"credentialId": "urn:x", "vcJwt": "secret", "issuedAt": "2026-01-01T00:00:00Z"}

    async with open_client(open_settings()) as client:
        sender = Worker(WEBHOOKS, redis=redis)
        settings = DeliverySettings(traceparent=url_told)
        sender.state = Delivery(client, destinations(redis), settings)
        issuer = Worker("vc-issuance", handle, redis=redis)
        for worker in (sender, issuer):
            attach(worker, tracer)
        async with sender, issuer:
            yield


def named(told: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    found = [span for span in told.get_finished_spans() if span.name == name]
    return sorted(found, key=lambda span: span.start_time or 0)


def parent_of(span: ReadableSpan) -> str:
    return format_span_id(span.parent.span_id) if span.parent else ""


def id_of(span: ReadableSpan) -> str:
    return format_span_id(span.get_span_context().span_id)


async def test_one_trace_from_the_request_to_the_callback(
    redis: Redis, http: ClientSession, told: InMemorySpanExporter, tracer: Tracer
) -> None:
    async with receiver(reply(200)) as server, working(redis, tracer):
        job = {"data": ISSUANCE, "options": AT_ONCE | {"callbackUrl": server.url}}
        async with http.post(JOBS, json=job, headers={"traceparent": HEADER}) as response:
            job_id = (await response.json())["data"]["id"]
        await until(lambda: named(told, "process webhooks"), within_s=20, what="it was delivered")
    spans = told.get_finished_spans()
    assert {format_trace_id(span.get_span_context().trace_id) for span in spans} == {TRACE_ID}

    (request,) = named(told, "POST /queue/{name}/jobs")
    (added,) = named(told, "add vc-issuance")
    assert (request.kind, parent_of(request)) == (SpanKind.SERVER, PARENT)
    assert request.attributes["http.response.status_code"] == 202
    assert (added.kind, parent_of(added)) == (SpanKind.PRODUCER, id_of(request))
    assert added.attributes["messaging.message.id"] == job_id

    first, second = named(told, "process vc-issuance")
    assert {parent_of(one) for one in (first, second)} == {id_of(added)}
    assert {one.kind for one in (first, second)} == {SpanKind.CONSUMER}
    assert [one.attributes["credstream.job.attempt"] for one in (first, second)] == [1, 2]
    outcomes = [one.attributes["credstream.job.outcome"] for one in (first, second)]
    assert outcomes == ["retried", "completed"]
    assert first.attributes["error.type"] == "RuntimeError"
    assert (first.status.status_code, second.status.status_code) == (
        StatusCode.ERROR,
        StatusCode.UNSET,
    )
    waits = named(told, "wait vc-issuance")
    assert {parent_of(wait) for wait in waits} == {id_of(added)}
    assert [wait.end_time for wait in waits] == [first.start_time, second.start_time]

    (sent,) = server.requests
    (delivered,) = named(told, "process webhooks")
    assert sent.header("traceparent") == f"00-{TRACE_ID}-{id_of(delivered)}-01"
    assert all(b"secret" not in span.to_json().encode() for span in spans)


async def test_many_jobs_are_one_submission_that_links_the_traces_they_name(
    redis: Redis, http: ClientSession, told: InMemorySpanExporter
) -> None:
    own = {"data": ISSUANCE, "options": {"traceparent": OTHER}}
    async with http.post(JOBS, json=[{"data": ISSUANCE}, own]) as response:
        assert response.status == 202
    (added,) = named(told, "add vc-issuance")
    assert added.attributes["messaging.batch.message_count"] == 2
    (link,) = added.links
    assert format_trace_id(link.context.trace_id) == OTHER.split("-")[1]
    stored = await Queue("vc-issuance", redis).page(State.WAITING, 0, 1)
    traces = [job.opts["traceparent"] for job in stored]
    assert OTHER in traces
    ours = format_trace_id(added.get_span_context().trace_id)
    assert sorted(trace.split("-")[2] for trace in traces if trace != OTHER) == [id_of(added)]
    assert ours in "".join(traces)


async def test_a_job_without_a_trace_begins_one_and_a_refusal_says_only_its_code(
    redis: Redis, told: InMemorySpanExporter, tracer: Tracer
) -> None:
    async with working(redis, tracer):
        refused = ISSUANCE | {"claims": {"never": True}}
        job_id = (await Queue("vc-issuance", redis).add("x", refused)).id
        await ended(redis, job_id, "vc-issuance")
    (run,) = told.get_finished_spans()
    assert (run.name, run.parent) == ("process vc-issuance", None)
    assert run.attributes["error.type"] == "not_allowed"
    assert run.status.description is None
    assert "secret" not in run.to_json()


async def test_probes_are_not_told_and_errors_are(
    http: ClientSession, told: InMemorySpanExporter
) -> None:
    for path in ("/livez", "/metrics", "/queue/%00/stats"):
        async with http.get(path) as response:
            await response.read()
    (one,) = told.get_finished_spans()
    assert one.name == "GET /queue/{name}/stats"
    assert one.attributes["http.response.status_code"] == 404


async def test_without_tracing_a_webhook_says_what_its_job_came_with(redis: Redis) -> None:
    async with (
        receiver(reply(200), reply(200)) as server,
        open_client(open_settings()) as client,
    ):
        worker = Worker(WEBHOOKS, redis=redis)
        worker.state = Delivery(client, destinations(redis), DeliverySettings(traceparent=True))
        async with worker:
            queue = Queue("webhooks", redis)
            for options in ({"traceparent": HEADER}, {}):
                await ended(
                    redis, (await queue.add("x", data(server.url), **options)).id, "webhooks"
                )
    assert server.requests[0].header("traceparent") == HEADER
    assert "traceparent" not in server.requests[1].names()


OFF = """
import sys
import redis.asyncio  # it measures by itself, where OpenTelemetry is installed
before = set(sys.modules)
import consumers.run, gateway.run
from credstream.telemetry import tracing
with tracing("gateway") as tracer:
    assert tracer is None
print(sorted(name for name in set(sys.modules) - before if name.startswith("opentelemetry")))
"""


@pytest.mark.parametrize(
    "variables", [{}, {"OTEL_TRACES_EXPORTER": "none"}, {"OTEL_SDK_DISABLED": "true"}]
)
def test_what_is_off_is_not_imported(variables: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OFF], env=variables, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({"OTEL_TRACES_EXPORTER": "otlp, console"}, ["otlp", "console"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, ["otlp"]),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318"}, ["otlp"]),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, []),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}, []),
    ],
)
def test_opentelemetrys_variables_decide(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], wanted: list[str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert TelemetrySettings().exporters == wanted


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_TRACES_EXPORTER": "zipkin"},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
    ],
)
def test_what_nobody_knows_is_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(WrongUsage), tracing("worker"):
        pass


def test_an_exporter_that_is_not_installed_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)
    with tracing("worker") as tracer:
        assert tracer is None
    assert "pip install 'credstream[otel]'" in caplog.text


async def test_spans_are_sent_to_a_collector_before_the_process_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    code = 'from credstream.telemetry import tracing\nwith tracing("worker") as t:\n'
    code += '    t.start_span("hello").end()\n'
    async with receiver(reply(200)) as server:
        done = await _python(code, {"OTEL_EXPORTER_OTLP_ENDPOINT": server.url.rstrip("/")})
    assert done == (0, b"")
    (sent,) = server.requests
    assert sent.line.startswith("POST ")
    assert b"hello" in sent.body
    assert b"credstream-worker" in sent.body


async def _python(code: str, env: dict[str, str]) -> tuple[int | None, bytes]:
    import asyncio

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-c", code),
        env=env,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    return process.returncode, errors
