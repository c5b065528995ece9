"""What each version was asked and how it did, for Prometheus."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from serving.ladder import Ladder
from serving.monitoring.drift import allowed_rate, stated_cases
from serving.monitoring.drifting import INPUT, MISS
from serving.monitoring.exposition import Gauge
from serving.monitoring.histogram import Histogram, histograms
from serving.releases.service import ReleasingService

VERSION = ["model", "version"]
LEVEL = [*VERSION, "level"]


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


class DriftFigures(Collector):
    """Alarms of inputs, and the shares of points outside their interval, of versions that answer."""

    def __init__(self, service: ReleasingService) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """Counters, and the rates that they are held against."""
        cases = CounterMetricFamily(f"{INPUT}_cases", "Inputs that a detector saw.", labels=VERSION)
        alarms = CounterMetricFamily(f"{INPUT}s", "Inputs that set off the alarm.", labels=VERSION)
        allowed = Gauge(f"{INPUT}_allowed_rate", "That calibration's luck explains.", "max", labels=VERSION)
        missed = Gauge(f"{MISS}_allowed_rate", "That calibration's luck explains.", "max", labels=LEVEL)
        misses: dict[tuple[str, ...], Histogram] = {}
        for entry in self._service.repository.entries():
            if entry.ladder is None:
                continue
            if entry.ladder.alarms.threshold is not None:
                cases.add_metric(entry.key, entry.ladder.alarms.cases)
                alarms.add_metric(entry.key, entry.ladder.alarms.alarms)
                allowed.add_metric(entry.key, _allowed_alarms(entry.ladder))
            ledger = self._service.ledgers.get(entry.name)
            tally = ledger.tallies.get(entry.version) if ledger else None
            for level, histogram in tally.misses.items() if tally else ():
                labels = (*entry.key, f"{level:g}")
                misses[labels] = histogram
                missed.add_metric(labels, _allowed_misses(entry.ladder, level))
        yield from (cases, alarms, allowed, missed)
        yield histograms(f"{MISS}_share", "Shares of a truth's points outside the interval.", LEVEL, misses)


def _allowed_alarms(ladder: Ladder) -> float:
    alarm = ladder.servable.manifest.alarm or {}
    return allowed_rate(float(alarm["false_alarm"]), stated_cases(alarm))


def _allowed_misses(ladder: Ladder, level: float) -> float:
    """By the calibration's cases where the interval is its own."""
    calibration = ladder.servable.manifest.calibration
    own = ladder.servable.has_band and calibration is not None and abs(float(calibration["level"]) - level) < 1e-9
    return allowed_rate(1 - level, stated_cases(calibration) if own else None)
