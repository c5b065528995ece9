"""The engine's thread.

Requests are cut into cases. Cases that share a program (servable, bucket, kind of answer) wait in one lane and go
through it together, each with the operands of its own grid. Each batch wakes the event loop once.
"""

import asyncio
import math
import threading
import time
from typing import Any

import numpy as np

from pnol_jax.servable import case_keys, crop, pad
from serving.engine.clock import Clock
from serving.engine.jobs import Arrays, Job, Ticket
from serving.engine.operands import OperandStore
from serving.engine.queue import Lane, Picked, Queue
from serving.engine.statistics import EngineStatistics
from serving.ladder import Ladder
from serving.monitoring.utilisation import BusyTime
from serving.refusals import Unavailable

Outcome = list[tuple[asyncio.Future[Arrays], Arrays | Exception]]


class Engine:
    """One thread that owns the device. `submit` is called from an event loop; everything else happens here."""

    def __init__(self, queue_cases: int, operands_cached: int, utilisation_window: float) -> None:
        self._limit = queue_cases
        self._operands = OperandStore(operands_cached)
        self._wake = threading.Condition()
        self._closing = False
        self.statistics = EngineStatistics()
        self._queue = Queue(self.statistics)
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
        ticket = Ticket(job, future, case_keys(job.seed, cases), cases)
        with self._wake:
            if self._closing:
                raise Unavailable("the service is shutting down")
            if self.statistics.waiting + cases > self._limit:
                self.statistics.refused += 1
                raise self._full(cases)
            self._queue.push(ticket)
            self._wake.notify()
        return future

    def close(self) -> None:
        """Answer what is waiting, then end the thread."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def forget(self, ladder: Ladder) -> None:
        """Keep nothing of a servable beyond the requests that wait for it."""
        with self._wake:
            self._queue.forget(ladder)

    def backlog_seconds(self) -> float:
        """How long the engine would need for what is waiting, by what its programs cost."""
        return self.statistics.waiting_seconds

    def _full(self, cases: int) -> Unavailable:
        waiting = self.statistics.waiting
        message = f"the queue is full: {waiting} cases are waiting, got {cases} more, expected at most {self._limit}"
        return Unavailable(message, retry_after=max(1, math.ceil(self.backlog_seconds())))

    def _run(self) -> None:
        while self._step():  # a call of its own, so that nothing of a batch is kept while the next one is waited for
            pass

    def _step(self) -> bool:
        """Wait for cases and run a batch of them; False if the engine is closed and none are left."""
        with self._wake:
            while not self._queue and not self._closing:
                self._wake.wait()
            if not self._queue:
                return False
            lane = self._chosen()
            picked = self._queue.take(lane)
        if picked:
            clock = Clock()
            outcome = self._answer(lane, picked, clock)
            self._count(lane, picked, clock)  # whoever has an answer finds it counted
            _hand_over(outcome)
        return True

    def _chosen(self) -> Lane:
        """The lane that comes next, once it does not pay any more to wait for another case of it."""
        while True:
            lane = self._queue.next()
            waiting = lane.waiting
            seconds = lane.patience.seconds(waiting, lane.costs.saving(waiting))
            if not seconds or self._closing:
                return lane
            self._wake.wait(seconds)

    def _answer(self, lane: Lane, picked: Picked, clock: Clock) -> Outcome:
        """Run a batch: the jobs that it finished, or that it failed with."""
        tickets = list(dict.fromkeys(ticket for ticket, _ in picked))
        try:
            self._compute(lane, picked, clock)
            return [(ticket.future, ticket.arrays) for ticket in tickets if not ticket.missing]
        except Exception as error:  # out of memory, a fault of the device: these requests fail, the engine goes on
            self.statistics.failures += 1
            return [(ticket.future, error) for ticket in tickets]

    def _compute(self, lane: Lane, picked: Picked, clock: Clock) -> None:
        batch = lane.costs.holding(len(picked))
        inputs = np.zeros((batch, *lane.bucket, picked[0][0].job.inputs.shape[-1]), np.float32)
        for place, (ticket, position) in enumerate(picked):
            inputs[place] = pad(ticket.job.inputs[position], lane.bucket)
        arguments: list[Any] = [inputs, self._operands.stacked([ticket.job.place for ticket, _ in picked], batch)]
        if lane.answer == "samples":
            keys = np.zeros((batch, 2), np.uint32)
            keys[: len(picked)] = [ticket.keys[position] for ticket, position in picked]
            arguments.append(keys)
        clock.begun = time.monotonic()
        arrays = lane.ladder.programs[lane.bucket, lane.answer, batch](*arguments)
        clock.done = time.monotonic()
        for place, (ticket, position) in enumerate(picked):
            shape = ticket.job.place.grid.shape
            ticket.take(position, {name: crop(array[place], shape) for name, array in arrays.items()})

    def _count(self, lane: Lane, picked: Picked, clock: Clock) -> None:
        clock.end = time.monotonic()
        self.busy.add(clock.start, clock.end)
        figures, cases, slots = self.statistics, len(picked), lane.costs.holding(len(picked))
        figures.batches += 1
        figures.cases += cases
        figures.slots += slots
        figures.busy_seconds += clock.end - clock.start
        clock.note(lane.ladder.stages, picked, cases / slots)


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
