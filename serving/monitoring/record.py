"""What is known of one request, from its bytes to those of its answer; made only where somebody wants it."""

import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import NamedTuple


class Interval(NamedTuple):
    """A stage of a request, in seconds of the monotonic clock."""

    stage: str
    start: float
    end: float


@dataclass(slots=True, eq=False)
class Record:
    """Filled in by the parts that a request passes.

    `trace`: the caller's `traceparent`; `place`: in [0, 1), by which a share of the requests is chosen.
    """

    endpoint: str
    request_id: str
    trace: str | None = None
    model: str | None = None
    version: str | None = None
    bucket: tuple[int, ...] | None = None
    cached: bool | None = None
    status: int | str = 0
    error: str | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    start: float = field(default_factory=time.monotonic)
    end: float = 0.0
    stages: list[Interval] = field(default_factory=list)
    place: float = 0.0

    def note(self, stage: str, start: float, end: float) -> None:
        """Note that a stage took so long; from any thread."""
        self.stages.append(Interval(stage, start, end))

    def seconds(self) -> dict[str, float]:
        """The sum of each stage."""
        sums: dict[str, float] = {}
        for stage, start, end in self.stages:
            sums[stage] = sums.get(stage, 0.0) + end - start
        return sums


# That of the request which the task at hand answers; a task that outlives it begins in a context of its own.
RECORD: ContextVar[Record | None] = ContextVar("record", default=None)
