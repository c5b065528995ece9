"""Policies that size a fleet by a queue: by the mean time in it, or by the latency of most requests."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from serving.fleet.scaling.config import LatencyConfig, QueueTimeConfig
from serving.fleet.scaling.load import Load, Meter
from serving.fleet.scaling.observation import Observation, Recommendation
from serving.fleet.scaling.queues import servers_for_mean, servers_for_share

QUEUED = 2.0  # requests that wait at each replica: where one takes longer than the target, fewer are chance


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
    """The same, and one more than there are whenever what is measured exceeds the objective, or requests are refused.

    `requests`: times that a request takes alone, which are not late in any case.
    """

    name: str
    sized: Sized
    what: str
    measured: Callable[[Observation], float | None]  # seconds
    objective: float  # seconds
    requests: float = 0.0

    def recommend(self, seen: Observation) -> Recommendation:
        """What the queue needs, or one more than there are; those that start already are waited for."""
        said, value = self.sized.recommend(seen), self.measured(seen)
        bound = max(self.objective, self.requests * (self.sized.meter.service or 0.0))
        more = seen.replicas + (seen.ready >= seen.replicas)
        if said.desired is not None and said.desired >= more:
            return said
        if seen.refused_per_second:
            return Recommendation(self.name, more, f"{seen.refused_per_second:.3g} requests a second are refused")
        if value is None or value <= bound:
            return said
        return Recommendation(self.name, more, f"{self.what} of {value:.3g} s, the objective is {bound:.3g} s")


def queue_time(name: str, config: QueueTimeConfig) -> Late:
    """The policy that keeps the mean time in the queue; a queue that is measured is the first sign of too much."""

    def servers(busy: float, service: float) -> int:
        return servers_for_mean(busy, service, config.target, config.variability)

    sized = Sized(name, Meter(config.service_seconds, config.rate_seconds), config.within, servers)
    return Late(name, sized, "a queue", lambda seen: seen.queue_seconds, config.target, QUEUED)


def latency(name: str, config: LatencyConfig) -> Late:
    """The policy that keeps the latency of a share of the requests: what the service leaves of it may be waited."""

    def servers(busy: float, service: float) -> int:
        patience = max(0.0, config.objective - service)
        return servers_for_share(busy, service, patience, config.share, config.variability)

    sized = Sized(name, Meter(config.service_seconds, config.rate_seconds), config.within, servers)
    return Late(name, sized, "p99", lambda seen: seen.p99_seconds, config.objective)


def _said(load: Load) -> str:
    backlog = f", {load.waiting:.3g} s of work wait" if load.waiting >= load.service else ""
    return f"{load.busy:.3g} replicas busy, {1e3 * load.service:.3g} ms for a request{backlog}"
