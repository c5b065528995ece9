"""How a model does on the test cases: figures a case, and what the report draws of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from experiments.experiment import Experiment
from experiments.model import Model
from pnol_jax import scores
from pnol_jax.bases import GridOperands
from pnol_jax.data import CaseSet
from pnol_jax.grids import Grid
from pnol_jax.predictive import Predictive

Array = NDArray[Any]
LEVELS = np.linspace(0.05, 0.95, 19)
PIT_EDGES = np.linspace(0, 1, 11)


@dataclass(frozen=True)
class TestResults:
    """One test set on one grid.

    `figures`, one number a case by name; `reliability` (levels,) the share inside central intervals of LEVELS; `pit`
    (bins,) the share of the probability integral transform between PIT_EDGES; fields of every case: `inputs`, `truth`,
    `mean`, `aleatoric`, `epistemic` and, where calibrated, `lower`, `upper`: (cases, *space, channels).
    """

    name: str
    grid: Grid
    figures: Mapping[str, Array]
    reliability: Array
    pit: Array
    fields: Mapping[str, Array]
    rollout: Array | None = None  # (steps,) relative L2 of the mean by lead time, of a step model

    def summary(self) -> dict[str, float]:
        """The mean over cases of every figure; spread-skill is the ratio of means."""
        means = {name: float(np.mean(values)) for name, values in self.figures.items()}
        means["relative_l2_median"] = float(np.median(self.figures["relative_l2"]))
        means["spread_skill"] = float(scores.spread_skill(self.figures["spread"], self.figures["rmse"]))
        return means


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
    if predictive.samples is not None:
        figures["energy_score"] = scores.energy_score(predictive, truth, weights)
    if predictive.lower is not None:
        figures["band_coverage"] = scores.coverage(predictive.band, truth, weights)
        figures["band_simultaneous_coverage"] = scores.simultaneous_coverage(predictive.band, truth, weights)
        figures["band_width"] = scores.interval_width(predictive.band, weights)
    return figures


def test_results(experiment: Experiment, model: Model, name: str, cases: CaseSet) -> list[TestResults]:
    """Results on a test set, one entry per grid in it."""
    return [_on_one_grid(experiment, model, name, CaseSet((group,), cases.time_step)) for group in cases.groups]


def _on_one_grid(experiment: Experiment, model: Model, name: str, cases: CaseSet) -> TestResults:
    level = experiment.config.calibration.level
    num_samples = experiment.config.export.num_samples if experiment.posterior.has_samples else 0
    key = jax.random.key(experiment.config.training.seed)

    @jax.jit
    def evaluate(params: Any, inputs: jax.Array, truth: jax.Array, grid: GridOperands) -> dict[str, Any]:
        weights = grid.weights()
        moments = model.predict(params, inputs, grid, key)
        drawn = model.predict(params, inputs, grid, key, num_samples=num_samples) if num_samples else moments
        figures = score_cases(moments, truth, weights, level)
        if num_samples:
            figures["energy_score"] = scores.energy_score(drawn, truth, weights)
        fields = {name: getattr(moments, name) for name in ("mean", "aleatoric", "epistemic", "lower", "upper")}
        return {
            "figures": figures,
            "reliability": scores.reliability(moments, truth, weights, jnp.asarray(LEVELS)),
            "pit": scores.pit_distribution(moments, truth, weights, jnp.asarray(PIT_EDGES)),
            "fields": {name: value for name, value in fields.items() if value is not None},
        }

    parts = []
    for batch, grid, mask in experiment.one_pass(cases):
        truth = batch.outputs if cases.time_step is None else batch.outputs[:, 0]
        part = evaluate(model.params, batch.inputs, jnp.asarray(truth), grid)
        part["fields"] |= {"inputs": batch.inputs, "truth": truth}
        kept = np.asarray(mask) > 0
        parts.append(jax.tree.map(lambda leaf, kept=kept: np.asarray(leaf)[kept], part))
    joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    return TestResults(
        name=name,
        grid=cases.groups[0].grid,
        figures=joined["figures"],
        reliability=joined["reliability"].mean(axis=0),
        pit=np.diff(joined["pit"].mean(axis=0)),
        fields=joined["fields"],
    )
