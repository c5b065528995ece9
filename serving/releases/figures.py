"""What each version was asked and how it did, for Prometheus."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from serving.releases.service import ReleasingService

VERSION = ["model", "version"]


class ReleaseFigures(Collector):
    """Read from the ledgers when asked; models without labels have none."""

    def __init__(self, service: ReleasingService) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """Counters by model and version; mean scores where truths came."""
        requests = CounterMetricFamily("pnol_version_requests", "Requests answered by a version.", labels=VERSION)
        failures = CounterMetricFamily("pnol_version_failures", "Requests that it failed to answer.", labels=VERSION)
        truths = CounterMetricFamily("pnol_version_truths", "Truths that it was scored on.", labels=VERSION)
        copies = CounterMetricFamily("pnol_shadow", "Copied requests, and their seconds.", labels=[*VERSION, "outcome"])
        scores = GaugeMetricFamily("pnol_version_score", "Means over the truths.", labels=[*VERSION, "score"])
        for model, ledger in self._service.ledgers.items():
            for version, tally in ledger.tallies.items():
                requests.add_metric([model, version], tally.requests)
                failures.add_metric([model, version], tally.failures)
                truths.add_metric([model, version], tally.truths)
                for outcome, amount in tally.shadow.items():
                    copies.add_metric([model, version, outcome], amount)
                for name, mean in tally.scores().items():
                    scores.add_metric([model, version, name], mean)
        yield from (requests, failures, truths, copies, scores)
