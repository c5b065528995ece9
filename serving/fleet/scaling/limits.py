"""How fast a fleet follows its policies: windows and steps as of `behavior` in Kubernetes' autoscaling/v2.

Source: kubernetes, pkg/controller/podautoscaler/horizontal.go, version 1.33 (`stabilizeRecommendationWithBehaviors`,
`convertDesiredReplicasWithBehaviorRate`).
"""

import math
from collections import deque
from dataclasses import dataclass

from serving.fleet.scaling.config import RulesConfig


@dataclass(frozen=True)
class Limited:
    """A number of replicas, and what kept it from being the one that was asked for ('' if nothing)."""

    replicas: int
    because: str = ""


class Windows:
    """Up: the smallest recommendation of a window counts; down: the largest of another."""

    def __init__(self, up: float, down: float) -> None:
        self._up, self._down = up, down
        self._said: deque[tuple[float, int]] = deque()

    def settle(self, now: float, current: int, desired: int) -> Limited:
        """Note a recommendation: what the windows make of it."""
        longest = max(self._up, self._down)
        while self._said and self._said[0][0] <= now - longest:
            self._said.popleft()
        least = min((number for when, number in self._said if when > now - self._up), default=desired)
        most = max((number for when, number in self._said if when > now - self._down), default=desired)
        self._said.append((now, desired))
        settled = min(max(current, min(least, desired)), max(most, desired))
        if settled == desired:
            return Limited(settled)
        window = self._down if desired < settled else self._up
        return Limited(settled, f"{desired} not yet, for others were recommended within {window:g} s")


class Steps:
    """How many replicas may come and go within the periods of the rules."""

    def __init__(self, up: RulesConfig, down: RulesConfig) -> None:
        self._up, self._down = up, down
        self._longest = max((step.period_seconds for step in (*up.steps, *down.steps)), default=0.0)
        self._changes: deque[tuple[float, int]] = deque()

    def limit(self, now: float, current: int, desired: int, minimum: int, maximum: int) -> Limited:
        """As much of a change from the current number as is allowed now, within the bounds."""
        if desired > current:
            reachable = max(current, self._highest(now, current, maximum))
            if desired > min(maximum, reachable):
                return Limited(min(maximum, reachable), _why("maximum" if maximum <= reachable else "step"))
        if desired < current:
            reachable = min(current, self._lowest(now, current, minimum))
            if desired < max(minimum, reachable):
                return Limited(max(minimum, reachable), _why("minimum" if minimum >= reachable else "step"))
        return Limited(desired)

    def note(self, now: float, change: int) -> None:
        """A change that is made."""
        while self._changes and self._changes[0][0] <= now - self._longest:
            self._changes.popleft()
        if change and self._longest:
            self._changes.append((now, change))

    def _before(self, now: float, current: int, period: float) -> int:
        return current - sum(change for when, change in self._changes if when > now - period)

    def _highest(self, now: float, current: int, maximum: int) -> int:
        if self._up.select == "disabled":
            return current
        reach = [
            start + step.value if step.type == "pods" else math.ceil(start * (1 + step.value / 100))
            for step in self._up.steps
            for start in (self._before(now, current, step.period_seconds),)
        ]
        return (max if self._up.select == "max" else min)(reach, default=max(current, maximum))

    def _lowest(self, now: float, current: int, minimum: int) -> int:
        if self._down.select == "disabled":
            return current
        reach = [
            start - step.value if step.type == "pods" else int(start * (1 - step.value / 100))
            for step in self._down.steps
            for start in (self._before(now, current, step.period_seconds),)
        ]
        return (min if self._down.select == "max" else max)(reach, default=min(current, minimum))


def _why(bound: str) -> str:
    return f"held at the {bound}" if bound != "step" else "as far as a step may go"
