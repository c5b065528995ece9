"""How a model does on the test cases: figures a case, and what the report draws of them."""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from experiments.experiment import Experiment
from experiments.model import Model
from experiments.rollout import rollout_errors
from experiments.spectrum import Spectrum, power, shells
from pnol_jax import scores
from pnol_jax.bases import GridOperands
from pnol_jax.data import CaseSet
from pnol_jax.grids import Grid
from pnol_jax.predictive import Predictive

Array = NDArray[Any]
Evaluation = Callable[[Any, jax.Array, jax.Array, GridOperands], dict[str, Any]]
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
    grid, evaluate = cases.groups[0].grid, _evaluation(experiment, model)
    scored = [
        {key: part[key] for key in ("figures", "reliability", "pit")} | {"power": _powers(part, grid)}
        for part in _parts(evaluate, experiment, model, cases)
    ]
    joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *scored)
    shown = typical_cases(joined["figures"]["relative_l2"])
    return TestResults(
        name=name,
        grid=grid,
        figures=joined["figures"],
        reliability=joined["reliability"].mean(axis=0),
        pit=np.diff(joined["pit"].mean(axis=0)),
        spectrum=Spectrum(*shells(grid), {key: rows.mean(axis=0) for key, rows in joined["power"].items()}),
        shown=shown,
        fields=_fields(_parts(evaluate, experiment, model, cases, set(shown.values())), shown),
        rollout=None if cases.time_step is None else rollout_errors(experiment, model, cases),
    )


def typical_cases(errors: Array) -> dict[str, int]:
    """The numbers of the cases with the least, the median and the largest error; a case is named once."""
    order = np.argsort(errors)  # what is not a number comes last
    named = {"best": order[0], "median": order[(len(order) - 1) // 2], "worst": order[-1]}
    first = {int(number): name for name, number in reversed(named.items())}
    return {name: number for number, name in reversed(first.items())}


def _evaluation(experiment: Experiment, model: Model) -> Evaluation:
    level = experiment.config.calibration.level
    num_samples = experiment.config.export.num_samples if experiment.posterior.has_samples else 0
    key = jax.random.key(experiment.config.training.seed)

    @jax.jit
    def evaluate(params: Any, inputs: jax.Array, truth: jax.Array, grid: GridOperands) -> dict[str, Any]:
        weights = grid.weights()
        moments = model.predict(params, inputs, grid, key)
        figures = score_cases(moments, truth, weights, level)
        if num_samples:
            drawn = model.predict(params, inputs, grid, key, num_samples=num_samples)
            figures["energy_score"] = scores.energy_score(drawn, truth, weights)
        fields = {name: getattr(moments, name) for name in ("mean", "aleatoric", "epistemic", "lower", "upper")}
        return {
            "figures": figures,
            "reliability": scores.reliability(moments, truth, weights, jnp.asarray(LEVELS)),
            "pit": scores.pit_distribution(moments, truth, weights, jnp.asarray(PIT_EDGES)),
            "fields": {name: value for name, value in fields.items() if value is not None},
        }

    return evaluate


def _parts(
    evaluate: Evaluation, experiment: Experiment, model: Model, cases: CaseSet, wanted: Container[int] | None = None
) -> Iterator[dict[str, Any]]:
    """What `evaluate` makes of the cases batch by batch, with their `numbers`; if `wanted`, of batches with such cases.

    Fields are cut to the grid, out of the bucket that they were padded to.
    """
    start, grid = 0, cases.groups[0].grid
    space = tuple(slice(n) for n in grid.shape)
    for batch, operands, mask in experiment.one_pass(cases):
        kept = np.flatnonzero(np.asarray(mask) > 0)
        numbers = start + kept
        start += kept.size
        if wanted is not None and not any(number in wanted for number in numbers):
            continue
        truth = batch.outputs if cases.time_step is None else batch.outputs[:, 0]
        part = evaluate(model.params, batch.inputs, truth, operands)
        part["fields"] |= {"inputs": batch.inputs, "truth": truth}
        part = jax.tree.map(lambda leaf, kept=kept: np.asarray(leaf)[kept], part)
        part["fields"] = {name: values[:, *space] for name, values in part["fields"].items()}
        yield part | {"numbers": numbers}


def _powers(part: Mapping[str, Any], grid: Grid) -> dict[str, Array]:
    truth, mean = part["fields"]["truth"], part["fields"]["mean"]
    return {"truth": power(truth, grid), "mean": power(mean, grid), "error": power(mean - truth, grid)}


def _fields(parts: Iterable[Mapping[str, Any]], shown: Mapping[str, int]) -> dict[str, Array]:
    """The fields of the shown cases, in their order."""
    rows = {
        number: {name: values[row] for name, values in part["fields"].items()}
        for part in parts
        for row, number in enumerate(part["numbers"])
        if number in shown.values()
    }
    chosen = [rows[number] for number in shown.values()]
    return {name: np.stack([case[name] for case in chosen]) for name in chosen[0]}
