"""What a pool's cases are worth, by each of the scores, and which are chosen."""

import fnmatch
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from experiments.experiment import Experiment
from experiments.inputs import OfInputs, over_cases, read_inputs
from experiments.model import Model
from experiments.risks import risks_of
from pnol_jax import active
from pnol_jax.bases import GridOperands
from pnol_jax.data import CaseSet
from pnol_jax.errors import InputError
from pnol_jax.files import write_atomically
from pnol_jax.posteriors import Params, trained
from pnol_jax.posteriors.protocol import NORMALISER
from pnol_jax.risk import true_value

Array = NDArray[Any]


@dataclass(frozen=True)
class Asking:
    """What is asked of a pool; see `experiments.acquire`."""

    score: str
    count: int
    seed: int = 0
    risk: str | None = None
    equation: str = "darcy"
    parameters: str = "operator.*"
    per_cost: bool = False


BATCHES = ("badge", "lcmd")  # which choose cases that are unlike one another, so that no case has a price of its own


@dataclass(frozen=True)
class Acquired:
    """The choice: a score of every case (cases,), and the numbers of those chosen, in their order."""

    asking: Asking
    pool: str
    digest: str
    scores: Array
    chosen: Array

    def write(self, path: Path, **about: Any) -> None:
        """Write the choice as JSON: `chosen` and the `scores` of all cases, numbered as they stand in the pool."""
        content = about | {
            "pool": self.pool,
            "digest": self.digest,
            "asked": vars(self.asking),
            "chosen": [{"case": int(case), "score": float(self.scores[case])} for case in self.chosen],
            "scores": [float(score) for score in self.scores],
        }
        write_atomically(path, json.dumps(content, indent=2) + "\n")


def acquire(experiment: Experiment, model: Model, pool: str, asking: Asking) -> Acquired:
    """Score the cases of a pool and choose.

    Raises:
        InputError: the pool does not fit the model, or the model cannot give the score.
    """
    cases = read_inputs(experiment, [pool])
    if not 1 <= asking.count <= len(cases):
        raise InputError(f"--count: got {asking.count}, expected 1 to {len(cases)}, the cases of {pool}")
    if asking.per_cost and asking.score in BATCHES:
        raise InputError(f"--per-cost: a choice by {asking.score} is of a batch; expected another score, or none of it")
    scores, chosen = SCORES[asking.score](experiment, model, cases, asking)
    return Acquired(asking, pool, cases.digest, scores, chosen)


def _first_of_each(rows: list[Array], cases: CaseSet) -> Array:
    """The rows of cases; of trajectories those of their first states."""
    parts = [
        part.reshape(len(group), -1, *part.shape[1:])[:, 0] for part, group in zip(rows, cases.groups, strict=True)
    ]
    return np.concatenate(parts)


def _over(experiment: Experiment, model: Model, cases: CaseSet, function: OfInputs) -> Array:
    return _first_of_each(over_cases(experiment, model.params, cases, function), cases)


def _costs(cases: CaseSet) -> Array:
    return np.concatenate([np.full(len(group), float(np.prod(group.grid.shape))) for group in cases.groups])


def _top(of_predictive: Callable[..., jax.Array]) -> Callable[..., tuple[Array, Array]]:
    """A score of each case by itself, of (predictive, asking, inputs, grid, unit of the outputs)."""

    def score(experiment: Experiment, model: Model, cases: CaseSet, asking: Asking) -> tuple[Array, Array]:
        key = jax.random.key(asking.seed)

        def each(params: Params, inputs: jax.Array, grid: GridOperands) -> jax.Array:
            predictive = model.predict(params, inputs, grid, key)
            return of_predictive(predictive, asking, inputs, grid, params[NORMALISER + "outputs.std"])

        found = _over(experiment, model, cases, each)
        if asking.score in ("variance", "bald") and not np.any(found > 0):
            raise InputError(
                f"--score {asking.score}: the posterior has no epistemic variance; expected one that has, such as "
                "'ensemble', or --score badge, lcmd or residual"
            )
        scores = found / _costs(cases) if asking.per_cost else found
        return scores, active.top(scores, asking.count)

    return score


def _risk(experiment: Experiment, model: Model, cases: CaseSet, asking: Asking) -> tuple[Array, Array]:
    risks = {risk.name: risk for risk in risks_of(experiment)}
    name = asking.risk or next(iter(risks), None)
    if name not in risks:
        raise InputError(f"--risk: got {name!r}, expected one of the config's: {list(risks)}")
    if not experiment.posterior.has_samples:
        raise InputError("--score risk: the posterior draws no fields; expected one that does, such as 'ensemble'")
    key, number = jax.random.key(asking.seed), experiment.config.export.num_samples

    def each(params: Params, inputs: jax.Array, grid: GridOperands) -> jax.Array:
        samples = model.predict(params, inputs, grid, key, num_samples=number).samples
        assert samples is not None
        return jax.vmap(lambda field: true_value(risks[name], field, grid))(samples).T

    loadings = active.loadings(_over(experiment, model, cases, each))
    noise = 1e-3 * np.mean(np.sum(np.square(loadings), axis=1))  # what is observed is nearly exact
    price = _costs(cases) if asking.per_cost else np.ones(len(loadings))
    scores = active.expected_reduction(loadings, loadings, noise) / price
    if asking.per_cost:
        return scores, active.top(scores, asking.count)
    return scores, active.greedy_reduction(loadings, loadings, noise, asking.count)[0]


def _gradients(experiment: Experiment, model: Model, cases: CaseSet, asking: Asking) -> Array:
    names = tuple(sorted(fnmatch.filter(trained(model.params), asking.parameters)))
    if not names:
        raise InputError(f"--parameters: {asking.parameters!r} fits none of {sorted(trained(model.params))}")
    key, sketch = jax.random.key(asking.seed), active.Sketch(asking.seed)
    unit = model.params[NORMALISER + "outputs.std"]

    def mean(params: Params, inputs: jax.Array, grid: GridOperands) -> jax.Array:
        return model.posterior.predict(params, inputs, grid, key).mean / unit

    def each(params: Params, inputs: jax.Array, grid: GridOperands) -> jax.Array:
        return active.gradient_features(mean, params, names, inputs, grid, sketch)

    return _over(experiment, model, cases, each)


def _badge(experiment: Experiment, model: Model, cases: CaseSet, asking: Asking) -> tuple[Array, Array]:
    features = _gradients(experiment, model, cases, asking)
    return np.linalg.norm(features, axis=1), active.badge(features, asking.count, asking.seed)


def _lcmd(experiment: Experiment, model: Model, cases: CaseSet, asking: Asking) -> tuple[Array, Array]:
    features = _gradients(experiment, model, cases, asking)
    known = _gradients(experiment, model, experiment.train, asking)
    near = np.sqrt(np.min([np.sum(np.square(features - row), axis=1) for row in known], axis=0))
    return near, active.lcmd(features, asking.count, known)


SCORES: Mapping[str, Callable[[Experiment, Model, CaseSet, Asking], tuple[Array, Array]]] = {
    "variance": _top(lambda found, _, inputs, grid, unit: active.predictive_variance(found, grid.weights(), unit)),
    "bald": _top(lambda found, _, inputs, grid, unit: active.bald(found, grid.weights())),
    "risk": _risk,
    "badge": _badge,
    "lcmd": _lcmd,
    "residual": _top(lambda found, asking, inputs, grid, _: active.residual_norm(found, inputs, grid, asking.equation)),
}
