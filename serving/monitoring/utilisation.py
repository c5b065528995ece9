"""How busy the engine was lately, and how many replicas that calls for."""

import math
import time
from collections import deque

import msgspec

FORMULA = "max(1, ceil((utilisation + backlog_seconds / window_seconds) / utilisation_target))"


class BusyTime:
    """Seconds of work in each second of a sliding window. Written by the engine's thread, read by any."""

    def __init__(self, window: float) -> None:
        self.window = window
        self._started = time.monotonic()
        self._seconds: deque[tuple[int, float]] = deque()

    def add(self, start: float, end: float) -> None:
        """Note an interval of work, in seconds of the monotonic clock."""
        first, worked = int(end), end - start
        if self._seconds and self._seconds[-1][0] == first:
            worked += self._seconds.pop()[1]
        self._seconds.append((first, worked))
        while self._seconds[0][0] < end - self.window - 1:
            self._seconds.popleft()

    def share(self) -> float:
        """The share of the window, or of the time since the start if that is shorter, that was spent working."""
        now = time.monotonic()
        since = max(now - self.window, self._started)
        worked = sum(worked for second, worked in tuple(self._seconds) if second + 1 > since)
        return min(1.0, worked / max(now - since, 1e-3))


class Scaling(msgspec.Struct, frozen=True):
    """What an autoscaler asks for. All figures are of this replica, in whose place `recommended_replicas` would do."""

    queued_cases: int
    queue_limit: int
    backlog_seconds: float
    utilisation: float
    window_seconds: float
    utilisation_target: float
    recommended_replicas: int
    formula: str = FORMULA


def recommended_replicas(utilisation: float, backlog_seconds: float, window: float, target: float) -> int:
    """The replicas that would have worked at `target` and emptied the queue within the window; see FORMULA."""
    return max(1, math.ceil((utilisation + backlog_seconds / window) / target))
