"""The engine: cases on any grids go through compiled programs in batches. It knows nothing of HTTP.

Requests are cut into cases. Cases that share a program (servable, bucket, kind of answer) wait in one lane and go
through it together, each with the operands of its own grid. One thread calls the programs; it takes what is waiting
and never waits for more. Each batch wakes the event loop once.
"""

import asyncio
import itertools
import math
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pnol_jax.grids import Grid
from pnol_jax.servable import Answers, Bucket, case_keys, crop, pad
from serving.ladder import Ladder
from serving.operands import OperandStore
from serving.refusals import Unavailable
from serving.utilisation import BusyTime

Arrays = dict[str, NDArray[Any]]
Lane = tuple[Ladder, Bucket, Answers]
Outcome = list[tuple[asyncio.Future[Arrays], Arrays | Exception]]


@dataclass(frozen=True, eq=False)
class Job:
    """A request's cases on one grid: inputs (cases, *space, input channels), float32."""

    ladder: Ladder
    bucket: Bucket
    answer: Answers
    inputs: NDArray[np.float32]
    grid: Grid
    seed: int = 0


@dataclass(eq=False)
class _Ticket:
    """A job under way: its arrays fill up case by case, from one batch or several."""

    job: Job
    future: asyncio.Future[Arrays]
    keys: NDArray[np.uint32]
    missing: int
    arrays: Arrays = field(default_factory=dict)

    def take(self, position: int, case: Arrays) -> None:
        for name, values in case.items():
            if name not in self.arrays:
                self.arrays[name] = np.empty((len(self.job.inputs), *values.shape), values.dtype)
            self.arrays[name][position] = values
        self.missing -= 1


class EngineStatistics(msgspec.Struct):
    """What the engine has done since it started. `slots` counts the places in batches, filled or not."""

    batches: int = 0
    cases: int = 0
    slots: int = 0
    failures: int = 0
    refused: int = 0
    waiting: int = 0
    busy_seconds: float = 0.0
    case_seconds: float = 0.0  # of the engine per case, smoothed


class Engine:
    """One thread that owns the device. `submit` is called from an event loop; everything else happens here."""

    def __init__(self, queue_cases: int, operands_cached: int, utilisation_window: float) -> None:
        self._limit = queue_cases
        self._lanes: dict[Lane, deque[tuple[int, _Ticket, int]]] = {}
        self._arrivals = itertools.count()
        self._operands = OperandStore(operands_cached)
        self._wake = threading.Condition()
        self._closing = False
        self.statistics = EngineStatistics()
        self.busy = BusyTime(utilisation_window)
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the engine's thread runs."""
        return self._thread.is_alive()

    def submit(self, job: Job) -> asyncio.Future[Arrays]:
        """Queue a job. The future gives arrays (cases, *space, channels); cancelling it takes the job out.

        Raises:
            Unavailable: the queue is full, or the engine is closing.
        """
        cases = len(job.inputs)
        future = asyncio.get_running_loop().create_future()
        ticket = _Ticket(job, future, case_keys(job.seed, cases), cases)
        with self._wake:
            if self._closing:
                raise Unavailable("the service is shutting down")
            if self.statistics.waiting + cases > self._limit:
                self.statistics.refused += 1
                raise self._full(cases)
            lane = self._lanes.setdefault((job.ladder, job.bucket, job.answer), deque())
            lane.extend((next(self._arrivals), ticket, position) for position in range(cases))
            self.statistics.waiting += cases
            self._wake.notify()
        return future

    def close(self) -> None:
        """Answer what is waiting, then end the thread."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def backlog_seconds(self) -> float:
        """How long the engine would need for what is waiting, from the cases so far."""
        return self.statistics.waiting * self.statistics.case_seconds

    def _full(self, cases: int) -> Unavailable:
        waiting = self.statistics.waiting
        message = f"the queue is full: {waiting} cases are waiting, got {cases} more, expected at most {self._limit}"
        return Unavailable(message, retry_after=max(1, math.ceil(self.backlog_seconds())))

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._lanes and not self._closing:
                    self._wake.wait()
                if not self._lanes:
                    return
                lane, picked = self._pick()
            if picked:
                started = time.monotonic()
                outcome = self._answer(lane, picked)
                self._count(lane, len(picked), started)  # whoever has an answer finds it counted
                _hand_over(outcome)

    def _pick(self) -> tuple[Lane, list[tuple[_Ticket, int]]]:
        """The lane whose first case came first, and as many of its cases as one batch holds."""
        lane = min(self._lanes, key=lambda lane: self._lanes[lane][0][0])
        queue = self._lanes[lane]
        picked: list[tuple[_Ticket, int]] = []
        most = lane[0].sizes[lane[2]][-1]
        while queue and len(picked) < most:
            _, ticket, position = queue.popleft()
            self.statistics.waiting -= 1
            if not ticket.future.done():  # else it was cancelled, or another of its cases failed
                picked.append((ticket, position))
        if not queue:
            del self._lanes[lane]
        return lane, picked

    def _answer(self, lane: Lane, picked: list[tuple[_Ticket, int]]) -> Outcome:
        """Run a batch: the jobs that it finished, or that it failed with."""
        tickets = list(dict.fromkeys(ticket for ticket, _ in picked))
        try:
            self._compute(lane, picked)
            return [(ticket.future, ticket.arrays) for ticket in tickets if not ticket.missing]
        except Exception as error:  # out of memory, a fault of the device: these requests fail, the engine goes on
            self.statistics.failures += 1
            return [(ticket.future, error) for ticket in tickets]

    def _compute(self, lane: Lane, picked: list[tuple[_Ticket, int]]) -> None:
        ladder, bucket, answer = lane
        batch = ladder.size(answer, len(picked))
        inputs = np.zeros((batch, *bucket, picked[0][0].job.inputs.shape[-1]), np.float32)
        for place, (ticket, position) in enumerate(picked):
            inputs[place] = pad(ticket.job.inputs[position], bucket)
        grids = [ticket.job.grid for ticket, _ in picked]
        operands = self._operands.stacked(ladder.servable.manifest.signature, grids, bucket, batch)
        arguments: list[Any] = [inputs, operands]
        if answer == "samples":
            keys = np.zeros((batch, 2), np.uint32)
            keys[: len(picked)] = [ticket.keys[position] for ticket, position in picked]
            arguments.append(keys)
        arrays = ladder.programs[bucket, answer, batch](*arguments)
        for place, (ticket, position) in enumerate(picked):
            shape = ticket.job.grid.shape
            ticket.take(position, {name: crop(array[place], shape) for name, array in arrays.items()})

    def _count(self, lane: Lane, cases: int, started: float) -> None:
        now = time.monotonic()
        self.busy.add(started, now)
        figures = self.statistics
        figures.batches += 1
        figures.cases += cases
        figures.slots += lane[0].size(lane[2], cases)
        figures.busy_seconds += now - started
        latest = (now - started) / cases
        figures.case_seconds = latest if not figures.case_seconds else 0.9 * figures.case_seconds + 0.1 * latest


def _hand_over(outcome: Outcome) -> None:
    """All that a batch finished, in one call of the event loop."""
    if outcome and not (loop := outcome[0][0].get_loop()).is_closed():
        loop.call_soon_threadsafe(_deliver, outcome)


def _deliver(outcome: Outcome) -> None:
    for future, value in outcome:
        if future.done():
            continue
        if isinstance(value, Exception):
            future.set_exception(value)
        else:
            future.set_result(value)
