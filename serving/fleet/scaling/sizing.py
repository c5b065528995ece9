"""Policies that size a fleet by a queue: by the mean time in it, or by the latency of most requests."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from serving.fleet.scaling.config import LatencyConfig, QueueTimeConfig
from serving.fleet.scaling.load import Load, Meter
from serving.fleet.scaling.observation import Observation, Recommendation
from serving.fleet.scaling.queues import servers_for_mean, servers_for_share


@dataclass(frozen=True)
class Sized:
    """As many replicas as a queue needs, with what waits already worked off in time."""

    name: str
    meter: Meter
    within: float  # seconds
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
        return max(self.servers(load.busy, load.service), math.ceil(load.busy + load.waiting / self.within))


@dataclass(frozen=True)
class Late:
    """The same, and one more than there are whenever what is measured exceeds the objective."""

    name: str
    sized: Sized
    objective: float  # seconds

    def recommend(self, seen: Observation) -> Recommendation:
        """What the queue needs, or one more than there are; those that start already are waited for."""
        said = self.sized.recommend(seen)
        late = seen.p99_seconds is not None and seen.p99_seconds > self.objective
        more = seen.replicas + (seen.ready >= seen.replicas)
        if not late or said.desired is None or said.desired >= more:
            return said
        return Recommendation(
            self.name, more, f"p99 of {seen.p99_seconds:.3g} s, the objective is {self.objective:g} s"
        )


def queue_time(name: str, config: QueueTimeConfig) -> Sized:
    """The policy that keeps the mean time in the queue."""

    def servers(busy: float, service: float) -> int:
        return servers_for_mean(busy, service, config.target, config.variability)

    return Sized(name, Meter(config.service_seconds, config.rate_seconds), config.within, servers)


def latency(name: str, config: LatencyConfig) -> Sized:
    """The policy that keeps the latency of a share of the requests: what the service leaves of it may be waited."""

    def servers(busy: float, service: float) -> int:
        patience = max(0.0, config.objective - service)
        return servers_for_share(busy, service, patience, config.share, config.variability)

    return Sized(name, Meter(config.service_seconds, config.rate_seconds), config.within, servers)


def _said(load: Load) -> str:
    backlog = f", {load.waiting:.3g} s of work wait" if load.waiting >= load.service else ""
    return f"{load.busy:.3g} replicas busy, {1e3 * load.service:.3g} ms for a request{backlog}"
