"""The engine: its queue, and who runs a batch of it.

Requests are cut into cases. Cases that share a program (servable, bucket, kind of answer) wait in one lane and go
through it together, each with the operands of its own grid. A thread runs the batches and wakes the event loop once for
each. But to go to another thread and back takes longer than a small network: what came in one turn of the event loop
and is done sooner than that, or came alone and takes little, runs at the end of the turn, on the loop's own thread.
"""

import asyncio
import math
import threading
import time

import jax

from serving.engine.batch import compute, deliver, tickets_of
from serving.engine.clock import Clock
from serving.engine.jobs import Arrays, Job, Outcome, Ticket
from serving.engine.operands import OperandStore
from serving.engine.queue import Lane, Picked, Queue
from serving.engine.statistics import EngineStatistics
from serving.ladder import Ladder
from serving.monitoring.utilisation import BusyTime
from serving.refusals import Unavailable

AT_ONCE = 2e-4  # seconds of the device for which the event loop itself may stand still
STUCK = 60.0  # seconds beyond those that a batch takes, after which the device hangs


class Engine:
    """Owner of the device, which runs one batch at a time. Everything public is called from the event loop's thread.

    inline_seconds: of work that came alone, while lately nothing came together, for which the loop may stand still; 0:
    everything is the thread's.
    """

    def __init__(
        self,
        queue_cases: int,
        operands_bytes: int,
        utilisation_window: float,
        inline_seconds: float = 0.0,
        device: jax.Device | None = None,
    ) -> None:
        self._limit = queue_cases
        self._inline = inline_seconds
        self._operands = OperandStore(operands_bytes, device)  # of whoever has the device
        self._running, self._done_at = 0, 0.0  # cases, and when they should be done
        self._wake = threading.Condition()
        self._closing = False
        self._taken = False  # the device, by the thread or the loop
        self._turn = False  # whether something came in this turn of the loop
        self.statistics = EngineStatistics()
        self._queue = Queue(self.statistics)
        self.busy = BusyTime(utilisation_window)
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the engine's thread runs, and no batch takes longer than any should."""
        stuck = self._running and time.monotonic() > self._done_at + STUCK
        return self._thread.is_alive() and not stuck

    def submit(self, job: Job) -> asyncio.Future[Arrays]:
        """Queue a job. The future gives arrays (cases, *space, channels); cancelling it takes the job out.

        Raises:
            Unavailable: the queue is full, or the engine is closing.
        """
        cases, loop = len(job.inputs), asyncio.get_running_loop()
        ticket = Ticket(job, loop.create_future(), cases)
        with self._wake:
            if self._closing:
                raise Unavailable("the service is shutting down")
            if not self.has_room(cases):
                self.statistics.refused += 1
                raise self._full(cases)
            self._queue.push(ticket)
        if not self._turn:
            self._turn = True
            loop.call_soon(self._end_turn)  # after all that is ready now
        return ticket.future

    def close(self) -> None:
        """Answer what is waiting, then end the thread; one that hangs in the device is left behind."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(self.free_in() + STUCK)

    def forget(self, ladder: Ladder) -> None:
        """Keep nothing of a servable beyond the requests that wait for it."""
        with self._wake:
            self._queue.forget(ladder)

    def has_room(self, cases: int) -> bool:
        """Whether so many cases may be queued."""
        return self.statistics.waiting + cases <= self._limit

    def backlog_seconds(self) -> float:
        """How long the engine would need for what is waiting, by what its programs cost."""
        return self.statistics.waiting_seconds

    @property
    def outstanding(self) -> int:
        """The cases that wait and those under way."""
        return self.statistics.waiting + self._running

    def free_in(self) -> float:
        """How long the engine would need for what waits and what is under way."""
        return self.backlog_seconds() + (max(0.0, self._done_at - time.monotonic()) if self._running else 0.0)

    @property
    def utilisation(self) -> float:
        """The busy share of the window."""
        return self.busy.share()

    def _full(self, cases: int) -> Unavailable:
        waiting = self.statistics.waiting
        message = f"the queue is full: {waiting} cases are waiting, got {cases} more, expected at most {self._limit}"
        return Unavailable(message, retry_after=max(1, math.ceil(self.backlog_seconds())))

    def _end_turn(self) -> None:
        """What came in this turn of the loop is run here or left to the thread."""
        self._turn = False
        while work := self._at_once():
            try:
                outcome = self._answer(*work)
            finally:
                with self._wake:
                    self._taken = False
            deliver(outcome)

    def _at_once(self) -> tuple[Lane, Picked] | None:
        """A batch to run here, if the device is free and all that waits takes little; else the thread is woken."""
        with self._wake:
            if not self._queue:
                return None
            if self._taken or self._closing or not self._is_little():
                self._wake.notify()
                return None
            self._taken = True
            lane = self._queue.next()
            return lane, self._queue.take(lane)

    def _is_little(self) -> bool:
        """By what all that waits costs where it waits in one lane; in several, it is not little."""
        lane = self._queue.only()
        if lane is None or lane.waiting > lane.costs.largest:
            return False
        seconds = lane.costs.seconds[lane.costs.holding(lane.waiting)]
        return seconds <= self._inline and (seconds <= AT_ONCE or lane.alone)

    def _run(self) -> None:
        while self._step():  # a call of its own, so that nothing of a batch is kept while the next one is waited for
            pass

    def _step(self) -> bool:
        """Wait for cases and run a batch of them; False if the engine is closed and none are left."""
        with self._wake:
            while self._taken or not (self._queue or self._closing):
                self._wake.wait()
            if not self._queue:
                return False
            self._taken = True
            lane = self._chosen()
            picked = self._queue.take(lane)
        outcome = self._answer(lane, picked)
        with self._wake:
            self._taken = False
        if outcome and not (loop := outcome[0][0].get_loop()).is_closed():
            loop.call_soon_threadsafe(deliver, outcome)
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

    def _answer(self, lane: Lane, picked: Picked) -> Outcome:
        """Run a batch: the jobs that it finished, or that it failed with."""
        if not picked:
            return []
        clock = Clock()
        self._running = len(picked)
        self._done_at = clock.start + lane.costs.seconds[lane.costs.holding(len(picked))]
        try:
            done = compute(lane, picked, self._operands, clock)
            outcome: Outcome = [(ticket.future, ticket.arrays) for ticket in done]
        except Exception as error:  # out of memory, a fault of the device: these requests fail, the engine goes on
            self.statistics.failures += 1
            outcome = [(ticket.future, error) for ticket in tickets_of(picked)]
        self._running = 0
        self._count(lane, picked, clock)  # whoever has an answer finds it counted
        return outcome

    def _count(self, lane: Lane, picked: Picked, clock: Clock) -> None:
        clock.end = time.monotonic()
        self.busy.add(clock.start, clock.end)
        figures, cases, slots = self.statistics, len(picked), lane.costs.holding(len(picked))
        figures.batches += 1
        figures.cases += cases
        figures.slots += slots
        figures.busy_seconds += clock.end - clock.start
        clock.note(lane.ladder.stages, picked, cases / slots)
