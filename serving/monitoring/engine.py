"""The figures of engine, cache and versions, for Prometheus: read from their own statistics when somebody asks."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from serving.monitoring.exposition import Gauge
from serving.monitoring.histogram import Histogram, histograms, total
from serving.monitoring.stages import STAGES
from serving.service import Service

VERSION = ["model", "version"]
Versions = dict[tuple[str, ...], Histogram]


class EngineFigures(Collector):
    """Batches, and what waits."""

    def __init__(self, service: Service) -> None:
        self._engine = service.engine

    def collect(self) -> Iterator[Metric]:
        """All of `EngineStatistics`."""
        engine = self._engine.statistics
        yield CounterMetricFamily("pnol_engine_batches", "Batches computed.", engine.batches)
        yield CounterMetricFamily("pnol_engine_cases", "Cases computed.", engine.cases)
        yield CounterMetricFamily("pnol_engine_slots", "Places in computed batches.", engine.slots)
        yield CounterMetricFamily("pnol_engine_failures", "Batches that failed.", engine.failures)
        yield CounterMetricFamily("pnol_engine_refused", "Requests refused by a full queue.", engine.refused)
        yield CounterMetricFamily("pnol_engine_busy_seconds", "Time spent computing.", engine.busy_seconds)
        yield Gauge("pnol_engine_waiting_cases", "Cases waiting.", "sum", engine.waiting)
        yield Gauge("pnol_engine_waiting_seconds", "Computing time of those.", "sum", self._engine.backlog_seconds())
        yield Gauge("pnol_engine_utilisation", "Busy share of the window.", "each", self._engine.utilisation)


class CacheFigures(Collector):
    """Hits, misses, and what is held."""

    def __init__(self, service: Service) -> None:
        self._cache = service.cache

    def collect(self) -> Iterator[Metric]:
        """All of the cache's statistics."""
        cache = self._cache.statistics
        yield CounterMetricFamily("pnol_cache_hits", "Answers from the cache.", cache.hits)
        yield CounterMetricFamily("pnol_cache_repeated", "Of these, requests answered unread.", cache.repeated)
        yield CounterMetricFamily("pnol_cache_misses", "Answers computed.", cache.misses)
        yield CounterMetricFamily("pnol_cache_joined", "Answers of another's computation.", cache.joined)
        yield CounterMetricFamily("pnol_cache_approximate_hits", "Answers of inputs nearby.", cache.approximate_hits)
        yield CounterMetricFamily("pnol_cache_skipped", "Requests not worth a look-up.", cache.skipped)
        yield CounterMetricFamily("pnol_cache_evictions", "Answers evicted.", cache.evictions)
        yield CounterMetricFamily("pnol_cache_saved_seconds", "Computing time of answers held.", cache.saved_seconds)
        yield Gauge("pnol_cache_entries", "Answers held.", "sum", cache.entries)
        yield Gauge("pnol_cache_bytes", "Bytes held.", "sum", cache.bytes)
        yield Gauge("pnol_cache_whole_bytes", "The same without compression.", "sum", cache.whole_bytes)
        yield Gauge("pnol_cache_capacity_bytes", "Bytes that may be held.", "sum", cache.capacity_bytes)
        off = Gauge("pnol_cache_off", "Workers in which it computes faster than a look-up.", "sum", labels=VERSION)
        for version in cache.off:
            off.add_metric(version.split("/"), 1.0)
        yield off


class VersionFigures(Collector):
    """Of each version that answers: where the time goes, how full its batches are."""

    def __init__(self, service: Service) -> None:
        self._repository = service.repository
        self._policy = service.policy

    def collect(self) -> Iterator[Metric]:
        """Whether it is ready; its stages."""
        ready = Gauge("pnol_model_ready", "1 if the version answers, in every worker.", "min", labels=VERSION)
        seconds: Versions = {}
        fill: Versions = {}
        for entry in self._repository.entries():
            ready.add_metric(entry.key, float(entry.state == "ready"))
            if entry.ladder is not None:
                each = [ladder.stages for ladder in (entry.ladder, *entry.ladder.others)]  # on several devices
                seconds |= {(*entry.key, stage): total(getattr(one, stage) for one in each) for stage in STAGES}
                fill[entry.key] = total(one.fill for one in each)
        yield ready
        abstained = CounterMetricFamily(
            "pnol_abstained", "Answers to inputs that are too strange.", labels=[*VERSION, "action"]
        )
        for key, count in self._policy.counts.items():
            abstained.add_metric(list(key), count)
        yield abstained
        yield histograms(
            "pnol_stage_seconds", "Time in a stage, of requests and of batches.", [*VERSION, "stage"], seconds
        )
        yield histograms("pnol_batch_fill", "Share of a batch's places that hold cases.", VERSION, fill)
