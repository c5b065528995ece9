"""The formula of Kubernetes' HorizontalPodAutoscaler.

desired = ceil(replicas * value / target), unless the ratio is within the tolerance of 1. Of replicas that are not ready
or do not report, the most cautious is assumed. Source: kubernetes, pkg/controller/podautoscaler/replica_calculator.go,
version 1.33 (`calcPlainMetricReplicas`, `getUsageRatioReplicaCount`, `GetExternalPerPodMetricReplicas`).
"""

import math
from dataclasses import dataclass

from serving.fleet.scaling.observation import Observation


@dataclass(frozen=True)
class Tolerance:
    """The change of the ratio that counts as none."""

    up: float = 0.1
    down: float = 0.1

    def covers(self, ratio: float) -> bool:
        """Whether the ratio is as good as 1."""
        return 1.0 - self.down <= ratio <= 1.0 + self.up


def by_mean(seen: Observation, value: float, target: float, tolerance: Tolerance) -> int:
    """For a mean over the replicas that report (a `Pods` or `Resource` metric)."""
    reporting, missing, unready = seen.counted, seen.ready - seen.counted, max(0, seen.replicas - seen.ready)
    ratio = value / target
    rebalanced = unready if ratio > 1.0 else 0  # they will take their part
    if not rebalanced and not missing:
        return seen.replicas if tolerance.covers(ratio) else math.ceil(ratio * reporting)
    total = value * reporting + (target * missing if ratio < 1.0 else 0.0)
    count = reporting + (missing if ratio != 1.0 else 0) + rebalanced
    cautious = total / count / target
    if tolerance.covers(cautious) or (ratio < 1.0 < cautious) or (cautious < 1.0 < ratio):
        return seen.replicas
    desired = math.ceil(cautious * count)
    turned = desired > seen.replicas if cautious < 1.0 else desired < seen.replicas
    return seen.replicas if turned else desired


def by_value(seen: Observation, value: float, target: float, tolerance: Tolerance) -> int:
    """For one value of all, which falls as replicas are added (an `Object` or `External` metric, `Value`)."""
    ratio = value / target
    if seen.replicas == 0:
        return math.ceil(ratio)
    return seen.replicas if tolerance.covers(ratio) else math.ceil(ratio * seen.ready)


def by_part(seen: Observation, value: float, target: float, tolerance: Tolerance) -> int:
    """For a sum that the replicas share (`AverageValue`)."""
    if seen.replicas and tolerance.covers(value / (target * seen.replicas)):
        return seen.replicas
    return math.ceil(value / target)
