"""What each version was asked and how it did, for Prometheus."""

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from serving.ladder import Ladder
from serving.monitoring.drift import allowed_rate, stated_cases
from serving.monitoring.drifting import INPUT, MISS
from serving.monitoring.exposition import Gauge
from serving.monitoring.histogram import Histogram, histograms
from serving.releases.ledger import Account
from serving.releases.service import ReleasingService
from serving.releases.tally import MISSED, Misses
from serving.repository import Catalogue
from serving.service import Service

VERSION = ["model", "version"]
LEVEL = [*VERSION, "level"]
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


class DriftFigures(Collector):
    """Alarms of inputs, of versions that answer."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """Counters, and the rates that they are held against."""
        cases = CounterMetricFamily(f"{INPUT}_cases", "Inputs that a detector saw.", labels=VERSION)
        alarms = CounterMetricFamily(f"{INPUT}s", "Inputs that set off the alarm.", labels=VERSION)
        allowed = Gauge(f"{INPUT}_allowed_rate", "That calibration's luck explains.", "max", labels=VERSION)
        for entry in self._service.repository.entries():
            if entry.ladder is None or entry.ladder.alarms.threshold is None:
                continue
            cases.add_metric(entry.key, entry.ladder.alarms.cases)
            alarms.add_metric(entry.key, entry.ladder.alarms.alarms)
            allowed.add_metric(entry.key, _allowed_alarms(entry.ladder))
        yield from (cases, alarms, allowed)


def miss_metrics(accounts: Mapping[str, Account], catalogue: Catalogue) -> Iterator[Metric]:
    """Shares of points outside their interval, of versions that answer, and the rates that they are held against."""
    missed = Gauge(f"{MISS}_allowed_rate", "That calibration's luck explains.", "max", labels=LEVEL)
    found: dict[tuple[str, ...], Histogram] = {}
    for entry in catalogue.entries:
        tally = accounts.get(entry.name, Account()).versions.get(entry.version)
        if entry.ladder is None or tally is None:
            continue
        for level, misses in tally.misses.items():
            labels = (*entry.key, f"{level:g}")
            found[labels] = histogram_of(misses)
            missed.add_metric(labels, _allowed_misses(entry.ladder, level))
    yield missed
    yield histograms(f"{MISS}_share", "Shares of a truth's points outside the interval.", LEVEL, found)


def histogram_of(misses: Misses) -> Histogram:
    """The same as a histogram."""
    histogram = Histogram(MISSED)
    histogram.counts, histogram.total = misses.counts, misses.total
    return histogram


def _allowed_alarms(ladder: Ladder) -> float:
    alarm = ladder.servable.manifest.alarm or {}
    return allowed_rate(float(alarm["false_alarm"]), stated_cases(alarm))


def _allowed_misses(ladder: Ladder, level: float) -> float:
    """By the calibration's cases where the interval is its own."""
    calibration = ladder.servable.manifest.calibration
    own = ladder.servable.has_band and calibration is not None and abs(float(calibration["level"]) - level) < 1e-9
    return allowed_rate(1 - level, stated_cases(calibration) if own else None)
