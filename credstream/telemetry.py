"""OpenTelemetry tracing of a process, by the environment variables OpenTelemetry defines.

It is on when OTEL_TRACES_EXPORTER names an exporter, or when it is not set and an OTLP endpoint is.
Nothing of OpenTelemetry is imported while it is off.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING, Any

from pydantic_settings import BaseSettings, SettingsConfigDict

from credstream.sentences import WrongUsage
from schemas.release import version

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

logger = logging.getLogger(__name__)

INSTALL = "pip install 'credstream[otel]'"
LAST_SPANS_S = 3.0
"""What a process that ends waits for its last spans: a collector that does not answer must not cost
it the grace period of its pod."""
PROTOCOLS = ("http/protobuf", "grpc")


class TelemetrySettings(BaseSettings):
    """Those of OpenTelemetry's variables that decide whether there are spans, and where they go.

    The SDK itself reads the others: OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES,
    OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS, OTEL_BSP_* and so on.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    otel_sdk_disabled: bool = False
    otel_traces_exporter: str = ""
    """otlp, console or none; several with commas between."""
    otel_exporter_otlp_endpoint: str = ""
    otel_exporter_otlp_traces_endpoint: str = ""
    otel_exporter_otlp_protocol: str = "http/protobuf"
    otel_exporter_otlp_traces_protocol: str = ""
    otel_service_name: str = ""

    @property
    def exporters(self) -> list[str]:
        """The names of those wanted; none: no tracing. Raises WrongUsage for an unknown one."""
        if self.otel_sdk_disabled:
            return []
        named = [name.strip() for name in self.otel_traces_exporter.split(",") if name.strip()]
        if not self.otel_traces_exporter.strip():
            has_endpoint = self.otel_exporter_otlp_endpoint or (
                self.otel_exporter_otlp_traces_endpoint
            )
            named = ["otlp"] if has_endpoint else []
        if unknown := [name for name in named if name not in ("otlp", "console", "none")]:
            raise WrongUsage(
                f"OTEL_TRACES_EXPORTER names {', '.join(unknown)}; there are otlp, console, none."
            )
        return [name for name in named if name != "none"]

    @property
    def protocol(self) -> str:
        """How OTLP travels. Raises WrongUsage for an unknown way."""
        wanted = self.otel_exporter_otlp_traces_protocol or self.otel_exporter_otlp_protocol
        if wanted not in PROTOCOLS:
            raise WrongUsage(
                f"OTEL_EXPORTER_OTLP_PROTOCOL is {wanted}; there are {', '.join(PROTOCOLS)}."
            )
        return wanted


@contextmanager
def tracing(role: str) -> Iterator["Tracer | None"]:
    """The tracer of a process, whose spans are sent before the block ends, if the
    collector takes them within 3 s; None when tracing is off
    or what it needs is not installed, which the log tells. `role`: gateway or worker.

    Raises WrongUsage for a setting that does not fit."""
    settings = TelemetrySettings()
    names = settings.exporters
    exporters = [found for name in names if (found := _exporter(name, settings)) is not None]
    if not exporters:
        yield None
        return
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    ours = Resource({"service.name": f"credstream-{role}", "service.version": version()})
    resource = Resource.create().merge(ours).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    logger.info("tracing is on: spans go to %s", ", ".join(names))
    try:
        yield provider.get_tracer("credstream", version())
    finally:
        _end(provider)


def _end(provider: "TracerProvider") -> None:
    # The SDK waits half a minute and takes no other word for it; its threads end with the process.
    ending = Thread(target=provider.shutdown, daemon=True)
    ending.start()
    ending.join(LAST_SPANS_S)
    if ending.is_alive():
        logger.warning("the collector does not answer: the last spans are lost")


def _exporter(name: str, settings: TelemetrySettings) -> Any:
    try:
        if name == "console":
            from opentelemetry.sdk.trace.export import ConsoleSpanExporter

            return ConsoleSpanExporter()
        if settings.protocol == "grpc":
            from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc

            return grpc.OTLPSpanExporter()
        from opentelemetry.exporter.otlp.proto.http import trace_exporter as http

        return http.OTLPSpanExporter()
    except ImportError as error:
        package = (
            INSTALL if settings.protocol != "grpc" else "opentelemetry-exporter-otlp-proto-grpc"
        )
        logger.warning("no spans to %s: %s; %s", name, error, package)
        return None
