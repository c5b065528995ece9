"""A policy in simulated time: what becomes of the requests, and what it costs."""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from serving.fleet.scaling.observation import Decision, Observation
from serving.fleet.scaling.traces import Floats, Trace
from serving.fleet.scaling.world import Queue, World

Decide = Callable[[Observation], Decision]


class Moment(NamedTuple):
    """A reading of the figures and the decision that followed."""

    time: float
    rate: float  # requests a second
    ready: int
    desired: int
    queued: int


@dataclass(frozen=True)
class Outcome:
    """What became of a trace under a policy."""

    trace: str
    responses: Floats  # seconds from arrival to answer, (requests,); infinite without one
    replica_seconds: float
    line: tuple[Moment, ...]
    objective: float

    @property
    def violations(self) -> int:
        """Requests that took longer than the objective."""
        return int((self.responses > self.objective).sum())

    @property
    def share(self) -> float:
        """Of the requests that took longer than the objective."""
        return self.violations / max(len(self.responses), 1)

    @property
    def replica_hours(self) -> float:
        """Hours of all replicas: those that start, wait as spares or finish their last request among them."""
        return self.replica_seconds / 3600

    @property
    def changes(self) -> int:
        """How often the number of replicas changed."""
        return int(np.count_nonzero(np.diff([moment.desired for moment in self.line])))

    def quantile(self, level: float) -> float:
        """Of the seconds from arrival to answer."""
        if not len(self.responses):
            return math.nan
        return float(np.quantile(self.responses, level, method="inverted_cdf"))  # a request's own: some are infinite


class _Past(NamedTuple):
    """Sums since the beginning."""

    time: float
    arrived: int
    work: float
    ready_seconds: float
    begun: int


class Replay:
    """One run of a trace; see `replay`."""

    def __init__(self, trace: Trace, decide: Decide, world: World, initial: int, seed: int) -> None:
        self._trace, self._decide, self._world = trace, decide, world
        self._arrivals = trace.arrivals(seed)
        self._queue = Queue(self._arrivals.tolist(), world, seed)
        self._starting = deque[float]()  # when they will be ready
        self._warm = 0  # spares
        self._seconds = self._ready_seconds = self._time = 0.0
        for _ in range(initial):
            self._queue.add(0.0)
        self._past = deque([_Past(0.0, 0, 0.0, 0.0, 0)])

    def run(self) -> Outcome:
        """To the end of the trace."""
        times = np.append(
            np.arange(self._world.read_seconds, self._trace.end, self._world.read_seconds), self._trace.end
        )
        line = []
        for time, arrived in zip(times.tolist(), np.searchsorted(self._arrivals, times).tolist(), strict=True):
            self._pass(time)
            seen = self._observe(time, arrived)
            decision = self._decide(seen)
            queued = arrived - len(self._queue.answered)
            line.append(Moment(time, seen.requests_per_second or 0.0, seen.ready, decision.desired, queued))
            self._act(decision)
        responses = np.array(self._queue.answered)
        lost = np.full(len(self._arrivals) - len(responses), np.inf)
        lost[self._trace.end - self._arrivals[len(responses) :] <= self._world.objective_seconds] = 0.0  # not yet late
        responses = np.append(responses, lost)
        return Outcome(self._trace.name, responses, self._seconds, tuple(line), self._world.objective_seconds)

    def _pass(self, until: float) -> None:
        """Let time go on; replicas that started become ready."""
        while self._starting and self._starting[0] <= until:
            self._move(self._starting[0])
            self._queue.add(self._starting.popleft())
        self._move(until)

    def _move(self, time: float) -> None:
        elapsed, self._time = time - self._time, time
        self._queue.advance(time)
        self._ready_seconds += elapsed * self._queue.ready
        self._seconds += elapsed * (self._queue.ready + len(self._starting) + self._warm)

    def _observe(self, time: float, arrived: int) -> Observation:
        begun, ready = len(self._queue.answered), self._queue.ready
        now = _Past(time, arrived, self._queue.done_work(time), self._ready_seconds, begun)
        while len(self._past) > 1 and self._past[1].time <= time - self._world.window_seconds:
            self._past.popleft()
        then = self._past[0]
        self._past.append(now)
        working = now.ready_seconds - then.ready_seconds
        recent = sorted(self._queue.answered[then.begun : begun])
        return Observation(
            time,
            ready + len(self._starting),
            ready,
            (arrived - then.arrived) / (time - then.time),
            min(1.0, (now.work - then.work) / working) if working else None,
            (arrived - begun) * self._world.service_seconds / max(ready, 1),
            recent[math.ceil(0.99 * len(recent)) - 1] if recent else None,
            arrived - begun + self._queue.busy(time),
        )

    def _act(self, decision: Decision) -> None:
        more = decision.desired - decision.before
        for _ in range(more):
            warm = self._warm > 0
            self._warm -= warm
            self._starting.append(self._time + (self._world.warm_seconds if warm else self._world.start_seconds))
        self._starting = deque(sorted(self._starting))
        for _ in range(-more):
            if self._starting:
                self._starting.pop()
            else:
                self._seconds += self._queue.remove(self._time)
        self._warm = decision.spares


def replay(trace: Trace, decide: Decide, world: World, initial: int = 1, seed: int = 0) -> Outcome:
    """Play a trace through a policy.

    Args:
        trace: of traffic
        decide: of a new `Scaler`
        world: what replicas are like
        initial: replicas that are ready at the beginning
        seed: of arrivals and service times
    """
    return Replay(trace, decide, world, initial, seed).run()
