"""Figures as Prometheus has them, in its classes and in its text format."""

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from serving.monitoring.families import Families, Family, Rule

MEDIA_TYPE = "text/plain; version=0.0.4"  # to which the framework adds its charset


class Gauge(GaugeMetricFamily):
    """A gauge that says what those of several workers come to."""

    def __init__(
        self, name: str, text: str, rule: Rule, value: float | None = None, labels: Sequence[str] | None = None
    ) -> None:
        super().__init__(name, text, value, labels)
        self.rule: Rule = rule


def plain(metrics: Iterable[Metric]) -> Families:
    """Prometheus' families as values; gauges that do not say otherwise are of each worker."""
    return tuple(
        Family(
            metric.name,
            metric.documentation,
            metric.type,
            getattr(metric, "rule", "each" if metric.type == "gauge" else "sum"),
            tuple((sample.name, tuple(sample.labels.items()), float(sample.value)) for sample in metric.samples),
        )
        for metric in metrics
    )


def text(families: Families) -> bytes:
    """The text format."""
    return generate_latest(_Plain(families))


class _Plain(Collector):
    def __init__(self, families: Families) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        for family in self._families:
            metric = Metric(family.name, family.text, family.kind)
            for name, labels, value in family.samples:
                metric.add_sample(name, dict(labels), value)
            yield metric
