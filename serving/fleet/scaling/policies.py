"""What a policy of a config says of an observation."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from serving.fleet.scaling import config as kinds
from serving.fleet.scaling.load import Load, Meter
from serving.fleet.scaling.observation import Observation, Recommendation
from serving.fleet.scaling.queues import servers_for_mean
from serving.fleet.scaling.ratio import Tolerance, by_mean, by_part, by_value


class Policy(Protocol):
    """Says how many replicas there should be."""

    name: str

    def recommend(self, seen: Observation) -> Recommendation:
        """What it says; it may remember what it saw."""


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


@dataclass(frozen=True)
class Sized:
    """As many replicas as a queue needs, with what waits already worked off in time."""

    name: str
    meter: Meter
    within: float
    servers: Callable[[float, float], int]  # of a load and a request's seconds

    def recommend(self, seen: Observation) -> Recommendation:
        """What the queue needs."""
        load = self.meter.measure(seen)
        if load is None:
            return Recommendation(self.name, None, "rate or utilisation is missing")
        return Recommendation(self.name, self._desired(load), _said(load))

    def _desired(self, load: Load) -> int:
        if load.busy == 0 and load.waiting == 0:
            return 0
        settled = self.servers(load.busy, load.service)
        return max(settled, math.ceil(load.busy + load.waiting / self.within))


def _said(load: Load) -> str:
    backlog = f", {load.waiting:.3g} s of work wait" if load.waiting >= load.service else ""
    return f"{load.busy:.3g} replicas busy, {1e3 * load.service:.3g} ms for a request{backlog}"


def policies_of(config: kinds.ScalingConfig) -> list[Policy]:
    """The policies of a config, with their names."""
    tolerance = Tolerance(config.up.tolerance, config.down.tolerance)
    return [_policy(name, each, tolerance) for name, each in zip(_names(config.policies), config.policies, strict=True)]


def _policy(name: str, config: kinds.AnyPolicy, tolerance: Tolerance) -> Policy:
    match config:
        case kinds.UtilisationConfig(target=target):
            return Ratio(name, lambda seen: seen.utilisation, target, by_mean, tolerance)
        case kinds.RequestsConfig(per_replica=each):
            return Ratio(name, lambda seen: seen.requests_per_second, each, by_part, tolerance)
        case kinds.PrometheusConfig(target=target, per_replica=shared):
            return Ratio(name, lambda seen: seen.metrics.get(name), target, by_part if shared else by_value, tolerance)
        case kinds.QueueTimeConfig(target=target, variability=spread):
            sizes = lambda busy, service: servers_for_mean(busy, service, target, spread)  # noqa: E731
            return Sized(name, Meter(config.service_seconds), config.within, sizes)
    raise AssertionError(config)


def _names(policies: Sequence[kinds.AnyPolicy]) -> list[str]:
    tags = [policy.name or str(policy.__struct_config__.tag) for policy in policies]
    return [tag if tags.count(tag) == 1 else f"{tag}_{tags[:place].count(tag) + 1}" for place, tag in enumerate(tags)]
