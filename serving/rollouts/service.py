"""Running rollouts: one job of the engine for each step, the next one once somebody has taken the last."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.abstention import Abstention
from serving.deadline import within
from serving.engine import Arrays, Job
from serving.monitoring.record import RECORD
from serving.refusals import Refusal, Unavailable
from serving.releases.service import ReleasingService
from serving.rollouts.query import Rollout, RolloutOptions, fit
from serving.settings import Settings

PAUSE = 0.02  # seconds between tries to get into a full queue


@dataclass(frozen=True, eq=False)
class Step:
    """What a step gave: its number from 1, the time since the first state, arrays as `serving.answers.Answer` has.

    abstention: of the first state, if it is too strange and that is to be marked.
    """

    number: int
    time: float
    arrays: dict[str, NDArray[np.float32]]
    abstention: Abstention | None = None


class Rollouts:
    """The rollouts under way. Used from one event loop."""

    def __init__(self, service: ReleasingService, settings: Settings) -> None:
        self._service = service
        self._settings = settings
        self.open = 0
        self.bytes = 0
        self.steps = 0

    def begin(self, asked: RolloutOptions) -> Rollout:
        """A rollout that can be run at once.

        Raises:
            Refusal, InputError: it does not fit.
            Unavailable: the states of those under way leave no room for it.
        """
        rollout = fit(asked, self._service, self._settings)
        if self.bytes + rollout.nbytes > self._settings.rollout_bytes:
            raise Unavailable(
                f"the rollouts under way hold {self.bytes} bytes of states, got {rollout.nbytes} more, "
                f"expected at most {self._settings.rollout_bytes}"
            )
        return rollout

    async def run(self, rollout: Rollout) -> AsyncGenerator[Step, None]:
        """Every step that is to be sent. Between them nothing is computed; closing this ends the rollout.

        Raises:
            Unavailable: the queue was full when it began, or the deadline of a step passed.
            Refusal: the first state is too strange, or the states have grown beyond all numbers.
        """
        options, states = rollout.options, rollout.first
        self.open += 1
        self.bytes += rollout.nbytes
        try:
            abstention = await self._judged(rollout)
            for number in range(options.steps):
                arrays = await self._step(rollout, states, number)
                self.steps += 1
                _check_finite(arrays, number + 1)
                states = arrays["states"]
                if (number + 1) % options.stride == 0:
                    yield _sent(rollout, arrays, number + 1, abstention)
        finally:
            self.open -= 1
            self.bytes -= rollout.nbytes

    async def _judged(self, rollout: Rollout) -> Abstention | None:
        """Of the first state alone: each later one is as many states as there are draws, at the price of each."""
        async with within(rollout.options.timeout, self._settings.deadline_seconds):
            return await self._service.judge(rollout.question, rollout.ladder, rollout.asked)

    async def _step(self, rollout: Rollout, states: NDArray[np.float32], number: int) -> Arrays:
        options, late = rollout.options, f"step {number + 1}: not computed within its deadline"
        job = Job(
            rollout.ladder,
            rollout.question.place,
            "step",
            rollout.question.inputs,
            options.seed,
            options.priority,
            fields=(states,),
            step=number,
            record=RECORD.get(),
        )
        async with within(options.timeout, self._settings.deadline_seconds, late):
            return await (self._service.engine.submit(job) if number == 0 else self._queued(job))

    async def _queued(self, job: Job) -> Arrays:
        """A later step waits for a full queue: what has begun is not to end because others came meanwhile."""
        engine = self._service.engine
        while True:
            if engine.has_room(len(job.inputs)):
                return await engine.submit(job)
            await asyncio.sleep(PAUSE)


def _check_finite(arrays: Arrays, number: int) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.add.reduce(arrays["states.mean"], axis=None) + np.add.reduce(arrays["states.std"], axis=None)
    if not np.isfinite(total):
        raise Refusal(f"step {number}: the states are not finite any more; the rollout has blown up")


def _sent(rollout: Rollout, arrays: Arrays, number: int, abstention: Abstention | None) -> Step:
    known = {
        "mean": arrays["states.mean"],
        "std": arrays["states.std"],
        "samples": arrays["states"][:, : rollout.num_samples],
    }
    outputs = {name: known[name][0] if rollout.question.single else known[name] for name in rollout.options.outputs}
    time_step = rollout.manifest.signature.time_step
    assert time_step is not None
    return Step(number, number * time_step, outputs, abstention)
