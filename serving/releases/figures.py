"""What each version was asked and how it did, for Prometheus."""

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from serving.monitoring.exposition import Gauge
from serving.releases.ledger import Account
from serving.releases.service import ReleasingService

VERSION = ["model", "version"]
REQUESTS, FAILURES, SHADOW = "pnol_version_requests", "pnol_version_failures", "pnol_shadow"


class TrafficFigures(Collector):
    """Of one process, read when asked; models without labels have none."""

    def __init__(self, service: ReleasingService) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """Counters by model and version."""
        requests = CounterMetricFamily(REQUESTS, "Requests answered by a version.", labels=VERSION)
        failures = CounterMetricFamily(FAILURES, "Requests that it failed to answer.", labels=VERSION)
        copies = CounterMetricFamily(SHADOW, "Copied requests, and their seconds.", labels=[*VERSION, "outcome"])
        for key, traffic in self._service.traffic.items():
            requests.add_metric(key, traffic.requests)
            failures.add_metric(key, traffic.failures)
            for outcome, amount in traffic.shadow.items():
                copies.add_metric([*key, outcome], amount)
        yield from (requests, failures, copies)


def truth_metrics(accounts: Mapping[str, Account]) -> Iterator[Metric]:
    """How many truths each version was scored on, and its mean scores."""
    truths = CounterMetricFamily("pnol_version_truths", "Truths that it was scored on.", labels=VERSION)
    scores = Gauge("pnol_version_score", "Means over the truths.", "max", labels=[*VERSION, "score"])
    for model, account in accounts.items():
        for version, tally in account.versions.items():
            truths.add_metric([model, version], tally.truths)
            for name, mean in tally.means().items():
                scores.add_metric([model, version, name], mean)
    yield from (truths, scores)
