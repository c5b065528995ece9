"""How a model does on the test cases: figures with their intervals, and what the report draws of them."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from experiments.experiment import Experiment
from experiments.model import Model
from experiments.rollout import rollout_errors, rollout_scores
from experiments.scoring import LEVELS, PIT_EDGES, batches, scored
from experiments.spectrum import Spectrum, shells
from pnol_jax import scores
from pnol_jax.bases import GridOperands
from pnol_jax.data import CaseSet
from pnol_jax.grids import Grid
from pnol_jax.posteriors.march import Marching
from pnol_jax.scores.bootstrap import Statistic, mean
from pnol_jax.sharding.divide import divided
from pnol_jax.sharding.placement import field_spec, on_host

__all__ = ["LEVELS", "PIT_EDGES", "TestResults", "test_results", "typical_cases"]
Array = NDArray[Any]
DRAWN = "draws_"  # before the names of a rollout's scores that are of draws


@dataclass(frozen=True)
class TestResults:
    """One test set on one grid. Of trajectories every step is a row; the `steps` rows of one follow each other.

    `figures`, one number a case by name; `reliability` (levels,) the share inside central intervals of LEVELS; `pit`
    (bins,) the share of the probability integral transform between PIT_EDGES; `regions` (*cells, channels) the share
    inside the interval of the level in each part of the domain; `spectrum` of `truth`, `mean` and `error`, and where
    there are draws of `samples`, their `spread` and the `sample_error` of their mean; `ranks` (draws + 1,) the shares
    of the truth's ranks among them; `shown`, which cases are looked at by what they stand for, and their `fields` in
    that order: `inputs`, `truth`, `mean`, `aleatoric`, `epistemic` and, where calibrated, `lower`, `upper`:
    (len(shown), *space, channels).
    """

    name: str
    grid: Grid
    figures: Mapping[str, Array]
    reliability: Array
    pit: Array
    regions: Array
    spectrum: Spectrum
    shown: Mapping[str, int]
    fields: Mapping[str, Array]
    ranks: Array | None = None
    rollout: Mapping[str, Array] | None = None  # (trajectories, steps) relative L2 by lead time, of a step model
    steps: int = 1

    def __len__(self) -> int:
        return len(self.figures["relative_l2"])

    @property
    def counted(self) -> str:
        """How many cases there are, in words."""
        if self.steps == 1:
            return f"{len(self)} cases"
        return f"{len(self) // self.steps} trajectories of {self.steps} steps"

    def summary(self) -> dict[str, float]:
        """The mean over cases of every figure, and what is made of several; `intervals` says how sure each is."""
        means = {name: estimate.value for name, estimate in self._estimates.items()}
        means["coverage_worst_region"] = float(np.nanmin(self.regions))
        if self.rollout is not None:
            means["rollout_relative_l2"] = float(np.mean(self.rollout["model"]))
            means["rollout_relative_l2_end"] = float(np.mean(self.rollout["model"][:, -1]))
            drawn = {name: values for name, values in self.rollout.items() if name.startswith(DRAWN)}
            means |= {f"rollout_{name}": float(np.mean(values)) for name, values in drawn.items()}
        return means

    def intervals(self) -> dict[str, tuple[float, float]]:
        """The 95% bootstrap interval over cases of the summary's figures; none of a single case.

        Trajectories are drawn whole: the steps of one depend on each other.
        """
        found = self._estimates.items() if len(self) > self.steps else ()
        return {name: (estimate.low, estimate.high) for name, estimate in found}

    @functools.cached_property
    def _estimates(self) -> dict[str, scores.Estimate]:
        pair = np.stack([self.figures["rmse"], self.figures["spread"]], axis=1)
        found = {name: self._estimate(values, mean) for name, values in self.figures.items()}
        found["relative_l2_median"] = self._estimate(self.figures["relative_l2"], np.median)
        found["spread_skill"] = self._estimate(pair, ratio)
        if len(self) > 1:
            found["spearman"] = self._estimate(pair, lambda rows: scores.spearman(*rows.T))
            found["ause"] = self._estimate(pair, lambda rows: scores.ause(*rows.T))
        return found

    def _estimate(self, rows: Array, statistic: Statistic) -> scores.Estimate:
        if len(rows) <= self.steps:
            value = float(statistic(rows))
            return scores.Estimate(value, value, value)
        if self.steps == 1:
            return scores.bootstrap(rows, statistic)
        whole = rows.reshape(-1, self.steps, *rows.shape[1:])
        if statistic is mean:
            return scores.bootstrap(whole.mean(axis=1))
        return scores.bootstrap(whole, lambda drawn: statistic(drawn.reshape(-1, *rows.shape[1:])))


def ratio(rows: Array) -> float:
    """Spread over skill of rows (rmse, spread), as `scores.spread_skill`."""
    return float(np.sqrt(np.mean(np.square(rows[:, 1])) / np.mean(np.square(rows[:, 0]))))


def test_results(experiment: Experiment, model: Model, name: str, cases: CaseSet) -> list[TestResults]:
    """Results on a test set, one entry per grid in it."""
    return [_on_one_grid(experiment, model, name, CaseSet((group,), cases.time_step)) for group in cases.groups]


def _on_one_grid(experiment: Experiment, model: Model, name: str, cases: CaseSet) -> TestResults:
    grid = cases.groups[0].grid
    joined = scored(experiment, model, cases)
    shown = typical_cases(joined["figures"]["relative_l2"])
    return TestResults(
        name=name,
        grid=grid,
        figures=joined["figures"],
        reliability=joined["reliability"].mean(axis=0),
        pit=np.diff(joined["pit"].mean(axis=0)),
        regions=joined["regions"].mean(axis=0),
        spectrum=Spectrum(*shells(grid), {key: rows.mean(axis=0) for key, rows in joined["power"].items()}),
        shown=shown,
        fields=_fields(experiment, model, cases, shown),
        ranks=joined["ranks"].mean(axis=0) if "ranks" in joined else None,
        rollout=None if cases.time_step is None else _rollout(experiment, model, cases),
        steps=len(joined["pit"]) // len(cases),
    )


def _rollout(experiment: Experiment, model: Model, cases: CaseSet) -> Mapping[str, Array]:
    """The mean's rollout and, of a posterior that marches, the scores of draws."""
    found = dict(rollout_errors(experiment, model, cases))
    if isinstance(experiment.posterior, Marching):
        of_draws = rollout_scores(experiment, model, cases, experiment.config.export.num_samples)
        found |= {DRAWN + name: values for name, values in of_draws.items()}
    return found


def typical_cases(errors: Array) -> dict[str, int]:
    """The numbers of the cases with the least, the median and the largest error; a case is named once."""
    order = np.argsort(errors)  # what is not a number comes last
    named = {"best": order[0], "median": order[(len(order) - 1) // 2], "worst": order[-1]}
    first = {int(number): name for name, number in reversed(named.items())}
    return {name: number for number, name in reversed(first.items())}


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
    for start, batch, grid, _ in batches(experiment, cases):
        wanted = [number for number in shown.values() if start <= number < start + size]
        if wanted:
            fields = compiled(model.params, batch.inputs, grid) | {"inputs": batch.inputs, "truth": batch.outputs}
            whole = on_host(fields)
            for number in wanted:
                found[number] = {name: values[number - start][space] for name, values in whole.items()}
    chosen = [found[number] for number in shown.values()]
    return {name: np.stack([case[name] for case in chosen]) for name in chosen[0]}
