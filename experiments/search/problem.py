"""What all trials of a study share: the cases they learn from, and those, held out, that they are scored on.

The cases that the config holds out for calibration are seen by no trial, so that the band of the final training keeps
its guarantee. Every trial draws its batches in the order of the config's own seed, also where the seed is searched:
what a seed changes is where a training starts.
"""

import functools
from collections.abc import Callable
from dataclasses import replace

import jax
import numpy as np
from msgspec.structs import replace as replace_field

from experiments.experiment import Experiment, make_experiment, open_experiment
from experiments.scoring import score_cases
from experiments.search.settings import SearchConfig
from pnol_jax.bases import GridOperands
from pnol_jax.config import ExperimentConfig
from pnol_jax.data import CaseSet, Pipeline
from pnol_jax.errors import InputError
from pnol_jax.posteriors import Params
from pnol_jax.sharding.divide import divided
from pnol_jax.sharding.placement import OF_CASES, on_host

Scores = dict[str, float]
NAMES = ("relative_l2", "rmse", "crps", "nll")


class Problem:
    """The cases of a study, read once.

    Raises:
        InputError: a file is missing or wrong, or there are too few cases to hold some out.
    """

    def __init__(self, base: ExperimentConfig, search: SearchConfig) -> None:
        everything = open_experiment(replace_field(base, data=replace_field(base.data, test=[])))
        if not search.validation < len(everything.train):
            raise InputError(
                f"search.validation: got {search.validation} cases to hold out, expected fewer than the "
                f"{len(everything.train)} that there are to train on"
            )
        self.digest = everything.train.digest
        self.train, self.validation = everything.train.split(search.validation, search.seed)
        self._base = make_experiment(base, self.train)

    def experiment(self, config: ExperimentConfig) -> Experiment:
        """The experiment of a trial, which no rollback rescues: its learning rate would not be the one it stands for.

        Raises:
            InputError: the operator does not fit the data.
        """
        unaided = replace_field(config, training=replace_field(config.training, rollbacks=0))
        return make_experiment(unaided, self.train)

    @functools.cached_property
    def constants(self) -> Params:
        """The normaliser, the same for all trials."""
        return self._base.constants()

    def batches(self, experiment: Experiment) -> Pipeline:
        """Endless training batches of a trial."""
        training = replace_field(experiment.config.training, seed=self._base.config.training.seed)
        return replace(experiment, config=replace_field(experiment.config, training=training)).batches()


def scorer(experiment: Experiment, cases: CaseSet) -> Callable[[Params], Scores]:
    """A function from trained parameters to the means of their scores over cases, compiled once."""
    level = experiment.config.calibration.level
    key = jax.random.key(0)

    def score(params: Params, inputs: jax.Array, truth: jax.Array, grid: GridOperands) -> dict[str, jax.Array]:
        predictive = experiment.posterior.predict(params, inputs, grid, key)
        figures = score_cases(predictive, truth, grid.weights(), level)
        return {name: figures[name] for name in NAMES}

    compiled, batches = divided(score, OF_CASES), list(experiment.one_pass(cases))

    def scores_of(params: Params) -> Scores:
        sums = dict.fromkeys(NAMES, 0.0)
        for batch, grid, mask in batches:
            truth = batch.outputs if cases.time_step is None else batch.outputs[:, 0]
            found, kept = on_host((compiled(params, batch.inputs, truth, grid), mask))
            sums = {name: sums[name] + float(np.sum(found[name][kept > 0])) for name in NAMES}
        return {
            name: total / sum(int(np.sum(on_host(one.mask) > 0)) for one in batches) for name, total in sums.items()
        }

    return scores_of


def parameters(state: Params) -> int:
    """How many numbers training changes."""
    return sum(int(np.prod(value.shape)) for value in state.values())
