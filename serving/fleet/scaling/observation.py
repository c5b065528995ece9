"""What a policy sees of a fleet, and what it says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Observation:
    """A fleet at one time; None for a figure that could not be read.

    Means are over the ready replicas whose figures came, `reporting` of them.
    """

    time: float  # seconds, of a clock that nobody sets
    replicas: int  # wanted, those that start among them
    ready: int
    requests_per_second: float | None = None  # that came, of all replicas together
    utilisation: float | None = None  # share of the time that a replica works
    queue_seconds: float | None = None  # of work that waits at a replica: what a request that comes now would wait
    p99_seconds: float | None = None  # from a request's arrival to its answer
    open_requests: int | None = None  # that wait or are worked on, of all replicas together
    metrics: Mapping[str, float] = field(default_factory=dict)  # values of Prometheus queries by the policy's name
    reporting: int | None = None  # ready replicas whose figures came; None: all
    refused_per_second: float | None = None  # of those that came: by full queues, or after waiting too long
    clock: float | None = None  # seconds since the epoch, as clocks show it; None: `time` is that

    @property
    def shown(self) -> float:
        """The time that clocks show, in seconds since the epoch."""
        return self.time if self.clock is None else self.clock

    @property
    def counted(self) -> int:
        """Replicas that the means are over."""
        return self.ready if self.reporting is None else self.reporting


@dataclass(frozen=True)
class Recommendation:
    """What one policy says; `desired` is None where what it needs is missing."""

    policy: str
    desired: int | None
    reason: str


@dataclass(frozen=True)
class Decision:
    """How many replicas there shall be, and why."""

    time: float
    before: int  # wanted until then, which need not be there
    desired: int
    reason: str  # one sentence
    by: tuple[Recommendation, ...] = ()
    spares: int = 0  # loaded beside them, without traffic


class Policy(Protocol):
    """Says how many replicas there should be."""

    @property
    def name(self) -> str:
        """In decisions."""

    def recommend(self, seen: Observation) -> Recommendation:
        """What it says of an observation; it may remember earlier ones."""
