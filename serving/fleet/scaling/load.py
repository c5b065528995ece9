"""The load of a fleet: how many replicas are busy on average, and for how long a request keeps one."""

import math
from collections import deque
from dataclasses import dataclass

from serving.fleet.scaling.observation import Observation

SATURATED = 0.95  # utilisation, from which on requests come faster than they are done
MEMORY_SECONDS = 60.0  # over which what was learnt of a request's time fades


@dataclass(frozen=True)
class Load:
    """Mean number of busy replicas that the arrivals call for, and a request's mean seconds of one of them."""

    busy: float
    service: float
    waiting: float  # seconds of work that waits, of all replicas together


class Meter:
    """Measures the load. How long a request takes is learnt while no replica is saturated, unless it is stated.

    A mean over the last minute, weighted by the requests; where replicas take requests in batches, of the batches that
    the fleet makes at present. The rate is a mean over `over` seconds of what was observed.
    """

    def __init__(self, service: float | None = None, over: float = 0.0) -> None:
        self._stated, self._over = service, over
        self._rates: deque[tuple[float, float]] = deque()
        self._busy = self._requests = 0.0
        self._last: float | None = None

    @property
    def service(self) -> float | None:
        """Seconds of a request; None: not yet known."""
        if self._stated is not None:
            return self._stated
        return self._busy / self._requests if self._requests > 0 and self._busy > 0 else None

    def measure(self, seen: Observation, rate: float | None = None) -> Load | None:
        """The load at a rate of requests a second, by default the observed one; None where figures are missing."""
        self._learn(seen)
        rate = self._mean(seen) if rate is None else rate
        if rate is None or self.service is None:
            return None
        waiting = (seen.queue_seconds or 0.0) * seen.ready
        return Load(rate * self.service, self.service, waiting)

    def _mean(self, seen: Observation) -> float | None:
        """The rate; None where it is missing now."""
        if seen.requests_per_second is None:
            return None
        self._rates.append((seen.time, seen.requests_per_second))
        while self._rates[0][0] <= seen.time - self._over and len(self._rates) > 1:
            self._rates.popleft()
        return sum(rate for _, rate in self._rates) / len(self._rates)

    def _learn(self, seen: Observation) -> None:
        if seen.utilisation is None or seen.requests_per_second is None or not seen.ready:
            return
        elapsed = 1.0 if self._last is None else seen.time - self._last
        if elapsed <= 0 or (seen.utilisation > SATURATED and self._requests):
            return
        self._last = seen.time
        kept = math.exp(-elapsed / MEMORY_SECONDS)
        self._busy = kept * self._busy + elapsed * seen.utilisation * seen.ready
        self._requests = kept * self._requests + elapsed * seen.requests_per_second
