"""The cases that wait: by program, by priority, fair between models."""

import weakref
from collections import deque
from dataclasses import dataclass, field

from pnol_jax.servable import Answers, Bucket
from serving.costs import Costs
from serving.engine.jobs import RANKS, Ticket
from serving.engine.patience import Patience
from serving.engine.statistics import EngineStatistics
from serving.ladder import Ladder

Picked = list[tuple[Ticket, int]]  # cases: their ticket, and their position in its job


@dataclass(eq=False)
class Lane:
    """The cases that share a program."""

    ladder: Ladder
    bucket: Bucket
    answer: Answers
    costs: Costs
    patience: Patience = field(default_factory=Patience)
    cases: tuple[deque[tuple[int, Ticket, int]], ...] = field(default_factory=lambda: tuple(deque() for _ in RANKS))

    @property
    def model(self) -> str:
        """Between which the engine's time is shared."""
        return self.ladder.servable.manifest.name

    @property
    def waiting(self) -> int:
        """How many cases wait."""
        return sum(map(len, self.cases))

    @property
    def alone(self) -> bool:
        """Whether one case waits here, and lately no others came with one."""
        return self.waiting == 1 and self.patience.level < 2

    @property
    def order(self) -> tuple[int, int]:
        """The best priority that waits here, and when its first case came."""
        rank = next(rank for rank, cases in enumerate(self.cases) if cases)
        return rank, self.cases[rank][0][0]

    def take(self, number: int) -> list[tuple[Ticket, int]]:
        """So many cases, the most urgent first."""
        taken: list[tuple[Ticket, int]] = []
        for cases in self.cases:
            while cases and len(taken) < number:
                _, ticket, position = cases.popleft()
                taken.append((ticket, position))
        return taken


class Queue:
    """Used under the engine's lock.

    Among lanes of the same priority that one comes next whose model has had the least of the device (start-time fair
    queueing: Goyal, Vin, Cheng 1996); a model that was away comes back with as much as the one served last, so that it
    claims nothing for the time that it did not ask. Within a model the earliest case comes first.
    """

    def __init__(self, statistics: EngineStatistics) -> None:
        self._lanes: dict[tuple[Ladder, Bucket, Answers], Lane] = {}
        self._busy: dict[Lane, None] = {}  # those where something waits
        self._left: weakref.WeakSet[Ladder] = weakref.WeakSet()
        self._had: dict[str, float] = {}
        self._clock = 0.0
        self._arrivals = 0
        self._statistics = statistics

    def __bool__(self) -> bool:
        return bool(self._busy)

    def push(self, ticket: Ticket) -> None:
        """Let the cases of a ticket wait."""
        job = ticket.job
        key = (job.ladder, job.place.bucket, job.answer)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(*key, job.ladder.costs[key[1:]])
        if all(other.model != lane.model for other in self._busy):
            self._had[lane.model] = max(self._had.get(lane.model, 0.0), self._clock)
        self._busy[lane] = None
        cases, waiting = lane.cases[RANKS[job.priority]], lane.waiting
        for position in range(len(job.inputs)):
            cases.append((self._arrivals, ticket, position))
            self._arrivals += 1
        lane.patience.arrived(lane.costs.saving(waiting))
        self._statistics.waiting += len(job.inputs)
        self._statistics.waiting_seconds += len(job.inputs) * lane.costs.case

    def only(self) -> Lane | None:
        """The lane in which everything waits that waits, if it is one."""
        return next(iter(self._busy)) if len(self._busy) == 1 else None

    def next(self) -> Lane:
        """The lane that comes next."""
        return min(self._busy, key=lambda lane: (lane.order[0], self._had[lane.model], lane.order[1]))

    def take(self, lane: Lane) -> Picked:
        """A batch of a lane, without the cases whose requests are gone: empty if all are."""
        waiting = lane.waiting
        size = lane.costs.size(waiting)
        taken: Picked = []
        while len(taken) < size and (some := lane.take(size - len(taken))):
            self._statistics.waiting -= len(some)
            self._statistics.waiting_seconds -= len(some) * lane.costs.case
            taken += [(ticket, position) for ticket, position in some if not ticket.future.done()]
        lane.patience.went(waiting)
        if not lane.waiting:
            del self._busy[lane]
            if lane.ladder in self._left:
                del self._lanes[lane.ladder, lane.bucket, lane.answer]
            if not self._busy:
                self._statistics.waiting_seconds = 0.0  # what rounding left
        if taken:
            self._clock = self._had[lane.model]
            self._had[lane.model] += lane.costs.seconds[lane.costs.holding(len(taken))]
        return taken

    def forget(self, ladder: Ladder) -> None:
        """Let go of a servable's programs, once nothing waits for them any more."""
        self._left.add(ladder)
        for key, lane in list(self._lanes.items()):
            if lane.ladder is ladder and lane not in self._busy:
                del self._lanes[key]
