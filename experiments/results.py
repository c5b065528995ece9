"""How a model does on the test cases: figures a case, and what the report draws of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from experiments.experiment import Experiment
from experiments.model import Model
from experiments.rollout import rollout_errors
from experiments.spectrum import Shells, Spectrum, make_shells, power, shells
from pnol_jax import scores
from pnol_jax.bases import GridOperands
from pnol_jax.data import CaseSet
from pnol_jax.grids import Grid
from pnol_jax.posteriors import Batch
from pnol_jax.predictive import Predictive
from pnol_jax.sharding.divide import divided
from pnol_jax.sharding.partition import spec
from pnol_jax.sharding.placement import OF_CASES, WHOLE, field_spec, on_host, placed

Array = NDArray[Any]
LEVELS = np.linspace(0.05, 0.95, 19)
PIT_EDGES = np.linspace(0, 1, 11)


@dataclass(frozen=True)
class TestResults:
    """One test set on one grid.

    `figures`, one number a case by name; `reliability` (levels,) the share inside central intervals of LEVELS; `pit`
    (bins,) the share of the probability integral transform between PIT_EDGES; `spectrum` of `truth`, `mean` and
    `error`; `shown`, which cases are looked at by what they stand for, and their `fields` in that order: `inputs`,
    `truth`, `mean`, `aleatoric`, `epistemic` and, where calibrated, `lower`, `upper`: (len(shown), *space, channels).
    """

    name: str
    grid: Grid
    figures: Mapping[str, Array]
    reliability: Array
    pit: Array
    spectrum: Spectrum
    shown: Mapping[str, int]
    fields: Mapping[str, Array]
    rollout: Mapping[str, Array] | None = None  # (cases, steps) relative L2 by lead time, of a step model

    def __len__(self) -> int:
        return len(self.figures["relative_l2"])

    def summary(self) -> dict[str, float]:
        """The mean over cases of every figure; spread-skill is the ratio of means."""
        means = {name: float(np.mean(values)) for name, values in self.figures.items()}
        means["relative_l2_median"] = float(np.median(self.figures["relative_l2"]))
        means["spread_skill"] = float(
            scores.spread_skill(jnp.asarray(self.figures["spread"]), jnp.asarray(self.figures["rmse"]))
        )
        if self.rollout is not None:
            means["rollout_relative_l2"] = float(np.mean(self.rollout["model"]))
            means["rollout_relative_l2_end"] = float(np.mean(self.rollout["model"][:, -1]))
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
    grid = cases.groups[0].grid
    joined = _scored(experiment, model, cases)
    shown = typical_cases(joined["figures"]["relative_l2"])
    return TestResults(
        name=name,
        grid=grid,
        figures=joined["figures"],
        reliability=joined["reliability"].mean(axis=0),
        pit=np.diff(joined["pit"].mean(axis=0)),
        spectrum=Spectrum(*shells(grid), {key: rows.mean(axis=0) for key, rows in joined["power"].items()}),
        shown=shown,
        fields=_fields(experiment, model, cases, shown),
        rollout=None if cases.time_step is None else rollout_errors(experiment, model, cases),
    )


def typical_cases(errors: Array) -> dict[str, int]:
    """The numbers of the cases with the least, the median and the largest error; a case is named once."""
    order = np.argsort(errors)  # what is not a number comes last
    named = {"best": order[0], "median": order[(len(order) - 1) // 2], "worst": order[-1]}
    first = {int(number): name for name, number in reversed(named.items())}
    return {name: number for number, name in reversed(first.items())}


def _scored(experiment: Experiment, model: Model, cases: CaseSet) -> dict[str, Any]:
    """Figures, reliability, PIT and power of every case; only these leave the devices."""
    level = experiment.config.calibration.level
    num_samples = experiment.config.export.num_samples if experiment.posterior.has_samples else 0
    key = jax.random.key(experiment.config.training.seed)

    def score(params: Any, inputs: jax.Array, truth: jax.Array, grid: GridOperands, shells: Shells) -> dict[str, Any]:
        weights = grid.weights()
        moments = model.predict(params, inputs, grid, key)
        figures = score_cases(moments, truth, weights, level)
        if num_samples:
            drawn = model.predict(params, inputs, grid, key, num_samples=num_samples)
            figures["energy_score"] = scores.energy_score(drawn, truth, weights)
        inside = {"truth": truth, "mean": moments.mean, "error": moments.mean - truth}
        return {
            "figures": figures,
            "reliability": scores.reliability(moments, truth, weights, jnp.asarray(LEVELS)),
            "pit": scores.pit_distribution(moments, truth, weights, jnp.asarray(PIT_EDGES)),
            "power": {name: power(values, shells) for name, values in inside.items()},
        }

    compiled, parts = divided(score, OF_CASES), []
    for _, batch, grid, mask in _batches(experiment, cases):
        found = compiled(model.params, batch.inputs, batch.outputs, grid, _placed_shells(cases, grid))
        found, kept = on_host((found, mask))
        parts.append(jax.tree.map(lambda leaf, kept=kept: leaf[kept > 0], found))
    joined: dict[str, Any] = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    return joined


def _placed_shells(cases: CaseSet, grid: GridOperands) -> Shells:
    made = make_shells(cases.groups[0].grid, grid.shape)
    *others, _ = made.columns
    columns = (*(WHOLE for _ in others), spec("space"))
    return placed(made, replace(made, columns=columns, shell=WHOLE))


def _batches(experiment: Experiment, cases: CaseSet) -> Iterator[tuple[int, Batch, GridOperands, jax.Array]]:
    """Batches of the cases, each with the number of its first; of a trajectory, inputs and the state that follows."""
    size = experiment.config.training.batch_size
    for number, (batch, grid, mask) in enumerate(experiment.one_pass(cases)):
        truth = batch.outputs if cases.time_step is None else batch.outputs[:, 0]
        yield number * size, Batch(batch.inputs, truth), grid, mask


def _fields(experiment: Experiment, model: Model, cases: CaseSet, shown: Mapping[str, int]) -> dict[str, Array]:
    """The fields of the shown cases, in their order, cut to the grid out of the bucket that they were padded to."""
    key, ndim = jax.random.key(experiment.config.training.seed), cases.ndim + 2

    def look(params: Any, inputs: jax.Array, grid: GridOperands) -> dict[str, jax.Array]:
        moments = model.predict(params, inputs, grid, key)
        fields = {name: getattr(moments, name) for name in ("mean", "aleatoric", "epistemic", "lower", "upper")}
        return {name: value for name, value in fields.items() if value is not None}

    compiled, size = divided(look, field_spec(ndim)), experiment.config.training.batch_size
    space = tuple(slice(n) for n in cases.groups[0].grid.shape)
    found: dict[int, dict[str, Array]] = {}
    for start, batch, grid, _ in _batches(experiment, cases):
        wanted = [number for number in shown.values() if start <= number < start + size]
        if wanted:
            fields = compiled(model.params, batch.inputs, grid) | {"inputs": batch.inputs, "truth": batch.outputs}
            whole = on_host(fields)
            for number in wanted:
                found[number] = {name: values[number - start][space] for name, values in whole.items()}
    chosen = [found[number] for number in shown.values()]
    return {name: np.stack([case[name] for case in chosen]) for name in chosen[0]}
