"""What a policy of a config says of an observation."""

from collections.abc import Callable
from dataclasses import dataclass

from serving.fleet.scaling import config as kinds
from serving.fleet.scaling.concurrency import Concurrency
from serving.fleet.scaling.forecast import Forecast
from serving.fleet.scaling.observation import Observation, Policy, Recommendation
from serving.fleet.scaling.ratio import Tolerance, by_mean, by_part, by_value
from serving.fleet.scaling.schedule import Schedule
from serving.fleet.scaling.sizing import latency, queue_time

Formula = Callable[[Observation, float, float, Tolerance], int]


@dataclass(frozen=True)
class Ratio:
    """A figure that shall be at its target, by the formula of Kubernetes."""

    name: str
    figure: Callable[[Observation], float | None]
    target: float
    formula: Formula
    tolerance: Tolerance

    def recommend(self, seen: Observation) -> Recommendation:
        """What the formula gives."""
        value = self.figure(seen)
        if value is None or (self.formula is by_mean and not seen.counted):
            return Recommendation(self.name, None, "the figure is missing")
        desired = self.formula(seen, value, self.target, self.tolerance)
        return Recommendation(self.name, desired, f"{value:.4g} where {self.target:g} is the target")


def policies_of(config: kinds.ScalingConfig) -> list[Policy]:
    """The policies of a config, with their names.

    Raises:
        InputError: a time zone that is not known here.
    """
    tolerance = Tolerance(config.up.tolerance, config.down.tolerance)
    return [_policy(name, each, tolerance) for name, each in zip(config.names(), config.policies, strict=True)]


def _policy(name: str, config: kinds.AnyPolicy, tolerance: Tolerance) -> Policy:
    match config:
        case kinds.UtilisationConfig(target=target):
            return Ratio(name, lambda seen: seen.utilisation, target, by_mean, tolerance)
        case kinds.RequestsConfig(per_replica=each):
            return Ratio(name, lambda seen: seen.requests_per_second, each, by_part, tolerance)
        case kinds.ConcurrencyConfig():
            return Concurrency(name, config)
        case kinds.PrometheusConfig(target=target, per_replica=shared):
            return Ratio(name, lambda seen: seen.metrics.get(name), target, by_part if shared else by_value, tolerance)
        case kinds.QueueTimeConfig():
            return queue_time(name, config)
        case kinds.LatencyConfig():
            return latency(name, config)
        case kinds.ForecastConfig():
            return Forecast(name, config)
        case kinds.ScheduleConfig():
            return Schedule(name, config)
