"""What the engine is given to do, and what of it is under way."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pnol_jax.servable import Answers, case_keys
from serving.ladder import Ladder
from serving.monitoring.record import Record
from serving.places import Place

Arrays = dict[str, NDArray[Any]]
Outcome = Sequence[tuple[asyncio.Future[Arrays], Arrays | Exception]]
Priority = Literal["high", "normal", "low"]
RANKS: dict[Priority, int] = {"high": 0, "normal": 1, "low": 2}


@dataclass(frozen=True, eq=False)
class Job:
    """A request's cases at one place: inputs (cases, *space, input channels), float32.

    `fields`: what the program takes besides, (cases, *space, channels), or with draws before the space axes, float32.
    `step`: the number of a step, where it is one. `first`: the position of the first case, of which its draws depend.
    `record`: what takes note of the request.
    """

    ladder: Ladder
    place: Place
    answer: Answers
    inputs: NDArray[np.float32]
    seed: int = 0
    priority: Priority = "normal"
    fields: tuple[NDArray[np.float32], ...] = ()
    step: int | None = None
    first: int = 0
    record: Record | None = None


@dataclass(eq=False)
class Ticket:
    """A job under way: its arrays fill up case by case, from one batch or several."""

    job: Job
    future: asyncio.Future[Arrays]
    missing: int
    submitted: float = field(default_factory=time.monotonic)
    started: bool = False
    arrays: Arrays = field(default_factory=dict)

    @cached_property
    def keys(self) -> NDArray[np.uint32]:
        """Of the cases' draws, (cases, 2), or of their step, (cases, 3)."""
        return case_keys(self.job.seed, len(self.job.inputs), self.job.step, self.job.first)

    def take(self, position: int, case: Arrays) -> None:
        """Keep the answer of the case at a position, arrays (*space, channels)."""
        cases = len(self.job.inputs)
        for name, values in case.items():
            if name not in self.arrays:
                self.arrays[name] = np.empty((cases, *values.shape), values.dtype)
            self.arrays[name][position] = values
        self.missing -= 1
