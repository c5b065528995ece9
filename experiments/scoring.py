"""What is computed of every test case: figures, ranks, powers. Only these leave the devices."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

from experiments.experiment import Experiment
from experiments.model import Model
from experiments.spectrum import Shells, make_shells, power
from pnol_jax import scores
from pnol_jax.bases import GridOperands
from pnol_jax.data import CaseSet
from pnol_jax.posteriors import Batch
from pnol_jax.predictive import Predictive
from pnol_jax.risk import Risk, true_value
from pnol_jax.sharding.divide import divided
from pnol_jax.sharding.partition import spec
from pnol_jax.sharding.placement import OF_CASES, WHOLE, on_host, placed

Array = NDArray[Any]
LEVELS = np.linspace(0.05, 0.95, 19)
PIT_EDGES = np.linspace(0, 1, 11)
REGIONS: Mapping[int, int] = {1: 8, 2: 4, 3: 2}  # cells a side in which coverage and energy score are looked at
PAIRS: Mapping[int, int] = {1: 16, 2: 6, 3: 4}  # and of the variogram score, by dimension


def score_cases(predictive: Predictive, truth: jax.Array, weights: Any, level: float) -> dict[str, jax.Array]:
    """Figures of each case, (batch,): errors, proper scores, coverage of the Gaussian interval and of the band."""
    interval = predictive.interval(level)
    figures = {
        "relative_l2": scores.relative_l2(predictive, truth, weights),
        "rmse": scores.rmse(predictive, truth, weights),
        "crps": scores.crps(predictive, truth, weights),
        "nll": scores.gaussian_nll(predictive, truth, weights),
        "spread": scores.spread(predictive, weights),
        "sharpness": scores.sharpness(predictive, weights),
        "interval_score": scores.interval_score(interval, truth, weights, level),
        "coverage": scores.coverage(interval, truth, weights),
        "simultaneous_coverage": scores.simultaneous_coverage(interval, truth, weights),
    }
    figures |= predictive.figures or {}
    if predictive.samples is not None:
        figures["energy_score"] = scores.energy_score(predictive, truth, weights)
    if predictive.lower is not None:
        figures["band_coverage"] = scores.coverage(predictive.band, truth, weights)
        figures["band_simultaneous_coverage"] = scores.simultaneous_coverage(predictive.band, truth, weights)
        figures["band_width"] = scores.interval_width(predictive.band, weights)
    return figures


def score_samples(drawn: Predictive, truth: jax.Array, grid: GridOperands) -> dict[str, jax.Array]:
    """Figures of each case that take draws of whole fields, (batch,)."""
    axes = len(grid.axes)
    return {
        "energy_score": scores.energy_score(drawn, truth, grid.weights()),
        "patched_energy_score": scores.patched_energy_score(drawn, truth, grid, (REGIONS[axes],) * axes),
        "variogram_score": scores.variogram_score(drawn, truth, grid, (PAIRS[axes],) * axes),
    }


def score_risks(
    risks: Sequence[Risk], figures: Mapping[str, jax.Array], truth: jax.Array, grid: GridOperands, level: float
) -> dict[str, jax.Array]:
    """How well each risk was said, (batch,) by name: NAME.truth and NAME.error, its distance to NAME.mean.

    Where its deviation is given, NAME.coverage is 1 where the truth is within the normal interval of the level; where
    its exceedance is, NAME.exceeded is 1 where it was, and NAME.brier the squared difference.
    """
    found: dict[str, jax.Array] = {}
    for risk in risks:
        value, name = true_value(risk, truth, grid), risk.name
        error = jnp.abs(figures[f"{name}.mean"] - value)
        found |= {f"{name}.truth": value, f"{name}.error": error}
        if f"{name}.std" in figures:
            reach = NormalDist().inv_cdf((1 + level) / 2) * figures[f"{name}.std"]
            found[f"{name}.coverage"] = (error <= reach).astype(value.dtype)
        if f"{name}.exceedance" in figures and risk.threshold is not None:
            exceeded = (value > risk.threshold).astype(value.dtype)
            brier = jnp.square(figures[f"{name}.exceedance"] - exceeded)
            found |= {f"{name}.exceeded": exceeded, f"{name}.brier": brier}
    return found


def sample_power(drawn: Predictive, truth: jax.Array, shells: Shells) -> dict[str, jax.Array]:
    """Powers by shell of wave numbers, (batch, shells, channels): of draws, their spread, and the error of their mean.

    The spread is what the draws expect of that error: (m + 1) / (m - 1) times their mean power around their mean.
    """
    samples = drawn.samples
    assert samples is not None
    m, mean = samples.shape[0], jnp.mean(samples, axis=0)

    def average(of: Callable[[jax.Array], jax.Array]) -> jax.Array:
        return jnp.mean(lax.map(lambda sample: power(of(sample), shells), samples), axis=0)

    return {
        "samples": average(lambda sample: sample),
        "spread": average(lambda sample: sample - mean) * (m + 1) / (m - 1),
        "sample_error": power(truth - mean, shells),
    }


def scored(experiment: Experiment, model: Model, cases: CaseSet) -> dict[str, Any]:
    """Figures, reliability, PIT, ranks, coverage by region and power of every case on one grid, each (cases, ...)."""
    level = experiment.config.calibration.level
    num_samples = experiment.config.export.num_samples if experiment.posterior.has_samples else 0
    key = jax.random.key(experiment.config.training.seed)

    def score(params: Any, inputs: jax.Array, truth: jax.Array, grid: GridOperands, shells: Shells) -> dict[str, Any]:
        weights, axes = grid.weights(), len(grid.axes)
        moments = model.predict(params, inputs, grid, key)
        fields = {"truth": truth, "mean": moments.mean, "error": moments.mean - truth}
        found: dict[str, Any] = {
            "figures": score_cases(moments, truth, weights, level),
            "reliability": scores.reliability(moments, truth, weights, jnp.asarray(LEVELS)),
            "pit": scores.pit_distribution(moments, truth, weights, jnp.asarray(PIT_EDGES)),
            "regions": scores.regional_coverage(moments.interval(level), truth, grid, (REGIONS[axes],) * axes),
            "power": {name: power(values, shells) for name, values in fields.items()},
        }
        if model.alarm is not None:
            strange = found["figures"]["ood"] >= 1 - model.alarm["false_alarm"]
            found["figures"]["ood_alarm"] = strange.astype(truth.dtype)
        if num_samples:
            drawn = model.predict(params, inputs, grid, key, num_samples=num_samples)
            found["figures"] |= score_samples(drawn, truth, grid) | dict(drawn.figures or {})
            found["power"] |= sample_power(drawn, truth, shells)
            found["ranks"] = scores.rank_histogram(drawn, truth, weights)
        found["figures"] |= score_risks(model.risks, found["figures"], truth, grid, level)
        return found

    compiled, parts = divided(score, OF_CASES), []
    for _, batch, grid, mask in batches(experiment, cases):
        part = compiled(model.params, batch.inputs, batch.outputs, grid, _placed_shells(cases, grid))
        part, kept = on_host((part, mask))
        parts.append(jax.tree.map(lambda leaf, kept=kept: leaf[kept > 0], part))
    joined: dict[str, Any] = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    return joined


def _placed_shells(cases: CaseSet, grid: GridOperands) -> Shells:
    made = make_shells(cases.groups[0].grid, grid.shape)
    *others, _ = made.columns
    columns = (*(WHOLE for _ in others), spec("space"))
    return placed(made, replace(made, columns=columns, shell=WHOLE))


def batches(experiment: Experiment, cases: CaseSet) -> Iterator[tuple[int, Batch, GridOperands, jax.Array]]:
    """Batches, each with its first case's number and a mask, (batch,); of a trajectory, inputs and the next state."""
    size = experiment.config.training.batch_size
    for number, (batch, grid, mask) in enumerate(experiment.one_pass(cases)):
        truth = batch.outputs if cases.time_step is None else batch.outputs[:, 0]
        yield number * size, Batch(batch.inputs, truth), grid, mask
