"""Drift of inputs and of calibration as figures: counters of each worker, and what those of all come to."""

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from serving.ladder import Ladder
from serving.monitoring.drift import allowed_rate, p_value, stated_cases
from serving.monitoring.exposition import Gauge
from serving.monitoring.families import Families, Family, Labels, Sample
from serving.monitoring.histogram import Histogram, histograms
from serving.releases.ledger import Account
from serving.releases.tally import MISSED, Misses
from serving.repository import Catalogue
from serving.service import Service

VERSION = ["model", "version"]
LEVEL = [*VERSION, "level"]
INPUT, MISS = "pnol_input_alarm", "pnol_interval_miss"


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


def with_drift(families: Families) -> Families:
    """The figures of all workers, and the p-values that follow from them."""
    found = {family.name: family.samples for family in families}
    alarms, seen = (_by_labels(found.get(f"{INPUT}{what}", ())) for what in ("s", "_cases"))
    inputs = {
        labels: p_value([(1.0, alarms[labels]), (0.0, seen[labels] - alarms[labels])], rate)
        for labels, rate in _by_labels(found.get(f"{INPUT}_allowed_rate", ())).items()
    }
    shares = _counts(found.get(f"{MISS}_share", ()))
    misses = {
        labels: p_value(shares[labels], rate)
        for labels, rate in _by_labels(found.get(f"{MISS}_allowed_rate", ())).items()
    }
    text = "Of no drift, valid whenever one looks."
    return (*families, _gauge("pnol_input_drift_p", text, inputs), _gauge("pnol_calibration_drift_p", text, misses))


def _by_labels(samples: tuple[Sample, ...]) -> dict[Labels, float]:
    return {labels: value for _, labels, value in samples}


def _counts(samples: tuple[Sample, ...]) -> dict[Labels, list[tuple[float, float]]]:
    """Of a histogram by its other labels: the lower bound of each bucket, and how many values it holds.

    The lower bound, so that a p-value is at most too large.
    """
    counts: dict[Labels, list[tuple[float, float]]] = {}
    before: dict[Labels, tuple[float, float]] = {}  # bound and sum of the bucket below
    for name, labels, total in samples:
        if not name.endswith("_bucket"):
            continue
        others = tuple(label for label in labels if label[0] != "le")
        bound = float(dict(labels)["le"])
        lower, below = before.get(others, (0.0, 0.0))
        counts.setdefault(others, []).append((lower, total - below))
        before[others] = (bound, total)
    return counts


def _gauge(name: str, text: str, values: dict[Labels, float]) -> Family:
    return Family(name, text, "gauge", "max", tuple((name, labels, value) for labels, value in values.items()))
