"""From observations to decisions."""

import math

from serving.fleet.scaling.config import ScalingConfig
from serving.fleet.scaling.limits import Steps, Windows
from serving.fleet.scaling.observation import Decision, Observation, Recommendation
from serving.fleet.scaling.policies import policies_of


class Scaler:
    """Decides how many replicas a fleet has; remembers what it needs of earlier observations.

    Several policies: the largest number wins. Where one lacks its figures, the others may only add replicas. With the
    settings `hpa` and utilisation or any other of its metrics it is Kubernetes' HorizontalPodAutoscaler.
    """

    def __init__(self, config: ScalingConfig, minimum: int, maximum: int) -> None:
        self.minimum, self.maximum = minimum, maximum
        self._config = config
        self._policies = policies_of(config)
        self._windows = Windows(config.up.window_seconds, config.down.window_seconds)
        self._steps = Steps(config.up, config.down)
        self._asked = -math.inf  # when there was a request last

    def decide(self, seen: Observation) -> Decision:
        """The number of replicas from now on; called each time that figures were read, times increasing."""
        by = tuple(policy.recommend(seen) for policy in self._policies)
        desired, reason = self._settled(seen, by)
        self._steps.note(seen.time, desired - seen.replicas)
        return Decision(seen.shown, seen.replicas, desired, reason, by, self._config.spares)

    def _settled(self, seen: Observation, by: tuple[Recommendation, ...]) -> tuple[int, str]:
        """The number, and why."""
        if seen.replicas > self.maximum:
            return self.maximum, f"{seen.replicas} are more than the maximum"
        if self.minimum == 0 and (resting := self._resting(seen)) is not None:
            return resting
        if seen.replicas < self.minimum:
            return self.minimum, f"{seen.replicas} are fewer than the minimum"
        wanted, reason = _largest(seen, by)
        if wanted is None:
            return seen.replicas, reason
        return self._limited(seen, max(wanted, 1) if self.minimum == 0 else wanted, reason)

    def _limited(self, seen: Observation, wanted: int, reason: str) -> tuple[int, str]:
        now, current = seen.time, seen.replicas
        settled = self._windows.settle(now, current, wanted)
        allowed = self._steps.limit(now, current, settled.replicas, self.minimum, self.maximum)
        return allowed.replicas, "; ".join(filter(None, (reason, settled.because, allowed.because)))

    def _resting(self, seen: Observation) -> tuple[int, str] | None:
        """Of a fleet that may have no replica: to none after an idle time, from none for a request."""
        if seen.requests_per_second or seen.open_requests or self._asked == -math.inf:
            self._asked = seen.time
        asked = bool(seen.requests_per_second or seen.open_requests)
        if seen.replicas == 0:
            return (min(1, self.maximum), "a request came") if asked else (0, "nobody asks")
        if not asked and seen.time - self._asked >= self._config.idle_seconds:
            return 0, f"nobody asked for {self._config.idle_seconds:g} s"
        return None


def _largest(seen: Observation, by: tuple[Recommendation, ...]) -> tuple[int | None, str]:
    """What the policies together want; None: leave it."""
    known = [said for said in by if said.desired is not None]
    if not known:
        return None, "no policy has its figures"
    first = max(known, key=lambda said: said.desired or 0)
    if len(known) < len(by) and (first.desired or 0) < seen.replicas:
        lacking = ", ".join(said.policy for said in by if said.desired is None)
        return None, f"fewer only if every policy has its figures: {lacking} has not"
    return first.desired, f"{first.policy}: {first.reason}"
