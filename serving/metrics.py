"""What the service has done, for Prometheus and for people."""

from collections.abc import Iterator
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from serving.service import Service

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The service's own registry: requests are counted here, the engine's and the cache's figures read when asked."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._registry = CollectorRegistry()
        self._requests = Counter("pnol_requests", "Requests answered.", ["endpoint", "status"], registry=self._registry)
        self._seconds = Histogram(
            "pnol_request_seconds", "Time to answer.", ["endpoint"], buckets=SECONDS, registry=self._registry
        )
        self._registry.register(_Figures(service))
        ProcessCollector(registry=self._registry)
        self._series: dict[tuple[str, int | str], tuple[Counter, Histogram]] = {}
        self._statuses: dict[int | str, int] = {}

    def register(self, collector: Collector) -> None:
        """Tell what another part counts, too."""
        self._registry.register(collector)

    def count(self, endpoint: str, status: int | str, seconds: float) -> None:
        """Note an answered request; the status is HTTP's number or the name of gRPC's code."""
        series = self._series.get((endpoint, status))
        if series is None:  # looked up once: labels cost more than counting
            found = self._requests.labels(endpoint, str(status)), self._seconds.labels(endpoint)
            series = self._series[endpoint, status] = found
        series[0].inc()
        series[1].observe(seconds)
        self._statuses[status] = self._statuses.get(status, 0) + 1

    def text(self) -> bytes:
        """The Prometheus text format."""
        return generate_latest(self._registry)

    def summary(self) -> dict[str, Any]:
        """The figures of `GET /stats`."""
        engine = self._service.engine
        return {
            "requests_by_status": {str(status): count for status, count in self._statuses.items()},
            "engine": {
                **msgspec.to_builtins(engine.statistics),
                "utilisation": engine.utilisation,
                "batch_fill": _ratio(engine.statistics.cases, engine.statistics.slots),
            },
            "cache": self._service.cache.statistics,
            "abstained": {"/".join(key): count for key, count in self._service.policy.counts.items()},
        }


class _Figures(Collector):
    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        engine, cache = self._service.engine.statistics, self._service.cache.statistics
        yield CounterMetricFamily("pnol_engine_batches", "Batches computed.", engine.batches)
        yield CounterMetricFamily("pnol_engine_cases", "Cases computed.", engine.cases)
        yield CounterMetricFamily("pnol_engine_slots", "Places in computed batches.", engine.slots)
        yield CounterMetricFamily("pnol_engine_failures", "Batches that failed.", engine.failures)
        yield CounterMetricFamily("pnol_engine_refused", "Requests refused by a full queue.", engine.refused)
        yield CounterMetricFamily("pnol_engine_busy_seconds", "Time spent computing.", engine.busy_seconds)
        yield GaugeMetricFamily("pnol_engine_waiting_cases", "Cases waiting.", engine.waiting)
        yield GaugeMetricFamily(
            "pnol_engine_utilisation", "Busy share of the window.", self._service.engine.utilisation
        )
        yield CounterMetricFamily("pnol_cache_hits", "Answers from the cache.", cache.hits)
        yield CounterMetricFamily("pnol_cache_misses", "Answers computed.", cache.misses)
        yield CounterMetricFamily("pnol_cache_joined", "Answers of another's computation.", cache.joined)
        yield CounterMetricFamily("pnol_cache_approximate_hits", "Answers of inputs nearby.", cache.approximate_hits)
        yield CounterMetricFamily("pnol_cache_skipped", "Requests not worth a look-up.", cache.skipped)
        yield CounterMetricFamily("pnol_cache_evictions", "Answers evicted.", cache.evictions)
        yield CounterMetricFamily("pnol_cache_saved_seconds", "Computing time of answers held.", cache.saved_seconds)
        yield GaugeMetricFamily("pnol_cache_entries", "Answers held.", cache.entries)
        yield GaugeMetricFamily("pnol_cache_bytes", "Bytes held.", cache.bytes)
        yield GaugeMetricFamily("pnol_cache_whole_bytes", "The same without compression.", cache.whole_bytes)
        yield GaugeMetricFamily("pnol_cache_off", "Versions that compute faster than a look-up.", len(cache.off))
        labels = ["model", "version", "action"]
        abstained = CounterMetricFamily("pnol_abstained", "Answers to inputs that are too strange.", labels=labels)
        for key, count in self._service.policy.counts.items():
            abstained.add_metric(list(key), count)
        yield abstained
        ready = GaugeMetricFamily("pnol_model_ready", "1 if the version answers.", labels=["model", "version"])
        for entry in self._service.repository.entries():
            ready.add_metric([entry.name, entry.version], float(entry.state == "ready"))
        yield ready


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
