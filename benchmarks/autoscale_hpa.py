"""Kubernetes' HorizontalPodAutoscaler, written down from its source: what our policies are compared with.

Follows pkg/controller/podautoscaler of Kubernetes 1.33 pod by pod: `calcPlainMetricReplicas`,
`stabilizeRecommendationWithBehaviors`, `convertDesiredReplicasWithBehaviorRate` and `reconcileAutoscaler`, with the
defaults of autoscaling/v2. Nothing of `serving.fleet.scaling` is used here but the form of what is seen and said. One
thing differs: Kubernetes rounds metrics down to thousandths.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from serving.fleet.scaling import Decision, Observation

TOLERANCE = 0.1
DOWNSCALE_STABILISATION = 300.0  # seconds
PERIOD = 15.0  # seconds, of both default steps up and of the one down
PODS, PERCENT = 4, 100


@dataclass
class HPA:
    """One autoscaler with one metric that is a mean over pods."""

    target: float
    minimum: int
    maximum: int
    stabilisation: float = DOWNSCALE_STABILISATION
    recommendations: list[tuple[float, int]] = field(default_factory=list)
    added: list[tuple[float, int]] = field(default_factory=list)
    deleted: list[tuple[float, int]] = field(default_factory=list)

    def decide(self, seen: Observation) -> Decision:
        """One synchronisation, of pods that are all as busy as the mean."""
        values = [] if seen.utilisation is None else [seen.utilisation] * seen.ready
        desired = self.synchronise(seen.time, seen.replicas, values, 0, max(0, seen.replicas - len(values)))
        return Decision(seen.time, seen.replicas, desired, "HPA")

    def synchronise(self, now: float, current: int, values: Sequence[float], missing: int, unready: int) -> int:
        """The new number of pods.

        Args:
            now: seconds
            current: pods that are wanted
            values: of the metric, of the pods that have it
            missing: pods that are ready and have none
            unready: pods that are not ready
        """
        if current == 0:
            return 0
        if current > self.maximum:
            desired = self.maximum
        elif current < self.minimum:
            desired = self.minimum
        elif not values:
            return current
        else:
            wanted = replicas_of(list(values), missing, unready, current, self.target)
            desired = self._rate(now, current, self._stabilise(now, current, wanted))
        if desired > current:
            self.added = [*_within_period(self.added, now), (now, desired - current)]
        if desired < current:
            self.deleted = [*_within_period(self.deleted, now), (now, current - desired)]
        return desired

    def _stabilise(self, now: float, current: int, desired: int) -> int:
        up = down = desired
        for when, recommendation in self.recommendations:
            if when > now - 0.0:  # stabilisation of the scale-up: none
                up = min(recommendation, up)
            if when > now - self.stabilisation:
                down = max(recommendation, down)
        recent = [each for each in self.recommendations if each[0] > now - self.stabilisation]
        self.recommendations = [*recent, (now, desired)]
        recommendation = current
        if recommendation < up:
            recommendation = up
        if recommendation > down:
            recommendation = down
        return recommendation

    def _rate(self, now: float, current: int, desired: int) -> int:
        added = sum(change for when, change in self.added if when > now - PERIOD)
        deleted = sum(change for when, change in self.deleted if when > now - PERIOD)
        start = current - added + deleted
        if desired > current:
            limit = max(start + PODS, math.ceil(start * (1 + PERCENT / 100)))
            limit = max(limit, current)
            return min(desired, min(self.maximum, limit))
        if desired < current:
            limit = int(start * (1 - PERCENT / 100))
            limit = min(limit, current)
            return max(desired, max(self.minimum, limit))
        return desired


def replicas_of(values: list[float], missing: int, unready: int, current: int, target: float) -> int:
    """What the metric recommends; see `HPA.synchronise`."""
    ratio = sum(values) / len(values) / target
    with_unready = unready > 0 and ratio > 1.0
    if not with_unready and missing == 0:
        if _within(ratio):
            return current
        return math.ceil(ratio * len(values))
    if missing:
        if ratio < 1.0:
            values += [target] * missing
        elif ratio > 1.0:
            values += [0.0] * missing
    if with_unready:
        values += [0.0] * unready
    again = sum(values) / len(values) / target
    if _within(again) or (ratio < 1.0 and again > 1.0) or (ratio > 1.0 and again < 1.0):
        return current
    replicas = math.ceil(again * len(values))
    if (again < 1.0 and replicas > current) or (again > 1.0 and replicas < current):
        return current
    return replicas


def _within(ratio: float) -> bool:
    return 1.0 - TOLERANCE <= ratio <= 1.0 + TOLERANCE


def _within_period(events: list[tuple[float, int]], now: float) -> list[tuple[float, int]]:
    return [event for event in events if event[0] > now - PERIOD]
