"""Bayesian search with a Gaussian process, by scikit-learn: Optuna's own needs PyTorch.

The process (Matern 5/2, a length scale for every dimension) is fitted to the ranks of the values as normal scores,
which one diverged trial cannot spoil; the next point is where the expected improvement (Jones, Schonlau, Welch 1998,
eq. 15) is largest. Trials that are still running count with the mean that is predicted for them. Several objectives are
taken together with weights drawn anew for every trial (ParEGO: Knowles 2006, eq. 2).
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna._transform import _SearchSpaceTransform  # to the unit cube and back, as Optuna's own samplers do it
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import norm, rankdata

Array = NDArray[np.float64]
STARTUP = 10  # trials that are drawn at random
CANDIDATES, NEAR, LOOKED_AT = 2000, 500, 50
Predict = Callable[[Array], tuple[Array, Array]]  # points (n, size) to mean and standard deviation, (n,) each
DONE = (TrialState.COMPLETE, TrialState.PRUNED)


class GaussianProcessSampler(BaseSampler):
    """Draws the first trials at random and the others where a Gaussian process expects most."""

    def __init__(self, space: Mapping[str, BaseDistribution], seed: int) -> None:
        self._space = dict(space)
        self._random = RandomSampler(seed=seed)
        self._rng = np.random.default_rng(seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All of it."""
        return self._space

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any) -> Any:
        """At random."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The next point; nothing, and so a random one, at the beginning."""
        trials = study.get_trials(deepcopy=False)
        done = [one for one in trials if one.state in DONE and self._space.keys() <= one.params.keys()]
        if len(done) < STARTUP:
            return {}
        cube = _SearchSpaceTransform(search_space, transform_0_1=True)
        points = np.stack([cube.transform(one.params) for one in done])
        values = normal_scores(self._together(_values(done, len(study.directions))))
        waiting = [
            cube.transform({key: one.params[key] for key in search_space})
            for one in trials
            if one.state == TrialState.RUNNING and self._space.keys() <= one.params.keys()
        ]
        with one_thread():
            predict = fit(points, values, np.asarray(waiting))
            best = self._best(cube, predict, points, values)
        point: dict[str, Any] = cube.untransform(best)
        return point

    def _together(self, values: Array) -> Array:
        """One value a trial, (trials, objectives) -> (trials,)."""
        if values.shape[1] == 1:
            return values[:, 0]
        ranks = rankdata(values, axis=0) / len(values)
        weighted = ranks * self._rng.dirichlet(np.ones(values.shape[1]))
        augmented: Array = weighted.max(axis=1) + 0.05 * weighted.sum(axis=1)
        return augmented

    def _best(self, cube: Any, predict: Predict, points: Array, values: Array) -> Array:
        size, best = points.shape[1], points[np.argmin(values)]
        anywhere = self._rng.uniform(size=(CANDIDATES, size))
        near = np.clip(best + 0.1 * self._rng.standard_normal((NEAR, size)), 0, 1)
        candidates = np.concatenate([anywhere, near])
        order = np.argsort(-expected_improvement(predict(candidates), values.min()))[:LOOKED_AT]
        # As they would be trained: whole numbers, one choice of several.
        rounded = np.stack([cube.transform(cube.untransform(candidate)) for candidate in candidates[order]])
        chosen: Array = rounded[np.argmax(expected_improvement(predict(rounded), values.min()))]
        return chosen


def one_thread() -> Any:
    """A context in which linear algebra keeps to one thread: matrices as small as these take seven times as long."""
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    return threadpool_limits(1)


def _values(done: Sequence[FrozenTrial], objectives: int) -> Array:
    """(trials, objectives); a trial that has none, as it diverged, counts as the worst."""
    values = np.array([one.values or [np.inf] * objectives for one in done], dtype=np.float64)
    return np.nan_to_num(values, nan=np.inf)


def normal_scores(values: Array) -> Array:
    """The values' ranks as quantiles of a normal distribution, (trials,)."""
    scores: Array = norm.ppf((rankdata(values) - 0.5) / len(values))
    return scores


def fit(points: Array, values: Array, waiting: Array) -> Predict:
    """The process fitted to values at points; at those where trials wait it is told its own mean."""
    from sklearn.exceptions import ConvergenceWarning  # here: scikit-learn takes a second to import
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    lengths = Matern(np.full(points.shape[1], 0.5), (0.05, 20.0), nu=2.5)
    kernel = ConstantKernel(1.0, (0.1, 10.0)) * lengths + WhiteKernel(0.01, (1e-6, 1.0))
    process = GaussianProcessRegressor(kernel, n_restarts_optimizer=2, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit(points, values)
    if len(waiting):
        believed = process.predict(waiting)
        process = GaussianProcessRegressor(process.kernel_, optimizer=None)
        process.fit(np.concatenate([points, waiting]), np.concatenate([values, believed]))
    noise = process.kernel_.k2.noise_level

    def predict(where: Array) -> tuple[Array, Array]:
        mean, deviation = process.predict(where, return_std=True)
        return mean, np.sqrt(np.maximum(np.square(deviation) - noise, 0))

    return predict


def expected_improvement(predicted: tuple[Array, Array], best: float) -> Array:
    """By how much the value is expected to fall below `best`, (n,)."""
    mean, deviation = predicted[0], np.maximum(predicted[1], 1e-9)
    z = (best - mean) / deviation
    improvement: Array = (best - mean) * norm.cdf(z) + deviation * norm.pdf(z)
    return improvement
