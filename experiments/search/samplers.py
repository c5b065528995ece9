"""Samplers and pruners by the names that a study gives them."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, CmaEsSampler, GridSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from experiments.search.gaussian import GaussianProcessSampler
from experiments.search.settings import SearchConfig
from experiments.search.space import Space

FACTOR = 3  # of what is trained on, a third goes on to three times as many steps


class Grid(GridSampler):
    """Optuna's, but the end of the grid is the study's to see."""

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        """Nothing: Optuna's would stop its own loop, which does not run here."""


SAMPLERS: Mapping[str, Callable[[Space, int, int], BaseSampler]] = {
    "tpe": lambda space, seed, fixed: TPESampler(seed=seed, constant_liar=True),
    "gp": lambda space, seed, fixed: GaussianProcessSampler(space.distributions, seed),
    "cmaes": lambda space, seed, fixed: CmaEsSampler(seed=seed, warn_independent_sampling=False),
    "grid": lambda space, seed, fixed: Grid(space.grid(), seed=fixed),
    "random": lambda space, seed, fixed: RandomSampler(seed=seed),
}


def make_sampler(search: SearchConfig, space: Space, asked: int) -> BaseSampler:
    """The sampler of trial number `asked`.

    Its draws depend on the study's seed and that number alone, so that a search that is killed and goes on, or is done
    by several processes, never draws the same twice.
    """
    seed = (search.seed * 1_000_003 + asked) % 2**32
    return SAMPLERS[search.sampler](space, seed, search.seed)


def make_pruner(search: SearchConfig, steps: int) -> BasePruner:
    """The pruner, which hears of the score every `report_every` steps of a training of `steps`."""
    every = report_every(search, steps)
    if search.pruner == "asha":
        return SuccessiveHalvingPruner(min_resource=every, reduction_factor=FACTOR)
    if search.pruner == "hyperband":
        return HyperbandPruner(min_resource=every, max_resource=steps, reduction_factor=FACTOR)
    return MedianPruner(n_startup_trials=5, n_warmup_steps=2 * every) if search.pruner == "median" else NopPruner()


def report_every(search: SearchConfig, steps: int) -> int:
    """Steps between two looks at the score."""
    return search.report_every or max(1, steps // 10)


def quiet() -> None:
    """Keep Optuna from narrating what the search itself reports."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
