"""How runs stand in each score on the same cases: the best one, and which of the others cannot be told from it.

The case is what is drawn anew, in all runs the same ones (a paired bootstrap), so that what is hard for every run
cancels in their difference. Of a trajectory all steps are drawn together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.comparison.opened import Opened, SharedCases
from experiments.comparison.score import Score, itself
from experiments.results import TestResults
from pnol_jax import scores
from pnol_jax.scores import Estimate
from pnol_jax.scores.bootstrap import mean

Array = NDArray[Any]
LEVEL = 0.95


@dataclass(frozen=True)
class Standing:
    """A run's figure with its interval over the cases, and where that puts it.

    `behind` is how much larger its loss is than that of the run which is best on these cases.
    """

    estimate: Estimate
    best: bool = False
    behind: Estimate | None = None

    @property
    def tied(self) -> bool:
        """Whether these cases cannot tell it from the best: the interval of the difference holds zero, or is none."""
        return self.behind is not None and not (self.behind.low > 0 or self.behind.high < 0)


class Rated(NamedTuple):
    """The numbers of a run's cases, as `Score.rows`, and the level of its intervals."""

    rows: Array
    level: float


def standings(
    score: Score, runs: Sequence[Opened], entries: Sequence[TestResults], test: SharedCases
) -> list[Standing | None]:
    """How every run stands; None where it has no such figure.

    Each of k ranked runs is compared with the best one at the level 1 - 5% / (k - 1), so that with 95% the run which is
    best over all cases there could be is the best here or tied with it: it is beaten by none of k - 1 others at that
    level (Bonferroni). Source: Hsu 1981, Simultaneous confidence intervals for all distances from the best.
    """
    rated = _rated(score, runs, entries, test)
    estimates = {position: estimate(score, own) for position, own in rated.items()}
    losses = {
        position: score.loss(found.value, runs[position].level)
        for position, found in estimates.items()
        if score.loss is not None and score.ranks(runs[position])
    }
    losses = {position: loss for position, loss in losses.items() if np.isfinite(loss)}
    best = min(losses, key=lambda position: losses[position]) if len(losses) > 1 else None
    level = 1 - (1 - LEVEL) / max(1, len(losses) - 1)

    def standing(position: int) -> Standing | None:
        if position not in estimates:
            return None
        if best is None or position not in losses or position == best:
            return Standing(estimates[position], best=position == best)
        return Standing(estimates[position], behind=difference(score, rated[position], rated[best], level))

    return [standing(position) for position in range(len(runs))]


def against(
    score: Score, baseline: int, runs: Sequence[Opened], entries: Sequence[TestResults], test: SharedCases
) -> list[Estimate | None]:
    """How much larger each run's loss is than the baseline's, with 95% intervals of each by itself."""
    rated = _rated(score, runs, entries, test)
    ranked = [position for position in rated if score.ranks(runs[position])]
    return [
        difference(score, rated[position], rated[baseline])
        if position != baseline and {position, baseline} <= set(ranked)
        else None
        for position in range(len(runs))
    ]


def _rated(score: Score, runs: Sequence[Opened], entries: Sequence[TestResults], test: SharedCases) -> dict[int, Rated]:
    """By position, the runs that have such a figure."""
    rows = [score.rows(entry, test) for entry in entries]
    return {i: Rated(own, run.level) for i, (own, run) in enumerate(zip(rows, runs, strict=True)) if own is not None}


def estimate(score: Score, own: Rated) -> Estimate:
    """The figure and its 95% interval over the cases."""
    return _bootstrap(own.rows, mean if score.statistic is mean else score.value, LEVEL)


def difference(score: Score, one: Rated, other: Rated, level: float = LEVEL) -> Estimate:
    """The loss of one run minus that of another on the same cases."""
    assert score.loss is not None
    loss, here, there = score.loss, one.rows, other.rows
    if loss is itself and score.statistic is mean:
        return _bootstrap(here - there, mean, level)

    def statistic(both: Array) -> float:
        return loss(score.value(both[:, 0]), one.level) - loss(score.value(both[:, 1]), other.level)

    return _bootstrap(np.stack([here, there], axis=1), statistic, level)


def _bootstrap(rows: Array, statistic: Callable[[Array], Any], level: float) -> Estimate:
    """Of a single case there is a value and no interval."""
    if len(rows) > 1:
        return scores.bootstrap(rows, statistic, level)
    return Estimate(float(statistic(rows)), float("nan"), float("nan"))
