"""One trial, trained by the engine that trains everything."""

import contextlib
import io
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from experiments.experiment import Experiment
from experiments.search.journal import locked
from experiments.search.problem import Problem, Scores, parameters, scorer
from experiments.search.samplers import report_every
from experiments.search.study import Asked, Study
from experiments.train import fitted
from pnol_jax.posteriors import Params
from pnol_jax.sharding.mesh import check_batch, check_members, make_mesh, sizes, use
from pnol_jax.training.loop import Diverged, Stopped, train
from pnol_jax.training.step import TrainState


@dataclass(frozen=True)
class Result:
    """What became of a trial: values of the objectives if it is complete; of one that is running still, nothing."""

    asked: Asked
    state: TrialState
    values: list[float] | None = None
    note: str = ""
    figures: dict[str, Any] = field(default_factory=dict)


def train_alone(study: Study, problem: Problem, asked: Asked) -> Result:
    """Train a trial and score it. It is running still where a signal stopped it, its state saved.

    Raises:
        InputError: the values do not go together, or not with the data.
    """
    config = study.space.config(asked.point)
    mesh = make_mesh(config.mesh)
    shape = sizes(config.mesh, mesh.size)
    check_batch(config.training.batch_size, shape, config.training.accumulate)
    folder = study.trial_folder(asked)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "lock"), use(mesh), contextlib.redirect_stdout(io.StringIO()):  # the search has a bar already
        experiment = problem.experiment(config)
        check_members(experiment.posterior.members, shape)
        return _train(study, problem, experiment, asked, folder)


def _train(study: Study, problem: Problem, experiment: Experiment, asked: Asked, folder: Path) -> Result:
    score = scorer(experiment, problem.validation)
    watch = Watch(study, asked, experiment, problem.constants, score)
    try:
        with problem.batches(experiment) as batches:
            state = train(
                experiment.config,
                experiment.digest,
                experiment.posterior,
                problem.constants,
                batches,
                folder,
                resume=(folder / "checkpoints").exists(),
                watch=watch,
            )
    except Stopped:
        return Result(asked, TrialState.RUNNING)
    except Diverged as error:
        return Result(asked, TrialState.PRUNED, note=f"diverged: {error}")
    except optuna.TrialPruned as pruned:
        return Result(asked, TrialState.PRUNED, note=str(pruned))
    figures = score(fitted(experiment, state, problem.constants)) | watch.costs(state)
    return ended(study, asked, figures)


def ended(study: Study, asked: Asked, figures: Scores) -> Result:
    """The result of a trial that came to its end: pruned where an objective is no number, which cannot be compared."""
    none = [name for name in study.search.objectives if math.isnan(figures[name])]
    if none:
        return Result(asked, TrialState.PRUNED, note=f"{', '.join(none)}: no number", figures=figures)
    values = [figures[name] for name in study.search.objectives]
    return Result(asked, TrialState.COMPLETE, values, figures=figures)


def forget_checkpoints(study: Study, asked: Asked) -> None:
    """Take away the checkpoints of a trial that is told; its log stays."""
    shutil.rmtree(study.trial_folder(asked) / "checkpoints", ignore_errors=True)


class Watch:
    """Sees every step of a training: times it and, now and then, lets the pruner look at the score."""

    def __init__(
        self, study: Study, asked: Asked, experiment: Experiment, constants: Params, score: Callable[[Params], Scores]
    ) -> None:
        self._study, self._asked, self._experiment, self._constants = study, asked, experiment, constants
        self._score = score
        self._steps = experiment.config.training.steps
        self._every = 0 if study.search.pruner == "none" else report_every(study.search, study.steps)
        self._last: float | None = None
        self._seconds: list[float] = []

    def __call__(self, step: int, state: TrainState) -> None:
        """After a step.

        Raises:
            TrialPruned: the score is not worth going on.
        """
        now = time.perf_counter()
        if self._last is not None:
            self._seconds.append(now - self._last)
        if self._every and step % self._every == 0 and step < self._steps:
            figures = self._score(fitted(self._experiment, state, self._constants))
            report(self._study.trial(self._asked.number), figures[self._study.search.objectives[0]], step)
        self._last = time.perf_counter()

    def costs(self, state: TrainState) -> Scores:
        """Median seconds of a step, those that compile aside, and the number of trained parameters."""
        seconds = float(np.median(self._seconds)) if self._seconds else float("nan")
        return {"step_seconds": seconds, "parameters": float(parameters(state.params))}


def report(trial: optuna.Trial, value: float, step: int) -> None:
    """Tell the pruner a score.

    Raises:
        TrialPruned: it is not worth going on.
    """
    trial.report(value, step)
    if trial.should_prune():
        raise optuna.TrialPruned(f"pruned at step {step}")
