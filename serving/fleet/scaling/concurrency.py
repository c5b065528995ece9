"""The policy of requests in flight, by the rule of Knative's autoscaler.

desired = ceil(requests in flight / those of each replica), of a mean over a window. Where a mean over a much shorter
window calls for `panic` times as many replicas as are ready, it counts too, and for a window after that no replica
goes; so it is at first, when there is no past to go by. Source: knative/serving, pkg/autoscaler/scaling/autoscaler.go
(`Scale`), whose bounds on how fast a number may change are the rules `scaling.up` and `scaling.down` here.
"""

import math
from collections import deque

from serving.fleet.scaling.config import ConcurrencyConfig
from serving.fleet.scaling.observation import Observation, Recommendation


class Concurrency:
    """As many replicas as keep the requests in flight at each at a number."""

    def __init__(self, name: str, config: ConcurrencyConfig) -> None:
        self.name = name
        self._config = config
        self._seen: deque[tuple[float, int]] = deque()
        self._panic: float | None = None  # when it was called for last
        self._most = 0  # replicas since it began

    def recommend(self, seen: Observation) -> Recommendation:
        """What the means call for; in a panic the most that they did."""
        if seen.open_requests is None:
            return Recommendation(self.name, None, "the number of requests in flight is missing")
        if not self._seen and seen.ready > 1:
            self._panic, self._most = seen.time, seen.ready
        calm, hasty = self._means(seen.time, seen.open_requests)
        wanted, hurried = (math.ceil(mean / self._config.per_replica) for mean in (calm, hasty))
        if hurried >= self._config.panic * max(1, seen.ready):
            self._panic = seen.time
        elif self._panic is not None and seen.time - self._panic > self._config.window_seconds:
            self._panic, self._most = None, 0
        if self._panic is None:
            return Recommendation(self.name, wanted, self._said(calm, self._config.window_seconds))
        self._most = max(self._most, wanted, hurried)
        reason = f"{self._said(hasty, self._config.panic_seconds)}, and none goes while many come"
        return Recommendation(self.name, self._most, reason)

    def _means(self, now: float, number: int) -> tuple[float, float]:
        """Of the requests in flight over either window, this reading among them."""
        self._seen.append((now, number))
        while self._seen[0][0] <= now - self._config.window_seconds:
            self._seen.popleft()
        recent = [number for when, number in self._seen if when > now - self._config.panic_seconds]
        return sum(number for _, number in self._seen) / len(self._seen), sum(recent) / len(recent)

    def _said(self, mean: float, seconds: float) -> str:
        return f"{mean:.4g} requests in flight over {seconds:g} s where each replica has {self._config.per_replica:g}"
