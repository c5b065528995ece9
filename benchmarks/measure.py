"""Timing several sides of a comparison in one run, in turns, so that what the machine does meanwhile meets all alike.

Every round runs each side once, in the same order: A B A B ... A turn begins with one step that does not count (the
other side has the caches) and then takes about `burst` seconds. Ratios are taken within a round, where both sides met
the same machine, and their interval is a bootstrap over rounds.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.peer_scripts.line_protocol import seconds_per_step
from pnol_jax.errors import InputError

_CONFIDENCE = 0.95
_RESAMPLES = 4000


class Side(Protocol):
    """One of the things compared: a step that can be repeated, in this process or in another."""

    @property
    def name(self) -> str:
        """What tables call it."""

    @property
    def pid(self) -> int:
        """The process that does the work."""

    def run(self, steps: int) -> float:
        """Do `steps` steps and return the seconds that one took."""


@dataclass(frozen=True)
class LocalSide:
    """A step in this process. `step` returns when its work is done (`jax.block_until_ready`)."""

    name: str
    step: Callable[[], object]
    pid: int = field(default_factory=os.getpid)

    def run(self, steps: int) -> float:
        """Do `steps` steps and return the seconds that one took."""
        return seconds_per_step(self.step, steps)


@dataclass(frozen=True)
class Ratio:
    """A ratio of times and its 95% bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Timings:
    """Seconds per step of each side in each round, and whether the sides left each other alone.

    `resting` is the largest share of one core that a process took while a side of another process ran: near zero where
    a side that waits really rests.
    """

    seconds: Mapping[str, NDArray[np.float64]]
    resting: float | None = None  # not measured

    @property
    def rounds(self) -> int:
        """How often each side had its turn."""
        return len(next(iter(self.seconds.values())))

    def median(self, name: str) -> float:
        """The median over rounds of a side's seconds per step."""
        return float(np.median(self.seconds[name]))

    def quartiles(self, name: str) -> tuple[float, float]:
        """The first and third quartile over rounds of a side's seconds per step."""
        low, high = np.quantile(self.seconds[name], [0.25, 0.75])
        return float(low), float(high)

    def ratio(self, above: str, below: str) -> Ratio:
        """How many times longer `above` takes than `below`."""
        return paired_ratio(self.seconds[above], self.seconds[below])


def paired_ratio(above: NDArray[np.float64], below: NDArray[np.float64], seed: int = 0) -> Ratio:
    """The median of the paired ratios above / below, with a percentile bootstrap over the pairs (Efron 1979).

    Args:
        above: seconds, (rounds,)
        below: seconds of the same rounds, (rounds,)
        seed: of the resampling
    """
    ratios = above / below
    return Ratio(float(np.median(ratios)), *median_interval(ratios, seed))


def median_interval(values: Sequence[float] | NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """The ends of the 95% interval of a median, by a percentile bootstrap over the values (Efron 1979)."""
    values = np.asarray(values)
    draws = np.random.default_rng(seed).integers(len(values), size=(_RESAMPLES, len(values)))
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(np.median(values[draws], axis=1), [tail, 1 - tail])
    return float(low), float(high)


def alternate(sides: Sequence[Side], rounds: int = 15, burst: float = 1.0, warmup: int = 3) -> Timings:
    """Run the sides in turns and return what each took.

    Args:
        sides: two or more, of different names
        rounds: how often each gets its turn
        burst: seconds of a turn, about; a turn is at least one step
        warmup: steps of each side before anything counts (compilation, first allocations)

    Raises:
        InputError: fewer than two sides or rounds, or two sides of one name.
    """
    names = [side.name for side in sides]
    if len(sides) < 2 or len(set(names)) < len(sides) or rounds < 2:
        raise InputError(f"got sides {names} and {rounds} rounds, expected two or more different sides and rounds")
    steps = [_steps_in(burst, side, warmup) for side in sides]
    idle = _Idle({side.pid for side in sides})
    seconds = np.empty((len(sides), rounds))
    for turn in range(rounds):
        for index, side in enumerate(sides):
            with idle.but(side.pid):
                side.run(1)
                seconds[index, turn] = side.run(steps[index])
    return Timings(dict(zip(names, seconds, strict=True)), idle.largest_share())


def _steps_in(burst: float, side: Side, warmup: int) -> int:
    side.run(warmup)
    return max(1, round(burst / side.run(1)))


class _Idle:
    """Adds up, per process, the processor time it took while others worked, and how long they did."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._processes = {pid: psutil.Process(pid) for pid in pids}
        self._taken = dict.fromkeys(self._processes, 0.0)
        self._elapsed = dict.fromkeys(self._processes, 0.0)

    def _cpu_seconds(self, pid: int) -> float:
        times = self._processes[pid].cpu_times()
        return float(times.user + times.system)

    @contextmanager
    def but(self, working: int) -> Iterator[None]:
        """All processes but this one ought to rest inside the block."""
        resting = [pid for pid in self._processes if pid != working]
        start = time.perf_counter()
        before = {pid: self._cpu_seconds(pid) for pid in resting}
        yield
        for pid in resting:
            self._taken[pid] += self._cpu_seconds(pid) - before[pid]
            self._elapsed[pid] += time.perf_counter() - start

    def largest_share(self) -> float:
        return max(
            (taken / self._elapsed[pid] for pid, taken in self._taken.items() if self._elapsed[pid]), default=0.0
        )
