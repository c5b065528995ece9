"""What this process has done: requests are counted here, the figures of other parts read when somebody asks."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from serving.monitoring.engine import CacheFigures, EngineFigures, VersionFigures
from serving.monitoring.exposition import plain
from serving.monitoring.families import Families
from serving.monitoring.histogram import SECONDS, Histogram, histograms
from serving.monitoring.resources import Resources
from serving.service import Service


class Metrics:
    """The figures of one process. Requests are counted from one event loop."""

    def __init__(self, service: Service) -> None:
        self._requests = _Requests()
        self._collectors: list[Collector] = [
            self._requests,
            EngineFigures(service),
            CacheFigures(service),
            VersionFigures(service),
            Resources(),
        ]

    def register(self, collector: Collector) -> None:
        """Tell what another part counts, too."""
        self._collectors.append(collector)

    def count(self, endpoint: str, status: int | str, seconds: float) -> None:
        """Note an answered request; the status is HTTP's number or the name of gRPC's code."""
        key = endpoint, status
        self._requests.counts[key] = self._requests.counts.get(key, 0) + 1
        histogram = self._requests.seconds.get(endpoint)
        if histogram is None:
            histogram = self._requests.seconds[endpoint] = Histogram(SECONDS)
        histogram.observe(seconds)

    def families(self) -> Families:
        """Everything at this moment."""
        return plain(metric for collector in self._collectors for metric in collector.collect())


class _Requests(Collector):
    def __init__(self) -> None:
        self.counts: dict[tuple[str, int | str], int] = {}
        self.seconds: dict[str, Histogram] = {}

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily("pnol_requests", "Requests answered.", labels=["endpoint", "status"])
        for (endpoint, status), count in self.counts.items():
            requests.add_metric([endpoint, str(status)], count)
        yield requests
        found: dict[tuple[str, ...], Histogram] = {
            (endpoint,): histogram for endpoint, histogram in self.seconds.items()
        }
        yield histograms("pnol_request_seconds", "Time to answer.", ["endpoint"], found)
