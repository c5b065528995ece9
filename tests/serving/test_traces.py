"""Spans are those of the request and its stages, in the caller's trace, and reach a collector."""

import builtins
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pnol_jax.errors import InputError
from serving.monitoring.record import Record
from serving.monitoring.recorder import make_recorder
from serving.monitoring.traces import MOST_STAGES, Traces
from serving.settings import Settings
from tests import heat
from tests.processes import until
from tests.serving.conftest import running

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CALLER = f"00-{TRACE}-{PARENT}-01"


def spans_of(*records: Record, share: float = 1.0) -> list[Any]:
    exporter = InMemorySpanExporter()
    traces = Traces(Settings(models=".", traces="http://nowhere", traces_share=share), 0, exporter)
    for record in records:
        traces.take(record)
    traces.provider.force_flush()
    spans = list(exporter.get_finished_spans())
    traces.provider.shutdown()
    return spans


def record(trace: str | None = None, **about: Any) -> Record:
    made = Record("/predict", "mine", trace, start=10.0, end=11.0, **about)
    made.note("cache", 10.1, 10.2)
    made.note("compute", 10.3, 10.8)
    return made


def test_a_request_s_spans_are_in_the_caller_s_trace() -> None:
    *stages, request = spans_of(record(CALLER, model="heat", version="1", bucket=(12, 12), status=200))
    assert request.context.trace_id == int(TRACE, 16)
    assert request.parent.span_id == int(PARENT, 16)
    assert [stage.name for stage in stages] == ["cache", "compute"]
    assert all(stage.parent.span_id == request.context.span_id for stage in stages)
    assert request.end_time - request.start_time == pytest.approx(1e9, abs=1e3)
    assert stages[1].end_time - stages[1].start_time == pytest.approx(0.5e9, abs=1e3)
    assert request.start_time < stages[0].start_time < stages[1].end_time < request.end_time
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["pnol.bucket"] == (12, 12)
    assert request.status.is_unset


def test_who_is_sampled_is_the_caller_s_choice_and_else_a_share() -> None:
    assert spans_of(record(CALLER[:-1] + "0")) == []
    assert len(spans_of(record(CALLER), share=0.0)) == 3
    assert spans_of(record(), share=0.0) == []
    assert len(spans_of(record("nonsense"))) == 3


def test_a_long_rollout_has_its_first_stages_only() -> None:
    long = record(CALLER)
    for step in range(MOST_STAGES):
        long.note("compute", 10.8 + 0.001 * step, 10.8 + 0.001 * (step + 1))
    *stages, request = spans_of(long)
    assert len(stages) == MOST_STAGES < len(long.stages)
    assert request.end_time >= max(stage.end_time for stage in stages)


def test_only_what_is_the_service_s_fault_is_an_error() -> None:
    ours = spans_of(record(status=503, error="the queue is full"))[-1]
    theirs = spans_of(record(status=400, error="inputs: got text"))[-1]
    assert (ours.status.is_ok, theirs.status.is_ok) == (False, True)  # unset is as good as ok
    assert theirs.attributes["error.message"] == "inputs: got text"


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match="traces: needs opentelemetry, which is not installed; expected the extra"):
        make_recorder(Settings(models=".", traces="http://localhost:4318"), 0)
    assert not make_recorder(Settings(models="."), 0).is_on


@pytest.fixture
def collector() -> Iterator[tuple[str, list[Any]]]:
    """An OTLP receiver on loopback, and the spans that it got."""
    got: list[Any] = []

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert self.path == "/v1/traces"
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                got.extend(span for scope in resource.scope_spans for span in scope.spans)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", got
        server.shutdown()


def test_a_server_sends_its_spans_to_the_collector(
    small: Path, tmp_path: Path, collector: tuple[str, list[Any]]
) -> None:
    address, got = collector
    flags = ["--batch-sizes", "[1]", "--traces", address]
    field = heat.wave(heat.grid(12), 1)[0].tolist()
    with running(small, tmp_path / "errors", *flags) as server:
        for _ in range(2):
            response = httpx.post(f"{server.url}/predict", json={"inputs": field}, headers={"traceparent": CALLER})
            assert response.status_code == 200
        assert server.stop() == 0  # what was not sent yet is sent at the end
    until(lambda: len(got) >= 8)
    mine = [span for span in got if span.trace_id.hex() == TRACE]
    requests = [span for span in mine if span.name == "/predict"]
    assert [request.parent_span_id.hex() for request in requests] == [PARENT, PARENT]
    stages = {
        request.span_id: [span.name for span in mine if span.parent_span_id == request.span_id] for request in requests
    }
    first, second = stages.values()
    assert sorted(first) == ["batch", "cache", "compute", "decode", "encode", "queue"]
    assert sorted(second) == ["cache", "decode", "encode"]
