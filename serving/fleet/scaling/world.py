"""What replicas are like in simulated time, and the one queue before them."""

from heapq import heappop, heappush, heapreplace
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from serving.fleet.scaling.config import Count, Part, Positive, Window


class World(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Assumptions of a replay: requests wait in one queue, first come first served; a replica takes up to `batch`."""

    service_seconds: Annotated[Positive, Meta(description="of a request alone, on average")] = 0.25
    variability: Annotated[Window, Meta(description="of it: standard deviation over mean, of a gamma law")] = 0.5
    batch: Annotated[Count, Meta(description="requests that a replica takes at once, of those that wait")] = 1
    marginal: Annotated[Part, Meta(description="time that another request of a batch adds, of the first one's")] = 0.3
    start_seconds: Annotated[Window, Meta(description="from a decision to a replica that serves")] = 10.0
    warm_seconds: Annotated[Window, Meta(description="the same for a warm spare")] = 0.5
    read_seconds: Annotated[Positive, Meta(description="between readings of the figures, each with a decision")] = 0.5
    window_seconds: Annotated[Positive, Meta(description="that rate and utilisation are means over")] = 1.0
    objective_seconds: Annotated[Positive, Meta(description="from arrival to answer; longer violates it")] = 1.0


class Queue:
    """Requests and the ready replicas that serve them, up to some time."""

    def __init__(self, arrivals: list[float], world: World, seed: int) -> None:
        self._arrivals, self._batch, self._marginal = arrivals, world.batch, world.marginal
        self._service = service_times(world, len(arrivals), seed)
        self._free: list[float] = []  # a heap: when each ready replica is done with what it has
        self._leaving: list[float] = []  # the same of those that take no more
        self.answered: list[float] = []  # seconds from arrival to answer, of those that were begun
        self.begun_work = 0.0  # replica-seconds

    @property
    def ready(self) -> int:
        """Replicas that take requests."""
        return len(self._free)

    def add(self, time: float) -> None:
        """A replica is ready from now on."""
        heappush(self._free, time)

    def remove(self, time: float) -> float:
        """The replica that is done first takes no more: the seconds for which it still works."""
        left = max(0.0, heappop(self._free) - time)
        if left:
            self._leaving.append(time + left)
        return left

    def busy(self, time: float) -> int:
        """Replicas that work now."""
        return sum(end > time for end in self._free) + sum(end > time for end in self._leaving)

    def done_work(self, time: float) -> float:
        """Replica-seconds of work that are done by now, since the beginning."""
        self._leaving = [end for end in self._leaving if end > time]
        return self.begun_work - sum(end - time for end in (*self._free, *self._leaving) if end > time)

    def advance(self, until: float) -> None:
        """Begin all requests that can begin before a time."""
        free, arrivals, service, answered = self._free, self._arrivals, self._service, self.answered
        index, last = len(answered), len(arrivals)
        while index < last and free:
            start = max(free[0], arrivals[index])
            if start >= until:
                break
            if self._batch == 1:
                seconds = service[index]
                heapreplace(free, start + seconds)
                self.begun_work += seconds
                answered.append(start + seconds - arrivals[index])
                index += 1
                continue
            end = index + 1
            while end < last and end - index < self._batch and arrivals[end] <= start:
                end += 1
            seconds = service[index] * (1 + self._marginal * (end - index - 1))
            heapreplace(free, start + seconds)
            self.begun_work += seconds
            answered.extend([start + seconds - arrival for arrival in arrivals[index:end]])
            index = end


def service_times(world: World, number: int, seed: int) -> list[float]:
    """Seconds that requests take alone: gamma distributed; all alike where the variability is 0."""
    if world.variability == 0:
        return [world.service_seconds] * number
    shape = world.variability**-2
    generator = np.random.default_rng([seed, 1])
    drawn: list[float] = generator.gamma(shape, world.service_seconds / shape, number).tolist()
    return drawn
