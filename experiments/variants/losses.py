"""What a variant loses: the scores of its test cases beside those of the model, case by case."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from experiments.experiment import Experiment
from experiments.model import Model
from experiments.scoring import batches, score_cases
from experiments.variants.make import Variant, restoring
from pnol_jax import scores
from pnol_jax.bases import GridOperands
from pnol_jax.data import CaseSet
from pnol_jax.errors import InputError
from pnol_jax.scores import Estimate

Array = NDArray[Any]
ERRORS = ("relative_l2", "crps")  # whose relative loss is limited
POINTS = "coverage"  # the share of points inside the interval of the level
COVERAGES = {"simultaneous": "band_simultaneous_coverage", "pointwise": "band_coverage"}  # by what a band promises
SHOWN = (*ERRORS, POINTS, *COVERAGES.values(), "sharpness", "band_width")


@dataclass(frozen=True)
class Change:
    """A score of the model and of the variant on the same cases, and what lies between them.

    `change` is (after - before) / before of errors and widths, after - before of shares inside an interval, with the
    95% interval of a paired bootstrap over cases.
    """

    before: float
    after: float
    change: Estimate


@dataclass(frozen=True)
class Losses:
    """A test set on one grid: the changes by score, and how much further than before the coverages are from the level.

    Coverages with a gap are the share of points inside the interval of the level, and what the band promises, if there
    is one. Of whole cases inside a band few test cases tell little, so that gap counts from its interval's lower end.
    """

    name: str
    cases: int
    changes: Mapping[str, Change]
    gaps: Mapping[str, Estimate]

    def over(self, limit: float) -> list[str]:
        """What is over the limit, in words."""
        said = [f"{name} {_said(self.changes[name])}" for name in ERRORS if not self._loss(name) <= limit]
        said += [
            f"{name} {_said(self.changes[name])}, {gap.value:.3g} further from its level"
            for name, gap in self.gaps.items()
            if (gap.value if name == POINTS else gap.low) > limit
        ]
        return [f"{self.name}: {one}" for one in said]

    def _loss(self, name: str) -> float:
        return self.changes[name].change.value


def measured_losses(experiment: Experiment, model: Model, variant: Variant) -> list[Losses]:
    """The losses on every test set and grid.

    Raises:
        InputError: the config names no test cases, or a set of a single one.
    """
    if not experiment.test:
        raise InputError("data.test names no files, expected at least one to measure what a variant loses")
    named = zip(experiment.config.data.test, experiment.test, strict=True)
    sets = [
        (f"{Path(path).stem}@{'x'.join(map(str, group.grid.shape))}", CaseSet((group,), cases.time_step))
        for path, cases in named
        for group in cases.groups
    ]
    return [_on_one_grid(name, cases, experiment, model, variant) for name, cases in sets]


def check_losses(losses: Sequence[Losses], limit: float, words: Sequence[str]) -> None:
    """Refuse a variant that loses more than the limit.

    Raises:
        InputError: with every score that is over it.
    """
    over = [said for entry in losses for said in entry.over(limit)]
    if over:
        asked = f"--optimise {' '.join(words)}"
        raise InputError(f"{asked}: loses more than --max-loss {limit:g}: {'; '.join(over)}; nothing was written")


def _on_one_grid(name: str, cases: CaseSet, experiment: Experiment, model: Model, variant: Variant) -> Losses:
    if len(cases) < 2:
        raise InputError(f"{name}: got {len(cases)} test cases, expected at least 2 to compare on")
    level = experiment.config.calibration.level
    before = figures(experiment, model.predict, model.params, cases, level)
    after = figures(experiment, restoring(variant.model.predict), variant.weights, cases, level)
    changes = {name: _change(name, before[name], after[name]) for name in SHOWN if name in before and name in after}
    promised = COVERAGES.get((model.guarantee or {}).get("kind", ""), POINTS)
    gaps = {name: _gap(before[name], after[name], level) for name in {POINTS, promised} if name in changes}
    return Losses(name, len(cases), changes, gaps)


def figures(
    experiment: Experiment, predict: Callable[..., Any], weights: Mapping[str, Any], cases: CaseSet, level: float
) -> dict[str, Array]:
    """The scores of cases on one grid, (cases,) by name; of a trajectory the mean over its steps."""
    key = jax.random.key(experiment.config.training.seed)

    def score(weights: Any, inputs: jax.Array, truth: jax.Array, grid: GridOperands) -> dict[str, jax.Array]:
        return score_cases(predict(weights, inputs, grid, key), truth, grid.weights(), level)

    compiled, rows = jax.jit(score), []
    for _, batch, grid, mask in batches(experiment, cases):
        found = jax.device_get(compiled(weights, batch.inputs, batch.outputs, grid))
        rows.append({name: values[np.asarray(mask) > 0] for name, values in found.items()})
    whole = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    return {name: values.reshape(len(cases), -1).mean(axis=1) for name, values in whole.items()}


def _change(name: str, before: Array, after: Array) -> Change:
    if name.endswith("coverage"):
        change = scores.bootstrap(after - before)
    else:
        change = scores.bootstrap(np.stack([before, after], axis=1), _relative)
    return Change(float(before.mean()), float(after.mean()), change)


def _gap(before: Array, after: Array, level: float) -> Estimate:
    def further(rows: Array) -> float:
        share_before, share_after = rows.mean(axis=0)
        return float(abs(share_after - level) - abs(share_before - level))

    return scores.bootstrap(np.stack([before, after], axis=1), further)


def _relative(rows: Array) -> float:
    return float(rows[:, 1].mean() / rows[:, 0].mean() - 1)


def _said(change: Change) -> str:
    found = change.change
    return f"{change.before:.4g} to {change.after:.4g}, {found.value:+.3g} ({found.low:+.3g} to {found.high:+.3g})"
