"""What is computed of every case of `benchmarks.uq`, the same for every posterior.

Figures of draws are of 100 draws (of a rollout of 39), and fair, so that a mixture, a Gaussian, quantiles and a flow
are compared by the same estimate. A posterior that only states a Gaussian at each point is given draws of it.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from benchmarks.uq_problems import Problem
from experiments.calibrate import FLOOR
from experiments.experiment import Experiment
from experiments.rollout import drawn
from pnol_jax import scores
from pnol_jax.bases import GridOperands
from pnol_jax.calibration import conformity_scores
from pnol_jax.calibration.conformity import Kind
from pnol_jax.data import CaseSet
from pnol_jax.posteriors import Params, Posterior, mixture
from pnol_jax.posteriors.march import march
from pnol_jax.posteriors.protocol import NORMALISER
from pnol_jax.predictive import Predictive

LEVEL, DRAWS, ROLLED, BATCH = 0.9, 100, 39, 25
KINDS: tuple[Kind, ...] = ("pointwise", "simultaneous")
Rows = Mapping[str, NDArray[Any]]


class Scored(NamedTuple):
    """Of each task its figures by name, one number or, of conformity, one row a case; and seconds for all cases."""

    tasks: Mapping[str, Rows]
    seconds: float


@dataclass(frozen=True)
class Noisy:
    """A posterior without samples, with draws of the Gaussian that it states at each point: white noise."""

    base: Posterior
    has_samples: bool = True

    def predict(
        self, params: Params, inputs: jax.Array, grid: GridOperands, key: jax.Array, num_samples: int = 0
    ) -> Predictive:
        """As the base, and draws."""
        moments = self.base.predict(params, inputs, grid, key)
        if not num_samples:
            return moments
        shape = (num_samples, *moments.mean.shape)
        mean, variance = (jnp.broadcast_to(field, shape) for field in (moments.mean, moments.variance))
        return replace(moments, samples=mixture.with_noise(mean, variance, key))


def case_figures(
    moments: Predictive, draws: Predictive, truth: jax.Array, weights: jax.Array, floor: jax.Array
) -> dict[str, jax.Array]:
    """Figures of each case, (batch,), and its conformity scores, (batch, quantiles), by kind of band."""
    found = {
        "relative_l2": scores.relative_l2(moments, truth, weights),
        "rmse": scores.rmse(moments, truth, weights),
        "spread": scores.spread(moments, weights),
        "crps": scores.sample_crps(draws, truth, weights),
        "energy_score": scores.energy_score(draws, truth, weights),
        "nll": scores.gaussian_nll(moments, truth, weights),
        "coverage": scores.coverage(moments.interval(LEVEL), truth, weights),
    }
    return found | {kind: conformity_scores(moments, truth, weights, kind, floor) for kind in KINDS}


def scored(problem: Problem, experiment: Experiment, params: Params, cases: CaseSet) -> Scored:
    """Figures of all cases. Seconds are those of predicting alone, once it is compiled: moments, or the rollout."""
    posterior: Any = experiment.posterior if experiment.posterior.has_samples else Noisy(experiment.posterior)
    key, leads = jax.random.key(1), problem.sizes.leads
    draws = min(ROLLED if leads else DRAWS, experiment.config.export.num_samples)

    def predict(params: Params, inputs: jax.Array, grid: GridOperands) -> Any:
        if not leads:
            return posterior.predict(params, inputs, grid, key)
        return march(posterior, params, inputs, grid, key, leads[-1], draws)

    def figures(params: Params, predicted: Any, inputs: jax.Array, outputs: jax.Array, grid: GridOperands) -> Any:
        weights, floor = grid.weights(), FLOOR * params[NORMALISER + "outputs.std"]
        if not leads:
            truth = outputs if outputs.ndim == inputs.ndim else outputs[:, 0]
            many = posterior.predict(params, inputs, grid, key, num_samples=draws)
            return {problem.name: case_figures(predicted, many, truth, weights, floor)}
        at = [(drawn(predicted[lead - 1]), outputs[:, lead - 1]) for lead in leads]
        each = [case_figures(one, one, truth, weights, floor) for one, truth in at]
        return dict(zip(problem.tasks(), each, strict=True))

    predicting, scoring, parts, seconds = jax.jit(predict), jax.jit(figures), [], 0.0
    for batch, grid, mask in experiment.one_pass(cases, BATCH, leads[-1] if leads else 1):
        if not parts:
            jax.block_until_ready(predicting(params, batch.inputs, grid))
        began = time.perf_counter()
        predicted = jax.block_until_ready(predicting(params, batch.inputs, grid))
        seconds += time.perf_counter() - began
        found = jax.device_get(scoring(params, predicted, batch.inputs, batch.outputs, grid))
        kept = np.asarray(mask) > 0
        parts.append(jax.tree.map(lambda values, kept=kept: values[kept], found))
    tasks: dict[str, Rows] = jax.tree.map(lambda *values: np.concatenate(values), *parts)
    return Scored(tasks, seconds)
