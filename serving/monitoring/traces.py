"""Traces by OpenTelemetry (extra `telemetry`): a span for a request, and below it one for each of its stages.

Spans are made of a request's record when it has been answered, so that nothing but the record is kept meanwhile. They
belong to the trace that the caller's `traceparent` names (W3C Trace Context), which also decides whether it is sampled.
"""

import os
import time
from typing import Any

import pnol_jax
from pnol_jax.errors import InputError
from serving.monitoring.record import Record
from serving.settings import Settings

EXPORT_SECONDS = 3.0  # for a collector to take what is sent; the service's end waits as long for one that is gone
MOST_STAGES = 128  # of a request, that become spans: a rollout has some in every step
PATH = "/v1/traces"
NANOSECONDS = 1e9


class Traces:
    """Sends the spans of records to a collector, in a thread of its own. `exporter`: in the place of OTLP over HTTP.

    Raises:
        InputError: OpenTelemetry is not installed.
    """

    def __init__(self, settings: Settings, worker: int, exporter: Any = None) -> None:
        try:
            from opentelemetry import trace
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ModuleNotFoundError as error:
            raise InputError(
                f"traces: needs {error.name}, which is not installed; expected the extra 'telemetry'"
            ) from None
        about = {
            "service.name": os.environ.get("OTEL_SERVICE_NAME", "pnol_jax"),
            "service.version": pnol_jax.__version__,
            "service.instance.id": f"{os.uname().nodename}/{worker}",
        }
        sampler = ParentBased(TraceIdRatioBased(settings.traces_share))
        self.provider = TracerProvider(sampler=sampler, resource=Resource.create(about))  # sends the rest at exit
        exporter = exporter or OTLPSpanExporter(_endpoint(settings.traces), timeout=EXPORT_SECONDS)
        self.provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self.provider.get_tracer("pnol_jax.serving", pnol_jax.__version__)
        self._propagator = TraceContextTextMapPropagator()
        self._trace = trace

    def take(self, record: Record) -> None:
        """Make the spans of a request that has been answered."""
        trace, offset = self._trace, time.time() - time.monotonic()

        def clock(seconds: float) -> int:
            return int((seconds + offset) * NANOSECONDS)

        parent = self._propagator.extract({"traceparent": record.trace} if record.trace else {})
        span = self._tracer.start_span(
            record.endpoint, parent, trace.SpanKind.SERVER, _attributes(record), start_time=clock(record.start)
        )
        if span.is_recording():
            if record.error is not None:
                span.set_status(trace.StatusCode.ERROR if _is_ours(record.status) else trace.StatusCode.UNSET)
                span.set_attribute("error.message", record.error)
            below = trace.set_span_in_context(span)
            for stage, start, end in record.stages[:MOST_STAGES]:
                self._tracer.start_span(stage, below, start_time=clock(start)).end(clock(end))
        span.end(clock(record.end))


def _endpoint(address: str) -> str:
    address = address.rstrip("/")
    return address if address.endswith(PATH) else address + PATH


def _is_ours(status: int | str) -> bool:
    """Whether a status is the service's fault and not the caller's, of HTTP or gRPC."""
    return status >= 500 if isinstance(status, int) else status in ("INTERNAL", "UNAVAILABLE", "DEADLINE_EXCEEDED")


def _attributes(record: Record) -> dict[str, Any]:
    """By the semantic conventions where there are any."""
    kind = "http" if isinstance(record.status, int) else "rpc"
    known = {
        f"{kind}.response.status_code": record.status,
        "http.route": record.endpoint if kind == "http" else None,
        "http.request.body.size": record.bytes_in,
        "http.response.body.size": record.bytes_out,
        "pnol.request_id": record.request_id,
        "pnol.model": record.model,
        "pnol.version": record.version,
        "pnol.bucket": record.bucket,
        "pnol.cached": record.cached,
    }
    return {name: value for name, value in known.items() if value is not None}
