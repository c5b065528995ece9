"""Trials of equal shapes, trained as the lanes of one program.

Only numbers of the optimiser and the seed may differ between them. They keep no checkpoints: such trials are short.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from optuna.trial import TrialState

from experiments.experiment import Experiment
from experiments.search.alone import Result, ended
from experiments.search.problem import Problem, Scores, scorer
from experiments.search.samplers import report_every
from experiments.search.space import Space
from experiments.search.study import Asked, Study
from experiments.train import fitted
from pnol_jax.config import TrainingConfig
from pnol_jax.errors import InputError
from pnol_jax.posteriors import Batch
from pnol_jax.sharding.mesh import one_device, use
from pnol_jax.training.guard import Guard
from pnol_jax.training.interrupt import Interrupt
from pnol_jax.training.lanes import check_numbers, lane, lane_states, make_lane_step
from pnol_jax.training.scaling import FLOOR

SEED, OPTIMIZER = "training.seed", "optimizer."


class Together:
    """Trains groups of trials; the program is compiled once for each size of group.

    Raises:
        InputError: a key of the space changes more than a number.
    """

    def __init__(self, study: Study, problem: Problem) -> None:
        self._study, self._problem = study, problem
        with use(one_device()):
            self._experiment: Experiment = problem.experiment(study.space.base())
            self._numbers = lane_numbers(study.space, self._experiment)
            self._config = self._experiment.config
            self._step = make_lane_step(self._experiment.posterior, self._config)
            self._score = scorer(self._experiment, problem.validation)

    def train(self, group: Sequence[Asked]) -> list[Result]:
        """Train trials together and score each; those that a signal stopped are running still."""
        with use(one_device()):
            return self._train(group)

    def _train(self, group: Sequence[Asked]) -> list[Result]:
        lanes = Lanes(self._study, group, self._config.training)
        numbers = {name: jnp.asarray([one.point[OPTIMIZER + name] for one in group], float) for name in self._numbers}
        seeds = [int(one.point.get(SEED, self._config.training.seed)) for one in group]
        states = lane_states(self._experiment.posterior, self._config, numbers, seeds)
        constants, steps = self._problem.constants, self._config.training.steps
        every = 0 if self._study.search.pruner == "none" else report_every(self._study.search, steps)
        with self._problem.batches(self._experiment) as batches, Interrupt() as interrupt:
            for done in range(1, steps + 1):
                if interrupt.wanted(done) or not lanes.running:
                    break
                drawn = next(batches)
                batch = Batch(jnp.asarray(drawn.inputs), jnp.asarray(drawn.outputs))
                states, metrics = self._step(states, constants, batch, drawn.grid, *lanes.limits)
                lanes.judge(done, metrics)
                if every and done % every == 0 and done < steps:
                    lanes.look_at_scores(done, functools.partial(self._scores, states))
            else:
                lanes.finish(functools.partial(self._scores, states))
        return lanes.results()

    def _scores(self, states: Any, number: int) -> Scores:
        return self._score(fitted(self._experiment, lane(states, number), self._problem.constants))


def lane_numbers(space: Space, experiment: Experiment) -> list[str]:
    """The fields of the optimiser in which the trials of a space differ.

    Raises:
        InputError: they differ in more than such numbers and the seed.
    """
    for key, entry in space.parameters.items():
        values = entry.choices if entry.choices is not None else [entry.low, entry.high]
        number = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        if key != SEED and not (number and key.startswith(OPTIMIZER) and key.count(".") == 1):
            raise InputError(
                f"search.vectorised: trials that differ in {key} are not of one program; expected a space of numbers "
                "of the optimiser and training.seed only, or vectorised = 1"
            )
    names = [key.removeprefix(OPTIMIZER) for key in space.parameters if key != SEED]
    check_numbers(experiment.posterior, experiment.config, names)
    return names


class Lanes:
    """What becomes of the trials of a group."""

    def __init__(self, study: Study, group: Sequence[Asked], settings: TrainingConfig) -> None:
        self._study, self._group = study, group
        self._guards = [Guard(settings) for _ in group]
        self._found: dict[int, Result] = {}

    @property
    def running(self) -> list[int]:
        """The lanes of which nothing is known yet."""
        return [number for number in range(len(self._group)) if number not in self._found]

    @property
    def limits(self) -> tuple[NDArray[np.float32], ...]:
        """The gradient norms above which the lanes' next step is a spike, (lanes,); none if none is."""
        return tuple(np.array(limits) for limits in zip(*(guard.limit for guard in self._guards), strict=True))

    def judge(self, step: int, metrics: Any) -> None:
        """End the lanes that had to leave out too many steps."""
        losses, norms = np.asarray(metrics["loss"]), np.asarray(metrics["gradient_norm"])
        scales = np.broadcast_to(metrics.get("loss_scale", FLOOR), losses.shape)
        for number in self.running:
            guard = self._guards[number]
            bad = guard.judge(step, float(losses[number]), float(norms[number]), float(scales[number]))
            if bad and guard.exhausted:
                self._prune(number, f"diverged: step {step}: {bad} ({guard.count})")

    def look_at_scores(self, step: int, scores: Callable[[int], Scores]) -> None:
        """Let the pruner look at every lane; all report before the first is judged, as if they ran at once."""
        found = {number: scores(number)[self._study.search.objectives[0]] for number in self.running}
        for number, value in found.items():
            self._study.trial(self._group[number].number).report(value, step)
        for number in found:
            if self._study.trial(self._group[number].number).should_prune():
                self._prune(number, f"pruned at step {step}")

    def finish(self, scores: Callable[[int], Scores]) -> None:
        """Score the lanes that came to the end."""
        for number in self.running:
            self._found[number] = ended(self._study, self._group[number], scores(number))

    def results(self) -> list[Result]:
        """What became of each trial, in their order."""
        still = {number: Result(self._group[number], TrialState.RUNNING) for number in self.running}
        return [(self._found | still)[number] for number in range(len(self._group))]

    def _prune(self, number: int, note: str) -> None:
        self._found[number] = Result(self._group[number], TrialState.PRUNED, note=note)
