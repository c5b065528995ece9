"""What rollouts do, for Prometheus."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from serving.rollouts.service import Rollouts


class RolloutFigures(Collector):
    """Read when asked."""

    def __init__(self, rollouts: Rollouts) -> None:
        self._rollouts = rollouts

    def collect(self) -> Iterator[Metric]:
        """The figures."""
        yield CounterMetricFamily("pnol_rollout_steps", "Steps of rollouts computed.", self._rollouts.steps)
        yield GaugeMetricFamily("pnol_rollouts_open", "Rollouts under way.", self._rollouts.open)
        yield GaugeMetricFamily("pnol_rollouts_bytes", "Bytes of their states.", self._rollouts.bytes)
